"""Does a student use context? Stored predictions judged on subsets of images and of labels.

Shape key: N images, C labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mdkd import metrics
from mdkd import codependence as labels
from mdkd.reporting import summary as report
from mdkd.errors import UserError
from mdkd.kinds import Context
from mdkd.plan import Artefact, Row
from mdkd.results import Predictions, Results
from mdkd.reporting.tables import Entry, Table

WITH, WITHOUT = "A, with B", "A, without B"
GROUPS = ("head", "middle", "tail")
CROWDED = ("mAP", "OF1_k")
NAMES = ("mAP", WITH, WITHOUT, *GROUPS, *(f"crowded {name}" for name in CROWDED))
NOTHING = "n/a: nothing to judge"
KEYS = ["row", "role", "column", "metric", "label", "given", "mean", "std", "runs", "planned"]
KEYS += ["state", "reported"]
Key = tuple[str, str, str]  # metric, label A, label B; A and B are empty in what is printed


@dataclass(frozen=True)
class Subsets:
    """What the predictions of one data set are judged on; indices are those of labels."""

    ids: list[str]  # of the images
    pairs: list[tuple[int, int]]  # both directions of every pair
    groups: list[np.ndarray]  # labels with positives, by frequency, in thirds
    crowded_N: np.ndarray  # bool


def table(artefact: Artefact, results: Results) -> Table:
    """One block per pair of networks; the marks are per column, as in a comparison."""
    options = Context(**artefact.options)
    summary = report.summary(artefact, results)
    frame = _frame(artefact, results, summary, options)
    cells = frame[frame["label"] == ""].set_index(["row", "column", "metric"]).to_dict("index")

    def entries(row: Row, column: str) -> list[Entry]:
        return [report.entry(cells[row.label, column, name]) for name in NAMES]

    return Table(
        name=artefact.name,
        title=report.title(artefact),
        headings=NAMES,
        blocks=report.blocks(artefact, entries),
        notes=[*report.notes(artefact, summary, results), *_notes(frame, options)],
        frame=report.percentages(frame),
    )


def subsets(predictions: Predictions, options: Context) -> Subsets:
    """Pairs, thirds and crowded images of a test set, from its labels alone."""
    targets_NC = predictions.targets_NC
    positives_C = targets_NC.sum(axis=0, dtype=np.int64)
    by_frequency = np.argsort(-positives_C, kind="stable")
    there = by_frequency[positives_C[by_frequency] > 0]
    return Subsets(
        ids=predictions.ids,
        pairs=strongest_pairs(targets_NC, options.pairs),
        groups=np.array_split(there, 3),
        crowded_N=targets_NC.sum(axis=1) >= options.at_least,
    )


def strongest_pairs(targets_NC: np.ndarray, count: int) -> list[tuple[int, int]]:
    """The ``count`` pairs of labels with the largest absolute phi, each in both directions.

    Only pairs that can be judged: images with both labels, with either alone, and with neither.
    Ties go to the lower labels.
    """
    y_NC = targets_NC.astype(np.int64)
    both_CC = y_NC.T @ y_NC
    own_C = np.diag(both_CC)
    neither_CC = len(y_NC) - own_C[:, None] - own_C + both_CC
    judged_CC = (both_CC > 0) & (both_CC < own_C) & (both_CC < own_C[:, None]) & (neither_CC > 0)
    first_P, second_P = np.nonzero(np.triu(judged_CC, 1))
    phi_P = labels.phi(labels.counted_joint(targets_NC))[first_P, second_P]
    order = np.argsort(-np.abs(phi_P).round(12), kind="stable")[:count]  # 12: beyond is rounding
    chosen = [(int(first_P[p]), int(second_P[p])) for p in order]
    return [pair for a, b in chosen for pair in ((a, b), (b, a))]


def judge(predictions: Predictions, subsets: Subsets) -> dict[Key, float]:
    """All numbers of one run, as fractions; NaN where nothing can be judged."""
    scores_NC, targets_NC, _, classes, ignored_NC = predictions
    counts_NC = np.ones(scores_NC.shape, bool) if ignored_NC is None else ~ignored_NC.astype(bool)
    of_pairs: dict[Key, float] = {}
    for a, b in subsets.pairs:
        for name, b_is in ((WITH, 1), (WITHOUT, 0)):
            chosen_N = (targets_NC[:, b] == b_is) & counts_NC[:, a] & counts_NC[:, b]
            ap = metrics.average_precision(scores_NC[chosen_N, a], targets_NC[chosen_N, a])
            of_pairs[name, classes[a], classes[b]] = ap
    aps_C = metrics.average_precisions(scores_NC, targets_NC, ignored_NC)
    crowded = dict.fromkeys(CROWDED, math.nan)
    if (chosen_N := subsets.crowded_N).any():
        ignored = None if ignored_NC is None else ignored_NC[chosen_N]
        crowded = metrics.evaluate(scores_NC[chosen_N], targets_NC[chosen_N], ignored)
    means = {
        "mAP": _mean(aps_C),
        **{
            name: _mean([of_pairs[k] for k in of_pairs if k[0] == name]) for name in (WITH, WITHOUT)
        },
        **{name: _mean(aps_C[group]) for name, group in zip(GROUPS, subsets.groups, strict=True)},
        **{f"crowded {name}": crowded[name] for name in CROWDED},
    }
    return {(name, "", ""): value for name, value in means.items()} | of_pairs


def _mean(aps: Sequence[float] | np.ndarray) -> float:
    """Mean of what is there, NaN if nothing is."""
    finite = [ap for ap in aps if not math.isnan(ap)]
    return float(np.mean(finite)) if finite else math.nan


def _frame(
    artefact: Artefact, results: Results, summary: pd.DataFrame, options: Context
) -> pd.DataFrame:
    """Mean and spread of every number, as in `report.summary`.

    Columns: those of a summary, and label and given: A and B of a pair, else empty.
    """
    states = summary[summary["metric"] == artefact.metrics[0]].set_index(["row", "column"])
    rows = []
    for i, column in enumerate(artefact.columns):
        judged = _judged(artefact, i, results, options)
        keys = list(dict.fromkeys(key for runs in judged.values() for run in runs for key in run))
        for row in artefact.rows:
            state = states.loc[(row.label, column), ["role", "runs", "planned", "state"]]
            for key in keys or [(name, "", "") for name in NAMES]:
                values = pd.Series([run[key] for run in judged[row.label]], dtype=float)
                cell = {"row": row.label, "column": column, **state, "reported": math.nan}
                cell |= dict(zip(("metric", "label", "given"), key, strict=True))
                if values.isna().any():  # the same for all runs: their test images are the same
                    cell |= {"runs": 0, "state": NOTHING}
                rows.append(cell | {"mean": values.mean(), "std": values.std()})
    frame = pd.DataFrame(rows, columns=KEYS)
    methods = frame[frame["role"] != "teacher"].assign(printed=(100 * frame["mean"]).round(2))
    ranks = methods.groupby(["column", "metric", "label", "given"])["printed"].rank(
        "min", ascending=False
    )
    return frame.assign(rank=ranks)


def _judged(
    artefact: Artefact, column: int, results: Results, options: Context
) -> dict[str, list[dict[Key, float]]]:
    """The numbers of every run of a column, by row."""
    chosen: Subsets | None = None
    judged: dict[str, list[dict[Key, float]]] = {}
    for row in artefact.rows:
        judged[row.label] = []
        for path in row.cells[column].runs:
            predictions = results.predictions(path)
            if predictions is None:
                continue
            chosen = chosen or subsets(predictions, options)
            if predictions.ids != chosen.ids:
                raise UserError(
                    f"{path}: other test images than in the runs beside it; run it again"
                )
            judged[row.label].append(judge(predictions, chosen))
    return judged


def _notes(frame: pd.DataFrame, options: Context) -> list[str]:
    """What was judged, and on which pairs."""
    lines = [
        f"{WITH} and {WITHOUT}: mean average precision of a label A among the test images with a "
        f"label B, and among those without it, over the {options.pairs} pairs whose test labels "
        "correlate most (absolute phi), in both directions.",
        "Head, middle, tail: labels by their number of positive test images, in thirds. Crowded: "
        f"test images with {options.at_least} labels or more; OF1_k: as many predictions per image "
        "as it has true labels. Average precision grows with the share of positive images: compare "
        "within a column only.",
    ]
    for column in frame["column"].unique():
        found = frame[(frame["column"] == column) & (frame["label"] != "")]
        pairs = dict.fromkeys(
            tuple(sorted(pair)) for pair in found[["label", "given"]].itertuples(index=False)
        )
        names = ", ".join(" + ".join(pair) for pair in pairs)
        lines += [f"{column}: {names}."] if names else []
    return lines
