"""The README's fenced blocks, so that tests and CI run what it says: `python tests/readme.py N` prints block N."""

import re
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def blocks(language: str | None = None) -> list[str]:
    """The contents of all fenced code blocks, or of those in one language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [body for tag, body in found if language is None or tag == language]


if __name__ == "__main__":
    print(blocks()[int(sys.argv[1]) - 1])
