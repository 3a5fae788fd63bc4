"""Killed twelve times over, by a signal that no process can catch, a run against an endpoint loses next to nothing."""

import http.client
import json
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

from simlab.recipes.dialogue import UTTERANCE
from simlab.run import status_of
from simlab.runfile import RunFile

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).parent.parent / "benchmarks" / "mockllm.c"
ITEMS, KILLS, CONCURRENCY, LATENCY = 300, 12, 16, 20  # the last in milliseconds
UNFLUSHED = 0.05  # seconds of replies that may not be committed yet


class Mock:
    """The endpoint: a reply depends on the request alone, and comes after a while."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/v1"

    def get(self, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    @property
    def asked(self) -> int:
        """How many replies it was asked for."""
        return int(self.get("/stats")["chat"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mock]:
    compiler = shutil.which("cc")
    assert compiler, "this test needs a C compiler (cc) for its endpoint, benchmarks/mockllm.c"
    folder = tmp_path_factory.mktemp("mock")
    subprocess.run([compiler, "-O2", "-w", "-o", folder / "mockllm", SOURCE], check=True, timeout=120)
    # what its users say; the assistant's lines are the mock's own
    (folder / "user.txt").write_text("And what follows from that?", encoding="utf-8")
    made = Mock(free_port())
    own_words = max((literal for literal, *_ in Formatter().parse(UTTERANCE.system)), key=len)
    rule = f"{own_words.strip()}={folder / 'user.txt'}"
    process = subprocess.Popen([folder / "mockllm", "--port", str(made.port), "--rule", rule])
    try:
        for _ in range(200):
            try:
                made.get(f"/ctl?latency={LATENCY}&det=1")
                break
            except OSError:
                assert process.poll() is None, "the endpoint did not start"
                time.sleep(0.02)
        yield made
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.txt"
    path.write_text("".join(f"What is the use of tool number {i}?\n" for i in range(ITEMS)), encoding="utf-8")
    return path


def command(mock: Mock, questions: Path, out: Path) -> list[str]:
    words = ["run", "dialogue", "-n", str(ITEMS), "--questions-file", str(questions), "--model", "openai:mock"]
    words += ["--base-url", mock.url, "--concurrency", str(CONCURRENCY), "--out", str(out), "-q"]
    return [sys.executable, "-m", "simlab", *words]


def exported(path: Path) -> str:
    target = path.with_suffix(".jsonl")
    words = ["export", str(path), "--format", "simlab", "--out", str(target)]
    subprocess.run([sys.executable, "-m", "simlab", *words], check=True, capture_output=True, timeout=120)
    return sha256(target.read_bytes()).hexdigest()


def journaled(path: Path) -> int:
    file = RunFile.open(path)
    try:
        return int(file.one("SELECT count(*) FROM journal"))
    finally:
        file.close()


def test_a_run_that_was_killed_again_and_again_ends_in_the_same_bytes(
    mock: Mock, questions: Path, tmp_path: Path
) -> None:
    whole, path = tmp_path / "whole.simlab", tmp_path / "killed.simlab"
    mock.get("/reset")
    began = time.monotonic()
    subprocess.run(command(mock, questions, whole), check=True, capture_output=True, timeout=300)
    seconds, needed = time.monotonic() - began, journaled(whole)
    assert mock.asked == needed, "an uninterrupted run asks for nothing twice"
    assert status_of(whole).tally.made > ITEMS / 2

    mock.get("/reset")
    moments = sorted(random.Random(12).sample(range(1, int(needed * 0.95)), KILLS))
    finished = []
    for moment in moments:
        process = subprocess.Popen(command(mock, questions, path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while mock.asked < moment or not path.exists():
            assert process.poll() is None, "it ended before its time had come"
            assert time.monotonic() < deadline, "it does not get on"
            time.sleep(0.002)
        process.kill()
        assert process.wait() == -9
        finished.append(status_of(path).tally.finished)
    assert finished == sorted(finished), "what was finished stays finished"
    assert 0 < finished[KILLS // 2] < finished[-1] < ITEMS

    subprocess.run(command(mock, questions, path), check=True, capture_output=True, timeout=300)
    assert exported(path) == exported(whole)
    assert journaled(path) == needed

    again = mock.asked - needed
    # in flight, and those of the last 50 ms; twice these, as the machine may be busy with other things
    bound = KILLS * (CONCURRENCY + 2 * UNFLUSHED * needed / seconds)
    assert 0 < again <= bound, f"{again} calls were made again, at {needed / seconds:.0f} a second"
    replay = subprocess.run(
        [sys.executable, "-m", "simlab", "replay", str(path)], check=True, capture_output=True, text=True, timeout=120
    )
    assert replay.stdout.endswith(f"{ITEMS} of {ITEMS} reproduced\n")
