"""Rates with intervals, honest about rows that are not independent.

Wilson, *Probable Inference, the Law of Succession, and Statistical Inference*, 1927. Where rows come in
clusters (many dialogues about one pair), the interval is Wilson's at the effective sample size, which is the
number of rows divided by the design effect (Kish, *Survey Sampling*, 1965).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import sqrt

Z = 1.959963984540054  # two-sided 95 %


@dataclass(frozen=True)
class Rate:
    """A share of n rows with its 95 % interval; `effective` is the number of independent rows it is worth."""

    value: float
    low: float
    high: float
    n: int
    effective: float

    def __str__(self) -> str:
        """Three figures for people."""
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def wilson(hits: float, n: float) -> tuple[float, float]:
    """The 95 % interval of a share of n independent rows; (0, 1) where there are none."""
    if n <= 0:
        return 0.0, 1.0
    p, z2 = hits / n, Z * Z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p))  # p itself, whatever rounding does


def rate(hits: Sequence[bool], clusters: Sequence[Hashable] | None = None) -> Rate:
    """The share of True among rows, with an interval that allows for their clusters."""
    n = len(hits)
    p = sum(hits) / n if n else 0.0
    effective = float(n)
    if clusters is not None and n and 0 < p < 1:
        independent = p * (1 - p) / n
        effective = min(float(n), n * independent / max(_cluster_variance([float(h) for h in hits], clusters), 1e-12))
        effective = max(effective, 1.0)
    elif clusters is not None and n:
        effective = float(len(set(clusters)))  # all alike: no more is known than one row a cluster
    low, high = wilson(p * effective, effective)
    return Rate(p, low, high, n, effective)


def paired_difference(
    first: Sequence[bool], second: Sequence[bool], clusters: Sequence[Hashable]
) -> tuple[float, float, float]:
    """The mean of first minus second over the same rows, with a 95 % interval from the clusters' variance."""
    differences = [float(a) - float(b) for a, b in zip(first, second, strict=True)]
    if not differences:
        return 0.0, -1.0, 1.0
    mean = sum(differences) / len(differences)
    half = Z * sqrt(_cluster_variance(differences, clusters))
    return mean, max(-1.0, mean - half), min(1.0, mean + half)


def _cluster_variance(values: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """The variance of a mean of clustered rows (linearised ratio estimator)."""
    n, mean = len(values), sum(values) / len(values)
    sums: dict[Hashable, float] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + value - mean
    k = len(sums)
    return 1.0 if k < 2 else k / (k - 1) * sum(total * total for total in sums.values()) / (n * n)
