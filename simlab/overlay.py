"""Overlay files: what a person says of an API, checked against `apis/overlay.schema.json` and against the document.

JSON Schema 2020-12.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from simlab.errors import InputError, nearest, shortened
from simlab.files import read_text, resource
from simlab.operation import Operation, Resource

_KINDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "nothing",
}


@lru_cache(maxsize=1)
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(read_text(resource("apis", "overlay.schema.json"))))


def check_overlay(name: str, overlay: Any) -> None:
    """Raise InputError for the first thing in an overlay that is not written as one.

    The line names the place, what was expected there, and the nearest that there is.
    """
    found = min(_validator().iter_errors(overlay), key=_rank, default=None)
    if found is None:
        return
    if not isinstance(overlay, Mapping) or (not found.absolute_path and found.validator == "additionalProperties"):
        raise InputError(f"the overlay of {name}: expected a mapping with `resources` and `operations`")
    place = ".".join(map(str, found.absolute_path))
    raise InputError(f"the overlay of {name}: {place}: {_said(found)}")


def _rank(error: ValidationError) -> tuple[list[str], bool]:
    """From the top down; a key that is not known comes before one that is missing, as it often is that one."""
    return list(map(str, error.absolute_path)), error.validator != "additionalProperties"


def _said(error: ValidationError) -> str:
    """What is wrong, in the words of a person; the validator's own where there are none."""
    said, value, schema = cast(Any, error.validator_value), cast(Any, error.instance), cast(Any, error.schema)
    if error.validator == "type":
        kinds = [_KINDS[kind] for kind in ([said] if isinstance(said, str) else said) if kind != "null"]
        return f"expected {' or '.join(kinds)}, got {_shown(value)}"
    if error.validator == "additionalProperties":
        known = schema.get("properties", {})
        wrong = next(str(key) for key in value if key not in known)
        return f"no key {wrong!r}{nearest(wrong, known)}"
    if error.validator == "required":
        missing = ", ".join(f"`{key}`" for key in said if key not in value)
        return f"{missing} is missing"
    if error.validator == "enum":
        return f"{_shown(value)}{nearest(str(value), [one for one in said if one is not None])}"
    if error.validator == "pattern":
        return f"got {_shown(value)}, expected {_FORMS[said]}"
    return error.message


_FORMS = {
    r"\{n[^{}]*\}": "{n} somewhere in it, for the number of the record, as in 'loan_{n:04d}'",
    r"^(/.*)?$": "a JSON pointer: nothing, or a path that begins with /",
    r"^[^.]+\.[^.]+$": "a property and a verb, as in 'status.renew'",
}


def _shown(value: Any) -> str:
    return "nothing" if value is None else shortened(repr(value), 60)


def check_meaning(
    name: str,
    overlay: Mapping[str, Any],
    operations: Mapping[str, tuple[Operation, Iterable[str]]],
    resources: Mapping[str, tuple[Resource, Mapping[str, Any]]],
    words_of: Callable[[Any], Sequence[str]],
) -> None:
    """Raise InputError for the first entry of an overlay that names what there is not.

    `operations` come with the arguments of each, `resources` with the properties and their schemas; `words_of` gives
    the words that a schema is limited to, none where it is not.
    """
    for key, entry in (overlay.get("resources") or {}).items():
        if key in resources:
            it, properties = resources[key]
            if properties and entry and "id" in entry:  # which no record need show: it may stand in paths alone
                given = {word for one, words in operations.values() if one.resource == key for word in words}
                _refuse_unknown(
                    f"the overlay of {name}: resources.{key}", [("id", it.id, "property", {"id", *properties, *given})]
                )
            _refuse_unknown(
                f"the overlay of {name}: resources.{key}", _of_resource(it, properties, resources, words_of)
            )
    for key in overlay.get("operations") or {}:
        if key in operations:
            _refuse_unknown(f"the overlay of {name}: operations.{key}", _of_operation(*operations[key], resources))


def _refuse_unknown(where: str, named: Iterable[tuple[str, str, str, Iterable[str]]]) -> None:
    for place, word, what, known in named:
        if word not in known:
            raise InputError(f"{where}.{place}: {word!r} is no {what}{nearest(word, known)}")


def _of_resource(
    it: Resource,
    properties: Mapping[str, Any],
    resources: Mapping[str, Any],
    words_of: Callable[[Any], Sequence[str]],
) -> Iterator[tuple[str, str, str, Iterable[str]]]:
    """Every name in the entry of a resource: where it stands, the name, what it should be, what there is."""
    yield from (("parent", other, "resource", resources) for other in it.parents)
    yield from (("references", other, "resource", resources) for other in it.references.values())
    if not properties:  # its records may hold anything
        return
    linked = [*properties, it.id, *it.links]
    yield from (("references", prop, "property", properties) for prop in it.references)
    for place in ("label", "unique", "volatile"):
        yield from ((place, prop, "property", linked) for prop in getattr(it, place))
    yield from (("transitions", prop, "property", properties) for prop, _ in it.transitions)
    states = [(prop, "initial", value) for prop, value in it.initial.items()]
    for (prop, verb), move in it.transitions.items():
        states += [(prop, verb, value) for value in (*move.origins, move.to)]
    for prop, verb, value in states:
        if prop in properties and (words := words_of(properties[prop])):
            yield f"transitions.{prop}.{verb}", value, f"value of {prop}", words
    yield from (("examples", prop, "property", properties) for prop in it.examples)


def _of_operation(
    it: Operation, arguments: Iterable[str], resources: Mapping[str, tuple[Resource, Mapping[str, Any]]]
) -> Iterator[tuple[str, str, str, Iterable[str]]]:
    """The same for the entry of an operation."""
    whole = {it.whole} - {None}  # a body that is no object of known properties may hold any argument
    for place, words in (
        ("selector", [it.selector] if it.selector else []),
        ("filters", it.filters),
        ("page", [it.page.size, it.page.at] if it.page else []),
        ("fields", it.fields),
    ):
        if not whole:
            yield from ((place, word, "argument", arguments) for word in words)
    if it.resource in resources and (properties := resources[it.resource][1]):
        yield from (("filters", prop, "property", properties) for prop in it.filters.values())
    given = [it.fields.get(word, word) for word in arguments]
    asked = [rule["body"] for rule in it.sets.values() if isinstance(rule, Mapping)]
    yield from (("sets", word, "argument", given) for word in asked if not whole)
    if it.transition is not None:
        moves = {f"{prop}.{verb}" for prop, verb in resources[it.resource][0].transitions} if it.resource else set()
        yield "transition", ".".join(it.transition), f"transition of {it.resource or 'a resource'}", moves
