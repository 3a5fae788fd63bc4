"""Reports: the figures of a run, with intervals, computed from what its items measured."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simlab.errors import InputError
from simlab.findings import ERRORS
from simlab.quality.rates import Rate, paired_difference, rate
from simlab.runfile import RunFile
from simlab.scenario import TOOL_KINDS
from simlab.schema import read_json
from simlab.stored import Reader


@dataclass(frozen=True)
class ElephantReport:
    """How often the pink elephant is named in the last reply, with and without the rule; every dialogue counts."""

    base: Rate
    with_rule: Rate
    delta: tuple[float, float, float]
    pairs: int
    redirects: Rate
    refusals_naming: int
    first_mention: Mapping[int, int]  # reply number -> dialogues
    never: int
    drops: Mapping[str, int]
    rejected_pairs: Sequence[str]
    splits: Mapping[str, int]


def measures(file: RunFile) -> Iterator[dict[str, Any]]:
    """What each finished item measured, in order."""
    for (text,) in file.query("SELECT measures FROM episode ORDER BY item"):
        yield read_json(text)


def elephant_report(file: RunFile) -> ElephantReport:
    """The rates of a pink-elephant run; raises InputError where no item measured any."""
    rows = [row for row in measures(file) if "base" in row]
    if not rows:
        raise InputError(f"{file.path}: no finished item of this run measured a rate")
    pairs = [row["pair"] for row in rows]
    base = [row["base"] != "none" for row in rows]
    ruled = [row["with_rule"] != "none" for row in rows]
    rejected = [name for row in measures(file) for name in row.get("rejected_pairs", ())]
    reader = Reader(file)
    splits = Counter(r.body["meta"]["split"] for r in reader.records() if r.body["meta"]["set"] == "preference")
    return ElephantReport(
        base=rate(base, pairs),
        with_rule=rate(ruled, pairs),
        delta=paired_difference(base, ruled, pairs),
        pairs=len(set(pairs)),
        redirects=rate([row["redirect"] for row in rows], pairs),
        refusals_naming=sum(row["with_rule"] == "refusal" for row in rows),
        first_mention=Counter(row["first_mention"] for row in rows if row["first_mention"]),
        never=sum(row["first_mention"] is None for row in rows),
        drops=_drops(file),
        rejected_pairs=rejected,
        splits=splits,
    )


@dataclass(frozen=True)
class DialogueReport:
    """Shape and sameness of a dialogue run."""

    dialogues: int
    rounds: Mapping[int, int]
    topics: Mapping[str, int]
    subtopics: int
    fallbacks: int
    lines: int
    top_opening: tuple[str, float]
    drops: Mapping[str, int]


def dialogue_report(file: RunFile) -> DialogueReport:
    """Counts over the kept dialogues of a run; the commonest opening is over first lines, first three words."""
    reader = Reader(file)
    rounds: Counter[int] = Counter()
    topics: Counter[str] = Counter()
    subtopics: set[tuple[str, str]] = set()
    openings: Counter[str] = Counter()
    fallbacks = lines = dialogues = 0
    for record in reader.records():
        meta = record.body["meta"]
        dialogues += 1
        rounds[meta["rounds"]] += 1
        topics[meta["topic"]] += 1
        subtopics |= {(meta["topic"], meta["subtopic"])} if "subtopic" in meta else set()
        trace = reader.traces(record.item)[record.body["trace"]]
        openings[" ".join(trace.events[0].text.split()[:3])] += 1
        lines += len(trace.events)
        fallbacks += sum(1 for event in trace.events if event.message.notes.get("fallback"))
    opening, count = openings.most_common(1)[0] if openings else ("", 0)
    drops = Counter(_drops(file))
    drops["near_duplicate"] = file.one("SELECT count(*) FROM record WHERE verdict LIKE 'near_duplicate%'")
    return DialogueReport(
        dialogues,
        dict(sorted(rounds.items())),
        dict(topics.most_common()),
        len(subtopics),
        fallbacks,
        lines,
        (opening, count / dialogues if dialogues else 0.0),
        {reason: n for reason, n in sorted(drops.items()) if n},
    )


@dataclass(frozen=True)
class ToolReport:
    """Verdicts of a tool run by kind, what the guards on wording found, and why drafts of plans were rejected."""

    kinds: Mapping[str, Rate]
    apis: Mapping[str, int]
    ends: Mapping[str, int]
    guard: Mapping[str, Mapping[str, int]]  # by side: lines, fallback, and each fault
    rejected: Mapping[str, int]
    drops: Mapping[str, int]
    errors: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # by kind: how often which type of error
    played: Mapping[str, int] = field(default_factory=dict)  # by kind: all dialogues, those without a verdict too


def tool_report(file: RunFile) -> ToolReport:
    """Success by kind, over those finished dialogues that no fault of the simulator or infrastructure spoilt."""
    rows = list(measures(file))
    judged = [row for row in rows if "success" in row]
    valid = [row for row in judged if row.get("fault") not in ("simulator", "infrastructure")]
    kinds = {kind: [row["success"] for row in valid if row["kind"] == kind] for kind in TOOL_KINDS}
    guard: dict[str, Counter[str]] = {}
    rejected: Counter[str] = Counter()
    for row in rows:
        for side, counts in row.get("guard", {}).items():
            guard.setdefault(side, Counter()).update(counts)
        rejected.update(row.get("rejected", {}))
    return ToolReport(
        kinds={kind: rate(hits) for kind, hits in kinds.items() if hits},
        apis=Counter(row["api"] for row in judged),
        ends=Counter(row["end"] for row in judged),
        guard=guard,
        rejected=rejected,
        drops=_drops(file),
        errors=_errors(valid),
        played=Counter(row["kind"] for row in judged),
    )


def _errors(judged: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """How often each type of error names a failure, by kind, in the order of precedence."""
    found = {
        kind: Counter(row["error"] for row in judged if row["kind"] == kind and row.get("error")) for kind in TOOL_KINDS
    }
    return {
        kind: {error: counts[error] for error in ERRORS if counts[error]} for kind, counts in found.items() if counts
    }


def _drops(file: RunFile) -> dict[str, int]:
    return dict(file.query("SELECT reason, count(*) FROM dropped GROUP BY reason ORDER BY reason"))


def report_of(path: Any) -> ElephantReport | DialogueReport | ToolReport:
    """The report that fits a run's records; raises InputError where there is none."""
    file = RunFile.open(path)
    try:
        if any("base" in row for row in measures(file)):
            return elephant_report(file)
        if any("success" in row for row in measures(file)):
            return tool_report(file)
        if "dialogue" in Reader(file).types():
            return dialogue_report(file)
        raise InputError(f"{path}: there is nothing to report yet: no finished item measured anything")
    finally:
        file.close()
