"""Where references stand in an OpenAPI document: everywhere but in the examples and values that it quotes.

OpenAPI 3.0.3 and 3.1.0, Reference Object; JSON Pointer, RFC 6901.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

DATA = frozenset({"example", "examples", "default", "enum", "const"})
# Mappings whose keys are names the document chose, so that `default` in `responses` is a response.
NAMED = frozenset(
    """
    properties patternProperties dependentSchemas definitions $defs schemas parameters responses requestBodies headers
    links callbacks pathItems securitySchemes securityDefinitions variables webhooks x-simlab-files
    """.split()
)


def references(node: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Each mapping that holds a reference and the key it stands under, in the order of the document.

    The keys are `$ref` with a string, and the names of a discriminator's `mapping` where they are given addresses. The
    value may be changed meanwhile. A part that stands in several places (a YAML alias) is visited once.
    """
    todo: list[tuple[Any, bool]] = [(node, False)]
    seen: set[int] = set()
    while todo:
        part, named = todo.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, dict):
            if isinstance(part.get("$ref"), str):
                yield part, "$ref"
            if not named:
                yield from _in_mapping(part.get("discriminator"))
                yield from _in_examples(part.get("examples"))
            inside = [(value, not named and key in NAMED) for key, value in part.items() if named or key not in DATA]
        else:
            inside = [(value, False) for value in part]
        todo.extend(child for child in reversed(inside) if isinstance(child[0], (dict, list)))


def _in_mapping(discriminator: Any) -> Iterator[tuple[dict[str, Any], str]]:
    mapping = discriminator.get("mapping") if isinstance(discriminator, dict) else None
    if not isinstance(mapping, dict):
        return
    for name, target in mapping.items():
        if isinstance(target, str) and ("/" in target or target.endswith((".json", ".yaml", ".yml"))):
            yield mapping, name  # else the bare name of a schema


def _in_examples(examples: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """An entry of `examples` may be a reference; what an example holds is data."""
    for example in examples.values() if isinstance(examples, dict) else ():
        if isinstance(example, dict) and isinstance(example.get("$ref"), str):
            yield example, "$ref"


def escaped(key: str) -> str:
    """A key as a part of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def fragment(pointer: str) -> str:
    """A JSON pointer as a reference within a document, `#/...`; only what would be read otherwise is encoded."""
    return "#" + pointer.replace("%", quote("%"))
