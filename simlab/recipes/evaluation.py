"""An evaluation: scenarios with labels, played by an agent under test, each as many times as there are trials.

Several trials of each, and all of k that pass as the figure, follow tau-bench (Yao et al., 2024, arXiv 2406.12045).

Item i plays scenario i modulo their number, so the first trial of all comes before the second of any. `agent` is
`agent` (the one under test, see docs/testing.md), `free` (a model in the assistant's seat) or the name of an agent to
calibrate by. Whose fault a bad end is, is kept apart: an agent that hangs, floods or raises has failed; where the
simulated user could not go on, nothing is known about the agent.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from simlab.errors import Drop, InputError
from simlab.lab import Lab, Seeds
from simlab.message import ChatMessage
from simlab.record import Dialogue
from simlab.scenario import TOOL_KINDS, ToolScenario
from simlab.score import Score, calls_of
from simlab.seats import assistant_of, toolset
from simlab.stage import Stage
from simlab.trace import Trace

PLAYS = TOOL_KINDS


async def evaluation(
    lab: Lab, seeds: Seeds, *, agent: Annotated[str, "who is evaluated"] = "oracle"
) -> AsyncIterator[Dialogue]:
    """Yield the dialogue of one trial with its label and verdict; trials as in tau-bench (arXiv 2406.12045)."""
    if not seeds.scenarios:
        raise InputError("an evaluation needs scenarios (--scenarios)")
    trial, place = divmod(lab.item, len(seeds.scenarios))
    scenario = seeds.scenarios[place]
    assert isinstance(scenario, ToolScenario)
    api = next(source.compiled() for source in seeds.apis if source.sha256 == scenario.api.sha256)
    lab.measure(scenario=scenario.id, kind=scenario.kind, api=api.name, trial=trial)
    stage = Stage.of(api, scenario)
    tools = toolset(api, scenario, lab.die.split("tools"))
    seat = assistant_of(lab, agent, stage, tools)
    try:
        trace = await lab.simulate(stage.cast(seat, lab.model("user")), turns=scenario.ends.turns, keep_faults=True)
    except Drop as drop:
        lab.measure(fault="simulator", end="sim_error", detail=str(drop))
        raise
    verdict = stage.judge(trace)
    _measure(lab, verdict, trace)
    policy = scenario.assistant.policy
    yield Dialogue(
        messages=[*([ChatMessage("system", policy)] if policy else []), *trace.view("assistant")],
        tools=tools,
        meta={
            "api": api.name,
            "kind": scenario.kind,
            "assistant": agent,
            "trial": trial,
            "how": scenario.label.how,
            "verdict": verdict.as_json(),
        },
        scenario=scenario,
        trace=trace,
    )


def _measure(lab: Lab, verdict: Score, trace: Trace) -> None:
    """Keep what the figures of an evaluation are made from."""
    lab.measure(
        success=verdict.success,
        fault=None if verdict.success else "agent",
        error=verdict.error,
        end=trace.end,
        detail=trace.detail,
        calls=len(calls_of(trace)),
        progress=verdict.progress,
        efficiency=verdict.efficiency,
    )
