"""The die: the same key, the same draws, for ever."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.die import Die

labels = st.lists(st.one_of(st.integers(), st.text("ab/é\x1f", max_size=8)), max_size=3)


def test_the_draws_of_a_known_key_never_change():
    die = Die("golden", 7)
    assert [die.bits() for _ in range(3)] == [5504669812883371605, 12458332195420368338, 9950583261122614817]
    assert die.unit() == 0.9322537483025614
    assert die.below(1000) == 240
    assert die.between(-5, 5) == -5
    assert die.choice("abcdef") == "a"
    assert die.chance(0.5)
    row = list(range(8))
    die.shuffle(row)
    assert row == [0, 4, 3, 5, 1, 2, 6, 7]
    assert die.sample("abcdefgh", 3) == ["e", "c", "b"]


def test_the_draws_of_a_known_split_never_change():
    assert Die("golden", 7).split("left", 0).bits() == 6954633226609545446
    assert Die().bits() == 6882641058766187452


@settings(max_examples=30, deadline=None)
@given(labels, st.integers(0, 20), labels)
def test_what_a_split_draws_does_not_depend_on_how_often_its_parent_was_thrown(key, throws, branch):
    fresh, used = Die(*key), Die(*key)
    for _ in range(throws):
        used.bits()
    assert used.split(*branch).bits() == fresh.split(*branch).bits()


def test_splitting_a_die_does_not_move_it_on():
    quiet, splitting = Die("a"), Die("a")
    splitting.split("b").bits()
    assert splitting.bits() == quiet.bits()


def test_dice_of_other_keys_and_other_branches_draw_differently():
    dice = [Die("a"), Die("b"), Die("a", 0), Die("a", 1), Die("a").split(0), Die("a").split(1), Die("a").split()]
    assert len({die.bits() for die in dice}) == len(dice)


@pytest.mark.parametrize("n", [2, 3, 5, 6, 7, 10])
def test_every_side_of_a_small_die_comes_up_equally_often(n):
    die, throws = Die("fair", n), 3000
    counts = Counter(die.below(n) for _ in range(throws))
    assert set(counts) == set(range(n))
    chi_square = sum((count - throws / n) ** 2 / (throws / n) for count in counts.values())
    assert chi_square < (n - 1) + 4 * (2 * (n - 1)) ** 0.5  # four standard deviations above its mean


def test_every_order_of_three_comes_out_of_a_shuffle_equally_often():
    die, throws = Die("orders"), 3000
    orders = Counter()
    for _ in range(throws):
        row = list("abc")
        die.shuffle(row)
        orders["".join(row)] += 1
    assert len(orders) == 6
    assert all(abs(count - throws / 6) < 4 * (throws / 6) ** 0.5 for count in orders.values())


@settings(max_examples=50, deadline=None)
@given(labels, st.lists(st.integers()))
def test_a_shuffle_loses_and_adds_nothing(key, items):
    shuffled = list(items)
    Die(*key).shuffle(shuffled)
    assert sorted(shuffled) == sorted(items)


@settings(max_examples=50, deadline=None)
@given(labels, st.lists(st.integers(), unique=True), st.integers(0, 12))
def test_a_sample_takes_so_many_different_ones_and_leaves_the_population_alone(key, population, k):
    before = list(population)
    sample = Die(*key).sample(population, k)
    assert population == before
    assert len(sample) == len(set(sample)) == min(k, len(population))
    assert set(sample) <= set(population)


@settings(max_examples=50, deadline=None)
@given(labels, st.integers(), st.integers(0, 2**64 - 1))
def test_a_draw_between_two_bounds_stays_between_them(key, low, width):
    die = Die(*key)
    assert all(low <= die.between(low, low + width) <= low + width for _ in range(5))


def test_a_draw_between_two_bounds_reaches_both():
    die = Die("bounds")
    assert {die.between(3, 5) for _ in range(60)} == {3, 4, 5}


def test_a_certain_chance_always_comes_true_and_an_impossible_one_never():
    die = Die("chance")
    assert all(die.chance(1.0) for _ in range(100))
    assert not any(die.chance(0.0) for _ in range(100))


@pytest.mark.parametrize("throw", [lambda d: d.below(0), lambda d: d.between(2, 1), lambda d: d.choice([])])
def test_a_die_without_sides_is_an_error(throw):
    with pytest.raises(ValueError, match="at least one side"):
        throw(Die())
