"""`simlab inspect` as people use it: what it prints, how it ends, and what a hostile document can make it do."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simlab.cli import main
from tests.hostile import READ, REFUSED

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "apis" / "library.yaml"
GOLDEN = Path(__file__).parent / "golden" / "inspect-library.txt"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def inspect(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command in this process, without the validator unless it is asked for, and then it has time."""
    monkeypatch.setattr("simlab.inspection.VALIDATE_SECONDS", (60.0, 0.0, 60.0))

    def run(*words: Any, validate: bool = False) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as done:
            main(["inspect", *map(str, words), *([] if validate else ["--no-validate"])])
        return done.value.code, *capsys.readouterr()

    return run


def test_our_library_is_printed_as_it_was(inspect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """To make it anew: `simlab inspect apis/library.yaml --no-validate | sed 's/ *$//' > THAT_FILE`."""
    monkeypatch.chdir(ROOT)
    code, out, err = inspect("apis/library.yaml")
    assert (code, err) == (0, "")
    assert [line.rstrip() for line in out.splitlines()] == GOLDEN.read_text(encoding="utf-8").splitlines()


def test_what_is_inferred_comes_with_its_evidence(inspect: Any, tmp_path: Path) -> None:
    (tmp_path / "library.yaml").write_bytes(LIBRARY.read_bytes())
    code, out, _ = inspect("library.yaml")
    assert code == 0
    for said in (
        "16 operations, 0 set aside, 4 resources",
        "undeclared action: recorded only",
        "GET on the collection 'books'",
        "16 of 16 operations take a generated example and answer by their schemas",
    ):
        assert said in out
    assert "generated example" not in inspect("library.yaml", "--no-check")[1]


def test_a_document_without_resources_says_so(inspect: Any, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("openapi: 3.1.0\npaths: {/sum: {get: {responses: {'200': {}}}}}\n")
    _, out, _ = inspect("one.yaml")
    assert "There are no resources: every operation is stateless." in out
    assert "answers from its schema" in out


def test_one_operation_is_printed_with_an_example(inspect: Any) -> None:
    code, out, _ = inspect(LIBRARY, "--operation", "renewLoan")
    assert code == 0
    assert "id of member" in out
    assert out.splitlines()[0].split() == ["POST", "/members/{memberId}/loans/{loanId}/renew", "renewLoan"]
    call = json.loads(inspect(LIBRARY, "--operation", "renewLoan", "--json")[1])["call"]
    assert call.keys() == {"memberId", "loanId", "dueOn"}


def test_json_is_the_same_as_data(inspect: Any) -> None:
    code, out, _ = inspect(LIBRARY, "--json")
    made = json.loads(out)
    assert code == 0
    assert (made["title"], made["callable"], made["findings"]) == ("Town library", 16, [])
    assert {one["id"] for one in made["operations"]} >= {"getBook", "renewLoan"}


def test_strict_ends_with_one_and_says_why(inspect: Any, tmp_path: Path) -> None:
    assert inspect(LIBRARY, "--strict", validate=True)[0] == 0
    path = tmp_path / "odd.json"
    path.write_text('{"openapi": "3.1.0", "paths": {"/x": {"get": {"$ref": "no.json"}}}}', encoding="utf-8")
    code, out, err = inspect(path, "--strict")
    assert code == 1
    assert err == "strict: 1 operation set aside; 1 warning of reading\n"
    assert "no.json: no such file" in out
    assert inspect(path)[0] == 0


def test_an_overlay_is_written_and_read_again(inspect: Any, tmp_path: Path) -> None:
    (tmp_path / "library.yaml").write_bytes(LIBRARY.read_bytes())
    code, out, _ = inspect("library.yaml", "--write-overlay", "mine.yaml")
    assert (code, out.splitlines()[0]) == (0, "mine.yaml: the overlay of library")
    code, out, _ = inspect("library.yaml", "--overlay", "mine.yaml")
    assert code == 0
    assert "corrected by an overlay" in out
    assert "Evidence" not in out
    code, _, err = inspect("library.yaml", "--write-overlay", "mine.yaml")
    assert (code, err.startswith("simlab: error: mine.yaml: is there already; --force")) == (2, True)
    code, out, _ = inspect("library.yaml", "--write-overlay", "mine.yaml", "--force")
    assert (code, out.splitlines()[0]) == (
        0,
        "mine.yaml: the overlay of library (what it held is now in mine.yaml.bak)",
    )


def test_what_is_wrong_is_one_line(inspect: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("operations: {getBok: {effect: get}}\n", encoding="utf-8")
    for words, said in (
        (["no.yaml"], "no file matches 'no.yaml'"),
        ([LIBRARY, "--operation", "getBok"], "library: no operation 'getBok'; did you mean 'getBook'?"),
        ([LIBRARY, "--overlay", "no.yaml"], "no.yaml: cannot read the overlay of library.yaml: No such file"),
        (
            [LIBRARY, "--overlay", "mine.yaml"],
            "library.yaml: the overlay names the operation 'getBok'; did you mean 'getBook'?",
        ),
        ([LIBRARY, "--max-bytes", "100"], "a document and its files have too many bytes; --max-bytes sets how many"),
    ):
        code, _, err = inspect(*words)
        assert code == 2
        assert said in err
        assert err.count("\n") == 1


def test_names_in_a_document_do_not_steer_the_terminal(inspect: Any, tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text(READ["names"][0], encoding="utf-8")
    _, out, _ = inspect("names.json")
    assert "\x1b" not in out
    assert "[31m[red]x" in out


@pytest.mark.parametrize(
    "command", [["run", "tool_dialogue", "--model", "scripted"], ["synth", "--out", "x"]], ids=["run", "synth"]
)
def test_the_other_commands_read_documents_the_same_way(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "library.yaml").write_bytes(LIBRARY.read_bytes())
    (tmp_path / "mine.yaml").write_text("operations: {getBok: {effect: get}}\n", encoding="utf-8")
    for words, said in (
        (["--api", "library.yaml", "--overlay", "mine.yaml"], "the overlay names the operation 'getBok'"),
        (["--api", "library.yaml", "--max-bytes", "10"], "--max-bytes sets how many they may"),
        (["--overlay", "mine.yaml"], "--overlay" if command[0] == "run" else "synth needs --topics or --api"),
    ):
        with pytest.raises(SystemExit) as done:
            main([*command, *words])
        assert done.value.code == 2
        assert said in capsys.readouterr().err


def test_one_overlay_corrects_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text("{}\n", encoding="utf-8")
    twice = ["--api", str(LIBRARY), "--api", str(LIBRARY.with_name("courier.yaml"))]
    with pytest.raises(SystemExit) as done:
        main(["run", "tool_dialogue", *twice, "--overlay", "mine.yaml", "--model", "scripted"])
    assert done.value.code == 2
    assert "--overlay corrects one document: give one --api with it, not 2" in capsys.readouterr().err


def test_scenarios_name_the_overlay_that_they_were_made_with(tmp_path: Path) -> None:
    (tmp_path / "library.yaml").write_bytes(LIBRARY.read_bytes())
    for words in (
        ["inspect", "library.yaml", "--write-overlay", "mine.yaml", "--no-validate"],
        ["synth", "--api", "library.yaml", "--overlay", "mine.yaml", "-n", "2", "--out", "made", "-q"],
        ["run", "tool_dialogue", "--scenarios", "made/*.yaml", "--model", "scripted", "--out", "r.simlab", "-q"],
    ):
        with pytest.raises(SystemExit) as done:
            main(words)
        assert done.value.code == 0


# --- hostile documents ------------------------------------------------------------------------------------------

MEASURED = """
import resource, subprocess, sys, time
began = time.monotonic()
done = subprocess.run([sys.executable, "-m", "simlab", "inspect", *sys.argv[1:]], capture_output=True, text=True)
seconds, used = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
print(done.returncode, min(seconds, used.ru_utime + used.ru_stime), used.ru_maxrss)
print(done.stdout + done.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said", "code"),
    [(*one, 0) for one in READ.values()] + [(*one, 2) for one in REFUSED.values()],
    ids=[*READ, *REFUSED],
)
def test_a_hostile_document_ends_and_stays_under_500_mb(text: str, said: str, code: int, tmp_path: Path) -> None:
    """The validator included. Measured from a process between, which is small: a child begins at its parent's peak."""
    (tmp_path / "hostile.json").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "hostile.json"], capture_output=True, text=True, check=True, timeout=120
    )
    first, _, printed = done.stdout.partition("\n")
    ended, seconds, kilobytes = first.split()
    assert int(ended) == code
    assert said in " ".join(printed.split())
    assert "Traceback" not in printed
    assert float(seconds) < 60  # it ends; how fast is for the benchmarks
    assert int(kilobytes) < 500 * 1024


ACTION = """
openapi: 3.0.3
info: {title: Kennel, version: "1"}
paths:
  /dogs:
    get:
      operationId: listDogs
      responses: {"200": {description: x, content: {application/json: {schema: {type: array, items: &dog {
        type: object, required: [name], properties: {id: {type: string, readOnly: true}, name: {type: string}}}}}}}}
    post:
      operationId: addDog
      requestBody: {required: true, content: {application/json: {schema: *dog}}}
      responses: {"201": {description: x, content: {application/json: {schema: *dog}}}}
  /dogs/{dogId}/walk:
    post:
      operationId: walkDog
      parameters: [{name: dogId, in: path, required: true, schema: {type: string}}]
      responses: {"200": {description: x, content: {application/json: {schema: *dog}}}}
"""


@pytest.mark.parametrize("command", [["run", "tool_dialogue", "--model", "scripted"], ["synth"]], ids=["run", "synth"])
def test_actions_that_do_nothing_are_named(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kennel.yaml").write_text(ACTION, encoding="utf-8")
    with pytest.raises(SystemExit) as done:
        main([*command, "--api", "kennel.yaml", "-n", "2", "--out", "made", "-q"])
    assert done.value.code in (None, 0)
    said = capsys.readouterr().err
    assert "note: actions that change no record, as nobody has said what they do: walkDog; an overlay can" in said
