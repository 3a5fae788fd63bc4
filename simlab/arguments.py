"""Arguments: the calls that a label wants, compared with the calls that an agent made.

Calls are matched one to one (`matching`), in the partial order of their data: what takes a value from an earlier
answer comes after it. What is left is paired with what comes nearest, and the differences are findings.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simlab.findings import Finding
from simlab.matching import ordered
from simlab.message import ToolCall
from simlab.plan import spoken
from simlab.schema import to_json
from simlab.slots import Overlap, Slots
from simlab.talk import pointed_leaves
from simlab.value_classes import EXACT, ValueClass, resembles

Renamed = Mapping[str, frozenset[str]]  # an id that a new record has -> the ids that it may have in the label


@dataclass(frozen=True)
class Wanted:
    """An argument that is wanted: any of some values, from a source, perhaps to be left out."""

    values: tuple[Any, ...]
    kind: ValueClass = EXACT
    optional: bool = False
    sources: tuple[str, ...] = ()

    @property
    def value(self) -> Any:
        """The value of the reference."""
        return self.values[0] if self.values else None

    @property
    def may_be_absent(self) -> bool:
        """Whether a call may do without it."""
        return self.optional or self.kind.absent(self.value)

    def accepts(self, got: Any, renamed: Renamed) -> bool:
        """Whether a value is one that is wanted, or the id of a new record in the place of another new one's."""
        if self.kind.name == "text" and any(resembles(value, got) for value in self.values):
            return True
        if type(got) is type(self.value) and str(self.value) in renamed.get(str(got), ()):
            return True
        return any(self.kind.same(value, got) for value in self.values)


@dataclass(frozen=True)
class Expected:
    """A call that is wanted; `needed` where there is no other way, and `after` are the calls it takes values from."""

    operation: str
    arguments: Mapping[str, Wanted] = field(default_factory=dict)
    needed: bool = True
    writes: bool = True
    after: frozenset[int] = frozenset()
    known: Mapping[str, ValueClass] = field(default_factory=dict)  # the classes of all arguments that there are


@dataclass(frozen=True)
class Made:
    """A call that was made: its place, what it was answered, and whether it worked and changed anything."""

    call: ToolCall
    index: int
    line: int = 0
    turn: int | None = None
    status: int = 200
    worked: bool = True
    wrote: bool = False
    exists: bool = True  # the operation
    writes: bool = False  # the operation, whether it worked or not


@dataclass(frozen=True)
class Difference:
    """One argument that is not as wanted: missing, extra, or another value."""

    what: str  # missing_argument, extra_argument, wrong_type or wrong_value
    name: str
    pointer: str
    expected: Any = None
    got: Any = None
    kind: ValueClass = EXACT


@dataclass(frozen=True)
class Matched:
    """Which wanted call is which that was made; `near` are pairs that differ, `failed` those that did not work."""

    right: Mapping[int, int]
    near: Mapping[int, int]
    failed: Mapping[int, int]
    astray: Mapping[int, int]  # an unmatched call and another operation in its place
    extra: tuple[int, ...]  # calls that changed something and are no one's


def differences(wanted: Expected, made: Mapping[str, Any], renamed: Renamed) -> list[Difference]:
    """How the arguments of a call differ from those that are wanted; empty when they mean the same."""
    found: list[Difference] = []
    for name, argument in wanted.arguments.items():
        pointer = f"/{name.replace('~', '~0').replace('/', '~1')}"
        if name not in made:
            if not argument.may_be_absent:
                found.append(Difference("missing_argument", name, pointer, argument.value, None, argument.kind))
        elif not argument.accepts(made[name], renamed):
            at, expected, got = _deepest(argument, made[name])
            what = "wrong_type" if _another_type(expected, got) else "wrong_value"
            found.append(Difference(what, name, f"{pointer}{at}", expected, got, argument.kind))
    for name, value in made.items():
        if name not in wanted.arguments and not wanted.known.get(name, EXACT).absent(value):
            found.append(Difference("extra_argument", name, f"/{name}", None, value))
    return found


def _deepest(wanted: Wanted, got: Any) -> tuple[str, Any, Any]:
    """Where in a value the first difference is, with what stands there."""
    one, other = dict(pointed_leaves(wanted.value)), dict(pointed_leaves(got))
    if set(one) == set(other):
        for at, value in one.items():
            if spoken(value) != spoken(other[at]) or type(value) is not type(other[at]):
                return at, value, other[at]
    return "", wanted.value, got


def _another_type(wanted: Any, got: Any) -> bool:
    return _type(wanted) != _type(got)


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, Mapping):
        return "object"
    return "array" if isinstance(value, list | tuple) else type(value).__name__


def match(expected: Sequence[Expected], made: Sequence[Made], renamed: Renamed) -> Matched:
    """Match what is wanted to what was made."""
    gaps = {
        (i, m.index): differences(one, m.call.arguments, renamed)
        for i, one in enumerate(expected)
        for m in made
        if m.call.name == one.operation
    }
    same = [{m.index for m in made if gaps.get((i, m.index)) == []} for i in range(len(expected))]
    worked = [{column for column in columns if made[column].worked} for columns in same]
    right = ordered(worked, {i: one.after for i, one in enumerate(expected)})
    left = [i for i in range(len(expected)) if i not in right]
    taken = set(right.values())
    failed = _first_free(left, same, taken)
    near = _nearest([i for i in left if i not in failed], made, gaps, taken)
    missing = [i for i in left if i not in failed and i not in near]
    astray = _in_the_place_of(missing, expected, made, taken)
    extra = tuple(m.index for m in made if m.wrote and m.index not in taken)
    return Matched(right, near, failed, astray, extra)


def _first_free(rows: Sequence[int], columns: Sequence[set[int]], taken: set[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for row in rows:
        if free := sorted(columns[row] - taken):
            found[row] = free[-1]
            taken.add(free[-1])
    return found


def _nearest(
    rows: Sequence[int], made: Sequence[Made], gaps: Mapping[tuple[int, int], list[Difference]], taken: set[int]
) -> dict[int, int]:
    """Pairs of the same operation, those with the fewest differences first, what worked before what did not."""
    pairs = sorted(
        (len(found), not made[column].worked, row, column) for (row, column), found in gaps.items() if row in rows
    )
    near: dict[int, int] = {}
    for _, _, row, column in pairs:
        if row not in near and column not in taken:
            near[row] = column
            taken.add(column)
    return near


def _in_the_place_of(
    rows: Sequence[int], expected: Sequence[Expected], made: Sequence[Made], taken: set[int]
) -> dict[int, int]:
    """Calls of other operations that took the place of one that is missing: they share a value with it."""
    found: dict[int, int] = {}
    wanted = {one.operation for one in expected}
    for row in rows:
        if not expected[row].needed:
            continue
        held = {to_json(argument.value) for argument in expected[row].arguments.values()}
        for m in made:
            shares = any(to_json(value) in held for value in m.call.arguments.values())
            instead = not m.exists or (m.writes and (shares or not held))
            if m.index not in taken and m.call.name not in wanted and instead:
                found[row] = m.index
                taken.add(m.index)
                break
    return found


def slots_of(expected: Sequence[Expected], made: Sequence[Made], matched: Matched) -> Slots:
    """The slots of all wanted calls against those of the calls they were paired with."""
    raw = normalised = Overlap()
    for i, one in enumerate(expected):
        column = matched.right.get(i, matched.near.get(i))
        arguments = made[column].call.arguments if column is not None and made[column].exists else {}
        wanted = list(_flat({name: argument.value for name, argument in one.arguments.items()}))
        given = list(_flat(arguments))
        right = sum(1 for slot in given if slot in wanted)
        meant = sum(_meant(name, value, one, wanted) for name, value in arguments.items())
        raw += Overlap(right, len(given), len(wanted))
        normalised += Overlap(min(meant, len(wanted)), len(given), len(wanted))
    return Slots(raw, normalised)


def _meant(name: str, value: Any, expected: Expected, wanted: list[tuple[str, str]]) -> int:
    """How many slots of an argument are right by what they mean."""
    slots = list(_flat({name: value}))
    if name in expected.arguments and expected.arguments[name].accepts(value, {}):
        return len(slots)
    return sum(1 for slot in slots if slot in wanted)


def _flat(arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for pointer, value in pointed_leaves(arguments):
        if pointer:
            yield pointer, spoken(value)


def shown(difference: Difference) -> str:
    """A difference in words."""
    if difference.what == "missing_argument":
        return f"{difference.pointer} is missing; expected {to_json(difference.expected)[:80]}"
    if difference.what == "extra_argument":
        return f"{difference.pointer} should not be there; got {to_json(difference.got)[:80]}"
    return f"{difference.pointer}: expected {to_json(difference.expected)[:80]}, got {to_json(difference.got)[:80]}"


def finding_of(difference: Difference, what: str, made: Made) -> Finding:
    """A difference as a finding of a type."""
    return Finding(
        what,
        f"{made.call.name}: {shown(difference)}",
        made.index,
        made.turn,
        made.call.name,
        difference.pointer,
        difference.expected,
        difference.got,
        difference.kind.name,
    )
