"""The die: every random choice of an episode, drawn from its position and from nothing else.

A die is a counter hashed under a key (a counter-based generator in the sense of Salmon et al., *Parallel
Random Numbers: As Easy as 1, 2, 3*, 2011). It holds no global state, costs nothing until used, and splits by
label, so that what one branch draws never depends on what another did. The standard library's `random` keeps
its raw stream between versions but not what `choice` or `shuffle` make of it; these bytes are ours.
"""

from collections.abc import Callable, Iterable, MutableSequence, Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")


class Die:
    """A deterministic source of draws under a key; equal keys draw equal sequences."""

    __slots__ = ("_count", "_key")

    def __init__(self, *labels: object) -> None:
        self._key = blake2b(_joined(labels), digest_size=16).digest()
        self._count = 0

    @classmethod
    def maker(cls, *first: object) -> "Callable[..., Die]":
        """A maker of dice whose labels begin with these and go on; what they begin with is hashed once for all."""
        begun = blake2b(_joined((*first, "")), digest_size=16)

        def make(*labels: object) -> Die:
            hashed = begun.copy()
            hashed.update(_joined(labels))
            made = cls.__new__(cls)
            made._key, made._count = hashed.digest(), 0
            return made

        return make

    def split(self, *labels: object) -> "Die":
        """A die of its own for a branch; independent of how often this one was thrown."""
        return Die(self._key.hex(), *labels)

    def bits(self) -> int:
        """The next 64 bits."""
        self._count += 1
        digest = blake2b(self._count.to_bytes(8, "big"), key=self._key, digest_size=8).digest()
        return int.from_bytes(digest, "big")

    def unit(self) -> float:
        """A float in [0, 1), with 53 random bits."""
        return (self.bits() >> 11) * 2.0**-53

    def below(self, n: int) -> int:
        """An integer in [0, n); the bias of the multiplication is under n / 2**64."""
        if n <= 0:
            raise ValueError(f"a die needs at least one side, got {n}")
        return (self.bits() * n) >> 64

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high], both ends included."""
        return low + self.below(high - low + 1)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.unit() < probability

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, each as likely as the others."""
        return options[self.below(len(options))]

    def shuffle(self, items: MutableSequence[T]) -> None:
        """Reorder in place (Fisher and Yates)."""
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]

    def sample(self, population: Sequence[T], k: int) -> list[T]:
        """The first k of a shuffled copy; all of it when k is larger."""
        pool = list(population)
        self.shuffle(pool)
        return pool[:k]


def _joined(labels: Iterable[object]) -> bytes:
    return "\x1f".join(map(str, labels)).encode()
