"""What tables and figures show, one file per kind (`mdkd/kinds.py`); read from records alone.

A file ``<kind>.py`` has ``table(artefact, results) -> Table``, ``figure(artefact, results) ->
Figure``, or both, as its kind declares. Never imports torch.
"""

from pathlib import Path

from mdkd import registry
from mdkd.reporting import plots
from mdkd.reporting import tables
from mdkd.plan import Artefact
from mdkd.results import Results


def write_table(artefact: Artefact, results: Results, folder: Path) -> None:
    """Write ``{name}.csv .md .tex .html`` of an artefact into ``folder``."""
    tables.write(registry.load(__name__, artefact.kind).table(artefact, results), folder)


def write_figure(artefact: Artefact, results: Results, folder: Path) -> None:
    """Write ``{name}.pdf .svg .png`` of an artefact into ``folder``."""
    plots.set_style()
    figure = registry.load(__name__, artefact.kind).figure(artefact, results)
    plots.save(figure, folder, artefact.name)
