"""Documents without an overlay: what is inferred of them behaves as an API does, whatever the calls and their order."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from specs import FOLDER as REAL

from simlab.api import Api, ApiSource, Operation, Resource, read_api
from simlab.die import Die
from simlab.inference import part
from simlab.schema import pointed, to_json
from simlab.world import Response, World, diff, example_call, seeded

OWN = Path(__file__).parent.parent / "apis"
NAMES = ("courier", "library", "switchboard", "workshop")
FROM_OTHERS = (
    "adyen-checkout.json", "box.json", "discord.json", "lob.yaml", "museum.yaml", "petstore-3.yaml", "slack-v2.json",
    "spotify-fixed.yaml", "traccar.yaml", "twilio-verify.json", "xero-assets.yaml",
)  # fmt: skip
DICE = st.integers(0, 2**32).map(Die)


def documents() -> list[Any]:
    """Our documents, and those of others where they lie beside the checkout."""
    absent = pytest.mark.skip(f"no folder {REAL}")
    others = [pytest.param(n, marks=[pytest.mark.slow, *(() if REAL.is_dir() else (absent,))]) for n in FROM_OTHERS]
    return [*NAMES, *others]


@pytest.fixture(scope="module", params=documents())
def api(request: pytest.FixtureRequest, let_go: Callable[[], None]) -> Iterator[Api]:
    """A document of ours without its overlay, or one of others; those are large, and none is kept after its tests."""
    name = request.param
    if name in NAMES:
        yield ApiSource(name, (OWN / f"{name}.yaml").read_text(encoding="utf-8")).compiled()
    else:
        yield read_api(REAL / name).compiled()
        let_go()


def declared(operation: Operation, response: Response) -> Any:
    """The schema of a response by its status; None where the document describes none."""
    if response.ok:
        return operation.responses.get(operation.success)
    said = (str(response.status), f"{response.status // 100}XX", "default")
    return next((operation.responses[key] for key in said if key in operation.responses), None)


class Machine(RuleBasedStateMachine):
    """Calls drawn at random; `alive` and `gone` are the ids that were seen, by resource."""

    api: Api

    @initialize(seed=st.integers(0, 15))
    def begin(self, seed: int) -> None:
        self.world: World = seeded(self.api, seed)
        self.other: World = seeded(self.api, seed)
        self.first = to_json({name: dict(self.other.tables[name]) for name in self.api.resources})

    def call(self, operation: Operation, arguments: dict[str, Any]) -> Response:
        """Make a call: whatever is answered fits the schema that is declared for it."""
        response = self.world.call(operation.id, arguments)
        schema = declared(operation, response)
        if schema is not None:
            assert self.api.problems(response.body, schema) == [], f"{operation.id} {response.status}"
        assert self.world.counts["unfit"] == 0, operation.id
        return response

    def changing(self, operation: Operation, arguments: dict[str, Any]) -> Any:
        """What a call changes, None where it is refused; a refused call changes nothing."""
        before = self.world.tables
        response = self.call(operation, arguments)
        change = diff(before, self.world.tables)
        if response.ok:
            return change
        assert change == {}
        return None

    def pick(self, die: Die, *effects: str) -> Operation | None:
        pool = [o for o in self.api.operations.values() if o.effect in effects and (o.resource or effects == ("read",))]
        return die.choice(pool) if pool else None

    def read_back(self, resource: Resource, key: Any, arguments: dict[str, Any], said: Operation) -> Response | None:
        """The answer of the first operation that gets one record of a resource, for a key."""
        for operation in self.api.operations.values():
            if operation.effect == "get" and operation.resource == resource.name:
                wanted = example_call(self.world, operation, Die("read"))
                named = {said.fields.get(n, n): v for n, v in arguments.items()}
                for name in wanted:
                    prop = operation.fields.get(name, name)
                    if prop in resource.parents.values() and prop in named:
                        wanted[name] = named[prop]
                schema = self.api.arguments(operation)[operation.selector or ""]
                typed = next((k for k in (key, str(key)) if self.api.valid(k, schema)), None)
                if typed is None:
                    return None
                return self.call(operation, {**wanted, operation.selector or "": typed})
        return None

    @rule(die=DICE)
    def create(self, die: Die) -> None:
        operation = self.pick(die, "create")
        if operation is None:
            return
        resource = self.api.resources[operation.resource]
        arguments = example_call(self.world, operation, die, optional=0.3)
        change = self.changing(operation, arguments)
        if change is None:
            return
        assert list(change) == [resource.name]
        ((key, what),) = change[resource.name].items()
        assert "added" in what
        record = self.world.tables[resource.name][key]
        got = self.read_back(resource, record[resource.id], arguments, operation)
        assert got is None or got.ok, f"{operation.id} made {key}, which cannot be read: {got}"

    @rule(die=DICE)
    def update(self, die: Die) -> None:
        operation = self.pick(die, "update")
        if operation is None:
            return
        change = self.changing(operation, example_call(self.world, operation, die, optional=0.4))
        if change is None:
            return
        assert set(change) <= {operation.resource}
        assert all("changed" in what for what in change.get(operation.resource, {}).values())

    @rule(die=DICE)
    def delete(self, die: Die) -> None:
        operation = self.pick(die, "delete")
        if operation is None:
            return
        resource = self.api.resources[operation.resource]
        before, arguments = self.world.tables, example_call(self.world, operation, die)
        change = self.changing(operation, arguments)
        if change is None:
            return
        assert list(change) == [resource.name]
        ((key, what),) = change[resource.name].items()
        assert "removed" in what
        assert not self.call(operation, arguments).ok, "what is gone cannot be deleted again"
        got = self.read_back(resource, before[resource.name][key][resource.id], arguments, operation)
        assert got is None or not got.ok, "what is gone cannot be read"

    @rule(die=DICE)
    def list_all(self, die: Die) -> None:
        operation = self.pick(die, "list")
        if operation is None:
            return
        resource, before = self.api.resources[operation.resource], self.world.tables
        response = self.call(operation, example_call(self.world, operation, die))
        assert diff(before, self.world.tables) == {}
        if response.ok and operation.responses.get(operation.success) is not None:
            rows = pointed(response.body, operation.rows)
            shown = self.api.properties(part(self.api, operation.responses[operation.success], f"{operation.rows}/*"))
            assert len(rows) <= len(self.world.tables[resource.name])
            if resource.id in shown and not self.world.counts["remade"]:
                assert {str(row[resource.id]) for row in rows if resource.id in row} <= set(
                    map(str, self.world.tables[resource.name])
                )

    @rule(die=DICE)
    def read(self, die: Die) -> None:
        operation = self.pick(die, "get") or self.pick(die, "read")
        if operation is not None:
            arguments, again = example_call(self.world, operation, die), self.world.copy()
            response = self.call(operation, arguments)
            assert again.call(operation.id, arguments) == response, "equal worlds answer equally"

    @rule(die=DICE)
    def act(self, die: Die) -> None:
        pool = [o for o in self.api.operations.values() if o.effect == "action"]
        if pool:
            operation, before = die.choice(pool), self.world.tables
            response = self.call(operation, example_call(self.world, operation, die))
            assert bool(diff(before, self.world.tables)) == response.ok, "an action that worked shows in what changed"

    @invariant()
    def another_session_knows_nothing_of_it(self) -> None:
        if hasattr(self, "first"):
            assert to_json({name: dict(self.other.tables[name]) for name in self.api.resources}) == self.first


def test_records_live_and_die_as_calls_say_and_every_answer_fits_its_schema(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Machine, "api", api, raising=False)  # hypothesis keeps every class of machines for good
    limits = settings(
        max_examples=8,
        stateful_step_count=12,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=(Phase.generate,),  # over a large document a failure would be made smaller for minutes
    )
    run_state_machine_as_test(Machine, settings=limits)


def test_every_operation_can_be_called_by_an_example_and_answers_as_it_says(api: Api) -> None:
    start, wrong = seeded(api, 1), dict[str, str]()
    for operation in api.operations.values():
        world = start.copy()
        arguments = example_call(world, operation, Die("example", operation.id))
        response = world.call(operation.id, arguments)
        problems = api.argument_problems(operation, arguments) or [
            *([] if response.ok else [f"status {response.status}"]),
            *(api.problems(response.body, schema) if (schema := declared(operation, response)) is not None else []),
        ]
        if problems:
            wrong[operation.id] = problems[0][:120]
    assert len(wrong) <= 0.05 * len(api.operations), wrong
