"""How well the scorer tells good from bad: `python benchmarks/mutants.py [SCENARIOS]` prints precision and recall.

Mutants of reference traces are performed and judged by the scorer, by an exact AST match and by a hash of the final
state; a brute-force checker (`tests/brute.py`) that uses nothing of them says what is true. With SIMLAB_SPECS set to a
folder of real documents some of those are taken too.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from simlab.findings import ERRORS
from simlab.mutants import MUTATIONS
from simlab.quality.rates import rate
from tests.measured import Verdict, documents, verdicts

JUDGES: dict[str, Callable[[Verdict], bool]] = {
    "simlab": lambda row: row.score.success,
    "AST match": lambda row: row.ast,
    "state hash": lambda row: row.hash,
}


def share(hits: Iterable[bool]) -> str:
    """A rate with its interval; `-` where there is nothing to count."""
    rows = list(hits)
    made = rate(rows)
    return f"{made.value:.3f} [{made.low:.3f}, {made.high:.3f}]" if rows else "-"


def row(name: str, rows: Sequence[Verdict]) -> str:
    """Negatives with the share that each judge finds, positives with the share that each rejects."""
    bad, good = [r for r in rows if not r.truth], [r for r in rows if r.truth]
    found = [share(not judge(r) for r in bad) for judge in JUDGES.values()]
    alarms = [share(not judge(r) for r in good) for judge in JUDGES.values()]
    return f"| {name} | {len(bad)} | {' | '.join(found)} | {len(good)} | {' | '.join(alarms)} |"


def by_error(rows: Sequence[Verdict], error: str) -> str:
    """Of the mutants that a type of error would name rightly, those found; of those so named, those that are."""
    of = [r for r in rows if not r.truth and error in r.errors]
    named = [r for r in rows if r.score.error == error]
    found = [share(not judge(r) for r in of) for judge in JUDGES.values()]
    right = [share(not r.truth for r in named), share(not r.truth and error in r.errors for r in named)]
    return f"| `{error}` | {len(of)} | {' | '.join(found)} | {len(named)} | {' | '.join(right)} |"


def main(scenarios: int) -> None:
    """Print the tables."""
    sources = documents(real=True)
    rows = list(verdicts(sources, scenarios))
    turned = sum(r.truth != r.meant for r in rows)
    print(f"{len(rows)} mutants of {scenarios} scenarios over {len(sources)} documents; {turned} relabelled\n")
    judges = " | ".join(JUDGES)
    print(f"| mutation | negatives | found: {judges} | positives | false alarms: {judges} |")
    print("|---" * 9 + "|")
    print(row("all", rows))
    for name in MUTATIONS:
        if of := [r for r in rows if r.mutation == name]:
            print(row(f"`{name}`", of))
    for name, judge in JUDGES.items():
        print(f"\nprecision of a failure, {name}: {share(not r.truth for r in rows if not judge(r))}", end="")
    print(f"\n\n| type of error | negatives | found: {judges} | so named | fails rightly | named rightly |")
    print("|---" * 8 + "|")
    for error in ERRORS:
        if any(error in r.errors for r in rows):
            print(by_error(rows, error))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 600)
