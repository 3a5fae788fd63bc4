"""Drafts: goals for a talk about an API, sampled and regressed to calls and slots, and then checked.

The kinds follow the sources: `do`, `ask`, `chain` (ids come from earlier responses), `clarify` (a required value is
told only when asked for), `unknown` (the user does not know the id, but knows the record by its looks), `several` (two
goals in one talk), `recover` (the service fails once on the way), `refuse` (the house rules forbid it) and `abstain`
(nothing the API can do).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from simlab.api import Api, Operation, Resource, load_api
from simlab.die import Die
from simlab.files import resource as shipped
from simlab.plan import (
    OPENING,
    Argument,
    Fact,
    Plan,
    PlannedCall,
    Rejected,
    Slot,
    checked,
    value_class,
)
from simlab.records import Record
from simlab.scenario import FaultPart
from simlab.schema import pointed
from simlab.text import content_words, in_words
from simlab.values import Maker, Unmade
from simlab.world import CLOCK, World, example_call, seeded, typed

TRIES = 60
WORLDS = 64  # different initial states per document
FEWER_WORLDS = 16  # of a document whose records are made from schemas alone, which takes longer
MOST_LEAVES = 8  # values that one talk asks a user for, in all parts of an argument
DEEPEST = 3  # levels of an argument whose parts a user tells
LONGEST = 120  # characters of a value that can be said in a line
LONGEST_PURPOSE = 90
PASSING = ("rate_limit", "server_error", "timeout")  # faults that trying again mends
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
_VERBS = {
    "get": "look up",
    "list": "look up",
    "create": "add",
    "update": "change",
    "delete": "remove",
    "read": "look up",
}


class Aim(NamedTuple):
    """What a plan should be about: an operation, and arguments of which it should use one."""

    operation: str
    arguments: tuple[str, ...] = ()


def sample(
    api: Api, kind: str, die: Die, *, clock: str = CLOCK, tries: int = TRIES, about: Aim | None = None
) -> tuple[Plan, Counter[str]]:
    """A plan of a kind that has been executed and holds, and why others were rejected before it.

    With `about` the plan is about that operation, and uses one of the arguments. Raises Rejected when no try gives one.
    """
    reasons: Counter[str] = Counter()
    for attempt in range(tries):
        drawn = die.split(kind, attempt)
        try:
            return checked(api, _draft(api, kind, drawn, clock, about), clock), reasons
        except Rejected as rejected:
            reasons[rejected.reason] += 1
    raise Rejected("no_plan", f"{kind}: {dict(reasons)}", reasons)


def _draft(api: Api, kind: str, die: Die, clock: str, about: Aim | None) -> Plan:
    seed = die.below(FEWER_WORLDS if api.inferred else WORLDS)
    if kind == "abstain":
        wishes = die.sample(elsewhere(api), die.between(1, 2))
        return Plan(kind, " and ".join(wishes), seed)
    world = seeded(api, seed, clock)
    if kind == "several":
        return _several(api, die, world, seed, about)
    if kind == "recover":
        base = Draft(api, die.choice(("do", "chain", "clarify")), die, world, seed, about).plan()
        return _recovered(base, kind, die)
    if kind == "refuse":
        return _refused(Draft(api, "clarify", die, world, seed, about).plan(), api, kind)
    return Draft(api, kind, die, world, seed, about).plan()


def _several(api: Api, die: Die, world: World, seed: int, about: Aim | None) -> Plan:
    """Two goals in one world, one after the other; the values of the first come first."""
    first = Draft(api, die.choice(("clarify", "chain")), die.split("first"), world, seed, about).plan()
    second = Draft(api, die.choice(("clarify", "ask")), die.split("second"), world, seed).plan()
    slots = {slot.name: slot for slot in first.slots}
    for slot in second.slots:
        if slots.setdefault(slot.name, slot).value != slot.value:
            raise Rejected("ambiguous", f"two values for {slot.name}")
    if {call.operation for call in first.calls} & {call.operation for call in second.calls}:
        raise Rejected("ambiguous", "the same thing twice")
    shift = len(first.calls)
    calls = [replace(c, arguments={n: _shifted(a, shift) for n, a in c.arguments.items()}) for c in second.calls]
    told = tuple(replace(s, reveal="opening" if i < OPENING else "on_ask") for i, s in enumerate(slots.values()))
    return Plan(
        "several",
        f"{first.purpose}, and also to {second.purpose}",
        seed,
        told,
        (*first.calls, *calls),
        (*first.facts, *(replace(fact, call=fact.call + shift) for fact in second.facts)),
    )


def _shifted(argument: Argument, by: int) -> Argument:
    if not argument.source.startswith("call:"):
        return argument
    number, _, pointer = argument.source.removeprefix("call:").partition("#")
    return replace(argument, source=f"call:{int(number) + by}#{pointer}")


def _recovered(plan: Plan, kind: str, die: Die) -> Plan:
    """The same plan where one call fails at its first try, for a reason that passes."""
    struck = die.choice(plan.calls).operation
    return replace(plan, kind=kind, faults=(FaultPart(operation=struck, call=1, kind=die.choice(PASSING)),))


def _refused(plan: Plan, api: Api, kind: str) -> Plan:
    """The same wish where the house rules forbid its last call."""
    forbidden = api.operations[plan.calls[-1].operation]
    policy = f"Never {purpose_of(api, forbidden)}; say that it cannot be done here."
    return replace(plan, kind=kind, calls=(), facts=(), forbidden=(forbidden.id,), policy=policy)


@lru_cache(maxsize=32)
def elsewhere(api: Api) -> tuple[str, ...]:
    """What users may want that no operation of an API serves: errands of everyday life, and what our other APIs do."""
    others = [load_api(path) for path in sorted(shipped("apis").glob("*.yaml"))]
    wishes = [
        *ELSEWHERE,
        *(purpose_of(other, o) for other in others if other.title != api.title for o in other.operations.values()),
    ]
    served = [content_words(f"{o.summary} {o.description}") for o in api.operations.values()]

    def fits(wish: str) -> bool:
        words = content_words(wish)
        return any(len(words & known) >= max(1, len(words) / 2) for known in served)

    return tuple(dict.fromkeys(wish for wish in wishes if not fits(wish)))


def purpose_of(api: Api, operation: Operation) -> str:
    """An operation's summary as what a user wants: `Enrol a member.` -> `enrol a member`.

    Where a document of others has no summary that tells its operations apart, what the operation does to what.
    """
    said = operation.summary.strip().rstrip(".") or in_words(operation.id)
    if api.inferred and not _telling(api, said):
        said = in_words(operation.id)
        if operation.resource and operation.effect in _VERBS:
            said = f"{_VERBS[operation.effect]} {_one(in_words(operation.resource))}"
    return said[:1].lower() + said[1:]


def _telling(api: Api, said: str) -> bool:
    if len(said.split()) < 2 or len(said) > LONGEST_PURPOSE or "\n" in said:
        return False
    return _summaries(api)[said] == 1


@lru_cache(maxsize=32)
def _summaries(api: Api) -> Counter[str]:
    return Counter(o.summary.strip().rstrip(".") for o in api.operations.values())


def _one(name: str) -> str:
    return f"an {name}" if name[:1] in "aeiou" else f"a {name}"


class Draft:
    """A plan in the making: picks an operation and regresses from its arguments to slots and lookups."""

    def __init__(self, api: Api, kind: str, die: Die, world: World, seed: int, about: Aim | None = None) -> None:
        self._api, self._kind, self._die, self._world, self._seed = api, kind, die, world, seed
        self._about = about
        self._maker = Maker(api, die, world.clock)
        self._slots: dict[str, Slot] = {}
        self._calls: list[PlannedCall] = []
        self._facts: list[Fact] = []
        self._required: set[str] = set()
        self._length = die.between(2, 5)  # calls that a chain should have, where it can

    def plan(self) -> Plan:
        """The draft, not yet checked; raises Rejected where the draw leads nowhere."""
        reads = self._kind == "ask"
        operation = self._picked(reads)
        purpose = purpose_of(self._api, operation)
        if reads:
            purpose = self._ask(operation)
        else:
            self._write(operation)
            while self._kind == "chain" and len(self._calls) < self._length:
                more = self._follow_up(operation)
                if more is None:
                    break
                purpose, operation = f"{purpose} and then {purpose_of(self._api, more)}", more
        return Plan(self._kind, purpose, self._seed, self._told(), tuple(self._calls), tuple(self._facts))

    def _picked(self, reads: bool) -> Operation:
        if self._about is not None:
            operation = self._api.operations[self._about.operation]
            if operation.writes == reads:
                raise Rejected("shape", f"{operation.id} is no operation for {self._kind}")
            return operation
        effects = ("get", "list", "read") if self._api.inferred else ("get",)
        pool = [o for o in self._api.operations.values() if (o.effect in effects if reads else o.writes)]
        if not pool:
            raise Rejected("no_value", "no operation of the kind")
        return self._die.choice(pool)

    def _follow_up(self, last: Operation) -> Operation | None:
        """One more write to the record that the last call was about; None where there is none."""
        if not last.resource or last.effect == "delete" or last.responses.get(last.success) is None:
            return None
        resource = self._api.resources[last.resource]
        done = {call.operation for call in self._calls}
        pool = [
            o
            for o in self._api.operations.values()
            if o.resource == resource.name
            and o.effect in ("update", "action")
            and o.mode == "merge"
            and o.id not in done
            and (o.selector is not None or not self._api.inferred)
        ]
        if last.transition is not None or last.effect == "create":
            state = resource.initial.get(last.transition[0] if last.transition else next(iter(resource.initial), ""))
            if last.transition is not None:
                state = resource.transitions[last.transition].to
            pool = [o for o in pool if o.transition is None or state in resource.transitions[o.transition].origins]
        if not pool:
            return None
        operation, number = self._die.choice(pool), len(self._calls)
        arguments = self._same_parents(resource, last, operation)
        held = self._calls[-1].arguments.get(last.selector or "")
        value = held.value if held is not None else self._world.next_id(resource)
        selector = operation.selector or resource.id
        source = f"call:{number}#{last.record}/{resource.id}"
        arguments[selector] = Argument(self._as(operation, selector, value), source, value_class="id")
        arguments |= self._values(operation, resource, None, set(arguments), told=True)
        self._calls.append(PlannedCall(operation.id, arguments))
        return operation

    def _same_parents(self, resource: Resource, last: Operation, operation: Operation) -> dict[str, Argument]:
        """The arguments that say where the record hangs, as the call before said it."""
        said = {last.fields.get(name, name): a for name, a in self._calls[-1].arguments.items()}
        return {
            p.name: said[prop]
            for p in operation.parameters
            if (prop := operation.fields.get(p.name, p.name)) in resource.parents.values() and prop in said
        }

    def _told(self) -> tuple[Slot, ...]:
        """The slots, the first of them told at once; `do` and `ask` tell all at once."""
        slots = list(self._slots.values())
        if len(slots) > MOST_LEAVES and self._api.inferred:
            raise Rejected("no_value", f"{len(slots)} values are too many for a talk")
        if self._kind == "clarify":  # what is withheld is something that a call must have
            slots.sort(key=lambda slot: slot.name in self._required)
            if not slots or slots[-1].name not in self._required:
                raise Rejected("shape", "nothing required to withhold")
        if self._kind == "ask" and len(slots) > OPENING:  # more than a first line holds: what a call needs comes later
            if self._about is None and not self._api.inferred:
                raise Rejected("shape", f"a question of {len(slots)} values")
            slots.sort(key=lambda slot: slot.name in self._required)
        if self._kind == "unknown":  # what the record looks like is told when the id is not known
            slots.sort(key=lambda slot: slot.reveal == "later")
            known = [slot for slot in slots if slot.reveal != "later"]
            first = min(OPENING, len(known))
            return tuple(replace(s, reveal="opening" if i < first else "on_ask") for i, s in enumerate(slots))
        first = OPENING if self._kind in ("do", "ask") else min(self._die.between(1, OPENING), max(1, len(slots) - 1))
        return tuple(replace(slot, reveal="opening" if i < first else "on_ask") for i, slot in enumerate(slots))

    # ── questions ──────────────────────────────────────────────────────────────────────────────────────────

    def _ask(self, operation: Operation) -> str:
        if operation.effect == "read":
            return self._ask_outright(operation)
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
            and self._api.schema(part).get("type") != "object"
        ]
        if self._api.inferred:  # what several records have alike would be told by whoever tells any of them
            rows = self._world.tables[resource.name].values()
            fit = [name for name in fit if sum(row.get(name) == record[name] for row in rows) == 1]
        label = [name for name in resource.label if name not in resource.links]
        wanted = self._die.choice([name for name in fit if name not in label] or ["?"])
        if wanted == "?":
            raise Rejected("no_value", resource.name)
        if operation.effect == "list" or (self._about is None and label and self._die.chance(0.5)):
            number, pointer = self._looked_up(resource, record, operation if operation.effect == "list" else None)
            self._fact(number, f"{pointer}/{wanted}", wanted)
        else:
            arguments = self._identified(operation, resource, record, told=True)
            arguments |= self._values(operation, resource, record, set(arguments), told=True)
            self._calls.append(PlannedCall(operation.id, arguments))
            self._fact(len(self._calls), f"{operation.record}/{wanted}", wanted)
        return f"know the {in_words(wanted)} of {_one(in_words(resource.name))}"

    def _ask_outright(self, operation: Operation) -> str:
        """A question to an operation that leads to no record: any value that its answer holds."""
        arguments = self._values(operation, None, None, set(), told=True)
        self._calls.append(PlannedCall(operation.id, arguments))
        leaves = [
            (pointer, name)
            for pointer, name, value in _leaves(self._answer(len(self._calls)))
            if isinstance(value, str | int | float)
            and not isinstance(value, bool)
            and 0 < len(str(value)) <= LONGEST // 2
            and "\n" not in str(value)
        ]
        if not leaves:
            raise Rejected("no_value", f"{operation.id} answers nothing that could be told")
        pointer, name = self._die.choice(leaves)
        self._fact(len(self._calls), pointer, name or "answer")
        return f"know the {in_words(name or 'answer')} ({purpose_of(self._api, operation)})"

    def _answer(self, number: int) -> Any:
        """What the call of a number answers, made with the values of the plan."""
        call = self._calls[number - 1]
        response = self._world.copy().call(call.operation, {n: a.value for n, a in call.arguments.items()})
        if not response.ok:
            raise Rejected("call_failed", f"{call.operation}: {response.body}")
        return response.body

    def _fact(self, number: int, pointer: str, name: str) -> None:
        try:
            value = pointed(self._answer(number), pointer)
        except LookupError:
            raise Rejected("no_value", f"{pointer} is not in the answer") from None
        self._facts.append(Fact(number, pointer, value, in_words(name)))

    # ── changes ────────────────────────────────────────────────────────────────────────────────────────────

    def _write(self, operation: Operation) -> None:
        told = self._kind in ("do", "clarify")
        arguments: dict[str, Argument] = {}
        record: Record | None = None
        resource = self._api.resources.get(operation.resource)
        if resource is not None and operation.effect != "create" and (operation.selector or not self._api.inferred):
            record = self._record(resource, operation)
            arguments |= self._identified(operation, resource, record, told=told and self._die.chance(0.9))
        elif resource is not None:
            links = {prop: parent for parent, prop in resource.parents.items()}
            for parameter in operation.parameters:
                prop = operation.fields.get(parameter.name, parameter.name)
                if prop in links:
                    arguments[parameter.name] = self._link(
                        self._api.resources[links[prop]], operation, parameter.name, told
                    )
        if self._kind == "unknown" and not any(slot.unknown for slot in self._slots.values()):
            raise Rejected("shape", "no record that could be looked up")
        arguments |= self._values(operation, resource, record, set(arguments), told)
        self._calls.append(PlannedCall(operation.id, arguments))

    def _values(
        self, operation: Operation, resource: Resource | None, record: Record | None, done: set[str], told: bool
    ) -> dict[str, Argument]:
        """The arguments that are told: all required ones, some of the others, and for an update what changes."""
        known = self._api.arguments(operation)
        required = [name for name in self._api.required_arguments(operation) if name not in done]
        paging = {operation.page.size, operation.page.at} if operation.page else set()
        optional = [name for name in known if name not in done and name not in required and name not in paging]
        links = resource.links if resource is not None else {}
        chosen = list(required)
        if operation.effect == "update" and operation.mode == "merge":
            changeable = [n for n in optional if operation.fields.get(n, n) not in links]
            chosen += self._die.sample(changeable, self._die.between(1, 2) if self._kind != "do" else 1)
        elif self._kind != "do" and operation.writes:
            chosen += [name for name in optional if self._die.chance(0.25)]
        chosen += self._aimed(operation, [name for name in optional if name not in chosen])
        if operation.effect == "update" and not chosen:
            raise Rejected("shape", f"{operation.id} would be told of nothing to change")
        sample = self._die.choice(operation.samples) if operation.samples else {}
        made: dict[str, Argument] = {}
        for name in [n for n in known if n in chosen]:
            prop = operation.fields.get(name, name)
            if prop in links:
                made[name] = self._link(self._api.resources[links[prop]], operation, name, told)
                continue
            taken = self._taken(resource, prop) if self._about is not None else ()
            wire = operation.renamed.get(name, name)
            examples = resource.examples.get(prop, ()) if resource is not None else ()
            shown = {**sample, wire: self._die.choice(examples)} if examples else sample
            value = self._value(known[name], wire, shown, record, prop, taken)
            if value is None or (record is not None and record.get(prop) == value and name not in required):
                raise Rejected("no_value", name)
            made[name] = self._slotted(name, value, known[name])
            if name in required:
                self._required |= {source.removeprefix("user:") for source in made[name].sources}
        return made

    def _aimed(self, operation: Operation, names: Sequence[str]) -> list[str]:
        """One of the arguments that the plan is to use, if it can have one of them."""
        if self._about is None or operation.id != self._about.operation:
            return []
        wanted = [name for name in names if name in self._about.arguments]
        return [self._die.choice(wanted)] if wanted else []

    def _taken(self, resource: Resource | None, prop: str) -> Sequence[Any]:
        """The values of a field that no other record may have."""
        if resource is None or prop not in resource.unique:
            return ()
        return [record.get(prop) for record in self._world.tables[resource.name].values()]

    def _value(
        self,
        schema: Any,
        name: str,
        sample: Mapping[str, Any],
        record: Record | None,
        prop: str,
        taken: Sequence[Any] = (),
    ) -> Any:
        """A value that differs from what the record has: the document's own example, else one that is made."""
        value = sample.get(name) if sample.get(name) not in taken else None
        if self._api.inferred and value is not None and not self._api.valid(value, schema):
            value = None
        for _ in range(8):
            if value is None or value in taken or (record is not None and record.get(prop) == value):
                try:
                    value = self._maker.valid(schema, name) if self._api.inferred else self._maker.value(schema, None)
                except Unmade as why:
                    raise Rejected("no_value", f"{name}: {why}") from None
        return value

    # ── slots ──────────────────────────────────────────────────────────────────────────────────────────────

    def _slotted(self, name: str, value: Any, schema: Any) -> Argument:
        """An argument the user tells, one slot for a plain value and one for each part of an object or a list."""
        if not isinstance(value, Mapping | list):
            slot = self._slot(name, value, in_words(name))
            return Argument(value, f"user:{slot}", value_class=value_class(self._api.merged(schema)))
        if not self._api.inferred and (
            isinstance(value, list) or any(isinstance(inner, Mapping | list) for inner in value.values())
        ):
            raise Rejected("no_value", f"{name} is too deep to be told")
        leaves: dict[str, str] = {}
        for pointer, last, inner in _leaves(value, deepest=DEEPEST):
            if isinstance(inner, Mapping | list):
                if inner:
                    raise Rejected("no_value", f"{name}{pointer} is too deep to be told")
                continue
            part = f"{name}{pointer.replace('/', '_')}"
            leaves[pointer] = f"user:{self._slot(part, inner, in_words(f'{name}_{last}') if last else in_words(part))}"
        if not leaves:
            if self._api.inferred and not value:
                return Argument(value, "const", value_class="object")
            raise Rejected("no_value", f"{name} is empty")
        return Argument(value, leaves=leaves, value_class="object" if isinstance(value, Mapping) else "list")

    def _slot(self, name: str, value: Any, label: str) -> str:
        held = self._slots.get(name)
        if held is not None and held.value != value and self._api.inferred and not name.startswith("new_"):
            return self._slot(f"new_{name}", value, f"new {label}")
        if held is not None and held.value != value:
            raise Rejected("ambiguous", f"two values for {name}")
        if isinstance(value, str) and (not value.strip() or len(value) > LONGEST or "\n" in value):
            raise Rejected("no_value", f"{name} cannot be said in a line")
        if value is None:
            raise Rejected("no_value", f"{name} is nothing")
        self._slots[name] = Slot(name, value, label)
        return name

    # ── records ────────────────────────────────────────────────────────────────────────────────────────────

    def _record(self, resource: Resource, operation: Operation | None = None) -> Record:
        """A record to be the object of the goal, in a state that the operation accepts."""
        rows = list(self._world.tables[resource.name].values())
        if operation is not None and operation.transition is not None:
            move = resource.transitions[operation.transition]
            rows = [row for row in rows if row.get(operation.transition[0]) in move.origins]
        if not rows:
            raise Rejected("no_value", f"no {resource.name} in the right state")
        return self._die.choice(rows)

    def _as(self, operation: Operation, name: str, key: Any) -> Any:
        """An id as an argument of an operation takes it."""
        schema = self._api.arguments(operation).get(name)
        return key if schema is None else typed(self._api, schema, key)

    def _identified(
        self, operation: Operation, resource: Resource, record: Record, *, told: bool
    ) -> dict[str, Argument]:
        """The arguments that say which record is meant: its id, told or looked up, and those of its parents."""
        made: dict[str, Argument] = {}
        parents = {prop: name for name, prop in resource.parents.items()}
        for parameter in operation.parameters:
            prop = operation.fields.get(parameter.name, parameter.name)
            if prop in parents and parameter.name != operation.selector:
                parent = self._api.resources[parents[prop]]
                made[parameter.name] = self._link(parent, operation, parameter.name, told, str(record[prop]))
        selector = operation.selector or resource.id
        shared = set(in_words(resource.name).split()) & set(in_words(selector).split())
        label = in_words(selector) if shared else in_words(f"{resource.name}_{selector}")
        if self._kind == "unknown":
            self._slots["?"] = Slot(f"{resource.name}_{resource.id}", None, label, "later", unknown=True)
        if self._kind != "unknown" and (told or not self._can_look_up(resource)):
            value = self._as(operation, selector, record[resource.id])
            slot = self._slot(f"{resource.name}_{resource.id}", value, label)
            self._required.add(slot)
            made[selector] = Argument(value, f"user:{slot}", value_class="id")
        else:
            number, pointer = self._looked_up(resource, record)
            source = f"call:{number}#{pointer}/{resource.id}"
            made[selector] = Argument(self._as(operation, selector, record[resource.id]), source, value_class="id")
        return made

    def _link(
        self, resource: Resource, operation: Operation, name: str, told: bool, identifier: str | None = None
    ) -> Argument:
        """The id of another record: told, looked up, or of a record made on the way."""
        known = identifier is not None
        if not known and self._kind == "chain" and self._die.chance(0.25):
            creates = self._api.first("create", resource.name)
            if creates is not None and not resource.parents:
                arguments = self._values(creates, resource, None, set(), told)
                self._calls.append(PlannedCall(creates.id, arguments))
                value = self._as(operation, name, self._world.next_id(resource))
                source = f"call:{len(self._calls)}#{creates.record}/{resource.id}"
                return Argument(value, source, value_class="id")
        rows = self._world.tables[resource.name]
        record = (
            rows[identifier] if identifier is not None and identifier in rows else self._die.choice(list(rows.values()))
        )
        value = self._as(operation, name, record[resource.id])
        if told or not self._can_look_up(resource) or (self._kind == "chain" and self._die.chance(0.3)):
            slot = self._slot(name, value, in_words(name))
            self._required.add(slot)
            return Argument(value, f"user:{slot}", value_class="id")
        number, pointer = self._looked_up(resource, record)
        return Argument(value, f"call:{number}#{pointer}/{resource.id}", value_class="id")

    def _can_look_up(self, resource: Resource) -> bool:
        lister = self._api.first("list", resource.name)
        return lister is not None and any(name not in resource.links for name in resource.label)

    def _looked_up(self, resource: Resource, record: Record, lister: Operation | None = None) -> tuple[int, str]:
        """A call that lists records, and where in its answer the one is that fits what the user says of it."""
        operation = lister or self._api.first("list", resource.name)
        if operation is None:
            raise Rejected("shape", f"nothing lists {resource.name}")
        arguments = self._list_arguments(operation, resource, record)
        label = [name for name in resource.label if name not in resource.links and name in record]
        if not label:
            raise Rejected("no_value", f"{resource.name} has no label to tell it by")
        for name in label:
            slot = self._slot(f"{resource.name}_{name}", record[name], f"{in_words(resource.name)} {in_words(name)}")
            if self._kind == "unknown":
                self._slots[slot] = replace(self._slots[slot], reveal="later")
        answer = self._world.copy().call(operation.id, {name: a.value for name, a in arguments.items()})
        try:
            rows = pointed(answer.body, operation.rows) if answer.ok else []
        except LookupError:
            rows = []
        fitting = [i for i, row in enumerate(rows) if all(row.get(name) == record[name] for name in label)]
        if len(fitting) != 1:
            raise Rejected("ambiguous" if fitting else "not_derivable", f"{len(fitting)} {resource.name} fit")
        call = PlannedCall(operation.id, arguments)
        if call not in self._calls:
            self._calls.append(call)
        return self._calls.index(call) + 1, f"{operation.rows}/{fitting[0]}"

    def _list_arguments(self, operation: Operation, resource: Resource, record: Record) -> dict[str, Argument]:
        """What a list must be asked with: where the records hang, and whatever else it requires."""
        arguments: dict[str, Argument] = {}
        parents = {prop: name for name, prop in resource.parents.items()}
        for parameter in operation.parameters:
            prop = operation.fields.get(parameter.name, parameter.name)
            if parameter.required and prop in parents:
                parent = self._api.resources[parents[prop]]
                arguments[parameter.name] = self._link(parent, operation, parameter.name, True, str(record[prop]))
        required = [n for n in self._api.required_arguments(operation) if n not in arguments]
        known = self._api.arguments(operation)
        paging = {operation.page.size, operation.page.at} if operation.page else set()
        required += self._aimed(operation, [n for n in known if n not in (*required, *arguments, *paging)])
        if required and (self._api.inferred or self._about is not None):
            wanted = example_call(self._world, operation, self._die, optional=1.0 if self._about else 0.0)
            for name in required:
                held = record.get(operation.filters.get(name, ""), wanted.get(name))
                arguments[name] = self._slotted(name, self._as(operation, name, held), known[name])
        return arguments


def _leaves(value: Any, at: str = "", name: str = "", *, deepest: int = 4) -> Iterator[tuple[str, str, Any]]:
    """The plain values in a value, as (JSON pointer, name, value); what lies deeper comes as it is."""
    inner: Sequence[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = [(str(i), one) for i, one in enumerate(value)]
    if not inner or not deepest:
        yield at, name, value
        return
    for key, one in inner:
        step = key.replace("~", "~0").replace("/", "~1")
        said = f"{name}_{key}" if name and not key.isdigit() else (name or ("" if key.isdigit() else key))
        yield from _leaves(one, f"{at}/{step}", said, deepest=deepest - 1)
