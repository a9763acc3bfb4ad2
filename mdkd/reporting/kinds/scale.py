"""Methods side by side, and the gradients of their loss terms relative to that of the BCE."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from mdkd.agreement import SELECTABLE
from mdkd.artefacts import Artefact
from mdkd.reporting import cells, plots, summary
from mdkd.reporting.kinds import comparison
from mdkd.reporting.summary import Measure, Values
from mdkd.reporting.tables import Block, Entry, Table
from mdkd.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TERMS = {"MLD": r"mld", "BD": r"bd(\d+)", "ID": r"id(\d+)"}  # names of loss terms, with the order
MARKERS = {"MLD": ("D", 0), "BD": ("o", -0.15), "ID": ("^", 0.15), "": ("x", 0)}  # and offset


def table(artefact: Artefact, results: Results) -> Table:
    """A comparison, and the largest gradient of each kind of term at the end of training.

    Tests of differences are made only if the experiment names their rows (``against``).
    """
    frame = summary.of_metrics(artefact, results)
    plain = comparison.of_frame(artefact, frame, results)
    ratios = gradient_ratios(artefact, results)
    states = plain.frame.drop_duplicates(["row", "column"]).set_index(["row", "column"])
    units = plain.frame["metric"].map(lambda metric: SELECTABLE[metric].unit)
    blocks: list[Block] = []
    for column, block in zip(artefact.columns, plain.blocks, strict=True):
        lines = []
        for line in block.lines:
            own = ratios[(ratios["row"] == line.label) & (ratios["column"] == column)]
            entries = [_entry(states.loc[(line.label, column)], own, kind) for kind in TERMS]
            lines.append(replace(line, entries=[*line.entries, *entries]))
        blocks.append(replace(block, lines=lines))
    sizes = sorted({results.runs[path].recipe.batch_size for path in artefact.runs})
    batch = " or ".join(map(str, sizes))
    made = replace(
        plain,
        headings=[*plain.headings, *(f"{kind} / BCE" for kind in TERMS)],
        blocks=blocks,
        notes=[
            *plain.notes,
            "MLD / BCE, BD / BCE, ID / BCE: norm of the gradient of a weighted loss term, divided "
            "by that of the supervised loss. Both are gradients with respect to the student's "
            f"parameters at the first batch ({batch} images) of the last epoch, averaged over "
            "seeds. BD and ID show the order with the largest ratio. 0: no such term. The CSV has "
            "every term, and means over the epochs in which they were measured.",
        ],
        frame=pd.concat([plain.frame.assign(unit=units), ratios.assign(unit="1")]),
    )
    return comparison.with_tests(made, artefact, frame, results) if artefact.against else made


def gradient_ratios(artefact: Artefact, results: Results) -> pd.DataFrame:
    """Norm of every weighted term's gradient over that of the BCE, for the runs that are done.

    `summary.over_seeds` by metric (``gradient ratio``), term and epochs (``last``, or
    ``measured`` for the mean over the epochs that have ratios), for the terms that a row has.
    """

    def ratios(path: str) -> Values | None:
        history = results.history(path)
        if history is None:
            return None
        # Not every epoch has ratios (`mdkd.training.schedule.probed_epochs`), but the last one has.
        found = [epoch["gradient_ratios"] for epoch in history]
        frame = pd.DataFrame([ratios for ratios in found if ratios is not None])
        values = {}
        for term in frame:
            values["gradient ratio", term, "last"] = frame[term].iloc[-1]
            values["gradient ratio", term, "measured"] = frame[term].mean()
        return values

    measures = []
    for i in range(len(artefact.columns)):
        runs = [path for row in artefact.rows for path in row.cells[i].runs]
        terms = sorted({term for path in runs for _, term, _ in ratios(path) or ()})
        keys = [
            ("gradient ratio", term, epochs) for term in terms for epochs in ("last", "measured")
        ]
        measures.append(Measure(dict.fromkeys(keys), ratios))
    names = ["metric", "term", "epochs"]
    frame = summary.by_row(artefact, summary.over_seeds(artefact, results, names, measures))
    return frame[frame["runs"] > 0].drop(columns=["state", "values"])


def _entry(cell: pd.Series, ratios: pd.DataFrame, kind: str) -> Entry:
    """The largest ratio among a row's terms of one kind at the last epoch."""
    if not cell["runs"]:
        return Entry(cells.absent(cell["state"]))
    of_kind = (ratios["epochs"] == "last") & ratios["term"].str.fullmatch(TERMS[kind])
    ratio = ratios.loc[of_kind, "mean"].max() if of_kind.any() else 0.0
    dagger = cells.dagger(cell["state"])
    return Entry(f"{ratio:.1f}{dagger}" if ratio >= 1 else f"{ratio:.2g}{dagger}")


def figure(artefact: Artefact, results: Results) -> Figure:
    """Two panels per pair: the first metric of every row, and the gradients of its terms."""
    frame = summary.of_metrics(artefact, results)
    metric, down = artefact.metrics[0], len(artefact.columns)
    frame = frame[frame["metric"] == metric]
    ratios = gradient_ratios(artefact, results)
    ratios = ratios[ratios["epochs"] == "last"]
    figure, axes = plots.subplots(
        down,
        2,
        figsize=(9, 1.1 + down * (0.6 + 0.28 * len(artefact.rows))),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    for column, (left, right) in zip(artefact.columns, axes, strict=True):
        own = frame[frame["column"] == column]
        comparison.panel(left, artefact, own)
        _gradients(right, own[own["role"] != "teacher"], ratios[ratios["column"] == column])
        left.set_title(column, fontsize=9)
        left.set_xlabel(f"{metric} ({SELECTABLE[metric].unit})")
        right.set_xlabel("gradient of a term / gradient of the BCE")
    plots.legend(figure, axes.flat)
    legend = (
        "dots are runs, diamonds their mean, whiskers one standard deviation; gradients: "
        "norms at the last epoch, mean over seeds"
    )
    plots.caption(figure, artefact, legend)
    return figure


def _gradients(axis: Axes, frame: pd.DataFrame, ratios: pd.DataFrame) -> None:
    """One marker per term: batch-level terms above a row's line, instance-level terms below."""
    rows = frame["row"].tolist()
    for term, own in ratios[ratios["role"] != "teacher"].groupby("term"):
        kind, order = _kind(str(term))
        marker, aside = MARKERS[kind]
        axis.plot(
            own["mean"],
            [rows.index(row) + aside for row in own["row"]],
            marker,
            color=plots.COLORS[(int(order) - 2) % len(plots.COLORS)] if order else "black",
            markersize=5,
            label=f"{kind} {order}".strip() or term,
        )
    for y, cell in enumerate(frame.to_dict("records")):
        if cell["row"] not in ratios["row"].values:
            text = "the BCE alone" if cell["runs"] else cells.absent(cell["state"])
            place = axis.get_yaxis_transform()
            axis.text(0.02, y, text, transform=place, va="center", fontsize=7)
    axis.axvline(1, color="black", linewidth=1, label="as strong as the BCE")
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.grid(axis="y", visible=False)


def _kind(term: str) -> tuple[str, str]:
    """What a loss term is, and of which order: ``bd2`` is ("BD", "2"); empty if unknown."""
    for kind, pattern in TERMS.items():
        if found := re.fullmatch(pattern, term):
            return kind, "".join(found.groups())
    return "", ""
