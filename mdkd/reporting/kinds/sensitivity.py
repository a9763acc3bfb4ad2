"""One weight of a method varied at a time (Figure 4 of the paper), against methods as levels."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING, Any

import pandas as pd

from mdkd.agreement import SELECTABLE
from mdkd.artefacts import Artefact, Row
from mdkd.reporting import cells, notes, plots, summary
from mdkd.reporting.tables import GAP, Block, Line, Table
from mdkd.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure

ACROSS = 3  # settings side by side
DOLLAR = r"\$"  # in a text with formulas
COLORS = plots.COLORS
LEVELS = ((":", COLORS[1]), ("--", COLORS[7]), ("-.", COLORS[0]), ((0, (1, 3)), COLORS[5]))
METRICS = (("D", "black"), *zip("s^v<>p", [COLORS[i] for i in (2, 4, 3, 8, 9, 5)], strict=True))


def table(artefact: Artefact, results: Results) -> Table:
    """One block per pair and metric: a line per value, an entry per setting."""
    frame = of_points(artefact, results)
    settings, values = _grid(artefact)
    points = frame.dropna(subset="value").set_index(["column", "metric", "setting", "value"])
    numbers = points.to_dict("index")
    levels = frame[frame["value"].isna()]
    blocks = []
    for column, metric in product(artefact.columns, artefact.metrics):
        own = levels[(levels["column"] == column) & (levels["metric"] == metric)]
        texts = [f"{cell['row']} {cells.entry(cell).text}" for cell in own.to_dict("records")]
        pair = f"{column}, " if len(artefact.columns) > 1 else ""
        lines = [
            Line(
                label=f"{value:g}",
                entries=[cells.entry(numbers[column, metric, key, value]) for key in settings],
            )
            for value in values
        ]
        blocks.append(Block(heading=f"{pair}{metric}: {', '.join(texts)}", lines=lines))
    in_points = {key: (100 * frame[key]).round(4) for key in ("difference", "difference_std")}
    return Table(
        name=artefact.name,
        title=cells.title(artefact),
        headings=settings,
        blocks=blocks,
        notes=[
            *notes.of_metrics(artefact, frame, results, "Among the values of one setting"),
            "Each column varies one setting. It takes the value at the left. All other settings "
            "keep their defaults.",
        ],
        frame=summary.hundredfold(frame).assign(**in_points),
    )


def of_points(artefact: Artefact, results: Results) -> pd.DataFrame:
    """`summary.of_metrics`, in which the points of a setting are ranked among themselves.

    Further columns: setting and value (empty and NaN for levels), difference and difference_std
    (fractions, to the method with all its defaults, from pairs of runs with the same seed). Levels
    are the methods that are not varied; they are neither ranked nor compared.
    """
    frame = summary.of_metrics(artefact, results)
    rows = {row.label: row for row in artefact.rows}
    frame.insert(1, "setting", [rows[label].panel or "" for label in frame["row"]])
    frame.insert(2, "value", pd.Series([rows[label].x for label in frame["row"]], dtype=float))
    points = frame.dropna(subset="value")
    frame["rank"] = summary.rank_metrics(points, ["column", "metric", "setting"])
    varied = [row for row in artefact.rows if row.panel is not None]
    default = next((level for row in varied if (level := _level(artefact, row))), None)
    compared = [(row, default) for row in varied if default]
    differences = summary.differences(artefact, frame, compared)
    return frame.merge(differences, "left", ["row", "column", "metric"])


def _grid(artefact: Artefact) -> tuple[list[str], list[float]]:
    """The settings that are varied and the values that they take, ascending."""
    settings = dict.fromkeys(row.panel for row in artefact.rows if row.panel is not None)
    return list(settings), sorted({row.x for row in artefact.rows if row.x is not None})


def _level(artefact: Artefact, point: Row) -> Row | None:
    """The level with the same runs as a point: its method, if the value is the default."""
    runs = [cell.runs for cell in point.cells]
    levels = (row for row in artefact.rows if row.panel is None)
    return next((row for row in levels if [cell.runs for cell in row.cells] == runs), None)


def figure(artefact: Artefact, results: Results) -> Figure:
    """Two panels per setting: the first metric at each value, and how all metrics change."""
    frame = of_points(artefact, results)
    settings, values = _grid(artefact)
    first = artefact.metrics[0]
    # equal distances: values are often chosen by factors, and 0 has no logarithm
    frame["x"] = frame["value"].map({value: x for x, value in enumerate(values)})
    across, down = min(ACROSS, len(settings)), -(-len(settings) // ACROSS)
    strips = down * len(artefact.columns)
    figure, axes = plots.subplots(
        2 * strips,
        across,
        figsize=(1.2 + 2.4 * across, 0.8 + 3.2 * strips),
        height_ratios=[3, 2] * strips,
        squeeze=False,
        layout="constrained",
    )
    for i, column in enumerate(artefact.columns):
        own = frame[frame["column"] == column]
        strip = axes[2 * i * down : 2 * (i + 1) * down]
        tops, bottoms = list(strip[::2].flat), list(strip[1::2].flat)
        for top, bottom, setting in zip(tops, bottoms, settings, strict=False):
            points = own[own["setting"] == setting].sort_values("value")
            _levels(top, first, own)
            _points(top, first, points)
            _changes(bottom, artefact.metrics, points)
            top.set_title(symbol(setting), fontsize=10, parse_math=True)
        _align(tops, len(settings), values, f"{first} ({SELECTABLE[first].unit})")
        _align(bottoms, len(settings), values, "change (points)")
        for axis in tops:
            axis.tick_params(labelbottom=False)
        if len(artefact.columns) > 1:
            setting = symbol(settings[0])
            tops[0].set_title(
                f"{column.replace('$', DOLLAR)}\n{setting}", fontsize=10, parse_math=True
            )
    title = artefact.columns[0] if len(artefact.columns) == 1 else None
    plots.legend(figure, axes.flat, title=title, ncols=7)
    legend = "dots are runs, whiskers and bands one standard deviation;\n"
    legend += "change: to the method with all its defaults, of runs with the same seed"
    plots.caption(figure, artefact, legend)
    return figure


def symbol(setting: str) -> str:
    r"""A weight as the paper writes it: ``bd2`` is $\lambda_{BD_2}$; other names as they are."""
    found = re.fullmatch(r"(bd|id)(\d+)", setting)
    return rf"$\lambda_{{{found[1].upper()}_{{{found[2]}}}}}$" if found else setting


def _align(axes: list[Axes], used: int, values: list[float], label: str) -> None:
    """The same axes for the panels of all settings, labelled at the left; hide those not used."""
    limits = [axis.get_ylim() for axis in axes[:used]]
    for j, axis in enumerate(axes):
        first = j % ACROSS == 0
        axis.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        axis.set_xlim(-0.5, len(values) - 0.5)
        axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        axis.set_ylabel(label if first else "")
        axis.tick_params(labelleft=first)
        axis.grid(axis="x", visible=False)
        axis.set_visible(j < used)


def _levels(axis: Axes, metric: str, frame: pd.DataFrame) -> None:
    """Methods that are not varied: horizontal lines with a band."""
    levels = frame[frame["value"].isna() & (frame["role"] != "teacher")]
    for i, cell in enumerate(levels[levels["metric"] == metric].to_dict("records")):
        style, color = LEVELS[i % len(LEVELS)]
        if not cell["runs"]:
            axis.plot([], [], " ", label=f"{cell['row']}: {cells.absent(cell['state'])}")
            continue
        mean, spread = 100 * cell["mean"], 100 * cell["std"]
        axis.axhline(mean, linestyle=style, color=color, linewidth=1.2, label=cell["row"])
        if cell["runs"] > 1:
            axis.axhspan(mean - spread, mean + spread, color=color, alpha=0.15, linewidth=0)


def _points(axis: Axes, metric: str, frame: pd.DataFrame) -> None:
    """One metric at each value: mean, spread and, a little aside, runs; or why there are none."""
    own = frame[frame["metric"] == metric]
    for cell in own.to_dict("records"):
        found = [100 * value for value in cell["values"].values()]
        x = [cell["x"] + 0.15] * len(found)
        axis.plot(x, found, "o", color=plots.COLORS[7], markersize=3, alpha=0.8)
        if not found:
            text, place = cells.absent(cell["state"]), axis.get_xaxis_transform()
            axis.text(cell["x"], 0.03, text, transform=place, ha="center", fontsize=7)
    _whiskers(axis, METRICS[0], own["x"], own["mean"], own["std"])


def _changes(axis: Axes, metrics: list[str], frame: pd.DataFrame) -> None:
    """The difference of every metric to the method with all its defaults."""
    axis.axhline(0, color="black", linewidth=0.8)
    for i, metric in enumerate(metrics):
        own = frame[frame["metric"] == metric]
        x = own["x"] + 0.14 * (i - (len(metrics) - 1) / 2)
        line = _whiskers(axis, METRICS[i], x, own["difference"], own["difference_std"])
        line.set_label(metric)
    if frame["difference"].isna().all():
        axis.text(0.5, 0.1, GAP, transform=axis.transAxes, ha="center", fontsize=7)


def _whiskers(
    axis: Axes, style: tuple[str, Any], x: pd.Series, mean: pd.Series, std: pd.Series
) -> ErrorbarContainer:
    """A line through means (fractions) with their spread; it has gaps where there are none."""
    look = {"marker": style[0], "color": style[1], "markersize": 3.5, "linewidth": 0.9}
    return axis.errorbar(x, 100 * mean, yerr=100 * std, capsize=2, **look)
