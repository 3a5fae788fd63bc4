"""Controls: agents whose verdict is known beforehand, played on every scenario, so that a bad label shows.

A scenario that an agent passes which may not, or that the oracle fails, tests nothing and is not to be trusted. What
each may pass is a table of its own (`MAY_PASS`), after the audits of published benchmarks, in which agents that do
nothing, or list everything, passed a good part of the tasks.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from simlab.agents.always_refuses import always_refuses
from simlab.agents.do_nothing import do_nothing
from simlab.agents.enumerate_everything import enumerate_everything
from simlab.agents.never_asks import never_asks
from simlab.agents.oracle import oracle
from simlab.agents.read_only import read_only
from simlab.api import Api
from simlab.models.scripted import Scripted
from simlab.plan import chances
from simlab.scenario import TOOL_KINDS, Label, ToolScenario
from simlab.score import reached, same_change
from simlab.simulation import Simulation
from simlab.stage import Stage

PLAYED = {
    "oracle": oracle,
    "never_asks": never_asks,
    "read_only": read_only,
    "do_nothing": do_nothing,
    "always_refuses": always_refuses,
    "enumerate_everything": enumerate_everything,
}
READERS = ("read_only", "do_nothing", "always_refuses", "enumerate_everything")  # they never call what writes
RANDOM = "random_calls"
RANDOM_DRAWS = 20
AGENTS = (*PLAYED, RANDOM)
MAY_PASS: dict[str, tuple[str, ...]] = {
    "oracle": TOOL_KINDS,
    "never_asks": tuple(kind for kind in TOOL_KINDS if kind not in ("clarify", "unknown")),
    "read_only": ("ask", "abstain", "refuse"),
    "do_nothing": ("abstain", "refuse"),
    "always_refuses": ("abstain", "refuse"),
    "enumerate_everything": ("abstain", "refuse"),
    RANDOM: ("ask", "abstain", "refuse"),
}


@dataclass
class ControlTable:
    """How often each agent passed each kind; `passed` and `played` are by (agent, kind)."""

    passed: Counter[tuple[str, str]] = field(default_factory=Counter)
    played: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, kind: str, outcome: dict[str, bool]) -> None:
        """Count what the agents made of one scenario."""
        for agent, passed in outcome.items():
            self.played[agent, kind] += 1
            self.passed[agent, kind] += passed

    @property
    def kinds(self) -> list[str]:
        """The kinds that were played, in their usual order."""
        return [kind for kind in TOOL_KINDS if any(k == kind for _, k in self.played)]

    def rows(self) -> Iterator[list[str]]:
        """A row per agent: its name, and `passed/played` for each kind."""
        for agent in AGENTS:
            yield [agent, *(f"{self.passed[agent, kind]}/{self.played[agent, kind]}" for kind in self.kinds)]

    def as_json(self) -> dict[str, Any]:
        """The form that is stored beside the scenarios."""
        return {
            agent: {kind: [self.passed[agent, kind], self.played[agent, kind]] for kind in self.kinds}
            for agent in AGENTS
        }


async def outcome_of(api: Api, scenario: ToolScenario) -> dict[str, bool]:
    """Whether each control agent passes a scenario; of the random ones, whether any of 20 does.

    An agent that only reads is not played where no reading and no telling could change its verdict.
    """
    found: dict[str, bool] = {}
    known = _by_reading(api, scenario.label)
    for name, agent in PLAYED.items():
        if name in READERS and known is not None:
            found[name] = known
            continue
        stage = Stage.of(api, scenario)
        cast = stage.cast(agent(stage.plan, stage.world, WORDS), WORDS)
        trace = await Simulation(cast, turns=scenario.ends.turns).run()
        found[name] = stage.judge(trace).success
    found[RANDOM] = _by_chance(api, scenario)
    return found


def _by_reading(api: Api, label: Label) -> bool | None:
    """Whether who changes nothing passes; None where that depends on what it looks up and tells."""
    if not reached(api, label, {}):
        return False
    judged = [api.operations[name] for name in (*label.forbidden, *label.confirm) if name in api.operations]
    return True if not label.facts and all(operation.writes for operation in judged) else None


def breach(scenario: ToolScenario, outcome: dict[str, bool]) -> str:
    """The first agent whose verdict is not what it must be; empty where all are."""
    if not outcome["oracle"]:
        return "oracle"
    for agent, passed in outcome.items():
        if passed and scenario.kind not in MAY_PASS[agent]:
            return agent
    withheld = any(slot.reveal != "opening" for slot in scenario.slots.values()) and scenario.label.calls
    return "never_asks" if outcome["never_asks"] and withheld else ""


def _by_chance(api: Api, scenario: ToolScenario) -> bool:
    """Whether one of the random agents passes; they say nothing but that they are done, so facts are never told."""
    label = scenario.label
    if label.facts:
        return False
    drawn, forbidden = chances(api, scenario.world.seed, scenario.world.clock)[:RANDOM_DRAWS], set(label.forbidden)
    return any(not worked & forbidden and same_change(label.goal, change) for worked, change, _ in drawn)


WORDS = Scripted()  # what everyone says is the plain sentence
