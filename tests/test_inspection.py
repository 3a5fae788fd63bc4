"""Inspecting documents: what is understood, what can be called, and overlays that say all of it and lose nothing."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from simlab.api import Api, load_api, read_api
from simlab.errors import InputError
from simlab.files import parse_yaml
from simlab.inspection import RECORDED, STATELESS, Inspection, _flow, detail, inspect, overlay_text, write_overlay
from simlab.overlay import check_overlay
from simlab.world import seeded
from tests.hostile import READ, REFUSED
from tests.specs import each_real_document

FOLDER = Path(__file__).parent.parent / "apis"
OURS = sorted(FOLDER.glob("*.yaml"))
SCHEMA = json.loads((FOLDER / "overlay.schema.json").read_text(encoding="utf-8"))


def fits(overlay: Any) -> bool:
    return Draft202012Validator(SCHEMA).is_valid(overlay)


def inferred(tmp_path: Path, name: str = "library") -> Path:
    """A copy of one of our documents, without its overlay."""
    copy = tmp_path / f"{name}.yaml"
    copy.write_bytes((FOLDER / f"{name}.yaml").read_bytes())
    return copy


def inspected(path: Path, **options: Any) -> Inspection:
    return inspect(read_api(path), str(path), validate=False, **options)


# --- what is understood -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_our_own_documents_have_nothing_to_find(path: Path) -> None:
    made = inspected(path)
    assert made.corrected
    assert made.evidence == ()
    assert made.findings() == []
    assert made.callable == len(made.operations)
    assert {one.confidence for one in (*made.operations, *made.resources)} == {None}


def test_what_is_inferred_says_how_sure_it_is(tmp_path: Path) -> None:
    made = inspected(inferred(tmp_path))
    assert not made.corrected
    assert all(0 < (one.confidence or 0) < 1 for one in (*made.operations, *made.resources))
    assert {one.subject for one in made.evidence} >= {one.id for one in made.operations}
    assert {one.name: one.operations for one in made.resources} == {"member": 4, "book": 4, "loan": 5, "hold": 3}
    renew = next(one for one in made.operations if one.id == "renewLoan")
    assert (renew.effect, renew.resource, renew.notes) == ("action", "loan", (RECORDED,))


def test_an_entry_that_a_person_wrote_has_no_evidence(tmp_path: Path) -> None:
    path, overlay = inferred(tmp_path), tmp_path / "mine.yaml"
    overlay.write_text("operations: {listBooks: {effect: read}}\n", encoding="utf-8")
    made = inspect(read_api(path, overlay), validate=False)
    lines = {one.id: one for one in made.operations}
    assert (lines["listBooks"].confidence, lines["listBooks"].notes) == (None, (STATELESS,))
    assert lines["getBook"].confidence is not None
    assert "listBooks" not in {one.subject for one in made.evidence}


def test_operations_of_one_reason_are_one_group(tmp_path: Path) -> None:
    paths = {f"/x{i}": {"$ref": f"parts/x{i}.yaml"} for i in range(9)}
    paths["/y"] = {"get": {"operationId": "y", "responses": {"200": {"$ref": "#/components/responses/None"}}}}
    (tmp_path / "parts.json").write_text(json.dumps({"openapi": "3.1.0", "paths": paths}), encoding="utf-8")
    made = inspected(tmp_path / "parts.json")
    assert [(group.count, len(group.first)) for group in made.aside_by_reason] == [(9, 5), (1, 1)]
    assert [(group.why, group.count) for group in made.warnings_by_kind] == [("... no such file", 9)]
    assert made.findings() == ["10 operations set aside", "9 warnings of reading"]
    assert made.operations == ()


def test_the_validator_is_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = tmp_path / "odd.yaml"
    path.write_text("openapi: 3.1.0\npaths: {/x: {get: {responses: {'200': {}}}}}\n", encoding="utf-8")
    made = inspect(read_api(path), validate_seconds=60)
    assert made.callable == len(made.operations) == 1
    assert made.validation is not None
    assert made.findings()[0].startswith("the validator found ")


def test_what_is_known_is_plain_data(tmp_path: Path) -> None:
    made = inspected(inferred(tmp_path)).as_json()
    assert json.loads(json.dumps(made)).keys() == made.keys()
    assert made["callable"] == 16


def test_calls_can_be_left_out_and_are_reported(tmp_path: Path) -> None:
    done: list[int] = []
    assert len(inspected(inferred(tmp_path), most_tried=3, progress=done.append).tried) == 3
    assert done == [0, 1, 2]
    assert inspected(inferred(tmp_path), most_tried=0).tried == {}


def test_one_operation_is_known_to_its_arguments() -> None:
    api = load_api(FOLDER / "library.yaml")
    known = detail(api, "renewLoan")
    assert [(one.name, one.where, one.required, one.about) for one in known.arguments] == [
        ("memberId", "path", True, "id of member"),
        ("loanId", "path", True, "which loan"),
        ("dueOn", "body", True, ""),
    ]
    assert api.argument_problems(api.operations["renewLoan"], known.call) == []
    assert (known.status, known.problem) == (200, "")
    assert known.answer["id"] == known.call["loanId"]
    assert [one.about for one in detail(api, "listBooks").arguments][:2] == ["filter on author", "filter on genre"]


def test_an_operation_that_is_not_there_is_told_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="library: no operation 'renewLaon'; did you mean 'renewLoan'"):
        detail(load_api(FOLDER / "library.yaml"), "renewLaon")
    path = tmp_path / "gone.json"
    path.write_text('{"openapi": "3.1.0", "paths": {"/x": {"get": {"$ref": "#/gone", "operationId": "x"}}}}')
    with pytest.raises(InputError, match="gone: x is set aside: "):
        detail(load_api(path), "x")


@each_real_document
def test_real_documents_can_be_called(path: Path) -> None:
    made = inspected(path)
    assert made.callable >= 0.95 * len(made.tried)
    assert len(made.operations) + len(made.aside) > 0


# --- overlays ---------------------------------------------------------------------------------------------------


def same(path: Path, overlay: Path) -> Api:
    """Write the overlay of a document; the API that it makes of the document, which is what it was."""
    before = read_api(path).compiled()
    write_overlay(overlay, before)
    assert fits(yaml.safe_load(overlay.read_text(encoding="utf-8")))
    after = read_api(path, overlay).compiled()
    assert after.operations == before.operations
    assert after.resources == before.resources
    assert after.meaning == before.meaning
    assert after.evidence == []
    assert after.inferred == before.inferred
    assert overlay_text(after, "x") == overlay_text(before, "x")
    return after


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_an_overlay_says_all_there_is_to_say(path: Path, tmp_path: Path) -> None:
    same(path, tmp_path / "overlay.yaml")
    same(inferred(tmp_path, path.stem), tmp_path / "inferred.yaml")
    assert fits(yaml.safe_load((FOLDER / "overlays" / path.name).read_text(encoding="utf-8")))


@each_real_document
def test_so_does_that_of_a_real_document(path: Path, tmp_path: Path) -> None:
    same(path, tmp_path / "overlay.yaml")
    with_overlay = inspect(read_api(path, tmp_path / "overlay.yaml"), validate=False)
    assert with_overlay.callable == inspected(path).callable


def test_an_overlay_begins_with_what_editors_and_people_need(tmp_path: Path) -> None:
    api = load_api(FOLDER / "library.yaml")
    assert write_overlay(tmp_path / "mine.yaml", api) is None
    first, *rest = (tmp_path / "mine.yaml").read_text(encoding="utf-8").splitlines()
    assert first == "# yaml-language-server: $schema=overlay.schema.json"
    assert json.loads((tmp_path / "overlay.schema.json").read_text(encoding="utf-8")) == SCHEMA
    head = " ".join(line for line in rest if line.startswith("#"))
    keys = [*SCHEMA["$defs"]["resource"]["properties"], *SCHEMA["$defs"]["operation"]["properties"]]
    assert [key for key in keys if key not in head] == []
    (tmp_path / "overlays").mkdir()
    write_overlay(tmp_path / "overlays" / "mine.yaml", api)
    assert (
        (tmp_path / "overlays" / "mine.yaml")
        .read_text(encoding="utf-8")
        .splitlines()[0]
        .endswith("=../overlay.schema.json")
    )


def test_nothing_that_a_person_wrote_is_lost(tmp_path: Path) -> None:
    api, path = load_api(FOLDER / "library.yaml"), tmp_path / "mine.yaml"
    mine = "# mine\nresources: {member: {seed: 9}}\n"
    path.write_text(mine, encoding="utf-8")
    with pytest.raises(InputError, match=r"is there already; --force writes over it"):
        write_overlay(path, api)
    assert path.read_text(encoding="utf-8") == mine
    assert write_overlay(path, api, force=True) == tmp_path / "mine.yaml.bak"
    assert (tmp_path / "mine.yaml.bak").read_text(encoding="utf-8") == mine
    assert write_overlay(path, api, force=True) == tmp_path / "mine.yaml.bak2"
    assert (tmp_path / "mine.yaml.bak").read_text(encoding="utf-8") == mine


@pytest.mark.parametrize("text", ["a letter", "key: value\n", "{", '{"openapi": "3.1.0"}', "[1, 2]"])
def test_what_is_no_overlay_is_never_written_over(tmp_path: Path, text: str) -> None:
    path = tmp_path / "letter.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="is there and is no overlay; name another file"):
        write_overlay(path, load_api(FOLDER / "library.yaml"), force=True)
    assert path.read_text(encoding="utf-8") == text


PLAIN = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)


@given(st.recursive(PLAIN | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_whatever_an_overlay_holds_is_read_back(value: Any) -> None:
    assert parse_yaml(f"x: {_flow(value)}\n", "x").value == {"x": value}


def of(resources: Mapping[str, Any] | None = None, operations: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"resources": resources or {}, "operations": operations or {}}


BAD: dict[str, tuple[Any, str]] = {
    "a list": ([], "expected a mapping with `resources` and `operations`"),
    "key": ({"operation": {}}, "expected a mapping with `resources` and `operations`"),
    "entries": ({"operations": 3}, "operations: expected a mapping, got 3"),
    "entry": (of(None, {"getBook": 3}), "operations.getBook: expected a mapping, got 3"),
    "entry key": (of(None, {"getBook": {"efect": "get"}}), "operations.getBook: no key 'efect'; did you mean 'eff"),
    "effect": (of(None, {"getBook": {"effect": "gte"}}), "operations.getBook.effect: 'gte'; did you mean 'get'?"),
    "mode": (of(None, {"getBook": {"mode": "merg"}}), "operations.getBook.mode: 'merg'; did you mean 'merge'?"),
    "filters": (of(None, {"listBooks": {"filters": 3}}), "operations.listBooks.filters: expected a mapping, got 3"),
    "filter": (of(None, {"listBooks": {"filters": {"a": 3}}}), "listBooks.filters.a: expected a text, got 3"),
    "page": (of(None, {"listBooks": {"page": {}}}), "operations.listBooks.page: `style` is missing"),
    "page style": (
        of(None, {"listBooks": {"page": {"style": "ofset"}}}),
        "operations.listBooks.page.style: 'ofset'; did you mean 'offset'?",
    ),
    "page keys": (
        of(None, {"listBooks": {"page": {"style": "offset"}}}),
        "operations.listBooks.page: `limit`, `offset` is missing",
    ),
    "transition": (
        of(None, {"renewLoan": {"transition": "renew"}}),
        "operations.renewLoan.transition: got 'renew', expected a property and a verb, as in 'status.renew'",
    ),
    "record": (of(None, {"getBook": {"record": "data"}}), "getBook.record: got 'data', expected a JSON pointer"),
    "sets": (of(None, {"renewLoan": {"sets": {"x": {"bdy": "y"}}}}), "operations.renewLoan.sets.x: no key 'bdy'; did"),
    "seed": (of({"book": {"seed": "many"}}), "resources.book.seed: expected a whole number, got 'many'"),
    "too many": (of({"book": {"seed": 10**9}}), "resources.book.seed: 1000000000 is greater than the maximum of 10000"),
    "label": (of({"book": {"label": "title"}}), "resources.book.label: expected a list, got 'title'"),
    "ids": (of({"book": {"ids": "book"}}), "resources.book.ids: got 'book', expected {n} somewhere in it"),
    "ids form": (of({"book": {"ids": "{n:zz}"}}), "resources.book.ids: '{n:zz}': "),
    "schema": (of({"book": {"schema": 3}}), "resources.book.schema: expected a text or a mapping, got 3"),
    "schema keys": (of({"book": {"schema": {"of": "getBook"}}}), "resources.book.schema: `at` is missing"),
    "machine": (of({"loan": {"transitions": {"status": []}}}), "resources.loan.transitions.status: expected a mapping"),
    "move": (of({"loan": {"transitions": {"status": {"x": {"to": "y"}}}}}), "loan.transitions.status.x: `from`"),
    "example values": (of({"book": {"examples": {"title": "Emma"}}}), "resources.book.examples.title: expected a list"),
}  # fmt: skip
UNKNOWN: dict[str, tuple[Any, str]] = {
    "operation": (of(None, {"getBok": {"effect": "get"}}), "names the operation 'getBok'; did you mean 'get"),
    "resource": (of(None, {"getBook": {"resource": "bok"}}), "resource 'bok'; did you mean 'book'?"),
    "no schema": (of({"shelf": {"id": "id"}}), "resources.shelf: `schema` is missing, and no resource of that name is"),
    "parent": (of({"loan": {"parent": {"membr": "x"}}}), "loan.parent: 'membr' is no resource; did you mean"),
    "references": (of({"loan": {"references": {"bookId": "bok"}}}), "loan.references: 'bok' is no resource; did"),
    "property": (of({"book": {"label": ["titel"]}}), "book.label: 'titel' is no property; did you mean"),
    "examples": (of({"book": {"examples": {"titel": [1]}}}), "book.examples: 'titel' is no property; did you"),
    "selector": (of(None, {"getBook": {"selector": "id"}}), "getBook.selector: 'id' is no argument; known: bookId"),
    "filter": (of(None, {"listBooks": {"filters": {"auhtor": "author"}}}), "listBooks.filters: 'auhtor' is no"),
    "page": (
        of(None, {"listBooks": {"page": {"style": "offset", "limit": "limit", "offset": "start"}}}),
        "operations.listBooks.page: 'start' is no argument; ",
    ),
    "transition": (
        of(
            {"loan": {"transitions": {"status": {"renew": {"from": ["on_loan"], "to": "on_loan"}}}}},
            {"renewLoan": {"transition": "status.renw"}},
        ),
        "operations.renewLoan.transition: 'status.renw' is no transition of loan; did you mean 'status.renew'?",
    ),
    "state": (
        of({"loan": {"transitions": {"status": {"renew": {"from": ["on_loan"], "to": "onloan"}}}}}),
        "resources.loan.transitions.status.renew: 'onloan' is no value of status; did you mean 'on_loan'?",
    ),
    "state before": (
        of({"loan": {"transitions": {"status": {"renew": {"from": ["lent"], "to": "on_loan"}}}}}),
        "resources.loan.transitions.status.renew: 'lent' is no value of status; known: ",
    ),
    "first state": (
        of({"loan": {"transitions": {"status": {"initial": "on_lone"}}}}),
        "resources.loan.transitions.status.initial: 'on_lone' is no value of status; did you mean 'on_loan'?",
    ),
    "body": (
        of(None, {"renewLoan": {"sets": {"dueOn": {"body": "due"}}}}),
        "operations.renewLoan.sets: 'due' is no argument; did you mean 'dueOn'?",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("overlay", "said"), [*BAD.values(), *UNKNOWN.values()], ids=[*BAD, *(f"no {k}" for k in UNKNOWN)]
)
def test_what_is_wrong_with_an_overlay_is_one_line_with_the_nearest(overlay: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(overlay), encoding="utf-8")
    with pytest.raises(InputError) as refused:
        load_api(inferred(tmp_path), path)
    assert "overlay" in str(refused.value)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("overlay", [value for key, (value, _) in BAD.items() if key != "ids form"])
def test_the_schema_refuses_what_our_reader_does(overlay: Any) -> None:
    assert not fits(overlay)
    with pytest.raises(InputError):
        check_overlay("x", overlay)


@pytest.mark.parametrize("overlay", [None, {}, {"resources": None}, of({"book": {"label": None}}, {"getBook": {}})])
def test_little_is_said_in_a_small_overlay(overlay: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(overlay), encoding="utf-8")
    assert fits(overlay)
    assert len(load_api(inferred(tmp_path), path).operations) == 16


def test_records_take_the_examples_of_an_overlay_in_turn(tmp_path: Path) -> None:
    titles = ["Emma", "Persuasion", "Sanditon", "Evelina", "Belinda", "Camilla", "Cecilia", "Waverley"]
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(of({"book": {"seed": 8, "examples": {"title": titles}}})), encoding="utf-8")
    api = load_api(inferred(tmp_path), path)
    assert sorted(record["title"] for record in seeded(api, 0).tables["book"].values()) == sorted(titles)
    assert detail(api, "createBook").call["title"] in titles


# --- hostile documents ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "_"), READ.values(), ids=READ)
def test_a_hostile_document_is_inspected(text: str, _: str, tmp_path: Path) -> None:
    (tmp_path / "hostile.json").write_text(text, encoding="utf-8")
    began = time.process_time()
    made = inspected(tmp_path / "hostile.json")
    assert len(made.operations) + len(made.aside) == 2
    assert time.process_time() - began < 60  # it ends; how fast is for the benchmarks


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED)
def test_or_refused_with_the_reason(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "hostile.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=reason):
        inspected(tmp_path / "hostile.json")
