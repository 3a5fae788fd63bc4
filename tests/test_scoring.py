"""Traces and labels of others: each reader takes what its page says, and a bad line is named with its place."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from simlab.api import load_api
from simlab.cli import main
from simlab.errors import InputError
from simlab.reading import ReadLabel, ReadTrace
from simlab.scoring import Scored, reader_of, readers, score_files
from simlab.shelf import names

ROOT = Path(__file__).parent.parent


def chat(*calls: tuple[str, Any], id: str = "", said: str = "That is done.") -> dict[str, Any]:
    """A talk as others store it: a wish, calls with their answers, a last word."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Help."}, {"role": "user", "content": "Please."}]
    for number, (name, arguments) in enumerate(calls):
        function = {"name": name, "arguments": json.dumps(arguments)}
        made = {"id": f"c{number}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": None, "tool_calls": [made]})
        messages.append({"role": "tool", "tool_call_id": f"c{number}", "content": "{}"})
    messages.append({"role": "assistant", "content": said})
    return {"messages": messages, **({"id": id} if id else {})}


def write(path: Path, lines: Sequence[Any]) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), "utf-8")
    return path


@pytest.fixture
def files(tmp_path: Path) -> Any:
    def scored(traces: Sequence[Any], labels: Sequence[Any], **how: Any) -> Scored:
        return score_files(write(tmp_path / "traces.jsonl", traces), write(tmp_path / "labels.jsonl", labels), **how)

    return scored


# --- bfcl -------------------------------------------------------------------------------------------------------

AREA = {"ground_truth": [{"area": {"base": [10], "height": [5], "unit": ["cm", ""]}}]}


@pytest.mark.parametrize(
    ("calls", "error"),
    [
        ([("area", {"base": 10, "height": 5, "unit": "cm"})], None),
        ([("area", {"base": 10.0, "height": 5})], None),
        ([("area", {"base": 10, "height": 5, "unit": " CM"})], None),
        ([("area", {"base": 10, "height": 6})], "wrong_value"),
        ([("area", {"base": "10", "height": 5})], "wrong_type"),
        ([("area", {"base": 10})], "missing_argument"),
        ([("area", {"base": 10, "height": 5, "depth": 1})], "extra_argument"),
        ([("volume", {"base": 10, "height": 5})], "extra_write"),
        ([], "no_call"),
        ([("area", {"base": 10, "height": 5}), ("area", {"base": 10, "height": 5})], "extra_write"),
    ],
)
def test_a_possible_answer_is_judged_by_its_arguments(files: Any, calls: Any, error: str | None) -> None:
    score = files([chat(*calls)], [AREA], labels_format="bfcl").scores["1"]
    assert (score.schema, score.state, score.facts, score.forbidden) == (None,) * 4
    assert (score.success, score.error) == (error is None, error)


def test_parallel_calls_are_matched_by_as_many_as_can_be(files: Any) -> None:
    """A greedy matcher gives `a` to the first answer, which also takes `b`, and has nothing left for the second."""
    labels = [{"ground_truth": [{"go": {"to": ["a", "b"]}}, {"go": {"to": ["a"]}}]}]
    assert files([chat(("go", {"to": "a"}), ("go", {"to": "b"}))], labels, labels_format="bfcl").scores["1"].success


@pytest.mark.parametrize(("said", "other"), [("-5", "5"), ("1.5", "15"), ("2024-1-12", "2024-11-2")])
def test_punctuation_means_something(files: Any, said: str, other: str) -> None:
    labels = [{"ground_truth": [{"go": {"to": [said]}}]}]
    assert not files([chat(("go", {"to": other}))], labels, labels_format="bfcl").scores["1"].success


def test_accepted_values_inside_objects_and_lists(files: Any) -> None:
    labels = [{"ground_truth": [{"go": {"by": [{"kind": ["train", "bus"], "class": [2, ""]}], "via": [["a", "b"]]}}]}]
    good = chat(("go", {"by": {"kind": "bus"}, "via": ["a", "b"]}))
    bad = chat(("go", {"by": {"kind": "bus", "class": 1}, "via": ["a", "b"]}))
    assert files([good], labels, labels_format="bfcl").scores["1"].success
    assert files([bad], labels, labels_format="bfcl").scores["1"].error == "wrong_value"


# --- autode -----------------------------------------------------------------------------------------------------


def test_slots_of_the_last_call_give_precision_recall_and_f1(files: Any) -> None:
    label = {"API": "book", "Parameters": {"people": "4", "day": "Friday", "time": "19:00"}}
    trace = chat(("find", {}), ("book", {"people": 4, "day": "friday", "place": "window"}))
    found = files([trace], [label], labels_format="autode")
    raw, meant = found.slots.raw, found.slots.normalised
    assert (raw.right, raw.given, raw.wanted) == (1, 3, 3)
    assert (meant.right, round(meant.f1, 4)) == (2, 0.6667)
    assert found.success.n == 0, "slots alone make no success"
    assert files([chat(("find", {}))], [label], labels_format="autode").slots.raw.given == 0


# --- our own ----------------------------------------------------------------------------------------------------


def test_a_label_of_ours_gives_the_full_score(files: Any) -> None:
    api = load_api(ROOT / "apis" / "library.yaml")
    changed = {"member": {"member_0002": {"changed": {"fullName": [None, "Ada Finch"]}}}}
    old = api_name(api)
    changed["member"]["member_0002"]["changed"]["fullName"][0] = old
    label = {
        "id": "t",
        "label": {"how": "executed", "goal": changed, "forbidden": ["deleteHold"]},
        "world": {"seed": 5},
    }
    good = chat(("updateMember", {"memberId": "member_0002", "fullName": "Ada Finch"}), id="t")
    bad = chat(("updateMember", {"memberId": "member_0003", "fullName": "Ada Finch"}), id="t")
    score = files([good], [label], api=api).scores["t"]
    assert (score.schema, score.state, score.facts, score.forbidden, score.success) == (True, True, None, True, True)
    score = files([bad], [label], api=api).scores["t"]
    assert (score.success, score.error) == (False, "extra_write")
    with pytest.raises(InputError, match=r"labels.jsonl:1: a label over an API is judged with --api DOC"):
        files([good], [label])


def broken(trace: dict[str, Any], arguments: Any) -> dict[str, Any]:
    """The trace with something else for the arguments of its first call."""
    made = json.loads(json.dumps(trace))
    first = next(message for message in made["messages"] if message.get("tool_calls"))
    first["tool_calls"][0]["function"]["arguments"] = arguments
    return made


RENAMED = {"memberId": "member_0002", "fullName": "Ada Finch"}
RENAME = ("updateMember", RENAMED)
READ = ("getMember", {"memberId": "member_0002"})


@pytest.mark.parametrize(
    ("wanted", "trace", "error"),
    [
        ([RENAME], chat(RENAME), None),
        ([RENAME], chat(READ, RENAME), None),
        ([RENAME], chat(said="Done."), "false_claim"),
        ([RENAME], chat(said="I cannot."), "no_call"),
        ([RENAME], broken(chat(RENAME), '{"memberId": member_0002}'), "wrong_type"),
        ([RENAME], broken(chat(RENAME), '["member_0002"]'), "wrong_type"),
        ([RENAME], chat(("updateMember", {**RENAMED, "fullName": "Ada Reed"})), "hallucinated_value"),
        ([RENAME], chat(RENAME, ("updateMember", {**RENAMED, "memberId": "member_0003"})), "extra_write"),
        ([READ], chat(READ), None),
        ([READ], chat(said="I cannot."), "no_call"),
        ([("listMembers", {})], chat(("listMembers", {})), None),
        ([("listMembers", {})], broken(chat(("listMembers", {})), ""), None),
        ([("listMembers", {})], broken(chat(("listMembers", {})), "{"), "wrong_type"),
    ],
)
def test_a_label_of_calls_alone_is_decided_by_its_calls(
    files: Any, wanted: Any, trace: dict[str, Any], error: str | None
) -> None:
    api = load_api(ROOT / "apis" / "library.yaml")
    named = [{"op": op, "args": {name: {"value": value} for name, value in args.items()}} for op, args in wanted]
    label = {"label": {"how": "executed", "calls": named}, "world": {"seed": 5}}
    score = files([trace], [label], api=api).scores["1"]
    assert (score.state, score.success, score.error) == (None, error is None, error)


def test_the_label_line_of_the_page_and_of_the_help_can_be_used(
    files: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "scoring.md").read_text("utf-8")
    line = page.partition("```json\n")[2].partition("\n```")[0]
    found = files([chat(RENAME, id="t1")], [line], api=load_api(ROOT / "apis" / "library.yaml"))
    assert found.scores["t1"].success
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit):
        main(["score", "--help"])
    assert line.replace(" ", "") in "".join(capsys.readouterr().out.split())


def test_an_empty_goal_is_not_an_absent_one(files: Any) -> None:
    api = load_api(ROOT / "apis" / "library.yaml")
    calls = [{"op": "updateMember", "args": {name: {"value": value} for name, value in RENAMED.items()}}]
    label = {"how": "executed", "calls": calls}
    for line in (
        {"label": {**label, "goal": {}}, "world": {"seed": 5}},
        {"scenario": {"label": label, "world": {"seed": 5}}},
        {"label": {"how": "executed"}, "world": {"seed": 5}},
    ):
        assert files([chat(RENAME)], [line], api=api).scores["1"].state is False


CALL = {"op": "updateMember", "args": {"memberId": {"value": "member_0002"}}}
MISSPELT = {
    "key of the line": ({"label": {}, "wrld": {"seed": 5}}, "wrld: no such key; did you mean 'world'?"),
    "key of the label": ({"label": {"cals": []}}, "label.cals: no such key; did you mean 'calls'?"),
    "key of a call": (
        {"label": {"calls": [{"op": "listBooks", "arg": {}}]}},
        "label.calls[0].arg: no such key; did you mean 'args'?",
    ),
    "key of an argument": (
        {"label": {"calls": [{"op": "listBooks", "args": {"calls": {"vale": 1}}}]}},
        "label.calls[0].args.calls.vale: no such key; did you mean 'value'?",
    ),
    "key of the world": ({"label": {}, "world": {"sed": 5}}, "world.sed: no such key; did you mean 'seed'?"),
    "no operation": ({"label": {"calls": [{"args": {}}]}}, "label.calls[0].op: missing"),
    "no label": ({"id": "a"}, "label: missing; expected an object"),
    "operation": (
        {"label": {"calls": [CALL, {**CALL, "op": "updateMembr"}]}},
        "label.calls[1].op: 'updateMembr' is no operation; did you mean 'updateMember'?",
    ),
    "forbidden operation": (
        {"label": {"forbidden": ["deletHold"]}},
        "label.forbidden[0]: 'deletHold' is no operation; did you mean 'deleteHold'?",
    ),
    "argument": (
        {"label": {"calls": [{**CALL, "args": {"membrId": {"value": "member_0002"}}}]}},
        "label.calls[0].args: 'membrId' is no argument of updateMember; did you mean 'memberId'?",
    ),
    "resource": ({"label": {"goal": {"membr": {}}}}, "label.goal: 'membr' is no resource; did you mean 'member'?"),
    "allowed resource": (
        {"label": {"allowed": ["membr.email"]}},
        "label.allowed[0]: 'membr' is no resource; did you mean 'member'?",
    ),
    "change": (
        {"label": {"goal": {"member": {"member_0002": {"remved": {}}}}}},
        "label.goal.member.member_0002: 'remved' is no change; did you mean 'removed'?",
    ),
    "no change": (
        {"label": {"goal": {"member": {"member_0002": {}}}}},
        "label.goal.member.member_0002: expected one of added, removed, changed",
    ),
    "record": ({"label": {"goal": {"member": ["a"]}}}, "label.goal.member: expected an object, got \"['a']\""),
    "pair": (
        {"label": {"goal": {"member": {"member_0002": {"changed": {"email": "a"}}}}}},
        "label.goal.member.member_0002.changed.email: expected [old, new], got 'a'",
    ),
}


@pytest.mark.parametrize("what", MISSPELT)
def test_what_is_misspelt_in_a_label_is_one_error_with_the_nearest_name(files: Any, what: str) -> None:
    line, said = MISSPELT[what]
    with pytest.raises(InputError) as raised:
        files([chat()], [{"label": {}}, line], api=load_api(ROOT / "apis" / "library.yaml"))
    assert str(raised.value).partition("labels.jsonl:2: ")[2] == said


def api_name(api: Any) -> Any:
    from simlab.world import seeded

    return seeded(api, 5).tables["member"]["member_0002"]["fullName"]


# --- the shelf, and what is wrong -------------------------------------------------------------------------------


def test_every_reader_is_named_like_its_file_reads_one_thing_and_shows_its_shape() -> None:
    assert sorted([*readers("traces"), *readers("labels")]) == names("readers")
    for what, made in (("traces", ReadTrace), ("labels", ReadLabel)):
        for name in readers(what):
            reader = reader_of(name, what)
            module = __import__(reader.__module__, fromlist=["x"])
            assert reader.__name__ == name
            assert reader.__annotations__["return"] in (made, made.__name__)
            assert module.__doc__.startswith(f"`{name}`: ")
            assert '    {"id": ' in module.__doc__
            with pytest.raises(ValueError, match="expected an object"):
                reader([])


BAD = {
    "not JSON": ("{", AREA, r"traces.jsonl:2: not JSON: "),
    "no messages": ({"id": "x"}, AREA, r"traces.jsonl:2: messages: missing; expected a list$"),
    "a misspelt key": (
        {"mesages": []},
        AREA,
        r"traces.jsonl:2: messages: missing; expected a list; there is 'mesages', did you mean 'messages'\?",
    ),
    "no role": ({"messages": [{"rol": "user"}]}, AREA, r"messages\[0\].role: missing; .* there is 'rol', did you mean"),
    "no list": ({"messages": None}, AREA, r"traces.jsonl:2: messages: expected a list, got 'None'"),
    "a role": ({"messages": [{"role": "boss"}]}, AREA, r"traces.jsonl:2: messages\[0\].role: expected user,"),
    "no truth": (chat(), {"id": "y"}, r"labels.jsonl:2: ground_truth: missing; expected a list"),
    "two functions": (
        chat(),
        {"ground_truth": [{"a": {}, "b": {}}]},
        r"labels.jsonl:2: ground_truth\[0\]: expected an",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_line_is_one_error_with_its_place(files: Any, what: str) -> None:
    trace, label, said = BAD[what]
    with pytest.raises(InputError, match=said):
        files([chat(), trace], [AREA, label], labels_format="bfcl")


@pytest.mark.parametrize("text", ["openapi: 3.1.0", "{", "[{}]", "3"])
def test_a_file_that_is_not_json_lines_is_called_so(files: Any, text: str) -> None:
    said = r"labels.jsonl:1: not JSON Lines: expected one JSON object a line, got "
    with pytest.raises(InputError, match=said):
        files([chat()], [text, AREA], labels_format="bfcl")


def test_ids_that_fit_nothing_or_come_twice(files: Any) -> None:
    labels = [{"id": "walk", **AREA}, {"id": "run", **AREA}]
    with pytest.raises(InputError, match=r"traces.jsonl:1: no label has the id 'wlk'; did you mean 'walk'"):
        files([chat(id="wlk")], labels, labels_format="bfcl")
    with pytest.raises(InputError, match=r"traces.jsonl:2: the id 'run' is that of another line too"):
        files([chat(id="run"), chat(id="run")], labels, labels_format="bfcl")
    with pytest.raises(InputError, match=r"no reader of labels 'bflc'; did you mean 'bfcl'"):
        files([chat()], labels, labels_format="bflc")
    with pytest.raises(InputError, match=r"empty"):
        files([], labels, labels_format="bfcl")


def test_where_one_file_has_no_ids_the_place_counts_if_there_are_as_many_lines(
    files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [{"id": "walk", **AREA}, {"id": "run", **AREA}]
    good, bad = ("area", {"base": 10, "height": 5}), ("area", {"base": 10, "height": 6})
    found = files([chat(good), chat(bad)], named, labels_format="bfcl")
    assert {key: score.success for key, score in found.scores.items()} == {"walk": True, "run": False}
    assert "the labels have ids and no line of" in found.note
    found = files([chat(good, id="a"), chat(bad, id="b")], [AREA, AREA], labels_format="bfcl")
    assert {key: score.success for key, score in found.scores.items()} == {"a": True, "b": False}
    with pytest.raises(InputError, match=r"traces.jsonl:1: the labels have ids and line 1 of .*traces.jsonl has none"):
        files([chat(good)], named, labels_format="bfcl")
    with pytest.raises(InputError, match=r"the labels have ids and line 2 of .*traces.jsonl has none \(others have"):
        files([chat(good, id="run"), chat(good)], named, labels_format="bfcl")
    with pytest.raises(InputError, match=r"labels.jsonl:1: the traces have ids and line 1 of .*labels.jsonl has none"):
        files([chat(good, id="a"), chat(good, id="b")], [AREA], labels_format="bfcl")
    traces, labels = write(tmp_path / "t", [chat(good), chat(bad)]), write(tmp_path / "l", named)
    with pytest.raises(SystemExit):
        main(["score", str(traces), "--labels", str(labels), "--labels-format", "bfcl"])
    assert capsys.readouterr().err == f"the labels have ids and no line of {traces} has one: {BY_PLACE}\n"


def test_a_scenario_of_another_document_or_overlay_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document, overlay = tmp_path / "library.yaml", tmp_path / "mine.yaml"
    document.write_bytes((ROOT / "apis" / "library.yaml").read_bytes())
    overlay.write_bytes((ROOT / "apis" / "overlays" / "library.yaml").read_bytes())
    made = {"document": "apis/library.yaml", "sha256": load_api(document, overlay).sha256, "overlay": "my/mine.yaml"}
    traces = write(tmp_path / "t", [chat(said="I cannot.")])
    labels = write(tmp_path / "l", [{"scenario": {"kind": "abstain", "api": made, "label": {}}}])

    def scored(*more: Any) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in ("score", traces, "--labels", labels, *more)])
        return ended.value.code, *capsys.readouterr()

    code, printed, _ = scored("--api", document, "--overlay", overlay)
    assert not code
    assert "success: 1.00" in printed
    code, _, said = scored("--api", document)
    assert code == 2
    assert f"{labels}:1: api.sha256: the label was made over apis/library.yaml" in said
    assert "pass --api library.yaml --overlay mine.yaml" in said
    assert scored("--overlay", overlay)[::2] == (2, "simlab: error: --overlay goes with --api\n")


BY_PLACE = "matched by place, line by line"


def test_a_label_without_a_trace_is_no_failure_and_not_forgotten(files: Any) -> None:
    labels = [{"id": "a", **AREA}, {"id": "b", **AREA}]
    found = files([chat(("area", {"base": 10, "height": 5}), id="b")], labels, labels_format="bfcl")
    assert str(found.success) == "1.00 [0.21, 1.00] of 1/2 valid"


def test_the_command_prints_rates_and_writes_a_line_per_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    traces = write(tmp_path / "t.jsonl", [chat(("area", {"base": 10, "height": 6}))])
    labels, out = write(tmp_path / "l.jsonl", [AREA]), tmp_path / "out.jsonl"
    words = ["score", traces, "--labels", labels, "--labels-format", "bfcl", "--out", out]
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert not ended.value.code
    printed = capsys.readouterr().out
    assert "success: 0.00 [0.00, 0.79] of 1/1 valid" in printed
    assert "errors: 1 wrong_value" in printed
    (line,) = map(json.loads, out.read_text("utf-8").splitlines())
    assert line["verdict"]["error"] == "wrong_value"
    assert line["findings"][0] | {"expected": 5, "got": 6, "argument": "/height", "call": 0} == line["findings"][0]


@pytest.mark.parametrize(
    ("out", "said"),
    [
        (".", "it is a folder"),
        ("nowhere/x", "there is no folder nowhere"),
        ("t.jsonl", "t.jsonl: is read or written by this command already"),
        ("l.jsonl", "l.jsonl: is read or written by this command already"),
        ("api.yaml", "api.yaml: is read or written by this command already"),
    ],
)
def test_scores_are_not_written_over_what_they_are_made_from(
    out: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("t.jsonl"), [chat(("area", {"base": 10, "height": 5}))])
    write(Path("l.jsonl"), [AREA])
    Path("api.yaml").write_text("openapi: 3.1.0")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    words = ["score", "t.jsonl", "--labels", "l.jsonl", "--labels-format", "bfcl", "--api", "api.yaml", "--out", out]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
