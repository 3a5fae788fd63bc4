"""What becomes of API documents: `python benchmarks/api_coverage.py [-n N] DOCUMENT...` prints a table in Markdown.

Each document is read in a process of its own: how many operations were understood, how many answer a generated
example call as their schemas say, how many resources there are, what reading and indexing took, and what the control
agents made of N scenarios (0: none are made). A label counts as sound when its file, read back, executes again.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from simlab.api import Api, read_api
from simlab.author import Written, write_tool_scenarios
from simlab.die import Die
from simlab.plan import executed
from simlab.scenario import TOOL_KINDS, ToolScenario, load_scenarios
from simlab.world import example_call, seeded

COLUMNS = (
    "document", "operations", "set aside", "callable", "resources", "index, CPU s", "peak MB", "scenarios", "sound",
    "rejected by controls", "made in CPU s",
)  # fmt: skip


def peak() -> float:
    """Megabytes that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def answers(api: Api) -> int:
    """Operations whose example call is valid, works, and is answered by what the response schema accepts."""
    start, good = seeded(api, 1), 0
    for operation in api.operations.values():
        world = start.copy()
        arguments = example_call(world, operation, Die("example", operation.id))
        if not api.argument_problems(operation, arguments) and (response := world.call(operation.id, arguments)).ok:
            schema = operation.responses.get(operation.success)
            good += schema is None or api.valid(response.body, schema)
    return good


async def scenarios(path: Path, api: Api, n: int) -> dict[str, Any]:
    """Make scenarios, read them back, and execute their labels again."""
    with TemporaryDirectory() as folder:
        source, out = read_api(path), Path(folder) / "scenarios"
        out.mkdir()
        began = time.process_time()
        made: Written = await write_tool_scenarios(source, path, out, n, 0, kinds=TOOL_KINDS)
        took = time.process_time() - began
        read = load_scenarios(f"{out}/*.yaml")
        sound = sum(isinstance(one, ToolScenario) and executed(api, one) is None for one in read)
    table = made.table.as_json()
    return {"written": len(read), "sound": sound, "seconds": took, "table": table, "rejected": dict(made.rejected)}


def measured(path: Path, n: int) -> dict[str, Any]:
    """All that is said of one document."""
    began = time.process_time()
    api = read_api(path).compiled()
    index, memory = time.process_time() - began, peak()
    return {
        "name": path.name,
        "operations": len(api.operations),
        "aside": len(api.aside),
        "callable": answers(api),
        "resources": len(api.resources),
        "index": index,
        "peak": memory,
        **({"scenarios": anyio.run(scenarios, path, api, n)} if n and api.operations else {}),
    }


def by_controls(found: dict[str, Any]) -> int:
    """Drafts that were not written since an agent passed that may not, or the oracle failed."""
    rejected: dict[str, int] = found["scenarios"]["rejected"]
    return sum(count for reason, count in rejected.items() if reason.startswith("control:"))


def main() -> None:
    """Measure each document in a process of its own and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=100, help="scenarios for each document")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("documents", nargs="+", type=Path)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(given.documents[0], given.n)))
        return
    print(
        "| document | operations | set aside | callable | resources | index, CPU s | peak MB | scenarios | sound",
        end="",
    )
    print(" | rejected by controls | made in CPU s |")
    print("|---" * 11 + "|")
    total: dict[str, dict[str, list[int]]] = {}
    for path in given.documents:
        command = [sys.executable, __file__, "--one", "-n", str(given.n), str(path)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        row = [found[key] for key in ("name", "operations", "aside", "callable", "resources")]
        row += [f"{found['index']:.2f}", f"{found['peak']:.0f}"]
        made = found.get("scenarios")
        row += [made["written"], made["sound"], by_controls(found), f"{made['seconds']:.1f}"] if made else ["-"] * 4
        print("| " + " | ".join(map(str, row)) + " |", flush=True)
        for agent, kinds in (made or {"table": {}})["table"].items():
            for kind, (passed, of) in kinds.items():
                held = total.setdefault(agent, {}).setdefault(kind, [0, 0])
                held[0], held[1] = held[0] + passed, held[1] + of
    kinds = [kind for kind in TOOL_KINDS if any(kind in row for row in total.values())]
    print(f"\n| agent passes | {' | '.join(f'`{kind}`' for kind in kinds)} |")
    print("|---" * (len(kinds) + 1) + "|")
    for agent, by_kind in total.items():
        cells = ("/".join(map(str, by_kind[kind])) if kind in by_kind else "-" for kind in kinds)
        print(f"| {agent} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
