"""What a mutant truly does, found out by brute force: nothing of the scorer is used here.

The calls of the label and those of the mutant are made in two fresh worlds. The final records are compared under every
renaming of the ids of new records, one after the other; values are brought to one spelling by a few lines of our own;
facts are looked for in every spelling that counts. It is slow and plain, and that is its purpose.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from itertools import permutations, product
from typing import Any

from simlab.api import Api
from simlab.faults import FaultyWorld
from simlab.mutants import ASKS, YES, Script
from simlab.scenario import ToolScenario
from simlab.talk import Talk
from simlab.world import World, seeded

DAYS = "January February March April May June July August September October November December".split()


def truly_passes(api: Api, scenario: ToolScenario, script: Script, talk: Talk) -> bool:
    """Whether an agent that did and said this served its user, and did nothing else."""
    start = seeded(api, scenario.world.seed, scenario.world.clock)
    wanted, made = start.copy(), start.copy()
    for call in script.label.calls:
        wanted.call(call.op, {name: argument.value for name, argument in call.args.items()})
    service = FaultyWorld(made, script.faults)
    said_yes = False
    for number, line in enumerate(talk.lines):
        if line.speaker == "user" and line.text == YES and talk.lines[number - 1].text == ASKS:
            said_yes = True
        for call in line.calls:
            worked = service.call(call.name, call.arguments).response.status < 400
            if worked and (call.name in script.label.forbidden or (call.name in script.label.confirm and not said_yes)):
                return False
    if not same_records(api, script, start, wanted, made):
        return False
    said = [line.text for line in talk.lines if line.speaker == "agent" and line.text]
    return all(
        was_told(fact.value, said, other_values(api, script, start, fact.call, fact.pointer))
        for fact in script.label.facts
    )


# --- records ----------------------------------------------------------------------------------------------------


def same_records(api: Api, script: Script, start: World, one: World, other: World) -> bool:
    """Whether two worlds hold the same records, by whatever ids the new ones have."""
    tables = sorted({*one.tables.changed, *other.tables.changed})  # type: ignore[attr-defined]
    left, right = (plain(api, script, world, tables) for world in (one, other))
    if left == right:
        return True
    renamings = []
    for name in tables:
        old = set(start.tables.get(name, {}))
        fresh, others = sorted(set(one.tables.get(name, {})) - old), sorted(set(other.tables.get(name, {})) - old)
        if len(fresh) != len(others):
            return False
        renamings.append([dict(zip(others, order, strict=True)) for order in permutations(fresh)])
    for choice in product(*renamings):
        names = {old: new for part in choice for old, new in part.items() if old != new}
        if names and renamed(right, names) == left:
            return True
    return False


def plain(api: Api, script: Script, world: World, tables: list[str]) -> Any:
    """The records of some tables, in one spelling."""
    made: dict[str, Any] = {}
    for name in tables:
        resource = api.resources.get(name)
        table = world.tables.get(name, {})
        if resource is None:
            made[name] = {key: noted(record, api, script) for key, record in table.items()}
            continue
        known = api.properties(resource.schema)
        any_case = cases(api, script, name)
        made[name] = {
            key: {
                prop: spelt(value.lower() if prop in any_case else value, known.get(prop), api)
                for prop, value in record.items()
                if prop not in resource.volatile
            }
            for key, record in table.items()
        }
    return made


def noted(record: Mapping[str, Any], api: Api, script: Script) -> Any:
    """The note of a call of which nobody says what it does, its arguments in one spelling."""
    operation = api.operations[record["operation"]]
    schemas = {operation.fields.get(name, name): schema for name, schema in api.arguments(operation).items()}
    any_case = {
        operation.fields.get(name, name)
        for call in script.label.calls
        for name, argument in call.args.items()
        if call.op == operation.id and argument.value_class == "casefold"
    }
    given = {
        name: spelt(value.lower() if name in any_case else value, schemas.get(name), api)
        for name, value in record["arguments"].items()
        if name not in schemas or api.merged(schemas[name]).get("default", value is None) != value
    }
    return {"operation": operation.id, "arguments": given}


def cases(api: Api, script: Script, resource: str) -> set[str]:
    """The fields whose letters may be of any case, as the label says."""
    return {
        api.operations[call.op].fields.get(name, name)
        for call in script.label.calls
        for name, argument in call.args.items()
        if argument.value_class == "casefold" and api.operations[call.op].resource == resource
    }


def spelt(value: Any, schema: Any, api: Api) -> Any:
    """A value in one spelling: numbers as floats, moments in UTC, sets in order, defaults of parts left out."""
    said = api.merged(schema) if schema is not None else {}
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str):
        return moment(value) if said.get("format") == "date-time" else value
    if isinstance(value, Mapping):
        parts = api.properties(schema) if schema is not None else {}
        defaults = {name: api.merged(part).get("default") for name, part in parts.items()}
        return {
            name: spelt(inner, parts.get(name), api)
            for name, inner in value.items()
            if defaults.get(name) is None or defaults[name] != inner
        }
    rows = [spelt(one, said.get("items"), api) for one in value]
    return sorted(rows, key=json.dumps) if said.get("uniqueItems") else rows


def moment(value: str) -> str:
    try:
        read = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return value
    return value if read.tzinfo is None else str(read.astimezone(UTC).timestamp())


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {names.get(key, key): renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [renamed(inner, names) for inner in value]
    if isinstance(value, float) and f"{value:.0f}" in names:
        return float(names[f"{value:.0f}"])
    return names.get(value, value) if isinstance(value, str) else value


# --- facts ------------------------------------------------------------------------------------------------------


def was_told(value: Any, said: list[str], others: list[Any]) -> bool:
    for line in said:
        if not any(standing_in(line, spelling) for spelling in spellings(value)):
            continue
        named = [other for other in others if any(standing_in(line, one) for one in spellings(other))]
        if len(named) >= 3 or (named and len(named) == len(others)):
            continue
        where = next(line.lower().find(one.lower()) for one in spellings(value) if standing_in(line, one))
        before = re.split(r"[.!?] (?=[A-Z])", line[:where])[-1]
        if not before.lower().rstrip().endswith(" not"):
            return True
    return False


def spellings(value: Any) -> Iterator[str]:
    if isinstance(value, bool):
        yield "yes" if value else "no"
        return
    yield str(value)
    if isinstance(value, int | float):
        yield f"{value:,}"
        yield f"{value:.2f}"
        yield f"{value:,.2f}"
    elif re.fullmatch(r"\d{4}-\d\d-\d\d", str(value)):
        day = date.fromisoformat(value)
        yield f"{day.day} {DAYS[day.month - 1]} {day.year}"


def standing_in(line: str, spelling: str) -> bool:
    """Whether a spelling stands in a line with nothing of a word or number at either side."""
    text, wanted = line.lower(), spelling.lower()
    at = text.find(wanted)
    while at >= 0:
        before, after = text[:at], text[at + len(wanted) :]
        glued = re.search(r"[\w.]$|\d,$", before) or re.match(r"\w|[.,]\d", after)
        if not glued:
            return True
        at = text.find(wanted, at + 1)
    return False


def other_values(api: Api, script: Script, start: World, call: int, pointer: str) -> list[Any]:
    """What the same field holds in the other records, as far as nobody asked for it."""
    name = api.operations[script.label.calls[call - 1].op].resource
    prop = pointer.split("/")[-1]
    asked = [fact.value for fact in script.label.facts]
    if name not in api.resources:
        return []
    found: list[Any] = []
    for record in start.tables[name].values():
        value = record.get(prop)
        if value is not None and value not in asked and value not in found:
            found.append(value)
    return found
