"""Statistics of repeated trials: rates over valid trials, pass^k, a paired comparison, and what a suite can detect.

pass^k is Yao et al., *tau-bench*, 2024; the exact test McNemar, 1947, in the form of Edwards, 1948; intervals are
Wilson's (`quality.rates`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb, nan, sqrt

from simlab.quality.rates import Z, wilson

POWER = 0.8416212335729143  # the standard normal quantile of 80 %
DISCORDANT = 0.25  # share of pairs in which two versions differ, where nothing better is known


@dataclass(frozen=True)
class ValidRate:
    """A share of valid trials, with its 95 % interval (Wilson) and how many of all trials were valid.

    A trial that ended by a fault of the simulator or the infrastructure is not valid: it is neither a failure nor
    forgotten.
    """

    hits: int
    n_valid: int
    n: int

    @property
    def value(self) -> float:
        """The share; NaN where no trial is valid."""
        return self.hits / self.n_valid if self.n_valid else nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share; (0, 1) where no trial is valid."""
        return wilson(self.hits, self.n_valid)

    def __str__(self) -> str:
        """For people: `0.75 [0.51, 0.90] of 16/18 valid`."""
        low, high = self.interval
        return f"{self.value:.2f} [{low:.2f}, {high:.2f}] of {self.n_valid}/{self.n} valid"


def valid_rate(outcomes: Iterable[bool | None]) -> ValidRate:
    """The rate of outcomes: True, False, or None where a trial is not valid."""
    rows = list(outcomes)
    valid = [row for row in rows if row is not None]
    return ValidRate(sum(valid), len(valid), len(rows))


def pass_hat(trials: Mapping[str, Sequence[bool | None]], k: int) -> float:
    """pass^k: the chance that k trials of a scenario all succeed, as a mean over scenarios.

    `trials` are the outcomes by scenario, None for one that is not valid. With c successes of n valid trials a
    scenario counts C(c, k) / C(n, k). NaN where there is no scenario, or one has fewer than k valid trials; raises
    ValueError for k below 1.
    """
    if k < 1:
        raise ValueError(f"pass^k is defined from k = 1, not {k}")
    shares = []
    for outcomes in trials.values():
        valid = [outcome for outcome in outcomes if outcome is not None]
        if len(valid) < k:
            return nan
        shares.append(comb(sum(valid), k) / comb(len(valid), k))
    return sum(shares) / len(shares) if shares else nan


@dataclass(frozen=True)
class Paired:
    """Two versions on the same scenarios: how often only one of them succeeded, and McNemar's exact p (two-sided)."""

    gained: int  # the new one alone
    lost: int  # the old one alone
    pairs: int  # in which both trials are valid

    @property
    def difference(self) -> float:
        """The new rate minus the old; NaN without pairs."""
        return (self.gained - self.lost) / self.pairs if self.pairs else nan

    @property
    def p(self) -> float:
        """The chance of a split at least so uneven where both are equally good; 1 where they never differ."""
        n, k = self.gained + self.lost, min(self.gained, self.lost)
        return min(1.0, 2 * sum(comb(n, i) for i in range(k + 1)) / (1 << n))


def paired(old: Sequence[bool | None], new: Sequence[bool | None]) -> Paired:
    """Compare two versions, outcome by outcome; raises ValueError where they are not equally many."""
    both = [(a, b) for a, b in zip(old, new, strict=True) if a is not None and b is not None]
    return Paired(sum(b and not a for a, b in both), sum(a and not b for a, b in both), len(both))


def smallest_difference(pairs: int, discordant: float = DISCORDANT) -> float:
    """The smallest difference of two rates that a suite of n pairs detects, at 5 % (two-sided) with 80 % power.

    With a share d of pairs that differ it is (z_0.975 sqrt(d) + z_0.8 sqrt(d - delta²)) / sqrt(n), after Connor
    (*Biometrics*, 1987); delta² is left out, which is on the safe side. At most 1, and 1 without pairs.
    """
    return min(1.0, (Z + POWER) * sqrt(discordant / pairs)) if pairs > 0 else 1.0
