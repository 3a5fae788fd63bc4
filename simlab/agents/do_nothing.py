"""`do_nothing`: says that it is done and never calls anything; passes `abstain` only."""

from dataclasses import dataclass

from simlab.agent import Answer, Turn
from simlab.message import Message
from simlab.model import Model
from simlab.plan import Plan
from simlab.world import World


@dataclass
class DoNothing:
    """Says one line."""

    said: str
    name: str = "assistant"

    async def reply(self, turn: Turn) -> Answer:
        """The line."""
        return Message(self.name, self.said, to=("user",))


def do_nothing(plan: Plan, world: World, model: Model) -> DoNothing:
    """The agent for one scenario."""
    del plan, world, model
    return DoNothing("That is done.")
