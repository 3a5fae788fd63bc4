"""An agent under test is behind the journal's third door: each of its turns is asked for, answered and recorded once.

An agent is a function, sync or async, or an object whose `reply` is one. What it takes says how it works:

    agent(messages)                  the conversation in the chat-completions dialect, ends with what was heard last
    agent(messages, tools)           and the tools; it answers with a text, or a message with `tool_calls`
    agent(messages, base_url=...)    it calls the API itself, over HTTP, at the address of its own session

Whatever it does, its turn ends within the deadline, and as a reply: an agent that hangs, floods, raises, or answers
with what is not a message has a reply that says so in its `finish`. The clock is looked at here and nowhere else,
so a resume and a replay see the outcome that was recorded.
"""

import functools
import inspect
import json
import sys
import sysconfig
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from simlab.answers import Unusable, read_answer
from simlab.deadline import Late, within
from simlab.errors import InputError
from simlab.message import ToolCall
from simlab.model import Reply, Request, Sampling
from simlab.schema import digest

TURN_SECONDS = 60.0
EPISODE_SECONDS = 600.0
SHOWN = 300  # characters of what an agent raised


class Visit(Protocol):
    """One turn of an agent at its session of the API."""

    base_url: str

    @property
    def made(self) -> Sequence[tuple[str, dict[str, Any]]]:
        """Operation and arguments of each call so far; what was no call of the API by method and path."""
        ...

    @property
    def flooded(self) -> bool:
        """Whether more calls were made than a turn may hold."""
        ...


class Gateway(Protocol):
    """Where agents that call the API themselves reach it."""

    def visit(self, request: Request) -> AbstractAsyncContextManager[Visit]:
        """The session of the request's episode, in the state that its messages led to, open for one turn."""
        ...

    async def aclose(self) -> None:
        """Stop listening."""
        ...


class Subject:
    """The agent as a model, which is what a door is asked through; `name` is what a run file records of it.

    `turn_seconds` and `episode_seconds` are wall clock, and count the agent's own turns alone.
    """

    small = False
    sampling = Sampling()

    def __init__(
        self,
        agent: Any,
        *,
        name: str = "agent",
        turn_seconds: float = TURN_SECONDS,
        episode_seconds: float = EPISODE_SECONDS,
        gateway: Gateway | None = None,
    ) -> None:
        """Raises InputError for what cannot be called as an agent."""
        self.name = name
        self._work = _function(agent)
        self.files = _files(agent, name)
        self._takes = _parameters(self._work)
        self._turn_seconds, self._episode_seconds = turn_seconds, episode_seconds
        self._spent: dict[int, float] = {}
        self.gateway = gateway

    @property
    def source(self) -> dict[str, str]:
        """By module the digest of the files that the agent is written in, which tell one that was edited since."""
        texts = {module: path.read_bytes().decode(errors="replace") for module, path in self.files.items()}
        return {module: digest(text) for module, text in sorted(texts.items())}

    @property
    def calls_itself(self) -> bool:
        """Whether the agent calls the API over HTTP."""
        return "base_url" in self._takes

    async def reply(self, request: Request) -> Reply:
        """The agent's turn, whatever it comes to."""
        spoken = sum(len(message.calls) for message in request.messages)
        if not self.calls_itself:
            return await self._turn(request, spoken)
        if self.gateway is None:
            raise InputError("an agent that calls the API itself needs the extra `server`: simlab[server]")
        async with self.gateway.visit(request) as visit:
            reply = await self._turn(request, spoken, base_url=visit.base_url)
            if visit.flooded:
                reply = Reply(text="more calls in one turn than there may be", finish="flood")
            elif reply.calls:
                reply = Reply(text="answered with tool calls, though it calls the API itself", finish="not_a_message")
            calls = (ToolCall(f"call_{spoken + i}", name, given) for i, (name, given) in enumerate(visit.made, 1))
            return replace(reply, calls=tuple(calls))

    async def _turn(self, request: Request, spoken: int, **options: Any) -> Reply:
        left = self._episode_seconds - self._spent.get(request.item, 0.0)
        limit = min(left, self._turn_seconds)
        messages = [json.loads(message.wire) for message in request.messages]
        if "tools" in self._takes:
            options["tools"] = [json.loads(tool.wire) for tool in request.tools]
        began = time.monotonic()
        try:
            return read_answer(await within(limit, self._work, messages, **options), spoken)
        except Late:
            whole = f"the {self._episode_seconds:g} seconds of the episode were used up"
            said = f"no answer within {self._turn_seconds:g} seconds" if limit < left else whole
            return Reply(text=said, finish="deadline")
        except Unusable as wrong:
            return Reply(text=str(wrong), finish=wrong.finish)
        except InputError:
            raise
        except Exception as error:
            said = " ".join(str(error).split()).encode(errors="replace").decode()
            return Reply(text=f"{type(error).__name__}: {said[:SHOWN]}{_place(error)}", finish="raised")
        finally:
            self._spent[request.item] = self._spent.get(request.item, 0.0) + time.monotonic() - began

    async def aclose(self) -> None:
        """Stop what was opened for the agent."""
        if self.gateway is not None:
            await self.gateway.aclose()


def _function(agent: Any) -> Callable[..., Any]:
    if inspect.isclass(agent):
        raise InputError(f"the agent is the class {agent.__name__}; give an instance of it, or a function")
    work = getattr(agent, "reply", None)
    work = work if callable(work) else agent
    if not callable(work):
        kind = type(agent).__name__
        article = "an" if kind[:1].lower() in "aeiou" else "a"
        raise InputError(f"an agent is a function or has a method `reply`; {article} {kind} is neither")
    made: Callable[..., Any] = work
    return made


def _files(agent: Any, name: str) -> dict[str, Path]:
    """By module the source files of an agent: of what it is, and of the place where its name found it."""
    while isinstance(agent, functools.partial):
        agent = agent.func
    homes = {
        getattr(agent, "__module__", None),
        type(agent).__module__,
        name.partition(":")[0] if ":" in name else None,
    }
    files = {home: getattr(sys.modules.get(home), "__file__", None) for home in homes if home}
    return {home: Path(file) for home, file in files.items() if file and file.endswith(".py") and Path(file).is_file()}


def _place(error: BaseException) -> str:
    """Where an agent raised, as ` (agents.py:20)`: the innermost line that is not Python's, ours or a package's."""
    others = (str(Path(__file__).parent), *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")))
    for one in (error, error.__cause__, error.__context__):
        frames = traceback.extract_tb(one.__traceback__) if one is not None else ()
        if own := [frame for frame in frames if not frame.filename.startswith((*others, "<"))]:
            return f" ({Path(own[-1].filename).name}:{own[-1].lineno})"
    return ""


def _parameters(work: Callable[..., Any]) -> frozenset[str]:
    """Which of `tools` and `base_url` an agent takes; raises InputError where it takes no messages."""
    try:
        known = inspect.signature(work).parameters.values()
    except (TypeError, ValueError):  # a builtin, say, that does not tell
        return frozenset({"tools"})
    names = {p.name for p in known if p.kind is not p.POSITIONAL_ONLY}
    takes = frozenset(names & {"tools", "base_url"})
    if any(p.kind is p.VAR_KEYWORD for p in known):
        takes |= {"tools"}
    needed = [p.name for p in known if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    heard = [p for p in known if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    wrong = [name for name in needed[1:] if name not in takes]
    if not heard or heard[0].name in takes or wrong:
        named = getattr(work, "__qualname__", type(work).__name__)
        raise InputError(
            f"the agent {named}{inspect.signature(work)} is called with (messages), (messages, tools)"
            " or (messages, base_url), by these names but for the first"
        )
    return takes
