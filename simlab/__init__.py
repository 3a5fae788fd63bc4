"""simlab: agent simulations that generate, evaluate and replay conversations.

Importing this is cheap and does nothing: names are loaded when they are first used (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from simlab.agent import Agent, End, Turn, Wake
    from simlab.die import Die
    from simlab.errors import Drop, InputError, SimlabError
    from simlab.lab import Lab, Seeds
    from simlab.message import ChatMessage, Message, ToolCall, ToolResult
    from simlab.model import Model, Reply, Request, Sampling
    from simlab.models.scripted import Scripted
    from simlab.prompt import Prompt
    from simlab.pytest_plugin import scenarios
    from simlab.record import Dialogue, Instruction, Preference, Record
    from simlab.roles import Assistant, Beat, Critic, Speaker, UserSimulator
    from simlab.scenario import DialogueScenario, PinkElephantScenario, load_scenario, load_scenarios
    from simlab.simulation import Simulation
    from simlab.tool import Tool
    from simlab.trace import Event, Trace

_HOME = {
    "agent": ("Agent", "End", "Turn", "Wake"),
    "die": ("Die",),
    "errors": ("Drop", "InputError", "SimlabError"),
    "lab": ("Lab", "Seeds"),
    "message": ("ChatMessage", "Message", "ToolCall", "ToolResult"),
    "model": ("Model", "Reply", "Request", "Sampling"),
    "models.scripted": ("Scripted",),
    "prompt": ("Prompt",),
    "pytest_plugin": ("scenarios",),
    "record": ("Dialogue", "Instruction", "Preference", "Record"),
    "roles": ("Assistant", "Beat", "Critic", "Speaker", "UserSimulator"),
    "scenario": ("DialogueScenario", "PinkElephantScenario", "load_scenario", "load_scenarios"),
    "simulation": ("Simulation",),
    "tool": ("Tool",),
    "trace": ("Event", "Trace"),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [  # noqa: RUF022 - sorted as people sort
    "Agent",
    "Assistant",
    "Beat",
    "ChatMessage",
    "Critic",
    "Dialogue",
    "DialogueScenario",
    "Die",
    "Drop",
    "End",
    "Event",
    "InputError",
    "Instruction",
    "Lab",
    "Message",
    "Model",
    "PinkElephantScenario",
    "Preference",
    "Prompt",
    "Record",
    "Reply",
    "Request",
    "Sampling",
    "Scripted",
    "Seeds",
    "SimlabError",
    "Simulation",
    "Speaker",
    "Tool",
    "ToolCall",
    "ToolResult",
    "Trace",
    "Turn",
    "UserSimulator",
    "Wake",
    "load_scenario",
    "load_scenarios",
    "scenarios",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE:
        value = getattr(import_module(f"simlab.{_MODULE[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'simlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
