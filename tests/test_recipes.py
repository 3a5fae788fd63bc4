"""Recipes: the contract that all on the shelf keep, and the counts that each one's paper and its own words promise."""

import inspect
import re
import sqlite3
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import anyio
import pytest

from simlab.api import read_api
from simlab.checks.mentions import named
from simlab.files import read_seeds
from simlab.lab import Seeds
from simlab.limits import Tuned
from simlab.model import Reply, Request, Sampling
from simlab.models.scripted import Scripted
from simlab.quality.rates import wilson
from simlab.recipes.pink_elephants import NEUTRAL, sift_pairs
from simlab.report import ElephantReport, measures, report_of
from simlab.run import Cast, Run, RunSpec, Tally, apis_of, find_recipe, list_recipes, takes_apis
from simlab.runfile import RunFile
from simlab.scenario import PinkElephantScenario, load_scenario_files
from simlab.schema import read_json
from simlab.shelf import names
from simlab.stored import Reader

RECIPES = [name.replace("-", "_") for name in names("recipes")]
APIS = Path(__file__).parent.parent / "apis"
SCENARIOS = Path(__file__).parent.parent / "scenarios"


def start(recipe: str) -> Seeds:
    """What a recipe starts from when it is given nothing: our own seeds, or the documents that are shipped."""
    if recipe == "evaluation":  # the one that must be given scenarios
        files = load_scenario_files(str(SCENARIOS / "library" / "*.yaml"))
        return Seeds(scenarios=tuple(scenario for _, scenario in files), apis=apis_of(files))
    if takes_apis(find_recipe(recipe)):
        return Seeds(apis=tuple(read_api(path) for path in sorted(APIS.glob("*.yaml"))))
    return Seeds()


class Counting(Scripted):
    """The scripted model, keeping what it was asked."""

    def __init__(self, faults: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(faults, **options)
        self.asked: list[Request] = []

    async def reply(self, request: Request) -> Reply:
        self.asked.append(request)
        return await super().reply(request)


def play(
    path: Path, recipe: str, n: int, *, model: Any = None, seeds: Seeds | None = None, seed: int = 0, **options: Any
) -> Tally:
    """Run a recipe into a file, with the scripted model or another one in every role."""
    cast = Cast(["scripted"])
    cast.models = {role: Tuned(model or Scripted(), Sampling()) for role in cast.models}
    run = Run.open(path, RunSpec(recipe, seed, options, seeds or Seeds(), cast.described()), n)
    try:
        assert anyio.run(lambda: run.execute(cast)) is None
        return run.tally
    finally:
        run.file.close()


def records(path: Path) -> list[dict[str, Any]]:
    """The kept records of a run, in full."""
    file = RunFile.open(path)
    try:
        return [record.full() for record in Reader(file).records()]
    finally:
        file.close()


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(path)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def steps(path: Path) -> Counter[str]:
    """How often each step was asked."""
    return Counter(read_json(asked)["step"] for (asked,) in rows(path, "SELECT asked FROM journal"))


# --- what all recipes keep to -----------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_one_async_generator_of_a_lab_seeds_and_options_with_defaults(recipe: str) -> None:
    made = find_recipe(recipe)
    assert inspect.isasyncgenfunction(made)
    assert made.__name__ == recipe
    assert made.__module__ == f"simlab.recipes.{recipe}"
    lab, seeds, *options = inspect.signature(made).parameters.values()
    assert (lab.name, seeds.name) == ("lab", "seeds")
    for option in options:
        assert option.kind is inspect.Parameter.KEYWORD_ONLY
        assert option.default is not inspect.Parameter.empty
        assert option.annotation is not inspect.Parameter.empty


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_cites_its_paper_in_its_file_and_in_its_function(recipe: str) -> None:
    made = find_recipe(recipe)
    for doc in (inspect.getmodule(made).__doc__, made.__doc__):
        assert re.search(r"arXiv \d{4}\.\d{4,5}", doc)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_plays_on_the_scripted_model_and_repeats_exactly(recipe: str, tmp_path: Path) -> None:
    models = [Counting(), Counting(), Counting()]
    for i, (seed, model) in enumerate(zip((4, 4, 5), models, strict=True)):
        tally = play(tmp_path / f"{i}.simlab", recipe, 12, seed=seed, model=model, seeds=start(recipe))
        assert tally.finished == 12
        assert tally.made > 0
        assert tally.failed == 0
    first, again, other = (records(tmp_path / f"{i}.simlab") for i in range(3))
    assert first == again
    assert first != other
    assert Counter(map(at, models[0].asked)) == Counter(map(at, models[1].asked))


def at(request: Request) -> tuple[int, str, int]:
    return request.item, request.path, request.seed


@pytest.mark.parametrize("recipe", RECIPES)
def test_no_position_is_asked_twice_and_each_has_a_seed_of_its_own(recipe: str, tmp_path: Path) -> None:
    model = Counting()
    play(tmp_path / "run.simlab", recipe, 12, model=model, seeds=start(recipe))
    assert max(Counter((r.item, r.path) for r in model.asked).values()) == 1
    assert len({r.seed for r in model.asked}) == len(model.asked)
    assert rows(tmp_path / "run.simlab", "SELECT count(*) FROM journal") == [(len(model.asked),)]


def test_every_recipe_is_listed_with_what_it_makes() -> None:
    listed = dict(list_recipes())
    assert list(listed) == RECIPES
    assert all(len(line) > 20 for line in listed.values())


# --- dialogue ---------------------------------------------------------------------------------------------------

TOPICS = ("tides", "owls", "old maps")
EXPLAINS = (
    "The cause is simple, as every textbook says: the water follows the Moon around the Earth, and the Sun adds to it"
    " or takes from it, depending on where both of them stand in that week."
)


def chats(path: Path) -> list[list[dict[str, Any]]]:
    return [record["messages"] for record in records(path)]


def test_subtopics_are_asked_for_once_per_topic_and_shared_by_all_its_dialogues(tmp_path: Path) -> None:
    path = tmp_path / "run.simlab"
    tally = play(path, "dialogue", 48, seeds=Seeds(topics=TOPICS), subtopics=8)
    assert tally.made == 48
    assert steps(path)["subtopics"] == 3
    assert steps(path)["question"] == 48
    spread = Counter((r["meta"]["topic"], r["meta"]["subtopic"]) for r in records(path))
    assert len(spread) == 24
    assert set(spread.values()) == {2}


@pytest.mark.parametrize("n", [1, 3, 10, 47])
def test_topics_take_turns(n: int, tmp_path: Path) -> None:
    path = tmp_path / "run.simlab"
    play(path, "dialogue", n, seeds=Seeds(topics=TOPICS), subtopics=4)
    per_topic = Counter(r["meta"]["topic"] for r in records(path))
    assert sum(per_topic.values()) == n
    assert max(per_topic.values()) == ceil(n / 3)
    assert [per_topic[t] for t in TOPICS] == sorted(per_topic.values(), reverse=True) + [0] * (3 - len(per_topic))


def test_rounds_are_drawn_from_three_to_seven_and_all_of_them_occur(tmp_path: Path) -> None:
    path = tmp_path / "run.simlab"
    play(path, "dialogue", 100, seeds=Seeds(topics=TOPICS))
    made = records(path)
    assert Counter(r["meta"]["rounds"] for r in made).keys() == {3, 4, 5, 6, 7}
    assert all(len(r["messages"]) == 2 * r["meta"]["rounds"] for r in made)


def test_a_range_of_rounds_can_be_given(tmp_path: Path) -> None:
    play(tmp_path / "run.simlab", "dialogue", 20, seeds=Seeds(topics=TOPICS), rounds=(1, 2))
    assert {len(chat) for chat in chats(tmp_path / "run.simlab")} == {2, 4}


def test_turns_alternate_and_the_assistant_has_the_last_word(tmp_path: Path) -> None:
    play(tmp_path / "run.simlab", "dialogue", 30)
    for chat in chats(tmp_path / "run.simlab"):
        assert chat[0]["role"] == "user"
        assert chat[-1]["role"] == "assistant"
        assert all(a["role"] != b["role"] for a, b in pairwise(chat))
        assert all(message["content"].strip() for message in chat)


class Drifting(Scripted):
    """A user that, in some dialogues, answers on its third turn instead of asking; `tries` times, then it asks."""

    def __init__(self, items: set[int], tries: int) -> None:
        super().__init__()
        self.items, self.left = items, dict.fromkeys(items, tries)

    async def reply(self, request: Request) -> Reply:
        third = sum(message.role == "user" for message in request.messages) == 2
        if request.step == "utterance" and third and self.left.get(request.item, 0):
            self.left[request.item] -= 1
            return Reply(text=EXPLAINS)
        return await super().reply(request)


def test_a_user_that_answers_instead_of_asking_costs_its_dialogue(tmp_path: Path) -> None:
    path, drifting = tmp_path / "run.simlab", {2, 3, 11, 17, 29}
    tally = play(path, "dialogue", 30, model=Drifting(drifting, tries=3))
    assert tally.drops == {"role_drift": 5}
    assert tally.made == 25
    assert {item for (item,) in rows(path, "SELECT item FROM dropped")} == drifting
    assert not any(EXPLAINS in str(chat) for chat in chats(path))


def test_a_user_that_comes_back_to_asking_keeps_its_dialogue(tmp_path: Path) -> None:
    path = tmp_path / "run.simlab"
    tally = play(path, "dialogue", 12, model=Drifting({2, 3, 11}, tries=2))
    assert tally.drops == {}
    assert not any(EXPLAINS in str(chat) for chat in chats(path))
    drifted = [
        body for (body,) in rows(path, "SELECT body FROM trace") if '"faults":["role_drift","role_drift"]' in body
    ]
    assert len(drifted) == 3


@pytest.mark.parametrize("fault", ["refuse", "truncate"])
def test_an_answer_that_was_refused_or_cut_off_costs_its_dialogue(fault: str, tmp_path: Path) -> None:
    path = tmp_path / "run.simlab"
    tally = play(path, "dialogue", 20, model=Scripted({f"{fault}@answer": {1, 4, 5, 13}}))
    assert tally.drops == {"agent_error": 4}
    assert {item for (item,) in rows(path, "SELECT item FROM dropped")} == {1, 4, 5, 13}
    assert {read_json(b)["end"] for (b,) in rows(path, "SELECT body FROM trace WHERE item IN (1, 4, 5, 13)")} == {
        "agent_error"
    }


def test_opening_questions_are_used_as_they_are(tmp_path: Path) -> None:
    asked = (
        "Why is the sea salt?",
        "what about  double spaces\tand tabs",
        "“Quoted”, isn't it – and naïve?",
        "Q: does a label stay",
        '"Thank you. What is {topic}?"',
        "潮はなぜ満ちる？",
    )
    path = tmp_path / "run.simlab"
    play(path, "dialogue", len(asked), seeds=Seeds(questions=asked))
    assert tuple(chat[0]["content"] for chat in chats(path)) == asked
    assert steps(path).keys() == {"utterance", "answer"}


# --- pink elephants ---------------------------------------------------------------------------------------------

MENTION = set(range(0, 24, 3)) | set(range(1, 24, 3))  # 16 of 24
STUBBORN = {0, 4, 12, 19}  # whose revision names the pink one still


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tally]:
    """Three topics, four pairs each, two plans for each pair, and a model that leaks where it is told to."""
    path = tmp_path_factory.mktemp("pairs") / "run.simlab"
    leaks = {"leak@answer": MENTION, "leak@revise": STUBBORN, "leak@ruled": 0.0}
    topics = tuple(entry["topic"] for entry in read_seeds("pairs"))[:3]
    seeds = Seeds(topics=topics)
    return path, play(path, "pink_elephants", 24, model=Scripted(leaks), seeds=seeds, pairs_per_topic=4)


def by_item(made: list[dict[str, Any]]) -> dict[int, dict[str, dict[str, Any]]]:
    """Records as {item: {set: record}}."""
    found: dict[int, dict[str, dict[str, Any]]] = {}
    for record in made:
        found.setdefault(record["provenance"]["item"], {})[record["meta"]["set"]] = record
    return found


def test_the_two_gates_leave_exactly_what_should_pass(pairs: tuple[Path, Tally]) -> None:
    path, tally = pairs
    assert STUBBORN < MENTION
    assert tally.drops == {"no_original_mention": 8, "revision_mentions": 4}
    made = by_item(records(path))
    assert made.keys() == MENTION - STUBBORN
    assert all(sets.keys() == {"preference", "control"} for sets in made.values())
    assert tally.made == 24


def test_pairs_and_plans_are_spread_evenly(pairs: tuple[Path, Tally]) -> None:
    file = RunFile.open(pairs[0])
    try:
        measured = list(measures(file))
    finally:
        file.close()
    assert set(Counter(row["topic"] for row in measured).values()) == {8}
    assert set(Counter(row["pair"] for row in measured).values()) == {2}
    assert steps(pairs[0])["plan"] == 24


def test_chosen_and_rejected_answer_the_same_prompt_which_ends_with_the_user(pairs: tuple[Path, Tally]) -> None:
    for sets in by_item(records(pairs[0])).values():
        record = sets["preference"]
        pink, grey = record["meta"]["pink"], record["meta"]["grey"]
        (chosen,), (rejected,) = record["chosen"], record["rejected"]
        assert [m["role"] for m in record["prompt"][:2]] == ["system", "user"]
        assert record["prompt"][-1]["role"] == "user"
        assert named(record["prompt"][-1]["content"], pink)
        assert named(record["prompt"][0]["content"], pink), "the rule names what it forbids"
        assert not any(named(m["content"], pink) for m in record["prompt"][1:-1])
        assert named(record["prompt"][1]["content"], grey)
        assert named(rejected["content"], pink)
        assert not named(chosen["content"], pink)
        assert chosen["role"] == rejected["role"] == "assistant"
        said = [event["text"] for event in record["trace"]["events"]]
        assert [m["content"] for m in record["prompt"][1:]] == said[:-1]
        assert rejected["content"] == said[-1]


def test_a_control_is_its_pair_mirrored_under_a_neutral_system_message(pairs: tuple[Path, Tally]) -> None:
    for sets in by_item(records(pairs[0])).values():
        pair, control = sets["preference"], sets["control"]
        assert control["prompt"][0] == {"role": "system", "content": NEUTRAL}
        assert control["prompt"][1:] == pair["prompt"][1:]
        assert control["chosen"] == pair["rejected"]
        assert control["rejected"] == pair["chosen"]
        assert control["meta"]["split"] == pair["meta"]["split"]


def test_no_message_holds_the_plan(pairs: tuple[Path, Tally]) -> None:
    for record in records(pairs[0]):
        plan = record["meta"]["plan"]
        said = [m["content"] for side in ("prompt", "chosen", "rejected") for m in record[side]]
        said += [event["text"] for event in record["trace"]["events"]]
        assert len(plan) > 10
        assert not any(plan in text for text in said)


def test_without_control_there_are_pairs_alone(tmp_path: Path) -> None:
    tally = play(tmp_path / "run.simlab", "pink_elephants", 12, model=Scripted({"leak@answer": 1.0}), control=False)
    assert tally.made == 12
    assert {record["meta"]["set"] for record in records(tmp_path / "run.simlab")} == {"preference"}


@pytest.mark.parametrize("split_by", ["pair", "topic"])
def test_no_pair_or_its_reverse_and_by_topic_no_topic_is_in_two_splits(split_by: str, tmp_path: Path) -> None:
    path = tmp_path / "run.simlab"
    model = Scripted({"leak@answer": 1.0, "leak@ruled": 0.0})
    play(path, "pink_elephants", 150, model=model, control=False, split_by=split_by)
    splits: dict[Any, set[str]] = {}
    for record in records(path):
        meta = record["meta"]
        key = frozenset((meta["pink"][0].casefold(), meta["grey"][0].casefold()))
        splits.setdefault(key if split_by == "pair" else meta["topic"], set()).add(meta["split"])
    assert len(splits) >= (50 if split_by == "pair" else 12)
    assert all(len(found) == 1 for found in splits.values())
    assert len(set.union(*splits.values())) > 1


def test_a_pair_and_its_reverse_fall_into_the_same_split(tmp_path: Path) -> None:
    pair = {"need": "something hot", "topic": "drinks", "plan": "They ask.", "rounds": (2, 2)}
    for i, drink in enumerate(("tea", "cocoa", "cider")):
        sides = ({"name": "coffee"}, {"name": drink})
        both = tuple(
            PinkElephantScenario(id=f"drinks/{n}", pink=pink, grey=grey, **pair)
            for n, (pink, grey) in enumerate((sides, sides[::-1]))
        )
        path = tmp_path / f"{i}.simlab"
        play(path, "pink_elephants", 2, model=Scripted({"leak@answer": 1.0}), seeds=Seeds(scenarios=both))
        made = by_item(records(path))
        assert made.keys() == {0, 1}
        assert len({sets["preference"]["meta"]["split"] for sets in made.values()}) == 1


def test_the_report_gives_back_the_rates_at_which_the_model_leaks(tmp_path: Path) -> None:
    path, n = tmp_path / "run.simlab", 500
    play(path, "pink_elephants", n, model=Scripted({"leak@answer": 0.34, "leak@ruled": 0.15}), control=False)
    made = report_of(path)
    assert isinstance(made, ElephantReport)
    file = RunFile.open(path)
    try:
        measured = list(measures(file))
    finally:
        file.close()
    for rate, field, leak in ((made.base, "base", 0.34), (made.with_rule, "with_rule", 0.15)):
        hits = sum(row[field] != "none" for row in measured)
        assert rate.n == n
        assert rate.value == hits / n
        assert rate.low < leak < rate.high
        low, high = wilson(hits, n)
        assert (rate.low, rate.high) == pytest.approx((low, high), abs=0.03)
    assert made.delta[0] == pytest.approx(made.base.value - made.with_rule.value)
    assert made.drops["no_original_mention"] == n - round(made.base.value * n)
    assert made.never + sum(made.first_mention.values()) == n


def elephant(name: str, *aliases: str) -> dict[str, Any]:
    return {"name": name, "aliases": aliases}


@pytest.mark.parametrize(
    ("grey", "pink", "why"),
    [
        (elephant("tea"), elephant("tea"), "one names the other"),
        (elephant("tea"), elephant("Tea"), "one names the other"),
        (elephant("tea"), elephant("green tea"), "one names the other"),
        (elephant("New York City", "NYC"), elephant("downtown NYC"), "one names the other"),
        (elephant("chess"), elephant("draughts", "checkers", "speed chess"), "one names the other"),
        (elephant("tea"), elephant("..."), "has no name"),
    ],
)
def test_a_pair_whose_sides_cannot_be_told_apart_is_sifted_out(
    grey: dict[str, Any], pink: dict[str, Any], why: str
) -> None:
    good = {"grey": elephant("tea"), "pink": elephant("coffee"), "need": ""}
    kept, rejected = sift_pairs([("x", good), ("x", {"grey": grey, "pink": pink, "need": ""})])
    assert kept == [("x", good)]
    assert rejected == [f"{grey['name']} / {pink['name']}: {why}"]


def test_a_pair_that_is_there_already_either_way_round_is_sifted_out() -> None:
    one = {"grey": elephant("tea"), "pink": elephant("coffee"), "need": ""}
    reverse = {"grey": elephant("Coffee"), "pink": elephant("Tea"), "need": ""}
    kept, rejected = sift_pairs([("x", one), ("y", one), ("x", reverse)])
    assert kept == [("x", one)]
    assert rejected == ["tea / coffee: is there already", "Coffee / Tea: is there already"]


def test_names_that_only_share_letters_are_two_things() -> None:
    one = {"grey": elephant("art"), "pink": elephant("cartoons"), "need": ""}
    assert sift_pairs([("x", one)]) == ([("x", one)], [])


def test_a_mention_by_an_alias_is_a_mention(tmp_path: Path) -> None:
    path = tmp_path / "run.simlab"
    scenario = PinkElephantScenario(
        id="cities/0",
        topic="cities",
        need="a long weekend",
        plan="They ask.",
        grey=elephant("Boston"),
        pink=elephant("New York City", "NYC", "Big Apple"),
        rounds=(2, 2),
    )
    aliases = ("NYC", "the Big Apple's", "new york city")

    def answer(request: Request) -> str:
        return f"Boston is calm. But {aliases[request.item]} lights never go out."

    lines = {"answer": answer, "revise": lambda request: "Boston is calm and its harbour is near."}
    play(path, "pink_elephants", 3, model=Scripted({"leak": 0.0}, lines=lines), seeds=Seeds(scenarios=(scenario,)))
    stored = [read_json(body)["meta"] for (body,) in rows(path, "SELECT body FROM record WHERE n = 0 ORDER BY item")]
    assert [meta["references"][0] for meta in stored] == ["NYC", "Big Apple's", "new york city"]
    assert {read_json(m)["base"] for (m,) in rows(path, "SELECT measures FROM episode")} == {"named"}
