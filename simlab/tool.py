"""Tools: what an assistant may call, described as a model is shown it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simlab.lazy import lazy
from simlab.schema import digest, to_json


@dataclass(frozen=True)
class Tool:
    """A function an assistant may call; `parameters` is the JSON Schema of its arguments."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})

    @lazy
    def content(self) -> str:
        """The tool as it is stored, once for all that use it."""
        return self.wire.decode()

    @lazy
    def key(self) -> str:
        """`tool:digest`, which is how a record refers to it."""
        return f"tool:{digest(self.content)}"

    @lazy
    def wire(self) -> bytes:
        """The tool in the chat-completions dialect."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return to_json({"type": "function", "function": function}).encode()
