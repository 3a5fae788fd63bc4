"""The journal: every reply from outside, kept by position, so that an episode is a function.

A position is (item, path). The path is the branch taken at each `map` or shared instant plus the ordinal
within that branch: `3.1.0` is the first ask of element 1 of the map that was the fourth thing its item did.
The request is stored beside the reply and compared, never looked up by. So the same journal serves a run (it
is written), a resume (recorded replies answer at once, then it is written) and a replay (nothing may be new,
nothing may differ, nothing may be left over).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from simlab.die import Die
from simlab.errors import JournalMismatch, shortened
from simlab.lazy import lazy
from simlab.message import ToolCall, plain
from simlab.model import AGENT, Model, Reply, Request, Usage
from simlab.schema import digest, read_json, to_json


class Entry(NamedTuple):
    """One row: the position's path, the request and the reply as stored, and who was asked: `model` or `agent`."""

    path: str
    asked: str
    answered: str
    door: str = "model"


Write = Callable[[int, Entry, Mapping[str, str], Reply, str], None]  # item, entry, texts, reply, model's name
Read = Callable[[str], str]


@dataclass(frozen=True)
class Seed:
    """What fixes all dice of a run: its seed and the name of its recipe."""

    run: int
    recipe: str

    @lazy
    def die(self) -> Callable[[int, str], Die]:
        """Makes the die of one branch, from its item and its path."""
        return Die.maker(self.run, self.recipe)


class Journal:
    """The journal of one item: what was recorded of it, and where new entries go.

    `write` takes each new entry with the texts it refers to; None keeps nothing (a simulation without a run).
    `read` finds a text by its digest. A `sealed` journal takes no new entries: that is a replay.
    """

    def __init__(
        self,
        item: int = 0,
        *,
        seed: Seed | None = None,
        recorded: Mapping[str, Entry] | None = None,
        read: Read | None = None,
        write: Write | None = None,
        sealed: bool = False,
    ) -> None:
        self.item = item
        self.seed = seed or Seed(0, "")
        self.asked = 0
        self._recorded = dict(recorded or {})
        self._read = read
        self._write = write
        self._sealed = sealed

    @property
    def root(self) -> "Branch":
        """The branch an episode begins on."""
        return Branch(self, "")

    @property
    def left_over(self) -> list[Entry]:
        """Entries that nothing asked for; at an episode's end there should be none."""
        return list(self._recorded.values())

    async def ask(self, model: Model, request: Request) -> Reply:
        """The reply at the request's position: the recorded one, else the model's, which is then recorded.

        Raises JournalMismatch when the recorded request differs, or when a sealed journal has none.
        """
        self.asked += 1
        entry = self._recorded.pop(request.path, None)
        if entry is not None:
            asked = request.stored(model.name)
            if entry.asked != asked:
                raise JournalMismatch(f"journal entry {request.path}: {self._difference(entry.asked, asked, request)}")
            return self._decode(entry)
        if self._sealed:
            raise JournalMismatch(
                f"journal entry {request.path}: the {request.role} asks for a {request.step or 'reply'}"
                " here, but nothing was recorded"
            )
        reply = await model.reply(request)
        if self._write is not None:
            self._record(request, reply, model.name)
        return reply

    def _record(self, request: Request, reply: Reply, name: str) -> None:
        texts = {message.digest: message.content for message in request.messages}
        if request.schema is not None:
            schema = to_json(request.schema)
            texts[digest(schema)] = schema
        for tool in request.tools:
            wire = tool.wire.decode()
            texts[digest(wire)] = wire
        said, key = plain(reply.text)
        texts[key] = said
        answered: dict[str, Any] = {
            "text": key,
            "finish": reply.finish,
            "usage": [reply.usage.prompt, reply.usage.completion],
        }
        if reply.calls:
            answered["calls"] = [call.as_json() for call in reply.calls]
        if reply.reasoning:
            answered["reasoning"] = reply.reasoning
        assert self._write is not None
        door = "agent" if request.role == AGENT else "model"
        entry = Entry(request.path, request.stored(name), to_json(answered), door)
        self._write(self.item, entry, texts, reply, name)

    def _decode(self, entry: Entry) -> Reply:
        try:
            answered = read_json(entry.answered)
            text = read_json(self._read(answered["text"])) if self._read else answered["text"]
            return Reply(
                text=text,
                calls=tuple(ToolCall(**call) for call in answered.get("calls", ())),
                finish=answered["finish"],
                reasoning=answered.get("reasoning", ""),
                usage=Usage(*answered["usage"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise JournalMismatch(f"journal entry {entry.path}: the stored reply cannot be read ({error})") from None

    def _difference(self, recorded: str, asked: str, request: Request) -> str:
        """The first field in which two stored requests differ, with both values."""
        try:
            then, now = read_json(recorded), read_json(asked)
        except ValueError:
            return "the stored request is not JSON"
        for key in ["role", "step", "model", "messages", "seed", *sorted({*then, *now})]:
            if then.get(key) == now.get(key):
                continue
            if key != "messages":
                return f"{key} was {to_json(then.get(key))}, is now {to_json(now.get(key))}"
            for i, (a, b) in enumerate(zip(then[key], now[key], strict=False)):
                if a != b:
                    now_text = f"{request.messages[i].role}: {request.messages[i].text}"
                    return f"message {i} was {self._shown(a)!r}, is now {shortened(now_text, 80)!r}"
            return f"there were {len(then[key])} messages, there are now {len(now[key])}"
        return "stored in another form"

    def _shown(self, key: str) -> str:
        role, _, rest = key.partition(":")
        if self._read is None:
            return key
        try:
            said = read_json(self._read(rest.split(":")[0]))
        except (KeyError, ValueError, JournalMismatch):
            return key
        return shortened(f"{role}: {said if isinstance(said, str) else said.get('text')}", 80)


class Branch:
    """One line of an episode's execution: a prefix of positions, an ordinal, and a die of its own."""

    __slots__ = ("_die", "_ordinal", "_prefix", "journal")

    def __init__(self, journal: Journal, prefix: str) -> None:
        self.journal = journal
        self._prefix = prefix
        self._ordinal = 0
        self._die: Die | None = None

    @property
    def die(self) -> Die:
        """The branch's own source of random choices."""
        if self._die is None:
            self._die = self.journal.seed.die(self.journal.item, self._prefix)
        return self._die

    def advance(self) -> str:
        """The next position's path."""
        path = f"{self._prefix}{self._ordinal}"
        self._ordinal += 1
        return path

    def split(self, n: int) -> "list[Branch]":
        """n branches that may run at the same time; together they take one ordinal of this one."""
        path = self.advance()
        return [Branch(self.journal, f"{path}.{i}.") for i in range(n)]

    def ask(self, model: Model, request: Request) -> Awaitable[Reply]:
        """Ask a model at the next position, which is taken now; the request's seed is drawn from that position."""
        path = self.advance()
        seed = self.journal.seed.die(self.journal.item, f"{path}?").bits() >> 33
        sampling = model.sampling.over(request.sampling)
        return self.journal.ask(model, request.placed(self.journal.item, path, seed, sampling))
