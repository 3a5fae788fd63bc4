"""A class made by `frozen` takes and does what one made by the standard library takes and does."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, InitVar, dataclass, field, fields, replace
from inspect import signature
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlab.frozen import frozen


@frozen()
class Ours:
    """One with a required field, a default, and a factory."""

    name: str
    size: int = 3
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Theirs:
    """The same by the standard library."""

    name: str
    size: int = 3
    tags: list[str] = field(default_factory=list)


@frozen(kw_only=True)
class Named:
    """One whose fields are given by name."""

    size: int = 3
    name: str


ARGUMENTS = st.tuples(st.lists(st.text() | st.integers(), max_size=4)) | st.tuples(
    st.lists(st.text(), max_size=2), st.dictionaries(st.sampled_from(["name", "size", "tags", "other"]), st.integers())
)


def outcome(make: Callable[..., Any], *args: object, **named: object) -> object:
    """What is made of the arguments, or the error's words."""
    try:
        made = make(*args, **named)
    except TypeError as error:
        return str(error).replace(make.__name__, "It")
    return {one.name: getattr(made, one.name) for one in fields(made)}


@given(ARGUMENTS)
def test_it_takes_and_refuses_the_same_arguments(arguments: tuple[Any, ...]) -> None:
    args, named = (*arguments, {})[:2]
    assert outcome(Ours, *args, **named) == outcome(Theirs, *args, **named)


def test_it_cannot_be_changed() -> None:
    one = Ours("a")
    with pytest.raises(FrozenInstanceError):
        one.size = 4  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del one.name  # type: ignore[misc]
    assert one == Ours("a", 3, [])


def test_each_instance_gets_what_its_factory_makes() -> None:
    assert Ours("a").tags is not Ours("a").tags


def test_it_is_compared_copied_replaced_and_kept() -> None:
    one = Ours("a", tags=["x"])
    assert replace(one, size=4) == Ours("a", 4, ["x"]) != one
    assert copy.copy(one) == copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one
    assert repr(one) == "Ours(name='a', size=3, tags=['x'])"
    assert hash(Named(name="a")) == hash(Named(size=3, name="a"))


def test_fields_given_by_name_are_given_by_name() -> None:
    with pytest.raises(TypeError, match="positional"):
        Named("a")  # type: ignore[misc,call-arg]


def test_it_shows_the_same_signature() -> None:
    assert str(signature(Ours)) == str(signature(Theirs))


def test_fields_of_any_name_are_kept() -> None:
    @frozen()
    class Odd:
        values: int
        MISSING: list[int] = field(default_factory=list)
        last: int = field(default=2, kw_only=True)

    assert (Odd(1).values, Odd(1).MISSING, Odd(1, last=3).last) == (1, [], 3)


def test_a_class_whose_making_takes_more_is_refused() -> None:
    class After:
        size: int = 1

        def __post_init__(self) -> None: ...

    class Passed:
        size: InitVar[int] = 1

    class Kept:
        size: int = field(init=False, default=1)

    for cls in (After, Passed, Kept):
        with pytest.raises(TypeError, match=cls.__name__):
            frozen()(cls)
