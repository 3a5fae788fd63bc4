"""`label`: labels in our published format (`scenarios/label.schema.json`), one a line, judged over an API document.

    {"id": "t1", "label": {"how": "executed", "goal": {...}, "facts": [...], "calls": [...]}, "world": {"seed": 5}}

A label of calls without a `goal` says nothing of the state, and the calls decide; an empty goal says that nothing may
change. `world`, `faults` and `policy` are as in a scenario. A line of `simlab export --format simlab`, or any line that
holds a whole `scenario`, is read too.
"""

from typing import Any

from pydantic import ValidationError

from simlab.reading import ReadLabel, identity, listed, mapping
from simlab.scenario import FaultPart, Label, WorldPart

READS = "labels"


def label(line: Any) -> ReadLabel:
    """The label of a line; raises ValueError with what was expected."""
    whole = mapping(line, "the line")
    said = mapping(whole.get("scenario", whole), "scenario")
    assistant = mapping(said.get("assistant", {}), "assistant")
    stated = mapping(said.get("label"), "label")
    if "scenario" in whole or "kind" in said:  # scenarios are stored without what is empty
        stated = {"goal": {}, **stated}
    try:
        return ReadLabel(
            identity(whole),
            Label.model_validate(stated),
            WorldPart.model_validate(said.get("world", {})),
            tuple(FaultPart.model_validate(one) for one in listed(list(said.get("faults", ())), "faults")),
            str(said.get("policy", assistant.get("policy", ""))),
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{first['msg']}: {place}" if place else first["msg"]) from None
