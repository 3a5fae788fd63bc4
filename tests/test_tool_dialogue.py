"""Tool dialogues: labels are executed, verdicts can be had again, and what each calibration agent passes is known."""

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import pytest

from simlab.api import Api, read_api
from simlab.cli import main
from simlab.errors import InputError
from simlab.facts import holds
from simlab.lab import Seeds
from simlab.limits import Budget
from simlab.models.scripted import Scripted
from simlab.plan import KINDS, QUOTA, spoken
from simlab.replay import Replay
from simlab.run import Cast, Run, RunSpec, Tally, apis_of, status_of
from simlab.runfile import RunFile
from simlab.scenario import TOOL_KINDS, Persona, ToolScenario, User, load_scenario_files, scenario_from
from simlab.schema import digest, read_json, to_json
from simlab.stored import Reader, export_run
from simlab.user import asked, slots_from
from simlab.verify import verify_run

ROOT = Path(__file__).parent.parent
DOCUMENTS = ("courier", "library", "switchboard", "workshop")
N = 120


@cache
def ours() -> Seeds:
    return Seeds(apis=tuple(read_api(ROOT / "apis" / f"{name}.yaml") for name in DOCUMENTS))


@cache
def api_of(sha: str) -> Api:
    return next(source.compiled() for source in ours().apis if source.sha256 == sha)


def play(
    path: Path,
    n: int = N,
    *,
    seeds: Seeds | None = None,
    model: str = "scripted",
    budget: Budget | None = None,
    concurrency: int = 16,
    **options: Any,
) -> Tally:
    """Run the recipe, or go on with it."""
    cast = Cast([model])
    run = Run.open(path, RunSpec("tool_dialogue", 0, options, seeds or ours(), cast.described()), n)
    try:

        async def execute() -> None:
            try:
                await run.execute(cast, concurrency=concurrency, budget=budget)
            finally:
                await cast.aclose()

        anyio.run(execute)
        return run.tally
    finally:
        run.file.close()


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The records in full, as the `simlab` format has them."""
    file = RunFile.open(path)
    try:
        for record in Reader(file).records():
            yield record.full()
    finally:
        file.close()


def lines(path: Path, name: str, target: Path) -> list[dict[str, Any]]:
    export_run(path, name, target)
    return [json.loads(line) for line in target.read_bytes().splitlines()]


def sha(path: Path) -> str:
    target = path.with_suffix(".jsonl")
    export_run(path, "simlab", target)
    return sha256(target.read_bytes()).hexdigest()


def command(*words: Any) -> int:
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred and twenty dialogues over the four documents."""
    path = tmp_path_factory.mktemp("whole") / "run.simlab"
    tally = play(path)
    twins = tally.drops.get("near_duplicate", 0)  # the very same plan in the very same world
    assert (tally.finished, tally.made, tally.drops, tally.fallbacks) == (N, N - twins, {"near_duplicate": twins}, 0)
    assert 0 < twins <= N // 50
    return path


@pytest.fixture(scope="module")
def made(whole: Path) -> list[dict[str, Any]]:
    return list(records(whole))


# --- what is made -----------------------------------------------------------------------------------------------


def test_documents_take_turns_and_so_do_kinds(whole: Path) -> None:
    measured = [read_json(text) for (text,) in rows(whole, "SELECT measures FROM episode ORDER BY item")]
    assert Counter(row["api"] for row in measured) == dict.fromkeys(DOCUMENTS, N // 4)
    for name in DOCUMENTS:
        kinds = [row["kind"] for row in measured if row["api"] == name]
        assert Counter(kinds) == {kind: QUOTA.count(kind) * N // 40 for kind in KINDS}


def test_every_dialogue_reaches_what_its_label_says(made: list[dict[str, Any]]) -> None:
    for record in made:
        assert record["meta"]["how"] == "executed"
        verdict = record["meta"]["verdict"]
        assert verdict["success"]
        assert "fail" not in verdict.values()
        kind = record["meta"]["kind"]
        assert verdict["facts"] == ("pass" if kind == "ask" else "not_applicable")
        assert verdict["schema"] == ("not_applicable" if kind == "abstain" else "pass")
        assert record["trace"]["end"] == ("agent_refused" if kind == "abstain" else "goal_met")


def test_every_label_and_every_verdict_holds_when_it_is_looked_at_again(whole: Path) -> None:
    found = verify_run(whole)
    assert (found.good, found.n, found.differences) == (N, N, [])


def test_every_dialogue_is_reproduced_from_its_recording(whole: Path) -> None:
    file = RunFile.open(whole)

    async def replayed() -> list[Any]:
        return [result async for result in Replay(file)]

    try:
        results = anyio.run(replayed)
    finally:
        file.close()
    assert [result.item for result in results if result.item >= 0] == list(range(N))
    assert {result.difference for result in results} == {""}


def test_what_the_service_answers_is_valid_by_its_schema(made: list[dict[str, Any]]) -> None:
    statuses: Counter[int] = Counter()
    for record in made:
        api = api_of(record["scenario"]["api"]["sha256"])
        for event in record["trace"]["events"]:
            for result in event.get("results", ()):
                statuses[result["status"]] += 1
                schema = api.operations[result["name"]].responses[str(result["status"])]
                assert (result["body"] is None) if schema is None else api.problems(result["body"], schema) == []
    assert statuses[200] > N / 2
    assert statuses[201] > 5
    assert statuses[204] > 0


def test_every_argument_of_a_label_says_where_it_comes_from(made: list[dict[str, Any]]) -> None:
    for record in made:
        slots = record["scenario"].get("slots", {})
        for number, call in enumerate(record["scenario"]["label"].get("calls", ()), 1):
            for argument in call.get("args", {}).values():
                for source in argument.get("leaves", {}).values() or [argument["from"]]:
                    kind, _, rest = source.partition(":")
                    assert kind in ("user", "call", "const")
                    assert kind != "user" or rest in slots
                    assert kind != "call" or int(rest.partition("#")[0]) < number


def values(body: Any) -> Iterator[Any]:
    """Every plain value in a JSON body."""
    if isinstance(body, Mapping | list):
        for part in body.values() if isinstance(body, Mapping) else body:
            yield from values(part)
    else:
        yield body


def test_every_value_that_is_called_with_was_said_or_returned_before(made: list[dict[str, Any]]) -> None:
    called = 0
    for record in made:
        said, returned = "", set[Any]()
        for event in record["trace"]["events"]:
            if event["from"] == "user":
                said += f" {event['text']}"
            for result in event.get("results", ()):
                returned |= set(values(result["body"]))
            for call in event.get("calls", ()):
                for value in values(call["arguments"]):
                    called += 1
                    assert value in returned or holds(said, value)
    assert called > N


def test_the_assistant_is_shown_the_document_and_nothing_of_the_script(made: list[dict[str, Any]]) -> None:
    for name in DOCUMENTS:
        shown = {to_json(record["messages"][0]) for record in made if record["meta"]["api"] == name}
        assert len(shown) == 1, "it does not depend on the goal"
        first = read_json(shown.pop())
        assert first["role"] == "system"
        assert api_of(next(s.sha256 for s in ours().apis if s.name == name)).description in first["content"]


# --- the same bytes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 256])
def test_how_many_calls_are_in_flight_does_not_show(concurrency: int, whole: Path, tmp_path: Path) -> None:
    play(tmp_path / "run.simlab", concurrency=concurrency)
    assert sha(tmp_path / "run.simlab") == sha(whole)


def test_a_run_that_was_stopped_by_its_budget_again_and_again_ends_in_the_same_bytes(
    whole: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run.simlab"
    needed = rows(whole, "SELECT count(*) FROM journal")[0][0]
    for allowed in (1, needed // 3, needed // 3 + 2, needed - 1):
        assert play(path, budget=Budget(calls=allowed)).finished < N
        assert rows(path, "SELECT count(*) FROM journal") == [(allowed,)]
    assert play(path).finished == N
    assert sha(path) == sha(whole)
    assert rows(path, "SELECT count(*) FROM journal") == [(needed,)]


def judged(path: Path) -> list[Any]:
    """The verdict on every episode."""
    return [read_json(text)["meta"]["verdict"] for (text,) in rows(path, "SELECT body FROM record ORDER BY item")]


def test_verdicts_on_agents_that_fail_are_equal_at_any_concurrency_after_resume_and_from_a_replay(
    tmp_path: Path,
) -> None:
    n, how = 60, {"assistant": "faulty@wrong_value=0.7"}
    paths = {name: tmp_path / f"{name}.simlab" for name in ("one", "many", "resumed")}
    play(paths["one"], n, concurrency=1, **how)
    play(paths["many"], n, concurrency=64, **how)
    needed = rows(paths["one"], "SELECT count(*) FROM journal")[0][0]
    play(paths["resumed"], n, budget=Budget(calls=needed // 2), **how)
    play(paths["resumed"], n, **how)
    verdicts = judged(paths["one"])
    assert verdicts == judged(paths["many"]) == judged(paths["resumed"])
    assert {verdict.get("error") for verdict in verdicts} == {None, "wrong_value"}
    assert verify_run(paths["many"]).good == n
    file = RunFile.open(paths["many"])

    async def replayed() -> set[str]:
        return {result.difference async for result in Replay(file)}

    try:
        assert anyio.run(replayed) == {""}
    finally:
        file.close()


def test_an_assistant_that_could_not_go_on_has_failed_though_nothing_was_to_be_done(tmp_path: Path) -> None:
    path = tmp_path / "refused.simlab"
    play(path, 6, model="scripted:refuse=1.0", assistant="free", kinds="abstain,refuse")
    ends = [end for (end,) in rows(path, "SELECT json_extract(measures, '$.end') FROM episode")]
    assert ends == ["agent_error"] * 6
    verdicts = judged(path)
    assert {verdict["success"] for verdict in verdicts} == {False}
    assert {verdict["error"] for verdict in verdicts} == {"agent_error"}
    assert export_run(path, "openai", tmp_path / "o.jsonl").failed == 6
    assert (tmp_path / "o.jsonl").read_bytes() == b""
    assert verify_run(path).good == 6


def test_a_report_counts_types_of_error_by_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    play(tmp_path / "run.simlab", 40, assistant="faulty@missing_argument")
    assert command("report", tmp_path / "run.simlab") == 0
    said = capsys.readouterr().out
    assert "errors in clarify: 8 missing_argument" in said
    assert "errors in abstain" not in said


def rows(path: Path, sql: str, *given: Any) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(path)
    try:
        return db.execute(sql, given).fetchall()
    finally:
        db.close()


# --- agents to calibrate by -------------------------------------------------------------------------------------


def seeds_of(found: list[dict[str, Any]]) -> Seeds:
    """The scripts of a run, to be played again by others, with users who give up early."""
    user = User(persona=Persona(name="Ada", patience=2))
    scripts = (scenario_from(record["scenario"]) for record in found)
    return Seeds(scenarios=tuple(script.model_copy(update={"user": user}) for script in scripts), apis=ours().apis)


def passed(path: Path, seeds: Seeds, agent: str, n: int) -> list[tuple[ToolScenario, bool]]:
    """Each script with whether an agent passes it."""
    tally = play(path, n, seeds=seeds, assistant=agent)
    assert (tally.finished, tally.failed) == (n, 0)
    found = [read_json(text)["success"] for (text,) in rows(path, "SELECT measures FROM episode ORDER BY item")]
    scripts = [seeds.scenarios[item % len(seeds.scenarios)] for item in range(n)]
    return list(zip(scripts, found, strict=True))  # type: ignore[arg-type]


def controls(seeds: Seeds, n: int, folder: Path) -> dict[str, list[tuple[ToolScenario, bool]]]:
    agents = ("oracle", "do_nothing", "always_refuses", "read_only", "never_asks")
    return {agent: passed(folder / f"{agent}.simlab", seeds, agent, n) for agent in agents}


def check_controls(found: dict[str, list[tuple[ToolScenario, bool]]]) -> None:
    kinds = {
        "oracle": set(KINDS),
        "do_nothing": {"abstain"},
        "always_refuses": {"abstain"},
        "read_only": {"ask", "abstain"},
    }
    for agent, passes in kinds.items():
        for scenario, success in found[agent]:
            assert success == (scenario.kind in passes), f"{agent} in {scenario.id}"
    for scenario, success in found["never_asks"]:
        assert success == (scenario.kind != "clarify" and told_at_once(scenario)), scenario.id


def told_at_once(scenario: ToolScenario) -> bool:
    return all(slot.reveal == "opening" for slot in scenario.slots.values())


def test_what_each_agent_passes_is_what_it_is_able_to(made: list[dict[str, Any]], tmp_path: Path) -> None:
    check_controls(controls(seeds_of(made), 80, tmp_path))


@pytest.mark.parametrize("seed", range(4))
def test_calls_at_random_never_do_what_needs_a_write(seed: int, made: list[dict[str, Any]], tmp_path: Path) -> None:
    found = passed(tmp_path / "run.simlab", seeds_of(made), f"random_calls@{seed}", 40)
    assert {scenario.kind for scenario, _ in found} == set(KINDS)
    assert not [scenario.id for scenario, success in found if success and scenario.label.goal]


def test_an_unknown_agent_is_named_with_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("run", "tool_dialogue", "--model", "scripted", "-n", 1, "--out", tmp_path / "run.simlab", "-q")
    assert command(*words, "--set", "assistant=oracel") == 2
    assert "no agent 'oracel'; did you mean 'oracle'" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["faulty@wrong_valu=1", "faulty@wrong_value=2", "faulty@wrong_value=x", "oracle@3"])
def test_an_agent_with_options_that_mean_nothing_is_refused(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("run", "tool_dialogue", "--model", "scripted", "-n", 1, "--out", tmp_path / "run.simlab", "-q")
    assert command(*words, "--set", f"assistant={how}") == 2
    assert "error: " in capsys.readouterr().err


# --- exports ----------------------------------------------------------------------------------------------------


def test_openai_lines_carry_tools_and_calls_whose_arguments_are_texts(whole: Path, tmp_path: Path) -> None:
    called = 0
    for line in lines(whole, "openai", tmp_path / "out.jsonl"):
        assert set(line) == {"messages", "tools", "parallel_tool_calls"}
        assert line["parallel_tool_calls"] is False
        assert line["messages"][0]["role"] == "system"
        known = {tool["function"]["name"]: tool["function"]["parameters"] for tool in line["tools"]}
        assert {tool["type"] for tool in line["tools"]} == {"function"}
        waiting: set[str] = set()
        for message in line["messages"]:
            if message["role"] == "tool":
                assert message["tool_call_id"] in waiting
                waiting.remove(message["tool_call_id"])
                json.loads(message["content"])
                continue
            assert not waiting, "every call is answered before anything else is said"
            for call in message.get("tool_calls", ()):
                assert message["role"] == "assistant"
                arguments = json.loads(call["function"]["arguments"])
                assert set(arguments) <= set(known[call["function"]["name"]]["properties"])
                assert call["type"] == "function"
                waiting.add(call["id"])
                called += 1
        assert not waiting
        assert line["messages"][-1]["role"] in ("assistant", "user")
    assert called > N / 2


def test_trl_lines_carry_arguments_as_objects_and_tools_by_name(whole: Path, tmp_path: Path) -> None:
    texts, objects = lines(whole, "openai", tmp_path / "o.jsonl"), lines(whole, "trl", tmp_path / "t.jsonl")
    for text, line in zip(texts, objects, strict=True):
        assert set(line) == {"messages", "tools"}
        assert line["tools"] == text["tools"]
        latest = ""
        for one, other in zip(text["messages"], line["messages"], strict=True):
            assert (one["role"], one["content"]) == (other["role"], other["content"])
            for call, same in zip(one.get("tool_calls", ()), other.get("tool_calls", ()), strict=True):
                assert isinstance(same["function"]["arguments"], dict)
                assert same["function"]["arguments"] == json.loads(call["function"]["arguments"])
                latest = same["function"]["name"]
                assert latest == call["function"]["name"]
            assert other.get("name") == (latest if other["role"] == "tool" else None)


def test_full_lines_carry_the_label_the_verdict_and_the_tools(whole: Path, tmp_path: Path) -> None:
    for line in lines(whole, "simlab", tmp_path / "out.jsonl"):
        assert line["scenario"]["label"]["how"] == "executed"
        assert ("goal" in line["scenario"]["label"]) == (line["meta"]["kind"] not in ("ask", "abstain"))
        assert line["meta"]["verdict"]["success"]
        api = api_of(line["scenario"]["api"]["sha256"])
        assert [tool["function"]["name"] for tool in line["tools"]] == list(api.operations)


# --- scenario files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_scenarios_that_are_shipped_play_and_pass(name: str, tmp_path: Path) -> None:
    files = load_scenario_files(str(ROOT / "scenarios" / name / "*.yaml"), TOOL_KINDS)
    assert len(files) >= 28
    assert {scenario.kind for _, scenario in files} >= {*KINDS, "several", "recover", "refuse"}
    source = read_api(ROOT / "apis" / f"{name}.yaml")
    for path, scenario in files:
        assert isinstance(scenario, ToolScenario)
        assert (path.parent / scenario.api.document).resolve() == ROOT / "apis" / f"{name}.yaml"
        assert scenario.api.sha256 == source.sha256
        assert scenario.id == f"{name}/{path.stem}"
    seeds = Seeds(scenarios=tuple(scenario for _, scenario in files), apis=apis_of(files))
    tally = play(tmp_path / "run.simlab", len(files), seeds=seeds)
    assert tally.made == len(files)
    assert all(record["meta"]["verdict"]["success"] for record in records(tmp_path / "run.simlab"))
    assert verify_run(tmp_path / "run.simlab").good == len(files)


@pytest.mark.parametrize("part", ["apis/library.yaml", "apis/overlays/library.yaml"])
def test_a_scenario_whose_document_has_changed_is_refused_by_name(
    part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "apis", tmp_path / "apis")
    shutil.copytree(ROOT / "scenarios" / "library", tmp_path / "scenarios" / "library")
    pattern = str(tmp_path / "scenarios" / "library" / "do-01.yaml")
    words = (
        "run",
        "tool_dialogue",
        "--scenarios",
        pattern,
        "--model",
        "scripted",
        "-q",
        "--out",
        tmp_path / "r.simlab",
    )
    assert command(*words) == 0
    with (tmp_path / part).open("a", encoding="utf-8") as file:
        file.write("# one more remark\n")
    assert command(*words[:-1], tmp_path / "again.simlab") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"simlab: error: {pattern}: api.sha256: ../../apis/library.yaml has changed since")
    assert not (tmp_path / "again.simlab").exists()


def test_scenarios_are_written_the_same_twice_and_play(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [tmp_path / where / "mine" for where in ("one", "two")]
    for folder in folders:
        assert command("synth", "--api", ROOT / "apis" / "library.yaml", "-n", 10, "--out", folder) == 0
    assert "10 scenarios written to" in capsys.readouterr().out
    one, two = ({path.name: path.read_bytes() for path in sorted(folder.glob("*.yaml"))} for folder in folders)
    assert len(one) == 10
    assert one == two
    file = tmp_path / "run.simlab"
    words = ("run", "tool_dialogue", "--scenarios", folders[0] / "*.yaml", "--model", "scripted", "-q", "--out", file)
    assert command(*words) == 0
    assert [record["meta"]["verdict"]["success"] for record in records(file)] == [True] * 10
    assert command("verify", file) == 0
    assert capsys.readouterr().out.endswith("10 of 10 labels and verdicts hold\n")


# --- verification finds what was changed ------------------------------------------------------------------------


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(whole, tmp_path / "copy.simlab"))


def edit(path: Path, sql: str, *given: Any) -> None:
    db = sqlite3.connect(path)
    try:
        with db:
            assert db.execute(sql, given).rowcount == 1
    finally:
        db.close()


def item_of(kind: str, found: list[dict[str, Any]]) -> int:
    return next(i for i, record in enumerate(found) if record["meta"]["kind"] == kind)


def verified(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What `verify` prints of a file in which something does not hold."""
    assert command("verify", path) == 1
    said, count = capsys.readouterr().out.rstrip().rsplit("\n", 1)
    assert count == f"{N - 1} of {N} labels and verdicts hold"
    return said


@pytest.mark.parametrize("kind", ["do", "chain", "ask", "clarify", "abstain"])
def test_a_label_that_was_edited_is_found(
    kind: str, made: list[dict[str, Any]], copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    item = item_of(kind, made)
    ((body,),) = rows(copy, "SELECT body FROM record WHERE item = ?", item)
    key = read_json(body)["scenario"]
    scenario = read_json(rows(copy, "SELECT body FROM text WHERE digest = ?", key)[0][0])
    scenario["label"]["forbidden"] = ["createCoffee"]
    edit(copy, "UPDATE text SET body = ? WHERE digest = ?", to_json(scenario), key)
    assert verified(copy, capsys).startswith(f"episode {item}: its label or trace was changed: the text {key}")


FORGED = {
    "the goal": ("do", "label.goal: says"),
    "a value": ("do", "label: does not hold when it is executed: not_derivable: "),
    "the fact": ("ask", "label: does not hold when it is executed: not_derivable: "),
    "the order": ("chain", "label: does not hold when it is executed: not_derivable: "),
    "the world": ("chain", "label.goal: says"),
    "the document": ("do", "its document 000000000000... is not in the file"),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_label_that_was_forged_digest_and_all_is_found(
    what: str, made: list[dict[str, Any]], copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, said = FORGED[what]
    item = item_of(kind, made)
    ((body,),) = rows(copy, "SELECT body FROM record WHERE item = ?", item)
    record = read_json(body)
    scenario = read_json(rows(copy, "SELECT body FROM text WHERE digest = ?", record["scenario"])[0][0])
    label = scenario["label"]
    if what == "the goal":
        label["goal"] = {"nothing": {}}
    elif what == "a value":
        argument = next(iter(label["calls"][0]["args"].values()))
        argument["value"] = "another"
        argument.pop("leaves", None)
        argument["from"] = argument.get("from") or "user:none"
    elif what == "the fact":
        label["facts"][0]["value"] = "another"
    elif what == "the order":
        label["calls"].reverse()
    elif what == "the world":
        scenario["world"]["seed"] += 1  # where others have the same ids
    else:
        scenario["api"]["sha256"] = "0" * 64
    forged = to_json(scenario)
    edit(copy, "INSERT INTO text VALUES (?, ?)", digest(forged), forged)
    record["scenario"] = digest(forged)
    edit(copy, "UPDATE record SET body = ? WHERE item = ?", to_json(record), item)
    assert verified(copy, capsys).startswith(f"episode {item}: {said}")


def test_a_verdict_that_was_edited_is_found(
    made: list[dict[str, Any]], copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    item = item_of("clarify", made)
    ((body,),) = rows(copy, "SELECT body FROM record WHERE item = ?", item)
    record = read_json(body)
    record["meta"]["verdict"]["facts"] = "pass"
    edit(copy, "UPDATE record SET body = ? WHERE item = ?", to_json(record), item)
    said = verified(copy, capsys)
    assert said.startswith(f"episode {item}: verdict: stored")
    assert '"facts":"pass"' in said.partition("judged again")[0]


@pytest.mark.parametrize("kind", ["do", "chain", "clarify", "ask"])
def test_a_trace_that_was_edited_is_found(
    kind: str, made: list[dict[str, Any]], copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last that the assistant did towards its goal is taken out."""
    item = item_of(kind, made)
    ((body,),) = rows(copy, "SELECT body FROM trace WHERE item = ?", item)
    trace = read_json(body)
    events = made[item]["trace"]["events"]
    telling = [i for i, e in enumerate(events) if e["from"] == "assistant" and (kind == "ask") != bool(e.get("calls"))]
    del trace["events"][telling[-1]]
    edit(copy, "UPDATE trace SET body = ? WHERE item = ?", to_json(trace), item)
    assert verified(copy, capsys).startswith(f"episode {item}: verdict: stored")


def test_words_of_a_trace_that_were_edited_are_found(
    made: list[dict[str, Any]], copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    item = item_of("ask", made)
    said = made[item]["trace"]["events"][0]["text"]
    edit(copy, "UPDATE text SET body = ? WHERE body = ?", to_json(said + " Or not."), to_json(said))
    assert command("verify", copy) == 1
    assert f"episode {item}: its label or trace was changed" in capsys.readouterr().out


def test_a_run_without_labels_has_nothing_to_verify(tmp_path: Path) -> None:
    cast = Cast(["scripted"])
    run = Run.open(tmp_path / "run.simlab", RunSpec("dialogue", 0, {}, Seeds(), cast.described()), 2)
    try:
        anyio.run(lambda: run.execute(cast))
    finally:
        run.file.close()
    with pytest.raises(InputError, match="a run of dialogue has no labels"):
        verify_run(tmp_path / "run.simlab")


# --- more of it, and killed -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_dialogues_killed_three_times_are_those_of_a_run_that_was_left_alone(tmp_path: Path) -> None:
    whole, path, n = tmp_path / "whole.simlab", tmp_path / "killed.simlab", 300
    words = [sys.executable, "-m", "simlab", "run", "tool_dialogue", "-n", str(n), "--model", "scripted", "-q", "--out"]
    subprocess.run([*words, str(whole)], check=True, capture_output=True, timeout=300)
    left = []
    for moment in (30, 110, 200):
        process = subprocess.Popen([*words, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not path.exists() or status_of(path).tally.finished < moment:
            assert process.poll() is None, "it ended before its time had come"
            assert time.monotonic() < deadline, "it does not get on"
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -9
        left.append(status_of(path).tally.finished)
    assert left == sorted(left)
    assert left[-1] < n
    subprocess.run([*words, str(path)], check=True, capture_output=True, timeout=300)
    assert sha(path) == sha(whole)
    assert rows(path, "SELECT count(*) FROM journal") == rows(whole, "SELECT count(*) FROM journal")
    found = verify_run(path)
    assert (found.good, found.n) == (n, n)


@pytest.mark.slow
def test_what_each_agent_passes_of_five_hundred(tmp_path: Path) -> None:
    play(tmp_path / "run.simlab", 500)
    seeds = seeds_of(list(records(tmp_path / "run.simlab")))
    assert len(seeds.scenarios) > 480  # 500 without the very same plans
    check_controls(controls(seeds, 500, tmp_path))
    for seed in range(20):
        found = passed(tmp_path / f"random-{seed}.simlab", seeds, f"random_calls@{seed}", 500)
        assert not [scenario.id for scenario, success in found if success and scenario.label.goal]


# --- worded by a model ------------------------------------------------------------------------------------------


def check_words(record: dict[str, Any]) -> None:
    """Each turn of the user holds the values it was to tell, and none whose time had not come."""
    scenario = scenario_from(record["scenario"])
    assert isinstance(scenario, ToolScenario)
    slots = slots_from(scenario.view("user").get("slots", {}))
    told = {slot.name: slot for slot in slots if slot.reveal == "opening"}
    must, heard, turns = list(told.values()), "", 0
    texts = [event for event in record["trace"]["events"] if event["text"]]
    last = max(i for i, event in enumerate(texts) if event["from"] == "user")
    for i, event in enumerate(texts):
        if event["from"] != "user":
            heard = f"{heard} {event['text']}"
            continue
        if turns and i < last:
            must = asked(heard, slots)
            told |= {slot.name: slot for slot in must}
        if turns == 0 or i < last:
            assert all(spoken(slot.value) in event["text"] for slot in must), (event, must)
        plain = " ".join([scenario.purpose, *(f"{slot.label} is {spoken(slot.value)}." for slot in told.values())])
        for slot in slots:
            if slot.name not in told:
                assert not holds(event["text"], slot.value) or holds(plain, slot.value), (event, slot)
        heard, turns = "", turns + 1
    assert turns >= 2


def test_a_turn_holds_what_it_is_to_tell_and_nothing_before_its_time(made: list[dict[str, Any]]) -> None:
    for record in made:
        check_words(record)


def test_lines_that_a_model_spoils_are_replaced_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that says half of each line, which here drops a value and there an object."""
    reply = Scripted._made

    def halved(self: Scripted, request: Any, text: str, **how: Any) -> Any:
        return reply(self, request, " ".join(text.split()[: len(text.split()) // 2]), **how)

    monkeypatch.setattr(Scripted, "_made", halved)
    tally = play(tmp_path / "run.simlab", 40)
    found = list(records(tmp_path / "run.simlab"))
    assert tally.made == 40
    for record in found:
        check_words(record)
        assert record["meta"]["verdict"]["success"]
    assert tally.fallbacks == counted(found) > 40
    assert status_of(tmp_path / "run.simlab").tally.fallbacks == tally.fallbacks


def counted(found: list[dict[str, Any]]) -> int:
    """How many lines of the traces are the plain ones, a model having failed."""
    events = [event for record in found for event in record["trace"]["events"]]
    return sum(1 for event in events if event.get("notes", {}).get("fallback"))


@pytest.mark.embedded
def test_the_embedded_model_words_the_lines_and_the_script_carries_the_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.simlab"
    tally = play(path, 6, model="embedded", concurrency=2)
    assert (tally.finished, tally.made) == (6, 6)
    found = list(records(path))
    for record in found:
        check_words(record)
        assert record["meta"]["verdict"]["success"]
    assert tally.fallbacks == counted(found) < tally.lines
    assert verify_run(path).good == 6
    assert command("status", path) == 0
    assert f"{tally.fallbacks} of {tally.lines} lines" in " ".join(capsys.readouterr().out.split())


# --- read by others ---------------------------------------------------------------------------------------------


@pytest.mark.readers
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", ["openai", "trl"])
def test_datasets_loads_dialogues_with_tools(
    name: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    import datasets

    target = tmp_path / "out.jsonl"
    made = lines(whole, name, target)
    loaded = datasets.load_dataset("json", data_files=str(target), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.num_rows == len(made) > 0.98 * N
    assert {"messages", "tools"} <= set(loaded.column_names)
    for row, line in zip(loaded, made, strict=True):
        assert row["messages"] == line["messages"], "arguments of all shapes are what they were"
        assert row["tools"] == line["tools"]
