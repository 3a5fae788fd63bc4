"""The roles: user simulator, assistant, critic, and anyone who speaks from a script. Each is an agent.

A role is a viewpoint. It is constructed with a model and with what it may see, and with nothing else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from simlab.agent import Answer, Turn
from simlab.errors import AgentFault, Drop
from simlab.message import Message
from simlab.model import Model
from simlab.prompt import Check, Prompt, anything, word
from simlab.text import tidy
from simlab.tool import Tool

View = Mapping[str, Any]


@dataclass
class Assistant:
    """Answers what it hears, from the conversation and its own system message; a faulty reply ends the talk."""

    model: Model
    prompt: Prompt
    view: View
    tools: tuple[Tool, ...] = ()
    name: str = "assistant"

    async def reply(self, turn: Turn) -> Answer:
        """The model's answer or calls; raises AgentFault when it refused, was cut off or said nothing."""
        request = self.prompt.request(self.name, self.view, turn.chat)
        if self.tools:
            request = replace(request, tools=self.tools)
        reply = await turn.ask(self.model, request)
        if reply.fault:
            said = f" ({reply.text[:200]})" if reply.fault == "bad_request" else ""
            raise AgentFault(f"{self.name}: {reply.fault}{said}")
        if reply.calls:
            return Message(self.name, reply.text.strip(), to=("api",), calls=reply.calls)
        return Message(self.name, reply.text.strip(), to=("user",) if self.tools else ())


@dataclass
class UserSimulator:
    """Opens with a line and then goes on asking, so many times in all; a line that drifts is asked for again."""

    model: Model
    prompt: Prompt
    view: View
    rounds: int
    opening: str
    check: Check = anything
    clean: Callable[[str], str] = tidy
    tries: int = 3
    name: str = "user"

    async def reply(self, turn: Turn) -> Answer:
        """The next line, or silence when all rounds are played; raises Drop when no line passes the check."""
        if turn.seat.spoken == 0:
            return self.opening
        if turn.seat.spoken >= self.rounds:
            return None
        request = self.prompt.request(self.name, self.view, turn.chat)

        worded = await word(
            partial(turn.ask, self.model), request, check=self.check, clean=self.clean, tries=self.tries
        )
        return Message(self.name, worded.text, notes=worded.notes)


@dataclass(frozen=True)
class Beat:
    """One line of a script: what it must say, how it is asked for, what it must pass, what serves instead.

    `{heard}` in the prompt is the last thing the speaker heard; with `chat` the whole conversation is shown.
    """

    prompt: Prompt
    view: View
    check: Check = anything
    template: str | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    chat: bool = False


@dataclass
class Speaker:
    """Says one beat a turn and is then silent: the script carries the truth, the model the words."""

    name: str
    model: Model
    beats: Sequence[Beat]
    tries: int = 3

    async def reply(self, turn: Turn) -> Answer:
        """The next beat, worded."""
        if turn.seat.spoken >= len(self.beats):
            return None
        beat = self.beats[turn.seat.spoken]
        heard = turn.heard[-1].text if turn.heard else ""
        chat = turn.chat if beat.chat else ()
        request = beat.prompt.request(self.name, {"heard": heard, **beat.view}, chat)

        worded = await word(
            partial(turn.ask, self.model), request, check=beat.check, tries=self.tries, template=beat.template
        )
        return Message(self.name, worded.text, notes={**beat.notes, **worded.notes})


@dataclass
class Critic:
    """Reviews what others are about to say; `review` returns the line to be heard instead, or None to hold it back.

    The review is asked before anyone hears the line, so nobody else in the room knows that there is a critic.
    """

    review: Callable[[Message, Turn], Any]
    name: str = "critic"

    async def reply(self, turn: Turn) -> Answer:
        """Silence: a critic speaks to what is said before it is said."""
        return None

    async def intercept(self, message: Message, turn: Turn) -> Message | None:
        """The reviewed line; raises AgentFault when the review fails."""
        try:
            reviewed: Message | None = await self.review(message, turn)
        except Drop as drop:
            raise AgentFault(str(drop)) from None
        return reviewed
