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
from hashlib import sha256
from typing import Annotated

from simlab.api import Api
from simlab.draft import sample
from simlab.errors import Drop
from simlab.lab import Lab, Seeds
from simlab.message import ChatMessage
from simlab.plan import KINDS, MORE_KINDS, QUOTA, Rejected, as_scenario, spoken
from simlab.record import Dialogue
from simlab.scenario import TOOL_KINDS, ApiPart, ToolScenario, tool_kinds
from simlab.score import fault_of
from simlab.seats import FREE, assistant_of, toolset
from simlab.stage import Stage
from simlab.trace import Trace

PLAYS = TOOL_KINDS


async def tool_dialogue(
    lab: Lab,
    seeds: Seeds,
    *,
    assistant: Annotated[
        str, "guided (the plan, worded by the model), free (the model decides) or an agent"
    ] = "guided",
    kinds: Annotated[str, "the kinds of scenarios that are drafted, in turns"] = ",".join(KINDS),
) -> AsyncIterator[Dialogue]:
    """Yield one dialogue with its label and verdict; AutoDE (arXiv 2403.11128), APIGen-MT (arXiv 2504.03601)."""
    scenario, api = _scenario(lab, seeds, tool_kinds([kinds], "option kinds"))
    stage = Stage.of(api, scenario)
    tools = toolset(api, scenario, lab.die.split("tools"))
    agent = assistant_of(lab, assistant, stage, tools)
    trace = await lab.simulate(stage.cast(agent, lab.model("user")), turns=scenario.ends.turns, keep_faults=True)
    verdict = stage.judge(trace)
    wrong = {"error": verdict.error, "fault": fault_of(trace, verdict)} if not verdict.success else {}
    lab.measure(kind=scenario.kind, api=api.name, success=verdict.success, end=trace.end, guard=_guard(trace), **wrong)
    policy = FREE.system.format(about=api.description, policy=scenario.assistant.policy).strip()
    yield Dialogue(
        messages=[ChatMessage("system", policy), *trace.view("assistant")],
        tools=tools,
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


def _scenario(lab: Lab, seeds: Seeds, kinds: tuple[str, ...]) -> tuple[ToolScenario, Api]:
    """The item's script: as given, or a plan over the next of the documents, of the kind whose turn it is."""
    sources = seeds.apis
    if seeds.scenarios:
        given = seeds.scenarios[lab.item % len(seeds.scenarios)]
        assert isinstance(given, ToolScenario)
        return given, next(s.compiled() for s in sources if s.sha256 == given.api.sha256)
    source = sources[lab.item % len(sources)]
    api = source.compiled()
    turns = [kind for kind in (*QUOTA, *MORE_KINDS) if kind in kinds]
    kind = turns[lab.item // len(sources) % len(turns)]
    try:
        plan, rejected = sample(api, kind, lab.die.split("plan"))
    except Rejected as none:
        raise Drop(none.reason, str(none)) from None
    if rejected:
        lab.measure(rejected=dict(sorted(rejected.items())))
    part = ApiPart(document=f"{source.name}.yaml", sha256=source.sha256)
    return as_scenario(plan, part, f"{source.name}/{kind}-{lab.item}"), api


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
