"""Swagger 2.0 documents say the same thing as OpenAPI 3.0.3 afterwards."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from specs import FOLDER

from simlab.documents import parse_document
from simlab.references import references
from simlab.schema import pointed
from simlab.swagger import METHODS, upgraded
from simlab.validation import _found


def swagger(operation=None, **parts):
    """A document of one operation, `POST /things`."""
    operation = {"responses": {"200": {"description": "Done."}}, **(operation or {})}
    return {
        "swagger": "2.0", "info": {"title": "T", "version": "1"}, "paths": {"/things": {"post": operation}}, **parts
    }  # fmt: skip


def made(operation=None, **parts):
    """The document, once it is clear that it is valid, was before, and lost nothing."""
    before = swagger(operation, **parts)
    assert list(_found(before)) == []
    found, warnings = upgraded(before)
    assert list(_found(found)) == []
    assert warnings == ()
    return found


def operation(said, **parts):
    return made(said, **parts)["paths"]["/things"]["post"]


def body(said, **parts):
    return operation(said, **parts)["requestBody"]


# --- the document -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "servers"),
    [
        ({}, ["/"]),
        ({"basePath": "/v1"}, ["/v1"]),
        ({"host": "a.example"}, ["https://a.example"]),
        ({"host": "a.example", "basePath": "/", "schemes": ["http"]}, ["http://a.example"]),
        ({"host": "a.example:8", "basePath": "/v1", "schemes": ["https", "wss"]}, ["https://a.example:8/v1", "wss://a.example:8/v1"]),
    ],
)  # fmt: skip
def test_host_base_path_and_schemes_become_servers(said, servers):
    assert made(**said)["servers"] == [{"url": url} for url in servers]


def test_an_operation_with_schemes_has_servers_of_its_own():
    assert operation({"schemes": ["ws"]}, host="a.example")["servers"] == [{"url": "ws://a.example"}]


def test_what_means_the_same_is_kept_with_its_extensions():
    kept = {
        "tags": [{"name": "a"}],
        "externalDocs": {"url": "https://a.example"},
        "security": [{"key": []}],
        "x-own": {"$ref": 1},
    }
    security = {"key": {"type": "apiKey", "name": "k", "in": "query", "x-k": 1}}
    said = {"operationId": "make", "summary": "s", "deprecated": True, "tags": ["a"], "x-op": [1]}
    found = made(said, securityDefinitions=security, **kept)
    assert found.items() >= kept.items()
    assert found["openapi"] == "3.0.3"
    assert found["components"]["securitySchemes"] == security
    assert found["paths"]["/things"]["post"] == {**said, "responses": {"200": {"description": "Done."}}}


def test_security_definitions_become_schemes():
    address = {"authorizationUrl": "https://a.example/a"}, {"tokenUrl": "https://a.example/t"}
    scopes = {"scopes": {"read": "Read."}}
    found = made(
        securityDefinitions={
            "plain": {"type": "basic", "description": "d"},
            "implicit": {"type": "oauth2", "flow": "implicit", **address[0], **scopes},
            "code": {"type": "oauth2", "flow": "accessCode", **address[0], **address[1], **scopes},
            "app": {"type": "oauth2", "flow": "application", **address[1], **scopes},
            "password": {"type": "oauth2", "flow": "password", **address[1], **scopes},
        }
    )
    assert found["components"]["securitySchemes"] == {
        "plain": {"type": "http", "scheme": "basic", "description": "d"},
        "implicit": {"type": "oauth2", "flows": {"implicit": {**address[0], **scopes}}},
        "code": {"type": "oauth2", "flows": {"authorizationCode": {**address[0], **address[1], **scopes}}},
        "app": {"type": "oauth2", "flows": {"clientCredentials": {**address[1], **scopes}}},
        "password": {"type": "oauth2", "flows": {"password": {**address[1], **scopes}}},
    }


# --- parameters and bodies --------------------------------------------------------------------------------------


def test_what_a_parameter_says_of_its_value_becomes_its_schema():
    said = {"type": "string", "format": "date", "enum": ["2026-01-01"], "minLength": 1, "x-nullable": True}
    outside = {"name": "q", "in": "query", "description": "d", "allowEmptyValue": True, "x-own": 1}
    schema = {**said, "nullable": True}
    del schema["x-nullable"]
    assert operation({"parameters": [{**outside, **said}]})["parameters"] == [{**outside, "schema": schema}]


@pytest.mark.parametrize(
    ("where", "joined", "style"),
    [
        ("query", None, {"style": "form", "explode": False}),
        ("query", "csv", {"style": "form", "explode": False}),
        ("query", "multi", {"style": "form", "explode": True}),
        ("query", "ssv", {"style": "spaceDelimited", "explode": False}),
        ("query", "pipes", {"style": "pipeDelimited", "explode": False}),
        ("header", "csv", {}),
    ],
)
def test_the_way_an_array_is_written_stays_the_same(where, joined, style):
    array = {"type": "array", "items": {"type": "string"}}
    said = {"name": "q", "in": where, **array, **({"collectionFormat": joined} if joined else {})}
    assert operation({"parameters": [said]})["parameters"] == [{"name": "q", "in": where, "schema": array, **style}]


def test_a_body_is_in_each_media_type_that_is_consumed():
    said = {"name": "b", "in": "body", "required": True, "description": "d", "schema": {"type": "object"}}
    schema = {"schema": {"type": "object"}}
    rest = {"required": True, "description": "d"}
    assert body({"parameters": [said]}) == {**rest, "content": {"application/json": schema}}
    assert body({"parameters": [said]}, consumes=["a/b"]) == {**rest, "content": {"a/b": schema}}
    own = {"parameters": [said], "consumes": ["c/d", "e/f"]}
    assert body(own, consumes=["a/b"]) == {**rest, "content": {"c/d": schema, "e/f": schema}}


FIELDS = [
    {"name": "a", "in": "formData", "type": "string", "required": True, "description": "d"},
    {"name": "b", "in": "formData", "type": "integer"},
]
FORM = {
    "type": "object",
    "properties": {"a": {"type": "string", "description": "d"}, "b": {"type": "integer"}},
    "required": ["a"],
}


def test_form_parameters_become_one_body():
    assert body({"parameters": FIELDS}) == {
        "required": True, "content": {"application/x-www-form-urlencoded": {"schema": FORM}},
    }  # fmt: skip
    both = ["multipart/form-data", "application/x-www-form-urlencoded", "application/json"]
    assert list(body({"parameters": FIELDS, "consumes": both})["content"]) == both[:2]


def test_a_form_with_a_file_is_multipart():
    fields = [*FIELDS, {"name": "f", "in": "formData", "type": "file"}]
    schema = copy.deepcopy(FORM)
    schema["properties"]["f"] = {"type": "string", "format": "binary"}
    assert body({"parameters": fields, "consumes": ["application/x-www-form-urlencoded", "multipart/form-data"]}) == {
        "required": True,
        "content": {"multipart/form-data": {"schema": schema}},
    }


def test_an_array_in_a_form_is_encoded_as_it_was():
    array = {"in": "formData", "type": "array", "items": {"type": "string"}}
    fields = [{"name": "c", **array}, {"name": "m", "collectionFormat": "multi", **array}]
    assert body({"parameters": fields})["content"]["application/x-www-form-urlencoded"]["encoding"] == {
        "c": {"style": "form", "explode": False},
        "m": {"style": "form", "explode": True},
    }


def test_parameters_by_reference_and_of_the_path_go_where_they_belong():
    parameters = {
        "Page": {"name": "page", "in": "query", "type": "integer"},
        "Body": {"name": "b", "in": "body", "schema": {"$ref": "#/definitions/Thing"}},
        "Field": {"name": "f", "in": "formData", "type": "string"},
    }
    before = swagger({"parameters": [{"$ref": "#/parameters/Page"}]}, parameters=parameters, definitions={"Thing": {}})
    before["paths"]["/things"]["parameters"] = [
        {"$ref": "#/parameters/Body"},
        {"name": "h", "in": "header", "type": "string"},
    ]
    before["paths"]["/forms"] = {
        "post": swagger({"parameters": [{"$ref": "#/parameters/Field"}]})["paths"]["/things"]["post"]
    }
    found, warnings = upgraded(before)
    assert warnings == ()
    assert list(_found(found)) == []
    assert list(found["components"]["parameters"]) == ["Page"]
    things = found["paths"]["/things"]
    assert things["parameters"] == [{"name": "h", "in": "header", "schema": {"type": "string"}}]
    assert things["post"]["parameters"] == [{"$ref": "#/components/parameters/Page"}]
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}
    assert things["post"]["requestBody"] == {"content": content}
    form = found["paths"]["/forms"]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]
    assert form["schema"]["properties"] == {"f": {"type": "string"}}


# --- responses --------------------------------------------------------------------------------------------------


def test_a_response_is_in_each_media_type_that_is_produced():
    said = {"200": {"description": "d", "schema": {"type": "object"}, "x-own": 1}, "default": {"description": "e"}}
    schema = {"schema": {"type": "object"}}
    found = operation({"responses": said})["responses"]
    assert found["200"] == {"description": "d", "x-own": 1, "content": {"application/json": schema}}
    assert found["default"] == {"description": "e"}
    found = operation({"responses": said, "produces": ["a/b", "c/d"]}, produces=["e/f"])["responses"]
    assert found["200"]["content"] == {"a/b": schema, "c/d": schema}


def test_headers_examples_and_files_of_a_response():
    said = {
        "description": "d",
        "schema": {"type": "file"},
        "headers": {"X-Rate": {"type": "integer", "description": "r"}},
        "examples": {"text/csv": "a,b"},
    }
    found = upgraded(swagger({"responses": {"200": said}})).document["paths"]["/things"]["post"]["responses"]["200"]
    binary = {"type": "string", "format": "binary"}
    assert found == {
        "description": "d",
        "headers": {"X-Rate": {"schema": {"type": "integer"}, "description": "r"}},
        "content": {"application/octet-stream": {"schema": binary}, "text/csv": {"schema": binary, "example": "a,b"}},
    }


def test_a_shared_response_stays_shared_where_it_has_the_same_media_types():
    responses = {"Error": {"description": "e", "schema": {"type": "string"}}}
    said = {"responses": {"default": {"$ref": "#/responses/Error"}}}
    found = made(said, responses=responses)
    assert found["paths"]["/things"]["post"]["responses"]["default"] == {"$ref": "#/components/responses/Error"}
    assert found["components"]["responses"]["Error"]["content"] == {"application/json": {"schema": {"type": "string"}}}
    found = operation({**said, "produces": ["a/b"]}, responses=responses)
    assert found["responses"]["default"] == {"description": "e", "content": {"a/b": {"schema": {"type": "string"}}}}


# --- schemas ----------------------------------------------------------------------------------------------------


def schema(said, **others):
    return made(definitions={"Thing": said, **others})["components"]["schemas"]["Thing"]


def test_schemas_speak_the_other_dialect():
    said = {"type": "object", "required": ["kind"], "properties": {"kind": {"type": "string"}}}
    assert schema({**said, "discriminator": "kind"}) == {**said, "discriminator": {"propertyName": "kind"}}
    assert schema({"type": "string", "x-nullable": True, "x-own": 1}) == {
        "type": "string",
        "nullable": True,
        "x-own": 1,
    }
    names = {"discriminator": {"type": "string"}, "x-nullable": {"type": "string"}, "$ref": {"type": "string"}}
    assert schema({"type": "object", "properties": names})["properties"] == names
    quoted = {"example": {"$ref": "#/definitions/A"}, "default": {"x-nullable": True}}
    assert schema({"type": "object", **quoted}) == {"type": "object", **quoted}


def test_references_lead_to_where_things_stand_now():
    others = {"List[Pet]": {"type": "object"}, "List_Pet_": {"type": "string"}, "a/b": {"properties": {"c": {}}}}
    parts = [
        {"$ref": "#/definitions/List%5BPet%5D"},
        {"$ref": "#/definitions/List_Pet_"},
        {"$ref": "#/definitions/a~1b/properties/c"},
    ]
    found = made(definitions={"Thing": {"allOf": parts}, **others})
    led = [pointed(found, part["$ref"][1:]) for part in found["components"]["schemas"]["Thing"]["allOf"]]
    assert led == [{"type": "object"}, {"type": "string"}, {}]


def test_a_schema_that_stood_elsewhere_becomes_a_component():
    elsewhere = {
        "a.yml": {
            "Pet": {
                "x-nullable": True,
                "type": "object",
                "properties": {"mother": {"$ref": "#/x-simlab-files/a.yml/Pet"}},
            }
        }
    }
    found = made(**{"definitions": {"Thing": {"$ref": "#/x-simlab-files/a.yml/Pet"}}, "x-simlab-files": elsewhere})
    here = {"$ref": "#/components/schemas/Pet"}
    assert found["components"]["schemas"] == {
        "Thing": here,
        "Pet": {"nullable": True, "type": "object", "properties": {"mother": here}},
    }
    assert "x-simlab-files" not in found


def test_path_items_parameters_and_responses_from_other_files_are_written_in():
    there = "#/x-simlab-files"
    item = {"parameters": [{"$ref": f"{there}/q.yml"}], "responses": {"200": {"$ref": f"{there}/r.yml"}}}
    files = {
        "path.yml": {"get": item},
        "q.yml": {"name": "q", "in": "query", "type": "string"},
        "r.yml": {"description": "d", "schema": {"type": "string"}},
    }
    before = swagger(**{"x-simlab-files": files})
    before["paths"]["/other"] = {"$ref": "#/x-simlab-files/path.yml"}
    found, warnings = upgraded(before)
    assert warnings == ()
    assert found["paths"]["/other"]["get"] == {
        "parameters": [{"name": "q", "in": "query", "schema": {"type": "string"}}],
        "responses": {"200": {"description": "d", "content": {"application/json": {"schema": {"type": "string"}}}}},
    }


def test_lists_of_types_and_of_items_are_understood_though_they_are_no_swagger():
    said = {
        "a": {"type": ["string", "null"]},
        "b": {"type": "null"},
        "c": {"type": ["object", "null", "array"]},
        "d": {"type": "array", "items": [{"type": "string"}, {"type": ["null", "integer"]}]},
    }
    found, warnings = upgraded(swagger(definitions=said))
    assert list(_found(found)) == []
    assert found["components"]["schemas"] == {
        "a": {"type": "string", "nullable": True},
        "b": {"enum": [None]},
        "c": {"allOf": [{"anyOf": [{"type": "object"}, {"type": "array", "items": {}}, {"enum": [None]}]}]},
        "d": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer", "nullable": True}]}},
    }
    assert warnings == ("definitions/d: a schema for each place of an array; read as: every item fits one of them",)


# --- what cannot be said ----------------------------------------------------------------------------------------


def test_what_has_no_counterpart_is_named():
    tabs = {
        "type": "array",
        "items": {"type": "array", "collectionFormat": "pipes", "items": {}},
        "collectionFormat": "tsv",
    }
    said = {
        "parameters": [
            {"name": "q", "in": "query", **tabs},
            {"name": "b", "in": "body", "schema": {}},
            {"name": "f", "in": "formData", "type": "string"},
            {"$ref": "#/parameters/None"},
        ],
        "responses": {"200": {"$ref": "#/responses/None"}, "201": {"description": "", "schema": {"$ref": "a.yml"}}},
    }
    found, warnings = upgraded(swagger(said, own=1, securityDefinitions={"k": {"type": "oauth2", "flow": "device"}}))
    post = found["paths"]["/things"]["post"]
    assert post["parameters"][1] == {"$ref": "#/parameters/None"}
    assert post["responses"]["200"] == {"$ref": "#/responses/None"}
    assert post["responses"]["201"]["content"]["application/json"]["schema"] == {"$ref": "a.yml"}
    assert warnings == (
        "own: no part of Swagger 2.0",
        "POST /things: parameter 'q': the collectionFormat 'pipes' of an inner array has no counterpart there",
        "POST /things: parameter 'q': the collectionFormat 'tsv' has no counterpart there",
        "POST /things: not a parameter, or a reference that leads nowhere",
        "POST /things: form parameters beside a body",
        "POST /things: 200: not a response, or a reference that leads nowhere",
        "a.yml: leads nowhere in the document",
        "securityDefinitions/k: neither basic nor apiKey nor an oauth2 flow",
    )


PARTS = st.sampled_from("paths definitions parameters responses securityDefinitions schemes consumes tags".split())
KEYS = st.sampled_from("$ref in name type items schema properties allOf parameters responses get post 200 a".split())
WORDS = st.sampled_from(["array", "file", "null", "body", "formData", "#/definitions/A", "#/paths", "a"])
junk = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=25,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(PARTS, junk))
def test_whatever_a_document_holds_is_upgraded_and_left_as_it_was(parts):
    before = {"swagger": "2.0", **parts, "paths": {"/a": parts.get("paths")}}
    kept = copy.deepcopy(before)
    found, _ = upgraded(before)
    assert before == kept
    json.dumps(found)
    assert upgraded(before).document == found


def test_shared_and_circular_parts_do_not_multiply():
    deep: dict[str, Any] = {"type": "object"}
    for _ in range(90):
        deep = {"allOf": [deep, deep]}
    item = {"get": {"parameters": [{"$ref": "#/parameters/A"}], "responses": {"200": {"$ref": "#/responses/A"}}}}
    circles = {"parameters": {"A": {"$ref": "#/parameters/A"}}, "responses": {"A": {"$ref": "#/responses/A"}}}
    found, warnings = upgraded(
        swagger(definitions={"Deep": deep}, **circles) | {"paths": {"/a": item, "/b": {"$ref": "#/paths/~1b"}}}
    )
    assert found["components"]["schemas"]["Deep"]["allOf"][0] is found["components"]["schemas"]["Deep"]["allOf"][1]
    assert [line.split(":")[0] for line in warnings] == ["GET /a", "GET /a", "/b"]


# --- real ones --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "before", "after"), [("oai-petstore-2.0", 0, 0), ("nyt-books", 1, 1), ("slack-v2", 19, 0)]
)
def test_real_documents_are_no_less_valid_than_they_were(name, before, after):
    if not FOLDER.is_dir():
        pytest.skip(f"no folder {FOLDER}")
    document = parse_document((FOLDER / f"{name}.json").read_text(encoding="utf-8"), name)
    found = upgraded(document).document
    assert len(list(_found(document))) == before
    assert len(list(_found(found))) == after
    assert set(_operations(found)) == set(_operations(document))
    assert list(_lost(found)) == []


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for path, item in document["paths"].items():
        yield from ((path, method) for method in METHODS if method in item)


def _lost(document: dict[str, Any]) -> Iterator[str]:
    for holder, key in references(document):
        try:
            pointed(document, holder[key][1:])
        except LookupError:
            yield holder[key]
