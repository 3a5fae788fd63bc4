"""Operations, read: what a document says of each, and what it does to which resource once that is known.

The structure (path, parameters, body, responses) is read here; the meaning (effect, resource, selector, page) is
inferred or stands in an overlay, and both are put together in `api`.

OpenAPI 3.0.3 and 3.1.0, https://spec.openapis.org.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from simlab.errors import InputError
from simlab.lazy import lazy
from simlab.spec import Spec

EFFECTS = ("get", "list", "create", "update", "delete", "action", "read")
READS = ("get", "list", "read")
METHODS = ("get", "post", "put", "patch", "delete", "head", "options", "trace")
WHOLE = "body"  # the argument that a body is, where it is not made of properties
LONGEST_PATH = 2000  # characters
LONGEST_NAME = 64  # characters of a tool's or an argument's name, as most endpoints allow
# What carries the caller's own key: the client sends it, and no user is asked for it.
_CREDENTIAL = re.compile(r"(?:access|auth|bearer)?[-_]?token|x?[-_]?api[-_]?key|authorization", re.IGNORECASE)
_IGNORED_HEADERS = ("accept", "content-type", "authorization")  # OpenAPI 3.0.3, parameter object


@dataclass(frozen=True)
class Parameter:
    """A parameter outside the body, known in the document by (where, wire).

    `name` is the argument that carries it, which differs from `wire` only where two would be alike or where a tool
    cannot be called so. `media` is set where the value travels as text of that type.
    """

    name: str
    where: str
    required: bool
    schema: Mapping[str, Any]
    description: str = ""
    wire: str = ""
    style: str = ""
    explode: bool = True
    media: str | None = None


@dataclass(frozen=True)
class Page:
    """How a list is cut: `style` is offset, cursor, page or after; the others name parameters and response fields.

    `next` is where the response says how to go on, as a path of names; `first` is the number of the first page.
    """

    style: str
    size: str
    at: str
    next: str | None = None
    first: int = 0


@dataclass(frozen=True)
class Operation:
    """One thing an API can do, and what it does to which resource.

    A body that is made of properties is given as arguments side by side with the parameters; another is the one
    argument `whole`. `renamed` says which property an argument is, where the names differ, and `fields` which field
    of the record it is about. `record` and `items` are where a response holds the record or the records.
    """

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
    effect: str = ""
    resource: str = ""
    selector: str | None = None
    items: str | None = None
    record: str = ""
    filters: Mapping[str, str] = field(default_factory=dict)
    page: Page | None = None
    mode: str = "merge"
    transition: tuple[str, str] | None = None
    sets: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    whole: str | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    credentials: tuple[tuple[str, str], ...] = ()  # (where, wire) of what the client adds by itself
    medias: tuple[str, ...] = ()  # all that the body may be sent as
    produces: Mapping[str, str] = field(default_factory=dict)  # status -> media type

    @property
    def writes(self) -> bool:
        """Whether a successful call may change state."""
        return self.effect not in READS

    @property
    def recorded_only(self) -> bool:
        """Whether it is an action of which nobody has said what it does: that it was called is all that it changes."""
        return self.effect == "action" and self.transition is None and not self.sets

    @lazy
    def success(self) -> str:
        """The status of a call that worked, as the document writes it; `200` where it names none."""
        fine = sorted(status for status in self.responses if status.startswith("2"))
        return next(iter(fine), "default" if "default" in self.responses else "200")

    @property
    def status(self) -> int:
        """The same as a number; a range counts as its first."""
        return int(self.success.replace("X", "0").replace("x", "0")) if self.success[0] == "2" else 200

    @property
    def rows(self) -> str:
        """The JSON pointer to the records in the response of a list."""
        items = "items" if self.items is None else self.items
        return f"/{items}" if items else ""


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
    ids: str | None = None  # how ids look, as `loan_{n:04d}`; otherwise they are made to fit the schema of the id
    parents: Mapping[str, str] = field(default_factory=dict)  # resource -> property
    references: Mapping[str, str] = field(default_factory=dict)  # property -> resource
    label: tuple[str, ...] = ()
    unique: tuple[str, ...] = ()
    volatile: tuple[str, ...] = ()
    seed: int = 5
    initial: Mapping[str, str] = field(default_factory=dict)
    transitions: Mapping[tuple[str, str], Transition] = field(default_factory=dict)
    examples: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)  # values of properties, taken in turn

    @lazy
    def links(self) -> dict[str, str]:
        """Every property that holds another record's id, with that record's resource."""
        return {**{prop: name for name, prop in self.parents.items()}, **self.references}


@dataclass(frozen=True)
class SetAside:
    """An operation that cannot be used, and why."""

    method: str
    path: str
    id: str
    why: str


def read_operations(spec: Spec) -> tuple[list[Operation], list[SetAside]]:
    """The operations of a document in its order, without their meaning, and those that cannot be used."""
    read: list[Operation] = []
    aside: list[SetAside] = []
    taken: dict[str, int] = {}
    for path, method, node, shared in _nodes(spec):
        said = node.get("operationId") if isinstance(node, Mapping) else None
        identifier = _fresh(str(said) if said else f"{method}_{path}", taken)
        try:
            if len(path) > LONGEST_PATH:
                path = f"{path[:LONGEST_PATH]}..."
                raise InputError(f"a path of more than {LONGEST_PATH:,} characters")
            if reason := spec.lost(node) or spec.lost(shared):
                raise InputError(reason)
            read.append(_operation(spec, identifier, path, method, spec.resolve(node), shared))
        except (InputError, AttributeError, KeyError, TypeError, ValueError) as error:
            why = str(error).removeprefix(f"{spec.name}: ") if isinstance(error, InputError) else _unreadable(error)
            aside.append(SetAside(method.upper(), path, identifier, why))
    return read, aside


def _unreadable(error: Exception) -> str:
    return f"it is not written as the specification says ({type(error).__name__}: {error})"


def _nodes(spec: Spec) -> Iterator[tuple[str, str, Any, list[Any]]]:
    paths = spec.document.get("paths")
    for path, item in (paths if isinstance(paths, Mapping) else {}).items():
        if not isinstance(item, Mapping) or not path.startswith("/"):
            continue
        if "$ref" in item and spec.lost(item):
            yield path, "path", {"$ref": item["$ref"]}, []
            continue
        item = spec.resolve(item)
        shared = item.get("parameters", [])
        for method in METHODS:
            if method in item:
                yield path, method, item[method], shared if isinstance(shared, list) else []


def _fresh(said: str, taken: dict[str, int]) -> str:
    """A name that tools may have (`[A-Za-z0-9_-]`, 64 characters) and that none has yet.

    `taken` holds for each name the last number that was put behind it.
    """
    base = re.sub(r"[^A-Za-z0-9_-]+", "_", said).strip("_")[:LONGEST_NAME] or "operation"
    name, number = base, taken.get(base, 1)
    while name in taken:
        number += 1
        name = f"{base[: LONGEST_NAME - len(str(number)) - 1]}_{number}"
    taken[base] = number
    taken.setdefault(name, 1)
    return name


def _operation(
    spec: Spec, identifier: str, path: str, method: str, node: Mapping[str, Any], shared: list[Any]
) -> Operation:
    parts = {(p["in"], p["name"]): p for p in map(spec.resolve, [*shared, *node.get("parameters", [])])}
    for name in re.findall(r"\{([^{}]+)\}", path):  # a path that nobody can fill otherwise
        parts.setdefault(("path", name), {"in": "path", "name": name, "schema": {"type": "string"}})
    body = spec.resolve(node.get("requestBody")) or {}
    content = _content(spec, body)
    media = _preferred(content)
    schema = content[media].get("schema", {}) if media is not None else None
    given = _given(spec, schema) if schema is not None else {}
    secret = _secrets(spec, parts)
    whole = schema is not None and not given
    named, renamed = _named([key for key in parts if key not in secret], list(given), whole=whole)
    parameters = tuple(_parameter(parts[key], named[key]) for key in named if key in parts)
    return Operation(
        id=identifier,
        method=method.upper(),
        path=path,
        summary=str(node.get("summary", "")),
        description=str(node.get("description", "")),
        parameters=parameters,
        media=media,
        body=schema,
        samples=_samples(spec, content[media]) if media is not None else (),
        body_required=bool(body.get("required")),
        responses={str(status): _response(spec, said)[1] for status, said in (node.get("responses") or {}).items()},
        produces={
            str(status): kind
            for status, said in (node.get("responses") or {}).items()
            if (kind := _response(spec, said)[0]) is not None
        },
        whole=named[("body", WHOLE)] if whole else None,
        renamed=renamed,
        credentials=tuple(sorted(secret)),
        medias=tuple(content),
    )


def _content(spec: Spec, node: Mapping[str, Any]) -> dict[str, Any]:
    """Media types of a body or response; some documents have references where the specification knows none."""
    content = spec.resolve(node.get("content")) or {}
    return {str(media): spec.resolve(said) for media, said in content.items()}


def _given(spec: Spec, schema: Any) -> dict[str, Any]:
    """The properties of a body that a client writes, where the body is made of properties and of nothing else."""
    if spec.branches(schema) and not spec.merged(schema).get("properties"):
        return {}
    found = spec.properties(schema) if spec.kinds(schema) in ([], ["object"]) else {}
    return {name: part for name, part in found.items() if not spec.schema(part).get("readOnly")}


def _preferred(content: Mapping[str, Any]) -> str | None:
    """The media type that is used: JSON before forms before all others, in the document's order otherwise."""
    ranks = {name: _rank(name) for name in content if isinstance(content[name], Mapping)}
    return min(ranks, key=lambda name: ranks[name], default=None)


def _rank(media: str) -> int:
    kind = media.split(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        return 0 if "patch" not in kind else 1
    return {"application/x-www-form-urlencoded": 2, "multipart/form-data": 3}.get(kind, 4)


def is_json(media: str | None) -> bool:
    """Whether a media type is JSON; `*/*` is taken for it."""
    return media is None or _rank(media) < 2 or media.strip().startswith("*/*")


def _secrets(spec: Spec, parts: Mapping[tuple[str, str], Any]) -> set[tuple[str, str]]:
    """The parameters that carry a key: those of security schemes, and those that are called like one."""
    schemes = (spec.document.get("components") or {}).get("securitySchemes") or {}
    declared = {
        (scheme.get("in"), scheme.get("name"))
        for scheme in map(spec.resolve, schemes.values())
        if isinstance(scheme, Mapping)
    }
    return {
        (where, name)
        for where, name in parts
        if where != "path"
        and (
            (where, name) in declared
            or _CREDENTIAL.fullmatch(name)
            or (where == "header" and name.lower() in _IGNORED_HEADERS)
        )
    }


def _named(
    parts: list[tuple[str, str]], given: list[str], *, whole: bool
) -> tuple[dict[tuple[str, str], str], dict[str, str]]:
    """An argument's name for each parameter and property, and which property it is where that is not its name."""
    keys = [*parts, *(("body", name) for name in ([WHOLE] if whole else given))]
    wires = Counter(name for _, name in keys)
    taken: dict[str, int] = {}
    made: dict[tuple[str, str], str] = {}
    for where, name in keys:
        plain = wires[name] == 1
        made[where, name] = _fresh(name if plain else f"{where}_{name}", taken)
    renamed = {made["body", name]: name for name in given if not whole and made["body", name] != name}
    return made, renamed


def _parameter(node: Mapping[str, Any], name: str) -> Parameter:
    content = node.get("content")
    media = next(iter(content), None) if isinstance(content, Mapping) else None
    schema = content[media].get("schema", {}) if isinstance(content, Mapping) and media else node.get("schema", {})
    where = str(node["in"])
    style = str(node.get("style") or ("form" if where in ("query", "cookie") else "simple"))
    return Parameter(
        name=name,
        where=where,
        required=bool(node.get("required")) or where == "path",
        schema=schema if isinstance(schema, Mapping) else {},
        description=str(node.get("description") or ""),
        wire=str(node["name"]),
        style=style,
        explode=bool(node.get("explode", style == "form")),
        media=media,
    )


def _samples(spec: Spec, media: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Whole example bodies that the document gives."""
    named = [spec.resolve(example).get("value") for example in (media.get("examples") or {}).values()]
    found = [media.get("example"), *named, *(spec.schema(media.get("schema", {})).get("examples") or ())]
    return tuple(sample for sample in found if isinstance(sample, Mapping))


def _response(spec: Spec, node: Any) -> tuple[str | None, Mapping[str, Any] | None]:
    """The media type and the schema of a response; none where it has no body, anything where none is described."""
    content = _content(spec, spec.resolve(node))
    media = _preferred(content)
    if media is None:
        return None, None
    schema = content[media].get("schema", {})
    return media, schema if isinstance(schema, Mapping) else {}
