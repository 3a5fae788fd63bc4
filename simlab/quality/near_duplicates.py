"""Near-duplicates by bottom-k sketches of word 3-grams.

Broder, *On the Resemblance and Containment of Documents*, 1997.

A sketch is the k smallest hashes of a text's shingles. The share of the union's k smallest that two sketches
have in common estimates the Jaccard similarity of the texts, with a standard error of at most 0.5/sqrt(k).
Texts that resemble each other nearly always share one of their few smallest hashes, so those are the only
ones worth indexing.
"""

from array import array
from zlib import crc32

from simlab.text import words

K = 24
INDEXED = 8
SIMILAR = 0.8

Sketch = bytes


def sketch(text: str) -> Sketch:
    """The K smallest 32-bit hashes of the text's word 3-grams, ascending."""
    folded = " ".join(words(text)).casefold().split(" ")
    shingles = set(map(" ".join, zip(folded, folded[1:], folded[2:], strict=False))) or {" ".join(folded)}
    hashes = sorted(set(map(crc32, map(str.encode, shingles))))[:K]
    return array("I", hashes).tobytes()


def values(made: Sketch) -> list[int]:
    """The hashes of a sketch."""
    return list(array("I", made))


def similarity(a: Sketch, b: Sketch) -> float:
    """The estimated Jaccard similarity of the two texts, 0 to 1."""
    left, right = set(values(a)), set(values(b))
    union = sorted(left | right)[:K]
    return sum(1 for h in union if h in left and h in right) / len(union) if union else 1.0
