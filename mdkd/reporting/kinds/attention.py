"""Where each network looks for a label: heat maps over test images (Figures 5 and 7 of the paper).

Drawn from what `mdkd attend` has left in ``attention/{name}.npz``, and from nothing else.

Shape key: K columns, R rows (networks), P pairs of an image and a label, S pixels on a side.
"""

import math
import textwrap
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mdkd import records
from mdkd.reporting import plots
from mdkd.reporting import summary as report
from mdkd.plan import Artefact, Cell
from mdkd.results import Results
from mdkd.reporting.tables import GAP

THRESHOLD = 0.5  # of a probability, from which on a label counts as found
MOST_PAIRS = 9  # below each other; more of them are set in two blocks
PANEL, SPACE, LINE = 0.85, 0.05, 0.17  # inches: a panel, between panels, a line of text
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: grey below the heat, so that hue means heat alone
CHARACTER = 0.053  # inches, in a caption


@dataclass(frozen=True, kw_only=True)
class Maps:
    """The content of ``attention/{name}.npz``. Pairs of one image stand together."""

    basis: np.ndarray  # text, see `basis`
    rows_R: np.ndarray  # labels of the networks, the teacher first
    states_KR: np.ndarray  # see `state`
    column_P: np.ndarray  # of the artefact, as an index
    ids_P: np.ndarray  # of the images
    labels_P: np.ndarray
    errors_P: np.ndarray  # labels of the whole image that the teacher gets wrong
    images_PSSC: np.ndarray  # uint8
    probabilities_PR: np.ndarray  # of the pair's label, in [0, 1]; NaN for a gap
    maps_PRSS: np.ndarray  # float16 in [0, 1]; NaN for a gap

    def save(self, path: Path) -> None:
        with records.atomic(path) as file:
            np.savez_compressed(file, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path) -> "Maps":
        with np.load(path) as stored:
            return cls(**stored)


def path_of(artefact: Artefact, results: Results) -> Path:
    """Where the maps of an artefact lie."""
    return results.results / "attention" / f"{artefact.name}.npz"


def state(cell: Cell, results: Results) -> str:
    """That of the run which is shown, a cell's first, or ``n/a: reason``."""
    return f"n/a: {cell.unavailable}" if cell.unavailable else results.state(cell.runs[0])


def basis(artefact: Artefact, results: Results) -> str:
    """All that the maps depend on: maps made from anything else are never shown."""
    networks = {
        row.label: [
            results.record(cell.runs[0])["weights_sha256"] if found == "done" else found
            for cell in row.cells
            for found in [state(cell, results)]
        ]
        for row in artefact.rows
    }
    facts = {"columns": artefact.columns, "options": artefact.options, "networks": networks}
    return records.canonical(facts)


def figure(artefact: Artefact, results: Results) -> Figure:
    """One row of panels per image and label: the image, then the map of every network over it."""
    path = path_of(artefact, results)
    if not path.exists():
        return _message(artefact, "attention maps not yet computed")
    maps = Maps.load(path)
    if str(maps.basis) != basis(artefact, results):
        return _message(artefact, "attention maps were computed from other runs or options")
    blocks = [_blocks(maps, k) for k in range(len(artefact.columns))]
    across = max(map(len, blocks))
    block_width = (1 + len(maps.rows_R)) * (PANEL + SPACE) + 2 * SPACE
    heights = [2 * LINE + max(map(_height, parts)) for parts in blocks]
    page = Page(across * block_width, sum(heights) + (len(heights) - 1) * LINE)
    y = 0.0
    for k, (parts, height) in enumerate(zip(blocks, heights, strict=True)):
        page.text(0, y, artefact.columns[k], fontsize=8)
        for b, part in enumerate(parts):
            _block(page, maps, part, b * block_width, y + LINE)
        if maps.states_KR[k, 0] != "done":
            absent = report.absent(str(maps.states_KR[k, 0]))
            page.text(0, y + LINE, f"Teacher: {absent} (its predictions choose the images)")
        y += height + LINE
    lines = _legend(artefact, maps)
    width = int(page.width / CHARACTER)
    plots.caption(page.figure, artefact, "\n".join(textwrap.fill(x, width) for x in lines))
    return page.figure


class Page:
    """A figure on which things are placed in inches from its upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = plt.figure(figsize=(width, height))

    def panel(self, x: float, y: float) -> plt.Axes:
        bottom = self.height - y - PANEL
        size = (PANEL / self.width, PANEL / self.height)
        axis = self.figure.add_axes((x / self.width, bottom / self.height, *size))
        axis.grid(False)
        axis.set(xticks=[], yticks=[])
        return axis

    def text(self, x: float, y: float, text: str, fontsize: float = 6.5, **style: Any) -> None:
        """Text whose upper edge is at ``y``."""
        place = (x / self.width, 1 - y / self.height)
        self.figure.text(*place, text, fontsize=fontsize, va="top", **style)


def _blocks(maps: Maps, column: int) -> list[list[list[int]]]:
    """The pairs of a column, grouped by image, in one block or in two of about the same length."""
    pairs = np.flatnonzero(maps.column_P == column).tolist()
    images = [list(group) for _, group in groupby(pairs, key=lambda p: maps.ids_P[p])]
    if len(pairs) <= MOST_PAIRS:
        return [images]
    half = pairs[0] + len(pairs) / 2
    return [[i for i in images if i[0] < half], [i for i in images if i[0] >= half]]


def _height(block: list[list[int]]) -> float:
    return sum(LINE + len(image) * (PANEL + LINE) for image in block)


def _block(page: Page, maps: Maps, images: list[list[int]], left: float, y: float) -> None:
    """Rows of panels below their headings."""
    step, middle = PANEL + SPACE, PANEL / 2
    for j, heading in enumerate(["Input", *maps.rows_R] if images else []):
        page.text(left + j * step + middle, y, heading, ha="center", weight="bold")
    y += LINE
    for image in images:
        wrong = int(maps.errors_P[image[0]])
        verdict = f"teacher: {wrong or 'no'} label{'s' if wrong > 1 else ''} wrong"
        page.text(left, y + 0.04, f"{maps.ids_P[image[0]]}; {verdict}", fontsize=5.5)
        y += LINE
        for pair in image:
            page.panel(left, y).imshow(maps.images_PSSC[pair])
            page.text(left + middle, y + PANEL + 0.02, maps.labels_P[pair], ha="center")
            for r in range(len(maps.rows_R)):
                _heat(page, maps, pair, r, left + (1 + r) * step, y)
            y += PANEL + LINE


def _heat(page: Page, maps: Maps, pair: int, row: int, x: float, y: float) -> None:
    """One network's map over the image, and its probability of the label; or why there is none."""
    axis = page.panel(x, y)
    probability = maps.probabilities_PR[pair, row]
    if np.isnan(probability):
        text = report.absent(str(maps.states_KR[maps.column_P[pair], row]))
        axis.text(0.5, 0.5, text, fontsize=7, ha="center", va="center")
        return
    axis.imshow(maps.images_PSSC[pair] @ LUMA, cmap="gray", vmin=0, vmax=255)
    heat_SS = maps.maps_PRSS[pair, row].astype(np.float32)
    axis.imshow(heat_SS, cmap="inferno", vmin=0, vmax=1, alpha=0.6)
    missed = {"color": plots.COLORS[3], "weight": "bold"} if probability < THRESHOLD else {}
    percent = math.floor(100 * probability)  # cut off: what is missed never reads 0.50
    text = f"{percent / 100:.2f}{' missed' if missed else ''}"
    page.text(x + PANEL / 2, y + PANEL + 0.02, text, ha="center", **missed)


def _legend(artefact: Artefact, maps: Maps) -> list[str]:
    """How to read the figure, line by line."""
    lines = [
        f"students of seed {artefact.seeds[0]}.",
        "Grad-CAM of the label's logit on the last feature map, bright is high; each map is scaled "
        "to its own range, so brightness cannot be compared between panels. Below it the network's "
        f"probability of the label, under {THRESHOLD} missed.",
    ]
    if artefact.options["images"]:
        lines.append("Images as named in the experiment.")
    else:
        lines.append(
            "Images chosen by the teacher alone: with at least two labels, fewest errors at "
            f"{THRESHOLD} first, then most labels, then most certain."
        )
    if set(maps.states_KR.flat) & {"to do", "other settings"}:
        lines.append(f"{GAP} not yet run.")
    reasons = {
        f"{row}: {text}."
        for states_R in maps.states_KR
        for row, text in zip(maps.rows_R, states_R, strict=True)
        if text.startswith("n/a")
    }
    return lines + sorted(reasons)


def _message(artefact: Artefact, text: str) -> Figure:
    """A figure that says why there is none, and the remedy."""
    figure = plt.figure(figsize=(5, 1))
    text = f"{text}: run `mdkd attend {artefact.name}`"
    figure.text(0.01, 0.5, text, fontsize=8)
    plots.caption(figure, artefact, artefact.title)
    return figure
