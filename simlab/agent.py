"""An agent hears messages, and replies or stays silent. Anything with a `name` and an async `reply` is one."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from simlab.die import Die
from simlab.journal import Branch
from simlab.message import ChatMessage, Message
from simlab.model import Model, Reply, Request
from simlab.trace import seen


@dataclass(frozen=True)
class End:
    """Said instead of, or after, a message: the simulation is over, for the reason given (one of trace.ENDS)."""

    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Wake:
    """Asks to be given a turn after so many virtual seconds, whether or not anything was heard until then."""

    after: float


Said = str | Message | End | Wake
Answer = Said | Sequence[Said] | None


class Seat:
    """What one agent has said and heard so far, kept as the view that its model is shown."""

    __slots__ = ("_named", "chat", "name", "spoken")

    def __init__(self, name: str, others: int) -> None:
        self.name = name
        self.chat: list[ChatMessage] = []
        self.spoken = 0  # how many messages this seat has said
        self._named = others > 1

    def add(self, message: Message) -> None:
        """Take note of a message, this seat's own or one that it heard."""
        self.chat += seen(message, self.name, named=self._named)
        if message.sender == self.name:
            self.spoken += 1


class Turn(NamedTuple):
    """An agent's turn to speak: what it has just heard, all it knows, and its way to the outside."""

    heard: tuple[Message, ...]
    seat: Seat
    now: float
    branch: Branch

    @property
    def die(self) -> Die:
        """Random choices belong here and nowhere else."""
        return self.branch.die

    @property
    def chat(self) -> tuple[ChatMessage, ...]:
        """The conversation from this seat: its own words as the assistant's, the others' as the user's."""
        return tuple(self.seat.chat)

    def ask(self, model: Model, request: Request) -> Awaitable[Reply]:
        """Ask a model through the journal."""
        return self.branch.ask(model, request)


class Agent(Protocol):
    """The contract of everyone in a room."""

    @property
    def name(self) -> str:
        """Unique among the cast."""
        ...

    async def reply(self, turn: Turn) -> Answer:
        """Answer what was heard: a text, a message, several, an End, a Wake, or None for silence."""
        ...


@runtime_checkable
class Interceptor(Protocol):
    """An agent that sees what others are about to say before anyone hears it."""

    async def intercept(self, message: Message, turn: Turn) -> Message | None:
        """The message to be delivered instead: the same, another, or None to hold it back."""
        ...
