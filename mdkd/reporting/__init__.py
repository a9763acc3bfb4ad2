"""Tables and figures, computed from records alone. Never imports torch or `mdkd.training`.

A kind of artefact is one file in `mdkd/reporting/kinds/`. It defines ``table(artefact, results) ->
Table``, ``figure(artefact, results) -> Figure``, or both, as `mdkd.kinds` declares.
"""

from pathlib import Path

from mdkd import registry
from mdkd.kinds import KINDS
from mdkd.plan import Artefact, Plan
from mdkd.reporting import plots, tables
from mdkd.results import Results


def write_table(artefact: Artefact, results: Results, folder: Path) -> None:
    """Write the table of an artefact in every format of `tables.write`."""
    tables.write(_kind(artefact).table(artefact, results), folder)


def write_figure(artefact: Artefact, results: Results, folder: Path) -> None:
    """Write the figure of an artefact in every format of `plots.save`."""
    plots.set_style()
    plots.save(_kind(artefact).figure(artefact, results), folder, artefact.name)


def write_partial(artefact: Artefact, results: Results) -> None:
    """Write an artefact from the runs that are done, into the folder ``partial``."""
    outputs, folder = KINDS[artefact.kind].outputs, results.results / "partial"
    if "table" in outputs:
        write_table(artefact, results, folder / "tables")
    if "figure" in outputs:
        write_figure(artefact, results, folder / "figures")


def describe(artefact: Artefact, folder: Path, whole: bool) -> str:
    """Text for a terminal: where an artefact's files lie, after its table if ``whole``."""
    outputs, lines = KINDS[artefact.kind].outputs, []
    if "table" in outputs:
        table = folder / "tables" / f"{artefact.name}.md"
        lines += [f"\n{table.read_text(encoding='utf-8')}" if whole else ""]
        lines += [f"table    {table.with_suffix('.tex')}"]
    if "figure" in outputs:
        lines.append(f"figure   {folder / 'figures' / artefact.name}.pdf")
    return "\n".join(lines)


def begun(plan: Plan, results: Results) -> list[str]:
    """The artefacts of which at least one student's run is done or has failed."""
    ended = {path for path in plan.runs if results.state(path) in ("done", "failed")}
    students = {path for path in ended if plan.runs[path].teacher is not None}
    return [name for name, artefact in plan.artefacts.items() if students & set(artefact.runs)]


def _kind(artefact: Artefact):
    return registry.load(f"{__name__}.kinds", artefact.kind)
