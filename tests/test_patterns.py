"""Texts made to fit a pattern: each one fits, the die decides which, and a pattern beyond us is refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlab.die import Die
from simlab.errors import InputError
from simlab.patterns import fits, harmless, matching_text, usable

PATTERNS = (
    r"^member_[0-9]{4,}$",
    r"^CT[0-9a-f]{8}$",
    r"^[A-Z]{2,4}-[0-9]{3,5}$",
    r"^\+[1-9][0-9]{7,14}$",  # E.164
    r"^[0-9]+\.[0-9]{2}$",  # an amount
    r"^-?(0|[1-9]\d*)(\.\d+)?$",
    r"^(?:red|green|blue)$",
    r"^(?:GB|IE|(?:FR|DE))-\d\d$",
    r"^[^aeiou]{3}$",
    r"^[^0-9_]x$",
    r"^a.c$",
    r"^[^a]b?$",
    r"^[A-H][0-9]{1,2}$",
    r"^[A-Z0-9][A-Z0-9 -]{2,9}$",
    r"^\w+@\w+\.example$",
    r"^(?:[a-z]{2,3}-)*[a-z]{2,3}$",
    r"^(ab){2,3}c*?d+$",
    r"\bword\b",
    r"^\S\s?\D$",
    r"^\W[\W\s][^\W]$",
    r"^[^\w]$",
    r"^978\d{10}$",
    r"",
)


@pytest.mark.parametrize("pattern", PATTERNS)
@given(st.integers(0, 2**32))
def test_a_text_that_is_made_for_a_pattern_fits_it(pattern: str, seed: int) -> None:
    text = matching_text(pattern, Die(seed))
    assert re.search(pattern, text)
    assert matching_text(pattern, Die(seed)) == text


@pytest.mark.parametrize("pattern", [r"^(?:red|green|blue)$", r"^[A-H][0-9]{1,2}$", r"^-?(0|[1-9]\d*)(\.\d+)?$"])
def test_the_die_decides_and_every_branch_is_taken(pattern: str) -> None:
    made = {matching_text(pattern, Die(seed)) for seed in range(300)}
    assert len(made) >= 3
    if "red" in pattern:
        assert made == {"red", "green", "blue"}
    elif pattern.startswith("^-"):
        assert {text[0] == "-" for text in made} == {"." in text for text in made} == {True, False}
    else:
        assert {len(text) for text in made} == {2, 3}


@pytest.mark.parametrize("pattern", [r"^(?=a)\w$", r"(?<=x)y", r"^(a)\1$", r"[a-", r"^a\bb$", r"[^\w\W]", r"(?(1)a|b)"])
def test_a_pattern_beyond_us_is_an_error_that_names_it(pattern: str) -> None:
    with pytest.raises(InputError) as refused:
        matching_text(pattern, Die(0))
    assert str(refused.value).startswith(f"no text can be made for the pattern {pattern!r}")


ENDLESS = (
    r"^(a+)+$",
    r"^(a|a)*$",
    r"^(a?){30}a{30}$",
    r"^([a-z]+\s?)*[0-9]$",
    r"^(?=.*\d)(\w+-?)+$",
    r"(.*)=(.*);(.*)$",
)


@pytest.mark.parametrize("pattern", ENDLESS)
def test_no_pattern_takes_for_ever(pattern: str) -> None:
    """Python's own engine would be at the first of these for longer than the sun will shine."""
    assert not fits("a" * 5000 + "!", pattern)
    assert usable(pattern)
    assert not harmless(pattern)


@pytest.mark.parametrize("pattern", [r"^[A-Z]{2}\d{6}$", r"^\+?[0-9 ]{5,20}$", r"^[^@]+@[^@]+$", r"^(?:red|blue)$"])
def test_plain_patterns_are_left_to_python(pattern: str) -> None:
    assert harmless(pattern)


@given(pattern=st.sampled_from(ENDLESS[:-1]), text=st.text("a1 -!", max_size=8))
def test_the_engines_agree_where_python_answers_in_time(pattern: str, text: str) -> None:
    assert fits(text, pattern) is (re.search(pattern, text) is not None)


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", r"(?P<x>a+)(?P=x)(a+)+(?<=b*)"])
def test_what_is_no_pattern_is_not_usable(pattern: str) -> None:
    assert not usable(pattern)
    assert not harmless(pattern)
