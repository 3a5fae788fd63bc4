"""What an agent under test may answer with, read into a `Reply`: a text, or a message in the chat-completions dialect.

A message is a mapping with `content` and `tool_calls`, or any object that has these, as attributes or through
`model_dump()`: so what the `openai` package returns is taken as it is, the whole completion included. Anything
else is not a message, and that is an outcome of the episode like any other.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from simlab.message import ToolCall
from simlab.model import Reply
from simlab.schema import NotJson, read_json, to_json

MOST_TEXT = 1_000_000  # characters of a message, and of the arguments of a call
MOST_CALLS = 64  # in one turn


class Unusable(Exception):
    """An answer that cannot be taken; `finish` is the kind of fault, and the text says what was wrong."""

    def __init__(self, finish: str, why: str) -> None:
        super().__init__(why)
        self.finish = finish


def read_answer(answer: Any, spoken: int = 0) -> Reply:
    """The reply that an answer is; `spoken` is how many calls the agent made before, as call ids are ours.

    Raises Unusable for what is not a message, is too large, or holds too many calls.
    """
    if isinstance(answer, str):
        return _said(_text(answer), ())
    message = _fields(answer)
    if message is None:
        raise Unusable("not_a_message", f"answered with {_article(answer)}, not a text or a message")
    calls = message.get("tool_calls") or ()
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        raise Unusable("not_a_message", f"tool_calls is {_article(calls)}, not a list")
    if len(calls) > MOST_CALLS:
        raise Unusable("flood", f"{len(calls):,} calls in one message, of {MOST_CALLS} at the most")
    return _said(_content(message.get("content")), tuple(_call(call, spoken + i) for i, call in enumerate(calls, 1)))


def _said(text: str, calls: tuple[ToolCall, ...]) -> Reply:
    if not text.strip() and not calls:
        raise Unusable("not_a_message", "answered with neither words nor calls")
    return Reply(text=text, calls=calls, finish="tool_calls" if calls else "stop")


def _fields(answer: Any) -> Mapping[str, Any] | None:
    """The fields of a message, whatever carries them; None where it is no message."""
    if not isinstance(answer, Mapping):
        if callable(dump := getattr(answer, "model_dump", None)):
            answer = dump()
        elif hasattr(answer, "content") or hasattr(answer, "tool_calls"):
            answer = {name: getattr(answer, name, None) for name in ("content", "tool_calls")}
        else:
            return None
    if isinstance(answer, Mapping) and isinstance(choices := answer.get("choices"), Sequence) and choices:
        first = choices[0]
        answer = first.get("message") if isinstance(first, Mapping) else getattr(first, "message", None)
        return _fields(answer)
    if not isinstance(answer, Mapping) or not answer.keys() & {"content", "tool_calls"}:
        return None
    return answer


def _content(content: Any) -> str:
    """The words of a message: a text, or the texts of its parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return _text(content)
    parts = content if isinstance(content, Sequence) else [None]
    texts = [part.get("text") if isinstance(part, Mapping) else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise Unusable("not_a_message", f"content is {_article(content)}, not a text or a list of text parts")
    return _text("".join(map(str, texts)))


def _text(text: str) -> str:
    if len(text) > MOST_TEXT:
        raise Unusable("too_large", f"{len(text):,} characters, of {MOST_TEXT:,} at the most")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unusable("not_a_message", "a text with half a character (a lone surrogate)") from None
    return text


def _call(call: Any, number: int) -> ToolCall:
    """One call, of the dialect or as a plain `{name, arguments}`."""
    fields = call if isinstance(call, Mapping) else _attributes(call, ("function", "name", "arguments"))
    function = fields.get("function") or fields
    if not isinstance(function, Mapping):
        function = _attributes(function, ("name", "arguments"))
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise Unusable("not_a_message", "a call without the name of a tool")
    return ToolCall(f"call_{number}", _text(name), _arguments(name, function.get("arguments")))


def _attributes(value: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(value, name, None) for name in names}


def _arguments(name: str, given: Any) -> dict[str, Any]:
    """A call's arguments as strict JSON that nobody else holds."""
    try:
        text = given if isinstance(given, str) else to_json(given or {})
        value = read_json(_text(text) or "{}")
    except (NotJson, TypeError, ValueError, RecursionError) as error:
        raise Unusable("not_a_message", f"the arguments of {name} are not JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise Unusable("not_a_message", f"the arguments of {name} are {_article(value)}, not an object")
    return value


def _article(value: Any) -> str:
    kind = type(value).__name__
    return "nothing" if value is None else f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"
