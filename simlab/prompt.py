"""Prompts: constants rendered from a view; and lines that a model words under a check.

The script carries the truth, the model the words: a line is asked for, checked, asked for again with another
seed, and in the end taken from a template where there is one. Every fallback is counted and shown.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from string import Formatter
from typing import Any, NamedTuple

from simlab.errors import Drop
from simlab.lazy import lazy
from simlab.message import ChatMessage
from simlab.model import Reply, Request, Sampling
from simlab.text import tidy

Ask = Callable[[Request], Awaitable[Reply]]
Check = Callable[[str], str | None]  # a line -> the code of what is wrong with it, or None


@dataclass(frozen=True)
class Prompt:
    """What is said to a model at one step: a system message, examples, and a line with {fields} of the view.

    System message and examples are the same for every call of the step, so endpoints can cache them; a
    `{field}` in the system message is rendered too, for prompts whose system message depends on the script.
    """

    step: str
    ask: str = ""
    system: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    schema: Mapping[str, Any] | None = None

    def with_schema(self, schema: Mapping[str, Any]) -> "Prompt":
        """The same prompt, its reply bound to a JSON Schema."""
        return replace(self, schema=schema)

    def tuned(self, sampling: Sampling) -> "Prompt":
        """The same prompt with these sampling options over its own."""
        return replace(self, sampling=sampling.over(self.sampling))

    @lazy
    def _head(self) -> tuple[ChatMessage, ...]:
        shots = [
            ChatMessage(role, text)
            for pair in self.examples
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
        return tuple(shots)

    @lazy
    def _fixed(self) -> ChatMessage | None:
        """The system message, where no view changes it."""
        return None if "{" in self.system or "}" in self.system else _system(self.system)

    def request(self, role: str, view: Mapping[str, Any], chat: tuple[ChatMessage, ...] = ()) -> Request:
        """The request for one call; `chat`, where given, stands between the examples and the last line."""
        system = (self._fixed or _rendered(self.system, view),) if self.system else ()
        last = (ChatMessage("user", _filling(self.ask)(view)),) if self.ask else ()
        messages = (*system, *self._head, *chat, *last)
        return Request(
            role=role, step=self.step, messages=messages, schema=self.schema, sampling=self.sampling, view=view
        )


@lru_cache(maxsize=1024)
def _fields(text: str) -> tuple[str, ...] | None:
    """The names between the braces of a text, in order; None where one of them is more than a plain name."""
    fields = [(name, spec or how) for _, name, spec, how in Formatter().parse(text) if name is not None]
    return None if any(more or not name.isidentifier() for name, more in fields) else tuple(name for name, _ in fields)


@lru_cache(maxsize=1024)
def _filling(text: str) -> Callable[[Mapping[str, Any]], str]:
    """`text.format_map`; where all fields are plain names they are found once, not at every call."""
    if _fields(text) is None:
        return text.format_map
    parts = list(Formatter().parse(text))
    return lambda view: "".join([said if name is None else f"{said}{view[name]}" for said, name, _, _ in parts])


def _rendered(text: str, view: Mapping[str, Any]) -> ChatMessage:
    """A system message with its fields filled in; it is looked up by what they are filled with, as it may be long."""
    names = _fields(text)
    if names is None:
        return _system(text.format_map(view))
    return _filled(text, tuple([f"{view[name]}" for name in names]))


@lru_cache(maxsize=1024)
def _filled(text: str, values: tuple[str, ...]) -> ChatMessage:
    names = _fields(text) or ()
    return ChatMessage("system", _filling(text)(dict(zip(names, values, strict=True))))


@lru_cache(maxsize=1024)
def _system(text: str) -> ChatMessage:
    """A system message; calls that share it share its encoded bytes and its digest."""
    return ChatMessage("system", text)


class Worded(NamedTuple):
    """A line and how it came about: tries needed, whether the template had to serve, what was wrong before."""

    text: str
    tries: int
    fallback: bool
    faults: tuple[str, ...]

    @property
    def notes(self) -> dict[str, Any]:
        """What goes into the trace: only what is out of the ordinary."""
        made: dict[str, Any] = {}
        if self.tries > 1:
            made["tries"] = self.tries
        if self.faults:
            made["faults"] = list(self.faults)
        if self.fallback:
            made["fallback"] = True
        return made


def anything(text: str) -> str | None:
    """The check that lets every line pass."""
    return None


async def word(
    ask: Ask,
    request: Request,
    *,
    check: Check = anything,
    clean: Callable[[str], str] = tidy,
    tries: int = 3,
    template: str | None = None,
) -> Worded:
    """Ask for a line until one passes the check; then the template; raises Drop with the last fault's code."""
    faults: list[str] = []
    said = ""
    for attempt in range(1, tries + 1):
        reply = await ask(request)
        text = clean(reply.text)
        fault = reply.fault or check(text)
        if fault is None:
            return Worded(text, attempt, False, tuple(faults))
        faults.append(fault)
        said = f": {reply.text[:200]}" if fault == "bad_request" else ""
    if template is None:
        raise Drop(faults[-1], f"{request.role} at {request.step}, {tries} tries{said}", by=request.role)
    return Worded(template, tries, True, tuple(faults))
