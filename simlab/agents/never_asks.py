"""`never_asks`: makes the reference calls with what the opening told; fails where more is needed."""

from simlab.guided import Guided
from simlab.model import Model
from simlab.plan import Plan
from simlab.world import World


def never_asks(plan: Plan, world: World, model: Model) -> Guided:
    """The agent for one scenario."""
    del world
    return Guided(model, plan, hesitates=False)
