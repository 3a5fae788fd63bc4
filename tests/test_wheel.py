"""The wheel: what a person installs holds what the commands need, in any folder and without the repository."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    words = ["wheel", "--quiet", "--no-deps", "--disable-pip-version-check", "-w", str(folder), str(ROOT)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, timeout=300)
    (made,) = folder.glob("simlab-*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A fresh virtual environment with the wheel; what simlab depends on is lent from the one that runs this."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
    python = folder / "bin" / "python"
    words = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *words], check=True, timeout=120)
    own = next((folder / "lib").glob("python*/site-packages"))
    paths = dict.fromkeys([str(own), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "OPENAI"))}
    return folder, {**environment, "PYTHONPATH": os.pathsep.join(paths)}


def run(installed: tuple[Path, dict[str, str]], folder: Path, *words: str) -> str:
    """What an installed program prints, run in a folder."""
    bin_, environment = installed[0] / "bin", installed[1]
    done = subprocess.run(
        [bin_ / words[0], *words[1:]],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_code_documents_and_seeds_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    for path in ROOT.glob("simlab/**/*.py"):
        assert str(path.relative_to(ROOT)) in names
    assert {"simlab/py.typed", "simlab/seeds/topics.yaml", "simlab/seeds/pairs.yaml"} <= names
    assert "simlab/models/prices.yaml" in names
    for shelf in ("scenarios", "apis"):
        ours = [path for path in (ROOT / shelf).rglob("*") if path.is_file()]
        assert ours
        for path in ours:
            assert f"simlab/resources/{path.relative_to(ROOT)}" in names
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"simlab"}
    assert not any("__pycache__" in name or name.endswith(".simlab") for name in names)


def test_it_is_the_wheel_that_runs(installed: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    where = run(installed, tmp_path, "python", "-c", "import simlab; print(simlab.__file__)")
    assert where.startswith(str(installed[0]))


def test_shipped_scenarios_are_played_from_an_empty_folder(
    installed: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    words = ["run", "dialogue", "--scenarios", "scenarios/topics/*.yaml", "--model", "scripted", "-n", "3"]
    assert "3 of 3 finished" in run(installed, tmp_path, "simlab", *words)
    assert [path.name for path in tmp_path.iterdir()] == ["dialogue.simlab"]
    assert "3 of 3 reproduced" in run(installed, tmp_path, "simlab", "replay", "dialogue.simlab")


def test_seeds_and_shelves_are_found(installed: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    listed = run(installed, tmp_path, "simlab", "recipes")
    for path in ROOT.glob("simlab/recipes/[!_]*.py"):
        assert path.stem in listed
    made = run(installed, tmp_path, "simlab", "run", "pink_elephants", "--model", "scripted", "-n", "3")
    assert "3 of 3 finished" in made
    assert "simlab 0." in run(installed, tmp_path, "simlab", "--version")
