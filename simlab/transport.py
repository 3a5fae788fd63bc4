"""An HTTP/1.1 transport for many small calls at once: `httpx.Request` in, `httpx.Response` read to its end out.

It is a plain asyncio protocol, as that costs half of what the same does over streams. Under trio it hands every call
to the stock transport, which is slower and has limits of its own. Proxies and HTTP/2 are the stock transport's too:
`transport_for` says when. It opens as many connections as there are calls at once; how many that are is decided by
the caller.
"""

import asyncio
import math
import re
import select
import socket
import ssl
import urllib.request
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import anyio
import anyio.lowlevel
import httpx

from simlab.turns import Turns, in_turn

T = TypeVar("T")

MAX_HEAD = 64 * 1024  # bytes of a status line and its fields, or of the trailers
MAX_BODY = 64 * 1024 * 1024
MAX_INTERIM = 16  # 1xx responses before the one that counts
MAX_SIZE_LINE = 256  # bytes of a chunk's size and its extensions
RACE_AFTER = 0.25  # seconds until a host's next address is tried beside the one that does not answer
MAX_TOGETHER = 8  # requests that are written at once, see _Outbox

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_TEXT = rb"[^\x00-\x08\x0a-\x1f\x7f]*+"
_REQUEST = re.compile(rb"%b [\x21-\x7e]++ HTTP/1\.1(?:\r\n%b:%b)*+" % (_TOKEN, _TOKEN, _TEXT))
_RESPONSE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: %b)?+(?:\r\n%b:%b)*+" % (_TEXT, _TOKEN, _TEXT))
_FIELDS = re.compile(rb"(?:%b:%b\r\n)*+" % (_TOKEN, _TEXT))
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*+(?:;%b)?+" % _TEXT)
_TELLING = re.compile(rb"\r\n(content-length|transfer-encoding|connection|content-encoding):([^\r]*)", re.IGNORECASE)
_BARE = re.compile(rb"(?<!\r)\n")

_Origin: TypeAlias = tuple[bytes, bytes, int | None, str | None]  # scheme, host, port, the name asked of TLS

_LOST = (httpx.NetworkError, httpx.RemoteProtocolError)  # what a connection that has died brings
_READY = hasattr(select, "poll")


class _Limits(NamedTuple):
    """Seconds, infinite where there is no limit."""

    connect: float
    read: float
    write: float
    total: float

    @classmethod
    def of(cls, given: Mapping[str, float | None] | None) -> "_Limits":
        """From httpx's extension, which knows these names and None."""
        found = ((given or {}).get(name) for name in cls._fields)
        return cls(*(math.inf if seconds is None else seconds for seconds in found))


# What the bytes that come next belong to.
_HEAD, _COUNTED, _CHUNK_SIZE, _CHUNK, _CHUNK_END, _TRAILERS, _UNTIL_CLOSE = range(7)


class _Reading:
    """The response to one request, put together from its bytes as they come."""

    __slots__ = (
        "_bodiless",
        "_held",
        "_interim",
        "_left",
        "_most",
        "_stage",
        "begun",
        "body",
        "head",
        "keep",
        "length",
        "packed",
        "status",
        "version",
    )

    def __init__(self, method: str, most: int, keep: bool) -> None:
        self._bodiless = method == "HEAD"
        self._most = most
        self._stage = _HEAD
        self._held: bytes | bytearray = b""  # what came and could not be read yet
        self._interim = 0
        self._left = 0  # bytes still to come of the body or the chunk
        self.begun = False  # whether a byte of it came
        self.keep = keep  # whether the connection may serve another request
        self.status = 0
        self.version = b""
        self.head = b""  # status line and fields
        self.length: int | None = None
        self.packed = False  # whether the content is compressed
        self.body: bytes | bytearray = b""

    def feed(self, data: bytes) -> bool:
        """Take the next bytes and say whether the response is whole; raises RemoteProtocolError for what is none."""
        self.begun = True
        if self._stage == _HEAD:
            return self._feed_head(data)
        if self._stage == _COUNTED:
            return self._feed_counted(data)
        if self._stage == _UNTIL_CLOSE:
            self._add(data)
            return False
        return self._feed_chunks(data)

    def closed(self) -> str:
        """What is wrong when the connection ends here, or nothing when that is how the response ends."""
        if self._stage == _UNTIL_CLOSE:
            return ""
        if not self.begun:
            return "Server disconnected without sending a response."
        return "Server disconnected before its response was complete."

    def _feed_head(self, data: bytes) -> bool:
        if self._held:
            before = len(self._held)
            self._held += data  # a bytearray by then
            end = self._held.find(b"\r\n\r\n", max(0, before - 3))
        else:
            before = 0
            end = data.find(b"\r\n\r\n")
        if end < 0:
            if not self._held:
                self._held = bytearray(data)
            if len(self._held) > MAX_HEAD:
                raise httpx.RemoteProtocolError(f"response head of more than {MAX_HEAD} bytes")
            if _BARE.search(self._held, before):  # such a head would never end
                raise httpx.RemoteProtocolError("response head with a line that does not end in CR LF")
            return False
        if end > MAX_HEAD:
            raise httpx.RemoteProtocolError(f"response head of more than {MAX_HEAD} bytes")
        if self._held:
            data, self._held = bytes(self._held), b""
        interim = self._read_head(data[:end])
        rest = data[end + 4 :]
        if interim:
            return bool(rest) and self._feed_head(rest)
        if self._stage == _HEAD:  # no body
            return self._whole(rest)
        if self._stage == _COUNTED:
            return self._feed_counted(rest)
        if self._stage == _UNTIL_CLOSE:
            self._add(rest)
            return False
        return self._feed_chunks(rest)

    def _read_head(self, head: bytes) -> bool:
        """Read status and fields, set what follows, and say whether this is only an interim response."""
        if (matched := _RESPONSE.fullmatch(head)) is None:
            raise httpx.RemoteProtocolError("malformed response head")
        status = int(matched[2])
        if status < 200:
            self._interim += 1
            if status == 101:
                raise httpx.RemoteProtocolError("response 101 to a request that asked for no other protocol")
            if self._interim > MAX_INTERIM:
                raise httpx.RemoteProtocolError(f"more than {MAX_INTERIM} interim responses")
            return True
        self.status, self.head = status, head
        self.version = b"HTTP/1." + matched[1]
        if matched[1] == b"0":
            self.keep = False
        chunked = False
        for name, value in _TELLING.findall(head):
            key, value = name.lower(), value.strip(b" \t")
            if key == b"content-length":
                self._read_length(value)
            elif key == b"transfer-encoding":
                if chunked or value.lower() != b"chunked" or matched[1] == b"0":
                    raise httpx.RemoteProtocolError("transfer coding other than chunked")
                chunked = True
            elif key == b"connection":
                if b"close" in [option.strip(b" \t") for option in value.lower().split(b",")]:
                    self.keep = False
            else:
                self.packed = True
        if chunked and self.length is not None:
            raise httpx.RemoteProtocolError("response with both a length and a transfer coding")
        if self._bodiless or status in (204, 304):
            return False
        if chunked:
            self._stage = _CHUNK_SIZE
        elif self.length is not None:
            if self.length > self._most:
                raise self._too_long()
            self._stage, self._left = _COUNTED, self.length
        elif self.keep:
            raise httpx.RemoteProtocolError("response without a length on a connection that stays open")
        else:
            self._stage = _UNTIL_CLOSE
        return False

    def _read_length(self, value: bytes) -> None:
        for one in value.split(b","):
            digits = one.strip(b" \t")
            if not digits.isdigit() or len(digits) > 18:
                raise httpx.RemoteProtocolError("malformed content length")
            if self.length is not None and self.length != int(digits):
                raise httpx.RemoteProtocolError("content lengths that differ")
            self.length = int(digits)

    def _feed_counted(self, data: bytes) -> bool:
        if len(data) < self._left:
            self._left -= len(data)
            self._add(data)
            return False
        if len(data) == self._left and not self.body:  # all of it in one piece, which is the rule
            self.body = data
            return True
        self._add(data[: self._left])
        return self._whole(data[self._left :])

    def _feed_chunks(self, data: bytes) -> bool:
        if self._held:
            data, self._held = bytes(self._held) + data, b""
        at = 0
        while at < len(data):
            if self._stage == _CHUNK:
                part = data[at : at + self._left]
                self._add(part)
                at += len(part)
                self._left -= len(part)
                if not self._left:
                    self._stage = _CHUNK_END
            elif self._stage == _CHUNK_END:
                if len(data) - at < 2:
                    break
                if data[at : at + 2] != b"\r\n":
                    raise httpx.RemoteProtocolError("chunk longer than its size")
                at += 2
                self._stage = _CHUNK_SIZE
            elif self._stage == _CHUNK_SIZE:
                end = data.find(b"\r\n", at, at + MAX_SIZE_LINE)
                if end < 0:
                    if len(data) - at >= MAX_SIZE_LINE or _BARE.search(data, at):
                        raise httpx.RemoteProtocolError("malformed chunk size")
                    break
                if (matched := _SIZE.fullmatch(data, at, end)) is None:
                    raise httpx.RemoteProtocolError("malformed chunk size")
                self._left = int(matched[1], 16)
                self._stage = _CHUNK if self._left else _TRAILERS
                if len(self.body) + self._left > self._most:
                    raise self._too_long()
                at = end + 2
            else:
                if data.startswith(b"\r\n", at):
                    return self._whole(data[at + 2 :])
                end = data.find(b"\r\n\r\n", at, at + MAX_HEAD)
                if end < 0:
                    if len(data) - at >= MAX_HEAD or _BARE.search(data, at):
                        raise httpx.RemoteProtocolError("malformed trailers")
                    break
                if _FIELDS.fullmatch(data, at, end + 2) is None:
                    raise httpx.RemoteProtocolError("malformed trailers")
                return self._whole(data[end + 4 :])
        self._held = data[at:]
        return False

    def _add(self, data: bytes) -> None:
        if len(self.body) + len(data) > self._most:
            raise self._too_long()
        if not self.body:
            self.body = bytearray()
        self.body += data

    def _whole(self, rest: bytes) -> bool:
        if rest:  # nobody asked for it, and what it would answer is not to be guessed
            self.keep = False
        return True

    def _too_long(self) -> httpx.RemoteProtocolError:
        return httpx.RemoteProtocolError(f"response body of more than {self._most} bytes")


class _Connection(asyncio.Protocol):
    """One connection; it serves one request at a time, and anything that comes between two of them ends it."""

    __slots__ = (
        "_blocked",
        "_limit",
        "_loop",
        "_peers",
        "_poll",
        "_read",
        "_reading",
        "_rings",
        "_timer",
        "_transport",
        "_unsent",
        "_until",
        "_write",
        "alive",
        "call",
        "since",
    )

    _transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, peers: "set[_Connection]") -> None:
        """`peers` are the open ones; it is among them as long as it is open."""
        self._loop = loop
        self._peers = peers
        self.call: _Call | None = None  # the one it carries, whose request is to be sent or was sent
        self._reading: _Reading | None = None  # the call's, once its request was sent
        self._blocked = False  # whether a part of the request is still unsent
        self._unsent = 0
        self._read = self._write = self._until = self._limit = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._rings = math.inf  # when the timer does; uvloop's cannot always be asked
        self._poll: Any = None
        self.alive = False
        self.since = 0.0  # when it became idle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; asyncio calls this."""
        self._transport = cast(asyncio.Transport, transport)
        # so that `pause_writing` says when anything at all is left unsent; asyncio's TLS knows no limit of 0
        self._transport.set_write_buffer_limits(high=1)
        if _READY and (sock := transport.get_extra_info("socket")) is not None:
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN)
        self._peers.add(self)
        self.alive = True

    def send_waiting(self, now: float) -> None:
        """Send the request that waits, if the connection is still open and nothing was sent to it unasked.

        The loop may not have read yet what already lies there, and that would be taken for the response.
        """
        if (call := self.call) is None or call.waiter.done():  # its caller was cancelled
            return
        try:
            if call.until <= now:
                self._fail(httpx.ReadTimeout("timed out"))
            elif not self.alive or self._transport.is_closing() or (self._poll is not None and self._poll.poll(0)):
                self._fail(httpx.ReadError("the connection ended before a request was sent"))
            else:
                self.send()
        except Exception as error:  # this call's own; others are yet to be sent
            self._fail(error)

    def send(self) -> None:
        """Send the request of the call that is carried."""
        assert self.call is not None
        call = self.call
        self._reading = call.reading
        self._read, self._write, self._until = call.limits.read, call.limits.write, call.until
        self._transport.write(b"".join(call.request))
        if self._blocked:
            self._unsent = self._transport.get_write_buffer_size()
            self._watch(self._write)
        else:
            self._watch(self._read)

    def abort(self) -> None:
        """Close at once; whoever waits for a response is told."""
        self.alive = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Go on reading; asyncio calls this."""
        if (reading := self._reading) is None:
            self.abort()
            return
        try:
            whole = reading.feed(data)
        except httpx.RemoteProtocolError as error:
            self._fail(error)
            return
        if whole:
            self._whole(reading)
        elif not self._blocked:
            self._watch(self._read)

    def eof_received(self) -> None:
        """End; asyncio calls this."""
        if (reading := self._reading) is None:
            self.abort()
        elif wrong := reading.closed():
            self._fail(httpx.RemoteProtocolError(wrong))
        else:
            reading.keep = False
            self._whole(reading)

    def connection_lost(self, exc: Exception | None) -> None:
        """End; asyncio calls this."""
        self._peers.discard(self)
        self.alive = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._reading is not None:
            said = str(exc) if exc is not None else "the connection was closed"
            self._fail(httpx.WriteError(said) if self._blocked else httpx.ReadError(said))

    def pause_writing(self) -> None:
        """Note that sending has to wait; asyncio calls this."""
        self._blocked = True

    def resume_writing(self) -> None:
        """Note that all is sent; asyncio calls this."""
        self._blocked = False
        if self._reading is not None:
            self._watch(self._read)

    def _whole(self, reading: _Reading) -> None:
        """The response has come to its end: leave the connection to the next request."""
        call, self.call, self._reading = self.call, None, None
        if self._blocked:  # answered before all was sent: what is left of the request would come before the next one
            reading.keep = False
        if not reading.keep:
            self.abort()
        assert call is not None
        call.whole(self)

    def _fail(self, error: Exception) -> None:
        call, self.call, self._reading = self.call, None, None
        if call is not None:
            call.settle(error)
        self.abort()

    def _watch(self, seconds: float) -> None:
        """Allow this long from now; the timer of an earlier request is used again when it rings in time."""
        self._limit = self._until if seconds == math.inf else min(self._loop.time() + seconds, self._until)
        if self._limit == math.inf:
            return
        if self._timer is not None:
            if self._rings <= self._limit:
                return
            self._timer.cancel()
        self._wind()

    def _wind(self) -> None:
        self._rings = self._limit
        self._timer = self._loop.call_at(self._rings, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._reading is None or self._limit == math.inf:
            return
        now = self._loop.time()
        if self._blocked and now < self._until and (left := self._transport.get_write_buffer_size()) < self._unsent:
            self._unsent = left  # slow, but it moves
            self._limit = min(now + self._write, self._until)
        if now < self._limit:
            self._wind()
            return
        self._fail(httpx.WriteTimeout("timed out") if self._blocked else httpx.ReadTimeout("timed out"))


class _Call:
    """One request on its way.

    When its turn comes it goes by itself, and when its response is whole it leaves connection and turn to the next
    one. Both happen where the loop reads, and no task is woken in between: so a server has work even while the tasks
    of many responses wait for the CPU.
    """

    __slots__ = (
        "_idle",
        "_in_turn",
        "_loop",
        "_origin",
        "_transport",
        "_turns",
        "connection",
        "limits",
        "reading",
        "request",
        "until",
        "waiter",
    )

    def __init__(
        self,
        transport: "Transport",
        loop: asyncio.AbstractEventLoop,
        origin: _Origin,
        idle: deque[_Connection],
        request: Sequence[bytes],
        reading: _Reading,
        limits: _Limits,
        turns: Turns | None,
    ) -> None:
        """`request` is in parts, which are joined when they are sent: many may wait for their turn."""
        self._transport, self._loop = transport, loop
        self._origin, self._idle = origin, idle
        self._turns, self._in_turn = turns, False
        self.request, self.reading, self.limits = request, reading, limits
        self.connection: _Connection | None = None
        self.until = math.inf
        self.waiter: asyncio.Future[Exception | None] = loop.create_future()

    def go(self) -> bool:
        """Send the request over a kept connection, or have whoever waits open one; returns False if nobody does."""
        if self.waiter.done():  # cancelled
            return False
        self._in_turn = True
        now = self._loop.time()
        self.until = now + self.limits.total
        connection = self._transport._kept(self._idle, now)
        if connection is None:
            self.settle(None)
        else:
            self.over(connection)
            self._transport._outbox.add(connection)
        return True

    def over(self, connection: _Connection) -> None:
        """Have a connection carry this call."""
        self.connection, connection.call = connection, self

    def settle(self, error: Exception | None) -> None:
        """Wake whoever waits: the response is whole, something went wrong, or no connection carries the call yet."""
        if not self.waiter.done():
            # a result and no exception, of which the future would complain if its reader was cancelled meanwhile
            self.waiter.set_result(error)

    def whole(self, connection: _Connection) -> None:
        """End, as the response is whole. The turn of one that declines is released by whoever waits, to try again."""
        self.settle(None)
        self._transport._release(connection, self._origin, self._idle, self._loop.time())
        if self._in_turn and self._turns is not None and 200 <= self.reading.status < 300:
            self._in_turn = False
            self._turns.pass_on()

    def leave(self) -> None:
        """Give back what is still held: of a call that failed the turn, of one that was cancelled the connection."""
        if self.connection is not None and self.connection.call is self:
            self.connection.abort()
        if self._in_turn and self._turns is not None:
            self._in_turn = False
            self._turns.release()


class _Outbox:
    """Requests over kept connections of one round of the loop, written together: a few, or those there are at its end.

    A server that sleeps on the same machine, as a local model's does, is then woken once for all of them, which saves
    up to a tenth of a call's CPU time. More than a few would wait for each other longer than that is worth.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[_Connection] = []
        self._called = False  # whether the loop will send what is left

    def add(self, connection: _Connection) -> None:
        """Have a connection send what waits there, soon or at once."""
        self._waiting.append(connection)
        if len(self._waiting) == MAX_TOGETHER:
            self._send()
        elif not self._called:
            self._called = True
            self._loop.call_soon(self._send_rest)

    def _send_rest(self) -> None:
        self._called = False
        self._send()

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        now = self._loop.time()
        for connection in waiting:
            connection.send_waiting(now)


class Transport(httpx.AsyncBaseTransport):
    """Connections kept by origin, the latest used first; one instance serves one event loop at a time.

    Beside httpx's own time-outs, `extensions["timeout"]["total"]` limits a whole call, without a cancel scope of its
    own. A call whose kept connection died before the first byte of a response is made once more on a new one.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        trust_env: bool = True,
        keepalive_expiry: float = 30.0,
        max_body: int = MAX_BODY,
    ) -> None:
        """`max_body` limits bodies, also when unpacked; `trust_env` says whether SSL_CERT_FILE and _DIR count."""
        self._context = ssl_context
        self._trust_env = trust_env
        self._expiry = keepalive_expiry
        self.max_body = max_body
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outbox: _Outbox
        self._open: set[_Connection] = set()
        self._idle: dict[_Origin, deque[_Connection]] = {}  # each in the order they became idle
        self._stock: httpx.AsyncHTTPTransport | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response with its body; raises httpx's TransportError in all its kinds."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None  # another event loop than asyncio's
        try:
            if loop is None:
                return await self._by_stock(request)
            body = request.read() if isinstance(request.stream, httpx.SyncByteStream) else await request.aread()
            data, keep = _encoded(request, body)
            reading = _Reading(request.method, self.max_body, keep)
            limits = _Limits.of(request.extensions.get("timeout"))
            response = await self._exchange(loop, _origin(request), (data,), reading, limits, _response)
        except httpx.RequestError as error:
            error.request = request
            raise
        response.request = request
        return response

    async def aclose(self) -> None:
        """Close all connections, those in use too; a later request opens new ones."""
        self._idle = {}
        for connection in tuple(self._open):
            connection.abort()
        stock, self._stock = self._stock, None
        if stock is not None:
            await stock.aclose()
        await anyio.lowlevel.checkpoint()  # the loop closes sockets in its next round

    async def _exchange(
        self,
        loop: asyncio.AbstractEventLoop,
        origin: _Origin,
        request: Sequence[bytes],
        reading: _Reading,
        limits: _Limits,
        made: Callable[[_Reading], T],
        turns: Turns | None = None,
        item: int = 0,
    ) -> T:
        """Send a request, given in parts, over a kept connection or a new one; returns what is made of its response."""
        if loop is not self._loop:
            self._enter(loop)
        if (idle := self._idle.get(origin)) is None:
            idle = self._idle[origin] = deque()
        call = _Call(self, loop, origin, idle, request, reading, limits, turns)
        try:
            if turns is None:
                call.go()
            else:
                turns.enter(item, call.go)
            error = await call.waiter
            if call.connection is None or (
                isinstance(error, _LOST)
                and not reading.begun
                and self._idle.get(origin) is idle  # or it was closed by `aclose`
            ):
                connection = await self._connected(loop, origin, limits.connect, call.until)
                call.waiter = loop.create_future()
                call.over(connection)
                connection.send()
                error = await call.waiter
            if error is not None:
                raise error
        finally:
            call.leave()
        if reading.packed:
            self._check_unpacked(reading)
        return made(reading)

    def _enter(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin with a loop; what an earlier one left open cannot be used in it."""
        for connection in tuple(self._open):
            with suppress(RuntimeError):  # that loop is closed
                connection.abort()
        self._open.clear()
        self._idle = {}
        self._loop = loop
        self._outbox = _Outbox(loop)

    def _kept(self, idle: deque[_Connection], now: float) -> _Connection | None:
        """The one used last. Should it just be closing, its call is told before it is sent, and gets a new one."""
        oldest = now - self._expiry
        while idle:
            connection = idle.pop()
            if connection.alive and connection.since >= oldest:
                return connection
            connection.abort()
        return None

    def _release(self, connection: _Connection, origin: _Origin, idle: deque[_Connection], now: float) -> None:
        """Keep a connection for the next request, and drop those at the other end that no request will reach."""
        if not connection.alive:
            return
        if self._idle.get(origin) is not idle:
            connection.abort()
            return
        connection.since = now
        idle.append(connection)
        oldest = now - self._expiry
        while not idle[0].alive or idle[0].since < oldest:
            idle.popleft().abort()
            if not idle:
                break

    async def _connected(
        self, loop: asyncio.AbstractEventLoop, origin: _Origin, seconds: float, until: float
    ) -> _Connection:
        scheme, raw_host, port, sni = origin
        host = raw_host.decode("ascii")
        seconds = min(seconds, max(0.0, until - loop.time()))
        secure = scheme == b"https"
        try:
            with anyio.fail_after(seconds):
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop, self._open),
                    sock=await _socket(loop, host, port or (443 if secure else 80)),
                    ssl=self._tls() if secure else None,
                    server_hostname=(sni or host) if secure else None,
                )
        except TimeoutError:
            raise httpx.ConnectTimeout("timed out") from None
        except (OSError, UnicodeError) as error:  # certificates that do not fit are OSErrors too
            raise httpx.ConnectError(str(error)) from error
        return connection

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = httpx.create_ssl_context(trust_env=self._trust_env)
        return self._context

    def _check_unpacked(self, reading: _Reading) -> None:
        """Unpack a body piece by piece, as a small one may become very large; raises DecodingError too."""
        content = bytes(reading.body)
        pieces = (content[at : at + 4096] for at in range(0, len(content), 4096))
        size = 0
        for part in httpx.Response(200, headers=_fields(reading.head), content=pieces).iter_bytes():
            size += len(part)
            if size > self.max_body:
                raise httpx.RemoteProtocolError(f"response body of more than {self.max_body} bytes when unpacked")

    async def _by_stock(self, request: httpx.Request) -> httpx.Response:
        if self._stock is None:
            limits = httpx.Limits(max_connections=None, keepalive_expiry=self._expiry)
            self._stock = httpx.AsyncHTTPTransport(verify=self._tls(), limits=limits)
        try:
            with anyio.fail_after(_Limits.of(request.extensions.get("timeout")).total):
                response = await self._stock.handle_async_request(request)
                response.request = request
                await response.aread()
        except TimeoutError:
            raise httpx.ReadTimeout("timed out") from None
        return response


class Answer(NamedTuple):
    """A response that has come whole: its status, its head (whose first line says nothing more), its body unpacked."""

    status: int
    head: bytes
    body: bytes

    @property
    def headers(self) -> httpx.Headers:
        """The fields of the head, which are read when they are asked for: of nearly all answers, never."""
        return httpx.Headers(_fields(self.head))

    @classmethod
    def of(cls, response: httpx.Response) -> "Answer":
        """The answer in a response that was read to its end."""
        head = b"".join(b"\r\n%b:%b" % field for field in response.headers.raw)
        return cls(response.status_code, head, response.content)


class Post:
    """Requests over a Transport that differ in their bodies alone: POST to one URL with the same fields.

    They are checked and encoded once, and no `httpx.Request` and `Response` are made of them, which would cost a
    quarter of a call.
    """

    def __init__(
        self, transport: Transport, url: httpx.URL, headers: httpx.Headers, limits: Mapping[str, float | None]
    ) -> None:
        """`limits` are seconds, by httpx's names and "total"; raises LocalProtocolError for headers that are none."""
        self._transport = transport
        self._given, self._limits = limits, _Limits.of(limits)
        fields = [(b"host", url.netloc), *headers.raw]
        self._pattern = httpx.Request("POST", url, headers=[*fields, (b"content-length", b"0")])
        self._origin = _origin(self._pattern)
        self._head = _encoded(self._pattern, b"")[0].removesuffix(b"0\r\n\r\n")

    def __call__(self, body: Sequence[bytes], turns: Turns | None = None, item: int = 0) -> Coroutine[Any, Any, Answer]:
        """Send one body, given in parts, and return the answer; raises httpx's TransportError and DecodingError.

        With `turns` it is sent when its turn comes, and the turn is given back when the answer is whole.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # another event loop than asyncio's
            return self._by_request(b"".join(body), turns, item)
        reading = _Reading("POST", self._transport.max_body, True)
        parts = (self._head, b"%d\r\n\r\n" % sum(map(len, body)), *body)
        return self._transport._exchange(loop, self._origin, parts, reading, self._limits, _answer, turns, item)

    async def _by_request(self, body: bytes, turns: Turns | None, item: int) -> Answer:
        request = httpx.Request(
            "POST",
            self._pattern.url,
            headers=[*self._pattern.headers.raw[:-1], (b"content-length", b"%d" % len(body))],
            stream=httpx.ByteStream(body),
            extensions={"timeout": self._given},
        )
        async with in_turn(turns, item):
            response = await self._transport.handle_async_request(request)
            await response.aread()
            return Answer.of(response)


def transport_for(url: httpx.URL | str, *, trust_env: bool) -> Transport | None:
    """A transport for this URL, or None when a proxy of the environment applies, which the stock one can use."""
    url = httpx.URL(url)
    if trust_env:
        proxies = urllib.request.getproxies()
        if (url.scheme in proxies or "all" in proxies) and not urllib.request.proxy_bypass(url.netloc.decode("ascii")):
            return None
    return Transport(trust_env=trust_env)


async def _socket(loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
    """A socket connected to whichever of a host's addresses answers first; raises OSError if none does.

    The race that `create_connection` offers loses a connected socket when it is cancelled.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    won: list[socket.socket] = []
    errors: list[OSError] = []

    async def run(family: int, kind: int, protocol: int, address: Any, failed: anyio.Event) -> None:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            errors.append(error)
            failed.set()
        except BaseException:
            sock.close()
            raise
        else:
            won.append(sock)
            group.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as group:
            for family, kind, protocol, _, address in found:
                failed = anyio.Event()
                group.start_soon(run, family, kind, protocol, address, failed)
                with anyio.move_on_after(RACE_AFTER):
                    await failed.wait()
    except BaseException:
        for sock in won:
            sock.close()
        raise
    for sock in won[1:]:
        sock.close()
    if not won:
        raise errors[0] if len(errors) == 1 else OSError("; ".join(map(str, errors)))
    return won[0]


def _response(reading: _Reading) -> httpx.Response:
    return httpx.Response(
        reading.status,
        headers=_fields(reading.head),
        stream=httpx.ByteStream(bytes(reading.body)),
        extensions={"http_version": reading.version},
    )


def _answer(reading: _Reading) -> Answer:
    body = _response(reading).read() if reading.packed else bytes(reading.body)
    return Answer(reading.status, reading.head, body)


def _fields(head: bytes) -> list[tuple[bytes, bytes]]:
    """The fields of a well-formed head, after its status line."""
    parted = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return [(name, value.strip(b" \t")) for name, _, value in parted]


def _origin(request: httpx.Request) -> _Origin:
    url = request.url
    return url.raw_scheme, url.raw_host, url.port, request.extensions.get("sni_hostname")


def _encoded(request: httpx.Request, body: bytes) -> tuple[bytes, bool]:
    """The bytes to send, and whether the connection may be kept; raises LocalProtocolError for what is no request."""
    url, method = request.url, request.method
    if url.raw_scheme not in (b"http", b"https"):
        raise httpx.UnsupportedProtocol(f"no http:// or https:// URL: {url.scheme}")
    if not url.raw_host:
        raise httpx.UnsupportedProtocol("a URL without a host")
    keep, length, chunked = True, -1, False
    lines = [b"%b %b HTTP/1.1" % (method.encode("ascii", "replace"), url.raw_path)]
    for name, value in request.headers.raw:
        lines.append(b"%b: %b" % (name, value))
        key = name.lower()
        if key == b"content-length":
            if length != -1 or int(value if value.isdigit() else -2) != len(body):
                raise httpx.LocalProtocolError("a content length that is not the body's")
            length = len(body)
        elif key == b"transfer-encoding":
            chunked = True
        elif key == b"connection":
            keep = b"close" not in value.lower()
    head = b"\r\n".join(lines)
    # a field that holds a whole line would be two well-formed ones
    if method == "CONNECT" or head.count(b"\n") != len(lines) - 1 or _REQUEST.fullmatch(head) is None:
        raise httpx.LocalProtocolError("malformed request")
    if chunked:
        if length != -1:
            raise httpx.LocalProtocolError("both a content length and a transfer coding")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    elif body and length == -1:
        raise httpx.LocalProtocolError("a body without a content length")
    return b"%b\r\n\r\n%b" % (head, body), keep
