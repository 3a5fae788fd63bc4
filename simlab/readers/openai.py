"""`openai`: traces as chat JSONL with tools, one talk a line, in the chat-completions dialect.

    {"id": "t1", "messages": [{"role": "user", "content": "..."},
                              {"role": "assistant", "content": null, "tool_calls": [
                                {"id": "c1", "type": "function", "function": {"name": "...", "arguments": "{...}"}}]},
                              {"role": "tool", "tool_call_id": "c1", "content": "{...}"}]}

Arguments may be a JSON text or an object; what else a line holds is passed over. Arguments that are no JSON object
make a call that cannot be right; an empty text and null are none.
"""

from collections.abc import Mapping
from typing import Any

from simlab.message import ToolCall
from simlab.readers import needed
from simlab.reading import ReadTrace, identity, listed, mapping
from simlab.schema import NotJson, read_json
from simlab.talk import Line, Talk, Unreadable

READS = "traces"
_SPEAKERS = {"user": "user", "assistant": "agent", "tool": "api"}
_SILENT = ("system", "developer")


def openai(line: Any) -> ReadTrace:
    """The talk of a line; raises ValueError with what was expected."""
    whole = mapping(line, "the line")
    messages = listed(needed(whole, "messages", "messages", "a list"), "messages")
    lines = (_line(mapping(message, f"messages[{at}]"), at) for at, message in enumerate(messages))
    return ReadTrace(identity(whole), Talk(tuple(one for one in lines if one is not None)))


def _line(message: Mapping[str, Any], at: int) -> Line | None:
    role = needed(message, "role", f"messages[{at}].role", "user, assistant, tool or system")
    if role in _SILENT:
        return None
    if role not in _SPEAKERS:
        raise ValueError(f"messages[{at}].role: expected user, assistant, tool or system, got {str(role)[:40]!r}")
    text = _text(message.get("content"), at)
    if role == "tool":
        return Line("api", answers=(_answer(text),), turn=at)
    calls = listed(message.get("tool_calls") or [], f"messages[{at}].tool_calls")
    made = tuple(_call(call, f"messages[{at}].tool_calls[{n}]") for n, call in enumerate(calls))
    return Line(_SPEAKERS[str(role)], text, made, turn=at)


def _text(content: Any, at: int) -> str:
    """The words of a message, whose content may come in parts."""
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    if content is None or isinstance(content, str):
        return content or ""
    raise ValueError(f"messages[{at}].content: expected a text, parts or null, got {str(content)[:40]!r}")


def _call(call: Any, where: str) -> ToolCall:
    found = needed(mapping(call, where), "function", f"{where}.function", "an object")
    function = mapping(found, f"{where}.function")
    name, said = needed(function, "name", f"{where}.function.name", "a text"), function.get("arguments", {})
    if not isinstance(name, str):
        raise ValueError(f"{where}.function.name: expected a text, got {str(name)[:40]!r}")
    return ToolCall(str(call.get("id", "")), name, _arguments(said))


def _arguments(said: Any) -> Mapping[str, Any]:
    if said is None or (isinstance(said, str) and not said.strip()):
        return {}
    arguments = _answer(said) if isinstance(said, str) else said
    return arguments if isinstance(arguments, Mapping) else Unreadable(str(said))


def _answer(text: str) -> Any:
    try:
        return read_json(text)
    except NotJson:
        return text
