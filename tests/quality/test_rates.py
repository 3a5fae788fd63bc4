"""Rates: Wilson's interval against worked figures, its coverage, and what clusters do to it."""

from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlab.die import Die
from simlab.quality.rates import paired_difference, rate, wilson

Z = 1.959964


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (15, 100, 0.0931, 0.2328),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (1, 2, 0.0945, 0.9055),
        (81, 263, 0.2553, 0.3662),
        (340, 1000, 0.3113, 0.3699),
    ],
)
def test_known_intervals(hits: int, n: int, low: float, high: float) -> None:
    assert wilson(hits, n) == pytest.approx((low, high), abs=6e-5)


@given(st.integers(1, 10_000), st.data())
def test_the_interval_is_where_the_score_test_turns(n: int, data: st.DataObject) -> None:
    """Its ends are the true shares p at which the observed one is just Z standard errors (of p) away."""
    hits = data.draw(st.integers(0, n))
    for end in wilson(hits, n):
        if 1e-9 < end < 1 - 1e-9:
            assert abs(hits / n - end) == pytest.approx(Z * sqrt(end * (1 - end) / n), rel=1e-3, abs=1e-9)


@given(st.integers(1, 1000), st.data())
def test_the_interval_holds_its_share_and_mirrors(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    low, high = wilson(hits, n)
    assert 0 <= low <= hits / n <= high <= 1
    assert wilson(n - hits, n) == pytest.approx((1 - high, 1 - low))
    assert wilson(hits, n)[1] - low >= wilson(hits * 4, n * 4)[1] - wilson(hits * 4, n * 4)[0]


def test_nothing_is_known_of_no_rows() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert rate([]).value == 0.0
    assert (rate([]).low, rate([]).high) == (0.0, 1.0)
    assert paired_difference([], [], []) == (0.0, -1.0, 1.0)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9])
def test_about_nineteen_in_twenty_intervals_hold_the_true_share(share: float) -> None:
    die, n, runs = Die("coverage", share), 60, 1500
    held = 0
    for _ in range(runs):
        low, high = wilson(sum(die.chance(share) for _ in range(n)), n)
        held += low <= share <= high
    assert 0.925 <= held / runs <= 0.985


def test_rows_that_are_all_different_count_in_full() -> None:
    hits = [i % 3 == 0 for i in range(90)]
    made = rate(hits, range(90))
    assert (made.value, made.n) == (1 / 3, 90)
    assert made.effective == pytest.approx(90, rel=0.02)
    assert (made.low, made.high) == pytest.approx(wilson(30, 90), abs=2e-3)


@pytest.mark.parametrize(("clusters", "size"), [(10, 20), (40, 5), (60, 8)])
def test_copies_of_a_row_are_worth_one_row(clusters: int, size: int) -> None:
    names = [i // size for i in range(clusters * size)]
    hits = [name % 4 == 0 for name in names]
    made = rate(hits, names)
    assert made.n == clusters * size
    assert made.effective == pytest.approx(clusters, rel=0.12)
    alone = rate([name % 4 == 0 for name in range(clusters)])
    assert made.value == alone.value
    assert (made.low, made.high) == pytest.approx((alone.low, alone.high), abs=0.03)


def test_where_all_rows_are_alike_a_cluster_counts_once() -> None:
    made = rate([True] * 100, [i % 20 for i in range(100)])
    assert made.effective == 20
    assert (made.low, made.high) == wilson(20, 20)
    assert rate([True] * 100).effective == 100


def test_intervals_of_clustered_rows_hold_the_true_share_where_naive_ones_do_not() -> None:
    """Forty pairs, each with a rate of its own around 0.5, ten dialogues a pair."""
    die, runs, held, naive = Die("clusters"), 400, 0, 0
    for _ in range(runs):
        hits, names = [], []
        for pair in range(40):
            own = die.unit()
            hits += [die.chance(own) for _ in range(10)]
            names += [pair] * 10
        made, plain = rate(hits, names), rate(hits)
        held += made.low <= 0.5 <= made.high
        naive += plain.low <= 0.5 <= plain.high
    assert held / runs >= 0.92
    assert naive / runs <= 0.8


def test_a_paired_difference_is_the_difference_of_the_rates() -> None:
    die = Die("pairs")
    names = [i % 30 for i in range(300)]
    first, second = ([die.chance(p) for _ in range(300)] for p in (0.5, 0.2))
    mean, low, high = paired_difference(first, second, names)
    assert mean == pytest.approx(rate(first).value - rate(second).value)
    assert low < 0.3 < high
    assert low > 0
    assert paired_difference(first, first, names) == (0.0, 0.0, 0.0)
    assert paired_difference(second, first, names) == pytest.approx((-mean, -high, -low))


def test_one_cluster_says_nothing_about_the_others() -> None:
    made = rate([True, False, True, False], ["a"] * 4)
    assert made.effective == 1.0
    assert made.high - made.low > 0.8


def test_a_rate_reads_as_three_figures() -> None:
    assert str(rate([True] * 15 + [False] * 85)) == "0.15 [0.09, 0.23]"
