"""A world is the state behind a simulated API: records, a virtual clock, and what each operation does to them.

No language model, no wall clock, no global state: equal worlds answer equal calls equally. Records are never
changed in place; a write makes new tables that share what did not change, so a snapshot is a reference.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from simlab.api import Api, Operation, Resource
from simlab.die import Die
from simlab.inference import flat, part
from simlab.records import CALLS, Record, Seeded, Tables, identifier
from simlab.schema import to_json
from simlab.text import in_words
from simlab.values import Maker, Unmade

CLOCK = "2026-03-02T09:00:00+00:00"
TICK = timedelta(minutes=1)  # virtual time between two calls
ANSWER_TRIES = 24
ROWS = 20  # records on a page where nobody says how many


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
        self.status, self.code = status, code


@dataclass
class World:
    """The records of an API at a moment; `call` answers a call and changes them.

    `counts` is how often something had to stand in: `undeclared_error` where the document describes no such error
    response, `unfit` where no answer that its schema accepts could be made, `remade` where one that it does accept does
    not show the records.
    """

    api: Api
    tables: Tables
    counters: dict[str, int] = field(default_factory=dict)
    clock: datetime = field(default_factory=lambda: datetime.fromisoformat(CLOCK))
    seed: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    silent: bool = False  # whether only the state is of interest, and answers are left out

    def copy(self) -> "World":
        """Another world in the same state; costs nothing, as records are shared."""
        return World(self.api, self.tables, dict(self.counters), self.clock, self.seed)

    def call(self, name: str, arguments: Mapping[str, Any]) -> Response:
        """Answer one call; an unknown operation is a 404 and an invalid call a 422 (or 400), never an exception."""
        self.clock += TICK
        operation = self.api.operations.get(name)
        if operation is None:
            return Response(404, {"code": "unknown_operation", "message": f"There is no operation {name}."})
        if wrong := self.api.argument_problems(operation, arguments):
            return self.refusal(operation, 422, "invalid", wrong[0])
        try:
            body = _EFFECTS[operation.effect](self, operation, self._given(operation, arguments))
        except Refused as refused:
            return self.refusal(operation, refused.status, refused.code, str(refused))
        return Response(operation.status, body if operation.responses.get(operation.success) is not None else None)

    def refusal(self, operation: Operation, status: int, code: str, message: str) -> Response:
        """An error as the document describes it; as we say it where it describes none, which is counted.

        A status that the operation does not declare gives way to one it does declare that says much the same.
        """
        said = operation.responses
        status, declared = _declared(said, status)
        if self.silent:
            return Response(status)
        ours = {"code": code, "message": message}
        if declared is None:
            self.counts["undeclared_error"] += 1
            return Response(status, ours)
        schema = said[declared]
        if schema is None or self.api.valid(ours, schema):
            return Response(status, ours)
        try:
            told = _told(self.api, schema, Refused(status, code, message), status, 3)
            body = self._maker(operation.id, status).fitted(schema, told)
        except Unmade:
            self.counts["unfit"] += 1
            body = ours
        return Response(status, body)

    def next_id(self, resource: Resource) -> Any:
        """The id that the next new record will have, where the call gives it none."""
        return identifier(self.api, resource, self._next_number(resource))

    def _next_number(self, resource: Resource) -> int:
        """The number of the next new record; one whose id a client has chosen for another is passed over."""
        number = self.counters.get(resource.name, resource.seed) + 1
        while str(identifier(self.api, resource, number)) in self.tables[resource.name]:
            number += 1
        return number

    def _given(self, operation: Operation, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by the fields of the record that they are about."""
        given = {operation.fields.get(name, name): value for name, value in arguments.items()}
        whole = arguments.get(operation.whole or "")
        return {**given, **whole} if isinstance(whole, Mapping) else given

    # ── effects ────────────────────────────────────────────────────────────────────────────────────────────

    def _get(self, operation: Operation, given: Mapping[str, Any]) -> Any:
        return self._shown(operation, self._found(operation, given))

    def _list(self, operation: Operation, given: Mapping[str, Any]) -> Any:
        resource = self.api.resources[operation.resource]
        self._parents(resource, given)
        rows = [
            record
            for record in self.tables[resource.name].values()
            if all(_fits(record.get(p), given[n]) for n, p in operation.filters.items() if n in given)
            and all(_fits(record.get(p), given[p]) for p in resource.parents.values() if p in given)
        ]
        return self._paged(operation, resource, rows, given)

    def _create(self, operation: Operation, given: Mapping[str, Any]) -> Any:
        resource = self.api.resources[operation.resource]
        self._parents(resource, given)
        self._references(resource, given)
        self._unique(resource, given, but=None)
        key = given.get(resource.id)
        if key is None:
            number = self._next_number(resource)
            key = identifier(self.api, resource, number)
            self.counters[resource.name] = number
        elif str(key) in self.tables[resource.name]:
            raise Refused(409, "conflict", f"There is another {in_words(resource.name)} with {resource.id} {key}.")
        made = self._new(resource, given, key)
        self._put(resource, made)
        return self._shown(operation, made)

    def _update(self, operation: Operation, given: Mapping[str, Any]) -> Any:
        resource = self.api.resources[operation.resource]
        record = dict(self._found(operation, given))
        outside = {p.name for p in operation.parameters} | {operation.selector, operation.whole}
        changes = {name: value for name, value in given.items() if name not in outside}
        self._references(resource, changes)
        self._unique(resource, changes, but=str(record[resource.id]))
        if operation.mode == "replace":
            fixed = {resource.id, *resource.links} | {
                name
                for name, schema in self.api.properties(resource.schema).items()
                if self.api.schema(schema).get("readOnly")
            }
            record = {name: value for name, value in record.items() if name in fixed}
            record = {**self._defaults(resource), **record}
        held = self.tables[resource.name][str(record[resource.id])]
        made: Record = {**record, **changes, resource.id: record[resource.id]}
        if made != held:
            made = self._touched(resource, made)
        self._put(resource, made)
        return self._shown(operation, made)

    def _delete(self, operation: Operation, given: Mapping[str, Any]) -> Any:
        resource = self.api.resources[operation.resource]
        record = self._found(operation, given)
        key = str(record[resource.id])
        rest = {other: held for other, held in self.tables[resource.name].items() if other != key}
        self.tables = self.tables.with_table(resource.name, rest)
        return self._shown(operation, record)

    def _action(self, operation: Operation, given: Mapping[str, Any]) -> Any:
        if operation.recorded_only:
            return self._noted(operation, given)
        resource = self.api.resources[operation.resource]
        record = dict(self._found(operation, given))
        if operation.transition is not None:
            move = resource.transitions[operation.transition]
            prop = operation.transition[0]
            if record.get(prop) not in move.origins:
                origins = " or ".join(move.origins)
                message = f"{record[resource.id]} is {record.get(prop)}; this needs {origins}."
                raise Refused(409, "conflict", message)
            record[prop] = move.to
            for name in move.sets:
                if name in given:
                    record[name] = given[name]
        for name, rule in operation.sets.items():
            record[name] = _set(record.get(name), rule, given)
            if record[name] is None and name not in given:
                del record[name]
        made = self._touched(resource, record)
        self._put(resource, made)
        return self._shown(operation, made)

    def _noted(self, operation: Operation, given: Mapping[str, Any]) -> Any:
        """An action of which nobody says what it does: noted down, so that it shows in what has changed."""
        record: Record = {}
        if operation.resource and operation.selector is not None:
            record = self._found(operation, given)
        number = self.counters.get(CALLS, 0) + 1
        self.counters[CALLS] = number
        note = {"operation": operation.id, "arguments": dict(given)}
        self.tables = self.tables.with_table(CALLS, {**self.tables[CALLS], f"call_{number:04d}": note})
        if record and operation.record:
            return self._shown(operation, record)
        return self._answer(operation, {**record, **given})

    def _read(self, operation: Operation, given: Mapping[str, Any]) -> Any:
        """A read that leads to no record: an answer by its schema, the same for the same question."""
        return self._answer(operation, given)

    # ── what effects share ─────────────────────────────────────────────────────────────────────────────────

    def _found(self, operation: Operation, given: Mapping[str, Any]) -> Record:
        resource = self.api.resources[operation.resource]
        self._parents(resource, given)
        identity = given.get(operation.selector or resource.id)
        record = self.tables[resource.name].get(str(identity))
        astray = record is not None and any(
            prop in given and not _fits(record.get(prop), given[prop]) for prop in resource.parents.values()
        )
        if record is None or astray:
            raise Refused(404, "not_found", f"There is no {in_words(resource.name)} {identity}.")
        return record

    def _parents(self, resource: Resource, given: Mapping[str, Any]) -> None:
        for name, prop in resource.parents.items():
            if prop in given and str(given[prop]) not in self.tables[name]:
                raise Refused(404, "not_found", f"There is no {in_words(name)} {given[prop]}.")

    def _references(self, resource: Resource, given: Mapping[str, Any]) -> None:
        for prop, name in resource.references.items():
            value = given.get(prop)
            if value is not None and str(value) not in self.tables[name]:
                raise Refused(404, "not_found", f"There is no {in_words(name)} {value}.")

    def _unique(self, resource: Resource, given: Mapping[str, Any], *, but: str | None) -> None:
        for prop in resource.unique:
            if given.get(prop) is None:
                continue
            for key, record in self.tables[resource.name].items():
                if key != but and record.get(prop) == given[prop]:
                    message = f"There is another {in_words(resource.name)} with {prop} {given[prop]}."
                    raise Refused(409, "conflict", message)

    def _new(self, resource: Resource, given: Mapping[str, Any], key: Any) -> Record:
        known = self.api.properties(resource.schema)
        kept = {name: value for name, value in given.items() if name in known or name in resource.links}
        made = {**self._defaults(resource), **kept, **resource.initial, resource.id: key}
        for name in self.api.required(resource.schema):
            if name not in made:
                made[name] = self._generated(known.get(name, {}), name, f"{resource.name}/{key}")
        return self._touched(resource, made, new=True)

    def _defaults(self, resource: Resource) -> dict[str, Any]:
        found = {name: self.api.schema(schema) for name, schema in self.api.properties(resource.schema).items()}
        return {name: schema["default"] for name, schema in found.items() if "default" in schema}

    def _generated(self, node: Any, name: str, about: str) -> Any:
        """What a server fills in by itself: the clock, zero, nothing, and where that does not fit a value that does."""
        schema = self.api.schema(node)
        kinds = self.api.kinds(schema) or ["string"]
        if schema.get("format") == "date-time" and "null" not in kinds:
            return self._now
        if "null" in kinds:
            return None
        empty: dict[str, Any] = {
            "integer": schema.get("minimum", 0),
            "number": schema.get("minimum", 0),
            "boolean": False,
        }
        plain = empty.get(kinds[0], [] if kinds[0] == "array" else {} if kinds[0] == "object" else "")
        made = schema["enum"][0] if "enum" in schema else plain
        if not self.api.inferred or self.api.valid(made, schema):
            return made
        try:
            return self._maker(about, name).valid(schema, name)
        except Unmade:
            return made

    def _touched(self, resource: Resource, record: Record, *, new: bool = False) -> Record:
        """The record with the server's own times set: all of them when it is new, those of changes otherwise."""
        made = dict(record)
        for name in resource.volatile:
            schema = self.api.schema(self.api.properties(resource.schema).get(name, {}))
            if schema.get("format") == "date-time" and (new or "pdated" in name or "hanged" in name):
                made[name] = self._now
        return made

    @property
    def _now(self) -> str:
        return self.clock.isoformat().replace("+00:00", "Z")

    def _put(self, resource: Resource, record: Record) -> None:
        table = {**self.tables[resource.name], str(record[resource.id]): record}
        self.tables = self.tables.with_table(resource.name, table)

    def _maker(self, *about: object) -> Maker:
        return Maker(self.api, Die("answer", self.api.title, self.seed, *about), self.clock)

    # ── answers ────────────────────────────────────────────────────────────────────────────────────────────

    def _shown(self, operation: Operation, record: Record) -> Any:
        """A record as an operation's response shows it, in whatever stands around it."""
        response = operation.responses.get(operation.success)
        if response is None or self.silent:
            return None
        inner = part(self.api, response, operation.record) if operation.record else response
        made = self._as(inner, record, operation.resource)
        if not operation.record:
            return made
        return self._set_in(operation, response, operation.record, made)

    def _as(self, schema: Any, record: Record, about: str) -> Any:
        """A record under a schema: as it is where that fits, without what the schema does not know otherwise."""
        key = (id(record), id(schema))
        shown = self.api.shown.get(key)
        if shown is None:
            shown = (self._fitted(schema, record, about), record, schema)
            if len(self.api.shown) > _MOST_SHOWN:
                self.api.shown.clear()
            self.api.shown[key] = shown
        return shown[0]

    def _fitted(self, schema: Any, record: Record, about: str) -> Any:
        known = self.api.properties(schema)
        if all(name in known for name in record) and (not self.api.inferred or self.api.valid(record, schema)):
            return record
        resource = self.api.resources.get(about)
        held = dict(record)
        if resource is not None and resource.id in record:  # its id is also what others call it
            held.setdefault("id", record[resource.id])
        try:
            return self._maker(about, *map(str, record.values())).fitted(schema, held)
        except Unmade:
            self.counts["unfit"] += 1
            return record

    def _answer(self, operation: Operation, given: Mapping[str, Any]) -> Any:
        """An answer made from the schema of the response, which takes up what the call said."""
        response = operation.responses.get(operation.success)
        if response is None or self.silent:
            return None
        try:
            made = self._maker(operation.id, to_json(given)).valid(response, tries=ANSWER_TRIES, fuller=True)
        except Unmade:
            self.counts["unfit"] += 1
            return None
        if not isinstance(made, Mapping):
            return made
        known = self.api.properties(response)
        echoed = {**made, **{name: value for name, value in given.items() if name in known}}
        return echoed if self.api.valid(echoed, response) else made

    def _set_in(self, operation: Operation, response: Any, pointer: str, value: Any) -> Any:
        """A response with a value put where the pointer leads, and around it what the schema wants."""
        try:
            around = self._maker(operation.id, "around").valid(response)
        except Unmade:
            around = {}
        made = put_at(around, pointer, value)
        if self.api.inferred and not self.api.valid(made, response):
            try:
                return self._maker(operation.id, "around").fitted(response, made)
            except Unmade:
                self.counts["unfit"] += 1
        return made

    # ── lists ──────────────────────────────────────────────────────────────────────────────────────────────

    def _paged(self, operation: Operation, resource: Resource, rows: list[Record], given: Mapping[str, Any]) -> Any:
        response = operation.responses.get(operation.success)
        if response is None or self.silent:
            return None
        total = len(rows)
        body: dict[str, Any] = {}
        if operation.page is not None:
            rows, body = self._cut(operation, resource, rows, given)
        schema = part(self.api, response, f"{operation.rows}/*")
        shown = [self._as(schema, record, resource.name) for record in rows]
        if not operation.rows:
            return shown
        body |= {"total": total}
        properties = self.api.properties(response)
        if operation.rows.count("/") == 1:
            body[operation.rows[1:]] = shown
        following = operation.page.next if operation.page is not None else None
        required = self.api.required(response)
        made: dict[str, Any] = {
            name: value
            for name, value in body.items()
            if name in properties and (value is not None or name in required)
        }
        for name in required:
            if name not in made:
                made[name] = self._generated(properties[name], name, operation.id) if name in properties else None
        if operation.rows.count("/") > 1:
            made = put_at(made, operation.rows, shown)
        if following is not None and "/" in following and body.get(following) is not None:
            made = put_at(made, f"/{following}", body[following])
        if self.api.inferred and not self.api.valid(made, response):
            return self._mended(operation, response, made, shown)
        return made

    def _mended(self, operation: Operation, response: Any, made: Mapping[str, Any], shown: list[Any]) -> Any:
        """A list whose response wants more around the rows than is known of it."""
        try:
            fitted = self._maker(operation.id, "list").fitted(response, made)
            whole = put_at(fitted, operation.rows, shown)
            if self.api.valid(whole, response):
                return whole
        except Unmade:
            fitted = made
        self.counts["remade" if self.api.valid(fitted, response) else "unfit"] += 1
        return fitted

    def _cut(
        self, operation: Operation, resource: Resource, rows: list[Record], given: Mapping[str, Any]
    ) -> tuple[list[Record], dict[str, Any]]:
        """One page of the rows, and what a response may say of it."""
        page = operation.page
        assert page is not None
        size = _whole(given.get(page.size), self._default(operation, page.size, ROWS))
        at = given.get(page.at)
        body: dict[str, Any] = {}
        if page.style == "cursor":
            begin = int(re.sub(r"\D", "", str(at)) or 0) if at is not None else 0
        elif page.style == "after":
            keys = [str(record[resource.id]) for record in rows]
            begin = keys.index(str(at)) + 1 if at is not None and str(at) in keys else 0
        else:
            number = _whole(at, self._default(operation, page.at, page.first))
            begin = (number - page.first) * size if page.style == "page" else number
            body |= {page.at: number, _snake(page.at): number}
        begin = max(0, begin)
        end = begin + size
        body |= {page.size: size, _snake(page.size): size}
        if page.next is not None:
            body[page.next] = self._next(operation, resource, rows, begin, size) if end < len(rows) else None
        return rows[begin:end], body

    def _next(self, operation: Operation, resource: Resource, rows: list[Record], begin: int, size: int) -> Any:
        """How a response says where the next page begins: a number, a mark, or an address."""
        page = operation.page
        assert page is not None
        assert page.next is not None
        end = begin + size
        number = begin // size + 1 + page.first if page.style == "page" else end
        schema = part(self.api, operation.responses.get(operation.success), f"/{page.next}")
        if "integer" in self.api.kinds(schema) and "string" not in self.api.kinds(schema):
            return number
        mark = str(rows[end - 1][resource.id]) if page.style == "after" else f"c{end}"
        if page.style == "offset":
            mark = str(end)
        path = f"{operation.path}?{page.at}={number if page.style == 'page' else mark}&{page.size}={size}"
        if self.api.schema(schema).get("format") in ("uri", "url"):
            return f"https://api.example{path}"
        return path if page.style == "page" else mark

    def _default(self, operation: Operation, name: str, otherwise: int) -> int:
        schema = self.api.schema(self.api.arguments(operation).get(name, {}))
        return _whole(schema.get("default"), otherwise)


_MESSAGES = ("message", "detail", "details", "error", "description", "errormessage", "title", "reason", "msg")
_MOST_SHOWN = 50_000  # records whose form in a response is kept
_EFFECTS = {
    "get": World._get,
    "list": World._list,
    "create": World._create,
    "update": World._update,
    "delete": World._delete,
    "action": World._action,
    "read": World._read,
}


_MUCH_THE_SAME = {400: (422,), 404: (400, 422), 409: (400, 422), 413: (400, 422), 415: (400, 422)}


def _declared(said: Mapping[str, Any], status: int) -> tuple[int, str | None]:
    """The status to refuse with, and where the operation describes it; None where it describes none that fits."""
    if status == 422 and "422" not in said and "400" in said:
        return 400, "400"
    for key in (str(status), f"{status // 100}XX", f"{status // 100}xx", "default"):
        if key in said:
            return status, key
    other = next((one for one in _MUCH_THE_SAME.get(status, ()) if str(one) in said), None)
    return (status, None) if other is None else (other, str(other))


def _told(api: Api, schema: Any, refused: Refused, status: int, depth: int) -> Any:
    """What an error says, where its schema has places for it; whatever else it wants is made later."""
    made: dict[str, Any] = {}
    for name, inner in api.properties(schema).items():
        kinds, plain = api.kinds(inner), flat(name)
        if depth and ("object" in kinds or "array" in kinds):
            row = api.merged(inner).get("items", {}) if "array" in kinds else inner
            if api.properties(row):
                told = _told(api, row, refused, status, depth - 1)
                made[name] = [told] if "array" in kinds else told
        elif "string" in kinds and plain in _MESSAGES:
            made[name] = str(refused)
        elif plain.endswith("code") or plain == "status":
            made[name] = status if "integer" in kinds or "number" in kinds else refused.code
    return made


def _fits(held: Any, wanted: Any) -> bool:
    """Whether a field has a value that is asked for; numbers may come as text, and several may be asked for."""
    if held == wanted:
        return True
    if isinstance(wanted, list):
        return any(_fits(held, one) for one in wanted)
    if isinstance(held, list):
        return any(_fits(one, wanted) for one in held)
    return held is not None and not isinstance(held, bool) and str(held) == str(wanted)


def _whole(value: Any, otherwise: int) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return otherwise


def put_at(body: Any, pointer: str, value: Any) -> Any:
    """A copy of a body with a value under a pointer; objects on the way are made where there are none."""
    if not pointer:
        return value
    name, _, rest = pointer[1:].partition("/")
    name = name.replace("~1", "/").replace("~0", "~")
    held = body if isinstance(body, Mapping) else {}
    return {**held, name: put_at(held.get(name), f"/{rest}" if rest else "", value)}


def _set(held: Any, rule: Any, given: Mapping[str, Any]) -> Any:
    """What an action makes of a field: one more, a value from the call, or a literal."""
    if isinstance(rule, Mapping):
        return given.get(rule["body"], held)
    if isinstance(rule, str) and re.fullmatch(r"[+-]\d+", rule):
        return (held or 0) + int(rule)
    return rule


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


# ── differences ────────────────────────────────────────────────────────────────────────────────────────────


State = Mapping[str, Mapping[str, Record]]


def diff(before: State, after: State, volatile: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What changed: `{resource: {id: {"added": record} | {"removed": record} | {"changed": {field: [old, new]}}}}`.

    `volatile` names fields by resource that do not count.
    """
    found: dict[str, Any] = {}
    if isinstance(before, Tables) and isinstance(after, Tables) and before.shares(after):
        names = {*before.changed, *after.changed}
    else:
        names = {*before, *after}
    for name in sorted(names):
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


# ── worlds ─────────────────────────────────────────────────────────────────────────────────────────────────


def seeded(api: Api, seed: int, clock: str = CLOCK) -> World:
    """A world with records that fit their schemas, refer to each other, and can be told apart by their labels."""
    return _seeded(api, seed, clock).copy()


@lru_cache(maxsize=1024)
def _seeded(api: Api, seed: int, clock: str) -> World:
    moment = datetime.fromisoformat(clock.replace("Z", "+00:00"))
    return World(api, Tables(Seeded(api, seed, moment)), clock=moment, seed=seed)


def random_call(world: World, die: Die) -> tuple[str, dict[str, Any]]:
    """An operation and arguments, drawn at random from what there is in the world; nearly always valid."""
    operation = die.choice(list(world.api.operations.values()))
    return operation.id, example_call(world, operation, die, optional=0.3)


def example_call(world: World, operation: Operation, die: Die, *, optional: float = 0.0) -> dict[str, Any]:
    """Arguments for an operation: ids of records that are there, all else by schema; some of what is optional.

    Where a body wants more than its required properties, more is tried. An argument for which nothing valid can be
    made is null, and the call will be refused for it.
    """
    arguments = _example(world, operation, die, optional)
    for more in (0.3, 0.6, 1.0):
        if not world.api.inferred or not world.api.argument_problems(operation, arguments):
            break
        arguments = _example(world, operation, die, max(optional, more))
    return arguments


def _example(world: World, operation: Operation, die: Die, optional: float) -> dict[str, Any]:
    api = world.api
    maker = Maker(api, die, world.clock)
    known, wanted = api.arguments(operation), api.required_arguments(operation)
    links = _links(api, operation)
    examples = api.resources[operation.resource].examples if operation.resource else {}
    arguments: dict[str, Any] = {}
    for name, schema in known.items():
        if name in links:
            table = world.tables[links[name]]
            key = die.choice(sorted(table) or ["none"])
            given = typed(api, schema, table[key][api.resources[links[name]].id] if table else key)
            arguments[name] = given if not api.inferred or api.valid(given, schema) else _valid(maker, schema, name)
        elif name in wanted or die.chance(optional):
            if told := examples.get(operation.fields.get(name, name)):
                arguments[name] = die.choice(told)
            else:
                arguments[name] = maker.value(schema) if not api.inferred else _valid(maker, schema, name)
    if operation.resource and operation.selector in arguments:
        _placed(world, operation, arguments)
    return arguments


def _links(api: Api, operation: Operation) -> dict[str, str]:
    """The arguments that hold ids, with the resource of each."""
    if not operation.resource:
        return {}
    resource = api.resources[operation.resource]
    links = {**resource.links, operation.selector or "": operation.resource}
    if api.inferred:
        links |= {name: resource.links[prop] for name, prop in operation.fields.items() if prop in resource.links}
    return links


def _placed(world: World, operation: Operation, arguments: dict[str, Any]) -> None:
    """Name the parents of the record that is meant, and not just any."""
    if not world.api.inferred:
        return
    resource = world.api.resources[operation.resource]
    record = world.tables[resource.name].get(str(arguments[operation.selector or ""]), {})
    for name in arguments:
        prop = operation.fields.get(name, name)
        if prop in resource.parents.values() and prop in record:
            arguments[name] = typed(world.api, world.api.arguments(operation)[name], record[prop])


def typed(api: Api, schema: Any, key: Any) -> Any:
    """An id as an argument takes it: as it is, as text where it is a number or the other way round, or in a list."""
    other = int(key) if isinstance(key, str) and key.isdecimal() else str(key)
    return next((one for one in (key, other, [key], [other]) if api.valid(one, schema)), key)


def _valid(maker: Maker, schema: Any, name: str) -> Any:
    try:
        return maker.valid(schema, name)
    except Unmade:  # the call will be refused for it
        return None


def state_key(tables: State) -> str:
    """Canonical JSON of a state."""
    return to_json({name: dict(table) for name, table in tables.items()})
