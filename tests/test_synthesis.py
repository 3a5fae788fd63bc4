"""Scenarios from API documents: kinds keep their promise, controls hold, synthesis goes on until an API is covered."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import pytest

from simlab import controls
from simlab.agents.always_refuses import always_refuses
from simlab.agents.oracle import oracle
from simlab.api import Api, ApiSource, load_api
from simlab.author import Written, script_of, write_tool_scenarios
from simlab.cli import main
from simlab.controls import AGENTS, MAY_PASS, breach, outcome_of
from simlab.coverage import Coverage
from simlab.die import Die
from simlab.draft import Aim, sample
from simlab.models.scripted import Scripted
from simlab.plan import OPENING, Plan, Rejected, as_scenario, executed, plan_of
from simlab.scenario import TOOL_KINDS, ApiPart, ToolScenario, load_scenarios, scenario_json
from simlab.schema import to_json
from simlab.simulation import Simulation
from simlab.stage import Stage

APIS = Path(__file__).parent.parent / "apis"
NAMES = ("courier", "library", "switchboard", "workshop")
PART = ApiPart(document="x.yaml", sha256="0" * 64)


@cache
def api_of(name: str, *, bare: bool = False) -> Api:
    path = APIS / f"{name}.yaml"
    return ApiSource(name, path.read_text(encoding="utf-8")).compiled() if bare else load_api(path)


@cache
def planned(name: str, kind: str, *, bare: bool = False) -> tuple[Plan, ...]:
    """Six plans of a kind; none where the document cannot serve it."""
    found = []
    for item in range(6):
        try:
            found.append(sample(api_of(name, bare=bare), kind, Die("plans", item))[0])
        except Rejected:
            continue
    return tuple(found)


def scenario_of(plan: Plan) -> ToolScenario:
    return as_scenario(plan, PART, f"x/{plan.kind}")


def served(api: Api, scenario: ToolScenario, agent: Any) -> tuple[Stage, Any]:
    stage = Stage.of(api, scenario)
    words = Scripted()
    cast = stage.cast(agent(stage.plan, stage.world, words), words)
    return stage, anyio.run(Simulation(cast, turns=48).run)


# --- kinds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bare", [False, True], ids=["with overlay", "inferred"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", TOOL_KINDS)
def test_the_oracle_passes_every_kind_and_the_label_executes_again(kind: str, name: str, bare: bool) -> None:
    api = api_of(name, bare=bare)
    for plan in planned(name, kind, bare=bare)[:3]:
        scenario = scenario_of(plan)
        assert executed(api, scenario) is None
        stage, trace = served(api, scenario, oracle)
        verdict = stage.judge(trace)
        assert verdict.success, (verdict.why, [f"{m.sender}: {m.text}{m.calls}" for m in trace.messages])
        assert trace.end == ("agent_refused" if kind in ("abstain", "refuse") else "goal_met")


def test_each_document_serves_nearly_every_kind() -> None:
    served = {(name, kind): len(planned(name, kind)) for name in NAMES for kind in TOOL_KINDS}
    assert {key for key, count in served.items() if not count} <= {("switchboard", "unknown"), ("courier", "unknown")}


@pytest.mark.parametrize("name", NAMES)
def test_who_does_not_know_the_id_says_so_and_tells_what_the_record_looks_like(name: str) -> None:
    for plan in planned(name, "unknown"):
        unknown = [slot for slot in plan.slots if slot.unknown]
        assert len(unknown) == 1
        assert unknown[0].value is None
        _, trace = served(api_of(name), scenario_of(plan), oracle)
        said = " ".join(m.text for m in trace.messages if m.sender == "user")
        assert f"I do not know the {unknown[0].label}." in said
        looked_up = {a.source for call in plan.calls for a in call.arguments.values() if a.source.startswith("call:")}
        assert looked_up, "the id comes from an earlier response"


@pytest.mark.parametrize("name", NAMES)
def test_several_goals_are_reached_in_one_talk(name: str) -> None:
    for plan in planned(name, "several"):
        assert ", and also to " in plan.purpose
        assert len(plan.calls) >= 2
        assert sum(slot.reveal == "opening" for slot in plan.slots) <= OPENING


@pytest.mark.parametrize("name", NAMES)
def test_a_call_that_failed_for_a_passing_reason_is_made_again(name: str) -> None:
    for plan in planned(name, "recover"):
        (fault,) = plan.faults
        _, trace = served(api_of(name), scenario_of(plan), oracle)
        statuses = [r.status for m in trace.messages for r in m.results if r.name == fault.operation]
        assert statuses[0] in (429, 500, 504)
        assert statuses[1] < 400


@pytest.mark.parametrize("name", NAMES)
def test_what_the_house_rules_forbid_is_refused_and_doing_it_fails(name: str) -> None:
    for plan in planned(name, "refuse"):
        scenario = scenario_of(plan)
        assert scenario.assistant.policy.startswith("Never ")
        assert "policy" not in to_json(scenario.view("user"))
        stage, trace = served(api_of(name), scenario, always_refuses)
        assert stage.judge(trace).success
        again = sample(api_of(name), "do", Die("forbidden", 1))[0]
        doing = as_scenario(again, PART, "x/do")
        label = doing.label.model_copy(update={"forbidden": (again.calls[-1].operation,), "goal": {}})
        stage, trace = served(api_of(name), doing.model_copy(update={"label": label}), oracle)
        verdict = stage.judge(trace)
        assert verdict.forbidden is False
        assert not verdict.success


# --- controls ---------------------------------------------------------------------------------------------------


def test_agents_pass_what_they_may_and_nothing_else() -> None:
    for name in NAMES:
        for kind in TOOL_KINDS:
            for plan in planned(name, kind)[:2]:
                scenario = scenario_of(plan)
                outcome = anyio.run(outcome_of, api_of(name), scenario)
                assert set(outcome) == set(AGENTS)
                if wrong := breach(scenario, outcome):
                    assert wrong in ("enumerate_everything", "never_asks"), (plan.purpose, outcome)


def test_who_only_reads_and_is_not_played_would_have_got_the_same_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    scenarios = [(name, scenario_of(plan)) for name in NAMES for kind in TOOL_KINDS for plan in planned(name, kind)[:1]]
    found = [anyio.run(outcome_of, api_of(name), scenario) for name, scenario in scenarios]
    monkeypatch.setattr(controls, "_by_reading", lambda api, label: None)
    assert found == [anyio.run(outcome_of, api_of(name), scenario) for name, scenario in scenarios]


def test_a_label_that_nothing_reaches_or_that_nothing_need_be_done_for_is_a_breach() -> None:
    scenario = scenario_of(planned("library", "do")[0])
    wrong = scenario.label.model_copy(update={"goal": {"book": {"book_0001": {"changed": {"title": ["a", "b"]}}}}})
    outcome = anyio.run(outcome_of, api_of("library"), scenario.model_copy(update={"label": wrong}))
    assert breach(scenario, outcome) == "oracle"
    nothing = scenario.label.model_copy(update={"goal": {}, "calls": ()})
    idle = scenario.model_copy(update={"label": nothing})
    assert breach(idle, anyio.run(outcome_of, api_of("library"), idle)) in ("read_only", "do_nothing", "never_asks")


def test_who_may_pass_what_is_stricter_for_whoever_does_less() -> None:
    assert MAY_PASS["oracle"] == TOOL_KINDS
    assert set(MAY_PASS["do_nothing"]) < set(MAY_PASS["read_only"]) < set(MAY_PASS["never_asks"])


# --- coverage and files -----------------------------------------------------------------------------------------


def written(name: str, out: Path, n: int, **options: Any) -> Written:
    source = ApiSource(name, (APIS / f"{name}.yaml").read_text(encoding="utf-8"))

    async def write() -> Written:
        return await write_tool_scenarios(source, APIS / f"{name}.yaml", out, n, 0, **options)

    out.mkdir(exist_ok=True)
    return anyio.run(write)


def test_a_plan_can_be_aimed_at_an_operation_and_at_one_of_its_arguments() -> None:
    api = api_of("library")
    for name, arguments in (("createMember", ("phone",)), ("listLoans", ("status",)), ("updateMember", ("email",))):
        kind = "ask" if name.startswith("list") else "clarify"
        plan, _ = sample(api, kind, Die("aimed", name), about=Aim(name, arguments))
        assert {a for call in plan.calls if call.operation == name for a in call.arguments} >= set(arguments)


def test_nobody_wishes_for_an_update_of_nothing(tmp_path: Path) -> None:
    """A PUT whose body may be left out would have all that it lacks set to null, and nobody could have asked for it."""
    thing = {"type": "object", "properties": {"id": {"type": "string"}, "name": {"type": "string"}}}
    body = {"content": {"application/json": {"schema": {"type": "object", "properties": {"name": {"type": "string"}}}}}}
    one = {"200": {"description": "one", "content": {"application/json": {"schema": thing}}}}
    by = [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]
    put = {"operationId": "put", "parameters": by, "requestBody": body, "responses": one}
    get = {"operationId": "get", "parameters": by, "responses": one}
    document = {"openapi": "3.0.3", "info": {"title": "Things", "version": "1"}}
    (tmp_path / "things.json").write_text(to_json({**document, "paths": {"/things/{id}": {"get": get, "put": put}}}))
    api = load_api(tmp_path / "things.json")
    assert api.operations["put"].effect == "update"
    with pytest.raises(Rejected) as rejected:
        sample(api, "do", Die("nothing to change"))
    assert "shape" in str(rejected.value)
    named = sample(api, "do", Die("nothing to change"), about=Aim("put", ("name",)))[0]
    assert set(named.calls[0].arguments) == {"id", "name"}


def test_coverage_counts_what_labels_call_and_names_what_is_missing() -> None:
    api = api_of("library")
    coverage = Coverage(api, faults=True)
    assert coverage.percent == 0
    assert [aim.operation for aim in coverage.missing()] == list(api.operations)
    for kind in TOOL_KINDS:
        for plan in planned("library", kind):
            coverage.add(scenario_of(plan))
    assert 0 < coverage.percent < 100
    counts = coverage.counts()
    assert sum(had for had, _ in counts.values()) == len(coverage.reached)
    assert sum(of for _, of in counts.values()) == len(coverage.units)
    missing = {aim.operation for aim in coverage.missing()}
    called = {call.operation for kind in TOOL_KINDS for plan in planned("library", kind) for call in plan.calls}
    assert set(api.operations) - called <= missing


def test_synthesis_ends_at_a_rounds_end_when_the_api_is_covered(tmp_path: Path) -> None:
    made = written("library", tmp_path / "out", 1000, kinds=TOOL_KINDS, until=60.0)
    assert made.coverage is not None
    assert made.coverage.percent >= 60
    files = sorted((tmp_path / "out").glob("*.yaml"))
    assert len(files) == made.written <= 64, "one round is enough, and it is played to its end"
    for scenario in load_scenarios(f"{tmp_path}/out/*.yaml"):
        assert isinstance(scenario, ToolScenario)
        assert executed(api_of("library", bare=True), scenario) is None
    table = json.loads((tmp_path / "out" / "controls.json").read_text(encoding="utf-8"))["controls"]
    assert table == made.table.as_json()
    scripts = [
        json.loads(line) for line in (tmp_path / "out" / "autode.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(scripts) == len(files)
    assert set(scripts[0]) == {"id", "Character", "Background", "Purpose", "API", "Parameters", "FirstQuery"}


def test_synthesis_is_the_same_twice_and_leaves_what_is_there(tmp_path: Path) -> None:
    first = written("switchboard", tmp_path / "out", 20, kinds=TOOL_KINDS)
    texts = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    one = next(p for p in (tmp_path / "out").glob("*.yaml") if not p.name.startswith("scenario"))
    one.write_bytes(one.read_bytes() + b"# mine\n")
    again = written("switchboard", tmp_path / "out", 20, kinds=TOOL_KINDS)
    assert (again.written, again.kept, again.others) == (0, first.written, 1)
    assert one.read_bytes().endswith(b"# mine\n")
    assert {p.name for p in (tmp_path / "out").iterdir()} == set(texts)


def test_a_script_says_what_a_user_knows_and_nothing_of_the_label() -> None:
    scenario = scenario_of(planned("library", "clarify")[0])
    script = script_of(scenario)
    assert script["FirstQuery"].startswith(f"I would like to {scenario.purpose}.")
    known = plan_of(scenario).known
    assert script["Parameters"] == {slot.label: slot.value for slot in known}
    later = [str(slot.value) for slot in known if slot.reveal != "opening"]
    assert later
    assert not any(value in script["FirstQuery"] for value in later)
    assert "goal" not in scenario_json(scenario).get("user", {})


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--kinds", "chian", "--api", "apis/library.yaml"], 2, "--kinds: no kind 'chian'; did you mean 'chain'?"),
        (["--kinds", "do", "--topics", "owls"], 2, "--kinds, --until-coverage and --overlay go with --api"),
        (["--api", "apis/library.yaml", "--until-coverage", "100", "-n", "8"], 1, "100 % was not reached"),
        (["--api", "apis/library.yaml", "--kinds", "do,recover", "-n", "6"], 0, "oracle"),
        (
            ["--api", "apis/library.yaml", "--kinds", "do", "--kinds", "do,ask", "-n", "4"],
            0,
            "agent passes           do  ask",
        ),
    ],
    ids=["kind", "topics", "coverage", "good", "kinds twice"],
)
def test_the_command_says_what_was_made_and_what_was_not(
    words: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["synth", *words, "--out", str(tmp_path / "out"), "-q"])
    out = capsys.readouterr()
    assert said in out.out + out.err
    assert (ended.value.code or 0) == code
