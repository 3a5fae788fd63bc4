"""Facts are read by their type: numbers as numbers, days as days; denials, questions and lists tell nothing."""

from typing import Any

import pytest

from simlab.facts import found, told

TOLD: list[tuple[Any, str]] = [
    (25.5, "That costs 25.50 EUR."),
    ("25.50", "That costs €25.5 in all."),
    (1250, "There are 1,250 of them."),
    (-5, "It is -5 degrees."),
    (12, "The price is $12."),
    ("2026-05-02", "It is due on 2 May 2026."),
    ("2026-05-02", "It is due on May 2nd, 2026."),
    ("2026-05-02T09:00:00Z", "It leaves at 2026-05-02T11:00:00+02:00."),
    ("on_loan", "It is on loan at the moment."),
    ("B-12", "Your room is B-12, sir."),
    (True, "Yes, it is insured."),
    (False, "No, it is not insured."),
    (7, "It is not 5; it is 7."),
    (7, "It is not 5, it is 7."),
    ("Dr. Who. Not he", "The title is Dr. Who. Not he."),
]
UNTOLD: list[tuple[Any, str]] = [
    (25.5, "That costs 25.51."),
    (25, "That costs 25.50."),
    (12, "It is room B12."),
    (2, "It is due on 2026-05-02."),
    (30, "It leaves at 10:30."),
    (5, "It is -5 degrees."),
    (250, "There are 1,250 of them."),
    ("2026-05-02", "It is due on 3 May 2026."),
    ("2026-05-02T09:00:00Z", "It leaves at 2026-05-02T09:00:00+02:00."),
    ("B-12", "Your room is B-123."),
    (7, "It is not 7."),
    (7, "It isn't 7, I am afraid."),
    (7, "Is it 7?"),
    (True, "No, it is not."),
    (False, "Yes, it is."),
]


@pytest.mark.parametrize(("value", "line"), TOLD)
def test_a_value_that_was_told(value: Any, line: str) -> None:
    assert told(value, [line])


@pytest.mark.parametrize(("value", "line"), UNTOLD)
def test_a_value_that_was_not(value: Any, line: str) -> None:
    assert not told(value, [line])


def test_who_lists_everything_tells_nothing() -> None:
    assert told(3, ["It is 3."], [1, 2, 4, 5])
    assert told(3, ["It is 3, not 2."], [1, 2, 4, 5]) is False, "the clause denies"
    assert not told(3, ["1, 2, 3, 4 or 5."], [1, 2, 4, 5])
    assert not told(3, ["2 or 3."], [2]), "both that there are"
    assert told(3, ["2 or 3.", "It is 3."], [2])


def test_numbers_are_not_parts_of_other_things() -> None:
    assert found("12, 13 and 14", 13)
    for text in ("2026-13-01", "v1.13.2", "13/14", "x13", "13:00"):
        assert not found(text, 13), text
