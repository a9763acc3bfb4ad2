"""What Snakemake's report shows first: the main table, and a link to the page of all runs.

Without "metadata", Snakemake starts a report with the graph of jobs; with them, with a text. Of
metadata it prints numbers well and texts badly. So there are two files, a text and numbers.
"""

from pathlib import Path

from mdkd import kinds, records
from mdkd.artefacts import Artefact
from mdkd.plan import Plan
from mdkd.reporting import escapes, page, tables
from mdkd.results import Results

FOLDER = "report"  # below the results
TEXT, NUMBERS = "start.rst", "numbers.json"

INTRODUCTION = """\
Which knowledge-distillation methods work for multi-label images?
The menu has every table and every figure, each at two clicks: its group, then its eye.
The text below a table or a figure says how to read it.
"""
# The report gives a text little room; a table needs more. It also centres the text: of one that is
# higher or wider than the window, the beginning could not be reached.
STYLE = (
    "<style>.max-w-lg{max-width:none}"
    ".h-screen.items-center{align-items:flex-start;justify-content:flex-start}"
    ".mdkd table{border-collapse:collapse;width:auto;margin:8px 0}"
    ".mdkd td,.mdkd th{padding:3px 12px;border-bottom:1px solid #ddd;white-space:nowrap}"
    ".mdkd td,.mdkd tr:first-child th{text-align:right}.mdkd th{text-align:left}"
    ".mdkd ul{font-size:12px;max-width:60em}.mdkd h3{font-weight:bold;margin-top:12px}</style>"
)


def write(plan: Plan, results: Results) -> None:
    """Write the text and the numbers, from the tables that the last call has made."""
    folder = results.results / FOLDER
    names = plan.selected if plan.asked is None else plan.asked
    artefacts = [plan.artefacts[name] for name in names]
    with records.atomic(folder / TEXT) as file:
        file.write(text(artefacts, results.results).encode())
    paths = dict.fromkeys(path for artefact in artefacts for path in artefact.runs)
    done = sum(results.state(path) == "done" for path in paths)
    records.write_json(folder / NUMBERS, {"Finished runs": done})


def text(artefacts: list[Artefact], folder: Path) -> str:
    """The text as reStructuredText. It shows the first comparison, or else the first table.

    Args:
        folder: of the results; it holds ``tables`` and the page of all runs.
    """
    shown = sorted(artefacts, key=lambda artefact: artefact.kind != "comparison")
    files = [
        folder / "tables" / f"{artefact.name}.html"
        for artefact in shown
        if "table" in kinds.get(artefact.kind).outputs
    ]
    parts = [STYLE, '<div class="mdkd">']
    if (folder / page.NAME).exists():
        parts.append(
            f'<p><a href="{page.NAME}" target="_blank"><b>{page.NAME}</b></a>, in the folder of '
            "this report: all runs to sort and filter, learning curves, labels, dependencies, "
            "differences of two methods.</p>"
        )
    if files and files[0].exists():
        parts.append(tables.body(files[0].read_text(encoding="utf-8")))
    if len(artefacts) > 1:
        entries = sorted((a.group, f"{a.name}: {a.title}") for a in artefacts)
        titles = "".join(f"<li>{escapes.hypertext(' > '.join(entry))}</li>" for entry in entries)
        parts.append(f"<h3>In the menu</h3><ul>{titles}</ul>")
    parts.append("</div>")
    lines = "\n".join(parts).replace("{", "&#123;").replace("}", "&#125;").splitlines()
    lines[0] = STYLE  # its braces are those of CSS; Jinja leaves single ones as they are
    return "\n".join([INTRODUCTION, ".. raw:: html", "", *(f"   {line}" for line in lines), ""])
