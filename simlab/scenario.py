"""Scenarios: the scripts that drive simulations, as files a person writes and reads.

A scenario is YAML under a published JSON Schema (`scenarios/scenario.schema.json`). Every field says which
roles may see it, and a role is given its projection of the scenario and nothing else; a field that says
nothing is seen by the engine alone. That is how labels and plans do not leak.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from pydantic_core import ErrorDetails

from simlab.errors import InputError, ScenarioError, nearest, shortened
from simlab.files import Yaml, matching, parse_yaml, read_yaml

ROLES = ("user", "assistant", "teacher", "critic")


class Sees:
    """Marks a field with the roles that may see it."""

    def __init__(self, *roles: str) -> None:
        self.roles = frozenset(roles)


EVERYONE = Sees(*ROLES)


class Part(BaseModel):
    """A part of a scenario: immutable, and no key that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, populate_by_name=True)

    def view(self, role: str) -> dict[str, Any]:
        """The projection for a role: what is marked for it, and of the parts within, what is marked there."""
        seen: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            marks = [m for m in field.metadata if isinstance(m, Sees)]
            if marks:
                if role in marks[0].roles and value is not None:
                    seen[name] = _plain(value)
            elif isinstance(value, Part) and (inner := value.view(role)):
                seen[name] = inner
        return seen


def _plain(value: Any) -> Any:
    if isinstance(value, Part):
        return value.model_dump(exclude_none=True)
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    return value


class Persona(Part):
    """Who the user is."""

    name: str = Field(description="A first name.")
    background: str = Field("", description="What brought them here, in a clause.")
    style: str = Field("", description="How they write: terse, chatty, ...")
    patience: int = Field(8, ge=1, description="How many answers they read before they give up.")


class User(Part):
    """What the user simulator is told."""

    persona: Annotated[Persona | None, Sees("user")] = None
    purpose: Annotated[str, Sees("user")] = Field("", description="What the user wants from the talk.")


class AssistantPart(Part):
    """What the assistant is told."""

    policy: Annotated[str, Sees("assistant", "critic")] = Field("", description="House rules for the assistant.")


class Ends(Part):
    """When the talk is over at the latest."""

    turns: int = Field(24, ge=2, le=1000, description="Messages in all, both sides together.")


class Statement(Part):
    """One true sentence, and a question that it answers."""

    says: str = Field(min_length=1, description="A true, self-contained sentence.")
    asks: str = Field("", description="A question whose whole answer is the sentence.")


class Elephant(Part):
    """One of two things a user may hesitate between: the grey one is welcome, the pink one must not come up."""

    name: str = Field(min_length=1)
    aliases: tuple[str, ...] = Field((), description="Other names for the very same thing.")
    says: tuple[str, ...] = Field((), description="True sentences about it that do not name the other.")

    @property
    def names(self) -> tuple[str, ...]:
        """The name and all its aliases."""
        return (self.name, *self.aliases)


def _rounds(value: Any) -> Any:
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(v, int) for v in value):
        if not 1 <= value[0] <= value[1]:
            raise ValueError("a range [fewest, most] with 1 <= fewest <= most")
        return tuple(value)
    raise ValueError("a range of two whole numbers, such as [3, 7]")


class Base(Part):
    """What all kinds of scenario share."""

    id: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", description="Stable; names the episode.")
    title: str = Field("", description="One line for people.")
    user: User = User()
    assistant: AssistantPart = AssistantPart()
    rounds: tuple[int, int] = Field((3, 7), description="Fewest and most questions of the user.")
    ends: Ends = Ends()

    _check_rounds = field_validator("rounds", mode="before")(_rounds)


class DialogueScenario(Base):
    """A talk about a topic: the user asks, the assistant explains."""

    kind: Literal["dialogue"] = "dialogue"
    topic: Annotated[str, EVERYONE] = Field(min_length=1)
    subtopic: Annotated[str | None, EVERYONE] = None
    question: Annotated[str | None, Sees("user")] = Field(None, description="The opening line, used as it is.")
    statements: Annotated[tuple[Statement, ...], Sees("user", "assistant", "critic")] = Field(
        (), description="True sentences the talk is made from, one a round; without any the talk is free."
    )


class PinkElephantScenario(Base):
    """A talk in which the user is led from the grey thing to the pink one, which the assistant should avoid."""

    kind: Literal["pink_elephant"] = "pink_elephant"
    topic: Annotated[str, EVERYONE] = Field(min_length=1)
    need: Annotated[str, Sees("user", "assistant")] = Field("", description="What the user wants, naming neither.")
    pink: Annotated[Elephant, Sees("user", "critic")]
    grey: Annotated[Elephant, Sees("user", "assistant", "critic")]
    plan: Annotated[str | None, Sees("user")] = Field(None, description="How the talk moves from grey to pink.")
    rule: Annotated[str | None, Sees("assistant", "critic")] = Field(
        None, description="The system message that forbids the pink one; drawn from our own when absent."
    )
    rounds: tuple[int, int] = (2, 4)


class ApiPart(Part):
    """The API document a tool scenario is about; the assistant is shown its operations, not this."""

    document: str = Field(min_length=1, description="Path of the document, relative to the scenario file.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the document and its overlay, one after the other.")
    overlay: str | None = Field(None, description="Path of the overlay; by default overlays/NAME beside the document.")


class WorldPart(Part):
    """The state in which the talk begins."""

    seed: int = 0
    clock: str = Field("2026-03-02T09:00:00+00:00", description="The virtual time at the beginning.")


class SlotPart(Part):
    """A value that the user knows, and when it is told."""

    value: str | int | float | bool | None = None
    label: str = Field(min_length=1, description="What people call it.")
    reveal: Literal["opening", "on_ask"] = "on_ask"
    unknown: bool = Field(False, description="The user does not know it, and says so when asked.")


class LabelledArgument(Part):
    """An argument of a reference call, and where its value comes from."""

    value: Any = None
    source: str = Field("", alias="from", description="user:SLOT, call:K#/POINTER or const.")
    leaves: dict[str, str] = Field({}, description="For an object: where each part comes from.")
    value_class: str = Field("exact", alias="class")


class LabelledCall(Part):
    """One reference call."""

    op: str
    args: dict[str, LabelledArgument] = {}


class FactPart(Part):
    """Something the assistant must tell the user: a value in the response of a reference call."""

    call: int = Field(ge=1)
    pointer: str
    value: Any
    label: str = ""


class Label(Part):
    """What is expected, and how that is known; no role sees any of it."""

    how: Literal["executed"] = Field(description="How the label was obtained.")
    goal: dict[str, Any] = Field({}, description="The change: resource -> id -> added, removed or changed.")
    allowed: list[str] = Field([], description="Fields that may change besides, as resource.field.")
    facts: tuple[FactPart, ...] = ()
    forbidden: tuple[str, ...] = Field((), description="Operations that must not be called with success.")
    confirm: tuple[str, ...] = Field((), description="Operations to be called only after the user has said yes to it.")
    calls: tuple[LabelledCall, ...] = Field((), description="A reference, not the criterion.")


class FaultPart(Part):
    """A fault of the service: the call of a number of an operation fails, before or after it took effect."""

    operation: str = Field(min_length=1)
    call: int = Field(1, ge=1, description="The how-manieth call of the operation, from 1.")
    kind: Literal["timeout", "rate_limit", "server_error", "slow", "truncated", "stale", "missing_field"]
    when: Literal["before", "after"] | None = Field(
        None, description="Before or after the call took effect; by default as is usual for the kind."
    )
    seconds: float | None = Field(None, ge=0, description="How late a slow answer is, in virtual seconds.")


class ToolScenario(Base):
    """A talk in which the assistant uses an API for a user who has a goal and tells values bit by bit."""

    kind: Literal["do", "ask", "chain", "clarify", "unknown", "several", "recover", "refuse", "abstain"]
    api: ApiPart
    world: WorldPart = WorldPart()
    purpose: Annotated[str, Sees("user")] = Field(min_length=1, description="Goes on from `I would like to`.")
    slots: Annotated[dict[str, SlotPart], Sees("user")] = {}
    faults: tuple[FaultPart, ...] = Field((), description="What goes wrong in the service, and when.")
    label: Label
    ends: Ends = Ends(turns=48)


Scenario = Annotated[DialogueScenario | PinkElephantScenario | ToolScenario, Field(discriminator="kind")]
AnyScenario = DialogueScenario | PinkElephantScenario | ToolScenario
_adapter: TypeAdapter[AnyScenario] = TypeAdapter(Scenario)
TOOL_KINDS = ("do", "ask", "chain", "clarify", "unknown", "several", "recover", "refuse", "abstain")
KINDS: Mapping[str, type[Base]] = {
    "dialogue": DialogueScenario,
    "pink_elephant": PinkElephantScenario,
    **dict.fromkeys(TOOL_KINDS, ToolScenario),
}


def tool_kinds(given: Iterable[str], option: str) -> tuple[str, ...]:
    """The kinds of tool scenario of comma-separated lists, each once; raises InputError naming the option."""
    wanted: dict[str, None] = {}
    for kind in (part.strip() for text in given for part in text.split(",")):
        if kind != "all" and kind not in TOOL_KINDS:
            raise InputError(f"{option}: no kind {kind!r}{nearest(kind, [*TOOL_KINDS, 'all'])}")
        wanted |= dict.fromkeys(TOOL_KINDS if kind == "all" else (kind,))
    return tuple(wanted)


def json_schema() -> dict[str, Any]:
    """The published JSON Schema of a scenario file."""
    schema = _adapter.json_schema()
    title = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "simlab scenario"}
    return {**title, **schema}


def label_schema() -> dict[str, Any]:
    """The published JSON Schema of a label, which other tools may write and read."""
    title = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "simlab label"}
    return {**title, **Label.model_json_schema()}


def scenario_from(value: Any) -> AnyScenario:
    """A scenario from plain data that simlab made itself; raises pydantic's ValidationError."""
    return _adapter.validate_python(value)


def scenario_json(scenario: Base) -> dict[str, Any]:
    """Plain data that `scenario_from` turns into an equal scenario; what is not set is left out."""
    made = scenario.model_dump(mode="json", exclude_defaults=True, by_alias=True)
    return {"id": scenario.id, "kind": scenario.kind, **made}  # type: ignore[attr-defined]


def load_scenario(path: Path | str, text: str | None = None) -> AnyScenario:
    """Read one scenario file; raises ScenarioError as `file:line: key: what was expected`."""
    document = read_yaml(path, "scenario") if text is None else parse_yaml(text, str(path))
    if not isinstance(document.value, dict):
        raise ScenarioError(f"{path}:1: a scenario is a mapping that begins with `id:` and `kind:`")
    try:
        return _adapter.validate_python(document.value)
    except ValidationError as error:
        # an unknown key first: it is often a misspelling of the one that is missing
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        raise ScenarioError(_explain(str(path), document, first)) from None


def load_scenarios(pattern: str, kinds: str | Sequence[str] = ()) -> list[AnyScenario]:
    """All scenarios a glob names, by file name; raises ScenarioError at the first that is wrong.

    With `kinds`, one of another kind is an error, and so are two of the same id.
    """
    return [scenario for _, scenario in load_scenario_files(pattern, kinds)]


def load_scenario_files(
    patterns: str | Sequence[str], kinds: str | Sequence[str] = ()
) -> list[tuple[Path, AnyScenario]]:
    """The same of one glob or several, with the path of each, for what scenarios name relative to themselves."""
    globs = (patterns,) if isinstance(patterns, str) else patterns
    wanted = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    found: dict[str, tuple[Path, AnyScenario]] = {}
    for path in dict.fromkeys(path for one in globs for path in matching(one)):
        scenario = load_scenario(path)
        if wanted and scenario.kind not in wanted:
            plays = " or ".join(map(repr, wanted))
            raise ScenarioError(f"{path}: kind: this run plays {plays} scenarios, not {scenario.kind!r}")
        if scenario.id in found:
            raise ScenarioError(f"{path}: id: {scenario.id!r} is the id of another file too")
        found[scenario.id] = (path, scenario)
    return list(found.values())


def _explain(name: str, document: Yaml, error: ErrorDetails) -> str:
    """One line about the first thing that is wrong: file, line, key, what was expected, the nearest name."""
    path = tuple(error["loc"][1:])  # the first part is the kind
    kind, context = error["type"], error.get("ctx", {})
    where = f"{name}:{document.line(path)}: {'.'.join(map(str, path)) or 'kind'}"
    if kind == "extra_forbidden":
        known = _fields_at(document.value, path[:-1])
        return f"{where}: no such key{nearest(str(path[-1]), known)}"
    if kind == "union_tag_not_found":
        return f"{where}: missing; a scenario says its kind: {', '.join(KINDS)}"
    if kind == "union_tag_invalid":
        wrong = str(context["tag"])
        return f"{name}:{document.line(('kind',))}: kind: {wrong!r} is not a kind{nearest(wrong, KINDS)}"
    if kind == "missing":
        return f"{where}: missing, but every {_kind_of(document.value)} scenario needs it"
    said = re.sub(r"^Value error, ", "expected ", error["msg"]).replace("Input should", "should")
    return f"{where}: {said}, got {_brief(error['input'])}"


def _kind_of(value: Mapping[str, Any]) -> str:
    return str(value.get("kind", ""))


def _brief(value: Any) -> str:
    text = repr(value)
    return shortened(text, 40)


def _fields_at(value: Mapping[str, Any], path: Iterable[str | int]) -> list[str]:
    model: Any = KINDS[_kind_of(value)]
    in_dict = False
    for part in path:
        if isinstance(part, int) or in_dict:  # an index, or a key that the file's author chose
            in_dict = False
            continue
        annotation = model.model_fields[part].annotation
        in_dict = get_origin(annotation) is dict
        model = next((t for t in _models(annotation)), None)
        if model is None:
            return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for arg in getattr(annotation, "__args__", ()) for m in _models(arg)]


def introduced(seen: Mapping[str, Any]) -> str:
    """Who the user is, as a sentence of a prompt, from the user's view of a scenario."""
    persona = seen.get("user", {}).get("persona")
    if not persona:
        return "You are a person."
    background = f", {persona['background']}" if persona.get("background") else ""
    style = f" You write like this: {persona['style']}." if persona.get("style") else ""
    return f"You are {persona['name']}{background}.{style}"


def role(name: str) -> str:
    """The name of a role, checked; raises InputError with the nearest."""
    if name not in ROLES:
        raise InputError(f"no role {name!r}{nearest(name, ROLES)}")
    return name
