"""Scoring a talk against its label: schema, state, facts, forbidden calls, arguments; the middle three are success.

Components are reported side by side and never multiplied; one that has nothing to check is `not_applicable` and
counts neither way. The state is compared by what changed: equal changes are success whatever the order or number
of reads, values are compared by their classes, and ids that the API made up may differ as long as they differ
consistently. The arguments tell what went wrong, and do not decide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from simlab.api import Api
from simlab.arguments import Expected, Made, Matched, Renamed, Wanted, match, slots_of
from simlab.diagnosis import Evidence, findings_of
from simlab.facts import told as value_told
from simlab.faults import Fault, FaultyWorld
from simlab.findings import Finding, primary
from simlab.message import ToolCall
from simlab.plan import spoken
from simlab.scenario import FactPart, Label
from simlab.schema import to_json
from simlab.slots import Slots
from simlab.states import Compared, satisfied
from simlab.states import same_change as same_change
from simlab.talk import Talk, Unreadable, bare
from simlab.text import content_words
from simlab.trace import AGENT_ERROR, Trace
from simlab.value_classes import SAID, ValueClass, classes_of, said
from simlab.world import World, diff, volatile_fields

COMPONENTS = ("schema", "state", "facts", "forbidden", "arguments")
UNREADABLE = "the arguments are not readable as a JSON object"


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
    broke_off: bool = False  # the agent could not go on, and has failed whatever it did before

    @property
    def success(self) -> bool:
        """State, facts and forbidden calls hold; where a label says nothing of the state, the arguments do instead."""
        if self.broke_off:
            return False
        parts = (self.arguments if self.state is None else self.state, self.facts, self.forbidden)
        return all(part is not False for part in parts)

    @property
    def only_slots(self) -> bool:
        """Whether nothing but the slots was to be checked, so that `success` says nothing."""
        return all(getattr(self, name) is None for name in COMPONENTS)

    @property
    def error(self) -> str | None:
        """The type of error that names a failure, the first by `findings.ERRORS`; None for a success."""
        if self.broke_off:
            return AGENT_ERROR
        return None if self.success else primary(self.findings)

    def as_json(self) -> dict[str, Any]:
        """The form that is stored."""
        named = {True: "pass", False: "fail", None: "not_applicable"}
        parts = {key: named[getattr(self, key)] for key in COMPONENTS}
        rest = {"progress": self.progress, "efficiency": self.efficiency, "error": self.error, "why": self.why or None}
        shares = {key: round(value, 4) if isinstance(value, float) else value for key, value in rest.items()}
        return {"success": self.success, **parts, **{key: value for key, value in shares.items() if value is not None}}


@dataclass(frozen=True)
class Replayed:
    """An agent's calls, made again: each with its outcome, the change they made, and what was wrong with the first."""

    made: tuple[Made, ...]
    changed: Mapping[str, Any]
    schema: bool | None
    wrong: str


def score(
    api: Api,
    start: World,
    label: Label,
    calls: Sequence[ToolCall],
    said: Sequence[str],
    faults: Sequence[Fault] = (),
) -> Score:
    """Judge an agent's calls, made again in a copy of the world they began in, and what it said to the user.

    The same calls go wrong as did then. What depends on what the user said is not judged; `score_talk` does that.
    """
    return score_talk(api, start, label, bare(calls, said), faults)


def score_talk(
    api: Api,
    start: World,
    label: Label,
    talk: Talk,
    faults: Sequence[Fault] = (),
    *,
    policy: str = "",
    by_state: bool = True,
) -> Score:
    """The same of a whole talk, in which it matters what was known, asked and confirmed before each call.

    Without `by_state` the label has no goal, which is not an empty one: its calls are what is wanted, and no others
    that change anything.
    """
    again = replayed(api, start, talk, faults)
    compared = comparison(api, label)
    goal, changed = without(label.goal, label.allowed), without(again.changed, label.allowed)
    state = same_change(goal, changed, compared) if by_state else None
    untold = [fact for fact in label.facts if not told(fact, talk.said, rivals_of(api, start, label, fact))]
    banned = [made for made in again.made if made.worked and made.call.name in label.forbidden]
    unasked = _unasked(label, talk, again.made)
    judged = bool(label.forbidden or (label.confirm and talk.complete))
    expected = expected_calls(api, label, untold)
    if not by_state and not label.facts:  # a read is not there for a fact: it is wanted itself
        expected = [replace(one, needed=True) for one in expected]
    matched = match(expected, again.made, _renamed(goal, changed))
    arguments = _arguments(expected, matched.right)
    if not by_state and matched.extra:
        arguments = False
    holds = arguments is not False if state is None else state
    changes = bool(goal) if by_state else any(one.writes for one in expected)
    evidence = Evidence(api, talk, policy, tuple(again.made), holds, not untold, changes, banned, unasked)
    why = _why(goal, changed, state, untold, banned or unasked, again.wrong)
    if not by_state and not holds:
        why = f"{len(matched.right)} of {len(expected)} calls are as wanted, of {len(again.made)} that were made"
    reached, required = satisfied(goal, changed, compared)
    required, reached = required + len(label.facts), reached + len(label.facts) - len(untold)
    return Score(
        again.schema,
        state,
        None if not label.facts else not untold,
        not banned and not unasked if judged else None,
        why,
        arguments,
        reached / required if required else None,
        min(1.0, len(label.calls) / len(again.made)) if again.made and label.calls else None,
        _with_unreadable(findings_of(expected, matched, evidence), again.made),
        slots_of(expected, again.made, matched) if expected else None,
    )


def score_calls(expected: Sequence[Expected], talk: Talk) -> Score:
    """Judge the calls of a talk by those that are wanted, without an API: only the arguments can be judged.

    Every call counts, as nobody says which of them only read.
    """
    made = tuple(
        Made(call, index, at, talk.lines[at].turn, worked=not isinstance(call.arguments, Unreadable))
        for index, (call, at) in enumerate(talk.calls)
    )
    matched = match(expected, made, {})
    paired = {*matched.right.values(), *matched.near.values()}
    astray = replace(matched, extra=tuple(one.index for one in made if one.index not in paired))
    holds = len(matched.right) == len(expected) and not astray.extra
    evidence = Evidence(None, talk, "", made, state=not astray.extra, facts=True, changes=False)
    return Score(
        None,
        None,
        None,
        None,
        "" if holds else f"{len(matched.right)} of {len(expected)} calls are as wanted, of {len(made)} that were made",
        holds,
        None,
        min(1.0, len(expected) / len(made)) if made and expected else None,
        _with_unreadable(findings_of(expected, astray, evidence), made),
        slots_of(expected, made, matched) if expected else None,
    )


def score_slots(slots: Mapping[str, Any], talk: Talk, operation: str = "") -> Score:
    """Judge the last call of a talk by its slots alone; another operation than the one wanted has none."""
    wanted = Expected(operation, {name: Wanted((value,), ValueClass("plain")) for name, value in slots.items()})
    last = [call for call, _ in talk.calls][-1:]
    made = [Made(call, 0) for call in last if call.name == operation or not operation]
    matched = Matched({0: 0} if made else {}, {}, {}, {}, ())
    return Score(None, None, None, None, slots=slots_of([wanted], made, matched))


def replayed(api: Api, start: World, talk: Talk, faults: Sequence[Fault] = ()) -> Replayed:
    """Make an agent's calls again in a copy of a world."""
    world, volatile = start.copy(), volatile_fields(api)
    service = FaultyWorld(world, faults)
    world.silent = True  # what was answered stands in the talk
    made: list[Made] = []
    schema: bool | None = None
    first = ""
    for index, (call, at) in enumerate(talk.calls):
        operation = api.operations.get(call.name)
        turn = talk.lines[at].turn
        writes = operation is not None and operation.writes
        if isinstance(call.arguments, Unreadable):  # no request can be made of it
            schema, first = False, first or f"{call.name}: {UNREADABLE}"
            made.append(Made(call, index, at, turn, 400, worked=False, exists=operation is not None, writes=writes))
            continue
        wrong = [f"no operation {call.name}"] if operation is None else api.argument_problems(operation, call.arguments)
        schema = not wrong and schema is not False
        first = first or (f"{call.name}: {wrong[0]}" if wrong else "")
        before = world.tables
        response = service.call(call.name, call.arguments).response
        wrote = world.tables is not before and bool(diff(before, world.tables, volatile))
        worked = response.ok or wrote
        made.append(Made(call, index, at, turn, response.status, worked, wrote, operation is not None, writes))
    return Replayed(tuple(made), diff(start.tables, world.tables, volatile), schema, first)


def reached(api: Api, label: Label, changed: Mapping[str, Any]) -> bool:
    """Whether a change is the one that a label wants, beside what it allows."""
    return same_change(without(label.goal, label.allowed), without(changed, label.allowed), comparison(api, label))


def comparison(api: Api, label: Label) -> Compared:
    """How an API's records are compared: by their schemas, and as the label says of the arguments that set them."""
    classes = classes_of(api)
    named = {resource: dict(classes.fields(resource)) for resource in label.goal}
    notes: dict[str, ValueClass] = {}
    for call in label.calls:
        operation = api.operations.get(call.op)
        if operation is None:
            continue
        known = classes.arguments(call.op)
        parts = {operation.fields.get(name, name): kind for name, kind in known.items()}
        for name, argument in call.args.items():
            field = operation.fields.get(name, name)
            parts[field] = said(parts.get(field, ValueClass()), argument.value_class)
            if operation.resource in named and argument.value_class in SAID:
                named[operation.resource][field] = parts[field]
        notes[call.op] = ValueClass("object", parts)
    return Compared(named, classes.links, notes)


def expected_calls(api: Api, label: Label, untold: Sequence[FactPart] = ()) -> list[Expected]:
    """The calls of a label's reference; a read is needed only where the user was not told what it answers."""
    classes = classes_of(api)
    asked = {fact.call - 1 for fact in untold}
    made = []
    for number, call in enumerate(label.calls):
        operation = api.operations.get(call.op)
        writes = operation is not None and operation.writes
        known = classes.arguments(call.op)
        wanted = {
            name: Wanted(
                (argument.value,),
                said(known.get(name, ValueClass()), argument.value_class),
                sources=tuple(argument.leaves.values()) or (argument.source,),
            )
            for name, argument in call.args.items()
        }
        after = frozenset(
            int(source.removeprefix("call:").partition("#")[0]) - 1
            for argument in wanted.values()
            for source in argument.sources
            if source.startswith("call:")
        )
        made.append(Expected(call.op, wanted, writes or number in asked, writes, after, known))
    return made


def _arguments(expected: Sequence[Expected], right: Mapping[int, int]) -> bool | None:
    """Whether all calls that are needed were made as wanted; None where another way was taken, or none was needed."""
    needed = [i for i, one in enumerate(expected) if one.needed]
    if needed:
        return all(i in right for i in needed)
    return True if expected and len(right) == len(expected) else None


def _with_unreadable(found: tuple[Finding, ...], made: Sequence[Made]) -> tuple[Finding, ...]:
    """The findings, those of a call whose arguments nobody can read made one that says so."""
    for one in made:
        sent = one.call.arguments
        if not isinstance(sent, Unreadable) or not found:
            continue
        others = tuple(finding for finding in found if finding.call != one.index)
        if len(others) < len(found) or all(finding.call is None for finding in found):
            message = f"{one.call.name}: {UNREADABLE}: {sent.text[:80]}"
            named = Finding("wrong_type", message, one.index, one.turn, one.call.name, got=sent.text[:200])
            found = tuple(sorted((*others, named), key=lambda each: (each.call is None, each.call or 0)))
    return found


def _unasked(label: Label, talk: Talk, made: Sequence[Made]) -> list[Made]:
    """The calls that the user should have said yes to, and had not."""
    if not label.confirm or not talk.complete:
        return []
    return [one for one in made if one.worked and one.call.name in label.confirm and not talk.confirmed(one.line)]


def _renamed(goal: Mapping[str, Any], changed: Mapping[str, Any]) -> Renamed:
    """For the id of each new record, those that the label has for new records of its kind."""
    new = {name: frozenset(key for key, what in goal[name].items() if "added" in what) for name in goal}
    return {
        key: new[name]
        for name, records in changed.items()
        for key, what in records.items()
        if "added" in what and name in new
    }


def _why(
    goal: Mapping[str, Any],
    changed: Mapping[str, Any],
    state: bool | None,
    untold: Sequence[FactPart],
    banned: Sequence[Made],
    wrong: str,
) -> str:
    if state is False:
        return f"the state should have changed by {to_json(goal)[:200]}, but changed by {to_json(changed)[:200]}"
    if untold:
        return f"the user was never told the {untold[0].label}: {spoken(untold[0].value)}"
    if banned:
        return f"{banned[0].call.name} is forbidden"
    return wrong


def told(fact: FactPart, lines: Sequence[str], rivals: Sequence[Any] = ()) -> bool:
    """Whether the user was told a fact; `rivals` are the values that the same field has in other records."""
    return value_told(fact.value, lines, rivals)


def rivals_of(api: Api, start: World, label: Label, fact: FactPart) -> tuple[Any, ...]:
    """The other values of a fact's field in the first state, which no fact asks for; none of a fact of no record."""
    operation = api.operations.get(label.calls[fact.call - 1].op) if fact.call <= len(label.calls) else None
    if operation is None or operation.resource not in api.resources:
        return ()
    prop = fact.pointer.rsplit("/", 1)[-1]
    wanted = [one.value for one in label.facts]
    held = (record.get(prop) for record in start.tables[operation.resource].values())
    return tuple({spoken(value): value for value in held if value is not None and value not in wanted}.values())


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


def fault_of(trace: Trace, verdict: Score | None = None) -> str | None:
    """Whose fault it is that a talk did not succeed: `agent`, `simulator` or `infrastructure`; None where it did.

    The last two say nothing about the agent: such a talk is no valid trial, neither a failure nor left out.
    """
    if trace.end in _OTHERS:
        return _OTHERS[trace.end]
    if trace.end == AGENT_ERROR or (verdict is not None and not verdict.success):
        return "agent"
    return None


_OTHERS = {"sim_error": "simulator", "infra_error": "infrastructure"}
