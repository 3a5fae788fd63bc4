"""Role drift: a user simulator that begins to talk like the assistant it talks to (UltraChat's failure mode).

Two signs, both plain: phrases that only assistants use, and a line that explains instead of asking, that is,
a long one without a question or a request.
"""

import re

from simlab.text import words

_ASSISTANT = re.compile(
    r"\b(?:as an ai|as a language model|i am an ai|i['’]m an ai|how can i (?:help|assist)|how may i (?:help|assist)"
    r"|i(?:['’]d| would) be happy to|happy to help|glad to help|here(?:['’]s| is| are) (?:a|an|the|some|how)\b"
    r"|i hope this helps|let me know if you (?:have|need)|feel free to ask|certainly!|of course!|great question"
    r"|you(?:['’]re| are) welcome|is there anything else)",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"\?|\b(?:tell me|explain|describe|show me|give me|help me|list|compare|i want|i need|i['’]d like|i would like"
    r"|i wonder|i am wondering|i['’]m wondering|can you|could you|would you|please)\b",
    re.IGNORECASE,
)
_POLITE = re.compile(
    r"^(?:(?:oh,? |wow,? |ok(?:ay)?,? |great,? )*(?:thank you|thanks)(?: (?:so|very) much| a lot)?"
    r"(?: for (?:your|the|that|this|all)[^.!?,]*)?[.!,]\s*)+",
    re.IGNORECASE,
)
LONGEST_REMARK = 12


def drifted(line: str) -> str | None:
    """`role_drift` when a user's line reads like an assistant's, else None."""
    if sounds_like_an_assistant(line):
        return "role_drift"
    if not _ASKS.search(line) and len(words(line)) > LONGEST_REMARK:
        return "role_drift"
    return None


def sounds_like_an_assistant(line: str) -> bool:
    """Whether a line holds a phrase that only assistants use."""
    return _ASSISTANT.search(line) is not None


def unthanked(line: str) -> str:
    """A user's line without the thanks that simulators open every turn with; the line itself if nothing is left."""
    rest = _POLITE.sub("", line).strip()
    return rest[:1].upper() + rest[1:] if rest else line
