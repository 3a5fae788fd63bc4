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

from simlab.api import Api, Operation, Resource, load_api
from simlab.die import Die
from simlab.errors import nearest
from simlab.files import resource as shipped
from simlab.records import Record
from simlab.scenario import (
    ApiPart,
    FactPart,
    Label,
    LabelledArgument,
    LabelledCall,
    SlotPart,
    ToolScenario,
    User,
    WorldPart,
)
from simlab.schema import pointed, to_json
from simlab.text import content_words, in_words
from simlab.values import Maker
from simlab.world import CLOCK, Response, World, diff, random_call, seeded, volatile_fields

KINDS = ("do", "ask", "chain", "clarify", "abstain")
QUOTA = ("chain", "do", "ask", "clarify", "chain", "ask", "clarify", "do", "chain", "abstain")
OPENING = 2  # values in a user's first line, at the most (Mu et al., AutoDE, 2024)
TRIES = 60
RANDOM_AGENTS = 40
RANDOM_CALLS = 4
WORLDS = 64  # different initial states per document
ELSEWHERE = (
    "book a table for four at a restaurant",
    "translate a letter into Portuguese",
    "know what the weather will be like tomorrow",
    "cancel my gym contract",
    "find a plumber who comes today",
    "convert an old video tape",
    "get a recipe for lentil soup",
    "renew my passport",
    "reserve two seats at the opera",
    "have my piano tuned",
)  # fmt: skip


class Rejected(Exception):
    """A plan that cannot serve; `reason` is counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


@dataclass(frozen=True)
class Slot:
    """A value that the user knows, and when it is told: in the opening, or when asked for."""

    name: str
    value: Any
    label: str
    reveal: str = "on_ask"


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


def sample(api: Api, kind: str, die: Die, *, clock: str = CLOCK, tries: int = TRIES) -> tuple[Plan, Counter[str]]:
    """A plan of a kind that has been executed and holds, and why others were rejected before it.

    Raises Rejected when no try gives one.
    """
    reasons: Counter[str] = Counter()
    for attempt in range(tries):
        drawn = die.split(kind, attempt)
        try:
            return checked(api, _draft(api, kind, drawn, clock), clock), reasons
        except Rejected as rejected:
            reasons[rejected.reason] += 1
    raise Rejected("no_plan", f"{kind}: {dict(reasons)}")


def checked(api: Api, plan: Plan, clock: str = CLOCK) -> Plan:
    """The plan with its change, from executing it; raises Rejected for a reason that is counted."""
    start = seeded(api, plan.world_seed, clock)
    volatile = volatile_fields(api)
    world = start.copy()
    _derivable(api, plan)
    responses = execute(world, plan.calls)
    _faithful(plan, responses)
    change = diff(start.tables, world.tables, volatile)
    if plan.kind in ("ask", "abstain"):
        if change:
            raise Rejected("call_failed", "a question that changes something")
    elif not change:
        raise Rejected("nothing_to_do")
    for fact in plan.facts:
        try:
            found = pointed(responses[fact.call - 1].body, fact.pointer)
        except (LookupError, TypeError, ValueError):
            raise Rejected("not_derivable", fact.pointer) from None
        if found != fact.value:
            raise Rejected("not_derivable", fact.pointer)
    _minimal(start, plan, change, volatile)
    _shaped(plan)
    if change and to_json(change) in _by_chance(api, plan.world_seed, clock):
        raise Rejected("by_chance", plan.purpose)
    return replace(plan, change=change)


def _derivable(api: Api, plan: Plan) -> None:
    """Every argument comes from a slot with that value, an earlier response or a constant of the document."""
    slots = {slot.name: slot.value for slot in plan.slots}
    for number, call in enumerate(plan.calls, 1):
        if call.operation not in api.operations:
            raise Rejected("call_failed", f"there is no operation {call.operation}")
        for name, argument in call.arguments.items():
            if argument.source == "const" and _constant(_schema_of(api, call, name), argument.value):
                continue
            for pointer, source in (argument.leaves or {"": argument.source}).items():
                if not _known(argument.value, pointer, source, slots, number):
                    raise Rejected("not_derivable", f"{call.operation}.{name}: {source or 'nowhere'}")


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
    told = {spoken(slot.value) for slot in plan.slots}
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
def _by_chance(api: Api, world_seed: int, clock: str) -> frozenset[str]:
    """What seeded agents that call at random make of a world: the changes, as canonical JSON."""
    start, volatile, found = seeded(api, world_seed, clock), volatile_fields(api), set()
    for seed in range(RANDOM_AGENTS):
        die, world = chance_die(api, world_seed, seed), start.copy()
        for _ in range(RANDOM_CALLS):
            world.call(*random_call(world, die))
        found.add(to_json(diff(start.tables, world.tables, volatile)))
    return frozenset(found)


def executed(api: Api, scenario: ToolScenario) -> str | None:
    """What is wrong with a scenario's label when it is executed; None when it holds."""
    unknown = [name for name in scenario.label.forbidden if name not in api.operations]
    if unknown:
        return f"label.forbidden: no operation {unknown[0]!r}{nearest(unknown[0], api.operations)}"
    plan = plan_of(scenario)
    try:
        again = checked(api, plan, scenario.world.clock)
    except Rejected as rejected:
        return f"label.calls: does not execute: {rejected}"
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
        "ask": bool(plan.facts) and not later,
        "chain": 2 <= len(plan.calls) <= 5 and linked,
        "clarify": bool(later) and bool(opening) and bool(plan.calls),
        "abstain": not plan.calls,
    }[plan.kind]
    if not fits or len(opening) > OPENING:
        raise Rejected(
            "shape", f"{plan.kind}: {len(plan.calls)} calls, {len(opening)} values first, {len(later)} later"
        )
    if len({spoken(slot.value) for slot in plan.slots}) < len(plan.slots):
        raise Rejected("ambiguous", "two values that sound alike")


@lru_cache(maxsize=32)
def elsewhere(api: Api) -> tuple[str, ...]:
    """What users may want that no operation of an API serves: errands of everyday life, and what our other APIs do."""
    others = [load_api(path) for path in sorted(shipped("apis").glob("*.yaml"))]
    wishes = [
        *ELSEWHERE,
        *(_purpose(o) for other in others if other.title != api.title for o in other.operations.values()),
    ]
    served = [content_words(f"{o.summary} {o.description}") for o in api.operations.values()]

    def fits(wish: str) -> bool:
        words = content_words(wish)
        return any(len(words & known) >= max(1, len(words) / 2) for known in served)

    return tuple(dict.fromkeys(wish for wish in wishes if not fits(wish)))


# ── drafting ───────────────────────────────────────────────────────────────────────────────────────────────


def _draft(api: Api, kind: str, die: Die, clock: str) -> Plan:
    seed = die.below(WORLDS)
    if kind == "abstain":
        wishes = die.sample(elsewhere(api), die.between(1, 2))
        return Plan(kind, " and ".join(wishes), seed)
    return Draft(api, kind, die, seeded(api, seed, clock), seed).plan()


class Draft:
    """A plan in the making: picks an operation and regresses from its arguments to slots and lookups."""

    def __init__(self, api: Api, kind: str, die: Die, world: World, seed: int) -> None:
        self._api, self._kind, self._die, self._world, self._seed = api, kind, die, world, seed
        self._maker = Maker(api, die, world.clock)
        self._slots: dict[str, Slot] = {}
        self._calls: list[PlannedCall] = []
        self._facts: list[Fact] = []
        self._required: set[str] = set()
        self._length = die.between(2, 5)  # calls that a chain should have, where it can

    def plan(self) -> Plan:
        """The draft, not yet checked; raises Rejected where the draw leads nowhere."""
        reads = self._kind == "ask"
        pool = [o for o in self._api.operations.values() if (o.effect == "get" if reads else o.writes)]
        if not pool:
            raise Rejected("no_value", "no operation of the kind")
        operation = self._die.choice(pool)
        purpose = _purpose(operation)
        if reads:
            purpose = self._ask(operation)
        else:
            self._write(operation)
            while self._kind == "chain" and len(self._calls) < self._length:
                more = self._follow_up(operation)
                if more is None:
                    break
                purpose, operation = f"{purpose} and then {_purpose(more)}", more
        return Plan(self._kind, purpose, self._seed, self._told(), tuple(self._calls), tuple(self._facts))

    def _follow_up(self, last: Operation) -> Operation | None:
        """One more write to the record that the last call was about; None where there is none."""
        resource = self._api.resources[last.resource]
        if last.effect == "delete" or self._api.operations[self._calls[-1].operation].responses[last.success] is None:
            return None
        done = {call.operation for call in self._calls}
        pool = [
            o
            for o in self._api.operations.values()
            if o.resource == resource.name
            and o.effect in ("update", "action")
            and o.mode == "merge"
            and o.id not in done
        ]
        if last.transition is not None or last.effect == "create":
            state = resource.initial.get(last.transition[0] if last.transition else next(iter(resource.initial), ""))
            if last.transition is not None:
                state = resource.transitions[last.transition].to
            pool = [o for o in pool if o.transition is None or state in resource.transitions[o.transition].origins]
        if not pool:
            return None
        operation, number = self._die.choice(pool), len(self._calls)
        parents = {prop for prop in resource.parents.values() if any(p.name == prop for p in operation.parameters)}
        arguments = {prop: self._calls[-1].arguments[prop] for prop in parents if prop in self._calls[-1].arguments}
        held = self._calls[-1].arguments.get(last.selector or "")
        value = held.value if held is not None else self._world.next_id(resource)
        selector = operation.selector or resource.id
        arguments[selector] = Argument(value, f"call:{number}#/{resource.id}", value_class="id")
        arguments |= self._values(operation, resource, None, set(arguments), told=True)
        self._calls.append(PlannedCall(operation.id, arguments))
        return operation

    def _told(self) -> tuple[Slot, ...]:
        """The slots, the first of them told at once; `do` and `ask` tell all at once."""
        slots = list(self._slots.values())
        if self._kind == "clarify":  # what is withheld is something that a call must have
            slots.sort(key=lambda slot: slot.name in self._required)
            if not slots or slots[-1].name not in self._required:
                raise Rejected("shape", "nothing required to withhold")
        first = OPENING if self._kind in ("do", "ask") else min(self._die.between(1, OPENING), max(1, len(slots) - 1))
        return tuple(replace(slot, reveal="opening" if i < first else "on_ask") for i, slot in enumerate(slots))

    def _ask(self, operation: Operation) -> str:
        resource = self._api.resources[operation.resource]
        record = self._record(resource)
        properties = self._api.properties(resource.schema)
        fit = [
            name
            for name, part in properties.items()
            if name in record
            and name != resource.id
            and name not in resource.links
            and name not in resource.volatile
            and isinstance(record[name], str | int | float)
            and not isinstance(record[name], bool)
            and "\n" not in str(record[name])
            and self._api.resolve(part).get("type") != "object"
        ]
        label = [name for name in resource.label if name not in resource.links]
        wanted = self._die.choice([name for name in fit if name not in label] or ["?"])
        if wanted == "?":
            raise Rejected("no_value", resource.name)
        if label and self._die.chance(0.5):
            number, pointer = self._looked_up(resource, record)
            self._facts.append(Fact(number, f"{pointer}/{wanted}", record[wanted], in_words(wanted)))
        else:
            arguments = self._identified(operation, resource, record, told=True)
            self._calls.append(PlannedCall(operation.id, arguments))
            self._facts.append(Fact(len(self._calls), f"/{wanted}", record[wanted], in_words(wanted)))
        return f"know the {in_words(wanted)} of {_one(in_words(resource.name))}"

    def _write(self, operation: Operation) -> None:
        resource = self._api.resources[operation.resource]
        told = self._kind in ("do", "clarify")
        arguments: dict[str, Argument] = {}
        record: Record | None = None
        if operation.effect != "create":
            record = self._record(resource, operation)
            arguments |= self._identified(operation, resource, record, told=told and self._die.chance(0.9))
        else:
            for parent, prop in resource.parents.items():
                if any(p.name == prop for p in operation.parameters):
                    arguments[prop] = self._link(self._api.resources[parent], prop, told)
        arguments |= self._values(operation, resource, record, set(arguments), told)
        self._calls.append(PlannedCall(operation.id, arguments))

    def _values(
        self, operation: Operation, resource: Resource, record: Record | None, done: set[str], told: bool
    ) -> dict[str, Argument]:
        """The arguments that are told: all required ones, some of the others, and for an update what changes."""
        known = self._api.arguments(operation)
        required = [name for name in self._api.required_arguments(operation) if name not in done]
        paging = {operation.page.size, operation.page.at} if operation.page else set()
        optional = [name for name in known if name not in done and name not in required and name not in paging]
        chosen = list(required)
        if operation.effect == "update" and operation.mode == "merge":
            changeable = [n for n in optional if n not in resource.links]
            chosen += self._die.sample(changeable, self._die.between(1, 2) if self._kind != "do" else 1)
        elif self._kind != "do":
            chosen += [name for name in optional if self._die.chance(0.25)]
        sample = self._die.choice(operation.samples) if operation.samples else {}
        made: dict[str, Argument] = {}
        for name in [n for n in known if n in chosen]:
            if name in resource.links:
                made[name] = self._link(self._api.resources[resource.links[name]], name, told)
                continue
            value = sample.get(name)
            for _ in range(8):
                if value is None or (record is not None and record.get(name) == value):
                    value = self._maker.value(known[name], None)
            if value is None or (record is not None and record.get(name) == value and name not in required):
                raise Rejected("no_value", name)
            made[name] = self._slotted(name, value, known[name])
            if name in required:
                self._required |= {source.removeprefix("user:") for source in made[name].sources}
        return made

    def _slotted(self, name: str, value: Any, schema: Any) -> Argument:
        """An argument the user tells, one slot for a plain value and one for each part of an object."""
        if isinstance(value, Mapping):
            leaves = {}
            for part, inner in value.items():
                if isinstance(inner, Mapping | list):
                    raise Rejected("no_value", f"{name}.{part} is too deep to be told")
                slot = self._slot(f"{name}_{part}", inner, f"{in_words(name)} {in_words(part)}")
                leaves[f"/{part}"] = f"user:{slot}"
            return Argument(value, leaves=leaves, value_class="object")
        if isinstance(value, list):
            raise Rejected("no_value", f"{name} is a list")
        slot = self._slot(name, value, in_words(name))
        return Argument(value, f"user:{slot}", value_class=value_class(self._api.resolve(schema)))

    def _slot(self, name: str, value: Any, label: str) -> str:
        held = self._slots.get(name)
        if held is not None and held.value != value:
            raise Rejected("ambiguous", f"two values for {name}")
        if isinstance(value, str) and (not value.strip() or len(value) > 120 or "\n" in value):
            raise Rejected("no_value", f"{name} cannot be said in a line")
        self._slots[name] = Slot(name, value, label)
        return name

    def _record(self, resource: Resource, operation: Operation | None = None) -> Record:
        """A record to be the object of the goal, in a state that the operation accepts."""
        rows = list(self._world.tables[resource.name].values())
        if operation is not None and operation.transition is not None:
            move = resource.transitions[operation.transition]
            rows = [row for row in rows if row.get(operation.transition[0]) in move.origins]
        if not rows:
            raise Rejected("no_value", f"no {resource.name} in the right state")
        return self._die.choice(rows)

    def _identified(
        self, operation: Operation, resource: Resource, record: Record, *, told: bool
    ) -> dict[str, Argument]:
        """The arguments that say which record is meant: its id, told or looked up, and those of its parents."""
        made: dict[str, Argument] = {}
        parents = {prop: name for name, prop in resource.parents.items()}
        for parameter in operation.parameters:
            if parameter.name in parents:
                parent = self._api.resources[parents[parameter.name]]
                made[parameter.name] = self._link(parent, parameter.name, told, str(record[parameter.name]))
        selector = operation.selector or resource.id
        shared = set(in_words(resource.name).split()) & set(in_words(selector).split())
        label = in_words(selector) if shared else in_words(f"{resource.name}_{selector}")
        if told or not self._can_look_up(resource):
            slot = self._slot(f"{resource.name}_{resource.id}", record[resource.id], label)
            self._required.add(slot)
            made[selector] = Argument(record[resource.id], f"user:{slot}", value_class="id")
        else:
            number, pointer = self._looked_up(resource, record)
            source = f"call:{number}#{pointer}/{resource.id}"
            made[selector] = Argument(record[resource.id], source, value_class="id")
        return made

    def _link(self, resource: Resource, prop: str, told: bool, identifier: str | None = None) -> Argument:
        """The id of another record: told, looked up, or of a record made on the way."""
        known = identifier is not None
        if not known and self._kind == "chain" and self._die.chance(0.25):
            creates = [o for o in self._api.operations.values() if o.effect == "create" and o.resource == resource.name]
            if creates and not resource.parents:
                arguments = self._values(creates[0], resource, None, set(), told)
                self._calls.append(PlannedCall(creates[0].id, arguments))
                value = self._world.next_id(resource)
                return Argument(value, f"call:{len(self._calls)}#/{resource.id}", value_class="id")
        rows = self._world.tables[resource.name]
        record = (
            rows[identifier] if identifier is not None and identifier in rows else self._die.choice(list(rows.values()))
        )
        if told or not self._can_look_up(resource) or (self._kind == "chain" and self._die.chance(0.3)):
            slot = self._slot(prop, record[resource.id], in_words(prop))
            self._required.add(slot)
            return Argument(record[resource.id], f"user:{slot}", value_class="id")
        number, pointer = self._looked_up(resource, record)
        return Argument(record[resource.id], f"call:{number}#{pointer}/{resource.id}", value_class="id")

    def _can_look_up(self, resource: Resource) -> bool:
        return any(name not in resource.links for name in resource.label) and self._lister(resource) is not None

    def _lister(self, resource: Resource) -> Operation | None:
        found = [o for o in self._api.operations.values() if o.effect == "list" and o.resource == resource.name]
        return found[0] if found else None

    def _looked_up(self, resource: Resource, record: Record) -> tuple[int, str]:
        """A call that lists records, and where in its answer the one is that fits what the user says of it."""
        operation = self._lister(resource)
        assert operation is not None
        arguments: dict[str, Argument] = {}
        parents = {prop: name for name, prop in resource.parents.items()}
        for parameter in operation.parameters:
            if parameter.required and parameter.name in parents:
                parent = self._api.resources[parents[parameter.name]]
                arguments[parameter.name] = self._link(parent, parameter.name, True, str(record[parameter.name]))
        label = [name for name in resource.label if name not in resource.links and name in record]
        if not label:
            raise Rejected("no_value", f"{resource.name} has no label to tell it by")
        for name in label:
            self._slot(f"{resource.name}_{name}", record[name], f"{in_words(resource.name)} {in_words(name)}")
        answer = self._world.copy().call(operation.id, {name: a.value for name, a in arguments.items()})
        items = operation.items or "items"
        rows = answer.body.get(items, []) if answer.ok else []
        fitting = [i for i, row in enumerate(rows) if all(row.get(name) == record[name] for name in label)]
        if len(fitting) != 1:
            raise Rejected("ambiguous" if fitting else "not_derivable", f"{len(fitting)} {resource.name} fit")
        call = PlannedCall(operation.id, arguments)
        if call not in self._calls:
            self._calls.append(call)
        return self._calls.index(call) + 1, f"/{items}/{fitting[0]}"


def value_class(schema: Mapping[str, Any]) -> str:
    """How two values of a schema are compared: exact, enum, number, boolean, date or instant."""
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "enum" in schema:
        return "enum"
    if schema.get("format") in ("date-time", "date"):
        return "instant" if schema["format"] == "date-time" else "date"
    return "number" if {"integer", "number"} & set(kinds) else "boolean" if "boolean" in kinds else "exact"


def _purpose(operation: Operation) -> str:
    """An operation's summary as what a user wants: `Enrol a member.` -> `enrol a member`."""
    said = operation.summary.strip().rstrip(".") or in_words(operation.id)
    return said[:1].lower() + said[1:]


def _one(name: str) -> str:
    return f"an {name}" if name[:1] in "aeiou" else f"a {name}"


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
        slots={s.name: SlotPart(value=s.value, label=s.label, reveal=s.reveal) for s in plan.slots},
        label=Label(
            how="executed",
            goal=dict(plan.change),
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
        slots=tuple(Slot(name, s.value, s.label, s.reveal) for name, s in scenario.slots.items() if not s.unknown),
        calls=tuple(
            PlannedCall(
                call.op,
                {key: Argument(a.value, a.source, dict(a.leaves), a.value_class) for key, a in call.args.items()},
            )
            for call in scenario.label.calls
        ),
        facts=tuple(Fact(f.call, f.pointer, f.value, f.label) for f in scenario.label.facts),
        change=scenario.label.goal,
    )
