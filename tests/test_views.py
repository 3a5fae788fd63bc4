"""Views: what a scenario tells one role reaches no other. Each hidden string is a canary; every request is searched."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from simlab.lab import Seeds
from simlab.limits import Tuned
from simlab.model import Reply, Request, Sampling
from simlab.models.scripted import Scripted
from simlab.run import Cast, Run, RunSpec
from simlab.scenario import (
    AssistantPart,
    Base,
    DialogueScenario,
    Elephant,
    Part,
    Persona,
    PinkElephantScenario,
    Sees,
    Statement,
    User,
)
from simlab.schema import to_json

NOBODY: frozenset[str] = frozenset()


def leaves(part: Part, roles: frozenset[str] | None = None) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Every text of a scenario with the name of its field and the roles that may see it, by its marks alone."""
    for name, field in type(part).model_fields.items():
        marks = [mark.roles for mark in field.metadata if isinstance(mark, Sees)]
        seen = marks[0] if marks else roles
        value = getattr(part, name)
        for one in value if isinstance(value, tuple) else [value]:
            if isinstance(one, Part):
                yield from leaves(one, seen)
            elif isinstance(one, str):
                yield name, one, seen or NOBODY


def canaries(scenario: Base) -> dict[str, tuple[str, frozenset[str]]]:
    """The texts that hold a canary: which field each is of, and who may see it."""
    return {text: (name, roles) for name, text, roles in leaves(scenario) if "canary" in text.casefold()}


class Recorder(Scripted):
    """A scripted model that keeps what it was sent; its users ask without quoting what they know."""

    def __init__(self, *, small: bool, **lines: str) -> None:
        super().__init__({"leak@answer": 1.0}, lines={step: lambda _, text=text: text for step, text in lines.items()})
        self.small = small
        self.sent: list[tuple[str, str, str]] = []  # role, step, all that was sent

    async def reply(self, request: Request) -> Reply:
        sent = [message.text for message in request.messages]
        sent += [to_json(request.schema or {}), *(tool.wire.decode() for tool in request.tools)]
        self.sent.append((request.role, request.step, "\n".join(sent)))
        return await super().reply(request)


def play(path: Path, recipe: str, scenario: Any, model: Recorder, **options: Any) -> Recorder:
    cast = Cast(["scripted"])
    cast.models = {role: Tuned(model, Sampling()) for role in cast.models}
    run = Run.open(path, RunSpec(recipe, 0, options, Seeds(scenarios=(scenario,)), cast.described()), 6)
    try:
        assert anyio.run(lambda: run.execute(cast)) is None
        assert run.tally.made > 0
    finally:
        run.file.close()
    return model


def reached(model: Recorder, scenario: Base) -> set[tuple[str, str, str]]:
    """Which role was sent the canary of which field, at which step."""
    hidden = canaries(scenario)
    return {
        (role, step, field) for role, step, sent in model.sent for text, (field, _) in hidden.items() if text in sent
    }


def trespasses(model: Recorder, scenario: Base) -> set[tuple[str, str, str]]:
    """What reached a role that may not see it."""
    hidden = canaries(scenario)
    return {
        (role, step, field)
        for role, step, sent in model.sent
        for text, (field, roles) in hidden.items()
        if text in sent and role not in roles
    }


CAST = {
    "user": User(
        persona=Persona(name="Canaryname", background="canarybackground", style="canarystyle"), purpose="canarypurpose"
    ),
    "assistant": AssistantPart(policy="Canarypolicy."),
}
TALK = DialogueScenario(
    id="canaryid",
    title="Canarytitle",
    topic="salt marshes",
    statements=(
        Statement(says="Canarysays of one kind gathers salt.", asks="What gathers canaryasks?"),
        Statement(says="Canarysays of another kind gathers mud.", asks="What gathers more canaryasks?"),
        Statement(says="Canarysays of a third kind gathers reeds.", asks="What gathers many canaryasks?"),
    ),
    **CAST,
)
PINK = PinkElephantScenario(
    id="canaryid",
    title="Canarytitle",
    topic="hot drinks",
    need="canaryneed",
    plan="Canaryplan.",
    rule="Canaryrule: talk about tea.",
    grey=Elephant(name="tea", says=("Tea is canarygrey.", "Tea is canarygrey too.", "Tea is canarygrey again.")),
    pink=Elephant(name="coffee", aliases=("espresso",), says=("Coffee is canarypink.",)),
    rounds=(2, 4),
    **CAST,
)


def test_every_text_that_some_role_may_not_see_holds_a_canary() -> None:
    """So that a new field cannot be forgotten here."""
    everyone = {"topic", "kind"}
    names = {"name", "aliases"}  # of the two things: they are what the talk is about
    for scenario in (TALK, PINK):
        bare = {name for name, text, _ in leaves(scenario) if "canary" not in text.casefold()}
        assert bare <= everyone | names
        texts = {name for name, _, _ in leaves(scenario)}
        assert {"id", "title", "purpose", "background", "style", "policy", "says"} <= texts
    assert canaries(TALK)["canarypurpose"] == ("purpose", {"user"})
    assert canaries(PINK)["Coffee is canarypink."] == ("says", {"user", "critic"})
    assert canaries(PINK)["Canarytitle"] == ("title", NOBODY)


@pytest.mark.parametrize("small", [False, True], ids=["free", "small"])
def test_a_dialogue_keeps_each_role_to_its_view(small: bool, tmp_path: Path) -> None:
    model = play(tmp_path / "run.simlab", "dialogue", TALK, Recorder(small=small))
    assert trespasses(model, TALK) == set()
    expected = {("user", "follow_up", "says"), ("assistant", "answer", "says")} if small else {
        ("user", "utterance", "purpose"),
        ("assistant", "answer", "policy"),
    }  # fmt: skip
    assert expected <= reached(model, TALK), "the canaries do reach those who may see them"


def test_an_opening_line_is_asked_of_the_user_who_knows_the_purpose(tmp_path: Path) -> None:
    model = play(tmp_path / "run.simlab", "dialogue", TALK, Recorder(small=False))
    assert ("user", "question", "purpose") in reached(model, TALK)
    assert not any(role == "teacher" for role, _, _ in model.sent)


def test_a_given_opening_line_reaches_the_assistant_as_what_the_user_says(tmp_path: Path) -> None:
    opening = TALK.model_copy(update={"question": "Is this canaryquestion?"})
    model = play(tmp_path / "run.simlab", "dialogue", opening, Recorder(small=False))
    assert trespasses(model, opening) == {("assistant", "answer", "question")}


LINES = {
    "opening": "Would tea suit a cold morning?",
    "follow_up": "And how long does tea keep?",
    "steer": "And what about coffee?",
}


def test_pink_elephants_keep_each_role_to_its_view(tmp_path: Path) -> None:
    model = play(tmp_path / "run.simlab", "pink_elephants", PINK, Recorder(small=False, **LINES))
    # the rule is the assistant's system message in one of the two last replies, and in nothing else
    assert not trespasses(model, PINK)
    assert {(role, step) for role, step, field in reached(model, PINK) if field == "rule"} == {("assistant", "ruled")}
    assert {("user", "opening", "need"), ("user", "steer", "plan")} <= reached(model, PINK)
    assert {role for role, _, _ in model.sent} == {"user", "assistant", "critic"}


def test_small_models_are_kept_to_their_views_in_pink_elephants(tmp_path: Path) -> None:
    model = play(tmp_path / "run.simlab", "pink_elephants", PINK, Recorder(small=True, **LINES))
    assert not trespasses(model, PINK)
    assert {("user", "opening", "need"), ("assistant", "reply", "says")} <= reached(model, PINK)


def test_the_pink_one_reaches_the_assistant_through_the_rule_and_the_user_alone(tmp_path: Path) -> None:
    scenario = PINK.model_copy(update={"rule": None, "plan": "First tea, then coffee."})
    model = play(tmp_path / "run.simlab", "pink_elephants", scenario, Recorder(small=False, **LINES))
    steps = {step for role, step, sent in model.sent if role == "assistant" and "coffee" in sent}
    assert steps == {"answer", "ruled", "revise"}
    said = [sent for role, step, sent in model.sent if (role, step) == ("assistant", "answer")]
    assert all(sent.count("coffee") == LINES["steer"].count("coffee") for sent in said)
