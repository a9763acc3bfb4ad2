"""Plug-ins: methods, data sources and kinds of artefacts that lie outside this package.

They are found in two ways:

- An installed package names each of them as an entry point of the group ``mdkd.methods``,
  ``mdkd.sources`` or ``mdkd.kinds``, such as ``focal = "my_package.methods.focal"``.
- ``plugins: [FOLDER]`` in ``config.yaml`` names a package that is not installed. The modules in its
  subfolders ``methods``, ``sources`` and ``kinds`` are plug-ins, called by their file names.

Finding a plug-in imports nothing of it. Its settings are in a YAML file beside its code.
"""

import functools
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mdkd.errors import UserError, show
from mdkd.runpath import NAME

GROUPS = {  # the group of entry points, by the package that holds the built-in ones
    "mdkd.methods": "mdkd.methods",
    "mdkd.data.sources": "mdkd.sources",
    "mdkd.reporting.kinds": "mdkd.kinds",
}
SHARED = frozenset({"base", "common"})  # these modules are not plug-ins; plug-ins use them

_folders: tuple[str, ...] = ()  # those of config.yaml


@dataclass(frozen=True)
class Plugin:
    """One plug-in. ``package`` is what brings it: an installed package, or a folder."""

    name: str
    module: str  # for an import
    file: Path
    package: str
    version: str | None  # None: not installed

    @property
    def source(self) -> str:
        """Where it comes from, for messages."""
        return f"{self.package} {self.version}" if self.version else self.package


# For messages about a name that is not known.
HINT = "if it is a plug-in of yours, name its folder in `plugins` of config.yaml"


class Place(NamedTuple):
    """Where a module lies. A package has folders, and a file only if it has an ``__init__.py``."""

    file: Path | None
    folders: list[Path]


def use(folders: Iterable[str]) -> None:
    """Set the folders with plug-ins. They are added to the places that Python imports from.

    Raises:
        UserError: a folder is missing, or Python would import another package of its name.
    """
    global _folders
    _folders = tuple(folders)
    _find.cache_clear()
    for folder in _folders:
        path = Path(folder).resolve()
        where = f"plugins: {folder}"
        if not path.is_dir():
            raise UserError(f"{where}: no such folder; correct `plugins` in config.yaml")
        if not path.name.isidentifier():
            hint = "rename it: letters, digits and '_', because Python imports it by its name"
            raise UserError(f"{where}: the folder's name is no name of a Python package; {hint}")
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))  # at the end: it hides nothing
        place = locate(path.name)
        places = [folder.resolve() for folder in place.folders] if place else []
        if path not in places:
            other = (place and place.file) or ", ".join(map(str, places))
            raise UserError(
                f"{where}: Python imports {other} under the name '{path.name}'; rename the folder"
            )


def found(package: str) -> dict[str, Plugin]:
    """The plug-ins that join those of ``package`` (a key of `GROUPS`), by name.

    Raises:
        UserError: an entry point names no module, or two plug-ins have one name.
    """
    return _find(GROUPS[package], _folders, tuple(sys.path)) if package in GROUPS else {}


def folders(package: str) -> list[Path]:
    """The folders of `use` that may hold plug-ins of ``package``."""
    if package not in GROUPS:
        return []
    return [Path(folder).resolve() / _subfolder(GROUPS[package]) for folder in _folders]


def locate(module: str) -> Place | None:
    """Where Python finds a module. Unlike `importlib.util.find_spec`, this imports no parent."""
    place, name = None, ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = getattr(sys.modules.get(name), "__spec__", None)
        if spec is None and place is None:
            spec = importlib.util.find_spec(part)
        if spec is not None:
            origin = Path(spec.origin) if spec.has_location and spec.origin else None
            place = Place(
                origin, [Path(folder) for folder in spec.submodule_search_locations or ()]
            )
        else:
            place = _below(place.folders, part) if place else None
        if place is None:
            return None
    return place


def _below(folders: list[Path], part: str) -> Place | None:
    """A module in one of the folders of a package."""
    for folder in folders:
        for file in (folder / part / "__init__.py", folder / f"{part}.py"):
            if file.is_file():
                return Place(file, [file.parent] if file.name == "__init__.py" else [])
    without_file = [folder / part for folder in folders if (folder / part).is_dir()]
    return Place(None, without_file) if without_file else None


@functools.lru_cache(maxsize=8)
def _find(group: str, folders: tuple[str, ...], places: tuple[str, ...]) -> dict[str, Plugin]:
    """The plug-ins of a group. ``places`` is Python's search path, on which the result depends."""
    plugins: dict[str, Plugin] = {}
    for plugin in [*_installed(group), *_in_folders(group, folders)]:
        what = f"{plugin.source}: {group}: '{plugin.name}'"
        if not re.fullmatch(NAME, plugin.name):
            raise UserError(f"{what}: names are lower-case words joined by '_'; rename it")
        other = plugins.setdefault(plugin.name, plugin)
        if other != plugin:
            raise UserError(f"{what}: {other.source} has one of this name too; {advice(plugin)}")
    return plugins


def advice(plugin: Plugin) -> str:
    """What to do about a name that is taken."""
    prefix = re.sub(r"[^a-z0-9]+", "_", Path(plugin.package).name.lower()).strip("_")
    return f"give it a prefix, such as '{prefix}_{plugin.name}'"


@functools.lru_cache(maxsize=8)
def _entry_points(places: tuple[str, ...]) -> importlib.metadata.EntryPoints:
    """All entry points; looking for them takes 30 ms."""
    found: Any = importlib.metadata.entry_points()  # its type depends on the version of Python
    return found


def _installed(group: str) -> Iterator[Plugin]:
    for point in _entry_points(tuple(sys.path)).select(group=group):
        name, version = (point.dist.name, point.dist.version) if point.dist else ("?", "?")
        place = locate(point.module)
        if place is None or place.file is None or place.folders:
            raise UserError(
                f"{name} {version}: entry point {group}: '{point.name}': {show(point.value)} is no "
                "file with Python code; correct the package, or uninstall it"
            )
        yield Plugin(point.name, point.module, place.file, name, version)


def _in_folders(group: str, folders: tuple[str, ...]) -> Iterator[Plugin]:
    for folder in folders:
        path, below = Path(folder).resolve(), _subfolder(group)
        for file in sorted((path / below).glob("*.py")):
            if file.stem not in SHARED and not file.stem.startswith("_"):
                yield Plugin(file.stem, f"{path.name}.{below}.{file.stem}", file, folder, None)


def _subfolder(group: str) -> str:
    return group.rpartition(".")[2]
