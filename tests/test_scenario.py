"""Scenario files: what may stand in them, what is told when something else does, and who sees which part."""

from hashlib import sha256
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from simlab.errors import InputError, ScenarioError
from simlab.files import matching, parse_yaml, read_yaml
from simlab.scenario import (
    KINDS,
    ROLES,
    AssistantPart,
    DialogueScenario,
    Elephant,
    Ends,
    Part,
    Persona,
    PinkElephantScenario,
    Sees,
    Statement,
    User,
    json_schema,
    load_scenario,
    load_scenarios,
    role,
    scenario_from,
    scenario_json,
)
from simlab.schema import problems, read_json, to_json

SHIPPED = matching("scenarios/**/*.yaml")

DIALOGUE = """\
# a talk
id: talks/bread
kind: dialogue
topic: bread
"""
ELEPHANT = """\
id: talks/shoes
kind: pink_elephant
topic: shoes
pink: {name: Adidas}
grey: {name: Nike}
"""

TOOLS = f"""\
id: talks/table
kind: do
api: {{document: tables.yaml, sha256: {"0" * 64}}}
purpose: book a table
"""

# --- files that are right -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_scenario_that_ships_loads_and_survives_being_stored(path):
    scenario = load_scenario(path)
    assert scenario.id.endswith(path.stem)
    assert scenario_from(scenario_json(scenario)) == scenario


@pytest.mark.parametrize("path", matching("scenarios/topics/*.yaml"), ids=lambda path: path.stem)
def test_every_topic_that_ships_has_enough_statements_for_its_rounds_and_turns(path):
    scenario = load_scenario(path)
    fewest, most = scenario.rounds
    assert fewest <= most <= len(scenario.statements)
    assert 2 * most <= scenario.ends.turns


def test_a_scenario_needs_only_an_id_a_kind_and_a_topic():
    scenario = load_scenario("bread.yaml", DIALOGUE)
    assert scenario == DialogueScenario(id="talks/bread", topic="bread")
    assert scenario_json(scenario) == {"id": "talks/bread", "kind": "dialogue", "topic": "bread"}


def test_the_kind_decides_what_a_file_becomes():
    assert isinstance(load_scenario("shoes.yaml", ELEPHANT), PinkElephantScenario)


@pytest.mark.parametrize("written", ["2", "'2'", "2.0", "2.5", "true", "noon", "null"])
def test_the_value_of_a_slot_is_what_was_written(written):
    text = f"{TOOLS}label: {{how: executed}}\nslots: {{day: {{label: the day, value: {written}}}}}\n"
    value = load_scenario("table.yaml", text).slots["day"].value
    meant = parse_yaml(written, "").value
    assert (value, type(value)) == (meant, type(meant))


def test_what_is_left_out_depends_on_the_kind():
    assert load_scenario("bread.yaml", DIALOGUE).rounds == (3, 7)
    assert load_scenario("shoes.yaml", ELEPHANT).rounds == (2, 4)


def test_a_scenario_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        load_scenario("bread.yaml", DIALOGUE).topic = "cake"


def test_an_elephant_goes_by_its_name_and_its_aliases():
    assert Elephant(name="New York", aliases=("NYC", "Big Apple")).names == ("New York", "NYC", "Big Apple")


# --- files that are wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DIALOGUE + "subtopik: crust\n", "bread.yaml:5: subtopik: no such key; did you mean 'subtopic'?"),
        ("id: x\nkind: dialogue\ntopik: bread\n", "bread.yaml:3: topik: no such key; did you mean 'topic'?"),
        (DIALOGUE + "colour: brown\nrounds: three\n", "bread.yaml:5: colour: no such key; known: id, title,"),
        (DIALOGUE + "dialogue: yes\n", "bread.yaml:5: dialogue: no such key"),
        (DIALOGUE + "pink_elephant:\n  name: x\n", "bread.yaml:5: pink_elephant: no such key"),
        (DIALOGUE + "1: x\n", "bread.yaml:5: 1: no such key"),
        (
            DIALOGUE + "user:\n  persona:\n    name: Mara\n    pacience: 3\n",
            "bread.yaml:8: user.persona.pacience: no such key; did you mean 'patience'?",
        ),
        (
            DIALOGUE + "user: {persona: {nam: Mara}}\n",
            "bread.yaml:5: user.persona.nam: no such key; did you mean 'name'?",
        ),
        (
            DIALOGUE + "statements:\n  - says: It rises.\n  - says: It falls.\n    ask: Why?\n",
            "bread.yaml:8: statements.1.ask: no such key; did you mean 'asks'?",
        ),
        (ELEPHANT + "user: {purpos: x}\n", "bread.yaml:6: user.purpos: no such key; did you mean 'purpose'?"),
        (DIALOGUE + "grey: {name: Nike}\n", "bread.yaml:5: grey: no such key"),
        (
            TOOLS + "slots:\n  day:\n    value: noon\n    lable: the day\n",
            "bread.yaml:8: slots.day.lable: no such key; did you mean 'label'?",
        ),
        (
            TOOLS + "label:\n  calls:\n    - op: book\n      args:\n        day: {fron: user:day}\n",
            "bread.yaml:9: label.calls.0.args.day.fron: no such key; did you mean 'from'?",
        ),
    ],
    ids=range(13),
)
def test_a_key_nobody_knows_is_told_with_its_line_and_the_nearest(text, message):
    with pytest.raises(ScenarioError) as caught:
        load_scenario("bread.yaml", text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id: x\nkind: dialog\n", "bread.yaml:2: kind: 'dialog' is not a kind; did you mean 'dialogue'?"),
        (
            "id: x\nkind: pinkelephant\n",
            "bread.yaml:2: kind: 'pinkelephant' is not a kind; did you mean 'pink_elephant'?",
        ),
        ("id: x\nkind: 7\n", "bread.yaml:2: kind: '7' is not a kind; known: dialogue, pink_elephant, "),
        ("id: x\nkind: [dialogue]\n", "bread.yaml:2: kind: "),
        ("id: x\nkind:\n", "bread.yaml:2: kind: 'None' is not a kind"),
        ("id: x\ntopic: y\n", "bread.yaml:1: kind: missing; a scenario says its kind: dialogue, pink_elephant, "),
    ],
    ids=range(6),
)
def test_a_kind_nobody_knows_is_told_with_the_nearest(text, message):
    with pytest.raises(ScenarioError) as caught:
        load_scenario("bread.yaml", text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# x\nkind: dialogue\ntopic: bread\n", "bread.yaml:2: id: missing, but every dialogue scenario needs it"),
        ("id: x\nkind: dialogue\n", "bread.yaml:1: topic: missing, but every dialogue scenario needs it"),
        ("id: x\nkind: pink_elephant\ntopic: y\n", "bread.yaml:1: pink: missing, but every pink_elephant scenario"),
        (
            DIALOGUE + "user:\n  persona: {style: terse}\n",
            "bread.yaml:6: user.persona.name: missing, but every dialogue scenario needs it",
        ),
        (
            DIALOGUE + "rounds: [7, 3]\n",
            "bread.yaml:5: rounds: expected a range [fewest, most] with 1 <= fewest <= most",
        ),
        (
            DIALOGUE + "rounds: [0, 3]\n",
            "bread.yaml:5: rounds: expected a range [fewest, most] with 1 <= fewest <= most",
        ),
        (
            DIALOGUE + "rounds: three\n",
            "bread.yaml:5: rounds: expected a range of two whole numbers, such as [3, 7], got 'three'",
        ),
        (
            DIALOGUE + "rounds: 3\n",
            "bread.yaml:5: rounds: expected a range of two whole numbers, such as [3, 7], got 3",
        ),
        (
            DIALOGUE + "rounds: [3]\n",
            "bread.yaml:5: rounds: expected a range of two whole numbers, such as [3, 7], got [3]",
        ),
        (DIALOGUE + "rounds: [1.5, 3]\n", "bread.yaml:5: rounds: expected a range of two whole numbers"),
        (ELEPHANT + "rounds: [7, 3]\n", "bread.yaml:6: rounds: expected a range [fewest, most]"),
        (DIALOGUE + "ends:\n  turns: -4\n", "bread.yaml:6: ends.turns: should be greater than or equal to 2, got -4"),
        (DIALOGUE + "ends: {turns: many}\n", "bread.yaml:5: ends.turns: should be a valid integer"),
        (DIALOGUE + "title: 200\n", "bread.yaml:5: title: should be a valid string, got 200"),
        (DIALOGUE + "user: Mara\n", "bread.yaml:5: user: should be a valid dictionary"),
        (DIALOGUE + "statements:\n  - says: ''\n", "bread.yaml:6: statements.0.says: "),
        ("id: two words\nkind: dialogue\ntopic: bread\n", "bread.yaml:1: id: "),
    ],
    ids=range(17),
)
def test_a_value_that_cannot_be_is_told_with_its_line_and_what_was_expected(text, message):
    with pytest.raises(ScenarioError) as caught:
        load_scenario("bread.yaml", text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- id: x\n", "just words\n", "7\n"])
def test_a_file_that_is_not_a_mapping_is_told_what_it_should_be(text):
    with pytest.raises(
        ScenarioError, match=r"bread\.yaml:1: a scenario is a mapping that begins with `id:` and `kind:`"
    ):
        load_scenario("bread.yaml", text)


def test_a_file_that_is_not_yaml_is_told_with_its_line():
    with pytest.raises(InputError, match=r"bread\.yaml:5: not YAML"):
        load_scenario("bread.yaml", DIALOGUE + "a: b: c\n")


def test_a_long_value_is_not_repeated_in_full():
    with pytest.raises(ScenarioError) as caught:
        load_scenario("bread.yaml", DIALOGUE + f"rounds: {'x' * 5000}\n")
    assert len(str(caught.value)) < 200


# --- many files -----------------------------------------------------------------------------------------------


def written(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return f"{folder}/*.yaml"


def test_scenarios_come_in_order_of_their_files(tmp_path):
    pattern = written(tmp_path, b=DIALOGUE, a=ELEPHANT)
    assert [scenario.id for scenario in load_scenarios(pattern)] == ["talks/shoes", "talks/bread"]


def test_two_files_may_not_have_the_same_id(tmp_path):
    pattern = written(tmp_path, a=DIALOGUE, b=DIALOGUE + "title: again\n")
    with pytest.raises(ScenarioError, match=r"b\.yaml: id: 'talks/bread' is the id of another file too"):
        load_scenarios(pattern)


def test_a_scenario_of_another_kind_than_the_run_plays_is_an_error(tmp_path):
    pattern = written(tmp_path, a=DIALOGUE, b=ELEPHANT)
    with pytest.raises(ScenarioError, match=r"b\.yaml: kind: this run plays 'dialogue' scenarios, not 'pink_elephant'"):
        load_scenarios(pattern, "dialogue")


def test_one_wrong_file_among_many_is_named(tmp_path):
    pattern = written(tmp_path, a=DIALOGUE, b=ELEPHANT + "planet: x\n")
    with pytest.raises(ScenarioError, match=r"b.yaml:6: planet: no such key; did you mean 'plan'\?"):
        load_scenarios(pattern)


# --- the published schema -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_scenario_that_ships_is_valid_under_the_published_schema(path):
    assert problems(read_yaml(path).value, json_schema()) == []


@pytest.mark.parametrize(
    "change", [{"topik": "x"}, {"ends": {"turns": 1}}, {"kind": "dialog"}, {"user": {"mood": "x"}}]
)
def test_what_does_not_load_is_not_valid_under_the_published_schema_either(change):
    value = {"id": "x", "kind": "dialogue", "topic": "bread"}
    assert problems(value, json_schema()) == []
    assert problems({**value, **change}, json_schema()) != []


# --- who sees what --------------------------------------------------------------------------------------------


class Filled:
    """A scenario with a canary in every text, and for each canary its path and the marks that lie on the way to it."""

    def __init__(self, kind):
        self.marks = {}
        self.paths = {}
        self.chosen = {kind}  # texts that are not free: a kind, one of some options
        self.data = {**self.part(KINDS[kind], "", []), "kind": kind}
        self.scenario = scenario_from(self.data)

    def part(self, model, path, marks):
        filled = {}
        for name, described in model.model_fields.items():
            here = [*marks, *(m.roles for m in described.metadata if isinstance(m, Sees))]
            value = self.value(described.annotation, f"{path}.{name}".strip("."), here)
            if value is not None:
                filled[name] = value
        return filled

    def value(self, annotation: Any, path, marks):
        origin, inner = get_origin(annotation), get_args(annotation)
        if annotation in (str, Any):
            self.marks[path] = marks
            canary = sha256(path.encode()).hexdigest()  # which will do for an id and for a checksum too
            self.paths[canary] = path
            return canary
        if isinstance(annotation, type) and issubclass(annotation, Part):
            return self.part(annotation, path, marks)
        if origin is Literal:
            self.chosen.add(inner[0])
            return inner[0]
        if origin in (Union, UnionType):
            return self.value(str if str in inner else inner[0], path, marks)
        if origin is dict:
            return {self.value(str, f"{path}.key", marks): self.value(inner[1], f"{path}.value", marks)}
        if origin is list or (origin is tuple and inner[1] is Ellipsis):
            return [self.value(inner[0], f"{path}.0", marks)]
        if annotation is int:
            return 2
        assert annotation in (bool, float, tuple[int, int]), f"{path}: fill {annotation} with a canary too"
        return None

    def found(self, value):
        """The paths of the texts that stand in a value."""
        if isinstance(value, str):
            return {self.paths[value]} if value in self.paths else set()
        parts = (
            [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        )
        return {path for part in parts for path in self.found(part)}

    def seen_by(self, who):
        return self.found(self.scenario.view(who))


@pytest.mark.parametrize("kind", KINDS)
def test_the_canaries_reach_every_text_of_a_scenario(kind):
    filled = Filled(kind)
    assert filled.found(filled.scenario.model_dump()) == set(filled.marks)
    assert {"id", "title", "user.persona.name", "assistant.policy"} < set(filled.marks)


@pytest.mark.parametrize("who", ROLES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_role_sees_every_text_that_is_marked_for_it_and_no_other(kind, who):
    filled = Filled(kind)
    may_see = {path for path, marks in filled.marks.items() if marks and all(who in roles for roles in marks)}
    assert filled.seen_by(who) == may_see


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_but_the_engine_sees_the_id_the_title_and_what_is_expected(kind):
    filled = Filled(kind)
    for who in ROLES:
        hidden = {p for p in filled.seen_by(who) if p in ("id", "title") or p.startswith(("label", "api", "world"))}
        assert hidden == set()


def test_the_pink_thing_and_the_plan_are_kept_from_the_assistant():
    filled = Filled("pink_elephant")
    who_sees = {
        path: {who for who in ROLES if path in filled.seen_by(who)}
        for path in ("pink.name", "grey.name", "plan", "rule")
    }
    assert who_sees == {
        "pink.name": {"user", "critic"},
        "grey.name": {"user", "assistant", "critic"},
        "plan": {"user"},
        "rule": {"assistant", "critic"},
    }


def test_a_stranger_sees_nothing():
    assert Filled("dialogue").scenario.view("stranger") == {}


def test_a_view_is_plain_data_without_what_is_not_set():
    scenario = DialogueScenario(
        id="x",
        topic="bread",
        user=User(persona=Persona(name="Mara"), purpose="bake"),
        statements=(Statement(says="It rises."),),
    )
    assert scenario.view("user") == {
        "topic": "bread",
        "user": {"persona": {"name": "Mara", "background": "", "style": "", "patience": 8}, "purpose": "bake"},
        "statements": [{"says": "It rises.", "asks": ""}],
    }


def test_the_name_of_a_role_is_checked_and_the_nearest_is_offered():
    assert role("critic") == "critic"
    with pytest.raises(InputError, match=r"no role 'asistant'; did you mean 'assistant'\?"):
        role("asistant")


# --- there and back -------------------------------------------------------------------------------------------

text = st.text("abé ~:#'\"\n🍞0", max_size=8)
some = st.text("abé ~:#'\"\n🍞0", min_size=1, max_size=8)
shared = {
    "id": st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._/-]{0,8}\Z"),
    "title": text,
    "user": st.builds(
        User,
        persona=st.none() | st.builds(Persona, name=text, background=text, style=text, patience=st.integers(1, 99)),
        purpose=text,
    ),
    "assistant": st.builds(AssistantPart, policy=text),
    "rounds": st.lists(st.integers(1, 99), min_size=2, max_size=2).map(sorted).map(tuple),
    "ends": st.builds(Ends, turns=st.integers(2, 1000)),
    "topic": some,
}
elephants = st.builds(Elephant, name=some, aliases=st.lists(text, max_size=2), says=st.lists(text, max_size=2))
scenarios = st.one_of(
    st.builds(
        DialogueScenario,
        **shared,
        subtopic=st.none() | text,
        question=st.none() | text,
        statements=st.lists(st.builds(Statement, says=some, asks=text), max_size=2),
    ),
    st.builds(
        PinkElephantScenario,
        **shared,
        need=text,
        pink=elephants,
        grey=elephants,
        plan=st.none() | text,
        rule=st.none() | text,
    ),
)


@settings(max_examples=25, deadline=None)
@given(scenarios)
def test_a_scenario_that_is_stored_comes_back_equal(scenario):
    assert scenario_from(scenario_json(scenario)) == scenario


@pytest.mark.parametrize("kind", KINDS)
def test_a_scenario_with_something_in_every_place_comes_back_equal(kind):
    scenario = Filled(kind).scenario
    assert scenario_from(read_json(to_json(scenario_json(scenario)))) == scenario


def test_a_scenario_with_a_key_nobody_knows_does_not_come_back():
    with pytest.raises(ValidationError):
        scenario_from({"id": "x", "kind": "dialogue", "topic": "bread", "colour": "brown"})
