"""Exports: each format's lines as its readers document them, ordered by item, and whole or not there at all."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import anyio
import pytest

from simlab.cli import main
from simlab.errors import InputError, RunFileError, Stopped
from simlab.lab import Seeds
from simlab.limits import Budget
from simlab.run import Cast, Run, RunSpec
from simlab.runfile import RunFile
from simlab.shelf import names
from simlab.stored import export_run, find_fits

N = 12
KINDS = {"dialogue": "dialogue", "pink_elephants": "preference", "simlab.author:scripts": "script"}
FORMATS = names("exports")


def make(path: Path, recipe: str, *, calls: int | None = None, spec: str = "scripted") -> Path:
    cast = Cast([spec])
    run = Run.open(path, RunSpec(recipe, 0, {}, Seeds(topics=("travel", "tides")), cast.described()), N)
    try:
        anyio.run(lambda: run.execute(cast, budget=Budget(calls=calls), concurrency=4))
    finally:
        run.file.close()
    return path


TASKS = """
from simlab import Instruction

async def tasks(lab, seeds):
    where = "North coast" if lab.item % 2 else ""
    yield Instruction(instruction=f"Name the tide of day {lab.item}.", input=where, output="High.")
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run file per type of record."""
    folder = tmp_path_factory.mktemp("runs")
    made = {kind: make(folder / f"{kind}.simlab", recipe) for recipe, kind in KINDS.items()}
    (folder / "export_tasks.py").write_text(TASKS, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        made["instruction"] = make(folder / "instruction.simlab", "export_tasks:tasks")
    return made


def lines(path: Path, name: str) -> list[dict[str, Any]]:
    target = path.with_name(f"{path.stem}-{name}.jsonl")
    export_run(path, name, target)
    text = target.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def is_chat(value: Any, *roles: str) -> bool:
    """Whether this is a list of messages that hold a role and a text and nothing else."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(set(m) == {"role", "content"} and isinstance(m["content"], str) and m["content"] for m in value)
        and {m["role"] for m in value} <= set(roles or ("system", "user", "assistant"))
    )


# --- which format fits what -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dialogue", "preference", "script", "instruction"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_format_writes_what_fits_it_and_names_those_that_fit_the_rest(
    name: str, kind: str, files: dict[str, Path], tmp_path: Path
) -> None:
    target = tmp_path / "out.jsonl"
    if kind in find_fits(name):
        counts = export_run(files[kind], name, target)
        made = [json.loads(line) for line in target.read_bytes().splitlines()]
        assert len(made) == counts.records > 0
        assert all(isinstance(line, dict) for line in made)
        assert (counts.finished, counts.n, counts.undecided) == (N, N, 0)
    else:
        with pytest.raises(InputError) as refused:
            export_run(files[kind], name, target)
        fitting = [one for one in FORMATS if kind in find_fits(one)]
        assert fitting
        assert str(refused.value) == (
            f"format {name!r} does not fit {kind} records; those that do: {', '.join(fitting)}"
        )
        assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_named_with_the_nearest(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no export 'trl-dpp'; did you mean 'trl-dpo'"):
        export_run(files["preference"], "trl-dpp", tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == []


# --- the shapes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["openai", "trl"])
def test_supervised_formats_are_messages_and_nothing_else(name: str, files: dict[str, Path]) -> None:
    made = lines(files["dialogue"], name)
    assert len(made) == N
    for line in made:
        assert set(line) == {"messages"}
        assert is_chat(line["messages"], "user", "assistant")
        assert line["messages"][-1]["role"] == "assistant"


def test_openai_dpo_is_an_input_and_two_outputs(files: dict[str, Path]) -> None:
    for line in lines(files["preference"], "openai-dpo"):
        assert set(line) == {"input", "preferred_output", "non_preferred_output"}
        assert set(line["input"]) == {"messages", "tools", "parallel_tool_calls"}
        assert line["input"]["tools"] == []
        assert line["input"]["parallel_tool_calls"] is True
        assert is_chat(line["input"]["messages"])
        assert line["input"]["messages"][-1]["role"] == "user"
        for side in ("preferred_output", "non_preferred_output"):
            assert is_chat(line[side], "assistant")
            assert len(line[side]) == 1
        assert line["preferred_output"] != line["non_preferred_output"]


def test_trl_dpo_is_a_prompt_and_two_sides(files: dict[str, Path]) -> None:
    for line in lines(files["preference"], "trl-dpo"):
        assert set(line) == {"prompt", "chosen", "rejected"}
        assert is_chat(line["prompt"])
        assert line["prompt"][-1]["role"] == "user"
        for side in ("chosen", "rejected"):
            assert is_chat(line[side], "assistant")
            assert len(line[side]) == 1


def test_instructions_become_chats_or_a_prompt_and_a_completion(files: dict[str, Path]) -> None:
    chats, completions = lines(files["instruction"], "openai"), lines(files["instruction"], "trl")
    said = {"role": "assistant", "content": "High."}
    for task, chat, completion in (
        ("Name the tide of day 0.", chats[0], completions[0]),
        ("Name the tide of day 1.\n\nNorth coast", chats[1], completions[1]),
    ):
        asked = {"role": "user", "content": task}
        assert chat == {"messages": [asked, said]}
        assert completion == {"prompt": [asked], "completion": [said]}


def test_all_formats_say_the_same(files: dict[str, Path]) -> None:
    full = lines(files["preference"], "simlab")
    ours = [(r["prompt"], r["chosen"], r["rejected"]) for r in full]
    trl = [(r["prompt"], r["chosen"], r["rejected"]) for r in lines(files["preference"], "trl-dpo")]
    openai = [
        (r["input"]["messages"], r["preferred_output"], r["non_preferred_output"])
        for r in lines(files["preference"], "openai-dpo")
    ]
    assert ours == trl == openai


@pytest.mark.parametrize("kind", ["dialogue", "preference"])
def test_the_full_record_says_where_it_came_from(kind: str, files: dict[str, Path]) -> None:
    for record in lines(files[kind], "simlab"):
        assert record["schema"] == "simlab/record/1"
        assert record["type"] == kind
        assert record["scenario"]["kind"] == {"dialogue": "dialogue", "preference": "pink_elephant"}[kind]
        trace = record["trace"]
        assert set(trace) == {"cast", "events", "end"}
        assert trace["cast"] == ["user", "assistant"]
        assert trace["end"] == "completed"
        assert all({"at", "from", "to", "text"} <= set(event) for event in trace["events"])
        came = record["provenance"]
        assert set(came) == {"simlab", "recipe", "source", "seed", "item", "options", "models", "steps"}
        assert came["models"] == dict.fromkeys(("assistant", "critic", "teacher", "user"), "scripted")
        assert came["steps"]
        assert all(set(step) == {"path", "role", "step", "request", "reply"} for step in came["steps"])


def test_ids_are_unique_and_items_are_in_order_as_numbers(files: dict[str, Path]) -> None:
    made = lines(files["dialogue"], "simlab")
    assert [record["provenance"]["item"] for record in made] == list(range(N))
    assert [record["id"] for record in made][1:11:9] == ["dialogue-1", "dialogue-10"]
    both = [record["id"] for record in lines(files["preference"], "simlab")]
    assert len(set(both)) == len(both)
    assert {name.partition(".")[2] for name in both} == {"", "1"}


def test_the_steps_of_a_record_are_in_the_order_of_their_positions(files: dict[str, Path]) -> None:
    for record in lines(files["dialogue"], "simlab"):
        paths = [int(step["path"]) for step in record["provenance"]["steps"]]
        assert paths == list(range(len(paths)))
    assert max(len(record["provenance"]["steps"]) for record in lines(files["dialogue"], "simlab")) > 10


# --- whole, or not there ----------------------------------------------------------------------------------------


def command(*words: Any) -> int:
    with pytest.raises(SystemExit) as done:
        main([str(word) for word in words])
    assert isinstance(done.value.code, int)
    return done.value.code


def test_a_run_is_exported_to_standard_output_too(files: dict[str, Path], tmp_path: Path) -> None:
    words = [sys.executable, "-m", "simlab", "export", str(files["dialogue"]), "--format", "trl", "--out"]
    subprocess.run([*words, str(tmp_path / "out.jsonl")], check=True, capture_output=True)
    done = subprocess.run([*words, "-"], check=True, capture_output=True, cwd=tmp_path)
    assert done.stdout == (tmp_path / "out.jsonl").read_bytes()
    assert done.stderr.startswith(b"-: ")
    assert not (tmp_path / "-").exists()
    os.mkfifo(tmp_path / "pipe")
    refused = subprocess.run([*words, str(tmp_path / "pipe")], capture_output=True, timeout=60)
    assert refused.returncode == 2
    assert b"it is no ordinary file; `-` writes to standard output" in refused.stderr


def test_a_run_is_read_where_nothing_can_be_written(files: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp())  # where others than its owner may look
    try:
        shutil.copy(files["dialogue"], folder / "x.simlab")
        for path, mode in ((folder / "x.simlab", 0o444), (folder, 0o555)):
            path.chmod(mode)
        child = os.fork()
        if not child:  # nobody, whom modes hold back as they do not hold back root
            read = False
            try:
                if os.geteuid() == 0:
                    os.setuid(65534)
                file = RunFile.open(folder / "x.simlab")
                read = not os.access(folder, os.W_OK) and file.one("SELECT count(*) FROM episode") == N
            finally:
                os._exit(0 if read else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_full_disk_stops_a_run_that_can_go_on(tmp_path: Path) -> None:
    file = RunFile.create(tmp_path / "x.simlab", {"n": 1})
    file._db.execute(f"PRAGMA max_page_count = {file.one('PRAGMA page_count')}")  # what SQLite takes for a full disk
    file.put_texts({"a": "x" * 100_000})
    with pytest.raises(Stopped, match=r"x.simlab: the disk is full; what was committed is kept"):
        file.flush()
    file._db.execute("PRAGMA max_page_count = 1000000")
    file.close()
    again = RunFile.open(tmp_path / "x.simlab")
    assert again.one("SELECT count(*) FROM text") == 1
    again.close()


def test_an_incomplete_run_says_how_much_of_it_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, target = make(tmp_path / "part.simlab", "dialogue", calls=50), tmp_path / "part.jsonl"
    assert command("export", path, "--format", "openai", "--out", target) == 0
    count = len(target.read_bytes().splitlines())
    assert 0 < count < N
    said = capsys.readouterr().out
    assert f"{target}: {count} records; the run is incomplete: {count} of {N} items" in said


def test_a_run_of_which_nothing_is_finished_is_an_empty_file(tmp_path: Path) -> None:
    target = tmp_path / "none.jsonl"
    counts = export_run(make(tmp_path / "none.simlab", "dialogue", calls=2), "simlab", target)
    assert (counts.records, counts.finished, counts.n) == (0, 0, N)
    assert target.read_bytes() == b""


@pytest.mark.parametrize("before", [None, b"what was there\n"], ids=["nothing there", "something there"])
def test_a_damaged_run_leaves_nothing_behind_at_the_target(
    before: bytes | None, files: dict[str, Path], tmp_path: Path
) -> None:
    path, folder = tmp_path / "damaged.simlab", tmp_path / "out"
    folder.mkdir()
    target = folder / "out.jsonl"
    if before is not None:
        target.write_bytes(before)
    path.write_bytes(files["dialogue"].read_bytes())
    last = export_last_text(path)
    with pytest.raises(RunFileError, match=rf"damaged.simlab: the text {last} was changed after it was stored"):
        export_run(path, "openai", target)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == ({} if before is None else {"out.jsonl": before})


def export_last_text(path: Path) -> str:
    """Damage the last text of the last record, so that all others have been written when it is met."""
    db = sqlite3.connect(path)
    try:
        with db:
            body = db.execute("SELECT body FROM record ORDER BY item DESC").fetchone()[0]
            key = str(json.loads(body)["messages"][-1].split(":")[1])
            db.execute("UPDATE text SET body = '\"changed\"' WHERE digest = ?", (key,))
        return key
    finally:
        db.close()


def test_a_target_that_cannot_be_written_is_clear_bad_input(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for target in (tmp_path / "no-folder" / "out.jsonl", tmp_path):
        assert command("export", files["dialogue"], "--format", "trl", "--out", target) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"simlab: error: {target}: cannot write here: ")
        assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# --- read by others ---------------------------------------------------------------------------------------------


@pytest.mark.readers
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("kind", "name", "columns"),
    [
        ("dialogue", "openai", {"messages"}),
        ("dialogue", "trl", {"messages"}),
        ("instruction", "trl", {"prompt", "completion"}),
        ("preference", "trl-dpo", {"prompt", "chosen", "rejected"}),
        ("preference", "openai-dpo", {"input", "preferred_output", "non_preferred_output"}),
    ],
)
def test_datasets_loads_what_was_exported(
    kind: str, name: str, columns: set[str], files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    import datasets

    target = tmp_path / "out.jsonl"
    counts = export_run(files[kind], name, target)
    loaded = datasets.load_dataset("json", data_files=str(target), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.num_rows == counts.records
    assert set(loaded.column_names) == columns
    rows = [json.loads(line) for line in target.read_bytes().splitlines()]
    for column in columns - {"input"}:
        assert loaded.features[column] == datasets.List(
            {"role": datasets.Value("string"), "content": datasets.Value("string")}
        )
        assert loaded[column][:] == [row[column] for row in rows]
    if "input" in columns:
        assert [row["messages"] for row in loaded["input"][:]] == [row["input"]["messages"] for row in rows]


@pytest.mark.readers
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", ["dialogue", "preference"])
def test_datasets_loads_full_records(
    kind: str, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    import datasets

    target = tmp_path / "out.jsonl"
    counts = export_run(files[kind], "simlab", target)
    loaded = datasets.load_dataset("json", data_files=str(target), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.num_rows == counts.records
    assert {"schema", "id", "type", "scenario", "trace", "provenance", "meta"} <= set(loaded.column_names)
    assert set(loaded["schema"][:]) == {"simlab/record/1"}
