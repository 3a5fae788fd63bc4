"""Verification: every label of a run is executed again, and every trace judged again, from the file alone."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simlab.api import Api
from simlab.errors import InputError, JournalMismatch
from simlab.plan import executed
from simlab.run import find_recipe, takes_apis
from simlab.runfile import RunFile
from simlab.scenario import ToolScenario, scenario_from
from simlab.schema import read_json, to_json
from simlab.stage import Stage
from simlab.stored import Reader, StoredRecord, stored_apis


@dataclass
class Verified:
    """How many labels and verdicts hold, and a line for each that does not."""

    n: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def good(self) -> int:
        """Those that hold."""
        return self.n - len(self.differences)


def verify_run(path: Path | str) -> Verified:
    """Verify every labelled record of a run file; raises InputError where there is none."""
    file = RunFile.open(path)
    found = Verified()
    try:
        reader = Reader(file)
        if not takes_apis(find_recipe(reader.meta["recipe"])):
            raise InputError(f"{path}: a run of {reader.meta['recipe']} has no labels to verify")
        apis = {source.sha256: source.compiled() for source in stored_apis(file)}
        for item in file.finished():
            kept = [StoredRecord(reader, item, n, kind, read_json(body)) for n, kind, body in records_of(file, item)]
            dropped = file.one("SELECT count(*) FROM dropped WHERE item = ?", item)
            labelled = [r for r in kept if "scenario" in r.body and "verdict" in r.body.get("meta", {})]
            if not kept and dropped:
                continue
            found.n += 1
            if not labelled:
                found.differences.append(f"episode {item}: it has no record with a label and a verdict")
            elif difference := _difference(reader, labelled[0], apis):
                found.differences.append(f"episode {item}: {difference}")
        if not found.n:
            raise InputError(f"{path}: no record of this run has a label")
        return found
    finally:
        file.close()


def records_of(file: RunFile, item: int) -> list[tuple[Any, ...]]:
    """Number, type and body of an item's records, whatever the second pass made of them."""
    return list(file.query("SELECT n, type, body FROM record WHERE item = ? ORDER BY n", item))


def _difference(reader: Reader, record: StoredRecord, apis: dict[str, Api]) -> str | None:
    """What does not hold of a record's label or verdict, the label first."""
    try:
        scenario = scenario_from(reader.text(record.body["scenario"]))
        trace = reader.traces(record.item)[record.body["trace"]]
    except JournalMismatch as changed:
        return f"its label or trace was changed: {changed}"
    except LookupError:
        return "its trace is missing"
    except ValueError as error:
        return f"its scenario cannot be read: {error}"
    assert isinstance(scenario, ToolScenario)
    api = apis.get(scenario.api.sha256)
    if api is None:
        return f"its document {scenario.api.sha256[:12]}... is not in the file"
    if wrong := executed(api, scenario):
        return wrong
    verdict: dict[str, Any] = Stage.of(api, scenario).judge(trace).as_json()
    stored = record.body["meta"]["verdict"]
    if to_json(verdict) != to_json(stored):
        return f"verdict: stored {to_json(stored)[:160]}, judged again {to_json(verdict)[:160]}"
    return None
