"""`random_calls`: valid calls at random, drawn by the turn's die; reaches no goal that needs a write."""

from dataclasses import dataclass

from simlab.agent import Answer, Turn
from simlab.message import Message, ToolCall
from simlab.model import Model
from simlab.plan import Plan
from simlab.world import Maker, World

CALLS = 4


@dataclass
class RandomCalls:
    """Makes a few calls and says that it is done."""

    world: World
    made: int = 0
    name: str = "assistant"

    async def reply(self, turn: Turn) -> Answer:
        """The next call, or the line."""
        if self.made >= CALLS:
            return Message(self.name, "That is done.", to=("user",))
        self.made += 1
        api, die = self.world.api, turn.die
        operation = die.choice(list(api.operations.values()))
        maker = Maker(api, die, self.world.clock)
        known, wanted = api.arguments(operation), api.required_arguments(operation)
        links = {**api.resources[operation.resource].links, operation.selector or "": operation.resource}
        arguments = {}
        for name in known:
            if name in links:
                arguments[name] = die.choice(sorted(self.world.tables[links[name]]) or ["none"])
            elif name in wanted or die.chance(0.3):
                arguments[name] = maker.value(known[name])
        call = ToolCall(f"call_{self.made}", operation.id, arguments)
        return Message(self.name, "", to=("api",), calls=(call,))


def random_calls(plan: Plan, world: World, model: Model) -> RandomCalls:
    """The agent for one scenario."""
    del plan, model
    return RandomCalls(world)
