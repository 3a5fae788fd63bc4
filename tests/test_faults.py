"""Faults: what goes wrong is what the schedule says, at the call it says, and is noted."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlab.agent import Turn
from simlab.api import Api, load_api
from simlab.die import Die
from simlab.errors import InputError
from simlab.faults import KINDS, FaultyWorld, Injection, read_faults
from simlab.message import Message, ToolCall
from simlab.schema import to_json
from simlab.services.simulated import Simulated
from simlab.simulation import Simulation
from simlab.world import World, diff, random_call, seeded

ROOT = Path(__file__).parent.parent


@cache
def library() -> Api:
    return load_api(ROOT / "apis" / "library.yaml")


def faulty(*said: dict[str, Any], seed: int = 1) -> FaultyWorld:
    world = seeded(library(), seed)
    return FaultyWorld(world, read_faults(world.api, said))


def fault(operation: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"operation": operation, "kind": kind, **more}


def changes(faulty: FaultyWorld) -> dict[str, Any]:
    """What a world's calls have changed since it was seeded."""
    return diff(seeded(library(), faulty.world.seed).tables, faulty.world.tables)


MEMBER = {"memberId": "member_0001"}
BORROWER = {"memberId": "member_0002"}
LOAN = {"bookId": "book_0006", "memberId": "member_0002", "dueOn": "2026-04-21"}


# ── each kind ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("kind", "status"), [("timeout", 504), ("rate_limit", 429), ("server_error", 500)])
def test_before_its_effect_a_call_changes_nothing_and_may_be_tried_again(kind: str, status: int) -> None:
    world = faulty(fault("createLoan", kind))
    refused = world.call("createLoan", LOAN)
    assert (refused.response.status, changes(world)) == (status, {})
    assert world.call("createLoan", LOAN).response.status == 201
    assert [len(table) for table in changes(world).values()] == [1]
    assert world.injected == [Injection("createLoan", 1, kind, "before", 0)]


@pytest.mark.parametrize("kind", ["timeout", "server_error"])
def test_after_its_effect_a_second_try_makes_a_second_record(kind: str) -> None:
    world = faulty(fault("createLoan", kind, when="after"))
    assert not world.call("createLoan", LOAN).response.ok
    assert world.call("createLoan", LOAN).response.ok
    assert [len(table) for table in changes(world).values()] == [2]


def test_a_rate_limit_says_when_to_try_again_where_an_agent_sees_it() -> None:
    answered = faulty(fault("getMember", "rate_limit", seconds=12.5)).call("getMember", MEMBER)
    assert answered.retry_after == 13
    assert "retry after 13 seconds" in to_json(answered.response.body)


def test_a_slow_call_is_answered_well_and_late() -> None:
    answered = faulty(fault("getMember", "slow", seconds=45)).call("getMember", MEMBER)
    assert (answered.response, answered.delay) == (seeded(library(), 1).call("getMember", MEMBER), 45.0)


def test_a_truncated_page_lacks_its_latter_half_and_says_nothing_of_it() -> None:
    whole = seeded(library(), 1).call("listBooks", {}).body
    cut = faulty(fault("listBooks", "truncated")).call("listBooks", {}).response.body
    assert cut == {**whole, "items": whole["items"][: len(whole["items"]) // 2]}


def test_a_stale_read_does_not_know_of_the_last_write() -> None:
    world = faulty(fault("listLoans", "stale", call=2))
    before = world.call("listLoans", BORROWER).response
    world.call("createLoan", LOAN)
    assert world.call("listLoans", BORROWER).response == before
    assert len(world.call("listLoans", BORROWER).response.body["items"]) == len(before.body["items"]) + 1
    assert [one.as_json() for one in world.injected] == [
        {"operation": "listLoans", "nth": 2, "kind": "stale", "when": "before", "call_index": 2}
    ]


@pytest.mark.parametrize(("operation", "arguments"), [("getMember", MEMBER), ("listBooks", {})])
def test_a_missing_field_is_one_field_of_one_record(operation: str, arguments: dict[str, Any]) -> None:
    world = seeded(library(), 1)
    whole = world.call(operation, arguments).body
    body = faulty(fault(operation, "missing_field")).call(operation, arguments).response.body
    rows = list(zip(whole["items"], body["items"], strict=True)) if operation == "listBooks" else [(whole, body)]
    lost = [(name, full) for full, left in rows for name in full if name not in left]
    assert len(lost) == 1
    assert all({**full, **left} == full for full, left in rows)


def test_a_fault_that_finds_nothing_to_spoil_is_not_injected() -> None:
    world = faulty(fault("listLoans", "stale"), fault("getMember", "missing_field"), fault("listMembers", "truncated"))
    assert world.call("listLoans", BORROWER).response.ok
    assert world.call("getMember", {"memberId": "member_9999"}).response.status == 404
    assert world.call("listMembers", {"offset": 999}).response.ok
    assert world.injected == []


# ── the schedule ───────────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 2**32).map(Die), st.lists(st.integers(1, 4), unique=True, max_size=3))
def test_without_a_fault_a_call_is_answered_as_ever(die: Die, when: list[int]) -> None:
    plain, world = seeded(library(), 1), faulty(*(fault("listBooks", "slow", call=nth) for nth in when))
    for _ in range(12):
        name, arguments = random_call(plain, die)
        assert world.call(name, arguments).response == plain.call(name, arguments)
    assert diff(plain.tables, world.world.tables) == {}
    assert world.call("noSuchThing", {}).response.status == 404


def test_the_same_schedule_goes_wrong_in_the_same_way() -> None:
    said = (fault("listBooks", "missing_field", call=2), fault("createLoan", "timeout", when="after"))
    one, other = faulty(*said), faulty(*said)
    calls: list[tuple[str, dict[str, Any]]] = [("listBooks", {}), ("createLoan", LOAN), ("listBooks", {})]
    assert [one.call(*call) for call in calls] == [other.call(*call) for call in calls]
    assert one.injected == other.injected
    assert [injection.call_index for injection in one.injected] == [1, 2]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "expected a list"),
        (["timeout"], r"faults\[0\]: expected a mapping, got 'timeout'"),
        ([{"kind": "timeout"}], "`operation` is missing"),
        ([fault("createLone", "timeout")], "no operation 'createLone'; did you mean 'createLoan'"),
        ([fault("createLoan", "time_out")], "no kind 'time_out'; did you mean 'timeout'"),
        ([fault("createLoan", "timeout", nth=2)], "no key 'nth'"),
        ([fault("createLoan", "timeout", call=0)], "`call`: expected a whole number from 1, got 0"),
        ([fault("createLoan", "timeout", call=True)], "`call`: expected a whole number from 1, got True"),
        ([fault("createLoan", "timeout", when="later")], "a timeout comes before or after the effect, not 'later'"),
        ([fault("createLoan", "rate_limit", when="after")], "a rate_limit comes before the effect"),
        ([fault("createLoan", "truncated")], "only a list can be truncated, and createLoan is a create"),
        ([fault("createLoan", "stale")], "only a read can be stale"),
        ([fault("createLoan", "slow", seconds=-1)], "`seconds`: expected a number from 0, got -1"),
        ([fault("createLoan", "server_error", seconds=1)], "`seconds` mean nothing to the kind server_error"),
        ([fault("createLoan", "slow"), fault("createLoan", "timeout")], r"faults\[1\]: call 1 of createLoan has a"),
    ],
)
def test_a_schedule_that_cannot_be_is_named(said: Any, why: str) -> None:
    with pytest.raises(InputError, match=why):
        read_faults(library(), said)


def test_what_is_not_said_has_its_default() -> None:
    for name, kind in KINDS.items():
        (read,) = read_faults(library(), [fault("listBooks", name)])
        assert (read.nth, read.when, read.seconds) == (1, kind.when[0], kind.seconds or 0.0)


# ── in a simulation ────────────────────────────────────────────────────────────────────────────────────────────


class Caller:
    """Makes one call and keeps what it is answered."""

    name = "assistant"

    def __init__(self, *calls: ToolCall) -> None:
        self.calls, self.heard = calls, list[Message]()

    async def reply(self, turn: Turn) -> Message | None:
        self.heard += turn.heard
        return Message(self.name, "", to=("api",), calls=self.calls) if not turn.heard else None


@pytest.mark.anyio
async def test_an_agent_hears_a_slow_answer_later_and_is_told_of_a_limit() -> None:
    world: World = seeded(library(), 1)
    said = [fault("getMember", "slow", seconds=20), fault("listBooks", "rate_limit", seconds=5)]
    api = Simulated(world, faults=read_faults(world.api, said))
    caller = Caller(ToolCall("1", "getMember", MEMBER), ToolCall("2", "listBooks"))
    trace = await Simulation([caller, api]).run()
    assert [event.time for event in trace.events] == [0.0, 20.0]
    good, limited = caller.heard[0].results
    assert (good.status, limited.status) == (200, 429)
    assert "retry after 5 seconds" in limited.shown
    assert [injection.kind for injection in api.injected] == ["slow", "rate_limit"]
