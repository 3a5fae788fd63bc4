"""What readers make of a line: a talk, or a label with what is needed to judge by it.

A reader is a function from the value of one JSON line to one of these, on the shelf `simlab/readers`; it raises
ValueError with what was expected. The module says with `READS` whether it reads traces or labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simlab.arguments import Expected
from simlab.scenario import FaultPart, Label, WorldPart
from simlab.talk import Talk


@dataclass(frozen=True)
class ReadTrace:
    """A talk; `id` is empty where the line has none, and then its place in the file counts."""

    id: str
    talk: Talk


@dataclass(frozen=True)
class ReadLabel:
    """What is expected of a talk: a label of ours over a world, calls, or only the slots of the last call."""

    id: str
    label: Label | None = None
    world: WorldPart = field(default_factory=WorldPart)
    faults: tuple[FaultPart, ...] = ()
    policy: str = ""
    calls: tuple[Expected, ...] | None = None
    slots: Mapping[str, Any] | None = None
    operation: str = ""  # of the slots, where it is known


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """The value, which is an object; raises ValueError."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{what}: expected an object, got {str(value)[:40]!r}")
    return value


def listed(value: Any, what: str) -> list[Any]:
    """The value, which is a list; raises ValueError."""
    if not isinstance(value, list):
        raise ValueError(f"{what}: expected a list, got {str(value)[:40]!r}")
    return value


def identity(line: Mapping[str, Any]) -> str:
    """The id of a line, as text; empty where it has none."""
    found = line.get("id", "")
    if not isinstance(found, str | int) or isinstance(found, bool):
        raise ValueError(f"id: expected a text or a number, got {str(found)[:40]!r}")
    return str(found)
