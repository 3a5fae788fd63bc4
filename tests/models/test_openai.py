"""`openai:NAME` against endpoints that answer, refuse, fail, talk nonsense, hang up, or are not there."""

import json
import logging
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import SocketStream
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.endpoint import split_reasoning
from simlab.errors import InputError
from simlab.limits import Retrying, limited
from simlab.message import ChatMessage, ToolCall
from simlab.model import FINISHES, CallFailed, Reply, Request, Sampling, Usage
from simlab.models.openai import openai
from simlab.shelf import find
from simlab.tool import Tool
from simlab.turns import Turns

pytestmark = pytest.mark.anyio

KEY = "sk-test-0123456789abcdef"
LOCAL = "http://127.0.0.1:9/v1"
Handler = Callable[[httpx.Request], Any]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key is set and nothing else, whatever the machine has."""
    for name in ("OPENAI_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


class Endpoint:
    """Gives its answers in order, the last one for ever, and keeps what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception | Handler, **options: Any) -> None:
        self.asked: list[httpx.Request] = []
        self._answers = list(answers)
        options.setdefault("base_url", LOCAL)
        self.model = openai("tiny", transport=httpx.MockTransport(self._answer), **options)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            # a response can be read once
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        return await answer(request)

    @property
    def sent(self) -> Any:
        """The last body."""
        return json.loads(self.asked[-1].content)

    async def reply(self, request: Request | None = None) -> Reply:
        try:
            return await self.model.reply(request or ask())
        finally:
            await self.model.aclose()

    async def failure(self) -> CallFailed:
        with pytest.raises(CallFailed) as raised:
            await self.reply()
        return raised.value


def ask(**fields: Any) -> Request:
    said = (ChatMessage("system", "Be brief."), ChatMessage("user", "Why is the sky blue?"))
    return Request(**{"role": "assistant", "step": "answer", "messages": said, "path": "3.1.0", "seed": 7, **fields})


def says(
    content: str | None = "Rayleigh.", *, reason: str = "stop", usage: Any = None, **message: Any
) -> httpx.Response:
    """A chat completion."""
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": content, **message}}
    return httpx.Response(200, json={"choices": [choice], **({"usage": usage} if usage else {})})


def calling(*calls: tuple[str, Any], **more: Any) -> httpx.Response:
    sent = [
        {"id": f"theirs_{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for i, (name, arguments) in enumerate(calls)
    ]
    return says(None, **{"reason": "tool_calls", "tool_calls": sent, **more})


def error(status: int, message: str = "no", *, headers: Mapping[str, str] | None = None, **more: Any) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message, **more}}, headers=headers)


# --- making one ------------------------------------------------------------------------------------------------


async def test_the_shelf_makes_it_of_a_spec() -> None:
    model = find("models", "openai")("gpt-4o-mini", base_url=None)
    assert (model.name, model.small, model.sampling) == ("openai:gpt-4o-mini", False, Sampling())
    assert repr(model) == "<openai:gpt-4o-mini at https://api.openai.com/v1>"
    await model.aclose()  # it never connected


async def test_a_model_needs_a_name() -> None:
    with pytest.raises(InputError, match=r"^openai needs a model: openai:NAME$"):
        openai("", base_url=LOCAL)


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1/chat/completions"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1/chat/completions"),
        ("https://gateway.example/team/v2/", "https://gateway.example/team/v2/chat/completions"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1/chat/completions"),
        ("https://gateway.example/v1?version=3#top", "https://gateway.example/v1/chat/completions?version=3"),
    ],
)
async def test_the_url_of_the_argument_is_asked(given: str, asked: str) -> None:
    endpoint = Endpoint(says(), base_url=given)
    await endpoint.reply()
    assert str(endpoint.asked[0].url) == asked
    assert endpoint.asked[0].method == "POST"
    assert endpoint.asked[0].headers["content-type"] == "application/json"


async def test_else_the_url_of_the_environment_else_the_public_one(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint(says(), base_url=None)
    await endpoint.reply()
    assert str(endpoint.asked[0].url) == "https://api.openai.com/v1/chat/completions"
    monkeypatch.setenv("OPENAI_BASE_URL", "https://gateway.example")
    endpoint = Endpoint(says(), base_url=None)
    await endpoint.reply()
    assert str(endpoint.asked[0].url) == "https://gateway.example/v1/chat/completions"


@pytest.mark.parametrize("wrong", ["127.0.0.1:8000", "ftp://host/v1", "http://", "http:///v1", "http://h:port", "\x00"])
async def test_other_urls_are_refused(wrong: str) -> None:
    with pytest.raises(InputError, match=r"should be http\(s\)://host"):
        openai("tiny", base_url=wrong)


@pytest.mark.parametrize("wrong", ["http://me:hush@host/v1", "http://me:hu/sh@host/v1", "ftp://me:hush@host"])
async def test_a_password_in_a_url_is_refused_and_not_repeated(wrong: str) -> None:
    with pytest.raises(InputError) as raised:
        openai("tiny", base_url=wrong)
    assert "//...@host" in str(raised.value)
    assert "sh" not in str(raised.value).replace("should", "")


# --- the key ---------------------------------------------------------------------------------------------------


async def test_the_key_comes_from_the_environment_and_is_sent() -> None:
    endpoint = Endpoint(says())
    await endpoint.reply()
    assert endpoint.asked[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("value", [None, "", " \n"])
async def test_the_public_endpoint_needs_a_key(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("OPENAI_API_KEY") if value is None else monkeypatch.setenv("OPENAI_API_KEY", value)
    with pytest.raises(InputError, match="environment variable OPENAI_API_KEY is not set"):
        openai("gpt-4o-mini")


async def test_an_endpoint_of_ones_own_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    endpoint = Endpoint(says())
    await endpoint.reply()
    assert "authorization" not in endpoint.asked[0].headers
    monkeypatch.setenv("OPENAI_BASE_URL", LOCAL)
    assert openai("tiny").name == "openai:tiny"


async def test_white_space_around_a_key_is_not_sent_and_within_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    endpoint = Endpoint(says())
    await endpoint.reply()
    assert endpoint.asked[0].headers["authorization"] == f"Bearer {KEY}"
    for wrong in (f"{KEY}\n{KEY}", f"{KEY}é"):
        monkeypatch.setenv("OPENAI_API_KEY", wrong)
        with pytest.raises(InputError, match="OPENAI_API_KEY holds characters") as raised:
            openai("tiny", base_url=LOCAL)
        assert KEY not in str(raised.value)


async def test_the_key_shows_up_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint = Endpoint(
        says(),
        error(401, f"Incorrect API key provided: {KEY}. You can find it at https://example.com."),
        error(400, "x" * 190 + KEY),  # would be cut in the middle of the key
        error(500, f"Bearer {KEY}"),
        httpx.Response(502, text=f"<html>{KEY}</html>"),
        httpx.ReadError(f"b'Bearer {KEY}'"),
        httpx.ConnectError(f"refused {KEY}"),
        httpx.Response(200, text=f"{KEY}"),
    )
    shown = [repr(endpoint.model), str(endpoint.model), repr(vars(endpoint.model))]
    while len(endpoint.asked) < 8:
        try:
            shown.append(repr(await endpoint.reply()))
        except CallFailed as failure:
            shown += [str(failure), repr(failure), repr(vars(failure))]
    text = "\n".join([*shown, caplog.text])
    assert "the key was refused" in text
    assert "[key]" in text
    assert KEY[:8] not in text


# --- what is sent ----------------------------------------------------------------------------------------------


async def test_the_body_says_what_the_request_says_and_nothing_else() -> None:
    endpoint = Endpoint(says())
    await endpoint.reply()
    assert endpoint.sent == {
        "model": "tiny",
        "seed": 7,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Why is the sky blue?"},
        ],
    }


async def test_everything_that_can_be_asked_for_is_sent() -> None:
    tool = Tool("look_up", "Finds a word.", {"type": "object", "properties": {"word": {"type": "string"}}})
    schema = {"type": "object", "properties": {"verdict": {"enum": ["yes", "no"]}}}
    called = ChatMessage("assistant", "", calls=(ToolCall("call_0_0", "look_up", {"word": "sky"}),))
    found = ChatMessage("tool", '{"found":"azure"}', call_id="call_0_0")
    endpoint = Endpoint(says())
    await endpoint.reply(
        ask(
            step="judge it",
            messages=(*ask().messages, called, found),
            tools=(tool,),
            schema=schema,
            sampling=Sampling(temperature=0.0, top_p=0.9, max_tokens=80, stop=("\n\n",)),
        )
    )
    sent = endpoint.sent
    assert sent.pop("messages")[2:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_0_0",
                    "type": "function",
                    "function": {"name": "look_up", "arguments": '{"word":"sky"}'},
                }
            ],
        },
        {"role": "tool", "content": '{"found":"azure"}', "tool_call_id": "call_0_0"},
    ]
    assert sent == {
        "model": "tiny",
        "seed": 7,
        "temperature": 0.0,
        "top_p": 0.9,
        "max_tokens": 80,
        "stop": ["\n\n"],
        "response_format": {"type": "json_schema", "json_schema": {"name": "judge_it", "schema": schema}},
        "tools": [json.loads(tool.wire)],
    }  # and no logit_bias: token ids cannot be known here


async def test_a_schema_without_a_step_is_named_answer() -> None:
    endpoint = Endpoint(says())
    await endpoint.reply(ask(step="", schema={"type": "object"}))
    assert endpoint.sent["response_format"]["json_schema"]["name"] == "answer"


async def test_what_only_some_endpoints_know_is_sent_on_request() -> None:
    endpoint = Endpoint(says())
    request = ask(sampling=Sampling(ban=("pink",)))
    await endpoint.model.reply(request, {"logit_bias": {"7": -100}})
    assert endpoint.sent["logit_bias"] == {"7": -100}


@pytest.mark.parametrize("constraint", [Sampling(ban=("pink",)), Sampling(begins="Grey ")])
async def test_a_constraint_that_cannot_be_kept_is_an_error_and_not_ignored(constraint: Sampling) -> None:
    endpoint = Endpoint(says())
    with pytest.raises(InputError, match="cannot be kept from words"):
        await endpoint.reply(ask(sampling=constraint))
    assert endpoint.asked == []


async def test_the_same_request_is_the_same_bytes() -> None:
    endpoint = Endpoint(error(503), says())
    with pytest.raises(CallFailed):
        await endpoint.reply()
    await endpoint.reply(ask(item=9, view={"subject": "not sent"}))
    other = Endpoint(says(), base_url="https://elsewhere.example")
    await other.reply()
    assert len({request.content for request in [*endpoint.asked, *other.asked]}) == 1


# --- what is answered ------------------------------------------------------------------------------------------


async def test_a_plain_answer_with_its_usage() -> None:
    reply = await Endpoint(says(usage={"prompt_tokens": 21, "completion_tokens": 3, "total_tokens": 24})).reply()
    assert reply == Reply(text="Rayleigh.", usage=Usage(21, 3))
    assert reply.fault is None


@pytest.mark.parametrize("usage", [None, [], {"prompt_tokens": None}, {"prompt_tokens": "many"}])
async def test_tokens_that_are_not_counted_are_zero(usage: Any) -> None:
    assert (await Endpoint(says(usage=usage)).reply()).usage == Usage(0, 0)


async def test_tool_calls_get_ids_that_say_where_they_were_made() -> None:
    reply = await Endpoint(calling(("look_up", '{"word": "sky", "n": 18446744073709551616}'), ("stop", "{}"))).reply()
    assert reply.finish == "tool_calls"
    assert reply.text == ""
    assert reply.fault is None
    assert reply.calls == (
        ToolCall("call_3_1_0_0", "look_up", {"word": "sky", "n": 18446744073709551616}),
        ToolCall("call_3_1_0_1", "stop", {}),
    )


async def test_an_endpoint_that_calls_a_tool_but_says_stop_has_called_a_tool() -> None:
    reply = await Endpoint(calling(("stop", {"already": "an object"}), reason="stop")).reply(ask(path="2"))
    assert (reply.finish, reply.calls) == ("tool_calls", (ToolCall("call_2_0", "stop", {"already": "an object"}),))
    assert (await Endpoint(says("Hm.", reason="tool_calls")).reply()).finish == "stop"  # and the other way round


@pytest.mark.parametrize("raw", ['{"word": "sk', "[1]", '"sky"', "", "null", '{"a": NaN}', '{"a": 1, "a": 2}'])
async def test_arguments_that_are_not_an_object_are_a_fault_with_their_text(raw: str) -> None:
    reply = await Endpoint(calling(("stop", "{}"), ("look_up", raw))).reply()
    assert (reply.finish, reply.text, reply.calls) == ("bad_arguments", raw, ())
    assert reply.fault == "bad_arguments"
    assert reply.fault in FINISHES


async def test_arguments_that_are_not_even_a_text_are_shown_as_json() -> None:
    assert (await Endpoint(calling(("look_up", None))).reply()).text == "null"
    assert (await Endpoint(calling(("look_up", [1, 2]))).reply()).text == "[1,2]"


@pytest.mark.parametrize(
    ("response", "text", "fault"),
    [
        (says(None, refusal="I will not."), "I will not.", "refusal"),
        (says("The sky is", reason="length"), "The sky is", "length"),
        (says("The", reason="content_filter"), "The", "content_filter"),
        (says(None), "", "empty"),
        (says(""), "", "empty"),
        (says(" \n"), " \n", "empty"),
        (says("Yes.", refusal=None, tool_calls=None), "Yes.", None),
        (calling(("look_up", '{"word": "sk'), reason="length"), "", "length"),
        (calling(("look_up", '{"word": "sky"}'), reason="content_filter"), "", "content_filter"),
    ],
)
async def test_what_became_of_the_content_is_in_the_reply(response: httpx.Response, text: str, fault: str) -> None:
    reply = await Endpoint(response).reply()
    assert (reply.text, reply.fault, reply.calls) == (text, fault, ())
    assert reply.finish in FINISHES


@pytest.mark.parametrize(
    ("response", "text", "reasoning"),
    [
        (says("Blue.", reasoning_content="Light scatters."), "Blue.", "Light scatters."),
        (says("Blue.", reasoning="Light scatters."), "Blue.", "Light scatters."),
        (says("<think>\nLight scatters.\n</think>\n\nBlue."), "Blue.", "Light scatters."),
        (says("\n<think>One.</think> <think></think><think>Two.</think>Blue."), "Blue.", "One.\nTwo."),
        (says("<think>Two.</think>Blue.", reasoning="One."), "Blue.", "One.\nTwo."),
        (says("Say <think>so</think>."), "Say <think>so</think>.", ""),  # only at the beginning
        (says("  Blue.\n"), "  Blue.\n", ""),
    ],
)
async def test_reasoning_is_split_off(response: httpx.Response, text: str, reasoning: str) -> None:
    reply = await Endpoint(response).reply()
    assert (reply.text, reply.reasoning, reply.fault) == (text, reasoning, None)


async def test_reasoning_that_does_not_end_leaves_no_answer() -> None:
    reply = await Endpoint(says("<think>Light, hm")).reply()
    assert (reply.text, reply.reasoning, reply.fault) == ("", "Light, hm", "empty")
    assert (await Endpoint(says("<think>Light, hm", reason="length")).reply()).fault == "length"


@settings(deadline=None)
@given(st.lists(st.sampled_from(["<think>", "</think>", "so", " ", "<thi"]), max_size=8).map("".join))
def test_no_reasoning_is_left_at_the_beginning_of_a_text(text: str) -> None:
    reasoning, said = split_reasoning(text)
    assert not said.lstrip().startswith("<think>")
    assert text.endswith(said)
    assert said == text or "<think>" in text
    assert all(part in text for part in reasoning.split("\n"))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("<html>Welcome</html>", "not JSON"),
        ('{"choices": [{"message": {"content": "cut', "not JSON"),
        ('{"choices": [{"message": {"content": "\\ud83d"}}]}', "not JSON: a lone surrogate"),
        ('{"choices": [{"message": {"content": "a", "content": "b"}}]}', "'content' appears twice"),
        ('{"choices": [{"message": {"content": 5}}]}', "no chat completion"),
        ('{"choices": [{"message": {"tool_calls": [{"id": "1"}]}}]}', "no chat completion"),
        ('{"choices": [{"message": {"tool_calls": [{"function": {"name": ""}}]}}]}', "no chat completion"),
        ('{"choices": [{"message": {"tool_calls": 5}}]}', "no chat completion"),
        ('{"choices": [{"message": null}]}', "no chat completion"),
        ('{"choices": []}', "no chat completion"),
        ("{}", "no chat completion"),
        ("[]", "no chat completion"),
        ("null", "no chat completion"),
        ('{"error": {"message": "upstream is overloaded"}}', "upstream is overloaded"),
    ],
)
async def test_a_success_that_is_no_chat_completion_is_worth_another_try(body: str, why: str) -> None:
    failure = await Endpoint(httpx.Response(200, text=body)).failure()
    assert (failure.retry, failure.fatal) == (True, False)
    assert str(failure).startswith(f"openai:tiny at {LOCAL}: status 200, but ")
    assert why in str(failure)


# --- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
async def test_what_may_pass_may_be_tried_again(status: int) -> None:
    failure = await Endpoint(error(status, "try later")).failure()
    assert (failure.retry, failure.fatal, failure.after) == (True, False, None)
    assert f"{status}: try later" in str(failure)


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        (
            {"retry-after": "Wed, 21 Oct 2015 07:29:00 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"},
            60.0,
        ),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),  # long past
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
    ],
)
async def test_the_wait_that_an_endpoint_asks_for(headers: dict[str, str], after: float | None) -> None:
    assert (await Endpoint(error(429, headers=headers)).failure()).after == after


async def test_a_date_is_compared_with_our_clock_when_the_endpoint_does_not_show_its_own() -> None:
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    after = (await Endpoint(error(503, headers={"retry-after": later})).failure()).after
    assert after is not None
    assert 90 < after <= 100


async def test_retries_wait_for_as_long_as_the_endpoint_says() -> None:
    endpoint = Endpoint(error(429, headers={"retry-after-ms": "30"}), error(503, headers={"retry-after": "0"}), says())
    failures: list[int] = []
    began = anyio.current_time()
    reply = await Retrying(endpoint.model, on_failure=lambda: failures.append(1)).reply(ask())
    await endpoint.model.aclose()
    assert reply.text == "Rayleigh."
    assert 0.03 <= anyio.current_time() - began < 0.4
    assert (len(endpoint.asked), len(failures)) == (3, 2)


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (error(401, "bad key"), "the key was refused (401: bad key)"),
        (error(403, "not for you"), "the key was refused (403: not for you)"),
        (error(404, "The model `tiny` does not exist"), "no such model or URL (404: The model `tiny` does not exist)"),
        (httpx.Response(404), "no such model or URL (404)"),
        (error(429, "pay first", code="insufficient_quota"), "the quota is used up (429: pay first)"),
        (error(402, "pay first"), "the endpoint answered 402: pay first"),
        (httpx.Response(307, headers={"location": "https://elsewhere.example"}), "the endpoint answered 307"),
    ],
)
async def test_what_every_other_call_would_meet_too_is_fatal(response: httpx.Response, why: str) -> None:
    endpoint = Endpoint(response)
    failures: list[int] = []
    with pytest.raises(CallFailed) as raised:
        await Retrying(endpoint.model, on_failure=lambda: failures.append(1)).reply(ask())
    await endpoint.model.aclose()
    assert str(raised.value) == f"openai:tiny at {LOCAL}: {why}"
    assert (raised.value.retry, raised.value.fatal) == (False, True)
    assert (len(endpoint.asked), len(failures)) == (1, 1)


async def test_a_missing_key_is_not_called_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "a key is needed in OPENAI_API_KEY (401: no)" in str(await Endpoint(error(401)).failure())


@pytest.mark.parametrize(
    "response",
    [
        error(400, "too long", code="context_length_exceeded"),
        error(400, "This model's maximum context length is 8192 tokens. However, you requested 9000."),
        error(400, "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it"),
        error(400, "no", type="exceed_context_size_error", code=400),
        error(413, "the request exceeds the available context size"),
        httpx.Response(422, json={"message": "Maximum context length exceeded", "object": "error"}),
    ],
)
async def test_too_long_a_dialogue_is_a_reply(response: httpx.Response) -> None:
    assert await Endpoint(response).reply() == Reply(finish="context_exceeded")


@pytest.mark.parametrize(
    ("response", "reply"),
    [
        (error(400, "unfit", code="content_filter"), Reply(finish="content_filter")),
        (error(400, "bad\n  schema"), Reply(finish="bad_request", text="bad schema")),
        (error(422, "x" * 300), Reply(finish="bad_request", text="x" * 197 + "...")),
        (error(413, "too much"), Reply(finish="bad_request", text="too much")),
        (httpx.Response(400), Reply(finish="bad_request", text="status 400")),
        (httpx.Response(400, text="<b>no</b>"), Reply(finish="bad_request", text="<b>no</b>")),
        (
            httpx.Response(400, headers={"content-type": "text/plain; charset=latin-1"}, content="é".encode("latin-1")),
            Reply(finish="bad_request", text="é"),
        ),
        (
            httpx.Response(400, headers=[(b"content-type", b'text/plain; name="\xe9"')], content=b"odd"),
            Reply(finish="bad_request", text="odd"),
        ),
        (httpx.Response(400, json={"error": "plain"}), Reply(finish="bad_request", text="plain")),
        (httpx.Response(400, json=[{"error": {"message": "listed"}}]), Reply(finish="bad_request", text="listed")),
        # what a validator found at fault may be a whole dialogue about a maximum context length
        (
            httpx.Response(422, json={"detail": [{"msg": "not an int", "input": "maximum context length"}, "odd"]}),
            Reply(finish="bad_request", text="not an int; odd"),
        ),
    ],
)
async def test_what_would_be_refused_again_is_a_reply_and_asked_exactly_once(
    response: httpx.Response, reply: Reply
) -> None:
    endpoint = Endpoint(response)
    failures: list[int] = []
    assert await Retrying(endpoint.model, on_failure=lambda: failures.append(1)).reply(ask()) == reply
    await endpoint.model.aclose()
    assert (len(endpoint.asked), failures) == (1, [])
    assert reply.fault in FINISHES


# --- connections -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        httpx.ReadError("reset"),
        httpx.WriteError("reset"),
        httpx.RemoteProtocolError("peer closed connection"),
        httpx.DecodingError("bad gzip"),
        httpx.ReadTimeout("slow"),
        ConnectionResetError("reset"),
        anyio.BrokenResourceError(),
    ],
)
async def test_a_connection_that_breaks_is_worth_another_try(broken: Exception) -> None:
    failure = await Endpoint(broken).failure()
    assert (failure.retry, failure.fatal) == (True, False)
    endpoint = Endpoint(broken, says())
    assert (await Retrying(endpoint.model, longest=0.001, on_failure=lambda: None).reply(ask())).text == "Rayleigh."
    await endpoint.model.aclose()


async def test_a_call_takes_no_longer_than_its_deadline() -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    failure = await Endpoint(never, deadline=0.02).failure()
    assert (failure.retry, failure.fatal) == (True, False)
    assert "no reply within 0.02 s" in str(failure)


async def test_a_server_that_is_just_starting_is_waited_for() -> None:
    endpoint = Endpoint(httpx.ConnectError("refused"), says(), first_connection=0.05)
    began = anyio.current_time()
    assert (await endpoint.reply()).text == "Rayleigh."
    assert 0.05 <= anyio.current_time() - began < 0.4
    assert len(endpoint.asked) == 2


async def test_once_something_has_answered_a_refused_connection_is_an_ordinary_failure() -> None:
    endpoint = Endpoint(error(500), httpx.ConnectError("refused"))
    await endpoint.failure()
    began = anyio.current_time()
    failure = await endpoint.failure()
    assert anyio.current_time() - began < 0.2
    assert (failure.retry, failure.fatal) == (True, False)
    assert "cannot connect: refused" in str(failure)


async def test_calls_can_go_on_after_it_was_closed_and_it_closes_twice() -> None:
    endpoint = Endpoint(says())
    assert await endpoint.reply() == await endpoint.reply()
    await endpoint.model.aclose()


# --- in turn ---------------------------------------------------------------------------------------------------


async def test_with_one_turn_the_next_call_is_sent_when_the_one_before_is_answered_well() -> None:
    busy = error(429, headers={"retry-after-ms": "10"})
    endpoint, turns = Endpoint(busy, busy, says()), Turns(1)
    model = limited(Retrying(endpoint.model, on_failure=lambda: None), turns)

    async def call(item: int) -> None:
        assert (await model.reply(ask(item=item, seed=item))).text == "Rayleigh."

    async with anyio.create_task_group() as group:
        for item in (0, 1):
            group.start_soon(call, item)
            await anyio.wait_all_tasks_blocked()
    await model.aclose()
    assert [json.loads(request.content)["seed"] for request in endpoint.asked] == [0, 0, 0, 1]


# --- a real socket ---------------------------------------------------------------------------------------------


class Server:
    """A loopback server; it hangs up in the middle of as many responses as it is told to, then answers well."""

    def __init__(self, hang_ups: int = 0) -> None:
        self.connections = self.requests = 0
        self.seeds: list[int] = []
        self._hang_ups = hang_ups

    async def serve(self, *, task_status: Any) -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listener:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            task_status.started(f"http://127.0.0.1:{port}")
            await listener.serve(self._connected)

    async def _connected(self, stream: SocketStream) -> None:
        self.connections += 1
        async with stream:
            while await self._take(stream):
                self.requests += 1
                body = says(usage={"prompt_tokens": 21, "completion_tokens": 3}).content
                head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
                if self.requests <= self._hang_ups:
                    await stream.send(head.encode() + body[: len(body) // 2])
                    return
                await stream.send(head.encode() + body)

    async def _take(self, stream: SocketStream) -> bool:
        got = b""
        try:
            while b"\r\n\r\n" not in got:
                got += await stream.receive()
            head, _, body = got.partition(b"\r\n\r\n")
            headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            while len(body) < int(headers[b"content-length"]):
                body += await stream.receive()
        except anyio.EndOfStream:
            return False
        self.seeds.append(json.loads(body)["seed"])
        return True


async def test_a_server_that_hangs_up_twice_in_the_middle_of_a_body_is_asked_three_times() -> None:
    server, failures = Server(hang_ups=2), []
    async with anyio.create_task_group() as group:
        model = openai("tiny", base_url=await group.start(server.serve))
        retrying = Retrying(model, longest=0.01, on_failure=lambda: failures.append(1))
        assert await retrying.reply(ask()) == Reply(text="Rayleigh.", usage=Usage(21, 3))
        await retrying.aclose()
        group.cancel_scope.cancel()
    assert (server.requests, len(failures)) == (3, 2)


async def test_connections_are_kept_and_as_many_as_there_are_calls() -> None:
    server, texts = Server(), []
    async with anyio.create_task_group() as group:
        model = openai("tiny", base_url=await group.start(server.serve))

        async def dialogue() -> None:
            for _ in range(3):
                reply = await model.reply(ask())
                texts.append(reply.text)

        async with anyio.create_task_group() as dialogues:
            for _ in range(20):
                dialogues.start_soon(dialogue)
        await model.aclose()
        group.cancel_scope.cancel()
    assert texts == ["Rayleigh."] * 60
    assert server.requests == 60
    assert server.connections <= 20


async def test_the_lowest_item_is_sent_first() -> None:
    server, turns = Server(), Turns(1)
    async with anyio.create_task_group() as group:
        openai_model = openai("tiny", base_url=await group.start(server.serve))
        model = limited(Retrying(openai_model, on_failure=lambda: None), turns)

        async def call(item: int) -> None:
            assert (await model.reply(ask(item=item, seed=item))).text == "Rayleigh."

        await turns.acquire(0)
        async with anyio.create_task_group() as calls:
            for item in (7, 3, 5, 1):
                calls.start_soon(call, item)
                await anyio.wait_all_tasks_blocked()
            turns.release()
        await model.aclose()
        group.cancel_scope.cancel()
    assert server.seeds == [1, 3, 5, 7]


async def test_no_more_knock_at_a_server_that_does_not_answer_yet_than_may_be_in_flight(nowhere: str) -> None:
    knocks = 0

    class Counting(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal knocks
            knocks += 1
            raise httpx.ConnectError("refused")

    model = openai("tiny", base_url=nowhere, first_connection=0.3, transport=Counting())
    in_turn = limited(Retrying(model, on_failure=lambda: None), Turns(2))

    async def call(item: int) -> None:
        with pytest.raises(CallFailed):
            await in_turn.reply(ask(item=item))

    async with anyio.create_task_group() as group:
        for item in range(20):
            group.start_soon(call, item)
    await model.aclose()
    assert knocks <= 2 + 2 + 20  # two knock and wait, and knock a last time; then everybody may learn that it is over


async def test_a_proxy_for_the_outside_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nothing listens there
    async with anyio.create_task_group() as group:
        model = openai("tiny", base_url=await group.start(Server().serve), first_connection=0.05)
        assert (await model.reply(ask())).text == "Rayleigh."
        await model.aclose()
        group.cancel_scope.cancel()


@pytest.fixture
def nowhere() -> Iterator[str]:
    """A URL where nothing listens; its port stays taken meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


async def test_where_nothing_answers_the_run_stops_soon(nowhere: str) -> None:
    model = openai("tiny", base_url=nowhere, first_connection=0.3)
    failures: list[int] = []
    began = anyio.current_time()

    async def call() -> None:
        with pytest.raises(CallFailed) as raised:
            await Retrying(model, on_failure=lambda: failures.append(1)).reply(ask())
        assert (raised.value.retry, raised.value.fatal) == (False, True)
        assert str(raised.value).startswith(f"nothing answers at {nowhere}/v1 (waited 0.3 s)")

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(call)
    await call()  # a later call does not wait again
    await model.aclose()
    assert 0.3 <= anyio.current_time() - began < 1
    assert len(failures) == 4
