"""`label`: labels in our published format (`scenarios/label.schema.json`), one a line, judged over an API document.

    {"id": "t1", "label": {"how": "executed", "goal": {...}, "facts": [...], "calls": [...]}, "world": {"seed": 5}}

A label of calls without a `goal` says nothing of the state, and the calls decide; an empty goal says that nothing may
change. `world`, `faults` and `policy` are as in a scenario. A line of `simlab export --format simlab`, or any line that
holds a whole `scenario`, is read too.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from simlab.errors import nearest
from simlab.readers import needed
from simlab.reading import ReadLabel, identity, mapping
from simlab.scenario import FactPart, FaultPart, Label, LabelledArgument, LabelledCall, Part, ToolScenario, WorldPart

READS = "labels"
_PARTS: Mapping[str, type[Part]] = {
    "label": Label,
    "calls": LabelledCall,
    "facts": FactPart,
    "world": WorldPart,
    "faults": FaultPart,
}
_KEYS = ("id", "label", "world", "faults", "policy", "scenario")


class _Judged(Part):
    """What of a line is needed to judge by it."""

    label: Label
    world: WorldPart = WorldPart()
    faults: tuple[FaultPart, ...] = ()


def label(line: Any) -> ReadLabel:
    """The label of a line; raises ValueError with what was expected."""
    whole = mapping(line, "the line")
    said = mapping(whole.get("scenario", whole), "scenario")
    assistant = mapping(said.get("assistant", {}), "assistant")
    known = (*_KEYS, *ToolScenario.model_fields)
    if wrong := next((key for key in said if key not in known), None):
        raise ValueError(f"{wrong}: no such key{nearest(wrong, dict.fromkeys(known))}")
    stated = {"how": "executed", **mapping(needed(said, "label", "label", "an object"), "label")}
    if "scenario" in whole or "kind" in said:  # scenarios are stored without what is empty
        stated = {"goal": {}, **stated}
    parts = {key: said[key] for key in ("world", "faults") if key in said}
    try:
        made = _Judged.model_validate({"label": stated, **parts})
    except ValidationError as error:
        # an unknown key first: it is often a misspelling of the one that is missing
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        raise ValueError(_explained(first)) from None
    policy = str(said.get("policy", assistant.get("policy", "")))
    return ReadLabel(identity(whole), made.label, made.world, made.faults, policy)


def _explained(error: ErrorDetails) -> str:
    """What is wrong, with its place and the nearest name."""
    path, said = error["loc"], error["msg"]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    if error["type"] == "extra_forbidden":
        names = [part for part in path[:-1] if isinstance(part, str)]
        model = LabelledArgument if "args" in names[2:3] else _PARTS[names[-1]]
        known = [field.alias or name for name, field in model.model_fields.items()]
        return f"{place}: no such key{nearest(str(path[-1]), known)}"
    if error["type"] == "missing":
        return f"{place}: missing"
    return f"{place}: {said.replace('Input should', 'should')}, got {str(error['input'])[:40]!r}"
