"""Running code that nobody vouches for, within a deadline: it may hang, block the loop, or refuse to stop.

A sync function runs in a daemon thread, which can be left behind: it keeps neither the loop nor the process. An async
one runs in this loop, one step at a time. A step that holds the loop past the deadline is interrupted by an alarm
(in the main thread, where no one else uses SIGALRM), and one that goes on though it was cancelled is abandoned.
"""

import asyncio
import ctypes
import inspect
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import copy_context
from types import FrameType
from typing import Any, cast

import anyio
from anyio import from_thread, lowlevel

GRACE = 0.5  # seconds past the deadline after which a step that holds the loop is interrupted
REMINDERS = 100  # cancellations after which a coroutine that goes on is abandoned


class Late(Exception):
    """The deadline passed first."""


class Held(BaseException):
    """Raised inside a step that holds the loop, whatever it is doing."""


async def within(seconds: float, work: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What a function, sync or async, returns; raises Late when that takes more seconds, and what it raises.

    SystemExit and a cancellation that is the function's own are raised as RuntimeError.
    """
    before = _cancellations()
    with anyio.move_on_after(seconds) as scope:
        ends = time.monotonic() + seconds
        try:
            if _is_async(work):
                return await _Steps(work(*args, **options), ends)
            made = await _in_thread(lambda: work(*args, **options))
            return await _Steps(_awaited(made), ends) if inspect.isawaitable(made) else made
        except Held:
            raise Late from None
        except SystemExit:
            raise RuntimeError("the agent wanted to end the process (SystemExit)") from None
        except anyio.get_cancelled_exc_class():
            # by a scope, or (as Ctrl-C reaches a task) by the task itself
            if anyio.current_effective_deadline() > -float("inf") and _cancellations() == before:
                raise RuntimeError("the agent was cancelled from within") from None
            raise
    assert scope.cancelled_caught
    raise Late


def _cancellations() -> int:
    """How often the current task was asked to end; only asyncio's can be asked in another way than by a scope."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # another event loop than asyncio's
        return 0
    return task.cancelling() if task is not None else 0


def _is_async(work: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(work) or inspect.iscoroutinefunction(getattr(work, "__call__", None))  # noqa: B004


async def _awaited(made: Awaitable[Any]) -> Any:
    return await made


async def _in_thread(work: Callable[[], Any]) -> Any:
    """What a function returns or raises, from a thread of its own that may be left behind."""
    done, token, context = anyio.Event(), lowlevel.current_token(), copy_context()
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["made"] = context.run(work)
        except BaseException as error:
            outcome["raised"] = error
        with suppress(Exception):  # the loop may have ended long ago
            from_thread.run_sync(done.set, token=token)

    threading.Thread(target=run, name="agent under test", daemon=True).start()
    await done.wait()
    if "raised" in outcome:
        raise outcome["raised"]
    return outcome["made"]


class _Steps:
    """Drives a coroutine one step at a time, so that it is known who holds the loop."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], ends: float) -> None:
        self._coroutine, self._ends = coroutine, ends

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[..., Any] = self._coroutine.send
        value: Any = None
        reminders = 0
        while True:
            try:
                waits_for = self._watched(step, value)
            except StopIteration as done:
                return done.value
            try:
                step, value = self._coroutine.send, (yield waits_for)
            except BaseException as thrown:
                reminders += 1
                if reminders > REMINDERS:
                    # never to be freed: to close it, as freeing does, would be to let it run once more
                    ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._coroutine))
                    raise
                step, value = self._coroutine.throw, thrown

    def _watched(self, step: Callable[..., Any], value: Any) -> Any:
        before = _cancellations()
        try:
            return self._timed(step, value)
        finally:
            for _ in range(_cancellations() - before):  # its own doing: the task that runs it was not asked to end
                cast("asyncio.Task[Any]", asyncio.current_task()).uncancel()

    def _timed(self, step: Callable[..., Any], value: Any) -> Any:
        if not _can_alarm():
            return step(value)
        signal.signal(signal.SIGALRM, _ring)
        signal.setitimer(signal.ITIMER_REAL, max(self._ends - time.monotonic(), 0) + GRACE, GRACE)
        try:
            return step(value)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _can_alarm() -> bool:
    mine = threading.current_thread() is threading.main_thread()
    return mine and signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def _ring(number: int, frame: FrameType | None) -> None:
    raise Held
