"""Schemas that never end: circles are cut where that costs least, and what multiplies without bound is known."""

from collections.abc import Callable
from typing import Any

import pytest

from simlab.circles import MOST_LEVELS, MOST_PARTS, cut_circles, too_many_parts
from simlab.schema import pointed


def document(**schemas: Any) -> tuple[dict[str, Any], Callable[[str], Any]]:
    made = {"schemas": schemas}
    return made, lambda reference: pointed(made, reference.removeprefix("#"))


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/schemas/{name}"}


def test_a_choice_among_what_contains_it_goes_and_what_they_share_stays() -> None:
    """The commonest circle in real documents: a pet is a cat or a dog, and a cat is a pet with claws."""
    made, target = document(
        Pet={"properties": {"name": {}}, "oneOf": [ref("Cat"), ref("Dog")]},
        Cat={"allOf": [ref("Pet"), {"properties": {"claws": {}}}]},
        Dog={"allOf": [ref("Pet"), {"properties": {"tail": {}}}]},
    )
    assert cut_circles(made, target) == ["#/schemas/Pet: oneOf leads back to where it stands, and is left out"]
    assert made["schemas"]["Pet"] == {"properties": {"name": {}}}
    assert made["schemas"]["Cat"]["allOf"] == [ref("Pet"), {"properties": {"claws": {}}}]


@pytest.mark.parametrize("key", ["allOf", "anyOf", "oneOf"])
def test_no_circle_is_left(key: str) -> None:
    names = [f"N{i}" for i in range(9)]
    made, target = document(**{name: {key: [ref(other) for other in names if other != name]} for name in names})
    assert cut_circles(made, target)
    assert cut_circles(made, target) == []


def test_a_part_of_itself_is_taken_out_alone() -> None:
    made, target = document(A={"allOf": [ref("A"), {"type": "object"}]}, B={"not": ref("B")})
    assert len(cut_circles(made, target)) == 2
    assert made["schemas"] == {"A": {"allOf": [{"type": "object"}]}, "B": {}}


def test_what_contains_itself_in_a_property_is_no_circle() -> None:
    made, target = document(Node={"properties": {"next": ref("Node")}}, List={"items": ref("List")})
    assert cut_circles(made, target) == []
    assert too_many_parts(made, target) == set()


def test_parts_that_multiply_are_too_many() -> None:
    two = {f"N{i}": {"allOf": [ref(f"N{i + 1}"), ref(f"N{i + 1}")]} for i in range(40)}
    made, target = document(**two, N40={"type": "object"})
    endless = too_many_parts(made, target)
    assert id(made["schemas"]["N0"]) in endless
    assert id(made["schemas"]["N35"]) not in endless


def test_so_are_levels() -> None:
    chain = {f"N{i}": {"allOf": [ref(f"N{i + 1}")]} for i in range(20_000)}
    made, target = document(**chain, N20000={"type": "object"})
    endless = too_many_parts(made, target)
    assert id(made["schemas"]["N0"]) in endless
    assert id(made["schemas"][f"N{20_000 - MOST_LEVELS // 3}"]) not in endless


def test_a_few_thousand_parts_are_fine() -> None:
    made, target = document(A={"oneOf": [{"const": i} for i in range(MOST_PARTS - 1)]})
    assert too_many_parts(made, target) == set()
    made["schemas"]["A"]["oneOf"] += [{}, {}]
    assert too_many_parts(made, target) == {id(made["schemas"]["A"])}


def test_references_that_lead_nowhere_or_to_themselves_are_left_to_others() -> None:
    made, target = document(A={"oneOf": [ref("B"), {"$ref": "#/schemas/Nothing"}]}, B=ref("B"))

    def known(reference: str) -> Any:
        try:
            return target(reference)
        except LookupError:
            return None

    assert cut_circles(made, known) == []
    assert id(made["schemas"]["A"]) in too_many_parts(made, known)
