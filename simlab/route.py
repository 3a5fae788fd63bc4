"""From a method and a path to an operation: the most literal template wins, with the server's base path or without.

OpenAPI 3.0.3 and 3.1.0, paths object ("path templating matching") and server object.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from simlab.api import Api, Operation


@dataclass(frozen=True)
class Found:
    """What a path leads to: the operations by method, and the path's parameters, still percent-encoded.

    A method has several operations where a document tells them apart by what no path holds (`/x#add`, `/x#change`).
    `aside` says why the operations of a method cannot be used, where none can.
    """

    operations: Mapping[str, Sequence[Operation]]
    values: Mapping[str, str]
    aside: Mapping[str, str]

    @property
    def methods(self) -> list[str]:
        """The methods that are answered here, HEAD wherever there is GET."""
        known = {*self.operations, *self.aside}
        return sorted(known | {"OPTIONS"} | ({"HEAD"} if "GET" in known else set()))


@dataclass
class _Template:
    segments: tuple[str | re.Pattern[str], ...]
    names: tuple[str, ...]
    literal: int  # characters outside its parameters
    operations: dict[str, list[Operation]]
    aside: dict[str, str]

    def values(self, segments: list[str]) -> dict[str, str] | None:
        """The parameters of a path that fits, in the order of their names."""
        found: list[str] = []
        for want, have in zip(self.segments, segments, strict=True):
            if isinstance(want, str):
                if want != have and want != unquote(have):
                    return None
            elif (match := want.fullmatch(have)) is None:
                return None
            else:
                found += match.groups()
        return dict(zip(self.names, found, strict=True))


class Router:
    """Finds the operations of a path; made once for a document."""

    def __init__(self, api: Api) -> None:
        self._templates: dict[int, list[_Template]] = {}
        by_path: dict[str, _Template] = {}
        for operation in api.operations.values():
            path = real_path(operation.path)
            template = by_path.setdefault(path, _template(path))
            template.operations.setdefault(operation.method, []).append(operation)
        for one in api.aside:
            path = real_path(one.path)
            by_path.setdefault(path, _template(path)).aside.setdefault(one.method, one.why)
        for template in by_path.values():
            self._templates.setdefault(len(template.segments), []).append(template)
        for alike in self._templates.values():
            alike.sort(key=lambda template: -template.literal)
        self.bases = sorted(set(_bases(api)), key=len, reverse=True)

    def find(self, path: str) -> Found | None:
        """What a percent-encoded path leads to; None where it leads nowhere.

        Templates of equal shape (`/x/{id}` and `/x/{name}`, which the specification forbids) are one.
        """
        best: tuple[int, list[tuple[_Template, dict[str, str]]]] = (-1, [])
        for base in (*self.bases, ""):
            if base and not path.startswith(f"{base}/"):
                continue
            segments = path[len(base) :].split("/")[1:]
            for template in self._templates.get(len(segments), ()):
                worth = template.literal + len(base)
                if worth < best[0]:
                    break
                if (values := template.values(segments)) is not None:
                    best = (worth, [*best[1], (template, values)] if worth == best[0] else [(template, values)])
        if not best[1]:
            return None
        operations: dict[str, list[Operation]] = {}
        for template, _ in best[1]:
            for method, several in template.operations.items():
                operations.setdefault(method, []).extend(several)
        aside = {m: why for template, _ in best[1] for m, why in template.aside.items() if m not in operations}
        return Found(operations, {n: v for _, values in best[1] for n, v in values.items()}, aside)


def real_path(path: str) -> str:
    """A path without what no request's path holds, by which some documents tell operations apart."""
    return re.split(r"[?#]", path, maxsplit=1)[0]


def _template(path: str) -> _Template:
    names = re.findall(r"\{([^{}]+)\}", path)
    segments: list[str | re.Pattern[str]] = []
    for segment in path.split("/")[1:]:
        parts = re.split(r"\{[^{}]+\}", segment)
        segments.append(re.compile("([^/]+)".join(map(_literal, parts))) if len(parts) > 1 else unquote(segment))
    literal = len(re.sub(r"\{[^{}]+\}", "", path))
    return _Template(tuple(segments), tuple(names), literal, {}, {})


def _literal(text: str) -> str:
    """A pattern for a literal part of a segment, in which any sign may come percent-encoded."""
    return "".join(c if c.isalnum() else f"(?:{re.escape(c)}|(?i:{re.escape(quote(c, safe=''))}))" for c in text)


def _bases(api: Api) -> Iterator[str]:
    """The paths under which the document's servers are, without the slash at the end."""
    nodes: list[Any] = [api.document]
    for item in map(api.resolve, (api.document.get("paths") or {}).values()):
        if isinstance(item, Mapping):
            nodes += [item, *(node for node in item.values() if isinstance(node, Mapping))]
    for node in nodes:
        servers = node.get("servers")
        for server in servers if isinstance(servers, list) else ():
            if isinstance(server, Mapping) and isinstance(server.get("url"), str):
                base = _path_of(server["url"], server.get("variables") or {})
                if base:
                    yield base


def _path_of(url: str, variables: Any) -> str:
    for name, said in variables.items() if isinstance(variables, Mapping) else ():
        url = url.replace("{" + str(name) + "}", str(said.get("default", "")) if isinstance(said, Mapping) else "")
    try:
        return "/" + path if (path := urlsplit(url).path.strip("/")) else ""
    except ValueError:
        return ""
