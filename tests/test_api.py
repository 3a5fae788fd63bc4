"""API documents: compiled to operations and tools; what is wrong with one, or with a call, is said in a line."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from simlab.api import EFFECTS, READS, Api, Operation, load_api, read_api
from simlab.errors import InputError
from simlab.records import identifier
from simlab.validation import _found

FOLDER = Path(__file__).parent.parent / "apis"
DOCUMENTS = ("courier", "library", "switchboard", "workshop")


@cache
def api_of(name: str) -> Api:
    return load_api(FOLDER / f"{name}.yaml")


OPERATIONS = [(name, operation) for name in DOCUMENTS for operation in api_of(name).operations]


def tiny(
    thing: Mapping[str, Any],
    *,
    others: Mapping[str, Any] | None = None,
    operations: Mapping[str, Any] | None = None,
    resource: str = "Thing",
    version: str = "3.0.3",
) -> Api:
    """A document of one operation, `makeThing`, whose body is the given schema."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}
    document = {
        "openapi": version,
        "info": {"title": "Things"},
        "paths": {
            "/things": {
                "post": {
                    "operationId": "makeThing",
                    "requestBody": {"required": True, "content": content},
                    "responses": {"201": {"description": "The thing.", "content": content}},
                }
            }
        },
        "components": {"schemas": {"Thing": thing, **(others or {})}},
    }
    said = {"makeThing": {"effect": "create", "resource": "thing"}} if operations is None else operations
    overlay = {"resources": {"thing": {"schema": resource}}, "operations": said}
    return Api(document, overlay, name="tiny", sha256="0" * 64)


def of(properties: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties, **more}


def wrong(api: Api, **arguments: Any) -> list[str]:
    """What is wrong with a call of the only operation of a tiny document."""
    return api.argument_problems(api.operations["makeThing"], arguments)


# --- our own documents ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_operation_of_a_document_says_what_it_does_to_which_resource(name: str) -> None:
    api = api_of(name)
    written = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    listed = [
        node["operationId"]
        for item in written["paths"].values()
        for method, node in item.items()
        if method in ("get", "post", "put", "patch", "delete")
    ]
    assert sorted(api.operations) == sorted(listed)
    assert {operation.effect for operation in api.operations.values()} <= set(EFFECTS)
    for operation in api.operations.values():
        assert operation.resource in api.resources
        assert operation.writes == (operation.effect not in READS)
        assert operation.success.startswith("2")
        if operation.effect in ("get", "update", "delete", "action"):
            assert operation.selector in api.required_arguments(operation)
        if operation.effect == "list":
            assert operation.page is not None
            answer = api.properties(operation.responses[operation.success])
            assert operation.items in answer
            assert {operation.page.size, operation.page.at, *operation.filters} <= set(api.arguments(operation))
        if operation.transition is not None:
            assert operation.transition in api.resources[operation.resource].transitions


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_resource_says_what_identifies_its_records_and_what_they_hang_on(name: str) -> None:
    api = api_of(name)
    for resource in api.resources.values():
        known = api.properties(resource.schema)
        named = {resource.id, *resource.links, *resource.label, *resource.unique, *resource.volatile}
        assert named <= set(known)
        assert set(resource.links.values()) <= set(api.resources)
        assert not api.problems(resource.ids.format(n=1), known[resource.id])


@pytest.mark.slow
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_valid_by_the_standard(name: str) -> None:
    assert list(_found(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(("name", "operation"), OPERATIONS)
def test_a_tool_takes_exactly_the_arguments_of_its_operation(name: str, operation: str) -> None:
    api = api_of(name)
    found = api.operations[operation]
    tool = next(tool for tool in api.tools if tool.name == operation)
    schema = tool.parameters
    Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) <= set(schema["properties"])
    assert set(schema["properties"]) == set(api.arguments(found))
    assert set(schema["required"]) == set(api.required_arguments(found))
    assert "$ref" not in str(schema), "a model is shown no references"
    assert all("description" in part for part in schema["properties"].values()), "a model is told what a value is"
    assert tool.description


@pytest.mark.parametrize(("name", "operation"), OPERATIONS)
def test_what_only_the_server_writes_is_no_argument(name: str, operation: str) -> None:
    api = api_of(name)
    found = api.operations[operation]
    record = api.properties(api.resources[found.resource].schema)
    fixed = {key for key, part in record.items() if api.resolve(part).get("readOnly")}
    outside = {parameter.name for parameter in found.parameters}
    given_by_action = {rule["body"] for rule in found.sets.values() if isinstance(rule, Mapping)}
    moves = api.resources[found.resource].transitions
    given_by_action |= set(moves[found.transition].sets) if found.transition else set()
    names_the_record = {found.selector} if found.selector else set()
    asked_by = set(found.filters)
    assert fixed
    assert not (fixed & set(api.body_properties(found))) - outside - given_by_action - names_the_record - asked_by


def test_a_body_leaves_out_what_is_read_only() -> None:
    api = tiny(of({"id": {"type": "string", "readOnly": True}, "name": {"type": "string"}}))
    assert list(api.tools[0].parameters["properties"]) == ["name"]
    assert wrong(api, name="kite") == []
    assert wrong(api, id="7", name="kite") == ["id: no such argument; known: name"]


# --- arguments --------------------------------------------------------------------------------------------------

MEMBER = {"fullName": "Ada Finch", "email": "ada@post.example", "membership": "adult", "homeBranch": "central"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"phone": "+441632960121"}, []),
        ({"email": None}, ["email: None is not of type 'string'"]),
        ({"fullname": "Ada Finch"}, ["fullname: no such argument; did you mean 'fullName'?"]),
        ({"fullName": 7}, ["fullName: 7 is not of type 'string'"]),
        ({"membership": "gold"}, ["membership: 'gold' is not one of"]),
        ({"phone": "0123"}, ["phone: '0123' does not match"]),
    ],
    ids=["valid", "optional", "null", "unknown", "type", "enum", "pattern"],
)
def test_what_is_wrong_with_an_argument_is_named(change: dict[str, Any], said: list[str]) -> None:
    api = api_of("library")
    found = api.argument_problems(api.operations["createMember"], {**MEMBER, **change})
    assert len(found) == len(said)
    assert all(problem.startswith(start) for problem, start in zip(found, said, strict=True))


@pytest.mark.parametrize(("name", "operation"), OPERATIONS)
def test_each_argument_that_is_required_is_missed(name: str, operation: str) -> None:
    api = api_of(name)
    found: Operation = api.operations[operation]
    required = api.required_arguments(found)
    assert api.argument_problems(found, {})[: len(required)] == [f"{key}: missing" for key in required]


def test_a_parameter_is_checked_as_a_body_is() -> None:
    api = api_of("library")
    found = api.operations["listMembers"]
    assert api.argument_problems(found, {"limit": 50, "membership": "youth"}) == []
    assert api.argument_problems(found, {"limit": 51}) == ["limit: 51 is greater than the maximum of 50"]
    assert api.argument_problems(found, {"limit": "5"}) == ["limit: '5' is not of type 'integer'"]


@pytest.mark.parametrize("day", ["2026-02-30", "tomorrow", "2026-2-3"])
def test_a_day_is_a_day_of_the_calendar(day: str) -> None:
    api = api_of("library")
    arguments = {"memberId": "member_0001", "bookId": "book_0001", "dueOn": day}
    assert api.argument_problems(api.operations["createLoan"], arguments) == [f"dueOn: {day!r} is not a 'date'"]


@pytest.mark.parametrize(
    ("moment", "good"),
    [
        ("2026-05-04T08:30:00+02:00", True),
        ("2026-05-04T08:30:00Z", True),
        ("2026-05-04T08:30:00.25Z", True),
        ("2026-05-04T08:30:00", False),  # where?
        ("2026-05-04 08:30:00Z", False),
        ("2026-05-32T08:30:00Z", False),
        ("2026-05-04T25:30:00Z", False),
        ("at noon", False),
    ],
)
def test_a_moment_has_a_date_a_time_and_an_offset_whatever_else_is_installed(moment: str, good: bool) -> None:
    api = api_of("workshop")
    found = api.argument_problems(api.operations["finishRepairOrder"], {"orderId": "order_0001", "pickUpAt": moment})
    assert found == ([] if good else [f"pickUpAt: {moment!r} is not a 'date-time'"])


# --- the dialect of OpenAPI 3.0 ---------------------------------------------------------------------------------


def test_nullable_becomes_a_type() -> None:
    api = tiny(of({"tone": {"type": "string", "nullable": True}, "hue": {"type": "string", "nullable": False}}))
    assert api.tools[0].parameters["properties"]["tone"] == {"type": ["string", "null"]}
    assert wrong(api, tone=None) == []
    assert wrong(api, hue=None) == ["hue: None is not of type 'string'"]


def test_a_nullable_choice_may_be_null() -> None:
    api = tiny(of({"tone": {"type": "string", "nullable": True, "enum": ["low", "high"]}}))
    assert wrong(api, tone=None) == []
    assert wrong(api, tone="high") == []
    assert wrong(api, tone="mid") == ["tone: 'mid' is not one of ['low', 'high', None]"]


def test_exclusive_bounds_become_numbers() -> None:
    api = tiny(
        of(
            {
                "open": {
                    "type": "number",
                    "minimum": 0,
                    "exclusiveMinimum": True,
                    "maximum": 9,
                    "exclusiveMaximum": True,
                },
                "closed": {"type": "number", "minimum": 0, "exclusiveMinimum": False},
            }
        )
    )
    shown = api.tools[0].parameters["properties"]
    assert shown["open"] == {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 9}
    assert shown["closed"] == {"type": "number", "minimum": 0}
    assert wrong(api, open=0.5, closed=0) == []
    assert wrong(api, open=0) == ["open: 0 is less than or equal to the minimum of 0"]
    assert wrong(api, open=9) == ["open: 9 is greater than or equal to the maximum of 9"]


def test_a_newer_document_is_taken_at_its_word() -> None:
    api = tiny(of({"size": {"type": ["number", "null"], "exclusiveMinimum": 0}}), version="3.1.0")
    assert wrong(api, size=None) == []
    assert wrong(api, size=0) == ["size: 0 is less than or equal to the minimum of 0"]


def test_properties_may_be_called_like_keywords() -> None:
    named = {"nullable": {"type": "boolean"}, "example": {"type": "string"}, "type": {"type": "string"}}
    bounds = {"minimum": {"type": "integer"}, "exclusiveMinimum": {"type": "boolean"}}
    api = tiny(of({**named, **bounds}))
    assert api.tools[0].parameters["properties"] == {**named, **bounds}
    assert wrong(api, nullable=True, example="so", type="x", minimum=1, exclusiveMinimum=True) == []
    assert wrong(api, example=7) == ["example: 7 is not of type 'string'"]


# --- references -------------------------------------------------------------------------------------------------


def test_what_stands_beside_a_reference_counts_too() -> None:
    api = tiny(
        of({"tone": {"$ref": "#/components/schemas/Tone", "maxLength": 3, "description": "How it sounds."}}),
        others={"Tone": {"type": "string", "minLength": 2, "description": "A tone."}},
        version="3.1.0",
    )
    shown = api.tools[0].parameters["properties"]["tone"]
    assert shown == {"type": "string", "minLength": 2, "maxLength": 3, "description": "How it sounds."}
    assert wrong(api, tone="low") == []
    assert wrong(api, tone="x") == ["tone: 'x' is too short"]
    assert wrong(api, tone="high") == ["tone: 'high' is too long"]


def test_a_reference_to_a_reference_is_followed() -> None:
    api = tiny(
        of({"a": {"$ref": "#/components/schemas/B"}}),
        others={"B": {"$ref": "#/components/schemas/C~1D"}, "C/D": {"type": "integer"}},
    )
    assert wrong(api, a="x") == ["a: 'x' is not of type 'integer'"]


def test_what_is_made_of_parts_of_its_own_kind_is_checked_all_the_way_down() -> None:
    api = tiny(of({"name": {"type": "string"}, "inside": {"$ref": "#/components/schemas/Thing"}}))
    assert wrong(api, inside={"inside": {"inside": {"name": "box"}}}) == []
    assert wrong(api, inside={"inside": {"inside": {"name": 7}}}) == [
        "inside/inside/inside/name: 7 is not of type 'string'"
    ]
    Draft202012Validator.check_schema(api.tools[0].parameters)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("other.yaml#/Thing", "'other.yaml#/Thing' is in no file that was read"),
        ("https://example.com/thing.json", "'https://example.com/thing.json' is in no file that was read"),
        ("#/components/schemas/Nothing", "#/components/schemas/Nothing does not exist"),
        ("#/components/schemas/Words/enum/7", "#/components/schemas/Words/enum/7 does not exist"),
        ("#/components/schemas/Words/enum/first", "#/components/schemas/Words/enum/first does not exist"),
        ("#/components/schemas/Itself", "a reference that leads to itself"),
        ("#/components/schemas/There", "a reference that leads to itself"),
    ],
    ids=["file", "web", "nothing", "past the end", "no number", "itself", "in a circle"],
)
def test_a_reference_that_leads_nowhere_costs_the_operation_that_needs_it(reference: str, said: str) -> None:
    others = {
        "Words": {"enum": ["a", "b"]},
        "Itself": {"$ref": "#/components/schemas/Itself"},
        "There": {"$ref": "#/components/schemas/Back"},
        "Back": {"$ref": "#/components/schemas/There"},
    }
    api = tiny(of({"a": {"$ref": reference}}), others=others)
    assert not api.operations
    assert [(aside.id, aside.why) for aside in api.aside] == [("makeThing", said)]


def test_ids_are_the_same_whichever_is_asked_for_first() -> None:
    few = of({"id": {"type": "string", "pattern": "^[a-f]$"}})
    one, other = tiny(few), tiny(few)
    forwards = [identifier(one, one.resources["thing"], number) for number in range(1, 5)]
    backwards = [identifier(other, other.resources["thing"], number) for number in range(4, 0, -1)]
    assert forwards == backwards[::-1]
    assert len(set(forwards)) == 4


# --- overlays ---------------------------------------------------------------------------------------------------

PLAIN = of({"name": {"type": "string"}})
MAKE = {"effect": "create", "resource": "thing"}


@pytest.mark.parametrize(
    ("operations", "said"),
    [
        (
            {"makeThing": MAKE, "makeThingy": MAKE},
            "the overlay names the operation 'makeThingy'; did you mean 'makeThing'?",
        ),
        ({"makeThing": {**MAKE, "effect": "craete"}}, "effect 'craete'; did you mean 'create'?"),
        ({"makeThing": {**MAKE, "resource": "thin"}}, "resource 'thin'; did you mean 'thing'?"),
    ],
    ids=["operation", "effect", "resource"],
)
def test_an_overlay_that_names_something_unknown_is_told_the_nearest(operations: dict[str, Any], said: str) -> None:
    assert tiny(PLAIN).operations["makeThing"].effect == "create"
    with pytest.raises(InputError) as refused:
        tiny(PLAIN, operations=operations)
    assert str(refused.value).startswith("tiny: the overlay ")
    assert str(refused.value).endswith(said)


def test_an_overlay_whose_resource_has_no_schema_in_the_document_is_an_error() -> None:
    with pytest.raises(InputError, match="#/components/schemas/Thong does not exist"):
        tiny(PLAIN, resource="Thong")


# --- files ------------------------------------------------------------------------------------------------------


def test_a_document_is_known_by_what_it_and_its_overlay_hold(tmp_path: Path) -> None:
    (tmp_path / "overlays").mkdir()
    for name in ("library.yaml", "overlays/library.yaml"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    ours, copied = read_api(FOLDER / "library.yaml"), read_api(tmp_path / "library.yaml")
    assert copied.sha256 == ours.sha256
    assert copied.compiled() is ours.compiled(), "the same contents are compiled once"
    for name in ("library.yaml", "overlays/library.yaml"):
        kept = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(kept + b"\n# a remark\n")
        assert read_api(tmp_path / "library.yaml").sha256 != ours.sha256
        (tmp_path / name).write_bytes(kept)


def test_a_document_that_cannot_be_read_is_an_error_that_says_why(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    with pytest.raises(InputError, match=r"shop\.yaml: cannot read the API document"):
        load_api(path)
    path.write_text("openapi: 3.1.0\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot read the overlay of shop\.yaml"):
        load_api(path, tmp_path / "nothing.yaml")
    path.write_text("title: Shop\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"shop.yaml: not an OpenAPI document"):
        load_api(path)
    path.write_text("openapi: [\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"shop.yaml:\d+: not YAML"):
        load_api(path)
