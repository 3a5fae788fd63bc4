"""The user of an API as a state machine over slots and goals; a model only words its acts.

Each turn picks acts from what the assistant said: answer the values it asks for, admit not knowing, push back,
close. The acts make a plain sentence that holds every value word for word; a model may say it in its own words,
and a guard checks what it said: values kept, nothing told before its time, nothing invented, no empty turn, no
assistant's phrases. After one retry the plain sentence is said, and that is counted.

The shape follows AutoDE's user agent (Mu et al., *Beyond Static Evaluation*, 2024): give only what is asked for.
The engine and not the model ends the talk.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from simlab.agent import Answer, End, Turn
from simlab.checks.role_drift import sounds_like_an_assistant
from simlab.facts import holds
from simlab.message import Message
from simlab.model import Model, Sampling
from simlab.plan import Slot, spoken
from simlab.prompt import Prompt, word
from simlab.score import keeps_sense
from simlab.text import names, numbers, sentences, tidy, words

WORDING = Prompt(
    step="wording",
    system="Say the message in your own words, as a person in a chat. Keep every name, number and code exactly.",
    examples=(
        ("I would like to rent a canoe. The canoe id is CN-07.", "Hi, I want to rent a canoe, the canoe id is CN-07."),
        ("The pick up day is 2026-07-01. The seats is 3.", "The pick up day is 2026-07-01 and the seats is 3."),
        ("I would like to know the depth of a lake.", "Can you tell me the depth of a lake?"),
        ("I would like to change the sail of a boat.", "Hello, I need to change the sail of a boat."),
        ("I do not know the hull colour.", "Sorry, I don't know the hull colour."),
        ("Thank you, that is all I need.", "Great, thank you, that is all I need!"),
    ),
    ask="{said}",
    sampling=Sampling(temperature=0.5, top_p=0.9, max_tokens=120, stop=("\n",)),
)
_ASKS = re.compile(
    r"\?|\b(?:please|tell me|give me|let me know|provide|need (?:to know|your|the)|specify|which|what)\b", re.IGNORECASE
)
_REFUSES = re.compile(
    r"\b(?:can(?:'t|not| not)|unable to|not able to|nothing (?:here|i have) (?:that )?(?:can|does)|no way to)\b",
    re.IGNORECASE,
)
_WISH = re.compile(
    r"\b(?:i(?:'d| would) like|i want|i need|i have to|i(?:'m| am) (?:trying|looking|here)|can you|could you|would you"
    r"|please|help me|how (?:do|can) i|may i|can i|let me)\b",
    re.IGNORECASE,
)
_CONFIRMS = re.compile(
    r"\b(?:shall|should|may) i (?:go ahead|proceed|do (?:that|it|so))\b|\bdo you (?:confirm|agree)\b|\bgo ahead\?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Act:
    """What a turn says: plain sentences, and the values that must stand in them.

    A small model words the `lead` alone, and what follows it is said as it is: it loses one of the two otherwise.
    """

    said: str
    values: tuple[str, ...] = ()
    lead: str = ""


@dataclass
class GoalUser:
    """Tells what it is asked for until its goals are settled or its patience is over.

    `settled` looks at the state and at what was said; the user itself knows only its purpose and its slots.
    """

    model: Model
    purpose: str
    slots: Sequence[Slot]
    settled: Callable[[], bool]
    hopeless: bool = False  # nothing can serve the purpose: a refusal settles it
    unknown: frozenset[str] = frozenset()
    patience: int = 6
    confirms: bool = False  # something is done only when the user has said yes to it
    name: str = "user"
    told: set[str] = field(default_factory=set)
    spoken_again: int = 0

    async def reply(self, turn: Turn) -> Answer:
        """The acts of this turn, worded."""
        heard = " ".join(message.text for message in turn.heard)
        if turn.seat.spoken == 0:
            return await self._say(turn, self._open())
        if self.settled():
            return [await self._say(turn, Act("Thank you, that is all I need.")), End("goal_met")]
        wanted = asked(heard, self.slots)
        if not wanted and _REFUSES.search(heard):
            reason = "agent_refused" if self.hopeless else "user_gave_up"
            if self.hopeless or self.spoken_again:
                return [await self._say(turn, Act("All right, thank you anyway.")), End(reason)]
        fresh = [slot for slot in wanted if slot.name not in self.told or self.spoken_again < self.patience]
        if fresh:
            if all(slot.name in self.told for slot in fresh):
                self.spoken_again += 1
            return await self._say(turn, self._tell(fresh))
        if self.confirms and _CONFIRMS.search(heard):
            return await self._say(turn, Act("Yes, please go ahead."))
        self.spoken_again += 1
        if self.spoken_again > self.patience:
            return [await self._say(turn, Act("I will leave it at that. Goodbye.")), End("user_gave_up")]
        if "?" in heard:
            return await self._say(turn, Act("I do not know that."))
        return await self._say(turn, Act(f"I would still like to {self.purpose}."))

    def _open(self) -> Act:
        first = [slot for slot in self.slots if slot.reveal == "opening"]
        lead = f"I would like to {self.purpose}."
        return Act(opening_line(self.purpose, first), self._tell(first).values, lead)

    def _tell(self, slots: Sequence[Slot]) -> Act:
        self.told |= {slot.name for slot in slots}
        known = [slot for slot in slots if slot.name not in self.unknown]
        parts = [f"The {slot.label} is {spoken(slot.value)}." for slot in known]
        parts += [f"I do not know the {slot.label}." for slot in slots if slot.name in self.unknown]
        return Act(" ".join(parts), tuple(spoken(slot.value) for slot in known))

    async def _say(self, turn: Turn, act: Act) -> Message:
        asked_for = act.lead if act.lead and self.model.small else act.said
        rest = act.said.removeprefix(asked_for)
        request = WORDING.request(self.name, {"said": asked_for, "scripted": asked_for})

        guard = self._guard(act)
        worded = await word(
            partial(turn.ask, self.model),
            request,
            check=guard,
            clean=lambda text: tidy(text) + rest,
            tries=2,
            template=act.said,
        )
        return Message(self.name, worded.text, notes=worded.notes, to=("assistant",))

    def _guard(self, act: Act) -> Callable[[str], str | None]:
        hidden = [spoken(slot.value) for slot in self.slots if slot.name not in self.told and not slot.unknown]
        early = [value for value in hidden if value not in act.values and not holds(act.said, value)]

        def check(line: str) -> str | None:
            if any(value not in line or not holds(line, value) for value in act.values):
                return "missing_value"
            if any(holds(line, value) for value in early):
                return "leak"
            if not keeps_sense(line, act.said) or (act.lead and not _wishes(line, act)):
                return "lost_sense"
            if sounds_like_an_assistant(line) or (_REFUSES.search(line) and not _REFUSES.search(act.said)):
                return "role_inversion"
            if numbers(line) - numbers(act.said) or names(line) - _stems(act.said):
                return "invention"
            return "rambling" if len(words(line)) > 2 * len(words(act.said)) + 12 else None

        return check


def opening_line(purpose: str, slots: Sequence[Slot]) -> str:
    """The plain first line: the wish, and the values that are told at once."""
    return " ".join([f"I would like to {purpose}.", *(f"The {slot.label} is {spoken(slot.value)}." for slot in slots)])


def _wishes(line: str, act: Act) -> bool:
    """Whether an opening says what is wished, as a wish or a request and not as an offer."""
    said = line.removesuffix(act.said.removeprefix(act.lead))
    return _WISH.search(said) is not None and keeps_sense(said, act.lead, 0.8)


def _stems(said: str) -> set[str]:
    return names(f"x {said}") | names("x " + " ".join(word.title() for word in words(said)))


def asked(text: str, slots: Sequence[Slot]) -> list[Slot]:
    """The slots that a text asks for, in the order of the slots: those whose label stands in a question or request.

    Longer labels are taken first, so that a `home phone` is not also a `phone`.
    """
    rest = _requests(text)
    found: set[str] = set()
    for slot in sorted(slots, key=lambda slot: -len(slot.label)):
        pattern = rf"(?<!\w){re.escape(slot.label.lower())}(?!\w)"
        if re.search(pattern, rest):
            found.add(slot.name)
            rest = re.sub(pattern, " ", rest)
    return [slot for slot in slots if slot.name in found]


@lru_cache(maxsize=64)
def _requests(text: str) -> str:
    """The questions and requests of a text, in lower case; kept, as much is said again and again."""
    return " ".join(sentence for sentence in sentences(text) if _ASKS.search(sentence)).lower()


def slots_from(parts: Mapping[str, Any]) -> tuple[Slot, ...]:
    """The slots of a scenario's view."""
    return tuple(
        Slot(name, part.get("value"), part["label"], part["reveal"], part.get("unknown", False))
        for name, part in parts.items()
    )
