"""Value classes: when two values mean the same. Each class has its own normal form, and nothing is normalised globally.

| class | two values are the same when |
|---|---|
| `exact`, `enum`, `boolean`, `id` | they are equal JSON values (25 and 25.0 are one number, `"25"` is a text) |
| `number` | they are equal numbers |
| `casefold` | they are equal but for the case of letters (Unicode NFC) |
| `plain` | they are equal but for case and white space, their parts too |
| `text` | as `plain`; as an argument, also where they resemble each other |
| `date`, `instant` | they are the same day; the same moment, whatever the offset |
| `object`, `list` | their parts are the same; a part that is absent has its schema's default |
| `unordered` | they hold the same values in any order |
| `keyed:FIELD` | they hold the same objects in any order, told apart by a field |
| `any` | always |
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any
from unicodedata import normalize

from rapidfuzz.distance import Levenshtein

from simlab.api import Api
from simlab.lazy import lazy
from simlab.plan import value_class
from simlab.schema import to_json

CLASSES = (
    "exact", "enum", "boolean", "id", "number", "casefold", "plain", "text", "date", "instant", "object", "list",
    "unordered", "any",
)  # fmt: skip
KEYED = "keyed:"
SAID = ("casefold", "text", "any", "unordered", "number", "date", "instant")  # classes that win over the schema's
ALIKE = 0.9  # similarity from which on two texts are the same argument
DEEPEST = 6  # levels of a schema that are looked into
_NOTHING = object()


@dataclass(frozen=True)
class ValueClass:
    """How values are compared; `parts` of an object by name, `each` element of a list, and what absence means."""

    name: str = "exact"
    parts: Mapping[str, "ValueClass"] = field(default_factory=dict)
    each: "ValueClass | None" = None
    default: Any = _NOTHING

    @property
    def defaults(self) -> bool:
        """Whether absence means a value."""
        return self.default is not _NOTHING

    def canonical(self, value: Any) -> Any:
        """The normal form of a value: equal for all values that mean the same."""
        if isinstance(value, bool) or value is None:
            return None if self.name == "any" else value
        if self.name == "any":
            return None
        if isinstance(value, int | float):
            return int(value) if isinstance(value, float) and value.is_integer() else value
        if isinstance(value, str):
            return _TEXTS.get(self.name, _as_it_is)(value)
        if isinstance(value, Mapping):
            return self._object(value)
        if isinstance(value, list | tuple):
            return self._list(value)
        return value

    def same(self, wanted: Any, got: Any) -> bool:
        """Whether two values mean the same."""
        if isinstance(wanted, str) and isinstance(got, str) and wanted == got:
            return True
        return to_json(self.canonical(wanted)) == to_json(self.canonical(got))

    def absent(self, value: Any) -> bool:
        """Whether a value means what its absence means."""
        return self.defaults and self.same(self.default, value)

    @property
    def _inner(self) -> "ValueClass":
        """The class of parts of which nothing is known."""
        return self if self.name in ("plain", "casefold") else EXACT

    def _object(self, value: Mapping[str, Any]) -> dict[str, Any]:
        kinds = {name: self.parts.get(name, self._inner) for name in value}
        return {name: kinds[name].canonical(inner) for name, inner in value.items() if not kinds[name].absent(inner)}

    def _list(self, value: list[Any] | tuple[Any, ...]) -> Any:
        made = [(self.each or self._inner).canonical(one) for one in value]
        if self.name.startswith(KEYED):
            key = self.name.removeprefix(KEYED)
            return sorted(made, key=lambda one: to_json([one.get(key) if isinstance(one, Mapping) else None, one]))
        return sorted(made, key=to_json) if self.name == "unordered" else made


EXACT = ValueClass()


def _as_it_is(text: str) -> str:
    return text


def _folded(text: str) -> str:
    return normalize("NFC", text).casefold()


def _day(text: str) -> str:
    with suppress(ValueError):
        return date.fromisoformat(text).isoformat()
    return text


def _moment(text: str) -> str:
    """A moment in UTC; a time without an offset says no moment and stays as it is."""
    with suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00"))
        if moment.tzinfo is not None:
            return moment.astimezone(UTC).isoformat()
    return text


_TEXTS: Mapping[str, Callable[[str], str]] = {
    "casefold": _folded,
    "plain": lambda text: " ".join(_folded(text).split()),
    "text": lambda text: " ".join(_folded(text).split()),
    "date": _day,
    "instant": _moment,
}


def resembles(wanted: Any, got: Any) -> bool:
    """Whether two texts are much alike; for arguments of the class `text`, never for the state."""
    texts = isinstance(wanted, str) and isinstance(got, str)
    return texts and Levenshtein.normalized_similarity(_folded(wanted), _folded(got)) >= ALIKE


# ── of an API ──────────────────────────────────────────────────────────────────────────────────────────────


class Classes:
    """The value classes of an API's arguments and of its records' fields; use `classes_of`, which keeps them."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._arguments: dict[str, dict[str, ValueClass]] = {}
        self._fields: dict[str, dict[str, ValueClass]] = {}

    @lazy
    def links(self) -> Mapping[str, Mapping[str, str]]:
        """For each resource the fields that hold ids, with the resource of each; its own id is one of them."""
        return {name: {**one.links, one.id: name} for name, one in self._api.resources.items()}

    def arguments(self, operation: str) -> Mapping[str, ValueClass]:
        """The class of each argument of an operation; none of an operation that does not exist."""
        if operation not in self._arguments:
            known = self._api.operations.get(operation)
            schemas = self._api.arguments(known) if known is not None else {}
            self._arguments[operation] = {name: class_of(self._api, schema) for name, schema in schemas.items()}
        return self._arguments[operation]

    def fields(self, resource: str) -> Mapping[str, ValueClass]:
        """The class of each field of a resource."""
        if resource not in self._fields:
            known = self._api.resources.get(resource)
            schemas = self._api.properties(known.schema) if known is not None else {}
            self._fields[resource] = {name: class_of(self._api, schema) for name, schema in schemas.items()}
        return self._fields[resource]


@lru_cache(maxsize=32)
def classes_of(api: Api) -> Classes:
    """The value classes of an API."""
    return Classes(api)


def class_of(api: Api, schema: Any, depth: int = DEEPEST) -> ValueClass:
    """The value class of a schema: `unordered` where its elements are to be unique, else by type and format."""
    merged = api.merged(schema)
    default = merged.get("default", _NOTHING)
    kinds = api.kinds(schema)
    if depth and "array" in kinds:
        name = "unordered" if merged.get("uniqueItems") else "list"
        return ValueClass(name, each=class_of(api, merged.get("items", {}), depth - 1), default=default)
    if depth and (parts := api.properties(schema)):
        return ValueClass("object", {n: class_of(api, one, depth - 1) for n, one in parts.items()}, default=default)
    return ValueClass(value_class(merged), default=default)


def said(known: ValueClass, name: str) -> ValueClass:
    """The class that a label names, which wins over the schema's where it says more."""
    if name in SAID or name.startswith(KEYED):
        return ValueClass(name, known.parts, known.each, known.default)
    return known
