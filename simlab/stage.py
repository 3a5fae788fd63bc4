"""A tool scenario on stage: its world, its user and its service, around whichever assistant is to be seen."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from simlab.agent import Agent, Answer, Turn
from simlab.api import Api
from simlab.faults import Fault, read_faults
from simlab.lazy import lazy
from simlab.message import Message
from simlab.model import Model
from simlab.plan import Plan, plan_of
from simlab.records import Tables
from simlab.scenario import FactPart, ToolScenario
from simlab.score import Score, reached, rivals_of, score_talk, told
from simlab.services.simulated import Simulated, simulated
from simlab.talk import talk_of
from simlab.trace import AGENT_ERROR, Trace
from simlab.user import GoalUser, slots_from
from simlab.world import World, diff, seeded, volatile_fields

HOPELESS = ("abstain", "refuse")  # kinds in which a refusal is what is wanted


@dataclass
class Stage:
    """One playing of a scenario; `start` is the world as it was, `world` the one that calls change."""

    api: Api
    scenario: ToolScenario
    start: World
    world: World
    plan: Plan
    heard: list[Message] = field(default_factory=list)
    _said: set[str] = field(default_factory=set)  # the lines in which facts were looked for
    _told: set[int] = field(default_factory=set)  # those that were found
    _seen: tuple[Tables | None, bool] = (None, False)  # the state that was looked at, and whether it is the goal

    @classmethod
    def of(cls, api: Api, scenario: ToolScenario) -> "Stage":
        """A fresh stage, in the scenario's first state."""
        start = seeded(api, scenario.world.seed, scenario.world.clock)
        return cls(api, scenario, start, start.copy(), plan_of(scenario))

    def cast(self, assistant: Any, user: Model) -> Sequence[Agent]:
        """Everyone in the room, the user first; the model words what the user says."""
        return [self.user(user), Listening(assistant, self.heard), self.service()]

    def user(self, model: Model) -> GoalUser:
        """The user of the scenario, who is given its own view of it and nothing else."""
        seen = self.scenario.view("user")
        persona = self.scenario.user.persona
        return GoalUser(
            model,
            seen["purpose"],
            slots_from(seen.get("slots", {})),
            settled=self.settled,
            hopeless=self.scenario.kind in HOPELESS,
            unknown=frozenset(name for name, slot in self.scenario.slots.items() if slot.unknown),
            patience=persona.patience if persona else 6,
            confirms=bool(self.scenario.label.confirm),
        )

    def service(self) -> Simulated:
        """The simulated API of the scenario's world."""
        return simulated(self.world, faults=faults_of(self.api, self.scenario))

    def settled(self) -> bool:
        """Whether the user has what it came for: the state is reached, and the facts were told."""
        if self.scenario.kind in HOPELESS:
            return False
        said = {message.text for message in self.heard if "user" in message.to or not message.to}
        fresh, self._said = said - self._said, said
        self._told |= {at for at, (fact, rivals) in enumerate(self._facts) if told(fact, [*fresh], rivals)}
        return len(self._told) == len(self._facts) and self._reached

    @property
    def _reached(self) -> bool:
        """Whether the state is reached; looked at again when a call has changed it."""
        tables, reaches = self._seen
        if tables is not self.world.tables:
            changed = diff(self.start.tables, self.world.tables, volatile_fields(self.api))
            reaches = reached(self.api, self.scenario.label, changed)
            self._seen = (self.world.tables, reaches)
        return reaches

    @lazy
    def _facts(self) -> list[tuple[FactPart, tuple[Any, ...]]]:
        """The facts that are to be told, each with its rivals."""
        label = self.scenario.label
        return [(fact, rivals_of(self.api, self.start, label, fact)) for fact in label.facts]

    def judge(self, trace: Trace) -> Score:
        """The verdict on a trace: its calls made again, its words read."""
        faults = faults_of(self.api, self.scenario)
        policy = self.scenario.assistant.policy
        score = score_talk(self.api, self.start, self.scenario.label, talk_of(trace), faults, policy=policy)
        return replace(score, broke_off=trace.end == AGENT_ERROR)


def faults_of(api: Api, scenario: ToolScenario) -> tuple[Fault, ...]:
    """What goes wrong in the service of a scenario; raises InputError for a fault that there cannot be."""
    said = [fault.model_dump(exclude_none=True) for fault in scenario.faults]
    return read_faults(api, said, f"{scenario.id}: faults")


class Listening:
    """The assistant under its name, with what it says kept for those who judge the talk."""

    def __init__(self, agent: Any, heard: list[Message]) -> None:
        self._agent, self._heard = agent, heard
        self.name = "assistant"

    async def reply(self, turn: Turn) -> Answer:
        """What the agent answers."""
        answer: Answer = await self._agent.reply(turn)
        said = answer if isinstance(answer, list | tuple) else [answer]
        self._heard += [message for message in said if isinstance(message, Message)]
        return answer
