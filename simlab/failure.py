"""What is said of a failed episode: where, what was expected and what came, whose fault it was, how to see it again."""

from collections.abc import Sequence
from typing import Any

from simlab.errors import shortened
from simlab.findings import Finding
from simlab.scenario import ToolScenario
from simlab.schema import to_json
from simlab.score import Score
from simlab.trace import Trace

MOST_FINDINGS = 6
SHOWN = 160  # characters of a value


def told_failure(scenario: ToolScenario, score: Score, trace: Trace, again: str = "") -> str:
    """Several lines about a failed episode; `again` is the command that shows it once more."""
    error = score.error or "failed"
    lines = [
        f"{scenario.id}: {error}, the agent's fault",
        f"  wanted: {scenario.purpose} ({scenario.kind}); ended {trace.end} after {len(trace.events)} messages",
    ]
    if trace.detail:
        lines.append(f"  the agent failed: {trace.detail}")
    for finding in score.findings[:MOST_FINDINGS]:
        lines += _told(finding)
    if len(score.findings) > MOST_FINDINGS:
        lines.append(f"  and {len(score.findings) - MOST_FINDINGS} more")
    if score.why and not score.success:
        lines.append(f"  verdict: {score.why}")
    return "\n".join([*lines, *([f"  again: {again}"] if again else [])])


def _told(finding: Finding) -> Sequence[str]:
    """A finding: its place, its type, and what was expected against what came."""
    place = [f"turn {finding.turn + 1}"] if finding.turn is not None else []
    place += [f"call {finding.call + 1}"] if finding.call is not None else []
    place += [finding.operation] if finding.operation else []
    where = ", ".join(place) or "the whole talk"
    if not finding.argument:
        return [f"  {where}: {finding.type}: {finding.message}"]
    compared = f" (compared as {finding.value_class})" if finding.value_class else ""
    return [
        f"  {where}, {finding.argument}: {finding.type}",
        f"    expected  {_value(finding.expected)}{compared}",
        f"    got       {_value(finding.got)}",
    ]


def _value(value: Any) -> str:
    text = "nothing" if value is None else to_json(value)
    return shortened(text, SHOWN)
