"""Methods side by side: the mean and spread of each, and the published numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import pandas as pd

from mdkd.agreement import SELECTABLE
from mdkd.artefacts import Artefact
from mdkd.reporting import cells, differences, notes, plots, summary
from mdkd.reporting.tables import Block, Entry, Table
from mdkd.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def table(artefact: Artefact, results: Results) -> Table:
    """The metrics of every pair; with enough seeds, then the tests of their differences."""
    frame = summary.of_metrics(artefact, results)
    if artefact.options.get("marks"):  # other kinds use this table too, and have other options
        tests = differences.tests(artefact, frame, results)
        plain = of_frame(artefact, frame, results, differences.signs(artefact, tests))
        return _with(plain, tests, [], differences.note_of_signs(artefact, tests))
    return with_tests(of_frame(artefact, frame, results), artefact, frame, results)


def with_tests(plain: Table, artefact: Artefact, frame: pd.DataFrame, results: Results) -> Table:
    """A table of metrics, and the tests of their differences below it if there are any.

    Args:
        frame: that of `summary.of_metrics`.
    """
    tests = differences.tests(artefact, frame, results)
    note = differences.note(artefact, tests)
    return _with(plain, tests, differences.blocks(artefact, tests), note)


def _with(plain: Table, tests: pd.DataFrame, further: list[Block], note: str) -> Table:
    if tests.empty:
        return plain
    return replace(
        plain,
        blocks=[*plain.blocks, *further],
        notes=[*plain.notes, note],
        frame=pd.concat([plain.frame, differences.written(tests)], ignore_index=True),
    )


def of_frame(
    artefact: Artefact,
    frame: pd.DataFrame,
    results: Results,
    signs: Mapping[tuple[str, str], str] = MappingProxyType({}),
) -> Table:
    """One block per pair: every metric, and the published value with the difference if known.

    Args:
        frame: that of `summary.of_metrics`.
        signs: what is printed behind the first metric, by row and column.
    """
    numbers = frame.set_index(["row", "column", "metric"]).to_dict("index")
    published = frame.dropna(subset="reported")["metric"].unique()
    headings: list[str] = []
    for metric in artefact.metrics:
        headings += [metric, "paper", "Δ"] if metric in published else [metric]

    def entries(row: str, column: str) -> list[Entry]:
        found: list[Entry] = []
        for metric in artefact.metrics:
            cell = numbers[row, column, metric]
            number = cells.entry(cell)
            if metric == artefact.metrics[0]:
                number = number._replace(text=number.text + signs.get((row, column), ""))
            found.append(number)
            if metric in published:
                found += [Entry(cells.percent(cell["reported"])), Entry(_difference(cell))]
        return found

    return Table(
        name=artefact.name,
        title=cells.title(artefact),
        headings=headings,
        blocks=cells.blocks(artefact, entries),
        notes=notes.of_metrics(artefact, frame, results),
        frame=summary.hundredfold(frame),
    )


def _difference(cell: dict) -> str:
    """Ours minus the published value, in percentage points."""
    difference = 100 * (cell["mean"] - cell["reported"])
    return "" if difference != difference else cells.minus(f"{difference:+.2f}")


def figure(artefact: Artefact, results: Results) -> Figure:
    """One panel per pair: the first metric of every run, their mean and spread, both baselines."""
    frame = summary.of_metrics(artefact, results)
    metric = artefact.metrics[0]
    frame = frame[frame["metric"] == metric]
    across = min(3, len(artefact.columns))
    down = -(-len(artefact.columns) // across)
    figure, axes = plots.subplots(
        down,
        across,
        figsize=(1.5 + 3.5 * across, down * (0.9 + 0.28 * len(artefact.rows))),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    for axis in axes.flat[len(artefact.columns) :]:
        axis.set_visible(False)
    for axis, column in zip(axes.flat, artefact.columns, strict=False):
        panel(axis, artefact, frame[frame["column"] == column])
        axis.set_title(column, fontsize=9)
        axis.set_xlabel(f"{metric} ({SELECTABLE[metric].unit})")
    plots.legend(figure, axes.flat, ncols=2)
    legend = "dots are runs, diamonds their mean, whiskers one standard deviation"
    plots.caption(figure, artefact, legend)
    return figure


def panel(axis: Axes, artefact: Artefact, frame: pd.DataFrame) -> None:
    """One line per row: the first metric of its runs with mean and spread, or why there is none.

    ``frame`` is the part of `summary.of_metrics` about this metric and column.
    """
    methods = [row for row in artefact.rows if row.role != "teacher"]
    frame = frame.set_index("row")
    for y, row in enumerate(methods):
        cell = frame.loc[row.label]
        if not cell["runs"]:
            text = cells.absent(cell["state"])
            axis.text(0.02, y, text, transform=axis.get_yaxis_transform(), va="center", fontsize=7)
            continue
        values = [100 * value for value in cell["values"].values()]
        axis.plot(values, [y] * len(values), "o", color=plots.COLORS[7], markersize=4, alpha=0.8)
        spread = 100 * cell["std"] if cell["runs"] > 1 else None
        color = plots.COLORS[1 if row.role == "student" else 0]
        axis.errorbar(100 * cell["mean"], y, xerr=spread, fmt="D", color=color, capsize=3)
    plots.baselines(axis.axvline, frame)
    axis.set_yticks(range(len(methods)), [row.label for row in methods])
    axis.set_ylim(len(methods) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
