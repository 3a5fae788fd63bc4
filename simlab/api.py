"""An API is an OpenAPI document, read: operations with their effects, resources with their keys.

A document is compiled once. What it does not say (which operation changes which resource, what identifies a record,
which transitions there are) is inferred with evidence, and corrected by an overlay file. An entry of an overlay that
says an operation's `effect`, or a resource's `schema`, stands for itself; any other corrects what is inferred, key by
key, and null takes a key away.

OpenAPI 3.0.3 and 3.1.0, https://spec.openapis.org; JSON Schema 2020-12.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from simlab.documents import MAX_BYTES, parse_document, read_document
from simlab.errors import InputError, nearest
from simlab.files import parse_yaml, read_text
from simlab.inference import Inferred, infer, part
from simlab.lazy import lazy
from simlab.operation import (
    EFFECTS,
    READS,
    Operation,
    Page,
    Parameter,
    Resource,
    Transition,
    read_operations,
)
from simlab.overlay import check_meaning, check_overlay
from simlab.spec import HERE, Spec
from simlab.swagger import upgraded
from simlab.tool import Tool

__all__ = ["EFFECTS", "READS", "Api", "ApiSource", "Operation", "Page", "Parameter", "Resource", "load_api", "read_api"]

RESOURCELESS = ("action", "read")  # effects that an operation may have without a resource


class Api(Spec):
    """A compiled document; use `load_api`, which keeps it by content.

    `operations` and `resources` are by name, in the document's order. `aside` are the operations that cannot be
    used, with the reason; `evidence` says why what was inferred was inferred.
    """

    def __init__(self, document: Mapping[str, Any], overlay: Mapping[str, Any], *, name: str, sha256: str) -> None:
        super().__init__(document, name=name)
        self.sha256 = sha256
        self.warnings = self.cut  # what was passed over in reading
        self.title = str(_info(self.document).get("title", name))
        self.version = str(_info(self.document).get("version", ""))
        self.description = " ".join(str(_info(self.document).get("description", "")).split())
        read, self.aside = read_operations(self)
        raw = {operation.id: operation for operation in read}
        known = {*raw, *(one.id for one in self.aside)}
        if wrong := next((key for key in overlay.get("operations") or {} if key not in known), None):
            raise InputError(f"{name}: the overlay names the operation {wrong!r}{nearest(wrong, raw)}")
        found = Inferred() if _stands_alone(overlay, raw) else infer(self, read)
        self.evidence = [one for one in found.evidence if one.subject not in _told(overlay)]
        self._of_inferred = bool(overlay.get("inferred"))
        said = _corrected(name, overlay, found)
        self.meaning: Mapping[str, Any] = said
        self.resources: dict[str, Resource] = {
            key: self._resource(key, value, raw) for key, value in said["resources"].items()
        }
        self.ids: dict[tuple[str, int], Any] = {}  # of simulated records, by resource and number
        self.shown: dict[tuple[int, int], tuple[Any, Any, Any]] = {}  # a record under a schema, kept by both
        self.operations = {key: self._meant(raw[key], said["operations"][key]) for key in raw}
        for key in {operation.resource for operation in self.operations.values() if operation.resource}:
            if why := self.lost(self.resources[key].schema):
                raise InputError(f"the overlay of {name}: resources.{key}.schema: {why}")
        check_meaning(
            name,
            overlay,
            {
                key: (self.operations[key], self.arguments(raw[key]))
                for key in overlay.get("operations") or {}
                if key in raw
            },
            {key: (one, self.properties(one.schema)) for key, one in self.resources.items()},
            self._words,
        )

    def _words(self, schema: Any) -> list[str]:
        """The words that a schema is limited to; none where it is limited in no way, or to other things too."""
        try:
            listed = self.merged(schema).get("enum")
        except InputError:  # a reference that leads nowhere, which is said where it matters
            return []
        words = listed if isinstance(listed, list) else []
        return words if all(isinstance(word, str) for word in words) else []

    @property
    def inferred(self) -> bool:
        """Whether anything of it was inferred, now or by whatever wrote its overlay.

        What people wrote down to the last entry is taken at its word; of all else, examples and answers are checked.
        """
        return self._of_inferred or bool(self.evidence)

    def first(self, effect: str, resource: str) -> Operation | None:
        """The first operation in the document that does something to a kind of record."""
        return self._firsts.get((effect, resource))

    @lazy
    def _firsts(self) -> dict[tuple[str, str], Operation]:
        return {(one.effect, one.resource): one for one in reversed(self.operations.values())}

    # ── arguments ──────────────────────────────────────────────────────────────────────────────────────────

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
                **(shown if isinstance(shown, Mapping) else {}),
                **({"description": parameter.description} if parameter.description else {}),
            }
        for name, schema in self.body_properties(operation).items():
            properties[name] = self.expanded(schema)
        schema = {
            "type": "object",
            "properties": properties,
            "required": self.required_arguments(operation),
            "additionalProperties": False,
        }
        return Tool(operation.id, f"{operation.summary} {operation.description}".strip(), schema)

    def body_properties(self, operation: Operation) -> dict[str, Any]:
        """The arguments that a body is made of, or the one that it is; what only the server writes is left out."""
        if operation.body is None:
            return {}
        if operation.whole is not None:
            return {operation.whole: operation.body}
        back = {prop: name for name, prop in operation.renamed.items()}
        found = self.properties(operation.body)
        return {back.get(n, n): schema for n, schema in found.items() if not self.schema(schema).get("readOnly")}

    def arguments(self, operation: Operation) -> dict[str, Any]:
        """Every argument by name with its schema."""
        return {**{p.name: p.schema for p in operation.parameters}, **self.body_properties(operation)}

    def required_arguments(self, operation: Operation) -> list[str]:
        """The arguments that a call must have."""
        inside: list[str] = []
        if operation.whole is not None:
            inside = [operation.whole] if operation.body_required else []
        elif operation.body is not None:
            back = {prop: name for name, prop in operation.renamed.items()}
            given = self.body_properties(operation)
            inside = [back.get(n, n) for n in self.required(operation.body) if back.get(n, n) in given]
        return [p.name for p in operation.parameters if p.required] + inside

    def body_of(self, operation: Operation, arguments: Mapping[str, Any]) -> Any:
        """The body of a call as the document describes it; None where there is none to send."""
        if operation.body is None:
            return None
        if operation.whole is not None:
            return arguments.get(operation.whole)
        outside = {p.name for p in operation.parameters}
        body = {operation.renamed.get(n, n): value for n, value in arguments.items() if n not in outside}
        return body if body or operation.body_required else None

    def argument_problems(self, operation: Operation, arguments: Mapping[str, Any]) -> list[str]:
        """What is wrong with the arguments of a call; empty when the call is valid."""
        known = self.arguments(operation)
        found = [f"{name}: no such argument{nearest(name, known)}" for name in arguments if name not in known]
        found += [f"{name}: missing" for name in self.required_arguments(operation) if name not in arguments]
        for parameter in operation.parameters:
            if parameter.name in arguments:
                for problem in self.problems(arguments[parameter.name], parameter.schema):
                    found.append(f"{parameter.name}: {problem.removeprefix('(top): ')}")
        if operation.body is not None and not found:
            body = self.body_of(operation, arguments)
            if body is not None or (operation.whole is not None and operation.whole in arguments):
                found += self.problems(body, operation.body)
        return found

    # ── meaning ────────────────────────────────────────────────────────────────────────────────────────────

    def _meant(self, operation: Operation, said: Mapping[str, Any]) -> Operation:
        """An operation with its meaning; raises InputError for a word that means nothing."""
        effect, name = said.get("effect"), said.get("resource")
        free = effect in RESOURCELESS and name is None
        choices: list[tuple[str, Collection[str]]] = [("effect", EFFECTS)]
        for key, known in choices if free else [*choices, ("resource", self.resources)]:
            if said.get(key) not in known:
                wrong = str(said.get(key))
                raise InputError(f"{self.name}: the overlay of {operation.id}: {key} {wrong!r}{nearest(wrong, known)}")
        transition = said.get("transition")
        return replace(
            operation,
            effect=str(effect),
            resource=str(name or ""),
            selector=said.get("selector"),
            items=said.get("items"),
            record=said.get("record", ""),
            filters=said.get("filters", {}),
            page=_page(said.get("page")),
            mode=said.get("mode", "merge"),
            transition=tuple(transition.split(".", 1)) if transition else None,
            sets=said.get("sets", {}),
            fields=said.get("fields", {}),
        )

    def _resource(self, name: str, said: Mapping[str, Any], operations: Mapping[str, Operation]) -> Resource:
        machines, ids = said.get("transitions", {}), said.get("ids")
        try:
            ids is None or ids.format(n=1)
        except (ValueError, LookupError) as error:
            raise InputError(f"the overlay of {self.name}: resources.{name}.ids: {ids!r}: {error}") from None
        moves = {
            (prop, verb): Transition(tuple(move["from"]), move["to"], tuple(move.get("sets", ())))
            for prop, machine in machines.items()
            for verb, move in machine.items()
            if verb != "initial"
        }
        return Resource(
            name=name,
            schema=self._schema_of(name, said["schema"], operations),
            id=said.get("id", "id"),
            ids=ids,
            parents=said.get("parent", {}),
            references=said.get("references", {}),
            label=tuple(said.get("label", ())),
            unique=tuple(said.get("unique", ())),
            volatile=tuple(said.get("volatile", ())),
            seed=said.get("seed", 5),
            initial={prop: machine["initial"] for prop, machine in machines.items() if "initial" in machine},
            transitions=moves,
            examples={prop: tuple(values) for prop, values in said.get("examples", {}).items()},
        )

    def _schema_of(self, name: str, said: Any, operations: Mapping[str, Operation]) -> Mapping[str, Any]:
        """A component by its name, or what stands in the response of an operation (`of`, `at`)."""
        if isinstance(said, str):
            pointer = said.replace("~", "~0").replace("/", "~1")
            return self.schema({"$ref": f"{HERE}#/components/schemas/{pointer}"})
        of = str(said.get("of"))
        if of not in operations:
            raise InputError(f"{self.name}: the overlay of {name}: schema.of {of!r}{nearest(of, operations)}")
        response = operations[of].responses.get(operations[of].success)
        return self.schema(part(self, response, str(said.get("at", ""))))


def _info(document: Mapping[str, Any]) -> Mapping[str, Any]:
    info = document.get("info")
    return info if isinstance(info, Mapping) else {}


def _stands_alone(overlay: Mapping[str, Any], operations: Iterable[str]) -> bool:
    """Whether an overlay says all there is to say, so that nothing need be inferred."""
    said, resources = overlay.get("operations") or {}, overlay.get("resources") or {}
    told = all(said.get(key, {}).get("effect") is not None for key in operations)
    return told and all(resource.get("schema") is not None for resource in resources.values())


def _told(overlay: Mapping[str, Any]) -> set[str]:
    """The operations and resources of which an overlay says all, so that nothing inferred of them counts."""
    kinds = (("resources", "schema"), ("operations", "effect"))
    return {key for kind, whole in kinds for key, said in (overlay.get(kind) or {}).items() if said.get(whole)}


def _corrected(name: str, overlay: Mapping[str, Any], found: Inferred) -> dict[str, dict[str, Any]]:
    """What is inferred, under what the overlay says; resources that nothing is about any more are left out."""
    made: dict[str, dict[str, Any]] = {}
    for kind, whole, inferred in (
        ("resources", "schema", found.resources),
        ("operations", "effect", found.operations),
    ):
        said = overlay.get(kind) or {}
        for key in said:
            if kind == "resources" and {**inferred.get(key, {}), **said[key]}.get(whole) is None:
                raise InputError(
                    f"the overlay of {name}: {kind}.{key}: `schema` is missing, and no resource of that name is"
                    f" inferred{nearest(key, inferred)}"
                )
        made[kind] = {
            key: {
                k: v
                for k, v in {
                    **({} if said.get(key, {}).get(whole) is not None else inferred.get(key, {})),
                    **said.get(key, {}),
                }.items()
                if v is not None
            }
            for key in [*said, *(k for k in inferred if k not in said)]
        }
    used = {o.get("resource") for o in made["operations"].values()} | set(overlay.get("resources") or {})
    while more := {
        other
        for key in used & set(made["resources"])
        for other in (*made["resources"][key].get("parent", {}), *made["resources"][key].get("references", {}).values())
        if other not in used
    }:
        used |= more
    made["resources"] = {key: value for key, value in made["resources"].items() if key in used}
    return made


def _page(said: Mapping[str, Any] | None) -> Page | None:
    if said is None:
        return None
    style = said["style"]
    size, at = {"page": ("size", "page")}.get(style, ("limit", style))
    return Page(style, said[size], said[at], said.get("next"), said.get("first", 0))


@dataclass(frozen=True)
class ApiSource:
    """A document and its overlay as texts, so that a run file can hold them; `warnings` is what reading left out."""

    name: str
    text: str
    overlay: str = ""
    warnings: tuple[str, ...] = field(default=(), compare=False)
    files: tuple[str, str] = field(default=("", ""), compare=False)  # where both were read, for what is said of them

    @property
    def sha256(self) -> str:
        """Of the document and its overlay, one after the other."""
        return sha256((self.text + self.overlay).encode()).hexdigest()

    def compiled(self) -> Api:
        """The API; the same contents are compiled once in a process. Raises InputError."""
        try:
            return _compiled(self.name, self.text, self.overlay)
        except InputError as error:
            said = str(error)
            for begins, file in zip((f"{self.name}:", f"overlays/{self.name}:"), self.files, strict=True):
                if file and said.startswith(begins):
                    raise InputError(f"{file}:{said.removeprefix(begins)}") from None
            raise


def overlay_beside(document: Path) -> Path:
    """Where the overlay of a document lies unless another is named."""
    return document.parent / "overlays" / f"{document.stem}.yaml"


def read_api(
    path: Path | str, overlay: Path | str | None = None, *, max_bytes: int = MAX_BYTES, network: bool = False
) -> ApiSource:
    """Read a document and its overlay, by default `overlays/NAME` beside it if there is one; raises InputError."""
    path = Path(path)
    beside = Path(overlay) if overlay is not None else overlay_beside(path)
    document = read_document(path, max_bytes=max_bytes, network=network)
    given = overlay is not None or beside.exists()
    corrections = read_text(beside, f"overlay of {path.name}") if given else ""
    return ApiSource(path.stem, document.text, corrections, document.warnings, (str(path), str(beside)))


def load_api(path: Path | str, overlay: Path | str | None = None) -> Api:
    """Read and compile a document; raises InputError."""
    return read_api(path, overlay).compiled()


@lru_cache(maxsize=32)
def _compiled(name: str, text: str, overlay: str) -> Api:
    warnings: list[str] = []
    document = parse_document(text, name, warnings=warnings)
    corrections = parse_yaml(overlay, f"overlays/{name}").value
    check_overlay(name, corrections)
    if "swagger" in document:
        document, lost = upgraded(document)
        warnings += lost
    if not isinstance(document.get("paths", {}), Mapping):
        raise InputError(f"{name}: not an OpenAPI document: `paths` is not a mapping")
    if not str(document.get("openapi", "")).startswith("3."):
        raise InputError(f"{name}: expected `openapi:` 3.x or `swagger:` 2.0, got {document.get('openapi')!r}")
    api = Api(document, corrections or {}, name=name, sha256=sha256((text + overlay).encode()).hexdigest())
    api.warnings = (*warnings, *api.cut)
    if not api.operations and not api.aside:
        raise InputError(f"{name}: not an OpenAPI document with operations: `paths` is missing or empty")
    return api
