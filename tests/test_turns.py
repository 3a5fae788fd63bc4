"""Turns: the lowest item first, handed on once, and never lost."""

from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlab.turns import Turns

pytestmark = pytest.mark.anyio


class Queue:
    """Tasks that each wait for a turn; `served` lists the items in the order in which they got one."""

    def __init__(self, turns: Turns, group: Any) -> None:
        self.turns, self.group = turns, group
        self.served: list[int] = []

    async def enter(self, item: int) -> anyio.CancelScope:
        """Begin to wait, surely before the next one does; the scope gives up waiting."""
        scope = anyio.CancelScope()

        async def wait(*, task_status: Any) -> None:
            task_status.started()
            with scope:
                await self.turns.acquire(item)
                self.served.append(item)

        await self.group.start(wait)
        await anyio.wait_all_tasks_blocked()
        return scope


async def must_wait(turns: Turns, item: int) -> None:
    with anyio.move_on_after(0.01) as late:
        await turns.acquire(item)
    assert late.cancelled_caught


async def test_the_lowest_item_is_served_first_and_equal_ones_in_order_of_arrival() -> None:
    turns = Turns(2)
    async with anyio.create_task_group() as group:
        queue = Queue(turns, group)
        for item in (8, 9):  # both turns are taken now
            await queue.enter(item)
        for item in (5, 3, 7, 3, 1):
            await queue.enter(item)
        assert queue.served == [8, 9]
        for _ in range(5):
            turns.release()
            await anyio.wait_all_tasks_blocked()
    assert queue.served == [8, 9, 1, 3, 3, 5, 7]


async def test_a_freed_turn_is_not_snatched_from_the_one_it_was_handed_to() -> None:
    turns = Turns(1)
    async with anyio.create_task_group() as group:
        queue = Queue(turns, group)
        await queue.enter(0)
        await queue.enter(5)
        turns.release()
        await anyio.wait_all_tasks_blocked()  # belongs to 5 from here on
        await must_wait(turns, 1)
        assert queue.served == [0, 5]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_who_gives_a_turn_back_and_asks_again_at_once_goes_on_unless_a_lower_item_waits() -> None:
    turns = Turns(1)
    async with anyio.create_task_group() as group:
        queue = Queue(turns, group)
        await queue.enter(3)
        await queue.enter(5)
        for _ in range(3):  # without the event loop, so nobody else could run
            turns.release()
            await turns.acquire(3)
        await anyio.wait_all_tasks_blocked()
        assert queue.served == [3]
        await queue.enter(2)
        turns.release()
        await must_wait(turns, 3)
        assert queue.served == [3, 2]
        turns.release()
        await anyio.wait_all_tasks_blocked()
        assert queue.served == [3, 2, 5]


async def test_branches_of_one_item_take_turns() -> None:
    turns, served = Turns(1), ""

    async def branch(name: str) -> None:
        nonlocal served
        for _ in range(3):
            await turns.acquire(7)
            served += name
            await anyio.lowlevel.checkpoint()
            turns.release()

    async with anyio.create_task_group() as group:
        for name in "ab":
            group.start_soon(branch, name)
    assert served in ("ababab", "bababa")


async def test_one_that_gives_up_waiting_is_passed_over() -> None:
    turns = Turns(1)
    async with anyio.create_task_group() as group:
        queue = Queue(turns, group)
        await queue.enter(0)
        scopes = {item: await queue.enter(item) for item in (6, 2, 4, 1, 3)}
        scopes[1].cancel()
        scopes[4].cancel()
        await anyio.wait_all_tasks_blocked()
        for _ in range(4):
            turns.release()
            await anyio.wait_all_tasks_blocked()
    assert queue.served == [0, 2, 3, 6]


@pytest.mark.parametrize("cancelled_first", [True, False])
async def test_a_turn_handed_to_one_that_is_cancelled_at_that_moment_goes_on_to_the_next(cancelled_first: bool) -> None:
    """Whether the cancelled one still gets its turn is the event loop's choice; the turn is never lost."""
    turns = Turns(1)
    async with anyio.create_task_group() as group:
        queue = Queue(turns, group)
        await queue.enter(0)
        first = await queue.enter(1)
        await queue.enter(2)
        for step in (first.cancel, turns.release) if cancelled_first else (turns.release, first.cancel):
            step()
        await anyio.wait_all_tasks_blocked()
        if 1 in queue.served:
            assert not cancelled_first
            turns.release()
        await anyio.wait_all_tasks_blocked()
        assert 2 in queue.served
        turns.release()
    with anyio.fail_after(1):
        await turns.acquire(9)


# --- without a task --------------------------------------------------------------------------------------------


class Gone:
    """Requests that take a turn by themselves, and are passed over once they are not wanted any more."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.went: list[int] = []
        self.unwanted: set[int] = set()

    def enter(self, item: int) -> None:
        def go() -> bool:
            if item in self.unwanted:
                return False
            self.went.append(item)
            return True

        self.turns.enter(item, go)


async def test_a_turn_that_is_passed_on_goes_to_the_lowest_at_once() -> None:
    turns = Turns(2)
    gone = Gone(turns)
    for item in (9, 8, 5, 3, 7):
        gone.enter(item)
    assert gone.went == [9, 8]
    turns.pass_on()
    assert gone.went == [9, 8, 3]
    gone.unwanted.add(5)
    turns.pass_on()
    assert gone.went == [9, 8, 3, 7]


async def test_tasks_and_requests_share_the_turns() -> None:
    turns = Turns(1)
    gone = Gone(turns)
    async with anyio.create_task_group() as group:
        queue = Queue(turns, group)
        await queue.enter(0)
        gone.enter(2)
        await queue.enter(1)
        gone.enter(3)
        turns.pass_on()
        await anyio.wait_all_tasks_blocked()
        assert (queue.served, gone.went) == ([0, 1], [])
        turns.release()
        await anyio.wait_all_tasks_blocked()
        assert gone.went == [2]
        turns.pass_on()
        assert gone.went == [2, 3]


async def test_one_that_comes_when_all_who_wait_have_given_up_is_served() -> None:
    turns = Turns(1)
    gone = Gone(turns)
    gone.enter(1)
    gone.enter(2)
    gone.unwanted.add(2)
    turns.release()
    gone.enter(3)  # behind the turn that is kept for 2
    with anyio.fail_after(1):
        await anyio.wait_all_tasks_blocked()
        assert gone.went == [1, 3]


@given(
    st.integers(1, 3),
    st.lists(st.one_of(st.tuples(st.just("enter"), st.integers(0, 9)), st.sampled_from(["pass on", "give up"]))),
)
def test_as_many_are_on_their_way_as_may_be_and_always_the_lowest(at_once: int, steps: list[Any]) -> None:
    turns, under_way, waiting, given_up = Turns(at_once), 0, list[tuple[int, int]](), set[tuple[int, int]]()

    def go(one: tuple[int, int]) -> bool:
        nonlocal under_way
        assert one == min(waiting)
        waiting.remove(one)
        if one in given_up:
            return False
        under_way += 1
        return True

    for n, step in enumerate(steps):
        if step == "pass on":
            if under_way:
                under_way -= 1
                turns.pass_on()
        elif step == "give up":
            given_up.update(waiting[:1])
        else:
            one = (step[1], n)
            waiting.append(one)
            turns.enter(one[0], lambda one=one: go(one))
        assert under_way <= at_once
        assert under_way == at_once or not set(waiting) - given_up
