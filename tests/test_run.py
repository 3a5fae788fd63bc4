"""Runs: the same seed gives the same bytes at any concurrency, however often it was stopped, grown or cut."""

import fcntl
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

import simlab.run
import simlab.runfile
from simlab.die import Die
from simlab.errors import BudgetSpent, InputError, JournalMismatch, RunFileError, Stopped
from simlab.lab import Lab, Seeds
from simlab.limits import Budget, Tuned
from simlab.model import CallFailed, Reply, Request, Sampling
from simlab.models.scripted import Scripted
from simlab.record import Instruction
from simlab.replay import Replay
from simlab.run import Cast, Run, RunSpec, Status, status_of
from simlab.runfile import VERSION, RunFile
from simlab.schema import digest
from simlab.stored import export_run

RECIPES = ("dialogue", "pink_elephants")
N = 60


class Paced(Scripted):
    """The scripted model, whose replies take their time: calls overtake each other, never twice the same way."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._pace = Die("pace", os.urandom(8))

    async def reply(self, request: Request) -> Reply:
        for _ in range(self._pace.below(12)):
            await checkpoint()
        return await super().reply(request)


class Played:
    """What one call of `play` came to: the run, and why it stopped early, if it did."""

    def __init__(self, run: Run, stopped: Stopped | None, budget: Budget) -> None:
        self.tally, self.stopped, self.budget = run.tally, stopped, budget


def cast_of(model: Any = None) -> Cast:
    """The paced scripted model in every role, or another one."""
    cast = Cast(["scripted"])
    cast.models = {role: Tuned(model or Paced(), Sampling()) for role in cast.models}
    return cast


def play(
    path: Path,
    recipe: str = "dialogue",
    n: int = N,
    *,
    seed: int = 0,
    options: dict[str, Any] | None = None,
    seeds: Seeds | None = None,
    model: Any = None,
    accept: bool = False,
    backend: str = "asyncio",
    **how: Any,
) -> Played:
    """Run, or go on with, a run file; what `simlab run` does, without its printing."""
    cast = cast_of(model)
    budget = how.setdefault("budget", Budget())
    spec = RunSpec(recipe, seed, options or {}, seeds or Seeds(), cast.described())
    run = Run.open(path, spec, n, accept_code_change=accept)
    try:

        async def execute() -> Stopped | None:
            return await run.execute(cast, **how)

        return Played(run, anyio.run(execute, backend=backend), budget)
    finally:
        run.file.close()


def exported(path: Path, name: str = "simlab") -> bytes:
    target = path.with_suffix(".jsonl")
    export_run(path, name, target)
    return target.read_bytes()


def sha(path: Path) -> str:
    return sha256(exported(path)).hexdigest()


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(path)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def edit(path: Path, sql: str, *values: Any) -> None:
    db = sqlite3.connect(path)
    try:
        with db:
            db.execute(sql, values)
    finally:
        db.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One uninterrupted run of each recipe."""
    folder = tmp_path_factory.mktemp("whole")
    files = {recipe: folder / f"{recipe}.simlab" for recipe in RECIPES}
    for recipe, file in files.items():
        played = play(file, recipe)
        assert played.stopped is None
        assert played.tally.finished == N
    return files


# --- the same bytes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    "how",
    [
        {"concurrency": 1},
        {"concurrency": 16},
        {"concurrency": 256},
        {"window": 1},
        {"window": 1000},
        {"backend": "trio"},
    ],
    ids=lambda how: "-".join(f"{k}={v}" for k, v in how.items()),
)
def test_how_a_run_is_scheduled_does_not_show_in_its_bytes(
    recipe: str, how: dict[str, Any], whole: dict[str, Path], tmp_path: Path
) -> None:
    play(tmp_path / "again.simlab", recipe, **how)
    assert sha(tmp_path / "again.simlab") == sha(whole[recipe])


@pytest.mark.parametrize("recipe", RECIPES)
def test_another_seed_is_another_run(recipe: str, whole: dict[str, Path], tmp_path: Path) -> None:
    play(tmp_path / "other.simlab", recipe, seed=1)
    ours, other = exported(whole[recipe]).splitlines(), exported(tmp_path / "other.simlab").splitlines()
    assert not set(ours) & set(other)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_that_grows_is_the_run_that_was_larger_from_the_start(
    recipe: str, whole: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "growing.simlab"
    play(path, recipe, n=25)
    first = exported(path)
    play(path, recipe, n=N)
    assert exported(path) == exported(whole[recipe])
    assert exported(path).startswith(first)
    assert first.count(b"\n") < exported(path).count(b"\n")


def test_a_finished_run_asks_nothing_when_it_is_run_again(whole: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "again.simlab"
    shutil.copy(whole["dialogue"], path)
    before = rows(path, "SELECT count(*) FROM journal")
    played = play(path, budget=Budget(calls=1))
    assert played.stopped is None
    assert rows(path, "SELECT count(*) FROM journal") == before
    assert sha(path) == sha(whole["dialogue"])


def test_texts_are_stored_once_also_when_it_is_forgotten_which_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simlab.runfile, "REMEMBERED", 2)
    file = RunFile.create(tmp_path / "texts.simlab", {})
    for _ in range(3):
        for word in ("owls", "tides", "rye", "snow"):
            file.put_texts({digest(word): word})
        file.flush()
    assert file.text(digest("rye")) == "rye"
    file.close()
    assert sorted(rows(tmp_path / "texts.simlab", "SELECT body FROM text")) == [
        ("owls",),
        ("rye",),
        ("snow",),
        ("tides",),
    ]


def test_texts_are_found_while_a_run_goes_on_after_it_and_where_it_was_killed(tmp_path: Path) -> None:
    path, killed = tmp_path / "texts.simlab", tmp_path / "killed.simlab"
    file = RunFile.create(path, {})
    file.put_texts({digest(word): word for word in ("owls", "tides")})
    file.flush()
    reader = RunFile.open(path)
    assert reader.text(digest("tides")) == "tides"
    with pytest.raises(JournalMismatch, match="missing from the file"):
        reader.text(digest("rye"))
    file.put_texts({digest(word): word for word in ("rye", "snow")})
    file.flush()
    for end in ("", "-wal"):  # what a killed process leaves
        shutil.copy(f"{path}{end}", f"{killed}{end}")
    assert reader.text(digest("rye")) == "rye"
    file.close()
    again = RunFile.open(path)
    assert [again.text(digest(word)) for word in ("snow", "owls")] == ["snow", "owls"]
    assert reader.text(digest("owls")) == "owls"

    assert reader.text(digest("snow")) == "snow"
    file.close()  # once more
    left = RunFile.open_for_writing(killed)
    left.put_texts({digest("owls"): "owls"})  # it does not know that it is there
    assert left.text(digest("snow")) == "snow"
    left.close()
    assert len(rows(killed, "SELECT * FROM text")) == 4
    for one in (reader, again):
        one.close()


# --- cut and resumed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES)
def test_whatever_was_committed_when_the_process_died_leads_to_the_same_bytes(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is copied, log and all, after each commit: that is what a power cut would leave."""
    monkeypatch.setattr(simlab.runfile, "GROUP", 20)
    path, n, left = tmp_path / "run.simlab", 12, []
    flush = RunFile.flush

    def flush_and_copy(file: RunFile) -> None:
        before = file.flushes
        flush(file)
        if file.flushes > before:
            copy = tmp_path / f"cut-{len(left)}.simlab"
            shutil.copy(path, copy)
            shutil.copy(f"{path}-wal", f"{copy}-wal")
            left.append(copy)

    with monkeypatch.context() as patch:
        patch.setattr(RunFile, "flush", flush_and_copy)
        play(path, recipe, n)
    assert len(left) > 10
    pending = [n - rows(copy, "SELECT count(*) FROM episode")[0][0] for copy in left]
    assert pending[0] == n
    assert pending[-1] == 0
    assert sum(0 < p < n for p in pending) > 2
    for copy in left:
        assert play(copy, recipe, n).stopped is None
        assert sha(copy) == sha(path)


@cache
def of_twelve(recipe: str) -> tuple[int, str]:
    """The calls and the bytes of a run of twelve items that nothing interrupts."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "whole.simlab")
        play(path, recipe, 12)
        return rows(path, "SELECT count(*) FROM journal")[0][0], sha(path)


@settings(max_examples=6, deadline=None)
@given(st.sampled_from(RECIPES), st.lists(st.integers(1, 60), min_size=1, max_size=3), st.sampled_from([1, 5, 64]))
def test_a_run_stopped_by_its_budget_as_often_as_you_like_gives_the_same_bytes(
    recipe: str, steps: list[int], concurrency: int
) -> None:
    with TemporaryDirectory() as folder:
        path, allowed, n = Path(folder, "run.simlab"), 0, 12
        needed, whole = of_twelve(recipe)
        for step in steps:
            allowed += step
            stopped = play(path, recipe, n, budget=Budget(calls=allowed), concurrency=concurrency).stopped
            if allowed < needed:
                assert isinstance(stopped, BudgetSpent)
            assert rows(path, "SELECT count(*) FROM journal") == [(min(allowed, needed),)]
        assert play(path, recipe, n, concurrency=concurrency).stopped is None
        assert sha(path) == whole
        assert rows(path, "SELECT count(*) FROM journal") == [(needed,)]


@pytest.mark.parametrize(
    ("budget", "option"),
    [
        (Budget(calls=37), "37 calls is used up (--max-calls)"),
        (Budget(tokens=5000), "5000 tokens is used up (--max-tokens)"),
        (Budget(seconds=0.0), "0 seconds is used up (--max-seconds)"),
    ],
    ids=["calls", "tokens", "seconds"],
)
def test_a_budget_stops_the_run_and_names_its_option(budget: Budget, option: str, tmp_path: Path) -> None:
    played = play(tmp_path / "run.simlab", budget=budget)
    assert isinstance(played.stopped, BudgetSpent)
    assert option in str(played.stopped)
    assert played.tally.failed == 0
    assert played.tally.finished < N


def test_accounts_add_up_over_sessions_to_those_of_one_session(whole: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "run.simlab"
    for calls in (10, 11, 200, 450):
        played = play(path, budget=Budget(calls=calls), concurrency=16)
        assert played.budget.total("calls") == calls
        assert status_of(path).accounts["scripted"].calls == calls
    played = play(path)
    made, once = status_of(path), status_of(whole["dialogue"])
    assert made.accounts == once.accounts
    assert played.budget.accounts["scripted"].prompt_tokens == once.accounts["scripted"].prompt_tokens
    asked, sessions = once.accounts["scripted"].calls, rows(path, "SELECT calls, ended FROM session ORDER BY id")
    assert [calls for calls, _ in sessions] == [10, 1, 189, 250, asked - 450]
    assert [ended for _, ended in sessions][-1] == "finished"


def test_what_a_resumed_run_counts_is_what_the_whole_one_counts(whole: dict[str, Path], tmp_path: Path) -> None:
    for recipe in RECIPES:
        path = tmp_path / f"{recipe}.simlab"
        play(path, recipe, budget=Budget(calls=200))
        resumed, once = play(path, recipe).tally, status_of(whole[recipe]).tally
        assert (resumed.finished, resumed.made, resumed.drops) == (once.finished, once.made, once.drops)
        assert (resumed.lines, resumed.fallbacks) == (once.lines, once.fallbacks)


# --- failures of the infrastructure ----------------------------------------------------------------------------


class Failing(Paced):
    """The scripted model behind an endpoint that fails where `when` says so."""

    def __init__(self, when: Callable[[Request], bool], *, fatal: bool = False) -> None:
        super().__init__()
        self.asked: Counter[int] = Counter()
        self._when, self._fatal = when, fatal

    async def reply(self, request: Request) -> Reply:
        self.asked[request.item] += 1
        if self._when(request):
            raise CallFailed("the line is dead", retry=False, fatal=self._fatal)
        return await super().reply(request)


@pytest.mark.parametrize("concurrency", [1, 16])
def test_an_item_whose_call_failed_stays_pending_and_the_next_session_makes_it(
    concurrency: int, whole: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "run.simlab"
    flaky = Failing(lambda request: request.item in (7, 30) and request.step == "answer")
    played = play(path, model=flaky, concurrency=concurrency)
    assert played.stopped is None
    assert (played.tally.failed, played.tally.finished) == (2, N - 2)
    assert played.budget.accounts["scripted"].failed == 2
    assert rows(path, "SELECT item FROM episode WHERE item IN (7, 30)") == []

    healed = Failing(lambda request: False)
    played = play(path, model=healed)
    assert (played.tally.failed, played.tally.finished) == (0, N)
    assert set(healed.asked) == {7, 30}
    assert sha(path) == sha(whole["dialogue"])


def test_shared_work_that_failed_is_tried_again_by_the_next_item(tmp_path: Path) -> None:
    left = [3]  # calls that fail

    def when(request: Request) -> bool:
        left[0] -= request.item < 0
        return request.item < 0 and left[0] >= 0

    path, seeds = tmp_path / "run.simlab", Seeds(topics=("tides",))
    played = play(path, n=8, seeds=seeds, model=Failing(when), concurrency=1)
    assert (played.tally.failed, played.tally.finished) == (3, 5)
    play(path, n=8, seeds=seeds)
    play(tmp_path / "whole.simlab", n=8, seeds=seeds)
    assert sha(path) == sha(tmp_path / "whole.simlab")


def test_ten_failures_in_a_row_stop_the_run(tmp_path: Path) -> None:
    path = tmp_path / "run.simlab"
    dead = Failing(lambda request: request.item >= 5)
    played = play(path, model=dead, window=1)
    assert isinstance(played.stopped, CallFailed)
    assert "the line is dead" in str(played.stopped)
    assert (played.tally.finished, played.tally.failed) == (5, 10)
    assert max(dead.asked) == 14


def test_failures_with_a_success_between_them_do_not_stop_the_run(tmp_path: Path) -> None:
    played = play(tmp_path / "run.simlab", model=Failing(lambda request: request.item % 10 != 9), window=1)
    assert played.stopped is None
    assert (played.tally.finished, played.tally.failed) == (6, 54)


def test_a_failure_that_every_call_would_meet_stops_the_run_at_once(whole: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "run.simlab"
    refused = Failing(lambda request: request.item == 3, fatal=True)
    played = play(path, model=refused, concurrency=4, window=8)
    assert isinstance(played.stopped, CallFailed)
    assert played.stopped.fatal
    assert played.tally.failed == 1
    assert played.tally.finished <= 12
    assert refused.asked[3] == 1
    assert play(path).stopped is None
    assert sha(path) == sha(whole["dialogue"])


# --- the second pass -------------------------------------------------------------------------------------------


def repeating(groups: int) -> Paced:
    """A model whose whole talks come round again every so many items."""
    noun = "anvil birch cedar drum ember fern gorge heron inlet jetty kiln loom mast nest oar pier quill reef".split()

    def line(request: Request) -> str:
        die = Die("line", request.item % groups, request.step, len(request.messages))
        said = " ".join(die.choice(noun) for _ in range(9))
        return f"{said}?" if request.role == "user" or request.step == "question" else f"{said}."

    return Paced(lines=dict.fromkeys(("question", "utterance", "answer"), line))


@pytest.mark.parametrize("concurrency", [1, 256])
def test_a_talk_that_was_had_before_is_dropped_in_favour_of_the_earlier_item(concurrency: int, tmp_path: Path) -> None:
    path, n, groups = tmp_path / "run.simlab", 40, 7
    played = play(path, n=n, options={"rounds": (3, 3)}, model=repeating(groups), concurrency=concurrency)
    assert played.tally.drops == {"near_duplicate": n - groups}
    assert played.tally.made == groups
    verdicts = dict(rows(path, "SELECT item, verdict FROM record"))
    expected = {i: "kept" if i < groups else f"near_duplicate of {i % groups}" for i in range(n)}
    assert verdicts == expected
    assert exported(path).count(b"\n") == groups


def test_a_cut_run_compares_with_what_was_kept_before_the_cut(tmp_path: Path) -> None:
    path, options = tmp_path / "run.simlab", {"rounds": (3, 3)}
    for calls in (40, 90, 140, None):
        play(path, n=40, options=options, model=repeating(7), budget=Budget(calls=calls), concurrency=4)
    assert status_of(path).tally.drops == {"near_duplicate": 33}
    assert [i for (i,) in rows(path, "SELECT item FROM record WHERE verdict = 'kept'")] == list(range(7))


# --- what a resume may not change ------------------------------------------------------------------------------


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A run of 6 dialogues about two topics that stopped on its way."""
    path = tmp_path / "begun.simlab"
    played = play(path, n=6, seeds=Seeds(topics=("tides", "owls")), budget=Budget(calls=30), concurrency=1, window=2)
    assert 0 < played.tally.finished < 6
    return path


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"recipe": "pink_elephants"}, 'recipe "dialogue", not "pink_elephants"'),
        ({"seed": 5}, "seed 0, not 5"),
        ({"options": {"subtopics": 3}}, "options.subtopics null, not 3"),
        ({"model": Scripted({"refuse": 0.5}, name="scripted:refuse=0.5")}, 'name "scripted", not "scripted:refuse'),
        ({"seeds": Seeds(topics=("tides", "bees"))}, 'seeds.topics[1] "owls", not "bees"'),
        ({"n": 5}, "was asked for 6 items; -n 5 would cut it"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_resume_with_another_configuration_is_refused_and_the_difference_named(
    changed: dict[str, Any], named: str, begun: Path
) -> None:
    before = rows(begun, "SELECT * FROM meta ORDER BY key")
    with pytest.raises(RunFileError) as refused:
        play(begun, **{"n": 6, "seeds": Seeds(topics=("tides", "owls")), **changed})
    assert named in str(refused.value)
    assert str(begun) in str(refused.value)
    assert rows(begun, "SELECT * FROM meta ORDER BY key") == before
    assert play(begun, n=6, seeds=Seeds(topics=("tides", "owls"))).tally.finished == 6


def test_changed_code_is_refused_unless_accepted_which_keeps_what_is_finished(
    begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = Seeds(topics=("tides", "owls"))
    finished = {item for (item,) in rows(begun, "SELECT item FROM episode")}
    partial = {i for (i,) in rows(begun, "SELECT DISTINCT item FROM journal WHERE item >= 0")} - finished
    assert partial
    monkeypatch.setattr(simlab.run, "source_digest", lambda recipe: "edited")
    with pytest.raises(RunFileError, match=r"recipe's code has changed .*--accept-code-change"):
        play(begun, n=6, seeds=seeds)
    kept = rows(begun, f"SELECT * FROM record WHERE item IN ({','.join(map(str, finished))})")
    listening = Failing(lambda request: False)
    played = play(begun, n=6, seeds=seeds, model=listening, accept=True)
    assert played.tally.finished == 6
    assert not finished & set(listening.asked)
    assert listening.asked[min(partial)] == rows(begun, f"SELECT count(*) FROM journal WHERE item={min(partial)}")[0][0]
    assert set(kept) <= set(rows(begun, "SELECT * FROM record"))
    codes = dict(rows(begun, "SELECT item, code FROM episode"))
    assert {codes[i] for i in finished}.isdisjoint({codes[i] for i in set(range(6)) - finished})
    assert play(begun, n=6, seeds=seeds).stopped is None  # the new code is now the file's


def test_another_version_of_simlab_is_a_change_of_code(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simlab.run, "__version__", "99.0")
    with pytest.raises(RunFileError, match="simlab's version has changed"):
        play(begun, n=6, seeds=Seeds(topics=("tides", "owls")))


def test_a_journal_that_does_not_lead_to_where_the_run_was_stops_it_with_a_clear_error(begun: Path) -> None:
    """An entry of an unfinished episode was tampered with: the run neither goes on from it nor crashes."""
    edit(begun, "UPDATE journal SET answered = '{}' WHERE item NOT IN (SELECT item FROM episode) AND item >= 0")
    with pytest.raises(RunFileError, match=r"episode \d: journal entry \S+ was changed after it was stored"):
        play(begun, n=6, seeds=Seeds(topics=("tides", "owls")))


def test_there_are_no_more_items_than_opening_questions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only 2 opening questions"):
        play(tmp_path / "run.simlab", n=3, seeds=Seeds(questions=("Why?", "How?")))
    assert list(tmp_path.iterdir()) == []


# --- files that cannot be used ----------------------------------------------------------------------------------


def test_a_file_that_another_process_writes_is_refused_but_can_be_read(begun: Path) -> None:
    file = RunFile.open_for_writing(begun)
    try:
        with pytest.raises(RunFileError, match=rf"simlab process is writing this run \(process {os.getpid()}\)"):
            play(begun, n=6, seeds=Seeds(topics=("tides", "owls")))
        assert isinstance(status_of(begun), Status)
    finally:
        file.close()
    assert play(begun, n=6, seeds=Seeds(topics=("tides", "owls"))).tally.finished == 6


def test_the_lock_of_a_process_that_died_does_not_count(begun: Path) -> None:
    lock = begun.with_name(f".{begun.name}.lock")
    lock.write_text("999999", encoding="utf-8")
    assert play(begun, n=6, seeds=Seeds(topics=("tides", "owls"))).tally.finished == 6
    assert not lock.exists()


def test_two_that_begin_a_run_at_the_same_time_do_not_both_write_it(tmp_path: Path) -> None:
    path = tmp_path / "run.simlab"
    with path.with_name(f".{path.name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RunFileError, match="another simlab process is writing this run"):
            play(path, n=1)
    assert not path.exists()


def foreign(path: Path) -> None:
    edit(path, "CREATE TABLE letters (body TEXT)")


def truncated(path: Path) -> None:
    play(path, n=4)
    path.write_bytes(path.read_bytes()[:6000])


def garbled(path: Path) -> None:
    play(path, n=4)
    body = path.read_bytes()
    path.write_bytes(body[:100] + b"\x5a" * (len(body) - 100))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(b""), "it is no SQLite database"),
        (lambda path: path.write_text("hello, " * 40, encoding="utf-8"), "it is no SQLite database"),
        (foreign, "another program's SQLite database"),
        (truncated, "a corrupt one"),
        (garbled, "a corrupt one"),
        (lambda path: path.mkdir(), "is a folder"),
    ],
    ids=["empty", "text", "foreign", "truncated", "garbled", "folder"],
)
def test_what_is_no_run_file_is_refused_by_name_and_left_as_it_is(
    spoil: Callable[[Path], Any], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "thing.simlab"
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    for attempt in (lambda: play(path, n=4), lambda: status_of(path), lambda: exported(path)):
        with pytest.raises(RunFileError) as refused:
            attempt()
        assert said in str(refused.value)
        assert str(refused.value).startswith(f"{path}: ")
        assert "\n" not in str(refused.value)
    if before is not None:
        assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p != path and not p.name.startswith("thing.simlab-")] == []


def test_a_missing_file_can_be_begun_but_not_read(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match="no such run file"):
        status_of(tmp_path / "no.simlab")
    with pytest.raises(RunFileError):
        play(tmp_path / "no-folder" / "run.simlab", n=1)
    assert play(tmp_path / "no.simlab", n=1).tally.finished == 1


async def unstorable(lab: Lab, seeds: Seeds) -> AsyncIterator[Instruction]:
    """Every seventh record is no JSON."""
    text = await lab.ask("teacher", f"Say {lab.item}.")
    yield Instruction(instruction=str(lab.item), output=text, meta={"set": {1}} if lab.item % 7 == 3 else {})


@pytest.mark.parametrize("concurrency", [1, 16])
def test_an_episode_that_cannot_be_stored_does_not_keep_others_from_it(tmp_path: Path, concurrency: int) -> None:
    path = tmp_path / "run.simlab"
    with pytest.raises(TypeError, match="set is not JSON"):
        play(path, f"{__name__}:unstorable", n=40, concurrency=concurrency)
    stored = [item for (item,) in rows(path, "SELECT item FROM episode")]
    begun = [item for (item,) in rows(path, "SELECT item FROM journal")]
    assert sorted(stored) == sorted(item for item in begun if item % 7 != 3)
    assert rows(path, "SELECT count(*), sum(calls) FROM session") == [(1, len(begun))]


def test_a_file_of_an_older_simlab_can_be_read_and_not_written(whole: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "old.simlab"
    shutil.copy(whole["dialogue"], path)
    edit(path, "PRAGMA user_version=1")
    edit(path, "UPDATE record SET sketch = zeroblob(96)")  # as other hashes would be
    for row in rows(path, "SELECT * FROM journal"):  # and other checksums
        told = digest("\x1f".join(map(str, row[:-1])))
        edit(path, "UPDATE journal SET sum = ? WHERE item = ? AND path = ?", told, *row[:2])
    with pytest.raises(RunFileError, match="older simlab; it can be shown, exported and replayed only"):
        play(path)
    assert status_of(path).tally.finished == N
    assert sha(path) == sha(whole["dialogue"])
    replayed = anyio.run(Replay(RunFile.open(path)).all)
    assert [one.difference for one in replayed] == [""] * N


def test_a_file_of_a_newer_simlab_is_not_touched(whole: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "new.simlab"
    shutil.copy(whole["dialogue"], path)
    edit(path, f"PRAGMA user_version={VERSION + 1}")
    for attempt in (lambda: play(path), lambda: status_of(path)):
        with pytest.raises(RunFileError, match="written by a newer simlab"):
            attempt()
