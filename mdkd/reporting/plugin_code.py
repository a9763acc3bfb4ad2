"""Finished runs whose plug-ins had different code: the key of a run does not cover this code.

The code of a data source is left out: all that it does to the numbers is in the cache, and runs of
another cache are not used.
"""

import re
from collections.abc import Callable, Iterable

from mdkd import methodfiles, plugins
from mdkd.artefacts import Artefact
from mdkd.config import OWN_NET
from mdkd.plan import Plan
from mdkd.results import Results
from mdkd.runpath import RunPath

FIXES = {  # by part of the record
    "method": "Raise its revision; then all of them are trained again.",
    "net": "Give the network another name in architectures.yaml; then all are trained again.",
}
WHAT = "Trained with different code of the plug-in"


def notes(artefact: Artefact, results: Results) -> list[str]:
    """For each plug-in of several versions: which rows and seeds of a table have which one."""
    return _texts(artefact.runs, results, lambda own: _rows(artefact, own))


def warnings(plan: Plan, results: Results) -> list[str]:
    """For each plug-in of several versions: how many runs of a plan have which one."""
    return _texts(plan.runs, results, lambda own: f"{own[0]}{_more(own)}")


def _texts(paths: Iterable[str], results: Results, named: Callable[[list[str]], str]) -> list[str]:
    """One sentence for each plug-in of several versions; ``named`` says which runs have one."""
    texts = []
    for (plugin, fix), versions in _several(paths, results).items():
        runs = (f"({i}) {named(own)}" for i, own in enumerate(versions, 1))
        texts.append(f"{WHAT} {plugin}: {'; '.join(runs)}. {fix}")
    return texts


def _several(paths: Iterable[str], results: Results) -> dict[tuple[str, str], list[list[str]]]:
    """The runs of each version of a plug-in that has several; the key is its name and the fix."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}  # runs by plug-in and checksum
    for path in paths:
        run = results.runs[path]
        own_method = run.method.name in plugins.found(methodfiles.PACKAGE)
        if not own_method and not re.fullmatch(OWN_NET, run.net):
            continue  # before any file is read
        if results.state(path) != "done":
            continue
        facts = results.record(path).get("plugins", {})  # records of older versions have none
        for part, fix in FIXES.items():
            if part in facts:
                versions = found.setdefault((facts[part]["name"], fix), {})
                versions.setdefault(facts[part]["sha256"], []).append(path)
    return {key: list(own.values()) for key, own in found.items() if len(own) > 1}


def _more(paths: list[str]) -> str:
    return f" and {len(paths) - 1} more" if len(paths) > 1 else ""


def _rows(artefact: Artefact, paths: list[str]) -> str:
    """Runs by row, column and seed: ``Mine, seeds 0, 1, and Mine x 2, seed 0``."""
    texts = []
    for row in artefact.rows:
        for column, cell in zip(artefact.columns, row.cells, strict=True):
            seeds = [str(RunPath.parse(path).seed) for path in cell.runs if path in paths]
            if seeds:
                where = f"{row.label}, {column}" if len(artefact.columns) > 1 else row.label
                texts.append(f"{where}, seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}")
    return ", and ".join(texts)
