"""An API is an OpenAPI document, read: operations with their effects, resources with their keys.

A document is compiled once: references stay references (pointers into the document, resolved when they are
needed), OpenAPI 3.0's dialect of JSON Schema is turned into 2020-12, validators are built once and kept. What a
document does not say (which operation changes which resource, what identifies a record, which transitions there
are) stands in an overlay file beside it.

OpenAPI 3.0.3 and 3.1.0, https://spec.openapis.org; JSON Schema 2020-12.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from simlab.errors import InputError, nearest
from simlab.files import parse_yaml, read_text
from simlab.lazy import lazy
from simlab.schema import pointed
from simlab.tool import Tool

HERE = "urn:simlab:document"
EFFECTS = ("get", "list", "create", "update", "delete", "action")
READS = ("get", "list")
PAGES = ("offset", "cursor", "page")
# Named, so that what else is installed (jsonschema takes up checkers that it finds) does not decide what is valid.
FORMATS = FormatChecker(("date", "email", "ipv4", "ipv6", "uuid"))


@FORMATS.checks("date-time", raises=ValueError)
def _is_a_moment(value: object) -> bool:
    """RFC 3339: a date, a time to the second or finer, and the offset from UTC."""
    if not isinstance(value, str):
        return True
    said = re.fullmatch(
        r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)", value, re.ASCII
    )
    return said is not None and bool(datetime.fromisoformat(said[1]))


@dataclass(frozen=True)
class Parameter:
    """A parameter outside the body, known by (where, name)."""

    name: str
    where: str
    required: bool
    schema: Mapping[str, Any]
    description: str = ""


@dataclass(frozen=True)
class Page:
    """How a list is cut: `style` is offset, cursor or page; the others name parameters and response fields."""

    style: str
    size: str
    at: str
    next: str | None = None


@dataclass(frozen=True)
class Operation:
    """One thing an API can do, and what it does to which resource."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    parameters: tuple[Parameter, ...]
    media: str | None
    body: Mapping[str, Any] | None
    body_required: bool
    samples: tuple[Mapping[str, Any], ...]
    responses: Mapping[str, Mapping[str, Any] | None]
    effect: str
    resource: str
    selector: str | None = None
    items: str | None = None
    filters: Mapping[str, str] = field(default_factory=dict)
    page: Page | None = None
    mode: str = "merge"
    transition: tuple[str, str] | None = None
    sets: Mapping[str, Any] = field(default_factory=dict)

    @property
    def writes(self) -> bool:
        """Whether a successful call may change state."""
        return self.effect not in READS

    @property
    def success(self) -> str:
        """The status of a call that worked."""
        return next((status for status in sorted(self.responses) if status.startswith("2")), "200")


@dataclass(frozen=True)
class Transition:
    """One move of a state machine: allowed from some values of a field, to another."""

    origins: tuple[str, ...]
    to: str
    sets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Resource:
    """A kind of record: its schema, what identifies one, where it hangs, how it may move."""

    name: str
    schema: Mapping[str, Any]
    id: str
    ids: str
    parents: Mapping[str, str] = field(default_factory=dict)  # resource -> property
    references: Mapping[str, str] = field(default_factory=dict)  # property -> resource
    label: tuple[str, ...] = ()
    unique: tuple[str, ...] = ()
    volatile: tuple[str, ...] = ()
    seed: int = 5
    initial: Mapping[str, str] = field(default_factory=dict)
    transitions: Mapping[tuple[str, str], Transition] = field(default_factory=dict)

    @property
    def links(self) -> dict[str, str]:
        """Every property that holds another record's id, with that record's resource."""
        return {**{prop: name for name, prop in self.parents.items()}, **self.references}


class Api:
    """A compiled document; use `load_api`, which keeps it by content."""

    def __init__(self, document: Mapping[str, Any], overlay: Mapping[str, Any], *, name: str, sha256: str) -> None:
        self.name, self.sha256 = name, sha256
        old = str(document.get("openapi", "")).startswith("3.0")
        self.document = _modern(document) if old else _rebased(document)
        self.title = str(self.document.get("info", {}).get("title", name))
        self.description = " ".join(str(self.document.get("info", {}).get("description", "")).split())
        self._registry = Registry().with_resource(HERE, DRAFT202012.create_resource(dict(self.document)))
        # By identity: what is kept beside the result keeps the node alive, so that its identity stays taken.
        self._validators: dict[int, tuple[Draft202012Validator, Any]] = {}
        self._resolved: dict[int, tuple[Any, Any]] = {}
        self._overlay = overlay
        self.resources = {key: self._resource(key, value) for key, value in overlay.get("resources", {}).items()}
        self.operations = {operation.id: operation for operation in self._operations()}
        if unknown := set(overlay.get("operations", {})) - set(self.operations):
            wrong = min(unknown)
            raise InputError(f"{name}: the overlay names the operation {wrong!r}{nearest(wrong, self.operations)}")

    # ── schemas ────────────────────────────────────────────────────────────────────────────────────────────

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
            self._resolved[id(node)] = ({**target, **beside} if beside else target, node)
        return self._resolved[id(node)][0]

    def _at(self, reference: str) -> Any:
        if not reference.startswith(f"{HERE}#/"):
            raise InputError(f"{self.name}: {reference!r} points outside the document")
        try:
            return pointed(self.document, reference.removeprefix(f"{HERE}#"))
        except LookupError:
            raise InputError(f"{self.name}: {reference.removeprefix(HERE)} does not exist") from None

    def properties(self, schema: Any) -> dict[str, Mapping[str, Any]]:
        """The properties of an object schema, those of its allOf parts included."""
        schema = self.resolve(schema)
        found: dict[str, Mapping[str, Any]] = {}
        for part in schema.get("allOf", ()):
            found.update(self.properties(part))
        found.update(schema.get("properties", {}))
        return found

    def required(self, schema: Any) -> list[str]:
        """The required properties of an object schema, those of its allOf parts included."""
        schema = self.resolve(schema)
        inherited = [name for part in schema.get("allOf", ()) for name in self.required(part)]
        return [*inherited, *schema.get("required", ())]

    def expanded(self, schema: Any, depth: int = 6) -> Any:
        """A schema with its references written out, as a model is shown it; deeper ones are cut."""
        schema = self.resolve(schema)
        if isinstance(schema, Mapping):
            if depth == 0:
                return {}
            skipped = ("example", "examples", "readOnly", "writeOnly", "xml", "externalDocs", "discriminator")
            return {k: self._expanded(k, v, depth) for k, v in schema.items() if k not in skipped}
        return schema

    def _expanded(self, key: str, value: Any, depth: int) -> Any:
        if key in ("properties", "patternProperties") and isinstance(value, Mapping):
            return {name: self.expanded(part, depth - 1) for name, part in value.items()}
        if key in ("allOf", "anyOf", "oneOf", "prefixItems") and isinstance(value, list):
            return [self.expanded(part, depth - 1) for part in value]
        if key in ("items", "additionalProperties", "not") and isinstance(value, Mapping):
            return self.expanded(value, depth - 1)
        return value

    def problems(self, value: Any, schema: Mapping[str, Any]) -> list[str]:
        """What is wrong with a value under a schema of this document, one line each as `path: message`."""
        if id(schema) not in self._validators:
            try:
                ready = self._inlined(schema, ())
            except RecursionError:
                ready = schema
            built = Draft202012Validator(ready, registry=self._registry, format_checker=FORMATS)
            self._validators[id(schema)] = (built, schema)
        validator = self._validators[id(schema)][0]
        return [f"{'/'.join(map(str, e.path)) or '(top)'}: {e.message}" for e in validator.iter_errors(value)]

    def _inlined(self, node: Any, trail: tuple[str, ...], *, named: bool = False) -> Any:
        """A schema without references, which validates several times faster; raises RecursionError at a circle."""
        if isinstance(node, list):
            return [self._inlined(part, trail) for part in node]
        if not isinstance(node, Mapping):
            return node
        reference = node.get("$ref")
        if isinstance(reference, str):
            if reference in trail:
                raise RecursionError(reference)
            return self._inlined(self.resolve(node), (*trail, reference))
        return {
            key: self._inlined(part, trail, named=not named and key in _NAMED)
            for key, part in node.items()
            if named or key not in ("examples", "example")
        }

    # ── what an assistant sees ─────────────────────────────────────────────────────────────────────────────

    @lazy
    def tools(self) -> tuple[Tool, ...]:
        """Every operation as a tool."""
        return tuple(self.tool(operation) for operation in self.operations.values())

    def tool(self, operation: Operation) -> Tool:
        """An operation as a tool; arguments are flat: path, query and body properties side by side."""
        properties: dict[str, Any] = {}
        for parameter in operation.parameters:
            shown = self.expanded(parameter.schema)
            properties[parameter.name] = {
                **shown,
                **({"description": parameter.description} if parameter.description else {}),
            }
        for name, part in self.body_properties(operation).items():
            properties[name] = self.expanded(part)
        schema = {
            "type": "object",
            "properties": properties,
            "required": self.required_arguments(operation),
            "additionalProperties": False,
        }
        return Tool(operation.id, f"{operation.summary} {operation.description}".strip(), schema)

    def body_properties(self, operation: Operation) -> dict[str, Mapping[str, Any]]:
        """What a body may hold; what only the server writes is left out."""
        found = self.properties(operation.body) if operation.body is not None else {}
        return {name: part for name, part in found.items() if not self.resolve(part).get("readOnly")}

    def arguments(self, operation: Operation) -> dict[str, Mapping[str, Any]]:
        """Every argument by name with its schema."""
        return {**{p.name: p.schema for p in operation.parameters}, **self.body_properties(operation)}

    def required_arguments(self, operation: Operation) -> list[str]:
        """The arguments that a call must have."""
        inside = self.required(operation.body) if operation.body is not None else []
        return [p.name for p in operation.parameters if p.required] + inside

    def argument_problems(self, operation: Operation, arguments: Mapping[str, Any]) -> list[str]:
        """What is wrong with the arguments of a call; empty when the call is valid."""
        known = self.arguments(operation)
        found = [f"{name}: no such argument{nearest(name, known)}" for name in arguments if name not in known]
        found += [f"{name}: missing" for name in self.required_arguments(operation) if name not in arguments]
        outside = {p.name for p in operation.parameters}
        for parameter in operation.parameters:
            if parameter.name in arguments:
                for problem in self.problems(arguments[parameter.name], parameter.schema):
                    found.append(f"{parameter.name}: {problem.removeprefix('(top): ')}")
        if operation.body is not None and not found:
            body = {name: value for name, value in arguments.items() if name not in outside}
            if body or operation.body_required:
                found += self.problems(body, operation.body)
        return found

    # ── reading ────────────────────────────────────────────────────────────────────────────────────────────

    def _operations(self) -> list[Operation]:
        found = []
        for path, item in self.document.get("paths", {}).items():
            item = self.resolve(item)
            for method in ("get", "post", "put", "patch", "delete"):
                if method in item:
                    found.append(self._operation(path, method, item[method], item.get("parameters", ())))
        return found

    def _operation(self, path: str, method: str, node: Mapping[str, Any], shared: Any) -> Operation:
        identifier = node.get("operationId") or re.sub(r"\W+", "_", f"{method}_{path}").strip("_")
        said = self._overlay.get("operations", {}).get(identifier)
        if said is None:
            raise InputError(f"{self.name}: the overlay says nothing about the operation {identifier!r}")
        for key, known in (("effect", EFFECTS), ("resource", tuple(self.resources))):
            if said.get(key) not in known:
                wrong = str(said.get(key))
                raise InputError(f"{self.name}: the overlay of {identifier}: {key} {wrong!r}{nearest(wrong, known)}")
        parameters = {(p["in"], p["name"]): p for p in map(self.resolve, [*shared, *node.get("parameters", ())])}
        body = self.resolve(node.get("requestBody")) or {}
        _no_clash(self, identifier, parameters, body)
        media = next(iter(body.get("content", {})), None)
        transition = said.get("transition")
        return Operation(
            id=identifier,
            method=method.upper(),
            path=path,
            summary=str(node.get("summary", "")),
            description=str(node.get("description", "")),
            parameters=tuple(
                Parameter(p["name"], p["in"], bool(p.get("required")), p.get("schema", {}), p.get("description", ""))
                for p in parameters.values()
            ),
            media=media,
            body=body["content"][media].get("schema") if media else None,
            samples=self._samples(body["content"][media]) if media else (),
            body_required=bool(body.get("required")),
            responses={str(status): self._response(response) for status, response in node.get("responses", {}).items()},
            effect=said["effect"],
            resource=said["resource"],
            selector=said.get("selector"),
            items=said.get("items"),
            filters=said.get("filters", {}),
            page=_page(said.get("page")),
            mode=said.get("mode", "merge"),
            transition=tuple(transition.split(".", 1)) if transition else None,
            sets=said.get("sets", {}),
        )

    def _samples(self, media: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        """Whole example bodies that the document gives."""
        named = [self.resolve(example).get("value") for example in media.get("examples", {}).values()]
        schema = self.resolve(media.get("schema", {}))
        found = [media.get("example"), *named, *schema.get("examples", ())]
        return tuple(sample for sample in found if isinstance(sample, Mapping))

    def _response(self, node: Any) -> Mapping[str, Any] | None:
        content = self.resolve(node).get("content", {})
        schema: Mapping[str, Any] | None = next((media.get("schema") for media in content.values()), None)
        return schema

    def _resource(self, name: str, said: Mapping[str, Any]) -> Resource:
        machines = said.get("transitions", {})
        moves = {
            (prop, verb): Transition(tuple(move["from"]), move["to"], tuple(move.get("sets", ())))
            for prop, machine in machines.items()
            for verb, move in machine.items()
            if verb != "initial"
        }
        return Resource(
            name=name,
            schema=self.resolve({"$ref": f"{HERE}#/components/schemas/{said['schema']}"}),
            id=said.get("id", "id"),
            ids=said.get("ids", f"{name}_{{n:04d}}"),
            parents=said.get("parent", {}),
            references=said.get("references", {}),
            label=tuple(said.get("label", ())),
            unique=tuple(said.get("unique", ())),
            volatile=tuple(said.get("volatile", ())),
            seed=said.get("seed", 5),
            initial={prop: machine["initial"] for prop, machine in machines.items() if "initial" in machine},
            transitions=moves,
        )


_RESOURCE_KEYS = ("schema", "id", "ids", "parent", "references", "label", "unique", "volatile", "seed", "transitions")
_OPERATION_KEYS = (
    "effect", "resource", "selector", "items", "filters", "page", "mode", "transition", "sets",
)  # fmt: skip


def _check_overlay(name: str, overlay: Any) -> None:
    """Raise InputError naming the first key of an overlay that means nothing, or that is missing."""
    where = f"the overlay of {name}"
    if not isinstance(overlay, Mapping) or set(overlay) - {"resources", "operations"}:
        raise InputError(f"{where}: expected a mapping with `resources` and `operations`")
    for part, keys in (("resources", _RESOURCE_KEYS), ("operations", _OPERATION_KEYS)):
        for entry, said in (overlay.get(part) or {}).items():
            if not isinstance(said, Mapping):
                raise InputError(f"{where}: {part}.{entry}: expected a mapping")
            if wrong := next((key for key in said if key not in keys), None):
                raise InputError(f"{where}: {part}.{entry}: no key {wrong!r}{nearest(wrong, keys)}")
            if part == "resources" and "schema" not in said:
                raise InputError(f"{where}: {part}.{entry}: `schema` is missing")
            if not isinstance(said.get("seed", 1), int):
                raise InputError(f"{where}: {part}.{entry}.seed: expected a whole number, got {said['seed']!r}")
            page = said.get("page") or {"style": "cursor"}
            if page.get("style") not in PAGES:
                wrong = str(page.get("style"))
                raise InputError(f"{where}: {part}.{entry}.page.style: {wrong!r}{nearest(wrong, PAGES)}")


def _no_clash(api: Api, identifier: str, parameters: Mapping[Any, Any], body: Mapping[str, Any]) -> None:
    """Arguments are shown side by side, so two of one name in different places cannot be told apart."""
    inside = [api.properties(media.get("schema", {})) for media in body.get("content", {}).values()][:1]
    names = [name for _, name in parameters] + [name for properties in inside for name in properties]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{api.name}: {identifier}: the argument {twice!r} stands in two places")


def _page(said: Mapping[str, Any] | None) -> Page | None:
    if said is None:
        return None
    style = said["style"]
    names = {"offset": ("limit", "offset"), "cursor": ("limit", "cursor"), "page": ("size", "page")}[style]
    return Page(style, said[names[0]], said[names[1]], said.get("next"))


def _rebased(node: Any) -> Any:
    """A copy in which every local reference names the document, so that a part of it can be used alone."""
    if isinstance(node, Mapping):
        made = {str(key): _rebased(value) for key, value in node.items()}
        if isinstance(made.get("$ref"), str) and made["$ref"].startswith("#/"):
            made["$ref"] = HERE + made["$ref"]
        return made
    return [_rebased(value) for value in node] if isinstance(node, list) else node


def _modern(node: Any) -> Any:
    """The same, with OpenAPI 3.0's schema dialect turned into JSON Schema 2020-12."""
    made = _rebased(node)
    _modernise(made)
    return made


_NAMED = ("properties", "patternProperties")  # whose keys are names that the document chose, and no keywords
_DATA = ("example", "examples", "default", "enum", "const")


def _modernise(node: Any, *, named: bool = False) -> None:
    if isinstance(node, list):
        for value in node:
            _modernise(value)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if named or key not in _DATA:
            _modernise(value, named=not named and key in _NAMED)
    if named:
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


@dataclass(frozen=True)
class ApiSource:
    """A document and its overlay as texts, so that a run file can hold them."""

    name: str
    text: str
    overlay: str

    @property
    def sha256(self) -> str:
        """Of the document and its overlay, one after the other."""
        return sha256((self.text + self.overlay).encode()).hexdigest()

    def compiled(self) -> Api:
        """The API; the same contents are compiled once in a process. Raises InputError."""
        return _compiled(self.name, self.text, self.overlay)


def read_api(path: Path | str, overlay: Path | str | None = None) -> ApiSource:
    """Read a document and its overlay, by default `overlays/NAME` beside it; raises InputError."""
    path = Path(path)
    beside = Path(overlay) if overlay is not None else path.parent / "overlays" / path.name
    text = read_text(path, "API document")
    return ApiSource(path.stem, text, read_text(beside, f"overlay of {path.name}"))


def load_api(path: Path | str, overlay: Path | str | None = None) -> Api:
    """Read and compile a document; raises InputError."""
    return read_api(path, overlay).compiled()


@lru_cache(maxsize=32)
def _compiled(name: str, text: str, overlay: str) -> Api:
    document, corrections = parse_yaml(text, name).value, parse_yaml(overlay, f"overlays/{name}").value
    if not isinstance(document, Mapping) or not isinstance(document.get("paths"), Mapping):
        raise InputError(f"{name}: not an OpenAPI document (it has no paths)")
    if not str(document.get("openapi", "")).startswith(("3.0", "3.1")):
        said = document.get("openapi") or document.get("swagger") or "nothing"
        raise InputError(f"{name}: expected `openapi:` 3.0 or 3.1, got {said}")
    _check_overlay(name, corrections or {})
    return Api(document, corrections or {}, name=name, sha256=sha256((text + overlay).encode()).hexdigest())


def specification_problems(source: ApiSource) -> list[str]:
    """What openapi-spec-validator finds wrong with a document, a line each; advice, as real ones are often invalid."""
    from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator  # slow to import, rarely needed

    document = parse_yaml(source.text, source.name).value
    old = str(document.get("openapi", "")).startswith("3.0")
    found = (OpenAPIV30SpecValidator if old else OpenAPIV31SpecValidator)(document).iter_errors()
    return [f"{'/'.join(map(str, error.path)) or '(top)'}: {error.message}" for error in found]
