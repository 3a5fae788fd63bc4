"""The figures of an evaluation: who failed where, by kind and by type of error, with intervals; and against a baseline.

A trial counts when it says something about the agent. One that the simulated user or the infrastructure spoilt is
neither a failure nor left out without a word: every rate says on how many of how many trials it rests. Intervals
allow for trials of one scenario being alike.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import takewhile
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import Any

from simlab.errors import InputError
from simlab.failure import told_failure
from simlab.files import is_database, read_text
from simlab.quality.rates import Rate, rate
from simlab.runfile import RunFile
from simlab.scenario import TOOL_KINDS, ToolScenario, scenario_from
from simlab.schema import NotJson, read_json
from simlab.stage import Stage
from simlab.statistics import Paired, paired, pass_hat, smallest_difference
from simlab.stored import Reader, StoredRecord, stored_apis
from simlab.trace import Trace

RECIPE = "evaluation"
SCHEMA = "simlab/evaluation/1"
FEWEST = 6  # scenarios, all gained or all lost, that the exact test takes for more than chance


@dataclass(frozen=True)
class Trial:
    """What came of one episode; `success` is None where nothing is known of the agent, and `fault` says why."""

    item: int
    scenario: str
    kind: str
    trial: int
    success: bool | None
    fault: str | None = None  # agent, simulator or infrastructure
    error: str | None = None
    end: str = ""
    detail: str = ""
    calls: int = 0
    progress: float | None = None
    efficiency: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """All trials of a run, and the figures that follow from them."""

    agent: str
    user: str
    trials: tuple[Trial, ...]

    @cached_property
    def valid(self) -> tuple[Trial, ...]:
        """The trials that say something about the agent."""
        return tuple(trial for trial in self.trials if trial.success is not None)

    @cached_property
    def by_scenario(self) -> dict[str, list[bool | None]]:
        """The outcomes of all trials of each scenario, None for one that is not valid."""
        made: dict[str, list[bool | None]] = {}
        for trial in self.trials:
            made.setdefault(trial.scenario, []).append(trial.success)
        return made

    @property
    def success(self) -> Rate:
        """The share of valid trials that passed."""
        return _rate(self.valid)

    @property
    def kinds(self) -> dict[str, tuple[Rate, int]]:
        """Per kind of scenario the rate, and how many trials there were, valid or not."""
        made = {}
        for kind in TOOL_KINDS:
            mine = [trial for trial in self.trials if trial.kind == kind]
            if mine:
                made[kind] = (_rate([trial for trial in mine if trial.success is not None]), len(mine))
        return made

    @property
    def errors(self) -> dict[str, Rate]:
        """Per type of error the share of valid trials that failed by it, the commonest first."""
        counts = Counter(trial.error or "unknown" for trial in self.valid if not trial.success)
        clusters = [trial.scenario for trial in self.valid]
        return {
            name: rate([not t.success and (t.error or "unknown") == name for t in self.valid], clusters)
            for name, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        }

    @property
    def faults(self) -> dict[str, int]:
        """Trials by whose fault it is that they did not pass."""
        return dict(Counter(trial.fault for trial in self.trials if trial.fault))

    @property
    def passed(self) -> dict[str, bool | None]:
        """Per scenario whether all its valid trials passed; None where it has none."""
        made: dict[str, bool | None] = {}
        for name, outcomes in self.by_scenario.items():
            valid = [outcome for outcome in outcomes if outcome is not None]
            made[name] = all(valid) if valid else None
        return made

    @property
    def pass_k(self) -> dict[int, float]:
        """pass^k for each k up to the number of trials; NaN where a scenario has fewer valid ones."""
        most = max((trial.trial for trial in self.trials), default=-1) + 1
        return {k: pass_hat(self.by_scenario, k) for k in range(1, most + 1)}

    @property
    def efficiency(self) -> float | None:
        """Calls of the reference per call made, averaged over the trials that passed; None where none did."""
        shares = [t.efficiency for t in self.valid if t.success and t.efficiency is not None]
        return fmean(shares) if shares else None

    def detectable(self, discordant: float | None = None) -> float:
        """The smallest difference to another run that these scenarios can show.

        Unless the share of discordant pairs is known, it is taken to be what two independent runs would have.
        """
        n, p = sum(passed is not None for passed in self.passed.values()), self.success.value
        share = 2 * p * (1 - p) if discordant is None else discordant
        return min(1.0, max(FEWEST / n, smallest_difference(n, share))) if n else 1.0

    def against(self, baseline: "Evaluation") -> Paired:
        """The paired comparison with another run; raises InputError where they share no scenario."""
        before, now = baseline.passed, self.passed
        shared = [name for name in before if name in now]
        made = paired([before[name] for name in shared], [now[name] for name in shared])
        if not made.pairs:
            raise InputError("the baseline has no scenario of this evaluation")
        return made

    def must_share(self, scenarios: Sequence[str], path: Path | str) -> None:
        """Raise InputError where it, read from a path, cannot be a baseline for any of the scenarios."""
        if all(self.passed.get(name) is None for name in scenarios):
            raise InputError(f"{path}: has no valid trial of any of these scenarios; it is no baseline for them")

    def is_worse(self, baseline: "Evaluation") -> bool:
        """Whether it lost more scenarios than it gained, by more than chance (at 5 %)."""
        made = self.against(baseline)
        return made.lost > made.gained and made.p < 0.05

    def as_json(self) -> dict[str, Any]:
        """The form that is written to a file and read as a baseline."""
        return {
            "schema": SCHEMA,
            "agent": self.agent,
            "user": self.user,
            "n": len(self.trials),
            "n_valid": len(self.valid),
            "success": _plain(self.success),
            "pass^k": {str(k): None if isnan(value) else value for k, value in self.pass_k.items()},
            "efficiency": self.efficiency,
            "faults": self.faults,
            "kinds": {kind: {**_plain(found), "trials": n} for kind, (found, n) in self.kinds.items()},
            "errors": {name: _plain(found) for name, found in self.errors.items()},
            "smallest_detectable_difference": self.detectable(),
            "trials": [asdict(trial) for trial in self.trials],
        }


def _rate(trials: Sequence[Trial]) -> Rate:
    return rate([bool(trial.success) for trial in trials], [trial.scenario for trial in trials])


def _plain(found: Rate) -> dict[str, Any]:
    return {"rate": found.value, "low": found.low, "high": found.high, "n": found.n}


def evaluation_of(file: RunFile) -> Evaluation:
    """The evaluation in a run file; what has not finished is the infrastructure's fault."""
    if (recipe := file.meta("recipe")) != RECIPE:
        raise InputError(f"{file.path}: is a run of {recipe} and no evaluation")
    reader = Reader(file)
    scenarios = file.meta("seeds").get("scenarios", [])
    known = {field.name for field in fields(Trial)}
    done = {
        item: read_json(measures) for item, measures in file.query("SELECT item, measures FROM episode ORDER BY item")
    }
    trials = []
    for item in range(reader.meta["n"]):
        trial, place = divmod(item, len(scenarios))
        said = {"scenario": scenarios[place]["id"], "kind": scenarios[place]["kind"], "trial": trial, "success": None}
        found = done.get(item, {"fault": "infrastructure"})
        said |= {key: value for key, value in found.items() if key in known}
        trials.append(Trial(item=item, **said))
    models, agent = reader.meta["models"], reader.meta["options"].get("agent", "oracle")
    name = models["agent"]["name"] if agent == "agent" else models["assistant"]["name"] if agent == "free" else agent
    return Evaluation(name, models["user"]["name"], tuple(trials))


def read_evaluation(path: Path | str) -> Evaluation:
    """An evaluation from what --json wrote, or from a run file; raises InputError for anything else."""
    if is_database(Path(path)):
        file = RunFile.open(path)
        try:
            return evaluation_of(file)
        finally:
            file.close()
    try:
        said = read_json(read_text(path, "baseline"))
        if not isinstance(said, dict):
            raise InputError(f"{path}: is no evaluation: it holds no JSON object")
        if said.get("schema") != SCHEMA:
            raise InputError(f"{path}: is no evaluation: its schema is {said.get('schema')!r}, not {SCHEMA!r}")
        return Evaluation(said["agent"], said["user"], tuple(Trial(**trial) for trial in said["trials"]))
    except (NotJson, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is no evaluation that simlab wrote: {error}") from None


def failures(file: RunFile, shown_as: str = "") -> Iterator[tuple[Trial, str]]:
    """The failed trials of a run, one by one, each with what there is to say of it."""
    for trial in evaluation_of(file).trials:
        if trial.success is False:
            yield trial, failure_of(file, trial.item, shown_as)


def in_brief(file: RunFile, most: int = 3) -> Iterator[str]:
    """Lines about the first failures of a run: which, the first thing that was wrong, and how to see it again."""
    failed = [trial for trial in evaluation_of(file).trials if trial.success is False]
    raised: set[str] = set()
    for trial in failed[:most]:
        yield f"{trial.scenario}: {trial.error or 'failed'}"
        first, *rest = [*failure_of(file, trial.item).split("\n")[2:], ""]
        parts = [first, *takewhile(lambda line: line.startswith("    "), rest)]
        said = "; ".join(" ".join(part.split()) for part in parts)
        # what an agent raises is mostly the same everywhere
        yield "  the same" if trial.error == "agent_error" and said in raised else f"  {said}"
        if trial.error == "agent_error":
            raised.add(said)
        yield f"  again: simlab replay {file.path} {trial.item}"
    if len(failed) > most:
        yield f"and {len(failed) - most} more failed"


def failure_of(file: RunFile, item: int, shown_as: str = "") -> str:
    """What there is to say of a failed episode, judged again from the file; empty for one that did not fail."""
    if (found := judged(file, item)) is None:
        return ""
    scenario, score, trace = found
    if score.success:
        return ""
    return told_failure(scenario, score, trace, f"simlab replay {shown_as or file.path} {item}")


def judged(file: RunFile, item: int) -> tuple[ToolScenario, Any, Trace] | None:
    """A stored episode's scenario, its verdict made again, and its trace; None where it has no label."""
    reader = Reader(file)
    row = file.row("SELECT n, type, body FROM record WHERE item = ? ORDER BY n", item)
    if row is None:
        return None
    record = StoredRecord(reader, item, row[0], row[1], read_json(row[2]))
    if "scenario" not in record.body or "verdict" not in record.body.get("meta", {}):
        return None
    scenario = scenario_from(reader.text(record.body["scenario"]))
    assert isinstance(scenario, ToolScenario)
    api = next(source.compiled() for source in stored_apis(file) if source.sha256 == scenario.api.sha256)
    trace = reader.traces(item)[record.body["trace"]]
    return scenario, Stage.of(api, scenario).judge(trace), trace
