"""What is served keeps to its document, by the judgement of schemathesis: our own documents, and some real ones.

Needs the extra `conformance`. What is judged is the document as served, which is the document as compiled.

The only allowance is for what a document makes impossible: where an operation declares no status that a refusal could
have (neither its own, nor a range, nor `default`, nor 400 or 422), any refusal is undeclared. It is made for the
documents in `LACONIC`, and for refusals alone.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from simlab.api import Api, load_api

schemathesis = pytest.importorskip("schemathesis", reason="needs the extra `conformance`")
checks = pytest.importorskip("schemathesis.checks")
server = pytest.importorskip("simlab.server")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
SPECS = Path(os.environ.get("SIMLAB_SPECS", ROOT.parent / "shared" / "specs"))
EXAMPLES = int(os.environ.get("SIMLAB_EXAMPLES", "5"))  # of each operation, besides those by the limits of its schemas
OURS = sorted((ROOT / "apis").glob("*.yaml"))
REAL = [SPECS / name for name in ("museum.yaml", "petstore-3.yaml", "xero-assets.yaml", "traccar.yaml")]
LACONIC = ("traccar",)
REFUSALS = (400, 404, 405, 409, 413, 415, 422)
CHECKS = (
    checks.not_a_server_error,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.status_code_conformance,
)


def may_say_nothing(api: Api, method: str, path: str, status: int) -> bool:
    """Whether an operation declares nothing that a refusal could be."""
    operation = next(o for o in api.operations.values() if (o.method, o.path) == (method, path))
    fitting = {str(status), "4XX", "default", "400", "422"}
    return status in REFUSALS and not fitting & set(operation.responses)


def conformance(path: Path) -> Callable[..., None]:
    """A test of every operation of a document."""
    api = load_api(path)
    schema = schemathesis.openapi.from_asgi("/openapi.json", server.app(api, token="t"))

    @schema.parametrize()
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def keeps_to_its_document(case: Any) -> None:
        response = case.call()
        judged = CHECKS
        if path.stem in LACONIC and may_say_nothing(
            api, case.operation.method.upper(), case.path, response.status_code
        ):
            judged = CHECKS[:-1]
        case.validate_response(response, checks=list(judged))

    return keeps_to_its_document


for document in (*OURS, *(path for path in REAL if path.exists())):
    globals()[f"test_{document.stem.replace('-', '_')}"] = conformance(document)
