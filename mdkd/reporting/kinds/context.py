"""Does a student use context? Stored predictions judged on subsets of images and of labels.

Shape key: N images, C labels.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mdkd import codependence, metrics
from mdkd.artefacts import Artefact
from mdkd.kinds import Context
from mdkd.reporting import cells, notes, summary
from mdkd.reporting.summary import Measure, Values
from mdkd.reporting.tables import Entry, Table
from mdkd.results import Predictions, Results

WITH, WITHOUT = "A, with B", "A, without B"
GROUPS = ("head", "middle", "tail")
CROWDED = ("mAP", "OF1_k")
NAMES = ("mAP", WITH, WITHOUT, *GROUPS, *(f"crowded {name}" for name in CROWDED))
NOTHING = "nothing to judge"
Key = tuple[str, str, str]  # metric, label A, label B; A and B are empty in what is printed


@dataclass(frozen=True)
class Subsets:
    """What the predictions of one data set are judged on; indices are those of labels."""

    ids: list[str]  # of the images
    pairs: list[tuple[int, int]]  # both directions of every pair
    groups: list[np.ndarray]  # labels with positives, by frequency, in thirds
    crowded_N: np.ndarray  # bool


def table(artefact: Artefact, results: Results) -> Table:
    """One block per pair of networks; the best is marked in each column, as in a comparison."""
    options = Context(**artefact.options)
    of_metrics = summary.of_metrics(artefact, results)
    frame = _frame(artefact, results, options)
    printed = frame[frame["label"] == ""]
    numbers = printed.set_index(["row", "column", "metric"]).to_dict("index")

    def entries(row: str, column: str) -> list[Entry]:
        return [cells.entry(numbers[row, column, name]) for name in NAMES]

    return Table(
        name=artefact.name,
        title=cells.title(artefact),
        headings=NAMES,
        blocks=cells.blocks(artefact, entries),
        notes=[*notes.of_metrics(artefact, of_metrics, results), *_notes(frame, options)],
        frame=summary.hundredfold(frame),
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
    y_NC = targets_NC.astype(np.float64)  # 40 times as fast as integers, and exact below 2^53
    both_CC = y_NC.T @ y_NC
    own_C = np.diag(both_CC)
    neither_CC = len(y_NC) - own_C[:, None] - own_C + both_CC
    judged_CC = (both_CC > 0) & (both_CC < own_C) & (both_CC < own_C[:, None]) & (neither_CC > 0)
    first_P, second_P = np.nonzero(np.triu(judged_CC, 1))
    phi_P = codependence.phi(codependence.counted_joint(targets_NC))[first_P, second_P]
    order = np.argsort(-np.abs(phi_P).round(12), kind="stable")[:count]  # 12: beyond is rounding
    chosen = [(int(first_P[p]), int(second_P[p])) for p in order]
    return [pair for a, b in chosen for pair in ((a, b), (b, a))]


def judge(predictions: Predictions, subsets: Subsets) -> dict[Key, float]:
    """All numbers of one run, as fractions; NaN where nothing can be judged."""
    scores_NC, targets_NC, _, classes, ignored_NC = predictions
    counts_NC = metrics.counting(scores_NC.shape, ignored_NC)
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


def _mean(aps: Iterable[float]) -> float:
    """The mean of the numbers that are not NaN; NaN if there are none."""
    finite = [ap for ap in aps if not math.isnan(ap)]
    return float(np.mean(finite)) if finite else math.nan


def _frame(artefact: Artefact, results: Results, options: Context) -> pd.DataFrame:
    """Mean and spread of every number, as in `summary.of_metrics`.

    ``label`` and ``given`` are A and B of a pair, else empty.
    """
    measures = [_measure(artefact, i, results, options) for i in range(len(artefact.columns))]
    frame = summary.over_seeds(artefact, results, ["metric", "label", "given"], measures)
    ranks = summary.rank(frame, ["column", "metric", "label", "given"])
    return frame.assign(reported=math.nan, rank=ranks)


def _measure(artefact: Artefact, column: int, results: Results, options: Context) -> Measure:
    """What to judge in a column. The pairs are known once one of its runs is done."""
    test = summary.any_predictions(artefact, column, results)
    chosen = subsets(test, options) if test else None

    def judged(path: str) -> Values | None:
        predictions = results.predictions(path)
        if predictions is None or chosen is None:
            return None
        summary.check_images(path, predictions, chosen.ids)
        numbers = judge(predictions, chosen)
        return {key: NOTHING if math.isnan(x) else x for key, x in numbers.items()}

    keys: list[Key] = [(name, "", "") for name in NAMES]
    if test and chosen:
        pairs = [(test.classes[a], test.classes[b]) for a, b in chosen.pairs]
        keys += [(name, a, b) for a, b in pairs for name in (WITH, WITHOUT)]
    return Measure(dict.fromkeys(keys), judged)


def _notes(frame: pd.DataFrame, options: Context) -> list[str]:
    """What was judged, and on which pairs."""
    lines = [
        f"{WITH} and {WITHOUT}: mean average precision of a label A among the test images that "
        "have a label B, and among those that do not. The mean is over the pairs that are named "
        "below, both ways round: those whose test labels correlate most (absolute phi).",
        "Head, middle, tail: mAP of the most frequent third of the labels in the test images, of "
        f"the middle third and of the rarest third. Crowded: test images with {options.at_least} "
        "or more labels. Average precision rises with the share of positive images, so compare "
        "numbers within a column only.",
    ]
    for column in frame["column"].unique():
        found = frame[(frame["column"] == column) & (frame["label"] != "")]
        pairs = dict.fromkeys(
            tuple(sorted(pair)) for pair in found[["label", "given"]].itertuples(index=False)
        )
        names = ", ".join(" + ".join(pair) for pair in pairs)
        count = f"{len(pairs)} pair{'s' if len(pairs) > 1 else ''}"
        lines += [f"{column}: {count} of labels: {names}."] if names else []
    return lines
