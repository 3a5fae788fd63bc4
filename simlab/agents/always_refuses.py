"""`always_refuses`: says that it cannot help, whatever is wanted; passes `abstain` only."""

from dataclasses import dataclass

from simlab.agent import Answer, Turn
from simlab.message import Message
from simlab.model import Model
from simlab.plan import Plan
from simlab.world import World


@dataclass
class AlwaysRefuses:
    """Says one line."""

    name: str = "assistant"

    async def reply(self, turn: Turn) -> Answer:
        """The line."""
        return Message(self.name, "I am sorry, I cannot help with that.", to=("user",))


def always_refuses(plan: Plan, world: World, model: Model) -> AlwaysRefuses:
    """The agent for one scenario."""
    del plan, world, model
    return AlwaysRefuses()
