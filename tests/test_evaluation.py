"""Evaluations: the same verdicts at any concurrency, after a resume, from a replay; and figures that say their n."""

import json
import math
import re
import signal
import subprocess
import sys
import time
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from simlab import agents
from simlab.cli import main
from simlab.errors import InputError
from simlab.evaluation import Evaluation, Trial, evaluation_of, failure_of, read_evaluation
from simlab.lab import Seeds
from simlab.limits import Budget
from simlab.page import page_of
from simlab.replay import Replay
from simlab.run import Run, RunSpec, apis_of, status_of
from simlab.runfile import RunFile
from simlab.scenario import load_scenario_files
from simlab.schema import to_json
from simlab.stored import Reader
from simlab.suite import cast_of, choose
from simlab.verify import verify_run

ROOT = Path(__file__).parent.parent
LIBRARY = str(ROOT / "scenarios" / "library" / "*.yaml")


@cache
def seeds() -> Seeds:
    files = load_scenario_files(LIBRARY)
    return Seeds(scenarios=tuple(scenario for _, scenario in files), apis=apis_of(files))


def clerk(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> str | dict[str, Any]:
    """Calls whichever tool comes next in the list, with whatever the user named, and then gives up."""
    calls = sum(len(message.get("tool_calls", ())) for message in messages)
    if calls >= 4:
        return "I cannot help with that." if calls % 2 else "That is done."
    told = " ".join(message["content"] or "" for message in messages if message["role"] == "user")
    function = tools[(calls * 7 + len(told)) % len(tools)]["function"]
    known = re.findall(r"\b[a-z]+_\d{4}\b", told)
    return {
        "tool_calls": [
            {
                "name": function["name"],
                "arguments": dict.fromkeys(function["parameters"].get("required", ()), (known or ["?"])[0]),
            }
        ]
    }


async def over_http(messages: list[dict[str, Any]], base_url: str) -> str:
    """Calls the API itself; the same requests in the same turn."""
    async with httpx.AsyncClient(base_url=base_url, verify=False, trust_env=False) as http:
        books = (await http.get("/books")).json()["items"]
        nothing = await http.get("/nowhere")
        again = await http.get(f"/books/{books[0]['id']}" if "id" in books[0] else "/books")
    return f"I see {len(books)} books, {nothing.status_code}, {again.status_code}. What is the member id?"


def play(path: Path, agent: Any, *, n: int | None = None, concurrency: int = 4, budget: Budget | None = None) -> None:
    chosen = choose(agent, turn_seconds=20)
    cast, given = cast_of(chosen, []), seeds()
    run = Run.open(
        path, RunSpec("evaluation", 0, {"agent": chosen.option}, given, cast.described()), n or len(given.scenarios)
    )

    async def execute() -> None:
        try:
            await run.execute(cast, concurrency=concurrency, budget=budget)
        finally:
            await cast.aclose()

    try:
        anyio.run(execute)
    finally:
        run.file.close()


def contents(path: Path) -> str:
    """All that a run file says of its episodes, the journal included, as one digest."""
    file = RunFile.open(path)
    try:
        tables = ("episode", "trace", "record", "dropped", "journal", "text")
        rows = {t: sorted(file.query(f"SELECT * FROM {t}"), key=repr) for t in tables}
        return sha256(repr(rows).encode()).hexdigest()
    finally:
        file.close()


def replayed(path: Path) -> list[str]:
    file = RunFile.open(path)
    try:
        return [result.difference for result in anyio.run(Replay(file).all)]
    finally:
        file.close()


# --- the same verdicts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "n"), [(clerk, 18), (over_http, 10), ("faulty@wrong_value=0.5", 31)], ids=["function", "http", "faulty"]
)
def test_verdicts_are_the_same_at_any_concurrency_after_a_resume_and_from_a_replay(
    tmp_path: Path, agent: Any, n: int
) -> None:
    whole, wide, resumed = (tmp_path / f"{name}.simlab" for name in ("whole", "wide", "resumed"))
    play(whole, agent, n=n, concurrency=1)
    play(wide, agent, n=n, concurrency=64)
    play(resumed, agent, n=7)
    play(resumed, agent, n=n, budget=Budget(calls=40))
    assert status_of(resumed).tally.finished < n
    play(resumed, agent, n=n)
    assert contents(whole) == contents(wide) == contents(resumed)
    assert not any(replayed(whole))
    verified = verify_run(whole)
    assert (verified.good, verified.differences) == (verified.n, [])


def test_an_agents_door_is_told_from_a_models(tmp_path: Path) -> None:
    play(tmp_path / "run.simlab", clerk)
    file = RunFile.open(tmp_path / "run.simlab")
    try:
        doors = dict(file.query("SELECT door, count(*) FROM journal GROUP BY door"))
        paths = {row[0] for row in file.query("SELECT path FROM journal WHERE door = 'agent' AND item = 0")}
    finally:
        file.close()
    assert doors.keys() == {"agent", "model"}
    assert paths == {f"agent.{i}" for i in range(len(paths))}


def test_calls_over_http_are_part_of_the_trace(tmp_path: Path) -> None:
    play(tmp_path / "run.simlab", over_http, n=1)
    file = RunFile.open(tmp_path / "run.simlab")
    try:
        trace = Reader(file).traces(0)[0]
    finally:
        file.close()
    calls = [call.name for message in trace.messages for call in message.calls]
    assert calls[:3] == ["listBooks", "GET /nowhere", "getBook"]
    statuses = [result.status for message in trace.messages for result in message.results]
    assert statuses[:3] == [200, 404, 200]
    assert "404, 200. What is the member id?" in next(m.text for m in trace.messages if "I see" in m.text)


@pytest.mark.slow
@pytest.mark.parametrize(("by", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_run_that_was_killed_or_interrupted_goes_on_to_the_same_bytes(by: int, code: int, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "simlab", "eval", "--agent", "tests.test_evaluation:clerk", "--scenarios", LIBRARY]
    words += ["--trials", "6", "-q", "--out"]
    subprocess.run([*words, str(tmp_path / "whole.simlab")], cwd=ROOT, check=True, capture_output=True, timeout=120)
    killed = tmp_path / "killed.simlab"
    # what runs in the background, as tests may, ignores SIGINT
    heeds = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen([*words, str(killed)], cwd=ROOT, stdout=subprocess.DEVNULL, preexec_fn=heeds)
    while not killed.exists() or status_of(killed).tally.finished < 40:
        assert process.poll() is None, "it ended before its time had come"
        time.sleep(0.01)
    process.send_signal(by)
    assert process.wait() == code
    assert status_of(killed).tally.finished < status_of(tmp_path / "whole.simlab").tally.finished
    subprocess.run([*words, str(killed)], cwd=ROOT, check=True, capture_output=True, timeout=120)
    assert contents(killed) == contents(tmp_path / "whole.simlab")


# --- figures ----------------------------------------------------------------------------------------------------


def trials(*outcomes: tuple[str, bool | None]) -> Evaluation:
    """An evaluation from (scenario, success) pairs; a second of the same scenario is its second trial."""
    seen: dict[str, int] = {}
    made = []
    for item, (name, success) in enumerate(outcomes):
        seen[name] = seen.get(name, -1) + 1
        fault = None if success else "agent" if success is False else "simulator"
        error = "wrong_value" if success is False else None
        made.append(Trial(item, name, "do", seen[name], success, fault, error))
    return Evaluation("a", "b", tuple(made))


def test_what_the_simulator_spoilt_is_neither_a_failure_nor_dropped() -> None:
    made = trials(("x", True), ("x", None), ("y", False), ("y", True))
    rate, n = made.kinds["do"]
    assert (rate.value, rate.n, n) == (2 / 3, 3, 4)
    assert made.faults == {"simulator": 1, "agent": 1}
    assert made.errors["wrong_value"].value == 1 / 3
    assert made.pass_k[1] == 0.75
    assert math.isnan(made.pass_k[2])  # x has but one valid trial
    assert made.passed == {"x": True, "y": False}


def test_a_comparison_is_of_scenarios_and_needs_six_that_differ() -> None:
    before = trials(*[(f"s{i}", True) for i in range(12)])
    for lost, worse in ((5, False), (6, True)):
        now = trials(*[(f"s{i}", i >= lost) for i in range(12)])
        pairs = now.against(before)
        assert (pairs.lost, pairs.gained, pairs.pairs) == (lost, 0, 12)
        assert now.is_worse(before) is worse
        assert not before.is_worse(now)
    assert before.detectable() == 0.5  # where nothing differs, six of twelve
    assert trials(("x", None)).detectable() == 1.0


def test_a_page_holds_all_that_it_shows() -> None:
    made = trials(("x", True), ("x", False), ("y<", False), ("y<", True))
    page = page_of(made, [(made.trials[1], "<script>")], trials(("x", True), ("y<", True)))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"(?:src|href)=|url\(|@import|https?://", page)
    assert page.count("<svg") == 3


# --- the command line -------------------------------------------------------------------------------------------


def command(*words: Any) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    path = folder / "never.simlab"
    assert command("eval", "--agent", "never_asks", "--scenarios", LIBRARY, "--trials", 2, "--out", path,
                   "--json", folder / "never.json", "--html", folder / "never.html", "-q") == 0  # fmt: skip
    return path


def test_the_report_of_an_evaluation_is_its_table(evaluated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = ("eval", "--agent", "never_asks", "--scenarios", LIBRARY, "--trials", 2, "--out", evaluated, "-q")
    assert command(*again) == 0
    shown = capsys.readouterr().out
    assert command("report", evaluated) == 0
    told = capsys.readouterr().out
    assert told in shown
    assert "pass^2" in told


def test_the_exit_code_says_whether_the_mark_was_reached(evaluated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = ("eval", "--agent", "never_asks", "--scenarios", LIBRARY, "--trials", 2, "--out", evaluated, "-q")
    assert command(*again, "--min-success", 0.9) == 1
    assert command(*again, "--min-success", 0.1) == 0
    best = evaluated.with_name("oracle.simlab")
    assert command("eval", "--agent", "oracle", "--scenarios", LIBRARY, "--out", best, "-q", "--min-success", 1) == 0
    capsys.readouterr()
    assert command(*again, "--baseline", best) == 1
    assert "McNemar p 0.00" in capsys.readouterr().out
    assert command("eval", "--agent", "oracle", "--scenarios", LIBRARY, "--out", best, "-q",
                   "--baseline", evaluated.with_suffix(".json")) == 0  # fmt: skip


def boom(messages: list[dict[str, Any]]) -> str:
    raise ZeroDivisionError("by\nzero")


def test_the_first_failures_are_told_each_with_its_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "k.simlab"
    again = ("eval", "--scenarios", LIBRARY, "-q", "--out")
    assert command(*again, path, "--agent", "faulty@wrong_value=1") == 0
    failed = [trial for trial in read_evaluation(path).trials if trial.success is False]
    lines = capsys.readouterr().out.splitlines()
    told = lines[lines.index(f"{failed[0].scenario}: {failed[0].error}") :]
    assert told[2::3][:3] == [f"  again: simlab replay {path} {trial.item}" for trial in failed[:3]]
    assert told[0:9:3] == [f"{trial.scenario}: {trial.error}" for trial in failed[:3]]
    assert re.fullmatch(r"  turn \d+, call \d+, \w+, /\S+: wrong_value; expected .+; got .+", told[1])
    assert told[9:] == [f"and {len(failed) - 3} more failed"]
    assert command(*again, tmp_path / "b.simlab", "--agent", "tests.test_evaluation:boom") == 0
    said, line = capsys.readouterr().out, boom.__code__.co_firstlineno + 1
    assert said.count(f"  the agent failed: raised: ZeroDivisionError: by zero (test_evaluation.py:{line})\n") == 1
    assert said.count("  the same\n") == 2
    assert said.count("again: simlab replay") == 3
    assert command(*again, tmp_path / "c.simlab", "--agent", "oracle") == 0
    assert "again:" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--html", "."], ".: cannot write here: it is a folder; name a file"),
        (["--json", "nowhere/x.json"], "nowhere/x.json: cannot write here: there is no folder nowhere"),
        (["--html", "k.simlab"], "k.simlab: is read or written by this command already"),
        (["--json", "same", "--html", "./same"], "same: is read or written by this command already"),
        (["--json", "b.json", "--baseline", "b.json"], "b.json: is read or written by this command already"),
        (["--html", str(next(ROOT.glob("scenarios/library/do-*.yaml")))], "is read or written by this command already"),
        (["--json", str(ROOT / "apis" / "library.yaml")], "is read or written by this command already"),
        (["--baseline", "other.json"], "other.json: has no valid trial of any of these scenarios"),
        (["--baseline", "list.json"], "list.json: is no evaluation: it holds no JSON object"),
        (["--baseline", "talks.simlab"], "talks.simlab: is a run of dialogue and no evaluation"),
        (["--json", "code.py"], "code.py: is there already and holds no JSON; name another file"),
        (["--html", "b.json"], "b.json: is there already and holds no HTML; name another file"),
    ],
)
def test_outputs_are_looked_at_before_anything_is_played(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shared = next(scenario.id for scenario in seeds().scenarios if scenario.id.startswith("library/do-"))
    for name, scenario in (("b.json", shared), ("other.json", "elsewhere/do-01")):
        Path(name).write_text(to_json(trials((scenario, True)).as_json()))
    Path("list.json").write_text("[]")
    Path("code.py").write_text("import this\n")
    RunFile.create("talks.simlab", {"recipe": "dialogue", "n": 1}).close()
    only = str(ROOT / "scenarios" / "library" / "do-*.yaml")
    assert command("eval", "--agent", "oracle", "--scenarios", only, "--out", "k.simlab", "-q", *words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not Path("k.simlab").exists()


def test_an_agent_that_was_edited_does_not_inherit_verdicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    source = Path("edited_agent.py")
    source.write_text("def f(messages):\n    return 'no'\n")
    one = str(ROOT / "scenarios" / "library" / "do-*.yaml")
    again = ("eval", "--agent", "edited_agent:f", "--scenarios", one, "--out", "k.simlab", "-q")
    try:
        assert command(*again) == 0
        assert "nothing was played" not in capsys.readouterr().err
        assert command(*again) == 0
        assert capsys.readouterr().err == "nothing was played: all 5 episodes were in k.simlab already\n"
        assert command(*again, "--trials", 2) == 0
        assert "nothing was played" not in capsys.readouterr().err
        source.write_text("def f(messages):\n    return 'yes, that is done'\n")
        sys.modules.pop("edited_agent")
        refused = "k.simlab: was begun with another agent: edited_agent.py has changed since; use another --out"
        for accepted in ([], ["--accept-code-change"]):
            assert command(*again, *accepted) == 2
            assert capsys.readouterr().err == f"simlab: error: {refused}\n"
        assert not any(replayed(Path("k.simlab")))
        assert command("replay", "k.simlab", 0, "--agent", "edited_agent:f") == 1
    finally:
        sys.modules.pop("edited_agent", None)


def test_a_list_of_episodes_tells_the_scenario_and_the_verdict(evaluated: Path) -> None:
    file = RunFile.open(evaluated)
    try:
        rows, made = list(Reader(file).overview()), evaluation_of(file)
    finally:
        file.close()
    told = [(row["item"], row["scenario"], row["outcome"]) for row in rows]
    judged = {True: "success", False: "failure: {}"}
    assert told == [(t.item, t.scenario, judged[t.success].format(t.error)) for t in made.trials]
    assert {outcome.split(":")[0] for _, _, outcome in told} == {"success", "failure"}


def test_what_is_written_is_what_is_in_the_run_file(evaluated: Path) -> None:
    said = json.loads(evaluated.with_suffix(".json").read_text())
    file = RunFile.open(evaluated)
    try:
        made = evaluation_of(file)
        failed = next(trial for trial in made.trials if not trial.success)
        told = failure_of(file, failed.item)
    finally:
        file.close()
    assert read_evaluation(evaluated.with_suffix(".json")) == made == read_evaluation(evaluated)
    assert said["n"] == said["n_valid"] == len(made.trials)
    assert to_json(said) == to_json(made.as_json())
    assert told.endswith(f"again: simlab replay {evaluated} {failed.item}")
    assert "&#x27;" in evaluated.with_suffix(".html").read_text() or told.splitlines()[0] in (
        evaluated.with_suffix(".html").read_text()
    )


def test_a_replay_tells_the_failure_again_and_takes_another_agent(
    evaluated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = next(trial for trial in read_evaluation(evaluated).trials if not trial.success)
    assert command("replay", evaluated, failed.item) == 0
    said = capsys.readouterr().out
    assert f"{failed.scenario}: {failed.error}, the agent's fault" in said
    assert command("replay", evaluated, failed.item, "--agent", "oracle") == 0
    assert f"{failed.scenario}: passed" in capsys.readouterr().out
    assert command("replay", evaluated, failed.item, "--agent", "do_nothing") == 1


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("oracel", "no agent 'oracel'; did you mean 'oracle'? Or package.module:thing\n"),
        ("zzz", "always_refuses, do_nothing, "),
        ("faulty@wrong_valeu", "did you mean 'wrong_value'?"),
        ("nowhere:agent", "there is no module 'nowhere'"),
        ("tests.test_evaluation:clrk", "did you mean 'clerk'?"),
        ("tests.test_evaluation:LIBRARY", "; a str is neither"),
        ("simlab.evaluation:FEWEST", "; an int is neither"),
    ],
)
def test_a_wrong_agent_is_one_clear_line(
    spec: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("eval", "--agent", spec, "--scenarios", LIBRARY, "-q") == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("*.simlab"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:\n", "broken_agent.py:1: SyntaxError: invalid syntax"),
        ("import os\nimport nowhere\n", "broken_agent.py:2: ModuleNotFoundError: No module named 'nowhere'"),
        ("import json\n\njson.loads('')\n", "broken_agent.py:3: JSONDecodeError: Expecting value"),
        ("raise SystemExit\n", "broken_agent.py:1: SystemExit\n"),
    ],
)
def test_a_module_that_does_not_import_is_one_clear_line(
    text: str, said: str, evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("broken_agent.py").write_text(text)
    for words in (
        ["eval", "--agent", "broken_agent:f", "--scenarios", LIBRARY, "-q"],
        ["replay", evaluated, 0, "--agent", "broken_agent:f"],
        ["run", "dialogue", "--model", "broken_agent:f", "-q"],
        ["run", "broken_agent:f", "--model", "scripted", "-q"],
    ):
        assert command(*words) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"simlab: error: {said}")
        assert error.count("\n") == 1


def test_a_baseline_must_be_an_evaluation(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text('{"schema": "other"}')
    with pytest.raises(InputError, match="is no evaluation"):
        read_evaluation(tmp_path / "b.json")
    with pytest.raises(InputError, match="has no scenario"):
        trials(("x", True)).against(trials(("y", True)))


def test_the_calibration_agents_are_known_by_name_and_as_functions() -> None:
    for name in agents.__all__:
        assert choose(getattr(agents, name)).option == name == choose(name).option
    assert choose("random_calls@3").option == "random_calls@3"
    assert choose("openai:gpt@http://127.0.0.1:1/v1").option == "free"
