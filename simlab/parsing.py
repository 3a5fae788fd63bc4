"""JSON and YAML from outside, as plain data: quickly, without recursion, within limits a hostile text meets early.

YAML is read as events (of libyaml where it is there) and has the scalars of `simlab.files`: those of JSON, so that
dates, `yes` and `0123` stay strings, and so does every key. An alias is the very object that its anchor named; what
it would be written out is counted. YAML 1.2, https://yaml.org/spec/1.2.2; JSON, RFC 8259.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, NamedTuple

import yaml

from simlab.errors import InputError
from simlab.schema import NotJson, read_json

MAX_DEPTH = 200
MAX_VALUES = 1_000_000
MAX_WARNINGS = 1000
MAX_ANCHORS = 100_000
MAX_DIRECTIVES = 100  # libyaml compares each `%TAG` with all before it
LONG = 100  # a text counts as another value for each so many characters, as aliases can repeat it too


class PythonParser(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
    """The events of a YAML text by PyYAML alone, put together as its loaders are."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)


Parser: Callable[[str], Any] = PythonParser
with suppress(ImportError):  # PyYAML can be built without libyaml: the same events, twenty times slower
    from yaml.cyaml import CParser  # type: ignore[attr-defined]

    Parser = CParser


class Budget:
    """How many values may still be read; one for all the files of a document."""

    def __init__(self, values: int = MAX_VALUES) -> None:
        self.left = values


def parse(text: str, name: str, budget: Budget | None = None, warnings: list[str] | None = None) -> Any:
    """The value of a JSON text (its first character is `{`) or of a YAML text; None for an empty one.

    A key that stands twice is no error, as published documents have such keys: the last one counts, as it does to
    most readers, and a line is added to `warnings`. Raises InputError, as `name:line: reason` where there is a line,
    for a text that is neither, is nested deeper than MAX_DEPTH or holds more values than the budget.
    """
    read = _json if re.match(r"\s*\{", text) else _yaml
    return read(text, name, budget or Budget(), [] if warnings is None else warnings)


def _warn(warnings: list[str], line: str) -> None:
    if len(warnings) < MAX_WARNINGS:
        warnings.append(line)


def _too_many(where: str) -> InputError:
    return InputError(f"{where}: more than {MAX_VALUES:,} values, aliases written out")


def _too_deep(where: str) -> InputError:
    return InputError(f"{where}: nested more than {MAX_DEPTH} deep")


# ── JSON ───────────────────────────────────────────────────────────────────────────────────────────────────


_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)  # one without an end goes to the end, which keeps this linear


def _json(text: str, name: str, budget: Budget, warnings: list[str]) -> Any:
    budget.left -= _most_values(text, budget.left)
    if budget.left < 0:
        raise _too_many(name)
    try:
        value = read_json(text, repeated=lambda key: _warn(warnings, f"{name}: the key {key!r} stands twice"))
    except NotJson as error:
        raise InputError(f"{name}: not JSON: {error}") from None
    _check_depth(value, name)
    return value


def _most_values(text: str, enough: int) -> int:
    """No fewer than the values of a JSON text; strings are looked into only when that makes a difference."""
    most = _separators(text)
    return most if most <= enough else _separators(_STRING.sub("", text))


def _separators(text: str) -> int:
    return sum(map(text.count, "[{,"))


def _check_depth(value: Any, name: str) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise _too_deep(name)
        parts = (node.values() if isinstance(node, dict) else node for node in level)
        level = [child for part in parts for child in part if isinstance(child, (dict, list))]


# ── YAML ───────────────────────────────────────────────────────────────────────────────────────────────────


_PLAIN = re.compile(
    r"(?P<bool>true|false)|(?P<null>null|~|)|(?P<int>-?(?:0|[1-9][0-9]*))"
    r"|(?P<float>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)"
)


def _float(digits: str) -> float:
    value = float(digits)
    if not isfinite(value):
        raise ValueError(digits)
    return value


_SCALARS: dict[str, Callable[[str], Any]] = {
    "bool": {"true": True, "false": False}.__getitem__,
    "null": lambda _: None,
    "int": int,
    "float": _float,
}


def _yaml(text: str, name: str, budget: Budget, warnings: list[str]) -> Any:
    if len(re.findall("^%", text, re.MULTILINE)) > MAX_DIRECTIVES:
        raise InputError(f"{name}: more than {MAX_DIRECTIVES} lines begin with %")
    tree = _Tree(name, budget, warnings)
    try:
        for event in iter(Parser(text).get_event, None):
            tree.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(f"{name}:{mark.line + 1 if mark else 1}: not YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1  # libyaml counts bytes
        raise InputError(f"{name}:{line}: not YAML: {error.reason}") from None
    return tree.root


class _Anchored(NamedTuple):
    """What an anchor names, how many values it is written out, and how deep it goes."""

    value: Any
    size: int
    height: int


@dataclass(slots=True)
class _Open:
    """A mapping or list that has begun and not ended."""

    value: Any
    anchor: str | None
    left: int  # of the budget, when it began
    height: int = 1
    key: str | None = None  # the one whose value comes next
    merges: bool = False  # whether that value is of a merge key
    merged: dict[str, Any] = field(default_factory=dict)


class _Tree:
    """Puts the value of a YAML document together from its events."""

    def __init__(self, name: str, budget: Budget, warnings: list[str]) -> None:
        self.root: Any = None
        self._name, self._budget, self._warnings = name, budget, warnings
        self._open: list[_Open] = []
        self._anchors: dict[str, _Anchored] = {}
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        """Take the next event; raises InputError."""
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end(event)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise self._wrong(event, "a second YAML document begins; expected one")

    def _where(self, event: yaml.Event) -> str:
        return f"{self._name}:{event.start_mark.line + 1 if event.start_mark else 1}"

    def _wrong(self, event: yaml.Event, reason: str) -> InputError:
        return InputError(f"{self._where(event)}: {reason}")

    def _spend(self, values: int, event: yaml.Event) -> None:
        self._budget.left -= values
        if self._budget.left < 0:
            raise _too_many(self._where(event))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        self._spend(1 + len(event.value) // LONG, event)
        top = self._open[-1] if self._open else None
        is_key = top is not None and isinstance(top.value, dict) and top.key is None
        value = event.value if is_key else self._value(event)
        if event.anchor is not None:
            self._keep(event.anchor, _Anchored(value, 1 + len(event.value) // LONG, 0), event)
        if top is not None and is_key:
            top.merges = event.value == "<<" and event.implicit[0]
        self._place(value, 0, event)

    def _value(self, event: yaml.ScalarEvent) -> Any:
        if event.tag not in (None, "!"):
            kind = event.tag.rsplit(":", 1)[-1]
        elif event.implicit[0] and (plain := _PLAIN.fullmatch(event.value)):
            kind = str(plain.lastgroup)
        else:
            return event.value
        try:
            return _SCALARS.get(kind, str)(event.value)
        except (ValueError, KeyError):  # an explicit tag, such as `!!int x`, or a number beyond all bounds
            raise self._wrong(event, f"{event.value[:40]!r} is not of the kind {kind}") from None

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        self._spend(1, event)
        if len(self._open) >= MAX_DEPTH:
            raise _too_deep(self._where(event))
        if event.anchor is not None:
            self._anchors.pop(event.anchor, None)
        value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._open.append(_Open(value, event.anchor, self._budget.left + 1))

    def _end(self, event: yaml.CollectionEndEvent) -> None:
        ended = self._open.pop()
        value = {**ended.merged, **ended.value} if ended.merged else ended.value
        if ended.anchor is not None:
            self._keep(ended.anchor, _Anchored(value, ended.left - self._budget.left, ended.height), event)
        self._place(value, ended.height, event)

    def _keep(self, anchor: str, anchored: _Anchored, event: yaml.Event) -> None:
        self._anchors[anchor] = anchored
        if len(self._anchors) > MAX_ANCHORS:
            raise self._wrong(event, f"more than {MAX_ANCHORS:,} anchors")

    def _alias(self, event: yaml.AliasEvent) -> None:
        if event.anchor not in self._anchors:
            raise self._wrong(event, f"the alias *{str(event.anchor)[:40]} names nothing that ended before it")
        value, size, height = self._anchors[event.anchor]
        self._spend(size, event)
        if len(self._open) + height > MAX_DEPTH:
            raise _too_deep(self._where(event))
        self._place(value, height, event)

    def _place(self, value: Any, height: int, event: yaml.Event) -> None:
        """Put a finished value where it belongs: at the root, in the list, or as the key or value of the mapping."""
        if not self._open:
            self.root = value
            return
        top = self._open[-1]
        top.height = max(top.height, height + 1)
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.key is None:
            if not isinstance(value, str):
                raise self._wrong(event, "a key is a word, not a list or mapping")
            top.key = value
        else:
            if top.merges:
                self._merge(top, value, event)
            else:
                if top.key in top.value:
                    _warn(self._warnings, f"{self._where(event)}: the key {top.key!r} stands twice")
                top.value[top.key] = value
            top.key, top.merges = None, False

    def _merge(self, top: _Open, value: Any, event: yaml.Event) -> None:
        """Of several mappings that are merged the first counts; https://yaml.org/type/merge.html."""
        for part in value if isinstance(value, list) else [value]:
            if not isinstance(part, dict):
                raise self._wrong(event, "the value of a merge key `<<` is a mapping or a list of mappings")
            for key, inherited in part.items():
                top.merged.setdefault(key, inherited)
