"""A document as a graph of schemas: references stay references, and are followed when they are needed.

OpenAPI 3.0's dialect of JSON Schema is turned into 2020-12 once; validators are built once and kept. What a document
calls a schema may be true, false, or no schema at all: whatever cannot be read as one accepts anything.

OpenAPI 3.0.3 and 3.1.0, https://spec.openapis.org; JSON Schema 2020-12.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from math import inf
from typing import Any

import jsonschema_rs
from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from simlab.circles import MOST_LEVELS, MOST_PARTS, cut_circles, too_many_parts
from simlab.errors import InputError
from simlab.lazy import lazy
from simlab.patterns import fits, harmless, usable
from simlab.schema import pointed

HERE = "urn:simlab:document"
# Named, so that what else is installed (jsonschema takes up checkers that it finds) does not decide what is valid.
FORMATS = FormatChecker(("date", "email", "ipv4", "ipv6", "uuid"))
MOST_INLINED = 4000  # nodes of a schema written out for its validator; larger ones keep their references
MOST_SHOWN = 600  # nodes of a schema that a model is shown
SHALLOWER = (6, 4, 3, 2, 1)  # depths to which a schema is shown, the first that fits
MOST_WALKED = 5000  # properties under a schema that are looked at

_ANYTHING: Mapping[str, Any] = {}
_NAMED = ("properties", "patternProperties", "$defs", "definitions")  # whose keys are the document's own names
_DATA = ("example", "examples", "default", "enum", "const")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_PARTS = ("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else")
_BOUNDS = {  # keywords of which the stricter side counts when parts are merged
    "minimum": max, "exclusiveMinimum": max, "minLength": max, "minItems": max, "minProperties": max,
    "maximum": min, "exclusiveMaximum": min, "maxLength": min, "maxItems": min, "maxProperties": min,
}  # fmt: skip


@FORMATS.checks("date-time", raises=ValueError)
def _is_a_moment(value: object) -> bool:
    """RFC 3339: a date, a time to the second or finer, and the offset from UTC."""
    if not isinstance(value, str):
        return True
    said = re.fullmatch(
        r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)", value, re.ASCII
    )
    return said is not None and bool(datetime.fromisoformat(said[1]))


def _pattern(validator: Any, pattern: str, value: object, schema: Any) -> Iterator[ValidationError]:
    """The keyword, in bounded time whatever the pattern and the text."""
    if isinstance(value, str) and not fits(value, pattern):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


Explaining: type[Draft202012Validator] = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


class Spec:
    """A document in the 3.1 dialect; schemas are nodes of it, known by identity."""

    def __init__(self, document: Mapping[str, Any], *, name: str) -> None:
        self.name = name
        self.document: dict[str, Any] = _rebased(document)
        if str(document.get("openapi", "")).startswith("3.0"):
            _modernise(self.document, old=True)
        else:
            _modernise(self.document, old=False)
        self._registry = Registry().with_resource(HERE, DRAFT202012.create_resource(self.document))
        # By identity: what is kept beside the result keeps the node alive, so that its identity stays taken.
        self._validators: dict[int, tuple[Draft202012Validator, jsonschema_rs.Validator | None, Any]] = {}
        self._resolved: dict[int, tuple[Any, Any]] = {}
        self._merged: dict[int, tuple[dict[str, Any], Any]] = {}
        self._plain: dict[int, tuple[dict[str, Any], Any]] = {}
        self._alternatives: dict[int, tuple[list[tuple[Any, dict[str, Any]]], Any]] = {}
        self._fitting: dict[int, tuple[list[Any], Any]] = {}
        self._least: dict[int, tuple[float, Any]] = {}
        self._lost: dict[str, str] = {}  # by reference; empty where all that it leads to can be used
        self._targets: dict[str, Any] = {}
        self.cut = tuple(cut_circles(self.document, self._target))  # a line for each place
        self._endless = too_many_parts(self.document, self._target)

    # ── references ─────────────────────────────────────────────────────────────────────────────────────────

    def resolve(self, node: Any) -> Any:
        """What a node stands for: the target of its reference with what stands beside it, or the node itself.

        Raises InputError for a reference that leads nowhere, to itself, or out of the document.
        """
        if not isinstance(node, Mapping) or not isinstance(node.get("$ref"), str):
            return node
        if id(node) not in self._resolved:
            target: Any = node
            beside: dict[str, Any] = {}
            seen = 0
            while isinstance(target, Mapping) and isinstance(target.get("$ref"), str):
                beside = {**{k: v for k, v in target.items() if k != "$ref"}, **beside}
                target, seen = self._at(target["$ref"]), seen + 1
                if seen > 32:
                    raise InputError(f"{self.name}: a reference that leads to itself")
            both = {**target, **beside} if beside and isinstance(target, Mapping) else target
            self._resolved[id(node)] = (both, node)
        return self._resolved[id(node)][0]

    def schema(self, node: Any) -> Mapping[str, Any]:
        """The same for a schema: what is no mapping (true, or nothing sensible) accepts anything."""
        found = self.resolve(node)
        if found is False:
            return {"not": {}}
        return found if isinstance(found, Mapping) else {}

    def _at(self, reference: str) -> Any:
        if not reference.startswith(f"{HERE}#/"):
            raise InputError(f"{self.name}: {reference!r} is in no file that was read")
        try:
            return pointed(self.document, reference.removeprefix(f"{HERE}#"))
        except (LookupError, ValueError):
            raise InputError(f"{self.name}: {reference.removeprefix(HERE)} does not exist") from None

    def _target(self, reference: str) -> Any:
        """What a reference leads to; None where it leads nowhere."""
        if reference not in self._targets:
            try:
                self._targets[reference] = self._at(reference)
            except InputError:
                self._targets[reference] = None
        return self._targets[reference]

    def lost(self, node: Any) -> str:
        """Why a node cannot be used: something within it, or within what it refers to, leads nowhere or never ends."""
        try:
            within = self._within(node)
        except InputError as error:
            return str(error).removeprefix(f"{self.name}: ")
        self._judge(within)
        return next((self._lost[reference] for reference in within if self._lost[reference]), "")

    def _judge(self, asked: Sequence[str]) -> None:
        """Find out whether references can be used, each once: what is wrong with one is wrong with all that need it."""
        todo, needed_by, wrong = [one for one in asked if one not in self._lost], dict[str, list[str]](), list[str]()
        while todo:
            reference = todo.pop()
            if reference in self._lost:
                continue
            self._lost[reference], within = "", list[str]()
            try:
                self.resolve({"$ref": reference})
                within = self._within(self._at(reference))
            except InputError as error:
                self._lost[reference] = str(error).removeprefix(f"{self.name}: ")
                wrong.append(reference)
            for other in within:
                needed_by.setdefault(other, []).append(reference)
                if self._lost.get(other):
                    wrong.append(other)
            todo += within
        while wrong:
            reference = wrong.pop()
            for other in needed_by.get(reference, ()):
                if not self._lost[other]:
                    self._lost[other] = self._lost[reference]
                    wrong.append(other)

    def _within(self, node: Any) -> list[str]:
        """The references within a node, not followed; raises InputError for a schema in it that never ends."""
        todo, within = [(node, False)], dict[str, None]()
        while todo:
            part, named = todo.pop()
            if isinstance(part, list):
                todo += [(one, False) for one in reversed(part)]
            elif isinstance(part, dict):
                if id(part) in self._endless:
                    self.resolve(part)
                    raise InputError(f"a schema of more than {MOST_PARTS:,} parts or {MOST_LEVELS} levels, written out")
                if isinstance(part.get("$ref"), str):
                    within[part["$ref"]] = None
                todo += [
                    (value, not named and key in _NAMED)
                    for key, value in reversed(part.items())
                    if named or key not in _DATA
                ]
        return list(within)

    # ── what a schema says ─────────────────────────────────────────────────────────────────────────────────

    def merged(self, node: Any) -> dict[str, Any]:
        """A schema with its references followed and its allOf parts put together; anyOf and oneOf stay."""
        if id(node) not in self._merged:
            self._merged[id(node)] = (self._merge(node, ()), node)
        return self._merged[id(node)][0]

    def _merge(self, node: Any, trail: tuple[int, ...]) -> dict[str, Any]:
        schema = self.schema(node)
        if id(schema) in trail:  # a part of itself adds nothing
            return {}
        made: dict[str, Any] = {}
        for part in schema.get("allOf", ()):
            _add(made, self._merge(part, (*trail, id(schema))))
        _add(made, {key: value for key, value in schema.items() if key != "allOf"})
        return made

    def branches(self, node: Any) -> list[Any]:
        """The alternatives of a schema (oneOf, else anyOf), references not followed; empty where it has none."""
        schema = self.merged(node)
        found = schema.get("oneOf") or schema.get("anyOf") or []
        return list(found) if isinstance(found, list) else []

    def without_examples(self, node: Any) -> dict[str, Any]:
        """A merged schema without the document's own examples, for values that none of them may be."""
        if id(node) not in self._plain:
            skipped = ("example", "examples", "default")
            plain = {key: value for key, value in self.merged(node).items() if key not in skipped}
            self._plain[id(node)] = (plain, node)
        return self._plain[id(node)][0]

    def alternatives(self, node: Any) -> list[tuple[Any, dict[str, Any]]]:
        """The branches of a schema, each with all that holds when it is chosen: itself and what stands beside it."""
        if id(node) not in self._alternatives:
            rest = {key: value for key, value in self.merged(node).items() if key not in ("oneOf", "anyOf")}
            found = [(branch, self._merge({"allOf": [rest, branch]}, ())) for branch in self.branches(node)]
            self._alternatives[id(node)] = (found, node)
        return self._alternatives[id(node)][0]

    def properties(self, node: Any) -> dict[str, Any]:
        """The properties of an object schema, those of its allOf parts included.

        Of alternatives the first that is an object counts, where the schema has no properties of its own.
        """
        found = self.merged(node).get("properties")
        if isinstance(found, Mapping) and found:
            return dict(found)
        branch = self._object_branch(node, 4)
        return self.properties(branch) if branch is not None else {}

    def required(self, node: Any) -> list[str]:
        """The required properties of an object schema, those of its allOf parts included."""
        schema = self.merged(node)
        if not schema.get("properties") and (branch := self._object_branch(node, 4)) is not None:
            return self.required(branch)
        said = schema.get("required", [])
        return [name for name in said if isinstance(name, str)] if isinstance(said, list) else []

    def _object_branch(self, node: Any, depth: int) -> Any:
        if not depth:
            return None
        for branch in self.branches(node):
            schema = self.merged(branch)
            if schema.get("properties") or self._object_branch(branch, depth - 1) is not None:
                return branch
        return None

    def kinds(self, node: Any) -> list[str]:
        """The types a schema allows, as it says or as its keywords imply; empty where it does not tell."""
        schema = self.merged(node)
        said = schema.get("type")
        if isinstance(said, str):
            return [said]
        if isinstance(said, list):
            return [kind for kind in said if isinstance(kind, str)]
        if "properties" in schema or "additionalProperties" in schema:
            return ["object"]
        return ["array"] if "items" in schema else []

    def walk(self, node: Any, depth: int = 3, at: str = "") -> Iterator[tuple[str, Any]]:
        """Every object property under a schema, nearest first, as (JSON pointer, schema); arrays are not entered."""
        level, left = [(at, node)], MOST_WALKED
        for _ in range(depth):
            found: list[tuple[str, Any]] = []
            for place, parent in level:
                if left <= len(found):
                    break
                for name, part in islice(self.properties(parent).items(), left - len(found)):
                    found.append((f"{place}/{_escaped(name)}", part))
            yield from found
            left -= len(found)
            level = [(place, part) for place, part in found if "array" not in self.kinds(part)]

    def least(self, node: Any) -> float:
        """How many parts the smallest value of a schema has, infinitely many where it must hold its own kind.

        No more than an estimate, and never too high: of what is required, and of nothing else.
        """
        if id(node) not in self._least:
            needs = self._needs(node)
            sizes: dict[int, float] = dict.fromkeys(needs, inf)
            changed = True
            while changed:
                changed = False
                for key, (_, choices) in reversed(needs.items()):
                    size = min(1 + sum(times * sizes.get(part, 1) for part, times in choice) for choice in choices)
                    if size < sizes[key]:
                        sizes[key], changed = size, True
            self._least |= {key: (sizes[key], held) for key, (held, _) in needs.items()}
        return self._least[id(node)][0]

    def _needs(self, node: Any) -> dict[int, tuple[Any, list[list[tuple[int, int]]]]]:
        """What a value of a schema must hold, and that in turn: by identity, (schema, (identity, times) by choice)."""
        found: dict[int, tuple[Any, list[list[tuple[int, int]]]]] = {}
        todo = [node]
        while todo and len(found) < MOST_WALKED:
            part = todo.pop()
            if id(part) in found:
                continue
            choices = self._must_hold(part)
            found[id(part)] = (part, [[(id(held), times) for held, times in choice] for choice in choices])
            todo += [held for choice in choices for held, _ in choice]
        return found

    def _must_hold(self, node: Any) -> list[list[tuple[Any, int]]]:
        schema = self.merged(node)
        if not {"enum", "const", "example", "examples"}.isdisjoint(schema):
            return [[]]
        if alternatives := self.alternatives(node):
            return [[(whole, 1)] for _, whole in alternatives]
        kinds = self.kinds(node)
        if kinds == ["array"]:
            said, heads, rest = schema.get("minItems"), schema.get("prefixItems", []), schema.get("items", _ANYTHING)
            least = said if isinstance(said, int) else 0
            more = [(rest, least - len(heads))] if least > len(heads) else []
            return [[(head, 1) for head in heads[:least]] + more]
        if kinds == ["object"]:
            parts = self.properties(node)
            return [[(parts[name], 1) for name in self.required(node) if name in parts]]
        return [[]]

    # ── validity ───────────────────────────────────────────────────────────────────────────────────────────

    def problems(self, value: Any, schema: Any) -> list[str]:
        """What is wrong with a value under a schema of this document, one line each as `path: message`."""
        slow, quick = self._validator(schema)
        if quick is not None and quick.is_valid(value):
            return []
        try:
            return [f"{'/'.join(map(str, e.path)) or '(top)'}: {e.message}" for e in slow.iter_errors(value)]
        except RecursionError:
            return ["(top): nested too deeply to be checked"]

    def valid(self, value: Any, schema: Any) -> bool:
        """Whether a schema of this document accepts a value."""
        slow, quick = self._validator(schema)
        if quick is not None and quick.is_valid(value):
            return True
        try:
            return bool(slow.is_valid(value))
        except RecursionError:  # nested too deeply to be checked
            return False

    def fitting(self, schema: Any, values: Sequence[Any]) -> list[Any]:
        """Those of a schema's own examples that it accepts; null is none."""
        if id(schema) not in self._fitting:
            found = [value for value in values if value is not None and self.valid(value, schema)]
            self._fitting[id(schema)] = (found, schema)
        return self._fitting[id(schema)][0]

    def _validator(self, schema: Any) -> tuple[Draft202012Validator, jsonschema_rs.Validator | None]:
        """A validator that explains, and one that is a hundred times faster; the first decides where that says no."""
        if id(schema) not in self._validators:
            try:
                ready = self._inlined(schema, (), [MOST_INLINED])
                quick = _quick(ready)
            except RecursionError:
                ready = schema
                quick = _quick(ready, self._quick_registry)
            slow = Explaining(ready, registry=self._registry, format_checker=FORMATS)
            self._validators[id(schema)] = (slow, quick, schema)
        return self._validators[id(schema)][:2]

    @lazy
    def _quick_registry(self) -> jsonschema_rs.Registry | None:
        """The document, for fast validators of schemas that keep their references."""
        try:
            return jsonschema_rs.Registry([(HERE, self.document)])
        except (ValueError, TypeError):
            return None

    def _inlined(self, node: Any, trail: tuple[str, ...], left: list[int], *, named: bool = False) -> Any:
        """A schema without references, which validates several times faster; raises RecursionError at a circle.

        So it does when fewer than no nodes are `left`: written out, some schemas would fill the memory.
        """
        left[0] -= 1
        if left[0] < 0:
            raise RecursionError
        if isinstance(node, list):
            return [self._inlined(part, trail, left) for part in node]
        if not isinstance(node, Mapping):
            return node
        reference = node.get("$ref")
        if isinstance(reference, str):
            if reference in trail:
                raise RecursionError(reference)
            return self._inlined(self.resolve(node), (*trail, reference), left)
        return {
            key: part
            if not named and key in ("enum", "const", "default")
            else self._inlined(part, trail, left, named=not named and key in _NAMED)
            for key, part in node.items()
            if named or key not in ("examples", "example")
        }

    # ── what a model is shown ──────────────────────────────────────────────────────────────────────────────

    def expanded(self, schema: Any) -> Any:
        """A schema with its references written out, as a model is shown it; deep parts of large ones are cut."""
        for depth in SHALLOWER:
            left = [MOST_SHOWN]
            made = self._expand(schema, depth, left)
            if left[0] >= 0:
                return made
        return made

    def _expand(self, schema: Any, depth: int, left: list[int]) -> Any:
        schema = self.resolve(schema)
        if isinstance(schema, Mapping):
            left[0] -= 1
            if depth == 0 or left[0] < 0:
                return {}
            skipped = ("example", "examples", "readOnly", "writeOnly", "xml", "externalDocs", "discriminator")
            return {
                k: self._expanded(k, v, depth, left)
                for k, v in schema.items()
                if k not in skipped and not k.startswith("x-")
            }
        return schema

    def _expanded(self, key: str, value: Any, depth: int, left: list[int]) -> Any:
        if key in _NAMED and isinstance(value, Mapping):
            return {name: self._expand(part, depth - 1, left) for name, part in value.items()}
        if key in _LISTS and isinstance(value, list):
            return [self._expand(part, depth - 1, left) for part in value]
        if key in _PARTS and isinstance(value, Mapping):
            return self._expand(value, depth - 1, left)
        return value


def _add(made: dict[str, Any], part: Mapping[str, Any]) -> None:
    """Put what one more part says beside what is there; both hold, as in allOf."""
    for key, value in part.items():
        held = made.get(key)
        if held is None or held == value:
            made[key] = value
        elif key == "properties" and isinstance(held, Mapping) and isinstance(value, Mapping):
            both = {n: {"allOf": [held[n], v]} if n in held and held[n] != v else v for n, v in value.items()}
            made[key] = {**held, **both}
        elif key == "required" and isinstance(held, list) and isinstance(value, list):
            made[key] = [*held, *(name for name in value if name not in held)]
        elif key in ("type", "enum"):
            one, other = ([v] if isinstance(v, str) else list(v) for v in (held, value))
            both_have = [v for v in one if v in other or (v == "integer" and "number" in other)]
            made[key] = both_have or value
        elif key in _BOUNDS and isinstance(held, int | float) and isinstance(value, int | float):
            made[key] = _BOUNDS[key](held, value)
        else:
            made[key] = value


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _rebased(node: Any) -> Any:
    """A copy in which every local reference names the document, so that a part of it can be used alone."""
    if isinstance(node, Mapping):
        made = {str(key): _rebased(value) for key, value in node.items()}
        if isinstance(made.get("$ref"), str) and made["$ref"].startswith("#/"):
            made["$ref"] = HERE + made["$ref"]
        return made
    return [_rebased(value) for value in node] if isinstance(node, list) else node


def _modernise(node: Any, *, old: bool, named: bool = False) -> None:
    """Turn a document's schemas into JSON Schema 2020-12, in place; `old` is OpenAPI 3.0's dialect.

    What no validator here can use is left out: a pattern that Python cannot compile, a `required` that is no list
    (older documents mark properties with true).
    """
    if isinstance(node, list):
        for value in node:
            _modernise(value, old=old)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if named or key not in _DATA:
            _modernise(value, old=old, named=not named and key in _NAMED)
    if named:
        return
    _mend(node)
    if not old:
        return
    if node.pop("nullable", None) is True and isinstance(node.get("type"), str):
        node["type"] = [node["type"], "null"]
        if isinstance(node.get("enum"), list) and None not in node["enum"]:
            node["enum"] = [*node["enum"], None]
    for bound, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(node.get(bound), bool) and node.pop(bound) and plain in node:
            node[bound] = node.pop(plain)
    if "example" in node and ("type" in node or "enum" in node) and "examples" not in node:
        node["examples"] = [node.pop("example")]


def _quick(schema: Any, registry: jsonschema_rs.Registry | None = None) -> jsonschema_rs.Validator | None:
    """The fast validator of a schema, where it takes the schema; what it finds valid is valid."""
    if not isinstance(schema, Mapping):
        return None
    try:
        return jsonschema_rs.Draft202012Validator(
            dict(schema), registry=registry, validate_formats=True, formats={"date-time": _said_moment}
        )
    except (ValueError, TypeError):
        return None


def _said_moment(value: str) -> bool:
    try:
        return _is_a_moment(value)
    except ValueError:
        return False


_TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")
_SECURITY = ("in", "flows", "scheme", "openIdConnectUrl")


def _mend(node: dict[str, Any]) -> None:
    """Leave out of a schema what no validator can use; real documents hold all of it."""
    if "pattern" in node and not (isinstance(node["pattern"], str) and usable(node["pattern"])):
        del node["pattern"]
    if isinstance(named := node.get("patternProperties"), dict) and not all(map(harmless, named)):
        del node["patternProperties"]
        node.pop("additionalProperties", None)  # which is about the names that no pattern fits
    if isinstance(node.get("required"), bool) and not any(key in node for key in ("in", "content", "schema")):
        del node["required"]  # version 3 of JSON Schema marked a property so
    for key in _BOUNDS:
        if isinstance(node.get(key), str):
            del node[key]
    if "items" in node and isinstance(node["items"], list):
        node["prefixItems"] = node.pop("items")
    if isinstance(node.get("type"), str | list) and not any(key in node for key in _SECURITY):
        said = [node["type"]] if isinstance(node["type"], str) else node["type"]
        if wrong := [kind for kind in said if kind not in _TYPES]:
            kept = [kind for kind in said if kind not in wrong]
            node.pop("type") if not kept else node.update(type=kept)
