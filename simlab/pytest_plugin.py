"""The pytest plugin: scenarios become tests of an agent. Inert in a suite that does not use it.

    @simlab.scenarios("scenarios/orders/*.yaml", trials=3)
    async def test_orders(case):
        run = await case.run(my_agent)
        run.check()

Collecting reads scenario files, and nothing else: no model, no network. What is played is kept under rootdir in
`.simlab/runs/`, a run file per worker, which `simlab replay` opens.
"""

import inspect
import os
from argparse import ArgumentTypeError
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from simlab.lab import Seeds
    from simlab.limits import Budget
    from simlab.runfile import RunFile
    from simlab.scenario import AnyScenario
    from simlab.suite import Chosen, Outcome, Suite

Test = TypeVar("Test", bound=Callable[..., Any])
FAULTS = {"SimulatorFault": "simulator", "InfrastructureFault": "infrastructure"}


def scenarios(
    pattern: str,
    *,
    trials: int = 1,
    user: str | None = None,
    turn_seconds: float = 60.0,
    episode_seconds: float = 600.0,
) -> Callable[[Test], Test]:
    """Make a test of every scenario file that a glob names, relative to rootdir; the test takes a `case`.

    Each is played `trials` times. `user` is a model that words what the user says, such as `openai:NAME@URL`; its lines
    are kept in a cassette beside the test. Without one the user's lines are the plain script. The deadlines are wall
    clock, and count the agent's own turns. A file without a label is skipped; no file at all is an error.
    """

    def decorate(test: Test) -> Test:
        marked: Any = pytest.mark.simlab(
            pattern, trials=trials, user=user, turn_seconds=turn_seconds, episode_seconds=episode_seconds
        )(test)
        made: Test = pytest.mark.anyio(marked)
        return made

    return decorate


class AgentFailed(AssertionError):
    """The agent did not do what a scenario wants."""


@dataclass(frozen=True)
class Played:
    """The trials of one scenario, as they were played."""

    outcomes: "tuple[Outcome, ...]"

    @property
    def success(self) -> float:
        """The share of trials that passed, from 0 to 1."""
        return sum(not outcome.failure for outcome in self.outcomes) / len(self.outcomes)

    def check(self, *, min_success: float = 1.0) -> None:
        """Raise AgentFailed unless such a share of the trials passed, by default all; it says what went wrong."""
        __tracebackhide__ = True
        if not 0 <= min_success <= 1:
            raise ValueError(f"min_success is a share between 0 and 1, not {min_success:g}")
        if self.success < min_success:
            failed = [outcome for outcome in self.outcomes if outcome.failure]
            count = (
                f"{len(failed)} of {len(self.outcomes)} trials failed; the first:\n" if len(self.outcomes) > 1 else ""
            )
            raise AgentFailed(count + failed[0].failure)


@dataclass
class Case:
    """One scenario of a test, to be played against an agent."""

    path: Path
    scenario: "AnyScenario"
    place: int
    options: dict[str, Any]
    node: pytest.Item | None = None
    playing: "_Playing | None" = None

    def __repr__(self) -> str:
        return f"<case {self.scenario.id}>"

    async def run(self, agent: Any) -> Played:
        """Play the scenario, as many times as there are trials, against an agent.

        An agent is a function, sync or async, from messages and tools to a message; an object whose `reply` is one;
        one of `simlab.agents`; or a word as `simlab eval --agent` takes it (docs/testing.md). Raises SimulatorFault or
        InfrastructureFault where nothing is known about the agent.
        """
        assert self.playing is not None
        return await self.playing.run(self, agent)


@dataclass
class _Playing:
    """What the tests of one session share: run files, cassettes, a budget."""

    config: pytest.Config
    cases: list[Case] = field(default_factory=list)
    suites: "dict[str, Suite]" = field(default_factory=dict)
    cassettes: "dict[Path, RunFile]" = field(default_factory=dict)
    seeds: "Seeds | None" = None
    budget: "Budget | None" = None

    async def run(self, case: Case, agent: Any) -> Played:
        """Play a case."""
        import anyio

        from simlab.run import apis_of
        from simlab.simulation import together
        from simlab.suite import Cassette, cast_of, choose
        from simlab.turns import Turns

        apis_of([(case.path, case.scenario)])  # the document is as it was, and the label can be executed
        limits = {key: case.options[key] for key in ("turn_seconds", "episode_seconds")}
        chosen = choose(agent, name="agent", **limits)
        user, trials = case.options["user"], self.config.getoption("simlab_trials") or case.options["trials"]
        cast = cast_of(chosen, [f"user={user}"] if user else [])
        suite = self._suite(chosen, cast)
        at_once = self.config.getoption("simlab_concurrency")
        models = cast.wrapped(Turns(at_once), self._budget())
        free = anyio.CapacityLimiter(at_once)

        async def one(trial: int, number: int) -> Any:
            mine = dict(models)
            if user:
                file, sealed = self._cassette(case)
                mine["user"] = Cassette(models["user"], file, case.scenario.id, trial, sealed=sealed)
            async with free:
                return await suite.play(case.place, number, mine)

        try:
            numbers = [suite.next_trial(case.place) for _ in range(trials)]
            played = Played(tuple(await together([partial(one, i, number) for i, number in enumerate(numbers)])))
        finally:
            with anyio.CancelScope(shield=True):
                await cast.aclose()
        self._note(case, suite, played)
        return played

    def _note(self, case: Case, suite: "Suite", played: Played) -> None:
        """Properties of the test, which a JUnit file holds."""
        errors = sorted({str(o.trial.error) for o in played.outcomes if o.failure})
        properties = {"kind": case.scenario.kind, "run_file": suite.shown_as, "success": f"{played.success:g}"}
        if errors:
            properties["error"] = ",".join(errors)
        if case.node is not None:
            case.node.user_properties += [(f"simlab_{key}", value) for key, value in properties.items()]

    def _suite(self, chosen: "Chosen", cast: Any) -> "Suite":
        from simlab.model import AGENT
        from simlab.suite import opened

        key = "" if chosen.option == AGENT else chosen.name
        key += "".join(f" {role}={model.name}" for role, model in cast.models.items() if role == "user")
        if key not in self.suites:
            self.suites[key] = opened(self._folder(), self._stem(chosen), self._all(), chosen, cast, self._shown)
        return self.suites[key]

    def _stem(self, chosen: "Chosen") -> str:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        name = "" if chosen.subject is not None else chosen.name
        return "-".join([worker, *("".join(c if c.isalnum() else "-" for c in name).split("-") if name else [])])

    def _folder(self) -> Path:
        folder = self.config.rootpath / ".simlab" / "runs"
        folder.mkdir(parents=True, exist_ok=True)
        (folder.parent / ".gitignore").write_text("*\n", encoding="utf-8")
        return folder

    def _shown(self, path: Path) -> str:
        return os.path.relpath(path, self.config.invocation_params.dir)

    def _all(self) -> "Seeds":
        """All scenarios of the session, with their documents; what cannot be read fails its own test only."""
        from simlab.errors import InputError
        from simlab.lab import Seeds
        from simlab.run import apis_of

        if self.seeds is None:
            documents = {}
            for case in self.cases:
                with suppress(InputError):
                    documents.update({source.sha256: source for source in apis_of([(case.path, case.scenario)])})
            self.seeds = Seeds(scenarios=tuple(case.scenario for case in self.cases), apis=tuple(documents.values()))
        return self.seeds

    def _budget(self) -> "Budget":
        from simlab.limits import Budget

        if self.budget is None:
            self.budget = Budget(cost=self.config.getoption("simlab_max_cost"))
        return self.budget

    def _cassette(self, case: Case) -> "tuple[RunFile | None, bool]":
        """The recording of the user's lines, and whether nothing may be added to it."""
        from simlab.runfile import RunFile

        assert case.node is not None
        record = self.config.getoption("simlab_record")
        name = "".join(c if c.isalnum() or c in "._" else "-" for c in case.node.name)
        path = case.node.path.parent / "cassettes" / case.node.path.stem / f"{name}.simlab"
        if path not in self.cassettes:
            if record == "none" and not path.exists():
                return None, True
            if record == "none":
                self.cassettes[path] = RunFile.open(path)
            elif record == "new" and path.exists():
                self.cassettes[path] = RunFile.open_for_writing(path)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                self.cassettes[path] = RunFile.create(path, {"cassette": case.scenario.id})
        return self.cassettes[path], record == "none"

    def close(self) -> None:
        """Close every file."""
        for file in (*(suite.file for suite in self.suites.values()), *self.cassettes.values()):
            file.close()


_PLAYING = pytest.StashKey[_Playing]()


def _playing(config: pytest.Config) -> _Playing:
    return config.stash.setdefault(_PLAYING, _Playing(config))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options, all of them with defaults that do nothing."""
    group = parser.getgroup("simlab", "tests of agents (simlab)")
    group.addoption(
        "--simlab-record",
        choices=("none", "new", "all"),
        default="none",
        help="lines of users that a model words: only recorded ones (none), those that are missing asked for (new), all"
        " of them asked for again (all)",
    )
    group.addoption("--simlab-trials", type=_positive, help="trials of each scenario, whatever the tests say")
    group.addoption("--simlab-max-cost", type=float, help="US dollars for models that word users, in each process")
    group.addoption("--simlab-concurrency", type=_positive, default=1, help="trials of one scenario at a time")


def _positive(text: str) -> int:
    if not text.strip().isdecimal() or (number := int(text)) < 1:
        raise ArgumentTypeError(f"a whole number from 1, not {text!r}")
    return number


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", "simlab(pattern, ...): set by @simlab.scenarios")


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each scenario of a decorated function."""
    mark = metafunc.definition.get_closest_marker("simlab")
    if mark is None:
        return
    name = metafunc.function.__name__
    if not inspect.iscoroutinefunction(metafunc.function) or "case" not in metafunc.fixturenames:
        raise pytest.Collector.CollectError(f"{name}: a test of scenarios is `async def {name}(case)`")
    trials = mark.kwargs.get("trials", 1)
    if type(trials) is not int or trials < 1:
        raise pytest.Collector.CollectError(f"{name}: trials is a whole number from 1, not {trials!r}")
    _on_asyncio(metafunc)
    cases = _cases(metafunc.config, mark)
    metafunc.parametrize("case", [_param(case) for case in cases], indirect=True)


def _on_asyncio(metafunc: pytest.Metafunc) -> None:
    """Have the test run on asyncio alone, unless the suite says by its own `anyio_backend` what it wants."""
    fixtures: Sequence[Any] = metafunc.definition._fixtureinfo.name2fixturedefs.get("anyio_backend", ())
    if fixtures and fixtures[-1].func.__module__.startswith("anyio."):
        hidden = getattr(pytest, "HIDDEN_PARAM", "asyncio")
        metafunc.definition.add_marker(pytest.mark.parametrize("anyio_backend", ["asyncio"], ids=[hidden]))


def _cases(config: pytest.Config, mark: pytest.Mark) -> list[Case]:
    from simlab.errors import InputError
    from simlab.scenario import load_scenario_files

    playing, pattern = _playing(config), mark.args[0]
    try:
        found = load_scenario_files(str(config.rootpath / pattern))
    except InputError as error:
        said = (
            f"no scenario matches {pattern!r} under {config.rootpath}"
            if "no file matches" in str(error)
            else str(error)
        )
        raise pytest.Collector.CollectError(said) from None
    cases = []
    for path, scenario in found:
        case = Case(path, scenario, len(playing.cases), dict(mark.kwargs))
        if hasattr(scenario, "label"):
            playing.cases.append(case)
        cases.append(case)
    return cases


def _param(case: Case) -> Any:
    marks = []
    if not hasattr(case.scenario, "label"):
        marks.append(pytest.mark.skip(reason=f"{case.path.name}: a {case.scenario.kind} scenario has no label"))
    return pytest.param(case, id=case.scenario.id, marks=marks)


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """The scenario of a test that `@simlab.scenarios` made."""
    made: Case = request.param
    made.node, made.playing = request.node, _playing(request.config)
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say in a line what is not about the agent, and note whose fault it is."""
    report = yield
    if call.excinfo is not None and item.get_closest_marker("simlab") is not None:
        if call.excinfo.typename == "JournalMismatch":
            report.longrepr = f"{call.excinfo.value}\nrecord them with --simlab-record=new, or all again with =all"
        fault = FAULTS.get(call.excinfo.typename)
        if fault is not None:
            report.simlab_fault = fault  # type: ignore[attr-defined]
            report.user_properties.append(("simlab_fault", fault))
            report.longrepr = f"{fault} fault, not the agent's: {call.excinfo.value}"
    return report


def pytest_report_teststatus(report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
    """Such an end is an error and not a failure."""
    fault = getattr(report, "simlab_fault", None)
    return ("error", "E", f"ERROR ({fault})") if fault is not None else None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close what was opened, where anything was."""
    if (playing := config.stash.get(_PLAYING, None)) is not None:
        playing.close()
