"""Tool dialogues over an API, with labels obtained by execution.

The user script follows AutoDE (Mu et al., *Beyond Static Evaluation*, 2024, arXiv 2403.11128): few values first, the
others when asked for, word for word. Blueprint, execution and check follow APIGen-MT (Prabhakar et al., 2025, arXiv
2504.03601): a goal is sampled, executed in a fresh world and rejected when it cannot serve; the dialogue is then
played and judged against the state that execution reached.

What is ours: the API is simulated from its document, and every argument says where its value comes from.
`assistant` is `guided` (the plan's calls, worded by the model), `free` (the model chooses) or the name of an agent
to calibrate by.
"""

from collections.abc import AsyncIterator
from functools import partial
from hashlib import sha256
from inspect import signature
from typing import Any

from simlab.api import Api
from simlab.errors import Drop, InputError, nearest
from simlab.guided import Guided
from simlab.lab import Lab, Seeds
from simlab.message import ChatMessage, Message
from simlab.plan import KINDS, QUOTA, Plan, Rejected, as_scenario, plan_of, sample, spoken
from simlab.prompt import Prompt
from simlab.record import Dialogue
from simlab.roles import Assistant
from simlab.scenario import TOOL_KINDS, ApiPart, ToolScenario
from simlab.score import Score, calls_of, same_change, score, told, without, words_of
from simlab.services.simulated import simulated
from simlab.shelf import find
from simlab.trace import Trace
from simlab.user import GoalUser, slots_from
from simlab.world import World, diff, seeded, volatile_fields

PLAYS = TOOL_KINDS
FREE = Prompt(
    step="act",
    system="{about} Use the tools to do what the user wants. Ask for values that you lack and never invent any."
    " When no tool can serve, say that you cannot help. When it is done, say so with what the user wanted to know."
    " {policy}",
)


async def tool_dialogue(
    lab: Lab, seeds: Seeds, *, assistant: str = "guided", kinds: str = ",".join(KINDS)
) -> AsyncIterator[Dialogue]:
    """Yield one dialogue with its label and verdict; AutoDE (arXiv 2403.11128), APIGen-MT (arXiv 2504.03601)."""
    scenario, api = _scenario(lab, seeds, _kinds(kinds))
    start = seeded(api, scenario.world.seed, scenario.world.clock)
    world, plan = start.copy(), plan_of(scenario)
    heard: list[Message] = []
    user = _user(lab, scenario, start, world, heard)
    agent = _assistant(lab, assistant, scenario, plan, world)
    listener = Listening(agent, heard)
    trace = await lab.simulate([user, listener, simulated(world)], turns=scenario.ends.turns, keep_faults=True)
    verdict = judge(api, start, scenario, trace)
    lab.measure(kind=scenario.kind, api=api.name, success=verdict.success, end=trace.end, guard=_guard(trace))
    policy = FREE.system.format(about=api.description, policy=scenario.assistant.policy).strip()
    yield Dialogue(
        messages=[ChatMessage("system", policy), *trace.view("assistant")],
        tools=api.tools,
        meta={
            "api": api.name,
            "kind": scenario.kind,
            "assistant": assistant,
            "how": scenario.label.how,
            "verdict": verdict.as_json(),
        },
        scenario=scenario,
        trace=trace,
        distinct=_substance(scenario, api),
    )


def _substance(scenario: ToolScenario, api: Api) -> str:
    """What makes a dialogue another one: document, world, wish, values and calls; the same only for the very same.

    Words around them are alike by design, and the same wish in another world is answered from other records.
    """
    world = str(scenario.world.seed) if scenario.label.calls else ""
    values = [spoken(slot.value) for slot in scenario.slots.values()]
    parts = [api.name, world, scenario.purpose, *values, *(call.op for call in scenario.label.calls)]
    key = sha256("\x1f".join(parts).encode()).hexdigest()
    return " ".join(key[i : i + 4] for i in range(0, 64, 4))


def _kinds(text: str) -> tuple[str, ...]:
    """The kinds of a comma-separated list; raises InputError for one that there is not."""
    kinds = tuple(kind.strip() for kind in text.split(","))
    if wrong := next((kind for kind in kinds if kind not in KINDS), None):
        raise InputError(f"option kinds: no kind {wrong!r}{nearest(wrong, KINDS)}")
    return kinds


def _scenario(lab: Lab, seeds: Seeds, kinds: tuple[str, ...]) -> tuple[ToolScenario, Api]:
    """The item's script: as given, or a plan over the next of the documents, of the kind whose turn it is."""
    sources = seeds.apis
    if seeds.scenarios:
        given = seeds.scenarios[lab.item % len(seeds.scenarios)]
        assert isinstance(given, ToolScenario)
        return given, next(s.compiled() for s in sources if s.sha256 == given.api.sha256)
    source = sources[lab.item % len(sources)]
    api = source.compiled()
    turns = [kind for kind in QUOTA if kind in kinds]
    kind = turns[lab.item // len(sources) % len(turns)]
    try:
        plan, rejected = sample(api, kind, lab.die.split("plan"))
    except Rejected as none:
        raise Drop(none.reason, str(none)) from None
    if rejected:
        lab.measure(rejected=dict(sorted(rejected.items())))
    part = ApiPart(document=f"{source.name}.yaml", sha256=source.sha256)
    return as_scenario(plan, part, f"{source.name}/{kind}-{lab.item}"), api


def _user(lab: Lab, scenario: ToolScenario, start: World, world: World, heard: list[Message]) -> GoalUser:
    seen = scenario.view("user")
    persona = scenario.user.persona
    return GoalUser(
        lab.model("user"),
        seen["purpose"],
        slots_from(seen.get("slots", {})),
        settled=partial(_settled, scenario, start, world, heard),
        hopeless=scenario.kind == "abstain",
        unknown=frozenset(name for name, slot in scenario.slots.items() if slot.unknown),
        patience=persona.patience if persona else 6,
    )


def _settled(scenario: ToolScenario, start: World, world: World, heard: list[Message]) -> bool:
    """Whether the user has what it came for: the state is reached, and the facts were told."""
    if scenario.kind == "abstain":
        return False
    said = [message.text for message in heard if "user" in message.to or not message.to]
    if not all(told(fact, said) for fact in scenario.label.facts):
        return False
    changed = diff(start.tables, world.tables, volatile_fields(start.api))
    return same_change(without(scenario.label.goal, scenario.label.allowed), without(changed, scenario.label.allowed))


class Listening:
    """The assistant under its name, with what it says kept for those who judge the talk."""

    def __init__(self, agent: Any, heard: list[Message]) -> None:
        self._agent, self._heard = agent, heard
        self.name = "assistant"

    async def reply(self, turn: Any) -> Any:
        """What the agent answers."""
        answer = await self._agent.reply(turn)
        said = answer if isinstance(answer, list | tuple) else [answer]
        self._heard += [message for message in said if isinstance(message, Message)]
        return answer


def _assistant(lab: Lab, how: str, scenario: ToolScenario, plan: Plan, world: World) -> Any:
    model = lab.model("assistant")
    if how == "guided":
        return Guided(model, plan)
    if how == "free" and model.small:
        raise InputError(
            f"{model.name} is too small to choose tools; leave the assistant guided, or name another model"
        )
    if how == "free":
        view = {"about": world.api.description, "policy": scenario.assistant.policy}
        return Assistant(model, FREE, view, tools=world.api.tools)
    name, at, seed = how.partition("@")
    agent = find("agents", name)
    if at and ("seed" not in signature(agent).parameters or not seed.isdecimal()):
        raise InputError(f"assistant={how}: only random_calls takes a seed, a whole number after the @")
    return agent(plan, world, model, **({"seed": int(seed)} if at else {}))


def judge(api: Api, start: World, scenario: ToolScenario, trace: Trace) -> Score:
    """The verdict on a trace: its calls made again, its words read."""
    return score(api, start, scenario.label, calls_of(trace), words_of(trace))


def _guard(trace: Trace) -> dict[str, dict[str, int]]:
    """How often the guards on each side's wording struck, by reason, and how often the template had to serve."""
    counts: dict[str, dict[str, int]] = {}
    for message in trace.messages:
        if message.sender == "api" or message.calls:
            continue
        mine = counts.setdefault(message.sender, {"lines": 0})
        mine["lines"] += 1
        for fault in (*message.notes.get("faults", ()), *(["fallback"] if message.notes.get("fallback") else ())):
            mine[fault] = mine.get(fault, 0) + 1
    return counts
