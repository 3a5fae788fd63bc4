"""`oracle`: follows the reference plan, asking for every value it needs; passes every scenario."""

from simlab.guided import Guided
from simlab.model import Model
from simlab.plan import Plan
from simlab.world import World


def oracle(plan: Plan, world: World, model: Model) -> Guided:
    """The agent for one scenario."""
    del world
    return Guided(model, plan)
