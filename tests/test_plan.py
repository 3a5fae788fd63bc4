"""Plans: each is executed before it counts, says where every value comes from, and is rejected for a named reason."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.api import READS, Api, load_api, read_api
from simlab.author import scenario_yaml
from simlab.die import Die
from simlab.draft import WORLDS, sample
from simlab.plan import (
    KINDS,
    OPENING,
    QUOTA,
    RANDOM_AGENTS,
    RANDOM_CALLS,
    Argument,
    Fact,
    Plan,
    PlannedCall,
    Rejected,
    Slot,
    as_scenario,
    chance_die,
    checked,
    execute,
    plan_of,
    pointed,
    spoken,
)
from simlab.scenario import ApiPart, load_scenario, scenario_json
from simlab.schema import to_json
from simlab.world import diff, random_call, seeded, volatile_fields

FOLDER = Path(__file__).parent.parent / "apis"
DOCUMENTS = ("courier", "library", "switchboard", "workshop")
N = 60


@cache
def api_of(name: str) -> Api:
    return load_api(FOLDER / f"{name}.yaml")


@cache
def plans(name: str) -> tuple[Plan, ...]:
    """Sixty plans about a document, of the kinds in the quota's order."""
    kinds = [QUOTA[i % len(QUOTA)] for i in range(N)]
    return tuple(sample(api_of(name), kind, Die("tests", name, i))[0] for i, kind in enumerate(kinds))


def sources(plan: Plan) -> Iterator[tuple[int, Any, str]]:
    """Each value that a plan's calls are given: the number of the call, the value, and where it comes from."""
    for number, call in enumerate(plan.calls, 1):
        for argument in call.arguments.values():
            for pointer, source in argument.leaves.items():
                yield number, pointed(argument.value, pointer), source
            if not argument.leaves:
                yield number, argument.value, argument.source


# --- sampled plans ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCUMENTS)
def test_kinds_come_in_their_quota(name: str) -> None:
    assert Counter(plan.kind for plan in plans(name)) == {kind: 6 * QUOTA.count(kind) for kind in KINDS}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_plan_executed_again_makes_the_same_change(name: str) -> None:
    api = api_of(name)
    for plan in plans(name):
        assert checked(api, replace(plan, change={})) == plan
        start = seeded(api, plan.world_seed)
        world = start.copy()
        assert all(response.ok for response in execute(world, plan.calls))
        assert diff(start.tables, world.tables, volatile_fields(api)) == plan.change


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_value_comes_from_a_slot_or_from_what_an_earlier_call_really_returned(name: str) -> None:
    api = api_of(name)
    used: Counter[str] = Counter()
    for plan in plans(name):
        slots = {slot.name: slot.value for slot in plan.slots}
        responses = execute(seeded(api, plan.world_seed).copy(), plan.calls)
        for number, value, source in sources(plan):
            kind, _, rest = source.partition(":")
            used[kind] += 1
            if kind == "user":
                assert slots[rest] == value
                assert type(slots[rest]) is type(value)
            elif kind == "call":
                earlier, _, pointer = rest.partition("#")
                assert 1 <= int(earlier) < number
                assert pointed(responses[int(earlier) - 1].body, pointer) == value
            else:
                assert source == "const"
        for fact in plan.facts:
            assert pointed(responses[fact.call - 1].body, fact.pointer) == fact.value
    assert used["user"] > N
    assert used["call"] >= 12, "chains take ids from what earlier calls returned"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_kind_keeps_its_promise(name: str) -> None:
    api = api_of(name)
    for plan in plans(name):
        first = [slot for slot in plan.slots if slot.reveal == "opening"]
        later = [slot for slot in plan.slots if slot.reveal == "on_ask"]
        linked = [source for _, _, source in sources(plan) if source.startswith("call:")]
        writes = [call for call in plan.calls if api.operations[call.operation].effect not in READS]
        assert len(first) <= OPENING
        assert len(first) + len(later) == len(plan.slots)
        match plan.kind:
            case "do":
                assert (len(plan.calls), len(writes), later) == (1, 1, [])
                assert first
            case "ask":
                assert plan.facts
                assert (writes, later, plan.change) == ([], [], {})
            case "chain":
                assert 2 <= len(plan.calls) <= 5
                assert linked
                assert writes
            case "clarify":
                assert first
                assert later
                assert writes
            case "abstain":
                assert (plan.calls, plan.slots, plan.facts, plan.change) == ((), (), (), {})
        assert bool(plan.change) == bool(writes)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_user_knows_what_is_asked_for_by_names_that_differ(name: str) -> None:
    for plan in plans(name):
        values = [spoken(slot.value) for slot in plan.slots]
        assert len(set(values)) == len(values), "no two values sound alike"
        labels = [slot.label for slot in plan.slots]
        assert len(set(labels)) == len(labels), "no two values have the same label"
        assert all(value.strip() and "\n" not in value for value in values)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(DOCUMENTS), st.sampled_from(KINDS), st.integers(0, 2**32))
def test_equal_dice_give_equal_plans(name: str, kind: str, seed: int) -> None:
    once, again = sample(api_of(name), kind, Die(seed)), sample(api_of(name), kind, Die(seed))
    assert once == again
    assert once[0].kind == kind


def test_a_kind_that_a_document_cannot_serve_is_rejected_with_the_reasons() -> None:
    with pytest.raises(Rejected) as rejected:
        sample(api_of("library"), "do", Die("none"), tries=0)
    assert rejected.value.reason == "no_plan"


# --- plans as scenarios -----------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(DOCUMENTS), st.integers(0, N - 1))
def test_a_plan_written_as_a_scenario_is_read_back_as_the_same_plan(name: str, number: int) -> None:
    plan = plans(name)[number]
    part = ApiPart(document=f"{name}.yaml", sha256=read_api(FOLDER / f"{name}.yaml").sha256)
    scenario = as_scenario(plan, part, f"{name}/{plan.kind}-{number}")
    assert plan_of(scenario) == plan
    read = load_scenario("plan.yaml", scenario_yaml(scenario_json(scenario), "scenario.schema.json"))
    assert read == scenario
    assert to_json(scenario_json(read)) == to_json(scenario_json(scenario))
    assert checked(api_of(name), plan_of(read)) == plan  # type: ignore[arg-type]


AWKWARD = (
    "yes",
    "no",
    "null",
    "~",
    "0123",
    "1.0",
    "2026-05-04",
    "# no remark",
    "a: b",
    "'",
    '"',
    " x ",
    "ß → ü",
    "- -",
)


@pytest.mark.parametrize("value", [*AWKWARD, 7, 2.5, True, False])
def test_a_value_survives_its_file_whatever_it_looks_like(value: Any) -> None:
    slots = (Slot("note", value, "note", "opening"),)
    call = PlannedCall("deleteLine", {"Sid": Argument(value, "user:note")})
    plan = Plan("do", "delete a line: now", 3, slots, (call,), change={"line": {"L": {"changed": {"a": [value, 1]}}}})
    scenario = as_scenario(plan, ApiPart(document="x.yaml", sha256="0" * 64), "x/do-1")
    read = load_scenario("plan.yaml", scenario_yaml(scenario_json(scenario), "scenario.schema.json"))
    assert plan_of(read) == plan  # type: ignore[arg-type]
    assert type(plan_of(read).slots[0].value) is type(value)  # type: ignore[arg-type]


# --- plans that cannot serve ------------------------------------------------------------------------------------


def told(name: str, value: Any, reveal: str = "opening") -> Slot:
    return Slot(name, value, f"label of {name}", reveal)


def called(operation: str, **arguments: tuple[Any, str]) -> PlannedCall:
    return PlannedCall(operation, {name: Argument(value, source) for name, (value, source) in arguments.items()})


def rename(source: str, value: str = "") -> PlannedCall:
    """The call that gives a member a new name; which member is meant comes from the source."""
    return called("updateMember", memberId=(value, source), fullName=("Ada Finch", "user:name"))


MEMBER = told("member", "member_0002")
RENAMED = told("name", "Ada Finch")
LATER = replace(RENAMED, reveal="on_ask")
RENAME = rename("user:member", "member_0002")
LOOK = called("getMember", memberId=("member_0002", "user:member"))
LISTED, BOOKS = called("listMembers"), called("listBooks")
RENAME_LISTED = rename("call:1#/items/1/id", "member_0002")
GOOD = Plan("do", "change a name", 5, (MEMBER, RENAMED), (RENAME,))


def listed(**changes: Any) -> Plan:
    """A plan that finds a member in a list and gives it a name."""
    slots = (RENAMED, told("old", "somebody else"))
    return replace(Plan("chain", "change a name", 5, slots, (LISTED, RENAME_LISTED)), **changes)


def test_the_plans_that_the_bad_ones_are_made_from_are_good() -> None:
    api = api_of("library")
    old = seeded(api, 5).tables["member"]["member_0002"]["fullName"]
    change = {"member": {"member_0002": {"changed": {"fullName": [old, "Ada Finch"]}}}}
    assert checked(api, GOOD).change == change
    assert checked(api, listed()).change == change


def known_email() -> str:
    return str(seeded(api_of("library"), 5).tables["member"]["member_0003"]["email"])


def of_email(email: str) -> Plan:
    call = called("updateMember", memberId=("member_0002", "user:member"), email=(email, "user:email"))
    return replace(GOOD, slots=(MEMBER, told("email", email)), calls=(call,))


def asked(pointer: str, value: str) -> Plan:
    return Plan("ask", "know a name", 5, (MEMBER,), (LOOK,), (Fact(1, pointer, value, "full name"),))


def clarified(*calls: PlannedCall, more: tuple[Slot, ...] = ()) -> Plan:
    return replace(GOOD, kind="clarify", slots=(MEMBER, LATER, *more), calls=calls)


ALIKE = (told("email", "ada finch", "on_ask"), told("again", "ada finch", "on_ask"))
ELSEWHERE = told("member", "member_0999")
REJECTED: dict[str, Callable[[], Plan]] = {
    "call_failed: nobody there": lambda: replace(
        GOOD, slots=(ELSEWHERE, RENAMED), calls=(rename("user:member", "member_0999"),)
    ),
    "call_failed: taken": lambda: of_email(known_email()),
    "call_failed: a question that writes": lambda: replace(
        GOOD, kind="ask", facts=(Fact(1, "/fullName", "Ada Finch", "full name"),)
    ),
    "not_derivable: from nowhere": lambda: replace(GOOD, calls=(rename("", "member_0002"),)),
    "not_derivable: no such slot": lambda: replace(GOOD, slots=(MEMBER,)),
    "not_derivable: a slot of another value": lambda: replace(GOOD, slots=(MEMBER, told("name", "Bela Finch"))),
    "not_derivable: from a later call": lambda: listed(calls=(rename("call:2#/items/1/id"), LISTED)),
    "not_derivable: from the call itself": lambda: listed(calls=(LISTED, rename("call:2#/id"))),
    "not_derivable: from the call before the first": lambda: listed(calls=(LISTED, rename("call:0#/items/1/id"))),
    "not_derivable: from a call without a number": lambda: listed(calls=(LISTED, rename("call:first#/items/1/id"))),
    "not_derivable: from a part that is not there": lambda: listed(calls=(LISTED, rename("call:1#/items/99/id"))),
    "not_derivable: a fact that is not so": lambda: asked("/fullName", "Nobody"),
    "not_derivable: a fact from nowhere": lambda: asked("/nickname", "Nobody"),
    "not_minimal: a look beforehand": lambda: clarified(LOOK, RENAME),
    "not_minimal: a look in between": lambda: listed(calls=(LISTED, BOOKS, RENAME_LISTED)),
    "not_minimal: a look afterwards": lambda: listed(calls=(LISTED, RENAME_LISTED, BOOKS)),
    "not_minimal: twice the same": lambda: clarified(RENAME, RENAME),
    "ambiguous: two values that sound alike": lambda: clarified(RENAME, more=ALIKE),
    "shape: two calls to do one thing": lambda: listed(kind="do", slots=(RENAMED,)),
    "shape: something is told later": lambda: replace(GOOD, slots=(MEMBER, LATER)),
    "shape: nothing is told later": lambda: replace(GOOD, kind="clarify"),
    "shape: a chain without a link": lambda: replace(GOOD, kind="chain"),
    "shape: too much is told at once": lambda: replace(GOOD, slots=(MEMBER, RENAMED, told("more", "this"))),
    "shape: a question without an answer": lambda: replace(GOOD, kind="ask", slots=(), calls=()),
    "nothing_to_do: only a look": lambda: replace(GOOD, slots=(MEMBER,), calls=(LOOK,)),
}


@pytest.mark.parametrize("case", REJECTED)
def test_a_plan_that_cannot_serve_is_rejected_for_its_reason(case: str) -> None:
    with pytest.raises(Rejected) as rejected:
        checked(api_of("library"), REJECTED[case]())
    assert rejected.value.reason == case.partition(":")[0]


def test_an_update_to_what_is_already_so_is_nothing_to_do() -> None:
    api = api_of("library")
    name = seeded(api, 5).tables["member"]["member_0002"]["fullName"]
    call = called("updateMember", memberId=("member_0002", "user:member"), fullName=(name, "user:name"))
    with pytest.raises(Rejected) as rejected:
        checked(api, replace(GOOD, slots=(MEMBER, told("name", name)), calls=(call,)))
    assert rejected.value.reason == "nothing_to_do"


def test_a_later_call_that_cannot_do_without_an_earlier_one_makes_it_needed() -> None:
    """Only a member that has been made can be renamed by the id that it is going to have."""
    new = {"fullName": "Olga Reed", "email": "o@reed.example", "membership": "adult", "homeBranch": "central"}
    slots = (told("id", "member_0007"), *(told(name, value, "on_ask") for name, value in new.items()))
    make = called("createMember", **{name: (value, f"user:{name}") for name, value in new.items()})
    rename = called("updateMember", memberId=("member_0007", "user:id"), phone=("+441632960121", "user:phone"))
    slots = (*slots, told("phone", "+441632960121", "on_ask"))
    change = checked(api_of("library"), Plan("clarify", "enrol a member", 5, slots, (make, rename))).change
    assert change["member"]["member_0007"]["added"]["phone"] == "+441632960121"


def lucky_calls() -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """Writes that a random agent makes in some world, where it changes nothing else."""
    api = api_of("library")
    for seed in range(WORLDS):
        for agent in range(RANDOM_AGENTS):
            start, die = seeded(api, seed), chance_die(api, seed, agent)
            world, made = start.copy(), []
            for _ in range(RANDOM_CALLS):
                operation, arguments = random_call(world, die)
                before = world.tables
                world.call(operation, arguments)
                if diff(before, world.tables, volatile_fields(api)):
                    made.append((seed, operation, arguments))
            if len(made) == 1 and len(set(map(str, made[0][2].values()))) == len(made[0][2]) > 1:
                yield made[0]


def test_a_goal_that_is_reached_by_chance_is_no_goal() -> None:
    lucky = lucky_calls()
    for _ in range(3):
        seed, operation, arguments = next(lucky)
        slots = [told(name, value, "on_ask" if i else "opening") for i, (name, value) in enumerate(arguments.items())]
        call = called(operation, **{name: (value, f"user:{name}") for name, value in arguments.items()})
        with pytest.raises(Rejected) as rejected:
            checked(api_of("library"), Plan("clarify", "have luck", seed, tuple(slots), (call,)))
        assert rejected.value.reason == "by_chance"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_random_agent_reaches_what_a_plan_changes(name: str) -> None:
    api = api_of(name)
    for plan in plans(name):
        start = seeded(api, plan.world_seed)
        for agent in range(0, RANDOM_AGENTS, 7):
            world, die = start.copy(), chance_die(api, plan.world_seed, agent)
            for _ in range(RANDOM_CALLS):
                world.call(*random_call(world, die))
            assert not plan.change or diff(start.tables, world.tables, volatile_fields(api)) != plan.change


def test_a_value_is_said_as_people_say_it() -> None:
    assert [spoken(value) for value in (True, False, 7, "x y", 2.5)] == ["yes", "no", "7", "x y", "2.5"]


@pytest.mark.parametrize(("pointer", "found"), [("", {"a": [{"b/c": 1}]}), ("/a/0", {"b/c": 1}), ("/a/0/b~1c", 1)])
def test_a_pointer_leads_to_a_part(pointer: str, found: Any) -> None:
    assert pointed({"a": [{"b/c": 1}]}, pointer) == found


@pytest.mark.parametrize("pointer", ["/b", "/a/1", "/a/x", "/a/0/b~1c/d"])
def test_a_pointer_to_nothing_is_an_error(pointer: str) -> None:
    with pytest.raises((LookupError, TypeError, ValueError)):
        pointed({"a": [{"b/c": 1}]}, pointer)
