"""Documents that are written to cost whoever reads them: by name, the text of each."""

import json
from collections.abc import Callable, Mapping
from typing import Any


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def document(schemas: Mapping[str, Any], **more: Any) -> str:
    """A document whose operations take and answer the schema A."""
    content = {"application/json": {"schema": ref("A")}}
    fine = {"description": "Fine.", "content": content}
    made = {
        "openapi": "3.0.3",
        "info": {"title": "Hostile", "version": "1"},
        "paths": {
            "/things": {
                "post": {"operationId": "make", "requestBody": {"content": content}, "responses": {"201": fine}},
                "get": {"operationId": "list", "responses": {"200": fine}},
            }
        },
        "components": {"schemas": schemas},
        **more,
    }
    return json.dumps(made)


def bomb(made: Callable[[dict[str, str]], Any]) -> str:
    """Forty schemas, each of two of the next."""
    schemas = {f"N{i}": made(ref(f"N{i + 1}")) for i in range(40)}
    return document({**schemas, "A": ref("N0"), "N40": {"type": "object", "properties": {"x": {"type": "string"}}}})


def nested(levels: int) -> str:
    inner = '{"type": "object", "properties": {"a": ' * levels + '{"type": "string"}' + "}}" * levels
    return document({"A": 0}).replace('"A": 0', f'"A": {inner}')


def circle(key: str) -> str:
    return document({"A": {key: [ref("B"), {"type": "object"}]}, "B": {key: [ref("A"), {"type": "object"}]}})


ANCHORS = "openapi: 3.0.3\ninfo: {title: H, version: '1'}\npaths: {}\nx0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"x{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30)
)
NAMES = document({"A": {"type": "object", "properties": {"id": {"type": "string"}, "../../x": {"type": "string"}}}})
NAMES = NAMES.replace('"make"', '"../../../tmp/x"').replace('"Hostile"', json.dumps("../\x1b[31m[red]x"))
NAMES = NAMES.replace('"/things"', '"/../../etc/passwd"')
# Python's own engine would be at these for ever.
ENDLESS = document(
    {
        "A": {
            "type": "object",
            "required": ["a", "b"],
            "properties": {
                "a": {"type": "string", "pattern": "^(a+)+$", "example": "a" * 40 + "!"},
                "b": {"type": "string", "pattern": "^([a-z]+)*[0-9]$", "minLength": 40},
            },
            "patternProperties": {"^(x|x)*$": {"type": "integer"}},
        }
    }
)
# What nothing can be done with: the beginning of the line that says why.
REFUSED = {
    "nested 3000 deep": (nested(3000), "nested too deeply"),
    "brackets": ('{"openapi": "3.0.3", "paths": ' + "[" * 200_000, "nested too deeply"),
    "anchors": (ANCHORS, "more than 1,000,000 values, aliases written out"),
    "33 MiB": ('{"openapi": "3.0.3", "x": "' + "a" * (33 * 1024 * 1024) + '"}', "--max-bytes sets how many they may"),
}
# What is read: a part of what is printed of it.
READ = {
    "nested 60 deep": (nested(60), "2 of 2 operations take a generated example"),
    "allOf bomb": (bomb(lambda n: {"allOf": [n, n]}), "a schema of more than 4,000 parts"),
    "oneOf bomb": (bomb(lambda n: {"oneOf": [n, n]}), "a schema of more than 4,000 parts"),
    "anyOf bomb": (bomb(lambda n: {"anyOf": [n, {"allOf": [n, {"title": "x"}]}]}), "a schema of more than 4,000 parts"),
    "property bomb": (
        bomb(lambda n: {"type": "object", "properties": {"a": n, "b": n}, "required": ["a", "b"]}),
        "0 of 2 operations take a generated example",
    ),
    "array bomb": (bomb(lambda n: {"type": "array", "items": n, "minItems": 2}), "0 of 2 operations take a generated"),
    "allOf circle": (circle("allOf"), "allOf leads back to where it stands, and is left out"),
    "oneOf circle": (circle("oneOf"), "oneOf leads back to where it stands, and is left out"),
    "reference circle": (document({"A": ref("B"), "B": ref("A")}), "a reference that leads to itself"),
    "required circle": (
        document({"A": {"type": "object", "properties": {"a": ref("A"), "b": ref("A")}, "required": ["a", "b"]}}),
        "0 of 2 operations take a generated example",
    ),
    "thousand million letters": (
        document(
            {"A": {"type": "object", "required": ["x"], "properties": {"x": {"type": "string", "minLength": 10**9}}}}
        ),
        "0 of 2 operations take a generated example",
    ),
    "thousand million elements": (document({"A": {"type": "array", "minItems": 10**9}}), "0 of 2 operations"),
    "file reference": (document({"A": {"$ref": "file:///etc/passwd"}}), "only files in the folder of the document"),
    "http reference": (document({"A": {"$ref": "http://127.0.0.1:9/x.json"}}), "not fetched; references are not"),
    "reference upwards": (document({"A": {"$ref": "../../../etc/passwd"}}), "only files in the folder of the document"),
    "names": (NAMES, "2 of 2 operations take a generated example"),
    "endless patterns": (ENDLESS, "0 of 2 operations take a generated example"),
}
