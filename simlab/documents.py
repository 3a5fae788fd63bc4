"""OpenAPI documents from outside: read within limits, made one text, parsed to plain data.

A document whose references lead into other files becomes one that holds them: their contents stand under
`x-simlab-files`, and the references lead there. Files are read in the folder of the document and nowhere else; the
network is asked only when that is allowed. What cannot be had costs only what needs it: the reference is left as it
is, and a warning names it.

OpenAPI 3.0.3 and 3.1.0, Reference Object; URI references, RFC 3986; JSON Pointer, RFC 6901.
"""

import json
import os
import posixpath
import re
import stat
import time
from collections import deque
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

from simlab.errors import InputError
from simlab.parsing import MAX_WARNINGS, Budget, parse
from simlab.references import escaped, fragment, references
from simlab.schema import pointed

MAX_BYTES = 32 * 1024 * 1024
MAX_FILES = 10_000
FETCH_SECONDS = 20.0
FILES = "x-simlab-files"

# A reference that is not plainly within its file. It finds too much rather than too little: what is found is parsed.
_OUTSIDE = re.compile(r"""\$ref["']?+\s*+:\s*+["']?+(?!\#)|\\u0024|\\x24""")


class Document(NamedTuple):
    """A document as one text, what it is called, and what could not be read of it."""

    name: str
    text: str
    warnings: tuple[str, ...]


def parse_document(text: str, name: str, *, warnings: list[str] | None = None) -> dict[str, Any]:
    """The data of an OpenAPI or Swagger document, JSON or YAML, with every key a string.

    Parts that YAML aliases name are shared, so treat it as read-only. A key that stands twice adds a line to
    `warnings`. Raises InputError, as `name:line: reason` where there is a line, for what is not JSON or YAML, no such
    document, nested too deeply or too large.
    """
    return _parse_document(text, name, Budget(), warnings)


def _parse_document(text: str, name: str, budget: Budget, warnings: list[str] | None) -> dict[str, Any]:
    document = parse(text, name, budget, warnings)
    if not isinstance(document, dict):
        found = {list: "a list", type(None): "nothing"}.get(type(document), "a single value")
        raise InputError(f"{name}: not an OpenAPI document: expected a mapping, found {found}")
    if not document.keys() & {"openapi", "swagger", "paths"}:
        raise InputError(f"{name}: not an OpenAPI document: expected the key `openapi` or `swagger`{_found(document)}")
    return document


def _found(document: Mapping[str, Any]) -> str:
    for expected in ("openapi", "swagger"):
        if close := get_close_matches(expected, document, n=1):
            return f", and the nearest is {close[0]!r}"
    keys = list(document)
    return f", found {', '.join(keys[:6]) or 'no keys'}{', ...' if len(keys) > 6 else ''}"


def read_document(path: Path | str, *, max_bytes: int = MAX_BYTES, network: bool = False) -> Document:
    """Read a document and the files it refers to, as one text.

    A file whose references stay within it is its own text, unchanged but for a byte order mark; it is not parsed for
    this. Otherwise the text is JSON and holds the other files by their paths relative to the folder. With `network`,
    http and https references are fetched and held by their addresses. Raises InputError for a file that cannot be
    read, is not UTF-8 or no OpenAPI document, and when all files together have more than `max_bytes`.
    """
    path = Path(path)
    data = _read(path, max_bytes)
    text = _decoded(data, str(path))
    if not _OUTSIDE.search(text):
        return Document(path.stem, text, ())
    repeated: list[str] = []
    bundle = _Bundle(path, max_bytes - len(data), network)
    bundle.root = _parse_document(text, str(path), bundle.budget, repeated)
    if not bundle.fill():
        return Document(path.stem, text, tuple(bundle.warnings))
    bundled = json.dumps(bundle.root, ensure_ascii=False, separators=(",", ":"))
    return Document(path.stem, bundled, (*repeated, *bundle.warnings))


class _TooLarge(InputError):
    """The files of a document have more bytes than are allowed."""

    def __init__(self, name: Path | str) -> None:
        super().__init__(f"{name}: a document and its files have too many bytes; --max-bytes sets how many they may")


def _read(path: Path, most: int) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path}: cannot read the API document: it is no ordinary file")
        if found.st_size > most:
            raise _TooLarge(path)
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot read the API document: {error.strerror or error}") from None
    if len(data) > most:  # it grew, or its size is not what it says
        raise _TooLarge(path)
    return data


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: the API document is not UTF-8 text (byte {error.start})") from None


class _Lost(Exception):
    """Why a reference cannot be followed."""


class _Bundle:
    """A document and the files its references lead to, by relative path or address; the document itself is ''."""

    def __init__(self, path: Path, left: int, network: bool) -> None:
        self.root: dict[str, Any] = {}
        self.warnings: dict[str, None] = {}  # a line each, in order, once
        self.budget = Budget()
        self._folder = Path(os.path.realpath(path.parent))
        self._itself = path.name
        self._left, self._network = left, network
        self._files: dict[str, Any] = {}
        self._lost: dict[str, str] = {}
        self._new: deque[str] = deque()

    def fill(self) -> bool:
        """Read what references lead to, and what those files refer to; says whether anything had to change."""
        changed = False
        self._new.append("")
        while self._new:
            base = self._new.popleft()
            for holder, key in references(self._content(base)):
                target = self._target(base, holder[key])
                changed = changed or target != holder[key]
                holder[key] = target
        if self._files:
            before = self.root.get(FILES)
            self.root[FILES] = {**(before if isinstance(before, dict) else {}), **self._files}
        return changed

    def _target(self, base: str, reference: str) -> str:
        """The reference as it is written in the bundle; itself, with a warning, when it cannot be followed."""
        try:
            address, _, pointer = reference.partition("#")
            if not address and not base:
                return reference
            name = self._joined(base, address) if address else base
            return self._within(name, unquote(pointer))
        except _Lost as lost:
            if len(self.warnings) < MAX_WARNINGS:
                self.warnings[str(lost)] = None
            return reference

    def _within(self, name: str, pointer: str) -> str:
        content = self._content(name)
        try:
            if pointer and not pointer.startswith("/"):
                raise LookupError(pointer)
            pointed(content, pointer)
        except (LookupError, ValueError):
            raise _Lost(f"{name or self._itself}: has nothing at #{pointer}") from None
        return fragment((f"/{FILES}/{escaped(name)}" if name else "") + pointer)

    def _joined(self, base: str, address: str) -> str:
        """What an address in a file names: a path in the folder, or a whole address of the network."""
        try:
            parts = urlsplit(address)
            if parts.scheme in ("http", "https"):
                return address
            if base.startswith(("http:", "https:")) and not parts.scheme:
                return urljoin(base, address)
        except ValueError:
            raise _Lost(f"{address}: not an address") from None
        path = unquote(address)
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(base), path))
        if parts.scheme or path.startswith("/") or "\\" in path or "\0" in path or inside.split("/")[0] == "..":
            raise _Lost(f"{address}: only files in the folder of the document are read")
        return "" if inside == self._itself else inside

    def _content(self, name: str) -> Any:
        if not name:
            return self.root
        if name in self._lost:
            raise _Lost(self._lost[name])
        if name not in self._files:
            if len(self._files) + len(self._lost) >= MAX_FILES:
                raise InputError(f"{self._folder / self._itself}: refers to more than {MAX_FILES:,} files")
            try:
                self._files[name] = self._parsed(name)
            except _Lost as lost:
                self._lost[name] = str(lost)
                raise
            self._new.append(name)
        return self._files[name]

    def _parsed(self, name: str) -> Any:
        data = self._fetched(name) if name.startswith(("http:", "https:")) else self._from_folder(name)
        self._left -= len(data)
        repeated: list[str] = []
        try:
            value = parse(_decoded(data, name), name, self.budget, repeated)
        except InputError as error:
            raise _Lost(str(error)) from None
        self.warnings.update(dict.fromkeys(repeated))
        return value

    def _from_folder(self, name: str) -> bytes:
        path = Path(os.path.realpath(self._folder / name))
        if not path.is_relative_to(self._folder):
            raise _Lost(f"{name}: a link that leads out of the folder of the document")
        if not path.exists():
            raise _Lost(f"{name}: no such file")
        try:
            return _read(path, self._left)
        except _TooLarge:
            raise
        except InputError as error:
            raise _Lost(str(error)) from None

    def _fetched(self, url: str) -> bytes:
        if not self._network:
            raise _Lost(f"{url}: not fetched; references are not followed over the network unless that is allowed")
        import httpx  # slow to import, rarely needed

        deadline = time.monotonic() + FETCH_SECONDS
        data = bytearray()
        try:
            with (
                httpx.Client(timeout=FETCH_SECONDS, follow_redirects=True) as client,
                client.stream("GET", url) as response,
            ):
                if response.status_code != 200:
                    raise _Lost(f"{url}: status {response.status_code}")
                for chunk in response.iter_bytes():
                    data += chunk
                    if len(data) > self._left:
                        raise _TooLarge(url)
                    if time.monotonic() > deadline:
                        raise _Lost(f"{url}: took more than {FETCH_SECONDS:g} seconds")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _Lost(f"{url}: cannot be fetched: {error}") from None
        return bytes(data)
