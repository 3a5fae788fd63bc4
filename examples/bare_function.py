"""An agent that is a plain function: it renews a library loan once it knows all that the call needs.

simlab eval --agent examples.bare_function:clerk --scenarios scenarios/library/clarify-03.yaml
"""

import re
from typing import Any

NEEDS = {"memberId": "member id", "loanId": "loan id", "dueOn": "due on"}


def clerk(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> str | dict[str, Any]:
    """Ask for what is missing, then call `renewLoan`, then say how it went."""
    last = messages[-1]
    if last["role"] == "tool":
        return (
            "I am sorry, that did not work." if '"error"' in last["content"] else "That is done, the loan is renewed."
        )
    told = " ".join(message["content"] or "" for message in messages if message["role"] == "user")
    found = {name: re.search(rf"{label} is ([\w-]+)", told) for name, label in NEEDS.items()}
    missing = [NEEDS[name] for name, match in found.items() if match is None]
    if missing:
        return f"What is the {missing[0]}, please?"
    arguments = {name: match.group(1) for name, match in found.items() if match is not None}
    return {"tool_calls": [{"function": {"name": "renewLoan", "arguments": arguments}}]}
