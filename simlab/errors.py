"""Every error simlab raises, named for the boundary it was met at.

    SimlabError
    ├── InputError            what the user gave is wrong: exit 2, one clear line
    │   ├── ScenarioError     a scenario file: file, line, key
    │   └── RunFileError      a run file: missing, foreign, locked, changed
    ├── Stopped               a run that ended early and can be resumed: exit 3
    │   ├── BudgetSpent       a --max-... limit was met
    │   └── InfraError        the outside failed: unreachable, unauthorised, retries used up
    ├── AgentFault            an agent could not go on: ends its episode, which is kept as data
    ├── Drop                  a recipe gives up an item, for a counted reason
    └── JournalMismatch       a replay that differs from its recording

A bad episode is data and never a crash; a bug is any other exception and always a traceback.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class SimlabError(Exception):
    """The root of the tree; `except SimlabError` catches all that is not a bug."""


class InputError(SimlabError):
    """Something the user gave is wrong; the message says what, where and what was expected."""


class ScenarioError(InputError):
    """A scenario file that cannot be played; the message begins with `file:line: key`."""


class RunFileError(InputError):
    """A run file that cannot be used: missing, corrupt, foreign, locked, or made by another configuration."""


class Stopped(SimlabError):
    """The run ended before its last item and goes on from there when it is run again."""


class BudgetSpent(Stopped):
    """A limit (--max-calls, --max-tokens, --max-cost, --max-seconds) was met: which one, and what is spent."""

    def __init__(self, why: str, option: str = "", spent: float = 0.0) -> None:
        super().__init__(why)
        self.option = option
        self.spent = spent


class InfraError(Stopped):
    """The outside failed for reasons that say nothing about the episode; its item stays pending."""


class AgentFault(SimlabError):
    """An agent could not go on: its episode ends as `agent_error` and is kept."""


class Drop(SimlabError):
    """Raised by a recipe to give up an item; `reason` is a short code that is counted."""

    def __init__(self, reason: str, detail: str = "", *, by: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
        self.by = by  # the role whose line could not be had


class JournalMismatch(SimlabError):
    """A replayed episode asked something else than its recording did."""


def shortened(text: str, length: int) -> str:
    """A text of at most so many characters, its end cut where it is longer."""
    return text if len(text) <= length else text[: length - 3] + "..."


def nearest(wrong: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest of the known names, else the list of them, else nothing."""
    names = [str(name) for name in known]
    if close := get_close_matches(wrong, names, n=1, cutoff=0.5):
        return f"; did you mean {close[0]!r}?"
    if not names:
        return ""
    return f"; known: {first_of(names, 12)}"


def first_of(names: Sequence[str], most: int) -> str:
    """The first few of many names, with dots where there are more."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
