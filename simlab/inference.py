"""What a document does not say: which operation does what to which kind of record, each guess with its evidence.

The result has the form of an overlay file, so that a person can read it, correct it and hand it back. Routes to a
resource, in order of trust: the shape of paths (`/xs` and `/xs/{id}`), and, where paths are verbs (`/xs.list`,
`/x/get`), the noun and the verb in them or in the operationId. Where neither leads to records, an operation is
stateless: a read answers from its schema, anything else is only noted down.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from simlab.operation import Operation, is_json
from simlab.spec import Spec

VERBS: Mapping[str, str] = {
    **dict.fromkeys("get retrieve info read fetch show describe lookup view".split(), "get"),
    **dict.fromkeys("list search query all find browse".split(), "list"),
    **dict.fromkeys("create add new open register insert make issue".split(), "create"),
    **dict.fromkeys("update edit modify patch change rename replace set".split(), "update"),
    **dict.fromkeys("delete remove destroy revoke".split(), "delete"),
}  # fmt: skip
ENVELOPES = ("data", "result", "item", "record", "entry", "resource", "object", "response")
ROWS = ("items", "data", "results", "entries", "values", "records", "list", "content", "rows", "objects", "resources")
ASIDE = ("responsemetadata", "metadata", "errors", "warnings", "links", "included")  # rows that are about the rows
IDS = ("id", "sid", "uuid", "guid", "key", "slug", "identifier", "code", "number", "token", "handle", "username")
LABELS = (
    "name", "title", "fullname", "displayname", "friendlyname", "label", "subject", "email", "username", "firstname",
    "lastname", "description", "summary", "text", "nickname", "company", "address", "city", "phone", "code", "slug",
)  # fmt: skip
SIZES = ("limit", "perpage", "pagesize", "size", "count", "maxresults", "top", "maxitems", "pagelimit")
OFFSETS = ("offset", "skip", "start", "startindex")
CURSORS = ("cursor", "pagetoken", "marker", "nexttoken", "continuationtoken", "continuation", "nextcursor")
AFTERS = ("after", "startingafter", "afterid", "lastid")
PAGES = ("page", "pagenumber", "pageindex", "pageno")
NEXTS = (
    "next", "nextcursor", "nextpagetoken", "nexttoken", "nextmarker", "nextpage", "nextpageuri", "nextpageurl",
    "nexturl",
)  # fmt: skip
SCALARS = ("string", "integer", "number", "boolean")


@dataclass(frozen=True)
class Evidence:
    """One inference: what it is about, what it says, why, and how sure it is (0 to 1)."""

    subject: str
    says: str
    why: str
    confidence: float


@dataclass
class Inferred:
    """Resources and operations in the form of an overlay, and the evidence for them."""

    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    operations: dict[str, dict[str, Any]] = field(default_factory=dict)
    evidence: list[Evidence] = field(default_factory=list)
    schemas: dict[str, Any] = field(default_factory=dict)  # of each resource's records


@dataclass
class Member:
    """An operation in the cluster of a noun: what it seems to do, and why."""

    operation: Operation
    effect: str
    selector: str | None
    why: str
    confidence: float
    item: bool = False  # whether its path ends at one record


@dataclass
class Cluster:
    """The operations about one noun, keyed by where they hang."""

    key: str
    noun: str
    members: list[Member] = field(default_factory=list)
    trail: tuple[str, ...] = ()  # paths of the records it hangs under, outermost first

    def of(self, *effects: str) -> list[Member]:
        """The members with one of these effects, in the document's order."""
        return [member for member in self.members if member.effect in effects]


def infer(spec: Spec, operations: Sequence[Operation]) -> Inferred:
    """Resources and meanings for all operations of a document."""
    found = Inferred()
    clusters = _clusters(spec, operations)
    names = _names(clusters)
    for key, cluster in clusters.items():
        _Reader(spec, cluster, names[key], found).read()
    _parents(spec, clusters, names, found)
    _references(spec, found)
    for operation in operations:
        if operation.id not in found.operations:
            _left_over(operation, names, found)
    return found


def _left_over(operation: Operation, names: Mapping[str, str], found: Inferred) -> None:
    """An operation that no cluster explains: on a record where its path passes one, else on nothing."""
    effect = "read" if operation.method in ("GET", "HEAD", "OPTIONS") else "action"
    said: dict[str, Any] = {"effect": effect}
    why = f"{operation.method} that leads to no record"
    for key, place in _above(_blank("/" + "/".join(_segments(operation)))) if effect == "action" else ():
        name, parameter = names.get(key), _param_at(operation, place)
        if name in found.resources and parameter is not None:
            said |= {"resource": name, "selector": parameter.name}
            why = f"{operation.method} on what stands under a record"
    found.operations[operation.id] = said
    found.evidence.append(Evidence(operation.id, f"{effect} {said.get('resource', '')}".strip(), why, 0.5))


# ── nouns and verbs ────────────────────────────────────────────────────────────────────────────────────────


@lru_cache(maxsize=10_000)
def flat(name: str) -> str:
    """A name without case and punctuation, so that `FriendlyName` is `friendly_name`."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def words_of(name: str) -> list[str]:
    """The words of an identifier, lower case: `listAllUsers` -> list, all, users."""
    return [w.lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def singular(noun: str) -> str:
    """A noun in the singular, by the commonest English endings."""
    for ending, keep in (("ies", "y"), ("sses", "ss"), ("shes", "sh"), ("ches", "ch"), ("xes", "x"), ("ses", "se")):
        if noun.endswith(ending) and len(noun) > len(ending) + 1:
            return noun[: -len(ending)] + keep
    return noun[:-1] if noun.endswith("s") and not noun.endswith(("ss", "us", "is")) and len(noun) > 3 else noun


def _clusters(spec: Spec, operations: Sequence[Operation]) -> dict[str, Cluster]:
    clusters: dict[str, Cluster] = {}
    items = {_blank(o.path) for o in operations if o.path.rstrip("/").endswith("}")}
    for operation in operations:
        key, noun, member = _placed(spec, operation, items)
        if key:
            clusters.setdefault(key, Cluster(key, noun)).members.append(member)
    return clusters


def _segments(operation: Operation) -> list[str]:
    """The segments of a path, without a version at its beginning."""
    segments = [re.sub(r"(?<=.)\.(?:\{[^{}]*\}|json|xml)$", "", s) for s in operation.path.split("/") if s]
    while segments and re.fullmatch(r"v?\d+(\.\d+)*", segments[0]):
        segments = segments[1:]
    return segments


def _blank(path: str) -> str:
    return re.sub(r"\{[^{}]*\}", "{}", path.rstrip("/"))


def _placed(spec: Spec, operation: Operation, items: set[str]) -> tuple[str, str, Member]:
    """The cluster an operation belongs to, its noun, and what the operation seems to do there."""
    segments = _segments(operation)
    last = segments[-1] if segments else ""
    verbal = _verbal(segments, operation)
    if verbal is not None:
        return verbal
    if re.fullmatch(r"\{[^{}]+\}", last) and len(segments) > 1 and "{" not in segments[-2]:
        key = _blank("/" + "/".join(segments[:-1]))
        effect = {"GET": "get", "PUT": "update", "PATCH": "update", "POST": "update", "DELETE": "delete"}
        noun = singular("_".join(words_of(segments[-2])) or "record")
        selector = next((p.name for p in operation.parameters if "{" + p.wire + "}" == last), None)
        why = f"{operation.method} on a path that ends with a parameter after {segments[-2]!r}"
        done = effect.get(operation.method, "read")
        return key, noun, Member(operation, done, selector, why, 0.9, item=True)
    if last and "{" not in last:
        key = _blank("/" + "/".join(segments))
        effect = {"GET": "list", "POST": "create"}
        noun = singular("_".join(words_of(last)) or "record")
        why = f"{operation.method} on the collection {last!r}"
        return key, noun, Member(operation, effect.get(operation.method, "action"), None, why, 0.85)
    return "", "", Member(operation, "action", None, "", 0.0)


def _verbal(segments: Sequence[str], operation: Operation) -> tuple[str, str, Member] | None:
    """The same for a path whose last segment is or holds a verb; None for any other."""
    if not segments or "{" in segments[-1]:
        return None
    parts = re.split(r"[.:]", segments[-1])
    words = words_of(parts[-1])
    verb = words[0] if words and words[0] in VERBS else words[-1] if words and words[-1] in VERBS else None
    if verb is None:
        if len(parts) < 2:
            return None
        noun_words, effect, verb = parts[:-1], "action", parts[-1]
    else:
        rest = words[1:] if words[0] == verb else words[:-1]
        if "by" in rest:  # `findByStatus`: how, and not what
            rest = rest[: rest.index("by")]
        noun_words, effect = [*parts[:-1], *(["_".join(rest)] if rest else [])], VERBS[verb]
    before = [s for s in segments[:-1] if "{" not in s]
    if not noun_words:
        if not before:
            return None
        noun_words = before[-1:]
    elif operation.method in ("GET", "POST") and len(words) > 1 and len(parts) == 1 and len(segments) > 1:
        noun_words = noun_words[-1:]
    held = [s for s in segments[:-1] if "{" in s]
    if held and effect in ("create", "list"):  # `/xs/{id}/add`: what it adds to is no collection of its own
        effect = "action" if effect == "create" else "read"
    noun = singular("_".join(w for part in noun_words for w in words_of(part)))
    if not noun:
        return None
    place = list(segments[:-1])
    while place and ("{" in place[-1] or singular("_".join(words_of(place[-1]))) == noun):
        place = place[:-1]
    plural = next((s for s in segments[:-1] if singular("_".join(words_of(s))) == noun), None)
    key = _blank("/" + "/".join([*place, plural or f"~{noun}"]))
    selector = next((p.name for p in operation.parameters if held and "{" + p.wire + "}" == held[-1]), None)
    why = f"the verb {verb!r} in {segments[-1]!r}"
    return key, noun, Member(operation, effect, selector, why, 0.75, item=selector is not None)


def _names(clusters: Mapping[str, Cluster]) -> dict[str, str]:
    """A name for each cluster: its noun, with what it hangs under before it where two would be alike."""
    names: dict[str, str] = {}
    nouns, taken = Counter(cluster.noun for cluster in clusters.values()), dict[str, int]()
    for key, cluster in clusters.items():
        name = cluster.noun
        if nouns[name] > 1:
            above = [singular("_".join(words_of(s))) for s in key.split("/") if s and "{" not in s and s[0] != "~"]
            name = "_".join([*above[-2:-1], name]) or name
        base, number = name, taken.get(name, 1)
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken[base] = number
        taken.setdefault(name, 1)
        names[key] = name
    return names


# ── from a cluster to a resource ───────────────────────────────────────────────────────────────────────────


class _Reader:
    """Reads one cluster: where its records stand in responses, what identifies one, how lists are cut."""

    def __init__(self, spec: Spec, cluster: Cluster, name: str, found: Inferred) -> None:
        self._spec, self._cluster, self._name, self._found = spec, cluster, name, found
        self._noun = cluster.noun
        self._said: dict[str, dict[str, Any]] = {}

    def read(self) -> None:
        """Add the resource and the meaning of its operations, if the cluster leads to records."""
        self._settle()
        source = self._source()
        if source is None:
            return
        operation, at, schema, why = source
        properties = self._spec.properties(schema)
        identity, sure = self._identity(properties)
        resource: dict[str, Any] = {"schema": _schema_name(schema) or {"of": operation.id, "at": at}, "id": identity}
        label = self._label(properties, identity)
        if label:
            resource["label"] = [label]
        if unique := [n for n, p in properties.items() if n != identity and self._unique(p)]:
            resource["unique"] = unique
        if volatile := [n for n, p in properties.items() if self._volatile(n, p, identity)]:
            resource["volatile"] = volatile
        self._found.resources[self._name] = resource
        self._found.schemas[self._name] = schema
        self._note(self._name, f"schema {_schema_name(schema) or operation.id + at}", why, 0.85)
        how = "a property of the record" if identity in properties else "the record does not show it"
        self._note(self._name, f"id {identity}", how, sure)
        for member in self._cluster.members:
            self._meaning(member, schema, properties, identity)

    def _settle(self) -> None:
        """Take back what a response contradicts: a list without rows, a create where nothing is kept."""
        for member in self._cluster.members:
            if member.effect == "list" and self._rows(member.operation) is None:
                single = not member.item and self._record(member.operation, nested=True) is not None
                member.effect = "get" if single and self._selector(member) else "read"
            if member.effect == "get" and member.selector is None and not self._selector(member):
                member.effect = "list" if self._rows(member.operation) is not None else "read"
            if member.effect in ("update", "delete") and self._selector(member) is None:
                member.effect = "action"

    def _source(self) -> tuple[Operation, str, Any, str] | None:
        """The operation and the place in its response from which the schema of a record is taken."""
        reads = self._cluster.of("get", "list")
        if not reads and not (self._cluster.of("create") and self._cluster.of("update", "delete")):
            return None
        for member in (*self._cluster.of("get"), *self._cluster.of("create"), *self._cluster.of("update")):
            if (at := self._record(member.operation)) is not None:
                part = self._at(member.operation, at)
                return member.operation, at, part, f"the response of {member.operation.id} holds a record"
        for member in self._cluster.of("list"):
            if (at := self._rows(member.operation)) is not None:
                part = self._at(member.operation, f"{at}/*")
                return member.operation, f"{at}/*", part, f"the rows of {member.operation.id}"
        return None

    def _response(self, operation: Operation) -> Any:
        schema = operation.responses.get(operation.success)
        return schema if is_json(operation.produces.get(operation.success)) else None

    def _at(self, operation: Operation, pointer: str) -> Any:
        return part(self._spec, self._response(operation), pointer)

    def _record(self, operation: Operation, *, nested: bool = False) -> str | None:
        """The pointer to the record in a response; None where there is none."""
        response = self._response(operation)
        if response is None:
            return None
        best, place = 0, None
        own = self._spec.properties(response)
        for at, schema in [("", response), *self._spec.walk(response, 2)]:
            properties = self._spec.properties(schema) if "array" not in self._spec.kinds(schema) else {}
            if not properties:
                continue
            last, names = flat(at.rsplit("/", 1)[-1]), {flat(name) for name in properties}
            worth = 3 if names & {"id", "sid", "uuid", "key", f"{flat(self._noun)}id"} else 0
            worth += 3 if last and singular(last) == flat(self._noun) else 0
            worth += 2 if last in ENVELOPES else 0
            worth += 1 if not at and not nested and len(own) > 1 else 0
            worth -= at.count("/") - 1 if at else -1
            if worth > best and (at == "" or worth >= 2):
                best, place = worth, at
        return place

    def _rows(self, operation: Operation) -> str | None:
        """The pointer to the records of a list in a response; None where there are no rows of objects."""
        response = self._response(operation)
        if response is None:
            return None
        if self._is_rows(response):
            return ""
        best, place = 0, None
        for at, schema in self._spec.walk(response, 3):
            if not self._is_rows(schema):
                continue
            last = flat(at.rsplit("/", 1)[-1])
            if last in ASIDE:
                continue
            worth = 4 + (3 if singular(last) == flat(self._noun) else 0) + (2 if last in ROWS else 0) - at.count("/")
            if worth > best:
                best, place = worth, at
        return place

    def _is_rows(self, schema: Any) -> bool:
        if "array" not in self._spec.kinds(schema):
            return False
        return bool(self._spec.properties(self._spec.merged(schema).get("items", {})))

    # ── what identifies, what tells apart ──────────────────────────────────────────────────────────────────

    def _selector(self, member: Member) -> str | None:
        """The argument that says which record is meant: of the path's end, else one called like an id."""
        if member.selector is not None:
            return member.selector
        noun = flat(self._noun)
        short = flat(words_of(self._noun)[-1]) if words_of(self._noun) else noun
        wanted = [f"{n}{i}" for n in (noun, short) for i in ("id", "sid", "uuid", "key", "token")]
        wanted += [noun, short, "id", "sid", "uuid", *self._called()]
        known = {flat(name): name for name in _arguments(self._spec, member.operation)}
        return next((known[name] for name in wanted if name in known), None)

    def _called(self) -> list[str]:
        """What responses call the record, where that is not the noun of the paths: `/conversations.info` -> channel."""
        for member in self._cluster.members:
            at = self._record(member.operation)
            last = flat(at.rsplit("/", 1)[-1]) if at else ""
            if last and last not in ENVELOPES:
                return [f"{last}id", last]
        return []

    def _identity(self, properties: Mapping[str, Any]) -> tuple[str, float]:
        known = {flat(name): name for name, schema in properties.items() if self._scalar(schema, ("string", "integer"))}
        noun = flat(self._noun)
        selectors = [flat(s) for m in self._cluster.members if (s := self._selector(m)) is not None]
        in_paths = [flat(m.selector) for m in self._cluster.members if m.selector is not None]  # `/user/{username}`
        wanted = [*in_paths, *selectors, "id", f"{noun}id"]
        wanted += [tail for s in selectors for tail in IDS if s.endswith(tail)]
        wanted += [f"{noun}{tail}" for tail in IDS] + ["sid", "uuid", "guid", "identifier", noun]
        for name in wanted:
            if name in known:
                return known[name], 0.95 if name in (*selectors, "id") else 0.8
        return "id", 0.4

    def _scalar(self, schema: Any, kinds: Sequence[str] = SCALARS) -> bool:
        said = [kind for kind in self._spec.kinds(schema) if kind != "null"]
        return len(said) == 1 and said[0] in kinds

    def _label(self, properties: Mapping[str, Any], identity: str) -> str | None:
        """The property by which people tell records apart, among those that lists show."""
        shown = set(properties)
        for member in self._cluster.of("list"):
            if (at := self._rows(member.operation)) is not None:
                shown &= set(self._spec.properties(self._at(member.operation, f"{at}/*")))
        fit = [
            name
            for name, schema in properties.items()
            if name in shown
            and name != identity
            and self._scalar(schema, ("string",))
            and not {"enum", "const"} & set(self._spec.merged(schema))
            and self._spec.merged(schema).get("format")
            not in ("date-time", "date", "uri", "url", "uuid", "binary", "byte")
            and not flat(name).endswith(("id", "sid", "url", "uri", "href", "token", "hash", "etag", "at", "type"))
        ]
        named = {flat(name): name for name in reversed(fit)}
        return next((named[name] for name in LABELS if name in named), next(iter(fit), None))

    def _unique(self, schema: Any) -> bool:
        merged = self._spec.merged(schema)
        said = str(merged.get("description", ""))
        return self._scalar(schema, ("string",)) and re.search(r"\b(?:must be|is|be) unique\b", said) is not None

    def _volatile(self, name: str, schema: Any, identity: str) -> bool:
        merged, plain = self._spec.merged(schema), flat(name)
        timely = merged.get("format") == "date-time" or plain.endswith(("at", "date", "time", "ts"))
        server = merged.get("readOnly") or re.search(r"creat|updat|modif|chang|last|refresh|sync", plain)
        counted = plain in ("etag", "revision", "version", "sequenceid", "lockversion")
        return name != identity and bool((timely and server) or counted)

    # ── what each operation does ───────────────────────────────────────────────────────────────────────────

    def _meaning(self, member: Member, schema: Any, properties: Mapping[str, Any], identity: str) -> None:
        operation, effect = member.operation, member.effect
        if effect == "read":
            return
        said: dict[str, Any] = {"effect": effect, "resource": self._name}
        selector = self._selector(member)
        if effect in ("get", "update", "delete", "action") and selector is not None:
            said["selector"] = selector
        if effect == "action" and selector is None:
            return
        if effect == "list":
            said["items"] = (self._rows(operation) or "").removeprefix("/")
            said |= self._cut(operation, properties)
        elif (at := self._record(operation)) is not None:
            if at:
                said["record"] = at
        elif effect == "get":  # nothing in its answer is the record
            return
        if effect == "update":
            said["mode"] = "replace" if operation.method == "PUT" else "merge"
        known = {flat(name): name for name in properties}
        fields = {
            name: known[flat(name)]
            for name in _arguments(self._spec, operation)
            if name not in properties and flat(name) in known and name != said.get("selector")
        }
        if fields and effect != "list":
            said["fields"] = fields
        self._found.operations[operation.id] = said
        self._note(operation.id, f"{effect} {self._name}", member.why, member.confidence)

    def _cut(self, operation: Operation, properties: Mapping[str, Any]) -> dict[str, Any]:
        """Filters and paging of a list, by the names of its parameters."""
        plain = {flat(p.name): p.name for p in operation.parameters if p.where == "query"}
        if operation.method != "GET":
            plain |= {flat(name): name for name in _arguments(self._spec, operation)}
        size = next((plain[n] for n in SIZES if n in plain), None)
        made: dict[str, Any] = {}
        for style, choices in (("offset", OFFSETS), ("cursor", CURSORS), ("after", AFTERS), ("page", PAGES)):
            at = next((plain[n] for n in choices if n in plain), None)
            if size is not None and at is not None:
                size_key = "size" if style == "page" else "limit"
                made["page"] = {"style": style, size_key: size, style: at}
                if (following := self._next(operation)) is not None:
                    made["page"]["next"] = following
                if style == "page":
                    made["page"]["first"] = self._first(operation, at)
                self._note(operation.id, f"pages by {style}", f"parameters {size} and {at}", 0.8)
                break
        taken = set((made.get("page") or {}).values())
        known = {flat(n): n for n, s in properties.items() if self._scalar(s)}
        filters = {n: known[f] for f, n in plain.items() if f in known and n not in taken}
        if filters:
            made["filters"] = filters
        return made

    def _first(self, operation: Operation, at: str) -> int:
        schema = self._spec.merged(_arguments(self._spec, operation)[at])
        said = schema.get("default", schema.get("minimum", 1))
        return said if isinstance(said, int) and said in (0, 1) else 1

    def _next(self, operation: Operation) -> str | None:
        for at, schema in self._spec.walk(self._response(operation), 2):
            if flat(at.rsplit("/", 1)[-1]) in NEXTS and self._scalar(schema, ("string", "integer")):
                return at.removeprefix("/")
        return None

    def _note(self, subject: str, says: str, why: str, confidence: float) -> None:
        self._found.evidence.append(Evidence(subject, says, why, confidence))


def part(spec: Spec, schema: Any, pointer: str) -> Any:
    """The schema under a pointer of property names; `*` stands for the elements of an array."""
    for step in filter(None, pointer.split("/")):
        name = step.replace("~1", "/").replace("~0", "~")
        schema = spec.merged(schema).get("items", {}) if name == "*" else spec.properties(schema).get(name, {})
    return schema


def _schema_name(schema: Any) -> str | None:
    reference = schema.get("$ref") if isinstance(schema, Mapping) and len(schema) == 1 else None
    found = re.fullmatch(r"[^#]*#/components/schemas/([^/]+)", reference or "")
    return found[1].replace("~1", "/").replace("~0", "~") if found else None


def _arguments(spec: Spec, operation: Operation) -> dict[str, Any]:
    made = {p.name: p.schema for p in operation.parameters}
    if operation.body is not None and operation.whole is None:
        back = {prop: name for name, prop in operation.renamed.items()}
        made |= {back.get(n, n): s for n, s in spec.properties(operation.body).items()}
    return made


# ── what resources have to do with each other ──────────────────────────────────────────────────────────────


def _parents(spec: Spec, clusters: Mapping[str, Cluster], names: Mapping[str, str], found: Inferred) -> None:
    """A record under `/xs/{id}/ys` hangs under an x, by the property that holds its id, or by a hidden one."""
    for key, cluster in clusters.items():
        name = names[key]
        if name not in found.resources:
            continue
        properties = spec.properties(found.schemas[name])
        for above, place in _above(key):
            parent = names.get(above)
            if parent is None or parent not in found.resources or parent == name:
                continue
            params = {
                m.operation.id: p.name
                for m in cluster.members
                if m.operation.id in found.operations
                and (p := _param_at(m.operation, place)) is not None
                and "enum" not in spec.merged(p.schema)
            }
            if not params:
                continue
            prop = _link_property(properties, parent, params.values()) or f"{parent}_id"
            while prop == found.resources[name]["id"]:
                prop = f"{parent}_{prop}"
            found.resources[name].setdefault("parent", {})[parent] = prop
            for identifier, argument in params.items():
                said = found.operations[identifier]
                if argument != prop and argument != said.get("selector"):
                    said.setdefault("fields", {})[argument] = prop
            seen = "in a property of the record" if prop in properties else "which the record does not show"
            found.evidence.append(Evidence(name, f"under {parent} by {prop}", f"its path, {seen}", 0.8))


def _above(key: str) -> Iterator[tuple[str, int]]:
    """The keys of the collections that a path passes on its way, each with the index of its parameter."""
    segments = key.split("/")[1:]
    for i, segment in enumerate(segments):
        if segment == "{}" and i:
            yield "/" + "/".join(segments[:i]), i


def _param_at(operation: Operation, place: int) -> Any:
    segments = _segments(operation)
    wire = segments[place].strip("{}") if place < len(segments) else ""
    return next((p for p in operation.parameters if p.where == "path" and p.wire == wire), None)


def _link_property(properties: Mapping[str, Any], parent: str, params: Iterable[str]) -> str | None:
    known = {flat(name): name for name in properties}
    wanted = [*(flat(p) for p in params if flat(p) not in ("id", "sid", "uuid"))]
    wanted += [f"{flat(parent)}{tail}" for tail in ("id", "sid", "uuid", "key")]
    return next((known[name] for name in wanted if name in known), None)


def _references(spec: Spec, found: Inferred) -> None:
    """A property called like another resource's id holds one, unless that would make a circle."""
    names = {flat(name): name for name in found.resources}
    for name, resource in found.resources.items():
        parents = set(resource.get("parent", {}).values())
        for prop, schema in spec.properties(found.schemas[name]).items():
            kinds = [kind for kind in spec.kinds(schema) if kind != "null"]
            match = re.fullmatch(r"(.+?)(id|sid|uuid)", flat(prop))
            other = names.get(match[1]) if match else None
            if other in (None, name) or prop in (*parents, resource["id"]) or kinds not in (["string"], ["integer"]):
                continue
            assert other is not None
            if _reaches(found, other, name):
                continue
            resource.setdefault("references", {})[prop] = other
            found.evidence.append(Evidence(name, f"{prop} is the id of {other}", "its name", 0.6))


def _reaches(found: Inferred, start: str, goal: str) -> bool:
    stack, seen = [start], set[str]()
    while stack:
        name = stack.pop()
        if name == goal:
            return True
        if name not in seen:
            seen.add(name)
            resource = found.resources.get(name, {})
            stack += [*resource.get("parent", {}), *resource.get("references", {}).values()]
    return False
