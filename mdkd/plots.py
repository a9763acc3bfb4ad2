"""From records to figures; the same input gives the same bytes. Never imports torch."""

import os
from pathlib import Path

os.environ.setdefault("SOURCE_DATE_EPOCH", "0")  # no dates in PDF and SVG

import matplotlib

matplotlib.use("Agg")

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mdkd import records
from mdkd.plan import Artefact
from mdkd.report import summary
from mdkd.results import Results

matplotlib.rcParams["svg.hashsalt"] = "mdkd"


def set_style() -> None:
    """The look of all figures."""
    sns.set_theme(style="whitegrid", context="paper", font="DejaVu Sans")


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write ``{name}.pdf .svg .png`` into ``folder``."""
    for suffix in ("pdf", "svg", "png"):
        metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}[suffix]
        with records.atomic(folder / f"{name}.{suffix}") as file:
            figure.savefig(file, format=suffix, dpi=200, bbox_inches="tight", metadata=metadata)
    plt.close(figure)


def comparison_figure(artefact: Artefact, results: Results, folder: Path) -> None:
    """One panel per pair: mAP of each method's runs, their mean and spread, and both baselines."""
    set_style()
    frame = summary(artefact, results)
    metric = artefact.metrics[0]
    frame = frame[frame["metric"] == metric]
    columns = artefact.columns
    figure, axes = plt.subplots(
        1, len(columns), figsize=(5.2 * len(columns), 3.4), squeeze=False, sharey=True
    )
    for i, (axis, column) in enumerate(zip(axes[0], columns, strict=True)):
        _comparison_panel(axis, artefact, frame[frame["column"] == column], i, results)
        axis.set_title(column, fontsize=9)
        axis.set_xlabel(f"{metric} (%)")
    axes[0][0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False)
    seeds = ", ".join(map(str, artefact.seeds))
    figure.text(
        0.0,
        -0.12,
        f"protocol {artefact.protocol}; seeds {seeds}; dots are runs, diamonds their mean, "
        "whiskers one standard deviation",
        fontsize=7,
    )
    save(figure, folder, artefact.name)


def _comparison_panel(
    axis: plt.Axes, artefact: Artefact, frame: pd.DataFrame, column: int, results: Results
) -> None:
    methods = [row for row in artefact.rows if row.role != "teacher"]
    palette = sns.color_palette("colorblind")
    frame = frame.set_index("row")
    for y, row in enumerate(methods):
        cell = frame.loc[row.label]
        if not cell["runs"]:
            text = "n/a" if cell["state"].startswith("n/a") else "not yet run"
            axis.text(0.02, y, text, transform=axis.get_yaxis_transform(), va="center", fontsize=7)
            continue
        values = _values(artefact, row.cells[column].runs, results)
        axis.plot(values, [y] * len(values), "o", color=palette[7], markersize=4, alpha=0.8)
        spread = 100 * cell["std"] if cell["runs"] > 1 else None
        color = palette[1] if row.role == "student" else palette[0]
        axis.errorbar(100 * cell["mean"], y, xerr=spread, fmt="D", color=color, capsize=3)
    student, teacher = frame[frame["role"] == "student"], frame[frame["role"] == "teacher"]
    for cells, style, label in ((student, ":", "student"), (teacher, "--", "teacher")):
        if len(cells) and cells["runs"].iloc[0]:
            mean = 100 * cells["mean"].iloc[0]
            axis.axvline(mean, linestyle=style, color="black", linewidth=1, label=label)
    axis.set_yticks(range(len(methods)), [row.label for row in methods])
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)


def _values(artefact: Artefact, runs: list[str], results: Results) -> list[float]:
    found = [scores["metrics"] for path in runs if (scores := results.scores(path))]
    return [100 * metrics[artefact.metrics[0]] for metrics in found]
