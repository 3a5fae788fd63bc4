"""Comparing changes of state: equal up to a one-to-one renaming of the ids of new records, and by value classes.

Records are nodes, and ids of new records are edges between them. Colours are refined until they are stable (Weisfeiler
and Lehman, 1968); where records are left that look alike, one is singled out and refinement goes on, so that no
permutations are tried.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simlab.records import CALLS
from simlab.schema import digest, to_json
from simlab.value_classes import EXACT, ValueClass

Change = Mapping[str, Any]
Node = tuple[str, str]  # resource and id


@dataclass(frozen=True)
class Compared:
    """How the fields of records are compared: their classes, and which of them hold ids of which resource.

    Where `links` is None, any text that is the id of a new record is taken for a reference to it. `notes` has the class
    of the arguments of each operation that is merely noted down, as nobody says what it does.
    """

    classes: Mapping[str, Mapping[str, ValueClass]] = field(default_factory=dict)
    links: Mapping[str, Mapping[str, str]] | None = None
    notes: Mapping[str, ValueClass] = field(default_factory=dict)

    def of(self, resource: str, name: str, record: Mapping[str, Any]) -> ValueClass:
        """The class of a field of a record."""
        if resource == CALLS and name == "arguments":
            return self.notes.get(str(record.get("operation")), EXACT)
        return self.classes.get(resource, {}).get(name, EXACT)


PLAIN = Compared()


def same_change(goal: Change, got: Change, compared: Compared = PLAIN) -> bool:
    """Whether two changes (as `world.diff` says them) are equal up to the ids of new records."""
    if _new_records(goal) != _new_records(got):
        return False
    if to_json(goal) == to_json(got):
        return True
    wanted, made = _Side(goal, compared), _Side(got, compared)
    if wanted.old != made.old:
        return False
    return _alike(wanted, made, wanted.colours(), made.colours())


def satisfied(goal: Change, got: Change, compared: Compared = PLAIN) -> tuple[int, int]:
    """How many of the changes in a goal are there, and how many there are: a field that changes, a record that comes.

    New records are told apart by what they hold, ids of new records apart.
    """
    wanted, made = (Counter(_Side(change, compared).parts()) for change in (goal, got))
    return sum((wanted & made).values()), sum(wanted.values())


class _Side:
    """One of two changes: its records in normal form, with references to new ones in place of their ids."""

    def __init__(self, change: Change, compared: Compared) -> None:
        self._compared = compared
        self._new = set(_added(change))
        self._by_id = {key: (name, key) for name, key in sorted(self._new)}
        self.content: dict[Node, Any] = {}
        self.edges: dict[Node, list[tuple[Node, str]]] = defaultdict(list)  # who refers to a node, and where
        for name, records in change.items():
            for key, what in records.items():
                node = (name, _key(key))
                if made := self._record(node, what):
                    self.content[node] = made

    @property
    def old(self) -> Sequence[Node]:
        """The records that are not new."""
        return sorted(node for node in self.content if node not in self._new)

    @property
    def new(self) -> Sequence[Node]:
        """The new records."""
        return sorted(self._new)

    def _record(self, node: Node, what: Mapping[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for verb, fields in what.items():
            rows = {}
            for name, value in fields.items():
                kind = self._compared.of(node[0], name, fields)
                if verb == "changed":
                    old, new = kind.canonical(value[0]), kind.canonical(value[1])
                    if to_json(old) != to_json(new):  # a value that is merely written otherwise has not changed
                        rows[name] = [old, self._referring(node, name, new)]
                else:
                    rows[name] = self._referring(node, name, kind.canonical(value))
            if rows or verb != "changed":
                made[verb] = rows
        return made

    def _referring(self, node: Node, name: str, value: Any) -> Any:
        """A value with references in place of ids of new records."""
        target = self._target(node[0], name, value)
        if target is not None:
            if target != node:
                self.edges[target].append((node, name))
            return target
        if isinstance(value, Mapping):
            return {key: self._referring(node, key, inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._referring(node, name, inner) for inner in value]
        return value

    def _target(self, resource: str, name: str, value: Any) -> Node | None:
        if not isinstance(value, str | int) or isinstance(value, bool):
            return None
        links = self._compared.links
        if links is not None and (other := links.get(resource, {}).get(name)) is not None:
            node = (other, str(value))
            return node if node in self._new else None
        if isinstance(value, str) and not (links is not None and value.isdigit()):
            return self._by_id.get(value)
        return None

    def colours(self) -> dict[Node, str]:
        """The first colours: a new record has that of its resource, another one of its own."""
        return {node: node[0] if node in self._new else "/".join(node) for node in {*self.content, *self._new}}

    def refined(self, colours: Mapping[Node, str]) -> dict[Node, str]:
        """The next colours: by what a record holds and by who refers to it."""
        made = {}
        for node, colour in colours.items():
            holds = _coloured(self.content.get(node), colours)
            referred = sorted((colours[source], name) for source, name in self.edges.get(node, ()))
            made[node] = digest(to_json([colour, holds, referred]))
        return made

    def parts(self) -> Iterator[str]:
        """Each change by itself, as text."""
        colours = self.colours()
        for node, what in self.content.items():
            for verb, fields in what.items():
                if verb == "changed":
                    yield from (to_json([node, name, _coloured(value, colours)]) for name, value in fields.items())
                else:
                    yield to_json([colours[node], verb, _coloured(fields, colours)])


def _added(change: Change) -> Iterator[Node]:
    """The new records of a change."""
    return ((name, _key(key)) for name, rows in change.items() for key, what in rows.items() if "added" in what)


def _new_records(change: Change) -> Counter[str]:
    """How many records are new in each resource."""
    return Counter(name for name, _ in set(_added(change)))


def _key(key: str) -> str:
    """The key of a record: that of 10.0 is that of 10."""
    whole = key.removesuffix(".0")
    return whole if whole.isdigit() else key


def _coloured(value: Any, colours: Mapping[Node, str]) -> Any:
    """A value with the colours of the records it refers to."""
    if isinstance(value, tuple):
        return {"": colours[value]}
    if isinstance(value, Mapping):
        return {key: _coloured(inner, colours) for key, inner in value.items()}
    if isinstance(value, list):
        return [_coloured(inner, colours) for inner in value]
    return value


def _alike(wanted: _Side, made: _Side, one: dict[Node, str], other: dict[Node, str]) -> bool:
    """Whether colours can be refined until each record of one side has its like on the other."""
    while True:
        finer, others = wanted.refined(one), made.refined(other)
        if Counter(finer.values()) != Counter(others.values()):
            return False
        settled = len(set(finer.values())) == len(set(one.values()))
        one, other = finer, others
        if settled:
            break
    counts = Counter(one[node] for node in wanted.new)
    first = next((node for node in wanted.new if counts[one[node]] > 1), None)
    if first is None:
        return True
    twins = [node for node in made.new if other[node] == one[first]]
    return any(_alike(wanted, made, {**one, first: "first"}, {**other, twin: "first"}) for twin in twins)
