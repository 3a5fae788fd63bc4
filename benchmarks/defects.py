"""Which type of error each scripted defect gets: `python benchmarks/defects.py [SCENARIOS]` prints the matrix.

The oracle is played with one defect at a time (`simlab/agents/faulty.py`) over scenarios of five documents of ours.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.test_mutants import confusion

if __name__ == "__main__":
    found = confusion(int(sys.argv[1]) if len(sys.argv) > 1 else 600)
    print("| scripted defect | played | found as |\n|---|---|---|")
    for error, counts in found.items():
        print(f"| `{error}` | {sum(counts.values())} | {', '.join(f'{n} `{name}`' for name, n in counts.items())} |")
