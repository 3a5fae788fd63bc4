"""The command line: what it prints, how it ends, and one clear line for everything a person can get wrong."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import simlab
from simlab.cli import main
from simlab.files import resource
from simlab.model import Reply, Request
from simlab.models.scripted import Scripted
from simlab.run import describe_recipe
from simlab.runfile import RunFile
from simlab.shelf import names


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, with no key."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def simlab_(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command line in this process; returns its exit code and what it printed."""

    def run(*words: Any) -> Said:
        with pytest.raises(SystemExit) as done:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        code = done.value.code
        assert isinstance(code, int)
        return Said(code, out, err)

    return run


def run_file(n: int = 4, recipe: str = "dialogue", out: str = "run.simlab") -> list[str]:
    return ["run", recipe, "-n", str(n), "--model", "scripted", "--out", out, "-q"]


EXPORT = ["export", "good.simlab", "--format", "trl", "--out"]
TWICE = "tides,owls, Tides"
WRONG = {
    "command": (["rum"], "no such command 'rum'; did you mean 'run'?"),
    "recipe": (["run", "dialog"], "no recipe 'dialog'; did you mean 'dialogue'?"),
    "recipe in a module": (["run", "no_such_module:thing"], "there is no module 'no_such_module'"),
    "thing in a module": (["run", "simlab.author:scrips"], "has no 'scrips'; did you mean 'scripts'?"),
    "no recipe there": (["run", "simlab.author:write_scenarios"], "is not a recipe: expected an async generator"),
    "option": (["run", "dialogue", "--modle", "x"], "no such option: --modle; did you mean '--model'?"),
    "format": (["export", "good.simlab", "--format", "trk", "--out", "x"], "no export 'trk'; did you mean 'trl'?"),
    "model": (["run", "dialogue", "--model", "scriptet"], "no model 'scriptet'; did you mean 'scripted'?"),
    "role": (["run", "dialogue", "--model", "usr=scripted"], "no role 'usr'; did you mean 'user'?"),
    "fault": (["run", "dialogue", "--model", "scripted:refus=1"], "no fault 'refus'; did you mean 'refuse'?"),
    "rate": (["run", "dialogue", "--model", "scripted:refuse=1.5"], "the rate of refuse should be between 0 and 1"),
    "fault's value": (["run", "dialogue", "--model", "scripted:refuse=x"], "'refuse=x' should be FAULT=RATE"),
    "topics file": (["run", "dialogue", "--topics-file", "no.txt"], "no.txt: cannot read the list: No such file"),
    "topics": (["run", "dialogue", "--topics", " , "], "--topics: there is not one line of text in ' , '"),
    "empty topics file": (["run", "dialogue", "--topics-file", "empty.txt"], "--topics-file: there is not one line"),
    "topic twice": (["run", "dialogue", "--topics", TWICE], "--topics: the topic 'Tides' stands twice"),
    "two sources": (["run", "dialogue", "--topics", "x", "--questions-file", "y"], "give one of --topics"),
    "n zero": (["run", "dialogue", "-n", "0"], "'-n': Input should be greater than or equal to 1"),
    "n word": (["run", "dialogue", "-n", "x"], "'-n': Input should be a valid integer"),
    "too few questions": (
        ["run", "dialogue", "--questions-file", "two.txt", "-n", "3", "--model", "scripted"],
        "-n 3: there are only 2 opening questions",
    ),
    "set unknown": (["run", "dialogue", "--set", "round=3-4"], "no option 'round'; did you mean 'rounds'?"),
    "set without value": (["run", "dialogue", "--set", "rounds"], "option rounds needs a value: --set rounds=VALUE"),
    "set range": (["run", "dialogue", "--set", "rounds=7-3"], "option rounds takes a range such as 3-7, got '7-3'"),
    "set number": (
        ["run", "dialogue", "--set", "subtopics=many"],
        "option subtopics takes a whole number from 1, got 'many'",
    ),
    "set truth": (["run", "dialogue", "--set", "grounded=perhaps"], "option grounded takes true or false"),
    "sampling key": (["run", "dialogue", "--sampling", "heat=1"], "no sampling option 'heat'"),
    "sampling value": (["run", "dialogue", "--sampling", "max_tokens=few"], "max_tokens takes a whole number, got"),
    "sampling role": (["run", "dialogue", "--sampling", "usr:top_p=1"], "no role 'usr'; did you mean 'user'?"),
    "key": (["run", "dialogue", "--model", "openai:tiny"], "the environment variable OPENAI_API_KEY is not set"),
    "no model name": (["run", "dialogue", "--model", "openai"], "openai needs a model: openai:NAME"),
    "base url": (["run", "dialogue", "--model", "openai:x", "--base-url", "nowhere"], "base URL 'nowhere' should be"),
    "out folder": ([*run_file(), "--out", "no/folder/run.simlab"], "run.simlab: there is no folder no/folder"),
    "another's database": (["status", "foreign.simlab"], "another program's SQLite database"),
    "text": (["show", "text.simlab"], "text.simlab: not a run file of simlab"),
    "folder": (["report", "folder.simlab"], "folder.simlab: is a folder"),
    "missing run": (["replay", "no.simlab"], "no.simlab: no such run file"),
    "writing into text": (run_file(out="text.simlab"), "text.simlab: not a run file of simlab"),
    "episode": (["show", "good.simlab", "99"], "no episode 99: items are 0 to 2"),
    "episode below": (["show", "good.simlab", "-1"], "no number that is expected here: nothing is below 0"),
    "episode by name": (["replay", "good.simlab", "last"], "no episode 'last': expected the number of an item"),
    "episode too long": (["show", "good.simlab", "9" * 20], "no episode '99999999999999999999': expected the number"),
    "no options": (["show", "good.simlab", "--verbos"], "no such option: --verbos"),
    "an address": (["inspect", "https://x.invalid/api.yaml"], "is an address; expected a file"),
    "no such host": (["serve", "apis/library.yaml", "--host", "x.invalid"], "cannot listen at x.invalid: there is no"),
    "empty token": (["serve", "apis/library.yaml", "--token", ""], "--token: expected a word, got nothing"),
    "model for an api": (
        ["synth", "--api", "apis/library.yaml", "--model", "scripted", "--out", "x"],
        "go with --topics: an API's scenarios are made by no model",
    ),
    "scenario key": (
        ["run", "dialogue", "--scenarios", "wrong.yaml", "--model", "scripted"],
        "wrong.yaml:4: titel: no such key; did you mean 'title'?",
    ),
    "scenario kind": (
        ["run", "pink-elephants", "--scenarios", "right.yaml", "--model", "scripted"],
        "right.yaml: kind: this run plays 'pink_elephant' scenarios, not 'dialogue'",
    ),
    "glob": (["run", "dialogue", "--scenarios", "no/*.yaml"], "no file matches 'no/*.yaml'"),
    "api": (["run", "dialogue", "--api", "x.yaml", "--model", "scripted"], "dialogue takes no API document (--api)"),
    "changed seed": ([*run_file(3, out="good.simlab"), "--seed", "7"], "was begun with seed 0, not 7"),
    "fewer": (run_file(2, out="good.simlab"), "-n 2 would cut it"),
    "budget": ([*run_file(), "--max-calls", "-1"], "'--max-calls': Input should be greater than or equal to 1"),
    "synth into a file": (["synth", "--topics", "x", "--out", "text.simlab", "--model", "scripted"], "cannot make"),
    "no kind": (["synth", "--api", "apis/library.yaml", "--kinds", "", "--out", "x"], "--kinds: no kind ''; known: do"),
    "a folder": (["inspect", "folder.simlab"], "folder.simlab: is a folder; expected a file"),
    "a file beside": (["inspect", "wrng.yaml"], "no file matches 'wrng.yaml'; did you mean 'wrong.yaml'?"),
    "other topics": (
        ["run", "dialogue", "-n", "3", "--topics", "tea,owls", "--out", "good.simlab"], "good.simlab: was begun with"
    ),
    "export over text": ([*EXPORT, "right.yaml"], "right.yaml: is there already and holds no JSON lines"),
    "export over its run": ([*EXPORT, "good.simlab"], "good.simlab: is read or written by this command already"),
    "export into a folder": ([*EXPORT, "folder.simlab"], "folder.simlab: cannot write here: it is a folder"),
    "export nowhere": ([*EXPORT, "nowhere/x"], "nowhere/x: cannot write here: there is no folder nowhere"),
    "format does not fit": (["export", "good.simlab", "--format", "trl-dpo", "--out", "x"], "does not fit dialogue"),
}  # fmt: skip


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of things that people may name by mistake, and one good run."""
    folder = tmp_path_factory.mktemp("shelf")
    with pytest.raises(SystemExit):
        main(["run", "dialogue", "-n", "3", "--model", "scripted", "--out", str(folder / "good.simlab"), "-q"])
    (folder / "empty.txt").write_text(" \n\n", encoding="utf-8")
    (folder / "two.txt").write_text("Why?\nHow?\n", encoding="utf-8")
    (folder / "text.simlab").write_text("just words " * 30, encoding="utf-8")
    (folder / "folder.simlab").mkdir()
    (folder / "right.yaml").write_text("id: x\nkind: dialogue\ntopic: tides\n", encoding="utf-8")
    (folder / "wrong.yaml").write_text("id: x\nkind: dialogue\ntopic: tides\ntitel: A\n", encoding="utf-8")
    db = sqlite3.connect(folder / "foreign.simlab")
    db.execute("CREATE TABLE letters (body TEXT)")
    db.close()
    return folder


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG)
def test_bad_input_is_one_clear_line_and_exit_2(
    words: list[str], said: str, shelf: Path, simlab_: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shelf)
    before = {path.name: path.stat().st_size for path in shelf.iterdir()}
    if words[:2] == ["run", "dialogue"] and "--model" not in words:
        words = [*words, "--model", "scripted"]
    code, _, err = simlab_(*words)
    assert code == 2
    assert err.startswith("simlab: error: ")
    assert said in err
    assert err.count("\n") == 1
    assert len(err) < 400
    assert {path.name: path.stat().st_size for path in shelf.iterdir()} == before, "nothing was made or changed"


def test_a_bug_is_a_traceback_and_no_clear_line(simlab_: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("simlab.run.status_of", broken)
    with pytest.raises(ZeroDivisionError):
        main(["status", "run.simlab"])


# --- running ----------------------------------------------------------------------------------------------------


def test_a_run_says_what_it_made_and_what_to_type_next(simlab_: Any) -> None:
    code, out, err = simlab_(*run_file(6))
    assert (code, err) == (0, "")
    assert "6 of 6 finished" in out
    assert "next: simlab show run.simlab  ·  simlab export run.simlab --format simlab --out run.jsonl" in out
    assert simlab_("export", "run.simlab", "--format", "openai", "--out", "run.jsonl").out == "run.jsonl: 6 records\n"
    assert len(Path("run.jsonl").read_bytes().splitlines()) == 6


def test_a_run_is_named_after_its_recipe_and_makes_ten_items_unless_told_otherwise(simlab_: Any) -> None:
    code, out, _ = simlab_("run", "pink-elephants", "--model", "scripted", "-q")
    assert code == 0
    assert "10 of 10 finished" in out
    assert [path.name for path in Path().glob("*.simlab")] == ["pink-elephants.simlab"]


def test_a_budget_ends_the_run_with_3_and_the_command_to_go_on(simlab_: Any) -> None:
    words = [*run_file(20), "--max-calls", "50"]
    code, out, err = simlab_(*words)
    assert code == 3
    assert err == (
        "simlab: error: stopped: the budget of 50 calls is used up (--max-calls);"
        f" go on with: simlab {' '.join(words).replace('50', '100')}\n"
    )
    assert " of 20 finished" in out
    code, _, err = simlab_(*words)
    assert code == 3, "the budget is over all sessions"
    code, _, err = simlab_(*run_file(20), "--max-calls", "10")
    assert (code, err.rpartition(" ")[2]) == (3, "100\n"), "twice of what is spent, where that is more"
    code, out, err = simlab_(*run_file(20))
    assert (code, err) == (0, "")
    assert "20 of 20 finished" in out


def test_the_same_command_gives_the_same_bytes_and_another_seed_does_not(simlab_: Any) -> None:
    made = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert simlab_(*run_file(8, out=f"{name}.simlab"), "--seed", seed, "--concurrency", 1 + 40 * seed).code == 0
        assert simlab_("export", f"{name}.simlab", "--format", "simlab", "--out", f"{name}.jsonl").code == 0
        made[name] = Path(f"{name}.jsonl").read_bytes()
    assert made["a"] == made["b"] != made["c"]


def test_opening_questions_are_taken_from_a_file_as_they_are(simlab_: Any) -> None:
    asked = [
        "Why  is the sea salt?",
        "“What” about\tmoss – or lichen?",
        "q: 潮はなぜ満ちる？",
        "A line\u2028with a break",
    ]
    Path("asked.txt").write_text("\n".join(asked) + "\n\n", encoding="utf-8")
    assert simlab_("run", "dialogue", "--questions-file", "asked.txt", "--model", "scripted", "-q").code == 0
    assert simlab_("export", "dialogue.simlab", "--format", "openai", "--out", "talks.jsonl").code == 0
    lines = Path("talks.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert [json.loads(line)["messages"][0]["content"] for line in lines] == asked


def test_scenarios_of_several_globs_are_played_once_each(simlab_: Any) -> None:
    globs = ["scenarios/library/ask-*.yaml", "scenarios/courier/ask-*.yaml", "scenarios/library/ask-*.yaml"]
    words = [word for glob in globs for word in ("--scenarios", glob)]
    simlab_("run", "tool_dialogue", *words, "--model", "scripted", "--out", "run.simlab", "-q")
    found = sum(len(list((resource("scenarios") / api).glob("ask-*.yaml"))) for api in ("library", "courier"))
    assert episodes("run.simlab") == found > 2


def test_options_sampling_and_models_by_role_reach_the_run(simlab_: Any) -> None:
    code, _, _ = simlab_(
        *run_file(3), "--set", "rounds=2", "--set", "subtopics=3", "--sampling", "assistant:temperature=0.25",
        "--model", "user=scripted:echo=0", "--topics", "tides,owls",
    )  # fmt: skip
    assert code == 0
    file = RunFile.open("run.simlab")
    try:
        assert file.meta("options") == {"rounds": [2, 2], "subtopics": 3}
        models = file.meta("models")
        assert models["user"]["name"] == "scripted:echo=0"
        assert models["assistant"] == {"name": "scripted", "small": False, "sampling": {"temperature": 0.25}}
        asked = [json.loads(a) for (a,) in file.query("SELECT asked FROM journal")]
        assert {a["sampling"]["temperature"] for a in asked if a["role"] == "assistant"} == {0.25}
        assert file.meta("seeds") == {"topics": ["tides", "owls"]}
    finally:
        file.close()
    assert simlab_("replay", "run.simlab").out.endswith("3 of 3 reproduced\n")


@pytest.mark.slow
def test_an_endpoint_that_nobody_serves_ends_the_run_with_3(simlab_: Any) -> None:
    """It is waited for: it may be starting."""
    began = time.monotonic()
    code, _, err = simlab_("run", "dialogue", "-n", 3, "--model", "openai:x", "--base-url", "http://127.0.0.1:1", "-q")
    assert code == 3
    assert "simlab: error: stopped: nothing answers at http://127.0.0.1:1" in err
    assert "go on with: simlab run dialogue -n 3" in err
    assert 10 < time.monotonic() - began < 40


class Interrupted(Scripted):
    """Scripted, and presses Ctrl-C at its 300th call in a process that is told to."""

    calls = 0

    async def reply(self, request: Request) -> Reply:
        self.calls += 1
        if self.calls == 300 and os.environ.get("INTERRUPT"):
            signal.raise_signal(signal.SIGINT)
        return await super().reply(request)


def interrupted(argument: str, base_url: str | None = None) -> Interrupted:
    return Interrupted(name="interrupted")


def test_ctrl_c_ends_with_130_and_the_same_command_finishes(simlab_: Any) -> None:
    words = ["run", "dialogue", "-n", "100", "--model", "tests.test_cli:interrupted", "-q", "--out"]
    command = [sys.executable, "-m", "simlab", *words, "run.simlab"]
    where = {**os.environ, "INTERRUPT": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.run(
        command, capture_output=True, text=True, env=where, timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which tests in the background ignore
    )  # fmt: skip
    assert process.returncode == 130
    said = f"simlab: interrupted; what was made is kept, go on with: simlab {' '.join(words)} run.simlab"
    assert process.stderr.strip() == said
    assert 5 <= episodes("run.simlab") < 100
    assert simlab_(*words, "run.simlab").code == 0
    assert simlab_(*words, "whole.simlab").code == 0
    for name in ("run", "whole"):
        assert simlab_("export", f"{name}.simlab", "--format", "simlab", "--out", f"{name}.jsonl").code == 0
    assert Path("run.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()


def episodes(path: str) -> int:
    """How many episodes have finished in a file that another process writes; none when it is not there yet."""
    if not Path(path).exists():
        return 0
    file = RunFile.open(path)
    try:
        return int(file.one("SELECT count(*) FROM episode"))
    finally:
        file.close()


# --- looking at it ----------------------------------------------------------------------------------------------


def test_status_says_how_far_a_run_is(simlab_: Any) -> None:
    simlab_(*run_file(10), "--max-calls", "40")
    code, out, _ = simlab_("status", "run.simlab")
    assert code == 0
    assert f"dialogue with seed 0 in run.simlab, made by simlab {simlab.__version__}" in out
    assert "assistant  scripted" in out
    finished = episodes("run.simlab")
    assert f"{finished} of 10 finished" in out
    assert f"{10 - finished} items are pending" in out
    assert "scripted     40" in out


def test_show_lists_episodes_and_prints_one_as_a_conversation(simlab_: Any) -> None:
    simlab_(*run_file(5))
    code, out, _ = simlab_("show", "run.simlab")
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [[str(i), "made", "completed"] for i in range(5)]
    code, out, _ = simlab_("show", "run.simlab", 2)
    assert code == 0
    assert out.startswith("episode 2\n")
    speakers = [line.split()[0] for line in out.splitlines()[1:-1] if line.strip()]
    assert speakers[:4] == ["user", "assistant", "user", "assistant"]
    assert "(completed)" in out


def test_show_prints_a_preference_with_both_sides(simlab_: Any) -> None:
    simlab_(*run_file(3, "pink_elephants"), "--model", "scripted:leak@answer=1")
    out = simlab_("show", "run.simlab", 0).out
    for part in ("preference: system message", "chosen", "rejected", "control: system message"):
        assert part in out


def test_show_says_why_an_episode_was_dropped(simlab_: Any) -> None:
    simlab_(*run_file(4), "--model", "scripted:refuse@answer=2+3")
    assert "agent_error" in simlab_("show", "run.simlab", 2).out
    assert "dropped" in simlab_("show", "run.simlab").out


def test_reports_give_figures(simlab_: Any) -> None:
    simlab_(*run_file(30))
    code, out, _ = simlab_("report", "run.simlab")
    assert code == 0
    assert "Dialogues: 30 kept" in out
    assert "commonest opening" in out
    simlab_(*run_file(30, "pink_elephants", "pairs.simlab"))
    code, out, _ = simlab_("report", "pairs.simlab")
    assert code == 0
    assert "without the rule (base rate)" in out
    assert "Pink elephants: 30 dialogues about 30 pairs" in out
    simlab_(*run_file(3, out="none.simlab"), "--max-calls", "1")
    code, _, err = simlab_("report", "none.simlab")
    assert code == 2
    assert "there is nothing to report yet" in err


def test_status_counts_the_failed_attempts_of_all_sessions(simlab_: Any) -> None:
    simlab_(*run_file(3))
    assert "attempts" not in simlab_("status", "run.simlab").out
    file = RunFile.open_for_writing("run.simlab")
    for _ in range(2):
        file.put_session(0, 4, 1.0, "finished")
    file.close()
    assert "8 attempts in all sessions" in simlab_("status", "run.simlab").out


def test_recipes_are_listed_and_described(simlab_: Any) -> None:
    out = simlab_("recipes").out
    for name in names("recipes"):
        assert name.replace("-", "_") in out
    for name in names("recipes"):
        code, out, _ = simlab_("recipes", name)
        assert code == 0
        assert "arXiv" in out
        assert "--set " in out
    assert "--set rounds=3-7" in simlab_("recipes", "dialogue").out


@pytest.mark.parametrize("name", names("recipes"))
def test_every_option_of_our_recipes_says_what_it_is(name: str) -> None:
    assert all(option.about for option in describe_recipe(name)[1])


def test_a_recipe_of_ones_own_says_it_of_its_options_too(
    simlab_: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "described.py").write_text(
        "from typing import Annotated\n"
        "async def thing(lab, seeds, *, tries: Annotated[int, 'how often'] = 3, loud: bool = True, plain: str = 'x'):\n"
        '    """Yield a thing,\n    and another."""\n'
        "    yield None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    out = simlab_("recipes", "described:thing").out
    assert "Yield a thing, and another." in out
    assert [line.strip().split(None, 4) for line in out.splitlines() if "--set" in line] == [
        ["tries", "3", "--set", "tries=3", "how often"],
        ["loud", "true", "--set", "loud=false"],
        ["plain", "x", "--set", "plain=x"],
    ]


def test_models_are_listed_with_what_they_need(simlab_: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    out = simlab_("models", "list").out
    assert "needs OPENAI_API_KEY, or --base-url" in out
    assert {line.split()[0] for line in out.splitlines()[1:]} == set(names("models"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    out = simlab_("models", "list").out
    assert [line.split()[1] for line in out.splitlines() if line.startswith("openai")] == ["ready"]
    assert "sk-test" not in out


def test_the_version_is_printed(simlab_: Any) -> None:
    assert simlab_("--version") == (0, f"simlab {simlab.__version__}\n", "")


@pytest.mark.parametrize("words", [["-h"], ["run", "-h"], ["synth", "--help"]])
def test_help_helps(words: list[str], simlab_: Any) -> None:
    code, out, err = simlab_(*words)
    assert (code, err) == (0, "")
    assert "Usage" in out


# --- writing scenarios ------------------------------------------------------------------------------------------


def test_synth_writes_scenarios_that_run_plays(simlab_: Any) -> None:
    code, out, _ = simlab_(
        "synth", "--topics", "tides,owls", "-n", 4, "--model", "scripted", "--out", "mine", "--seed", 1, "-q"
    )
    assert code == 0
    assert "4 scenarios written to mine" in out
    files = sorted(Path("mine").glob("*.yaml"))
    assert len(files) == 4
    texts = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files]
    assert [text["topic"] for text in texts] == ["owls", "owls", "tides", "tides"]
    assert all(text["user"]["persona"]["name"] and text["user"]["purpose"] for text in texts)
    code, out, _ = simlab_("run", "dialogue", "--scenarios", "mine/*.yaml", "--model", "scripted", "-q")
    assert code == 0
    assert "4 of 4 finished" in out
    before = [path.read_bytes() for path in files]
    again = ["synth", "--topics", "tides,owls", "-n", 4, "--model", "scripted", "--seed", 1, "-q"]
    assert simlab_(*again, "--out", "again").code == 0
    assert [path.read_bytes() for path in sorted(Path("again").glob("*.yaml"))] == before


# --- as a process -----------------------------------------------------------------------------------------------


def test_it_runs_as_a_module_and_its_results_are_on_stdout() -> None:
    command = [sys.executable, "-m", "simlab", *run_file(2)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 of 2 finished" in done.stdout


def test_a_mistake_is_told_on_stderr_and_by_the_exit_code() -> None:
    command = [sys.executable, "-m", "simlab", "run", "dialog"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "simlab: error: no recipe 'dialog'; did you mean 'dialogue'?\n"
