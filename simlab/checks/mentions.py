"""Mentions: does a reply name the thing that must not come up, and does it only name it to refuse?

A match on names is a floor: a reference by description ("the one with three stripes") is left to a critic.
"""

import re
from collections.abc import Sequence

from simlab.text import mentions, sentences

_REFUSES = re.compile(
    r"\b(?:can(?:'t|not| not)|won't|will not|unable to|not able to|not allowed to|prefer not to|rather not)\b"
    r"[^.!?]*\b(?:talk|discuss|speak|mention|say|comment|help|answer|recommend|compare)",
    re.IGNORECASE,
)


def named(line: str, names: Sequence[str]) -> list[str]:
    """The spans that name one of the names."""
    return mentions(line, names)


def kind_of_mention(line: str, names: Sequence[str]) -> str:
    """`none`, `refusal` (named only in sentences that decline to talk about it) or `named`."""
    if not mentions(line, names):
        return "none"
    naming = [sentence for sentence in sentences(line) if mentions(sentence, names)]
    return "refusal" if naming and all(_REFUSES.search(sentence) for sentence in naming) else "named"
