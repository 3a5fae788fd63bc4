import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from simlab.cli import app, main
from simlab.schema import read_json
from tests.readme import README, blocks

ROOT = README.parent
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
FIRST = ("python3 -m venv .venv && ", ".venv/bin/simlab demo\n")
SECOND = ("python3 -m venv .venv && ", ".venv/bin/python -m pytest\n")


def commands() -> Iterator[str]:
    """Every `simlab ...` line of a shell block, in the README and in docs/."""
    for page in PAGES:
        for body in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            yield from (line for line in body.splitlines() if line.startswith("simlab "))


def parse(words: list[str]) -> None:
    """Resolve a command line against the command tree, and let it read its options; runs nothing."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        options = [word for word in words if word.startswith("-")] if words[0].startswith("-") else []
        for option in options[:1]:
            assert option in {name for parameter in command.params for name in parameter.opts}, option
            words = words[1:]
        assert words[0] in command.commands, f"no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, words)


def test_the_first_two_blocks_are_the_two_commands() -> None:
    first, second = blocks()[:2]
    for body, (start, end) in ((first, FIRST), (second, SECOND)):
        assert body.count("\n") == 1
        assert body.startswith(start)
        assert body.endswith(end)
    assert blocks("sh")[:2] == [first, second]
    assert "'.[local]'" in first
    assert "'.[dev]'" in second


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_every_command_line_exists(line: str) -> None:
    parse(shlex.split(line)[1:])


def test_a_command_line_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse(["run", "dialogue", "--modle", "scripted"])
    with pytest.raises(AssertionError, match="no command"):
        parse(["rum"])


def test_the_library_script_prints_what_it_says(tmp_path: Path) -> None:
    script = next(block for block in blocks("python") if "class Visitor" in block)
    said = blocks()[blocks().index(script) + 1]
    assert len(script.splitlines()) <= 15
    done = _python(tmp_path, "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


def test_the_recipe_runs_by_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = next(block for block in blocks("python") if "async def thing" in block)
    (tmp_path / "my_recipes.py").write_text(recipe, encoding="utf-8")
    lines = [line for line in commands() if "thing" in line]
    assert [line.split()[1] for line in lines] == ["run", "export", "replay"]
    run, export, replay = (shlex.split(line)[1:] for line in lines)
    for words in (run, replay):
        done = _python(tmp_path, "-m", "simlab", *words)
        assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="0"):
        main(export)
    records = [read_json(line) for line in (tmp_path / "thing.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(records) == 4
    assert all(record["prompt"] and record["completion"] for record in records)


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.split(r"[<>=]", name)[0] for name in project["dependencies"]}
    rows = re.findall(r"^\| ([\w-]+) \| (.+) \|$", README.read_text(encoding="utf-8").split("## Dependencies")[1], re.M)
    assert {name for name, _ in rows if name != "package"} - {"---"} == wanted
    for extra in project["optional-dependencies"]:
        assert f"`{extra}`" in README.read_text(encoding="utf-8")


def _python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False, encoding="utf-8", timeout=60
    )
