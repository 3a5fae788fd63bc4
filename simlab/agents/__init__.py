"""The shelf of agents to calibrate by: what each passes is known. Each is made for one scenario."""

from simlab.agents.always_refuses import always_refuses
from simlab.agents.do_nothing import do_nothing
from simlab.agents.enumerate_everything import enumerate_everything
from simlab.agents.faulty import faulty
from simlab.agents.never_asks import never_asks
from simlab.agents.oracle import oracle
from simlab.agents.random_calls import random_calls
from simlab.agents.read_only import read_only

__all__ = [
    "always_refuses",
    "do_nothing",
    "enumerate_everything",
    "faulty",
    "never_asks",
    "oracle",
    "random_calls",
    "read_only",
]
