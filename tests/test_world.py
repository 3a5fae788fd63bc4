"""Worlds: whatever calls are made in whatever order, a simulated API answers as its document says and keeps its state.

The model is a plain dict of records. It knows nothing of how a world works; it is told what an answered call
returned, and everything that can be read must agree with it from then on.
"""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from simlab.api import Api, Operation, Resource, load_api
from simlab.die import Die
from simlab.world import Maker, Response, World, diff, random_call, seeded, state_key, volatile_fields

FOLDER = Path(__file__).parent.parent / "apis"
DOCUMENTS = ("courier", "library", "switchboard", "workshop")
DICE = st.integers(0, 2**32).map(Die)
Records = dict[str, dict[str, dict[str, Any]]]  # resource -> id -> record


@cache
def api_of(name: str) -> Api:
    return load_api(FOLDER / f"{name}.yaml")


def records(world: World) -> Records:
    """A world's state as plain data of its own."""
    return {
        name: {key: deepcopy(dict(record)) for key, record in table.items()} for name, table in world.tables.items()
    }


def answered(world: World, operation: Operation, arguments: Mapping[str, Any]) -> Response:
    """A call's answer, which is one that the document declares for its status."""
    response = world.call(operation.id, arguments)
    assert str(response.status) in operation.responses, f"{operation.id} never answers {response.status}"
    schema = operation.responses[str(response.status)]
    if schema is None:
        assert response.body is None
    else:
        assert world.api.problems(response.body, schema) == []
        assert set(response.body) <= set(world.api.properties(schema)), "nothing that is not declared"
    assert response.ok == (str(response.status) == operation.success)
    return response


class Machine(RuleBasedStateMachine):
    """Calls of all kinds on one world, beside a model of its records."""

    document = ""

    @initialize(seed=st.integers(0, 63))
    def begin(self, seed: int) -> None:
        self.api = api_of(self.document)
        self.world = seeded(self.api, seed)
        self.model: Records = records(self.world)
        self.start, self.first = self.world.copy(), deepcopy(self.model)
        self.gone: set[tuple[str, str]] = set()

    # what rules share

    def operations(self, *effects: str) -> list[Operation]:
        return [operation for operation in self.api.operations.values() if operation.effect in effects]

    def arguments(self, operation: Operation, die: Die, record: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Valid arguments; those that name a record name one that is there, `record` where one is given."""
        resource = self.api.resources[operation.resource]
        maker, required = Maker(self.api, die, self.world.clock), self.api.required_arguments(operation)
        made: dict[str, Any] = {}
        for name, schema in self.api.arguments(operation).items():
            if record is not None and name == operation.selector:
                made[name] = record[resource.id]
            elif record is not None and name in resource.parents.values():
                made[name] = record[name]
            elif name in resource.links:
                if name in required or die.chance(0.5):
                    kind = resource.links[name]
                    absent = self.api.resources[kind].ids.format(n=0xFFF)  # where all of them are gone
                    made[name] = die.choice(sorted(self.model[kind]) or [absent])
            elif name in required or die.chance(0.5):
                made[name] = maker.value(schema)
        return made

    def record(self, resource: Resource, die: Die) -> dict[str, Any] | None:
        rows = list(self.model[resource.name].values())
        return die.choice(rows) if rows else None

    def clash(self, resource: Resource, arguments: Mapping[str, Any], but: str | None = None) -> bool:
        """Whether another record has a value of the arguments that must be its own."""
        return any(
            key != but and arguments.get(name) is not None and record.get(name) == arguments[name]
            for name in resource.unique
            for key, record in self.model[resource.name].items()
        )

    def astray(self, resource: Resource, arguments: Mapping[str, Any]) -> bool:
        """Whether the arguments name a record that is gone."""
        return any(
            name in arguments and arguments[name] not in self.model[kind] for name, kind in resource.links.items()
        )

    def write(self, operation: Operation, arguments: Mapping[str, Any]) -> Response:
        """Make a call that may write, and see that a refused one changes nothing."""
        before = self.world.copy()
        response = answered(self.world, operation, arguments)
        changed = diff(before.tables, self.world.tables)
        assert response.ok or changed == {}
        assert records(before) == self.model, "what was is never changed in place"
        return response

    def took(self, before: Records, resource: str, key: str, new: dict[str, Any] | None) -> None:
        """Tell the model of one record that is new, changed or gone (None), and see that nothing else is."""
        old = before[resource].get(key)
        if new is None:
            del self.model[resource][key]
            expected: dict[str, Any] = {"removed": old}
        else:
            self.model[resource][key] = deepcopy(new)
            names = sorted({*new, *(old or {})})
            fields = {n: [(old or {}).get(n), new.get(n)] for n in names if (old or {}).get(n) != new.get(n)}
            expected = {"added": new} if old is None else {"changed": fields}
        named = diff(before, self.world.tables)
        assert named == ({} if expected == {"changed": {}} else {resource: {key: expected}})

    def read(self, resource: Resource, key: str) -> None:
        """What can be read of a record is what the model has of it."""
        kept = self.model[resource.name].get(key)
        for operation in self.operations("get"):
            if operation.resource == resource.name:
                around = kept or {name: sorted(self.model[kind])[0] for kind, name in resource.parents.items()}
                arguments = {name: around[name] for name in self.api.required_arguments(operation) if name in around}
                response = answered(self.world, operation, {**arguments, operation.selector or "": key})
                assert response == Response(200, kept) if kept else response.status == 404
        for operation in self.operations("list"):
            if operation.resource == resource.name and all(n in (kept or {}) for n in resource.parents.values()):
                parents = {name: (kept or {})[name] for name in resource.parents.values()}
                found = [row for row in self.pages(operation, parents, 7) if row[resource.id] == key]
                assert found == ([kept] if kept else [])

    def pages(self, operation: Operation, arguments: Mapping[str, Any], size: int) -> list[dict[str, Any]]:
        """All that a list holds, page after page."""
        assert operation.page is not None
        page, found, at = operation.page, [], None
        for number in range(100):
            where = {} if at is None else {page.at: at}
            body = answered(self.world, operation, {**arguments, page.size: size, **where}).body
            rows = body[operation.items]
            assert len(rows) <= size
            found += rows
            if page.style == "cursor":
                at = body[page.next]
                more = at is not None
                assert not more or len(rows) == size
            else:
                at, more = (number + 1) * (size if page.style == "offset" else 1), len(rows) == size
            if not more:
                assert body.get("total", len(found)) == len(found)
                return found
        raise AssertionError("a list without an end")

    # the rules

    @rule(die=DICE)
    def create(self, die: Die) -> None:
        operation = die.choice(self.operations("create"))
        resource = self.api.resources[operation.resource]
        arguments, before = self.arguments(operation, die), deepcopy(self.model)
        response = self.write(operation, arguments)
        if self.astray(resource, arguments):
            assert response.status == 404
        elif self.clash(resource, arguments):
            assert response.status == 409
        else:
            made = self.made(operation, resource, response)
            assert {name: made[name] for name in arguments} == arguments
            assert {name: made[name] for name in resource.initial} == resource.initial
            assert self.api.problems(made, resource.schema) == []
            assert (resource.name, made[resource.id]) not in self.gone, "an id is never given twice"
            assert made[resource.id] not in before[resource.name]
            self.took(before, resource.name, made[resource.id], made)
            self.read(resource, made[resource.id])

    def made(self, operation: Operation, resource: Resource, response: Response) -> dict[str, Any]:
        assert response.ok, response
        return dict(response.body)

    @rule(die=DICE)
    def read_one(self, die: Die) -> None:
        operation = die.choice(self.operations("get"))
        resource = self.api.resources[operation.resource]
        if record := self.record(resource, die):
            assert answered(self.world, operation, self.arguments(operation, die, record)) == Response(200, record)

    @rule(die=DICE, size=st.integers(1, 9))
    def list_all(self, die: Die, size: int) -> None:
        operation = die.choice(self.operations("list"))
        assert operation.page is not None
        resource = self.api.resources[operation.resource]
        record = self.record(resource, die)
        arguments = self.arguments(operation, die, record)
        for name in (operation.page.size, operation.page.at):
            arguments.pop(name, None)
        for name, prop in operation.filters.items():  # mostly values that some record has
            if name in arguments and record is not None and record.get(prop) is not None and die.chance(0.7):
                arguments[name] = record[prop]
        if any(name not in self.model[kind] for kind, prop in resource.parents.items() if (name := arguments[prop])):
            assert answered(self.world, operation, arguments).status == (404 if "404" in operation.responses else 422)
            return
        wanted = {name: arguments[name] for name in arguments}
        fields = {**{prop: prop for prop in resource.parents.values()}, **operation.filters}
        fitting = {
            key
            for key, row in self.model[resource.name].items()
            if all(row.get(fields[name]) == value for name, value in wanted.items())
        }
        found = self.pages(operation, arguments, size)
        keys = [row[resource.id] for row in found]
        assert len(keys) == len(set(keys)), "no record twice"
        assert set(keys) == fitting
        assert all(row == self.model[resource.name][row[resource.id]] for row in found)

    @precondition(lambda self: self.operations("update"))
    @rule(die=DICE)
    def update(self, die: Die) -> None:
        operation = die.choice(self.operations("update"))
        resource = self.api.resources[operation.resource]
        if (record := self.record(resource, die)) is None:
            return
        key, before = record[resource.id], deepcopy(self.model)
        arguments = self.arguments(operation, die, record)
        for name in resource.unique:  # what a record has already it may keep
            if name in arguments and name in record and die.chance(0.3):
                arguments[name] = record[name]
        outside = {p.name for p in operation.parameters} | {operation.selector}
        changes = {name: value for name, value in arguments.items() if name not in outside}
        response = self.write(operation, arguments)
        if not changes:
            assert response.status == 422, "an update needs something to change"
        elif self.astray(resource, changes):
            assert response.status == 404
        elif self.clash(resource, changes, but=key):
            assert response.status == 409
        else:
            made = self.made(operation, resource, response)
            assert {name: made[name] for name in changes} == changes
            settable = set(self.api.body_properties(operation))
            for name in {*record, *made} - set(changes) - set(resource.volatile):
                if operation.mode == "merge" or name not in settable:
                    assert made.get(name) == record.get(name), f"{name} was not to change"
                else:
                    default = self.api.resolve(self.api.properties(resource.schema)[name]).get("default")
                    assert made.get(name) == default, f"{name} is left out of what replaces it"
            self.took(before, resource.name, key, made)
            self.read(resource, key)

    @precondition(lambda self: self.operations("delete"))
    @rule(die=DICE)
    def delete(self, die: Die) -> None:
        operation = die.choice(self.operations("delete"))
        resource = self.api.resources[operation.resource]
        if (record := self.record(resource, die)) is None:
            return
        arguments, before = self.arguments(operation, die, record), deepcopy(self.model)
        response = self.write(operation, arguments)
        if any(record[prop] not in self.model[kind] for kind, prop in resource.parents.items()):
            assert response.status == 404
            return
        assert response.body in (None, record)
        self.took(before, resource.name, record[resource.id], None)
        self.gone.add((resource.name, record[resource.id]))
        self.read(resource, record[resource.id])
        assert answered(self.world, operation, arguments).status == 404, "what is gone cannot be deleted again"

    @precondition(lambda self: self.operations("action"))
    @rule(die=DICE)
    def act(self, die: Die) -> None:
        operation = die.choice(self.operations("action"))
        resource = self.api.resources[operation.resource]
        rows = list(self.model[resource.name].values())
        if not rows:
            return
        assert operation.transition is not None
        prop, move = operation.transition[0], resource.transitions[operation.transition]
        fit = [row for row in rows if row[prop] in move.origins]
        record = die.choice(fit if fit and die.chance(0.6) else rows)
        arguments, before = self.arguments(operation, die, record), deepcopy(self.model)
        response = self.write(operation, arguments)
        if record[prop] not in move.origins:
            assert response.status == 409
            return
        made = self.made(operation, resource, response)
        expected = {**record, prop: move.to, **{name: arguments[name] for name in move.sets if name in arguments}}
        for name, rule_ in operation.sets.items():
            expected[name] = arguments[rule_["body"]] if isinstance(rule_, Mapping) else record[name] + int(rule_)
        assert {n: v for n, v in made.items() if n not in resource.volatile} == {
            n: v for n, v in expected.items() if n not in resource.volatile
        }
        self.took(before, resource.name, record[resource.id], made)
        self.read(resource, record[resource.id])

    @rule(die=DICE)
    def name_a_record_that_is_not_there(self, die: Die) -> None:
        operation = die.choice(self.operations("get", "update", "delete", "action"))
        resource = self.api.resources[operation.resource]
        if record := self.record(resource, die):
            absent = {**record, resource.id: resource.ids.format(n=0xFFF)}
            assert self.write(operation, self.some_change(operation, die, absent)).status == 404
            for kind, prop in resource.parents.items():
                elsewhere = [key for key in self.model[kind] if key != record[prop]]
                moved = {**record, prop: die.choice([*elsewhere, self.api.resources[kind].ids.format(n=0xFFF)])}
                assert self.write(operation, self.some_change(operation, die, moved)).status == 404

    def some_change(self, operation: Operation, die: Die, record: Mapping[str, Any]) -> dict[str, Any]:
        """Valid arguments that hold something besides what names the record, where an operation needs that."""
        for _ in range(50):
            arguments = self.arguments(operation, die, record)
            if not self.api.argument_problems(operation, arguments):
                return arguments
        raise AssertionError(f"no valid arguments for {operation.id}")

    @rule(die=DICE)
    def refer_to_a_record_that_is_not_there(self, die: Die) -> None:
        able = [
            (operation, name, kind)
            for operation in self.operations("create", "update")
            for name, kind in self.api.resources[operation.resource].links.items()
            if name in self.api.arguments(operation)
        ]
        operation, name, kind = die.choice(able)
        record = self.record(self.api.resources[operation.resource], die)
        if operation.effect == "create" or record is not None:
            arguments = self.arguments(operation, die, record if operation.effect == "update" else None)
            arguments[name] = self.api.resources[kind].ids.format(n=0xFFF)
            assert self.write(operation, arguments).status == 404

    @rule(die=DICE)
    def take_a_value_that_another_has(self, die: Die) -> None:
        able = [
            (operation, name)
            for operation in self.operations("create", "update")
            for name in self.api.resources[operation.resource].unique
            if name in self.api.arguments(operation)
        ]
        operation, name = die.choice(able)
        resource = self.api.resources[operation.resource]
        rows = list(self.model[resource.name].values())
        if len(rows) > 1:
            mine, other = die.sample(rows, 2)
            arguments = self.arguments(operation, die, mine if operation.effect == "update" else None)
            arguments = {**arguments, name: other[name]}
            if not self.astray(resource, arguments):
                assert self.write(operation, arguments).status == 409

    @rule(die=DICE)
    def call_wrongly(self, die: Die) -> None:
        operation = die.choice(list(self.api.operations.values()))
        record = self.record(self.api.resources[operation.resource], die)
        arguments = self.arguments(operation, die, record)
        how = die.choice(["missing", "unknown", "type"])
        if how == "missing" and (required := self.api.required_arguments(operation)):
            del arguments[die.choice(required)]
        elif how == "type" and arguments:
            arguments[die.choice(sorted(arguments))] = [["not", "a", "value"]]
        else:
            arguments["nonsense"] = 1
        response = self.write(operation, arguments)
        assert response.status == 422
        assert response.body["message"]

    @rule()
    def call_what_there_is_not(self) -> None:
        response = self.world.call("makeCoffee", {})
        assert response.status == 404
        assert "makeCoffee" in response.body["message"]

    @rule(die=DICE)
    def go_on_in_a_copy(self, die: Die) -> None:
        copy = self.world.copy()
        for _ in range(4):
            copy.call(*random_call(copy, die))
        assert records(self.world) == self.model, "a copy is a world of its own"
        again = self.world.copy()
        operation, arguments = random_call(again, Die(7))
        assert again.copy().call(operation, arguments) == again.call(operation, arguments), (
            "equal worlds answer equally"
        )

    # what holds after each of them

    @invariant()
    def the_world_is_what_the_model_says(self) -> None:
        assert records(self.world) == self.model

    @invariant()
    def every_record_fits_its_schema(self) -> None:
        for name, table in self.model.items():
            for key, record in table.items():
                assert self.api.problems(record, self.api.resources[name].schema) == []
                assert record[self.api.resources[name].id] == key

    @invariant()
    def the_beginning_is_what_it_was(self) -> None:
        assert records(self.start) == self.first


def machine_of(name: str) -> type[RuleBasedStateMachine]:
    return type(f"{name.title()}Machine", (Machine,), {"document": name})


LIMITS = settings(max_examples=15, stateful_step_count=25, deadline=None)
TestCourier = machine_of("courier").TestCase
TestLibrary = machine_of("library").TestCase
TestSwitchboard = machine_of("switchboard").TestCase
TestWorkshop = machine_of("workshop").TestCase
TestCourier.settings = TestLibrary.settings = TestSwitchboard.settings = TestWorkshop.settings = LIMITS


# --- how a world begins -----------------------------------------------------------------------------------------

SEEDS = range(64)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_equal_seeds_are_equal_worlds_and_others_differ(name: str) -> None:
    api = api_of(name)
    again = Api(api.document, api.meaning, name=name, sha256=api.sha256)
    for seed in (0, 1, 63):
        assert state_key(seeded(again, seed).tables) == state_key(seeded(api, seed).tables)
    assert len({state_key(seeded(api, seed).tables) for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_records_at_the_beginning_fit_their_schemas_refer_to_each_other_and_can_be_told_apart(name: str) -> None:
    api = api_of(name)
    for seed in SEEDS:
        tables = seeded(api, seed).tables
        assert set(tables) == set(api.resources)
        for resource in api.resources.values():
            table = tables[resource.name]
            assert len(table) == resource.seed
            for key, record in table.items():
                assert record[resource.id] == key
                assert api.problems(record, resource.schema) == []
                assert all(record[prop] in tables[kind] for prop, kind in resource.links.items() if prop in record)
            labels = [tuple(record.get(part) for part in resource.label) for record in table.values()]
            assert len(set(labels)) == len(labels), f"seed {seed}: two of {resource.name} sound alike"
            for part in resource.unique:
                values = [record[part] for record in table.values() if record.get(part) is not None]
                assert len(set(values)) == len(values)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_later_move_sets_is_not_there_at_the_beginning(name: str) -> None:
    api = api_of(name)
    for seed in SEEDS:
        for resource in api.resources.values():
            for (prop, _), move in resource.transitions.items():
                for record in seeded(api, seed).tables[resource.name].values():
                    if record[prop] == resource.initial[prop]:
                        assert not set(move.sets) & set(record)


def test_a_world_at_another_time_differs_in_its_times_alone() -> None:
    api = api_of("library")
    now, later = seeded(api, 3), seeded(api, 3, "2027-01-01T08:00:00Z")
    arguments = {"fullName": "Ada Finch", "email": "ada@post.example", "membership": "adult", "homeBranch": "central"}
    joined = [world.call("createMember", arguments).body["joinedAt"] for world in (now, later)]
    assert joined == ["2026-03-02T09:01:00Z", "2027-01-01T08:01:00Z"]


# --- differences ------------------------------------------------------------------------------------------------


def test_a_difference_names_what_was_added_removed_and_changed_and_passes_over_what_is_volatile() -> None:
    before = {"book": {"b1": {"id": "b1", "title": "Tides", "at": 1}, "b2": {"id": "b2", "title": "Owls", "at": 1}}}
    after = {"book": {"b1": {"id": "b1", "title": "Waves", "at": 2, "shelf": "A4"}, "b3": {"id": "b3", "at": 3}}}
    assert diff(before, after, {"book": ("at",)}) == {
        "book": {
            "b1": {"changed": {"shelf": [None, "A4"], "title": ["Tides", "Waves"]}},
            "b2": {"removed": {"id": "b2", "title": "Owls"}},
            "b3": {"added": {"id": "b3"}},
        }
    }
    assert diff(before, {"book": {**before["book"], "b2": {**before["book"]["b2"], "at": 9}}}, {"book": ("at",)}) == {}
    assert diff(before, before) == {}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_times_that_a_server_sets_are_volatile(name: str) -> None:
    api = api_of(name)
    for resource, fields in volatile_fields(api).items():
        parts = api.properties(api.resources[resource].schema)
        stamps = {key for key, part in parts.items() if api.resolve(part).get("format") == "date-time"}
        assert set(fields) == {key for key in stamps if api.resolve(parts[key]).get("readOnly")}
