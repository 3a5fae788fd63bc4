"""Swagger 2.0 as OpenAPI 3.0.3, so that all that comes after reads one dialect.

OpenAPI 2.0, https://spec.openapis.org/oas/v2.0; OpenAPI 3.0.3, https://spec.openapis.org/oas/v3.0.3; JSON Pointer,
RFC 6901. Of JSON Schema beyond 2.0's dialect, lists of types and of items are turned into 3.0.3 too, as they are
common in documents that were never validated.
"""

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from simlab.references import fragment
from simlab.schema import pointed

METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
JSON = "application/json"
BYTES = "application/octet-stream"
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

_TOP = frozenset(
    """
    swagger info host basePath schemes consumes produces paths definitions parameters responses securityDefinitions
    security tags externalDocs
    """.split()
)
_OPERATION = frozenset("tags summary description externalDocs operationId deprecated security".split())
_OF_SCHEMA = frozenset(
    """
    type format items default maximum exclusiveMaximum minimum exclusiveMinimum maxLength minLength pattern maxItems
    minItems uniqueItems enum multipleOf x-nullable
    """.split()
)
_STYLES = {"csv": ("form", False), "multi": ("form", True), "ssv": ("spaceDelimited", False),
           "pipes": ("pipeDelimited", False)}  # fmt: skip
_FLOWS = {"implicit": "implicit", "password": "password", "application": "clientCredentials",
          "accessCode": "authorizationCode"}  # fmt: skip
_HOMES = {"definitions": "schemas", "parameters": "parameters", "responses": "responses"}
_HOPS = 32


class Upgraded(NamedTuple):
    """An OpenAPI 3.0.3 document, and a line for each thing that has no counterpart there and was left out."""

    document: dict[str, Any]
    warnings: tuple[str, ...]


def upgraded(document: Mapping[str, Any]) -> Upgraded:
    """A Swagger 2.0 document as OpenAPI 3.0.3; the document is not changed, and may share parts with the result.

    Body and form parameters are written into the operations that use them. A schema that is referred to outside
    `definitions` becomes a component of its own. References that lead nowhere stay as they are. Never raises for what
    a document holds: what is not of the expected type is left out and named.
    """
    return _Upgrade(document).result()


class _Upgrade:
    def __init__(self, source: Mapping[str, Any]) -> None:
        self._source = source
        self._warnings: dict[str, None] = {}  # each line once, in order
        self._names = {part: _Names() for part in _HOMES}
        for part, names in self._names.items():
            for name in _mapping(source.get(part)):
                names.of(name)
        self._schemas: dict[int, Any] = {}  # by identity of the original, so that what is shared stays shared
        self._adopted: dict[str, str] = {}  # a reference outside `definitions` -> the component it leads to now
        self._waiting: deque[str] = deque()  # those whose component is not made yet

    def result(self) -> Upgraded:
        source = self._source
        for key in source:
            if key not in _TOP and not str(key).startswith("x-"):
                self._warn(f"{key}: no part of Swagger 2.0")
        made: dict[str, Any] = {"openapi": "3.0.3", "info": source.get("info", {})}
        made |= {key: source[key] for key in ("tags", "externalDocs", "security") if key in source}
        made |= {key: value for key, value in _extensions(source).items() if key != "x-simlab-files"}
        made["servers"] = self._servers(source.get("schemes"))
        made["paths"] = self._paths()
        if components := self._components():
            made["components"] = components
        return Upgraded(made, tuple(self._warnings))

    def _warn(self, line: str) -> None:
        self._warnings[line] = None

    def _mapping(self, value: Any, where: str) -> Mapping[str, Any]:
        if value is not None and not isinstance(value, Mapping):
            self._warn(f"{where}: expected a mapping")
        return _mapping(value)

    # ── references ─────────────────────────────────────────────────────────────────────────────────────────

    def _at(self, reference: str) -> Any:
        """What a reference leads to, or None."""
        try:
            return pointed(self._source, unquote(reference[1:])) if reference.startswith("#/") else None
        except (LookupError, ValueError):
            return None

    def _resolved(self, node: Any) -> Mapping[str, Any] | None:
        """The mapping that a node is or leads to, or None."""
        for _ in range(_HOPS):
            if not isinstance(node, Mapping):
                return None
            if not isinstance(node.get("$ref"), str):
                return node
            node = self._at(node["$ref"])
        return None

    def _renamed(self, reference: str) -> str | None:
        """A reference to a definition, parameter or response where that stands now; None for any other."""
        parts = unquote(reference).split("/", 3)
        if len(parts) < 3 or parts[0] != "#" or parts[1] not in _HOMES:
            return None
        name = parts[2].replace("~1", "/").replace("~0", "~")
        return fragment("/".join(["/components", _HOMES[parts[1]], self._names[parts[1]].of(name), *parts[3:]]))

    def _schema_reference(self, reference: str) -> str:
        if reference.startswith("#/definitions/"):
            return self._renamed(reference) or reference
        if reference not in self._adopted:
            if self._at(reference) is None:
                self._warn(f"{reference}: leads nowhere in the document")
                return reference
            last = unquote(reference).rpartition("/")[2].replace("~1", "/").replace("~0", "~")
            self._adopted[reference] = self._names["definitions"].new(last)
            self._waiting.append(reference)
        return f"#/components/schemas/{self._adopted[reference]}"

    # ── the parts of a document ────────────────────────────────────────────────────────────────────────────

    def _servers(self, schemes: Any) -> list[dict[str, str]]:
        base = str(self._source.get("basePath") or "")
        if not self._source.get("host"):
            return [{"url": base or "/"}]
        address = f"{self._source['host']}{base.rstrip('/')}"
        return [{"url": f"{scheme}://{address}"} for scheme in _strings(schemes) or ["https"]]

    def _components(self) -> dict[str, Any]:
        produces = self._media("produces", {})
        found = {
            "schemas": {name: self._schema(node, where) for name, node, where in self._named("definitions")},
            "parameters": {
                name: self._parameter(node, where)
                for name, node, where in self._named("parameters")
                if (self._resolved(node) or {}).get("in") not in (None, "body", "formData")
            },
            "responses": {
                name: self._response(node, produces, where) for name, node, where in self._named("responses")
            },
            "securitySchemes": self._security_schemes(),
        }
        found["schemas"] |= self._adopted_schemas()
        return {key: value for key, value in found.items() if value}

    def _named(self, part: str) -> Iterator[tuple[str, Any, str]]:
        """The new name, the node and the place of each definition, parameter or response."""
        for name, node in self._mapping(self._source.get(part), part).items():
            yield self._names[part].of(name), node, f"{part}/{name}"

    def _adopted_schemas(self) -> dict[str, Any]:
        """The schemas that are referred to outside `definitions`; each may refer to more."""
        made: dict[str, Any] = {}
        while self._waiting:
            reference = self._waiting.popleft()
            made[self._adopted[reference]] = self._schema(self._at(reference), reference)
        return made

    def _security_schemes(self) -> dict[str, Any]:
        found = {}
        for name, said in self._mapping(self._source.get("securityDefinitions"), "securityDefinitions").items():
            scheme = self._security_scheme(_mapping(said))
            if scheme is None:
                self._warn(f"securityDefinitions/{name}: neither basic nor apiKey nor an oauth2 flow")
            else:
                found[name] = scheme
        return found

    def _security_scheme(self, said: Mapping[str, Any]) -> dict[str, Any] | None:
        kept = {**{key: said[key] for key in ("description",) if key in said}, **_extensions(said)}
        if said.get("type") == "basic":
            return {"type": "http", "scheme": "basic", **kept}
        if said.get("type") == "apiKey":
            return {"type": "apiKey", **{key: said[key] for key in ("name", "in") if key in said}, **kept}
        if said.get("type") == "oauth2" and said.get("flow") in _FLOWS:
            flow = {key: said[key] for key in ("authorizationUrl", "tokenUrl") if key in said}
            flow["scopes"] = _mapping(said.get("scopes"))
            return {"type": "oauth2", "flows": {_FLOWS[said["flow"]]: flow}, **kept}
        return None

    # ── operations ─────────────────────────────────────────────────────────────────────────────────────────

    def _paths(self) -> dict[str, Any]:
        paths = self._mapping(self._source.get("paths"), "paths")
        return {path: item if path.startswith("x-") else self._path_item(item, path) for path, item in paths.items()}

    def _path_item(self, node: Any, path: str) -> Any:
        item = self._resolved(node)
        if item is None:
            self._warn(f"{path}: not a path item, or a reference that leads nowhere")
            return node if isinstance(node, Mapping) else {}
        shared = self._sorted(item.get("parameters"), path)
        made: dict[str, Any] = _extensions(item)
        if shared.plain:
            made["parameters"] = shared.plain
        for method in METHODS:
            if method in item:
                where = f"{method.upper()} {path}"
                made[method] = self._operation(self._mapping(item[method], where), shared, where)
        return made

    def _operation(self, node: Mapping[str, Any], shared: "_Parameters", where: str) -> dict[str, Any]:
        own = self._sorted(node.get("parameters"), where)
        made = {key: value for key, value in node.items() if key in _OPERATION or key.startswith("x-")}
        if own.plain:
            made["parameters"] = own.plain
        if "schemes" in node:
            made["servers"] = self._servers(node["schemes"])
        consumes = self._media("consumes", node)
        body, form = own.body or shared.body, {**shared.form, **own.form}
        if body is not None:
            made["requestBody"] = self._body(body, consumes, where)
            if form:
                self._warn(f"{where}: form parameters beside a body")
        elif form:
            made["requestBody"] = self._form(form, consumes, where)
        produces = self._media("produces", node)
        responses = self._mapping(node.get("responses"), f"{where}: responses")
        made["responses"] = {
            status: said if status.startswith("x-") else self._used_response(said, produces, f"{where}: {status}")
            for status, said in responses.items()
        }
        return made

    def _media(self, key: str, operation: Mapping[str, Any]) -> list[str]:
        """What an operation consumes or produces: as it says itself, or as the document says for all."""
        return _strings(operation[key] if key in operation else self._source.get(key))

    def _sorted(self, nodes: Any, where: str) -> "_Parameters":
        sorted_ = _Parameters([], None, {})
        for node in nodes if isinstance(nodes, list) else ():
            parameter = self._resolved(node)
            if parameter is None:
                self._warn(f"{where}: not a parameter, or a reference that leads nowhere")
                if isinstance(node, Mapping):
                    sorted_.plain.append(node)
            elif parameter.get("in") == "body":
                sorted_ = sorted_._replace(body=parameter)
            elif parameter.get("in") == "formData":
                sorted_.form[str(parameter.get("name"))] = parameter
            elif renamed := self._renamed(str(node.get("$ref"))):
                sorted_.plain.append({"$ref": renamed})
            else:
                sorted_.plain.append(self._parameter(parameter, where))
        return sorted_

    def _parameter(self, node: Any, where: str) -> dict[str, Any]:
        """A parameter of a path, query or header."""
        node = self._resolved(node) or {}
        where = f"{where}: parameter {node.get('name')!r}"
        keys = ("name", "in", "description", "required", "example")
        made = {key: node[key] for key in keys if key in node} | _extensions(node, but="x-nullable")
        made["schema"] = self._flat_schema(node, where)
        if node.get("in") == "query" and "allowEmptyValue" in node:
            made["allowEmptyValue"] = node["allowEmptyValue"]
        if node.get("type") == "array":
            made |= self._style(node, where)
        return made

    def _style(self, node: Mapping[str, Any], where: str) -> dict[str, Any]:
        """How the items of an array are put together; 3.0.3 has another default in a query than 2.0's commas."""
        joined = node.get("collectionFormat", "csv")
        if node.get("in") in ("path", "header") and joined == "csv":
            return {}
        if node.get("in") in ("path", "header") or joined not in _STYLES:
            self._warn(f"{where}: the collectionFormat {joined!r} has no counterpart there")
            return {}
        style, explode = _STYLES[joined]
        return {"style": style, "explode": explode}

    def _body(self, node: Mapping[str, Any], consumes: Iterable[str], where: str) -> dict[str, Any]:
        made = {key: node[key] for key in ("description", "required") if key in node} | _extensions(node)
        schema = self._schema(node.get("schema", {}), f"{where}: body")
        return {**made, "content": {media: {"schema": schema} for media in consumes or [JSON]}}

    def _form(self, form: Mapping[str, Mapping[str, Any]], consumes: Iterable[str], where: str) -> dict[str, Any]:
        properties = {name: self._form_field(node, f"{where}: {name}") for name, node in form.items()}
        required = [name for name, node in form.items() if node.get("required") is True]
        schema = {"type": "object", "properties": properties} | ({"required": required} if required else {})
        files = any(node.get("type") == "file" for node in form.values())
        usual = MULTIPART if files else URLENCODED
        accepted = [media for media in consumes if media == MULTIPART or (media == URLENCODED and not files)] or [usual]
        content: dict[str, Any] = {media: {"schema": schema} for media in accepted}
        arrays = {name: node for name, node in form.items() if node.get("type") == "array"}
        if URLENCODED in content and arrays:
            encoding = {name: self._style(node, f"{where}: {name}") for name, node in arrays.items()}
            content[URLENCODED]["encoding"] = {name: style for name, style in encoding.items() if style}
        if MULTIPART in content:
            for name, node in arrays.items():
                if node.get("collectionFormat") != "multi":
                    self._warn(f"{where}: {name}: an array in one part of a multipart body has no counterpart there")
        return {"content": content, "required": bool(required)}

    def _form_field(self, node: Mapping[str, Any], where: str) -> dict[str, Any]:
        described = {key: node[key] for key in ("description", "example") if key in node}
        return {**self._flat_schema(node, where), **described, **_extensions(node, but="x-nullable")}

    def _flat_schema(self, node: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The schema that a parameter or header has spread over its own keys."""
        if isinstance(node.get("schema"), Mapping):  # no 2.0, yet it is what was meant
            return dict(self._schema(node["schema"], where))
        return dict(self._schema({key: node[key] for key in node if key in _OF_SCHEMA}, where))

    # ── responses ──────────────────────────────────────────────────────────────────────────────────────────

    def _used_response(self, node: Any, produces: list[str], where: str) -> Any:
        """A response of an operation: by reference, unless the operation has media types of its own."""
        reference = node.get("$ref") if isinstance(node, Mapping) else None
        if self._resolved(node) is None:
            self._warn(f"{where}: not a response, or a reference that leads nowhere")
            return node if isinstance(node, Mapping) else {"description": ""}
        renamed = self._renamed(reference) if isinstance(reference, str) else None
        if renamed and produces == self._media("produces", {}):
            return {"$ref": renamed}
        return self._response(node, produces, where)

    def _response(self, node: Any, produces: list[str], where: str) -> dict[str, Any]:
        node = self._resolved(node) or {}
        made: dict[str, Any] = {"description": node.get("description", ""), **_extensions(node)}
        if headers := self._mapping(node.get("headers"), f"{where}: headers"):
            made["headers"] = {name: self._header(header, f"{where}: {name}") for name, header in headers.items()}
        examples = _mapping(node.get("examples"))
        content: dict[str, Any] = {}
        if "schema" in node:
            schema = self._schema(node["schema"], where)
            usual = BYTES if _mapping(node["schema"]).get("type") == "file" else JSON
            content = {media: {"schema": schema} for media in [*(produces or [usual]), *examples]}
        for media, example in examples.items():
            content.setdefault(media, {})["example"] = example
        return {**made, "content": content} if content else made

    def _header(self, node: Any, where: str) -> dict[str, Any]:
        header = self._mapping(node, where)
        described = {"description": header["description"]} if "description" in header else {}
        joined = header.get("collectionFormat", "csv")
        if joined != "csv":
            self._warn(f"{where}: the collectionFormat {joined!r} has no counterpart there")
        return {**described, **_extensions(header, but="x-nullable"), "schema": self._flat_schema(header, where)}

    # ── schemas ────────────────────────────────────────────────────────────────────────────────────────────

    def _schema(self, node: Any, where: str) -> Any:
        if not isinstance(node, Mapping):
            self._warn(f"{where}: expected a schema")
            return {}
        if id(node) not in self._schemas:
            made: dict[str, Any] = {}
            self._schemas[id(node)] = (made, node)  # the node too, so that its identity stays taken
            for key, value in node.items():
                self._add_keyword(made, key, value, where)
            _single_type(made)
        return self._schemas[id(node)][0]

    def _add_keyword(self, made: dict[str, Any], key: str, value: Any, where: str) -> None:
        if key == "$ref" and isinstance(value, str):
            made[key] = self._schema_reference(value)
        elif key in ("properties", "patternProperties") and isinstance(value, Mapping):
            made[key] = {}
            for name, part in value.items():
                made[key][name] = self._schema(part, f"{where}/{name}")
        elif key in ("allOf", "anyOf", "oneOf") and isinstance(value, list):
            made[key] = []
            for part in value:
                made[key].append(self._schema(part, where))
        elif key in ("items", "not") or (key == "additionalProperties" and isinstance(value, Mapping)):
            made[key] = self._items(value, where) if isinstance(value, list) else self._schema(value, where)
        elif key == "discriminator" and isinstance(value, str):
            made[key] = {"propertyName": value}
        elif key == "x-nullable":
            made["nullable"] = value
        elif key == "type" and value == "file":
            made |= {"type": "string", "format": "binary"}
        elif key != "collectionFormat":
            made[key] = value
        elif value != "csv":
            self._warn(f"{where}: the collectionFormat {value!r} of an inner array has no counterpart there")

    def _items(self, parts: list[Any], where: str) -> dict[str, Any]:
        self._warn(f"{where}: a schema for each place of an array; read as: every item fits one of them")
        return {"anyOf": [self._schema(part, where) for part in parts]} if parts else {}


class _Parameters(NamedTuple):
    """Parameters sorted by what becomes of them."""

    plain: list[Any]
    body: Mapping[str, Any] | None
    form: dict[str, Mapping[str, Any]]


def _single_type(schema: dict[str, Any]) -> None:
    """3.0.3 knows neither lists of types nor the type null; changes the schema in place."""
    said = schema.get("type")
    if said == "null":
        said = ["null"]
    if not isinstance(said, list):
        return
    del schema["type"]
    types = [kind for kind in said if kind != "null"]
    if len(types) == 1:
        schema["type"] = types[0]
        if "null" in said:
            schema["nullable"] = True
    elif types:
        choice = [{"type": kind, **({"items": {}} if kind == "array" else {})} for kind in types]
        nothing = [{"enum": [None]}] if "null" in said else []
        others = schema.get("allOf")
        schema["allOf"] = [*(others if isinstance(others, list) else ()), {"anyOf": [*choice, *nothing]}]
    elif "null" in said:
        schema["enum"] = [None]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _strings(value: Any) -> list[str]:
    return [part for part in value if isinstance(part, str)] if isinstance(value, list) else []


def _extensions(node: Mapping[str, Any], but: str = "") -> dict[str, Any]:
    return {key: value for key, value in node.items() if key.startswith("x-") and key != but}


class _Names:
    """Names that components may have, all different, for names that they may not."""

    def __init__(self) -> None:
        self._of: dict[str, str] = {}
        self._taken: set[str] = set()
        self._numbers: Counter[str] = Counter()

    def of(self, name: str) -> str:
        """The one that stands for a name, always the same."""
        if name not in self._of:
            self._of[name] = self.new(name)
        return self._of[name]

    def new(self, name: str) -> str:
        """One like the name that stands for nothing yet."""
        plain = re.sub(r"[^a-zA-Z0-9._-]", "_", name) or "_"
        found = plain
        while found in self._taken:
            self._numbers[plain] += 1
            found = f"{plain}_{self._numbers[plain]}"
        self._taken.add(found)
        return found
