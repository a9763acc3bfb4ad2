"""Plug-ins: a module in a package is found by its file name. No list has to be maintained."""

import importlib
import importlib.util
import pkgutil
from pathlib import Path
from types import ModuleType

from mdkd.errors import UserError, nearest

SHARED = frozenset({"base", "common"})  # these modules are not plug-ins; plug-ins use them


def names(package: str) -> list[str]:
    """The names of the plug-ins in `package`, sorted. Nothing is imported."""
    found = (module.name for module in pkgutil.iter_modules(_folders(package)))
    return sorted(name for name in found if name not in SHARED and not name.startswith("_"))


def file(package: str, name: str, suffix: str) -> Path:
    """The data file ``name + suffix`` beside the code of a plug-in. Nothing is imported."""
    folders = [Path(folder) for folder in _folders(package)]
    code = next((f / f"{name}.py" for f in folders if (f / f"{name}.py").is_file()), None)
    if code is None:
        raise _unknown(package, name)
    if not code.with_suffix(suffix).is_file():
        raise UserError(f"{code.with_suffix(suffix)}: no such file; {code.name} needs it")
    return code.with_suffix(suffix)


def files(package: str, suffix: str) -> list[Path]:
    """All data files in the folders of a package, sorted. Nothing is imported."""
    found = (path for folder in _folders(package) for path in Path(folder).glob(f"*{suffix}"))
    return sorted(found)


def load(package: str, name: str) -> ModuleType:
    """Import the plug-in that is called `name`."""
    if name not in names(package):
        raise _unknown(package, name)
    return importlib.import_module(f"{package}.{name}")


def _folders(package: str) -> list[str]:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"no package named {package}")
    return list(spec.submodule_search_locations)


def _unknown(package: str, name: str) -> UserError:
    return UserError(f"{package}: there is no {name!r}; {nearest(name, names(package))}")
