"""Replay: every finished episode is reproduced offline, and whatever was touched in the file is found and named."""

import shutil
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from simlab.cli import main
from simlab.lab import Seeds
from simlab.limits import Budget
from simlab.models.scripted import Scripted
from simlab.replay import Replay, Replayed
from simlab.run import Cast, Run, RunSpec
from simlab.runfile import SHARED, RunFile, _sum
from simlab.schema import digest, read_json, to_json

N = 6
RECIPES = ("dialogue", "pink_elephants")
# so that second tries, drops and unfinished talks are replayed too
FAULTS = "scripted:leak@answer=0.7,truncate@answer=1+5,truncate@utterance=0.1,truncate@plan=0.2"


def make(path: Path, recipe: str, n: int = N, *, spec: str = FAULTS, calls: int | None = None) -> Path:
    """A run file, made as `simlab run` makes it."""
    cast = Cast([spec])
    run = Run.open(path, RunSpec(recipe, 3, {}, Seeds(topics=("travel", "owls")), cast.described()), n)
    try:
        anyio.run(lambda: run.execute(cast, budget=Budget(calls=calls), concurrency=2))
    finally:
        run.file.close()
    return path


def replayed(path: Path, recipe: str | None = None) -> list[Replayed]:
    file = RunFile.open(path)
    try:
        return anyio.run(Replay(file, recipe).all)
    finally:
        file.close()


def differences(path: Path) -> dict[int, str]:
    """What a replay of everything found, by item."""
    return {result.item: result.difference for result in replayed(path) if result.difference}


def rows(path: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(path)
    try:
        return db.execute(sql, values).fetchall()
    finally:
        db.close()


def edit(path: Path, sql: str, *values: Any) -> int:
    """Change the file behind its back; returns how many rows that met."""
    db = sqlite3.connect(path)
    try:
        with db:
            return db.execute(sql, values).rowcount
    finally:
        db.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("made")
    return {recipe: make(folder / f"{recipe}.simlab", recipe) for recipe in RECIPES}


@pytest.fixture(params=RECIPES)
def copy(request: pytest.FixtureRequest, made: dict[str, Path], tmp_path: Path) -> Path:
    """A run file of its own to tamper with, once per recipe."""
    return Path(shutil.copy(made[request.param], tmp_path / "copy.simlab"))


@pytest.fixture
def talks(made: dict[str, Path], tmp_path: Path) -> Path:
    """A run file of dialogues to tamper with; `fresh.simlab` beside it stays as it was."""
    shutil.copy(made["dialogue"], tmp_path / "fresh.simlab")
    return Path(shutil.copy(made["dialogue"], tmp_path / "talks.simlab"))


def command(*words: Any) -> int:
    with pytest.raises(SystemExit) as done:
        main([str(word) for word in words])
    assert isinstance(done.value.code, int)
    return done.value.code


# --- nothing was touched ----------------------------------------------------------------------------------------


def test_every_episode_is_reproduced(copy: Path) -> None:
    assert differences(copy) == {}
    results = replayed(copy)
    assert [result.item for result in results] == list(range(N))
    counts = dict(rows(copy, "SELECT item, count(*) FROM journal WHERE item >= 0 GROUP BY item"))
    assert {result.item: result.asked for result in results} == counts


def test_the_runs_under_test_hold_drops_and_second_tries(made: dict[str, Path]) -> None:
    reasons = {r for path in made.values() for (r,) in rows(path, "SELECT reason FROM dropped")}
    assert {"agent_error", "no_original_mention"} <= reasons
    assert any('"tries":2' in body for path in made.values() for (body,) in rows(path, "SELECT body FROM trace"))


def test_a_replay_opens_no_model_and_no_connection(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any, **options: Any) -> Any:
        raise AssertionError("a replay went outside")

    monkeypatch.setattr(Scripted, "__init__", never)
    monkeypatch.setattr(Scripted, "reply", never)
    monkeypatch.setattr(socket.socket, "connect", never)
    assert differences(copy) == {}


def test_a_replay_leaves_the_file_as_it_is(copy: Path) -> None:
    before = copy.read_bytes()
    replayed(copy)
    assert copy.read_bytes() == before


def test_one_episode_can_be_replayed_alone(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for item in range(N):
        assert command("replay", copy, item) == 0
        asked = rows(copy, "SELECT count(*) FROM journal WHERE item = ?", item)[0][0]
        assert capsys.readouterr().out == f"episode {item}: same, {asked} replies\n1 of 1 reproduced\n"


# --- one row of the journal was touched -------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["asked", "answered", "name", "prompt_tokens", "completion_tokens", "sum"])
def test_a_row_of_the_journal_that_was_edited_is_found_and_named(column: str, copy: Path) -> None:
    """Every row in turn, shared work included."""
    entries = rows(copy, f"SELECT item, path, {column} FROM journal")
    assert {item for item, _, _ in entries} == set(range(-1, N))
    for item, path, value in entries[:: max(1, len(entries) // 6)]:
        changed = value + 1 if isinstance(value, int) else value[:-1] + "~"
        edit(copy, f"UPDATE journal SET {column} = ? WHERE item = ? AND path = ?", changed, item, path)
        found = differences(copy)
        assert found
        assert item in found or item == SHARED
        assert all(f"journal entry {path} was changed after it was stored" in said for said in found.values())
        edit(copy, f"UPDATE journal SET {column} = ? WHERE item = ? AND path = ?", value, item, path)
    assert differences(copy) == {}


def forge(path: Path, item: int, row: str, **changes: Callable[[Any], Any]) -> None:
    """Change fields of a row's JSON, and its checksum with them, as a careful forger would."""
    columns = "item, path, door, name, asked, answered, prompt_tokens, completion_tokens"
    values = list(rows(path, f"SELECT {columns} FROM journal WHERE item = ? AND path = ?", item, row)[0])
    for column, change in changes.items():
        at = {"asked": 4, "answered": 5}[column]
        value = read_json(values[at])
        change(value)
        values[at] = to_json(value)
    edit(
        path,
        "UPDATE journal SET asked = ?, answered = ?, sum = ? WHERE item = ? AND path = ?",
        *(values[4], values[5], _sum(tuple(values)), item, row),
    )


def test_a_forged_reply_changes_what_was_said_after_it_which_is_found(talks: Path) -> None:
    said = to_json("Forged, with a good checksum?")
    edit(talks, "INSERT INTO text VALUES (?, ?)", digest(said), said)
    forge(talks, 3, "1", answered=lambda reply: reply.update(text=digest(said)))
    found = differences(talks)
    assert set(found) == {3}
    assert "journal entry 2: message 2 was 'user: " in found[3]
    assert "Forged, with a good checksum?" in found[3]


def test_a_forged_request_is_found_with_its_first_differing_field(talks: Path) -> None:
    forge(talks, 2, "3", asked=lambda request: request.update(seed=5))
    seed = read_json(rows(talks, "SELECT asked FROM journal WHERE item = 2 AND path = '3'")[0][0])["seed"]
    assert seed == 5
    found = differences(talks)
    assert set(found) == {2}
    assert found[2].startswith("journal entry 3: seed was 5, is now ")


def test_a_forged_row_that_is_no_json_is_found(talks: Path) -> None:
    for column, what in (("asked", "request"), ("answered", "reply")):
        values = list(rows(talks, "SELECT * FROM journal WHERE item = 0 AND path = '1'")[0])
        values[4 if column == "asked" else 5] = "[]"
        forged = (values[4], values[5], _sum(tuple(values[:-1])))
        edit(talks, "UPDATE journal SET asked = ?, answered = ?, sum = ? WHERE item = 0 AND path = '1'", *forged)
        assert f"journal entry 1: the stored {what} cannot be read" in differences(talks)[0]
        shutil.copy(talks.with_name("fresh.simlab"), talks)


def test_a_row_that_was_removed_is_found(copy: Path) -> None:
    for item in range(N):
        last = rows(copy, "SELECT path FROM journal WHERE item = ? ORDER BY path", item)[-1][0]
        row = rows(copy, "SELECT * FROM journal WHERE item = ? AND path = ?", item, last)[0]
        edit(copy, "DELETE FROM journal WHERE item = ? AND path = ?", item, last)
        assert differences(copy).keys() == {item}
        assert f"journal entry {last}: the " in differences(copy)[item]
        assert "but nothing was recorded" in differences(copy)[item]
        edit(copy, "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *row)
    assert differences(copy) == {}


def test_shared_work_that_was_removed_is_missed_by_every_episode_that_rests_on_it(talks: Path) -> None:
    assert edit(talks, "DELETE FROM journal WHERE item = -1 AND path LIKE 'subtopics:owls/%'") == 1
    found = differences(talks)
    assert set(found) == {1, 3, 5}
    assert all("subtopics:owls/0" in said and "nothing was recorded" in said for said in found.values())


@pytest.mark.parametrize("item", [0, 4, SHARED])
def test_a_row_that_nothing_asked_for_is_found(item: int, copy: Path) -> None:
    values = list(rows(copy, "SELECT * FROM journal WHERE item = ? ORDER BY path", item)[0])
    values[1] = f"{values[1]}9"
    values[-1] = _sum(tuple(values[:-1]))
    edit(copy, "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *values)
    assert differences(copy) == {item: f"journal entry {values[1]}: recorded, but nothing asked for it"}


def test_shared_work_under_a_key_that_nobody_uses_is_found(copy: Path) -> None:
    values = list(rows(copy, "SELECT * FROM journal WHERE item = -1")[0])
    values[1] = "elsewhere/0"
    values[-1] = _sum(tuple(values[:-1]))
    edit(copy, "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *values)
    assert differences(copy) == {SHARED: "journal entry elsewhere/0: recorded, but nothing asked for it"}


# --- a text was touched -----------------------------------------------------------------------------------------


def test_whichever_text_was_edited_or_removed_it_is_found(copy: Path) -> None:
    """Texts are what was said and what was asked: system messages and schemas too."""
    texts = rows(copy, "SELECT digest, body FROM text")
    for key, body in texts[:: max(1, len(texts) // 9)]:
        edit(copy, "UPDATE text SET body = ? WHERE digest = ?", to_json("something else"), key)
        assert f"the text {key} was changed after it was stored" in "".join(differences(copy).values()), body
        edit(copy, "DELETE FROM text WHERE digest = ?", key)
        assert f"the text {key} is missing from the file" in "".join(differences(copy).values()), body
        edit(copy, "INSERT INTO text VALUES (?, ?)", key, body)
    assert differences(copy) == {}


# --- a result was touched ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (
            "UPDATE trace SET body = json_set(body, '$.end', 'goal_met') WHERE item = 2",
            'trace 0: /end: stored "goal_met", replayed "completed"',
        ),
        (
            "UPDATE trace SET body = json_set(body, '$.events[0].from', 'critic') WHERE item = 2",
            'trace 0: /events/0/from: stored "critic", replayed "user"',
        ),
        ("DELETE FROM trace WHERE item = 2", "traces: stored 0, replayed 1"),
        (
            "UPDATE record SET body = json_set(body, '$.meta.rounds', 99) WHERE item = 2",
            "record 0: /meta/rounds: stored 99, replayed ",
        ),
        ("UPDATE record SET type = 'script' WHERE item = 2", "record type 0: stored 'script', replayed 'dialogue'"),
        ("UPDATE record SET sketch = zeroblob(96) WHERE item = 2", "record sketch 0: "),
        ("DELETE FROM record WHERE item = 2", "records: stored 0, replayed 1"),
        ("UPDATE episode SET outcome = 'dropped' WHERE item = 2", "outcome: stored 'dropped', replayed 'made'"),
        ("INSERT INTO dropped VALUES (2, 0, 'bored', '')", "drops: stored 1, replayed 0"),
    ],
    ids=["trace", "event", "no trace", "record", "type", "sketch", "no record", "outcome", "drop"],
)
def test_an_edited_result_is_found_with_the_field_that_differs(sql: str, said: str, talks: Path) -> None:
    assert edit(talks, sql) == 1
    found = differences(talks)
    assert set(found) == {2}
    assert found[2].startswith(said)


def test_an_edited_measure_is_found_with_its_name(made: dict[str, Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(made["pink_elephants"], tmp_path / "pairs.simlab"))
    item = rows(path, "SELECT item FROM episode WHERE json_extract(measures, '$.base') = 'named'")[0][0]
    edit(path, "UPDATE episode SET measures = json_set(measures, '$.base', 'none') WHERE item = ?", item)
    assert differences(path) == {item: 'measures 0: /base: stored "none", replayed "named"'}


# --- the command ------------------------------------------------------------------------------------------------


def test_the_command_ends_with_1_and_names_the_episode_that_differs(
    talks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("replay", talks) == 0
    assert capsys.readouterr().out.endswith(f"\n{N} of {N} reproduced\n")
    edit(talks, "UPDATE journal SET answered = '{}' WHERE item = 4 AND path = '2'")
    assert command("replay", talks) == 1
    lines = capsys.readouterr().out.splitlines()
    said = "journal entry 2 was changed after it was stored (its checksum differs); the file now says {}"
    assert [line for line in lines if "DIFFERS" in line] == [f"episode 4: DIFFERS: {said}"]
    assert lines[-1] == f"{N - 1} of {N} reproduced"
    assert command("replay", talks, 4) == 1
    assert command("replay", talks, 3) == 0


def test_shared_work_that_differs_is_named_so(talks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = list(rows(talks, "SELECT * FROM journal WHERE item = -1")[0])
    values[1] = "elsewhere/0"
    edit(talks, "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *values[:-1], _sum(tuple(values[:-1])))
    assert command("replay", talks) == 1
    assert "shared work: DIFFERS: journal entry elsewhere/0" in capsys.readouterr().out


def test_an_episode_that_has_not_finished_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path / "part.simlab", "dialogue", calls=20)
    pending = set(range(N)) - {item for (item,) in rows(path, "SELECT item FROM episode")}
    for item in (max(pending), N + 7):
        assert command("replay", path, item) == 2
        assert f"episode {item} has not finished, or there is none" in capsys.readouterr().err
    assert command("replay", path) == 0
    assert f"{N - len(pending)} of {N - len(pending)} reproduced" in capsys.readouterr().out


CUSTOM = '''
"""One question each."""
from simlab import ChatMessage, Dialogue, Prompt

ASK = Prompt("ask", ask="Say {word}.")


async def parrots(lab, seeds, *, times: int = 1):
    word = lab.die.choice(["tide", "owl", "loaf"])
    for _ in range(times):
        said = await lab.say("assistant", ASK, {"word": word})
        yield Dialogue(messages=[ChatMessage("user", word), ChatMessage("assistant", said.text)])
'''


def test_a_recipe_of_ones_own_is_replayed_when_its_code_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_parrots.py").write_text(CUSTOM, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = "own_parrots:parrots"
    assert command("run", recipe, "-n", 5, "--model", "scripted", "--set", "times=2", "--out", "own.simlab") == 0
    capsys.readouterr()
    assert command("replay", "own.simlab") == 2
    assert f"which is not built in; name its code: --recipe {recipe}" in capsys.readouterr().err
    assert command("replay", "own.simlab", "--recipe", recipe) == 0
    assert "5 of 5 reproduced" in capsys.readouterr().out
    assert command("replay", "own.simlab", "--recipe", "dialogue") == 2
    assert "made with option 'times', which dialogue does not take" in capsys.readouterr().err
