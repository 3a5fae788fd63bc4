"""`read_only`: follows the reference plan up to its first write; passes `ask` and `abstain` only."""

from dataclasses import replace

from simlab.guided import Guided
from simlab.model import Model
from simlab.plan import Plan
from simlab.world import World


def read_only(plan: Plan, world: World, model: Model) -> Guided:
    """The agent for one scenario."""
    reads = []
    for call in plan.calls:
        if world.api.operations[call.operation].writes:
            break
        reads.append(call)
    return Guided(model, replace(plan, calls=tuple(reads)))
