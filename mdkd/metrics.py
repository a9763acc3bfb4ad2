"""Multi-label metrics: numpy in, fractions in [0, 1] out.

Shape key: N images, C labels. ``scores_NC`` are probabilities in [0, 1], ``targets_NC`` are 0/1.
``ignored_NC`` is true where an image does not count for a label; None means that all count.
"""

import numpy as np


def probabilities(logits_NC: np.ndarray) -> np.ndarray:
    """Sigmoid in float32, finite for every logit."""
    small = np.exp(-np.abs(logits_NC.astype(np.float32)))
    return np.where(logits_NC >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)


def average_precision(scores_N: np.ndarray, targets_N: np.ndarray) -> float:
    """Area under the step-wise precision-recall curve, tied scores taken together.

    The definition of scikit-learn's ``average_precision_score``; NaN without a positive.
    """
    if not targets_N.any():
        return float("nan")
    order = np.argsort(-scores_N, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores_N[order])), len(order) - 1)  # last of each tie
    hits = np.cumsum(targets_N[order], dtype=np.float64)[ends]
    return float(np.sum(np.diff(hits, prepend=0.0) * hits / (ends + 1)) / hits[-1])


def average_precisions(
    scores_NC: np.ndarray, targets_NC: np.ndarray, ignored_NC: np.ndarray | None = None
) -> np.ndarray:
    """Average precision of each label over the images that count for it, ``[C]``.

    NaN where a label has no positive image.
    """
    counts_NC = _counts(scores_NC, ignored_NC)
    columns = zip(scores_NC.T, targets_NC.T, counts_NC.T, strict=True)
    return np.array([average_precision(s[counts_N], t[counts_N]) for s, t, counts_N in columns])


def f1_scores(predicted_NC: np.ndarray, targets_NC: np.ndarray) -> tuple[float, float, float]:
    """Overall F1, the harmonic class F1 and the macro class F1 of 0/1 predictions.

    Overall F1 pools all labels. The harmonic class F1 is ``2 CP CR / (CP + CR)`` of the mean
    precision CP and mean recall CR over labels (Chen et al., CVPR 2019); the macro class F1 is
    the mean of the labels' own F1. A ratio with an empty denominator counts as 0.
    """
    predicted, targets = predicted_NC.astype(bool), targets_NC.astype(bool)
    hits_C = (predicted & targets).sum(axis=0).astype(np.float64)
    predicted_C, positives_C = predicted.sum(axis=0), targets.sum(axis=0)
    overall = _ratio(2 * hits_C.sum(), predicted_C.sum() + positives_C.sum())
    precision, recall = _ratio(hits_C, predicted_C).mean(), _ratio(hits_C, positives_C).mean()
    harmonic = _ratio(2 * precision * recall, precision + recall)
    macro = _ratio(2 * hits_C, predicted_C + positives_C).mean()
    return float(overall), float(harmonic), float(macro)


def top_k(scores_NC: np.ndarray, k_N: np.ndarray) -> np.ndarray:
    """Mark exactly the ``k_N[i]`` highest scores of each image; ties go to the lower label."""
    order_NC = np.argsort(-scores_NC, axis=1, kind="stable")
    predicted_NC = np.zeros(scores_NC.shape, bool)
    taken_NC = np.arange(scores_NC.shape[1]) < np.asarray(k_N)[:, None]
    np.put_along_axis(predicted_NC, order_NC, taken_NC, axis=1)
    return predicted_NC


def evaluate(
    scores_NC: np.ndarray, targets_NC: np.ndarray, ignored_NC: np.ndarray | None = None
) -> dict[str, float]:
    """All headline metrics of one test set, as fractions.

    ``mAP`` is the mean over labels with a positive image. ``OF1 CF1`` threshold at 0.5 (CF1
    harmonic). ``OF1_k CF1_k`` give each image as many predictions as it has true labels (CF1_k
    macro): an oracle, what L2D's code computes. ``OF1_top3 CF1_top3`` predict three labels each.
    Ignored places are left out beforehand: they are neither predicted nor true, and the top
    three are the three best labels that count.

    Raises:
        ValueError: scores outside [0, 1] (logits, say), NaN, or shapes that differ.
    """
    if scores_NC.shape != targets_NC.shape or scores_NC.ndim != 2:
        raise ValueError(f"scores {scores_NC.shape} and targets {targets_NC.shape} must be [N, C]")
    if not ((scores_NC >= 0) & (scores_NC <= 1)).all():
        raise ValueError("scores must be probabilities in [0, 1]")
    aps_C = average_precisions(scores_NC, targets_NC, ignored_NC)
    counts_NC = _counts(scores_NC, ignored_NC)
    targets_NC = targets_NC.astype(bool) & counts_NC
    ranked_NC = np.where(counts_NC, scores_NC, -1)  # ignored places behind all others
    at_half = f1_scores(ranked_NC >= 0.5, targets_NC)
    oracle_k = f1_scores(top_k(ranked_NC, targets_NC.sum(axis=1)), targets_NC)
    top3 = f1_scores(top_k(ranked_NC, np.full(len(scores_NC), 3)) & counts_NC, targets_NC)
    return {
        "mAP": float(np.nanmean(aps_C)) if np.isfinite(aps_C).any() else float("nan"),
        "OF1": at_half[0],
        "CF1": at_half[1],
        "OF1_k": oracle_k[0],
        "CF1_k": oracle_k[2],
        "OF1_top3": top3[0],
        "CF1_top3": top3[1],
    }


def _counts(scores_NC: np.ndarray, ignored_NC: np.ndarray | None) -> np.ndarray:
    """True where an image counts for a label."""
    return np.ones(scores_NC.shape, bool) if ignored_NC is None else ~ignored_NC.astype(bool)


def _ratio(numerator, denominator):
    """Element-wise ``numerator / denominator``, 0 where the denominator is 0."""
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)
