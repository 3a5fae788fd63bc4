"""What a transport has to do, asked of httpx's own and of ours alike, and where ours is stricter."""

import gc
import gzip
import os
import socket
import ssl
import struct
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple

import anyio
import httpx
import pytest
import trustme
from anyio.abc import ByteStream, SocketAttribute
from anyio.lowlevel import checkpoint
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simlab.transport import MAX_HEAD, MAX_INTERIM, MAX_TOGETHER, Answer, Post, Transport, transport_for
from simlab.turns import Turns

pytestmark = [
    pytest.mark.anyio,
    # The stock transport leaves such to the collector, and ours is the stock one under trio; `make` sees to the rest.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def little_to_collect() -> Iterator[None]:
    """What other tests keep is set aside: looked through at every sweep, it would take longer than the tests."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@contextmanager
def swept(*, clean: bool) -> Iterator[None]:
    """Collect what a test leaves behind where it belongs, and fail where there should be nothing left to collect."""
    collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        left = collect()
    if clean:
        assert left == []


def collect() -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        for _ in range(3):
            gc.collect()
    return [str(one.message) for one in caught]


ours_only = pytest.mark.parametrize("anyio_backend", ["asyncio"])  # under trio ours is the stock one
PATIENCE = 10.0  # seconds until a test counts as hanging
CLOSE, HALF, RESET = "close", "half", "reset"  # HALF: nothing more will be sent, but is still read
STALL = 30.0  # longer than any time-out here


class Asked(NamedTuple):
    """A request as the server saw it."""

    connection: int
    nth: int  # on its connection
    head: bytes
    body: bytes


Step = bytes | float | str | Callable[[], Awaitable[None]]
Script = Callable[[Asked], Iterable[Step]]


class Server:
    """Answers each request with the steps of a script: bytes to send, seconds to wait, an end, or a call."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.connections = 0  # ever
        self.open = 0  # now
        self.asked: list[Asked] = []
        self.sockets: list[socket.socket] = []  # of its connections, also of ended ones
        self.url = ""
        self._changed = anyio.Event()

    async def serve(self, stream: ByteStream) -> None:
        self.connections += 1
        self.open += 1
        self.sockets.append(stream.extra(SocketAttribute.raw_socket))
        self.tell()
        connection, nth = self.connections, 0
        try:
            async with stream:
                received = BufferedByteReceiveStream(stream)
                while True:
                    asked = await self._asked(received, connection, nth)
                    nth += 1
                    self.asked.append(asked)
                    self.tell()
                    if not await self._answer(stream, asked):
                        return
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        except ssl.SSLError:
            pass
        finally:
            self.open -= 1
            self.tell()

    async def _asked(self, received: BufferedByteReceiveStream, connection: int, nth: int) -> Asked:
        head = await received.receive_until(b"\r\n\r\n", 1 << 20)
        body = b""
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                body = await received.receive_exactly(int(line[15:]))
            if line.startswith(b"transfer-encoding:"):
                while size := int(await received.receive_until(b"\r\n", 99), 16):
                    body += await received.receive_exactly(size)
                    await received.receive_exactly(2)
                await received.receive_exactly(2)
        return Asked(connection, nth, head, body)

    async def _answer(self, stream: ByteStream, asked: Asked) -> bool:
        for step in self.script(asked):
            if isinstance(step, bytes):
                await stream.send(step)
            elif isinstance(step, float):
                await anyio.sleep(step)
            elif step == RESET:
                sock = stream.extra(SocketAttribute.raw_socket)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            elif step == CLOSE:
                return False
            elif step == HALF:
                await stream.send_eof()
            else:
                assert callable(step)
                await step()
        return True

    def tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, true: Callable[[], bool]) -> None:
        with anyio.fail_after(PATIENCE):
            while not true():
                await self._changed.wait()

    async def until_open(self, n: int) -> None:
        """Wait until there are no more than n connections."""
        await self.until(lambda: self.open <= n)


@asynccontextmanager
async def served(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(script)
    listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = listener.extra(SocketAttribute.local_port)
    server.url = f"http://127.0.0.1:{port}/x" if tls is None else f"https://localhost:{port}/x"
    if tls is not None:

        async def refused(_: BaseException, stream: Any) -> None:  # what the client made of it is what counts
            await anyio.aclose_forcefully(stream)

        class Quiet(TLSListener):
            handle_handshake_error = staticmethod(refused)  # type: ignore[assignment]

        listener = Quiet(listener, tls, standard_compatible=False)
    with anyio.fail_after(PATIENCE):
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, server.serve)
            yield server
            group.cancel_scope.cancel()


Make = Callable[..., httpx.AsyncBaseTransport]


def stock(*, keepalive_expiry: float = 30.0, ssl_context: ssl.SSLContext | None = None) -> httpx.AsyncHTTPTransport:
    limits = httpx.Limits(max_connections=None, keepalive_expiry=keepalive_expiry)
    return httpx.AsyncHTTPTransport(verify=ssl_context or PLAIN, limits=limits)


def ours(**options: Any) -> Transport:
    return Transport(**{"ssl_context": PLAIN} | options)


class Posting(Transport):
    """Ours, where a request is posted when its turn comes; there are three."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.turns = Turns(3)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        post = Post(self, request.url, httpx.Headers(), request.extensions["timeout"])
        answer = await post([await request.aread()], self.turns)
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body)

    def all_are_back(self) -> bool:
        return [self.turns.take(0) for _ in range(4)] == [True, True, True, False]


def in_turn(**options: Any) -> Posting:
    return Posting(**{"ssl_context": PLAIN} | options)


PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody, and is made in no time


@pytest.fixture(params=[stock, ours])
def make(request: pytest.FixtureRequest, anyio_backend: str) -> Iterator[Make]:
    with swept(clean=request.param is ours and anyio_backend == "asyncio"):
        yield request.param


async def ask(
    transport: httpx.AsyncBaseTransport,
    server: Server,
    body: bytes = b"",
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    **limits: float,
) -> httpx.Response:
    timeout = dict.fromkeys(("connect", "read", "write", "pool")) | limits
    request = httpx.Request(method, server.url, content=body, headers=headers, extensions={"timeout": timeout})
    response = await transport.handle_async_request(request)
    response.request = request
    try:
        await response.aread()
    finally:
        await response.aclose()
    return response


def counted(body: bytes, *fields: str) -> bytes:
    return head(f"content-length: {len(body)}", *fields) + body


def chunked(body: bytes, size: int = 5) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return head("transfer-encoding: chunked") + b"".join(b"%X\r\n%b\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


def head(*fields: str, status: str = "200 OK", version: str = "1.1") -> bytes:
    return "\r\n".join((f"HTTP/{version} {status}", *fields, "", "")).encode()


def echo(asked: Asked) -> list[Step]:
    return [counted(asked.body)]


# bodies


@pytest.mark.parametrize(
    "wire",
    [
        counted(b"a reply"),
        counted(b""),
        chunked(b"a reply"),
        head("Transfer-Encoding: Chunked") + b"7;x=y\r\na reply\r\n0\r\nTrailer: t\r\n\r\n",
        head(status="100 Continue") + head("link: </x>", status="103 Early Hints") + counted(b"a reply"),
    ],
    ids=["length", "empty", "chunked", "trailers", "interim"],
)
async def test_a_reply_is_the_same_wherever_its_bytes_are_split(make: Make, wire: bytes) -> None:
    body = b"" if wire.endswith(b": 0\r\n\r\n") else b"a reply"
    splits = iter(range(1, len(wire)))

    def script(_: Asked) -> Iterable[Step]:
        at = next(splits)
        return [wire[:at], 0.0002, wire[at:]]

    async with served(script) as server, make() as transport:
        for _ in range(1, len(wire)):
            response = await ask(transport, server)
            assert (response.status_code, response.content) == (200, body)
        assert server.connections == 1


async def test_a_reply_in_single_bytes(make: Make) -> None:
    wire = chunked(b"a reply of some length", 3)
    async with (
        served(lambda _: [step for i in range(len(wire)) for step in (wire[i : i + 1], 0.0)]) as server,
        make() as transport,
    ):
        assert (await ask(transport, server)).content == b"a reply of some length"


async def test_fields_and_version_are_handed_on(make: Make) -> None:
    async with (
        served(lambda _: [counted(b"x", "X-One:  a b\t", "x-two: 1", "X-Two: 2", "empty:")]) as server,
        make() as transport,
    ):
        response = await ask(transport, server)
    assert response.headers.multi_items() == [
        ("content-length", "1"),
        ("x-one", "a b"),
        ("x-two", "1"),
        ("x-two", "2"),
        ("empty", ""),
    ]
    assert response.extensions["http_version"] == b"HTTP/1.1"


async def test_chunks_are_not_given_a_length(make: Make) -> None:
    async with served(lambda _: [chunked(b"a reply")]) as server, make() as transport:
        assert "content-length" not in (await ask(transport, server)).headers


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "200 OK"])
async def test_replies_without_a_body(make: Make, status: str) -> None:
    def script(asked: Asked) -> list[Step]:
        return echo(asked) if asked.nth else [head(*["content-length: 7"] * (status[0] != "2"), status=status)]

    method = "HEAD" if status == "200 OK" else "POST"
    async with served(script) as server, make() as transport:
        response = await ask(transport, server, method=method)
        assert (response.status_code, response.content) == (int(status[:3]), b"")
        assert (await ask(transport, server, b"next")).content == b"next"
        assert server.connections == 1


@pytest.mark.parametrize("first", [head("connection: close"), head(version="1.0")])
async def test_a_body_may_end_with_its_connection(make: Make, first: bytes) -> None:
    async with served(lambda _: [first + b"a ", 0.001, b"reply", CLOSE]) as server, make() as transport:
        for _ in range(2):
            assert (await ask(transport, server)).content == b"a reply"
        assert server.connections == 2


@pytest.mark.parametrize("form", [counted, lambda body: chunked(body, 100_000)])
async def test_large_bodies_in_both_directions(make: Make, form: Callable[[bytes], bytes]) -> None:
    body = bytes(range(256)) * 20_000
    async with served(lambda asked: [form(asked.body)]) as server, make() as transport:
        for _ in range(2):
            assert (await ask(transport, server, body)).content == body
        assert server.connections == 1


async def test_a_request_whose_body_comes_in_parts(make: Make) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async with served(echo) as server, make() as transport, httpx.AsyncClient(transport=transport) as client:
        assert (await client.post(server.url, content=parts())).text == "one two"
        assert (await client.post(server.url, content=b"next")).text == "next"


async def test_a_request_that_expects_to_be_told_to_go_on(make: Make) -> None:
    async with (
        served(lambda asked: [head(status="100 Continue"), 0.001, *echo(asked)]) as server,
        make() as transport,
    ):
        for body in (b"one", b"two"):
            assert (await ask(transport, server, body, headers={"expect": "100-continue"})).content == body
        assert server.connections == 1


async def test_compressed_replies(make: Make) -> None:
    wire = counted(gzip.compress(b"a reply"), "content-encoding: gzip")
    async with served(lambda _: [wire]) as server, make() as transport:
        assert (await ask(transport, server)).content == b"a reply"


# connections


async def test_one_connection_serves_many_requests(make: Make) -> None:
    async with served(echo) as server, make() as transport:
        for i in range(20):
            assert (await ask(transport, server, b"%d" % i)).content == b"%d" % i
        assert server.connections == 1


async def test_many_at_once_each_get_their_own(make: Make, anyio_backend: str) -> None:
    got: dict[int, bytes] = {}

    async def one(i: int) -> None:
        got[i] = (await ask(transport, server, b"%d" % i)).content

    def script(asked: Asked) -> list[Step]:
        return [0.001 * (int(asked.body) % 7), chunked(asked.body) if int(asked.body) % 2 else counted(asked.body)]

    async with served(script) as server, make() as transport:
        n = (
            200 if isinstance(transport, Transport) and anyio_backend == "asyncio" else 60
        )  # the stock one's time grows with the square
        for _ in range(2):
            async with anyio.create_task_group() as group:
                for i in range(n):
                    group.start_soon(one, i)
            assert got == {i: b"%d" % i for i in range(n)}
            got.clear()


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_a_connection_closed_while_idle_is_replaced(make: Make, end: str) -> None:
    async with served(lambda asked: [*echo(asked), end]) as server, make() as transport:
        for i in range(3):
            assert (await ask(transport, server, b"%d" % i)).content == b"%d" % i
            await server.until_open(0)
            await anyio.sleep(0.002)
        assert server.connections == 3


@pytest.mark.parametrize("end", [CLOSE, RESET])
@ours_only
async def test_a_kept_connection_that_dies_is_tried_once_more(end: str) -> None:
    def script(asked: Asked) -> list[Step]:
        return [end] if asked.nth else echo(asked)

    async with served(script) as server, ours() as transport:
        for i in range(3):
            assert (await ask(transport, server, b"%d" % i)).content == b"%d" % i
        assert [one.connection for one in server.asked] == [1, 1, 2, 2, 3]


@ours_only
async def test_a_call_cancelled_before_its_request_is_written_sends_nothing() -> None:
    async with served(echo) as server, ours() as transport:
        await ask(transport, server, b"first")
        async with anyio.create_task_group() as group:
            group.start_soon(ask, transport, server, b"cancelled")
            await checkpoint()  # it has the kept connection now, and its request waits for others
            group.cancel_scope.cancel()
        assert (await ask(transport, server, b"next")).content == b"next"
        assert [one.body for one in server.asked] == [b"first", b"next"]


@pytest.mark.parametrize("n", [2, MAX_TOGETHER, MAX_TOGETHER + 1, 3 * MAX_TOGETHER])
@pytest.mark.parametrize("wrong", [0, 1])
@ours_only
async def test_one_of_those_written_together_that_fails_does_not_keep_the_others(n: int, wrong: int) -> None:
    async with served(lambda asked: [0.002, *echo(asked)]) as server, ours() as transport:
        ended: dict[int, str] = {}

        async def one(i: int, body: bytes, **limits: Any) -> None:
            try:
                ended[i] = (await ask(transport, server, body, **limits)).content.decode()
            except Exception as error:
                ended[i] = type(error).__name__

        for turn in ("first", "second"):
            async with anyio.create_task_group() as group:
                for i in range(n):
                    body = f"{turn} {i}".encode()
                    bad: dict[str, Any] = {"read": "soon"} if (turn, i) == ("second", wrong) else {}
                    group.start_soon(lambda i=i, body=body, bad=bad: one(i, body, **bad))
        assert ended == {i: "TypeError" if i == wrong else f"second {i}" for i in range(n)}


@ours_only
async def test_a_call_whose_time_is_over_before_its_request_is_written_sends_nothing() -> None:
    async with served(echo) as server, ours() as transport:
        await ask(transport, server, b"first")
        with pytest.raises(httpx.ReadTimeout):
            await ask(transport, server, b"late", total=0.0)
        assert [one.body for one in server.asked] == [b"first"]


@ours_only
async def test_it_is_tried_once_more_only_once_and_only_before_the_first_byte() -> None:
    async with (
        served(lambda asked: echo(asked) if len(server.asked) == 1 else [CLOSE]) as server,
        ours() as transport,
    ):
        await ask(transport, server)
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(transport, server)
        assert [one.connection for one in server.asked] == [1, 1, 2]
    async with (
        served(lambda asked: echo(asked) if asked.nth == 0 else [b"H", CLOSE]) as server,
        ours() as transport,
    ):
        await ask(transport, server)
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(transport, server)
        assert [one.connection for one in server.asked] == [1, 1]


@pytest.mark.parametrize("end", [CLOSE, RESET])
@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 2", counted(b"a reply")[:-3], chunked(b"a reply")[:-2]])
async def test_a_reply_cut_off_is_an_error(make: Make, sent: bytes, end: str) -> None:
    def script(asked: Asked) -> list[Step]:
        return [sent, 0.001, end] if asked.connection == 1 else echo(asked)

    async with served(script) as server, make() as transport:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)) as caught:
            await ask(transport, server)
        if isinstance(transport, Transport):
            assert caught.value.request.url == server.url
        assert (await ask(transport, server, b"next")).content == b"next"


async def test_a_connection_half_closed_after_a_reply_is_replaced(make: Make) -> None:
    async with served(lambda asked: [*echo(asked), HALF]) as server, make() as transport:
        for i in range(3):
            assert (await ask(transport, server, b"%d" % i)).content == b"%d" % i
            await anyio.sleep(0.002)
        assert server.connections == 3


async def test_a_body_may_end_with_half_a_close(make: Make) -> None:
    async with served(lambda _: [head("connection: close") + b"a reply", HALF]) as server, make() as transport:
        assert (await ask(transport, server)).content == b"a reply"


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 2", counted(b"a reply")[:-3]])
async def test_half_a_close_in_the_middle_of_a_reply_is_an_error(make: Make, sent: bytes) -> None:
    def script(asked: Asked) -> list[Step]:
        return [sent, 0.001, HALF, STALL] if asked.connection == 1 else echo(asked)

    async with served(script) as server, make() as transport:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await ask(transport, server)
        assert (await ask(transport, server, b"next")).content == b"next"


async def test_a_head_that_is_far_too_large_is_an_error(make: Make) -> None:
    def script(asked: Asked) -> list[Step]:
        return [head(*["x: y"] * 50_000, "content-length: 0")] if asked.connection == 1 else echo(asked)

    async with served(script) as server, make() as transport:
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(transport, server)
        assert (await ask(transport, server, b"next")).content == b"next"


async def test_what_comes_between_two_requests_is_not_the_second_ones(make: Make) -> None:
    sent = 0

    async def tell() -> None:
        nonlocal sent
        sent += 1
        server.tell()

    async with (
        served(lambda asked: [*echo(asked), 0.001, counted(b"not yours"), tell]) as server,
        make() as transport,
    ):
        for i in range(5):
            assert (await ask(transport, server, b"%d" % i)).content == b"%d" % i
            await server.until(lambda i=i: sent > i)
            await anyio.sleep(0.001)


@pytest.mark.parametrize("more", [b"x", b"\r\n", counted(b"not yours"), head(status="100 Continue")])
@pytest.mark.parametrize("form", [counted, chunked])
@ours_only
async def test_what_comes_with_a_reply_is_not_the_next_ones(more: bytes, form: Callable[[bytes], bytes]) -> None:
    async with served(lambda asked: [form(asked.body) + more]) as server, ours() as transport:
        for i in range(5):
            assert (await ask(transport, server, b"%d" % i)).content == b"%d" % i
        assert server.connections == 5


@ours_only
async def test_what_lies_there_unread_is_not_the_next_ones() -> None:
    async with served(echo) as server, ours() as transport:
        await ask(transport, server, b"one")
        os.write(server.sockets[0].fileno(), counted(b"not yours"))  # and the loop has no round to read it in
        assert (await ask(transport, server, b"two")).content == b"two"
        assert server.connections == 2


async def test_connections_idle_for_long_are_not_used_again(make: Make) -> None:
    async with served(echo) as server, make(keepalive_expiry=0.01) as transport:
        for _ in range(3):
            await ask(transport, server)
            await anyio.sleep(0.02)
        assert server.connections == 3
        await server.until_open(1)


@ours_only
async def test_connections_that_no_request_reaches_are_closed_in_time() -> None:
    async with served(lambda asked: [0.005, *echo(asked)]) as server, ours(keepalive_expiry=0.2) as transport:
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(ask, transport, server)
        assert server.open == 10
        for _ in range(10):  # the one on top is in use all the time
            await ask(transport, server)
            await anyio.sleep(0.03)
        await server.until_open(1)


async def test_a_request_may_ask_for_the_end_of_its_connection(make: Make) -> None:
    async with served(echo) as server, make() as transport:
        for _ in range(2):
            await ask(transport, server, headers={"connection": "close"})
        assert server.connections == 2


async def test_closing_closes_all_and_a_later_request_opens_again(make: Make) -> None:
    async with served(echo) as server:
        transport = make()
        await ask(transport, server)
        await transport.aclose()
        await server.until_open(0)
        if isinstance(transport, Transport):
            assert (await ask(transport, server, b"again")).content == b"again"
            await transport.aclose()
            await server.until_open(0)


@ours_only
async def test_closing_ends_calls_that_wait() -> None:
    async with served(lambda asked: echo(asked) if asked.nth == 0 else [STALL]) as server:
        transport = ours()
        await ask(transport, server)

        async def one() -> None:
            with pytest.raises(httpx.ReadError):
                await ask(transport, server)

        async with anyio.create_task_group() as group:
            group.start_soon(one)
            await server.until(lambda: len(server.asked) == 2)
            await transport.aclose()
        assert server.connections == 1


def test_another_event_loop_begins_anew() -> None:
    transport = ours()

    async def once() -> None:
        async with served(echo) as server:
            assert (await ask(transport, server, b"x")).content == b"x"
            await transport.aclose()

    anyio.run(once)
    anyio.run(once)


async def test_under_a_client_of_httpx(make: Make) -> None:
    async with served(echo) as server, httpx.AsyncClient(transport=make()) as client:
        for _ in range(2):
            response = await client.post(server.url, json={"a": 1})
            assert response.raise_for_status().json() == {"a": 1}
        assert server.connections == 1


# time


async def test_a_slow_drip_is_read_and_a_stall_is_not(make: Make) -> None:
    wire = counted(b"a reply")
    drip = [step for i in range(len(wire)) for step in (wire[i : i + 1], 0.008)]

    def script(asked: Asked) -> list[Step]:
        return {b"drip": drip, b"stall": [wire[:-1], STALL]}.get(asked.body, [STALL])

    async with served(script) as server, make() as transport:
        assert (await ask(transport, server, b"drip", read=0.25)).content == b"a reply"
        for body in (b"stall", b"mute"):
            with pytest.raises(httpx.ReadTimeout):
                await ask(transport, server, body, read=0.02)
        assert len(server.asked) == 3
        await server.until_open(2)  # the server itself is still waiting with its stalls


async def test_a_call_may_be_limited_as_a_whole() -> None:
    wire = counted(b"a reply")
    async with (
        served(lambda _: [step for i in range(len(wire)) for step in (wire[i : i + 1], 0.005)]) as server,
        ours() as transport,
    ):
        with pytest.raises(httpx.ReadTimeout):
            await ask(transport, server, read=1.0, total=0.04)


@ours_only
async def test_each_request_has_its_own_time() -> None:
    async with served(lambda asked: [float(asked.body), *echo(asked)]) as server, ours() as transport:
        await ask(transport, server, b"0.001", read=5.0)
        with pytest.raises(httpx.ReadTimeout):
            await ask(transport, server, b"5.0", read=0.01)
        await ask(transport, server, b"0.001", read=0.2)
        await ask(transport, server, b"0.25", read=5.0)  # the timer of the one before rings meanwhile
        await ask(transport, server, b"0.05")
        assert server.connections == 2


@contextmanager
def deaf() -> Iterator[Server]:
    """A server that the system answers for until its buffers are full."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = Server(echo)
        server.url = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        yield server


async def test_a_request_that_nobody_reads_times_out(make: Make) -> None:
    with deaf() as server, anyio.fail_after(PATIENCE):
        transport = make()
        with pytest.raises(httpx.WriteTimeout):
            await ask(transport, server, bytes(20_000_000), write=0.03)
        await transport.aclose()


async def test_a_handshake_that_does_not_end_times_out(make: Make) -> None:
    with deaf() as server, anyio.fail_after(PATIENCE):
        transport = make()
        server.url = server.url.replace("http:", "https:")
        with pytest.raises(httpx.ConnectTimeout):
            await ask(transport, server, connect=0.03)
        await transport.aclose()


async def test_nothing_listens(make: Make) -> None:
    async with served(echo) as server:
        pass
    async with make() as transport:
        with pytest.raises(httpx.ConnectError):
            await ask(transport, server, connect=1.0)


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certified(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_tls(make: Make, certified: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    body = bytes(200_000)
    async with served(echo, certified) as server, make(ssl_context=trusting) as transport:
        for sent in (b"one", body, b"two"):
            assert (await ask(transport, server, sent, read=5.0, write=5.0)).content == sent
        assert server.connections == 1


async def test_tls_with_a_wrong_name(
    make: Make, certified: ssl.SSLContext, trusting: ssl.SSLContext, anyio_backend: str
) -> None:
    async with served(echo, certified) as server, make(ssl_context=trusting) as transport:
        server.url = server.url.replace("localhost", "127.0.0.1")
        with pytest.raises(httpx.ConnectError) as caught:
            await ask(transport, server)
        assert not server.asked
        if anyio_backend == "asyncio":
            assert "127.0.0.1" in str(caught.value)


async def test_tls_by_nobody_known(make: Make, certified: ssl.SSLContext) -> None:
    async with served(echo, certified) as server, make() as transport:
        with pytest.raises(httpx.ConnectError):
            await ask(transport, server)
        assert not server.asked


@ours_only
async def test_what_comes_with_a_reply_over_tls(certified: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    async with (
        served(lambda asked: [*echo(asked), counted(b"not yours")], certified) as server,
        ours(ssl_context=trusting) as transport,
    ):
        for i in range(3):
            assert (await ask(transport, server, b"%d" % i)).content == b"%d" % i
            await anyio.sleep(0.002)


# what ours refuses


REFUSED = {
    "length and coding": head("content-length: 1", "transfer-encoding: chunked") + b"1\r\nx\r\n0\r\n\r\n",
    "coding and length": head("transfer-encoding: chunked", "content-length: 1") + b"1\r\nx\r\n0\r\n\r\n",
    "two lengths": head("content-length: 1", "content-length: 2") + b"xx",
    "two lengths in one": head("content-length: 1, 2") + b"xx",
    "signed length": head("content-length: +1") + b"x",
    "negative length": head("content-length: -1") + b"x",
    "spaced length": head("content-length: 1 1") + b"x" * 11,
    "empty length": head("content-length:"),
    "other coding": head("transfer-encoding: gzip, chunked") + b"0\r\n\r\n",
    "coding twice": head("transfer-encoding: chunked", "transfer-encoding: chunked") + b"0\r\n\r\n",
    "coding in 1.0": head("transfer-encoding: chunked", version="1.0") + b"0\r\n\r\n",
    "folded field": head("x: 1", " 2", "content-length: 0"),
    "folded first": head(" x: 1", "content-length: 0"),
    "no colon": head("content-length 0"),
    "space before colon": head("content-length : 0"),
    "no name": head(": 0", "content-length: 0"),
    "null": head("x: \0", "content-length: 0"),
    "carriage return": head("x: a\rb", "content-length: 0"),
    "bare newline": head("x: a\ncontent-length: 0"),
    "bare newlines": b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
    "other protocol": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "other version": head("content-length: 0", version="2.0"),
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "long status": head("content-length: 0", status="2000 OK"),
    "switching": head(status="101 Switching Protocols"),
    "endless interims": head(status="100 Continue") * (MAX_INTERIM + 1) + counted(b""),
    "no length": head("x: y") + b"body",
    "large head": head(f"x: {'y' * MAX_HEAD}", "content-length: 0"),
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * (MAX_HEAD // 6),
    "no size": head("transfer-encoding: chunked") + b"\r\nx\r\n0\r\n\r\n",
    "signed size": head("transfer-encoding: chunked") + b"+1\r\nx\r\n0\r\n\r\n",
    "prefixed size": head("transfer-encoding: chunked") + b"0x1\r\nx\r\n0\r\n\r\n",
    "underscored size": head("transfer-encoding: chunked") + b"0_1\r\nx\r\n0\r\n\r\n",
    "huge size": head("transfer-encoding: chunked") + b"11111111111111111\r\n",
    "long size line": head("transfer-encoding: chunked") + b"1;" + b"x" * 999,
    "newline after size": head("transfer-encoding: chunked") + b"1\nx\r\n0\r\n\r\n",
    "chunk too long": head("transfer-encoding: chunked") + b"1\r\nxy\r\n0\r\n\r\n",
    "bad trailer": head("transfer-encoding: chunked") + b"0\r\n x\r\n\r\n",
    "endless trailers": head("transfer-encoding: chunked") + b"0\r\n" + b"x: y\r\n" * (MAX_HEAD // 6 + 1),
    "large body": counted(bytes(1001)),
    "large chunks": chunked(bytes(1001), 100),
    "large last chunk": head("transfer-encoding: chunked") + b"FFFFFFFFFFFFFFFF\r\n",
    "large until closed": head("connection: close") + bytes(1001),
    "large when unpacked": counted(gzip.compress(bytes(1001)), "content-encoding: gzip"),
}


@pytest.mark.parametrize("wire", REFUSED.values(), ids=REFUSED)
@ours_only
async def test_refused(wire: bytes) -> None:
    def script(asked: Asked) -> list[Step]:
        return [wire] if len(server.asked) == 1 else echo(asked)

    async with served(script) as server, ours(max_body=1000) as transport:
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(transport, server, read=1.0)
        assert (await ask(transport, server, b"next")).content == b"next"
        # what came was well formed, and no more than too much of it was packed
        assert server.connections == (1 if b"gzip\r\n" in wire and b"chunked" not in wire else 2)


@pytest.mark.parametrize("size", [1000, 1001])
@ours_only
async def test_a_body_as_large_as_allowed(size: int) -> None:
    async with served(lambda asked: [chunked(asked.body, 7)]) as server, ours(max_body=1000) as transport:
        if size > 1000:
            with pytest.raises(httpx.RemoteProtocolError):
                await ask(transport, server, bytes(size))
        else:
            assert len((await ask(transport, server, bytes(size))).content) == size


async def test_requests_that_would_say_something_else_are_not_sent(make: Make) -> None:
    async with served(echo) as server, make() as transport:
        for fields in (
            {"x": "a\r\ncontent-length: 3"},
            {"x": "a\nb"},
            {"x y": "a"},
        ):
            with pytest.raises(httpx.LocalProtocolError):
                await ask(transport, server, b"12345", headers=fields)
        assert not server.asked
        assert (await ask(transport, server, b"next")).content == b"next"


@pytest.mark.parametrize(
    "fields",
    [
        {"content-length": "3"},
        {"content-length": "+5"},
        {"content-length": "5", "transfer-encoding": "chunked"},
        {"x": "a\0"},
        {"x\r\ny": "a"},
    ],
)
@ours_only
async def test_requests_that_are_none(fields: dict[str, str]) -> None:
    async with served(echo) as server, ours() as transport:
        with pytest.raises(httpx.LocalProtocolError):
            await ask(transport, server, b"12345", headers=fields)
        assert not server.connections


@ours_only
async def test_other_schemes() -> None:
    async with ours() as transport:
        server = Server(echo)
        for url in ("ftp://127.0.0.1/x", "ws://127.0.0.1/x"):
            server.url = url
            with pytest.raises(httpx.UnsupportedProtocol):
                await ask(transport, server)


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_a_proxy_is_left_to_the_stock_transport(no_proxies: pytest.MonkeyPatch) -> None:
    def direct(url: str, trust_env: bool = True) -> bool:
        return transport_for(url, trust_env=trust_env) is not None

    assert direct("http://host/v1")
    no_proxies.setenv("https_proxy", "http://proxy:1")
    assert direct("http://host/v1")
    assert not direct("https://host/v1")
    assert direct("https://host/v1", trust_env=False)
    no_proxies.setenv("no_proxy", "host,other:8000")
    assert direct("https://host/v1")
    assert direct("https://other:8000/v1")
    assert not direct("https://other:9000/v1")
    no_proxies.setenv("all_proxy", "http://proxy:1")
    assert not direct("http://else/v1")


# turns


def post_to(transport: Transport, server: Server, **limits: float) -> Post:
    return Post(transport, httpx.URL(server.url), httpx.Headers(), limits)


@pytest.mark.parametrize("at_once", [1, 2, 3])
async def test_as_many_are_on_their_way_as_there_are_turns_and_the_lowest_items_go_first(at_once: int) -> None:
    now = most = 0
    all_wait = anyio.Event()

    def script(asked: Asked) -> Iterator[Step]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        yield all_wait.wait
        now -= 1
        yield counted(asked.body)

    async with served(script) as server, ours() as transport:
        post, turns = post_to(transport, server), Turns(at_once)
        got: list[int] = []

        async def one(item: int) -> None:
            got.append(int((await post([b"%d" % item], turns, item)).body))

        async with anyio.create_task_group() as group:
            for item in range(at_once):
                group.start_soon(one, item)
            await server.until(lambda: len(server.asked) == at_once)
            for item in (9, 8, 4, 7, 6, 5):
                group.start_soon(one, item)
            await anyio.wait_all_tasks_blocked()
            all_wait.set()
        assert most == at_once
        assert sorted(got) == [*range(at_once), 4, 5, 6, 7, 8, 9]
        went = [int(one.body) for one in server.asked[at_once:]]
        # those that are on their way together may overtake each other
        assert all(abs(i - (item - 4)) < at_once for i, item in enumerate(went))


@ours_only
async def test_a_whole_response_leaves_connection_and_turn_to_the_next_before_its_task_runs() -> None:
    order: list[str] = []

    class Told(Turns):
        def pass_on(self) -> None:
            order.append("passed on")
            super().pass_on()

    async with served(echo) as server, ours() as transport:
        post, turns = post_to(transport, server), Told(1)

        async def one(name: str) -> None:
            assert (await post([name.encode()], turns)).body == name.encode()
            order.append(name)

        async with anyio.create_task_group() as group:
            for name in "abc":
                group.start_soon(one, name)
        assert order == ["passed on", "a", "passed on", "b", "passed on", "c"]
        assert [(one.connection, one.body) for one in server.asked] == [(1, b"a"), (1, b"b"), (1, b"c")]


@ours_only
async def test_who_is_declined_and_asks_again_at_once_keeps_the_turn_unless_a_lower_item_waits() -> None:
    declined = iter([head("content-length: 2", status="429 No") + b"no"])
    async with served(lambda asked: [next(declined, counted(b"yes"))]) as server, ours() as transport:
        post, turns = post_to(transport, server), Turns(1)

        async def one(item: int) -> None:
            while (await post([b"%d" % item], turns, item)).status != 200:
                pass

        async with anyio.create_task_group() as group:
            for item in (0, 1):
                group.start_soon(one, item)
                await anyio.wait_all_tasks_blocked()
        assert [one.body for one in server.asked] == [b"0", b"0", b"1"]


async def test_a_turn_is_back_however_a_call_ends() -> None:
    def script(asked: Asked) -> list[Step]:
        wire = {b"bad": head("content-length: 2", status="503 No") + b"no", b"nonsense": b"\0\r\n\r\n"}
        return {b"late": [STALL], b"dead": [CLOSE]}.get(asked.body) or [wire.get(asked.body) or counted(b"good")]

    async with served(script) as server, ours() as transport:
        turns = Turns(1)

        async def one(body: bytes, **limits: float) -> Answer:
            return await post_to(transport, server, **limits)([body], turns)

        assert (await one(b"good")).status == 200
        assert (await one(b"bad")).status == 503
        for body in (b"nonsense", b"dead"):
            with pytest.raises(httpx.RemoteProtocolError):
                await one(body)
        with pytest.raises(httpx.TimeoutException):
            await one(b"late", total=0.01)
        with anyio.move_on_after(0.01) as cancelled:
            await one(b"late")
        assert cancelled.cancelled_caught
        server.url = server.url.replace("http://", "https://")
        with pytest.raises(httpx.ConnectTimeout):  # it does not shake hands
            await one(b"good", connect=0.01)
        assert [turns.take(0), turns.take(0)] == [True, False]


# cancellation


async def sweep(make: Make, most: int, tls: ssl.SSLContext | None, trusting: ssl.SSLContext) -> None:
    """Cancel a call in each round of the loop, on a new connection and on a kept one, and ask again."""

    def script(asked: Asked) -> list[Step]:
        wire = chunked(asked.body, 2)
        return [wire[:9], 0.0, wire[9:50], 0.0, wire[50:]]

    ends = set()

    async def one(transport: httpx.AsyncBaseTransport, scope: anyio.CancelScope, body: bytes) -> None:
        with scope:
            assert (await ask(transport, server, body)).content == body
        ends.add(scope.cancelled_caught)

    async with served(script, tls) as server:
        for kept in (False, True):
            for k in range(most):
                async with make(ssl_context=trusting) as transport:
                    if kept:
                        await ask(transport, server, b"zero")
                    scope = anyio.CancelScope()
                    async with anyio.create_task_group() as group:
                        group.start_soon(one, transport, scope, b"one %d" % k)
                        for _ in range(k):
                            await checkpoint()
                        scope.cancel()
                    assert (await ask(transport, server, b"two %d" % k)).content == b"two %d" % k
                    await server.until_open(1)
                    assert not isinstance(transport, Posting) or transport.all_are_back()
                await server.until_open(0)
    assert True in ends


async def test_cancelled_anywhere(make: Make, trusting: ssl.SSLContext) -> None:
    await sweep(make, 31, None, trusting)


@ours_only
async def test_cancelled_anywhere_over_tls(certified: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    await sweep(ours, 51, certified, trusting)


@ours_only
async def test_cancelled_anywhere_in_turn(trusting: ssl.SSLContext) -> None:
    await sweep(in_turn, 31, None, trusting)


@pytest.mark.parametrize("k", range(8))
async def test_cancelled_after_the_kth_part_of_a_reply(make: Make, k: int) -> None:
    scope = anyio.CancelScope()

    async def cancel() -> None:
        scope.cancel()
        await checkpoint()

    def script(asked: Asked) -> list[Step]:
        if asked.body == b"next":
            return echo(asked)
        wire = chunked(asked.body, 2)
        parts: list[Step] = [wire[:5], wire[5:30], wire[30:55], wire[55:60], wire[60:]]
        steps = [step for part in parts for step in (part, 0.001)]
        return [*steps[:k], cancel, *steps[k:]]

    async with served(script) as server, make() as transport:
        assert (await ask(transport, server, b"next")).content == b"next"
        with scope:
            await ask(transport, server, b"some words")
        assert scope.cancel_called
        for _ in range(3):
            assert (await ask(transport, server, b"next")).content == b"next"
        await server.until_open(1)


# any of it, in any order

KINDS = (
    "ok",
    "chunked",
    "slow",
    "drip",
    "drop",
    "reset",
    "mid",
    "cut",
    "garbage",
    "more garbage",
    "nonsense",
    "close after",
    "stall",
    "cancel",
)


def faulty(asked: Asked) -> list[Step]:
    kind, _, name = asked.body.decode().partition(":")
    wire = counted(name.encode())
    parted = chunked(name.encode(), 2)
    steps: dict[str, list[Step]] = {
        "ok": [wire],
        "chunked": [parted],
        "slow": [0.001, wire],
        "drip": [parted[:20], 0.0, parted[20:60], 0.0, parted[60:]],
        "drop": [CLOSE],
        "reset": [RESET],
        "mid": [wire[:-2], CLOSE],
        "cut": [parted[:-1], 0.0, RESET],
        "garbage": [wire + counted(b"not yours")],
        "more garbage": [wire + counted(b"not yours")[:9], 0.0, counted(b"not yours")[9:]],
        "nonsense": [b"\0\1\2\r\n\r\n" + wire],
        "close after": [wire, CLOSE],
        "stall": [wire[:-1], STALL],
        "cancel": [parted[:30], 0.001, parted[30:]],
    }
    return steps[kind]


STRICT = ("garbage", "more garbage")  # the stock transport takes what comes with a reply for the next one


async def play(make: Make, kinds: list[str]) -> None:
    """Ask for all, five at once; an answer is always the asker's own, and none is waited for in vain."""
    waiting = list(enumerate(kinds))

    async def one() -> None:
        while waiting:
            i, kind = waiting.pop()
            name = f"reply {i}"
            with anyio.move_on_after(0.0005 if kind == "cancel" else None):
                try:
                    response = await ask(
                        transport, server, f"{kind}:{name}".encode(), read=0.005 if kind == "stall" else 5.0
                    )
                except httpx.TransportError:
                    # the stock transport does not try again when a kept connection turns out to be dead
                    assert make is stock or kind in ("drop", "reset", "mid", "cut", "nonsense", "stall", "cancel")
                else:
                    assert kind not in ("drop", "reset", "mid", "cut", "nonsense", "stall")
                    assert response.text == name

    async with served(faulty) as server:
        transport = make()
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(one)
        await transport.aclose()
        assert not isinstance(transport, Transport) or not transport._open
        assert not isinstance(transport, Posting) or transport.all_are_back()


def schedules(make: Make, **sizes: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from([kind for kind in KINDS if make is not stock or kind not in STRICT]), **sizes)


each = pytest.mark.parametrize("made", [stock, ours, in_turn])


def play_all(made: Make, examples: int, **sizes: int) -> None:
    """Play so many schedules, and see that no connection or task is left of them."""

    @given(schedules(made, **sizes))
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def holds(kinds: list[str]) -> None:
        anyio.run(play, made, kinds)

    with swept(clean=made is not stock):
        holds()


@each
def test_any_schedule_of_faults(made: Make) -> None:
    play_all(made, 100, min_size=1, max_size=30)


@pytest.mark.slow
@each
def test_a_thousand_schedules_of_faults(made: Make) -> None:
    play_all(made, 1000, min_size=30, max_size=30)
