"""JSON and JSON Schema at the edges: strict reading, canonical writing, digests, cached validators.

What comes from outside is read strictly: NaN, infinities, lone surrogates and repeated keys are errors, big
integers stay exact. That is the standard library's work, unless orjson, which does not care for such things
(18446744073709551616 becomes a float), would write the very same bytes again: then there are none. What we
built ourselves is written by orjson, with sorted keys, so that equal values are equal bytes.
"""

import json
from binascii import b2a_base64
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from hashlib import blake2b
from math import isfinite
from typing import Any

import orjson
from jsonschema import Draft202012Validator

_PLAIN = orjson.OPT_PASSTHROUGH_DATACLASS
_SORTED = _PLAIN | orjson.OPT_SORT_KEYS
_INDENTED = _PLAIN | orjson.OPT_INDENT_2
QUICK = 1 << 20  # bytes up to which a text is read by orjson first


class NotJson(ValueError):
    """Text from outside that is not one strict JSON value."""


def _reject(constant: str) -> Any:
    raise NotJson(f"{constant} is not JSON")


def _float(digits: str) -> float:
    value = float(digits)
    return value if isfinite(value) else _reject(digits)


def _refuse_repeated(key: str) -> None:
    raise NotJson(f"key {key!r} appears twice")


def _decoder(repeated: Callable[[str], None]) -> json.JSONDecoder:
    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            for key, times in Counter(key for key, _ in pairs).items():
                if times > 1:
                    repeated(key)
        return found

    return json.JSONDecoder(parse_constant=_reject, parse_float=_float, object_pairs_hook=made)


_URLSAFE = bytes.maketrans(b"+/", b"-_")
_DECODER = _decoder(_refuse_repeated)


def read_json(text: str | bytes, *, repeated: Callable[[str], None] | None = None) -> Any:
    """Parse one JSON value from outside; raises NotJson with the reason and the position.

    `repeated` is called with each key that an object holds more than once; if it returns, the last one counts. Without
    it such a key is an error.
    """
    try:
        raw = text.encode() if isinstance(text, str) else text
        if len(raw) <= QUICK:
            try:  # `suppress` would take a third of the time that parsing takes
                quick = orjson.loads(raw)
                if orjson.dumps(quick) == raw:
                    return quick
            except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # the reason is said below
                pass
        decoder = _DECODER if repeated is None else _decoder(repeated)
        value = decoder.decode(raw.decode())
        if b"\\u" in raw and b"\\ud" in raw.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except NotJson:
        raise
    except UnicodeError:
        raise NotJson("a lone surrogate or broken UTF-8") from None
    except RecursionError:
        raise NotJson("nested too deeply") from None
    except ValueError as error:
        raise NotJson(str(error)) from None
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value):  # what it has computed of itself meanwhile is no part of it
        return {field.name: getattr(value, field.name) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} is not JSON")


def to_json(value: Any) -> str:
    """Canonical JSON of a value we built: sorted keys, no spaces, UTF-8."""
    try:
        return orjson.dumps(value, default=_plain, option=_SORTED).decode()
    except orjson.JSONEncodeError:  # integers beyond 64 bits: exact in the standard library
        return json.dumps(value, default=_plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def to_ordered_json(value: Any, *, indent: bool = False) -> str:
    """JSON of a value we built, keys in their own order: where people or scripts gave one, it means something."""
    try:
        return orjson.dumps(value, default=_plain, option=_INDENTED if indent else _PLAIN).decode()
    except orjson.JSONEncodeError:  # integers beyond 64 bits: exact in the standard library
        return json.dumps(value, default=_plain, indent=2 if indent else None, ensure_ascii=False)


def digest(text: str) -> str:
    """16 characters (96 bits) that name a text; collisions are not a concern below 10**12 texts."""
    made = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).digest()
    return b2a_base64(made, newline=False).translate(_URLSAFE).decode()


@lru_cache(maxsize=512)
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(schema), format_checker=Draft202012Validator.FORMAT_CHECKER)


def problems(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """What is wrong with a value under a schema, one line each as `path: message`; empty when it is valid."""
    found = sorted(_validator(to_json(schema)).iter_errors(value), key=lambda e: list(map(str, e.path)))
    return [f"{'/'.join(map(str, error.path)) or '(top)'}: {error.message}" for error in found]


def pointed(value: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) names in a value; raises LookupError when there is nothing."""
    for part in filter(None, pointer.split("/")):
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list):
            if not key.isdigit():
                raise LookupError(pointer)
            value = value[int(key)]
        elif isinstance(value, Mapping):
            value = value[key]
        else:
            raise LookupError(pointer)
    return value


def closed_object(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of an object that has these properties, all of them, and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }
