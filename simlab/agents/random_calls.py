"""`random_calls@SEED`: valid calls at random; reaches no goal that needs a write."""

from dataclasses import dataclass

from simlab.agent import Answer, Turn
from simlab.die import Die
from simlab.message import Message, ToolCall
from simlab.model import Model
from simlab.plan import RANDOM_CALLS, Plan, chance_die
from simlab.world import World, random_call


@dataclass
class RandomCalls:
    """Makes a few calls and says that it is done."""

    world: World
    die: Die
    made: int = 0
    name: str = "assistant"

    async def reply(self, turn: Turn) -> Answer:
        """The next call, or the line."""
        if self.made >= RANDOM_CALLS:
            return Message(self.name, "That is done.", to=("user",))
        self.made += 1
        name, arguments = random_call(self.world, self.die)
        return Message(self.name, "", to=("api",), calls=(ToolCall(f"call_{self.made}", name, arguments),))


def random_calls(plan: Plan, world: World, model: Model, seed: int = 0) -> RandomCalls:
    """The agent of a seed for one scenario."""
    del model
    return RandomCalls(world, chance_die(world.api, plan.world_seed, seed))
