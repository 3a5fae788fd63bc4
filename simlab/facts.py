"""Facts: whether a user was told a value, read by its type and not as a piece of text.

A number is found as a number (25.5 in "costs 25.50 EUR", 1250 in "1,250"), a day and a moment however they are
written, a name or a code as a whole word. A sentence that denies, a question, and a line that lists what other
records have as well tell nothing.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from simlab.plan import spoken
from simlab.text import sentences

_HERE = "\ufffc"
MOST_RIVALS = 3  # other records' values in one line, from which on it lists everything
_DENIES = re.compile(r"\b(?:not|never|no longer|neither|nor)\b|n['’]t\b", re.IGNORECASE)
_QUESTION = re.compile(
    r"^\W*(?:is|are|was|were|do|does|did|can|could|shall|should|would|will|may|which|what|who|when|where|how)\b.*\?\W*$",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r";\s|\bbut\b|\binstead\b|\brather\b|,\s+(?=(?:it|its|the|this|that|your|their)\b)", re.IGNORECASE)
_NUMBER = re.compile(
    r"(?<![\w.,:/+-])(?:[$€£¥]\s?)?(?P<sign>[-−]?)(?:[$€£¥]\s?)?(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"(?![\w/]|[.,:-]\d)"
)
_ISO = re.compile(
    r"(?<![\w-])\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?(?![\w-])"
)
_MONTHS = {
    name: number
    for number, name in enumerate(
        "january february march april may june july august september october november december".split(), 1
    )
}
_MONTH = "|".join([*_MONTHS, *(f"{name[:3]}\\.?" for name in _MONTHS)])
_DAY_MONTH = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? ({_MONTH}),? (\d{{4}})\b", re.IGNORECASE)
_MONTH_DAY = re.compile(rf"\b({_MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?,? (\d{{4}})\b", re.IGNORECASE)
_DECIMAL = re.compile(r"-?\d+\.\d+")
_YES = re.compile(r"\b(?:yes|true|it is|it does|enabled|active)\b", re.IGNORECASE)
_NO = re.compile(r"\b(?:no|false)\b", re.IGNORECASE)


def told(value: Any, said: Sequence[str], rivals: Sequence[Any] = ()) -> bool:
    """Whether a value was told in one of several lines, none of its rivals being told with it.

    `rivals` are the values that the same field has in other records: who tells three of them, or all, tells nothing.
    """
    # What lists everything is long, and long to be read clause by clause.
    return any(not lists_all(line, rivals) and _tells(line, value) for line in dict.fromkeys(said))


def lists_all(line: str, rivals: Sequence[Any]) -> bool:
    """Whether a line names so many of the other values that it picks out none."""
    named = sum(1 for value in rivals if found(line, value))
    return named > 0 and (named >= MOST_RIVALS or named == len(rivals))


def _tells(line: str, value: Any) -> bool:
    if isinstance(value, bool):
        return any(_says_so(clause, value) for clause in _clauses(line))
    if not found(line, value):
        return False
    if not holds(line, value):
        return any(found(clause, value) and not _DENIES.search(clause) for clause in _clauses(line))
    marked = _pattern(value).sub(_HERE, line)  # the value itself may hold full stops and denials
    return any(_HERE in clause and not _DENIES.search(clause) for clause in _clauses(marked, _HERE))


def _clauses(line: str, about: str = "") -> Iterator[str]:
    """The parts of a line that state something; questions do not. With `about`, those of the sentences that hold it."""
    for sentence in sentences(line):
        if about in sentence and not _QUESTION.match(sentence):
            yield from _CLAUSE.split(sentence)


def _says_so(clause: str, value: bool) -> bool:
    """Whether a clause says yes, or no; a denial says no whatever else it says."""
    if _DENIES.search(clause) or _NO.search(clause):
        return not value
    return value and _YES.search(clause) is not None


def found(text: str, value: Any) -> bool:
    """Whether a text holds a value, as what its type says."""
    if isinstance(value, bool) or value is None:
        return holds(text, value)
    if isinstance(value, int | float):
        return float(value) in _numbers(text)
    said = str(value)
    if _ISO.fullmatch(said):
        return holds(text, said) or _when(said) in _times(text)
    if _DECIMAL.fullmatch(said):
        return holds(text, said) or float(said) in _numbers(text)
    return holds(text, said) or ("_" in said and holds(text, said.replace("_", " ")))


def holds(text: str, value: Any) -> bool:
    """Whether a text holds a value word for word, and not merely as part of a longer word or number."""
    said = spoken(value)
    if said.lower() not in text.lower():  # most texts hold nothing like it, and a pattern is costly to build
        return False
    return _pattern(value).search(text) is not None


def _pattern(value: Any) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.])(?<!\d,){re.escape(spoken(value))}(?!\w|[.,]\d)", re.IGNORECASE)


@lru_cache(maxsize=4096)
def _numbers(text: str) -> frozenset[float]:
    """The numbers of a text; parts of dates, times, codes and telephone numbers are none."""
    return frozenset(float(f"{'-' if m['sign'] else ''}{m['digits'].replace(',', '')}") for m in _NUMBER.finditer(text))


@lru_cache(maxsize=4096)
def _times(text: str) -> frozenset[str]:
    """The days and moments of a text, in a normal form."""
    iso = [_when(m.group()) for m in _ISO.finditer(text)]
    named = [(m[3], m[2], m[1]) for m in _DAY_MONTH.finditer(text)]
    named += [(m[3], m[1], m[2]) for m in _MONTH_DAY.finditer(text)]
    return frozenset([*iso, *(_named(*parts) for parts in named)])


def _named(year: str, month: str, day: str) -> str:
    start = month.lower()[:3]
    number = next(n for name, n in _MONTHS.items() if name.startswith(start))
    try:
        return date(int(year), number, int(day)).isoformat()
    except ValueError:
        return ""


def _when(said: str) -> str:
    """A day as it is, a moment in UTC; a time without an offset as it is."""
    try:
        if len(said) == 10:
            return date.fromisoformat(said).isoformat()
        moment = datetime.fromisoformat(said.replace("Z", "+00:00"))
    except ValueError:
        return said
    return moment.astimezone(UTC).isoformat() if moment.tzinfo is not None else moment.isoformat()
