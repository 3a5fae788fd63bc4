"""The guided assistant: the calls come from an executed plan, the model words what is said around them.

So a weak model, or none, still makes a correct corpus. It asks for the values that its next call needs and that
have not been told, makes the call with ids from the responses before it, and tells the facts in the end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from simlab.agent import Answer, Turn
from simlab.facts import holds
from simlab.message import Message, ToolCall, ToolResult
from simlab.model import Model, Sampling
from simlab.plan import Plan, PlannedCall, Slot, spoken
from simlab.prompt import Prompt, word
from simlab.schema import pointed
from simlab.score import keeps_sense
from simlab.text import names, numbers, words

AT_ONCE = 2  # values asked for in one line
PASSING = (429, 500, 502, 503, 504)  # statuses after which the same call may work
PATIENCE = 4  # failed calls that are made once more, in all
ASKING = Prompt(
    step="asking",
    system="Say the message in your own words, as a friendly clerk. Keep every name, number and code exactly.",
    examples=(
        ("What is the canoe id?", "Could you tell me the canoe id, please?"),
        ("What is the pick up day, and what is the seats?", "What is the pick up day, and the seats, please?"),
        ("That is done: rent a canoe.", "All set, that is done: rent a canoe."),
        ("That is done: change the sail of a boat.", "Good news, that is done: change the sail of a boat."),
        ("The hull colour is dark green.", "I have looked it up: the hull colour is dark green."),
    ),
    ask="{said}",
    sampling=Sampling(temperature=0.5, top_p=0.9, max_tokens=120, stop=("\n",)),
)


@dataclass
class Guided:
    """Follows a plan; `hesitates` False makes it call at once, with what was told until then (a control)."""

    model: Model
    plan: Plan
    hesitates: bool = True
    closing: str = ""  # said in the end, in the place of the answer
    name: str = "assistant"
    results: list[ToolResult] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    failures: int = 0
    confirmed: bool = False

    async def reply(self, turn: Turn) -> Answer:
        """A question for what is missing, the next call, or the answer."""
        for message in turn.heard:
            self.results += [result for result in message.results if not self._again(result)]
            if message.text:
                self.heard.append(message.text)
        if self.closing and len(self.results) >= len(self.plan.calls):
            return await self._say(turn, self.closing, ())
        if not self.plan.calls:
            return await self._say(turn, f"I am sorry, I cannot help you to {self.plan.purpose} here.", ())
        if len(self.results) < len(self.plan.calls):
            call = self.plan.calls[len(self.results)]
            missing = [slot for slot in self._needed(call) if not self._knows(slot)]
            if missing and self.hesitates:
                return await self._ask(turn, missing[:AT_ONCE])
            if call.operation in self.plan.confirm and self.hesitates and not self.confirmed:
                self.confirmed = True  # by what the user says next
                return await self._say(turn, "Shall I go ahead?", ())
            return self._call(call, missing)
        if self.plan.facts:
            parts = [f"The {fact.label} is {spoken(self._fact(fact.call, fact.pointer))}." for fact in self.plan.facts]
            values = tuple(spoken(fact.value) for fact in self.plan.facts)
            return await self._say(turn, " ".join(parts), values)
        return await self._say(turn, f"That is done: {self.plan.purpose}.", ())

    def _again(self, result: ToolResult) -> bool:
        """Whether a call failed for a reason that passes, and is to be made once more."""
        self.failures += result.status in PASSING
        return result.status in PASSING and self.failures <= PATIENCE

    def _needed(self, call: PlannedCall) -> list[Slot]:
        """The slots a call's arguments come from, and those by which its object is told apart."""
        sources = {s.removeprefix("user:") for a in call.arguments.values() for s in a.sources if s.startswith("user:")}
        told_by = set() if len(self.results) + 1 < len(self.plan.calls) else self._descriptions()
        told_by |= {slot.name for slot in self.plan.slots if slot.unknown} if told_by else set()
        return [slot for slot in self.plan.slots if slot.name in sources | told_by]

    def _descriptions(self) -> set[str]:
        """Slots that no argument takes its value from: they say which of the listed records is meant."""
        used = {s.removeprefix("user:") for c in self.plan.calls for a in c.arguments.values() for s in a.sources}
        return {slot.name for slot in self.plan.known} - used

    def _knows(self, slot: Slot) -> bool:
        return slot.name in self.asked if slot.unknown else any(holds(text, slot.value) for text in self.heard)

    async def _ask(self, turn: Turn, slots: Sequence[Slot]) -> Message:
        self.asked += [slot.name for slot in slots]
        questions = [f"what is the {slot.label}" for slot in slots]
        said = ", and ".join(questions)
        return await self._say(turn, f"{said[:1].upper()}{said[1:]}?", tuple(slot.label for slot in slots))

    def _call(self, call: PlannedCall, missing: Sequence[Slot]) -> Message:
        arguments: dict[str, Any] = {}
        undescribed = {slot.name for slot in missing} & self._descriptions()
        for name, argument in call.arguments.items():
            if undescribed and argument.source.startswith("call:"):
                continue  # nobody said which record is meant
            if any(source == f"user:{slot.name}" for source in argument.sources for slot in missing):
                continue
            value = argument.value
            if argument.source.startswith("call:"):
                origin, _, pointer = argument.source.removeprefix("call:").partition("#")
                try:
                    value = pointed(self.results[int(origin) - 1].body, pointer)
                except (LookupError, TypeError):
                    continue
            arguments[name] = value
        number = len(self.results) + 1
        return Message(self.name, "", to=("api",), calls=(ToolCall(f"call_{number}", call.operation, arguments),))

    def _fact(self, call: int, pointer: str) -> object:
        try:
            return pointed(self.results[call - 1].body, pointer)
        except (LookupError, TypeError):
            return "unknown"

    async def _say(self, turn: Turn, said: str, values: tuple[str, ...]) -> Message:
        request = ASKING.request(self.name, {"said": said, "scripted": said})

        worded = await word(partial(turn.ask, self.model), request, check=_keeps(said, values), tries=2, template=said)
        return Message(self.name, worded.text, to=("user",), notes=worded.notes)


def _keeps(said: str, values: tuple[str, ...]) -> Callable[[str], str | None]:
    """A check that a line holds the values of a plain sentence, asks where it asks, and brings in nothing."""

    def check(line: str) -> str | None:
        if not all(holds(line, value) for value in values):
            return "missing_value"
        if said.endswith("?") != ("?" in line):
            return "no_question"
        if not keeps_sense(line, said):
            return "lost_sense"
        if "cannot" in said and "cannot" not in line and "can't" not in line:
            return "missing_value"
        if numbers(line) - numbers(said) or names(line) - names("x " + " ".join(w.title() for w in words(said))):
            return "invention"
        return "rambling" if len(words(line)) > 2 * len(words(said)) + 12 else None

    return check
