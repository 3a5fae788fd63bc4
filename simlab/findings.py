"""Findings: what is wrong with how an agent called an API, each of one type, and which of them is named first.

The types follow what published error analyses tell apart (Patil et al., *The Berkeley Function Calling
Leaderboard*, 2025; Mu et al., *Beyond Static Evaluation*, 2024); the order of precedence is ours.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# The first that is found names the failure: harm before causes, causes before their consequences.
ERRORS = (
    "forbidden_call",  # an operation that the label forbids was called and worked
    "premature_call",  # a write before the value or the confirmation that it needs was told
    "hallucinated_value",  # a value that nobody said, no answer returned, and neither document nor policy holds
    "wrong_operation",  # another operation, or one that does not exist, in the place of the one that was needed
    "wrong_type",  # the right value as another JSON type, such as "25" for 25
    "wrong_value",  # a value that is known from somewhere, and is not the right one
    "missing_argument",  # an argument that is needed and known is not there
    "extra_argument",  # an argument that should not be there
    "order_violation",  # the right call before the call whose answer it needs
    "unrecovered_error",  # the right call failed and was not made again
    "extra_write",  # a change beside those that were wanted
    "false_claim",  # the agent says that it is done, and the state does not show it
    "no_call",  # nothing was called at all
    "missing_call",  # a call that was needed was not made
)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    `call` is an index among the agent's calls and `turn` among the messages of the trace, both from 0; `argument`
    is a JSON pointer into the arguments.
    """

    type: str
    message: str
    call: int | None = None
    turn: int | None = None
    operation: str = ""
    argument: str = ""
    expected: Any = None
    got: Any = None
    value_class: str = ""


def primary(findings: Iterable[Finding]) -> str | None:
    """The type that names a failure: the first in the order of `ERRORS`; None where nothing was found."""
    return min((finding.type for finding in findings), key=ERRORS.index, default=None)
