"""The scorer, measured: mutants are performed, judged by it and by others, and their truth found out by brute force."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from simlab.api import ApiSource, read_api
from simlab.die import Die
from simlab.draft import sample
from simlab.mutants import mutants, perform, stand_of
from simlab.plan import KINDS, Rejected, as_scenario
from simlab.scenario import ApiPart, ToolScenario
from simlab.score import Score, score_talk
from tests.baselines import ast_match, state_hash
from tests.brute import truly_passes

ROOT = Path(__file__).parent.parent
OURS = (*sorted((ROOT / "apis").glob("*.yaml")), ROOT / "tests" / "documents" / "greenhouse.yaml")
REAL = ("petstore-3.yaml", "museum.yaml", "traccar.yaml", "xero-assets.yaml")
PLAYED = (*(kind for kind in KINDS if kind != "abstain"), "unknown", "several")


@dataclass(frozen=True)
class Verdict:
    """A mutant and what everyone says of it; `truth` is whether it passes."""

    document: str
    scenario: ToolScenario
    mutation: str
    meant: bool
    truth: bool
    errors: tuple[str, ...]
    score: Score
    ast: bool
    hash: bool


def documents(*, real: bool = False) -> list[ApiSource]:
    """Our documents, and those of others where the folder with them is there."""
    folder = Path(os.environ.get("SIMLAB_SPECS") or ROOT.parent / "shared" / "specs")
    others = [folder / name for name in REAL if real and (folder / name).exists()]
    return [read_api(path) for path in (*OURS, *others)]


def verdicts(sources: Sequence[ApiSource], scenarios: int, seed: str = "mutants") -> Iterator[Verdict]:
    """The verdicts on all mutants of so many scenarios, the documents and kinds taking turns."""
    for number in range(scenarios):
        source, kind = sources[number % len(sources)], PLAYED[number // len(sources) % len(PLAYED)]
        api, die = source.compiled(), Die(seed, number)
        try:
            plan, _ = sample(api, kind, die)
        except Rejected:
            continue
        scenario = as_scenario(plan, ApiPart(document=source.name, sha256=source.sha256), f"{source.name}/{number}")
        stand = stand_of(api, scenario)
        for mutant in mutants(stand, die.split("mutants")):
            talk = perform(stand, scenario, mutant.script)
            yield Verdict(
                source.name,
                scenario,
                mutant.mutation,
                mutant.positive,
                truly_passes(api, scenario, mutant.script, talk),
                mutant.errors,
                score_talk(api, stand.start, mutant.script.label, talk, mutant.script.faults),
                ast_match(api, mutant.script, talk),
                state_hash(api, scenario, mutant.script, talk),
            )


def missed(rows: Sequence[Verdict]) -> list[Verdict]:
    """Those that must fail and pass."""
    return [row for row in rows if not row.truth and row.score.success]


def alarmed(rows: Sequence[Verdict]) -> list[Verdict]:
    """Those that must pass and fail."""
    return [row for row in rows if row.truth and not row.score.success]
