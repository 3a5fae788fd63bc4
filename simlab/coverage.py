"""Coverage: how much of an API a set of scenarios calls for, in operations, classes of arguments, and statuses.

A unit is an operation that a label calls (or forbids), a value class among the arguments of an operation, or a status:
that of success for each operation, and those of the faults that a service may have. All units count alike.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from simlab.api import Api, Operation
from simlab.draft import Aim
from simlab.plan import value_class
from simlab.scenario import ToolScenario

FAULT_STATUSES = {"rate_limit": "429", "server_error": "500", "timeout": "504"}
SORTS = {"operation": "operations", "argument": "classes of arguments", "status": "statuses"}
ANY = "*"  # a status that is no operation's own

Unit = tuple[str, str, str]  # what it is, the operation, and which of it


@dataclass
class Coverage:
    """The units of an API, and those that were reached."""

    api: Api
    faults: bool = False  # whether statuses of faults are wanted too
    reached: set[Unit] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.units: list[Unit] = [unit for o in self.api.operations.values() for unit in units_of(self.api, o)]
        if self.faults:
            self.units += [("status", ANY, status) for status in FAULT_STATUSES.values()]
        self._known = set(self.units)

    def add(self, scenario: ToolScenario) -> None:
        """Count what a scenario reaches."""
        for call in scenario.label.calls:
            operation = self.api.operations[call.op]
            given = ((name, schema) for name, schema in self.api.arguments(operation).items() if name in call.args)
            self.reached |= {("operation", call.op, ""), ("status", call.op, str(operation.status))}
            self.reached |= {("argument", call.op, _class(self.api, schema)) for _, schema in given}
        self.reached |= {("operation", name, "") for name in scenario.label.forbidden}
        self.reached |= {("status", ANY, FAULT_STATUSES.get(fault.kind, "")) for fault in scenario.faults}
        self.reached &= self._known

    @property
    def percent(self) -> float:
        """Units reached, in percent of all; 100 where there is nothing to reach."""
        return 100 * len(self.reached) / len(self.units) if self.units else 100.0

    def missing(self) -> list[Aim]:
        """The operations of which something is not reached, in the document's order, with arguments that would."""
        lacking: dict[str, set[str]] = {}
        for _, operation, which in self._known - self.reached:
            lacking.setdefault(operation, set()).add(which)
        return [
            Aim(name, tuple(n for n, s in self.api.arguments(o).items() if _class(self.api, s) in lacking[name]))
            for name, o in self.api.operations.items()
            if name in lacking
        ]

    def counts(self) -> dict[str, tuple[int, int]]:
        """Reached and all, for each sort of unit."""
        return {
            sort: (sum(u[0] == sort for u in self.reached), sum(u[0] == sort for u in self.units)) for sort in SORTS
        }


def units_of(api: Api, operation: Operation) -> Iterable[Unit]:
    """What there is to reach of one operation."""
    yield "operation", operation.id, ""
    yield "status", operation.id, str(operation.status)
    paging = {operation.page.size, operation.page.at} if operation.page else set()
    classes = {_class(api, schema) for name, schema in api.arguments(operation).items() if name not in paging}
    yield from (("argument", operation.id, name) for name in sorted(classes))


def _class(api: Api, schema: object) -> str:
    kinds = [kind for kind in api.kinds(schema) if kind in ("object", "array")]
    return kinds[0] if kinds else value_class(api.merged(schema))
