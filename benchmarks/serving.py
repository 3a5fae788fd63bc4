"""The mock endpoint of the benchmarks, compiled and started on a core of its own where there are two."""

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


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
            os.sched_setaffinity(0, cores)


def ticks() -> tuple[int, int]:
    """What the hypervisor has given to other machines of this one's processor time, and all of it, in the same unit."""
    try:
        spent = list(map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9]))
    except OSError:  # no Linux
        return 0, 0
    return spent[7], sum(spent)


def get(url: str) -> bytes:
    with urllib.request.urlopen(url) as response:
        return bytes(response.read())
