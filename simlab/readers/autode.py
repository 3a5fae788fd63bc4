"""`autode`: labels as AutoDE's user scripts hold them (Mu et al., *Beyond Static Evaluation*, 2024): flat slots.

    {"id": "d7", "API": "book_table", "Parameters": {"people": "4", "day": "Friday"}}

The last call of a talk is the one that is submitted; its arguments are its slots. Precision, recall and F1 over slots
are all that is scored, by equal texts (raw) and by equal meanings (normalised). `API` may be left out.
"""

from collections.abc import Mapping
from typing import Any

from simlab.readers import needed
from simlab.reading import ReadLabel, identity, mapping

READS = "labels"


def autode(line: Any) -> ReadLabel:
    """The slots of a line; raises ValueError with what was expected."""
    whole = mapping(line, "the line")
    slots = mapping(needed(whole, "Parameters", "Parameters", "an object"), "Parameters")
    if deep := next((name for name, value in slots.items() if isinstance(value, Mapping | list)), None):
        raise ValueError(f"Parameters.{deep}: expected a plain value")
    api = whole.get("API", "")
    if not isinstance(api, str):
        raise ValueError(f"API: expected a text, got {str(api)[:40]!r}")
    return ReadLabel(identity(whole), slots=dict(slots), operation=api)
