"""Messages: what agents say to each other, and the same seen from one seat.

A `Message` has a sender and belongs to nobody's viewpoint. `user` and `assistant` appear only in a
`ChatMessage`, the view from one seat that a model is given: there, what the seat said is the assistant's and
what it heard is the user's. Both are immutable, and both encode their content once.
"""

from collections.abc import Mapping
from dataclasses import field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from simlab.frozen import frozen
from simlab.lazy import lazy
from simlab.schema import digest, to_json

NOTHING: Mapping[str, Any] = MappingProxyType({})
_ROLES = {role: to_json(role) for role in ("system", "user", "assistant", "tool")}


@frozen()
class ToolCall:
    """A request to run a tool; `id` is ours, unique within its episode."""

    id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The plain form that is stored."""
        return {"id": self.id, "name": self.name, "arguments": self.arguments}


@frozen()
class ToolResult:
    """What a tool answered to the call of that id: a status in the sense of HTTP and a JSON body."""

    call_id: str
    name: str
    status: int
    body: Any = None

    @property
    def shown(self) -> str:
        """What a model is shown of it: the body, and the status where the call did not work."""
        return to_json(self.body if self.status < 400 else {"status": self.status, "error": self.body})

    def as_json(self) -> dict[str, Any]:
        """The plain form that is stored."""
        return {"call_id": self.call_id, "name": self.name, "status": self.status, "body": self.body}


@lru_cache(maxsize=2048)
def plain(text: str) -> tuple[str, str]:
    """The content of a text and its digest; what is said, heard, journaled and recorded is encoded once for all."""
    content = to_json(text)
    return content, digest(content)


def content_of(text: str, calls: tuple[ToolCall, ...] = (), results: tuple[ToolResult, ...] = ()) -> str:
    """The JSON under which a content is stored once, whoever says it and whoever hears it."""
    if not calls and not results:
        return plain(text)[0]
    return to_json({"text": text, "calls": [c.as_json() for c in calls], "results": [r.as_json() for r in results]})


@frozen()
class Message:
    """Something said: by `sender`, to the agents named in `to` (empty: to everyone else in the room).

    `delay` is virtual seconds until it is heard. `notes` go into the trace (how the text came about) and into
    no agent's view.
    """

    sender: str
    text: str
    to: tuple[str, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    results: tuple[ToolResult, ...] = ()
    delay: float = 0.0
    notes: Mapping[str, Any] = field(default_factory=lambda: NOTHING)

    @lazy
    def content(self) -> str:
        """Canonical JSON of what was said."""
        if self.calls or self.results:
            return content_of(self.text, self.calls, self.results)
        content, self.__dict__["key"] = plain(self.text)  # both at one go
        return content

    @lazy
    def key(self) -> str:
        """The digest of the content."""
        return digest(self.content) if self.calls or self.results else plain(self.text)[1]

    @lazy
    def said(self) -> "tuple[ChatMessage, ...]":
        """The view from its sender's seat; whoever needs it shares it, and so what is encoded of it."""
        return (self._seen("assistant"),)

    @lazy
    def heard(self) -> "tuple[ChatMessage, ...]":
        """The view from any other seat; results of calls are a tool's messages, one each."""
        if self.results:
            return tuple(ChatMessage("tool", result.shown, call_id=result.call_id) for result in self.results)
        return (self._seen("user"),)

    def _seen(self, role: str) -> "ChatMessage":
        view = ChatMessage(role, self.text, self.calls)
        if not self.results:  # else it is not all of the content
            view.__dict__.update(content=self.content, digest=self.key)
        return view


@frozen()
class ChatMessage:
    """One message as a model is shown it; `role` is system, user, assistant or tool."""

    role: str
    text: str
    calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None

    @lazy
    def content(self) -> str:
        """Canonical JSON of what is said; equal to the content of the Message it is a view of."""
        return content_of(self.text, self.calls)

    @lazy
    def digest(self) -> str:
        """The digest of the content."""
        return digest(self.content) if self.calls else plain(self.text)[1]

    @lazy
    def key(self) -> str:
        """`role:digest`, which is how a journal refers to the message."""
        return f"{self.role}:{self.digest}:{self.call_id}" if self.call_id else f"{self.role}:{self.digest}"

    @lazy
    def wire(self) -> bytes:
        """The message in the chat-completions dialect, encoded once however often it is sent."""
        if not self.calls and self.call_id is None and (role := _ROLES.get(self.role)) is not None:
            return f'{{"content":{self.content},"role":{role}}}'.encode()  # what the journal keeps, encoded already
        said: dict[str, Any] = {"role": self.role, "content": self.text}
        if self.calls:
            said["content"] = self.text or None
            said["tool_calls"] = [
                {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": to_json(c.arguments)}}
                for c in self.calls
            ]
        if self.call_id is not None:
            said["tool_call_id"] = self.call_id
        return to_json(said).encode()
