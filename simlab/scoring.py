"""Scoring traces that others made against labels that others wrote, line by line."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from simlab.api import Api
from simlab.errors import InputError, nearest
from simlab.faults import read_faults
from simlab.files import read_text
from simlab.findings import ERRORS
from simlab.reading import ReadLabel, ReadTrace, mapping
from simlab.records import CALLS
from simlab.scenario import Label
from simlab.schema import NotJson, read_json
from simlab.score import Score, score_calls, score_slots, score_talk
from simlab.shelf import find, names
from simlab.slots import Overlap, Slots
from simlab.statistics import ValidRate, valid_rate
from simlab.world import seeded

_Lines = dict[str, tuple[Any, str, Any]]  # what was read of each line by id, with its place and the line itself
VERBS = ("added", "removed", "changed")  # what a goal says of a record


@dataclass(frozen=True)
class Scored:
    """The scores of traces by id, in the order of the labels; None where a label has no trace.

    `note` says how lines were matched where it was not by what both files say.
    """

    scores: Mapping[str, Score | None] = field(default_factory=dict)
    note: str = ""

    @property
    def success(self) -> ValidRate:
        """The rate of success; a label without a trace is no valid trial. Slots alone make no success."""
        judged = (score for score in self.scores.values() if score is None or not score.only_slots)
        return valid_rate(None if score is None else score.success for score in judged)

    @property
    def errors(self) -> Mapping[str, int]:
        """How many failures each type of error names, in the order of precedence."""
        counts = Counter(score.error for score in self.scores.values() if score is not None)
        return {error: counts[error] for error in ERRORS if counts[error]}

    @property
    def slots(self) -> Slots | None:
        """The slots of all traces together; None where nothing has any."""
        found = [score.slots for score in self.scores.values() if score is not None and score.slots is not None]
        raw = sum((slots.raw for slots in found), Overlap())
        return Slots(raw, sum((slots.normalised for slots in found), Overlap())) if found else None

    def rows(self) -> Iterator[dict[str, Any]]:
        """A line for each trace: its id, the verdict, what was found."""
        for key, score in self.scores.items():
            if score is None:
                yield {"id": key, "verdict": None}
                continue
            findings = [
                {name: value for name, value in vars(one).items() if value not in (None, "")} for one in score.findings
            ]
            yield {"id": key, "verdict": score.as_json(), "findings": findings, **_slot_shares(score.slots)}


def _slot_shares(slots: Slots | None) -> dict[str, Any]:
    if slots is None:
        return {}
    shares = {
        name: {"precision": round(one.precision, 4), "recall": round(one.recall, 4), "f1": round(one.f1, 4)}
        for name, one in (("raw", slots.raw), ("normalised", slots.normalised))
    }
    return {"slots": shares}


def score_files(
    traces: Path | str,
    labels: Path | str,
    *,
    api: Api | None = None,
    format: str = "openai",
    labels_format: str = "label",
) -> Scored:
    """Score the traces of one JSONL file by the labels of another.

    A trace belongs to the label of the same id, or of the same place where no line of either file has one, or where
    none of one file has and there are as many lines in both. Raises InputError as `file:line: what was expected`.
    """
    found = _read(traces, format, "traces")
    wanted = _read(labels, labels_format, "labels")
    for label, place, line in wanted.values():
        if api is not None and label.label is not None:
            _check_document(api, line, place)
            _check_names(api, label.label, place)
    found, wanted, note = _by_place(found, wanted, traces, labels)
    made: dict[str, Score | None] = dict.fromkeys(wanted)
    for key, (trace, where, _) in found.items():
        if key not in wanted:
            raise InputError(f"{where}: no label has the id {key!r}{nearest(key, wanted)}")
        label, place, _ = wanted[key]
        made[key] = _judged(trace, label, api, place)
    return Scored(made, note)


def _by_place(found: _Lines, wanted: _Lines, traces: Path | str, labels: Path | str) -> tuple[_Lines, _Lines, str]:
    """The lines of both files under common keys, those of the places where only one file has ids; and what to say."""
    for named, other, name, file in (
        (wanted, found, "labels", traces),
        (found, wanted, "traces", labels),
    ):
        nameless = [where for line, where, _ in other.values() if not line.id]
        if not nameless or not all(line.id for line, *_ in named.values()):
            continue
        if len(nameless) == len(other) == len(named):
            note = f"the {name} have ids and no line of {file} has one: matched by place, line by line"
            pairs = list(zip(named, other.values(), strict=True))
            return (dict(pairs), wanted, note) if other is found else (found, dict(pairs), note)
        counts = f"{len(other)} and {len(named)} lines, so that they cannot be matched by place"
        if len(other) == len(named):
            counts = "others have"
        number = nameless[0].rpartition(":")[2]
        raise InputError(f"{nameless[0]}: the {name} have ids and line {number} of {file} has none ({counts})")
    return found, wanted, ""


def _check_document(api: Api, line: Any, where: str) -> None:
    """Raise InputError where a line is a scenario of another document, or of another overlay, than was read."""
    scenario = line.get("scenario", line) if isinstance(line, Mapping) else None
    made = scenario.get("api") if isinstance(scenario, Mapping) else None
    if not isinstance(made, Mapping) or made.get("sha256") in (None, api.sha256):
        return
    wanted = made["sha256"]
    document, overlay = made.get("document", "the document"), made.get("overlay")
    beside = f"overlays/{Path(str(document)).stem}.yaml beside it, where there was one"
    raise InputError(
        f"{where}: api.sha256: the label was made over {document} (sha256 {str(wanted)[:12]}...), and {api.name} as"
        f" read with --api is {api.sha256[:12]}...; pass --api {Path(str(document)).name}"
        + (f" --overlay {Path(str(overlay)).name}" if overlay else f" with its overlay ({beside}, or --overlay FILE)")
        + ", unchanged since"
    )


def _check_names(api: Api, label: Label, where: str) -> None:
    """Raise InputError for the first name in a label that its API does not have."""
    _check_goal(api, label.goal, f"{where}: label.goal")
    for place in ("forbidden", "confirm"):
        for number, name in enumerate(getattr(label, place)):
            _check(name, api.operations, "operation", f"{where}: label.{place}[{number}]")
    for number, name in enumerate(label.allowed):
        _check(name.partition(".")[0], (*api.resources, CALLS), "resource", f"{where}: label.allowed[{number}]")
    for number, call in enumerate(label.calls):
        at = f"{where}: label.calls[{number}]"
        _check(call.op, api.operations, "operation", f"{at}.op")
        for name in call.args:
            _check(name, api.arguments(api.operations[call.op]), f"argument of {call.op}", f"{at}.args")


def _check_goal(api: Api, goal: Mapping[str, Any], at: str) -> None:
    """The same for the goal, whose entries are also to be written as `world.diff` writes them."""
    for resource, records in goal.items():
        _check(resource, (*api.resources, CALLS), "resource", at)
        for key, what in _object(records, f"{at}.{resource}").items():
            here = f"{at}.{resource}.{key}"
            if not _object(what, here):
                raise InputError(f"{here}: expected one of {', '.join(VERBS)}")
            for verb, fields in what.items():
                _check(verb, VERBS, "change", here)
                for name, value in _object(fields, f"{here}.{verb}").items():
                    if verb == "changed" and not (isinstance(value, list) and len(value) == 2):
                        raise InputError(f"{here}.changed.{name}: expected [old, new], got {str(value)[:40]!r}")


def _object(value: Any, where: str) -> Mapping[str, Any]:
    try:
        return mapping(value, where)
    except ValueError as error:
        raise InputError(str(error)) from None


def _check(name: str, known: Collection[str], what: str, where: str) -> None:
    if name not in known:
        raise InputError(f"{where}: {name!r} is no {what}{nearest(name, [one for one in known if one != CALLS])}")


def _judged(trace: ReadTrace, label: ReadLabel, api: Api | None, where: str) -> Score:
    if label.slots is not None:
        return score_slots(label.slots, trace.talk, label.operation)
    if label.calls is not None:
        return score_calls(label.calls, trace.talk)
    if api is None or label.label is None:
        raise InputError(f"{where}: a label over an API is judged with --api DOC")
    faults = read_faults(api, [one.model_dump(exclude_none=True) for one in label.faults], f"{where}: faults")
    start = seeded(api, label.world.seed, label.world.clock)
    by_state = "goal" in label.label.model_fields_set or not label.label.calls
    return score_talk(api, start, label.label, trace.talk, faults, policy=label.policy, by_state=by_state)


def _read(path: Path | str, name: str, what: str) -> _Lines:
    """The lines of a file by id, each with its place."""
    reader = reader_of(name, what)
    found: _Lines = {}
    for number, text in enumerate(read_text(Path(path), what).split("\n"), 1):
        if not text.strip():
            continue
        where = f"{path}:{number}"
        try:
            line = read_json(text)
        except NotJson as error:
            if found:
                raise InputError(f"{where}: not JSON: {error}") from None
            line = None
        if not found and not isinstance(line, Mapping):
            shown = text.strip()[:40]
            raise InputError(f"{where}: not JSON Lines: expected one JSON object a line, got {shown!r}")
        try:
            made = reader(line)
        except ValueError as error:
            raise InputError(f"{where}: {error}") from None
        key = made.id or str(len(found) + 1)
        if key in found:
            raise InputError(f"{where}: the id {key!r} is that of another line too")
        found[key] = (made, where, line)
    if not found:
        raise InputError(f"{path}:1: expected one JSON object a line, and the file is empty")
    return found


def reader_of(name: str, what: str) -> Callable[[Any], Any]:
    """The reader of a name; raises InputError where there is none that reads traces, or labels."""
    known = readers(what)
    if ":" not in name and name not in known:
        raise InputError(f"no reader of {what} {name!r}{nearest(name, known)}")
    reader: Callable[[Any], Any] = find("readers", name)
    return reader


def readers(what: str) -> Sequence[str]:
    """The names of those readers that read traces, or labels."""
    return [name for name in names("readers") if getattr(import_module(f"simlab.readers.{name}"), "READS", "") == what]
