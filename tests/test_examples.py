"""The examples, each with its framework: against an endpoint on this machine that follows rules and no model."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from examples.bare_function import clerk
from simlab.cli import main
from simlab.evaluation import read_evaluation

ROOT = Path(__file__).parent.parent
SCENARIO = ROOT / "scenarios" / "library" / "clarify-03.yaml"


class Endpoint(BaseHTTPRequestHandler):
    """Chat completions as `examples/bare_function.py` would write them."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = clerk(asked["messages"], asked.get("tools", []))
        message: dict[str, Any] = {"role": "assistant", "content": answer if isinstance(answer, str) else None}
        if not isinstance(answer, str):
            function = answer["tool_calls"][0]["function"]
            called = {"name": function["name"], "arguments": json.dumps(function["arguments"])}
            message["tool_calls"] = [{"id": "c1", "type": "function", "function": called}]
        reason = "tool_calls" if "tool_calls" in message else "stop"
        body = {
            "id": "x", "object": "chat.completion", "created": 0, "model": asked["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }  # fmt: skip
        said = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    yield url
    server.shutdown()
    thread.join()
    server.server_close()


def passes(spec: str, path: Path) -> None:
    """Evaluate in a process of its own, as what a framework leaves open is no concern of other tests, and replay."""
    words = ["eval", "--agent", spec, "--scenarios", str(SCENARIO), "--trials", "2", "--out", str(path), "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "simlab", *words, "--min-success", "1"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert [(t.end, t.detail, t.error) for t in read_evaluation(path).trials] == [("goal_met", "", None)] * 2
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(path)])
    assert ended.value.code == 0


def test_a_bare_function(tmp_path: Path) -> None:
    passes("examples.bare_function:clerk", tmp_path / "run.simlab")


def test_an_endpoint(endpoint: str, tmp_path: Path) -> None:
    passes(f"openai:clerk@{endpoint}", tmp_path / "run.simlab")


def test_the_openai_package(endpoint: str, tmp_path: Path) -> None:
    pytest.importorskip("openai")
    passes("examples.openai_sdk:agent", tmp_path / "run.simlab")


def test_pydantic_ai(endpoint: str, tmp_path: Path) -> None:
    pytest.importorskip("pydantic_ai")
    passes("examples.pydantic_ai_agent:agent", tmp_path / "run.simlab")
