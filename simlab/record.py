"""Records: what a recipe yields, one line each in the files that trainers and evaluators read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from simlab.message import ChatMessage
from simlab.scenario import Base, scenario_json
from simlab.schema import digest, to_json, to_ordered_json
from simlab.tool import Tool
from simlab.trace import Trace

SCHEMA = "simlab/record/1"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What all records share.

    `meta` is free; `trace` and `scenario` are what it came from; a record with a text in `distinct` is
    dropped by the second pass when an earlier item's is nearly the same.
    """

    type: ClassVar[str] = "record"
    meta: Mapping[str, Any] = field(default_factory=dict)
    scenario: Base | None = None
    trace: Trace | None = None
    distinct: str | None = None

    def fields(self) -> dict[str, Any]:
        """The type's own fields as plain data, messages as ChatMessage."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Dialogue(Record):
    """A conversation from the assistant's seat."""

    type: ClassVar[str] = "dialogue"
    messages: Sequence[ChatMessage]
    tools: Sequence[Tool] = ()

    def fields(self) -> dict[str, Any]:
        """The messages, and the tools that could be called."""
        return {"messages": self.messages, **({"tools": self.tools} if self.tools else {})}


@dataclass(frozen=True, kw_only=True)
class Preference(Record):
    """Two ways to go on from one prompt, of which the first is preferred."""

    type: ClassVar[str] = "preference"
    prompt: Sequence[ChatMessage]
    chosen: Sequence[ChatMessage]
    rejected: Sequence[ChatMessage]

    def fields(self) -> dict[str, Any]:
        """Prompt and both sides."""
        return {"prompt": self.prompt, "chosen": self.chosen, "rejected": self.rejected}


@dataclass(frozen=True, kw_only=True)
class Instruction(Record):
    """A task and its answer."""

    type: ClassVar[str] = "instruction"
    instruction: str
    output: str
    input: str = ""

    def fields(self) -> dict[str, Any]:
        """The three texts."""
        return {"instruction": self.instruction, "input": self.input, "output": self.output}


@dataclass(frozen=True, kw_only=True)
class Script(Record):
    """A scenario that was written by a recipe; the record is the scenario."""

    type: ClassVar[str] = "script"


def pack(record: Record, traces: Sequence[Trace], texts: dict[str, str]) -> str:
    """The stored form of a record: chats by digest (into `texts`), its trace by number, its scenario by digest."""
    body: dict[str, Any] = {}
    for name, value in record.fields().items():
        if isinstance(value, str):
            body[name] = value
        else:
            body[name] = [one.key for one in value]
            texts.update({one.key.split(":")[1]: one.content for one in value})
    if record.meta:
        body["meta"] = record.meta
    if record.trace is not None:
        body["trace"] = next(i for i, trace in enumerate(traces) if trace is record.trace)
    if record.scenario is not None:
        said = to_ordered_json(scenario_json(record.scenario))
        body["scenario"] = digest(said)
        texts[digest(said)] = said
    return to_json(body)
