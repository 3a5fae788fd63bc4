"""The records of a world: made once per seed, told apart by their labels, never changed in place.

Tables are seeded when they are first looked at, each by a die of its own, so that a world over a document with
hundreds of resources costs what is used of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from simlab.api import Api, Operation, Resource
from simlab.die import Die
from simlab.errors import InputError
from simlab.inference import part
from simlab.values import Maker, Unmade

Record = Mapping[str, Any]
ID_TRIES = 8
CALLS = "_calls"  # where undeclared actions are noted down, so that they show in a difference


class Tables(Mapping[str, Mapping[str, Record]]):
    """Records by resource and id; `with_table` makes tables that share all else, so a snapshot is a reference."""

    __slots__ = ("_base", "changed")

    def __init__(self, base: "Seeded", changed: Mapping[str, Mapping[str, Record]] | None = None) -> None:
        self._base = base
        self.changed = changed or {}

    def __getitem__(self, name: str) -> Mapping[str, Record]:
        return self.changed[name] if name in self.changed else self._base[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._base.api.resources
        if CALLS in self.changed:
            yield CALLS

    def __len__(self) -> int:
        return len(self._base.api.resources) + (CALLS in self.changed)

    def with_table(self, name: str, table: Mapping[str, Record]) -> "Tables":
        """The same tables but for one."""
        return Tables(self._base, {**self.changed, name: table})

    def shares(self, other: Any) -> bool:
        """Whether two began as the same records, so that only what was changed since can differ."""
        return isinstance(other, Tables) and other._base is self._base


class Seeded(dict[str, Mapping[str, Record]]):
    """The first tables of a seed; a missing one is made when it is asked for."""

    def __init__(self, api: Api, seed: int, clock: datetime) -> None:
        super().__init__()
        self.api, self._seed, self._clock = api, seed, clock
        self._making: set[str] = set()

    def __missing__(self, name: str) -> Mapping[str, Record]:
        if name == CALLS:
            return {}
        if name in self._making:
            raise InputError(f"{self.api.name}: resources that refer to each other in a circle")
        self._making.add(name)
        try:
            self[name] = self._made(self.api.resources[name])
        finally:
            self._making.discard(name)
        return self[name]

    def _made(self, resource: Resource) -> Mapping[str, Record]:
        die = Die("world", self.api.title, self._seed, resource.name)
        maker = RecordMaker(self.api, die, self._clock)
        shift, table = die.below(64), dict[str, Record]()
        for number in range(1, resource.seed + 1):
            held = {other: table if other == resource.name else self[other] for other in resource.links.values()}
            record = maker.record(resource, held, table, number + shift)
            key = identifier(self.api, resource, number)
            table[str(key)] = {**record, resource.id: key}
        return table


class RecordMaker(Maker):
    """Makes whole records; examples are taken in turn, so that aligned ones (a name, its address) stay together."""

    def __init__(self, api: Api, die: Die, clock: datetime) -> None:
        super().__init__(api, die, clock)
        self._api = api

    def record(
        self, resource: Resource, linked: Mapping[str, Mapping[str, Record]], table: Mapping[str, Record], turn: int
    ) -> dict[str, Any]:
        """A record that refers to `linked` ones and can be told apart from those in the `table`; without its id."""
        made: dict[str, Any] = {}
        properties = self._api.properties(resource.schema)
        sample = sample_of(self._api, resource, turn)
        required = set(self._api.required(resource.schema))
        for name, schema in properties.items():
            if name in resource.links:
                made[name] = self._linked(linked, resource.links[name], schema)
            elif name in sample:
                made[name] = sample[name]
            elif name in required or name in resource.label or name in resource.unique or self._die.chance(0.7):
                made[name] = self.value(schema, turn, name)
        for name, other in resource.links.items():
            if name not in properties:  # where it hangs, which the record does not show
                made[name] = self._linked(linked, other, {})
        for (prop, _), move in resource.transitions.items():
            if made.get(prop) == resource.initial.get(prop):
                for name in move.sets:  # what a later move sets is not there yet
                    if name not in required:
                        made.pop(name, None)
        if self._api.inferred:
            made = self._sound(resource, properties, made)
        self._told_apart(resource, linked, table, made, turn)
        return made

    def _linked(self, linked: Mapping[str, Mapping[str, Record]], other: str, schema: Any) -> Any:
        """The id of one of another resource's records, as text where the property wants it so."""
        keys = sorted(linked[other])
        if not keys:
            raise InputError(f"{self._api.name}: {other} is referred to and has no records")
        key = linked[other][self._die.choice(keys)][self._api.resources[other].id]
        return key if isinstance(key, str) or self._api.valid(key, schema) else str(key)

    def _sound(self, resource: Resource, properties: Mapping[str, Any], made: dict[str, Any]) -> dict[str, Any]:
        """The record with all that its schema does not accept made anew, or left out where nothing can be made."""
        required = self._api.required(resource.schema)
        for name, value in list(made.items()):
            if name not in properties or name == resource.id or self._api.valid(value, properties[name]):
                continue
            try:
                made[name] = self.valid(properties[name], name)
            except Unmade:
                if name not in required:
                    del made[name]
        return made

    def _told_apart(
        self,
        resource: Resource,
        linked: Mapping[str, Mapping[str, Record]],
        table: Mapping[str, Record],
        made: dict[str, Any],
        turn: int,
    ) -> None:
        properties = self._api.properties(resource.schema)
        for attempt in range(50):
            if not any(alike(resource, record, made) for record in table.values()):
                break
            turn += 1
            sample = sample_of(self._api, resource, turn) if attempt < 25 else {}
            for name in (*resource.label, *resource.unique):
                if name in resource.links:
                    made[name] = self._linked(linked, resource.links[name], properties.get(name, {}))
                elif name in sample:
                    made[name] = sample[name]
                elif name in properties:
                    made[name] = (
                        self._other(properties[name], name)
                        if attempt >= 25
                        else self.value(properties[name], turn, name)
                    )

    def _other(self, schema: Any, name: str) -> Any:
        """A value that is none of the document's own few examples, as long as the schema accepts it."""
        merged = self._api.merged(schema)
        if "enum" in merged or "const" in merged or "string" not in self._api.kinds(schema):
            return self.value(schema, None, name)
        made = self._text(merged, name)
        return made if self._api.valid(made, schema) else self.value(schema, None, name)


def sample_of(api: Api, resource: Resource, turn: int) -> Record:
    """An example of such a record, of the turn: the overlay's values, and the document's own beside them."""
    told = {name: values[turn % len(values)] for name, values in resource.examples.items()}
    return {**_written(api, resource, turn), **told}


def _written(api: Api, resource: Resource, turn: int) -> Record:
    """The document's own example of a record, of the turn; empty where it has none."""
    creates = api.first("create", resource.name)
    if creates is None or not (samples := creates.samples):
        return {}
    fields, back = creates.fields, {prop: name for name, prop in creates.renamed.items()}
    return {fields.get(back.get(n, n), n): value for n, value in samples[turn % len(samples)].items()}


def identifier(api: Api, resource: Resource, number: int) -> Any:
    """The id of the record of a number: as the overlay says, else the plainest that all who use it accept."""
    if resource.ids is not None:
        return resource.ids.format(n=number)
    key = (resource.name, number)
    if key not in api.ids:
        api.ids[key] = _identifier(api, resource, number)
    return api.ids[key]


def _identifier(api: Api, resource: Resource, number: int) -> Any:
    own = api.properties(resource.schema).get(resource.id, {})
    operations = [o for o in api.operations.values() if o.resource == resource.name]
    users = [api.arguments(o)[o.selector] for o in operations if o.selector in api.arguments(o)]
    shown = [schema for o in operations if (schema := _shown_id(api, o, resource.id)) is not None]
    taken = {identifier(api, resource, other) for other in range(1, number)}  # whichever was asked for first
    best: Any = f"{resource.name}_{number:04d}"
    most = -1
    for key in _candidates(api, resource, number, (own, *shown, *users)):
        if not isinstance(key, str | int) or key in ("", *taken):
            continue
        fits = sum(api.valid(key, s) for s in (own, *shown)) + sum(_takes(api, user, key) for user in users)
        if fits == 1 + len(shown) + len(users):
            return key
        if fits > most:
            best, most = key, fits
    return best


def _candidates(api: Api, resource: Resource, number: int, schemas: Sequence[Any]) -> Iterator[Any]:
    """Ids to choose from, the plainest first, then what each of those who use them would have."""
    yield from (f"{resource.name}_{number:04d}", number, str(number))
    clock = datetime.fromisoformat("2026-03-02T09:00:00+00:00")
    for attempt in range(ID_TRIES):
        maker = Maker(api, Die("id", api.title, resource.name, number, attempt), clock)
        for schema in schemas[:4]:
            with suppress(Unmade):
                yield maker.valid(api.without_examples(schema), resource.id)


def _shown_id(api: Api, operation: Operation, name: str) -> Any:
    """The schema under which an operation's response shows the id of a record; None where it does not."""
    response = operation.responses.get(operation.success)
    if response is None or operation.effect not in ("get", "list", "create", "update"):
        return None
    at = f"{operation.rows}/*" if operation.effect == "list" else operation.record
    return api.properties(part(api, response, at)).get(name)


def _takes(api: Api, schema: Any, key: Any) -> bool:
    """Whether an argument takes an id, as text where it is a number in the record."""
    return api.valid(key, schema) or api.valid(str(key), schema) or (str(key).isdigit() and api.valid(int(key), schema))


def alike(resource: Resource, one: Record, other: Record) -> bool:
    """Whether two records cannot be told apart by what people know of them, or share what none may share."""
    if any(one.get(name) is not None and one.get(name) == other.get(name) for name in resource.unique):
        return True
    return bool(resource.label) and all(one.get(name) == other.get(name) for name in resource.label)
