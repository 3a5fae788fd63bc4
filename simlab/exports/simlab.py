"""`simlab`: the full record, with scenario, trace and provenance; what every other format is derived from."""

from typing import Any

from simlab.stored import StoredRecord

FITS = ("dialogue", "preference", "instruction", "script")


def simlab(record: StoredRecord) -> dict[str, Any]:
    """One line: `schema` is `simlab/record/1`; README and docs/records.md describe the fields."""
    return record.full()
