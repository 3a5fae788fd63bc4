"""Advice about documents: found in another process, within a deadline, once."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from specs import each_real_document

from simlab import validation
from simlab.documents import read_document
from simlab.validation import MAX_LINE, MAX_LINES, Problems, specification_problems


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(validation.platformdirs, "user_cache_path", lambda name: tmp_path / name)
    return tmp_path / "simlab" / "validation"


@pytest.fixture
def here(monkeypatch):
    """The validator in this process, which is quicker: what it finds in a document."""

    def lines(document):
        text = document if isinstance(document, str) else json.dumps(document)
        return list(validation._first(validation._problems(text)))

    return lines


def document(version="3.0.3", **parts):
    named = {"swagger" if version == "2.0" else "openapi": version}
    return {**named, "info": {"title": "T", "version": "1"}, "paths": {}, **parts}


# --- what is found ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2.0", "3.0.0", "3.0.3", "3.1.0"])
def test_each_version_has_its_validator(here, version):
    assert here(document(version)) == []
    (line,) = here({**document(version), "info": {"title": "T"}})
    assert line == "info: 'version' is a required property"


def test_what_has_no_validator_is_said(here):
    assert here(document("4.0.0")) == ["(top): expected `swagger: 2.0` or `openapi:` 3.0 or 3.1, got 4.0.0"]
    assert here("- a") == ["(top): the document: not an OpenAPI document: expected a mapping, found a list"]


def test_a_validator_that_fails_is_a_line(here, monkeypatch):
    def fail(_document):
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(validation, "_found", fail)
    assert here(document()) == ["(top): the validator failed on it: RecursionError: maximum recursion depth exceeded"]


def test_many_lines_and_long_ones_are_cut(here):
    lines = here(document(**{f"k{i}": {"x": "y" * 1000} for i in range(5)}, tags=[1] * 300))
    assert len(lines) == MAX_LINES + 1
    assert lines[-1].startswith("(top): and ")
    assert max(map(len, lines)) <= MAX_LINE


def test_references_out_of_the_document_are_lines_and_are_not_followed(here, tmp_path):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)

    (tmp_path / "a.json").write_text("{}")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/a.json"
        targets = [address, f"file://{tmp_path}/a.json", "a.json#/x"]
        schemas = {f"T{i}": {"$ref": target, "default": 1} for i, target in enumerate(targets)}
        own = {"Own": {"$id": address, "type": "object", "properties": {"a": {"$ref": "#/x"}}, "default": {"a": 1}}}
        answer = {"description": "", "content": {"a/b": {"schema": {"$ref": targets[0]}}}}
        get = {"parameters": [{"$ref": targets[2]}], "responses": {"200": answer, "404": {"$ref": targets[1]}}}
        lines = here(document("3.1.0", components={"schemas": {**schemas, **own}}, paths={"/a": {"get": get}}))
        server.shutdown()
        thread.join()
    assert asked == []
    assert set(lines) >= {f"{target}: a reference out of the document" for target in targets}


# --- the other process ------------------------------------------------------------------------------------------


def test_a_document_is_validated_once(cache, monkeypatch):
    text = json.dumps(document(paths={"/a": {"get": {}}}))
    found = specification_problems(text)
    assert found.complete
    assert any("'responses' is a required property" in line for line in found.lines)
    monkeypatch.setattr(validation, "_validated", None)
    assert specification_problems(text) == found
    assert len(list(cache.iterdir())) == 1


def test_the_deadline_ends_it_and_more_time_begins_it_again(monkeypatch):
    text = json.dumps(document())
    late = specification_problems(text, seconds=0.01)
    assert late.lines == ()
    assert not late.complete
    calls = []
    monkeypatch.setattr(validation, "_validated", lambda *given: calls.append(given) or Problems((), True, 1.0))
    assert specification_problems(text, seconds=0.01) == late
    assert specification_problems(text, seconds=60).complete
    assert calls == [(text, 60)]


def test_a_process_that_dies_is_a_line(monkeypatch):
    monkeypatch.setattr(validation.sys, "executable", "/bin/false")
    assert specification_problems("{}").lines == ("(top): the validator ended on it with the status 1",)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"lines": 5}', b"\xff", b"[" * 100_000])
def test_a_broken_cache_is_ignored_and_mended(cache, monkeypatch, content):
    found = Problems(("a: b",), True, 1.0)
    monkeypatch.setattr(validation, "_validated", lambda *_: found)
    specification_problems("{}")
    (file,) = cache.iterdir()
    file.write_bytes(content)
    assert specification_problems("{}") == found
    monkeypatch.setattr(validation, "_validated", None)
    assert specification_problems("{}") == found


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(cache, monkeypatch):
    monkeypatch.setattr(validation, "_validated", lambda *_: Problems((), True, 1.0))
    cache.parent.write_text("no folder")
    assert specification_problems("{}").complete


# --- real ones --------------------------------------------------------------------------------------------------


WRONG = {"digitalocean-multifile-root": MAX_LINES + 1, "lob": 53, "nyt-books": 1, "slack-v2": 19}


@pytest.mark.slow
@each_real_document
def test_real_documents_are_validated_in_time(path):
    found = specification_problems(read_document(path).text, seconds=60)
    assert found.complete
    assert len(found.lines) == WRONG.get(path.stem, 0)
