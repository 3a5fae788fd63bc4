"""A world is the state behind a simulated API: records, a virtual clock, and what each operation does to them.

No language model, no wall clock, no global state: equal worlds answer equal calls equally. Records are never
changed in place; a write makes new tables that share what did not change, so a snapshot is a reference.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from simlab.api import Api, Operation, Resource
from simlab.die import Die
from simlab.errors import InputError
from simlab.patterns import matching_text
from simlab.schema import to_json
from simlab.text import in_words

Record = Mapping[str, Any]
Tables = Mapping[str, Mapping[str, Record]]
CLOCK = "2026-03-02T09:00:00+00:00"
TICK = timedelta(minutes=1)  # virtual time between two calls


@dataclass(frozen=True)
class Response:
    """What a call was answered: a status as in HTTP, and a JSON body."""

    status: int
    body: Any = None

    @property
    def ok(self) -> bool:
        """Whether the call worked."""
        return self.status < 400


class Refused(Exception):
    """A call that the world answers with an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.response = Response(status, {"code": code, "message": message})


@dataclass
class World:
    """The records of an API at a moment; `call` answers a call and changes them."""

    api: Api
    tables: Tables
    counters: dict[str, int] = field(default_factory=dict)
    clock: datetime = field(default_factory=lambda: datetime.fromisoformat(CLOCK))

    def copy(self) -> "World":
        """Another world in the same state; costs nothing, as records are shared."""
        return World(self.api, self.tables, dict(self.counters), self.clock)

    def call(self, name: str, arguments: Mapping[str, Any]) -> Response:
        """Answer one call; an unknown operation is a 404 and an invalid call a 422, never an exception."""
        self.clock += TICK
        operation = self.api.operations.get(name)
        if operation is None:
            return Response(404, {"code": "unknown_operation", "message": f"There is no operation {name}."})
        if wrong := self.api.argument_problems(operation, arguments):
            return Response(422, {"code": "invalid", "message": wrong[0]})
        try:
            body = _EFFECTS[operation.effect](self, operation, self.api.resources[operation.resource], arguments)
        except Refused as refused:
            return refused.response
        return Response(
            int(operation.success), body if operation.responses.get(operation.success) is not None else None
        )

    # ── effects ────────────────────────────────────────────────────────────────────────────────────────────

    def _get(self, operation: Operation, resource: Resource, arguments: Mapping[str, Any]) -> Any:
        return self._found(operation, resource, arguments)

    def _list(self, operation: Operation, resource: Resource, arguments: Mapping[str, Any]) -> Any:
        self._parents(resource, arguments)
        rows = [
            record
            for record in self.tables[resource.name].values()
            if all(record.get(prop) == arguments[name] for name, prop in operation.filters.items() if name in arguments)
            and all(record.get(prop) == arguments[prop] for prop in resource.parents.values() if prop in arguments)
        ]
        return self._paged(operation, rows, arguments)

    def _create(self, operation: Operation, resource: Resource, arguments: Mapping[str, Any]) -> Any:
        self._parents(resource, arguments)
        self._references(resource, arguments)
        self._unique(resource, arguments, but=None)
        number = self.counters.get(resource.name, 0) + 1
        self.counters[resource.name] = number
        made = self._new(resource, arguments, resource.ids.format(n=number))
        self._put(resource, made)
        return made

    def _update(self, operation: Operation, resource: Resource, arguments: Mapping[str, Any]) -> Any:
        record = dict(self._found(operation, resource, arguments))
        outside = {p.name for p in operation.parameters} | {operation.selector}
        changes = {name: value for name, value in arguments.items() if name not in outside}
        self._references(resource, changes)
        self._unique(resource, changes, but=record[resource.id])
        if operation.mode == "replace":
            fixed = {resource.id, *resource.links} | {
                name
                for name, part in self.api.properties(resource.schema).items()
                if self.api.resolve(part).get("readOnly")
            }
            record = {name: value for name, value in record.items() if name in fixed}
            record = {**self._defaults(resource), **record}
        made: Record = {**record, **changes}
        if made != self.tables[resource.name][record[resource.id]]:
            made = self._touched(resource, made)
        self._put(resource, made)
        return made

    def _delete(self, operation: Operation, resource: Resource, arguments: Mapping[str, Any]) -> Any:
        record = self._found(operation, resource, arguments)
        rest = {key: value for key, value in self.tables[resource.name].items() if key != record[resource.id]}
        self.tables = {**self.tables, resource.name: rest}
        return record

    def _action(self, operation: Operation, resource: Resource, arguments: Mapping[str, Any]) -> Any:
        record = dict(self._found(operation, resource, arguments))
        taken = list(operation.sets)
        if operation.transition is not None:
            move = resource.transitions[operation.transition]
            prop = operation.transition[0]
            if record.get(prop) not in move.origins:
                origins = " or ".join(move.origins)
                message = f"{record[resource.id]} is {record.get(prop)}; this needs {origins}."
                raise Refused(409, "conflict", message)
            record[prop] = move.to
            for name in move.sets:
                if name in arguments:
                    record[name] = arguments[name]
        for name in taken:
            record[name] = _set(record.get(name), operation.sets[name], arguments)
            if record[name] is None and name not in arguments:
                del record[name]
        made = self._touched(resource, record)
        self._put(resource, made)
        return made

    # ── what effects share ─────────────────────────────────────────────────────────────────────────────────

    def _found(self, operation: Operation, resource: Resource, arguments: Mapping[str, Any]) -> Record:
        self._parents(resource, arguments)
        identifier = arguments.get(operation.selector or resource.id)
        record = self.tables[resource.name].get(str(identifier))
        astray = record is not None and any(
            prop in arguments and record.get(prop) != arguments[prop] for prop in resource.parents.values()
        )
        if record is None or astray:
            raise Refused(404, "not_found", f"There is no {in_words(resource.name)} {identifier}.")
        return record

    def _parents(self, resource: Resource, arguments: Mapping[str, Any]) -> None:
        for name, prop in resource.parents.items():
            if prop in arguments and str(arguments[prop]) not in self.tables[name]:
                raise Refused(404, "not_found", f"There is no {in_words(name)} {arguments[prop]}.")

    def _references(self, resource: Resource, arguments: Mapping[str, Any]) -> None:
        for prop, name in resource.references.items():
            value = arguments.get(prop)
            if value is not None and str(value) not in self.tables[name]:
                raise Refused(404, "not_found", f"There is no {in_words(name)} {value}.")

    def _unique(self, resource: Resource, arguments: Mapping[str, Any], *, but: str | None) -> None:
        for prop in resource.unique:
            if arguments.get(prop) is None:
                continue
            for key, record in self.tables[resource.name].items():
                if key != but and record.get(prop) == arguments[prop]:
                    message = f"There is another {in_words(resource.name)} with {prop} {arguments[prop]}."
                    raise Refused(409, "conflict", message)

    def _new(self, resource: Resource, arguments: Mapping[str, Any], identifier: str) -> Record:
        known = self.api.properties(resource.schema)
        given = {name: value for name, value in arguments.items() if name in known}
        made = {**self._defaults(resource), **given, **resource.initial, resource.id: identifier}
        for name in self.api.required(resource.schema):
            if name not in made:
                made[name] = self._generated(self.api.resolve(known[name]))
        return self._touched(resource, made, new=True)

    def _defaults(self, resource: Resource) -> dict[str, Any]:
        found = {name: self.api.resolve(part) for name, part in self.api.properties(resource.schema).items()}
        return {name: part["default"] for name, part in found.items() if "default" in part}

    def _generated(self, schema: Mapping[str, Any]) -> Any:
        """What a server fills in by itself: the clock, zero, nothing."""
        kinds = schema.get("type", "string")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if schema.get("format") == "date-time" and "null" not in kinds:
            return self._now
        if "null" in kinds:
            return None
        if "enum" in schema:
            return schema["enum"][0]
        empty: dict[str, Any] = {
            "integer": schema.get("minimum", 0),
            "number": schema.get("minimum", 0),
            "boolean": False,
        }
        return empty.get(kinds[0], [] if kinds[0] == "array" else {} if kinds[0] == "object" else "")

    def _touched(self, resource: Resource, record: Record, *, new: bool = False) -> Record:
        """The record with the server's own times set: all of them when it is new, those of changes otherwise."""
        made = dict(record)
        for name in resource.volatile:
            part = self.api.resolve(self.api.properties(resource.schema).get(name, {}))
            if part.get("format") == "date-time" and (new or "pdated" in name or "hanged" in name):
                made[name] = self._now
        return made

    @property
    def _now(self) -> str:
        return self.clock.isoformat().replace("+00:00", "Z")

    def _put(self, resource: Resource, record: Record) -> None:
        table = {**self.tables[resource.name], str(record[resource.id]): record}
        self.tables = {**self.tables, resource.name: table}

    def _paged(self, operation: Operation, rows: list[Record], arguments: Mapping[str, Any]) -> Any:
        schema = operation.responses[operation.success]
        properties = self.api.properties(schema)
        body: dict[str, Any] = {operation.items or "items": rows}
        if operation.page is not None:
            page = operation.page
            size = arguments.get(page.size, self._default(operation, page.size, 20))
            at = arguments.get(page.at)
            if page.style == "cursor":
                begin = int(re.sub(r"\D", "", str(at)) or 0) if at is not None else 0
            else:
                number = at if at is not None else self._default(operation, page.at, 0)
                begin = number * size if page.style == "page" else number
                body |= {page.at: number, _snake(page.at): number}
            end = begin + size
            more = end < len(rows)
            body |= {operation.items or "items": rows[begin:end], page.size: size, _snake(page.size): size}
            if page.next is not None:
                following = f"{operation.path}?{page.at}={begin // size + 1}&{page.size}={size}"
                body[page.next] = (following if page.style == "page" else f"c{end}") if more else None
        body |= {"total": len(rows)}
        made = {
            name: value
            for name, value in body.items()
            if name in properties and (value is not None or name in self.api.required(schema))
        }
        for name in self.api.required(schema):
            made.setdefault(name, self._generated(self.api.resolve(properties[name])))
        return made

    def _default(self, operation: Operation, name: str, otherwise: int) -> int:
        schema = self.api.resolve(self.api.arguments(operation).get(name, {}))
        return int(schema.get("default", otherwise))


_EFFECTS = {
    "get": World._get,
    "list": World._list,
    "create": World._create,
    "update": World._update,
    "delete": World._delete,
    "action": World._action,
}


def _set(held: Any, rule: Any, arguments: Mapping[str, Any]) -> Any:
    """What an action makes of a field: one more, a value from the call, or a literal."""
    if isinstance(rule, Mapping):
        return arguments.get(rule["body"], held)
    if isinstance(rule, str) and re.fullmatch(r"[+-]\d+", rule):
        return (held or 0) + int(rule)
    return rule


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


# ── differences ────────────────────────────────────────────────────────────────────────────────────────────


def diff(before: Tables, after: Tables, volatile: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What changed: `{resource: {id: {"added": record} | {"removed": record} | {"changed": {field: [old, new]}}}}`.

    `volatile` names fields by resource that do not count.
    """
    found: dict[str, Any] = {}
    for name in sorted({*before, *after}):
        old, new = before.get(name, {}), after.get(name, {})
        if old is new:
            continue
        skipped = set((volatile or {}).get(name, ()))
        for key in sorted({*old, *new}):
            change = _change(old.get(key), new.get(key), skipped)
            if change:
                found.setdefault(name, {})[key] = change
    return found


def _change(old: Record | None, new: Record | None, skipped: set[str]) -> dict[str, Any]:
    if old is new or (old is None and new is None):
        return {}
    if old is None:
        assert new is not None
        return {"added": {name: value for name, value in new.items() if name not in skipped}}
    if new is None:
        return {"removed": {name: value for name, value in old.items() if name not in skipped}}
    fields = {
        name: [old.get(name), new.get(name)]
        for name in sorted({*old, *new})
        if name not in skipped and old.get(name) != new.get(name)
    }
    return {"changed": fields} if fields else {}


def volatile_fields(api: Api) -> dict[str, tuple[str, ...]]:
    """The fields of each resource that a comparison passes over."""
    return {name: resource.volatile for name, resource in api.resources.items()}


# ── seeding ────────────────────────────────────────────────────────────────────────────────────────────────


def seeded(api: Api, seed: int, clock: str = CLOCK) -> World:
    """A world with records that fit their schemas, refer to each other, and can be told apart by their labels."""
    return _seeded(api, seed, clock).copy()


@lru_cache(maxsize=1024)
def _seeded(api: Api, seed: int, clock: str) -> World:
    world = World(api, {name: {} for name in api.resources}, clock=datetime.fromisoformat(clock.replace("Z", "+00:00")))
    for resource in _in_order(api):
        die = Die("world", api.title, seed, resource.name)
        maker = Maker(api, die, world.clock)
        shift = die.below(64)
        for number in range(1, resource.seed + 1):
            record = maker.record(resource, world.tables, number + shift)
            record[resource.id] = resource.ids.format(n=number)
            world._put(resource, record)
        world.counters[resource.name] = resource.seed
    return world


def _in_order(api: Api) -> Iterator[Resource]:
    """Resources, each after those it refers to; raises InputError at a circle."""
    done: set[str] = set()
    while len(done) < len(api.resources):
        ready = [r for r in api.resources.values() if r.name not in done and set(r.links.values()) <= done | {r.name}]
        if not ready:
            raise InputError(f"{api.name}: resources that refer to each other in a circle")
        for resource in ready:
            done.add(resource.name)
            yield resource


class Maker:
    """Makes values that fit a schema: from its examples where it has some, else from its own limits."""

    def __init__(self, api: Api, die: Die, clock: datetime) -> None:
        self._api, self._die, self._clock = api, die, clock

    def record(self, resource: Resource, tables: Tables, turn: int) -> dict[str, Any]:
        """A record; examples are taken in turn, so that aligned ones (a name, its address) stay together."""
        made: dict[str, Any] = {}
        properties = self._api.properties(resource.schema)
        sample = self.sample(resource, turn)
        required = set(self._api.required(resource.schema))
        for name, part in properties.items():
            if name in resource.links:
                made[name] = self._die.choice(sorted(tables[resource.links[name]]))
            elif name in sample:
                made[name] = sample[name]
            elif name in required or name in resource.label or name in resource.unique or self._die.chance(0.7):
                made[name] = self.value(part, turn)
        for (prop, _), move in resource.transitions.items():
            if made.get(prop) == resource.initial.get(prop):
                for name in move.sets:  # what a later move sets is not there yet
                    if name not in required:
                        made.pop(name, None)
        for _ in range(50):
            taken = [r for r in tables[resource.name].values() if _alike(resource, r, made)]
            if not taken:
                break
            turn += 1
            sample = self.sample(resource, turn)
            for name in (*resource.label, *resource.unique):
                if name in resource.links:
                    made[name] = self._die.choice(sorted(tables[resource.links[name]]))
                elif name in properties:
                    made[name] = sample[name] if name in sample else self.value(properties[name], turn)
        return made

    def sample(self, resource: Resource, turn: int) -> Mapping[str, Any]:
        """The document's own example of such a record, of the turn; empty where it has none."""
        creates = [o for o in self._api.operations.values() if o.effect == "create" and o.resource == resource.name]
        samples = creates[0].samples if creates else ()
        return samples[turn % len(samples)] if samples else {}

    def value(self, schema: Any, turn: int | None = None) -> Any:
        """A value; with a `turn` the example of that turn, else one by the die."""
        schema = self._api.resolve(schema)
        examples = [e for e in schema.get("examples", ()) if e is not None]
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._die.choice([e for e in schema["enum"] if e is not None])
        if examples and (len(examples) > 2 or "pattern" not in schema):
            return examples[turn % len(examples)] if turn is not None else self._die.choice(examples)
        return self._made(schema, turn)

    def _made(self, schema: Mapping[str, Any], turn: int | None) -> Any:
        kinds = schema.get("type", "object" if "properties" in schema else "string")
        kind = next(k for k in (kinds if isinstance(kinds, list) else [kinds]) if k != "null")
        if kind == "boolean":
            return self._die.chance(0.5)
        if kind in ("integer", "number"):
            low = int(
                schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1 if "exclusiveMinimum" in schema else 0)
            )
            return self._die.between(low, int(schema.get("maximum", low + 50)))
        if kind == "array":
            count = self._die.between(schema.get("minItems", 1), min(schema.get("maxItems", 3), 3))
            return [self.value(schema.get("items", {}), turn) for _ in range(count)]
        if kind == "object":
            required = set(self._api.required(schema))
            parts = self._api.properties(schema)
            return {name: self.value(part, turn) for name, part in parts.items() if name in required}
        if schema.get("format") == "date-time":
            moment = self._clock + timedelta(hours=self._die.between(1, 400))
            return moment.isoformat().replace("+00:00", "Z")
        if schema.get("format") == "date":
            return (self._clock + timedelta(days=self._die.between(1, 40))).date().isoformat()
        if "pattern" in schema:
            return matching_text(schema["pattern"], self._die)
        text = f"text {self._die.below(10000)}"
        return text[: schema.get("maxLength", 100)].ljust(schema.get("minLength", 0), "x")


def random_call(world: World, die: Die) -> tuple[str, dict[str, Any]]:
    """An operation and valid arguments, drawn at random from what there is in the world."""
    api = world.api
    operation = die.choice(list(api.operations.values()))
    maker = Maker(api, die, world.clock)
    known, wanted = api.arguments(operation), api.required_arguments(operation)
    links = {**api.resources[operation.resource].links, operation.selector or "": operation.resource}
    arguments: dict[str, Any] = {}
    for name, schema in known.items():
        if name in links:
            arguments[name] = die.choice(sorted(world.tables[links[name]]) or ["none"])
        elif name in wanted or die.chance(0.3):
            arguments[name] = maker.value(schema)
    return operation.id, arguments


def _alike(resource: Resource, one: Record, other: Record) -> bool:
    if any(one.get(name) == other.get(name) for name in resource.unique):
        return True
    return bool(resource.label) and all(one.get(name) == other.get(name) for name in resource.label)


def state_key(tables: Tables) -> str:
    """Canonical JSON of a state."""
    return to_json({name: dict(table) for name, table in tables.items()})
