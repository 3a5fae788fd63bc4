"""Who sits in the assistant's seat: the plan's guide, a model, an agent to calibrate by, or an agent under test."""

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

from simlab.agent import Answer, End, Turn
from simlab.api import Api
from simlab.die import Die
from simlab.errors import InputError
from simlab.guided import Guided
from simlab.journal import Branch
from simlab.lab import Lab
from simlab.message import ChatMessage, Message
from simlab.model import AGENT, Model, Reply, Request
from simlab.prompt import Prompt
from simlab.roles import Assistant
from simlab.scenario import ToolScenario
from simlab.shelf import find
from simlab.stage import Stage
from simlab.tool import Tool

MOST_TOOLS = 24  # operations of an API that are all shown; of a larger one so many are
FREE = Prompt(
    step="act",
    system="{about} Use the tools to do what the user wants. Ask for values that you lack and never invent any."
    " When no tool can serve, say that you cannot help. When it is done, say so with what the user wanted to know."
    " {policy}",
)


def toolset(api: Api, scenario: ToolScenario, die: Die) -> tuple[Tool, ...]:
    """The tools an assistant is shown: all of a small API, of a large one those of the label among others.

    Several hundred tools fit no prompt. The others are drawn by a die, and all stand in the document's order.
    """
    if len(api.operations) <= MOST_TOOLS:
        return api.tools
    needed = {call.op for call in scenario.label.calls} | set(scenario.label.forbidden)
    others = die.sample([name for name in api.operations if name not in needed], MOST_TOOLS - len(needed))
    shown = needed | set(others)
    return tuple(tool for tool in api.tools if tool.name in shown)


def assistant_of(lab: Lab, how: str, stage: Stage, tools: Sequence[Tool]) -> Any:
    """The assistant: `guided`, `free`, `agent` (the one under test), or a calibration agent by its name.

    Raises InputError for a name that there is not, and for a model that is too small to choose.
    """
    if how == AGENT:
        return UnderTest(lab.model(AGENT), stage, tuple(tools))
    model = lab.model("assistant")
    if how == "guided":
        return Guided(model, stage.plan)
    if how == "free" and model.small:
        raise InputError(
            f"{model.name} is too small to choose tools; leave the assistant guided, or name another model"
        )
    if how == "free":
        view = {"about": stage.api.description, "policy": stage.scenario.assistant.policy}
        return Assistant(model, FREE, view, tools=tuple(tools))
    name, at, said = how.partition("@")
    agent = find("agents", name)
    return agent(stage.plan, stage.world, model, **(_options(how, agent, said) if at else {}))


def _options(how: str, agent: Any, said: str) -> dict[str, Any]:
    """What stands after the @ of an agent's name: a seed, or a type of error and perhaps its rate."""
    known = signature(agent).parameters
    if "seed" in known and said.isdecimal():
        return {"seed": int(said)}
    kind, given, rate = said.partition("=")
    with suppress(ValueError):
        if "rate" in known:
            return {"type": kind, **({"rate": float(rate)} if given else {})}
    raise InputError(f"assistant={how}: expected random_calls@SEED, a whole number, or faulty@TYPE=RATE")


@dataclass
class UnderTest:
    """An agent under test in its seat; `model` is the door to it, or what was recorded of it.

    Its turns have a branch of their own in the journal, so the others' positions do not depend on how many it takes.
    Calls that it made over HTTP are made once more in the room, before its words are heard: the same calls in the same
    world have the same answers, and the trace is one that any agent could have.
    """

    model: Model
    stage: Stage
    tools: tuple[Tool, ...]
    name: str = "assistant"
    _to_say: deque[Message | End] = field(default_factory=deque)
    _branch: Branch | None = None

    async def reply(self, turn: Turn) -> Answer:
        """What the agent says or calls next; an agent that failed ends the talk."""
        if not self._to_say:
            if self._branch is None:
                self._branch = Branch(turn.branch.journal, f"{AGENT}.")
            self._hear(await self._branch.ask(self.model, self._request(turn)))
        return self._to_say.popleft()

    def _request(self, turn: Turn) -> Request:
        policy = self.stage.scenario.assistant.policy
        rules = (ChatMessage("system", policy),) if policy else ()
        view: Mapping[str, Any] = {"api": self.stage.api, "scenario": self.stage.scenario}
        return Request(role=AGENT, step="turn", messages=(*rules, *turn.chat), tools=self.tools, view=view)

    def _hear(self, reply: Reply) -> None:
        if reply.finish == "tool_calls":
            self._to_say.append(Message(self.name, reply.text.strip(), to=("api",), calls=reply.calls))
            return
        for call in reply.calls:
            self._to_say.append(Message(self.name, "", to=("api",), calls=(call,)))
        if reply.fault is not None:
            self._to_say.append(End("agent_error", f"{reply.fault}: {reply.text}"))
        else:
            self._to_say.append(Message(self.name, reply.text.strip(), to=("user",)))
