"""Values as text and back, as parameters and forms carry them: OpenAPI's styles.

What stands on the wire can often be read in more than one way (`a,b` is a text, or two). The schema decides: of the
readings it allows, in its order, the first that it accepts; where it accepts none, the first, so that validation says
what is wrong with it. A text that cannot be read as any type of the schema stays a text.

OpenAPI 3.0.3 and 3.1.0, "Style Values"; RFC 6570, section 3.2.
"""

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, unquote_plus

from simlab.api import Parameter
from simlab.errors import InputError
from simlab.schema import NotJson, read_json, to_json
from simlab.spec import Spec

Pairs = Sequence[tuple[str, str]]  # names, decoded, with values as they stand on the wire
MARKS = {"spaceDelimited": " ", "pipeDelimited": "|"}
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", re.ASCII)
_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])+)")
_DEEPEST = 32  # brackets in one name of a form


@dataclass(frozen=True)
class Said:
    """What stands on the wire, in each way it can be read: one text, several, or some with names."""

    one: str | None = None
    many: "Sequence[Said] | None" = None
    named: "Mapping[str, Said] | None" = None
    json: bool = False  # whether the text is labelled as JSON

    @property
    def plain(self) -> Any:
        """The same where no schema says how to read it."""
        if self.one is not None:
            return self.one
        if self.many is not None:
            return [said.plain for said in self.many]
        return {name: said.plain for name, said in (self.named or {}).items()}


# ── reading ────────────────────────────────────────────────────────────────────────────────────────────────────


def read(spec: Spec, schema: Any, said: Said) -> Any:
    """The value that a schema makes of what was said; what it cannot make anything of stays text."""
    first: list[Any] = []
    for value in _readings(spec, schema, said):
        if spec.valid(value, schema):
            return value
        first = first or [value]
    return first[0] if first else said.plain


def _readings(spec: Spec, schema: Any, said: Said, depth: int = 0) -> Iterator[Any]:
    merged, kinds = spec.merged(schema), spec.kinds(schema)
    if said.json:
        yield from _parsed(said.one or "")
    if said.one is not None:
        known = merged.get("enum", ())
        yield from (value for value in known if text_of(value) == said.one)
        if "null" in kinds and said.one == "null":
            yield None
    for kind in kinds:
        if kind in ("array", "object"):
            if said.one is not None and said.one[:1] in ("[", "{"):
                yield from (value for value in _parsed(said.one) if isinstance(value, list) == (kind == "array"))
            if kind == "array" and said.many is not None:
                yield [read(spec, _row(merged, at), one) for at, one in enumerate(said.many)]
            elif kind == "object" and said.named is not None:
                yield {name: read(spec, _part(spec, schema, name), one) for name, one in said.named.items()}
        elif said.one is not None:
            yield from _scalar(kind, said.one)
    if depth < _DEEPEST:
        for _, branch in spec.alternatives(schema):
            yield from _readings(spec, branch, said, depth + 1)
    if "null" in kinds and said.one == "":
        yield None


def _scalar(kind: str, text: str) -> Iterator[Any]:
    if kind == "string":
        yield text
    elif kind == "boolean" and text.lower() in ("true", "false"):
        yield text.lower() == "true"
    elif kind in ("integer", "number") and _NUMBER.fullmatch(text):
        yield from _parsed(text)


def _parsed(text: str) -> Iterator[Any]:
    try:
        yield read_json(text)
    except NotJson:
        return


def _row(schema: Mapping[str, Any], at: int) -> Any:
    heads = schema.get("prefixItems", ())
    return heads[at] if at < len(heads) else schema.get("items", {})


def _part(spec: Spec, schema: Any, name: str) -> Any:
    """The schema of a property; of one that has no name of its own, what all others must be."""
    known = spec.properties(schema)
    return known[name] if name in known else spec.merged(schema).get("additionalProperties", {})


def text_of(value: Any) -> str:
    """A single value as text: a text as it is, anything else as JSON writes it."""
    return value if isinstance(value, str) else to_json(value)


# ── parameters ─────────────────────────────────────────────────────────────────────────────────────────────────


def plain_quoted(text: str) -> str:
    """A text with everything but unreserved characters percent-encoded (RFC 3986, section 2.3)."""
    return quote(text, safe="")


def _dotless(text: str) -> str:
    """The same for a path, where dots may have a meaning: of `.` and `..` alone, and as a mark of the style label."""
    return plain_quoted(text).replace(".", "%2E")


def path_text(parameter: Parameter, value: Any) -> str:
    """A path parameter in its style: simple, label or matrix. Raises InputError for an empty one."""
    style, name = parameter.style, plain_quoted(parameter.wire)
    lead, mark = {"label": (".", "."), "matrix": (";", ";")}.get(style, ("", ","))
    quoted = _dotless if style == "label" or value in (".", "..") else plain_quoted
    if parameter.media is not None:
        return plain_quoted(to_json(value))
    if not isinstance(value, list | Mapping):
        text = quoted(text_of(value))
        if not text and style == "simple":
            raise InputError(f"{parameter.name}: a path cannot hold an empty text")
        return f";{name}={text}" if style == "matrix" else lead + text
    if style == "matrix" and parameter.explode and isinstance(value, list):
        return "".join(f";{name}={quoted(text_of(one))}" for one in value)
    joined = (mark if parameter.explode else ",").join(_items(value, quoted, explode=parameter.explode))
    if not joined and style == "simple":
        raise InputError(f"{parameter.name}: a path cannot hold an empty list")
    return f";{name}={joined}" if style == "matrix" and not parameter.explode else lead + joined


def read_path(spec: Spec, parameter: Parameter, raw: str) -> Any:
    """A path parameter from its text, which is still percent-encoded."""
    if parameter.media is not None:
        return read(spec, parameter.schema, Said(unquote(raw), json=True))
    style, explode = parameter.style, parameter.explode
    if style == "label":
        raw = raw.removeprefix(".")
        return read(spec, parameter.schema, _delimited(raw, "." if explode else ",", unquote, explode=explode))
    if style == "matrix":
        pairs = [(unquote(n), v) for n, _, v in (part.partition("=") for part in raw.removeprefix(";").split(";"))]
        return read(spec, parameter.schema, _said(parameter, pairs, unquote, own=True))
    return read(spec, parameter.schema, _delimited(raw, ",", unquote, explode=explode))


def header_text(parameter: Parameter, value: Any) -> str:
    """A header in the style simple, not percent-encoded. Raises InputError for what a header cannot hold."""

    def bare(text: str) -> str:
        if isinstance(value, list | Mapping) and ("," in text or text != text.strip()):
            raise InputError(f"{parameter.name}: an item of a header can hold no comma and no space at its ends")
        return text

    if parameter.media is not None:
        text = to_json(value)
    elif isinstance(value, list | Mapping):
        text = ",".join(_items(value, bare, explode=parameter.explode))
    else:
        text = text_of(value)
    if text != text.strip() or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", text):
        raise InputError(f"{parameter.name}: a header can hold no line break and no space at its ends")
    return text


def read_header(spec: Spec, parameter: Parameter, text: str) -> Any:
    """A header's value from its text."""
    if parameter.media is not None:
        return read(spec, parameter.schema, Said(text, json=True))
    return read(spec, parameter.schema, _delimited(text, ",", str.strip, explode=parameter.explode))


def pairs_of(parameter: Parameter, value: Any, others: Container[str] = ()) -> list[tuple[str, str]]:
    """A parameter of the query or a cookie as names and values, both percent-encoded.

    Raises InputError for items that hold the mark which would part them, and for an exploded object with a property
    that is called like one of the `others`.
    """
    name, style = plain_quoted(parameter.wire), parameter.style
    if parameter.media is not None:
        return [(name, plain_quoted(to_json(value)))]
    if style == "deepObject" and isinstance(value, Mapping):
        return [(plain_quoted(key), plain_quoted(text)) for key, text in form_pairs({parameter.wire: value})]
    if not isinstance(value, list | Mapping):
        return [(name, plain_quoted(text_of(value)))]
    if parameter.explode:
        if isinstance(value, Mapping):
            if twin := next((key for key in value if key in others), None):
                raise InputError(f"{parameter.name}: its property {twin} travels under the name of another parameter")
            return [(plain_quoted(key), plain_quoted(text_of(one))) for key, one in value.items()]
        return [(name, plain_quoted(text_of(one))) for one in value] or [(name, "")]
    mark = MARKS.get(style, ",")
    texts = _items(value, str, explode=False)
    if any(mark in text for text in texts) and (style in MARKS or len(texts) == 1):
        raise InputError(f"{parameter.name}: an item holds {mark!r}, which parts the items of {style}")
    return [(name, (plain_quoted(mark) if style in MARKS else mark).join(map(plain_quoted, texts)))]


def read_pairs(
    spec: Spec, parameter: Parameter, pairs: Pairs, others: Iterable[str], decode: Callable[[str], str]
) -> tuple[Any] | None:
    """A parameter from all that the query or the cookies hold; None where it is not among them.

    `others` are the names of the other parameters, which an exploded object cannot have as its own.
    """
    own = [(name, raw) for name, raw in pairs if name == parameter.wire]
    if parameter.media is not None:
        return (read(spec, parameter.schema, Said(decode(own[-1][1]), json=True)),) if own else None
    if parameter.style == "deepObject":
        inside = [(n, decode(raw)) for n, raw in pairs if n.startswith(f"{parameter.wire}[") and n not in others]
        if inside and (said := (grown(inside).named or {}).get(parameter.wire)) is not None:
            return (read(spec, parameter.schema, said),)
    elif parameter.explode and not own and _allows(spec, parameter.schema, "object"):
        taken, known = set(others), spec.properties(parameter.schema)
        open_ = spec.merged(parameter.schema).get("additionalProperties", not known)
        own = [(n, raw) for n, raw in pairs if n not in taken and (n in known or open_ is not False)]
        if own:
            return (read(spec, parameter.schema, _said(parameter, own, decode, own=False)),)
    return (read(spec, parameter.schema, _said(parameter, own, decode, own=True)),) if own else None


def _said(parameter: Parameter, pairs: Pairs, decode: Callable[[str], str], *, own: bool) -> Said:
    """What pairs say: `own` ones have the name of the parameter, others those of its properties."""
    named = {name: _leaf([decode(r) for n, r in pairs if n == name]) for name, _ in pairs}
    if not own or any(name != parameter.wire for name, _ in pairs):
        return Said(named=named)
    if len(pairs) == 1 and not parameter.explode:
        return _delimited(pairs[0][1], MARKS.get(parameter.style, ","), decode, explode=False)
    return named.get(parameter.wire, Said())


def _leaf(texts: Sequence[str]) -> Said:
    if len(texts) > 1:
        return Said(many=[Said(text) for text in texts])
    return Said(texts[0], many=[Said(text) for text in texts if text])


def _delimited(raw: str, mark: str, decode: Callable[[str], str], *, explode: bool) -> Said:
    """A text that may hold several, parted by a mark.

    Many clients encode the mark as well, so a text that holds it only encoded is parted too.
    """
    texts = [decode(part) for part in raw.split(mark)] if mark in raw else decode(raw).split(mark)
    named: dict[str, Said] | None = None
    if explode and all("=" in text for text in texts):
        parted = [part.partition("=") for part in (raw.split(mark) if mark in raw else texts)]
        named = {decode(name): Said(decode(text)) for name, _, text in parted}
    elif not explode and len(texts) % 2 == 0:
        named = {name: Said(text) for name, text in zip(texts[::2], texts[1::2], strict=True)}
    return Said(decode(raw), [Said(text) for text in texts] if raw else [], named if raw else {})


def _items(value: Sequence[Any] | Mapping[str, Any], quoted: Callable[[str], str], *, explode: bool) -> list[str]:
    """The items of a list, or the names and values of an object, as texts."""
    if not isinstance(value, Mapping):
        return [quoted(text_of(one)) for one in value]
    parted = [(quoted(name), quoted(text_of(one))) for name, one in value.items()]
    return [f"{n}={t}" for n, t in parted] if explode else [text for pair in parted for text in pair]


def _allows(spec: Spec, schema: Any, kind: str, depth: int = 0) -> bool:
    inside = spec.branches(schema) if depth < _DEEPEST else []
    return kind in spec.kinds(schema) or any(_allows(spec, branch, kind, depth + 1) for branch in inside)


# ── forms ──────────────────────────────────────────────────────────────────────────────────────────────────────


def form_pairs(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """An object as the names and values of a form: `a[b]` for what is inside, a name again for each item of a list.

    A list of lists or objects is numbered: `a[0][b]`.
    """
    if isinstance(value, Mapping) and (value or not name):
        for key, one in value.items():
            yield from form_pairs(one, f"{name}[{key}]" if name else key)
    elif isinstance(value, list) and any(isinstance(one, list | Mapping) for one in value):
        for at, one in enumerate(value):
            yield from form_pairs(one, f"{name}[{at}]")
    elif isinstance(value, list):
        for one in value or [""]:
            yield name, text_of(one)
    else:
        yield name, text_of(value)


def grown(pairs: Iterable[tuple[str, str]], known: Iterable[str] = ()) -> Said:
    """A form as a tree by the brackets in its names; `a[]`, `a[0]` and `a` again are items of a list.

    A `known` name is taken as it is, brackets and all.
    """
    whole, tree = set(known), _Tree()
    for name, text in pairs:
        match = None if name in whole else _KEY.fullmatch(name)
        trail = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])] if match else [name]
        tree.put(trail if len(trail) <= _DEEPEST else [name], text)
    return tree.said()


class _Tree:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.parts: dict[str, _Tree] = {}

    def put(self, trail: Sequence[str], text: str) -> None:
        if not trail or (trail[0] == "" and len(trail) == 1):
            self.texts.append(text)
        else:
            self.parts.setdefault(trail[0], _Tree()).put(trail[1:], text)

    def said(self) -> Said:
        if not self.parts:
            return _leaf(self.texts) if self.texts else Said(named={})
        inside = {name: tree.said() for name, tree in self.parts.items()}
        numbered = all(name.isdecimal() or not name for name in inside)
        rows = [inside[name] for name in sorted(inside, key=lambda n: int(n or 0))] if numbered else None
        return Said(many=rows, named=inside)


def is_file(spec: Spec, schema: Any) -> bool:
    """Whether a part of a form is a file, or several: opaque, and labelled as bytes."""
    merged = spec.merged(schema)
    row = spec.merged(merged.get("items", {}))
    return any(one.get("format") == "binary" or "contentMediaType" in one for one in (merged, row))


def decoded_query(query: str) -> list[tuple[str, str]]:
    """The names of a query, decoded, with their values as they stand."""
    parted = (part.partition("=") for part in query.split("&") if part)
    return [(unquote_plus(name), raw) for name, _, raw in parted]
