"""What a model call costs: `python benchmarks/client.py` prints CPU time per call and the share of the ideal rate.

All clients are measured in turns in one run, so that the figures may be compared with each other and with nothing
else; each in a process of its own, as a run has it, and the median of the rounds is shown. The ideal rate is that of a
client that takes no time; the first and the last tenth of the calls do not count for it. The first row is the least
that a call can cost here: the transport alone, called with bytes that were encoded before. Neighbours are measured
where they are installed.
"""

import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import anyio
import httpx
from neighbours import NEIGHBOURS, Neighbour
from serving import get, mock, ticks
from talks import CALLS, RULES, TOPICS

from simlab.console import Watcher
from simlab.endpoint import Endpoint
from simlab.lab import Seeds
from simlab.limits import Budget
from simlab.message import ChatMessage
from simlab.model import Request
from simlab.run import Cast, Run, RunSpec, Tally
from simlab.transport import Transport

TEXT = RULES + "x" * (3900 - len(RULES))  # a request of 4 KB
LIMITS = {"connect": 15.0, "read": None, "write": None, "pool": None, "total": 120.0}
ROUNDS = 3
ALONE = "--alone"

Call = Callable[[], Awaitable[object]]


class Load(NamedTuple):
    """So many calls at once, to a server that takes so many milliseconds."""

    at_once: int
    latency: int
    calls: int
    few: int  # calls of a client that is slow

    def __str__(self) -> str:
        return f"{self.at_once} x {self.latency} ms"

    def rate(self, ends: list[float]) -> float:
        """The rate over the middle 80 % of calls, in percent of the ideal one."""
        first, last = len(ends) // 10, len(ends) * 9 // 10
        return (last - first) / (ends[last] - ends[first]) / (self.at_once / self.latency * 1000) * 100


# Talks are sequential, so the last ones leave the server idle; so many calls that this is within the last tenth.
LOADS = (Load(256, 200, 9600, 512), Load(64, 20, 4800, 320))


class Taken(NamedTuple):
    """CPU milliseconds per call, and the rate in percent of the ideal one."""

    cpu: float
    rate: float


async def measured(call: Call, load: Load, calls: int, replies: int = 1) -> Taken:
    """Make so many calls, always the load's number at once; each is so many replies, one after the other."""
    ends: list[float] = []
    left = calls // replies

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await call()
            ends.append(time.perf_counter())

    before = time.process_time()
    async with anyio.create_task_group() as group:
        for _ in range(load.at_once):
            group.start_soon(work)
    cpu = time.process_time() - before
    return Taken(cpu * 1000 / (len(ends) * replies), load.rate(ends) * replies)


async def direct(url: str, load: Load) -> Taken:
    body = json.dumps({"model": "mock", "messages": [{"role": "user", "content": TEXT}]}).encode()
    where = httpx.URL(f"{url}/v1/chat/completions")
    headers = httpx.Headers({"host": where.netloc.decode(), "content-type": "application/json"})
    async with Transport() as transport:

        async def call() -> None:
            request = httpx.Request("POST", where, headers=headers, content=body, extensions={"timeout": LIMITS})
            response = await transport.handle_async_request(request)
            assert response.read()

        return await measured(call, load, load.calls)


async def endpoint(url: str, load: Load) -> Taken:
    model = Endpoint("mock", "mock", base_url=f"{url}/v1")
    request = Request(role="user", step="turn", messages=(ChatMessage("user", TEXT),))
    try:
        return await measured(lambda: model.reply(request), load, load.calls)
    finally:
        await model.aclose()


async def episodes(url: str, load: Load) -> Taken:
    """Whole talks as `simlab run` plays them: simulation, budget, limit, retries, journal, records, second pass."""
    cast = Cast(["openai:mock"], base_url=f"{url}/v1")
    spec = RunSpec("talks:talk", seeds=Seeds(topics=TOPICS), models=cast.described())
    budget = Budget(calls=10**9, tokens=10**12, cost=1e9, seconds=1e9)
    ends: list[float] = []
    with TemporaryDirectory() as folder, Watcher("talks", quiet=not sys.stderr.isatty()) as watcher:
        run = Run.open(Path(folder) / "talks.simlab", spec, load.calls // CALLS)

        def progress(tally: Tally, budget: Budget) -> None:
            watcher(tally, budget)
            if budget.account("openai:mock").calls > len(ends):
                ends.append(time.perf_counter())

        before = time.process_time()
        stopped = await run.execute(cast, concurrency=load.at_once, budget=budget, progress=progress)
        cpu = time.process_time() - before
        assert stopped is None
        assert run.tally.finished == load.calls // CALLS
        await cast.aclose()
        run.file.close()
    return Taken(cpu * 1000 / len(ends), load.rate(ends))


async def client(url: str, load: Load) -> Taken:
    return await by_client(httpx.AsyncClient(transport=Transport()), url, load, load.calls)


async def stock(url: str, load: Load) -> Taken:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return await by_client(httpx.AsyncClient(limits=limits, timeout=120, trust_env=False), url, load, load.few)


async def by_client(opened: httpx.AsyncClient, url: str, load: Load, calls: int) -> Taken:
    message = {"model": "mock", "messages": [{"role": "user", "content": TEXT}]}
    async with opened:

        async def call() -> None:
            (await opened.post(f"{url}/v1/chat/completions", json=message)).raise_for_status()

        return await measured(call, load, calls)


async def neighbour(one: Neighbour, url: str, load: Load) -> Taken:
    async with one.opened(url) as call:
        return await measured(call, load, max(load.few, 2 * load.at_once * one.replies), one.replies)


CLIENTS = {
    "`Transport`, called directly": direct,
    "`Endpoint`, as `openai:NAME` makes it": endpoint,
    "`simlab run`: whole episodes, journal and all": episodes,
    "`httpx.AsyncClient` over `Transport`": client,
}
# These take seconds where the others take milliseconds, and are measured once.
SLOW = {
    "`httpx.AsyncClient`": stock,
    **{name: partial(neighbour, one) for name, one in NEIGHBOURS.items() if one.installed},
}


def apart(name: str, load: Load, url: str) -> Taken:
    """Measure one client in a fresh process: what another left of the heap would cost the next one a tenth."""
    command = [sys.executable, __file__, ALONE, name, str(LOADS.index(load)), url]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return Taken(*map(float, done.stdout.split()))


def alone(name: str, load: str, url: str) -> None:
    """What the fresh process does."""
    print(*anyio.run({**CLIENTS, **SLOW}[name], url, LOADS[int(load)]))


def main() -> None:
    """Measure and print; names given as arguments pick rows, by what they contain."""
    if wrong := [word for word in sys.argv[1:] if not any(word in name for name in (*CLIENTS, *SLOW))]:
        print(f"no row {wrong[0]!r}; there are: {', '.join((*CLIENTS, *SLOW))}", file=sys.stderr)
        raise SystemExit(2)
    rows = [name for name in (*CLIENTS, *SLOW) if picked(name)]
    took: dict[tuple[str, Load], list[Taken]] = {(name, load): [] for name in rows for load in LOADS}
    before = ticks()
    with mock() as url:
        for turn in range(ROUNDS):
            for name in rows:
                for load in LOADS:
                    if turn and name in SLOW:
                        continue
                    get(f"{url}/ctl?latency={load.latency}&det=1")
                    took[name, load].append(apart(name, load, url))
    stolen, spent = (now - then for now, then in zip(ticks(), before, strict=True))
    print(f"| client |{''.join(f' {load}: CPU ms per call | ratio | % of ideal |' for load in LOADS)}")
    print("|---" * (1 + 3 * len(LOADS)) + "|")
    base = {load: median(one.cpu for one in took[next(iter(CLIENTS)), load]) for load in LOADS}
    for name in rows:
        cells = [name]
        for load in LOADS:
            cpu = median(one.cpu for one in took[name, load])
            cells += [f"{cpu:.2f}", f"{cpu / base[load]:.1f}", f"{median(one.rate for one in took[name, load]):.0f}"]
        print(f"| {' | '.join(cells)} |")
    if spent:
        print(f"\nMeanwhile other machines were given {100 * stolen / spent:.1f} % of this one's processor time.")


def picked(name: str) -> bool:
    return name == next(iter(CLIENTS)) or not sys.argv[1:] or any(word in name for word in sys.argv[1:])


if __name__ == "__main__":
    alone(*sys.argv[2:]) if sys.argv[1:2] == [ALONE] else main()
