"""A served API: what a client meets, from its first call to what it should not have sent."""

import re
import socket
import subprocess
import sys
from contextlib import AbstractAsyncContextManager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlab import server
from simlab.api import Api, load_api
from simlab.cli import main
from simlab.die import Die
from simlab.errors import InputError
from simlab.faults import KINDS
from simlab.schema import to_json
from simlab.session import Session, Sessions
from simlab.wire import Wire, encoded
from simlab.world import diff, random_call, seeded

ROOT = Path(__file__).parent.parent
SERVE = ROOT / "docs" / "serve.md"
KEY = {"authorization": "Bearer sesame"}
LOANS = "/members/member_0002/loans"
LOAN = {"bookId": "book_0006", "dueOn": "2026-04-21"}


@cache
def library() -> Api:
    return load_api(ROOT / "apis" / "library.yaml")


def client(api: Api | None = None, **options: Any) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    """A client of an API that is served in this process."""
    application = server.app(api or library(), token="sesame", **options)
    return httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://api.example")


def api_of(paths: dict[str, Any], **document: Any) -> Api:
    return Api(
        {"openapi": "3.1.0", "info": {"title": "Small", "version": "1"}, "paths": paths, **document},
        {},
        name="small",
        sha256="",
    )


ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "object", "required": ["message"], "properties": {"message": {"type": "string"}}}},
}
SMALL = {
    "/notes": {
        "post": {
            "operationId": "sendNote",
            "requestBody": {"content": {"application/json": {"schema": {"properties": {"text": {"type": "string"}}}}}},
            "responses": {
                "201": {
                    "description": "sent",
                    "headers": {"X-Number": {"required": True, "schema": {"type": "integer", "const": 7}}},
                    "content": {"text/plain": {"schema": {"type": "string", "const": "sent"}}},
                },
                "default": {"description": "wrong", "content": {"application/json": {"schema": ERROR}}},
            },
        }
    }
}


# ── calls ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
async def test_what_is_written_can_be_read() -> None:
    async with client() as http:
        made = await http.post(LOANS, json=LOAN)
        assert made.status_code == 201
        read = await http.get(f"{LOANS}/{made.json()['id']}")
        assert read.json() == made.json()
        listed = await http.get(LOANS)
        assert made.json() in listed.json()["items"]


@given(st.integers(0, 2**32).map(Die))
def test_a_request_is_answered_as_the_world_answers_the_call(die: Die) -> None:
    """Over HTTP or not, the same calls have the same answers and leave the same state."""
    session, world = Sessions(library())["default"], seeded(library(), 0)
    for _ in range(8):
        name, arguments = random_call(world, die)
        wire = encoded(library(), library().operations[name], arguments)
        reply, response = session.answer(wire), world.call(name, arguments)
        assert reply.status == response.status
        assert reply.content.decode() == ("" if response.body is None else to_json(response.body))
    assert diff(session.world.tables, world.tables) == {}


@pytest.mark.anyio
async def test_a_base_path_may_be_there_or_not() -> None:
    async with client() as http:
        assert (await http.get("/v1/books")).json() == (await http.get("/books")).json()


@pytest.mark.anyio
async def test_a_deletion_has_no_body_and_credentials_do_not_matter() -> None:
    async with client() as http:
        hold = Sessions(library())["default"].world.tables["hold"]["hold_0001"]
        gone = await http.delete(
            f"/members/{hold['memberId']}/holds/hold_0001", headers={"authorization": "Bearer anything"}
        )
        assert (gone.status_code, gone.content, "content-type" in gone.headers) == (204, b"", False)


@pytest.mark.anyio
async def test_head_and_options_are_those_of_the_path() -> None:
    async with client() as http:
        full, head = await http.get("/books"), await http.head("/books")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == full.headers["content-length"]
        asked = await http.options("/books")
        assert (asked.status_code, asked.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")


@pytest.mark.anyio
async def test_a_response_has_the_media_type_and_the_headers_that_the_document_declares() -> None:
    async with client(api_of(SMALL)) as http:
        sent = await http.post("/notes", json={"text": "x"})
        assert (sent.status_code, sent.text) == (201, "sent")
        assert (sent.headers["content-type"], sent.headers["x-number"]) == ("text/plain", "7")


# ── what is refused ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "path", "content", "status", "why"),
    [
        ("POST", "/notes", b'{"text": 1}', 422, "text: 1 is not of type 'string'"),
        ("POST", "/notes", b"{", 400, "The body is not JSON"),
        ("POST", "/notes", b'{"text": ' + b"[" * 200 + b"]" * 200 + b"}", 400, "nested more than 64 deep"),
        ("POST", "/notes", b"x" * 3000, 413, "larger than 2000 bytes"),
        ("PUT", "/notes", b"", 405, "PUT is not among the methods of /notes."),
    ],
)
async def test_a_refusal_is_in_the_words_of_the_document(
    method: str, path: str, content: bytes, status: int, why: str
) -> None:
    async with client(api_of(SMALL), max_body=2000) as http:
        answer = await http.request(method, path, content=content, headers={"content-type": "application/json"})
        assert answer.status_code == status
        assert list(answer.json()) == ["error"]
        assert why in answer.json()["error"]["message"]
        assert answer.headers.get("allow") == ("OPTIONS, POST" if status == 405 else None)


@pytest.mark.anyio
async def test_an_undeclared_media_type_is_refused() -> None:
    async with client(api_of(SMALL)) as http:
        answer = await http.post("/notes", content=b"x", headers={"content-type": "text/csv"})
        assert answer.status_code == 415
        assert "text/csv; expected application/json" in answer.text


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/nothing", "/%2e%2e/etc/passwd", "/books/a%0Ab/c", "/_simlab"])
async def test_a_path_that_leads_nowhere_is_not_found(path: str) -> None:
    async with client() as http:
        answer = await http.get(path)
        assert answer.status_code == 404
        assert set(answer.json()) == {"code", "message"}


@pytest.mark.anyio
async def test_an_operation_that_cannot_be_simulated_says_why() -> None:
    lost = {"get": {"responses": {"200": {"$ref": "#/components/responses/Nowhere"}}}}
    api = api_of({**SMALL, "/lost": lost})
    async with client(api) as http:
        answer = await http.get("/lost")
        assert answer.status_code == 501
        assert "Nowhere does not exist" in answer.json()["message"]
        assert "/lost" not in (await http.get("/openapi.json")).json()["paths"]
        assert "Nowhere does not exist" in (await http.get("/")).text


@given(st.binary(max_size=80), st.binary(max_size=40), st.sampled_from(["GET", "POST", "PATCH", "BREW"]))
def test_no_request_is_too_strange_for_an_answer(path: bytes, content: bytes, method: str) -> None:
    session = Sessions(library())["default"]
    for start in ("/", "/books/", "/members?", "/loans"):
        wire = Wire(method, start + path.decode("latin-1"), {"content-type": "application/json"}, content)
        assert session.answer(wire).status in {200, 201, 204, 404, 405, 409, 422}


# ── sessions ───────────────────────────────────────────────────────────────────────────────────────────────────


async def opened(http: httpx.AsyncClient, **said: Any) -> tuple[str, str]:
    """A new session's id and the address of its API."""
    answer = await http.post("/_simlab/sessions", json=said, headers=KEY)
    assert answer.status_code == 201
    return answer.json()["id"], answer.json()["base_url"]


@pytest.mark.anyio
async def test_sessions_share_nothing() -> None:
    async with client() as http:
        (one, at_one), (other, at_other) = await opened(http, seed=3), await opened(http, seed=3)
        assert (at_one, at_other) == (f"http://api.example/_simlab/s/{one}", f"http://api.example/_simlab/s/{other}")
        before = (await http.get(f"{at_other}/books")).json()
        made = (await http.post(f"{at_one}{LOANS}", json=LOAN)).json()
        assert (await http.get(f"{at_other}{LOANS}/{made['id']}")).status_code == 404
        assert (await http.get(f"{at_other}/books")).json() == before
        assert (await http.get(f"/_simlab/sessions/{other}/diff", headers=KEY)).json() == {}
        changed = (await http.get(f"/_simlab/sessions/{one}/diff", headers=KEY)).json()
        assert changed["loan"] == {made["id"]: {"added": made}}


@pytest.mark.anyio
async def test_a_session_can_be_looked_into_begun_anew_and_closed() -> None:
    async with client() as http:
        one, base = await opened(http, clock="2027-01-01T00:00:00Z")
        await http.post(f"{base}{LOANS}", json=LOAN)
        await http.post(f"{base}{LOANS}", content=b"{")
        at = f"/_simlab/sessions/{one}"
        calls = (await http.get(f"{at}/calls", headers=KEY)).json()
        assert [(call["operation"], call["arguments"], call["status"]) for call in calls] == [
            ("createLoan", {"memberId": "member_0002", **LOAN}, 201),
            ("createLoan", None, 422),
        ]
        state = (await http.get(f"{at}/state", headers=KEY)).json()
        assert state["clock"] == "2027-01-01T00:01:00+00:00"
        assert len(state["records"]["loan"]) == 1 + len(seeded(library(), 0).tables["loan"])
        assert (await http.post(f"{at}/reset", headers=KEY)).status_code == 204
        assert (await http.get(f"{at}/calls", headers=KEY)).json() == []
        assert (await http.get(f"{at}/diff", headers=KEY)).json() == {}
        assert (await http.delete(at, headers=KEY)).status_code == 204
        assert (await http.get(f"{base}/books")).status_code == 404


@pytest.mark.anyio
async def test_a_session_has_faults_of_its_own() -> None:
    faults = [{"operation": "listBooks", "kind": "rate_limit", "seconds": 7}]
    async with client() as http:
        one, base = await opened(http, faults=faults)
        limited = await http.get(f"{base}/books")
        assert (limited.status_code, limited.headers["retry-after"]) == (429, "7")
        assert "retry after 7 seconds" in limited.text
        assert (await http.get(f"{base}/books")).status_code == 200
        calls = (await http.get(f"/_simlab/sessions/{one}/calls", headers=KEY)).json()
        assert [call["fault"] and call["fault"]["kind"] for call in calls] == ["rate_limit", None]
        assert (await http.get("/books")).status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"[]", "expected an object"),
        (b"{", "the body is not JSON"),
        (b'{"sed": 1}', "no key 'sed'; did you mean 'seed'?"),
        (b'{"seed": "x"}', "`seed`: expected a whole number, got 'x'"),
        (b'{"clock": "noon"}', "`clock`: expected a moment such as"),
        (b'{"clock": "2026-03-02T09:00:00"}', "`clock`: expected a moment such as"),
        (b'{"faults": [{"operation": "listBook", "kind": "slow"}]}', "did you mean 'listBooks'?"),
    ],
)
async def test_a_session_that_cannot_be_is_named(said: bytes, why: str) -> None:
    async with client() as http:
        answer = await http.post("/_simlab/sessions", content=said, headers=KEY)
        assert answer.status_code == 400
        assert why in answer.json()["message"]


@pytest.mark.anyio
async def test_sessions_are_limited_and_the_default_one_stays() -> None:
    async with client(max_sessions=2) as http:
        (first, _), _ = await opened(http), await opened(http)
        full = await http.post("/_simlab/sessions", headers=KEY)
        assert (full.status_code, "close one (DELETE)" in full.text) == (429, True)
        assert (await http.delete("/_simlab/sessions/default", headers=KEY)).status_code == 409
        await http.delete(f"/_simlab/sessions/{first}", headers=KEY)
        assert (await opened(http))[0] == "s0003", "an id is never given twice"
        listed = (await http.get("/_simlab/sessions", headers=KEY)).json()
        assert [one["id"] for one in listed] == ["default", "s0002", "s0003"]


@pytest.mark.anyio
@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer sesam"}, {"authorization": "sesame"}])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""), ("POST", ""), ("DELETE", "/default"), ("POST", "/default/reset"), ("GET", "/default/state"),
        ("GET", "/default/diff"), ("GET", "/default/calls"), ("GET", "/default/nothing"),
    ],
)  # fmt: skip
async def test_nobody_looks_into_a_session_without_the_token(headers: dict[str, str], method: str, path: str) -> None:
    async with client() as http:
        answer = await http.request(method, f"/_simlab/sessions{path}", headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_a_log_is_bounded_and_holds_no_large_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simlab.session.CALLS_KEPT", 3)
    session: Session = Sessions(api_of(SMALL))["default"]
    for size in (10, 300_000, 20, 30):
        body = to_json({"text": "x" * size}).encode()
        session.answer(Wire("POST", "/notes", {"content-type": "application/json"}, body))
    assert [(call["call"], call["arguments"] is None) for call in session.calls] == [(2, True), (3, False), (4, False)]


# ── the document and the page ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
async def test_the_document_is_served_as_it_was_understood() -> None:
    async with client() as http:
        _, base = await opened(http)
        for at, where in (("", "/"), (base, httpx.URL(base).path)):
            document = (await http.get(f"{at}/openapi.json")).json()
            assert document["servers"] == [{"url": where}]
            again = Api(document, {}, name="again", sha256="")
            assert set(again.operations) == set(library().operations)
            assert "urn:simlab" not in to_json(document)


@pytest.mark.anyio
async def test_the_page_needs_nothing_from_elsewhere_and_escapes_what_it_shows() -> None:
    path = {"/<script>": {"get": {"summary": "<img src=x>", "responses": {"204": {"description": ""}}}}}
    async with client(api_of(path, info={"title": "<b>Bold</b>", "version": "1"})) as http:
        page = await http.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert not re.findall(r"(?:src|href)=\"?https?:|<img|<b>Bold|/<script>", page.text)


@pytest.mark.anyio
async def test_every_example_of_the_page_works() -> None:
    page = Sessions(library())["default"].answer(Wire("GET", "/")).content.decode()
    forms = re.findall(
        r'<form data-method="(\w+)" .*?data-headers="(.*?)"><input value="(.*?)">(?:<textarea>(.*?)</textarea>)?', page
    )
    assert len(forms) == len(library().operations)
    for method, headers, path, content in forms:
        media = {"content-type": "application/json"} if "json" in headers else {}
        body = content.replace("&quot;", '"').replace("&#x27;", "'").replace("&amp;", "&").encode()
        reply = Sessions(library())["default"].answer(Wire(method, path.replace("&amp;", "&"), media, body))
        assert reply.status in {200, 201, 204, 409}, (method, path, reply)


# ── what docs/serve.md says ────────────────────────────────────────────────────────────────────────────────────


def test_the_page_on_serving_says_what_kinds_of_fault_there_are() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \| ([\d ]*)\|", SERVE.read_text(encoding="utf-8"), re.MULTILINE)
    said = {
        name: (tuple(when.split(", ")), float(seconds) if seconds.strip() else None) for name, when, seconds in rows
    }
    assert said == {name: (kind.when, kind.seconds) for name, kind in KINDS.items()}


@pytest.mark.anyio
async def test_its_script_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (script,) = re.findall(r"^```python\n(.*?)^```", SERVE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    scope: dict[str, Any] = {}
    exec(script, scope)
    assert len(await scope["books"]()) == len(seeded(library(), 0).tables["book"])


# ── the command ────────────────────────────────────────────────────────────────────────────────────────────────


def said_by(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as done:
        main(["serve", *words])
    return int(str(done.value.code)), capsys.readouterr().err


def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert said_by("apis/nothing.yaml", capsys=capsys) == (2, "simlab: error: no file matches 'apis/nothing.yaml'\n")
    code, error = said_by("apis/library.yaml", "--max-bytes", "100", capsys=capsys)
    assert code == 2
    assert "too many bytes; --max-bytes" in error
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, error = said_by("apis/library.yaml", "--port", str(taken.getsockname()[1]), capsys=capsys)
    assert code == 2
    assert re.fullmatch(r"simlab: error: cannot listen at 127\.0\.0\.1 port \d+: Address already in use\n", error)


def test_without_the_extra_the_error_names_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "simlab.server", None)
    code, error = said_by("apis/library.yaml", capsys=capsys)
    assert code == 2
    assert "serve needs the extra `server`" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("host", "near"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("pc", False)],
)
def test_only_loopback_is_this_machine_alone(host: str, near: bool) -> None:
    assert server.is_loopback(host) == near


def test_a_host_that_is_not_ours_cannot_be_listened_at() -> None:
    with pytest.raises(InputError, match=r"cannot listen at 192\.0\.2\.1 port 0"):
        server.listening("192.0.2.1", 0)


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_the_command_serves_until_it_is_interrupted(host: str, warned: bool) -> None:
    words = ["-m", "simlab", "serve", "apis/library.yaml", "--port", "0", "--host", host]
    process = subprocess.Popen(
        [sys.executable, "-u", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        where, token = process.stdout.readline(), process.stdout.readline()
        port = int(where.rsplit(":", 1)[1])
        assert len(token.split()[1]) >= 20
        assert httpx.get(f"http://127.0.0.1:{port}/books", trust_env=False).status_code == 200
        headers = {"authorization": f"Bearer {token.split()[1]}"}
        sessions = httpx.get(f"http://127.0.0.1:{port}/_simlab/sessions", headers=headers, trust_env=False)
        assert sessions.json() == [{"id": "default", "calls": 1}]
    finally:
        process.send_signal(2)
        _, error = process.communicate(timeout=20)
    assert process.returncode == 0
    assert ("warning: 0.0.0.0 can be reached from other machines" in error) == warned
    assert "Traceback" not in error
