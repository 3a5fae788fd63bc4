"""What is public: the names, what importing them costs, and the documents that are shipped beside the code."""

import ast
import inspect
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jsonschema
import pytest

import simlab
from simlab.checks.grounding import not_a_question, ungrounded
from simlab.files import read_seeds, read_yaml
from simlab.recipes.pink_elephants import sift_pairs
from simlab.scenario import Elephant, json_schema, label_schema, load_scenarios
from simlab.text import content_words, mentions

ROOT = Path(__file__).parent.parent
SCENARIOS = sorted((ROOT / "scenarios" / "topics").glob("*.yaml"))


# --- names ------------------------------------------------------------------------------------------------------


def test_public_names_are_sorted_unique_and_there() -> None:
    names = simlab.__all__
    assert list(names) == sorted(names, key=lambda name: (name.startswith("_"), name))
    assert len(set(names)) == len(names)
    assert dir(simlab) == sorted(names)
    for name in names:
        assert getattr(simlab, name) is not None


def test_what_type_checkers_see_is_what_is_public() -> None:
    """The names under TYPE_CHECKING, those that load lazily and `__all__` are the same, from the same modules."""
    tree = ast.parse(inspect.getsource(simlab))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {a.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for a in node.names}
    assert set(typed) | {"__version__"} == set(simlab.__all__)
    for name, module in typed.items():
        if (home := getattr(getattr(simlab, name), "__module__", None)) is not None:
            assert home == module


def test_every_public_name_says_what_it_is() -> None:
    for name in simlab.__all__:
        thing = getattr(simlab, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            doc = inspect.getdoc(thing) or ""
            assert doc.endswith((".", "`")) or "\n" in doc, name
            assert not doc.startswith(f"{name}("), f"{name} has only the docstring that dataclasses make"


def test_what_is_not_public_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Recipe'"):
        simlab.Recipe


IMPORT = """
import importlib, sys, typing
opened = []
def note(event, args):
    if event == "open":
        opened.append(str(args[0]))
    elif event.startswith(("socket.", "subprocess.", "os.mkdir", "os.rename", "os.remove", "sqlite3.")):
        opened.append(event)
before, own = set(sys.modules), ("simlab/__init__", "simlab/__pycache__/__init__")
sys.addaudithook(note)
import simlab
print(sorted({m.partition(".")[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)))
print([path for path in opened if not any(name in path for name in own)])
from simlab import Die, Drop
print(Die(1).below(6), [m for m in ("httpx", "pydantic", "typer", "structlog", "yaml", "anyio") if m in sys.modules])
"""


def test_importing_simlab_loads_nothing_but_itself_and_touches_no_file() -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-c", IMPORT], capture_output=True, text=True, check=True, timeout=60, cwd=ROOT
    )
    modules, opened, after = done.stdout.splitlines()
    assert modules == "['simlab']"
    assert opened == "[]"
    assert after.endswith(" []"), "a die needs none of them either"
    assert done.stderr == ""


# --- documents --------------------------------------------------------------------------------------------------


def test_the_published_schema_is_the_one_that_is_enforced() -> None:
    published = json.loads((ROOT / "scenarios" / "scenario.schema.json").read_text(encoding="utf-8"))
    assert published == json_schema()
    jsonschema.Draft202012Validator.check_schema(published)
    label = json.loads((ROOT / "scenarios" / "label.schema.json").read_text(encoding="utf-8"))
    assert label == label_schema()
    jsonschema.Draft202012Validator.check_schema(label)


def test_there_are_scenarios_and_their_ids_are_unique() -> None:
    made = load_scenarios(str(ROOT / "scenarios" / "topics" / "*.yaml"), "dialogue")
    assert len(made) == len(SCENARIOS) >= 10
    assert len({scenario.id for scenario in made}) == len(made)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_shipped_scenario_is_valid_under_the_published_schema(path: Path) -> None:
    published = json.loads((ROOT / "scenarios" / "scenario.schema.json").read_text(encoding="utf-8"))
    scenario = read_yaml(path).value
    jsonschema.Draft202012Validator(published).validate(scenario)
    assert scenario["id"] == f"topics/{path.stem}"
    first = path.read_text(encoding="utf-8").splitlines()[0]
    schema = first.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / schema).resolve() == (ROOT / "scenarios" / "scenario.schema.json").resolve()


def test_the_published_schema_refuses_what_the_reader_refuses() -> None:
    published = jsonschema.Draft202012Validator(json_schema())
    good = read_yaml(SCENARIOS[0]).value
    for wrong in ({"topik": "x"}, {"kind": "opera"}, {"topic": ""}, {"id": "no spaces"}, {"ends": {"turns": 1}}):
        assert not published.is_valid({**good, **wrong}), wrong
    assert published.is_valid(good)


# --- seeds ------------------------------------------------------------------------------------------------------

TOPICS = read_seeds("topics")
PAIRS = read_seeds("pairs")


def test_there_are_enough_topics_and_none_stands_twice() -> None:
    names = [entry["topic"].casefold() for entry in TOPICS]
    assert len(set(names)) == len(names) >= 20


@pytest.mark.parametrize("entry", TOPICS, ids=lambda entry: entry["topic"])
def test_the_statements_of_a_topic_can_carry_a_dialogue(entry: dict) -> None:
    assert 8 <= len(entry["statements"]) <= 12
    for statement in entry["statements"]:
        says, asks = statement["says"], statement["asks"]
        assert says.endswith(".")
        assert asks.endswith("?")
        assert len(content_words(says) & content_words(asks)) >= 2, asks
        assert ungrounded(says, says) is None, says
        assert not_a_question(asks, says, novel=3) in (None, "gives_it_away"), asks
    assert len({statement["says"] for statement in entry["statements"]}) == len(entry["statements"])


def test_there_are_enough_pairs_and_none_is_sifted_out() -> None:
    assert len(PAIRS) == 12
    rows = [(entry["topic"], pair) for entry in PAIRS for pair in entry["pairs"]]
    kept, rejected = sift_pairs(rows)
    assert rejected == []
    assert len(kept) >= 60
    assert min(Counter(topic for topic, _ in kept).values()) >= 4


@pytest.mark.parametrize("entry", PAIRS, ids=lambda entry: entry["topic"])
def test_what_is_said_of_a_thing_names_it_and_not_its_other(entry: dict) -> None:
    for pair in entry["pairs"]:
        grey, pink = Elephant(**pair["grey"]), Elephant(**pair["pink"])
        assert len(grey.says) >= 2
        for one, other in (grey, pink), (pink, grey):
            for sentence in one.says:
                assert mentions(sentence, one.names), sentence
                assert not mentions(sentence, other.names), sentence
        assert not mentions(pair["need"], (*grey.names, *pink.names))
        assert not pair["need"].endswith(".")
