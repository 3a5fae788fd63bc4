"""Readers of traces and labels that others wrote: each turns one line of JSON into what the scorer takes."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any


def needed(line: Mapping[str, Any], key: str, place: str, what: str) -> Any:
    """The value of a key; raises ValueError where there is none, with the key that may be a misspelling of it."""
    if key in line:
        return line[key]
    close = get_close_matches(key, [str(name) for name in line], n=1)
    hint = f"; there is {close[0]!r}, did you mean {key!r}?" if close else ""
    raise ValueError(f"{place}: missing; expected {what}{hint}")
