"""A rule-based assistant for APIs: it chooses calls itself, from the tools and the talk alone, without a model.

It stands in for a model that uses tools: it sees what a model would be shown and nothing else. It matches the wish
to a tool's summary, reads `The LABEL is VALUE.` sentences, looks records up by the labels it was told, asks for
what is missing, and refuses when no tool fits. It is made for users who speak plainly, as scripted ones do.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simlab.message import ChatMessage, ToolCall
from simlab.schema import NotJson, read_json, to_json
from simlab.text import content_words, in_words, stem
from simlab.tool import Tool

AT_ONCE = 4  # things asked for in one line
ALIKE = 0.5  # share of words that a wish and a tool's summary have in common
_SAID = re.compile(r"(?:^|(?<=\. ))The ((?:[a-z0-9]+ )+?)is ")
_NEVER = re.compile(r"\bNever ([^.;]+);")
_KNOW = re.compile(r"know the (.+) of an? ([^.]+)")
REFUSAL = "I am sorry, I cannot help with that."


@dataclass
class Talk:
    """What has happened so far, as read from the chat."""

    wish: str = ""
    never: list[str] = field(default_factory=list)  # what the house rules forbid
    told: dict[str, str] = field(default_factory=dict)
    asked: str = ""
    calls: list[tuple[ToolCall, Any, bool]] = field(default_factory=list)  # call, body, whether it worked


def act(chat: Sequence[ChatMessage], tools: Sequence[Tool], path: str = "") -> tuple[str, tuple[ToolCall, ...]]:
    """What the assistant does next: says something, or makes calls."""
    talk = read(chat)
    by_name = {tool.name: tool for tool in tools}
    know = _KNOW.search(talk.wish)
    tool = _getter(know.group(2), tools) if know else _fitting(talk.wish, tools)
    if tool is None or any(_alike(tool, wish) >= ALIKE for wish in talk.never):
        return REFUSAL, ()
    done = next((body for call, body, worked in talk.calls if call.name == tool.name and worked), None)
    if done is not None or any(call.name == tool.name and worked for call, _, worked in talk.calls):
        return (_tell(know.group(1), done) if know else "That is done."), ()
    if any(call.name == tool.name and not worked for call, _, worked in talk.calls):
        return "I am sorry, I cannot do that: the service refused it.", ()
    arguments, missing = _arguments(tool, talk)
    found, call = _look_up(tool, missing, talk, by_name)
    if call is not None:
        return "", (_numbered(call, path),)
    arguments |= found
    missing = [name for name in missing if name not in arguments]
    if know and found.get("?record") is not None:
        return _tell(know.group(1), found["?record"]), ()
    arguments.pop("?record", None)
    open_ones = _open(tool, arguments, talk, required=missing)
    if open_ones:
        return _question(open_ones), ()
    if missing:
        return REFUSAL, ()
    return "", (_numbered(ToolCall("", tool.name, arguments), path),)


def read(chat: Sequence[ChatMessage]) -> Talk:
    """The wish, what was told, what was asked and what was called."""
    talk, pending = Talk(), dict[str, ToolCall]()
    for message in chat:
        if message.role == "system":
            talk.never += _NEVER.findall(message.text)
        elif message.role == "user":
            starts = list(_SAID.finditer(message.text))
            if not talk.wish:
                end = starts[0].start() if starts else len(message.text)
                talk.wish = message.text[:end].strip().rstrip(".").removeprefix("I would like to ")
            for i, match in enumerate(starts):
                end = starts[i + 1].start() if i + 1 < len(starts) else len(message.text)
                talk.told[match.group(1).strip()] = message.text[match.end() : end].strip().removesuffix(".")
        elif message.role == "assistant":
            talk.asked += " " + message.text.lower() if "?" in message.text else ""
            pending |= {call.id: call for call in message.calls}
        elif message.role == "tool" and message.call_id in pending:
            try:
                body = read_json(message.text)
            except NotJson:
                body = None
            worked = not (isinstance(body, Mapping) and set(body) == {"status", "error"})
            talk.calls.append((pending[message.call_id], body, worked))
    return talk


def _fitting(wish: str, tools: Sequence[Tool]) -> Tool | None:
    """The tool whose summary says what is wished."""
    scored = [(_alike(tool, wish), -i) for i, tool in enumerate(tools)]
    best, place = max(scored, default=(0.0, 0))
    return tools[-place] if best >= ALIKE else None


def _alike(tool: Tool, wish: str) -> float:
    """The share of words that a tool's summary and a wish have in common."""
    wanted, summary = content_words(wish), content_words(tool.description.split(". ")[0])
    union = wanted | summary
    return len(wanted & summary) / len(union) if union else 0.0


def _getter(resource: str, tools: Sequence[Tool]) -> Tool | None:
    """The tool that looks up one record of a kind."""
    name = "get" + "".join(word.capitalize() for word in resource.split())
    return next((tool for tool in tools if tool.name == name), _lister(resource, tools))


def _lister(resource: str, tools: Sequence[Tool]) -> Tool | None:
    wanted = [stem(word) for word in resource.split()]
    for tool in tools:
        words = [stem(word) for word in in_words(tool.name).split()]
        if words[:1] == ["list"] and words[1:] == wanted:
            return tool
    return None


def _properties(tool: Tool) -> Mapping[str, Any]:
    properties: Mapping[str, Any] = tool.parameters.get("properties", {})
    return properties


def _is_id(name: str) -> bool:
    return in_words(name).split()[-1] in ("id", "sid")


def _resource(tool: Tool, name: str) -> str:
    """The kind of record an id names: from the parameter, or from the tool where the parameter is a bare id."""
    words = in_words(name).split()[:-1]
    return " ".join(words or in_words(tool.name).split()[1:])


def _arguments(tool: Tool, talk: Talk) -> tuple[dict[str, Any], list[str]]:
    """The arguments that were told, and the required ones that were not."""
    made: dict[str, Any] = {}
    for name, schema in _properties(tool).items():
        labels = [in_words(name)]
        if _is_id(name):
            last = in_words(name).split()[-1]
            labels.append(f"{_resource(tool, name)} {last}")
        if schema.get("type") == "object":
            parts = {p: talk.told.get(f"{labels[0]} {in_words(p)}") for p in schema.get("properties", {})}
            if parts and all(value is not None for value in parts.values()):
                made[name] = {p: _typed(v, schema["properties"][p]) for p, v in parts.items()}
            continue
        said = next((talk.told[label] for label in labels if label in talk.told), None)
        if said is not None:
            made[name] = _typed(said, schema)
    return made, [name for name in tool.parameters.get("required", ()) if name not in made]


def _typed(said: Any, schema: Mapping[str, Any]) -> Any:
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    try:
        if "integer" in kinds:
            return int(said)
        if "number" in kinds:
            return float(said)
    except ValueError:
        return said
    return said == "yes" if "boolean" in kinds else said


def _look_up(
    tool: Tool, missing: Sequence[str], talk: Talk, tools: Mapping[str, Tool]
) -> tuple[dict[str, Any], ToolCall | None]:
    """Ids found in lists that were read, or the next list to read; `?record` holds what was found last."""
    found: dict[str, Any] = {}
    wanted = [(name, _resource(tool, name)) for name in missing if _is_id(name)]
    if tool.name.startswith("list"):
        wanted = [("?", " ".join(in_words(tool.name).split()[1:]).removesuffix("s"))]
    for name, resource in wanted:
        known = {
            label.removeprefix(f"{resource} "): v for label, v in talk.told.items() if label.startswith(f"{resource} ")
        }
        lister = _lister(resource, list(tools.values()))
        if not known or lister is None:
            continue
        needed, lacking = _arguments(lister, talk)
        if lacking:
            continue
        arguments = {k: v for k, v in needed.items() if k in lister.parameters.get("required", ())}
        answer = next((body for call, body, worked in talk.calls if call.name == lister.name and worked), None)
        if answer is None:
            return {}, ToolCall("", lister.name, arguments)
        rows = next((value for value in answer.values() if isinstance(value, list)), [])
        fitting = [row for row in rows if all(_says(row, label, value) for label, value in known.items())]
        if len(fitting) == 1:
            key = next((k for k in fitting[0] if k == name or in_words(k) in ("id", "sid", f"{resource} id")), None)
            if key is not None and name != "?":
                found[name] = fitting[0][key]
            found["?record"] = fitting[0]
    return found, None


def _says(row: Mapping[str, Any], label: str, value: str) -> bool:
    return any(in_words(key) == label and str(held) == value for key, held in row.items())


def _open(tool: Tool, arguments: Mapping[str, Any], talk: Talk, required: Sequence[str]) -> list[str]:
    """Labels to ask for, each once: of what is required, and of what may be given besides."""
    paging = {"limit", "offset", "cursor", "page", "page size"}
    labels: list[str] = []
    for name, schema in _properties(tool).items():
        if (
            name in arguments
            or in_words(name) in paging
            or (tool.name.startswith(("get", "list")) and name not in required)
        ):
            continue
        label = in_words(name)
        if schema.get("type") == "object":
            labels += [f"{label} {in_words(part)}" for part in schema.get("properties", {})]
        elif _is_id(name):
            labels += [f"{_resource(tool, name)} {label.split()[-1]}"]
            labels += [label] if label != labels[-1] else []
        else:
            labels.append(label)
    return [label for label in labels if f" {label}," not in f"{talk.asked.replace('?', ',')}"][:AT_ONCE]


def _question(labels: Sequence[str]) -> str:
    return "What is the " + ", the ".join(labels) + "?"


def _tell(wanted: str, body: Any) -> str:
    if isinstance(body, Mapping):
        for key, value in body.items():
            if in_words(key) == wanted:
                return f"The {wanted} is {'yes' if value is True else 'no' if value is False else value}."
    return f"I have looked, but there is no {wanted}: {to_json(body)[:80]}"


def _numbered(call: ToolCall, path: str) -> ToolCall:
    return ToolCall("call_" + (path.replace(".", "_") or "0"), call.name, call.arguments)
