"""The scorer is measured: mutants that mean the same pass, others fail, and each scripted defect gets its own type."""

from collections import Counter
from functools import cache
from pathlib import Path

import anyio
import pytest

from simlab.agents.faulty import faulty
from simlab.agents.never_asks import never_asks
from simlab.agents.oracle import oracle
from simlab.api import Api
from simlab.die import Die
from simlab.draft import sample
from simlab.errors import InputError
from simlab.findings import ERRORS, primary
from simlab.models.scripted import Scripted
from simlab.mutants import MUTATIONS, Stand, mutants, perform, stand_of
from simlab.plan import KINDS, MORE_KINDS, Rejected, as_scenario
from simlab.scenario import ApiPart, Label, ToolScenario
from simlab.score import Score
from simlab.simulation import Simulation
from simlab.stage import Stage
from tests.measured import Verdict, alarmed, documents, missed, verdicts

WORDS = Scripted()


# --- mutants ----------------------------------------------------------------------------------------------------


def check(rows: list[Verdict]) -> None:
    """Nearly all negatives fail and nearly no positive does, and others do worse on the very same."""
    bad, good = [row for row in rows if not row.truth], [row for row in rows if row.truth]
    assert len(missed(rows)) <= len(bad) / 100, [(row.mutation, row.document) for row in missed(rows)]
    assert len(alarmed(rows)) <= len(good) / 100, [(row.mutation, row.score.why) for row in alarmed(rows)]
    for other in ("ast", "hash"):
        assert len(missed(rows)) < sum(getattr(row, other) for row in bad)
        assert len(alarmed(rows)) < sum(not getattr(row, other) for row in good)
    for error in ERRORS:
        of = [row for row in bad if error in row.errors]
        assert sum(row.score.success for row in of) <= len(of) / 100, error
    named = [row for row in bad if row.errors]
    assert sum(row.score.error in row.errors for row in named) >= 0.97 * len(named)


def test_the_scorer_tells_mutants_that_mean_the_same_from_those_that_do_not() -> None:
    rows = list(verdicts(documents(), 60))
    assert len({row.document for row in rows}) >= 5
    assert {row.mutation for row in rows} == set(MUTATIONS)
    check(rows)


@pytest.mark.slow
def test_the_scorer_on_five_thousand_mutants() -> None:
    rows = list(verdicts(documents(real=True), 600))
    assert len(rows) >= 5000
    check(rows)


def test_the_truth_comes_from_elsewhere() -> None:
    """The checker imports nothing that the scorer is made of."""
    text = (Path(__file__).parent / "brute.py").read_text("utf-8")
    ours = ("score", "matching", "states", "facts", "arguments", "diagnosis", "value_classes")
    assert not [name for name in ours if f"simlab.{name} " in text]


def test_equal_dice_give_equal_mutants() -> None:
    api, scenario, stand = scenes(5)[0]
    first, second = (list(mutants(stand, Die("x"))) for _ in range(2))
    assert first == second
    assert [perform(stand, scenario, m.script) for m in first] == [perform(stand, scenario, m.script) for m in second]
    assert first != list(mutants(stand, Die("y")))
    assert api.operations


# --- scripted defects -------------------------------------------------------------------------------------------


@cache
def scenes(n: int) -> list[tuple[Api, ToolScenario, Stand]]:
    """Scenarios over our documents, kinds taking turns; every third wants a yes before its last write."""
    found, sources, kinds = [], documents(), (*KINDS, *MORE_KINDS)
    for number in range(n):
        source = sources[number % len(sources)]
        api = source.compiled()
        try:
            plan, _ = sample(api, kinds[number // len(sources) % len(kinds)], Die("scenes", number))
        except Rejected:
            continue
        part = ApiPart(document=source.name, sha256=source.sha256)
        scenario = as_scenario(plan, part, f"{source.name}/{number}")
        writes = [call.op for call in scenario.label.calls if api.operations[call.op].writes]
        if number % 3 == 0 and writes:
            label = scenario.label.model_copy(update={"confirm": (writes[-1],)})
            scenario = scenario.model_copy(update={"label": label})
        found.append((api, scenario, stand_of(api, scenario)))
    return found


def played(api: Api, scenario: ToolScenario, make: object, *options: object) -> tuple[Score, bool]:
    """The verdict on an agent, and whether it played as the oracle does."""
    stage = Stage.of(api, scenario)
    agent = make(stage.plan, stage.world, WORDS, *options)  # type: ignore[operator]
    plain = agent.plan == stage.plan and agent.hesitates and not agent.closing and not agent.failures
    trace = anyio.run(Simulation(stage.cast(agent, WORDS), turns=scenario.ends.turns).run)
    return stage.judge(trace), plain


def confusion(n: int) -> dict[str, Counter[str]]:
    """For each scripted defect, how often which type of error was found."""
    found: dict[str, Counter[str]] = {error: Counter() for error in ERRORS}
    for error in ERRORS:
        for api, scenario, _ in scenes(n):
            verdict, plain = played(api, scenario, faulty, error)
            if plain:
                assert verdict.success, (scenario.id, verdict.why)
                assert verdict.error is None
            else:
                found[error][str(verdict.error)] += 1
    return found


def test_each_scripted_defect_gets_exactly_its_error_type() -> None:
    found = confusion(45)
    assert {error: set(counts) for error, counts in found.items()} == {error: {error} for error in ERRORS}


@pytest.mark.slow
def test_each_of_some_thousand_scripted_defects_gets_exactly_its_error_type() -> None:
    found = confusion(300)
    wrong = {(error, named): n for error, counts in found.items() for named, n in counts.items() if named != error}
    total = sum(sum(counts.values()) for counts in found.values())
    assert sum(wrong.values()) <= total / 200, wrong


def test_a_faulty_agent_is_faulty_at_its_rate() -> None:
    outcomes = [
        played(api, scenario, faulty, "no_call", 0.5) for api, scenario, _ in scenes(60) if scenario.label.calls
    ]
    share = sum(not plain for _, plain in outcomes) / len(outcomes)
    assert 0.3 < share < 0.7
    assert all(verdict.success == plain for verdict, plain in outcomes)


def test_a_faulty_agent_that_there_is_not() -> None:
    api, scenario, _ = scenes(5)[0]
    with pytest.raises(InputError, match="no type of error 'wrong_valu'; did you mean 'wrong_value'"):
        played(api, scenario, faulty, "wrong_valu")
    with pytest.raises(InputError, match=r"share from 0 to 1, got 1\.5"):
        played(api, scenario, faulty, "wrong_value", 1.5)


def test_the_first_type_in_the_order_of_precedence_names_the_failure() -> None:
    from simlab.findings import Finding

    assert (
        primary([Finding("missing_call", ""), Finding("wrong_value", ""), Finding("false_claim", "")]) == "wrong_value"
    )
    assert primary([]) is None


# --- why simulation ---------------------------------------------------------------------------------------------


def static(scenario: ToolScenario) -> ToolScenario:
    """The same talk as a history that holds all values: the user says everything in its first line."""
    slots = {name: slot.model_copy(update={"reveal": "opening"}) for name, slot in scenario.slots.items()}
    return scenario.model_copy(update={"slots": slots})


def test_who_never_asks_is_perfect_on_static_histories_and_not_with_a_user() -> None:
    """The reason for simulation: a history that holds all values flatters who never asks (Mu et al., 2024)."""
    some = [(api, s) for api, s, _ in scenes(60) if s.kind in ("clarify", "chain", "do", "ask") and not s.label.confirm]
    histories = [played(api, static(scenario), never_asks)[0].success for api, scenario in some]
    talks = [played(api, scenario, never_asks)[0] for api, scenario in some]
    asking = [played(api, scenario, oracle)[0].success for api, scenario in some]
    assert all(histories)
    assert all(asking)
    assert sum(talk.success for talk in talks) < 0.8 * len(talks)
    assert {talk.error for talk in talks if not talk.success} <= {"premature_call", "missing_argument"}


# --- confirmation -----------------------------------------------------------------------------------------------


def test_what_wants_a_yes_needs_one_that_was_asked_for_before() -> None:
    confirmed = [(api, s) for api, s, _ in scenes(60) if s.label.confirm]
    assert len(confirmed) > 5
    for api, scenario in confirmed:
        assert played(api, scenario, oracle)[0].forbidden is True
        assert played(api, scenario, never_asks)[0].success is False
    assert Label(how="executed").confirm == ()
