"""What all figures share: their look and their files. The same input gives the same bytes."""

import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("SOURCE_DATE_EPOCH", "0")  # no dates in PDF and SVG

import matplotlib

matplotlib.use("Agg")

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mdkd import records
from mdkd.layout import FIGURE_FORMATS
from mdkd.plan import Artefact

matplotlib.rcParams["svg.hashsalt"] = "mdkd"
matplotlib.rcParams["text.parse_math"] = False  # users may write $ in labels and titles
COLORS = sns.color_palette("colorblind")


def set_style() -> None:
    """The look of all figures."""
    sns.set_theme(style="whitegrid", context="paper", font="DejaVu Sans")


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write ``{name}.{suffix}`` into ``folder`` for every suffix of `FIGURE_FORMATS`."""
    for suffix in FIGURE_FORMATS:
        metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(suffix, {})
        with records.atomic(folder / f"{name}.{suffix}") as file:
            figure.savefig(file, format=suffix, dpi=200, bbox_inches="tight", metadata=metadata)
    plt.close(figure)


def caption(figure: Figure, artefact: Artefact, text: str) -> None:
    """Protocol, seeds and how to read it, below a figure."""
    seeds = ", ".join(map(str, artefact.seeds))
    line = f"protocol {artefact.protocol}; seeds {seeds}; {text}"
    figure.text(0.01, -0.01, line, fontsize=7, va="top")


def baselines(draw: Callable, frame: pd.DataFrame) -> None:
    """Lines at the mean of the student and of the teacher; ``draw`` is axvline or axhline."""
    for role, style in (("student", ":"), ("teacher", "--")):
        cells = frame[frame["role"] == role]
        if len(cells) and cells["runs"].iloc[0]:
            mean = 100 * cells["mean"].iloc[0]
            draw(mean, linestyle=style, color="black", linewidth=1, label=role)
