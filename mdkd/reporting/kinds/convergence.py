"""How fast each method learns: mAP on images set aside from the training split, by epoch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from mdkd.agreement import SELECTABLE
from mdkd.artefacts import Artefact
from mdkd.errors import UserError
from mdkd.reporting import cells, notes, plots, summary
from mdkd.reporting.kinds import comparison
from mdkd.reporting.summary import Measure, Values
from mdkd.reporting.tables import GAP, Entry, Table
from mdkd.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUARTERS = (1, 2, 3, 4)  # of the epochs
LINES = (("-", "o"), ("--", "s"), ("-.", "^"), (":", "v"), ((0, (5, 1, 1, 1)), "D"))  # then again


def table(artefact: Artefact, results: Results) -> Table:
    """One block per pair: validation mAP by epoch, when it reaches the student's, test metrics."""
    curve, test = curves(artefact, results), summary.of_metrics(artefact, results)
    reached = reaching(curve)
    epochs = _epochs(artefact, results)
    shown = [-(-epochs * quarter // 4) for quarter in QUARTERS]
    by_epoch = curve.set_index(["row", "column", "epoch"]).to_dict("index")
    first = reached.set_index(["row", "column"]).to_dict("index")
    on_test = test.set_index(["row", "column", "metric"]).to_dict("index")

    def entries(row: str, column: str) -> list[Entry]:
        found = [cells.entry(by_epoch[row, column, epoch]) for epoch in shown]
        found.append(_first(first[row, column]))
        return found + [cells.entry(on_test[row, column, m]) for m in artefact.metrics]

    frames = (summary.hundredfold(curve), reached, summary.hundredfold(test).assign(epoch=epochs))
    return Table(
        name=artefact.name,
        title=cells.title(artefact),
        headings=[
            *(f"val {25 * quarter} %" for quarter in QUARTERS),
            "reaches Student",
            *(f"test {metric}" for metric in artefact.metrics),
        ],
        blocks=cells.blocks(artefact, entries),
        notes=[*notes.of_metrics(artefact, test, results), *_notes(shown)],
        frame=pd.concat(frames).astype({"epoch": "Int64"}),
    )


def curves(artefact: Artefact, results: Results) -> pd.DataFrame:
    """mAP on the validation split, as in `summary.of_metrics`: one row per cell and epoch.

    The metric is ``val mAP``. A further column, ``epoch``, counts from 1.

    Raises:
        UserError: a run was trained without a validation split.
    """
    keys = {("val mAP", 1 + epoch): None for epoch in range(_epochs(artefact, results))}

    def validation(path: str) -> Values | None:
        if results.state(path) != "done":
            return None
        return {("val mAP", i): ap for i, ap in enumerate(_validation(results, path), 1)}

    measure = Measure(keys, validation)
    names = ["metric", "epoch"]
    frame = summary.over_seeds(artefact, results, names, [measure] * len(artefact.columns))
    frame = summary.by_row(artefact, frame).assign(reported=math.nan)
    frame["rank"] = summary.rank(frame, ["column", "epoch"])
    frame["epoch"] = frame.pop("epoch")  # the last column
    return frame


def reaching(curve: pd.DataFrame) -> pd.DataFrame:
    """The first epoch at which the mean over seeds reaches the student's last one.

    Columns: row, role, column, metric (``epoch reaching student``), epoch (NaN if that never
    happens or the student has no runs), runs, planned, state, rank (1 is the earliest method).
    """
    lines = []
    last = curve[(curve["role"] == "student") & (curve["epoch"] == curve["epoch"].max())]
    goals = last.drop_duplicates("column").set_index("column")["mean"]
    for (row, role, column), own in curve.groupby(["row", "role", "column"], sort=False):
        epoch = own.loc[own["mean"] >= goals.get(column, math.nan), "epoch"].min()
        facts = own.iloc[0][["runs", "planned", "state"]].to_dict()
        place = {"row": row, "role": role, "column": column, "metric": "epoch reaching student"}
        lines.append(place | {"epoch": epoch} | facts)
    frame = pd.DataFrame(lines)
    epochs = frame.assign(mean=frame["epoch"])
    return frame.assign(rank=summary.rank(epochs, ["column"], lowest_is_best=True))


def _validation(results: Results, path: str) -> list[float]:
    """A run's mAP on the validation split after each epoch, a fraction."""
    history = results.history(path) or []
    if any("val_mAP" not in entry for entry in history):
        name = results.runs[path].dataset.name
        raise UserError(
            f"config/datasets.yaml: {name}: {path} was trained without a validation split; "
            "give it `val`, the fraction of the training images to set aside, such as val: 0.1"
        )
    return [entry["val_mAP"] for entry in history]


def _epochs(artefact: Artefact, results: Results) -> int:
    return results.runs[artefact.runs[0]].recipe.epochs


def _first(cell: dict) -> Entry:
    """The epoch of `reaching` as it is printed."""
    if not cell["runs"]:
        return Entry(cells.absent(cell["state"]))
    if math.isnan(cell["epoch"]):
        return Entry(GAP)
    return Entry(f"{cell['epoch']:.0f}{cells.dagger(cell['state'])}", cells.mark(cell["rank"]))


def _notes(shown: list[int]) -> list[str]:
    return [
        f"val 25 % and so on: mAP on the validation split, after these epochs: "
        f"{', '.join(map(str, shown))}. The validation split is a part of the training images that "
        "no network is trained on.",
        "reaches Student: the first epoch after which the mean over seeds is at least the "
        f"student's mean after its last epoch; {GAP} if that never happens or the student has no "
        "runs.",
    ]


def figure(artefact: Artefact, results: Results) -> Figure:
    """Two panels per pair: validation mAP by epoch, and the first metric on the test split."""
    curve, test = curves(artefact, results), summary.of_metrics(artefact, results)
    metric = artefact.metrics[0]
    test = test[test["metric"] == metric]
    down = len(artefact.columns)
    figure, axes = plots.subplots(
        down,
        2,
        figsize=(9, 0.8 + 2.8 * down),
        squeeze=False,
        width_ratios=[3, 2],
        layout="constrained",
    )
    for column, (left, right) in zip(artefact.columns, axes, strict=True):
        _curves(left, curve[curve["column"] == column])
        left.set_title(column, fontsize=9)
        left.set(xlabel="epoch", ylabel="mAP on the validation split (%)")
        comparison.panel(right, artefact, test[test["column"] == column])
        unit = SELECTABLE[metric].unit
        right.set_xlabel(f"{metric} on the test split after the last epoch ({unit})")
    # In the right panel, the student is a line of another look.
    marks = {"teacher": "", "student": " (right panel)"}
    baselines = [row for row in reversed(artefact.rows) if row.role in marks]
    names = {str(row.role): row.label + marks[row.role] for row in baselines}
    plots.legend(figure, axes.flat, names=names)
    legend = "lines and diamonds are means, bands and whiskers one standard deviation, dots runs"
    plots.caption(figure, artefact, legend)
    return figure


def _curves(axis: Axes, curve: pd.DataFrame) -> None:
    """Mean and spread of every row that has runs; the teacher is black."""
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlim(0, 1.02 * curve["epoch"].max())
    for i, (label, own) in enumerate(curve.groupby("row", sort=False)):
        if not own["runs"].iloc[0]:
            axis.plot([], [], " ", label=f"{label}: {cells.absent(own['state'].iloc[0])}")
            continue
        mean, spread = 100 * own["mean"], 100 * own["std"]
        style, marker = LINES[i % len(LINES)]
        if own["role"].iloc[0] == "teacher":
            axis.plot(own["epoch"], mean, "--", color="black", linewidth=1, label=label)
            continue
        axis.plot(
            own["epoch"],
            mean,
            linestyle=style,
            marker=marker,
            markevery=-(-len(own) // 10),
            markersize=4,
            color=plots.COLORS[i % len(plots.COLORS)],
            label=label,
        )
        band = {"color": plots.COLORS[i % len(plots.COLORS)], "alpha": 0.2, "linewidth": 0}
        axis.fill_between(own["epoch"], mean - spread, mean + spread, **band)
