"""How fast each method learns: mAP on images set aside from the training split, by epoch."""

import math

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mdkd.reporting import plots
from mdkd.reporting import summary as report
from mdkd.reporting.kinds import comparison
from mdkd.errors import UserError
from mdkd.plan import Artefact, Row
from mdkd.results import Results
from mdkd.reporting.tables import GAP, Entry, Table

QUARTERS = (1, 2, 3, 4)  # of the epochs
LINES = (("-", "o"), ("--", "s"), ("-.", "^"), (":", "v"), ((0, (5, 1, 1, 1)), "D"))  # then again


def table(artefact: Artefact, results: Results) -> Table:
    """One block per pair: validation mAP on the way, when the student is reached, test metrics."""
    curve, test = curves(artefact, results), report.summary(artefact, results)
    reached = reaching(curve)
    epochs = _epochs(artefact, results)
    shown = [-(-epochs * quarter // 4) for quarter in QUARTERS]
    by_epoch = curve.set_index(["row", "column", "epoch"]).to_dict("index")
    first = reached.set_index(["row", "column"]).to_dict("index")
    on_test = test.set_index(["row", "column", "metric"]).to_dict("index")

    def entries(row: Row, column: str) -> list[Entry]:
        found = [report.entry(by_epoch[row.label, column, epoch]) for epoch in shown]
        found.append(_first(first[row.label, column]))
        return found + [report.entry(on_test[row.label, column, m]) for m in artefact.metrics]

    frames = (report.percentages(curve), reached, report.percentages(test).assign(epoch=epochs))
    return Table(
        name=artefact.name,
        title=report.title(artefact),
        headings=[
            *(f"val {25 * quarter} %" for quarter in QUARTERS),
            "reaches Student",
            *(f"test {metric}" for metric in artefact.metrics),
        ],
        blocks=report.blocks(artefact, entries),
        notes=[*report.notes(artefact, test, results), *_notes(artefact, results, shown)],
        frame=pd.concat(frames).astype({"epoch": "Int64"}),
    )


def curves(artefact: Artefact, results: Results) -> pd.DataFrame:
    """`report.summary` of mAP on the validation split: one row per cell and epoch.

    The metric is ``val mAP``, and there is a column ``epoch``, from 1.

    Raises:
        UserError: a run was trained without a validation split.
    """
    lines = []
    rows = {row.label: row for row in artefact.rows}
    cells = report.summary(artefact, results).drop_duplicates(["row", "column"])
    for cell in cells.to_dict("records"):
        runs = rows[cell["row"]].cells[artefact.columns.index(cell["column"])].runs
        by_run = [_validation(results, run) for run in runs if results.state(run) == "done"]
        epochs = range(1, _epochs(artefact, results) + 1)
        values = pd.DataFrame(by_run, columns=epochs, dtype=float)
        for epoch in epochs:
            mean, std = values[epoch].mean(), values[epoch].std()
            facts = {"metric": "val mAP", "epoch": epoch, "mean": mean, "std": std}
            lines.append(cell | facts | {"reported": math.nan})
    frame = pd.DataFrame(lines)
    # as in a summary: two cells that read the same share a rank
    ranked = frame[frame["role"] != "teacher"].assign(printed=lambda f: (100 * f["mean"]).round(2))
    frame["rank"] = ranked.groupby(["column", "epoch"])["printed"].rank("min", ascending=False)
    return frame


def reaching(curve: pd.DataFrame) -> pd.DataFrame:
    """When the mean over seeds first is what the student's is after its last epoch.

    Columns: row, role, column, metric (``epoch reaching student``), epoch (NaN: never, or the
    student has no runs), runs, planned, state, rank (1 is the earliest method).
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
    ranked = frame[frame["role"] != "teacher"]
    return frame.assign(rank=ranked.groupby("column")["epoch"].rank("min"))


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
        return Entry(report.absent(cell["state"]))
    if math.isnan(cell["epoch"]):
        return Entry(GAP)
    mark = report.PARTIAL if cell["state"] == "partial" else ""
    ranks = {1.0: "best", 2.0: "second"}
    return Entry(f"{cell['epoch']:.0f}{mark}", ranks.get(cell["rank"], ""))  # type: ignore[arg-type]


def _notes(artefact: Artefact, results: Results, shown: list[int]) -> list[str]:
    fractions = sorted({results.runs[path].dataset.val for path in artefact.runs})
    aside = " or ".join(f"{100 * fraction:g} %" for fraction in fractions)
    return [
        f"val 25 % ...: mAP on the {aside} of the training images that are set aside and not "
        f"trained on, after 25 % ... of the epochs: {', '.join(map(str, shown))}.",
        "reaches Student: the first epoch at whose end the mean over seeds is at least the "
        f"student's after its last epoch; {GAP} if that never happens or the student is missing.",
    ]


def figure(artefact: Artefact, results: Results) -> Figure:
    """Two panels per pair: validation mAP by epoch, and the first metric on the test split."""
    curve, test = curves(artefact, results), report.summary(artefact, results)
    test = test[test["metric"] == artefact.metrics[0]]
    down = len(artefact.columns)
    figure, axes = plt.subplots(
        down,
        2,
        figsize=(9, 0.8 + 2.8 * down),
        squeeze=False,
        width_ratios=[3, 2],
        layout="constrained",
    )
    for i, (column, (left, right)) in enumerate(zip(artefact.columns, axes, strict=True)):
        _curves(left, curve[curve["column"] == column])
        left.set_title(column, fontsize=9)
        left.set(xlabel="epoch", ylabel="mAP on the validation split (%)")
        comparison.panel(right, artefact, test[test["column"] == column], i, results)
        right.set_xlabel(f"{artefact.metrics[0]} on the test split after the last epoch (%)")
    figure.legend(
        *axes[0][0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=6,
        frameon=False,
    )
    legend = "lines and diamonds are means, bands and whiskers one standard deviation, dots runs"
    plots.caption(figure, artefact, legend)
    return figure


def _curves(axis: plt.Axes, curve: pd.DataFrame) -> None:
    """Mean and spread of every row that has runs; the teacher is black."""
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlim(0, 1.02 * curve["epoch"].max())
    for i, (label, own) in enumerate(curve.groupby("row", sort=False)):
        if not own["runs"].iloc[0]:
            axis.plot([], [], " ", label=f"{label}: {report.absent(own['state'].iloc[0])}")
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
