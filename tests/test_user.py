"""Users of APIs: they say what they were asked for, word for word and no sooner, whatever a model makes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.agent import Answer, Turn
from simlab.api import Api, load_api, read_api
from simlab.die import Die
from simlab.draft import sample
from simlab.facts import holds
from simlab.guided import Guided
from simlab.message import Message
from simlab.model import Request
from simlab.models.scripted import Scripted
from simlab.plan import KINDS, Plan, Slot, as_scenario, plan_of, spoken
from simlab.scenario import ApiPart, SlotPart, ToolScenario
from simlab.services.simulated import simulated
from simlab.simulation import Simulation
from simlab.stage import Stage
from simlab.trace import Trace
from simlab.user import GoalUser, asked
from simlab.world import World, seeded

FOLDER = Path(__file__).parent.parent / "apis"
DOCUMENTS = ("courier", "library", "switchboard", "workshop")
NUMBER = Slot("number", "CN-07", "canoe number", "opening")
DAY = Slot("day", "2026-07-01", "day", "opening")
PHONE = Slot("phone", "+441632960121", "phone")
HOME = Slot("home", "+441632960347", "home phone")
SEATS = Slot("seats", 3, "seats")
COLOUR = Slot("colour", "dark green", "hull colour")
SLOTS = (NUMBER, DAY, PHONE, HOME, SEATS, COLOUR)


@cache
def api_of(name: str) -> Api:
    return load_api(FOLDER / f"{name}.yaml")


@cache
def plan(name: str, kind: str, number: int) -> Plan:
    return sample(api_of(name), kind, Die("users", name, number))[0]


@dataclass
class Says:
    """An assistant that says its lines, one a turn, the last of them for ever where it goes on."""

    lines: Sequence[str]
    for_ever: bool = False
    name: str = "assistant"
    said: list[str] = field(default_factory=list)

    async def reply(self, turn: Turn) -> Answer:
        if len(self.said) >= len(self.lines) and not self.for_ever:
            return None
        self.said.append(self.lines[min(len(self.said), len(self.lines) - 1)])
        return Message(self.name, self.said[-1], to=("user",))


def user_of(slots: Sequence[Slot] = SLOTS, *, model: Any = None, **more: Any) -> GoalUser:
    more.setdefault("settled", lambda: False)
    return GoalUser(model or Scripted(), "rent a canoe", slots, **more)


def talk(user: GoalUser, *lines: str, for_ever: bool = False) -> Trace:
    agents: list[Any] = [user, Says(lines, for_ever)]
    return anyio.run(Simulation(agents).run)


def said_by(trace: Trace, name: str = "user") -> list[str]:
    return [message.text for message in trace.messages if message.sender == name]


# --- what is said when ------------------------------------------------------------------------------------------


def test_the_opening_says_the_purpose_and_the_opening_values_and_nothing_else() -> None:
    assert said_by(talk(user_of())) == [
        "I would like to rent a canoe. The canoe number is CN-07. The day is 2026-07-01."
    ]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is the phone?", "The phone is +441632960121."),
        ("What is the home phone?", "The home phone is +441632960347."),
        ("And the HOME PHONE?", "The home phone is +441632960347."),
        (
            "What is the phone, and what is the home phone?",
            "The phone is +441632960121. The home phone is +441632960347.",
        ),
        ("Please tell me the seats.", "The seats is 3."),
        ("I need to know the hull colour and the seats.", "The seats is 3. The hull colour is dark green."),
        ("The day is fine. What is the seats?", "The seats is 3."),
        ("What is the canoe number?", "The canoe number is CN-07."),
        ("Which colour is the hull?", "I do not know that."),
        ("Which telephones are there?", "I do not know that."),
        ("The phone is broken.", "I would still like to rent a canoe."),
        ("One moment.", "I would still like to rent a canoe."),
    ],
)
def test_what_is_asked_for_is_told_and_nothing_more(question: str, answer: str) -> None:
    assert said_by(talk(user_of(), question))[1:] == [answer]


def test_longer_labels_are_heard_first() -> None:
    assert asked("What is the home phone?", SLOTS) == [HOME]
    assert asked("What is the phone?", SLOTS) == [PHONE]
    assert asked("What is the phone, and the home phone?", SLOTS) == [PHONE, HOME]
    assert asked("Is it by telephone, or at home?", SLOTS) == []
    assert asked("", SLOTS) == []


def test_what_the_user_does_not_know_it_admits() -> None:
    trace = talk(user_of(unknown=frozenset({"colour"})), "What is the hull colour, and what is the seats?")
    assert said_by(trace)[1] == "The seats is 3. I do not know the hull colour."
    assert not any(holds(line, "dark green") for line in said_by(trace))


@pytest.mark.parametrize("value", [True, False])
def test_yes_and_no_are_said_in_words(value: bool) -> None:
    trace = talk(user_of((Slot("hurry", value, "hurry"),)), "What is the hurry?")
    assert said_by(trace)[1] == f"The hurry is {'yes' if value else 'no'}."


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(DOCUMENTS),
    st.sampled_from([kind for kind in KINDS if kind != "abstain"]),
    st.integers(0, 15),
    st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=6),
)
def test_no_value_is_said_before_it_is_asked_for_and_each_that_is_asked_for_is_said(
    name: str, kind: str, number: int, questions: list[list[int]]
) -> None:
    made = plan(name, kind, number)
    turns = [[made.slots[i % len(made.slots)] for i in chosen] if made.slots else [] for chosen in questions]
    lines = ["What is the " + ", and what is the ".join(s.label for s in wanted) + "?" for wanted in turns]
    user = GoalUser(Scripted(), made.purpose, made.slots, settled=lambda: False, patience=20)
    said = said_by(talk(user, *lines))
    known = [slot for slot in made.slots if slot.reveal == "opening"]
    assert 1 <= len(known) <= 2
    for line, wanted in zip(said, [known, *turns], strict=True):
        known += [slot for slot in wanted if slot not in known]
        for slot in wanted:
            assert f"The {slot.label} is {spoken(slot.value)}." in line
        may = " ".join([made.purpose, "know like", *(f"{slot.label} is {spoken(slot.value)}." for slot in known)])
        for slot in made.slots:
            if slot not in known:
                assert f"The {slot.label} is" not in line
                assert not holds(line, slot.value) or holds(may, slot.value)


# --- how it ends ------------------------------------------------------------------------------------------------


def test_it_closes_when_it_has_what_it_came_for_and_not_before() -> None:
    answers = iter([False, False, True])
    trace = talk(user_of(settled=lambda: next(answers)), "Let me see.", "Nearly there.", "Done.", "And more?")
    assert trace.end == "goal_met"
    assert said_by(trace, "assistant") == ["Let me see.", "Nearly there.", "Done."]
    assert said_by(trace)[-1] == "Thank you, that is all I need."


@pytest.mark.parametrize("patience", [1, 3, 6])
def test_its_patience_has_an_end(patience: int) -> None:
    trace = talk(user_of(patience=patience), "One moment.", for_ever=True)
    assert trace.end == "user_gave_up"
    pushes = ["I would still like to rent a canoe."] * patience
    assert said_by(trace)[1:] == [*pushes, "I will leave it at that. Goodbye."]


def test_it_does_not_answer_the_same_question_for_ever() -> None:
    trace = talk(user_of(patience=4), "What is the seats?", for_ever=True)
    assert trace.end == "user_gave_up"
    assert 2 <= said_by(trace).count("The seats is 3.") <= 6


def test_a_refusal_settles_what_nothing_can_serve() -> None:
    trace = talk(user_of(hopeless=True), "I am sorry, I cannot help with that.", "Really.")
    assert trace.end == "agent_refused"
    assert said_by(trace)[-1] == "All right, thank you anyway."


def test_a_refusal_of_what_can_be_served_is_pushed_back_once() -> None:
    trace = talk(user_of(), "I am unable to do that.", for_ever=True)
    assert trace.end == "user_gave_up"
    assert said_by(trace)[1:] == ["I would still like to rent a canoe.", "All right, thank you anyway."]


def test_a_refusal_that_asks_is_a_question() -> None:
    trace = talk(user_of(hopeless=True), "I cannot do that without the seats. What is the seats?")
    assert said_by(trace)[1] == "The seats is 3."
    assert trace.end == "completed"


# --- settled means state and facts ------------------------------------------------------------------------------


def test_goals_are_met_by_the_state_and_by_what_was_told() -> None:
    part = ApiPart(document="library.yaml", sha256=read_api(FOLDER / "library.yaml").sha256)
    api = api_of("library")
    made = plan("library", "do", 0)
    question = plan("library", "ask", 0)
    both = as_scenario(replace(made, facts=question.facts), part, "library/both")
    start = seeded(api, made.world_seed)
    done = start.copy()
    for call in made.calls:
        assert done.call(call.operation, {name: a.value for name, a in call.arguments.items()}).ok
    answer = Message("assistant", f"It is {spoken(question.facts[0].value)}.", to=("user",))
    elsewhere = replace(answer, to=("api",))
    for world, heard, settled in (
        (start, [], False),
        (done, [], False),
        (start, [answer], False),
        (done, [elsewhere], False),
        (done, [answer], True),
    ):
        assert settled_by(both, start, world, heard) is settled
    abstain = as_scenario(plan("library", "abstain", 0), part, "library/none")
    assert not settled_by(abstain, start, start, [])


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_with_an_assistant_that_follows_the_plan_it_gets_what_it_came_for(name: str, kind: str) -> None:
    trace = served(plan(name, kind, 1), Scripted(), name)
    assert trace.end == ("agent_refused" if kind == "abstain" else "goal_met")
    assert not any(message.notes for message in trace.messages)


def served(made: Plan, model: Scripted, name: str) -> Trace:
    """A talk between a user and an assistant that follows the plan."""
    part = ApiPart(document=f"{name}.yaml", sha256="0" * 64)
    start = seeded(api_of(name), made.world_seed)
    world, heard = start.copy(), []
    guided = Guided(model, made)

    class Heard:
        name = "assistant"

        async def reply(self, turn: Turn) -> Answer:
            answer = await guided.reply(turn)
            heard.append(answer)
            return answer

    scenario = as_scenario(made, part, "x/y")
    user = GoalUser(
        model,
        made.purpose,
        made.slots,
        settled=lambda: settled_by(scenario, start, world, heard),
        hopeless=made.kind == "abstain",
    )
    agents: list[Any] = [user, Heard(), simulated(world)]
    return anyio.run(Simulation(agents, turns=48).run)


def settled_by(scenario: ToolScenario, start: World, world: World, heard: list[Message]) -> bool:
    """What the engine makes of a state and of what was heard."""
    return Stage(start.api, scenario, start, world, plan_of(scenario), heard).settled()


def test_a_slot_that_the_user_does_not_know_adds_nothing_to_what_is_known() -> None:
    part = ApiPart(document="library.yaml", sha256="0" * 64)
    scenario = as_scenario(plan("library", "do", 0), part, "library/do")
    slots = {**scenario.slots, "colour": SlotPart(label="hull colour", unknown=True)}
    plans = plan_of(scenario.model_copy(update={"slots": slots})), plan_of(scenario)
    assert plans[0].known == plans[1].slots
    assert [slot.name for slot in plans[0].slots if slot.unknown] == ["colour"]


# --- the guard on what a model makes of a line ------------------------------------------------------------------

Line = Callable[[str], str]


def model_of(worded: Line, *, only_first: bool = False, step: str = "wording") -> Scripted:
    """A model that words the lines of a step; with `only_first` the second try is the plain line."""
    tries: dict[str, int] = {}

    def line(request: Request) -> str:
        said = str(request.view["said"])
        tries[said] = tries.get(said, 0) + 1
        return said if only_first and tries[said] > 1 else worded(said)

    return Scripted(lines={step: line})


BAD: Mapping[str, tuple[str, Line]] = {
    "drops a value": ("missing_value", lambda said: said.replace("CN-07", "the usual one")),
    "changes a value": ("missing_value", lambda said: said.replace("2026-07-01", "1 July 2026")),
    "changes its case": ("missing_value", lambda said: said.replace("CN-07", "cn-07")),
    "hides a value in a longer word": ("missing_value", lambda said: said.replace("CN-07", "xCN-07b")),
    "tells a value before its time": ("leak", lambda said: f"{said} The hull colour is dark green."),
    "tells a number before its time": ("leak", lambda said: f"{said} We are 3."),
    "invents a number": ("invention", lambda said: f"{said} It is order 4711."),
    "invents a name": ("invention", lambda said: f"{said} Say it to Zebulon."),
    "offers to help": ("role_inversion", lambda said: f"{said} How can I help you?"),
    "is happy to help": ("role_inversion", lambda said: f"Certainly! {said}"),
    "refuses": ("role_inversion", lambda said: f"I cannot do that. {said}"),
    "says nothing": ("empty", lambda said: ""),
    "says blanks": ("empty", lambda said: "  \n "),
    "loses the wish": ("lost_sense", lambda said: "Hello, it is CN-07 from 2026-07-01."),
    "goes on and on": ("rambling", lambda said: said + " and so on" * 20),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_line_is_counted_and_the_plain_one_is_said_in_the_end(case: str) -> None:
    fault, worded = BAD[case]
    trace = talk(user_of(model=model_of(worded)))
    opening = trace.messages[0]
    assert opening.notes == {"tries": 2, "faults": [fault, fault], "fallback": True}
    assert opening.text == "I would like to rent a canoe. The canoe number is CN-07. The day is 2026-07-01."


@pytest.mark.parametrize("case", BAD)
def test_a_bad_line_is_asked_for_once_more(case: str) -> None:
    fault, worded = BAD[case]
    opening = talk(user_of(model=model_of(worded, only_first=True))).messages[0]
    assert opening.notes == {"tries": 2, "faults": [fault]}
    assert holds(opening.text, "CN-07")


@pytest.mark.parametrize(
    "worded",
    [
        lambda said: "Hi, I'd like to rent a canoe, number CN-07, on the day 2026-07-01.",
        lambda said: "2026-07-01, canoe CN-07: I would like to rent that number for the day!",
        lambda said: f'"{said}"',
        lambda said: f"User: {said}",
    ],
    ids=["chatty", "turned round", "in quotes", "with a label"],
)
def test_a_line_in_other_words_is_taken(worded: Line) -> None:
    opening = talk(user_of(model=model_of(worded))).messages[0]
    assert opening.notes == {}
    assert holds(opening.text, "CN-07")
    assert holds(opening.text, "2026-07-01")
    assert not opening.text.startswith(('"', "User:"))


def test_a_model_that_refuses_is_counted_too() -> None:
    opening = talk(user_of(model=Scripted({"refuse": 1.0}))).messages[0]
    assert opening.notes == {"tries": 2, "faults": ["refusal", "refusal"], "fallback": True}


def test_a_number_of_an_earlier_line_has_no_place_in_this_one() -> None:
    model = model_of(lambda said: said if "canoe" in said else f"As I said, CN-07 it is. {said}")
    trace = talk(user_of(model=model), "What is the seats?")
    assert said_by(trace)[1] == "The seats is 3."
    assert trace.messages[2].notes["faults"] == ["invention", "invention"]


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(DOCUMENTS),
    st.sampled_from(["do", "ask", "chain", "clarify"]),
    st.integers(0, 15),
    st.sampled_from(sorted(BAD)),
)
def test_whatever_a_model_says_every_value_stands_in_the_talk_and_the_goal_is_met(
    name: str, kind: str, number: int, case: str
) -> None:
    made = plan(name, kind, number)
    fault, worded = BAD[case]
    hides = {spoken(slot.value): "that" for slot in made.slots}

    def line(said: str) -> str:
        if not case.startswith(("drops", "changes", "hides")):
            return worded(said)
        for value, instead in hides.items():
            said = said.replace(value, instead)
        return said

    trace = served(made, model_of(line), name)
    assert trace.end == "goal_met"
    lines = said_by(trace)
    needed = {slot.name for slot in made.slots if slot.reveal == "opening"}
    needed |= {s.removeprefix("user:") for c in made.calls for a in c.arguments.values() for s in a.sources}
    for slot in made.slots:
        if slot.name in needed:
            assert any(holds(line, slot.value) for line in lines)
    faults = [one for message in trace.messages for one in message.notes.get("faults", ())]
    if fault in ("empty", "missing_value", "rambling"):
        assert fault in faults


# --- the same for the assistant that follows a plan -------------------------------------------------------------

ANSWER = Message("user", "I would like to rent a canoe.", to=("assistant",))
ASKS = Plan("clarify", "rent a canoe", 0, (SEATS, COLOUR), plan("library", "do", 0).calls)
BAD_QUESTIONS: Mapping[str, tuple[str, Line]] = {
    "drops a label": ("missing_value", lambda said: "What is the thing, and what is the hull colour?"),
    "hides a label in a longer word": ("missing_value", lambda said: said.replace("seats", "seatsman")),
    "does not ask": ("no_question", lambda said: said.replace("?", ".")),
    "invents a number": ("invention", lambda said: f"For order 4711: {said}"),
    "invents a name": ("invention", lambda said: f"Well, Zebulon: {said}"),
    "says nothing": ("empty", lambda said: ""),
    "goes on and on": ("rambling", lambda said: "so " * 40 + said),
}


@pytest.mark.parametrize("case", BAD_QUESTIONS)
def test_a_question_that_does_not_ask_for_what_it_should_is_replaced(case: str) -> None:
    fault, worded = BAD_QUESTIONS[case]
    call = ASKS.calls[0]
    argument = next(iter(call.arguments.values()))
    wanted = replace(
        call, arguments={"x": replace(argument, source="user:seats"), "y": replace(argument, source="user:colour")}
    )
    guided = Guided(model_of(worded, step="asking"), replace(ASKS, calls=(wanted,)))
    agents: list[Any] = [user_of((), model=Scripted()), guided]
    trace = anyio.run(Simulation(agents, turns=2).run)
    question = trace.messages[1]
    assert question.text == "What is the seats, and what is the hull colour?"
    assert question.notes == {"tries": 2, "faults": [fault, fault], "fallback": True}
