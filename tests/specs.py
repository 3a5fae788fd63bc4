"""Real OpenAPI documents beside the checkout, which are not part of it: tests that use them skip where they are not.

The large ones take seconds each and are slow; what is made of a document is let go after the test that it is made for,
as it may be a hundred megabytes.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(os.environ.get("SIMLAB_SPECS") or Path(__file__).parents[2] / "shared" / "specs")
FILES = sorted(path for path in FOLDER.glob("*.*") if path.name not in ("README.md", "manifest.json"))
LARGE = 400_000  # bytes


def _param(path: Path) -> Any:
    return pytest.param(path, id=path.name, marks=[pytest.mark.slow] if path.stat().st_size > LARGE else [])


def each_real_document(test: Callable[..., Any]) -> Any:
    """Run a test on each of them, as `path`."""
    absent = pytest.param(None, id="none", marks=pytest.mark.skip(f"no folder {FOLDER}"))
    each = pytest.mark.parametrize("path", [_param(path) for path in FILES] or [absent])
    return pytest.mark.usefixtures("documents_let_go")(each(test))
