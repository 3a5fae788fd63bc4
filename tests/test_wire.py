"""Calls on the wire: what a client sends is what a server reads, in every style that OpenAPI has."""

from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from specs import each_real_document

from simlab.api import Api, Operation, load_api
from simlab.die import Die
from simlab.errors import InputError
from simlab.route import Router
from simlab.wire import Unreadable, Wire, decoded, encoded
from simlab.world import example_call, seeded

ROOT = Path(__file__).parent.parent
OURS = sorted((ROOT / "apis").glob("*.yaml"))
DICE = st.integers(0, 2**32).map(Die)


@cache
def api_of(path: Path) -> Api:
    return load_api(path)


@cache
def router_of(api: Api) -> Router:
    return Router(api)


def api_with(parameters: list[dict[str, Any]] | None = None, path: str = "/things", **operation: Any) -> Api:
    """A document with one operation, `go`."""
    node = {"operationId": "go", "parameters": parameters or [], "responses": {"204": {"description": "done"}}}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "One operation", "version": "1"},
        "servers": [{"url": "https://one.example/v1"}, {"url": "/{stage}", "variables": {"stage": {"default": "try"}}}],
        "paths": {path: {"post": {**node, **operation}}},
    }
    return Api(document, {}, name="one", sha256="")


def received(api: Api, wire: Wire, operation: Operation) -> dict[str, Any] | None:
    """The arguments that a server makes of a request, after it has found the operation; None where that is another."""
    found = router_of(api).find(wire.path)
    assert found is not None, wire
    if operation not in found.operations[wire.method]:  # another path has this very value in it, and goes first
        return None
    return decoded(api, operation, found.values, wire.query, wire.headers, wire.content)


def there_and_back(api: Api, operation: Operation, die: Die, *, strict: bool = True) -> bool:
    """Whether a valid example call arrives as it was sent; true as well where the wire cannot carry it.

    Unless `strict`, another call is as good that looks the same on the wire: where a document wants a text or a list
    of texts, a list of one is a text.
    """
    arguments = example_call(seeded(api, 1), operation, die, optional=0.7)
    if api.argument_problems(operation, arguments):
        return True
    try:
        wire = encoded(api, operation, arguments)
    except InputError:
        return True
    arrived = received(api, wire, operation)
    if arrived is None:
        return not strict
    if arrived != arguments and strict:
        return False
    return encoded(api, operation, arrived) == wire


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
@given(DICE)
def test_a_call_of_our_own_documents_arrives_as_it_was_sent(path: Path, die: Die) -> None:
    api = api_of(path)
    for operation in api.operations.values():
        assert there_and_back(api, operation, die), operation.id


@pytest.mark.slow
@each_real_document
def test_a_call_of_a_real_document_arrives_as_it_was_sent(path: Path) -> None:
    api = api_of(path)
    astray = []
    for operation in api.operations.values():
        for number in range(3):
            die = Die("wire", operation.id, number)
            assert there_and_back(api, operation, die, strict=False), operation.id
            if not there_and_back(api, operation, Die("wire", operation.id, number)):
                astray.append(operation.id)
    assert len(astray) <= len(api.operations) // 50, astray


# ── styles ─────────────────────────────────────────────────────────────────────────────────────────────────────

NUMBERS, NAMES = {"type": "array", "items": {"type": "integer"}}, {"type": "array", "items": {"type": "string"}}
COLOUR = {"type": "object", "properties": {"R": {"type": "integer"}, "G": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("where", "style", "explode", "schema", "value", "sent"),
    [
        ("path", "simple", False, NUMBERS, [3, 4, 5], "3,4,5"),
        ("path", "simple", False, COLOUR, {"R": 100, "G": 200}, "R,100,G,200"),
        ("path", "simple", True, COLOUR, {"R": 100, "G": 200}, "R=100,G=200"),
        ("path", "label", False, {"type": "string"}, "a.b", ".a%2Eb"),
        ("path", "label", True, NUMBERS, [3, 4, 5], ".3.4.5"),
        ("path", "label", False, NUMBERS, [3, 4, 5], ".3,4,5"),
        ("path", "label", True, COLOUR, {"R": 100, "G": 200}, ".R=100.G=200"),
        ("path", "matrix", False, {"type": "integer"}, 5, ";x=5"),
        ("path", "matrix", False, NUMBERS, [3, 4, 5], ";x=3,4,5"),
        ("path", "matrix", True, NUMBERS, [3, 4, 5], ";x=3;x=4;x=5"),
        ("path", "matrix", True, COLOUR, {"R": 100, "G": 200}, ";R=100;G=200"),
        ("query", "form", True, NUMBERS, [3, 4], "x=3&x=4"),
        ("query", "form", True, NUMBERS, [], "x="),
        ("query", "form", False, NAMES, ["a,b", "c d"], "x=a%2Cb,c%20d"),
        ("query", "form", True, COLOUR, {"R": 100, "G": 200}, "R=100&G=200"),
        ("query", "form", False, COLOUR, {"R": 100, "G": 200}, "x=R,100,G,200"),
        ("query", "spaceDelimited", False, NUMBERS, [3, 4], "x=3%204"),
        ("query", "pipeDelimited", False, NAMES, ["a", "b"], "x=a%7Cb"),
        ("query", "deepObject", True, COLOUR, {"R": 100, "G": 200}, "x%5BR%5D=100&x%5BG%5D=200"),
        ("header", "simple", False, NUMBERS, [3, 4], "3,4"),
        ("header", "simple", True, COLOUR, {"R": 100, "G": 200}, "R=100,G=200"),
        ("cookie", "form", True, {"type": "string"}, "a;b", "x=a%3Bb"),
        ("cookie", "form", False, NUMBERS, [3, 4], "x=3,4"),
    ],
)
def test_each_style_is_written_as_the_specification_shows_it(
    where: str, style: str, explode: bool, schema: Any, value: Any, sent: str
) -> None:
    said = {"name": "x", "in": where, "required": True, "style": style, "explode": explode, "schema": schema}
    api = api_with([said], "/things/{x}" if where == "path" else "/things")
    operation = api.operations["go"]
    wire = encoded(api, operation, {"x": value})
    held = {"path": wire.path.removeprefix("/things/"), "query": wire.query}
    assert {**held, "header": wire.headers.get("x"), "cookie": wire.headers.get("cookie")}[where] == sent
    assert received(api, wire, operation) == {"x": value}


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "integer"}, "7", 7),
        ({"type": "integer"}, "18446744073709551616", 18446744073709551616),
        ({"type": "integer", "maximum": 5}, "7", 7),  # a number, of which validation says that it is too large
        ({"type": "integer"}, "seven", "seven"),
        ({"type": "integer"}, "NaN", "NaN"),
        ({"type": "number"}, "1e3", 1000.0),
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean"}, "yes", "yes"),
        ({"type": "string"}, "7", "7"),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["integer", "null"]}, "", None),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, "7", 7),
        ({"oneOf": [{"type": "string", "pattern": "^a"}, {"type": "integer"}]}, "7", 7),
        ({"enum": [1, 2]}, "2", 2),
        ({}, "7", "7"),
        ({"type": "array", "items": {"type": "integer"}}, "7", [7]),
    ],
)
def test_a_text_is_what_its_schema_makes_of_it_and_no_more(schema: Any, text: str, value: Any) -> None:
    api = api_with([{"name": "x", "in": "query", "schema": schema}])
    assert received(api, Wire("POST", f"/things?x={text}"), api.operations["go"]) == {"x": value}


def test_what_most_clients_send_is_understood() -> None:
    """They encode commas, brackets and spaces in their own ways, and add names that no document knows."""
    api = api_with(
        [
            {"name": "ids", "in": "query", "explode": False, "schema": NUMBERS},
            {"name": "filter", "in": "query", "style": "deepObject", "schema": {"properties": {"tags": NAMES}}},
            {"name": "page[size]", "in": "query", "schema": {"type": "integer"}},
            {"name": "since", "in": "query", "content": {"application/json": {"schema": COLOUR}}},
        ]
    )
    wire = Wire("POST", '/things?ids=1%2C2&filter[name]=a+b&filter[tags][]=x&page[size]=5&since={"R":1}&utm=z')
    assert received(api, wire, api.operations["go"]) == {
        "ids": [1, 2],
        "filter": {"name": "a b", "tags": ["x"]},
        "page_size": 5,
        "since": {"R": 1},
    }


@pytest.mark.parametrize(
    ("parameter", "value", "why"),
    [
        ({"in": "path", "schema": {"type": "string"}}, "", "a path cannot hold an empty text"),
        ({"in": "header", "schema": NAMES}, ["a,b"], "no comma"),
        ({"in": "header", "schema": {"type": "string"}}, "a\nb", "no line break"),
        ({"in": "query", "style": "pipeDelimited", "explode": False, "schema": NAMES}, ["a|b"], r"holds '\|'"),
    ],
)
def test_a_value_that_the_wire_cannot_carry_is_named(parameter: dict[str, Any], value: Any, why: str) -> None:
    path = "/things/{x}" if parameter["in"] == "path" else "/things"
    api = api_with([{"name": "x", **parameter}], path)
    with pytest.raises(InputError, match=why):
        encoded(api, api.operations["go"], {"x": value})


# ── bodies ─────────────────────────────────────────────────────────────────────────────────────────────────────

ORDER = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "id": {"type": "string", "readOnly": True},
        "name": {"type": "string"},
        "count": {"type": ["integer", "null"]},
        "tags": NAMES,
        "rows": {"type": "array", "items": COLOUR},
        "address": {"type": "object", "properties": {"city": {"type": "string"}, "zip": {"type": "integer"}}},
        "photo": {"type": "string", "format": "binary"},
    },
}
CALL = {
    "name": 'Ada & "Bo"',
    "count": None,
    "tags": ["a", "b=c"],
    "rows": [{"R": 1}, {"R": 2, "G": 3}],
    "address": {"city": "Málaga", "zip": 29001},
    "photo": "raw\r\n--bytes\x00",
}


def api_for(media: str, schema: Any, **more: Any) -> Api:
    return api_with(requestBody={"required": True, "content": {media: {"schema": schema, **more}}})


@pytest.mark.parametrize(
    "media",
    ["application/json", "application/vnd.one+json", "application/x-www-form-urlencoded", "multipart/form-data"],
)
def test_a_body_arrives_whatever_it_is_sent_as(media: str) -> None:
    api = api_for(media, ORDER)
    operation = api.operations["go"]
    for call in (CALL, {"name": "x", "tags": []}, {"name": "x", "tags": ["one"]}):
        assert received(api, encoded(api, operation, call), operation) == call


def test_a_form_is_written_as_forms_are() -> None:
    wire = encoded(form := api_for("application/x-www-form-urlencoded", ORDER), form.operations["go"], CALL)
    said = wire.content.decode().replace("%5B", "[").replace("%5D", "]").split("&")
    assert said[2:] == [
        "tags=a",
        "tags=b%3Dc",
        "rows[0][R]=1",
        "rows[1][R]=2",
        "rows[1][G]=3",
        "address[city]=M%C3%A1laga",
        "address[zip]=29001",
        "photo=raw%0D%0A--bytes%00",
    ]


def test_the_encoding_object_is_honoured() -> None:
    encoding = {"tags": {"style": "form", "explode": False}, "address": {"contentType": "application/json"}}
    api = api_for("application/x-www-form-urlencoded", ORDER, encoding=encoding)
    operation, call = api.operations["go"], {"name": "x", "tags": ["a", "b"], "address": {"city": "Rom"}}
    wire = encoded(api, operation, call)
    assert wire.content == b"name=x&tags=a%2Cb&address=%7B%22city%22%3A%22Rom%22%7D"
    assert received(api, wire, operation) == call


@pytest.mark.parametrize(
    ("media", "schema", "value"),
    [
        ("application/json", {"type": "array", "items": COLOUR}, [{"R": 1}]),
        ("application/json", {"type": ["object", "null"]}, None),
        ("text/plain", {"type": "string"}, "two\nlines"),
        ("text/plain", {"type": "integer"}, 12),
        ("application/octet-stream", {"type": "string", "format": "binary"}, "bytes"),
        ("application/octet-stream", {}, ""),
    ],
)
def test_a_body_that_is_one_argument(media: str, schema: Any, value: Any) -> None:
    api = api_for(media, schema)
    operation = api.operations["go"]
    wire = encoded(api, operation, {"body": value})
    assert wire.headers["content-type"] == media
    assert received(api, wire, operation) == {"body": value}


def test_bytes_that_are_no_text_are_kept_as_base64() -> None:
    api = api_for("application/octet-stream", {"type": "string", "format": "binary"})
    wire = Wire("POST", "/things", {"content-type": "application/octet-stream"}, b"\xff\xfe")
    assert received(api, wire, api.operations["go"]) == {"body": "//4="}


def test_what_the_server_writes_itself_is_not_taken_from_a_body() -> None:
    api = api_for("application/json", ORDER)
    wire = Wire("POST", "/things", {"content-type": "application/json; charset=utf-8"}, b'{"id": "9", "name": "x"}')
    assert received(api, wire, api.operations["go"]) == {"name": "x"}


@pytest.mark.parametrize(
    ("media", "content", "status", "why"),
    [
        ("application/json", b"{", 400, "not JSON"),
        ("application/json", b"\xff", 400, "broken UTF-8"),
        ("application/json", b'{"name": NaN}', 400, "NaN"),
        ("application/json", b"[" * 100_000, 400, "nested too deeply"),
        ("application/json", b"[]", 422, "not an object"),
        ("text/csv", b"a,b", 415, "text/csv; expected application/json"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_with_the_reason(
    media: str, content: bytes, status: int, why: str
) -> None:
    api = api_for("application/json", ORDER)
    with pytest.raises(Unreadable, match=why) as caught:
        received(api, Wire("POST", "/things", {"content-type": media}, content), api.operations["go"])
    assert caught.value.status == status


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    for media in ("multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "application/json"):
        api = api_for(media.partition(";")[0], ORDER)
        body = b"--x\r\n" + content if media.startswith("multi") else content
        with suppress(Unreadable):
            received(api, Wire("POST", "/things", {"content-type": media}, body), api.operations["go"])


# ── routes ─────────────────────────────────────────────────────────────────────────────────────────────────────


def routes(*paths: str, servers: tuple[str, ...] = ()) -> Router:
    node = {"responses": {"204": {"description": "done"}}}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Routes", "version": "1"},
        "servers": [{"url": url} for url in servers],
        "paths": {path: {"get": {**node, "operationId": f"get{at}"}} for at, path in enumerate(paths)},
    }
    return Router(Api(document, {}, name="routes", sha256=""))


@pytest.mark.parametrize(
    ("path", "template", "values"),
    [
        ("/pets/mine", "/pets/mine", {}),
        ("/pets/7", "/pets/{id}", {"id": "7"}),
        ("/pets/7.json", "/pets/{id}.json", {"id": "7"}),
        ("/pets/a%2Fb", "/pets/{id}", {"id": "a%2Fb"}),
        ("/pets/7/thumbnail.png", "/pets/{id}/thumbnail.{extension}", {"id": "7", "extension": "png"}),
        ("/pets/7:feed", "/pets/{id}:{verb}", {"id": "7", "verb": "feed"}),
        ("/pets/7%3Afeed", "/pets/{id}:{verb}", {"id": "7", "verb": "feed"}),
        ("/v1/pets/mine", "/pets/mine", {}),
        ("/api/v2/pets/7", "/pets/{id}", {"id": "7"}),
        ("/v1/v1", "/v1", {}),
    ],
)
def test_the_most_literal_template_wins(path: str, template: str, values: dict[str, str]) -> None:
    paths = (
        "/pets/{id}", "/pets/mine", "/pets/{id}.json", "/pets/{id}:{verb}", "/pets/{id}/thumbnail.{extension}", "/v1",
    )  # fmt: skip
    found = routes(*paths, servers=("https://pets.example/v1/", "/api/v2")).find(path)
    assert found is not None
    (operation,) = found.operations["GET"]
    assert (operation.path, found.values) == (template, values)
    assert found.methods == ["GET", "HEAD", "OPTIONS"]


@pytest.mark.parametrize("path", ["/", "/pets", "/pets/", "/pets/7/8", "//pets/7", "/v2/pets/7", "pets/7"])
def test_a_path_that_leads_nowhere_is_none(path: str) -> None:
    assert routes("/pets/{id}", servers=("/v1",)).find(path) is None


def test_operations_that_no_path_tells_apart_are_found_together() -> None:
    found = routes("/files/{id}", "/files/{id}#shared").find("/files/7")
    assert found is not None
    assert [operation.id for operation in found.operations["GET"]] == ["get0", "get1"]
