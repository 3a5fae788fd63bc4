"""Files at the edge: read with clear errors, YAML with strings kept strings, written whole or not at all."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import lru_cache
from glob import glob
from importlib.resources import files
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any, NamedTuple

import yaml

from simlab.errors import InputError, nearest

MAX_DEPTH = 64
JSON_LINES = "JSON lines"
BEGINNINGS = {JSON_LINES: b"{", "JSON": b"{", "HTML": b"<"}  # the first byte of what is written


def read_text(path: Path | str, what: str = "file") -> str:
    """The text of a UTF-8 file; raises InputError saying what could not be read and why."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the {what} is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot read the {what}: {error.strerror or error}") from None


def is_database(path: Path) -> bool:
    """Whether a file is there and is an SQLite database."""
    try:
        with path.open("rb") as file:
            return file.read(16) == b"SQLite format 3\0"
    except OSError:
        return False


def is_stdout(path: Path | str) -> bool:
    """Whether a path stands for standard output."""
    return str(path) == "-"


@contextmanager
def standard_output() -> Iterator[IO[bytes]]:
    """Standard output, which gets all that is written as it comes."""
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


def must_be_free(path: Path | str, inputs: Iterable[Path | str] = (), *, holds: str = "") -> None:
    """Raise InputError where a command may not write its output, before it has done anything.

    `inputs` are the files that it reads. `holds` says what it writes, one of BEGINNINGS, and only such is written over.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{path}: cannot write here: it is a folder; name a file")
    if target.exists() and not target.is_file():
        instead = "; `-` writes to standard output" if holds == JSON_LINES else ""
        raise InputError(f"{path}: cannot write here: it is no ordinary file{instead}")
    if not target.parent.is_dir():
        raise InputError(f"{path}: cannot write here: there is no folder {target.parent}")
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"{path}: cannot write here: nothing may be written in {target.parent}")
    if any(target.resolve() == Path(one).resolve() for one in inputs):
        raise InputError(f"{path}: is read or written by this command already; name another file")
    if is_database(target):
        raise InputError(f"{path}: is a run file or another database, which this would overwrite; name another file")
    if holds and target.is_file() and _first_byte(target) not in (b"", BEGINNINGS[holds]):
        raise InputError(f"{path}: is there already and holds no {holds}; name another file")


def _first_byte(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1)
    except OSError as error:
        raise InputError(f"{path}: cannot write here: {error.strerror or error}") from None


@contextmanager
def writing(path: Path | str) -> Iterator[IO[bytes]]:
    """A file that appears under its name only when the block has ended well; raises InputError otherwise."""
    target = Path(path)
    if target.exists() and not target.is_file():
        raise InputError(f"{path}: cannot write here: it is no ordinary file")
    if is_database(target):
        raise InputError(f"{path}: is a run file or another database, which this would overwrite; name another file")
    try:
        with NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, 0o644)
                os.replace(file.name, target)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise InputError(f"{path}: cannot write here: {error.strerror or error}") from None


def resource(*parts: str) -> Path:
    """A file or folder that ships with simlab: `scenarios`, `apis` or anything inside the package.

    In a checkout the first two lie at the top, where people edit them; in a wheel they are package resources.
    """
    package = Path(str(files("simlab")))
    for base in (package, package / "resources", package.parent):
        if (found := base.joinpath(*parts)).exists():
            return found
    raise InputError(f"{'/'.join(parts)} is not among the files that ship with simlab")


def matching(pattern: str) -> list[Path]:
    """The files a glob names, sorted; looked for here first, then among those that ship with simlab."""
    found = sorted(p for p in map(Path, glob(pattern, recursive=True)) if p.is_file())
    top = resource(pattern.split("/")[0]).parent if pattern.startswith(("scenarios/", "apis/")) else None
    if not found and top is not None:
        found = sorted(p for p in (top / name for name in glob(pattern, root_dir=top, recursive=True)) if p.is_file())
    if pattern.lower().startswith(("http:/", "https:/")):
        raise InputError(f"{pattern}: is an address; expected a file, so fetch it first")
    if not found and Path(pattern).is_dir():
        raise InputError(
            f"{pattern}: is a folder; expected a file, or a pattern such as '{pattern.rstrip('/')}/*.yaml'"
        )
    if not found:
        beside = Path(pattern).parent
        there = [str(path) for path in beside.iterdir() if path.is_file()] if beside.is_dir() else []
        if top is not None and (top / beside).is_dir():
            there += [str(beside / path.name) for path in (top / beside).iterdir() if path.is_file()]
        close = get_close_matches(pattern, there, n=1, cutoff=0.8)
        raise InputError(f"no file matches {pattern!r}{nearest(pattern, close)}")
    return found


class Yaml(NamedTuple):
    """A parsed YAML document and the line (from 1) at which the value of each key path stands."""

    value: Any
    lines: dict[tuple[str | int, ...], int]

    def line(self, path: tuple[str | int, ...]) -> int:
        """The line of a key path, or of its nearest ancestor that is in the file."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's JSON-like scalars: dates, `yes`, `on` and `0123` stay the strings they are written as."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:bool", r"^(?:true|false)$", "tf"),
    ("tag:yaml.org,2002:null", r"^(?:null|~|)$", ["n", "~", ""]),
    ("tag:yaml.org,2002:int", r"^-?(?:0|[1-9][0-9]*)$", "-0123456789"),
    ("tag:yaml.org,2002:float", r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$", "-0123456789"),
):
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))


_SCALARS: dict[str, Callable[[str], Any]] = {
    "bool": {"true": True, "false": False}.__getitem__,
    "null": lambda _: None,
    "int": int,
    "float": float,
}


def parse_yaml(text: str, name: str) -> Yaml:
    """Parse one YAML document; raises InputError as `name:line: reason`."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(f"{name}:{mark.line + 1 if mark else 1}: not YAML: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(f"{name}:{line}: not YAML: the character {error.character:#x} is not allowed") from None
    except RecursionError:
        raise InputError(f"{name}: nested too deeply") from None
    lines: dict[tuple[str | int, ...], int] = {}
    return Yaml(None if node is None else _build(node, (), lines, name), lines)


def _build(node: yaml.Node, path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int], name: str) -> Any:
    line = node.start_mark.line + 1
    lines[path] = line
    if len(path) > MAX_DEPTH:
        raise InputError(f"{name}:{line}: nested more than {MAX_DEPTH} deep")
    if isinstance(node, yaml.MappingNode):
        made: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise InputError(f"{name}:{key_node.start_mark.line + 1}: a key is a word, not a list or mapping")
            key = str(key_node.value)
            if key in made:
                raise InputError(f"{name}:{key_node.start_mark.line + 1}: the key {key!r} stands twice")
            made[key] = _build(value_node, (*path, key), lines, name)
            lines[(*path, key)] = key_node.start_mark.line + 1
        return made
    if isinstance(node, yaml.SequenceNode):
        return [_build(child, (*path, i), lines, name) for i, child in enumerate(node.value)]
    kind = node.tag.rsplit(":", 1)[-1]
    try:
        return _SCALARS.get(kind, str)(node.value)
    except (ValueError, KeyError):  # an explicit tag, such as `!!int x`
        raise InputError(f"{name}:{line}: {node.value!r} is not of the kind {kind}") from None


def read_yaml(path: Path | str, what: str = "file") -> Yaml:
    """Read and parse a YAML file; raises InputError."""
    return parse_yaml(read_text(path, what), str(path))


@lru_cache(maxsize=16)
def read_seeds(name: str) -> Any:
    """A seed file of the package, parsed once; treat it as read-only."""
    return read_yaml(resource("seeds", f"{name}.yaml")).value
