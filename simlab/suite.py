"""Evaluations from within a program: episodes are played as a test suite asks for them, and kept in a run file.

Which agent a word or an object means is decided here, for the command line too. A user who is worded by a model has a
cassette: a run file that holds its lines, so that a suite runs again without the model.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from simlab.die import Die
from simlab.errors import InputError, JournalMismatch, RunFileError, SimlabError, Stopped, nearest
from simlab.evaluation import RECIPE, Trial, failure_of, judged
from simlab.failure import told_failure
from simlab.journal import Entry, Journal, Seed
from simlab.lab import Lab, Seeds, play
from simlab.limits import Budget, Wrapped
from simlab.model import AGENT, Model, Reply, Request, Sampling
from simlab.replay import Absent, NotRecorded
from simlab.run import Cast, RunSpec, find_recipe, seeds_from
from simlab.runfile import RunFile
from simlab.scenario import ToolScenario
from simlab.schema import digest
from simlab.score import Score
from simlab.shelf import find, names
from simlab.stage import Stage
from simlab.stored import Reader
from simlab.subject import EPISODE_SECONDS, TURN_SECONDS, Gateway, Subject
from simlab.trace import Trace
from simlab.turns import Turns

SCRIPT = "scripted"  # a user whose lines are the plain script


class SimulatorFault(SimlabError):
    """The simulated user could not go on: nothing is known about the agent."""


class InfrastructureFault(SimlabError):
    """The outside failed, or a budget was spent: nothing is known about the agent."""


@dataclass(frozen=True)
class Chosen:
    """An agent that was asked for: the recipe's option, and the subject or the model that it needs."""

    option: str
    subject: Subject | None = None
    model: str | None = None

    @property
    def name(self) -> str:
        """What it is called in files."""
        return self.subject.name if self.subject is not None else self.model or self.option


def choose(
    agent: Any,
    *,
    name: str | None = None,
    turn_seconds: float = TURN_SECONDS,
    episode_seconds: float = EPISODE_SECONDS,
) -> Chosen:
    """What a word or an object means: a calibration agent, a model, `package.module:thing`, or an agent itself.

    Raises InputError for what is none of these, with the nearest name.
    """
    home = getattr(agent, "__module__", None) or ""
    if callable(agent) and home.startswith("simlab.agents."):
        agent = home.rpartition(".")[2]
    named = None
    if isinstance(agent, str):
        stem = re.split(r"[@:]", agent, maxsplit=1)[0].replace("-", "_")
        built_in, models = _shelf("agents"), _shelf("models")
        if stem in built_in and ":" not in agent.partition("@")[0]:
            return Chosen(agent.replace("-", "_") if "@" not in agent else agent)
        if stem in models:
            return Chosen("free", model=agent)
        if ":" not in agent:
            if (Path.cwd() / f"{stem}.py").is_file():
                raise InputError(f"{agent}: is a module; which of its agents? Expected {stem}:NAME")
            hint = nearest(agent, [*built_in, *models])
            raise InputError(f"no agent {agent!r}{hint}{' Or' if hint.endswith('?') else ', or'} package.module:thing")
        named, agent = agent, find("agents", agent)
    subject = Subject(agent, name=name or named or AGENT, turn_seconds=turn_seconds, episode_seconds=episode_seconds)
    if subject.calls_itself:
        subject.gateway = _gateway()
    return Chosen(AGENT, subject)


def _shelf(shelf: str) -> list[str]:
    return [name.replace("-", "_") for name in names(shelf)]


def _gateway() -> Gateway:
    try:
        from simlab.loopback import Loopback
    except ModuleNotFoundError as missing:
        raise InputError(
            f"an agent that calls the API itself needs the extra `server` ({missing.name} is not installed)"
        ) from None
    return Loopback()


def cast_of(chosen: Chosen, user: list[str], *, base_url: str | None = None) -> Cast:
    """The models of an evaluation: the user's, the plain script unless said, and the agent."""
    assistant = [f"assistant={chosen.model}"] if chosen.model else []
    return _Tested(chosen, [SCRIPT, *user, *assistant], base_url=base_url)


class _Tested(Cast):
    """The cast of an agent under test: a run file keeps what its code was, as verdicts hold for that code alone."""

    def __init__(self, chosen: Chosen, specs: list[str], *, base_url: str | None) -> None:
        super().__init__(specs, base_url=base_url, agent=chosen.subject)
        self._source = chosen.subject.source if chosen.subject is not None else {}

    def described(self) -> dict[str, dict[str, Any]]:
        """What the run file keeps of each role's model."""
        made = super().described()
        return {**made, AGENT: {**made[AGENT], "source": self._source}} if self._source else made


def played_before(path: Path, chosen: Chosen, cast: Cast) -> int:
    """How many episodes a run file has already; raises RunFileError where the agent was edited since it was begun."""
    if not path.exists():
        return 0
    file = RunFile.open(path)
    try:
        then, now = (models.get(AGENT, {}) for models in (file.meta("models"), cast.described()))
        if chosen.subject is not None and then.get("name") == now["name"] and then.get("source") != now.get("source"):
            sources, old = now.get("source", {}), then.get("source", {})
            changed = [name for name in sorted(chosen.subject.files) if old.get(name) != sources.get(name)]
            shown = ", ".join(chosen.subject.files[name].name for name in changed) or "its code"
            raise RunFileError(
                f"{path}: was begun with another agent: {shown} has changed since; use another --out"
                if old
                else f"{path}: was begun before a run kept what its agent's code is; use another --out"
            )
        return int(file.one("SELECT count(*) FROM episode"))
    finally:
        file.close()


class Cassette(Wrapped):
    """The user's model within its recording: recorded lines answer, missing ones are asked for where allowed.

    Positions in it are those of one trial of one scenario, so they hold whatever else a suite plays.
    """

    def __init__(self, inner: Model, file: RunFile | None, scenario: str, trial: int, *, sealed: bool) -> None:
        super().__init__(inner)
        self._file, self._place = file, (scenario, trial)
        read = file.text if file is not None else None
        recorded = file.entries(trial) if file is not None else {}
        write = None if sealed or file is None else self._write
        self._journal = Journal(trial, recorded=recorded, read=read, write=write, sealed=sealed)

    async def reply(self, request: Request) -> Reply:
        """The recorded line, or the model's; raises JournalMismatch naming what differs, or that there is none."""
        seed = Die("cassette", *self._place, request.path).bits() >> 33
        try:
            return await self._journal.ask(self.inner, replace(request, seed=seed))
        except JournalMismatch as miss:
            raise JournalMismatch(f"the user's lines are recorded otherwise, or not at all: {miss}") from None

    def _write(self, item: int, entry: Entry, texts: Mapping[str, str], reply: Reply, name: str) -> None:
        assert self._file is not None
        self._file.put_entry(item, entry, texts, reply, name=name)


@dataclass(frozen=True)
class Outcome:
    """One episode that was played: its figures, its verdict, what happened, and what is said of it where it failed."""

    trial: Trial
    score: Score
    trace: Trace
    failure: str


class Suite:
    """A run file to which episodes are added one by one; `seeds` are all scenarios that may be asked for."""

    def __init__(self, path: Path, seeds: Seeds, chosen: Chosen, cast: Cast, shown_as: str) -> None:
        spec = RunSpec(RECIPE, 0, {"agent": chosen.option}, seeds, cast.described())
        for suffix in ("-wal", "-shm"):  # of a run that was killed; they would be taken for the new one's
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        self.file = RunFile.create(path, {**spec.meta(), "n": 0})
        self.shown_as = shown_as
        self._seeds, self._options = seeds, {"agent": chosen.option}
        self._code = digest(spec.meta()["source"])
        self._trials: Counter[int] = Counter()
        self._most = 0

    def next_trial(self, place: int) -> int:
        """The number of the next trial of a scenario; what was played before stays in the file."""
        self._trials[place] += 1
        if self._trials[place] > self._most:
            self._most = self._trials[place]
            self.file.put_meta("n", len(self._seeds.scenarios) * self._most)
        return self._trials[place] - 1

    async def play(self, place: int, trial: int, models: Mapping[str, Model]) -> Outcome:
        """Play a trial of the scenario at a place among the seeds.

        Raises SimulatorFault, InfrastructureFault, and JournalMismatch for a user's line that was not recorded so.
        """
        item = trial * len(self._seeds.scenarios) + place
        journal = Journal(item, seed=Seed(0, RECIPE), read=self.file.text, write=self._write)
        try:
            episode = await play(find_recipe(RECIPE), Lab(journal.root, models), self._seeds, self._options)
        except Stopped as error:
            raise InfrastructureFault(str(error)) from None
        self.file.put_episode(item, episode.rows(), self._code)
        self.file.flush()
        if episode.measures.get("fault") == "simulator":
            raise SimulatorFault(f"{episode.measures['scenario']}: {episode.measures['detail']}")
        found = judged(self.file, item)
        assert found is not None
        known = {key: value for key, value in episode.measures.items() if key in Trial.__dataclass_fields__}
        return Outcome(Trial(item=item, **known), found[1], found[2], failure_of(self.file, item, self.shown_as))

    def _write(self, item: int, entry: Entry, texts: Mapping[str, str], reply: Reply, name: str) -> None:
        self.file.put_entry(item, entry, texts, reply, name=name)


def opened(folder: Path, stem: str, seeds: Seeds, chosen: Chosen, cast: Cast, shown: Callable[[Path], str]) -> Suite:
    """A new suite under the first name that no other process is writing to, in the place of an older one."""
    for number in count(1):
        path = folder / (f"{stem}.simlab" if number == 1 else f"{stem}-{number}.simlab")
        try:
            return Suite(path, seeds, chosen, cast, shown(path))
        except RunFileError as error:
            if "another simlab process" not in str(error):
                raise
    raise AssertionError("unreachable")


async def played_again(file: RunFile, item: int, chosen: Chosen) -> Outcome:
    """Play a stored episode with another agent, live, against the user as it was recorded; nothing is stored.

    Raises JournalMismatch where the talk took another way and the user's line for it was not recorded.
    """
    meta = Reader(file).meta
    if meta["recipe"] != RECIPE:
        raise InputError(f"{file.path}: an agent can play the episodes of an evaluation again, not of {meta['recipe']}")
    seeds, user = seeds_from(file.meta("seeds")), meta["models"]["user"]["name"]
    plain = user.startswith(SCRIPT)
    cast = cast_of(chosen, [f"user={user}"] if plain else [])
    models: dict[str, Model] = cast.wrapped(Turns(1), Budget())
    recorded = {} if plain else {path: e for path, e in file.entries(item).items() if e.door == "model"}
    if not plain:
        models["user"] = Absent(user, meta["models"]["user"]["small"], Sampling())
    journal = Journal(item, seed=Seed(meta["seed"], RECIPE), recorded=recorded, read=file.text)
    try:
        options = {"agent": chosen.option}
        episode = await play(find_recipe(RECIPE), Lab(journal.root, models), seeds, options)
    except NotRecorded:
        raise JournalMismatch("the talk took another way, and the user's line for it was not recorded") from None
    finally:
        await cast.aclose()
    scenario = seeds.scenarios[item % len(seeds.scenarios)]
    assert isinstance(scenario, ToolScenario)
    api = next(source.compiled() for source in seeds.apis if source.sha256 == scenario.api.sha256)
    trace = episode.traces[0]
    score = Stage.of(api, scenario).judge(trace)
    known = {key: value for key, value in episode.measures.items() if key in Trial.__dataclass_fields__}
    return Outcome(
        Trial(item=item, **known), score, trace, "" if score.success else told_failure(scenario, score, trace)
    )
