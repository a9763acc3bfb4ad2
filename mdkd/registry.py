"""Modules found by their file names, in a package or in plug-ins. No list has to be maintained."""

import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from mdkd import plugins
from mdkd.errors import UserError, nearest
from mdkd.plugins import GROUPS, SHARED, Plugin

NEEDED = {"mdkd.data.sources": ("Options", "load")}  # what a plug-in's module must define


def use(folders: Iterable[str]) -> None:
    """Use the plug-ins in these folders, besides those of installed packages.

    Raises:
        UserError: a folder cannot be used, or a plug-in has the name of another one.
    """
    plugins.use(folders)
    for package in GROUPS:
        names(package)


def names(package: str) -> list[str]:
    """The names of the modules in `package` and of the plug-ins that join them, sorted.

    Nothing is imported.

    Raises:
        UserError: two of them have one name.
    """
    own, others = _own(package), plugins.found(package)
    for name in own:
        if name in others:
            what = f"{others[name].source}: {GROUPS[package]}: '{name}'"
            raise UserError(f"{what}: {package} has it already; {plugins.advice(others[name])}")
    return sorted([*own, *others])


def file(package: str, name: str, suffix: str) -> Path:
    """The data file ``name + suffix`` beside the code of a module. Nothing is imported."""
    code = _code(package, name)
    if not code.with_suffix(suffix).is_file():
        raise UserError(f"{code.with_suffix(suffix)}: no such file; {code.name} needs it")
    return code.with_suffix(suffix)


def files(package: str, suffix: str) -> list[Path]:
    """All data files in the folders of a package and of its plug-ins. Nothing is imported."""
    places = [*_folders(package), *plugins.folders(package)]
    found = {path for folder in places for path in folder.glob(f"*{suffix}")}
    return sorted(found)


def load(package: str, name: str) -> ModuleType:
    """Import the module that is called `name`.

    Raises:
        UserError: there is none, or the code of a plug-in fails.
    """
    if name in _own(package):
        return importlib.import_module(f"{package}.{name}")
    plugin = plugins.found(package).get(name)
    if plugin is None:
        raise _unknown(package, name)
    try:
        module = importlib.import_module(plugin.module)
    except UserError:
        raise
    except Exception as error:  # of somebody else's code
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        hint = f"correct {plugin.source}; --debug shows where"
        raise UserError(f"{plugin.file}: cannot be imported ({what}); {hint}") from error
    check_defines(module, NEEDED.get(package, ()))
    return module


def plugin(package: str, name: str) -> Plugin | None:
    """The plug-in of this name, or None if the module is one of `package` itself."""
    return None if name in _own(package) else plugins.found(package).get(name)


def check_defines(module: ModuleType, needed: Iterable[str]) -> None:
    """Raise a UserError if a module lacks one of these names."""
    for name in needed:
        if not hasattr(module, name):
            raise UserError(f"{module.__file__}: defines no '{name}'; add it")


def _own(package: str) -> list[str]:
    found = (module.name for module in pkgutil.iter_modules(map(str, _folders(package))))
    return [name for name in found if name not in SHARED and not name.startswith("_")]


def _code(package: str, name: str) -> Path:
    """The file with the code of a module."""
    for folder in _folders(package):
        if (folder / f"{name}.py").is_file():
            return folder / f"{name}.py"
    if name not in plugins.found(package):
        raise _unknown(package, name)
    return plugins.found(package)[name].file


def _folders(package: str) -> list[Path]:
    place = plugins.locate(package)
    if place is None or not place.folders:
        raise ModuleNotFoundError(f"no package named {package}")
    return place.folders


def _unknown(package: str, name: str) -> UserError:
    return UserError(f"{package}: there is no {name!r}; {nearest(name, names(package))}")
