"""A model turns a `Request` into a `Reply`: the first of the three doors to the outside.

A plug-in model is any object with a `name` and an `async reply(request)`. What the endpoint did to the content
(refused, cut it off, sent nothing) is part of the reply and is recorded like any other; only a failure of the
infrastructure is raised, as `CallFailed`.
"""

from collections.abc import Awaitable, Mapping
from dataclasses import field, fields, replace
from typing import Any, NamedTuple, Protocol

from simlab.errors import InfraError, InputError, nearest
from simlab.frozen import frozen
from simlab.lazy import lazy
from simlab.message import NOTHING, ChatMessage, ToolCall
from simlab.schema import digest, to_json
from simlab.tool import Tool
from simlab.turns import Turns

FINISHES = (
    "stop",
    "tool_calls",
    "length",
    "refusal",
    "content_filter",
    "context_exceeded",
    "bad_request",
    "bad_arguments",
    "deadline",  # this and the following: what an agent under test may come to, see `subject`
    "flood",
    "raised",
    "not_a_message",
    "too_large",
)
AGENT = "agent"  # the role of an agent under test, which is behind a door of its own


@frozen()
class Sampling:
    """How a reply is drawn; None leaves it to the endpoint. `ban` holds texts that must not come up.

    A reply that `begins` with a text and the ban are constraints on the sampler, which few endpoints can be
    given: one that cannot raises InputError rather than ignore them.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    ban: tuple[str, ...] = ()
    begins: str | None = None

    def over(self, default: "Sampling") -> "Sampling":
        """These options, with the default's where these say nothing."""
        return replace(default, **self.given) if self.given else default

    @lazy
    def given(self) -> dict[str, Any]:
        """Only what is set, by name."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) not in (None, ())}

    @lazy
    def sent(self) -> dict[str, Any]:
        """What is set and has a name in the dialect of endpoints."""
        return {name: value for name, value in self.given.items() if name not in ("ban", "begins")}

    @classmethod
    def parse(cls, text: str) -> "Sampling":
        """Read `temperature=0.2,max_tokens=80`; raises InputError naming the word that is wrong."""
        made: dict[str, Any] = {}
        kinds: dict[str, type] = {"temperature": float, "top_p": float, "max_tokens": int}
        for part in filter(None, text.split(",")):
            key, _, value = part.partition("=")
            if key not in kinds:
                raise InputError(f"no sampling option {key!r}{nearest(key, kinds)}")
            try:
                made[key] = kinds[key](value)
            except ValueError:
                wanted = "a number" if kinds[key] is float else "a whole number"
                raise InputError(f"sampling option {key} takes {wanted}, got {value!r}") from None
            low, high = {"temperature": (0, 10), "top_p": (1e-9, 1), "max_tokens": (1, 10**9)}[key]
            if not low <= made[key] <= high:
                raise InputError(f"sampling option {key} should be between {low:g} and {high:g}, got {value}")
        return cls(**made)


class Usage(NamedTuple):
    """Tokens as the endpoint counted them."""

    prompt: int = 0
    completion: int = 0


UNCOUNTED = Usage()


@frozen(kw_only=True)
class Request:
    """What is asked of a model: by which role, at which step, with which messages.

    `view` is what the messages were rendered from; it is for scripted models and is neither sent nor stored.
    `item`, `path` and `seed` are the request's position, filled in by the journal.
    """

    role: str
    step: str
    messages: tuple[ChatMessage, ...]
    tools: tuple[Tool, ...] = ()
    schema: Mapping[str, Any] | None = None
    sampling: Sampling = field(default_factory=Sampling)
    view: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    item: int = 0
    path: str = ""
    seed: int = 0

    def placed(self, item: int, path: str, seed: int, sampling: Sampling) -> "Request":
        """The same at its position; `dataclasses.replace` would run through all fields, at every call."""
        made = object.__new__(Request)
        made.__dict__.update(self.__dict__, item=item, path=path, seed=seed, sampling=sampling)
        return made

    def stored(self, model: str) -> str:
        """The canonical JSON that a journal keeps and compares; messages, schema and tools by digest."""
        asked: dict[str, Any] = {
            "model": model,
            "role": self.role,
            "step": self.step,
            "messages": [message.key for message in self.messages],
            "seed": self.seed,
        }
        if sampling := self.sampling.given:
            asked["sampling"] = sampling
        if self.schema is not None:
            asked["schema"] = digest(to_json(self.schema))
        if self.tools:
            asked["tools"] = [digest(tool.wire.decode()) for tool in self.tools]
        return to_json(asked)


@frozen(kw_only=True)
class Reply:
    """What a model answered. `finish` is one of FINISHES; `reasoning` is shown to no other role."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    finish: str = "stop"
    reasoning: str = ""
    usage: Usage = UNCOUNTED

    @property
    def fault(self) -> str | None:
        """Why the text may not be taken for an answer, or None when it may."""
        if self.finish not in ("stop", "tool_calls"):
            return self.finish
        return None if self.text.strip() or self.calls else "empty"


class Model(Protocol):
    """The contract of the shelf `simlab/models/`; `name` is what a run file records of it.

    `small` says that the model keeps to given words only under constraint, so that recipes hold its hand;
    `sampling` holds the options its user fixed, which win over what a recipe asks for.
    """

    name: str
    small: bool
    sampling: Sampling

    async def reply(self, request: Request) -> Reply:
        """Answer one request; raises CallFailed when the infrastructure failed."""
        ...

    async def aclose(self) -> None:
        """Let go of connections and processes."""
        ...


class TakesTurns(Protocol):
    """What a model may offer beside the contract, so that it holds a turn only while its request is on its way."""

    def reply_in_turn(self, request: Request, turns: Turns) -> Awaitable[Reply]:
        """Answer like `reply`, and take a turn for each request that is sent, by the request's item."""
        ...


class CallFailed(InfraError):
    """A call that got no answer; `retry` says whether the same call may succeed later.

    `fatal` failures (wrong key, no connection at all) would meet every other call as well: they stop the run.
    """

    def __init__(self, why: str, *, retry: bool, after: float | None = None, fatal: bool = False) -> None:
        super().__init__(why)
        self.retry = retry
        self.after = after
        self.fatal = fatal
