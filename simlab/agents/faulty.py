"""`faulty@TYPE=RATE`: the oracle with one scripted defect, which is to be found as an error of exactly that type.

It plays as the oracle does where a scenario leaves no room for the defect (a value of the wrong type where nothing is
called, say), and in a share of 1 - RATE of the others, drawn by a die. A defect is a change to the plan that the oracle
follows, and one that would reach the goal all the same is not used: `spoilt` gives the plan, or None.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from simlab.die import Die
from simlab.errors import InputError, nearest
from simlab.findings import ERRORS
from simlab.guided import PATIENCE, Guided
from simlab.model import Model
from simlab.plan import Argument, Plan, PlannedCall, Rejected, execute
from simlab.schema import pointed
from simlab.states import same_change
from simlab.talk import leaves
from simlab.world import Response, World, diff, example_call, volatile_fields

SORRY = "I am sorry, I could not do that."
DONE = "That is done."
MADE_UP = "zzqx-9417"
NO_ARGUMENT = "remark_9417"
FAR = 7919  # between a number and the one that is made up for it
TRIES = 12  # random calls that are tried where one is needed


def faulty(plan: Plan, world: World, model: Model, type: str = "wrong_value", rate: float = 1.0) -> Guided:
    """The agent for one scenario; raises InputError for a type that there is not, or a rate outside 0 to 1."""
    if type not in ERRORS:
        raise InputError(f"faulty: no type of error {type!r}{nearest(type, ERRORS)}")
    if not 0 <= rate <= 1:
        raise InputError(f"faulty: the rate of {type} is a share from 0 to 1, got {rate}")
    die = Die("faulty", world.api.title, plan.world_seed, plan.purpose, type)
    bad = spoilt(plan, world, type, die) if die.split("rate").chance(rate) else None
    if bad is None:
        return Guided(model, plan)
    agent = Guided(model, bad, hesitates=type != "premature_call", closing=_CLOSING.get(type, ""))
    agent.failures = PATIENCE if type == "unrecovered_error" else 0
    return agent


def spoilt(plan: Plan, world: World, type: str, die: Die) -> Plan | None:
    """The plan with a defect of a type; None where there is no room for it."""
    for bad in _SPOILERS[type](plan, world, die):
        wanted = replace(plan, facts=bad.facts or plan.facts)  # which may be answers of later calls
        if type in _BY_TALK or not reaches(wanted, world, bad.calls):
            return bad
    return None


def reaches(plan: Plan, world: World, calls: Sequence[PlannedCall]) -> bool:
    """Whether calls reach what a plan wants, where nothing is forbidden: its change, and the answers it tells."""
    made, responses = world.copy(), []
    for call in calls:
        arguments = {name: argument.value for name, argument in call.arguments.items()}
        responses.append(made.call(call.operation, arguments))
    changed = diff(world.tables, made.tables, volatile_fields(world.api))
    return same_change(plan.change, changed) and all(
        _answers(responses, f.call, f.pointer, f.value) for f in plan.facts
    )


def _answers(responses: Sequence[Response], call: int, pointer: str, value: Any) -> bool:
    try:
        return bool(pointed(responses[call - 1].body, pointer) == value)
    except (LookupError, TypeError):
        return False


# ── values ─────────────────────────────────────────────────────────────────────────────────────────────────


def _target(plan: Plan, world: World) -> int | None:
    """The call whose arguments are spoilt: the last write, or the one that answers; None where there is none."""
    writes = [i for i, call in enumerate(plan.calls) if world.api.operations[call.operation].writes]
    if writes:
        return writes[-1] if not any(_uses(call, writes[-1] + 1) for call in plan.calls) else None
    answering = [fact.call - 1 for fact in plan.facts if plan.calls[fact.call - 1].arguments]
    return answering[-1] if answering else None


def _uses(call: PlannedCall, number: int) -> bool:
    return any(s.startswith(f"call:{number}#") for argument in call.arguments.values() for s in argument.sources)


def _with(plan: Plan, at: int, arguments: Mapping[str, Argument], operation: str = "") -> Plan:
    calls = list(plan.calls)
    calls[at] = PlannedCall(operation or calls[at].operation, arguments)
    return replace(plan, calls=tuple(calls))


def _valued(
    plan: Plan, world: World, die: Die, others: Callable[[str, Argument, int], Iterator[Any]]
) -> Iterator[Plan]:
    """Plans in which one argument of the target has another value."""
    at = _target(plan, world)
    if at is None:
        return
    arguments = plan.calls[at].arguments
    for name in die.sample(list(arguments), len(arguments)):
        for value in others(name, arguments[name], at):
            spoiled = replace(arguments[name], value=value, source=_literal(arguments[name].source))
            yield _with(plan, at, {**arguments, name: spoiled})


def _literal(source: str) -> str:
    return "" if source.startswith("call:") else source


def _wrong_value(plan: Plan, world: World, die: Die) -> Iterator[Plan]:
    """Another value of the same type that is known: from the schema, an earlier answer, or the user."""

    def others(name: str, argument: Argument, at: int) -> Iterator[Any]:
        value = argument.value
        if isinstance(value, bool):
            yield not value
            return
        schema = world.api.merged(world.api.arguments(world.api.operations[plan.calls[at].operation]).get(name, {}))
        yield from (one for one in schema.get("enum", ()) if one != value and isinstance(one, type(value)))
        known = [leaf for body in _bodies(plan, world, at) for leaf in leaves(body)] if _is_id(argument) else []
        known += [slot.value for slot in plan.known if slot.reveal == "opening" or _last(plan, at)]
        alike = (one for one in known if type(one) is type(value) and one != value)
        yield from (one for one in alike if not _is_id(argument) or _same_shape(one, value))

    return _valued(plan, world, die, others)


def _is_id(argument: Argument) -> bool:
    return argument.value_class == "id"


def _same_shape(one: Any, other: Any) -> bool:
    return str(one).rstrip("0123456789") == str(other).rstrip("0123456789")


def _last(plan: Plan, at: int) -> bool:
    return at == len(plan.calls) - 1


def _bodies(plan: Plan, world: World, before: int) -> Iterator[Any]:
    made = world.copy()
    for call in plan.calls[:before]:
        yield made.call(call.operation, {name: argument.value for name, argument in call.arguments.items()}).body


def _made_up(plan: Plan, world: World, die: Die) -> Iterator[Plan]:
    """A value of the same type that nobody said and nothing holds."""

    def others(name: str, argument: Argument, at: int) -> Iterator[Any]:
        del name, at
        value = argument.value
        if isinstance(value, str):
            yield _another_day(value) or MADE_UP
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield value + FAR

    return _valued(plan, world, die, others)


def _another_day(value: str) -> str:
    try:
        return str(date.fromisoformat(value) + timedelta(days=400))
    except ValueError:
        return ""


def _wrong_type(plan: Plan, world: World, die: Die) -> Iterator[Plan]:
    def others(name: str, argument: Argument, at: int) -> Iterator[Any]:
        del name, at
        if isinstance(argument.value, str):
            yield [argument.value]
        elif isinstance(argument.value, bool | int | float):
            yield str(argument.value)

    return _valued(plan, world, die, others)


# ── arguments and operations ───────────────────────────────────────────────────────────────────────────────


def _missing_argument(plan: Plan, world: World, die: Die) -> Iterator[Plan]:
    at = _target(plan, world)
    told = {
        f"user:{slot.name}" for slot in plan.known if slot.reveal == "opening" or (at is not None and _last(plan, at))
    }
    arguments = plan.calls[at].arguments if at is not None else {}
    for name in die.sample(list(arguments), len(arguments)):
        known = all(s in told or s.startswith("call:") or s == "const" for s in arguments[name].sources)
        if at is not None and known:
            yield _with(plan, at, {key: value for key, value in arguments.items() if key != name})


def _extra_argument(plan: Plan, world: World, die: Die) -> Iterator[Plan]:
    """One more argument that there is, or else one that there is not."""
    at = _target(plan, world)
    if at is None:
        return
    arguments, operation = plan.calls[at].arguments, world.api.operations[plan.calls[at].operation]
    example = example_call(world, operation, die, optional=1.0) if operation.writes else {}
    for name, value in {**{n: v for n, v in example.items() if n not in arguments}, NO_ARGUMENT: MADE_UP}.items():
        yield _with(plan, at, {**arguments, name: Argument(value, "const")})


def _wrong_operation(plan: Plan, world: World, die: Die) -> Iterator[Plan]:
    """Another write to the same record, or else an operation that there is not."""
    at = _target(plan, world)
    if at is None or not plan.change:
        return
    call = plan.calls[at]
    values = {name: argument.value for name, argument in call.arguments.items()}
    for operation in world.api.operations.values():
        known = world.api.arguments(operation)
        kept = {name: argument for name, argument in call.arguments.items() if name in known}
        if not operation.writes or operation.id in {c.operation for c in plan.calls} or not kept:
            continue
        example = {**example_call(world, operation, die), **{name: values[name] for name in kept}}
        made = _before(plan, world, at)
        if made.copy().call(operation.id, example).ok:
            rest = {name: Argument(value, "const") for name, value in example.items() if name not in kept}
            yield _with(plan, at, {**kept, **rest}, operation.id)
    yield _with(plan, at, call.arguments, f"{call.operation}Now")


def _before(plan: Plan, world: World, at: int) -> World:
    """The world as the calls before one leave it."""
    made = world.copy()
    for call in plan.calls[:at]:
        made.call(call.operation, {name: argument.value for name, argument in call.arguments.items()})
    return made


# ── calls ──────────────────────────────────────────────────────────────────────────────────────────────────


def _without_the_last(plan: Plan, world: World, die: Die) -> Iterator[Plan]:
    """Without the last write, or the call that answers; what comes after it goes too."""
    del die
    at = _target(plan, world)
    if at is not None:
        yield replace(plan, calls=plan.calls[:at], facts=())


def _missing_call(plan: Plan, world: World, die: Die) -> Iterator[Plan]:
    return (bad for bad in _without_the_last(plan, world, die) if bad.calls)


def _no_call(plan: Plan, world: World, die: Die) -> Iterator[Plan]:
    del world, die
    if plan.calls:
        yield replace(plan, calls=(), facts=())


def _false_claim(plan: Plan, world: World, die: Die) -> Iterator[Plan]:
    return _without_the_last(plan, world, die) if plan.change else iter(())


def _extra_write(plan: Plan, world: World, die: Die) -> Iterator[Plan]:
    """One more write, to something else, before all others."""
    planned = {call.operation for call in plan.calls}
    writes = [o for o in world.api.operations.values() if o.writes and o.id not in planned | set(plan.forbidden)]
    for attempt in range(TRIES if writes and plan.calls else 0):
        operation = die.split(attempt).choice(writes)
        arguments = example_call(world, operation, die.split(attempt, "arguments"))
        made = world.copy()
        if made.call(operation.id, arguments).ok and _still_works(plan, made):
            call = PlannedCall(operation.id, {name: Argument(value, "const") for name, value in arguments.items()})
            facts = tuple(replace(fact, call=fact.call + 1) for fact in plan.facts)
            yield replace(plan, calls=(call, *map(_later, plan.calls)), facts=facts)


def _still_works(plan: Plan, world: World) -> bool:
    """Whether the calls of a plan mean in a changed world what they meant before."""
    try:
        responses = execute(world.copy(), plan.calls)
    except Rejected:
        return False
    looked_up = (
        (a, *_place(a)) for call in plan.calls for a in call.arguments.values() if a.source.startswith("call:")
    )
    return all(_answers(responses, number, pointer, argument.value) for argument, number, pointer in looked_up)


def _place(argument: Argument) -> tuple[int, str]:
    """The call that an argument comes from, and where in its answer."""
    number, _, pointer = argument.source.removeprefix("call:").partition("#")
    return int(number), pointer


def _later(call: PlannedCall) -> PlannedCall:
    """A call of a plan after one more call."""
    return PlannedCall(call.operation, {name: _shifted(argument) for name, argument in call.arguments.items()})


def _shifted(argument: Argument) -> Argument:
    if not argument.source.startswith("call:"):
        return argument
    number, pointer = _place(argument)
    return replace(argument, source=f"call:{number + 1}#{pointer}")


def _forbidden_call(plan: Plan, world: World, die: Die) -> Iterator[Plan]:
    for attempt in range(TRIES if plan.forbidden else 0):
        operation = world.api.operations[plan.forbidden[0]]
        arguments = example_call(world, operation, die.split(attempt))
        if world.copy().call(operation.id, arguments).ok:
            call = PlannedCall(operation.id, {name: Argument(value, "const") for name, value in arguments.items()})
            yield replace(plan, calls=(*plan.calls, call))


def _premature_call(plan: Plan, world: World, die: Die) -> Iterator[Plan]:
    """The same plan, if it waits for anything: a value that the last write takes from the user, or a yes."""
    del die
    at = _target(plan, world)
    if at is None:
        return
    later = {f"user:{slot.name}" for slot in plan.slots if slot.reveal != "opening"}
    arguments = plan.calls[at].arguments
    known = _told_at_once(plan.calls[at], later).arguments
    waits = len(known) < len(arguments) and not reaches(
        plan, world, [_told_at_once(call, later) for call in plan.calls]
    )
    if waits or (not later and plan.calls[at].operation in plan.confirm):
        yield plan


def _told_at_once(call: PlannedCall, later: set[str]) -> PlannedCall:
    """A call without what is told later."""
    known = {name: argument for name, argument in call.arguments.items() if not set(argument.sources) & later}
    return PlannedCall(call.operation, known)


def _order_violation(plan: Plan, world: World, die: Die) -> Iterator[Plan]:
    """A write before another one whose answer it takes a value from."""
    del die
    for at in range(1, len(plan.calls)):
        pair = plan.calls[at - 1], plan.calls[at]
        if all(world.api.operations[call.operation].writes for call in pair) and _uses(pair[1], at):
            calls = [*plan.calls[: at - 1], pair[1], pair[0], *plan.calls[at + 1 :]]
            known = [*calls[: at - 1], *(_from_memory(call) for call in calls[at - 1 :])]
            yield replace(plan, calls=tuple(known), facts=())


def _from_memory(call: PlannedCall) -> PlannedCall:
    arguments = {n: replace(a, source=_literal(a.source)) for n, a in call.arguments.items()}
    return PlannedCall(call.operation, arguments)


def _unrecovered_error(plan: Plan, world: World, die: Die) -> Iterator[Plan]:
    """The same plan, if the service fails at its target, before the call took effect."""
    del die
    at = _target(plan, world)
    struck = {fault.operation for fault in plan.faults if fault.when != "after"}
    if at is not None and _last(plan, at) and plan.calls[at].operation in struck:
        yield replace(plan, facts=())


_BY_TALK = ("premature_call", "unrecovered_error", "forbidden_call")  # what the calls alone do not show
_CLOSING: Mapping[str, str] = {
    "missing_call": SORRY,
    "no_call": SORRY,
    "unrecovered_error": SORRY,
    "false_claim": DONE,
    "forbidden_call": DONE,
}
_SPOILERS: Mapping[str, Callable[[Plan, World, Die], Iterator[Plan]]] = {
    "forbidden_call": _forbidden_call,
    "premature_call": _premature_call,
    "hallucinated_value": _made_up,
    "wrong_operation": _wrong_operation,
    "wrong_type": _wrong_type,
    "wrong_value": _wrong_value,
    "missing_argument": _missing_argument,
    "extra_argument": _extra_argument,
    "order_violation": _order_violation,
    "unrecovered_error": _unrecovered_error,
    "extra_write": _extra_write,
    "false_claim": _false_claim,
    "no_call": _no_call,
    "missing_call": _missing_call,
}
