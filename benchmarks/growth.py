"""What grows with the data, at the size of MS-COCO's test set, against straight forms of it."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks import references
from benchmarks.harness import Row
from mdkd import codependence, metrics
from mdkd.reporting.statistics import TOGETHER, ResampledLabel

IMAGES, LABELS, PER_IMAGE = 40_137, 80, 2.9
SIZE = f"{IMAGES:,} images, {LABELS} labels"


def predictions() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and targets ``[N, C]`` with as many true labels as MS-COCO has."""
    random = np.random.default_rng(0)
    shares_C = random.lognormal(sigma=1.0, size=LABELS)
    shares_C *= PER_IMAGE / shares_C.sum()
    targets_NC = (random.random((IMAGES, LABELS)) < shares_C).astype(np.uint8)
    logits_NC = random.normal(-4, 1.5, targets_NC.shape) + 3.0 * targets_NC
    return metrics.probabilities(logits_NC), targets_NC


def _top_k(scores_NC: np.ndarray, k_N: np.ndarray) -> np.ndarray:
    """Mark exactly the ``k_N[i]`` highest scores of image i; ties go to the lower label."""
    ranks_NC = np.argsort(np.argsort(-scores_NC, axis=1, kind="stable"), axis=1)
    return ranks_NC < k_N[:, None]


def rows() -> Iterator[Row]:
    scores_NC, targets_NC = predictions()
    yield Row(
        f"average precisions, {SIZE}",
        lambda: references.average_precisions(scores_NC, targets_NC),
        lambda: metrics.average_precisions(scores_NC, targets_NC),
        _same_bits,
    )

    def scored_twice() -> dict[str, float]:
        references.average_precisions(scores_NC, targets_NC)
        aps_C = references.average_precisions(scores_NC, targets_NC)
        judged = metrics.Judged(scores_NC, targets_NC)
        true_NC, ranked_NC = judged.true_NC, judged.ranked_NC
        at_half = metrics.f1_scores(ranked_NC >= 0.5, true_NC)
        by_oracle = metrics.f1_scores(_top_k(ranked_NC, true_NC.sum(axis=1)), true_NC)
        top3 = metrics.f1_scores(_top_k(ranked_NC, np.full(IMAGES, 3)), true_NC)
        numbers = (np.nanmean(aps_C), *at_half[:2], by_oracle[0], by_oracle[2], *top3[:2])
        return dict(zip(metrics.METRICS, map(float, numbers), strict=True))

    yield Row(
        f"all metrics of a run, {SIZE}",
        scored_twice,
        lambda: metrics.of_judged(metrics.Judged(scores_NC, targets_NC)),
        _same,
    )
    yield Row(
        f"joint counts of three labels, {SIZE}",
        lambda: references.counted_joint(targets_NC),
        lambda: codependence.counted_joint(targets_NC),
        _same_bits,
    )

    def pairs_in_floats() -> np.ndarray:
        y_NC = targets_NC.astype(np.float64)
        return y_NC.T @ y_NC

    yield Row(
        f"joint counts of two labels, {SIZE}",
        lambda: references.counted_pairs(targets_NC),
        pairs_in_floats,
        _same_bits,
    )
    yield _resamples(scores_NC, targets_NC)


def _resamples(scores_NC: np.ndarray, targets_NC: np.ndarray) -> Row:
    random = np.random.default_rng(1)
    drawn = [random.integers(IMAGES, size=IMAGES) for _ in range(TOGETHER)]
    times_RN = np.array([np.bincount(d, minlength=IMAGES) for d in drawn], np.uint16)
    wide_RN, times_NR = times_RN.astype(np.float64), np.ascontiguousarray(times_RN.T)
    columns = list(zip(scores_NC.T, targets_NC.T, strict=True))
    counted = [references.CountedLabel(*column) for column in columns]
    everything = np.ones(IMAGES, bool)
    labels = [ResampledLabel(*column, everything) for column in columns]
    return Row(
        f"{TOGETHER} resamples of one run, {SIZE}",
        lambda: np.array([[c.average_precision(t_N) for c in counted] for t_N in wide_RN]),
        lambda: np.stack([label.average_precisions(times_NR) for label in labels], axis=1),
        _same_bits,
    )


def _same_bits(reference: Any, own: Any) -> None:
    np.testing.assert_array_equal(own, reference)


def _same(reference: object, own: object) -> None:
    assert own == reference, (own, reference)
