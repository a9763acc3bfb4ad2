"""Tables and figures, computed from records alone. Never imports torch or `mdkd.training`.

A kind of artefact is one file in `mdkd/reporting/kinds/`. It defines ``table(artefact, results) ->
Table``, ``figure(artefact, results) -> Figure``, or both, as `mdkd.kinds` declares.

`mdkd report KIND NAME` calls ``report_KIND``. The name is that of an artefact or of a data set. The
text that such a function returns is printed on the terminal.

Functions import what they need themselves, because `mdkd plan` lives in this package too and must
load neither pandas nor matplotlib.
"""

import os
from pathlib import Path

# Before matplotlib is loaded: whatever the user has set; an unknown name would be an error.
os.environ["MPLBACKEND"] = "agg"

from mdkd import registry
from mdkd.artefacts import DOCUMENT, Artefact
from mdkd.errors import UserError, find
from mdkd.kinds import get as kind_of
from mdkd.plan import Plan
from mdkd.results import Results


def report_metrics(plan: Plan, results: Results, name: None = None) -> None:
    """Write ``metrics.csv``: every scored run of the plan, one row per metric."""
    from mdkd.reporting import summary

    summary.metrics_csv(results)


def report_labels(plan: Plan, results: Results, name: str) -> None:
    """Write the label statistics of a data set."""
    from mdkd.data.cache import open_cache
    from mdkd.reporting import dataset

    cache = open_cache(results.cache(find(plan.datasets, name).name))
    dataset.write(cache, name, results.results)


def report_table(plan: Plan, results: Results, name: str) -> None:
    """Write the table of an artefact."""
    write_table(_made(plan, name), results, results.results / "tables")


def report_figure(plan: Plan, results: Results, name: str) -> None:
    """Write the figure of an artefact."""
    write_figure(_made(plan, name), results, results.results / "figures")


def report_document(plan: Plan, results: Results, name: str | None) -> None:
    """Write one document of the tables and figures of a target, of ``paper`` if none is named."""
    from mdkd.reporting import document

    document.write(plan, results, name or DOCUMENT)


def report_page(plan: Plan, results: Results, name: None = None) -> None:
    """Write ``explore.html``: every run of the plan that is done, to sort, filter and compare."""
    from mdkd.reporting import page

    page.write(plan, results)


def report_start(plan: Plan, results: Results, name: None = None) -> None:
    """Write what the report of the workflow shows first."""
    from mdkd.reporting import start

    start.write(plan, results)


def report_partial(plan: Plan, results: Results, name: str | None = None) -> str:
    """Write what the runs that are done show, into the folder ``partial``.

    Without a name: the artefacts that are made by default, and every artefact that has a student's
    run that is done or has failed.
    """
    folder, texts = results.results / "partial", []
    for chosen in [name] if name else dict.fromkeys(plan.selected + _begun(plan, results)):
        artefact = find(plan.artefacts, chosen)
        outputs = kind_of(artefact.kind).outputs
        if "table" in outputs:
            write_table(artefact, results, folder / "tables")
        if "figure" in outputs:
            write_figure(artefact, results, folder / "figures")
        texts.append(_description(artefact, folder, whole=chosen in plan.selected))
    return "\n".join(texts)


def report_show(plan: Plan, results: Results, name: str | None = None) -> str:
    """Where the files of a target lie, and the tables that are made by default.

    Without a name: what the call of the workflow makes that has written the plan, or what is made
    by default. The table of a single artefact is printed in any case.
    """
    folder = results.results
    asked = plan.selected if plan.asked is None else plan.asked
    names = plan.members(name) if name else asked
    whole = {*plan.selected, *(names if len(names) == 1 else ())}
    texts = [_description(plan.artefacts[chosen], folder, chosen in whole) for chosen in names]
    files = {"numbers": "metrics.csv", "page": "explore.html"}
    texts += [f"{what:8} {folder / name}" for what, name in files.items()]
    return "\n".join(texts)


def write_table(artefact: Artefact, results: Results, folder: Path) -> None:
    """Write the table of an artefact into a folder, in every format of `tables.write`."""
    from mdkd.reporting import tables

    tables.write(_kind(artefact).table(artefact, results.on(artefact.split)), folder)


def write_figure(artefact: Artefact, results: Results, folder: Path) -> None:
    """Write the figure of an artefact into a folder, in every format of `plots.save`."""
    from mdkd.reporting import plots

    plots.set_style()
    figure = _kind(artefact).figure(artefact, results.on(artefact.split))
    plots.save(figure, folder, artefact.name)


def _made(plan: Plan, name: str) -> Artefact:
    """An artefact that can be made; a UserError says what must be run first."""
    artefact = find(plan.artefacts, name)
    if artefact.unavailable:
        raise UserError(artefact.unavailable)
    return artefact


def _kind(artefact: Artefact):
    module = registry.load(f"{__name__}.kinds", artefact.kind)
    registry.check_defines(module, kind_of(artefact.kind).outputs)
    return module


def _begun(plan: Plan, results: Results) -> list[str]:
    """The artefacts of which at least one student's run is done or has failed."""
    ended = {path for path in plan.runs if results.state(path) in ("done", "failed", "damaged")}
    students = {path for path in ended if plan.runs[path].teacher is not None}
    return [name for name, artefact in plan.artefacts.items() if students & set(artefact.runs)]


def _description(artefact: Artefact, folder: Path, whole: bool) -> str:
    """Where an artefact's files lie, after its table if ``whole``."""
    outputs, lines = kind_of(artefact.kind).outputs, []
    if "table" in outputs:
        table = folder / "tables" / f"{artefact.name}.md"
        lines += [f"\n{table.read_text(encoding='utf-8')}"] if whole else []
        lines += [f"table    {table.with_suffix('.tex')}"]
    if "figure" in outputs:
        lines.append(f"figure   {folder / 'figures' / artefact.name}.pdf")
    return "\n".join(lines)
