"""A trace is what happened in one simulation: the cast, the events in order, and how it ended."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from simlab.message import ChatMessage, Message

AGENT_ERROR = "agent_error"  # the agent could not go on
ENDS = (
    "completed",  # nobody had anything more to say
    "goal_met",
    "agent_refused",
    "user_gave_up",
    "turn_limit",
    AGENT_ERROR,
    "sim_error",
    "infra_error",
)


@dataclass(frozen=True, slots=True)
class Event:
    """A message as it was heard, at a virtual time in seconds, by those in `heard_by`."""

    time: float
    message: Message
    heard_by: tuple[str, ...]

    @property
    def sender(self) -> str:
        """Who said it."""
        return self.message.sender

    @property
    def text(self) -> str:
        """What was said."""
        return self.message.text

    def __str__(self) -> str:
        """One readable line."""
        return f"{self.message.sender}: {self.message.text}"


def as_chat(messages: Iterable[Message], seat: str, *, others: int = 1) -> list[ChatMessage]:
    """The view from a seat: its own words as the assistant's, all others' as the user's.

    With several others in the room each of their lines begins with its speaker's name.
    """
    return [view for message in messages for view in seen(message, seat, named=others > 1)]


def seen(message: Message, seat: str, *, named: bool = False) -> tuple[ChatMessage, ...]:
    """One message from a seat; results of calls are a tool's messages, one each."""
    if message.sender == seat:
        return message.said
    if named and not message.results:
        return (ChatMessage("user", f"{message.sender}: {message.text}", message.calls),)
    return message.heard


@dataclass
class Trace:
    """What happened; plain data, equal for equal episodes."""

    cast: tuple[str, ...]
    services: tuple[str, ...] = ()
    events: list[Event] = field(default_factory=list)
    end: str = ""
    detail: str = ""

    @property
    def messages(self) -> list[Message]:
        """What was said, in order of hearing."""
        return [event.message for event in self.events]

    def view(self, seat: str) -> list[ChatMessage]:
        """All that a seat said and heard, as a model in that seat would be shown it."""
        mine = [e.message for e in self.events if e.sender == seat or seat in e.heard_by]
        return as_chat(mine, seat, others=len(self.cast) - len(self.services) - 1)

    def as_json(self) -> dict[str, Any]:
        """The form that is stored: contents by digest; `texts` holds what they refer to."""
        rows = []
        for event in self.events:
            row: dict[str, Any] = {
                "at": event.time,
                "from": event.sender,
                "to": list(event.heard_by),
                "said": event.message.key,
            }
            if event.message.notes:
                row["notes"] = event.message.notes
            rows.append(row)
        made: dict[str, Any] = {"cast": list(self.cast), "events": rows, "end": self.end}
        if self.services:
            made["services"] = list(self.services)
        if self.detail:
            made["detail"] = self.detail
        return made

    def texts(self) -> Mapping[str, str]:
        """Digest to content, for every message of the trace."""
        return {event.message.key: event.message.content for event in self.events}
