"""Scoring a trace against its label: schema, state, facts, forbidden calls; success is the last three together.

Components are reported side by side and never multiplied; one that has nothing to check is `not_applicable` and
counts neither way. The state is compared by what changed: equal changes are success whatever the order or number
of reads, and ids that the API made up may differ as long as they differ consistently.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

from simlab.api import Api
from simlab.faults import Fault, FaultyWorld
from simlab.findings import Finding, primary
from simlab.message import ToolCall
from simlab.plan import spoken
from simlab.scenario import FactPart, Label
from simlab.schema import to_json
from simlab.slots import Slots
from simlab.text import content_words, sentences
from simlab.trace import Trace
from simlab.world import World, diff, volatile_fields

_DENIES = re.compile(r"\b(?:not|never|no longer|neither|isn't|wasn't|aren't)\b", re.IGNORECASE)
MOST_RIVALS = 3  # other records' values in one line, from which on it lists everything
MOST_NEW = 5  # new records of one kind whose ids are matched


@dataclass(frozen=True)
class Score:
    """The components of a verdict: True, False, or None where there is nothing to check."""

    schema: bool | None
    state: bool | None
    facts: bool | None
    forbidden: bool | None
    why: str = ""
    arguments: bool | None = None
    progress: float | None = None  # required changes and facts that are there / all; None where none is required
    efficiency: float | None = None  # calls of the reference / calls made, at most 1; None where none was made
    findings: tuple[Finding, ...] = ()
    slots: Slots | None = None

    @property
    def success(self) -> bool:
        """State, facts and forbidden calls hold."""
        return all(part is not False for part in (self.state, self.facts, self.forbidden))

    @property
    def error(self) -> str | None:
        """The type of error that names a failure, the first by `findings.ERRORS`; None for a success."""
        return None if self.success else primary(self.findings)

    def as_json(self) -> dict[str, Any]:
        """The form that is stored."""
        named = {True: "pass", False: "fail", None: "not_applicable"}
        parts = {key: named[getattr(self, key)] for key in ("schema", "state", "facts", "forbidden")}
        return {"success": self.success, **parts, **({"why": self.why} if self.why else {})}


def score(
    api: Api,
    start: World,
    label: Label,
    calls: Sequence[ToolCall],
    said: Sequence[str],
    faults: Sequence[Fault] = (),
) -> Score:
    """Judge an agent's calls, made again in a copy of the world they began in, and what it said to the user.

    The same calls go wrong as did then.
    """
    world, volatile = start.copy(), volatile_fields(api)
    service = FaultyWorld(world, faults)
    world.silent = True  # what was answered stands in the trace
    schema: bool | None = None
    forbidden: bool | None = True if label.forbidden else None
    why = ""
    for call in calls:
        operation = api.operations.get(call.name)
        wrong = [f"no operation {call.name}"] if operation is None else api.argument_problems(operation, call.arguments)
        schema = not wrong and schema is not False
        if wrong and not why:
            why = f"{call.name}: {wrong[0]}"
        if service.call(call.name, call.arguments).response.ok and call.name in label.forbidden:
            forbidden, why = False, f"{call.name} is forbidden"
    changed = without(diff(start.tables, world.tables, volatile), label.allowed)
    state = same_change(without(label.goal, label.allowed), changed)
    if not state:
        why = f"the state should have changed by {to_json(label.goal)[:200]}, but changed by {to_json(changed)[:200]}"
    missing = [fact for fact in label.facts if not told(fact, said, rivals_of(api, start, label, fact))]
    if missing and state:
        why = f"the user was never told the {missing[0].label}: {spoken(missing[0].value)}"
    return Score(schema, state, None if not label.facts else not missing, forbidden, why)


def told(fact: FactPart, said: Sequence[str], rivals: Sequence[Any] = ()) -> bool:
    """Whether a value stands in something said, as a whole word, in a sentence that does not deny it.

    `rivals` are the values that the same field has in other records: what tells them as well tells nothing.
    """
    parts = (sentence for text in said if not _lists_all(text, rivals) for sentence in sentences(text))
    return any(holds(sentence, fact.value) and not _DENIES.search(sentence) for sentence in parts)


def rivals_of(api: Api, start: World, label: Label, fact: FactPart) -> tuple[Any, ...]:
    """The other values of a fact's field in the first state; none where the fact is of no record."""
    operation = api.operations.get(label.calls[fact.call - 1].op) if fact.call <= len(label.calls) else None
    if operation is None or operation.resource not in api.resources:
        return ()
    prop = fact.pointer.rsplit("/", 1)[-1]
    held = (record.get(prop) for record in start.tables[operation.resource].values())
    return tuple({spoken(value): value for value in held if value is not None and value != fact.value}.values())


def _lists_all(text: str, rivals: Sequence[Any]) -> bool:
    named = sum(1 for value in rivals if holds(text, value))
    return named > 0 and (named >= MOST_RIVALS or named == len(rivals))


def holds(text: str, value: Any) -> bool:
    """Whether a text holds a value word for word, and not merely as part of a longer word or number."""
    said = spoken(value)
    if said.lower() not in text.lower():  # most texts hold nothing like it, and a pattern is costly to build
        return False
    return re.search(rf"(?<![\w.])(?<!\d,){re.escape(said)}(?!\w|[.,]\d)", text, re.IGNORECASE) is not None


def keeps_sense(line: str, said: str, share: float = 0.7) -> bool:
    """Whether a line holds most of the words that carry the meaning of a plain sentence."""
    wanted = content_words(said)
    return not wanted or len(wanted & content_words(line)) / len(wanted) >= share


def without(change: Mapping[str, Any], allowed: Sequence[str]) -> dict[str, Any]:
    """A change without the fields that may change anyway."""
    if not allowed:
        return dict(change)
    made: dict[str, Any] = {}
    for resource, records in change.items():
        skipped = {name.partition(".")[2] for name in allowed if name.partition(".")[0] == resource}
        for key, what in records.items():
            kept = {verb: {f: v for f, v in fields.items() if f not in skipped} for verb, fields in what.items()}
            if kept := {verb: fields for verb, fields in kept.items() if fields or verb != "changed"}:
                made.setdefault(resource, {})[key] = kept
    return made


def same_change(goal: Mapping[str, Any], got: Mapping[str, Any]) -> bool:
    """Whether two changes are equal up to a one-to-one renaming of the ids of new records."""
    if to_json(goal) == to_json(got):
        return True
    pairs = []
    for resource in sorted({*goal, *got}):
        wanted = [key for key, what in goal.get(resource, {}).items() if "added" in what]
        made = [key for key, what in got.get(resource, {}).items() if "added" in what]
        if len(wanted) != len(made) or len(made) > MOST_NEW:
            return False
        pairs.append([dict(zip(made, order, strict=True)) for order in permutations(wanted)])
    for choice in product(*pairs):
        renamed = {old: new for part in choice for old, new in part.items()}
        if renamed and to_json(_renamed(got, renamed)) == to_json(goal):
            return True
    return False


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {names.get(key, key): _renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value


def calls_of(trace: Trace, agent: str = "assistant") -> list[ToolCall]:
    """The calls an agent made, in order."""
    return [call for message in trace.messages if message.sender == agent for call in message.calls]


def words_of(trace: Trace, agent: str = "assistant", listener: str = "user") -> list[str]:
    """What an agent said to a listener, in order."""
    return [
        event.text
        for event in trace.events
        if event.sender == agent and listener in event.heard_by and event.text.strip()
    ]
