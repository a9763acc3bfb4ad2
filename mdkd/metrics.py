"""Multi-label metrics: numpy in, fractions in [0, 1] out.

Shape key: N images, C labels. ``scores_NC`` are probabilities in [0, 1], ``targets_NC`` are 0/1.
``ignored_NC`` is true where an image does not count for a label; None means that all count.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

THRESHOLD = 0.5  # a label is predicted if its probability is at least this


def probabilities(logits_NC: np.ndarray) -> np.ndarray:
    """Sigmoid in float32, finite for every logit.

    >>> probabilities(np.array([[0.0, 1000.0, -1000.0]])).tolist()
    [[0.5, 1.0, 0.0]]
    """
    small = np.exp(-np.abs(logits_NC.astype(np.float32)))
    return np.where(logits_NC >= 0, np.float32(1), small) / (1 + small)


def average_precision(scores_N: np.ndarray, targets_N: np.ndarray) -> float:
    """Area under the step-wise precision-recall curve, with tied scores taken together.

    This is the definition of scikit-learn's ``average_precision_score``. It is NaN without a
    positive image.

    >>> round(average_precision(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1])), 4)
    0.8333
    """
    positives = scores_N[targets_N.astype(bool)]
    if not positives.size:
        return float("nan")
    ascending_N = np.sort(scores_N)  # values sort faster than indices
    changes = np.flatnonzero(ascending_N[1:] != ascending_N[:-1])  # the last of each tie but one
    levels_G, hits_G = np.unique(positives, return_counts=True)  # distinct scores of positives
    first_G = np.searchsorted(ascending_N, levels_G)
    retrieved_G, found_G = len(scores_N) - first_G, np.cumsum(hits_G[::-1])[::-1]
    # One term for each distinct score of any image, the highest first. Those without a positive
    # stay 0: without them the sum would be the same but for rounding.
    terms = np.zeros(len(changes) + 1)
    terms[len(changes) - np.searchsorted(changes, first_G)] = hits_G * found_G / retrieved_G
    return float(np.sum(terms) / len(positives))


def average_precisions(
    scores_NC: np.ndarray, targets_NC: np.ndarray, ignored_NC: np.ndarray | None = None
) -> np.ndarray:
    """Average precision of each label over the images that count for it, ``[C]``.

    It is NaN for a label without a positive image.

    >>> average_precisions(np.array([[0.9, 0.3], [0.4, 0.8]]), np.array([[1, 0], [0, 0]])).tolist()
    [1.0, nan]
    """
    scores_CN, targets_CN = np.ascontiguousarray(scores_NC.T), np.ascontiguousarray(targets_NC.T)
    if ignored_NC is None:
        return np.array(list(map(average_precision, scores_CN, targets_CN)))
    counts_CN = np.ascontiguousarray(counting(scores_NC.shape, ignored_NC).T)
    labels = zip(scores_CN, targets_CN, counts_CN, strict=True)
    return np.array([average_precision(s[counts_N], t[counts_N]) for s, t, counts_N in labels])


class F1(NamedTuple):
    """F1 scores of one set of predictions, in [0, 1]."""

    overall: float  # all labels pooled
    harmonic: float  # 2 CP CR / (CP + CR), from the labels' mean precision CP and mean recall CR
    macro: float  # the mean of the labels' own F1


def f1_scores(predicted_NC: np.ndarray, targets_NC: np.ndarray) -> F1:
    """Overall F1 and both class F1 of 0/1 predictions.

    The harmonic class F1 is that of Chen et al., CVPR 2019. A ratio whose denominator is 0 counts
    as 0.

    >>> f1_scores(np.array([[1, 1], [0, 1]]), np.array([[1, 0], [0, 1]]))
    F1(overall=0.8, harmonic=0.8571428571428571, macro=0.8333333333333333)
    """
    predicted, targets = predicted_NC.astype(bool), targets_NC.astype(bool)
    hits_C = (predicted & targets).sum(axis=0).astype(np.float64)
    predicted_C, positives_C = predicted.sum(axis=0), targets.sum(axis=0)
    overall = _ratio(2 * hits_C.sum(), predicted_C.sum() + positives_C.sum())
    precision, recall = _ratio(hits_C, predicted_C).mean(), _ratio(hits_C, positives_C).mean()
    harmonic = _ratio(2 * precision * recall, precision + recall)
    macro = _ratio(2 * hits_C, predicted_C + positives_C).mean()
    return F1(float(overall), float(harmonic), float(macro))


def _best_first(scores_NC: np.ndarray) -> np.ndarray:
    """The labels of each image by descending score, ``[N, C]``; ties in the order of labels."""
    return np.argsort(-scores_NC, axis=1, kind="stable")


def _first(order_NC: np.ndarray, k_N: np.ndarray) -> np.ndarray:
    """Mark the first ``k_N[i]`` labels in the order of image i."""
    predicted_NC = np.zeros(order_NC.shape, bool)
    taken_NC = np.arange(order_NC.shape[1]) < np.asarray(k_N)[:, None]
    np.put_along_axis(predicted_NC, order_NC, taken_NC, axis=1)
    return predicted_NC


@dataclass(frozen=True)
class Judged:
    """A test set's predictions under every rule of prediction, each computed once.

    An ignored place is neither predicted nor true.

    Raises:
        ValueError: shapes differ, or a score is outside [0, 1] or NaN (a logit, for example).
    """

    scores_NC: np.ndarray
    targets_NC: np.ndarray
    ignored_NC: np.ndarray | None = None

    def __post_init__(self) -> None:
        scores_NC, targets_NC = self.scores_NC, self.targets_NC
        if scores_NC.shape != targets_NC.shape or scores_NC.ndim != 2:
            shapes = f"scores {scores_NC.shape} and targets {targets_NC.shape}"
            raise ValueError(f"{shapes} must be [N, C]")
        if not ((scores_NC >= 0) & (scores_NC <= 1)).all():
            raise ValueError("scores must be probabilities in [0, 1]")

    @cached_property
    def counts_NC(self) -> np.ndarray:
        return counting(self.scores_NC.shape, self.ignored_NC)

    @cached_property
    def true_NC(self) -> np.ndarray:
        return self.targets_NC.astype(bool) & self.counts_NC

    @cached_property
    def ranked_NC(self) -> np.ndarray:
        """The scores, with ignored places behind all others."""
        return np.where(self.counts_NC, self.scores_NC, -1)

    @cached_property
    def order_NC(self) -> np.ndarray:
        return _best_first(self.ranked_NC)

    @cached_property
    def average_precisions_C(self) -> np.ndarray:
        return average_precisions(self.scores_NC, self.targets_NC, self.ignored_NC)

    @cached_property
    def at_half(self) -> F1:
        return f1_scores(self.ranked_NC >= THRESHOLD, self.true_NC)

    @cached_property
    def oracle_k(self) -> F1:
        return f1_scores(_first(self.order_NC, self.true_NC.sum(axis=1)), self.true_NC)

    @cached_property
    def top3(self) -> F1:
        three_N = np.full(len(self.order_NC), 3)
        return f1_scores(_first(self.order_NC, three_N) & self.counts_NC, self.true_NC)


@dataclass(frozen=True)
class Metric:
    """One headline number of a test set."""

    of: Callable[..., float]  # a fraction, of a `Judged`; those of `mdkd.agreement` take others
    note: str = ""  # which labels it takes as predicted, printed under tables
    # Whether it is made of means over all labels. A label without a positive image then counts as
    # 0 whatever is predicted: the best value is the share of the labels with a positive image.
    over_all_labels: bool = False
    lowest_is_best: bool = False
    unit: str = "%"  # of its hundredfold, which tables print


def _mean_ap(judged: Judged) -> float:
    aps_C = judged.average_precisions_C
    return float(np.nanmean(aps_C)) if np.isfinite(aps_C).any() else float("nan")


HALF = f"labels with a probability of at least {THRESHOLD} are predicted"
ORACLE_K = (
    "each image gets as many predictions as it has true labels (oracle k); L2D's code computes "
    "this, and the paper follows it"
)
TOP3 = "the three labels with the highest probabilities are predicted"

METRICS = {  # add a metric here: configuration, records, tables and notes follow
    "mAP": Metric(_mean_ap),
    "OF1": Metric(lambda judged: judged.at_half.overall, HALF),
    "CF1": Metric(lambda judged: judged.at_half.harmonic, HALF, over_all_labels=True),
    "OF1_k": Metric(lambda judged: judged.oracle_k.overall, ORACLE_K),
    "CF1_k": Metric(lambda judged: judged.oracle_k.macro, ORACLE_K, over_all_labels=True),
    "OF1_top3": Metric(lambda judged: judged.top3.overall, TOP3),
    "CF1_top3": Metric(lambda judged: judged.top3.harmonic, TOP3, over_all_labels=True),
}


def evaluate(
    scores_NC: np.ndarray, targets_NC: np.ndarray, ignored_NC: np.ndarray | None = None
) -> dict[str, float]:
    """All of `METRICS` of one test set, as fractions.

    ``mAP`` is the mean over the labels that have a positive image. ``OF1 CF1`` use the threshold
    0.5 (CF1 is the harmonic one). ``OF1_k CF1_k`` give each image as many predictions as it has
    true labels (CF1_k is the macro one): an oracle, which L2D's code computes. ``OF1_top3
    CF1_top3`` predict three labels for each image (CF1_top3 is the harmonic one). Ignored places
    are removed first, so the top three are the best three of the other labels.

    >>> scores = evaluate(np.array([[0.9, 0.2], [0.4, 0.3]]), np.array([[1, 0], [0, 1]]))
    >>> {name: round(scores[name], 3) for name in ("mAP", "OF1", "CF1", "OF1_k", "CF1_k")}
    {'mAP': 1.0, 'OF1': 0.667, 'CF1': 0.5, 'OF1_k': 0.5, 'CF1_k': 0.333}

    Raises:
        ValueError: shapes differ, or a score is outside [0, 1] or NaN (a logit, for example).
    """
    return of_judged(Judged(scores_NC, targets_NC, ignored_NC))


def of_judged(judged: Judged) -> dict[str, float]:
    """All of `METRICS`, as `evaluate` gives them."""
    return {name: metric.of(judged) for name, metric in METRICS.items()}


def counting(shape: tuple[int, ...], ignored_NC: np.ndarray | None) -> np.ndarray:
    """Where an image counts for a label: a mask of this shape, ``[N, C]``.

    >>> counting((1, 2), np.array([[0, 1]])).tolist()
    [[True, False]]
    """
    return np.ones(shape, bool) if ignored_NC is None else ~ignored_NC.astype(bool)


def _ratio(numerator, denominator):
    """Element-wise ``numerator / denominator``, 0 where the denominator is 0."""
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)
