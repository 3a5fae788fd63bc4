"""Where an agent that calls the API itself reaches it: one server on this machine, a session of its own per episode.

A session is open for one turn and stands at one address for the whole episode. At the beginning of a turn it is brought
to where the episode is, by making the calls of the conversation again; so it needs no memory between turns, and a
resume finds it as it was. Needs the extra `server`, and asyncio.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from simlab.answers import MOST_CALLS
from simlab.api import Api
from simlab.errors import InputError
from simlab.faults import Answered, Fault
from simlab.model import Request
from simlab.route import Router
from simlab.schema import to_json
from simlab.server import application_of, configured, listening
from simlab.session import ADMIN, Reply, Session
from simlab.stage import faults_of
from simlab.wire import Wire


class Turn(Session):
    """A session for one turn of an agent; it keeps each call as the agent made it."""

    def __init__(self, api: Api, router: Router, id: str, *, base_url: str, **options: Any) -> None:
        self.made: list[tuple[str, dict[str, Any]]] = []
        self.flooded = False
        self.base_url = base_url
        super().__init__(api, router, id, **options)

    def again(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Make a call of an earlier turn once more."""
        self._faulty.call(name, arguments)

    def answer(self, request: Wire) -> Reply:
        """Answer a request; those past the most that a turn may make are refused and change nothing."""
        if len(self.made) >= MOST_CALLS:
            self.flooded = True
            said = to_json({"code": "too_many_calls", "message": f"A turn may make {MOST_CALLS} calls."}).encode()
            return Reply(429, {"content-type": "application/json", "content-length": str(len(said))}, said)
        return super().answer(request)

    def _note(
        self, request: Wire, operation: str | None, arguments: Mapping[str, Any] | None, answered: Answered
    ) -> None:
        super()._note(request, operation, arguments, answered)
        if operation is not None and arguments is not None:
            self.made.append((operation, dict(arguments)))
            return
        name = f"{request.method} {request.path}"[:200]
        self.made.append((name, {}))
        self.again(name, {})  # no call of the API, and yet time passes as it will when it is made in the room


class Loopback:
    """A server in this event loop, begun at the first turn that needs it."""

    def __init__(self) -> None:
        self._open: dict[str, Session] = {}
        self._routers: dict[int, tuple[Api, Router]] = {}
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._origin = ""

    def visit(self, request: Request) -> AbstractAsyncContextManager[Turn]:
        """The session of the request's episode, open for one turn."""
        return self._visit(request)

    @asynccontextmanager
    async def _visit(self, request: Request) -> AsyncIterator[Turn]:
        self._begin()
        api, scenario = request.view["api"], request.view["scenario"]
        faults: tuple[Fault, ...] = faults_of(api, scenario)
        name = f"e{request.item}"
        session = Turn(
            api,
            self._router(api),
            name,
            base_url=f"{self._origin}{ADMIN}/s/{name}",
            seed=scenario.world.seed,
            clock=scenario.world.clock,
            faults=faults,
        )
        for message in request.messages:
            for call in message.calls:
                session.again(call.name, call.arguments)
        self._open[name] = session
        try:
            yield session
        finally:
            del self._open[name]

    def _router(self, api: Api) -> Router:
        if id(api) not in self._routers:
            self._routers[id(api)] = (api, Router(api))
        return self._routers[id(api)][1]

    def _begin(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise InputError("an agent that calls the API itself needs asyncio") from None
        if self._serving is not None and not self._serving.done() and self._serving.get_loop() is loop:
            return
        at = listening("127.0.0.1", 0)
        self._origin = f"http://127.0.0.1:{at.getsockname()[1]}"
        self._server = _Server(configured(application_of(self._open)))
        self._serving = loop.create_task(self._server.serve(sockets=[at]))

    async def aclose(self) -> None:
        """Stop listening."""
        serving, server = self._serving, self._server
        self._serving = self._server = None
        if serving is not None and server is not None and serving.get_loop() is asyncio.get_running_loop():
            server.should_exit = server.force_exit = True
            await serving


class _Server(uvicorn.Server):
    """A server that leaves the process's signals alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
