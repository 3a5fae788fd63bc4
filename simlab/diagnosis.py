"""Diagnosis: from wanted calls and those that were made to findings, each of one type (`findings.ERRORS`)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from simlab.api import Api
from simlab.arguments import Difference, Expected, Made, Matched, differences, finding_of
from simlab.facts import holds
from simlab.findings import Finding
from simlab.plan import spoken
from simlab.schema import to_json
from simlab.talk import Talk, leaves

PASSING = (429, 500, 502, 503, 504)  # statuses after which the same call may work


@dataclass(frozen=True)
class Evidence:
    """What is known beside the calls: the talk, the house rules, and which components hold."""

    api: Api | None
    talk: Talk
    policy: str
    made: Sequence[Made]
    state: bool
    facts: bool
    changes: bool  # whether a change is wanted
    banned: Sequence[Made] = ()
    unasked: Sequence[Made] = ()


def findings_of(expected: Sequence[Expected], matched: Matched, evidence: Evidence) -> tuple[Finding, ...]:
    """All that is wrong, in the order of the calls."""
    found = [
        *(_of(made, "forbidden_call", "is forbidden") for made in evidence.banned),
        *(_of(made, "premature_call", "was made before the user said yes") for made in evidence.unasked),
        *_lucky(expected, matched, evidence),
        *_near(expected, matched, evidence),
        *_failed(expected, matched, evidence),
        *_left(expected, matched, evidence),
        *_claims(evidence),
    ]
    if not found and not evidence.state:  # every call is as it should be, and what it set is not
        found = [Finding("wrong_value", "the state is not the one that is wanted")]
    return tuple(sorted(found, key=lambda one: (one.call is None, one.call or 0)))


def _of(made: Made, what: str, said: str) -> Finding:
    return Finding(what, f"{made.call.name} {said}", made.index, made.turn, made.call.name)


def _lucky(expected: Sequence[Expected], matched: Matched, evidence: Evidence) -> Iterator[Finding]:
    """Writes with the right value that nobody had told yet."""
    for row, column in matched.right.items():
        if not expected[row].writes:
            continue
        made = evidence.made[column]
        for name, argument in expected[row].arguments.items():
            early = _untold(argument.sources, argument.value, made, evidence)
            if name in made.call.arguments and early and not _known(argument.value, made, evidence):
                yield Finding(
                    "premature_call",
                    f"{made.call.name} was made before the user told {name}",
                    made.index,
                    made.turn,
                    made.call.name,
                    f"/{name}",
                    got=made.call.arguments[name],
                )


def _near(expected: Sequence[Expected], matched: Matched, evidence: Evidence) -> Iterator[Finding]:
    """Calls of the right operation with other arguments."""
    for row, column in matched.near.items():
        if not expected[row].needed:
            continue
        made = evidence.made[column]
        for gap in differences(expected[row], made.call.arguments, {}):
            yield finding_of(gap, _type_of(gap, expected[row], made, evidence), made)


def _type_of(gap: Difference, expected: Expected, made: Made, evidence: Evidence) -> str:
    """The type of a difference: what nobody had told yet is premature, what comes from nowhere is made up."""
    if gap.what == "missing_argument":
        wanted = expected.arguments[gap.name]
        return "premature_call" if _untold(wanted.sources, wanted.value, made, evidence) else gap.what
    if (
        gap.what == "wrong_value"
        and evidence.api
        and evidence.talk.complete
        and _from_nowhere(gap, expected, made, evidence)
    ):
        return "hallucinated_value"
    return gap.what


def _untold(sources: Sequence[str], value: Any, made: Made, evidence: Evidence) -> bool:
    """Whether a value is the user's to tell, and was not told when the call was made."""
    if not evidence.talk.complete or not any(source.startswith("user:") for source in sources):
        return False
    return not all(evidence.talk.told(leaf, made.line) for leaf in leaves(value))


def _known(value: Any, made: Made, evidence: Evidence) -> bool:
    return all(evidence.talk.knows(leaf, made.line) for leaf in leaves(value))


def _from_nowhere(gap: Difference, expected: Expected, made: Made, evidence: Evidence) -> bool:
    constants = {to_json(one) for one in _constants(evidence.api, expected.operation, gap.name)}
    return any(
        not isinstance(leaf, bool)
        and leaf not in (None, {}, [])
        and to_json(leaf) not in constants
        and not holds(evidence.policy, leaf)
        and not evidence.talk.knows(leaf, made.line)
        for leaf in leaves(gap.got)
    )


def _constants(api: Api | None, operation: str, argument: str) -> Iterator[Any]:
    """The values that the schema of an argument names: enums, constants and defaults, its parts' too."""
    if api is None or operation not in api.operations:
        return
    schema = api.arguments(api.operations[operation]).get(argument)
    if schema is None:
        return
    each = api.merged(schema).get("items", {})
    for part in (schema, each, *(inner for _, inner in (*api.walk(schema), *api.walk(each)))):
        merged = api.merged(part)
        yield from merged.get("enum", ())
        yield from (merged[key] for key in ("const", "default") if key in merged)


def _failed(expected: Sequence[Expected], matched: Matched, evidence: Evidence) -> Iterator[Finding]:
    """The right call, which did not work or came too early."""
    for row, column in matched.failed.items():
        if not expected[row].needed:
            continue
        made = evidence.made[column]
        if made.worked or _out_of_order(row, column, expected, matched):
            yield _of(made, "order_violation", "was made in the wrong order")
        elif made.status in PASSING or not _missing(expected, matched):  # what is refused for want of another is none
            yield _of(made, "unrecovered_error", f"failed with {made.status} and was not made again")


def _out_of_order(row: int, column: int, expected: Sequence[Expected], matched: Matched) -> bool:
    """Whether what the call needs came later, or what needs the call came earlier."""
    places = {**matched.failed, **matched.near, **matched.right}
    sources = any(places.get(other, -1) > column for other in expected[row].after)
    dependents = any(row in one.after and places.get(i, column) < column for i, one in enumerate(expected))
    return sources or dependents


def _left(expected: Sequence[Expected], matched: Matched, evidence: Evidence) -> Iterator[Finding]:
    """What was not made at all, made as something else, or made besides."""
    for row, column in matched.astray.items():
        made = evidence.made[column]
        message = f"{made.call.name} was called in the place of {expected[row].operation}"
        if not made.exists:
            message = f"there is no operation {made.call.name}; {expected[row].operation} was needed"
        yield Finding(
            "wrong_operation", message, made.index, made.turn, made.call.name,
            expected=expected[row].operation, got=made.call.name,
        )  # fmt: skip
    if not evidence.state:
        for column in matched.extra:
            yield _of(evidence.made[column], "extra_write", "changed what should not have changed")
    missing = _missing(expected, matched)
    if missing and not evidence.made:
        yield Finding("no_call", "nothing was called")
    for one in missing:
        yield Finding("missing_call", f"{one.operation} was not called", operation=one.operation)


def _missing(expected: Sequence[Expected], matched: Matched) -> list[Expected]:
    placed = {*matched.right, *matched.near, *matched.failed, *matched.astray}
    return [one for i, one in enumerate(expected) if one.needed and i not in placed]


def _claims(evidence: Evidence) -> Iterator[Finding]:
    """A claim without the deed: of a change that is not there, or of an answer that was never told."""
    if not evidence.talk.claims and (evidence.facts or not evidence.talk.said):
        return
    if evidence.changes and not evidence.state and evidence.talk.claims:
        yield Finding("false_claim", f"said {spoken(evidence.talk.said[-1])[:80]!r}, and the state does not show it")
    elif not evidence.facts and evidence.state and evidence.made:
        yield Finding("false_claim", "the answer that was given is not the one that the service gave")
