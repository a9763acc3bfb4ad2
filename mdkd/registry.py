"""Plug-ins by file discovery: a module below a package is found by its name, no list is kept."""

import importlib
import importlib.util
import pkgutil
from types import ModuleType

from mdkd.errors import UserError, nearest

SHARED = frozenset({"base", "common"})  # code that plug-ins share, not plug-ins


def names(package: str) -> list[str]:
    """The plug-ins below `package`, sorted. Neither they nor the package are imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"no package named {package}")
    found = (module.name for module in pkgutil.iter_modules(spec.submodule_search_locations))
    return sorted(name for name in found if name not in SHARED and not name.startswith("_"))


def load(package: str, name: str) -> ModuleType:
    """Import the one plug-in that is called `name`."""
    known = names(package)
    if name not in known:
        raise UserError(f"{package}: there is no {name!r}; {nearest(name, known)}")
    return importlib.import_module(f"{package}.{name}")
