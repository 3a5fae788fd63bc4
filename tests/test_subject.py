"""Agents under test: whatever they do, their turn is a reply, within its deadline."""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from simlab.answers import MOST_CALLS, MOST_TEXT, Unusable, read_answer
from simlab.errors import InputError
from simlab.message import ChatMessage, ToolCall
from simlab.model import Request
from simlab.subject import Subject
from simlab.tool import Tool

CALL = {"id": "theirs", "type": "function", "function": {"name": "look", "arguments": '{"at": [1, 2.5]}'}}
REQUEST = Request(role="agent", step="turn", messages=(ChatMessage("user", "hello"),), tools=(Tool("look"),))
DEADLINE = 0.2


class Dumped:
    """What a pydantic object offers."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def model_dump(self) -> dict[str, Any]:
        return self._fields


# --- answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        {"content": "a", "tool_calls": [CALL]},
        {"role": "assistant", "content": [{"type": "text", "text": "a"}], "tool_calls": [CALL]},
        {"content": "a", "tool_calls": [{"name": "look", "arguments": {"at": (1, 2.5)}}]},
        {"choices": [{"message": {"content": "a", "tool_calls": [CALL]}}]},
        Dumped(content="a", tool_calls=[CALL]),
        Dumped(choices=[{"message": {"content": "a", "tool_calls": [CALL]}}]),
        SimpleNamespace(content="a", tool_calls=[SimpleNamespace(function=SimpleNamespace(**CALL["function"]))]),
    ],
)
def test_a_message_is_read_from_whatever_carries_it(answer: Any) -> None:
    reply = read_answer(answer, spoken=3)
    assert (reply.text, reply.finish) == ("a", "tool_calls")
    assert reply.calls == (ToolCall("call_4", "look", {"at": [1, 2.5]}),)


@pytest.mark.parametrize(
    ("answer", "finish", "said"),
    [
        (None, "not_a_message", "answered with nothing, not a text or a message"),
        (7, "not_a_message", "answered with an int"),
        ("", "not_a_message", "neither words nor calls"),
        ({"text": "a"}, "not_a_message", "answered with a dict"),
        ({"content": 7}, "not_a_message", "content is an int"),
        ({"content": "a", "tool_calls": "look"}, "not_a_message", "tool_calls is a str, not a list"),
        ({"tool_calls": [{"arguments": {}}]}, "not_a_message", "a call without the name of a tool"),
        ({"tool_calls": [{"name": "look", "arguments": "{"}]}, "not_a_message", "the arguments of look are not JSON"),
        ({"tool_calls": [{"name": "look", "arguments": "[]"}]}, "not_a_message", "are a list, not an object"),
        ({"tool_calls": [{"name": "look", "arguments": {"a": object()}}]}, "not_a_message", "are not JSON"),
        ({"tool_calls": [CALL] * (MOST_CALLS + 1)}, "flood", "65 calls in one message, of 64 at the most"),
        ("\ud800", "not_a_message", "half a character"),
        ("x" * (MOST_TEXT + 1), "too_large", "1,000,001 characters"),
        ({"tool_calls": [{"name": "look", "arguments": {"a": "x" * MOST_TEXT}}]}, "too_large", "characters"),
    ],
)
def test_what_is_no_message_says_why(answer: Any, finish: str, said: str) -> None:
    with pytest.raises(Unusable, match=r".") as wrong:
        read_answer(answer)
    assert wrong.value.finish == finish
    assert said in str(wrong.value)


# --- turns ------------------------------------------------------------------------------------------------------


async def waits(messages: Any) -> None:
    await anyio.sleep(60)


async def holds_the_loop(messages: Any) -> None:
    time.sleep(60)  # noqa: ASYNC251


async def spins(messages: Any) -> None:
    while True:
        pass


async def will_not_stop(messages: Any) -> None:
    while True:
        try:
            await anyio.sleep(0.01)
        except BaseException:
            continue


def sleeps(messages: Any) -> None:
    time.sleep(60)


def huge(messages: Any) -> str:
    return "x" * 100_000_000


def exits(messages: Any) -> None:
    sys.exit(4)


async def exits_too(messages: Any) -> None:
    sys.exit(4)


def fails(messages: Any) -> None:
    raise KeyError("a\nb")


def fails_deep_down(messages: Any) -> Any:
    return json.loads("[1, x]")


NEVER = [waits, holds_the_loop, spins, will_not_stop, sleeps]


@pytest.mark.parametrize("agent", NEVER)
def test_a_turn_ends_at_its_deadline_whatever_the_agent_does(agent: Any) -> None:
    began = time.monotonic()
    reply = anyio.run(Subject(agent, turn_seconds=DEADLINE).reply, REQUEST)
    assert (reply.finish, reply.text) == ("deadline", f"no answer within {DEADLINE} seconds")
    assert time.monotonic() - began < DEADLINE + 10


@pytest.mark.parametrize(
    ("agent", "finish", "said"),
    [
        (huge, "too_large", "100,000,000 characters, of 1,000,000 at the most"),
        (exits, "raised", "RuntimeError: the agent wanted to end the process (SystemExit)"),
        (exits_too, "raised", "RuntimeError: the agent wanted to end the process (SystemExit)"),
        (fails, "raised", "KeyError: 'a\\nb'"),
        (fails_deep_down, "raised", "JSONDecodeError: Expecting value: line 1 column 5 (char 4)"),
    ],
)
def test_a_turn_that_goes_wrong_says_how(agent: Any, finish: str, said: str) -> None:
    reply = anyio.run(Subject(agent, turn_seconds=60).reply, REQUEST)
    place = f" (test_subject.py:{agent.__code__.co_firstlineno + 1})" if finish == "raised" else ""
    assert (reply.finish, reply.text) == (finish, said + place)


async def cancels_itself(messages: Any) -> str:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await anyio.sleep(60)
    return "unreachable"


async def raises_cancelled(messages: Any) -> str:
    raise asyncio.CancelledError


@pytest.mark.parametrize("agent", [cancels_itself, raises_cancelled])
def test_an_agent_that_cancels_itself_has_failed(agent: Any) -> None:
    async def turns() -> tuple[list[str], int]:
        subject = Subject(agent, turn_seconds=60)
        said = [(await subject.reply(REQUEST)).text.partition(" (")[0] for _ in range(2)]
        task = asyncio.current_task()
        assert task is not None
        return said, task.cancelling()

    assert anyio.run(turns) == (["RuntimeError: the agent was cancelled from within"] * 2, 0)


@pytest.mark.parametrize("agent", [waits, sleeps])
@pytest.mark.parametrize("by", ["a scope", "its task"])
def test_a_turn_that_is_cancelled_from_outside_is_no_failure_of_the_agent(agent: Any, by: str) -> None:
    ended: list[Any] = []

    async def turn() -> None:
        ended.append(await Subject(agent, turn_seconds=60).reply(REQUEST))

    async def stopped() -> None:
        if by == "a scope":
            with anyio.move_on_after(0.05):
                await turn()
        else:  # as Ctrl-C, and the failure of another episode, end it
            task = asyncio.create_task(turn())
            await anyio.sleep(0.05)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    anyio.run(stopped)
    assert ended == []


@pytest.mark.anyio
async def test_the_turns_of_an_episode_have_a_deadline_together() -> None:
    async def slow(messages: Any) -> str:
        await anyio.sleep(0.15)
        return "a"

    subject = Subject(slow, turn_seconds=10, episode_seconds=0.2)
    replies = [await subject.reply(REQUEST) for _ in range(2)]
    assert [reply.finish for reply in replies] == ["stop", "deadline"]
    assert replies[1].text == "the 0.2 seconds of the episode were used up"


@pytest.mark.anyio
async def test_sync_async_and_objects_are_called_with_what_they_take() -> None:
    class Object:
        async def reply(self, messages: Any, tools: Any) -> str:
            return f"{messages[-1]['content']} {tools[0]['function']['name']}"

    agents: list[Any] = [
        Object(),
        lambda messages: messages[-1]["content"] + " look",
        lambda messages, **more: f"{messages[-1]['content']} {more['tools'][0]['function']['name']}",
        lambda messages, tools: Object().reply(messages, tools),
    ]
    for agent in agents:
        assert (await Subject(agent).reply(REQUEST)).text == "hello look"


@pytest.mark.parametrize(
    "agent", [7, Subject, lambda: "a", lambda messages, mood: "a", lambda *, messages: "a", lambda tools: "a"]
)
def test_what_cannot_be_called_as_an_agent_is_refused(agent: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match=r"agent"):
        Subject(agent)


@pytest.mark.anyio
async def test_what_an_agent_does_to_its_messages_stays_with_it() -> None:
    def spoils(messages: Any) -> str:
        messages[0]["content"] = "changed"
        messages.clear()
        return "a"

    subject = Subject(spoils)
    await subject.reply(REQUEST)
    assert REQUEST.messages[0].text == "hello"
