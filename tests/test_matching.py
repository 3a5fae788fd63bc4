"""Matching and value classes: as many calls as can be, each once and in order; values by what they mean."""

from itertools import combinations, permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlab.matching import maximum, ordered
from simlab.value_classes import ValueClass, resembles

EDGES = st.lists(st.sets(st.integers(0, 5), max_size=4), max_size=5)


# --- matching ---------------------------------------------------------------------------------------------------


def best(edges: list[set[int]], before: dict[int, set[int]]) -> int:
    """The size of the largest matching in order, by trying them all."""
    for size in range(len(edges), 0, -1):
        for rows in combinations(range(len(edges)), size):
            for columns in permutations(range(6), size):
                at = dict(zip(rows, columns, strict=True))
                in_order = all(at[a] < at[row] for row in rows for a in before.get(row, ()) if a in at)
                if in_order and all(column in edges[row] for row, column in at.items()):
                    return size
    return 0


@given(EDGES)
def test_a_matching_is_as_large_as_can_be_and_takes_nothing_twice(edges: list[set[int]]) -> None:
    found = maximum(edges)
    assert all(column in edges[row] for row, column in found.items())
    assert len(set(found.values())) == len(found) == best(edges, {})


@given(EDGES, st.data())
def test_in_order_too(edges: list[set[int]], data: st.DataObject) -> None:
    before = {row: data.draw(st.sets(st.integers(0, row - 1), max_size=2)) for row in range(1, len(edges))}
    found = ordered(edges, before)
    assert all(column in edges[row] for row, column in found.items())
    assert all(found[a] < column for row, column in found.items() for a in before.get(row, ()) if a in found)
    assert len(set(found.values())) == len(found) == best(edges, before)


def test_a_greedy_matching_would_leave_the_second_without() -> None:
    assert maximum([{0, 1}, {0}]) == {0: 1, 1: 0}


def test_a_later_twin_serves_where_order_wants_it() -> None:
    assert ordered([{1}, {0, 2}], {1: {0}}) == {0: 1, 1: 2}
    assert len(ordered([{1}, {0}], {1: {0}})) == 1


def test_many_equal_calls_cost_little() -> None:
    everything = set(range(200))
    assert len(ordered([everything] * 40, {row: {row - 1} for row in range(1, 40)})) == 40


# --- value classes ----------------------------------------------------------------------------------------------

SAME: dict[str, list[tuple[Any, Any]]] = {
    "exact": [("a", "a"), (25, 25.0), ({"a": [1, 2]}, {"a": [1.0, 2]}), (None, None)],
    "number": [(25, 25.0), (0.1, 0.1), (10**30, 10**30)],
    "casefold": [("Straße", "STRASSE"), ("é", "e\u0301")],
    "plain": [("New  York", "new york ")],
    "text": [(" a\tb", "A b")],
    "date": [("2026-03-02", "20260302")],
    "instant": [("2026-03-02T09:00:00Z", "2026-03-02T10:00:00+01:00"), ("2026-03-02T09:00:00Z", "2026-03-02T09:00Z")],
    "unordered": [([1, 2, 2], [2, 1, 2.0])],
    "keyed:sku": [([{"sku": "a", "n": 1}, {"sku": "b", "n": 2}], [{"n": 2, "sku": "b"}, {"sku": "a", "n": 1.0}])],
    "any": [(1, "x"), (None, [1])],
    "object": [({"a": 1}, {"a": 1, "b": "sun"})],
}
OTHER: dict[str, list[tuple[Any, Any]]] = {
    "exact": [("a", "A"), (25, "25"), (1, True), (None, ""), ("1.5", "15"), ([1, 2], [2, 1])],
    "number": [(25, 26), (25, "25"), (1, True)],
    "casefold": [("ab", "a b"), ("a-b", "ab")],
    "plain": [("a-b", "ab"), ("1.5", "15")],
    "date": [("2024-01-12", "2024-11-02")],
    "instant": [("2026-03-02T09:00:00Z", "2026-03-02T09:00:00+01:00"), ("2026-03-02T09:00:00", "2026-03-02T09:00:00Z")],
    "unordered": [([1, 2], [1, 2, 2]), ([1], 1)],
    "keyed:sku": [([{"sku": "a", "n": 1}], [{"sku": "a", "n": 2}])],
    "object": [({"a": 1}, {"a": 1, "b": "shade"})],
}


def kind(name: str) -> ValueClass:
    return ValueClass(name, {"b": ValueClass("enum", default="sun")} if name == "object" else {})


@pytest.mark.parametrize(("name", "one", "other"), [(n, *pair) for n, pairs in SAME.items() for pair in pairs])
def test_values_that_mean_the_same_in_their_class(name: str, one: Any, other: Any) -> None:
    assert kind(name).same(one, other)
    assert kind(name).same(other, one)


@pytest.mark.parametrize(("name", "one", "other"), [(n, *pair) for n, pairs in OTHER.items() for pair in pairs])
def test_values_that_do_not(name: str, one: Any, other: Any) -> None:
    assert not kind(name).same(one, other)
    assert not kind(name).same(other, one)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9) | st.text("aB .-", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)


@given(
    st.sampled_from(["exact", "number", "casefold", "plain", "instant", "unordered", "keyed:a", "object"]), JSON, JSON
)
def test_sameness_is_an_equivalence_that_normal_forms_decide(name: str, one: Any, other: Any) -> None:
    known = kind(name)
    assert known.same(one, one)
    assert known.same(one, other) == known.same(other, one)
    assert known.same(one, known.canonical(one)) or name == "object"


def test_texts_resemble_each_other_or_not() -> None:
    assert resembles("The chain slips under load", "the chain slips under  load")
    assert not resembles("The chain slips", "The brake squeals")
    assert not resembles(1, "1")
