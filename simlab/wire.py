"""A call as HTTP, and back: what a client sends for an operation and its arguments, and what a server makes of it.

The two are inverses wherever the wire can carry a value at all. `encoded` raises InputError where it cannot (an empty
text in a path, a comma within an item of a header), and `decoded` raises Unreadable for a request that no arguments
can be made of; whatever else is wrong with a request stays in the arguments, for validation to name.

OpenAPI 3.0.3 and 3.1.0, parameter object, media type object, encoding object.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from email.parser import HeaderParser
from typing import Any
from urllib.parse import unquote, unquote_plus

from simlab.api import Api, Operation, Parameter
from simlab.errors import InputError, SimlabError
from simlab.operation import is_json
from simlab.route import real_path
from simlab.schema import NotJson, digest, read_json, to_json
from simlab.styles import (
    Said,
    decoded_query,
    form_pairs,
    grown,
    header_text,
    is_file,
    pairs_of,
    path_text,
    plain_quoted,
    read,
    read_header,
    read_pairs,
    read_path,
    text_of,
)

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
MOST_PARTS = 1000  # of a form; more are no form that anybody fills in
DEEPEST = 64  # levels of lists and objects in an argument; what is deeper could be taken in and never be answered


class Unreadable(SimlabError):
    """A request that no arguments can be made of; `status` is 400, 415 (media type) or 422 (not the body's type)."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True)
class Wire:
    """A request: `path_and_query` as it stands in the request line, header names in lower case."""

    method: str
    path_and_query: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""

    @property
    def path(self) -> str:
        """The path, percent-encoded."""
        return self.path_and_query.partition("?")[0]

    @property
    def query(self) -> str:
        """The query, percent-encoded, without its question mark."""
        return self.path_and_query.partition("?")[2]


# ── a client's side ────────────────────────────────────────────────────────────────────────────────────────────


def encoded(api: Api, operation: Operation, arguments: Mapping[str, Any]) -> Wire:
    """The request that makes a call.

    Arguments that nobody knows are sent in the body, where there is one. Raises InputError for a path parameter that
    is missing and for values that have no form on the wire.
    """
    path = real_path(operation.path)
    query: list[tuple[str, str]] = []
    cookies: list[tuple[str, str]] = []
    headers: dict[str, str] = {}
    for parameter in operation.parameters:
        if parameter.name not in arguments:
            if parameter.where == "path":
                raise InputError(f"{operation.id}: {parameter.name} is part of the path, and missing")
            continue
        value = arguments[parameter.name]
        if parameter.where == "path":
            path = path.replace("{" + parameter.wire + "}", path_text(parameter, value))
        elif parameter.where == "header":
            headers[parameter.wire.lower()] = header_text(parameter, value)
        else:
            (cookies if parameter.where == "cookie" else query).extend(
                pairs_of(parameter, value, _others(operation, parameter))
            )
    if cookies:
        headers["cookie"] = "; ".join(f"{name}={text}" for name, text in cookies)
    content = b""
    if (body := api.body_of(operation, arguments)) is not None or operation.whole in arguments:
        media, content = _content(api, operation, body)
        headers["content-type"] = media
    asked = "&".join(f"{name}={text}" for name, text in query)
    return Wire(operation.method, f"{path}?{asked}" if asked else path, headers, content)


def _content(api: Api, operation: Operation, body: Any) -> tuple[str, bytes]:
    """A body as its media type writes it, and that type."""
    media = definite(operation.media or "application/json")
    kind = plain_media(media)
    if kind == FORM:
        pairs = form_pairs(_styled(api, operation, body) if isinstance(body, Mapping) else {"": body})
        return media, "&".join(f"{plain_quoted(name)}={plain_quoted(text)}" for name, text in pairs).encode()
    if kind == MULTIPART and isinstance(body, Mapping):
        return _multipart(api, operation, body)
    if is_json(media):
        return media, to_json(body).encode()
    return media, text_of(body).encode()


def definite(media: str) -> str:
    """The media type to send where a document declares one, which may be a range."""
    if "*" not in media:
        return media
    kind = media.partition("/")[0]
    return {"*": "application/json", "text": "text/plain", "image": "image/png"}.get(kind, f"{kind}/octet-stream")


def _styled(api: Api, operation: Operation, body: Mapping[str, Any]) -> dict[str, Any]:
    """A form's body with those properties as text that the document wants in one piece (encoding object)."""
    made = dict(body)
    for name, said in _encodings(api, operation).items():
        value = made.get(name)
        if is_json(said.get("contentType", "")) and isinstance(value, Mapping | list):
            made[name] = to_json(value)
        elif isinstance(value, list) and said.get("explode") is False:
            (_, text), *_ = pairs_of(_as_parameter(name, said), value)
            made[name] = unquote(text)
    return made


def _multipart(api: Api, operation: Operation, body: Mapping[str, Any]) -> tuple[str, bytes]:
    """A body as parts: a list is its items one by one, an object is JSON, a file is a part with a file's name."""
    parts: list[bytes] = []
    known = api.properties(operation.body)
    for name, value in body.items():
        file = is_file(api, known.get(name, {}))
        for one in value if isinstance(value, list) and value else [value]:
            kind = "application/json" if isinstance(one, Mapping | list) else "application/octet-stream" if file else ""
            said = f'Content-Disposition: form-data; name="{_attribute(name)}"' + ('; filename="file"' if file else "")
            head = said + (f"\r\nContent-Type: {kind}" if kind else "")
            parts.append(f"{head}\r\n\r\n{text_of(one)}".encode())
    mark = f"simlab-{digest(to_json(body))}"
    whole = b"".join(f"--{mark}\r\n".encode() + part + b"\r\n" for part in parts)
    return f"{MULTIPART}; boundary={mark}", whole + f"--{mark}--\r\n".encode()


def _attribute(name: str) -> str:
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


# ── a server's side ────────────────────────────────────────────────────────────────────────────────────────────


def decoded(
    api: Api,
    operation: Operation,
    path_params: Mapping[str, str],
    query: str,
    headers: Mapping[str, str],
    body: bytes = b"",
) -> dict[str, Any]:
    """The arguments of a call, from a request to its operation.

    `path_params` and `query` are still percent-encoded, since that tells a comma that parts items from one within an
    item; `headers` are by their names in lower case and hold the cookies and the body's media type too. What the
    document does not know of the query, the headers and the cookies is passed over. Raises Unreadable.
    """
    made: dict[str, Any] = {}
    asked, baked = decoded_query(query), _cookies(headers.get("cookie", ""))
    for parameter in operation.parameters:
        if parameter.where == "path":
            if parameter.wire in path_params:
                made[parameter.name] = read_path(api, parameter, path_params[parameter.wire])
        elif parameter.where == "header":
            if (text := headers.get(parameter.wire.lower())) is not None:
                made[parameter.name] = read_header(api, parameter, text)
        else:
            found = read_pairs(
                api,
                parameter,
                baked if parameter.where == "cookie" else asked,
                _others(operation, parameter),
                unquote if parameter.where == "cookie" else unquote_plus,
            )
            if found is not None:
                made[parameter.name] = found[0]
    media = headers.get("content-type", "")
    if operation.body is not None and (body or (operation.whole is not None and not is_json(media or None))):
        made |= _of_body(api, operation, media, body)
    if _too_deep(made):
        raise Unreadable(400, "malformed", f"The request is nested more than {DEEPEST} deep.")
    return made


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [part for one in level if isinstance(one, dict | list) for part in _inside(one)]
    return bool(level)


def _inside(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _others(operation: Operation, but: Parameter) -> set[str]:
    """The names that others have where a parameter stands."""
    named = {p.wire for p in operation.parameters if p.where == but.where and p is not but}
    return named | {wire for where, wire in operation.credentials if where == but.where}


def _cookies(header: str) -> list[tuple[str, str]]:
    parted = (part.strip().partition("=") for part in header.split(";") if part.strip())
    return [(unquote(name), value.strip('"')) for name, _, value in parted]


def accepts(operation: Operation, content_type: str) -> bool:
    """Whether the document lets a body be sent as a media type; parameters (a charset) do not count."""
    kind = plain_media(content_type)
    for declared in map(plain_media, operation.medias):
        whole, _, rest = declared.partition("/")
        if declared == kind or declared == "*/*" or (rest == "*" and kind.startswith(f"{whole}/")):
            return True
    return False


def plain_media(media: str) -> str:
    """A media type without its parameters."""
    return media.partition(";")[0].strip().lower()


def _of_body(api: Api, operation: Operation, content_type: str, body: bytes) -> dict[str, Any]:
    """The arguments that a body holds."""
    if content_type and not accepts(operation, content_type):
        expected = ", ".join(operation.medias)
        said = f"The body is {plain_media(content_type)}; expected {expected}."
        raise Unreadable(415, "unsupported_media_type", said)
    value = _value(api, operation, content_type or operation.media or "", body)
    if operation.whole is not None:
        return {operation.whole: value}
    if not isinstance(value, Mapping):
        raise Unreadable(422, "invalid", "The body is not an object.")
    back = {prop: name for name, prop in operation.renamed.items()}
    outside = {p.name for p in operation.parameters}
    known = api.properties(operation.body)
    return {
        # a property that nobody knows never passes for a parameter of that name
        back.get(name) or (f"body_{name}" if name in outside else name): one
        for name, one in value.items()
        if not api.schema(known.get(name, {})).get("readOnly")  # the server's own, which it does not take from others
    }


def _value(api: Api, operation: Operation, media: str, body: bytes) -> Any:
    """A body by its media type."""
    kind = plain_media(media)
    if kind == FORM:
        pairs = [(name, unquote_plus(raw)) for name, raw in decoded_query(_text(body))]
        return _form(api, operation, pairs)
    if kind == MULTIPART:
        return _form(api, operation, list(_parts(media, body)))
    if is_json(kind):
        try:
            return read_json(body)
        except NotJson as error:
            raise Unreadable(400, "malformed", f"The body is not JSON: {error}.") from None
    return read(api, operation.body, Said(_opaque(body)))


def _form(api: Api, operation: Operation, pairs: Sequence[tuple[str, str]]) -> Any:
    """A form as the object that its schema makes of it."""
    if len(pairs) > MOST_PARTS:
        raise Unreadable(400, "malformed", f"The form has {len(pairs)} parts; expected {MOST_PARTS} at most.")
    known = api.properties(operation.body)
    apart: dict[str, Any] = {}
    for name, style in _encodings(api, operation).items():
        if style.get("explode") is False:
            parameter = _as_parameter(name, style, known.get(name, {}))
            if (found := read_pairs(api, parameter, _quoted(pairs, name), (), unquote)) is not None:
                apart[name] = found[0]
    tree = grown([(name, text) for name, text in pairs if name not in apart], known)
    made = read(api, operation.body, Said(named=tree.named or {}))
    return {**made, **apart} if isinstance(made, Mapping) else made


def _quoted(pairs: Sequence[tuple[str, str]], name: str) -> list[tuple[str, str]]:
    return [(name, plain_quoted(text)) for other, text in pairs if other == name]


def _encodings(api: Api, operation: Operation) -> Mapping[str, Any]:
    """How the document wants single properties of a form to be written (encoding object)."""
    node = api.resolve(api.resolve(api.document["paths"][operation.path]).get(operation.method.lower()))
    content = api.resolve(api.resolve(node.get("requestBody", {})).get("content", {}))
    said = api.resolve(content.get(operation.media, {})).get("encoding", {})
    return {str(k): v for k, v in said.items() if isinstance(v, Mapping)} if isinstance(said, Mapping) else {}


def _as_parameter(name: str, said: Mapping[str, Any], schema: Any = None) -> Parameter:
    style = str(said.get("style", "form"))
    return Parameter(name, "query", False, schema or {}, "", name, style, bool(said.get("explode", style == "form")))


def _parts(media: str, body: bytes) -> Iterator[tuple[str, str]]:
    """The parts of a multipart body as names and texts (RFC 7578); raises Unreadable for one without a boundary."""
    boundary = _headers(f"content-type: {media}").get_param("boundary")
    if not isinstance(boundary, str) or not boundary:
        raise Unreadable(400, "malformed", "The body is multipart without a boundary.")
    for part in re.split(rb"(?:^|\r?\n)--" + re.escape(boundary.encode()), body)[1:]:
        if part.startswith(b"--"):
            return
        head, _, content = part.lstrip(b" \t").removeprefix(b"\r\n").removeprefix(b"\n").partition(b"\r\n\r\n")
        name = _headers(head.decode("utf-8", "replace")).get_param("name", header="content-disposition")
        if not isinstance(name, str):
            raise Unreadable(400, "malformed", "The body has a part without a name.")
        yield name.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n"), _opaque(content)


def _headers(text: str) -> Message:
    return HeaderParser().parsestr(text)


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Unreadable(400, "malformed", f"The body is not UTF-8 (byte {error.start}).") from None


def _opaque(body: bytes) -> str:
    """Bytes as a text that stands for them: themselves where they are UTF-8, base64 otherwise."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return b64encode(body).decode()
