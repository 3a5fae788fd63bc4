"""Real OpenAPI documents beside the checkout, which are not part of it: tests that use them skip where they are not."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("SIMLAB_SPECS") or Path(__file__).parents[2] / "shared" / "specs")
FILES = sorted(path for path in FOLDER.glob("*.*") if path.name not in ("README.md", "manifest.json"))

each_real_document = pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.name) for path in FILES]
    or [pytest.param(None, id="none", marks=pytest.mark.skip(f"no folder {FOLDER}"))],
)
