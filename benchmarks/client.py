"""What a model call costs: `python benchmarks/client.py` prints CPU time per call and the share of the ideal rate.

It compiles `mockllm.c` and starts it on a core of its own, if there are two. All clients are measured in turns in one
run, so that the figures may be compared with each other and with nothing else; the median of the rounds is shown. The
ideal rate is that of a client that takes no time; the first and the last tenth of the calls do not count for it.
"""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import anyio
import httpx

from simlab.endpoint import Endpoint
from simlab.message import ChatMessage
from simlab.model import Request
from simlab.transport import Transport

TEXT = "x" * 3900  # a request of 4 KB
LIMITS = {"connect": 15.0, "read": None, "write": None, "pool": None, "total": 120.0}
ROUNDS = 3
ENOUGH = 55.0  # seconds after which no round is begun

Call = Callable[[], Awaitable[object]]


class Load(NamedTuple):
    """So many calls at once, to a server that takes so many milliseconds."""

    at_once: int
    latency: int
    calls: int
    few: int  # calls of a client that is slow

    def __str__(self) -> str:
        return f"{self.at_once} x {self.latency} ms"


LOADS = (Load(256, 200, 4096, 512), Load(64, 20, 5120, 320))


class Taken(NamedTuple):
    """CPU milliseconds per call, and the rate in percent of the ideal one."""

    cpu: float
    rate: float


@contextmanager
def mock() -> Iterator[str]:
    """The URL of a mock endpoint; it has the first core, and this process another one."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("a C compiler is needed: cc")
    with TemporaryDirectory() as folder, socket.socket() as probe:
        binary = Path(folder) / "mockllm"
        subprocess.run([compiler, "-O2", "-w", "-o", binary, Path(__file__).with_name("mockllm.c")], check=True)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[:1])  # a child has it too
        server = subprocess.Popen([binary, "--port", str(port)])
        try:
            os.sched_setaffinity(0, cores[1:2] or cores)
            url = f"http://127.0.0.1:{port}"
            for _ in range(100):
                try:
                    get(f"{url}/health")
                    break
                except OSError:
                    time.sleep(0.05)
            yield url
        finally:
            server.kill()
            server.wait()


def get(url: str) -> None:
    with urllib.request.urlopen(url) as response:
        response.read()


async def measured(call: Call, load: Load, calls: int) -> Taken:
    """Make so many calls, always the load's number at once."""
    ends: list[float] = []
    left = calls

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
    first, last = calls // 10, calls * 9 // 10
    rate = (last - first) / (ends[last] - ends[first])
    return Taken(cpu * 1000 / calls, rate / (load.at_once / load.latency * 1000) * 100)


async def direct(url: str, load: Load) -> Taken:
    body = json.dumps({"model": "mock", "messages": [{"role": "user", "content": TEXT}]}).encode()
    where = httpx.URL(f"{url}/v1/chat/completions")
    headers = httpx.Headers({"host": where.netloc.decode(), "content-type": "application/json"})
    async with Transport() as transport:

        async def call() -> None:
            request = httpx.Request("POST", where, headers=headers, content=body, extensions={"timeout": LIMITS})
            assert (await transport.handle_async_request(request)).status_code == 200

        return await measured(call, load, load.calls)


async def endpoint(url: str, load: Load) -> Taken:
    model = Endpoint("mock", "mock", base_url=f"{url}/v1")
    request = Request(role="user", step="turn", messages=(ChatMessage("user", TEXT),))
    try:
        return await measured(lambda: model.reply(request), load, load.calls)
    finally:
        await model.aclose()


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


CLIENTS = {
    "`Transport`, called directly": direct,
    "`Endpoint`, as `openai:NAME` makes it": endpoint,
    "`httpx.AsyncClient` over `Transport`": client,
    "`httpx.AsyncClient`": stock,
}


def main() -> None:
    """Measure and print."""
    took: dict[tuple[str, Load], list[Taken]] = {(name, load): [] for name in CLIENTS for load in LOADS}
    began = time.monotonic()
    with mock() as url:
        for turn in range(ROUNDS):
            for name, run in CLIENTS.items():
                for load in LOADS:
                    if turn and (run is stock or time.monotonic() - began > ENOUGH):
                        continue
                    get(f"{url}/ctl?latency={load.latency}&det=1")
                    took[name, load].append(anyio.run(run, url, load))
    print(f"| client |{''.join(f' {load}: CPU ms per call | ratio | % of ideal |' for load in LOADS)}")
    print("|---" * (1 + 3 * len(LOADS)) + "|")
    base = {load: median(one.cpu for one in took[next(iter(CLIENTS)), load]) for load in LOADS}
    for name in CLIENTS:
        cells = [name]
        for load in LOADS:
            cpu = median(one.cpu for one in took[name, load])
            cells += [f"{cpu:.2f}", f"{cpu / base[load]:.1f}", f"{median(one.rate for one in took[name, load]):.0f}"]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
