"""A simulated API behind HTTP: `app` is an ASGI application, for `serve` or in process (`httpx.ASGITransport`).

A request is read whole, answered in one piece by its session (see `session`), and sent: nothing else happens between
what an answer read and what it wrote. Needs the extra `server`.
"""

import os
import secrets
import socket
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from simlab.api import Api
from simlab.errors import InputError
from simlab.schema import NotJson, read_json, to_json
from simlab.session import ADMIN, DEFAULT, MAX_SESSIONS, Session, Sessions
from simlab.wire import Wire

MAX_BODY = 16 * 2**20  # bytes of a request
MAX_HEAD = 2**20  # bytes of its first line and headers


def app(
    api: Api,
    *,
    token: str,
    seed: int = 0,
    max_body: int = MAX_BODY,
    max_sessions: int = MAX_SESSIONS,
    max_delay: float = 0.0,
) -> ASGIApp:
    """The ASGI application of an API.

    What is under `/_simlab/sessions` asks for the `token`; the API itself takes any credentials. A slow call is
    answered after `max_delay` real seconds at the most, by default at once.
    """
    sessions = Sessions(api, seed=seed, most=max_sessions)
    admin = Starlette(
        routes=[Mount(ADMIN, routes=_Admin(sessions, max_body).routes, middleware=[Middleware(_Guard, token=token)])],
        exception_handlers={HTTPException: _said},
    )
    door = _Door(sessions, max_body, max_delay)

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        """Told apart by the path as it was sent, which need not be one that a framework's routes would match."""
        api_called = scope["type"] == "http" and not _raw_path(scope).startswith(f"{ADMIN}/sessions")
        await (door if api_called else admin)(scope, receive, send)

    return front


def application_of(sessions: Mapping[str, Session]) -> ASGIApp:
    """The ASGI application of sessions that someone else opens and closes, whatever API each is of."""
    return _Door(sessions, MAX_BODY, 0.0)


class _Door:
    """The API itself: `/_simlab/s/ID/...` is the session of that id, any other path the default session's."""

    def __init__(self, sessions: Sessions | Mapping[str, Session], max_body: int, max_delay: float) -> None:
        self._sessions, self._max_body, self._max_delay = sessions, max_body, max_delay

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answered(Request(scope, receive))
        await response(scope, receive, send)

    async def _answered(self, request: Request) -> Response:
        name, path = DEFAULT, _raw_path(request.scope)
        if path.startswith(f"{ADMIN}/s/"):
            name, _, rest = path.removeprefix(f"{ADMIN}/s/").partition("/")
            path = f"/{rest}"
        content = await _content(request, self._max_body)
        if name not in self._sessions:
            return _json(404, {"code": "unknown_session", "message": f"There is no session {name}."})
        query = request.scope["query_string"].decode("latin-1")
        headers = {key.decode("latin-1"): _text(value) for key, value in request.scope["headers"]}
        wire = Wire(request.method, f"{path}?{query}" if query else path, headers, content or b"")
        session = self._sessions[name]
        reply = session.answer(wire) if content is not None else session.too_large(wire, self._max_body)
        if reply.delay and self._max_delay:
            await anyio.sleep(min(reply.delay, self._max_delay))
        response = Response(reply.content, reply.status)
        response.raw_headers = [(key.encode("latin-1"), text.encode()) for key, text in reply.headers.items()]
        return response


class _Admin:
    """Sessions: open, look into, begin anew, close."""

    def __init__(self, sessions: Sessions, max_body: int) -> None:
        self._sessions, self._max_body = sessions, max_body
        one = "/sessions/{id}"
        self.routes = [
            Route("/sessions", self._list, methods=["GET"]),
            Route("/sessions", self._open, methods=["POST"]),
            Route(one, self._close, methods=["DELETE"]),
            Route(f"{one}/reset", self._reset, methods=["POST"]),
            Route(f"{one}/state", self._told(Session.state), methods=["GET"]),
            Route(f"{one}/diff", self._told(Session.changes), methods=["GET"]),
            Route(f"{one}/calls", self._told(lambda session: list(session.calls)), methods=["GET"]),
        ]

    async def _list(self, request: Request) -> Response:
        del request
        return _json(200, [{"id": session.id, "calls": session.count} for session in self._sessions])

    async def _open(self, request: Request) -> Response:
        content = await _content(request, self._max_body)
        if content is None:
            raise HTTPException(413, f"the body is larger than {self._max_body} bytes")
        try:
            session = self._sessions.open(read_json(content or b"{}"))
        except NotJson as error:
            raise HTTPException(400, f"the body is not JSON: {error}") from None
        except InputError as error:
            raise HTTPException(400, str(error)) from None
        if session is None:
            raise HTTPException(429, "as many sessions are open as may be; close one (DELETE) first")
        base = f"{request.url.scheme}://{request.url.netloc}{session.base}"
        return _json(201, {"id": session.id, "base_url": base})

    async def _reset(self, request: Request) -> Response:
        _session(self._sessions, request.path_params["id"]).reset()
        return Response(status_code=204)

    async def _close(self, request: Request) -> Response:
        session = _session(self._sessions, request.path_params["id"])
        if session.id == DEFAULT:
            raise HTTPException(409, "the default session cannot be closed; reset it")
        self._sessions.close(session.id)
        return Response(status_code=204)

    def _told(self, what: Callable[[Session], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            return _json(200, what(_session(self._sessions, request.path_params["id"])))

        return endpoint


class _Guard:
    """Lets through who has the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._wanted = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = Request(scope).headers.get("authorization", "")
        if not secrets.compare_digest(given.encode(), self._wanted):
            raise HTTPException(
                401, "this needs the token: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
            )
        await self._app(scope, receive, send)


def _session(sessions: Sessions, id: str) -> Session:
    if id not in sessions:
        raise HTTPException(404, f"there is no session {id!r}")
    return sessions[id]


async def _content(request: Request, most: int) -> bytes | None:
    """The body of a request; None where it is too large.

    It is read to its end all the same, and not kept: a client that is still sending hears no answer.
    """
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size <= most:
            parts.append(part)
    return b"".join(parts) if size <= most else None


def _raw_path(scope: Scope) -> str:
    """The path as it stood in the request line, since an encoded slash or comma is none."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    return raw.decode("latin-1")


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _json(status: int, body: Any) -> Response:
    return Response(to_json(body), status, media_type="application/json")


def _said(request: Request, error: Exception) -> Response:
    """A refusal of our own, where no operation of the document is asked."""
    del request
    assert isinstance(error, HTTPException)
    made = _json(error.status_code, {"code": str(error.status_code), "message": error.detail})
    made.headers.update(error.headers or {})
    return made


# ── serving ────────────────────────────────────────────────────────────────────────────────────────────────────


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any free one. Raises InputError where the host or the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if (error.errno or 0) < 0:  # what getaddrinfo found, which `create_server` has made an OSError of
            raise InputError(f"cannot listen at {host}: there is no such host") from None
        raise InputError(f"cannot listen at {host} port {port}: {os.strerror(error.errno or 0)}") from None


def serve(application: ASGIApp, at: socket.socket) -> None:
    """Serve at a socket until interrupted."""
    uvicorn.Server(configured(application)).run(sockets=[at])


def configured(application: ASGIApp) -> uvicorn.Config:
    """How an application is served: HTTP alone, long request lines, warnings only."""
    return uvicorn.Config(
        application,
        http="h11",
        h11_max_incomplete_event_size=MAX_HEAD,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
    )
