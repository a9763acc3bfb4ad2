"""Second-order dependencies of a few labels (Figures 6, 8 of the paper): one heat map per network.

Shape key: N images, C labels, L chosen labels, S pixels on a side.
"""

from dataclasses import dataclass, field
from textwrap import fill

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mdkd.artefacts import Artefact, Row
from mdkd.data.cache import open_cache
from mdkd.reporting import cells, plots, summary
from mdkd.reporting.dependencies import psi
from mdkd.results import Predictions, Results, State

ACROSS = 5  # heat maps side by side
WIDTH = 22  # characters beside the heat maps


@dataclass(frozen=True, kw_only=True)
class Strip:
    """One image, or the whole test set, as all networks of a column see it."""

    column: int
    title: str
    labels: list[str]  # the chosen ones that the data set has
    missing: str = ""  # why there can be nothing to show
    present: list[str] = field(default_factory=list)  # labels of the image
    pixels_SSC: np.ndarray | None = None  # None if the cache is gone
    maps: dict[str, list[np.ndarray]] = field(default_factory=dict)  # [L, L] per seed, by row


def figure(artefact: Artefact, results: Results) -> Figure:
    """A strip per image and one for the test set: the teacher's heat map, then every method's."""
    strips = [s for i in range(len(artefact.columns)) for s in _strips(artefact, results, i)]
    down = -(-len(artefact.rows) // ACROSS)
    figure = plt.figure(figsize=(1.2 + 1.2 * ACROSS, 1.4 * down * len(strips)))
    grid = figure.add_gridspec(len(strips), 1, left=0, right=1, bottom=0, top=1, hspace=0.12)
    for g, strip in enumerate(strips):
        places = grid[g].subgridspec(down, 1 + ACROSS, wspace=0.12, hspace=0.35)
        _input(figure.add_subplot(places[:, 0]), artefact, strip)
        for i, row in enumerate(artefact.rows):
            axis = figure.add_subplot(places[i // ACROSS, 1 + i % ACROSS])
            _panel(axis, artefact, row, strip, results)
    reasons = [f"n/a: {strip.missing}" for strip in strips if strip.missing]
    for strip in strips:
        lacking = [label for label in artefact.options["labels"] if label not in strip.labels]
        reasons += [f"n/a: the data set lacks {', '.join(lacking)}"] if lacking else []
    text = (
        "numbers: squared difference of two labels' probabilities, 0 to 1, lower means more alike, "
        "mean over seeds\n"
        "Δ: mean absolute difference to the teacher's matrix"
    )
    plots.caption(figure, artefact, "; ".join([text, *dict.fromkeys(reasons)]))
    return figure


def choose(
    test: Predictions, teacher: Predictions | None, labels: list[str], count: int, skip: int
) -> list[str]:
    """Ids of the test images that show most of the labels.

    Among equals those of whose ``labels`` the teacher is right with the highest mean probability,
    then in their order.
    """
    index = [test.classes.index(label) for label in labels]
    targets_NL = test.targets_NC[:, index].astype(np.float64)
    right_N = np.zeros(len(targets_NL))
    if teacher is not None:
        right_N = 1 - np.abs(targets_NL - teacher.scores_NC[:, index]).mean(axis=1)
    order_N = np.lexsort((-right_N, -targets_NL.sum(axis=1)))  # stable: position comes last
    return [test.ids[i] for i in order_N[skip : skip + count]]


def _strips(artefact: Artefact, results: Results, column: int) -> list[Strip]:
    """Those of a column: images that were named or are chosen, then the test set."""
    options = artefact.options
    test = summary.any_predictions(artefact, column, results)
    if test is None:  # images and labels are not known yet
        return [Strip(column=column, title="whole test set", labels=options["labels"])]
    labels = [label for label in options["labels"] if label in test.classes]
    if len(labels) < 2:
        reason = "fewer than two of the labels"
        return [Strip(column=column, title="whole test set", labels=labels, missing=reason)]
    images = options["images"]
    if not images:
        teacher = summary.teacher_predictions(artefact, column, results)
        images = choose(test, teacher, labels, options["count"], options["skip"])
    known: list[str | None] = [image for image in images if image in test.ids]
    maps = _maps(artefact, results, column, labels, [*known, None])
    strips = []
    for image in images:
        if image not in test.ids:
            reason = f"no test image {image}"
            strips.append(Strip(column=column, title=image, labels=labels, missing=reason))
            continue
        targets_C = test.targets_NC[test.ids.index(image)]
        strip = Strip(
            column=column,
            title=image,
            labels=labels,
            present=[test.classes[c] for c in np.flatnonzero(targets_C)],
            pixels_SSC=_pixels(artefact, results, column, image),
            maps=maps[image],
        )
        strips.append(strip)
    title = f"whole test set, {len(test.ids)} images"
    return [*strips, Strip(column=column, title=title, labels=labels, maps=maps[None])]


def _maps(
    artefact: Artefact, results: Results, column: int, labels: list[str], images: list[str | None]
) -> dict[str | None, dict[str, list[np.ndarray]]]:
    """Phi of each image, and Psi over the test set for None: by row, one per seed."""
    maps: dict[str | None, dict[str, list[np.ndarray]]]
    maps = {image: {row.label: [] for row in artefact.rows} for image in images}
    for row in artefact.rows:
        for path in row.cells[column].runs:
            predictions = results.predictions(path)
            if predictions is None:
                continue
            p_NL = predictions.scores_NC[:, [predictions.classes.index(label) for label in labels]]
            for image in images:
                rows = slice(None) if image is None else [predictions.ids.index(image)]
                maps[image][row.label].append(psi(p_NL[rows]))
    return maps


def _pixels(artefact: Artefact, results: Results, column: int, image: str) -> np.ndarray | None:
    folder = results.cache(artefact.pairs[column].dataset)
    if not (folder / "meta.json").exists():
        return None
    split = open_cache(folder).splits["test"]
    return split.images_NSSC[split.ids.index(image)] if image in split.ids else None


def _input(axis: plt.Axes, artefact: Artefact, strip: Strip) -> None:
    """The input image with its true labels, or what else a strip shows."""
    axis.axis("off")
    pair = [artefact.columns[strip.column]] if len(artefact.columns) > 1 else []
    text = f"n/a: {strip.missing}" if strip.missing else strip.title
    title = "\n".join(fill(line, WIDTH) for line in [*pair, text])
    present = fill(", ".join(strip.present), WIDTH)
    if strip.pixels_SSC is None:
        axis.text(0.5, 0.5, f"{title}\n{present}", fontsize=7, ha="center", va="center")
        return
    axis.imshow(strip.pixels_SSC)
    axis.set_title(title, fontsize=7)
    axis.annotate(
        present, (0.5, -0.05), xycoords="axes fraction", fontsize=7, ha="center", va="top"
    )


def _panel(axis: plt.Axes, artefact: Artefact, row: Row, strip: Strip, results: Results) -> None:
    """The lower triangle of a network's matrix, in numbers and colours, labels above it."""
    cell = row.cells[strip.column]
    found = strip.maps.get(row.label, [])
    title = row.label
    teacher = [m for r in artefact.rows if r.role == "teacher" for m in strip.maps.get(r.label, [])]
    if found and teacher and row.role != "teacher":
        pairs = np.tril_indices(len(strip.labels), -1)
        distances = [np.abs(own_LL - teacher[0])[pairs].mean() for own_LL in found]
        spread = f" ± {np.std(distances, ddof=1):.3f}" if len(distances) > 1 else ""
        dagger = cells.dagger(results.cell_state(cell, len(found)))
        title += f"\nΔ {np.mean(distances):.3f}{spread}{dagger}"
    axis.set_title(title, fontsize=7, pad=3)
    axis.axis("off")
    if not found:
        state = State("n/a", strip.missing) if strip.missing else results.cell_state(cell, 0)
        text = cells.absent(state)
        axis.text(0.5, 0.5, text, ha="center", va="center", fontsize=8)
        return
    mean_LL = np.mean(found, axis=0)
    upper_LL = np.triu(np.ones_like(mean_LL, bool))  # with the diagonal
    axis.imshow(np.ma.masked_where(upper_LL, mean_LL), cmap="Blues", vmin=0, vmax=1)
    size = min(6.0, 26 / len(strip.labels))
    for k, label in enumerate(strip.labels):
        # the upper triangle is empty: room for the name of a row and of a column
        axis.text(k - 0.4, k, label, va="center", fontsize=size)
        for m, value in enumerate(mean_LL[k, :k]):
            colour = "white" if value > 0.6 else "black"
            axis.text(m, k, f"{value:.2f}", ha="center", va="center", fontsize=size, color=colour)
