"""Faults as a schedule: which call of which operation goes wrong, how, and whether before or after its effect.

Nothing is left to chance: a fault is injected at the call it names or not at all, and every injection is noted, so
that it can be a label. A fault that comes after the effect is what tests whether a caller may simply try again.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from typing import Any

from simlab.api import Api, Operation
from simlab.die import Die
from simlab.errors import InputError, nearest
from simlab.inference import part
from simlab.schema import pointed, to_json
from simlab.world import TICK, Response, World, put_at


@dataclass(frozen=True)
class Kind:
    """A kind of fault: when it may come (the first unless said otherwise), and how many seconds it is about."""

    when: tuple[str, ...]
    seconds: float | None = None  # None where seconds mean nothing


KINDS: Mapping[str, Kind] = {
    "timeout": Kind(("before", "after"), 0.0),  # 504: the caller does not hear back in time
    "rate_limit": Kind(("before",), 30.0),  # 429, with Retry-After
    "server_error": Kind(("before", "after")),  # 500
    "slow": Kind(("after",), 10.0),  # answered well, so many seconds late
    "truncated": Kind(("after",)),  # a list of which the latter half is missing, without a word
    "stale": Kind(("before",)),  # a read that does not know of the last write
    "missing_field": Kind(("after",)),  # an answer without one of its fields
}
_KEYS = ("operation", "call", "kind", "when", "seconds")


@dataclass(frozen=True)
class Fault:
    """The `nth` call of an operation (from 1) goes wrong; `seconds` are virtual."""

    operation: str
    nth: int
    kind: str
    when: str = "before"
    seconds: float = 0.0


@dataclass(frozen=True)
class Injection:
    """A fault that was injected; `call_index` counts all calls to the world, from 0."""

    operation: str
    nth: int
    kind: str
    when: str
    call_index: int

    def as_json(self) -> dict[str, Any]:
        """The plain form that is stored."""
        return {
            "operation": self.operation,
            "nth": self.nth,
            "kind": self.kind,
            "when": self.when,
            "call_index": self.call_index,
        }


@dataclass(frozen=True)
class Answered:
    """A response, the virtual seconds until it is heard, when to try again, and the fault that made it so."""

    response: Response
    delay: float = 0.0
    retry_after: int | None = None
    injection: Injection | None = None


# ── reading a schedule ─────────────────────────────────────────────────────────────────────────────────────────


def read_faults(api: Api, said: Any, where: str = "faults") -> tuple[Fault, ...]:
    """A schedule from plain data: a list of `{operation, call, kind, when?, seconds?}`.

    Raises InputError naming the entry, with the nearest operation, kind or key for one that does not exist.
    """
    if not isinstance(said, list | tuple):
        raise InputError(f"{where}: expected a list of faults, got {_shown(said)}")
    made: list[Fault] = []
    for number, entry in enumerate(said):
        fault = _fault(api, entry, f"{where}[{number}]")
        if any((other.operation, other.nth) == (fault.operation, fault.nth) for other in made):
            raise InputError(f"{where}[{number}]: call {fault.nth} of {fault.operation} has a fault already")
        made.append(fault)
    return tuple(made)


def _fault(api: Api, said: Any, where: str) -> Fault:
    if not isinstance(said, Mapping):
        raise InputError(f"{where}: expected a mapping, got {_shown(said)}")
    if wrong := next((str(key) for key in said if key not in _KEYS), None):
        raise InputError(f"{where}: no key {wrong!r}{nearest(wrong, _KEYS)}")
    if missing := next((key for key in ("operation", "kind") if key not in said), None):
        raise InputError(f"{where}: `{missing}` is missing")
    operation, name, nth = str(said["operation"]), str(said["kind"]), said.get("call", 1)
    if operation not in api.operations:
        raise InputError(f"{where}: {api.name} has no operation {operation!r}{nearest(operation, api.operations)}")
    if name not in KINDS:
        raise InputError(f"{where}: no kind {name!r}{nearest(name, KINDS)}")
    if not isinstance(nth, int) or isinstance(nth, bool) or nth < 1:
        raise InputError(f"{where}: `call`: expected a whole number from 1, got {_shown(nth)}")
    kind, reads = KINDS[name], api.operations[operation]
    when = said.get("when", kind.when[0])
    if when not in kind.when:
        raise InputError(f"{where}: `when`: a {name} comes {' or '.join(kind.when)} the effect, not {_shown(when)}")
    if name == "truncated" and reads.effect != "list":
        raise InputError(f"{where}: only a list can be truncated, and {operation} is a {reads.effect}")
    if name == "stale" and reads.writes:
        raise InputError(f"{where}: only a read can be stale, and {operation} is a {reads.effect}")
    return Fault(operation, nth, name, when, _seconds(said.get("seconds"), name, kind, where))


def _seconds(said: Any, name: str, kind: Kind, where: str) -> float:
    if said is None:
        return kind.seconds or 0.0
    if kind.seconds is None:
        raise InputError(f"{where}: `seconds` mean nothing to the kind {name}")
    if isinstance(said, bool) or not isinstance(said, int | float) or not isfinite(said) or said < 0:
        raise InputError(f"{where}: `seconds`: expected a number from 0, got {_shown(said)}")
    return float(said)


def _shown(value: Any) -> str:
    return repr(value)[:80]


# ── injecting it ───────────────────────────────────────────────────────────────────────────────────────────────


class FaultyWorld:
    """A world whose calls go wrong on schedule; without faults it answers as the world itself does.

    `injected` holds what went wrong so far, in order. A fault that finds nothing to spoil (a page of no rows, a read
    before any write) is not injected.
    """

    def __init__(self, world: World, faults: Sequence[Fault] = ()) -> None:
        self.world = world
        self.faults = tuple(faults)
        self.injected: list[Injection] = []
        self._due = {(fault.operation, fault.nth): fault for fault in faults}
        self._counts: Counter[str] = Counter()
        self._calls = 0
        self._earlier: World | None = None  # as it was before the last write

    def call(self, name: str, arguments: Mapping[str, Any]) -> Answered:
        """Answer one call, as `World.call` does, or as the schedule wants it."""
        index, self._calls = self._calls, self._calls + 1
        self._counts[name] += 1
        fault = self._due.get((name, self._counts[name]))
        if fault is None:
            return Answered(self._answer(name, arguments))
        spoilt = self._spoilt(fault, self.world.api.operations[name], arguments, index)
        if spoilt.injection is not None:
            self.injected.append(spoilt.injection)
        return spoilt

    def _answer(self, name: str, arguments: Mapping[str, Any]) -> Response:
        before = self.world.copy()
        response = self.world.call(name, arguments)
        if self.world.tables is not before.tables:
            self._earlier = before
        return response

    def _spoilt(self, fault: Fault, operation: Operation, arguments: Mapping[str, Any], index: int) -> Answered:
        noted = Injection(fault.operation, fault.nth, fault.kind, fault.when, index)
        if fault.kind in _REFUSALS:
            return self._refused(fault, operation, arguments, noted)
        if fault.kind == "stale":
            return self._stale(operation, arguments, noted)
        response = self._answer(operation.id, arguments)
        if fault.kind == "slow":
            return Answered(response, fault.seconds, injection=noted)
        spoil = _truncated if fault.kind == "truncated" else _without_a_field
        body = spoil(self.world, operation, response.body, index) if response.ok else response.body
        if body is response.body:
            return Answered(response)
        return Answered(Response(response.status, body), injection=noted)

    def _refused(self, fault: Fault, operation: Operation, arguments: Mapping[str, Any], noted: Injection) -> Answered:
        if fault.when == "after":
            self._answer(operation.id, arguments)
        else:
            self.world.clock += TICK  # time passes as it does for any call
        status, code, message = _REFUSALS[fault.kind]
        if fault.kind != "rate_limit":
            return Answered(self.world.refusal(operation, status, code, message), fault.seconds, injection=noted)
        wait = ceil(fault.seconds)
        message = message.format(wait)
        response = self.world.refusal(operation, status, code, message)
        if message not in to_json(response.body):  # a document's error without words; headers reach no tool's caller
            body = response.body if isinstance(response.body, Mapping) else {"error": response.body}
            response = Response(response.status, {**body, "retry_after": wait})
        return Answered(response, retry_after=wait, injection=noted)

    def _stale(self, operation: Operation, arguments: Mapping[str, Any], noted: Injection) -> Answered:
        earlier = self._earlier.copy() if self._earlier is not None else None
        if earlier is not None:
            earlier.clock = self.world.clock
        fresh = self._answer(operation.id, arguments)
        stale = earlier.call(operation.id, arguments) if earlier is not None else fresh
        return Answered(fresh) if stale == fresh else Answered(stale, injection=noted)


_REFUSALS = {
    "timeout": (504, "timeout", "No answer came in time; whether the call took effect is not known."),
    "rate_limit": (429, "rate_limited", "Too many requests; retry after {} seconds."),
    "server_error": (500, "server_error", "Something went wrong on the server."),
}


def _truncated(world: World, operation: Operation, body: Any, index: int) -> Any:
    """A list without the latter half of its rows, and all that it says of itself unchanged."""
    del world, index
    rows = _at(body, operation.rows)
    return put_at(body, operation.rows, rows[: len(rows) // 2]) if isinstance(rows, list) and rows else body


def _without_a_field(world: World, operation: Operation, body: Any, index: int) -> Any:
    """A body in which one record lacks a field: one that it need not have, where there is such a one."""
    die = Die("missing_field", world.api.title, world.seed, operation.id, index)
    place, schema_at, record = operation.record, operation.record, _at(body, operation.record)
    rows = _at(body, operation.rows) if operation.effect == "list" else None
    if isinstance(rows, list) and rows:
        number = die.below(len(rows))
        place, schema_at, record = operation.rows, f"{operation.rows}/*", rows[number]
    if not isinstance(record, Mapping) or not record:
        return body
    required = world.api.required(part(world.api, operation.responses.get(operation.success), schema_at))
    field = die.choice(sorted(name for name in record if name not in required) or sorted(record))
    left = {name: value for name, value in record.items() if name != field}
    if isinstance(rows, list) and rows:
        return put_at(body, place, [*rows[:number], left, *rows[number + 1 :]])
    return put_at(body, place, left)


def _at(body: Any, pointer: str) -> Any:
    try:
        return pointed(body, pointer)
    except LookupError:
        return None
