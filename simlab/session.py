"""A caller's own simulated API as requests and replies: a world, its faults, what was asked; and many side by side.

Whatever a request changes it changes in one piece, so equal requests in equal order get equal replies. Nothing here
listens to anything; `server` puts it behind HTTP.

OpenAPI 3.0.3 and 3.1.0, https://spec.openapis.org; HTTP semantics, RFC 9110; retrying later, RFC 6585.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from simlab.api import Api, Operation
from simlab.die import Die
from simlab.errors import InputError, nearest
from simlab.explorer import document_of, page_of
from simlab.faults import Answered, Fault, FaultyWorld, read_faults
from simlab.message import NOTHING
from simlab.operation import is_json
from simlab.route import Found, Router
from simlab.schema import to_json
from simlab.styles import text_of
from simlab.values import Maker, Unmade
from simlab.wire import Unreadable, Wire, decoded, definite
from simlab.world import CLOCK, Response, World, diff, seeded

ADMIN = "/_simlab"
DEFAULT = "default"  # the session of requests that name none
MAX_SESSIONS = 1000
CALLS_KEPT = 10_000  # entries of a session's log; the oldest give way
MOST_LOGGED = 256 * 2**10  # bytes of a request whose arguments are logged
_KEYS = ("seed", "clock", "faults")
_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"


@dataclass(frozen=True)
class Reply:
    """An answer as HTTP, and the virtual seconds after which it would be heard."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    delay: float = 0.0


class Session:
    """One caller's own world: what it was asked, and how it answered."""

    def __init__(
        self, api: Api, router: Router, id: str, *, seed: int = 0, clock: str = CLOCK, faults: Sequence[Fault] = ()
    ) -> None:
        self.api, self.id = api, id
        self._router, self._seed, self._clock, self._faults = router, seed, clock, tuple(faults)
        self.reset()

    def reset(self) -> None:
        """Begin anew: the records, the clock, the schedule of faults and the log are as they were at first."""
        self._faulty = FaultyWorld(seeded(self.api, self._seed, self._clock), self._faults)
        self._start = self.world.copy()
        self.calls: deque[dict[str, Any]] = deque(maxlen=CALLS_KEPT)
        self.count = 0

    @property
    def world(self) -> World:
        """The state behind the answers."""
        return self._faulty.world

    @property
    def base(self) -> str:
        """The path under which the session's API is."""
        return "" if self.id == DEFAULT else f"{ADMIN}/s/{self.id}"

    def state(self) -> dict[str, Any]:
        """All records, the clock, and how often something had to stand in (see World)."""
        records = {name: dict(table) for name, table in self.world.tables.items()}
        return {"clock": self.world.clock.isoformat(), "counts": dict(self.world.counts), "records": records}

    def changes(self) -> dict[str, Any]:
        """What changed since the session began, as `world.diff` says it."""
        return diff(self._start.tables, self.world.tables)

    # ── requests ───────────────────────────────────────────────────────────────────────────────────────────

    def answer(self, request: Wire) -> Reply:
        """Answer a request to the API; whatever is wrong with it is an answer too."""
        found = self._router.find(request.path)
        method = request.method
        if method == "HEAD" and (found is None or "HEAD" not in found.operations):
            method = "GET"
        reply = self._elsewhere(method, request) if found is None else self._routed(found, method, request)
        if reply.status not in _BODILESS:
            reply = replace(reply, headers={**reply.headers, "content-length": str(len(reply.content))})
        return replace(reply, content=b"") if request.method == "HEAD" else reply

    def too_large(self, request: Wire, most: int) -> Reply:
        """Refuse a request whose body is too large to be read."""
        found = self._router.find(request.path)
        meant = next(iter(found.operations.get(request.method, ())), None) if found is not None else None
        message = f"The body is larger than {most} bytes."
        called = meant.id if meant is not None else None
        return self._refused(request, 413, "too_large", message, like=meant, called=called)

    def _elsewhere(self, method: str, request: Wire) -> Reply:
        """What is at a path of no operation: the page, the document, or nothing."""
        pages = {"/": self._page, "/openapi.json": self._document}
        if request.path not in pages:
            like = next((o for o in self.api.operations.values() if "404" in o.responses), None)
            return self._refused(request, 404, "unknown_path", f"There is nothing at {request.path}.", like=like)
        if method == "GET":
            return pages[request.path](request)
        return self._not_allowed(request, ["GET", "HEAD", "OPTIONS"], None)

    def _routed(self, found: Found, method: str, request: Wire) -> Reply:
        operations = found.operations.get(method, ())
        if operations:
            try:
                operation, arguments = self._read(operations, found, request)
            except Unreadable as wrong:
                first = operations[0]
                return self._refused(request, wrong.status, wrong.code, str(wrong), like=first, called=first.id)
            return self._called(operation, arguments, request)
        if why := found.aside.get(method):
            return self._refused(request, 501, "not_simulated", f"This operation cannot be simulated: {why}.")
        return self._not_allowed(request, found.methods, next((some[0] for some in found.operations.values()), None))

    def _not_allowed(self, request: Wire, methods: Sequence[str], like: Operation | None) -> Reply:
        """The methods of a path, as the answer to OPTIONS or to one that is not among them."""
        allow = {"allow": ", ".join(methods)}
        if request.method == "OPTIONS":
            return Reply(204, allow)
        message = f"{request.method} is not among the methods of {request.path}."
        return self._refused(request, 405, "method_not_allowed", message, like=like, headers=allow)

    def _read(self, operations: Sequence[Operation], found: Found, request: Wire) -> tuple[Operation, dict[str, Any]]:
        """The operation that is meant and its arguments: of several the first to which the request is valid.

        Raises Unreadable where it can be read for none of them.
        """
        read: list[tuple[Operation, dict[str, Any]]] = []
        wrong: list[Unreadable] = []
        for operation in operations:
            try:
                arguments = decoded(self.api, operation, found.values, request.query, request.headers, request.content)
            except Unreadable as error:
                wrong.append(error)
                continue
            if len(operations) == 1 or not self.api.argument_problems(operation, arguments):
                return operation, arguments
            read.append((operation, arguments))
        if not read:
            raise wrong[0]
        return read[0]

    def _called(self, operation: Operation, arguments: dict[str, Any], request: Wire) -> Reply:
        try:
            answered = self._faulty.call(operation.id, arguments)
        except InputError as error:  # resources of which no records can be made
            return self._refused(request, 501, "not_simulated", f"This operation cannot be simulated: {error}.")
        self._note(request, operation.id, arguments, answered)
        headers = self._headers(operation, answered.response.status)
        if answered.retry_after is not None:
            headers["retry-after"] = str(answered.retry_after)
        return self._sent(operation, answered.response, headers, answered.delay)

    def _refused(
        self,
        request: Wire,
        status: int,
        code: str,
        message: str,
        *,
        like: Operation | None = None,
        called: str | None = None,
        headers: Mapping[str, str] = NOTHING,
    ) -> Reply:
        """A refusal without a call, said as the operation that it is `like` would."""
        response = Response(status, {"code": code, "message": message})
        if like is not None:
            response = self.world.refusal(like, status, code, message)
        self._note(request, called, None, Answered(response))
        return self._sent(like, response, headers)

    # ── replies ────────────────────────────────────────────────────────────────────────────────────────────

    def _sent(
        self, operation: Operation | None, response: Response, headers: Mapping[str, str], delay: float = 0.0
    ) -> Reply:
        """A response as HTTP, in the media type that the document declares for its status."""
        declared = _declared(operation, response.status) if operation is not None else None
        schema = operation.responses[declared] if operation is not None and declared is not None else None
        if response.status in _BODILESS or (response.body is None and schema is None):
            return Reply(response.status, headers, b"", delay)
        media = operation.produces.get(declared) if operation is not None and declared is not None else None
        media = definite(media or "application/json")
        text = to_json(response.body) if is_json(media) else text_of(response.body)
        return Reply(response.status, {"content-type": media, **headers}, text.encode(), delay)

    def _headers(self, operation: Operation, status: int) -> dict[str, str]:
        """The headers that the document requires of a response, made by their schemas."""
        made: dict[str, str] = {}
        for name, schema in _required_headers(self.api, operation, status).items():
            die = Die("header", self.api.title, self.world.seed, operation.id, name)
            try:
                made[name.lower()] = text_of(Maker(self.api, die, self.world.clock).valid(schema, name))
            except Unmade:
                self.world.counts["unfit"] += 1
        return made

    def _note(
        self, request: Wire, operation: str | None, arguments: Mapping[str, Any] | None, answered: Answered
    ) -> None:
        self.count += 1
        entry: dict[str, Any] = {
            "call": self.count,
            "method": request.method,
            "path": request.path_and_query,
            "operation": operation,
            "arguments": arguments if len(request.content) <= MOST_LOGGED else None,
            "status": answered.response.status,
            "fault": answered.injection.as_json() if answered.injection is not None else None,
        }
        self.calls.append(entry)

    def _page(self, request: Wire) -> Reply:
        origin = f"http://{request.headers.get('host', 'localhost')}"
        page = page_of(self.api, origin, self.base, self._seed).encode()
        return Reply(200, {"content-type": "text/html; charset=utf-8", "content-security-policy": _PAGE_POLICY}, page)

    def _document(self, request: Wire) -> Reply:
        del request
        document = to_json(document_of(self.api, self.base or "/"))
        return Reply(200, {"content-type": "application/json"}, document.encode())


_BODILESS = (204, 205, 304)


def _declared(operation: Operation, status: int) -> str | None:
    """Where an operation describes a status."""
    keys = (str(status), f"{status // 100}XX", f"{status // 100}xx", "default")
    return next((key for key in keys if key in operation.responses), None)


def _required_headers(api: Api, operation: Operation, status: int) -> dict[str, Any]:
    declared = _declared(operation, status)
    node = api.resolve(api.resolve(api.document["paths"][operation.path])[operation.method.lower()])
    responses = {str(key): said for key, said in (node.get("responses") or {}).items()}
    said = api.resolve(responses.get(declared or "", {})).get("headers") or {}
    found = {str(name): api.resolve(header) for name, header in said.items()}
    return {
        name: header.get("schema", {})
        for name, header in found.items()
        if isinstance(header, Mapping) and header.get("required") is True and name.lower() != "content-type"
    }


# ── sessions ───────────────────────────────────────────────────────────────────────────────────────────────────


class Sessions:
    """All sessions of a served API; the default one is always there."""

    def __init__(self, api: Api, *, seed: int = 0, most: int = MAX_SESSIONS) -> None:
        self.api, self._router, self._seed, self._most = api, Router(api), seed, most
        self._open = {DEFAULT: Session(api, self._router, DEFAULT, seed=seed)}
        self._opened = 0

    def __getitem__(self, id: str) -> Session:
        return self._open[id]

    def __contains__(self, id: object) -> bool:
        return id in self._open

    def __iter__(self) -> Iterator[Session]:
        return iter(self._open.values())

    def open(self, said: Any) -> Session | None:
        """Open a session as plain data says, `{seed?, clock?, faults?}`; None where no more may be open.

        Raises InputError for data that says something else.
        """
        if not isinstance(said, Mapping):
            raise InputError("expected an object with `seed`, `clock` or `faults`, all of them optional")
        if wrong := next((str(key) for key in said if key not in _KEYS), None):
            raise InputError(f"no key {wrong!r}{nearest(wrong, ('seed', 'clock', 'faults'))}")
        seed, clock = said.get("seed", self._seed), said.get("clock", CLOCK)
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise InputError(f"`seed`: expected a whole number, got {seed!r}")
        moment, faults = _moment(clock), read_faults(self.api, said.get("faults", []))
        if len(self._open) > self._most:  # the default one apart
            return None
        self._opened += 1
        name = f"s{self._opened:04d}"
        self._open[name] = Session(self.api, self._router, name, seed=seed, clock=moment, faults=faults)
        return self._open[name]

    def close(self, id: str) -> None:
        """Forget a session; raises KeyError."""
        del self._open[id]


def _moment(said: Any) -> str:
    try:
        moment = datetime.fromisoformat(said.replace("Z", "+00:00"))
    except (AttributeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InputError(f"`clock`: expected a moment such as 2026-03-02T09:00:00Z, got {said!r}")
    return moment.isoformat()
