"""Frozen dataclasses that are made at half the price."""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(*, kw_only: bool = False) -> Callable[[type[T]], type[T]]:
    """Like `dataclass(frozen=True)`, for what is made at every model call; without `__post_init__` and slots.

    The standard library's `__init__` sets each field by a call of `object.__setattr__`, and a model call makes half a
    dozen such instances: a twentieth of its instructions. This one puts the fields into the instance's dictionary.
    """

    def decorate(cls: type[T]) -> type[T]:
        made = dataclass(frozen=True, kw_only=kw_only)(cls)
        initializer = _initializer(made, kw_only)
        initializer.__qualname__ = made.__init__.__qualname__
        initializer.__annotations__ = made.__init__.__annotations__
        made.__init__ = initializer  # type: ignore[method-assign]
        return made

    return decorate


def _initializer(cls: Any, kw_only: bool) -> Any:
    """An `__init__` of the class's fields, made from text as the standard library makes its own."""
    known: dict[str, Any] = {"MISSING": MISSING}
    parameters, lines = ["self", *(["*"] if kw_only else [])], ["values = self.__dict__"]
    for one in fields(cls):
        name, default, value = one.name, f"_{one.name}", one.name
        if one.default is not MISSING:
            known[default] = one.default
            parameters.append(f"{name}={default}")
        elif one.default_factory is not MISSING:
            known[default] = one.default_factory
            parameters.append(f"{name}=MISSING")
            value = f"{default}() if {name} is MISSING else {name}"
        else:
            parameters.append(name)
        lines.append(f"values[{name!r}] = {value}")
    body = "\n    ".join(lines)
    exec(f"def __init__({', '.join(parameters)}):\n    {body}", known)  # noqa: S102 - of names, which are identifiers
    return known["__init__"]
