"""What no validator comes to an end with: schemas that are parts of themselves, or of more parts than can be counted.

A schema applies others to the same value (allOf, anyOf, oneOf, not, if, and whatever it refers to). A circle of such
parts says nothing and is never done; forty schemas of two parts each are a million millions. Properties and items do
not count: they are as many as the value has.

JSON Schema 2020-12, section 10.2.
"""

from collections.abc import Callable, Iterator, Mapping
from math import inf
from typing import Any, NamedTuple

MOST_PARTS = 4000  # schemas that one comes to, written out
MOST_LEVELS = 60
_PASSES = 8
_CHOICES = ("oneOf", "anyOf")
_SINGLE = ("not", "if", "then", "else")

Target = Callable[[str], Any]  # what a reference leads to; None where it leads nowhere


class _Edge(NamedTuple):
    """A schema, the key under which it has a part, the part, and the last name on the way to it."""

    holder: dict[str, Any]
    key: str
    part: dict[str, Any]
    name: str

    def cut(self) -> None:
        """Take the part away: all of a choice, as a choice of fewer would be another; of others the part alone."""
        if self.key == "allOf":
            self.holder["allOf"] = [one for one in self.holder["allOf"] if one is not self.part]
            if not self.holder["allOf"]:
                del self.holder["allOf"]
        else:
            self.holder.pop(self.key, None)

    @property
    def there(self) -> bool:
        """Whether it has not been cut."""
        held = self.holder.get(self.key)
        return held is self.part or (isinstance(held, list) and any(one is self.part for one in held))


def cut_circles(document: Mapping[str, Any], target: Target) -> list[str]:
    """Take out of a document what makes schemas parts of themselves, in place; a line for each place.

    A choice (oneOf, anyOf) among what contains the choice is taken before any other part is.
    """
    lines: dict[str, None] = {}
    for _ in range(_PASSES):
        circles = list(_circles(document, target))
        for circle in circles:
            if not all(edge.there or edge.key == "$ref" for edge in circle):
                continue
            fit = [edge for edge in circle if edge.key in _CHOICES] or [e for e in circle if e.key != "$ref"]
            if fit:
                fit[-1].cut()
                lines[f"{fit[-1].name}: {fit[-1].key} leads back to where it stands, and is left out"] = None
        if not circles:
            break
    return list(lines)


def _circles(document: Mapping[str, Any], target: Target) -> Iterator[list[_Edge]]:
    """The circles that a search depth first comes upon; when there are none left, there are none."""
    done: set[int] = set()
    for root in _composed(document):
        way: list[_Edge] = []
        on_way = {id(root): 0}
        todo = [] if id(root) in done else [(root, _edges(root, target, "a schema"))]
        while todo:
            node, edges = todo[-1]
            edge = next(edges, None)
            if edge is None:
                todo.pop()
                done.add(id(node))
                on_way.pop(id(node))
                if way:
                    way.pop()
            elif id(edge.part) in on_way:
                yield [*way[on_way[id(edge.part)] :], edge]
            elif id(edge.part) not in done:
                on_way[id(edge.part)] = len(todo)
                way.append(edge)
                todo.append((edge.part, _edges(edge.part, target, edge.name)))


def _composed(document: Any) -> Iterator[dict[str, Any]]:
    """Every mapping that has parts, wherever in the document it stands; references alone are followed elsewhere."""
    todo = [document]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            if not _KEYS.isdisjoint(node):
                yield node
            todo.extend(node.values())
        elif isinstance(node, list):
            todo.extend(node)


_KEYS = frozenset(("allOf", *_CHOICES, *_SINGLE))


def _edges(node: dict[str, Any], target: Target, name: str) -> Iterator[_Edge]:
    reference = node.get("$ref")
    if isinstance(reference, str) and isinstance(found := target(reference), dict):
        yield _Edge(node, "$ref", found, "#" + reference.partition("#")[2])
    if _KEYS.isdisjoint(node):
        return
    for key in ("allOf", *_CHOICES):
        for part in node[key] if isinstance(node.get(key), list) else ():
            if isinstance(part, dict):
                yield _Edge(node, key, part, name)
    for key in _SINGLE:
        if isinstance(node.get(key), dict):
            yield _Edge(node, key, node[key], name)


def too_many_parts(document: Mapping[str, Any], target: Target) -> set[int]:
    """The identities of the schemas that come to more than MOST_PARTS parts or MOST_LEVELS levels, written out."""
    sizes: dict[int, tuple[float, int]] = {}
    for root in _composed(document):
        todo = [root]
        while todo:
            node = todo[-1]
            if sizes.get(id(node), (0, 0))[1]:
                todo.pop()
                continue
            parts = [edge.part for edge in _edges(node, target, "")]
            first = id(node) not in sizes
            sizes[id(node)] = (inf, 0)  # which is what a circle finds
            fresh = [part for part in parts if id(part) not in sizes]
            if first and fresh:
                todo += fresh
                continue
            todo.pop()
            found = [sizes[id(part)] for part in parts]
            sizes[id(node)] = (1 + sum(size for size, _ in found), 1 + max((level for _, level in found), default=0))
    return {key for key, (size, level) in sizes.items() if size > MOST_PARTS or level > MOST_LEVELS}
