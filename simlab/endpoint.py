"""An endpoint that speaks the chat-completions dialect: vLLM, SGLang, llama.cpp's server, Ollama and most hosts.

What the endpoint does to the content is a `Reply` with the matching `finish`. Only what says nothing about the
content is raised, as `CallFailed`, and it is told apart there what a later attempt may mend.
"""

import math
import re
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import anyio
import httpx

from simlab.errors import InputError, shortened
from simlab.message import ToolCall
from simlab.model import CallFailed, Reply, Request, Sampling, Usage
from simlab.schema import NotJson, read_json, to_json
from simlab.transport import Answer, Post, transport_for
from simlab.turns import Turns, in_turn

KNOCK_EVERY = 0.5  # seconds between attempts while nothing has answered yet
SHOWN = 200  # characters of a server's message

_PASSING = (408, 409, 429)  # and all of 5xx
_TOO_LONG = (
    "context_length_exceeded",
    "exceed_context_size_error",
    "maximum context length",
    "exceeds the available context size",
)
_THINK, _THOUGHT = "<think>", "</think>"


class Complaint(NamedTuple):
    """What an error response says: its code and type as one text, and its message."""

    code: str
    message: str


class Endpoint:
    """A model behind an endpoint; one instance serves any number of calls at once, in one event loop."""

    small = False
    sampling = Sampling()

    def __init__(
        self,
        name: str,
        model: str,
        *,
        base_url: str,
        key: str = "",
        key_hint: str = "a key is needed",
        transport: httpx.AsyncBaseTransport | None = None,
        deadline: float = 120.0,
        first_connection: float = 15.0,
    ) -> None:
        """`name` is what is recorded, `model` what the endpoint calls it; raises InputError for an unusable URL."""
        self.name = name
        self._model = model
        self._key_hint = key_hint
        base = _base(base_url)
        self._url = base.copy_with(path=f"{base.path}/chat/completions")
        self._where = str(base.copy_with(query=None))
        # The key lives in here and in the head that `Post` makes of it, and in no repr: httpx leaves such values out.
        self._headers = httpx.Headers({"content-type": "application/json"})
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        limits = {"connect": first_connection, "read": None, "write": None, "pool": None, "total": deadline}
        self._transport = transport
        self._deadline = deadline
        self._patience = first_connection
        self._client: httpx.AsyncClient | None = None
        # A proxy from the environment is for the outside; it cannot reach what runs on this machine.
        self._trust_env = self._url.host not in ("localhost", "127.0.0.1", "::1")
        self._direct = None if transport else transport_for(self._url, trust_env=self._trust_env)
        try:
            self._send = Post(self._direct, self._url, self._headers, limits) if self._direct else self._by_client
        except httpx.LocalProtocolError:
            raise InputError(f"{name}: the key or the URL holds a character that no header may hold") from None
        self._began: float | None = None  # when the first connection was tried
        self._met = False  # whether there ever was a response

    def __repr__(self) -> str:
        return f"<{self.name} at {self._where}>"

    async def reply(self, request: Request, extra: Mapping[str, Any] | None = None) -> Reply:
        """Answer one request; raises CallFailed when the endpoint was not reached or did not keep to the dialect.

        `extra` holds fields that only this kind of endpoint knows; without them a request that bans texts, or
        says how the reply begins, raises InputError, as the dialect has no words for it.
        """
        return await self._replied(request, extra, None)

    def reply_in_turn(self, request: Request, turns: Turns) -> Coroutine[Any, Any, Reply]:
        """Answer like `reply`, with a turn held for as long as the request is on its way."""
        return self._replied(request, None, turns)

    async def _replied(self, request: Request, extra: Mapping[str, Any] | None, turns: Turns | None) -> Reply:
        """Answer one request; until anything ever answered, a refused connection is tried again for a while.

        A server that is just being started is thus waited for, and one that does not exist stops the run. A turn is
        held meanwhile, so that no more calls knock than may be in flight.
        """
        if extra is None and (request.sampling.ban or request.sampling.begins):
            raise InputError(f"{self.name} cannot be kept from words, which {request.step} asks for; use `embedded`")
        body = self._body(request, extra or {})
        if self._began is None:
            self._began = time.monotonic()
        while True:
            try:
                answer = await self._send(body, turns, request.item)
            except (httpx.ConnectError, httpx.ConnectTimeout, ConnectionRefusedError) as error:
                waited = time.monotonic() - self._began
                if self._met or waited >= self._patience:
                    raise self._refused(error) from None
                async with in_turn(turns, request.item):
                    await anyio.sleep(min(KNOCK_EVERY, self._patience - waited))
                    if turns is not None:
                        return await self._replied(request, extra, None)
            except (TimeoutError, httpx.TimeoutException):
                raise self._failed(f"no reply within {self._deadline:g} s", retry=True) from None
            except (httpx.RequestError, OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
                raise self._failed(f"the connection broke: {_said(error)}", retry=True) from None
            else:
                self._met = True
                return self._parse(answer, request)

    async def aclose(self) -> None:
        """Close the connections; a later reply would open new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
        if self._direct is not None:
            await self._direct.aclose()

    def _body(self, request: Request, extra: Mapping[str, Any]) -> list[bytes]:
        """The bytes to send, in parts; they depend on the request alone."""
        options = {"model": self._model, "seed": request.seed, **request.sampling.sent, **extra}
        if request.schema is not None:
            # endpoints refuse other characters in the name
            name = re.sub(r"[^A-Za-z0-9_-]", "_", request.step)[:64] or "answer"
            options["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": name, "schema": request.schema},
            }
        parts = _array(b'{"messages":[', [message.wire for message in request.messages])
        if request.tools:
            parts += _array(b'"tools":[', [tool.wire for tool in request.tools])
        parts.append(to_json(options).encode()[1:])
        return parts

    async def _by_client(self, body: Sequence[bytes], turns: Turns | None, item: int) -> Answer:
        """One request over a client of httpx: where a proxy applies, or a transport was given."""
        async with in_turn(turns, item):
            with anyio.fail_after(self._deadline):
                response = await self._opened().post(self._url, content=b"".join(body))
        return Answer.of(response)

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                headers=self._headers,
                transport=self._transport,
                # `deadline` covers a whole call, and how many there are at once is decided elsewhere.
                timeout=httpx.Timeout(None, connect=self._patience),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
                trust_env=self._trust_env,
            )
        return self._client

    def _parse(self, answer: Answer, request: Request) -> Reply:
        """What a response says; raises CallFailed when it is a failure of the infrastructure."""
        if not 200 <= answer.status < 300:
            return self._declined(answer)
        try:
            value = read_json(answer.body)
            choice = value["choices"][0]
            message, reason = choice["message"], choice.get("finish_reason")
            content, refusal = message.get("content") or "", message.get("refusal") or ""
            thought = message.get("reasoning_content") or message.get("reasoning") or ""
            if not (isinstance(content, str) and isinstance(refusal, str) and isinstance(thought, str)):
                raise TypeError("a text is not a string")
            reasoning, text = split_reasoning(content)
            finish = reason if reason in ("length", "content_filter") else "stop"
            calls: tuple[ToolCall, ...] = ()
            if refusal:
                text, finish = refusal, "refusal"
            elif finish == "stop" and (sent := message.get("tool_calls")):  # what was cut off holds none to be trusted
                called = _calls(sent, request.path)
                if isinstance(called, str):
                    text, finish = called, "bad_arguments"
                elif called:
                    calls, finish = called, "tool_calls"
            return Reply(
                text=text,
                calls=calls,
                finish=finish,
                reasoning=f"{thought}\n{reasoning}" if thought and reasoning else thought or reasoning,
                usage=_usage(value.get("usage")),
            )
        except NotJson as error:
            why = f"not JSON: {error}"
        except (KeyError, IndexError, TypeError, AttributeError):
            why = self._complaint(answer).message or "no chat completion"
        raise self._failed(f"status {answer.status}, but {why}", retry=True)

    def _declined(self, answer: Answer) -> Reply:
        """The reply that an error response amounts to; raises CallFailed when it is not about the content."""
        status, (code, message) = answer.status, self._complaint(answer)
        said = f"{status}: {message}" if message else str(status)
        if status in _PASSING or status >= 500:
            if "insufficient_quota" in code:  # a 429 that no waiting mends
                raise self._failed(f"the quota is used up ({said})", fatal=True)
            raise self._failed(f"the endpoint answered {said}", retry=True, after=_after(answer.headers))
        if status in (401, 403):
            what = "the key was refused" if "authorization" in self._headers else self._key_hint
            raise self._failed(f"{what} ({said})", fatal=True)
        if status == 404:
            raise self._failed(f"no such model or URL ({said})", fatal=True)
        if status not in (400, 413, 422):
            raise self._failed(f"the endpoint answered {said}", fatal=True)
        if any(words in f"{code} {message}".lower() for words in _TOO_LONG):
            return Reply(finish="context_exceeded")
        if "content_filter" in code:
            return Reply(finish="content_filter")
        return Reply(finish="bad_request", text=message or f"status {status}")

    def _complaint(self, answer: Answer) -> Complaint:
        """Code and message of an error body, in any of the forms that servers use."""
        try:
            value = read_json(answer.body)
        except NotJson:
            kind = [field for field in answer.headers.raw if field[0].lower() == b"content-type"]
            said = httpx.Response(answer.status, headers=kind, content=answer.body).text  # in its own character set
            return Complaint("", self._safe(said))
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, Mapping):
            value = value.get("error") or value
        if not isinstance(value, Mapping):
            return Complaint("", self._safe(str(value or "")))
        message = value.get("message") or value.get("detail") or ""
        if isinstance(message, list):  # a validator's findings, each with what it found at fault: too long to show
            message = "; ".join(str(one.get("msg", "")) if isinstance(one, Mapping) else str(one) for one in message)
        codes = [str(value[key]) for key in ("code", "type") if value.get(key) is not None]
        return Complaint(" ".join(codes), self._safe(str(message)))

    def _refused(self, error: Exception) -> CallFailed:
        if self._met:
            return self._failed(f"cannot connect: {_said(error)}", retry=True)
        why = f"nothing answers at {self._where} (waited {self._patience:g} s): {_said(error)}"
        return CallFailed(self._safe(why), retry=False, fatal=True)

    def _failed(self, why: str, *, retry: bool = False, after: float | None = None, fatal: bool = False) -> CallFailed:
        return CallFailed(f"{self.name} at {self._where}: {self._safe(why)}", retry=retry, after=after, fatal=fatal)

    def _safe(self, text: str) -> str:
        """A text from outside on one line, without the key, and short."""
        if key := self._headers.get("authorization", "").removeprefix("Bearer "):
            text = text.replace(key, "[key]")
        text = " ".join(text.split())
        return shortened(text, SHOWN)


def _array(begins: bytes, values: list[bytes]) -> list[bytes]:
    """A field that holds an array, in parts: what many requests have in common is not copied while they wait."""
    if not values:
        return [begins, b"],"]
    parts = [b","] * (2 * len(values) + 1)
    parts[0], parts[-1] = begins, b"],"
    parts[1::2] = values
    return parts


def split_reasoning(text: str) -> tuple[str, str]:
    """The leading `<think>` blocks and the rest; nothing is left of a text whose block does not end."""
    if _THINK not in text:
        return "", text
    thoughts: list[str] = []
    while (rest := text.lstrip()).startswith(_THINK):
        thought, _, after = rest[len(_THINK) :].partition(_THOUGHT)
        thoughts.append(thought.strip())
        text = after.lstrip()
    return "\n".join(filter(None, thoughts)), text


def _calls(sent: Iterable[Any], path: str) -> tuple[ToolCall, ...] | str:
    """The tool calls of a message under ids of ours, or the first arguments that are not a JSON object.

    Raises TypeError, KeyError or AttributeError for what is no tool call.
    """
    made = []
    for i, call in enumerate(sent):
        name, raw = call["function"]["name"], call["function"].get("arguments")
        if not isinstance(name, str) or not name:
            raise TypeError("a tool call without a name")
        try:
            arguments = read_json(raw) if isinstance(raw, str) else raw
        except NotJson:
            arguments = None
        if not isinstance(arguments, Mapping):
            return raw if isinstance(raw, str) else to_json(raw)
        made.append(ToolCall("_".join(("call", *filter(None, path.split(".")), str(i))), name, arguments))
    return tuple(made)


def _usage(sent: Any) -> Usage:
    """The endpoint's own count, and 0 for what it does not count."""
    counts = sent if isinstance(sent, dict) else {}
    prompt, completion = counts.get("prompt_tokens"), counts.get("completion_tokens")
    return Usage(prompt if isinstance(prompt, int) else 0, completion if isinstance(completion, int) else 0)


def _after(headers: httpx.Headers) -> float | None:
    """The seconds a response asks to wait, given in milliseconds, in seconds or as a date; None if it does not."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    until = _date(headers.get("retry-after"))
    if until is None:
        return None
    # by the server's own clock where it shows it, as ours may be wrong
    now = _date(headers.get("date")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _base(given: str) -> httpx.URL:
    """The URL that `/chat/completions` is put after; raises InputError, which shows no password."""
    shown = re.sub(r"//.*@", "//...@", given)
    try:
        url = httpx.URL(given.strip())
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise InputError(f"base URL {shown!r} should be http(s)://host[:port][/path]")
    if url.userinfo:
        raise InputError(f"base URL {shown!r} should hold no user or password; a key comes from the environment")
    return url.copy_with(path=url.path.rstrip("/") or "/v1", fragment=None)
