"""Documents: read in one piece, whatever number of files they stand in, and never from where they should not be."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from specs import each_real_document

from simlab import documents
from simlab.documents import parse_document, read_document
from simlab.errors import InputError
from simlab.files import resource
from simlab.references import references
from simlab.schema import pointed


def folder(path, files):
    """Write files, as JSON unless they are text; the first one is the document."""
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path / next(iter(files))


def document(**parts):
    return {"openapi": "3.0.3", "info": {"title": "T", "version": "1"}, "paths": {}, **parts}


def schemas(**named):
    return document(components={"schemas": named})


def ref(target):
    return {"$ref": target}


def read(path, **options):
    """The data of a document, and its warnings."""
    found = read_document(path, **options)
    return parse_document(found.text, found.name), list(found.warnings)


def thing(path, **options):
    """What the schema `Thing` leads to in the end, and the warnings."""
    data, warnings = read(path, **options)
    node = data["components"]["schemas"]["Thing"]
    while "$ref" in node and node["$ref"].startswith("#"):
        node = pointed(data, node["$ref"][1:])
    return node, warnings


# --- one file ---------------------------------------------------------------------------------------------------


def test_a_document_in_one_file_is_its_own_text(tmp_path):
    text = "openapi: 3.0.3\r\npaths: {}  # `$ref: '#/a'` stays here\r\ncomponents:\r\n  schemas: {A: {$ref: '#/b'}}\r\n"
    (tmp_path / "pets.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_document(tmp_path / "pets.yaml") == ("pets", text, ())


@pytest.mark.parametrize("name", ["courier", "library", "switchboard", "workshop"])
def test_our_own_documents_keep_their_bytes(name):
    path = resource("apis", f"{name}.yaml")
    assert read_document(path) == (name, path.read_text(encoding="utf-8"), ())


@each_real_document
def test_real_documents_are_their_own_texts(path):
    found = read_document(path)
    assert found.text == path.read_bytes().decode("utf-8-sig")
    assert {"openapi", "swagger"} & parse_document(found.text, found.name).keys()
    assert all(line.endswith(": no such file") for line in found.warnings)
    assert bool(found.warnings) is path.name.startswith("digitalocean")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- a\n", "expected a mapping, found a list"),
        ("", "expected a mapping, found nothing"),
        ("just words", "expected a mapping, found a single value"),
        ("openapl: 3.0.3\n", "expected the key `openapi` or `swagger`, and the nearest is 'openapl'"),
        ("swager: '2.0'\n", "expected the key `openapi` or `swagger`, and the nearest is 'swager'"),
        ("name: x\nsteps: []\n", "expected the key `openapi` or `swagger`, found name, steps"),
        ("{}", "expected the key `openapi` or `swagger`, found no keys"),
    ],
)
def test_what_is_no_openapi_document_is_said(text, reason):
    with pytest.raises(InputError) as error:
        parse_document(text, "x.yaml")
    assert str(error.value) == f"x.yaml: not an OpenAPI document: {reason}"


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none.yaml: cannot read the API document: No such file"):
        read_document(tmp_path / "none.yaml")
    with pytest.raises(InputError, match=r"it is no ordinary file"):
        read_document(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("openapi: é".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin.yaml: the API document is not UTF-8 text \(byte 9\)"):
        read_document(tmp_path / "latin.yaml")


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(documents.MAX_BYTES + 1)  # a hole: it takes no room
    with pytest.raises(InputError, match=r"large.yaml: .* too many bytes; --max-bytes"):
        read_document(path)
    path.write_text("openapi: 3.0.3\n")
    assert read_document(path, max_bytes=15).text == "openapi: 3.0.3\n"
    with pytest.raises(InputError, match="too many bytes"):
        read_document(path, max_bytes=14)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_does_not_hold_the_reader_up(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    path = folder(tmp_path, {"root.json": schemas(Thing=ref("pipe.yaml"))})
    with pytest.raises(InputError, match="no ordinary file"):
        read_document(tmp_path / "pipe.yaml")
    assert "no ordinary file" in thing(path)[1][0]


# --- several files ----------------------------------------------------------------------------------------------


def test_what_stands_in_other_files_stands_in_the_document(tmp_path):
    path = folder(
        tmp_path,
        {
            "root.json": document(paths={"/pets": ref("paths/pets.yml")}),
            "paths/pets.yml": "get:\n  responses:\n"
            "    {default: {$ref: '../shared/answers.yml#/Error'}, 200: {$ref: '#/own'}}\n"
            "own: {description: '', schema: {$ref: '../root.json#/info'}}\n",
            "shared/answers.yml": "Error: {description: Wrong.}\n",
        },
    )
    data, warnings = read(path)
    assert warnings == []
    assert data["paths"]["/pets"] == ref("#/x-simlab-files/paths~1pets.yml")
    pets = data["x-simlab-files"]["paths/pets.yml"]
    assert pets["get"]["responses"] == {
        "default": ref("#/x-simlab-files/shared~1answers.yml/Error"),
        "200": ref("#/x-simlab-files/paths~1pets.yml/own"),
    }
    assert pets["own"]["schema"] == ref("#/info")
    assert read_document(path) == read_document(path)


def test_files_may_refer_to_each_other_in_a_circle(tmp_path):
    files = {"root.json": schemas(Thing=ref("a.json")), "a.json": {"x": ref("b.json")}, "b.json": {"y": ref("a.json")}}
    data, warnings = read(folder(tmp_path, files))
    assert warnings == []
    a, b = ref("#/x-simlab-files/a.json"), ref("#/x-simlab-files/b.json")
    assert data["x-simlab-files"] == {"a.json": {"x": b}, "b.json": {"y": a}}


def test_what_cannot_be_had_stays_a_reference_and_is_named(tmp_path):
    targets = ["resources/apps.yml", "a.json#/none", "a.json#anchor", "broken.yml", "a.json#/list/x", "deep.yml"]
    lost = {f"T{i}": ref(target) for i, target in enumerate(targets)}
    path = folder(
        tmp_path,
        {
            "root.json": schemas(**lost, Thing=ref("a.json#/list/0")),
            "a.json": {"list": [{"type": "string"}]},
            "broken.yml": "a: b: c",
            "deep.yml": "- " * 300,
        },
    )
    data, warnings = read(path)
    assert data["components"]["schemas"].items() >= lost.items()
    assert thing(path)[0] == {"type": "string"}
    assert warnings == [
        "resources/apps.yml: no such file",
        "a.json: has nothing at #/none",
        "a.json: has nothing at #anchor",
        "broken.yml:1: not YAML: mapping values are not allowed in this context",
        "a.json: has nothing at #/list/x",
        "deep.yml:1: nested more than 200 deep",
    ]


def test_a_document_of_which_nothing_can_be_had_keeps_its_text(tmp_path):
    path = folder(tmp_path, {"root.yaml": "openapi: 3.0.3\npaths: {/a: {$ref: a.yml}}\n"})
    assert read_document(path) == ("root", path.read_text(), ("a.yml: no such file",))


def test_only_what_is_a_reference_is_one(tmp_path):
    data = {"$ref": "a.json"}
    quoted = {"default": data, "example": data, "examples": [data], "enum": [data], "const": data}
    named = {"properties": {"$ref": {"enum": [1]}, "example": data}}
    root = schemas(Thing=ref("a.json"), Quoting=quoted, default=data, Named=named)
    path = folder(tmp_path, {"root.json": root, "a.json": {"type": "string"}})
    found = read(path)[0]["components"]["schemas"]
    followed = ref("#/x-simlab-files/a.json")
    assert found["Quoting"] == quoted
    assert found["default"] == followed
    assert found["Named"] == {"properties": {"$ref": {"enum": [1]}, "example": followed}}


def test_examples_by_name_and_the_mapping_of_a_discriminator_are_followed(tmp_path):
    path = folder(
        tmp_path,
        {
            "root.json": schemas(
                Thing=ref("a.json"),
                Choice={"discriminator": {"propertyName": "kind", "mapping": {"a": "a.json", "b": "Thing"}}},
            )
            | {"x-media": {"examples": {"one": ref("a.json"), "two": {"value": ref("a.json")}}}},
            "a.json": {},
        },
    )
    data, _ = read(path)
    followed = "#/x-simlab-files/a.json"
    assert data["components"]["schemas"]["Choice"]["discriminator"]["mapping"] == {"a": followed, "b": "Thing"}
    assert data["x-media"]["examples"] == {"one": ref(followed), "two": {"value": ref("a.json")}}


def test_names_with_signs_are_followed_and_can_be_pointed_at(tmp_path):
    files = {"root.json": schemas(Thing=ref("a%20b/50%25~.json#/x~1y")), "a b/50%~.json": {"x/y": {"type": "null"}}}
    data, warnings = read(folder(tmp_path, files))
    assert warnings == []
    assert data["components"]["schemas"]["Thing"] == ref("#/x-simlab-files/a b~150%25~0.json/x~1y")


def test_all_files_together_have_a_limit(tmp_path):
    path = folder(tmp_path, {"root.json": schemas(Thing=ref("a.json")), "a.json": {"x": "y" * 1000}})
    with pytest.raises(InputError, match=r"a.json: a document and its files have too many bytes"):
        read_document(path, max_bytes=1000)


def test_the_number_of_files_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "MAX_FILES", 3)
    path = folder(tmp_path, {"root.json": schemas(**{f"T{i}": ref(f"{i}.json") for i in range(4)})})
    with pytest.raises(InputError, match=r"root.json: refers to more than 3 files"):
        read_document(path)


links = st.tuples(st.integers(0, 3), st.integers(0, 3))
bundles = st.lists(st.lists(links, min_size=4, max_size=4), min_size=4, max_size=4)


@settings(max_examples=25, deadline=None)
@given(bundles)
def test_what_a_bundle_leads_to_is_what_its_files_lead_to(written):
    """Four files of four parts each; every part refers to one of another file and place, so there are circles too."""
    names = ["root.json", "a.json", "b/a.json", "b/c/a.json"]

    def address(at, to):
        return "" if at == to else os.path.relpath(names[to], Path(names[at]).parent)

    def content(at):
        parts = enumerate(written[at])
        return {f"p{part}": {"here": [at, part], **ref(f"{address(at, to)}#/x/p{goal}")} for part, (to, goal) in parts}

    with TemporaryDirectory() as temporary:
        files = {name: {"openapi": "3.0.3", "x": content(at)} for at, name in enumerate(names)}
        data, warnings = read(folder(Path(temporary), files))
    assert warnings == []
    for start in range(4):
        node, (at, part) = data["x"][f"p{start}"], (0, start)
        for _ in range(20):
            assert node["here"] == [at, part]
            node, (at, part) = pointed(data, node["$ref"][1:]), written[at][part]


# --- nothing from elsewhere -------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path):
    """A folder for the document, beside a file that is not to be read."""
    (tmp_path / "secret.json").write_text('{"secret": true}')
    (tmp_path / "inside").mkdir()
    return tmp_path / "inside"


OUTSIDE = [
    "../secret.json",
    "..%2fsecret.json",
    "%2e%2e/secret.json",
    "a/../../secret.json",
    "./a/%2E%2E/%2e./secret.json",
    "..\\secret.json",
    "file:../secret.json",
    "file:///{folder}/secret.json",
    "{folder}/secret.json",
    "%2F{folder}/secret.json",
    "//localhost/{folder}/secret.json",
    "C:secret.json",
    "a.json\0../secret.json",
]


@pytest.mark.parametrize("target", OUTSIDE)
def test_nothing_is_read_outside_the_folder(outside, target):
    target = target.format(folder=outside.parent)
    path = folder(outside, {"root.json": schemas(Thing=ref(target))})
    assert thing(path) == (ref(target), [f"{target}: only files in the folder of the document are read"])


def test_names_that_only_look_like_a_way_out_are_names(outside):
    path = folder(outside, {"root.json": schemas(Thing=ref("%252e%252e/secret.json"), B=ref("file%3A/secret.json"))})
    assert thing(path)[1] == ["%2e%2e/secret.json: no such file", "file:/secret.json: no such file"]


def test_a_link_is_followed_only_within_the_folder(outside):
    path = folder(outside, {"root.json": schemas(Thing=ref("link.json"), B=ref("up/secret.json")), "a.json": {"a": 1}})
    (outside / "link.json").symlink_to("a.json")
    (outside / "up").symlink_to("..")
    assert thing(path) == ({"a": 1}, ["up/secret.json: a link that leads out of the folder of the document"])
    (outside / "link.json").unlink()
    (outside / "link.json").symlink_to(outside.parent / "secret.json")
    assert thing(path)[0] == ref("link.json")


class _Server(ThreadingHTTPServer):
    def __init__(self, pages):
        self.pages, self.asked = pages, []
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        status, body = self.server.pages.get(self.path, (404, b""))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 302:
            self.send_header("Location", body.decode())
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    served = _Server({})
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


def test_no_request_is_sent_unless_it_is_allowed(tmp_path, server):
    server.pages["/a.json"] = (200, b'{"type": "string"}')
    path = folder(
        tmp_path, {"root.json": schemas(Thing=ref(f"{server.url}/a.json#/type"), B=ref(f"{server.url}/a.json"))}
    )
    assert thing(path) == (
        ref(f"{server.url}/a.json#/type"),
        [f"{server.url}/a.json: not fetched; references are not followed over the network unless that is allowed"],
    )
    assert server.asked == []
    assert read(path, network=True)[0]["x-simlab-files"] == {f"{server.url}/a.json": {"type": "string"}}
    assert server.asked == ["/a.json"]


def test_what_is_fetched_may_refer_to_the_network_and_not_to_files(tmp_path, server):
    page = {"a": ref("b.json"), "b": ref("file:///etc/passwd"), "c": ref("../../root.json")}
    server.pages["/x/a.json"] = (200, json.dumps(page).encode())
    server.pages["/x/b.json"] = (302, b"/y.json")
    server.pages["/y.json"] = (200, b'{"type": "null"}')
    path = folder(tmp_path, {"root.json": schemas(Thing=ref(f"{server.url}/x/a.json"))})
    data, warnings = read(path, network=True)
    assert data["x-simlab-files"][f"{server.url}/x/b.json"] == {"type": "null"}
    assert warnings == [
        "file:///etc/passwd: only files in the folder of the document are read",
        f"{server.url}/root.json: status 404",
    ]


def test_what_is_fetched_counts_and_what_cannot_be_is_named(tmp_path, server, monkeypatch):
    server.pages["/large.json"] = (200, b'{"a": "' + b"x" * 5000 + b'"}')
    path = folder(tmp_path, {"root.json": schemas(Thing=ref(f"{server.url}/large.json"))})
    with pytest.raises(InputError, match=r"large.json: a document and its files have too many bytes"):
        read_document(path, network=True, max_bytes=5000)
    monkeypatch.setattr(documents, "FETCH_SECONDS", 1e-6)
    late = thing(path, network=True)[1][0]
    assert "cannot be fetched: timed out" in late or "took more than" in late
    path = folder(tmp_path, {"root.json": schemas(Thing=ref("http://127.0.0.1:1/a"), B=ref("http://[/a"))})
    _, (refused, broken) = thing(path, network=True)
    assert refused.startswith("http://127.0.0.1:1/a: cannot be fetched: ")
    assert broken == "http://[/a: not an address"


# --- where references stand -------------------------------------------------------------------------------------


def test_references_are_found_in_the_order_of_the_document():
    shared = ref("#/s")
    node = {"a": ref("#/1"), "b": [ref("#/2"), {"c": ref("#/3")}], "d": shared, "e": shared}
    found = [holder[key] for holder, key in references(node)]
    assert found == ["#/1", "#/2", "#/3", "#/s"]


def test_a_part_that_stands_in_many_places_is_visited_once():
    node: dict = ref("#/x")
    for _ in range(150):
        node = {"a": node, "b": node}
    assert list(references(node)) == [(ref("#/x"), "$ref")]
