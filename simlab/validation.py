"""What openapi-spec-validator finds wrong with a document: advice, as real documents are often invalid and used.

Validating a large document takes many seconds of CPU, and a hostile one may take for ever. So it is done in a process
of its own, which is stopped at a deadline, has a bounded memory and follows no reference out of the document; what it
found is kept in the user's cache, by the content of the document and the version of the validator.

Swagger 2.0, OpenAPI 3.0 and 3.1.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

from simlab.documents import parse_document
from simlab.errors import InputError
from simlab.files import writing
from simlab.references import references

MAX_LINES = 200
MAX_LINE = 300  # characters; a message may quote a whole schema
MEMORY = 2 * 1024**3  # bytes of address space
_MISSING = "x-simlab-missing"


# Named, so that what else is installed does not decide in which words the validator speaks.
_BACKEND = "OPENAPI_SPEC_VALIDATOR_SCHEMA_VALIDATOR_BACKEND"


class Problems(NamedTuple):
    """What is wrong with a document, a line each; whether the validator came to an end; how long it took."""

    lines: tuple[str, ...]
    complete: bool
    seconds: float


def specification_problems(text: str, *, seconds: float = 30.0) -> Problems:
    """What is wrong with a document by its specification, each line as `place: message`; empty when it is valid.

    It blocks until the validator ends or is stopped after `seconds`; the lines found until then are kept, MAX_LINES
    at most. A validator that fails on the document is a line too. Each content is validated once: the answer comes
    from the cache unless it was incomplete and there is more time now. Never raises for what the document holds.
    """
    cache = _cache_file(text)
    known = _cached(cache)
    if known and (known.complete or known.seconds >= seconds):
        return known
    found = _validated(text, seconds)
    with suppress(OSError, InputError):  # a cache that cannot be written costs time and nothing else
        cache.parent.mkdir(parents=True, exist_ok=True)
        with writing(cache) as file:
            file.write(json.dumps(found._asdict()).encode())
    return found


def _cache_file(text: str) -> Path:
    key = sha256(f"{version('openapi-spec-validator')}\n{text}".encode()).hexdigest()
    return platformdirs.user_cache_path("simlab") / "validation" / f"{key}.json"


def _cached(path: Path) -> Problems | None:
    try:
        said = json.loads(path.read_bytes())
        return Problems(tuple(map(str, said["lines"])), bool(said["complete"]), float(said["seconds"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


# ── the process that validates ─────────────────────────────────────────────────────────────────────────────


def _validated(text: str, seconds: float) -> Problems:
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "simlab.validation"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    with process:
        try:
            said, _ = process.communicate(text.encode(), timeout=seconds)
            complete = True
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
            complete = False
        except BaseException:
            process.kill()
            raise
    lines = [json.loads(line) for line in said.splitlines(keepends=True) if line.endswith(b"\n")]
    if complete and process.returncode != 0:
        lines.append(f"(top): the validator ended on it with the status {process.returncode}")
    return Problems(tuple(lines), complete, round(time.monotonic() - began, 3))


def _main() -> None:
    """Validate the document on stdin; write each line as JSON at once, so that it is there if time runs out."""
    _bound_memory()
    text = sys.stdin.buffer.read().decode()
    for line in _first(_problems(text)):
        print(json.dumps(line), flush=True)


def _bound_memory() -> None:
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _first(lines: Iterator[str]) -> Iterator[str]:
    more = 0
    for number, line in enumerate(lines):
        if number < MAX_LINES:
            yield _clipped(line)
        else:
            more += 1
    if more:
        yield f"(top): and {more:,} more"


def _clipped(line: str) -> str:
    """The beginning, which names the place, and the end, which says what was expected."""
    line = " ".join(line.split())
    return line if len(line) <= MAX_LINE else f"{line[:140]} ... {line[-(MAX_LINE - 145) :]}"


def _problems(text: str) -> Iterator[str]:
    try:
        document = parse_document(text, "the document")
        yield from _cut_off(document)
        yield from _found(document)
    except InputError as error:
        yield f"(top): {error}"
    except Exception as error:  # of the validator: which ones there are, it does not say
        yield f"(top): the validator failed on it: {type(error).__name__}: {error}"


def _cut_off(document: dict[str, Any]) -> Iterator[str]:
    """Lead every reference out of the document to a stand-in, so that it is not followed, and name it."""
    for holder, key in references(document):
        if not holder[key].startswith("#"):
            yield f"{holder[key]}: a reference out of the document"
            holder[key] = f"#/{_MISSING}"
            document[_MISSING] = {"name": "missing", "in": "query", "description": "", "schema": {}}


def _found(document: Mapping[str, Any]) -> Iterator[str]:
    os.environ[_BACKEND] = "jsonschema"
    import openapi_spec_validator as validators  # slow to import, needed in this process only

    said = str(document.get("openapi") or document.get("swagger"))
    by_version = {
        "2.0": validators.OpenAPIV2SpecValidator,
        "3.0": validators.OpenAPIV30SpecValidator,
        "3.1": validators.OpenAPIV31SpecValidator,
    }
    if said[:3] not in by_version:
        yield f"(top): expected `swagger: 2.0` or `openapi:` 3.0 or 3.1, got {said}"
        return

    class _Offline(by_version[said[:3]]):  # type: ignore[misc]
        resolver_handlers: Mapping[str, Any] = dict.fromkeys(("<all_urls>", "http", "https", "file"), _refuse)

    errors: Iterable[Any] = _Offline(document).iter_errors()
    for error in errors:
        yield f"{'/'.join(map(str, error.path)) or '(top)'}: {error.message}"


def _refuse(address: str) -> Any:
    raise InputError(f"{address}: a reference out of the document")


if __name__ == "__main__":
    _main()
