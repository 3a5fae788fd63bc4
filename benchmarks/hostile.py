"""What hostile documents cost: `python benchmarks/hostile.py [NAME ...]` prints a table in Markdown.

The documents are those of `tests/hostile.py`, each inspected by the command, validator included; the largest texts
that may be read at all (`tests/largest.py`) are parsed. CPU seconds and peak memory are of a process that does this
alone and of those that it starts. Each is to stay under 5 s and 500 MB; the exit code is 1 where one does not.
Arguments pick rows.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.hostile import READ, REFUSED
from tests.largest import UNITS, largest

SECONDS, MB = 5, 500
INSPECT = ("-m", "simlab", "inspect", "hostile.json")
PARSE = """
from simlab.errors import InputError
from simlab.files import read_text
from simlab.parsing import parse
try:
    parse(read_text("hostile.json"), "hostile.json")
except InputError:
    pass
"""
# Between this process, which holds the documents, and the one that is measured: a child begins at its parent's peak.
BETWEEN = """
import resource, subprocess, sys
subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""


def cases() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """What is measured, the text of it, and what is started."""
    for name, (text, _) in {**READ, **REFUSED}.items():
        yield f"inspect: {name}", text, INSPECT
    for unit in UNITS:
        yield f"parse: 31 MB of {unit.strip()}", largest(unit), ("-c", PARSE)


def cost(text: str, words: tuple[str, ...]) -> tuple[float, float]:
    """CPU seconds and peak megabytes."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "hostile.json").write_text(text, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", BETWEEN, *words], cwd=folder, capture_output=True, text=True, check=True
        )
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def main(chosen: list[str]) -> int:
    """Print the rows; 1 where one is over a limit."""
    print("| document | CPU s | MB | share of 5 s or 500 MB |\n" + "|---" * 4 + "|", flush=True)
    over = 0
    for name, text, words in cases():
        if not chosen or any(one in name for one in chosen):
            seconds, megabytes = cost(text, words)
            share = max(seconds / SECONDS, megabytes / MB)
            over |= share >= 1
            print(f"| {name} | {seconds:.1f} | {megabytes:.0f} | {share:.0%} |", flush=True)
    return int(over)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
