"""Frozen dataclasses that are made at half the price."""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from inspect import Parameter, signature
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(*, kw_only: bool = False) -> Callable[[type[T]], type[T]]:
    """Like `dataclass(frozen=True)`, for what is made at every model call.

    The standard library's `__init__` sets each field by a call of `object.__setattr__`, and a model call makes half a
    dozen such instances: a twenty-fifth of its instructions. This one puts the fields into the instance's dictionary.
    Raises TypeError for a class whose `__init__` would have to do more: `__post_init__`, `InitVar`, `init=False`.
    """

    def decorate(cls: type[T]) -> type[T]:
        made = dataclass(frozen=True, kw_only=kw_only)(cls)
        made.__init__ = _initializer(made)  # type: ignore[method-assign]
        return made

    return decorate


def _initializer(cls: Any) -> Any:
    """An `__init__` that takes what the standard library's takes; like that one it is made from text."""
    theirs = cls.__init__
    given = {name: one for name, one in signature(theirs).parameters.items() if name != "self"}
    if hasattr(cls, "__post_init__") or given.keys() != {one.name for one in fields(cls)}:
        raise TypeError(f"{cls.__name__}: __init__ of a frozen class only takes its fields")
    known: dict[str, Any] = {"__name__": cls.__module__}
    lines = ["__values = self.__dict__"]
    for one in fields(cls):
        value = one.name
        if one.default_factory is not MISSING:
            known |= {f"__make_{one.name}": one.default_factory, "__absent": given[one.name].default}
            value = f"__make_{one.name}() if {one.name} is __absent else {one.name}"
        lines.append(f"__values[{one.name!r}] = {value}")
    named = [name for name, one in given.items() if one.kind is Parameter.KEYWORD_ONLY]
    parameters = ["self", *(name for name in given if name not in named), *(["*", *named] if named else [])]
    body = "\n    ".join(lines)
    exec(f"def __init__({', '.join(parameters)}):\n    {body}", known)  # noqa: S102 - of names, which are identifiers
    ours = known["__init__"]
    ours.__defaults__, ours.__kwdefaults__ = theirs.__defaults__, theirs.__kwdefaults__
    ours.__qualname__, ours.__annotations__ = theirs.__qualname__, theirs.__annotations__
    return ours
