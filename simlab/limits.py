"""Limits are models around a model: retries, calls in flight, a budget.

The order is journal -> budget -> limit -> retry -> adapter: one journal entry per ask, after its retries, and
a call that waits for its turn holds no connection. An adapter that can take its turn itself is given the limit.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import anyio
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from simlab.errors import BudgetSpent
from simlab.model import CallFailed, Model, Reply, Request, Sampling, TakesTurns
from simlab.turns import Turns, in_turn


class Wrapped:
    """A model that passes everything on to the one inside it."""

    def __init__(self, inner: Model) -> None:
        self.inner = inner
        self.name = inner.name
        self.small = inner.small
        self.sampling = inner.sampling

    async def reply(self, request: Request) -> Reply:
        """Pass the request on."""
        return await self.inner.reply(request)

    async def aclose(self) -> None:
        """Close the model inside."""
        await self.inner.aclose()


class Tuned(Wrapped):
    """The same model under sampling options that a user fixed for one role."""

    def __init__(self, inner: Model, sampling: Sampling) -> None:
        super().__init__(inner)
        self.sampling = sampling
        self.reply = inner.reply  # type: ignore[method-assign]  # without a coroutine of its own


class Retrying(Wrapped):
    """Asks again, after a wait with jitter or as long as the endpoint says, while a failure may pass.

    The first attempt is direct: what tenacity costs is paid after a failure only.
    """

    def __init__(
        self,
        inner: Model,
        *,
        attempts: int = 6,
        backoff: float = 30.0,
        longest: float = 120.0,
        on_failure: Callable[[], None],
    ) -> None:
        super().__init__(inner)
        self._attempts = attempts
        self._backoff = wait_random_exponential(multiplier=0.5, max=backoff)
        self._longest = longest
        self._on_failure = on_failure

    async def reply(self, request: Request) -> Reply:
        """Answer, after as many attempts as allowed; raises the last CallFailed."""
        try:
            return await self.inner.reply(request)
        except CallFailed as failure:
            pause = self.failed(failure)
        return await self.again(request, pause)

    def failed(self, failure: CallFailed) -> float:
        """Count a first attempt that failed, and return the seconds until the next; raises it where there is none."""
        self._on_failure()
        if not failure.retry or self._attempts <= 1:
            raise failure
        return self._pause(failure, 1)

    async def again(self, request: Request, pause: float) -> Reply:
        """Answer after a first attempt that failed."""
        await anyio.sleep(pause)
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._attempts - 1),
            retry=retry_if_exception(lambda error: isinstance(error, CallFailed) and error.retry),
            wait=self._wait,
            sleep=anyio.sleep,
            reraise=True,
        )
        return await retrying(self._again, request)

    async def _again(self, request: Request) -> Reply:
        try:
            return await self.inner.reply(request)
        except CallFailed:
            self._on_failure()
            raise

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return self._pause(error, state.attempt_number + 1)

    def _pause(self, error: BaseException | None, attempt: int) -> float:
        if isinstance(error, CallFailed) and error.after is not None:
            return min(error.after, self._longest)
        state = RetryCallState(None, None, (), {})  # type: ignore[arg-type]
        state.attempt_number = attempt
        return self._backoff(state)


class Limited(Wrapped):
    """At most so many calls in flight, counted over all models that share the turns."""

    def __init__(self, inner: Model, turns: Turns) -> None:
        super().__init__(inner)
        self._turns = turns

    async def reply(self, request: Request) -> Reply:
        """Answer when it is its turn."""
        if not self._turns.take(request.item):  # a coroutine saved where there is nothing to wait for
            await self._turns.acquire(request.item)
        try:
            return await self.inner.reply(request)
        finally:
            self._turns.release()


class InTurn(Wrapped):
    """At most so many calls in flight, of a model that takes a turn itself while its request is on its way, no longer.

    Putting a prompt together, reading its reply and writing the journal then keep no turn from the server. A call that
    failed takes a turn for all that follows, pauses included: else all that live would press a server in distress.
    """

    def __init__(self, retrying: Retrying, model: TakesTurns, turns: Turns) -> None:
        super().__init__(retrying)
        self._retrying = retrying
        self._first = model.reply_in_turn
        self._turns = turns

    async def reply(self, request: Request) -> Reply:
        """Answer when it is its turn."""
        try:
            return await self._first(request, self._turns)
        except CallFailed as failure:
            pause = self._retrying.failed(failure)
        async with in_turn(self._turns, request.item):
            return await self._retrying.again(request, pause)


def limited(retrying: Retrying, turns: Turns) -> Model:
    """Retries within the limit on calls in flight, in whichever way the model can be limited."""
    model = retrying.inner
    while isinstance(model, Tuned):
        model = model.inner
    # asked of the type: a model that hands on what it does not know to one inside it would else be passed by
    itself = hasattr(type(model), "reply_in_turn")
    return InTurn(retrying, cast(TakesTurns, model), turns) if itself else Limited(retrying, turns)


@dataclass
class Account:
    """What one model was asked and answered over all sessions of a run; `failed` attempts got no reply."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    failed: int = 0
    price: tuple[float, float] | None = None

    @property
    def tokens(self) -> int:
        """Tokens of both kinds."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost(self) -> float | None:
        """US dollars, or None when the price is not known."""
        if self.price is None:
            return None
        return (self.prompt_tokens * self.price[0] + self.completion_tokens * self.price[1]) / 1e6


@dataclass
class Budget:
    """Limits over a whole run, all its resumes together; `seconds` alone are counted for this session."""

    calls: int | None = None
    tokens: int | None = None
    cost: float | None = None
    seconds: float | None = None
    accounts: dict[str, Account] = field(default_factory=dict)
    stopped: BaseException | None = None
    _in_flight: int = 0
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.resume(self.accounts)

    def resume(self, accounts: dict[str, Account]) -> None:
        """Go on from what earlier sessions spent."""
        self.accounts = accounts
        self._calls, self._tokens = self.total("calls"), self.total("tokens")

    def account(self, model: str) -> Account:
        """The account of a model, opened at its first use."""
        account = self.accounts.get(model)
        if account is None:
            account = self.accounts[model] = Account()
        return account

    def total(self, what: str) -> Any:
        """The sum of one figure over all accounts; unknown costs count as zero."""
        return sum([figure for account in self.accounts.values() if (figure := getattr(account, what))])

    def admit(self) -> None:
        """Let one more call through; raises BudgetSpent, naming the limit, when none is left."""
        if self.stopped is not None:
            raise self.stopped
        if self.calls is not None and self._calls + self._in_flight >= self.calls:
            raise self._spent("calls", f"{self.calls} calls", self._calls)
        if self.tokens is not None and self._tokens >= self.tokens:
            raise self._spent("tokens", f"{self.tokens} tokens", self._tokens)
        if self.cost is not None and (cost := self.total("cost")) >= self.cost:
            raise self._spent("cost", f"${self.cost:g}", cost)
        if self.seconds is not None and time.monotonic() - self._began >= self.seconds:
            raise self._spent("seconds", f"{self.seconds:g} seconds")
        self._in_flight += 1

    def settle(self, model: str, reply: Reply | None) -> None:
        """Close what `admit` opened, with the reply's usage when there was one."""
        self._in_flight -= 1
        if reply is not None:
            account, (prompt, completion) = self.account(model), reply.usage
            account.calls += 1
            account.prompt_tokens += prompt
            account.completion_tokens += completion
            self._calls += 1
            self._tokens += prompt + completion

    def _spent(self, option: str, limit: str, spent: float = 0.0) -> BudgetSpent:
        return BudgetSpent(f"the budget of {limit} is used up (--max-{option})", f"--max-{option}", spent)


class Budgeted(Wrapped):
    """Counts what the model is asked, and asks nothing more once the budget is used up."""

    def __init__(self, inner: Model, budget: Budget) -> None:
        super().__init__(inner)
        self._budget = budget

    async def reply(self, request: Request) -> Reply:
        """Answer within the budget; raises BudgetSpent."""
        self._budget.admit()
        reply: Reply | None = None
        try:
            reply = await self.inner.reply(request)
        finally:
            self._budget.settle(self.name, reply)
        return reply
