import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from simlab import DialogueScenario, PinkElephantScenario, Prompt, load_scenario, shelf
from simlab.api import load_api
from simlab.cli import main
from simlab.findings import ERRORS
from simlab.journal import Journal
from simlab.lab import Lab
from simlab.mutants import MUTATIONS
from simlab.runfile import VERSION, RunFile
from simlab.scenario import KINDS, ROLES, Part, Sees
from simlab.schema import read_json
from simlab.score import COMPONENTS
from simlab.value_classes import CLASSES, KEYED
from tests.readme import README

ROOT = README.parent
DOCS = ROOT / "docs"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]


def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def fenced(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text(name), re.DOTALL | re.MULTILINE)


# ── scenarios ──────────────────────────────────────────────────────────────────────────────────────────────────────


def keys(value: Any, path: str = "") -> set[str]:
    """All keys of plain data, as dotted paths; those of a list's elements stand without a number."""
    if isinstance(value, dict):
        return {one for k, v in value.items() for one in {f"{path}{k}", *keys(v, f"{path}{k}.")}}
    return {one for v in value for one in keys(v, path)} if isinstance(value, list | tuple) else set()


@pytest.mark.parametrize(("number", "kind"), [(0, DialogueScenario), (1, PinkElephantScenario)])
def test_the_full_scenarios_load_and_leave_no_key_out(number: int, kind: type) -> None:
    scenario = load_scenario("docs/scenarios.md", fenced("scenarios.md", "yaml")[number])
    assert isinstance(scenario, kind)
    empty = [name for name in type(scenario).model_fields if getattr(scenario, name) in (None, "", ())]
    assert empty == []
    written = {"persona", "purpose", "policy", "turns", "background", "style", "patience"}
    assert written <= {path.rpartition(".")[2] for path in keys(scenario.model_dump(mode="json", exclude_unset=True))}


def test_the_example_for_tools_is_the_file_it_says_it_is() -> None:
    shown = fenced("scenarios.md", "yaml")[2]
    shipped = (ROOT / "scenarios" / "workshop" / "clarify-03.yaml").read_text(encoding="utf-8")
    assert load_scenario("docs/scenarios.md", shown).label == load_scenario("shipped", shipped).label
    assert shown.splitlines()[1:6] == shipped.splitlines()[1:6]


def test_no_page_holds_a_placeholder() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        lines = page.read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if len(line) == 1 and line.isalpha()], page
        assert not {"TODO", "FIXME", "EMBEDDED", "CONTROLS"} & {word for line in lines for word in line.split()}, page


def marks(part: type[Part], path: str) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for name, field in part.model_fields.items():
        seen = [mark for mark in field.metadata if isinstance(mark, Sees)]
        if seen:
            found[f"{path}.{name}"] = seen[0].roles
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Part):
            found |= marks(field.annotation, f"{path}.{name}")
    return found


def test_the_table_of_who_sees_what_agrees_with_the_marks() -> None:
    table = text("scenarios.md").split("## Who may see what")[1]
    header, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line[:1] == "|"]
    assert tuple(header[1:]) == ROLES
    said = {
        name.strip("`"): frozenset(role for role, cell in zip(ROLES, cells, strict=True) if cell)
        for name, *cells in rows[1:]
    }
    kinds = {name.partition(".")[0] for name in said}
    assert {KINDS[kind] for kind in kinds} == set(KINDS.values())  # kinds of one class are marked alike
    assert said == {name: seen for kind in kinds for name, seen in marks(KINDS[kind], kind).items()}


# ── API documents ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_overlay_shown_corrects_a_copy_of_our_library(tmp_path: Path) -> None:
    (tmp_path / "my-api.yaml").write_bytes((ROOT / "apis" / "library.yaml").read_bytes())
    (tmp_path / "mine.yaml").write_text(fenced("api-documents.md", "yaml")[0], encoding="utf-8")
    api = load_api(tmp_path / "my-api.yaml", tmp_path / "mine.yaml")
    assert api.operations["renewLoan"].transition == ("status", "renew")
    assert api.operations["listBooks"].page is None
    assert api.resources["loan"].examples == {"dueOn": ("2026-04-01", "2026-04-15")}


def test_every_key_of_an_overlay_is_in_the_tables() -> None:
    schema = read_json((ROOT / "apis" / "overlay.schema.json").read_bytes())["$defs"]
    keys = {*schema["resource"]["properties"], *schema["operation"]["properties"]}
    cells = [
        cell for line in text("api-documents.md").splitlines() if line[:2] == "| " for cell in line.split("|")[1:2]
    ]
    assert {word for cell in cells for word in re.findall(r"`(\w+)`", cell)} == keys


# ── the run file ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_tables_and_columns_are_those_of_a_fresh_run_file(tmp_path: Path) -> None:
    RunFile.create(tmp_path / "fresh.simlab", {}).close()
    db = sqlite3.connect(tmp_path / "fresh.simlab")
    try:
        there = {
            name: [row[1] for row in db.execute(f"PRAGMA table_info({name})")]
            for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        }
    finally:
        db.close()
    sections = re.split(r"^### (\w+)$", text("run-file.md"), flags=re.MULTILINE)[1:]
    said = {
        name: [row for row in re.findall(r"^\| (\w+) \|", body, re.MULTILINE) if row != "column"]
        for name, body in zip(sections[::2], sections[1::2], strict=True)
    }
    assert said == there
    assert f"`PRAGMA user_version` is {VERSION}." in text("run-file.md")


def test_the_queries_run(tmp_path: Path) -> None:
    _run("pink_elephants", "-n", "3", "--model", "scripted", "--out", str(tmp_path / "pairs.simlab"), "--quiet")
    queries = re.findall(r'^sqlite3 pairs\.simlab "(.*)"$', text("run-file.md"), re.MULTILINE)
    assert len(queries) >= 6
    file = RunFile.open(tmp_path / "pairs.simlab")
    try:
        for query in queries:
            assert list(file.query(query)), query
    finally:
        file.close()


# ── records ────────────────────────────────────────────────────────────────────────────────────────────────────────

ONE = ("-n", "1", "--set", "rounds=1-1", "--quiet", "--model")
LINES = {  # the JSON blocks of docs/records.md, in order
    "dialogue": {0: "simlab", 3: "openai", 5: "trl"},
    "pink_elephants": {1: "simlab", 7: "openai-dpo", 8: "trl-dpo"},
}


@pytest.mark.parametrize("recipe", LINES)
def test_the_lines_shown_have_the_shape_of_real_ones(recipe: str, tmp_path: Path) -> None:
    shown = [read_json(block) for block in fenced("records.md", "json")]
    model = "scripted" if recipe == "dialogue" else "scripted:leak@answer=1.0"
    _run(recipe, *ONE, model, "--out", str(tmp_path / "one.simlab"))
    for number, name in LINES[recipe].items():
        target = tmp_path / f"{name}.jsonl"
        _cli("export", str(tmp_path / "one.simlab"), "--format", name, "--out", str(target))
        real = read_json(target.read_text(encoding="utf-8").splitlines()[0])
        assert keys(shown[number]) == keys(real), name


def _run(*words: str) -> None:
    _cli("run", *words)


def _cli(*words: str) -> None:
    with pytest.raises(SystemExit) as done:
        main(list(words))
    assert done.value.code == 0


# ── scoring ────────────────────────────────────────────────────────────────────────────────────────────────────────


def first_cells(heading: str) -> list[str]:
    """The names in the first column of the table under a heading of docs/scoring.md."""
    section = re.split(r"^## ", text("scoring.md"), flags=re.MULTILINE)
    body = next(part for part in section if part.startswith(heading))
    return re.findall(r"`([\w:]+)`", " ".join(re.findall(r"^\| (`[^|]*) \|", body, re.MULTILINE)))


def test_the_page_on_scoring_names_what_there_is_in_its_order() -> None:
    assert tuple(first_cells("Types of error")) == ERRORS
    assert set(first_cells("Value classes")) == {*CLASSES, f"{KEYED}FIELD"}
    assert sorted(first_cells("Traces made elsewhere")) == shelf.names("readers")
    assert first_cells("Components") == list(COMPONENTS)
    assert set(first_cells("How well it judges")) == {*MUTATIONS, *ERRORS}
    assert first_cells("Scripted defects") == list(ERRORS)


# ── links, and code ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_point_to_what_exists(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in slugs, target


@pytest.mark.anyio
async def test_the_model_of_your_own_answers() -> None:
    scope: dict[str, Any] = {}
    exec(fenced("models.md", "python")[0], scope)
    lab = Lab(Journal().root, {"assistant": scope["loud"]()})
    assert await lab.ask("assistant", Prompt("greet", ask="{word}"), {"word": "hello"}) == "HELLO"
