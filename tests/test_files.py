"""Files at the edge: YAML that stays what was written, errors that say where, writes that are whole or nothing."""

import errno
import os
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.errors import InputError
from simlab.files import (
    JSON_LINES,
    MAX_DEPTH,
    matching,
    must_be_free,
    parse_yaml,
    read_text,
    read_yaml,
    resource,
    writing,
)
from simlab.schema import to_json


def parsed(text):
    return parse_yaml(text, "talk.yaml").value


# --- YAML -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    "2024-01-31 2024-01-31T12:00:00Z yes no on off Yes True NULL 0123 0x1f 0o17 1_000 1:30 12:30:45 .5 5. +1 .inf .nan"
    " = << 1.2.3 -x café".split(),
)
def test_what_people_mean_as_text_stays_text(text):
    assert parsed(f"value: {text}") == {"value": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("200", 200),
        ("-3", -3),
        ("0", 0),
        ("2.5", 2.5),
        ("1e3", 1000.0),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'200'", "200"),
        ('"true"', "true"),
        ("''", ""),
        ("!!str 200", "200"),
    ],
)
def test_numbers_booleans_and_null_are_what_they_are_in_json(text, value):
    made = parsed(f"value: {text}")["value"]
    assert (made, type(made)) == (value, type(value))


def test_keys_are_always_strings():
    assert parsed("200: ok\ntrue: yes\nnull: nothing\n2024-01-31: today\non: off\n") == {
        "200": "ok",
        "true": "yes",
        "null": "nothing",
        "2024-01-31": "today",
        "on": "off",
    }


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.text("aé0 :-#&*!|>%@`'\"{}[],~\n\tyes")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("ab:1- ", max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(json_values)
def test_every_json_value_means_the_same_in_yaml(value):
    assert parsed(to_json(value)) == value


def test_each_value_knows_the_line_of_its_key():
    made = parse_yaml("# a talk\nid: x\nuser:\n  persona: {name: Mara}\n  likes:\n    - rye\n    - {kind: oat}\n", "f")
    assert made.line(("id",)) == 2
    assert made.line(("user", "persona", "name")) == 4
    assert made.line(("user", "likes", 0)) == 6
    assert made.line(("user", "likes", 1, "kind")) == 7


def test_what_is_not_in_the_file_has_the_line_of_what_it_would_stand_in():
    made = parse_yaml("id: x\nuser:\n  persona: {}\n", "f")
    assert made.line(("user", "persona", "name")) == 3
    assert made.line(("ends",)) == 1
    assert parse_yaml("", "f").line(("id",)) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "talk.yaml:3: the key 'a' stands twice"),
        ("a:\n  x: 1\n  'x': 2\n", "talk.yaml:3: the key 'x' stands twice"),
        ("a: 1\nb: [1, 2\n", "talk.yaml:3: not YAML: "),
        ("a: 1\n  b: 2\n", "talk.yaml:2: not YAML: "),
        ("a: *nobody\n", "talk.yaml:1: not YAML: found undefined alias"),
        ("a: 1\n---\nb: 2\n", "talk.yaml:2: not YAML: "),
        ("a: 1\nb: \x07\n", "talk.yaml:2: not YAML: the character 0x7 is not allowed"),
        ("a: 1\nb: !!int many\n", "talk.yaml:2: 'many' is not of the kind int"),
        ("b: !!bool yes\n", "talk.yaml:1: 'yes' is not of the kind bool"),
        ("a: 1\n? [b, c]\n: 2\n", "talk.yaml:2: a key is a word"),
        ("x: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), f"talk.yaml:1: nested more than {MAX_DEPTH} deep"),
        ("x: " + "[" * 1000, "talk.yaml: nested too deeply"),
        ("a: 1\nb: &b\n  - *b\n", f"talk.yaml:2: nested more than {MAX_DEPTH} deep"),
    ],
    ids=range(13),
)
def test_what_is_wrong_is_told_with_file_and_line(text, message):
    with pytest.raises(InputError) as caught:
        parsed(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_nesting_up_to_the_limit_is_fine():
    assert parsed("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)) is not None


def test_a_tag_that_would_run_code_elsewhere_is_only_text():
    assert parsed("a: !!python/object/apply:os.getcwd here") == {"a": "here"}


# --- reading --------------------------------------------------------------------------------------------------


def test_a_file_is_read_as_utf_8(tmp_path):
    path = tmp_path / "talk.yaml"
    path.write_bytes("topic: Brötchen 🥖\n".encode())
    assert read_text(path) == "topic: Brötchen 🥖\n"
    assert read_yaml(path).value == {"topic": "Brötchen 🥖"}


def test_a_file_that_is_not_utf_8_is_told_with_the_place(tmp_path):
    path = tmp_path / "talk.yaml"
    path.write_bytes(b"topic: Br\xf6tchen")
    with pytest.raises(InputError, match=r"talk.yaml: the scenario is not UTF-8 text \(byte 9\)"):
        read_yaml(path, "scenario")


def test_a_file_that_is_missing_and_one_that_is_a_folder_say_so(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: cannot read the list: No such file"):
        read_text(tmp_path / "none.yaml", "list")
    with pytest.raises(InputError, match="cannot read the file: Is a directory"):
        read_text(tmp_path)


# --- writing --------------------------------------------------------------------------------------------------


def test_a_file_appears_under_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "out.jsonl"
    with writing(path) as file:
        file.write(b"half")
        assert not path.exists()
        file.write(b" and half")
    assert path.read_bytes() == b"half and half"
    assert list(tmp_path.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_file_is_replaced_at_once(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"old")
    with path.open("rb") as reader, writing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [KeyError("bug"), InputError("wrong"), KeyboardInterrupt()])
def test_when_the_block_raises_nothing_is_left_behind_and_the_old_file_stays(tmp_path, error):
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"old")

    def write_and_fail():
        with writing(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        write_and_fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_with_the_files_name_and_leaves_nothing_behind(tmp_path):
    with (
        pytest.raises(InputError, match=r"out\.jsonl: cannot write here: No space left"),
        writing(tmp_path / "out.jsonl"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_told_with_the_files_name(tmp_path):
    path = tmp_path / "none" / "out.jsonl"
    with pytest.raises(InputError, match=r"out\.jsonl: cannot write here: No such file"), writing(path):
        pytest.fail("there was nowhere to write")


# --- finding --------------------------------------------------------------------------------------------------


def test_a_glob_names_files_in_order_and_no_folders(tmp_path):
    for name in ("b.yaml", "a.yaml", "deep/c.yaml", "deep.yaml/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in matching(f"{tmp_path}/*.yaml")] == ["a.yaml", "b.yaml"]
    assert [path.name for path in matching(f"{tmp_path}/**/*.yaml")] == ["a.yaml", "b.yaml", "c.yaml"]


def test_a_glob_that_names_nothing_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"did you mean 'apis/library.yaml'\?"):
        matching("apis/libary.yaml")
    with pytest.raises(InputError, match=r"no file matches '.*\*\.yaml'"):
        matching(f"{tmp_path}/*.yaml")


@pytest.mark.parametrize("pattern", ["scenarios/topics/*.yaml", "scenarios/**/*.yaml", "scenarios/topics/s**.yaml"])
def test_the_scenarios_that_ship_with_simlab_are_found_from_anywhere(tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(tmp_path)
    found = matching(pattern)
    assert "sourdough-first-loaf.yaml" in [path.name for path in found]
    assert found == sorted(found)


def test_a_folder_of_ones_own_comes_before_the_one_that_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "mine.yaml").touch()
    assert [path.name for path in matching("scenarios/*.yaml")] == ["mine.yaml"]


def test_what_ships_with_simlab_is_found_and_what_does_not_is_an_error():
    assert resource("scenarios", "topics").is_dir()
    assert resource("seeds", "topics.yaml").is_file()
    with pytest.raises(InputError, match=r"seeds/none\.yaml is not among the files"):
        resource("seeds", "none.yaml")


def test_an_output_takes_the_place_of_nothing_that_is_needed(tmp_path):
    for name, text in (("in.jsonl", "{}"), ("old.jsonl", '{"a": 1}'), ("code.py", "import os"), ("empty", "")):
        (tmp_path / name).write_text(text)
    (tmp_path / "run.simlab").write_bytes(b"SQLite format 3\0")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "in.jsonl")
    for name, said in (
        ("", "it is a folder"),
        ("nowhere/x.jsonl", "there is no folder"),
        ("in.jsonl", "is read or written by this command"),
        ("link.jsonl", "is read or written by this command"),
        ("run.simlab", "is a run file"),
        ("code.py", "holds no JSON lines"),
    ):
        with pytest.raises(InputError, match=said):
            must_be_free(tmp_path / name, [tmp_path / "in.jsonl"], holds=JSON_LINES)
    for name in ("new.jsonl", "old.jsonl", "empty"):
        must_be_free(tmp_path / name, [tmp_path / "in.jsonl"], holds=JSON_LINES)
    must_be_free(tmp_path / "code.py")
