"""JSON and YAML from outside: the same plain data either way, and a clear error before a hostile text costs much."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab import parsing
from simlab.errors import InputError
from simlab.files import parse_yaml
from simlab.parsing import MAX_DEPTH, Budget, PythonParser, parse
from tests.largest import UNITS

ROOT = Path(__file__).parent.parent
OURS = sorted((ROOT / "apis").glob("*.yaml"))

texts = st.text("aZ0129 _-:/\"'\\{}[],&*!|>%@`#~\n\té🍯", max_size=12)
numbers = st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
documents = st.dictionaries(texts, values, min_size=1, max_size=4)
scalars = st.text("0123456789.-+eE_xoTtrueFfalsnN~:", max_size=8)


@pytest.fixture(params=["libyaml", "python"])
def parser(request, monkeypatch):
    if request.param == "python":
        monkeypatch.setattr(parsing, "Parser", PythonParser)
    elif parsing.Parser is PythonParser:
        pytest.skip("PyYAML has no libyaml here")


# --- what is written reads back ---------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(documents)
def test_json_reads_back_the_same(value):
    for indent in (None, 2):
        assert parse(json.dumps(value, indent=indent), "x.json") == value
        assert parse(json.dumps(value, indent=indent, ensure_ascii=False), "x.json") == value


@settings(max_examples=60, deadline=None)
@given(documents)
def test_yaml_reads_back_the_same(value):
    """Written in quotes and with tags, as what a plain word means depends on the version of YAML."""
    text = yaml.safe_dump(value, default_flow_style=False, default_style='"', allow_unicode=True)
    assert parse(text, "x.yaml") == value


@given(scalars)
def test_a_plain_word_means_what_it_means_in_our_own_files(word):
    text = f"a: {word}\nb: [{word}]\n"
    try:
        expected = parse_yaml(text, "x").value
    except InputError:
        with pytest.raises(InputError):
            parse(text, "x")
    else:
        assert repr(parse(text, "x")) == repr(expected)


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_our_own_documents_read_the_same_as_before(path, parser):
    text = path.read_text(encoding="utf-8")
    assert parse(text, path.name) == parse_yaml(text, path.name).value


# --- YAML as people write it ------------------------------------------------------------------------------------


def test_keys_and_dates_stay_text(parser):
    text = "200: ok\n~: none\ntrue: yes\nday: 2020-01-31\nversion: 1.2.3\ncode: 0123\nsize: 12\n"
    assert parse(text, "x") == {
        "200": "ok", "~": "none", "true": "yes", "day": "2020-01-31", "version": "1.2.3", "code": "0123", "size": 12,
    }  # fmt: skip


def test_tags_say_what_a_word_is(parser):
    assert parse("a: !!str 12\nb: !!int '12'\nc: !own {x: 1}\nd: '12'\n", "x") == {
        "a": "12",
        "b": 12,
        "c": {"x": 1},
        "d": "12",
    }
    with pytest.raises(InputError, match=r"x:2: 'twelve' is not of the kind int"):
        parse("a: 1\nb: !!int twelve\n", "x")


def test_an_alias_is_what_its_anchor_last_named(parser):
    assert parse("a: &x [1]\nb: *x\nc: &x 2\nd: *x\n", "x") == {"a": [1], "b": [1], "c": 2, "d": 2}
    for text in ("a: *x\n", "a: &x [*x]\n", "a: &x {b: *x}\n"):
        with pytest.raises(InputError, match=r"x:1: the alias \*x names nothing that ended before it"):
            parse(text, "x")


def test_merged_keys_give_way_to_own_ones_and_to_those_merged_before(parser):
    text = "a: &a {k: 1, l: 1}\nb: &b {l: 2, m: 2}\nc: {k: 0, <<: *a}\nd: {<<: [*a, *b], m: 3}\ne: {'<<': 5}\n"
    read = parse(text, "x")
    assert read["c"] == {"k": 0, "l": 1}
    assert read["d"] == {"k": 1, "l": 1, "m": 3}
    assert read["e"] == {"<<": 5}
    assert read["a"] == {"k": 1, "l": 1}
    with pytest.raises(InputError, match="x:1: the value of a merge key"):
        parse("a: {<<: 5}", "x")


def test_of_a_key_that_stands_twice_the_last_counts_and_a_warning_names_it(parser):
    warnings: list[str] = []
    assert parse("a: 1\nb:\n  c: 1\n  c: 2\n", "x.yaml", warnings=warnings) == {"a": 1, "b": {"c": 2}}
    assert parse('{"a": 1, "b": {"c": 1, "c": 2}}', "x.json", warnings=warnings) == {"a": 1, "b": {"c": 2}}
    assert warnings == ["x.yaml:4: the key 'c' stands twice", "x.json: the key 'c' stands twice"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [1\nb: 2\n", r"x:2: not YAML: "),
        ("a: 1\n? [k]\n: 2\n", r"x:2: a key is a word, not a list or mapping"),
        ("a: 1\n---\nb: 2\n", r"x:2: a second YAML document begins; expected one"),
        ("a: 1\nb: \0\n", r"x:2: not YAML: "),
        ("a: 1e999\n", r"x:1: '1e999' is not of the kind float"),
        ('{"a": 1,}', r"x: not JSON: .*line 1 column 9"),
        ('{"a": NaN}', r"x: not JSON: NaN is not JSON"),
        ('{"a": "\\ud800"}', r"x: not JSON: a lone surrogate"),
    ],
)
def test_what_is_neither_is_said_with_its_place(text, reason, parser):
    with pytest.raises(InputError, match=reason):
        parse(text, "x")


# --- hostile texts ----------------------------------------------------------------------------------------------


def nested(depth):
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("before", ["a: ", '{"a": '])
def test_nesting_has_a_limit(before, parser):
    after = "}" if before.startswith("{") else ""
    parse(before + nested(MAX_DEPTH - 1) + after, "x")
    with pytest.raises(InputError, match=f"nested more than {MAX_DEPTH} deep"):
        parse(before + nested(MAX_DEPTH) + after, "x")


BOMB = "a0: &a0 [0,0,0,0,0,0,0,0,0,0]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
MERGES = (
    "a: &a {" + ",".join(f"k{i}: 1" for i in range(1000)) + "}\n" + "".join(f"m{i}: {{<<: *a}}\n" for i in range(1100))
)
HOSTILE = {
    "flow": "a: " + "[" * 100_000,
    "block": "".join(" " * i + "a:\n" for i in range(1000)),
    "dashes": "- " * 100_000,
    "questions": "? " * 100_000,
    "json lists": '{"a": ' + "[" * 100_000,
    "json objects": '{"a":' * 100_000,
    "anchors": BOMB,
    "anchored text": "a: &a " + "x" * 100_000 + "\nb: [" + "*a," * 2000 + "]\n",
    "anchored depth": "a0: &a0 []\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, MAX_DEPTH + 1)),
    "merges": MERGES,
    "directives": "".join(f"%TAG !{i}! x:\n" for i in range(100_000)) + "--- {}\n",
    "json values": '{"a": [' + "[]," * 1_000_000 + "[]]}",
    "json quotes": '{"a": ' + '"\\"' * 300_000,
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_text_is_refused(text):
    began = time.process_time()
    with pytest.raises(InputError, match=r"^x[:0-9]*: "):
        parse(text, "x")
    assert time.process_time() - began < 60  # it ends; how fast is for the benchmarks


def test_files_share_what_they_may_hold():
    budget = Budget(10)
    parse("[1, 2, 3, 4, 5]", "a", budget)
    with pytest.raises(InputError, match=r"^b:1: more than"):
        parse("[1, 2, 3, 4, 5]", "b", budget)


MEASURED = """
import sys, time
from pathlib import Path
from simlab.errors import InputError
from simlab.parsing import parse
from tests.largest import largest
text = largest(sys.argv[1])
began = time.process_time()
try:
    parse(text, "x")
except InputError:
    peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    print(time.process_time() - began, peak)
"""


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
def test_the_largest_hostile_texts_end_and_stay_under_500_mb(unit):
    """The peak is the kernel's for this process alone: ``ru_maxrss`` begins at what the process that forked it held."""
    words = [sys.executable, "-c", MEASURED, unit]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, kilobytes = map(float, done.stdout.split())
    assert seconds < 60  # it ends; how fast is for the benchmarks
    assert kilobytes < 500 * 1024
