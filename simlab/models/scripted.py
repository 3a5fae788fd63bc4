"""`scripted`: a model without a model. Deterministic, instant, and faulty exactly as often as it is told to be.

What it says depends on the request alone: its role, step, position, seed and view. A table gives lines for
steps of your own; faults are switched on by rate (chosen by hash, so the same items are hit every time) or by
a list of items (so a test can state exact counts).

    scripted                                    half of the plain answers and a quarter of those under a rule leak
    scripted:refuse=0.1                         one reply in ten is a refusal
    scripted:leak@revise=2+5+9,bad_json=0.05    revisions of items 2, 5 and 9 leak; 5 % of JSON is broken
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from simlab.die import Die
from simlab.errors import InputError, nearest
from simlab.message import ToolCall
from simlab.model import Reply, Request, Sampling, Usage
from simlab.rules import act
from simlab.schema import to_json

FAULTS = ("duplicate", "truncate", "bad_json", "refuse", "echo", "leak", "wrong_argument")
LEAKS = {"answer": 0.5, "ruled": 0.25}  # what it does unless told: a dry run shows pairs and drops
Line = Callable[[Request], str]

_NOUNS = """
    anchor basket bridge candle canyon cellar circle corner cotton courtyard curtain desert engine fabric
    feather fiddle forest garden glacier hammer harbour harvest helmet hinge kettle ladder lantern ledger lever
    marble market meadow mirror mountain needle orchard paddle pebble pillar pocket quarry ribbon river saddle
    shelter shoulder signal silver spindle staircase station summit tavern thicket thread timber tunnel valley
    vessel village violin wagon whistle window winter workshop
""".split()
_ADJECTIVES = """
    amber ancient bitter blunt bright brittle broad calm careful coarse common crooked curious damp deep distant
    early eager faint fair familiar fine firm flat fresh gentle gradual hollow humble local loose mild modest
    narrow neat northern orderly pale patient plain polished quiet rapid rough round rural sandy shallow sharp
    shy simple slender slow smooth solid sparse steady steep stout subtle tall tender thick tidy vast warm
    wooden
""".split()
_VERBS = """
    anchors borrows carries changes collects controls covers crosses divides draws feeds follows forms gathers
    guides holds joins keeps leads lifts limits measures moves offers opens protects reaches replaces resists
    restores shapes shields softens splits spreads supports surrounds turns warms widens
""".split()
_ASKS = ("How does", "Why does", "When does", "Where does", "In what way does")
_LESS = tuple(
    verb[:-3] + "y" if verb.endswith("ies") else verb[:-2] if verb.endswith("ches") else verb[:-1] for verb in _VERBS
)


class Scripted:
    """A scripted model; `lines` maps a step to a function from the request to its text."""

    small = False
    sampling = Sampling()

    def __init__(
        self,
        faults: Mapping[str, float | Collection[int]] | None = None,
        *,
        lines: Mapping[str, Line] | None = None,
        name: str = "scripted",
    ) -> None:
        """`faults` maps FAULT or FAULT@STEP to a rate or to the items it hits; raises InputError for others."""
        self.name = name
        self._faults = dict(faults or {})
        self._lines = dict(lines or {})
        for key in self._faults:
            fault = key.partition("@")[0]
            if fault not in FAULTS:
                raise InputError(f"the scripted model has no fault {fault!r}{nearest(fault, FAULTS)}")

    async def aclose(self) -> None:
        """Nothing to close."""

    async def reply(self, request: Request) -> Reply:
        """The scripted reply, with the faults that hit it."""
        if self._hit("refuse", request):
            return self._made(request, "I cannot help with that.", finish="refusal")
        if self._hit("echo", request):
            return self._made(request, request.messages[-1].text if request.messages else "")
        if request.tools and request.step not in self._lines:
            return self._acted(request)
        if request.step in self._lines:
            text = self._lines[request.step](request)
        elif request.schema is not None:
            text = to_json(_instance(request.schema, request, Die(request.seed), "answer"))
        else:
            text = self._line(request)
        if self._hit("leak", request, default=LEAKS.get(request.step, 0.0)):
            text += self._leak(request)
        if self._hit("duplicate", request):
            text = f"{text} {text}"
        if self._hit("bad_json", request) and request.schema is not None:
            text = text[:-1]
        if self._hit("truncate", request):
            return self._made(request, text[: max(1, len(text) // 2)], finish="length")
        return self._made(request, text)

    def _acted(self, request: Request) -> Reply:
        """What the rule-based assistant does; calls may have an argument wrong, texts be cut off or said twice."""
        text, calls = act(request.messages, request.tools, request.path)
        if calls and self._hit("wrong_argument", request):
            calls = tuple(replace(call, arguments={**call.arguments, "wrong": True}) for call in calls)
        if text and self._hit("duplicate", request):
            text = f"{text} {text}"
        if text and self._hit("truncate", request):
            return self._made(request, text[: max(1, len(text) // 2)], finish="length")
        return self._made(request, text, calls=calls, finish="tool_calls" if calls else "stop")

    def _made(self, request: Request, text: str, *, finish: str = "stop", calls: tuple[ToolCall, ...] = ()) -> Reply:
        prompt = sum(len(message.text) for message in request.messages) // 4
        return Reply(text=text, calls=calls, finish=finish, usage=Usage(prompt, len(text) // 4 + 1))

    def _hit(self, fault: str, request: Request, *, default: float = 0.0) -> bool:
        if not self._faults and not default:
            return False
        rate = self._faults.get(f"{fault}@{request.step}", self._faults.get(fault, default))
        if isinstance(rate, int | float):
            return rate > 0 and Die("fault", fault, request.step, request.item, request.path, request.seed).chance(rate)
        return request.item in rate

    def _leak(self, request: Request) -> str:
        """Names what the view says must not come up; nothing where it says nothing."""
        pink = request.view.get("pink")
        name = pink.get("name") if isinstance(pink, Mapping) else pink
        return f" {name} would be the usual choice." if name else ""

    def _line(self, request: Request) -> str:
        """A line of the kind the step asks for, in words drawn by the request's seed."""
        die, view = Die(request.seed), request.view
        if (given := view.get("scripted")) is not None:
            return str(given)
        subject = str(view.get("subject") or view.get("topic") or "this")
        noun, other = die.choice(_NOUNS), die.choice(_NOUNS)
        if request.role == "user" or request.step in ("question", "follow_up"):
            verb = die.choice(_LESS)
            return f"{die.choice(_ASKS)} the {die.choice(_ADJECTIVES)} {noun} {verb} the {other} in {subject}?"
        said = [
            f"With {subject}, the {die.choice(_ADJECTIVES)} {noun} {die.choice(_VERBS)} the {other}.",
            f"Then the {die.choice(_ADJECTIVES)} {die.choice(_NOUNS)} {die.choice(_VERBS)} the {die.choice(_NOUNS)}.",
        ]
        return " ".join(said[: die.between(1, 2)])


def _instance(schema: Mapping[str, Any], request: Request, die: Die, key: str) -> Any:
    """A small valid instance of a JSON Schema; strings are made of the view's subject and drawn words."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return die.choice(schema["enum"])
    kind = schema.get("type", "object")
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: _instance(part, request, die, name) for name, part in properties.items()}
    if kind == "array":
        n = schema.get("minItems", 1)
        return [_instance(schema.get("items", {"type": "string"}), request, die, key) for _ in range(n)]
    if kind in ("integer", "number"):
        low = schema.get("minimum", 0)
        return die.between(int(low), int(schema.get("maximum", low + 9)))
    if kind == "boolean":
        return die.chance(0.5)
    subject = str(request.view.get("subject") or request.view.get("topic") or key)
    text = f"{subject} {die.choice(_ADJECTIVES)} {die.choice(_NOUNS)} {die.choice(_NOUNS)}"
    return text[: schema.get("maxLength", 200)]


@lru_cache(maxsize=64)
def _parse(argument: str) -> dict[str, float | frozenset[int]]:
    faults: dict[str, float | frozenset[int]] = {}
    for part in filter(None, argument.split(",")):
        key, _, value = part.partition("=")
        try:
            items = "+" in value or (value.isdigit() and value not in ("0", "1"))
            faults[key] = frozenset(map(int, value.split("+"))) if items else float(value)
        except ValueError:
            raise InputError(f"scripted: {part!r} should be FAULT=RATE or FAULT@STEP=ITEM+ITEM") from None
        rate = faults[key]
        if isinstance(rate, float) and not 0 <= rate <= 1:
            raise InputError(f"scripted: the rate of {key} should be between 0 and 1, got {value}")
    return faults


def scripted(argument: str = "", *, base_url: str | None = None) -> Scripted:
    """Make the model of a spec; `argument` is what follows `scripted:`."""
    del base_url  # there is nothing to connect to
    return Scripted(_parse(argument), name=f"scripted:{argument}" if argument else "scripted")
