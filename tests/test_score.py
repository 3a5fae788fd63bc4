"""Verdicts: the right change under any ids is success, anything beside it is not, and a fact counts when it is told."""

from collections.abc import Mapping
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from simlab.api import Api, load_api
from simlab.facts import holds
from simlab.message import ToolCall
from simlab.scenario import FactPart, Label, LabelledCall
from simlab.score import Score, fault_of, same_change, score, without
from simlab.trace import Trace
from simlab.world import diff, seeded, volatile_fields

SEED = 5
ADA = {"fullName": "Ada Finch", "email": "ada@finch.example", "membership": "adult", "homeBranch": "central"}
BELA = {"fullName": "Bela Reed", "email": "bela@reed.example", "membership": "adult", "homeBranch": "harbour"}


@cache
def library() -> Api:
    return load_api(Path(__file__).parent.parent / "apis" / "library.yaml")


def calls(*made: tuple[str, Mapping[str, Any]]) -> list[ToolCall]:
    return [ToolCall(f"call_{i}", name, dict(arguments)) for i, (name, arguments) in enumerate(made, 1)]


def change(*made: tuple[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What calls change."""
    start = seeded(library(), SEED)
    world = start.copy()
    for name, arguments in made:
        assert world.call(name, arguments).ok
    return diff(start.tables, world.tables, volatile_fields(library()))


def judged(label: Label, *made: tuple[str, Mapping[str, Any]], said: tuple[str, ...] = ()) -> Score:
    return score(library(), seeded(library(), SEED), label, calls(*made), said)


def label(*made: tuple[str, Mapping[str, Any]], **more: Any) -> Label:
    """A label whose goal is what the calls change."""
    return Label(how="executed", goal=change(*made), **more)


RENAME = ("updateMember", {"memberId": "member_0002", "fullName": "Ada Finch"})
LOOK = ("getMember", {"memberId": "member_0002"})
MAKE_ADA, MAKE_BELA = ("createMember", ADA), ("createMember", BELA)
LOAN = ("createLoan", {"memberId": "member_0007", "bookId": "book_0002", "dueOn": "2026-05-02"})


# --- the state --------------------------------------------------------------------------------------------------


def test_the_change_counts_and_not_the_way_to_it() -> None:
    wanted = label(RENAME)
    assert judged(wanted, RENAME).as_json() == {
        "success": True,
        "schema": "pass",
        "state": "pass",
        "facts": "not_applicable",
        "forbidden": "not_applicable",
        "arguments": "not_applicable",
        "progress": 1.0,
    }
    assert judged(wanted, LOOK, LOOK, RENAME, LOOK).success
    assert judged(wanted, RENAME, RENAME).success
    there_and_back = ("updateMember", {"memberId": "member_0002", "fullName": "Somebody Else"})
    assert judged(wanted, there_and_back, RENAME).success


@pytest.mark.parametrize(
    "made",
    [
        (),
        (LOOK,),
        (("updateMember", {"memberId": "member_0003", "fullName": "Ada Finch"}),),
        (("updateMember", {"memberId": "member_0002", "fullName": "ada finch"}),),
        (("updateMember", {"memberId": "member_0002", "fullName": "Ada Finch", "phone": "+441632960121"}),),
        (RENAME, ("updateMember", {"memberId": "member_0003", "phone": "+441632960121"})),
        (RENAME, MAKE_BELA),
        (RENAME, ("updateMember", {"memberId": "member_0002", "fullName": "Bela Reed"})),
    ],
    ids=["nothing", "a look", "another", "other letters", "a field too many", "another too", "a new one", "undone"],
)
def test_another_change_or_one_beside_it_fails(made: tuple[Any, ...]) -> None:
    verdict = judged(label(RENAME), *made)
    assert verdict.state is False
    assert not verdict.success
    assert verdict.why.startswith("the state should have changed by ")


def test_new_records_may_have_the_ids_that_the_order_of_calls_gave_them() -> None:
    wanted = label(MAKE_ADA, MAKE_BELA)
    assert change(MAKE_BELA, MAKE_ADA) != wanted.goal
    assert judged(wanted, MAKE_BELA, MAKE_ADA).success
    assert not judged(wanted, MAKE_ADA).success
    assert not judged(wanted, MAKE_BELA, ("createMember", {**ADA, "homeBranch": "harbour"})).success


def test_what_refers_to_a_new_record_must_refer_to_the_right_one() -> None:
    wanted = label(MAKE_ADA, MAKE_BELA, LOAN)  # the book goes to Ada
    to_the_eighth = ("createLoan", {**LOAN[1], "memberId": "member_0008"})
    assert judged(wanted, MAKE_BELA, MAKE_ADA, to_the_eighth).success
    assert not judged(wanted, MAKE_BELA, MAKE_ADA, LOAN).success
    assert not judged(wanted, MAKE_ADA, MAKE_BELA, to_the_eighth).success


def test_times_that_the_server_sets_do_not_count() -> None:
    slow = [LOOK] * 30
    assert judged(label(MAKE_ADA), *slow, MAKE_ADA).success
    assert "joinedAt" not in str(label(MAKE_ADA).goal)


def test_what_is_allowed_besides_may_change_or_not() -> None:
    wanted = label(RENAME, allowed=["member.phone"])
    phone = ("updateMember", {"memberId": "member_0003", "phone": "+441632960121"})
    other = ("updateMember", {"memberId": "member_0003", "homeBranch": "harbour", "membership": "family"})
    assert judged(wanted, RENAME).success
    assert judged(wanted, RENAME, phone).success
    assert not judged(wanted, RENAME, other).success
    assert not judged(wanted, phone).success


def test_a_change_without_what_is_allowed() -> None:
    made = {
        "member": {
            "m1": {"changed": {"a": [1, 2], "b": [1, 2]}},
            "m2": {"changed": {"a": [1, 2]}},
            "m3": {"added": {"a": 1}},
        }
    }
    assert without(made, []) == made
    assert without(made, ["member.a"]) == {"member": {"m1": {"changed": {"b": [1, 2]}}, "m3": {"added": {}}}}
    assert without(made, ["book.a"]) == made


# --- renaming, as a property ------------------------------------------------------------------------------------

WORDS = st.text("abc", min_size=1, max_size=2)
IDS = [f"n{i}" for i in range(4)]


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    """A change with new records of two kinds that refer to each other, and with one that was there."""
    made: dict[str, Any] = {"old": {"o1": {"changed": {"name": [draw(WORDS), "other"]}}}}
    for kind in ("thing", "note"):
        ids = [f"{kind}-{i}" for i in draw(st.permutations(IDS))[: draw(st.integers(1, 3))]]
        for key in ids:
            fields = {
                "id": key,
                "name": draw(WORDS),
                "to": draw(st.sampled_from([*ids, "o1"])),
                "size": draw(st.integers(0, 2)),
            }
            made.setdefault(kind, {})[key] = {"added": fields}
    return made


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {names.get(key, key): renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [renamed(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value


def new_ids(made: Mapping[str, Any]) -> list[str]:
    return [key for kind in ("thing", "note") for key in made[kind]]


@given(changes(), st.data())
def test_new_ids_may_be_any_as_long_as_they_are_renamed_throughout(made: dict[str, Any], data: st.DataObject) -> None:
    assert same_change(made, made)
    names = {}
    for kind in ("thing", "note"):
        ids = list(made[kind])
        names |= dict(zip(ids, data.draw(st.permutations([*ids, f"{kind}-fresh"])), strict=False))
    assert same_change(made, renamed(made, names))
    assert same_change(renamed(made, names), made)


@given(changes(), st.data())
def test_one_value_that_is_not_as_it_should_be_breaks_it(made: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(new_ids(made)))
    kind = key.partition("-")[0]
    names = {one: f"{one}-again" for one in new_ids(made)}
    other = renamed(made, names)
    fields = other[kind][names[key]]["added"]
    how = data.draw(st.sampled_from(["swap", "name", "missing", "reference", "size"]))
    if how == "swap":
        fields["name"], fields["size"] = fields["size"], fields["name"]
    elif how == "missing":
        del fields["size"]
    elif how == "reference":
        fields["to"] = "somewhere else"
    else:
        fields[how] = "another"
    assert not same_change(made, other)


@given(changes(), st.data())
def test_values_swapped_between_two_records_are_the_same_only_under_another_name(
    made: dict[str, Any], data: st.DataObject
) -> None:
    many = [kind for kind in ("thing", "note") if len(made[kind]) > 1]
    assume(many)
    kind = data.draw(st.sampled_from(many))
    one, other = data.draw(st.permutations(list(made[kind])))[:2]
    before = renamed(made, {})
    before[kind][one]["added"].update(name="x", size=1)
    before[kind][other]["added"].update(name="y", size=2)
    swapped = renamed(before, {})
    swapped[kind][one]["added"]["name"], swapped[kind][other]["added"]["name"] = "y", "x"
    assert not same_change(before, swapped), "no renaming makes (y, 1) of (x, 1)"
    swapped[kind][one]["added"]["size"], swapped[kind][other]["added"]["size"] = 2, 1
    assert same_change(before, swapped) == some_renaming(before, swapped)


def some_renaming(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether one of all renamings of the new ids makes two changes equal."""
    for things in permutations(before["thing"]):
        for notes in permutations(before["note"]):
            names = dict(zip(after["thing"], things, strict=True)) | dict(zip(after["note"], notes, strict=True))
            if renamed(after, names) == before:
                return True
    return False


@given(changes())
def test_a_record_that_was_there_keeps_its_id(made: dict[str, Any]) -> None:
    assert not same_change(made, renamed(made, {"o1": "o2"}))


@given(changes(), st.data())
def test_one_new_record_more_or_less_breaks_it(made: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(new_ids(made)))
    fewer = renamed(made, {})
    del fewer[key.partition("-")[0]][key]
    assert not same_change(made, fewer)
    assert not same_change(fewer, made)


# --- many new records, and values written otherwise ---------------------------------------------------------------


def many(n: int, *, borrowed: int = 0) -> dict[str, Any]:
    """New members that look alike, each with one loan; one loan may be on a member that has one already."""
    members = {f"m{i}": {"added": {"id": f"m{i}", "name": "Ada"}} for i in range(n)}
    loans = {f"l{i}": {"added": {"id": f"l{i}", "member": f"m{max(i, borrowed)}"}} for i in range(n)}
    return {"member": members, "loan": loans}


@pytest.mark.parametrize("n", [6, 12, 40])
def test_many_new_records_that_look_alike_are_no_matter(n: int) -> None:
    order = {f"m{i}": f"m{(7 * i + 3) % n}" if n % 7 else f"m{n - 1 - i}" for i in range(n)}
    names = {**order, **{f"l{i}": f"x{i}" for i in range(n)}}
    assert same_change(many(n), renamed(many(n), names))
    assert not same_change(many(n), renamed(many(n, borrowed=1), names))
    assert not same_change(many(n, borrowed=1), many(n))


def test_two_rings_are_not_one_although_every_record_looks_alike() -> None:
    def ring(*groups: int) -> dict[str, Any]:
        made, start = {}, 0
        for size in groups:
            for i in range(size):
                key = f"p{start + i}"
                made[key] = {"added": {"id": key, "next": f"p{start + (i + 1) % size}"}}
            start += size
        return {"person": made}

    assert same_change(ring(6), ring(6))
    assert not same_change(ring(6), ring(3, 3))
    assert same_change(ring(3, 4), ring(4, 3))


def test_the_case_of_letters_counts_unless_the_label_says_otherwise() -> None:
    other = ("updateMember", {"memberId": "member_0002", "fullName": "ADA FINCH"})
    assert not judged(label(RENAME), other).success
    call = LabelledCall.model_validate(
        {"op": "updateMember", "args": {"fullName": {"value": "Ada Finch", "class": "casefold"}}}
    )
    assert judged(label(RENAME, calls=(call,)), other).success


# --- progress, efficiency, faults ---------------------------------------------------------------------------------


def test_progress_is_the_share_of_what_is_required() -> None:
    wanted = label(RENAME, MAKE_ADA)
    assert judged(wanted, RENAME, MAKE_ADA).progress == 1
    assert judged(wanted, MAKE_ADA).progress == 0.5
    assert judged(wanted).progress == 0
    assert judged(Label(how="executed")).progress is None
    asked = label(LOOK, facts=(fact("Ada Finch"), fact(312)))
    assert judged(asked, LOOK, said=("Ada Finch",)).progress == 0.5


def test_efficiency_is_calls_of_the_reference_per_call() -> None:
    wanted = label(RENAME, calls=(LabelledCall(op="updateMember"),))
    assert judged(wanted, RENAME).efficiency == 1
    assert judged(wanted, LOOK, LOOK, LOOK, RENAME).efficiency == 0.25
    assert judged(wanted).efficiency is None


def test_whose_fault_it_is() -> None:
    good, bad = judged(label(RENAME), RENAME), judged(label(RENAME))
    assert fault_of(Trace(("user",), end="goal_met"), good) is None
    assert fault_of(Trace(("user",), end="turn_limit"), bad) == "agent"
    assert fault_of(Trace(("user",), end="agent_error")) == "agent"
    assert fault_of(Trace(("user",), end="sim_error"), bad) == "simulator"
    assert fault_of(Trace(("user",), end="infra_error"), bad) == "infrastructure"


# --- facts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value", "found"),
    [
        ("It costs 12.", 12, True),
        ("It costs 120.", 12, False),
        ("It costs 12,000.", 12, False),
        ("It costs 1,012.", 12, False),
        ("Room 12, please.", 12, True),
        ("Rooms 12, 13 and 14.", 13, True),
        ("It costs 25.50 in all.", "25", False),
        ("It costs 25.50 in all.", "25.50", True),
        ("It costs 125.50.", "25.50", False),
        ("It costs 25.50.", 25.5, False),
        ("It is at branch CENTRAL!", "central", True),
        ("It is decentral.", "central", False),
        ("centrally", "central", False),
        ("The day is 2026-05-02.", "2026-05-02", True),
        ("Call +441632960121 now.", "+441632960121", True),
        ("Call +4416329601210 now.", "+441632960121", False),
        ("By Benedikt Amsel, of course.", "Benedikt Amsel", True),
        ("By Benedikt.", "Benedikt Amsel", False),
        ("It is (B12).", "B12", True),
        ("Is it 'B12'?", "b12", True),
        ("", "B12", False),
    ],
)
def test_a_value_is_told_as_a_whole_word_whatever_its_case(text: str, value: Any, found: bool) -> None:
    assert holds(text, value) is found


@given(st.from_regex(r"[A-Za-z0-9]{1,6}(?: [A-Za-z0-9]{1,6})?", fullmatch=True), st.sampled_from(["", "x", "7"]))
@example("a.b", "")
def test_a_value_between_words_is_found_and_inside_one_is_not(value: str, glued: str) -> None:
    assert holds(f"so it is {value}, they say", value)
    assert holds(f"it is {value}.", value.swapcase())
    if glued:
        assert not holds(f"q{glued}{value}{glued}q".replace(" ", "_"), value)


def fact(value: Any) -> FactPart:
    return FactPart(call=1, pointer="/fullName", value=value, label="full name")


def test_a_question_is_answered_when_its_value_was_told_at_some_time() -> None:
    wanted = label(LOOK, facts=(fact("Ada Finch"),))
    assert judged(wanted, LOOK, said=("One moment.", "The name is ada finch.", "Anything else?")).success
    verdict = judged(wanted, LOOK, said=("The name is Ada.", "And Finch."))
    assert (verdict.facts, verdict.success) == (False, False)
    assert verdict.why == "the user was never told the full name: Ada Finch"


def test_every_fact_must_be_told() -> None:
    wanted = label(LOOK, facts=(fact("Ada Finch"), fact(312)))
    assert not judged(wanted, LOOK, said=("Ada Finch has 31 pages.",)).success
    assert judged(wanted, LOOK, said=("Ada Finch", "has 312.")).success


# --- forbidden calls and schemas --------------------------------------------------------------------------------


def test_a_forbidden_call_fails_at_any_time_even_if_it_is_undone() -> None:
    hold = ("createHold", {"memberId": "member_0001", "bookId": "book_0001", "pickupBranch": "central"})
    undo = ("deleteHold", {"memberId": "member_0001", "holdId": "hold_0006"})
    wanted = label(RENAME, forbidden=("createHold",))
    for made in ((hold, undo, RENAME), (RENAME, hold, undo)):
        verdict = judged(wanted, *made)
        assert (verdict.state, verdict.forbidden, verdict.success) == (True, False, False)
        assert verdict.why == "createHold is forbidden"
    assert judged(wanted, RENAME).as_json()["forbidden"] == "pass"


def test_a_forbidden_call_that_was_refused_did_nothing() -> None:
    astray = ("createHold", {"memberId": "member_0999", "bookId": "book_0001", "pickupBranch": "central"})
    verdict = judged(label(RENAME, forbidden=("createHold",)), astray, RENAME)
    assert (verdict.forbidden, verdict.success) == (True, True)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (("updateMember", {"memberId": "member_0002"}), "updateMember: "),
        (("updateMember", {"member": "member_0002"}), "updateMember: member: no such argument"),
        (("renameMember", {}), "renameMember: no operation renameMember"),
    ],
    ids=["empty", "unknown", "no operation"],
)
def test_a_call_that_was_made_wrongly_is_reported_and_does_not_decide(bad: tuple[str, Any], why: str) -> None:
    for made in ((bad, RENAME), (RENAME, bad)):
        verdict = judged(label(RENAME), *made)
        assert (verdict.schema, verdict.state, verdict.success) == (False, True, True)
        assert verdict.why.startswith(why)


def test_what_has_nothing_to_check_neither_passes_nor_fails() -> None:
    nothing = Label(how="executed")
    assert judged(nothing).as_json() == {
        "success": True,
        "schema": "not_applicable",
        "state": "pass",
        "facts": "not_applicable",
        "forbidden": "not_applicable",
        "arguments": "not_applicable",
    }
    assert judged(nothing, LOOK).schema is True
    assert judged(nothing, RENAME).success is False


@given(*[st.sampled_from([True, False, None])] * 4)
def test_success_is_state_facts_and_forbidden_and_never_the_schema(
    schema: bool | None, state: bool | None, facts: bool | None, forbidden: bool | None
) -> None:
    verdict = Score(schema, state, facts, forbidden)
    assert verdict.success == (False not in (state, facts, forbidden))
    shown = verdict.as_json()
    for name, value in (("schema", schema), ("state", state), ("facts", facts), ("forbidden", forbidden)):
        assert shown[name] == {True: "pass", False: "fail", None: "not_applicable"}[value]


def test_judging_leaves_the_world_as_it_was() -> None:
    start = seeded(library(), SEED)
    before = start.tables
    score(library(), start, label(RENAME), calls(RENAME, MAKE_ADA), ())
    assert start.tables is before
