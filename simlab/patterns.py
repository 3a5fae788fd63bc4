"""Texts that match a regular expression, drawn by a die.

Walks the parse tree that Python's own `re` compiles from; back-references are refused, and look-arounds are met by
trying. Meant for the short patterns of API documents (identifiers, amounts, telephone numbers).
"""

import re
from functools import lru_cache
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from simlab.die import Die
from simlab.errors import InputError

_TRIES = 16
_LONGEST = 4  # repetitions beyond the least, where the pattern sets no limit
_ANY = "abcdefghijklmnopqrstuvwxyz0123456789"
_UNIVERSE = [*_ANY, *_ANY[:26].upper(), *" !#$%&()*+,-./:;<=>?@[]^_{|}~"]
_CATEGORIES = {
    codes.CATEGORY_DIGIT: [*"0123456789"],
    codes.CATEGORY_NOT_DIGIT: [c for c in _UNIVERSE if not c.isdigit()],
    codes.CATEGORY_WORD: [c for c in _UNIVERSE if c.isalnum() or c == "_"],
    codes.CATEGORY_NOT_WORD: [c for c in _UNIVERSE if not (c.isalnum() or c == "_")],
    codes.CATEGORY_SPACE: [" "],
    codes.CATEGORY_NOT_SPACE: [c for c in _UNIVERSE if c != " "],
}


def matching_text(pattern: str, die: Die) -> str:
    """A text that the pattern finds; raises InputError for a pattern that cannot be walked."""
    try:
        tree = _parsed(pattern)
        for _ in range(_TRIES):
            text = _walk(tree, die)
            if re.search(pattern, text) is not None:
                return text
    except (re.error, ValueError, OverflowError) as error:
        raise InputError(f"no text can be made for the pattern {pattern!r} ({error})") from None
    raise InputError(f"no text can be made for the pattern {pattern!r}")


@lru_cache(maxsize=4096)
def _parsed(pattern: str) -> Any:
    return parser.parse(pattern)


def _walk(tree: Any, die: Die) -> str:
    return "".join(_one(code, value, die) for code, value in tree)


def _one(code: Any, value: Any, die: Die) -> str:
    if code is codes.LITERAL:
        return chr(value)
    if code is codes.NOT_LITERAL:
        return die.choice([c for c in _ANY if c != chr(value)])
    if code is codes.ANY:
        return die.choice(_ANY)
    if code is codes.IN:
        return die.choice(_members(value))
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
        low, high, inner = value
        count = die.between(low, min(high, low + _LONGEST))
        return "".join(_walk(inner, die) for _ in range(count))
    if code is codes.SUBPATTERN:
        return _walk(value[3], die)
    if code is codes.BRANCH:
        return _walk(die.choice(value[1]), die)
    if code in (codes.AT, codes.ASSERT, codes.ASSERT_NOT):  # what must or must not follow is left to luck
        return ""
    raise ValueError(f"{code} is not supported")


def _members(items: Any) -> list[str]:
    """The characters of a class, in a fixed order."""
    if items and items[0][0] is codes.NEGATE:
        excluded = set(_members(items[1:]))
        if not (left := [c for c in _UNIVERSE if c not in excluded]):
            raise ValueError("a class that leaves out nearly everything is not supported")
        return left
    found: list[str] = []
    for code, value in items:
        if code is codes.LITERAL:
            found.append(chr(value))
        elif code is codes.RANGE:
            found += [chr(c) for c in range(value[0], min(value[1], value[0] + 128) + 1)]
        elif code is codes.CATEGORY:
            found += _CATEGORIES[value]
        else:
            raise ValueError(f"{code} is not supported")
    return found
