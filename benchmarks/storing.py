"""What a call costs in writing as its run file grows: `python benchmarks/storing.py` prints µs of commits per call.

Each call stores its journal row and one new text. Beside it stands what the same would cost with the index of texts
kept up to date at each commit; it is made at the end of the first session instead, which is what closing takes.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from simlab.journal import Entry
from simlab.model import Reply
from simlab.runfile import RunFile
from simlab.schema import digest, to_json

TEXTS = 400_000
STEP = 80_000
TOGETHER = 128  # calls in a commit: at 2,500 calls a second there is one every 50 ms
ASKED = to_json({"messages": ["system:0123456789abcdef", "user:0123456789abcdef"], "model": "openai:mock"})
SAID = "It holds for this case what holds for the others, and where it does not one says so. " * 3


class Writing:
    """A run file, and how long its commits have taken."""

    def __init__(self, path: Path, *, indexed: bool) -> None:
        self.file = RunFile.create(path, {})
        self.calls = 0
        if indexed:
            self.file._index()

    def write(self, calls: int) -> float:
        """Store so many calls; returns µs of commits per call."""
        taken = 0.0
        for n in range(self.calls, self.calls + calls):
            text = to_json(f"{n}: {SAID}")
            entry = Entry(str(n % 6), ASKED, to_json({"text": digest(text)}), "model")
            self.file.put_entry(n // 6, entry, {digest(text): text}, Reply(), name="openai:mock")
            if n % TOGETHER == TOGETHER - 1:
                began = time.perf_counter()
                self.file.flush()
                taken += time.perf_counter() - began
        self.calls += calls
        return taken / calls * 1e6

    def close(self) -> float:
        """Close the file; returns the seconds."""
        began = time.perf_counter()
        self.file.close()
        return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    print("| texts in the file | µs per call | with an index kept | ratio |", "|---|---|---|---|", sep="\n", flush=True)
    with TemporaryDirectory() as folder:
        ours = Writing(Path(folder) / "ours.simlab", indexed=False)
        kept = Writing(Path(folder) / "kept.simlab", indexed=True)
        for texts in range(STEP, TEXTS + 1, STEP):
            without, with_index = ours.write(STEP), kept.write(STEP)
            print(f"| {texts:,} | {without:.1f} | {with_index:.1f} | {with_index / without:.1f} |", flush=True)
        print(f"\nClosing took {ours.close():.2f} s, {kept.close():.2f} s where the index was kept.")


if __name__ == "__main__":
    main()
