"""What a scorer reads of a talk: who said what when, which calls were made, and what was known before each.

Made from a trace, or from messages that others wrote.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simlab.facts import found, holds
from simlab.message import Message, ToolCall
from simlab.plan import spoken
from simlab.trace import Trace

_YES = re.compile(
    r"\b(?:yes|yeah|yep|sure|ok|okay|please do|go ahead|do it|confirm(?:ed)?|correct|of course|that is right|agreed)\b",
    re.IGNORECASE,
)
_NO = re.compile(r"\b(?:no|not|don['’]t|stop|wait|cancel)\b", re.IGNORECASE)
_DONE = re.compile(
    r"\b(?:done|all set|complete[d]?|finished|success(?:ful|fully)?|(?:has|have) been|taken care of|(?:is|are) now"
    r"|i(?:['’]ve| have) (?!not|no|looked)\w+ed)\b",
    re.IGNORECASE,
)
_UNDONE = re.compile(r"\b(?:not|cannot|unable|failed|sorry|unfortunately)\b|n['’]t\b|\?", re.IGNORECASE)


@dataclass(frozen=True)
class Line:
    """One message of a talk: `speaker` is agent, user or api; `turn` is its index in the trace."""

    speaker: str
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    answers: tuple[Any, ...] = ()
    turn: int | None = None


@dataclass(frozen=True)
class Talk:
    """The lines of a talk in order; `complete` where the user's lines are among them, and not only the agent's."""

    lines: tuple[Line, ...]
    complete: bool = True

    @property
    def calls(self) -> list[tuple[ToolCall, int]]:
        """The agent's calls, each with the index of its line."""
        return [(call, at) for at, line in enumerate(self.lines) for call in line.calls if line.speaker == "agent"]

    @property
    def said(self) -> list[str]:
        """What the agent said to the user."""
        return [line.text for line in self.lines if line.speaker == "agent" and line.text.strip()]

    @property
    def claims(self) -> bool:
        """Whether the agent's last words say that it is done."""
        last = self.said[-1] if self.said else ""
        return _DONE.search(last) is not None and not _UNDONE.search(last)

    def knows(self, value: Any, before: int) -> bool:
        """Whether a plain value was said by the user, or returned, before the line of an index."""
        return self.told(value, before) or any(
            spoken(value) == spoken(one)
            for line in self.lines[:before]
            for answer in line.answers
            for one in leaves(answer)
        )

    def told(self, value: Any, before: int) -> bool:
        """Whether the user said a plain value before the line of an index."""
        lines = (line.text for line in self.lines[:before] if line.speaker == "user")
        return any(holds(text, value) or found(text, value) for text in lines)

    def confirmed(self, before: int) -> bool:
        """Whether the user had said yes to a question of the agent's before the line of an index."""
        asked = False
        for line in self.lines[:before]:
            if line.speaker == "agent" and line.text.strip():
                asked = "?" in line.text
            elif line.speaker == "user" and asked and _YES.search(line.text) and not _NO.search(line.text):
                return True
        return False


def talk_of(trace: Trace, agent: str = "assistant", user: str = "user") -> Talk:
    """The talk of a trace; what the agent said to others than the user counts as not said."""
    return Talk(tuple(_line(event.message, event.heard_by, at, agent, user) for at, event in enumerate(trace.events)))


def _line(message: Message, heard_by: Sequence[str], at: int, agent: str, user: str) -> Line:
    answers = tuple(result.body for result in message.results)
    if message.sender == agent:
        return Line("agent", message.text if user in heard_by else "", message.calls, turn=at)
    return Line("user" if message.sender == user else "api", message.text, answers=answers, turn=at)


class Unreadable(dict[str, Any]):
    """The arguments of a call that were sent as a text which is no JSON object: none, and what was sent instead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


def bare(calls: Iterable[ToolCall], said: Iterable[str]) -> Talk:
    """A talk of which only the agent's calls and words are known."""
    lines = (*(Line("agent", calls=(call,)) for call in calls), *(Line("agent", text) for text in said))
    return Talk(lines, complete=False)


def leaves(value: Any, at: str = "") -> Iterator[Any]:
    """The plain values in a JSON value."""
    for _, one in pointed_leaves(value, at):
        yield one


def pointed_leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """The plain values in a JSON value, each with its JSON pointer; an empty object or list is one."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from pointed_leaves(inner, f"{at}/{str(key).replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list | tuple) and value:
        for number, inner in enumerate(value):
            yield from pointed_leaves(inner, f"{at}/{number}")
    else:
        yield at, value
