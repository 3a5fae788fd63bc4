"""Sketches of texts, and how alike they say the texts are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.die import Die
from simlab.quality.near_duplicates import SIMILAR, K, similarity, sketch, values
from simlab.text import words

LOAF = "Steam in the oven keeps the crust soft at first, so that the loaf can expand before the crust sets."
POOL = "Limpets seal their shells tightly against rock when water leaves, which keeps them from drying out."


def exact(a, b):
    """The Jaccard similarity of the sets of word 3-grams."""
    left, right = ({tuple(w[i : i + 3]) for i in range(len(w) - 2)} for w in (words(t.casefold()) for t in (a, b)))
    return len(left & right) / len(left | right)


def pair(key, length, start, replaced, vocabulary=80):
    """Two texts; the second is the first with some stretch of it replaced."""
    die = Die(key)
    known = [a + b for a in "bdfghklmnprstvwz" for b in ("ab", "en", "il", "om", "us")][:vocabulary]
    first, fresh = ([die.choice(known) for _ in range(n)] for n in (length, replaced))
    return " ".join(first), " ".join([*first[:start], *fresh, *first[start + replaced :]])


def test_equal_texts_are_wholly_alike():
    assert similarity(sketch(LOAF), sketch(LOAF)) == 1.0


def test_texts_without_a_common_phrase_are_not_alike_at_all():
    assert similarity(sketch(LOAF), sketch(POOL)) == 0.0


def test_case_spacing_and_punctuation_do_not_matter():
    assert sketch(LOAF.upper()) == sketch(LOAF) == sketch("  " + LOAF.lower().replace(",", " -- ") + "\n")


def test_the_order_of_words_does_matter():
    assert similarity(sketch(LOAF), sketch(" ".join(reversed(LOAF.split())))) == 0.0


def test_a_text_with_one_word_changed_is_a_near_duplicate_and_one_with_a_new_half_is_not():
    assert similarity(*map(sketch, pair("one word", 80, start=40, replaced=1))) >= SIMILAR
    assert similarity(*map(sketch, pair("a half", 80, start=20, replaced=40))) < SIMILAR


@pytest.mark.parametrize(
    ("left", "right", "alike"), [("Hi", "hi!", 1.0), ("Hi", "Ho", 0.0), ("", "", 1.0), ("", "Hi", 0.0)]
)
def test_texts_shorter_than_a_phrase_are_alike_only_when_equal(left, right, alike):
    assert similarity(sketch(left), sketch(right)) == alike


def test_a_sketch_is_short_however_long_the_text():
    made = values(sketch(pair("long", 1000, 0, 0)[0]))
    assert len(made) == K
    assert made == sorted(set(made))


def test_estimates_of_long_texts_scatter_around_the_exact_share_of_common_phrases_as_theory_says():
    die = Die("pairs")
    texts = [pair(i, die.between(60, 120), die.below(60), die.below(60)) for i in range(200)]
    errors = [similarity(sketch(a), sketch(b)) - exact(a, b) for a, b in texts]
    assert abs(sum(errors) / len(errors)) < 0.02
    assert (sum(error**2 for error in errors) / len(errors)) ** 0.5 < 0.5 / K**0.5
    assert sum(abs(error) > 0.25 for error in errors) <= 0.01 * len(errors)


stretches = st.integers(0, 12)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 999), st.integers(3, 14), stretches, stretches, st.sampled_from([3, 80]))
def test_of_short_texts_the_share_of_common_phrases_is_exact(key, length, start, replaced, vocabulary):
    left, right = pair(key, length, start, min(replaced, length), vocabulary)
    assert similarity(sketch(left), sketch(right)) == exact(left, right)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.integers(1, 60), stretches, stretches)
def test_two_texts_are_as_alike_one_way_as_the_other(key, length, start, replaced):
    left, right = map(sketch, pair(key, length, start, replaced))
    assert similarity(left, right) == similarity(right, left)
    assert 0.0 <= similarity(left, right) <= 1.0
