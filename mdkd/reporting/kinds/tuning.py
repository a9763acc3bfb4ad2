"""Every point of every method on validation images, and the point that is chosen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from mdkd import tuning
from mdkd.agreement import SELECTABLE
from mdkd.artefacts import Artefact, Row
from mdkd.reporting import cells, notes, plots, summary
from mdkd.reporting.tables import Block, Entry, Line, Table
from mdkd.results import Results
from mdkd.tuned import in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = 4  # methods side by side
CHOSEN, PUBLISHED = "chosen", "published"


def table(artefact: Artefact, results: Results) -> Table:
    """One block per pair and method: every point, which one is chosen, and which is published."""
    results = results.on("val")
    frame = of_points(artefact, results)
    numbers = frame.set_index(["row", "column", "metric"]).to_dict("index")
    blocks = []
    for column in artefact.columns:
        for method, rows in _groups(artefact).items():
            names = [column] * (len(artefact.columns) > 1) + [_heading(method, rows)]
            lines = []
            for row in rows:
                found = [numbers[row.label, column, metric] for metric in artefact.metrics]
                mark = found[0]["choice"] if found[0]["runs"] else ""
                entries = [*map(cells.entry, found), Entry(mark)]
                lines.append(Line(label=row.label, entries=entries))
            blocks.append(Block(heading=": ".join(filter(None, names)) or None, lines=lines))
    return Table(
        name=artefact.name,
        title=cells.title(artefact),
        headings=[*(f"val {metric}" for metric in artefact.metrics), ""],
        blocks=blocks,
        notes=[
            *notes.of_metrics(artefact, frame, results, "Among the points of one method"),
            *_notes(artefact),
        ],
        frame=summary.hundredfold(frame),
    )


def of_points(artefact: Artefact, results: Results) -> pd.DataFrame:
    """`summary.of_metrics`, in which the points of each method are ranked among themselves.

    Further columns: method (its label; empty for teacher and student), point (its number, NaN if it
    cannot be chosen), choice (``chosen``, ``published``, both or neither).
    """
    frame = summary.of_metrics(artefact, results)
    rows, choices = {row.label: row for row in artefact.rows}, _choices(artefact, results)
    groups = {row.label: m for m, members in _groups(artefact).items() for row in members}
    frame.insert(1, "method", [groups[label] for label in frame["row"]])
    frame.insert(2, "point", [rows[label].x or math.nan for label in frame["row"]])
    frame.insert(3, "choice", [choices.get(label, "") for label in frame["row"]])
    compared = frame[frame["method"] != ""]
    frame["rank"] = summary.rank_metrics(compared, ["column", "method", "metric"])
    return frame


def _groups(artefact: Artefact) -> dict[str, list[Row]]:
    """The rows of every method by its label; teacher and student have an empty one.

    The row without a panel is that of the default settings, and its label that of the method.
    """
    groups: dict[str, list[Row]] = {}
    for row in artefact.rows:
        label = row.panel or (row.label if row.role == "method" else "")
        groups.setdefault(label, []).append(row)
    return groups


def _heading(method: str, rows: list[Row]) -> str:
    """A method with its published settings, which the label of their row does not tell."""
    settings = next((row.tried for row in rows if row.panel is None and row.tried), None)
    return f"{method} ({in_words(settings)})" if settings else method


def _choices(artefact: Artefact, results: Results) -> dict[str, str]:
    """What is said about a point, by the label of its row."""
    texts = {}
    for found in tuning.points(artefact, results).values():
        chosen = tuning.best(found)
        for point in found:
            words = [CHOSEN] * (point is chosen) + [PUBLISHED] * point.published
            texts[point.row.label] = ", ".join(words)
    return texts


def _notes(artefact: Artefact) -> list[str]:
    pairs = "pairs and seeds" if len(artefact.pairs) > 1 else "seeds"
    return [
        f"Every method has the same budget of {tuning.budget(artefact)} points. chosen: the point "
        f"with the highest mAP on the validation images, as a mean over {pairs}; of equal ones the "
        "published one, else the first. It is marked when all points of the method have ended, and "
        "a point that failed is not chosen. One choice for each method: it is used for all pairs. "
        "published: the default settings, in parentheses behind the name of the method."
    ]


def figure(artefact: Artefact, results: Results) -> Figure:
    """One panel per pair and method: the first metric at each point, and both baselines."""
    results = results.on("val")
    frame = of_points(artefact, results)
    metric = artefact.metrics[0]
    frame = frame[frame["metric"] == metric]
    methods = [label for label in _groups(artefact) if label]
    across, down = min(ACROSS, len(methods)), -(-len(methods) // ACROSS)
    figure, axes = plots.subplots(
        down * len(artefact.columns),
        across,
        figsize=(1 + 2.1 * across, 0.7 + 2.1 * down * len(artefact.columns)),
        squeeze=False,
        sharey="all",
        layout="constrained",
    )
    for i, column in enumerate(artefact.columns):
        own = frame[frame["column"] == column]
        strip = list(axes[i * down : (i + 1) * down].flat)
        for j, (axis, method) in enumerate(zip(strip, methods, strict=False)):
            _panel(axis, own, method)
            first = j == 0 and len(artefact.columns) > 1
            axis.set_title(f"{column}\n{method}" if first else method, fontsize=9)
            axis.set_ylabel(f"val {metric} ({SELECTABLE[metric].unit})" if j % across == 0 else "")
        for axis in strip[len(methods) :]:
            axis.set_visible(False)
    baselines = {str(row.role): row.label for row in artefact.rows if row.role != "method"}
    title = artefact.columns[0] if len(artefact.columns) == 1 else None
    plots.legend(figure, axes.flat, names=baselines, title=title, ncols=4)
    legend = "points in the order of the table;\nwhiskers are one standard deviation over seeds"
    plots.caption(figure, artefact, legend)
    return figure


def _panel(axis: Axes, frame: pd.DataFrame, method: str) -> None:
    """The points of one method; ``frame`` is the part of `of_points` about one pair and metric."""
    points = frame[(frame["method"] == method) & frame["point"].notna()]
    done = points[points["runs"] > 0]
    whiskers = (100 * done["std"]).fillna(0)
    axis.errorbar(
        *(done["point"], 100 * done["mean"]),
        yerr=whiskers,
        fmt="o-",
        color=plots.COLORS[0],
        markersize=4,
        capsize=2,
    )
    for word, marker, size in ((CHOSEN, "*", 13), (PUBLISHED, "s", 9)):
        own = done[done["choice"].str.contains(word)]
        color = plots.COLORS[1 if word == CHOSEN else 7]
        style = {"markerfacecolor": "none"} if word == PUBLISHED else {"zorder": 3}
        axis.plot(
            *(own["point"], 100 * own["mean"]),
            marker,
            color=color,
            markersize=size,
            label=word,
            **style,
        )
    for cell in points[points["runs"] == 0].to_dict("records"):
        place = axis.get_xaxis_transform()
        axis.text(cell["point"], 0.03, cells.absent(cell["state"]), transform=place, ha="center")
    plots.baselines(axis.axhline, frame)
    axis.set_xticks(points["point"], [f"{x:g}" for x in points["point"]])
    axis.margins(x=0.15)
    axis.grid(axis="x", visible=False)
