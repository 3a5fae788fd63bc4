"""Slot precision, recall and F1, as AutoDE scores a call (Mu et al., *Beyond Static Evaluation*, 2024).

A slot is an argument with its value. Raw, two values are equal when their texts are; normalised, when they are equal
by what they mean. A call that is missing, or failed, has no slots.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Overlap:
    """Slots that are right, that were given, and that were wanted."""

    right: int = 0
    given: int = 0
    wanted: int = 0

    def __add__(self, other: "Overlap") -> "Overlap":
        """Both together, which is how a suite is averaged over slots."""
        return Overlap(self.right + other.right, self.given + other.given, self.wanted + other.wanted)

    @property
    def precision(self) -> float:
        """The share of the given slots that are right; 0 where none was given."""
        return self.right / self.given if self.given else 0.0

    @property
    def recall(self) -> float:
        """The share of the wanted slots that were given right; 0 where none was wanted."""
        return self.right / self.wanted if self.wanted else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of both; 0 where nothing is right."""
        return 2 * self.right / (self.given + self.wanted) if self.right else 0.0


@dataclass(frozen=True)
class Slots:
    """The overlap of texts, and of meanings."""

    raw: Overlap
    normalised: Overlap
