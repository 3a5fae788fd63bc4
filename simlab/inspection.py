"""What is understood of an API document and why, what is not, and whether its operations can be called.

Everything that `simlab inspect` prints, as plain data; and the overlay file that says all of it, for a person to
correct.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from simlab.api import Api, ApiSource, Operation, Resource
from simlab.die import Die
from simlab.errors import InputError, nearest
from simlab.files import parse_yaml, read_text, resource, writing
from simlab.inference import Evidence
from simlab.operation import SetAside, is_json
from simlab.overlay import check_overlay
from simlab.schema import to_json
from simlab.validation import Problems, specification_problems
from simlab.world import Response, example_call, seeded

MOST_TRIED = 400  # operations of which an example is made and called
TRIES = 64  # examples of a call, in eight worlds; many calls fit some records only
MOST_UNFIT = 3  # examples that are not valid, or not answered so; a fourth would hardly be
VALIDATE_SECONDS = (2.0, 20.0, 30.0)  # for any document, more for each megabyte, at the most
FIRST = 5  # of many that have one reason, those that are named
SCHEMA = "overlay.schema.json"

RECORDED = "undeclared action: recorded only"
STATELESS = "answers from its schema"


@dataclass(frozen=True)
class OperationLine:
    """An operation in the table; `confidence` is None where an overlay says what it does."""

    method: str
    path: str
    id: str
    effect: str
    resource: str
    selector: str
    page: str
    confidence: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ResourceLine:
    """A resource in the table; `operations` is how many are about it."""

    name: str
    schema: str
    id: str
    parents: Mapping[str, str]
    references: Mapping[str, str]
    label: tuple[str, ...]
    unique: tuple[str, ...]
    volatile: tuple[str, ...]
    operations: int
    confidence: float | None


@dataclass(frozen=True)
class Group:
    """Many of one kind: what they have in common, how many they are, and the first of them."""

    why: str
    count: int
    first: tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """All that is known of a document.

    `corrected` says whether an overlay was read. `validation` is None where nobody validated it. `tried` says of each
    operation that was called with a generated example what was wrong with the call or the answer; an empty text where
    nothing was.
    """

    title: str
    version: str
    file: str
    sha256: str
    corrected: bool
    operations: tuple[OperationLine, ...]
    resources: tuple[ResourceLine, ...]
    evidence: tuple[Evidence, ...]
    aside: tuple[SetAside, ...]
    warnings: tuple[str, ...]
    validation: Problems | None = None
    tried: Mapping[str, str] = field(default_factory=dict)

    @property
    def callable(self) -> int:
        """How many of the operations that were tried take a generated example and answer by their schema."""
        return sum(not wrong for wrong in self.tried.values())

    @property
    def aside_by_reason(self) -> tuple[Group, ...]:
        """The operations set aside, those of one reason together."""
        return tuple(_grouped((_blanked(one.why), f"{one.method} {one.path}: {one.why}") for one in self.aside))

    @property
    def warnings_by_kind(self) -> tuple[Group, ...]:
        """The warnings of reading, those that differ in a name alone together."""
        return tuple(_grouped((_blanked(line), line) for line in self.warnings))

    def findings(self) -> list[str]:
        """What a strict reader would not let pass, a line each; empty for a document without a fault."""
        found = []
        if self.validation is not None and self.validation.lines:
            found.append(f"the validator found {_counted(len(self.validation.lines), 'fault')}")
        if self.validation is not None and not self.validation.complete:
            found.append(f"the validator did not finish in {self.validation.seconds:.0f} s")
        if self.aside:
            found.append(f"{_counted(len(self.aside), 'operation')} set aside")
        if self.warnings:
            found.append(f"{_counted(len(self.warnings), 'warning')} of reading")
        if wrong := len(self.tried) - self.callable:
            found.append(f"{_counted(wrong, 'operation')} without an example that works")
        return found

    def as_json(self) -> dict[str, Any]:
        """The same as plain data, with the counts and findings."""
        return {
            **asdict(self),
            "validation": self.validation._asdict() if self.validation is not None else None,
            "callable": self.callable,
            "findings": self.findings(),
        }


def inspect(
    source: ApiSource,
    file: str = "",
    *,
    validate: bool = True,
    validate_seconds: float | None = None,
    most_tried: int = MOST_TRIED,
    progress: Callable[[int], None] = lambda done: None,
) -> Inspection:
    """Inspect a document: what its operations and resources are, what it lacks, and whether it can be called.

    The validator is stopped after `validate_seconds`, by default a time that grows with the document. `most_tried` 0
    leaves the calls out; `progress` is told how many were made.
    Raises InputError where nothing can be done with the document.
    """
    api = source.compiled()
    tried: dict[str, str] = {}
    for done, operation in enumerate(list(api.operations.values())[:most_tried]):
        progress(done)
        try:
            tried[operation.id] = example_of(api, operation)[2]
        except InputError as error:  # of its resource: records that refer to each other in a circle
            tried[operation.id] = str(error)
    sure, about = _confidence(api), Counter(operation.resource for operation in api.operations.values())
    return Inspection(
        title=api.title,
        version=api.version,
        file=file or source.name,
        sha256=source.sha256,
        corrected=bool(source.overlay),
        operations=tuple(
            _line(operation, sure.get(operation.id), tried.get(operation.id, ""))
            for operation in api.operations.values()
        ),
        resources=tuple(
            _resource_line(api, resource, sure, about[resource.name]) for resource in api.resources.values()
        ),
        evidence=tuple(api.evidence),
        aside=tuple(api.aside),
        warnings=tuple(dict.fromkeys((*source.warnings, *api.warnings))),
        validation=validated(source.text, validate_seconds) if validate else None,
        tried=tried,
    )


def validated(text: str, seconds: float | None = None) -> Problems:
    """What the validator finds wrong with a document, by default in a time that grows with the document."""
    least, more, most = VALIDATE_SECONDS
    return specification_problems(text, seconds=seconds or min(most, least + more * len(text) / 1e6))


def example_of(api: Api, operation: Operation) -> tuple[dict[str, Any], Response, str]:
    """A generated call of an operation in a fresh world, the answer, and what is wrong with either; empty if nothing.

    Of several tries it is the first that works.
    """
    unfit = 0
    for attempt in range(TRIES):
        world = seeded(api, attempt // 8)
        call = example_call(world, operation, Die("inspect", operation.id, attempt), optional=0.5 * (attempt % 2))
        answer = world.call(operation.id, call)
        problem = _problem(api, operation, call, answer)
        unfit += bool(problem) and (answer.ok or answer.status in (400, 422))
        if not problem or unfit > MOST_UNFIT:
            break
    return call, answer, problem


def _problem(api: Api, operation: Operation, call: Mapping[str, Any], answer: Response) -> str:
    if wrong := api.argument_problems(operation, call):
        return f"no valid example: {wrong[0]}"
    if not answer.ok:
        return f"an example is answered with {answer.status}"
    schema = operation.responses.get(operation.success)
    if schema is not None and (wrong := api.problems(answer.body, schema)):
        return f"no valid answer: {wrong[0]}"
    return ""


def _line(operation: Operation, confidence: float | None, wrong: str) -> OperationLine:
    return OperationLine(
        method=operation.method,
        path=operation.path,
        id=operation.id,
        effect=operation.effect,
        resource=operation.resource,
        selector=operation.selector or "",
        page=operation.page.style if operation.page else "",
        confidence=confidence,
        notes=tuple(_notes(operation, wrong)),
    )


def _notes(operation: Operation, wrong: str) -> Iterator[str]:
    if operation.recorded_only:
        yield RECORDED
    if operation.transition is not None:
        yield f"moves {'.'.join(operation.transition)}"
    if operation.effect == "read":
        yield STATELESS
    if not is_json(operation.media):
        yield f"body: {operation.media}"
    if operation.whole is not None:
        yield f"body in one argument, `{operation.whole}`"
    if wrong:
        yield wrong


def _resource_line(api: Api, resource: Resource, sure: Mapping[str, float], operations: int) -> ResourceLine:
    said = api.meaning["resources"][resource.name]["schema"]
    return ResourceLine(
        name=resource.name,
        schema=said if isinstance(said, str) else f"{said['of']}{said['at']}",
        id=resource.id,
        parents=resource.parents,
        references=resource.references,
        label=resource.label,
        unique=resource.unique,
        volatile=resource.volatile,
        operations=operations,
        confidence=sure.get(resource.name),
    )


def _confidence(api: Api) -> dict[str, float]:
    """How sure it is what each thing is, which is the first that is said of it, paging apart."""
    return {one.subject: one.confidence for one in reversed(api.evidence) if not one.says.startswith("pages by ")}


_NAMES = r"'[^']*'|\S*[/#]\S*|\S+\.(?:ya?ml|json)\b:?|(?<=:)\d+|\b(?:GET|PUT|POST|PATCH|DELETE)\b|\b[1-5]\d\d:"


def _blanked(line: str) -> str:
    """A line without the names in it, so that lines of one kind are equal."""
    return re.sub(rf"(?:{_NAMES})(?: (?:{_NAMES}))*", "...", line)


def _grouped(pairs: Iterator[tuple[str, str]]) -> Iterator[Group]:
    groups: dict[str, list[str]] = {}
    for key, line in pairs:
        groups.setdefault(key, []).append(line)
    for key, lines in groups.items():
        yield Group(key, len(lines), tuple(lines[:FIRST]))


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


# ── one operation ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Argument:
    """An argument of an operation, and where in the request it travels."""

    name: str
    where: str
    required: bool
    kind: str
    about: str


@dataclass(frozen=True)
class OperationDetail:
    """All that is known of one operation, with an example of a call and the simulated answer."""

    line: OperationLine
    summary: str
    meaning: Mapping[str, Any]
    evidence: tuple[Evidence, ...]
    arguments: tuple[Argument, ...]
    responses: Mapping[str, str]
    call: Mapping[str, Any]
    status: int
    answer: Any
    problem: str


def detail(api: Api, name: str) -> OperationDetail:
    """All that is known of an operation; raises InputError where there is none of that id, or it is set aside."""
    if aside := next((one for one in api.aside if one.id == name), None):
        raise InputError(f"{api.name}: {name} is set aside: {aside.why}")
    if name not in api.operations:
        raise InputError(f"{api.name}: no operation {name!r}{nearest(name, api.operations)}")
    operation = api.operations[name]
    call, answer, problem = example_of(api, operation)
    outside = {parameter.name: parameter.where for parameter in operation.parameters}
    required = api.required_arguments(operation)
    return OperationDetail(
        line=_line(operation, _confidence(api).get(name), problem),
        summary=operation.summary or operation.description,
        meaning=api.meaning["operations"][name],
        evidence=tuple(one for one in api.evidence if one.subject in (name, operation.resource)),
        arguments=tuple(
            Argument(key, outside.get(key, "body"), key in required, _kind(api, schema), _about(api, operation, key))
            for key, schema in api.arguments(operation).items()
        ),
        responses={
            status: _kind(api, schema) if schema is not None else "" for status, schema in _responses(operation)
        },
        call=call,
        status=answer.status,
        answer=answer.body,
        problem=problem,
    )


def _responses(operation: Operation) -> Sequence[tuple[str, Any]]:
    return sorted(operation.responses.items())


def _kind(api: Api, schema: Any) -> str:
    """A schema in a few words."""
    merged = api.merged(schema)
    said = " or ".join(api.kinds(schema)) or ("one of several" if api.branches(schema) else "anything")
    if isinstance(merged.get("enum"), list):
        said += f" of {', '.join(map(str, merged['enum'][:6]))}{', ...' if len(merged['enum']) > 6 else ''}"
    elif isinstance(merged.get("format"), str):
        said += f" ({merged['format']})"
    if "array" in api.kinds(schema):
        said += f" of {_kind(api, merged['items'])}" if isinstance(merged.get("items"), Mapping) else ""
    return said


def _about(api: Api, operation: Operation, name: str) -> str:
    """What an argument does, as far as that is known."""
    if name == operation.selector:
        return f"which {operation.resource}"
    if operation.page is not None and name in (operation.page.size, operation.page.at):
        return "page"
    if name in operation.filters:
        return f"filter on {operation.filters[name]}"
    prop = operation.fields.get(name, name)
    links = api.resources[operation.resource].links if operation.resource else {}
    return f"id of {links[prop]}" if prop in links else (f"sets {prop}" if name in operation.fields else "")


# ── the overlay that says it all ───────────────────────────────────────────────────────────────────────────

_HEAD = """\
# yaml-language-server: $schema={schema}
# What simlab understands of {name}: correct it here and name this file with --overlay.
# resources: schema (a component, or what a response holds), id, ids (how ids look: "loan_{{n:04d}}"), parent and
#   references (resource and property), label (tells records apart), unique, volatile (not compared), seed (how many),
#   transitions (property: {{initial: a, verb: {{from: [a], to: b}}}}), examples (property: [values]).
# operations: effect (get, list, create, update, delete, action, read), resource, selector (the argument that says
#   which record), record and items (where a response holds them), filters, page, mode (merge, replace), transition
#   (property.verb), sets (property: value, "+1", {{body: argument}}), fields (argument: property).
# An entry that is taken out is inferred again; an entry without `schema` or `effect` corrects what is inferred.
"""
_PLAIN = re.compile(r"[A-Za-z_$][A-Za-z0-9_$.-]*")
_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")


def overlay_text(api: Api, schema: str = SCHEMA) -> str:
    """A complete overlay: with it nothing is inferred, and operations and resources are what they are.

    `schema` is where editors find the JSON Schema of overlays.
    """
    lines = [_HEAD.format(schema=schema, name=_scalar(api.name)).rstrip()]
    if api.inferred:
        lines.append("inferred: true")
    for kind in ("resources", "operations"):
        lines.append(f"{kind}:" if api.meaning[kind] else f"{kind}: {{}}")
        for name, said in api.meaning[kind].items():
            whole = f"  {_scalar(name)}: {_flow(said)}"
            if len(whole) <= 120:
                lines.append(whole)
                continue
            lines.append(f"  {_scalar(name)}:")
            lines += [f"    {_scalar(key)}: {_flow(value)}" for key, value in said.items()]
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value) if isinstance(value, str) else to_json(value)


def _scalar(text: str) -> str:
    """A text as every reader of YAML reads it back: plain where it is a word, else in double quotes."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return '"' + "".join(map(_character, text)) + '"'


def _character(sign: str) -> str:
    if sign in '"\\':
        return f"\\{sign}"
    if sign.isprintable():
        return sign
    return f"\\U{ord(sign):08x}"


def write_overlay(path: Path, api: Api, *, force: bool = False) -> Path | None:
    """Write a complete overlay, and the JSON Schema beside it where there is none.

    A file that is there is written over only with `force`, and only if it is an overlay; what it held is kept beside
    it, under the name that is returned. Raises InputError otherwise.
    """
    kept = _kept(path, force=force) if path.exists() else None
    with writing(path) as file:
        file.write(overlay_text(api, _schema_beside(path.parent)).encode())
    return kept


def _kept(path: Path, *, force: bool) -> Path:
    """Copy an overlay to a name that is free; raises InputError where it may not be written over."""
    text = read_text(path, "overlay")
    try:
        check_overlay(path.stem, parse_yaml(text, str(path)).value)
    except InputError as error:
        raise InputError(f"{path}: is there and is no overlay; name another file ({error})") from None
    if not force:
        raise InputError(f"{path}: is there already; --force writes over it and keeps what it held as {path.name}.bak")
    number = 1
    while (kept := path.with_name(f"{path.name}.bak{'' if number == 1 else number}")).exists():
        number += 1
    with writing(kept) as file:
        file.write(text.encode())
    return kept


def _schema_beside(folder: Path) -> str:
    """The path of the JSON Schema as the files of a folder name it; written there where there is none."""
    if (folder.parent / SCHEMA).exists():
        return f"../{SCHEMA}"
    if not (folder / SCHEMA).exists():
        with writing(folder / SCHEMA) as file:
            file.write(resource("apis", SCHEMA).read_bytes())
    return SCHEMA
