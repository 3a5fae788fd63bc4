"""Near-duplicates by bottom-k sketches of word 3-grams.

Broder, *On the Resemblance and Containment of Documents*, 1997.

A sketch is the k smallest hashes of a text's shingles. The share of the union's k smallest that two sketches
have in common estimates the Jaccard similarity of the texts, with a standard error of at most 0.5/sqrt(k).
Texts that resemble each other nearly always share one of their few smallest hashes, so those are the only
ones worth indexing.
"""

import re
import sys
from array import array
from itertools import compress
from zlib import crc32

K = 24
INDEXED = 8
SIMILAR = 0.8

# Words are runs of letters and digits, which takes a fifth of the time that words as people see them take.
_OTHER = re.compile(r"[\W_]+")
_SPACED = bytes(byte if byte > 127 or chr(byte).isalnum() else 32 for byte in range(256))

# Two permutations of the byte values, by which a word's hash tells its place in a 3-gram.
_SECOND = bytes((byte * 167 + 89) % 256 for byte in range(256))
_THIRD = bytes((byte * 211 + 131) % 256 for byte in range(256))

_HIGHEST = 3 if sys.byteorder == "little" else 0  # where the highest of a hash's four bytes is

Sketch = bytes


def sketch(text: str) -> Sketch:
    """The K smallest 32-bit hashes of the text's word 3-grams, ascending."""
    folded = text.casefold()
    words = (folded if folded.isascii() else _OTHER.sub(" ", folded)).encode().translate(_SPACED).split()
    if len(words) < 3:
        return array("I", [crc32(b" ".join(words))]).tobytes()
    # A word is hashed once, and the hashes of all 3-grams are put together at one go: as sums (XOR) of long integers.
    one = array("I", map(crc32, words)).tobytes()
    parts = one[:-8], one[4:-4].translate(_SECOND), one[8:].translate(_THIRD)
    first, second, third = (int.from_bytes(part, "little") for part in parts)
    made = (first ^ second ^ third).to_bytes(len(one) - 8, "little")
    hashes = array("I", made)
    # Hashes are spread evenly: the smallest are nearly always among those whose highest byte is below a bound, and only
    # those need be sorted. The bytes are looked up all at one go, too.
    bound = min(3 * K * 256 // len(hashes) + 1, 256)
    few = set(compress(hashes, made[_HIGHEST::4].translate(b"\1" * bound + bytes(256 - bound))))
    return array("I", sorted(few if len(few) >= K else set(hashes))[:K]).tobytes()


def values(made: Sketch) -> list[int]:
    """The hashes of a sketch."""
    return list(array("I", made))


def telling(made: Sketch) -> list[int]:
    """The few smallest hashes of a sketch, which are the ones to be found by."""
    return values(made[: 4 * INDEXED])


def similarity(a: Sketch, b: Sketch) -> float:
    """The estimated Jaccard similarity of the two texts, 0 to 1."""
    left, right = set(values(a)), set(values(b))
    union = sorted(left | right)[:K]
    return len((left & right).intersection(union)) / len(union) if union else 1.0
