"""JSON at the edges: strict reading, canonical writing."""

import json
import re
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.schema import NotJson, closed_object, digest, problems, read_json, to_json

texts = st.text('aZ09 _-:/"\\{}[],\x00\x07\n\x7f\x85éß\u2028\ue000\ufeff\uffff🍯\U0010ffff')
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), texts
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None)
@given(values)
def test_what_is_written_reads_back_the_same(value):
    written = to_json(value)
    assert read_json(written) == read_json(written.encode()) == value
    assert to_json(read_json(written)) == written  # and True has not become 1


numerals = st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.one_of(numerals, st.just('"x"'))), max_size=4))
def test_what_is_read_quickly_is_what_the_standard_library_reads_and_no_key_comes_twice(members):
    written = "{" + ",".join(f'"{key}":{value}' for key, value in members) + "}"
    if len({key for key, _ in members}) < len(members):
        with pytest.raises(NotJson, match="appears twice"):
            read_json(written)
        return
    assert repr(read_json(written)) == repr(json.loads(written))  # 1, 1.0 and -0.0 apart


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(texts, scalars))
def test_the_order_of_keys_does_not_change_the_text(made):
    backwards = dict(reversed(made.items()))
    assert to_json(backwards) == to_json(made)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(texts, st.one_of(texts, st.integers(), st.booleans(), st.none())))
def test_a_big_integer_changes_nothing_of_how_its_neighbours_are_written(value):
    assert to_json([value, 2**64]) == f"[{to_json(value)},18446744073709551616]"


def test_big_integers_stay_exact():
    assert read_json("18446744073709551616") == 18446744073709551616
    assert to_json({"n": 18446744073709551616}) == '{"n":18446744073709551616}'


def test_text_is_written_compactly_and_as_it_is():
    assert to_json({"b": [1, 2.5], "a": "süß 🍯"}) == '{"a":"süß 🍯","b":[1,2.5]}'


def test_a_read_only_mapping_is_written_like_any_other():
    frozen = MappingProxyType({"b": 1, "a": MappingProxyType({})})
    assert to_json(frozen) == '{"a":{},"b":1}'
    assert to_json([frozen, 2**64]) == '[{"a":{},"b":1},18446744073709551616]'


@pytest.mark.parametrize("value", [{1, 2}, [object()], {"pairs": iter([("a", 1)])}])
def test_what_is_not_json_is_not_written(value):
    with pytest.raises(TypeError, match="is not JSON"):
        to_json(value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NaN", "NaN"),
        ('{"a": [Infinity]}', "Infinity"),
        ("-Infinity", "-Infinity"),
        ("1e999", "1e999"),
        ('{"a": 1, "b": 2, "a": 3}', "'a' appears twice"),
        ('[{"in": {"x": 0, "x": 0}}]', "'x' appears twice"),
        (r'"\ud800"', "surrogate"),
        (r'{"\uDFFF": 1}', "surrogate"),
        ('"\ud800"', "surrogate"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b'"\xff"', "UTF-8"),
        ("[" * 100_000, "deep"),
        ('{"a": 1} trailing', "char 9"),
        ("{'a': 1}", "char 1"),
        ("", "char 0"),
        ("[1,]", "char"),
        ('"a\nb"', "char 2"),
        ("9" * 5000, "digits"),
    ],
    ids=lambda value: repr(value[:12]),
)
def test_what_is_not_strict_json_is_refused_with_its_reason(text, reason):
    with pytest.raises(NotJson, match=reason):
        read_json(text)


def test_a_pair_of_surrogates_is_one_character_and_a_backslash_is_just_that():
    assert read_json(r'"\ud83c\udf6f"') == "🍯"
    assert read_json(r'"C:\\ud800"') == r"C:\ud800"


@settings(max_examples=40, deadline=None)
@given(texts)
def test_a_digest_is_sixteen_characters_that_may_stand_in_a_file_name(text):
    assert re.fullmatch(r"[A-Za-z0-9_-]{16}", digest(text))


def test_digests_name_texts():
    known = ["", " ", "a", "A", "ä", "\ud800"]
    assert len({digest(text) for text in known}) == len(known)
    assert digest("bread") == "Im-t-PaP9DvQkJZV"


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "guests": {"type": "array", "items": {"type": "object", "properties": {"age": {"minimum": 0}}}},
    },
    "required": ["name"],
}


def test_a_valid_value_has_no_problems():
    assert problems({"name": "Mara", "guests": [{"age": 3}]}, SCHEMA) == []


def test_every_problem_names_the_path_at_which_it_stands():
    found = problems({"name": 5, "guests": [{"age": 3}, {"age": -1}]}, SCHEMA)
    assert found == ["guests/1/age: -1 is less than the minimum of 0", "name: 5 is not of type 'string'"]


def test_a_problem_with_the_whole_is_said_to_be_at_the_top():
    assert problems({}, SCHEMA) == ["(top): 'name' is a required property"]


def test_two_schemas_that_differ_in_one_word_are_not_confused():
    assert problems(1, {"type": "integer"}) == []
    assert problems(1, {"type": "string"}) == ["(top): 1 is not of type 'string'"]


def test_a_closed_object_has_all_of_its_properties_and_no_others():
    schema = closed_object({"name": {"type": "string"}, "age": {"type": "integer"}})
    assert problems({"name": "Mara", "age": 30}, schema) == []
    assert problems({"name": "Mara"}, schema) == ["(top): 'age' is a required property"]
    assert len(problems({"name": "Mara", "age": 30, "sign": "lion"}, schema)) == 1
    assert len(problems({"name": 3, "age": 30}, schema)) == 1


def test_json_we_wrote_is_json_to_others():
    assert json.loads(to_json({"a": [None, True, 1e16, -0.0, "\u2028"]})) == {"a": [None, True, 1e16, 0.0, "\u2028"]}
