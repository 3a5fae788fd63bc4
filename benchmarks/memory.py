"""What live episodes and open connections take: `python benchmarks/memory.py` prints the peak memory of each case.

Every case is a run of its own in a process of its own. "live" are episodes that have begun and not ended, "in flight"
are calls that wait for their reply.

- `live`: 100,000 episodes are begun at once, of which 1,000 may call; the others wait for their turn.
- `flying`: 10,000 calls wait for the mock endpoint at the same time, each on a connection of its own.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from serving import get, mock
from talks import TOPICS, Gauge, live

from simlab.lab import Seeds
from simlab.model import Reply, Request
from simlab.models.scripted import Scripted
from simlab.run import Cast, Run, RunSpec

LATENCY = 0.05  # seconds of the scripted model that takes its time


flying = Gauge()


class Unhurried(Scripted):
    """The scripted model, which takes its time."""

    async def reply(self, request: Request) -> Reply:
        with flying:
            await anyio.sleep(LATENCY)
        return await super().reply(request)


def unhurried(argument: str = "", *, base_url: str | None = None) -> Unhurried:
    return Unhurried()


def play(model: str, n: int, *, at_once: int, rounds: int, url: str | None = None) -> None:
    """Play a run with all of its episodes live."""
    cast = Cast([model], base_url=url)
    spec = RunSpec("talks:talk", 0, {"rounds": rounds}, Seeds(topics=TOPICS), cast.described())
    with TemporaryDirectory() as folder:
        run = Run.open(Path(folder) / "talks.simlab", spec, n)

        async def execute() -> None:
            await run.execute(cast, concurrency=at_once, window=n)
            await cast.aclose()

        anyio.run(execute)
        run.file.close()
    assert run.tally.finished == n


def peak() -> float:
    """The most memory this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def case(name: str) -> None:
    """Play one case and print what it took."""
    before, began = peak(), time.monotonic()
    if name == "live":
        play("memory:unhurried", 100_000, at_once=1000, rounds=1)
    else:
        with mock() as url:
            get(f"{url}/ctl?latency=8000&det=1")
            play("openai:mock", 10_000, at_once=10_000, rounds=1, url=f"{url}/v1")
            flying.most = json.loads(get(f"{url}/stats"))["max_inflight"]
    took = f"{before:.0f} | {peak():.0f} | {time.monotonic() - began:.0f}"
    print(f"| `{name}` | {live.most:,} | {flying.most:,} | {took} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.modules["memory"] = sys.modules["__main__"]  # by which the run finds its recipe and its model
        case(sys.argv[1])
    else:
        print("| case | live | in flight | MB before | MB at the peak | seconds |")
        print("|---" * 6 + "|", flush=True)
        for one in ("live", "flying"):
            subprocess.run([sys.executable, __file__, one], check=True)
