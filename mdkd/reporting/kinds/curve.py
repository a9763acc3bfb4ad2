"""The metrics of each method over a number of the recipe, or over the size of the teacher."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

import pandas as pd

from mdkd.agreement import SELECTABLE
from mdkd.artefacts import Artefact, Row
from mdkd.reporting import cells, notes, plots, summary
from mdkd.reporting.tables import GAP, Block, Entry, Line, Table
from mdkd.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = "parameters of the teacher"
MARKERS = "os^vDP<>*X"
APART = 1.01  # factor on x from one curve to the next, so that whiskers do not cover each other


def table(artefact: Artefact, results: Results) -> Table:
    """One block per metric and group of points: a line per curve, an entry per point."""
    frame = of_points(artefact, results)
    places = list(dict.fromkeys(frame["place"].dropna()))
    groups = list(dict.fromkeys(frame["group"]))
    points = frame.set_index(["group", "metric", "curve", "place"]).sort_index().to_dict("index")
    blocks = []
    for group, metric in product(groups, artefact.metrics):
        own = frame[(frame["group"] == group) & (frame["metric"] == metric)]
        level = own[own["place"].isna()]  # of a teacher that is the same at every point
        curves = own.dropna(subset="place").drop_duplicates("curve")[["curve", "role"]]

        def entries(curve: str, group: str = group, metric: str = metric) -> list[Entry]:
            keys = [(group, metric, curve, place) for place in places]
            return [cells.entry(points[key]) if key in points else Entry("") for key in keys]

        lines = cells.lines(curves.itertuples(index=False, name=None), entries)
        if _over_teachers(artefact):
            sizes = {place: _millions(x) for place, x in zip(own["place"], own["x"], strict=True)}
            first = [Entry(sizes.get(place, "")) for place in places]
            lines = [Line(label=SIZE.capitalize(), entries=first), *lines]
        texts = [f"{cell['row']} {cells.entry(cell).text}" for cell in level.to_dict("records")]
        heading = f"{group}, {metric}" if len(artefact.columns) > 1 else metric
        blocks.append(Block(heading=": ".join([heading, *texts]), lines=lines))
    in_points = {key: (100 * frame[key]).round(4) for key in ("difference", "difference_std")}
    return Table(
        name=artefact.name,
        title=cells.title(artefact),
        headings=places,
        blocks=blocks,
        notes=[
            *notes.of_metrics(artefact, frame, results, "Among the methods in a column"),
            _note(artefact),
        ],
        frame=summary.hundredfold(frame).assign(**in_points),
    )


def of_points(artefact: Artefact, results: Results) -> pd.DataFrame:
    """`summary.of_metrics`, in which the methods are ranked among themselves at each point.

    Further columns: group (of points that make one panel), curve, place (the name of the point;
    empty for a teacher that is the same at all points) and x (NaN if it is not known), difference
    and difference_std (fractions, to the student at the same point, from runs of the same seed).
    """
    frame = summary.of_metrics(artefact, results)
    rows = {row.label: row for row in artefact.rows}
    if _over_teachers(artefact):
        where = {column: i for i, column in enumerate(artefact.columns)}
        columns = [where[column] for column in frame["column"]]
        frame["group"] = [_group(artefact, i) for i in columns]
        frame["curve"] = frame["row"]
        frame["place"] = [artefact.labels[artefact.pairs[i].teacher] for i in columns]
        sizes = [_parameters(artefact, i, results) for i in range(len(artefact.columns))]
        frame["x"] = [sizes[i] for i in columns]
    else:
        points = [rows[label] for label in frame["row"]]
        frame["group"] = frame["column"]
        frame["curve"] = [row.panel or row.label for row in points]
        key = artefact.options["x"]
        frame["place"] = [None if row.x is None else f"{key} = {row.x:g}" for row in points]
        frame["x"] = pd.Series([row.x for row in points], dtype=float)
    frame["rank"] = summary.rank_metrics(frame, ["group", "metric", "place"])
    students: dict[float | None, Row] = {}  # by the point
    for row in artefact.rows:
        if row.role == "student":
            students.setdefault(row.x, row)
    methods = (row for row in artefact.rows if row.role == "method" and row.x in students)
    compared = [(row, students[row.x]) for row in methods]
    differences = summary.differences(artefact, frame, compared)
    return frame.merge(differences, "left", ["row", "column", "metric"])


def _over_teachers(artefact: Artefact) -> bool:
    return artefact.options["x"] == "teacher"


def _group(artefact: Artefact, column: int) -> str:
    """The data set and the student, which the points of a panel share; a single point's column."""
    pair = artefact.pairs[column]
    shared = [(p.dataset, p.student) for p in artefact.pairs]
    if shared.count((pair.dataset, pair.student)) == 1:
        return artefact.columns[column]
    return f"{artefact.labels[pair.dataset]}: {artefact.labels[pair.student]}"


def _parameters(artefact: Artefact, column: int, results: Results) -> float:
    """The number of parameters of a column's teacher; NaN if it is not trained yet."""
    teacher = next(row for row in artefact.rows if row.role == "teacher")
    path = teacher.cells[column].runs[0]
    if results.state(path) != "done":
        return math.nan
    sizes = results.record(path)["parameters"]
    return float(sizes["backbone"] + sizes["head"])


def _millions(count: float) -> str:
    return GAP if math.isnan(count) else f"{count / 1e6:.2f} M"


def _note(artefact: Artefact) -> str:
    if _over_teachers(artefact):
        return (
            f"Each column has another teacher. {SIZE.capitalize()}: of its backbone and head. "
            "The runs of the student are the same in all columns."
        )
    return (
        f"Each column is a value of {artefact.options['x']} in the recipe of the student and of "
        "all methods. The teacher keeps the recipe of the protocol."
    )


def figure(artefact: Artefact, results: Results) -> Figure:
    """Two panels per group: the first metric of each curve, and its difference to the student."""
    frame = of_points(artefact, results)
    frame = frame[frame["metric"] == artefact.metrics[0]]
    groups = list(dict.fromkeys(frame["group"]))
    figure, axes = plots.subplots(
        len(groups),
        2,
        figsize=(9, 1 + 3 * len(groups)),
        squeeze=False,
        layout="constrained",
    )
    looks = {curve: i for i, curve in enumerate(dict.fromkeys(frame["curve"]))}
    for group, (left, right) in zip(groups, axes, strict=True):
        own = frame[frame["group"] == group]
        _curves(left, own, looks, "mean", "std")
        _curves(right, own[own["role"] == "method"], looks, "difference", "difference_std")
        right.axhline(0, color="black", linewidth=0.8)
        for axis in (left, right):
            _scale(axis, artefact, own.dropna(subset=["place", "x"]))
        left.set_title(group, fontsize=9)
        unit = SELECTABLE[artefact.metrics[0]].unit
        left.set_ylabel(f"{artefact.metrics[0]} ({unit})")
        right.set_title("difference to the student", fontsize=9)
        right.set_ylabel("points" if unit == "%" else unit)
    plots.legend(figure, axes[:, 0])
    legend = "points are means, whiskers one standard deviation over seeds"
    plots.caption(figure, artefact, legend)
    return figure


def _curves(
    axis: Axes, frame: pd.DataFrame, looks: dict[str, int], value: str, spread: str
) -> None:
    """One line with whiskers per curve, or why there is none. The teacher is black."""
    for curve, own in frame.groupby("curve", sort=False):
        look, is_teacher = looks[str(curve)], own["role"].iloc[0] == "teacher"
        color = "black" if is_teacher else plots.COLORS[look % len(plots.COLORS)]
        if not own["runs"].any():
            axis.plot([], [], " ", label=f"{curve}: {cells.absent(own['state'].iloc[0])}")
        elif own["place"].isna().all():
            axis.axhline(100 * own["mean"].iloc[0], linestyle="--", color=color, label=curve)
        else:
            own = own.sort_values("x")
            axis.errorbar(
                own["x"] * APART ** (look - len(looks) / 2),
                100 * own[value],
                yerr=100 * own[spread],
                linestyle="--" if is_teacher else "-",
                marker=MARKERS[look % len(MARKERS)],
                markersize=4,
                linewidth=1,
                capsize=2,
                color=color,
                label=curve,
            )


def _scale(axis: Axes, artefact: Artefact, points: pd.DataFrame) -> None:
    """A mark at each point. Factors are equal distances, unless a value is 0."""
    over_teachers, key = _over_teachers(artefact), artefact.options["x"]
    axis.set_xlabel(SIZE if over_teachers else f"{key} of student and methods")
    if points.empty:
        axis.set_xticks([])
        return
    if (points["x"] > 0).all():
        axis.set_xscale("log")
        axis.minorticks_off()
    found = points.drop_duplicates("x")
    texts = [
        f"{place}\n{_millions(x)}" if over_teachers else f"{x:g}"
        for place, x in zip(found["place"], found["x"], strict=True)
    ]
    axis.set_xticks(found["x"], texts)
    axis.grid(axis="x", visible=False)
