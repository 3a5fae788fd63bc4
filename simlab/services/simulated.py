"""`simulated`: an API answered from a world's state; deterministic, no language model, no network."""

from collections.abc import Sequence
from typing import ClassVar

from simlab.agent import Answer, Turn
from simlab.faults import Fault, FaultyWorld, Injection
from simlab.message import Message, ToolResult
from simlab.world import World


class Simulated:
    """Answers calls in the order they are listed in; an unknown tool is an answer too, and never a crash.

    With `faults` some calls go wrong on schedule; a slow one delays the message that holds its result.
    """

    service: ClassVar[bool] = True

    def __init__(self, world: World, name: str = "api", faults: Sequence[Fault] = ()) -> None:
        self.world, self.name = world, name
        self._faulty = FaultyWorld(world, faults)

    @property
    def injected(self) -> Sequence[Injection]:
        """The faults injected so far."""
        return self._faulty.injected

    async def reply(self, turn: Turn) -> Answer:
        """The results of the calls it heard, to whoever made them."""
        answers: list[Message] = []
        for message in turn.heard:
            results, delay = [], 0.0
            for call in message.calls:
                answered = self._faulty.call(call.name, call.arguments)
                delay += answered.delay
                results.append(ToolResult(call.id, call.name, answered.response.status, answered.response.body))
            if results:
                answers.append(Message(self.name, "", to=(message.sender,), results=tuple(results), delay=delay))
        return answers


def simulated(world: World, faults: Sequence[Fault] = ()) -> Simulated:
    """The service of a world."""
    return Simulated(world, faults=faults)
