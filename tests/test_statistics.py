"""Statistics: invalid trials count nowhere and are not forgotten, pass^k has no value without k trials."""

from itertools import combinations
from math import isnan, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlab.statistics import Paired, ValidRate, paired, pass_hat, smallest_difference, valid_rate

OUTCOMES = st.lists(st.sampled_from([True, False, None]), max_size=8)


def test_a_trial_that_is_not_valid_is_no_failure_and_shows_in_the_count() -> None:
    assert valid_rate([True, False, None, True]) == ValidRate(2, 3, 4)
    assert str(valid_rate([True, False, None, True])) == "0.67 [0.21, 0.94] of 3/4 valid"
    assert isnan(valid_rate([None, None]).value)
    assert valid_rate([]).interval == (0.0, 1.0)


def test_pass_hat_k_by_hand() -> None:
    trials = {"a": [True, True, False, True], "b": [False, True, False, False]}
    assert pass_hat(trials, 1) == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert pass_hat(trials, 2) == pytest.approx((3 / 6 + 0 / 6) / 2)
    assert pass_hat(trials, 3) == pytest.approx((1 / 4 + 0) / 2)
    assert pass_hat(trials, 4) == 0
    assert isnan(pass_hat(trials, 5)), "nobody has seen five trials"
    assert isnan(pass_hat({"a": [True, None], "b": [True, True]}, 2)), "one of them is not valid"
    assert isnan(pass_hat({}, 1))
    with pytest.raises(ValueError, match="from k = 1"):
        pass_hat(trials, 0)


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.integers(1, 7))
def test_pass_hat_k_is_the_share_of_draws_of_k_trials_that_all_succeed(outcomes: list[bool], k: int) -> None:
    draws = [all(draw) for draw in combinations(outcomes, k)]
    expected = sum(draws) / len(draws) if draws else nan
    found = pass_hat({"one": outcomes}, k)
    assert isnan(found) if isnan(expected) else found == pytest.approx(expected)


def test_mcnemar_by_hand() -> None:
    old = [True] * 3 + [False] * 10 + [True] * 2 + [None]
    new = [True] * 3 + [True] * 8 + [False] * 2 + [False] * 2 + [True]
    found = paired(old, new)
    assert found == Paired(gained=8, lost=2, pairs=15)
    assert found.difference == pytest.approx(6 / 15)
    assert found.p == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert Paired(0, 0, 9).p == 1
    assert Paired(5, 5, 10).p == 1
    assert isnan(Paired(0, 0, 0).difference)


@given(OUTCOMES)
def test_a_comparison_the_other_way_round_is_as_significant(outcomes: list[bool | None]) -> None:
    other = list(reversed(outcomes))
    there, back = paired(outcomes, other), paired(other, outcomes)
    assert (there.gained, there.lost, there.p) == (back.lost, back.gained, back.p)
    assert 0 < there.p <= 1


def test_what_a_suite_can_detect_shrinks_with_the_root_of_its_size() -> None:
    assert smallest_difference(100) == pytest.approx((1.95996 + 0.84162) * 0.5 / 10, abs=1e-4)
    assert smallest_difference(400) == pytest.approx(smallest_difference(100) / 2)
    assert smallest_difference(0) == smallest_difference(1) == 1
