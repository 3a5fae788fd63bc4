"""`enumerate_everything`: looks up all there is and tells all of it; passes `abstain` and `refuse` only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from simlab.agent import Answer, Turn
from simlab.die import Die
from simlab.message import Message, ToolCall
from simlab.model import Model
from simlab.plan import Plan, spoken
from simlab.world import World, example_call

MOST_CALLS = 12
MOST_VALUES = 400  # told of one answer


@dataclass
class EnumerateEverything:
    """Calls every operation that only reads, then tells every value that came back."""

    world: World
    die: Die
    left: list[str]
    found: list[str] = field(default_factory=list)
    made: int = 0
    name: str = "assistant"

    async def reply(self, turn: Turn) -> Answer:
        """The next call, or the line that holds everything."""
        for message in turn.heard:
            for result in message.results:
                self.found += islice(_values(result.body), MOST_VALUES)
        if self.left:
            self.made += 1
            operation = self.world.api.operations[self.left.pop(0)]
            arguments = example_call(self.world, operation, self.die)
            return Message(self.name, "", to=("api",), calls=(ToolCall(f"call_{self.made}", operation.id, arguments),))
        told = ", ".join(dict.fromkeys(self.found))
        return Message(self.name, f"Here is all there is: {told or 'nothing'}.", to=("user",))


def _values(body: Any) -> Iterator[str]:
    if isinstance(body, Mapping):
        for value in body.values():
            yield from _values(value)
    elif isinstance(body, list):
        for value in body:
            yield from _values(value)
    elif body is not None:
        yield spoken(body)


def enumerate_everything(plan: Plan, world: World, model: Model) -> EnumerateEverything:
    """The agent for one scenario; it begins with what the plan itself reads, so that it misses nothing."""
    del model
    operations = world.api.operations
    needed = [call.operation for call in plan.calls if not operations[call.operation].writes]
    lists = [name for name, o in operations.items() if o.effect == "list"]
    gets = [name for name, o in operations.items() if o.effect in ("get", "read")]
    left = list(dict.fromkeys((*needed, *lists, *gets)))[:MOST_CALLS]
    return EnumerateEverything(world, Die("everything", world.api.title, plan.world_seed), left)
