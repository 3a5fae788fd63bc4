"""`bfcl`: labels as the Berkeley Function Calling Leaderboard has them in `possible_answer` (Patil et al., 2025).

    {"id": "simple_0", "ground_truth": [{"area": {"base": [10], "height": [5], "unit": ["cm", ""]}}]}

Each parameter has a list of accepted values, and `""` in it means that it may be left out. Inside an object the values
are such lists again; inside a list of objects too. No API document is needed: schema, state, facts and forbidden calls
are not applicable, and the arguments decide. Unlike the leaderboard, a call is matched by maximum matching, numbers are
compared as numbers, and texts by case and white space, but not without their punctuation.
"""

from collections.abc import Iterator, Mapping
from itertools import islice, product
from typing import Any

from simlab.arguments import Expected, Wanted
from simlab.readers import needed
from simlab.reading import ReadLabel, identity, listed, mapping
from simlab.value_classes import ValueClass

READS = "labels"
MOST = 256  # combinations of accepted values inside one argument
_TEXT = ValueClass("plain")


def bfcl(line: Any) -> ReadLabel:
    """The calls of a line; raises ValueError with what was expected."""
    whole = mapping(line, "the line")
    answers = listed(needed(whole, "ground_truth", "ground_truth", "a list"), "ground_truth")
    return ReadLabel(identity(whole), calls=tuple(_call(one, f"ground_truth[{n}]") for n, one in enumerate(answers)))


def _call(said: Any, where: str) -> Expected:
    calls = mapping(said, where)
    if len(calls) != 1:
        raise ValueError(f"{where}: expected an object with one function, got {len(calls)}")
    ((name, parameters),) = calls.items()
    wanted = {
        parameter: _wanted(listed(values, f"{where}.{name}.{parameter}"))
        for parameter, values in mapping(parameters, f"{where}.{name}").items()
    }
    return Expected(name, wanted)


def _wanted(values: list[Any]) -> Wanted:
    accepted = tuple(islice((one for value in values if value != "" for one in _expanded(value)), MOST))
    return Wanted(accepted, _TEXT, optional="" in values)


def _expanded(value: Any) -> Iterator[Any]:
    """Every value that an accepted one stands for."""
    if isinstance(value, Mapping):
        names = list(value)
        options = [_options(value[name]) for name in names]
        for choice in product(*options):
            yield {name: one for name, one in zip(names, choice, strict=True) if one is not _ABSENT}
    elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        yield from (list(choice) for choice in product(*(list(_expanded(one)) for one in value)))
    else:
        yield value


_ABSENT = object()


def _options(values: Any) -> list[Any]:
    if not isinstance(values, list):
        return list(_expanded(values))
    return [_ABSENT if one == "" else inner for one in values for inner in ([one] if one == "" else _expanded(one))]
