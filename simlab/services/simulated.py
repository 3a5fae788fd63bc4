"""`simulated`: an API answered from a world's state; deterministic, no language model, no network."""

from dataclasses import dataclass
from typing import ClassVar

from simlab.agent import Answer, Turn
from simlab.message import Message, ToolResult
from simlab.world import World


@dataclass
class Simulated:
    """Answers calls in the order they are listed in; an unknown tool is an answer too, and never a crash."""

    world: World
    name: str = "api"
    service: ClassVar[bool] = True

    async def reply(self, turn: Turn) -> Answer:
        """The results of the calls it heard, to whoever made them."""
        answers: list[Message] = []
        for message in turn.heard:
            results = []
            for call in message.calls:
                response = self.world.call(call.name, call.arguments)
                results.append(ToolResult(call.id, call.name, response.status, response.body))
            if results:
                answers.append(Message(self.name, "", to=(message.sender,), results=tuple(results)))
        return answers


def simulated(world: World) -> Simulated:
    """The service of a world."""
    return Simulated(world)
