"""Tools: what an assistant may call, described as a model is shown it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simlab.lazy import lazy
from simlab.schema import to_json


@dataclass(frozen=True)
class Tool:
    """A function an assistant may call; `parameters` is the JSON Schema of its arguments."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})

    @lazy
    def wire(self) -> bytes:
        """The tool in the chat-completions dialect."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return to_json({"type": "function", "function": function}).encode()
