"""Plans: goals for a talk about an API, sampled, executed for their label, and rejected when they cannot serve.

A plan is a goal and the calls that reach it. It becomes a label only by being executed in a fresh world: the
change it makes is the goal, and every argument says where its value comes from (`user:SLOT`, `call:K#/POINTER`
or `const`). What cannot be trusted is rejected for a counted reason: a call fails, a value comes from nowhere, a
call is not needed, another record fits the description, nothing need be done, or calls at random get there too.

The kinds follow the sources: `do`, `ask`, `chain` (ids come from earlier responses), `clarify` (a required value is
told only when asked for) and `abstain` (nothing the API can do).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from simlab.api import Api
from simlab.die import Die
from simlab.errors import nearest
from simlab.scenario import (
    ApiPart,
    AssistantPart,
    FactPart,
    FaultPart,
    Label,
    LabelledArgument,
    LabelledCall,
    SlotPart,
    ToolScenario,
    User,
    WorldPart,
)
from simlab.schema import pointed, to_json
from simlab.world import CLOCK, Response, World, diff, random_call, seeded, volatile_fields

KINDS = ("do", "ask", "chain", "clarify", "abstain")  # of a corpus, unless others are asked for
MORE_KINDS = ("unknown", "several", "recover", "refuse")
READ_ONLY = ("ask", "abstain", "refuse")  # kinds whose goal changes nothing
QUOTA = ("chain", "do", "ask", "clarify", "chain", "ask", "clarify", "do", "chain", "abstain")
OPENING = 2  # values in a user's first line, at the most (Mu et al., AutoDE, 2024)
RANDOM_AGENTS = 40
RANDOM_CALLS = 4


class Rejected(Exception):
    """A plan that cannot serve; `reason` is counted, and `reasons` are those of the drafts before it."""

    def __init__(self, reason: str, detail: str = "", reasons: Mapping[str, int] | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.reasons = Counter(reasons or {})


@dataclass(frozen=True)
class Slot:
    """A value that the user knows, and when it is told: in the opening, or when asked for."""

    name: str
    value: Any
    label: str
    reveal: str = "on_ask"
    unknown: bool = False  # the user does not know it, and says so when asked


@dataclass(frozen=True)
class Argument:
    """An argument with where its value comes from; `leaves` says so for the parts of an object."""

    value: Any
    source: str = ""
    leaves: Mapping[str, str] = field(default_factory=dict)
    value_class: str = "exact"

    @property
    def sources(self) -> list[str]:
        """Where the value, or each part of it, comes from."""
        return list(self.leaves.values()) if self.leaves else [self.source]


@dataclass(frozen=True)
class PlannedCall:
    """One call of a plan."""

    operation: str
    arguments: Mapping[str, Argument]


@dataclass(frozen=True)
class Fact:
    """A value that the assistant must tell: found in the response of a call, under a pointer."""

    call: int
    pointer: str
    value: Any
    label: str


@dataclass(frozen=True)
class Plan:
    """A goal, the calls that reach it, and what the user knows; `change` is what executing it changes."""

    kind: str
    purpose: str
    world_seed: int
    slots: tuple[Slot, ...] = ()
    calls: tuple[PlannedCall, ...] = ()
    facts: tuple[Fact, ...] = ()
    change: Mapping[str, Any] = field(default_factory=dict)
    forbidden: tuple[str, ...] = ()
    confirm: tuple[str, ...] = ()
    policy: str = ""
    faults: tuple[FaultPart, ...] = ()

    @property
    def known(self) -> tuple[Slot, ...]:
        """The slots whose values the user knows."""
        return tuple(slot for slot in self.slots if not slot.unknown)


def spoken(value: Any) -> str:
    """A value as a user says it and an assistant tells it, word for word."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def execute(world: World, calls: Sequence[PlannedCall], *, without: int = 0) -> list[Response]:
    """Make the calls of a plan, with values from earlier responses as they are now; raises Rejected when one fails.

    `without` is the number of a call that is left out.
    """
    responses: list[Response] = []
    for number, call in enumerate(calls, 1):
        if number == without:
            responses.append(Response(0))
            continue
        arguments = {name: _now(argument, responses) for name, argument in call.arguments.items()}
        response = world.call(call.operation, arguments)
        if not response.ok:
            raise Rejected("call_failed", f"{call.operation}: {response.body}")
        responses.append(response)
    return responses


def _now(argument: Argument, responses: Sequence[Response]) -> Any:
    if not argument.source.startswith("call:"):
        return argument.value
    number, _, pointer = argument.source.removeprefix("call:").partition("#")
    try:
        return pointed(responses[int(number) - 1].body, pointer)
    except (LookupError, TypeError, ValueError):
        raise Rejected("not_derivable", argument.source) from None


def checked(api: Api, plan: Plan, clock: str = CLOCK) -> Plan:
    """The plan with its change, from executing it; raises Rejected for a reason that is counted."""
    start = seeded(api, plan.world_seed, clock)
    volatile = volatile_fields(api)
    world = start.copy()
    _derivable(api, plan)
    responses = execute(world, plan.calls)
    _faithful(plan, responses)
    change = diff(start.tables, world.tables, volatile)
    if plan.kind in READ_ONLY or (plan.facts and not any(api.operations[c.operation].writes for c in plan.calls)):
        if change:
            raise Rejected("call_failed", "a question that changes something")
    elif not change:
        raise Rejected("nothing_to_do")
    if wrong := next((name for name in plan.forbidden if name not in api.operations), None):
        raise Rejected("call_failed", f"there is no operation {wrong}")
    for fact in plan.facts:
        try:
            found = pointed(responses[fact.call - 1].body, fact.pointer)
        except (LookupError, TypeError, ValueError):
            said = f"the answer to call {fact.call} has nothing at {fact.pointer!r}"
            raise Rejected("not_derivable", said) from None
        if found != fact.value:
            said = f"the answer to call {fact.call} has {found!r} at {fact.pointer!r}, not {fact.value!r}"
            raise Rejected("not_derivable", said)
    _minimal(start, plan, change, volatile)
    _shaped(plan)
    if change and to_json(change) in (made for _, _, made in chances(api, plan.world_seed, clock)):
        raise Rejected("by_chance", plan.purpose)
    return replace(plan, change=change)


def _derivable(api: Api, plan: Plan) -> None:
    """Every argument comes from a slot with that value, an earlier response or a constant of the document."""
    slots = {slot.name: slot.value for slot in plan.known}
    for number, call in enumerate(plan.calls, 1):
        if call.operation not in api.operations:
            hint = nearest(call.operation, api.operations)
            raise Rejected("call_failed", f"there is no operation {call.operation!r}{hint}")
        for name, argument in call.arguments.items():
            if argument.source == "const" and _constant(_schema_of(api, call, name), argument.value):
                continue
            for pointer, source in (argument.leaves or {"": argument.source}).items():
                if not _known(argument.value, pointer, source, slots, number):
                    said = _unfounded(argument.value, source, slots)
                    raise Rejected("not_derivable", f"{call.operation}.{name}: {said}")


def _unfounded(value: Any, source: str, slots: Mapping[str, Any]) -> str:
    """Why a value does not come from where a label says it does."""
    kind, _, slot = source.partition(":")
    if kind == "user" and slot in slots:
        return f"is {value!r}, and the user's slot {slot!r} is {slots[slot]!r}"
    if kind == "user":
        return f"the user has no slot {slot!r}{nearest(slot, slots)}"
    return f"from {source or 'nowhere'!r}; expected user:SLOT, or call:N#/POINTER of an earlier call"


def _known(value: Any, pointer: str, source: str, slots: Mapping[str, Any], number: int) -> bool:
    """Whether the call of a number can have a value, or the part of it under a pointer, from a source."""
    kind, _, rest = source.partition(":")
    if kind == "user" and rest in slots:
        try:
            return bool(pointed(value, pointer) == slots[rest])
        except (LookupError, TypeError, ValueError):
            return False
    earlier = rest.partition("#")[0]
    return kind == "call" and earlier.isdecimal() and 1 <= int(earlier) < number


def _constant(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether a schema leaves no choice but the value, or names it as the default."""
    only = schema.get("enum", ())
    if value in ({}, []):  # nothing is nothing, wherever it comes from
        return True
    return value in (schema.get("const"), schema.get("default")) or (len(only) == 1 and value == only[0])


def _faithful(plan: Plan, responses: Sequence[Response]) -> None:
    """What a label says that an earlier response gave is what it gives."""
    for call in plan.calls:
        for name, argument in call.arguments.items():
            if argument.source.startswith("call:") and _now(argument, responses) != argument.value:
                found = _now(argument, responses)
                raise Rejected(
                    "not_derivable", f"{call.operation}.{name}: {argument.value!r} is {found!r} at its source"
                )


def _schema_of(api: Api, call: PlannedCall, name: str) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = api.resolve(api.arguments(api.operations[call.operation]).get(name, {}))
    return schema


def _minimal(start: World, plan: Plan, change: Mapping[str, Any], volatile: Mapping[str, Any]) -> None:
    """No call can be left out: a later one needs it, the answer is read from it, or the change misses it.

    Nor is anything looked up that the user tells anyway.
    """
    told = {spoken(slot.value) for slot in plan.known}
    for call in plan.calls:
        for name, argument in call.arguments.items():
            if argument.source.startswith("call:") and spoken(argument.value) in told:
                raise Rejected("not_minimal", f"{call.operation}.{name} is told and looked up")
    used = {
        int(source.removeprefix("call:").partition("#")[0])
        for call in plan.calls
        for argument in call.arguments.values()
        for source in argument.sources
        if source.startswith("call:")
    } | {fact.call for fact in plan.facts}
    for number in range(1, len(plan.calls) + 1):
        if number in used:
            continue
        world = start.copy()
        try:
            execute(world, plan.calls, without=number)
        except Rejected:  # a later call cannot do without it
            continue
        if diff(start.tables, world.tables, volatile) == change:
            raise Rejected("not_minimal", plan.calls[number - 1].operation)


def chance_die(api: Api, world_seed: int, seed: int) -> Die:
    """The die of the random agent of a seed in a world."""
    return Die("random", api.title, world_seed, seed)


@lru_cache(maxsize=1024)
def chances(api: Api, world_seed: int, clock: str) -> tuple[tuple[frozenset[str], Mapping[str, Any], str], ...]:
    """What seeded agents that call at random make of a world: operations that worked, the change, the same as JSON."""
    start, volatile, found = seeded(api, world_seed, clock), volatile_fields(api), []
    for seed in range(RANDOM_AGENTS):
        die, world = chance_die(api, world_seed, seed), start.copy()
        world.silent = True
        worked = set()
        for _ in range(RANDOM_CALLS):
            name, arguments = random_call(world, die)
            if world.call(name, arguments).ok:
                worked.add(name)
        change = diff(start.tables, world.tables, volatile)
        found.append((frozenset(worked), change, to_json(change)))
    return tuple(found)


def executed(api: Api, scenario: ToolScenario) -> str | None:
    """What is wrong with a scenario's label when it is executed; None when it holds."""
    for key, names in (("forbidden", scenario.label.forbidden), ("confirm", scenario.label.confirm)):
        if unknown := next((name for name in names if name not in api.operations), None):
            return f"label.{key}: no operation {unknown!r}{nearest(unknown, api.operations)}"
    plan = plan_of(scenario)
    if wrong := next((f.operation for f in scenario.faults if f.operation not in api.operations), None):
        return f"faults: no operation {wrong!r}{nearest(wrong, api.operations)}"
    try:
        again = checked(api, plan, scenario.world.clock)
    except Rejected as rejected:
        return f"label: does not hold when it is executed: {rejected}"
    if to_json(again.change) != to_json(plan.change):
        return f"label.goal: says {to_json(plan.change)[:160]}, executed {to_json(again.change)[:160]}"
    return None


def _shaped(plan: Plan) -> None:
    """The kind keeps its promise: how many calls, what is told when."""
    opening = [slot for slot in plan.slots if slot.reveal == "opening"]
    later = [slot for slot in plan.slots if slot.reveal != "opening"]
    linked = any(s.startswith("call:") for c in plan.calls for a in c.arguments.values() for s in a.sources)
    fits = {
        "do": len(plan.calls) == 1 and not later,
        "ask": bool(plan.facts) and (not later or len(opening) == OPENING),
        "chain": 2 <= len(plan.calls) <= 5 and linked,
        "clarify": bool(later) and bool(opening) and bool(plan.calls),
        "unknown": linked and any(slot.unknown for slot in later) and any(not slot.unknown for slot in later),
        "several": 2 <= len(plan.calls) <= 6,
        "recover": bool(plan.faults) and bool(plan.calls),
        "refuse": not plan.calls and bool(plan.forbidden) and bool(plan.policy),
        "abstain": not plan.calls,
    }[plan.kind]
    if not fits or len(opening) > OPENING:
        raise Rejected(
            "shape", f"{plan.kind}: {len(plan.calls)} calls, {len(opening)} values first, {len(later)} later"
        )
    if len({spoken(slot.value) for slot in plan.known}) < len(plan.known):
        raise Rejected("ambiguous", "two values that sound alike")
    if len({slot.label for slot in plan.slots}) < len(plan.slots):
        raise Rejected("ambiguous", "two values that are called alike")


def value_class(schema: Mapping[str, Any]) -> str:
    """How two values of a schema are compared: exact, enum, number, boolean, date or instant."""
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "enum" in schema:
        return "enum"
    if schema.get("format") in ("date-time", "date"):
        return "instant" if schema["format"] == "date-time" else "date"
    return "number" if {"integer", "number"} & set(kinds) else "boolean" if "boolean" in kinds else "exact"


# ── plans and scenarios ────────────────────────────────────────────────────────────────────────────────────


def as_scenario(plan: Plan, api: ApiPart, name: str, *, title: str = "", user: User | None = None) -> ToolScenario:
    """A plan as a scenario, its label executed."""
    return ToolScenario(
        id=name,
        kind=plan.kind,
        title=title,
        api=api,
        world=WorldPart(seed=plan.world_seed),
        user=user or User(),
        purpose=plan.purpose,
        slots={s.name: SlotPart(value=s.value, label=s.label, reveal=s.reveal, unknown=s.unknown) for s in plan.slots},
        assistant=AssistantPart(policy=plan.policy),
        faults=plan.faults,
        label=Label(
            how="executed",
            goal=dict(plan.change),
            forbidden=plan.forbidden,
            confirm=plan.confirm,
            facts=tuple(FactPart(call=f.call, pointer=f.pointer, value=f.value, label=f.label) for f in plan.facts),
            calls=tuple(
                LabelledCall(
                    op=call.operation,
                    args={
                        key: LabelledArgument(
                            value=a.value, source=a.source, leaves=dict(a.leaves), value_class=a.value_class
                        )
                        for key, a in call.arguments.items()
                    },
                )
                for call in plan.calls
            ),
        ),
    )


def plan_of(scenario: ToolScenario) -> Plan:
    """The plan a scenario was made from, or one that a person wrote."""
    return Plan(
        kind=scenario.kind,
        purpose=scenario.purpose,
        world_seed=scenario.world.seed,
        slots=tuple(Slot(name, s.value, s.label, s.reveal, s.unknown) for name, s in scenario.slots.items()),
        calls=tuple(
            PlannedCall(
                call.op,
                {key: Argument(a.value, a.source, dict(a.leaves), a.value_class) for key, a in call.args.items()},
            )
            for call in scenario.label.calls
        ),
        facts=tuple(Fact(f.call, f.pointer, f.value, f.label) for f in scenario.label.facts),
        change=scenario.label.goal,
        forbidden=scenario.label.forbidden,
        confirm=scenario.label.confirm,
        policy=scenario.assistant.policy,
        faults=scenario.faults,
    )
