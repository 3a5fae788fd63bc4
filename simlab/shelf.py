"""Shelves: a plug-in's name is its path, so there is no registry to edit.

`recipes/dialogue.py` holds `dialogue`; a hyphen in a name is an underscore in the file; a user's own is
`package.module:thing`. A shelf file never imports a sibling.
"""

import os
import sys
import sysconfig
import traceback
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from simlab.errors import InputError, nearest


def names(shelf: str) -> list[str]:
    """The names on a shelf, as a user types them."""
    entries = files("simlab").joinpath(shelf).iterdir()
    stems = (Path(entry.name).stem for entry in entries if entry.name.endswith(".py"))
    return sorted(stem.replace("_", "-") for stem in stems if stem != "__init__")


def find(shelf: str, name: str) -> Any:
    """The plug-in of that name; raises InputError with the nearest name when there is none."""
    if ":" in name:
        return _imported(name)
    known = names(shelf)
    stem = name.replace("-", "_")
    if name.replace("_", "-") not in known:
        shown = [k.replace("-", "_") for k in known] if "_" in name or shelf == "recipes" else known
        raise InputError(f"no {shelf.removesuffix('s')} {name!r}{nearest(name, shown)}")
    return getattr(import_module(f"simlab.{shelf}.{stem}"), stem)


def _imported(name: str) -> Any:
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in module.split(".")) or not attribute.isidentifier():
        raise InputError(f"{name}: expected package.module:thing, with dots between packages and without .py")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        loaded = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise InputError(_where(error)) from error
        without = "; leave out .py" if name.partition(":")[0].endswith(".py") else ""
        raise InputError(f"{name}: there is no module {error.name!r} on the path or in this folder{without}") from None
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # a user's own code, at fault for whatever it does
        raise InputError(_where(error)) from error
    try:
        return getattr(loaded, attribute)
    except AttributeError:
        public = [n for n in vars(loaded) if not n.startswith("_")]
        raise InputError(f"{name}: {module} has no {attribute!r}{nearest(attribute, public)}") from None


def _where(error: BaseException) -> str:
    """`file:line: Type: message` of what a module raised as it was imported: the last place in code of the user's."""
    said = " ".join(str(error).split())
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_shown(error.filename)}:{error.lineno or 1}: {type(error).__name__}: {error.msg}"
    installed = (sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    others = ("<", __file__, *installed)
    frames = [(frame.filename, frame.lineno or 1) for frame in traceback.extract_tb(error.__traceback__)]
    file, line = next((place for place in reversed(frames) if not place[0].startswith(others)), frames[-1])
    return f"{_shown(file)}:{line}: {type(error).__name__}: {said}".removesuffix(": ")


def _shown(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
