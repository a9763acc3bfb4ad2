"""How much of the teacher's label dependencies arrives in a student, and how true they are.

Beside the paper's Psi stand standard measures: phi for pairs of labels, and conditional mutual
information (CMI) for a pair given a third label. Shape key: C labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from mdkd.artefacts import Artefact
from mdkd.reporting import cells, dependencies, notes, plots, summary
from mdkd.reporting.dependencies import Dependencies, Scope, Truth
from mdkd.reporting.summary import Key, Measure, Values
from mdkd.reporting.tables import Block, Entry, Table
from mdkd.results import Predictions, Results, State

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = ("reference", "measure", "scope")
SHORT = "the data set has fewer labels"
UNLINKED = "direct and indirect pairs are known of graphs only"
FLOOR = "test labels against the truth"  # in the legend
CMI_UNIT = 0.1  # nats: printed a hundredfold like the rest, so in units of 0.001 nats


class Panel(NamedTuple):
    """A part of the figure."""

    title: str
    axis: str
    keys: dict[str, Key]  # by their text in the legend
    colours: Sequence


def table(artefact: Artefact, results: Results) -> Table:
    """Per pair a block for each level of Psi, and one for the truth; each with its own headings."""
    frame, truths = errors(artefact, results)
    numbers = frame.set_index(["row", "column", *NAMES]).to_dict("index")
    orders = [str(order) for order in artefact.options["orders"]]
    standard = [("teacher", "phi", "all"), ("teacher", "CMI", "all")]
    batch: list[Key] = [*(("teacher", "Psi batch", n) for n in orders), *standard]
    instance: list[Key] = [("teacher", "Psi instance", n) for n in orders]
    true = [key for key in _keys(artefact, truths) if key[0] == "truth"]
    width = max(len(batch), len(true))
    blocks = []
    for column, truth in zip(artefact.columns, truths, strict=True):
        pair = f"{column}: " if len(artefact.columns) > 1 else ""
        name = truth.name if truth else "the truth"
        known = [("Test labels", "labels")] if truth and truth.counted else []
        networks = [(row.label, row.role) for row in artefact.rows]
        students = [(label, role) for label, role in networks if role != "teacher"]
        for heading, keys, rows in (
            ("error against the teacher, batch level", batch, students),
            ("error against the teacher, instance level", instance, students),
            (f"error against {name}, batch level", true, known + networks),
        ):

            def entries(row: str, column=column, keys=keys) -> list[Entry]:
                found = [cells.entry(numbers[row, column, *key]) for key in keys]
                return found + [Entry("")] * (width - len(keys))

            lines = cells.lines(rows, entries)
            own = _headings(keys, width)
            blocks.append(Block(heading=pair + heading, lines=lines, columns=own))
    return Table(
        name=artefact.name,
        title=cells.title(artefact),
        headings=[""] * width,
        blocks=blocks,
        notes=_notes(artefact, results, frame, truths),
        frame=summary.hundredfold(frame),
    )


def errors(artefact: Artefact, results: Results) -> tuple[pd.DataFrame, list[Truth | None]]:
    """`summary.over_seeds` with rank (1 is the least error), and the truth of every column.

    A key is what a run is compared with (``teacher`` or ``truth``), the measure, and its order or
    scope.
    """
    truths = [dependencies.truth(artefact, results, i) for i in range(len(artefact.columns))]
    measures = [_measure(artefact, i, results, truths) for i in range(len(artefact.columns))]
    frame = summary.over_seeds(artefact, results, NAMES, measures)
    parts = []
    for column, truth, measure in zip(artefact.columns, truths, measures, strict=True):
        parts.append(frame[frame["column"] == column])
        if truth and truth.counted:
            parts.append(_of_labels(column, truth, measure.keys))
    frame = pd.concat(parts, ignore_index=True)
    frame["unit"] = np.where(frame["measure"] == "CMI", "1e-3 nats", "1e-2")
    frame["rank"] = summary.rank(frame, ["column", *NAMES], lowest_is_best=True)
    return frame, truths


def _measure(
    artefact: Artefact, column: int, results: Results, truths: Sequence[Truth | None]
) -> Measure:
    """All errors in one column."""
    truth = truths[column]
    teacher = summary.teacher_predictions(artefact, column, results)
    test = summary.any_predictions(artefact, column, results)
    size = len(test.classes) if test else math.inf
    orders = [order for order in artefact.options["orders"] if order <= size]
    taught = dependencies.of_predictions(teacher.scores_NC) if teacher else None

    def all_errors(path: str) -> Values | None:
        predictions = results.predictions(path)
        if predictions is None:
            return None
        own = dependencies.of_predictions(predictions.scores_NC)
        values: dict[Key, float] = {}
        if teacher is not None and taught is not None:
            scope = {"all": dependencies.everything(len(own.psi_CC))}
            values |= _psi_errors(predictions, own, teacher, taught, orders)
            values |= _standard_errors(own, taught, "teacher", scope)
        return values | (_true_errors(own, truth) if truth else {})

    keys = {key: _impossible(key, size, truth) for key in _keys(artefact, truths)}
    return Measure(keys, all_errors)


def _keys(artefact: Artefact, truths: Sequence[Truth | None]) -> list[Key]:
    """All that is measured, in the order of the table."""
    levels = ("Psi batch", "Psi instance")
    orders = artefact.options["orders"]
    keys: list[Key] = [("teacher", level, str(order)) for level in levels for order in orders]
    keys += [("teacher", "phi", "all"), ("teacher", "CMI", "all"), ("truth", "Psi batch", "2")]
    scopes = dict.fromkeys(["all", *(scope for t in truths if t for scope in t.scopes)])
    return keys + [("truth", measure, scope) for measure in ("phi", "CMI") for scope in scopes]


def _impossible(key: Key, size: float, truth: Truth | None) -> str | None:
    """Why a data set of ``size`` labels cannot have a value, or None."""
    reference, measure, scope = key
    if measure.startswith("Psi"):
        return SHORT if int(scope) > size else None
    unknown = truth is not None and reference == "truth" and scope not in truth.scopes
    return UNLINKED if unknown else None


def _psi_errors(
    predictions: Predictions,
    own: Dependencies,
    teacher: Predictions,
    taught: Dependencies,
    orders: Sequence[int],
) -> dict[Key, float]:
    batch = dependencies.batch_errors(taught.psi_CC - own.psi_CC, orders)
    instance = dependencies.instance_errors(predictions.scores_NC, teacher.scores_NC, orders)
    values: dict[Key, float] = {}
    for order, of_batch, of_instance in zip(orders, batch, instance, strict=True):
        values["teacher", "Psi batch", str(order)] = of_batch
        values["teacher", "Psi instance", str(order)] = of_instance
    return values


def _standard_errors(
    own: Dependencies, other: Dependencies, reference: str, scopes: dict[str, Scope]
) -> dict[Key, float]:
    phi_CC, cmi_CCC = own.phi_CC - other.phi_CC, own.cmi_CCC - other.cmi_CCC
    values: dict[Key, float] = {}
    for name, scope in scopes.items():
        error = dependencies.root_mean_square(cmi_CCC[scope.triples_CCC])
        values[reference, "phi", name] = dependencies.root_mean_square(phi_CC[scope.pairs_CC])
        values[reference, "CMI", name] = error / CMI_UNIT
    return values


def _true_errors(own: Dependencies, truth: Truth) -> dict[Key, float]:
    (psi,) = dependencies.batch_errors(truth.dependencies.psi_CC - own.psi_CC, [2])
    standard = _standard_errors(own, truth.dependencies, "truth", truth.scopes)
    return {("truth", "Psi batch", "2"): psi} | standard


def _of_labels(column: str, truth: Truth, keys: Mapping[Key, str | None]) -> pd.DataFrame:
    """Errors of the test labels themselves: a network that knows every label would have these."""
    assert truth.counted is not None
    values = _true_errors(truth.counted, truth)
    line = {"row": "Test labels", "role": "labels", "column": column, "std": math.nan}
    return pd.DataFrame(
        line
        | dict(zip(NAMES, key, strict=True))
        | {"mean": values.get(key, math.nan), "runs": 1, "planned": 1}
        | {"state": State("n/a", reason) if reason else State("done")}
        for key, reason in keys.items()
        if key[0] == "truth"
    )


def _headings(keys: list[Key], width: int) -> list[str]:
    symbols = {"Psi batch": "Ψ_", "Psi instance": "Φ_", "phi": "φ ", "CMI": "CMI "}
    texts = [symbols[measure] + scope.removeprefix("all") for _, measure, scope in keys]
    texts = [text.strip() for text in texts]
    return texts + [""] * (width - len(texts))


def _notes(
    artefact: Artefact, results: Results, frame: pd.DataFrame, truths: Sequence[Truth | None]
) -> list[str]:
    lines = [
        "Ψ_n, Φ_n: the paper's dependency of order n, over the test set (Ψ) and image by image "
        "(Φ). It is low if labels are alike. Errors: root mean squares over all label sequences, "
        "sqrt(2 L_BDn) and sqrt(2 L_IDn), × 100.",
        "φ: correlation of a pair of labels. CMI: mutual information of a pair given a third "
        "label. Both assume that labels are independent given the image: P(k, l) is the mean of "
        "p_k p_l. Errors: root mean squares, of φ × 100, of CMI in 0.001 nats.",
        "The smallest error is bold, the second underlined.",
    ]
    for i, (column, truth) in enumerate(zip(artefact.columns, truths, strict=True)):
        test = summary.any_predictions(artefact, i, results)
        if truth is None or test is None:
            continue
        where = f"{column}: " if len(artefact.columns) > 1 else ""
        pairs_CC = truth.scopes["all"].pairs_CC
        psi_P, phi_P = truth.dependencies.psi_CC[pairs_CC], truth.dependencies.phi_CC[pairs_CC]
        # Spearman's, by hand: the import of scipy.stats takes half of the table's time.
        correlation = pd.Series(psi_P).rank().corr(pd.Series(phi_P).rank())
        if truth.counted:
            lines.append(
                f"{where}Direct: pairs that are linked in some scene; their CMI is given any third "
                "label. Indirect: pairs that only have a common neighbour; their CMI is given that "
                "neighbour. Test labels: how far their own frequencies are from the graph."
            )
        lines += [
            f"{where}Batch-level errors depend on the size of the batch. Here the batch is the "
            f"test set, b = {len(test.ids)}.",
            f"{where}Ψ and φ do not measure the same: their rank correlation over the pairs of "
            f"true labels is {cells.minus(f'{correlation:.2f}')}. It would be −1 if they did.",
        ]
    for reason in (SHORT, UNLINKED):
        lacking = frame[[state.reason == reason for state in frame["state"]]]
        for column, rows in lacking.groupby("column", sort=False):
            names = ", ".join(dict.fromkeys(rows["measure"] + " " + rows["scope"]))
            lines.append(f"{column}: {names}: n/a: {reason}.")
    return lines + notes.of_dependencies(artefact, results)


def figure(artefact: Artefact, results: Results) -> Figure:
    """Per pair four panels of errors, methods one below the other: both levels, phi and CMI."""
    frame, _ = errors(artefact, results)
    panels = _panels([str(order) for order in artefact.options["orders"]])
    size = (10, 0.5 + (0.9 + 0.28 * len(artefact.rows)) * len(artefact.columns))
    figure, axes = plots.subplots(
        len(artefact.columns), 4, squeeze=False, sharey=True, figsize=size, layout="constrained"
    )
    for line, column in zip(axes, artefact.columns, strict=True):
        for axis, panel in zip(line, panels, strict=True):
            _draw(axis, frame[frame["column"] == column], panel)
        if len(artefact.columns) > 1:
            line[0].set_ylabel(column, fontsize=8)
    for right, of_measure in enumerate((axes[:, 0], axes[:, 2])):
        plots.legend(
            figure,
            of_measure,
            last=FLOOR,
            loc="outside upper right" if right else "outside upper left",
            ncols=len(panels[2 * right].keys) + 1,
            fontsize=8,
            columnspacing=1,
            handletextpad=0.3,
        )
    plots.caption(figure, artefact, "dots are means over seeds, whiskers one standard deviation")
    return figure


def _panels(orders: list[str]) -> list[Panel]:
    by_order = plots.palette("viridis", len(orders))
    panels = []
    for level, title in (("Psi batch", "Ψ, batch level"), ("Psi instance", "Φ, instance level")):
        keys: dict[str, Key] = {f"order {n}": ("teacher", level, n) for n in orders}
        panels.append(Panel(title, "error × 100", keys, by_order))
    units = {"phi": "× 100", "CMI": "(0.001 nats)"}
    for measure, title in (("phi", "φ, all pairs"), ("CMI", "CMI, all triples")):
        keys = {f"against the {r}": (r, measure, "all") for r in ("teacher", "truth")}
        panels.append(Panel(title, f"error {units[measure]}", keys, plots.COLORS))
    return panels


def _draw(axis: Axes, frame: pd.DataFrame, panel: Panel) -> None:
    """One line per row of the table, one dot per key; the dots of a row are slightly apart.

    The teacher is not compared with itself. A vertical line is the error of the test labels, which
    a network that knows every label would have.
    """
    numbers = frame.set_index(["row", *NAMES]).to_dict("index")
    networks = frame[frame["role"] != "labels"]
    roles = dict(zip(networks["row"], networks["role"], strict=True))
    rows = list(roles)
    for i, (text, key) in enumerate(panel.keys.items()):
        compared = [y for y, row in enumerate(rows) if roles[row] != key[0]]
        own = [numbers[rows[y], *key] for y in compared]
        axis.errorbar(
            [100 * cell["mean"] for cell in own],
            np.array(compared) + 0.5 * ((i + 0.5) / len(panel.keys) - 0.5),
            xerr=[100 * cell["std"] if cell["runs"] > 1 else 0 for cell in own],
            fmt="o",
            markersize=3,
            linewidth=0.8,
            color=panel.colours[i],
            label=text,
            clip_on=False,  # a dot at 0 is whole
        )
        if labels := numbers.get(("Test labels", *key)):
            axis.axvline(100 * labels["mean"], color=panel.colours[i], linestyle=":", label=FLOOR)
    for y, row in enumerate(rows):
        own = [numbers[row, *key] for key in panel.keys.values() if roles[row] != key[0]]
        if not any(cell["runs"] for cell in own):
            text = cells.absent(own[0]["state"]) if own else "is the reference"
            axis.text(0.02, y, text, transform=axis.get_yaxis_transform(), va="center", fontsize=7)
    axis.set_yticks(range(len(rows)), rows)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlim(left=0)
    axis.grid(axis="y", visible=False)
    axis.set_title(panel.title)
    axis.set_xlabel(panel.axis)
