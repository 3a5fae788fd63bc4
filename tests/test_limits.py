"""Limits: who is served first, when a budget stops a run, how often a failed call is made again."""

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from simlab.errors import BudgetSpent
from simlab.limits import Account, Budget, Budgeted, InTurn, Limited, Retrying, Tuned, limited
from simlab.model import CallFailed, Reply, Request, Sampling, Usage
from simlab.prices import price_of
from simlab.turns import Turns

pytestmark = pytest.mark.anyio


class Played:
    """A model that does what it is told at each call: a reply is given, an error raised, seconds waited."""

    small = False
    sampling = Sampling()

    def __init__(self, *script: Reply | Exception | float, name: str = "played") -> None:
        self.name = name
        self.asked: list[int] = []
        self._script = list(script)

    async def reply(self, request: Request) -> Reply:
        self.asked.append(request.item)
        does = self._script.pop(0) if self._script else Reply(text="yes", usage=Usage(60, 40))
        if isinstance(does, Exception):
            raise does
        if isinstance(does, float):
            await anyio.sleep(does)
            return Reply(text="late")
        return does

    async def aclose(self) -> None:
        pass


def ask(item: int = 0) -> Request:
    return Request(role="user", step="question", messages=(), item=item)


def dropped(**options: Any) -> CallFailed:
    return CallFailed("dropped", **{"retry": True, **options})


# --- calls in flight ------------------------------------------------------------------------------------------


async def test_models_that_share_turns_are_limited_together_also_when_calls_fail() -> None:
    turns, busy, most = Turns(2), 0, 0

    class Counting(Played):
        async def reply(self, request: Request) -> Reply:
            nonlocal busy, most
            busy += 1
            most = max(most, busy)
            try:
                await checkpoint()
                return await super().reply(request)
            finally:
                busy -= 1

    models = [Limited(Counting(dropped(), name="a"), turns), Limited(Counting(name="b"), turns)]
    got: list[str] = []

    async def call(item: int) -> None:
        try:
            got.append((await models[item % 2].reply(ask(item))).text)
        except CallFailed as failure:
            got.append(str(failure))

    async with anyio.create_task_group() as group:
        for item in range(10):
            group.start_soon(call, item)
    assert sorted(got) == ["dropped"] + ["yes"] * 9
    assert most == 2


class Itself(Played):
    """A model that takes its turns itself."""

    def __init__(self, turns_seen: list[str], *script: Reply | Exception | float) -> None:
        super().__init__(*script)
        self.seen = turns_seen

    async def reply_in_turn(self, request: Request, turns: Turns) -> Reply:
        await turns.acquire(request.item)
        try:
            return await self.reply(request)
        finally:
            turns.release()

    async def reply(self, request: Request) -> Reply:
        self.seen.append(f"{request.item} asks")
        return await super().reply(request)


@pytest.mark.parametrize("tuned", [False, True])
async def test_a_call_that_failed_keeps_its_turn_over_the_pause_when_models_take_it_themselves(tuned: bool) -> None:
    seen: list[str] = []
    turns, model = Turns(1), Itself(seen, dropped(after=0.01), dropped(after=0.01))
    retrying = Retrying(Tuned(model, Sampling()) if tuned else model, on_failure=lambda: seen.append("fails"))
    inner = limited(retrying, turns)

    async def call(item: int) -> None:
        assert (await inner.reply(ask(item))).text == "yes"

    async with anyio.create_task_group() as group:
        for item in (0, 1):
            group.start_soon(call, item)
            await anyio.wait_all_tasks_blocked()
    assert seen == ["0 asks", "fails", "0 asks", "fails", "0 asks", "1 asks"]
    assert [turns.take(9), turns.take(9)] == [True, False]


async def test_a_model_around_another_is_asked_itself() -> None:
    class Loud:
        def __init__(self, inner: Itself) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        async def reply(self, request: Request) -> Reply:
            return Reply(text=(await self.inner.reply(request)).text.upper())

    loud: Any = Loud(Itself([]))
    model = limited(Retrying(loud, on_failure=Failures()), Turns(1))
    assert (await model.reply(ask())).text == "YES"
    assert type(model) is Limited
    assert type(limited(Retrying(Tuned(Itself([]), Sampling()), on_failure=Failures()), Turns(1))) is InTurn


async def test_a_call_that_no_further_attempt_mends_is_raised_as_it_is_and_leaves_no_turn_taken() -> None:
    turns, failures = Turns(1), Failures()
    wrong = dropped(retry=False, fatal=True)
    inner = limited(Retrying(Itself([], wrong), on_failure=failures), turns)
    with pytest.raises(CallFailed) as raised:
        await inner.reply(ask())
    assert raised.value is wrong
    assert failures.n == 1
    assert [turns.take(9), turns.take(9)] == [True, False]


# --- budget ----------------------------------------------------------------------------------------------------


async def calls_until_spent(budget: Budget, model: Played) -> tuple[int, str]:
    budgeted, n = Budgeted(model, budget), 0
    while n < 50:
        try:
            await budgeted.reply(ask(n))
        except BudgetSpent as spent:
            assert len(model.asked) == n, "the refused call must not be made"
            return n, str(spent)
        n += 1
    raise AssertionError("nothing stopped it")


@pytest.mark.parametrize(
    ("budget", "calls", "why"),
    [
        (Budget(calls=3), 3, "the budget of 3 calls is used up (--max-calls)"),
        (Budget(calls=0), 0, "the budget of 0 calls is used up (--max-calls)"),
        # a call costs 100 tokens: the third is let through at 200 of 250, the fourth is not at 300
        (Budget(tokens=250), 3, "the budget of 250 tokens is used up (--max-tokens)"),
        (Budget(tokens=300), 3, "the budget of 300 tokens is used up (--max-tokens)"),
        # and 60 * $1 + 40 * $2 per million, which is $0.00014
        (Budget(cost=0.0005), 4, "the budget of $0.0005 is used up (--max-cost)"),
        (Budget(seconds=0.0), 0, "the budget of 0 seconds is used up (--max-seconds)"),
    ],
)
async def test_each_limit_stops_at_the_right_call_and_names_its_option(budget: Budget, calls: int, why: str) -> None:
    fresh = Budget(budget.calls, budget.tokens, budget.cost, budget.seconds)
    fresh.account("played").price = (1.0, 2.0)
    assert await calls_until_spent(fresh, Played()) == (calls, why)


async def test_time_is_spent_by_the_clock() -> None:
    budget = Budget(seconds=0.02)
    model = Budgeted(Played(), budget)
    assert (await model.reply(ask())).text == "yes"
    await anyio.sleep(0.025)
    with pytest.raises(BudgetSpent, match="--max-seconds"):
        await model.reply(ask())


async def test_calls_in_flight_count_so_that_a_limit_is_exact_at_any_concurrency() -> None:
    inner = Played(*[0.01] * 20)
    model, refused = Budgeted(inner, Budget(calls=5)), 0

    async def call(item: int) -> None:
        nonlocal refused
        try:
            await model.reply(ask(item))
        except BudgetSpent:
            refused += 1

    async with anyio.create_task_group() as group:
        for item in range(12):
            group.start_soon(call, item)
    assert (len(inner.asked), refused) == (5, 7)


async def test_what_earlier_sessions_spent_counts_and_models_share_the_budget() -> None:
    budget = Budget(calls=10, accounts={"played": Account(calls=7)})
    assert (await calls_until_spent(budget, Played()))[0] == 3
    with pytest.raises(BudgetSpent):
        await Budgeted(Played(name="other"), budget).reply(ask())


async def test_a_call_without_a_reply_uses_up_nothing() -> None:
    budget = Budget(calls=1)
    model = Budgeted(Played(dropped(), 5.0), budget)
    with pytest.raises(CallFailed):
        await model.reply(ask())
    with anyio.move_on_after(0.001):  # cancelled in flight
        await model.reply(ask())
    assert (await model.reply(ask())).text == "yes"
    with pytest.raises(BudgetSpent):
        await model.reply(ask())
    assert budget.account("played") == Account(calls=1, prompt_tokens=60, completion_tokens=40)


async def test_a_run_that_was_stopped_begins_no_further_call() -> None:
    budget, inner = Budget(), Played()
    budget.stopped = CallFailed("the key was refused", retry=False, fatal=True)
    with pytest.raises(CallFailed, match="the key was refused"):
        await Budgeted(inner, budget).reply(ask())
    assert inner.asked == []


def test_prices_are_those_of_the_longest_name_that_fits() -> None:
    assert price_of("openai:gpt-4o-mini") == price_of("openai:gpt-4o-mini-2024-07-18") == (0.15, 0.6)
    assert price_of("openai:gpt-4o-2024-08-06") == (2.5, 10.0)
    assert price_of("scripted:refuse=0.1") == price_of("embedded:tiny") == (0.0, 0.0)
    for unknown in ("openai:gpt-4", "openai:gpt-4omega", "openai:qwen3", "mine:gpt-4o", "openai:"):
        assert price_of(unknown) is None


def test_the_cost_of_a_model_without_a_price_is_unknown_and_adds_nothing() -> None:
    spent = {"prompt_tokens": 1_000_000, "completion_tokens": 500_000}
    budget = Budget(accounts={"a": Account(**spent, price=(1.0, 4.0)), "b": Account(**spent)})
    assert (budget.account("a").cost, budget.account("b").cost, budget.total("cost")) == (3.0, None, 3.0)


# --- retries ---------------------------------------------------------------------------------------------------


class Failures:
    """Counts what it is told of."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self) -> None:
        self.n += 1


async def test_a_passing_failure_is_tried_again_and_each_one_counted() -> None:
    failures, inner = Failures(), Played(dropped(), dropped(), Reply(text="at last"))
    assert (await Retrying(inner, backoff=0.001, on_failure=failures).reply(ask())).text == "at last"
    assert (len(inner.asked), failures.n) == (3, 2)


@pytest.mark.parametrize("attempts", [1, 2, 3])
async def test_it_gives_up_after_its_attempts_with_the_last_failure(attempts: int) -> None:
    failures, inner = Failures(), Played(*[dropped(after=0.0) for _ in range(9)])
    last = inner._script[attempts - 1]
    with pytest.raises(CallFailed) as raised:
        await Retrying(inner, attempts=attempts, backoff=0.001, on_failure=failures).reply(ask())
    assert raised.value is last
    assert (len(inner.asked), failures.n) == (attempts, attempts)


@pytest.mark.parametrize("before", [0, 1, 2])
async def test_a_failure_that_will_not_pass_ends_it_at_once(before: int) -> None:
    refused = CallFailed("the key was refused", retry=False, fatal=True)
    failures, inner = Failures(), Played(*[dropped(after=0.0)] * before, refused)
    with pytest.raises(CallFailed) as raised:
        await Retrying(inner, on_failure=failures).reply(ask())
    assert raised.value is refused
    assert (len(inner.asked), failures.n) == (before + 1, before + 1)


async def test_a_bug_is_neither_retried_nor_counted() -> None:
    failures, inner = Failures(), Played(dropped(after=0.0), ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await Retrying(inner, on_failure=failures).reply(ask())
    assert failures.n == 1


async def test_it_waits_as_long_as_the_endpoint_says_up_to_its_longest() -> None:
    inner = Played(dropped(after=0.03), dropped(after=0.03))
    began = anyio.current_time()
    await Retrying(inner, on_failure=Failures()).reply(ask())
    assert 0.06 <= anyio.current_time() - began < 0.5
    began = anyio.current_time()
    await Retrying(Played(dropped(after=3600.0)), longest=0.01, on_failure=Failures()).reply(ask())
    assert anyio.current_time() - began < 0.5


async def test_waits_grow_but_vary() -> None:
    retrying = Retrying(Played(), on_failure=Failures())
    first, tenth = ([retrying._pause(dropped(), attempt) for _ in range(200)] for attempt in (1, 10))
    assert 0 <= min(first) < max(first) <= 0.5
    assert 0 <= min(tenth) < 15 < max(tenth) <= 30


@pytest.mark.parametrize("before", [0, 1])
async def test_waiting_can_be_cancelled(before: int) -> None:
    inner = Played(*[dropped(after=0.0)] * before, dropped(after=30.0))
    with anyio.move_on_after(0.02) as scope:
        await Retrying(inner, on_failure=Failures()).reply(ask())
    assert scope.cancelled_caught
    assert len(inner.asked) == before + 1
