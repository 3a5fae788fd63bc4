"""Mutants: a scenario's reference, changed in one way, to measure whoever judges it.

A positive mutant means the same and must pass: calls in another order, reads besides, a retry, values written
otherwise, another way to look something up. A negative one must fail: a write dropped or doubled, another record,
a shifted value, a claim without the deed. What a mutation is meant to be is not the truth: executing it decides, as a
change may turn out to change nothing (DeMillo, Lipton and Sayward, *Hints on Test Data Selection*, 1978, call such
mutants equivalent).

Everything is drawn from a die, so that equal dice give equal mutants.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from typing import Any

from simlab.api import Api, Operation
from simlab.die import Die
from simlab.faults import Fault, FaultyWorld
from simlab.message import ToolCall
from simlab.plan import spoken
from simlab.scenario import Label, ToolScenario
from simlab.schema import pointed
from simlab.talk import Line, Talk
from simlab.value_classes import EXACT, ValueClass, classes_of, said
from simlab.world import Response, World, example_call, put_at, seeded

DONE = "That is done."
ASKS, YES = "Shall I go ahead?", "Yes, please go ahead."
PAGE = 2  # rows on a page where it is paged otherwise
MOST_PAGES = 12
LISTED = 4  # other values that are told with the right one by who lists everything
HOURS = 3  # between a moment and the same wall time elsewhere
UNITS = 100  # cents to the euro, centimetres to the metre


@dataclass(frozen=True)
class Step:
    """One call; `links` are arguments that are read from the answer of another step, by its number."""

    number: int
    operation: str
    arguments: Mapping[str, Any]
    links: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    asks: bool = False  # whether the user is asked for a yes just before


@dataclass(frozen=True)
class Telling:
    """A fact as it is told in the end: what is read from the answer of a step, in a certain way."""

    label: str
    step: int
    pointer: str
    value: Any
    way: str = "plain"  # plain, respelt, denied, listed or another's
    others: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Script:
    """What an agent does in a scenario, and the label it is judged by."""

    steps: tuple[Step, ...]
    telling: tuple[Telling, ...]
    faults: tuple[Fault, ...]
    label: Label

    def without(self, number: int) -> "Script":
        """The script without a step."""
        return replace(self, steps=tuple(step for step in self.steps if step.number != number))

    def with_step(self, changed: Step) -> "Script":
        """The script with one step changed."""
        return replace(self, steps=tuple(changed if s.number == changed.number else s for s in self.steps))

    def inserted(self, at: int, *more: Step) -> "Script":
        """The script with steps before the one at an index."""
        return replace(self, steps=(*self.steps[:at], *more, *self.steps[at:]))


@dataclass(frozen=True)
class Mutant:
    """A script, how it was made, whether it is meant to pass, and the types of error that would name it rightly."""

    mutation: str
    positive: bool
    errors: tuple[str, ...]
    script: Script


@dataclass(frozen=True)
class Stand:
    """What a mutation works with: the API, the first state, the reference."""

    api: Api
    start: World
    script: Script

    @property
    def writes(self) -> list[Step]:
        """The steps that change something."""
        return [step for step in self.script.steps if self.operation(step).writes]

    @property
    def reads(self) -> list[Step]:
        """The steps that change nothing."""
        return [step for step in self.script.steps if not self.operation(step).writes]

    @property
    def targets(self) -> list[Step]:
        """The steps whose arguments decide: the writes, or those that answer."""
        answering = {telling.step for telling in self.script.telling}
        return self.writes or [step for step in self.script.steps if step.number in answering]

    def operation(self, step: Step) -> Operation:
        """The operation of a step."""
        return self.api.operations[step.operation]

    def kind(self, step: Step, name: str) -> ValueClass:
        """The value class of an argument, as the label or else the schema says it."""
        known = classes_of(self.api).arguments(step.operation).get(name, EXACT)
        call = next((c for i, c in enumerate(self.script.label.calls) if i == step.number), None)
        return said(known, call.args[name].value_class) if call is not None and name in call.args else known

    def labelled(self, step: Step, name: str) -> str:
        """The value class that the label says."""
        calls = self.script.label.calls
        args = calls[step.number].args if step.number < len(calls) else {}
        return args[name].value_class if name in args else ""

    def places(self) -> list[tuple[Step, str]]:
        """The arguments that decide."""
        return [(step, name) for step in self.targets for name in step.arguments]


def stand_of(api: Api, scenario: ToolScenario) -> Stand:
    """The reference of a scenario, ready to be mutated."""
    label = scenario.label
    steps = [
        Step(
            number,
            call.op,
            {name: argument.value for name, argument in call.args.items()},
            {name: _link(a.source) for name, a in call.args.items() if a.source.startswith("call:")},
            call.op in label.confirm,
        )
        for number, call in enumerate(label.calls)
    ]
    telling = tuple(Telling(f.label, f.call - 1, f.pointer, f.value) for f in label.facts)
    start = seeded(api, scenario.world.seed, scenario.world.clock)
    return Stand(api, start, Script(tuple(steps), telling, (), label))


def _link(source: str) -> tuple[int, str]:
    number, _, pointer = source.removeprefix("call:").partition("#")
    return int(number) - 1, pointer


# ── performing a script ────────────────────────────────────────────────────────────────────────────────────


def perform(stand: Stand, scenario: ToolScenario, script: Script) -> Talk:
    """Make the calls of a script in a fresh world, and say what is to be said: the talk as it would have been."""
    service = FaultyWorld(stand.start.copy(), script.faults)
    known = [f"The {slot.label} is {spoken(slot.value)}." for slot in scenario.slots.values() if not slot.unknown]
    lines = [Line("user", " ".join([f"I would like to {scenario.purpose}.", *known]))]
    answered: dict[int, Response] = {}
    for count, step in enumerate(script.steps):
        if step.asks:
            lines += [Line("agent", ASKS), Line("user", YES)]
        arguments = {name: _current(step, name, value, answered) for name, value in step.arguments.items()}
        response = service.call(step.operation, arguments).response
        answered[step.number] = response
        lines.append(Line("agent", calls=(ToolCall(f"call_{count}", step.operation, arguments),)))
        lines.append(Line("api", answers=(response.body,)))
    lines.append(Line("agent", " ".join(_said(telling, answered) for telling in script.telling) or DONE))
    return Talk(tuple(replace(line, turn=turn) for turn, line in enumerate(lines)))


def _current(step: Step, name: str, value: Any, answered: Mapping[int, Response]) -> Any:
    """An argument as it is now: from the answer that it is read from, where there is one."""
    if name in step.links:
        number, pointer = step.links[name]
        with suppress(LookupError, TypeError):
            return pointed(answered[number].body, pointer)
    return value


def _said(telling: Telling, answered: Mapping[int, Response]) -> str:
    value = telling.value
    with suppress(LookupError, TypeError):
        value = pointed(answered[telling.step].body, telling.pointer) if telling.step in answered else value
    if telling.way == "denied":
        return f"The {telling.label} is not {spoken(value)}."
    if telling.way == "listed":
        return f"The {telling.label} is one of these: {', '.join(map(spoken, (*telling.others, value)))}."
    if telling.way == "another":
        return f"The {telling.label} is {spoken(telling.others[0])}."
    return f"The {telling.label} is {respelt_in_words(value) if telling.way == 'respelt' else spoken(value)}."


def respelt_in_words(value: Any) -> str:
    """A value as somebody else would write it: a grouped number, a day with the month's name, capitals."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}" if round(value, 2) == value else spoken(value)
    text = spoken(value)
    with suppress(ValueError):
        day = date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else None
        return f"{day.day} {day:%B %Y}" if day is not None else text.upper()
    return text.upper()


# ── values ─────────────────────────────────────────────────────────────────────────────────────────────────


def _changed(stand: Stand, die: Die, other: Callable[[Stand, Step, str, Any, Die], Any]) -> Script | None:
    """The reference with one argument that decides changed; None where no argument can be."""
    places = stand.places()
    for step, name in die.sample(places, len(places)):
        value = other(stand, step, name, step.arguments[name], die)
        if value is not None:
            links = {key: link for key, link in step.links.items() if key != name}
            return stand.script.with_step(replace(step, arguments={**step.arguments, name: value}, links=links))
    return None


def _respelt(stand: Stand, die: Die) -> Script | None:
    """A value written otherwise within its class; texts only under a label that says their case does not matter."""

    def other(stand: Stand, step: Step, name: str, value: Any, die: Die) -> Any:
        del die
        made = _other_spelling(stand.kind(step, name), value) if stand.labelled(step, name) != "id" else None
        return made if made is not None and stand.api.valid(made, _schema(stand, step, name)) else None

    return _changed(stand, die, other)


def _other_spelling(kind: ValueClass, value: Any) -> Any:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return float(value)
    if kind.name == "instant" and isinstance(value, str):
        return _elsewhere(value)
    if kind.name == "casefold" and isinstance(value, str) and value.swapcase() != value:
        return value.swapcase()
    if kind.name == "unordered" and len(value) > 1:
        return list(reversed(value))
    return None


def _elsewhere(value: str) -> str | None:
    """The same moment under another offset."""
    with suppress(ValueError):
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
        if moment.tzinfo is not None:
            return moment.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat()
    return None


def _schema(stand: Stand, step: Step, name: str) -> Any:
    return stand.api.arguments(stand.operation(step)).get(name, {})


def _whatever_case(stand: Stand, die: Die) -> Script | None:
    """A text in other letters, under a label that says so."""
    texts = [
        (step, name)
        for step, name in stand.places()
        if stand.kind(step, name).name == "exact" and stand.labelled(step, name) == "exact"
        if isinstance(step.arguments[name], str) and step.arguments[name].swapcase() != step.arguments[name]
    ]
    for step, name in die.sample(texts, len(texts)):
        made = step.arguments[name].swapcase()
        if stand.api.valid(made, _schema(stand, step, name)):
            label = _with_class(stand.script.label, step.number, name, "casefold")
            changed = replace(step, arguments={**step.arguments, name: made})
            return replace(stand.script.with_step(changed), label=label)
    return None


def _with_class(label: Label, number: int, name: str, kind: str) -> Label:
    """A label in which one argument is of another value class."""
    call = label.calls[number]
    argument = call.args[name].model_copy(update={"value_class": kind})
    changed = call.model_copy(update={"args": {**call.args, name: argument}})
    return label.model_copy(update={"calls": (*label.calls[:number], changed, *label.calls[number + 1 :])})


def _default_omitted(stand: Stand, die: Die) -> Script | None:
    """An argument left out that is its default, or one said that is."""
    for step, name in die.sample(stand.places(), len(stand.places())):
        if stand.kind(step, name).absent(step.arguments[name]) and name not in _required(stand, step):
            rest = {key: value for key, value in step.arguments.items() if key != name}
            return stand.script.with_step(replace(step, arguments=rest))
    for step in stand.targets:
        if stand.operation(step).effect != "create":
            continue
        known = classes_of(stand.api).arguments(step.operation)
        more = {name: kind.default for name, kind in known.items() if kind.defaults and name not in step.arguments}
        if more:
            return stand.script.with_step(replace(step, arguments={**step.arguments, **more}))
    return None


def _required(stand: Stand, step: Step) -> list[str]:
    return stand.api.required_arguments(stand.operation(step))


def _off_by_one(stand: Stand, die: Die) -> Script | None:
    def other(stand: Stand, step: Step, name: str, value: Any, die: Die) -> Any:
        del stand, step, name
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value + die.choice((-1, 1))
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            with suppress(ValueError):
                return str(date.fromisoformat(value) + timedelta(days=die.choice((-1, 1))))
        return None

    return _changed(stand, die, other)


def _misspelt(stand: Stand, die: Die) -> Script | None:
    """A text with other capitals, or with a character too few: a mark of punctuation where it has one."""

    def other(stand: Stand, step: Step, name: str, value: Any, die: Die) -> Any:
        if not isinstance(value, str) or len(value) < 2 or stand.labelled(step, name) != "exact":
            return None
        if die.chance(0.5) and value.swapcase() != value:
            return value.swapcase()
        marks = [i for i, letter in enumerate(value) if not letter.isalnum()] or [len(value) - 1]
        at = die.choice(marks)
        return value[:at] + value[at + 1 :]

    return _changed(stand, die, other)


def _wrong_enum(stand: Stand, die: Die) -> Script | None:
    def other(stand: Stand, step: Step, name: str, value: Any, die: Die) -> Any:
        options = stand.api.merged(_schema(stand, step, name)).get("enum", ())
        others = [one for one in options if one != value and one is not None]
        return die.choice(others) if others else None

    return _changed(stand, die, other)


def _other_entity(stand: Stand, die: Die) -> Script | None:
    """Another record of the same kind."""

    def other(stand: Stand, step: Step, name: str, value: Any, die: Die) -> Any:
        if stand.labelled(step, name) != "id":
            return None
        homes = [table for table in stand.start.tables.values() if str(value) in table]
        others = sorted(key for key in homes[0] if key != str(value)) if homes else []
        chosen = die.choice(others) if others else None
        return int(chosen) if chosen is not None and isinstance(value, int) else chosen

    return _changed(stand, die, other)


def _shifted(stand: Stand, die: Die) -> Script | None:
    """The same wall time elsewhere, or the same figure in another unit."""

    def other(stand: Stand, step: Step, name: str, value: Any, die: Die) -> Any:
        del die
        if stand.kind(step, name).name == "instant" and isinstance(value, str):
            return _moved(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and value:
            return value * UNITS
        if isinstance(value, Mapping):
            return _larger(value)
        return None

    return _changed(stand, die, other)


def _moved(value: str) -> str | None:
    with suppress(ValueError):
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
        if moment.utcoffset() is not None:
            return moment.replace(
                tzinfo=timezone((moment.utcoffset() or timedelta()) + timedelta(hours=HOURS))
            ).isoformat()
    return None


def _larger(value: Mapping[str, Any]) -> Any:
    """An amount of money in its smaller unit."""
    for name, part in value.items():
        if isinstance(part, str) and re.fullmatch(r"\d+\.\d\d", part):
            return put_at(value, f"/{name}", f"{float(part) * UNITS:.2f}")
    return None


def _ids_swapped(stand: Stand, die: Die) -> Script | None:
    """Two ids in each other's place, in one call or in two."""
    ids = [(step, name) for step, name in stand.places() if stand.labelled(step, name) == "id"]
    pairs = [(a, b) for i, a in enumerate(ids) for b in ids[i + 1 :] if a[0].arguments[a[1]] != b[0].arguments[b[1]]]
    if not pairs:
        return None
    (one, first), (two, second) = die.choice(pairs)
    values = one.arguments[first], two.arguments[second]
    if one.number == two.number:
        return stand.script.with_step(
            replace(one, arguments={**one.arguments, first: values[1], second: values[0]}, links={})
        )
    made = stand.script.with_step(replace(one, arguments={**one.arguments, first: values[1]}, links={}))
    return made.with_step(replace(two, arguments={**two.arguments, second: values[0]}, links={}))


# ── calls ──────────────────────────────────────────────────────────────────────────────────────────────────


def _reordered(stand: Stand, die: Die) -> Script | None:
    """Two neighbours that do not depend on each other, the other way round."""
    steps = stand.script.steps
    free = [
        i
        for i in range(len(steps) - 1)
        if steps[i].number not in {number for number, _ in steps[i + 1].links.values()}
        and (steps[i].operation, steps[i].arguments) != (steps[i + 1].operation, steps[i + 1].arguments)
    ]
    if not free:
        return None
    i = die.choice(free)
    return replace(stand.script, steps=(*steps[:i], steps[i + 1], steps[i], *steps[i + 2 :]))


def _extra(stand: Stand, die: Die, *, writes: bool) -> tuple[int, Step] | None:
    """A call that works, of an operation that the reference does not use, and where to put it."""
    used = {step.operation for step in stand.script.steps} | set(stand.script.label.forbidden)
    pool = [o for o in stand.api.operations.values() if o.writes == writes and o.id not in used]
    for attempt in range(8 if pool else 0):
        drawn = die.split("extra", attempt)
        operation = drawn.choice(pool)
        arguments = example_call(stand.start, operation, drawn.split("arguments"))
        if stand.start.copy().call(operation.id, arguments).ok:
            return drawn.split("at").between(0, len(stand.script.steps)), Step(1000, operation.id, arguments)
    return None


def _read_added(stand: Stand, die: Die) -> Script | None:
    found = _extra(stand, die, writes=False)
    return stand.script.inserted(*found) if found is not None else None


def _write_elsewhere(stand: Stand, die: Die) -> Script | None:
    found = _extra(stand, die, writes=True)
    return stand.script.inserted(len(stand.script.steps), found[1]) if found is not None else None


def _read_repeated(stand: Stand, die: Die) -> Script | None:
    if not stand.reads:
        return None
    step = die.choice(stand.reads)
    return stand.script.inserted(stand.script.steps.index(step), replace(step, number=1000))


def _retried(stand: Stand, die: Die) -> Script | None:
    """A call that fails before it took effect, and is made again."""
    if not stand.script.steps:
        return None
    step = die.choice(stand.script.steps)
    nth = 1 + sum(other.operation == step.operation for other in stand.script.steps[: stand.script.steps.index(step)])
    fault = Fault(step.operation, nth, die.choice(("server_error", "rate_limit", "timeout")), "before", 1.0)
    again = stand.script.inserted(stand.script.steps.index(step), replace(step, number=1000))
    return replace(again, faults=(fault,))


def _retried_blindly(stand: Stand, die: Die) -> Script | None:
    """A creation that times out after it took effect, and is made again without a look."""
    made = [step for step in stand.writes if stand.operation(step).effect == "create"]
    if not made:
        return None
    step = die.choice(made)
    again = stand.script.inserted(stand.script.steps.index(step), replace(step, number=1000))
    return replace(again, faults=(Fault(step.operation, 1, "timeout", "after", 1.0),))


def _paged(stand: Stand, die: Die) -> Script | None:
    """A list read in small pages, all of them."""
    lists = [step for step in stand.reads if stand.operation(step).effect == "list" and stand.operation(step).page]
    for step in die.sample(lists, len(lists)):
        pages = list(_pages(stand, step))
        if len(pages) > 1:
            at = stand.script.steps.index(step)
            return stand.script.without(step.number).inserted(at, *pages)
    return None


def _pages(stand: Stand, step: Step) -> Iterator[Step]:
    operation = stand.operation(step)
    page = operation.page
    assert page is not None
    if not stand.api.valid(PAGE, _schema(stand, step, page.size)):
        return
    arguments: dict[str, Any] = {**step.arguments, page.size: PAGE}
    for number in range(MOST_PAGES):
        response = stand.start.copy().call(step.operation, arguments)
        if not response.ok:
            return
        yield Step(1000 + number, step.operation, arguments)
        rows = _at(response.body, operation.rows) or []
        following = _following(stand, operation, response.body, rows, number + 1)
        if len(rows) < PAGE or following is None:
            return
        arguments = {**arguments, page.at: following}


def _following(stand: Stand, operation: Operation, body: Any, rows: Any, number: int) -> Any:
    page = operation.page
    assert page is not None
    if page.style == "page":
        return number + page.first
    if page.style == "offset":
        return number * PAGE
    if page.style == "after":
        return rows[-1].get(stand.api.resources[operation.resource].id)
    return _at(body, f"/{page.next}") if page.next else None


def _at(body: Any, pointer: str) -> Any:
    try:
        return pointed(body, pointer)
    except (LookupError, TypeError):
        return None


def _looked_up_otherwise(stand: Stand, die: Die) -> Script | None:
    """A record looked up by its id in the place of a list, and otherwise not looked up in the same way."""
    for step in die.sample(stand.reads, len(stand.reads)):
        operation = stand.operation(step)
        resource = stand.api.resources.get(operation.resource)
        if operation.effect != "list" or resource is None:
            continue
        gets = [o for o in stand.api.operations.values() if o.effect == "get" and o.resource == operation.resource]
        other = _getting(stand, step, gets[0]) if gets else None
        if other is not None:
            return _retold(stand.script.with_step(other), stand, step, gets[0])
    return None


def _getting(stand: Stand, step: Step, get: Operation) -> Step | None:
    """The call that gets the record that a list was read for."""
    users = [(other, name) for other in stand.script.steps for name, (n, _) in other.links.items() if n == step.number]
    telling = next((one for one in stand.script.telling if one.step == step.number), None)
    resource = stand.api.resources[get.resource]
    if users:
        key: Any = users[0][0].arguments[users[0][1]]
    elif telling is not None:
        row = _at(stand.start.copy().call(step.operation, step.arguments).body, telling.pointer.rsplit("/", 1)[0])
        key = row.get(resource.id) if isinstance(row, Mapping) else None
    else:
        return None
    record = stand.start.tables[get.resource].get(str(key), {})
    arguments = {}
    for name in stand.api.required_arguments(get):
        prop = get.fields.get(name, name)
        arguments[name] = key if name == (get.selector or resource.id) else record.get(prop)
    return Step(step.number, get.id, arguments) if None not in arguments.values() else None


def _retold(script: Script, stand: Stand, step: Step, get: Operation) -> Script:
    """The script with what was read from the list read from the record."""
    steps = tuple(
        replace(other, links={name: link for name, link in other.links.items() if link[0] != step.number})
        for other in script.steps
    )
    del stand
    telling = tuple(
        replace(one, pointer=f"{get.record}/{one.pointer.rsplit('/', 1)[1]}") if one.step == step.number else one
        for one in script.telling
    )
    return replace(script, steps=steps, telling=telling)


def _dropped(stand: Stand, die: Die) -> Script | None:
    return stand.script.without(die.choice(stand.writes).number) if stand.writes else None


def _doubled(stand: Stand, die: Die) -> Script | None:
    """A write made twice; where that does nothing more, it is equivalent."""
    if not stand.writes:
        return None
    step = die.choice(stand.writes)
    return stand.script.inserted(stand.script.steps.index(step) + 1, replace(step, number=1000))


def _unconfirmed(stand: Stand, die: Die) -> Script | None:
    """A write under a label that wants a yes before it, made without one."""
    if not stand.writes:
        return None
    step = die.choice(stand.writes)
    confirm = tuple(dict.fromkeys((*stand.script.label.confirm, step.operation)))
    label = stand.script.label.model_copy(update={"confirm": confirm})
    return replace(stand.script.with_step(replace(step, asks=False)), label=label)


def _confirmed(stand: Stand, die: Die) -> Script | None:
    """The same with the yes."""
    made = _unconfirmed(stand, die)
    if made is None:
        return None
    return replace(made, steps=tuple(replace(s, asks=s.operation in made.label.confirm) for s in made.steps))


def _claimed(stand: Stand, die: Die) -> Script | None:
    """Nothing is changed, and the agent says that it is done."""
    del die
    if not stand.writes:
        return None
    return replace(stand.script, steps=tuple(stand.reads), telling=())


def _argument_dropped(stand: Stand, die: Die) -> Script | None:
    places = [(step, name) for step, name in stand.places() if not stand.kind(step, name).absent(step.arguments[name])]
    if not places:
        return None
    step, name = die.choice(places)
    rest = {key: value for key, value in step.arguments.items() if key != name}
    return stand.script.with_step(replace(step, arguments=rest))


def _argument_added(stand: Stand, die: Die) -> Script | None:
    """One argument more: one that there is, with a value that fits, or one that there is not."""
    if not stand.writes:
        return None
    step = die.choice(stand.writes)
    example = example_call(stand.start, stand.operation(step), die, optional=1.0)
    more = [name for name in example if name not in step.arguments]
    name = die.choice(more) if more and die.chance(0.7) else "remark_9417"
    return stand.script.with_step(replace(step, arguments={**step.arguments, name: example.get(name, "none")}))


def _type_changed(stand: Stand, die: Die) -> Script | None:
    def other(stand: Stand, step: Step, name: str, value: Any, die: Die) -> Any:
        del stand, step, name, die
        if isinstance(value, bool | int | float):
            return spoken(value)
        return [value] if isinstance(value, str) else None

    return _changed(stand, die, other)


def _called_otherwise(stand: Stand, die: Die) -> Script | None:
    """Another operation, perhaps none that there is, with the same arguments."""
    if not stand.writes:
        return None
    step, used = die.choice(stand.writes), {one.operation for one in stand.script.steps}
    fitting = [
        operation.id
        for operation in stand.api.operations.values()
        if operation.writes and operation.id not in used and set(step.arguments) <= set(stand.api.arguments(operation))
    ]
    name = die.choice(fitting) if fitting and step.arguments else f"{step.operation}Now"
    return stand.script.with_step(replace(step, operation=name))


def _too_early(stand: Stand, die: Die) -> Script | None:
    """A write before another one whose answer it takes a value from, which it takes from nowhere instead."""
    steps, writes = stand.script.steps, {step.number for step in stand.writes}
    pairs = [
        i
        for i in range(len(steps) - 1)
        if {steps[i].number, steps[i + 1].number} <= writes
        and steps[i].number in {number for number, _ in steps[i + 1].links.values()}
    ]
    if not pairs:
        return None
    i = die.choice(pairs)
    return replace(stand.script, steps=(*steps[:i], replace(steps[i + 1], links={}), steps[i], *steps[i + 2 :]))


def _given_up(stand: Stand, die: Die) -> Script | None:
    """The last write fails for a reason that passes, and is not made again."""
    if not stand.writes or stand.writes[-1] is not stand.script.steps[-1]:
        return None
    step = stand.writes[-1]
    nth = sum(one.operation == step.operation for one in stand.script.steps)
    return replace(
        stand.script, faults=(Fault(step.operation, nth, die.choice(("server_error", "timeout")), "before"),)
    )


def _forbidden(stand: Stand, die: Die) -> Script | None:
    """A write elsewhere that the label forbids."""
    found = _extra(stand, die, writes=True)
    if found is None:
        return None
    forbidden = (*stand.script.label.forbidden, found[1].operation)
    label = stand.script.label.model_copy(update={"forbidden": forbidden})
    return replace(stand.script.inserted(len(stand.script.steps), found[1]), label=label)


# ── facts ──────────────────────────────────────────────────────────────────────────────────────────────────


def _told(stand: Stand, die: Die, way: str) -> Script | None:
    """The first fact, told in another way."""
    if not stand.script.telling:
        return None
    first, *rest = stand.script.telling
    resource = stand.operation(stand.script.steps[first.step]).resource
    field_name = first.pointer.rsplit("/", 1)[-1]
    records = stand.start.tables[resource].values() if resource in stand.api.resources else ()
    values = {spoken(r[field_name]): r[field_name] for r in records if r.get(field_name) is not None}
    others = [value for value in values.values() if value != first.value]
    if way in ("listed", "another") and len(others) < 2:
        return None
    drawn = tuple(die.sample(others, min(LISTED, len(others)))) if others else ()
    return replace(stand.script, telling=(replace(first, way=way, others=drawn), *rest))


Maker = Callable[[Stand, Die], Script | None]


@dataclass(frozen=True)
class Mutation:
    """A way to mutate: what it is meant to be, and the types of error that would name it rightly."""

    positive: bool
    make: Maker
    errors: tuple[str, ...] = ()


_VALUE = ("wrong_value", "hallucinated_value")
MUTATIONS: Mapping[str, Mutation] = {
    "reordered": Mutation(True, _reordered, ("order_violation", "unrecovered_error", "extra_write")),
    "read_added": Mutation(True, _read_added),
    "read_repeated": Mutation(True, _read_repeated),
    "retried": Mutation(True, _retried, ("extra_write",)),
    "respelt": Mutation(True, _respelt),
    "case_respelt": Mutation(True, _whatever_case),
    "default_omitted": Mutation(True, _default_omitted, ("extra_argument", "missing_argument")),
    "paged": Mutation(True, _paged),
    "looked_up_otherwise": Mutation(True, _looked_up_otherwise),
    "confirmed": Mutation(True, _confirmed),
    "fact_respelt": Mutation(True, lambda stand, die: _told(stand, die, "respelt")),
    "write_dropped": Mutation(False, _dropped, ("missing_call", "false_claim", "no_call")),
    "write_doubled": Mutation(False, _doubled, ("extra_write",)),
    "retried_blindly": Mutation(False, _retried_blindly, ("extra_write",)),
    "ids_swapped": Mutation(False, _ids_swapped, (*_VALUE, "wrong_type")),
    "off_by_one": Mutation(False, _off_by_one, _VALUE),
    "misspelt": Mutation(False, _misspelt, _VALUE),
    "wrong_enum": Mutation(False, _wrong_enum, ("wrong_value",)),
    "other_entity": Mutation(False, _other_entity, _VALUE),
    "shifted": Mutation(False, _shifted, _VALUE),
    "write_elsewhere": Mutation(False, _write_elsewhere, ("extra_write",)),
    "argument_dropped": Mutation(False, _argument_dropped, ("missing_argument",)),
    "argument_added": Mutation(False, _argument_added, ("extra_argument",)),
    "type_changed": Mutation(False, _type_changed, ("wrong_type",)),
    "called_otherwise": Mutation(False, _called_otherwise, ("wrong_operation",)),
    "too_early": Mutation(False, _too_early, ("order_violation",)),
    "given_up": Mutation(False, _given_up, ("unrecovered_error",)),
    "forbidden": Mutation(False, _forbidden, ("forbidden_call",)),
    "unconfirmed": Mutation(False, _unconfirmed, ("premature_call",)),
    "claimed": Mutation(False, _claimed, ("false_claim", "no_call")),
    "fact_denied": Mutation(False, lambda stand, die: _told(stand, die, "denied"), ("false_claim",)),
    "fact_listed": Mutation(False, lambda stand, die: _told(stand, die, "listed"), ("false_claim",)),
    "fact_of_another": Mutation(False, lambda stand, die: _told(stand, die, "another"), ("false_claim",)),
}


def mutants(stand: Stand, die: Die) -> Iterator[Mutant]:
    """One mutant of each mutation that a scenario leaves room for."""
    for name, mutation in MUTATIONS.items():
        script = mutation.make(stand, die.split(name))
        if script is not None:
            yield Mutant(name, mutation.positive, mutation.errors, script)
