"""Where each network looks for a label: heat maps over test images (Figures 5 and 7 of the paper).

The figure is drawn from the file that `mdkd attend` writes (`mdkd.attention.Maps`).

Shape key: K columns, R rows (networks), P pairs of an image and a label, S pixels on a side.
"""

import math
import textwrap
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mdkd.artefacts import Artefact
from mdkd.attention import Maps, basis, path_of
from mdkd.metrics import THRESHOLD
from mdkd.reporting import cells, plots
from mdkd.reporting.tables import GAP
from mdkd.results import Results, State

MOST_PAIRS = 9  # below each other; more are drawn in two blocks side by side
PANEL, SPACE, LINE = 0.85, 0.05, 0.17  # inches: a panel, between panels, a line of text
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: the image is grey, so that colour means heat alone
CHARACTER = 0.053  # inches, in a caption


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
        teacher = State.parse(str(maps.states_KR[k, 0]))
        if teacher.name != "done":
            text = f"Teacher: {cells.absent(teacher)} (its predictions choose the images)"
            page.text(0, y + LINE, text)
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
        text = cells.absent(State.parse(str(maps.states_KR[maps.column_P[pair], row])))
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
        "Grad-CAM of the label's logit on the last feature map; bright is high. Each map is scaled "
        "to its own range, so brightness cannot be compared between panels. Below each map: the "
        f"network's probability of the label. A label below {THRESHOLD} is missed.",
    ]
    if artefact.options["images"]:
        lines.append("The images are those that the experiment names.")
    else:
        lines.append(
            "The images are chosen by the teacher's predictions alone: images with at least two "
            f"labels, first those with the fewest errors at {THRESHOLD}, then those with the most "
            "labels, then the most certain ones."
        )
    states = {
        (row, State.parse(str(text)))
        for states_R in maps.states_KR
        for row, text in zip(maps.rows_R, states_R, strict=True)
    }
    if any(state.name == "missing" for _, state in states):
        lines.append(f"{GAP} not yet run.")
    return lines + sorted(f"{row}: {state}." for row, state in states if state.name == "n/a")


def _message(artefact: Artefact, text: str) -> Figure:
    """A figure that says why there is none, and the remedy."""
    figure = plt.figure(figsize=(5, 1))
    text = f"{text}: run `mdkd attend {artefact.name}`"
    figure.text(0.01, 0.5, text, fontsize=8)
    plots.caption(figure, artefact, artefact.title)
    return figure
