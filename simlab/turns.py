"""Turns: how many calls are in flight at once, and whose call is next."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count

import anyio


class _Wait:
    """What a task waits for. On asyncio a bare future: an event takes a kilobyte there, and three times as long."""

    __slots__ = ("_woken", "dropped", "given")

    def __init__(self) -> None:
        self.given = False
        self.dropped = False
        self._woken: asyncio.Future[None] | anyio.Event
        try:
            self._woken = asyncio.get_running_loop().create_future()
        except RuntimeError:  # another event loop than asyncio's
            self._woken = anyio.Event()

    def wait(self) -> Awaitable[object]:
        return self._woken.wait() if isinstance(self._woken, anyio.Event) else self._woken

    def give(self) -> bool:
        """Wake the task, unless it was cancelled; says whether it was woken."""
        if isinstance(self._woken, anyio.Event):
            if self.dropped:
                return False
            self._woken.set()
        elif self._woken.done():  # cancelled, perhaps a moment ago
            return False
        else:
            self._woken.set_result(None)
        self.given = True
        return True


class Turns:
    """A number of turns for calls in flight; the lowest item is served first, so work finishes in order.

    A turn is held by a task (`acquire`, `release`), or by a request that goes without waking one (`enter`, `pass_on`).
    On asyncio a turn that was released is handed on in the next round of the event loop. So the episode that held it,
    which nearly always asks again in the same round and has the lowest item, goes on with it at once: no future, no
    other task to wake, and no time in which the turn is not in use.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: list[tuple[int, int, Callable[[], bool]]] = []
        self._sequence = count()
        self._handing: asyncio.AbstractEventLoop | None = None  # the loop that is about to hand free turns on

    def take(self, item: int) -> bool:
        """Take a turn without waiting, where one is free and no lower item waits; says whether it did."""
        if self._free and (not self._waiting or item < self._waiting[0][0]):
            self._free -= 1
            return True
        return False

    def enter(self, item: int, go: Callable[[], bool]) -> None:
        """Have `go` called with a turn, now or later; it returns False when nobody wants that turn any more."""
        if self.take(item):
            go()
            return
        heappush(self._waiting, (item, next(self._sequence), go))

    async def acquire(self, item: int) -> None:
        """Wait for a turn."""
        if self.take(item):
            return
        wait = _Wait()
        self.enter(item, wait.give)
        try:
            await wait.wait()
        except BaseException:
            wait.dropped = True
            if wait.given:
                self.release()  # it was handed over while we were being cancelled
            raise

    def release(self) -> None:
        """Give a turn back; whoever asks again in this round of the event loop may keep it."""
        self._free += 1
        if not self._waiting:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # another event loop than asyncio's
            self._hand_on()
            return
        if self._handing is not loop:
            self._handing = loop
            loop.call_soon(self._hand_on)

    def pass_on(self) -> None:
        """Give a turn back, and to the lowest item that waits at once."""
        self._free += 1
        if self._waiting:
            self._hand_on()

    def _hand_on(self) -> None:
        """Hand free turns to the lowest items that wait."""
        self._handing = None
        while self._free and self._waiting:
            self._free -= 1
            if not heappop(self._waiting)[2]():
                self._free += 1


@asynccontextmanager
async def in_turn(turns: Turns | None, item: int) -> AsyncIterator[None]:
    """Hold a turn, where calls are limited at all."""
    if turns is None:
        yield
        return
    await turns.acquire(item)
    try:
        yield
    finally:
        turns.release()
