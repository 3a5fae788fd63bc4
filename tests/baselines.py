"""Two ways in which others judge calls, written anew from how they are described, to be measured beside ours.

`ast_match` follows the AST check of the Berkeley Function Calling Leaderboard (Patil et al., 2025): as many calls as
wanted, matched greedily, arguments equal after punctuation and case are taken off texts. `state_hash` follows
tau2-bench (Barres et al., 2025): the calls that write, made again in a fresh database, must leave the hash that the
reference leaves, and every fact must stand in what was said.
"""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from simlab.api import Api
from simlab.message import ToolCall
from simlab.mutants import Script
from simlab.scenario import LabelledCall, ToolScenario
from simlab.talk import Talk
from simlab.world import World, seeded, volatile_fields


def ast_match(api: Api, script: Script, talk: Talk) -> bool:
    calls = [call for call, _ in talk.calls]
    if len(calls) != len(script.label.calls):
        return False
    left = list(calls)
    for wanted in script.label.calls:
        fitting = next((call for call in left if _fits(api, wanted, call)), None)
        if fitting is None:
            return False
        left.remove(fitting)
    return True


def _fits(api: Api, wanted: LabelledCall, call: ToolCall) -> bool:
    if wanted.op != call.name:
        return False
    values = {name: argument.value for name, argument in wanted.args.items()}
    schemas = api.arguments(api.operations[wanted.op])
    optional = {n for n, value in values.items() if api.merged(schemas.get(n, {})).get("default", _NOTHING) == value}
    if any(name not in values for name in call.arguments) or any(n not in call.arguments for n in {*values} - optional):
        return False
    return all(_equal(values[name], value) for name, value in call.arguments.items())


_NOTHING = object()


def _equal(wanted: Any, got: Any) -> bool:
    if isinstance(wanted, float) and type(got) is int:
        return wanted == got
    if type(wanted) is not type(got):
        return False
    if isinstance(wanted, str):
        return _stripped(wanted) == _stripped(got)
    if isinstance(wanted, list):
        return len(wanted) == len(got) and all(map(_equal, wanted, got))
    if isinstance(wanted, Mapping):
        return set(wanted) == set(got) and all(_equal(wanted[name], got[name]) for name in wanted)
    return bool(wanted == got)


def _stripped(text: str) -> str:
    return "".join(letter for letter in text if letter not in " ,./-_*^").lower().replace("'", '"')


def state_hash(api: Api, scenario: ToolScenario, script: Script, talk: Talk) -> bool:
    start = seeded(api, scenario.world.seed, scenario.world.clock)
    wanted = [
        ToolCall("", call.op, {name: argument.value for name, argument in call.args.items()})
        for call in script.label.calls
    ]
    reached = _hash(api, start, [call for call, _ in talk.calls]) == _hash(api, start, wanted)
    said = [line.text.lower().replace(",", "") for line in talk.lines if line.speaker == "agent"]
    return reached and all(any(str(fact.value).lower() in line for line in said) for fact in script.label.facts)


def _hash(api: Api, start: World, calls: Sequence[ToolCall]) -> str:
    """Of the database after the calls that write; times that the server sets are left out, which is kinder."""
    world, volatile = start.copy(), volatile_fields(api)
    for call in calls:
        if call.name in api.operations and api.operations[call.name].writes:
            world.call(call.name, call.arguments)
    tables = getattr(world.tables, "changed", world.tables)
    kept = {
        name: {
            key: {prop: value for prop, value in record.items() if prop not in volatile.get(name, ())}
            for key, record in tables[name].items()
        }
        for name in tables
    }
    return sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()
