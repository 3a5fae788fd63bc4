"""Which agents pass which kinds of scenario: `python benchmarks/controls.py [N]` prints the table for N scenarios.

Every agent plays the same N scenarios over our four documents on the scripted model. Twenty random agents are
played too; of those the best is shown.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from simlab.api import read_api
from simlab.files import resource
from simlab.lab import Seeds
from simlab.plan import KINDS
from simlab.report import tool_report
from simlab.run import Cast, Run, RunSpec

AGENTS = ("oracle", "guided", "free", "read_only", "never_asks", "do_nothing", "always_refuses")


def played(agent: str, n: int) -> dict[str, float]:
    """Share of success by kind."""
    seeds = Seeds(apis=tuple(read_api(path) for path in sorted(resource("apis").glob("*.yaml"))))
    cast = Cast(["scripted"])
    with TemporaryDirectory() as folder:
        spec = RunSpec("tool_dialogue", 0, {"assistant": agent}, seeds, cast.described())
        run = Run.open(Path(folder) / "run.simlab", spec, n)
        anyio.run(run.execute, cast)
        made = tool_report(run.file)
        run.file.close()
    return {kind: made.kinds[kind].value for kind in KINDS if kind in made.kinds}


def rows(n: int) -> Iterator[tuple[str, dict[str, float]]]:
    """A row per agent, the best of the random ones last."""
    for agent in AGENTS:
        yield agent, played(agent, n)
    each = [played(f"random_calls@{seed}", n) for seed in range(20)]
    yield "random_calls, best of 20", {kind: max(row[kind] for row in each) for kind in each[0]}


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    print(f"| agent | {' | '.join(f'`{kind}`' for kind in KINDS)} |")
    print("|---" * (len(KINDS) + 1) + "|")
    for name, row in rows(count):
        print(f"| {name} | {' | '.join(f'{row[kind]:.2f}' if kind in row else '-' for kind in KINDS)} |", flush=True)
