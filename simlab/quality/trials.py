"""Figures of repeated trials: how often all of k pass, whether two runs differ by more than chance, what could be seen.

pass^k: Yao et al., *tau-bench*, 2024. The paired test: McNemar, *Note on the Sampling Error of the Difference Between
Correlated Proportions*, 1947, in its exact form. The smallest difference: Connor, *Sample Size for Testing Differences
in Proportions for the Paired-Sample Design*, 1987, in its first approximation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, nan, sqrt
from statistics import fmean

POWER = 0.8416212335729143 + 1.959963984540054  # z of 80 % power and of a two-sided test at 5 %
FEWEST = 6  # discordant pairs, all to one side, that the exact test takes for more than chance


def pass_all(outcomes: Mapping[str, Sequence[bool]], k: int) -> float:
    """pass^k: the chance that k trials of a scenario all pass, averaged over scenarios with at least k valid trials.

    Not a number where no scenario has as many.
    """
    shares = [comb(sum(hits), k) / comb(len(hits), k) for hits in outcomes.values() if len(hits) >= k]
    return fmean(shares) if shares else nan


@dataclass(frozen=True)
class Paired:
    """Two runs over the same scenarios: what only one of them passed, and how likely that is by chance alone."""

    both: int
    only_before: int
    only_now: int
    neither: int

    @property
    def n(self) -> int:
        """The scenarios that both runs have a verdict on."""
        return self.both + self.only_before + self.only_now + self.neither

    @property
    def difference(self) -> float:
        """Success now minus success before."""
        return (self.only_now - self.only_before) / self.n if self.n else 0.0

    @property
    def p(self) -> float:
        """McNemar's exact two-sided p."""
        discordant, fewer = self.only_before + self.only_now, min(self.only_before, self.only_now)
        tail: int = sum(comb(discordant, i) for i in range(fewer + 1))
        return min(1.0, float(2 * tail) / 2.0**discordant)

    @property
    def worse(self) -> bool:
        """Whether it got worse by more than chance, at 5 %."""
        return self.only_now < self.only_before and self.p < 0.05


def paired(before: Mapping[str, bool], now: Mapping[str, bool]) -> Paired:
    """Compare what two runs passed, over what both have."""
    pairs = [(before[key], now[key]) for key in before if key in now]
    return Paired(*(pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))))


def smallest_difference(n: int, discordant: float) -> float:
    """The smallest difference that n paired scenarios show in 80 % of cases, where so large a share is discordant."""
    return min(1.0, max(FEWEST / n, POWER * sqrt(discordant / n))) if n else 1.0
