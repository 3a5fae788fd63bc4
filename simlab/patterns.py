"""The patterns of API documents: whether a text fits one, and texts that do, drawn by a die.

Both go by the parse tree that Python's own `re` compiles from. Texts are made by walking it; back-references are
refused, and look-arounds are met by trying. Meant for short patterns (identifiers, amounts, telephone numbers).
"""

import re
from collections.abc import Callable
from functools import lru_cache
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import jsonschema_rs

from simlab.die import Die
from simlab.errors import InputError

_TRIES = 16
_STEPS = 100_000  # of backtracking, in patterns that look around; what is not found by then does not fit
_LONGEST = 4  # repetitions beyond the least, where the pattern sets no limit
_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)
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
            if fits(text, pattern):
                return text
    except (re.error, ValueError, OverflowError) as error:
        raise InputError(f"no text can be made for the pattern {pattern!r} ({error})") from None
    raise InputError(f"no text can be made for the pattern {pattern!r}")


def fits(text: str, pattern: str) -> bool:
    """Whether a pattern is found in a text, in bounded time; raises re.error for a pattern that is none.

    On some patterns and texts, `^(a+)+$` and a row of a's with a b, Python's `re` works for ever. Patterns that may be
    of this kind are left to the engines of jsonschema-rs, of which one takes linear time and one counts its steps.
    """
    return _search(pattern)(text)


def usable(pattern: str) -> bool:
    """Whether `fits` can be asked about a pattern."""
    try:
        _search(pattern)
    except (re.error, OverflowError, RecursionError):
        return False
    return True


def harmless(pattern: str) -> bool:
    """Whether `re` itself may be asked about a pattern, as it is by what we do not call ourselves."""
    try:
        tree = _parsed(pattern)
    except (re.error, OverflowError, RecursionError):
        return False
    return not _may_explode(tree) and _unlimited(tree) <= 2


@lru_cache(maxsize=4096)
def _search(pattern: str) -> Callable[[str], bool]:
    search = re.compile(pattern).search
    if harmless(pattern):
        return lambda text: search(text) is not None
    for options in (jsonschema_rs.RegexOptions(), jsonschema_rs.FancyRegexOptions(backtrack_limit=_STEPS)):
        try:
            return jsonschema_rs.Draft202012Validator({"pattern": pattern}, pattern_options=options).is_valid
        except ValueError:
            continue
    raise re.error("nothing can search for this in bounded time", pattern)


def _may_explode(tree: Any, *, repeated: bool = False) -> bool:
    """Whether something that is repeated can itself be read in several ways: the time may be exponential."""
    for code, value in tree:
        if code is codes.BRANCH and repeated:
            return True
        again = code in _REPEATS
        if again and repeated:
            return True
        if any(_may_explode(part, repeated=repeated or (again and value[1] > 1)) for part in _parts(code, value)):
            return True
    return False


def _unlimited(tree: Any) -> int:
    """How many repetitions have no limit; of two the time is quadratic, of three cubic."""
    own = sum(1 for code, value in tree if code in _REPEATS and value[1] is codes.MAXREPEAT)
    return own + sum(_unlimited(part) for code, value in tree for part in _parts(code, value))


def _parts(code: Any, value: Any) -> list[Any]:
    """The parse trees below a node."""
    if code in _REPEATS:
        return [value[2]]
    if code is codes.SUBPATTERN:
        return [value[3]]
    if code is codes.BRANCH:
        return list(value[1])
    if code in (codes.ASSERT, codes.ASSERT_NOT):
        return [value[1]]
    if code is codes.ATOMIC_GROUP:
        return [value]
    if code is codes.GROUPREF_EXISTS:
        return [part for part in value[1:] if part is not None]
    return []


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
