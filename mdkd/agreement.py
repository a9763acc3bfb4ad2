"""Metrics of stored predictions that tables compute: agreement with the teacher, and calibration.

They are not in ``metrics.json``, because they need the predictions of two runs, or were not part of
it when a run was scored. Shape key: N images, C labels. Logits are those before the sigmoid.
"""

from collections import ChainMap
from collections.abc import Mapping

import numpy as np

from mdkd.metrics import METRICS, THRESHOLD, Metric, counting, probabilities
from mdkd.score import Stored

BINS = 15  # of the calibration error, all of the same width
NO_TEACHER = "there is no teacher to compare with"


def binary_kl(first_NC: np.ndarray, second_NC: np.ndarray) -> np.ndarray:
    """KL(first || second) of every single label in nats, ``[N, C]``, from logits; at least 0.

    With p and q for the sigmoids: p ln(p / q) + (1 - p) ln((1 - p) / (1 - q)). It is exact where a
    probability rounds to 1.

    >>> binary_kl(np.array([[0.0, 40.0]]), np.array([[np.log(3), 41.0]])).round(3).tolist()
    [[0.144, 0.0]]
    """
    first_NC, second_NC = first_NC.astype(np.float64), second_NC.astype(np.float64)
    p_NC = np.exp(-np.logaddexp(0, -first_NC))
    # ln(p / q) = first - second + ln((1 - p) / (1 - q))
    others_NC = np.logaddexp(0, second_NC) - np.logaddexp(0, first_NC)
    return np.maximum(p_NC * (first_NC - second_NC) + others_NC, 0.0)


def kl_teacher(own: Stored, teacher: Stored | None) -> float:
    """The mean of KL(teacher || student) over images and labels, in nats; NaN without a teacher."""
    if teacher is None:
        return float("nan")
    counts_NC = counting(own.logits_NC.shape, own.ignored_NC)
    return float(binary_kl(teacher.logits_NC, own.logits_NC)[counts_NC].mean())


def agreement(own: Stored, teacher: Stored | None) -> float:
    """The share of images and labels that both decide alike; NaN without a teacher."""
    if teacher is None:
        return float("nan")
    ours_NC, theirs_NC = (probabilities(of.logits_NC) >= THRESHOLD for of in (own, teacher))
    return float((ours_NC == theirs_NC)[counting(ours_NC.shape, own.ignored_NC)].mean())


def no_to_all(teacher: Stored) -> float:
    """The `agreement` of a student that has a probability below 0.5 everywhere."""
    says_no_NC = probabilities(teacher.logits_NC) < 0.5
    return float(says_no_NC[counting(says_no_NC.shape, teacher.ignored_NC)].mean())


def calibration_error(own: Stored, teacher: Stored | None = None) -> float:
    """The expected calibration error of all probabilities, in [0, 1] (Naeini et al., AAAI 2015).

    Images and labels are put into `BINS` bins by their probability. The error is the mean over
    bins, weighted with their sizes, of abs(mean probability - share of true labels).
    """
    counts_NC = counting(own.logits_NC.shape, own.ignored_NC)
    p = probabilities(own.logits_NC)[counts_NC].astype(np.float64)
    place = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    # |sum of p - sum of y| is the size of a bin times the difference of its means.
    difference = np.bincount(place, p - own.targets_NC[counts_NC], minlength=BINS)
    return float(np.abs(difference).sum() / len(p))


# Functions of a run's predictions and of its teacher's.
COMPUTED = {
    "KL_teacher": Metric(
        kl_teacher,
        "binary KL divergence KL(teacher ‖ student) of the probabilities, averaged over images and "
        "labels; lower is better",
        lowest_is_best=True,
        unit="0.01 nats",
    ),
    "agreement": Metric(
        agreement,
        "share of images and labels for which student and teacher decide alike (a probability of "
        f"at least {THRESHOLD}, or less)",
    ),
    "ECE": Metric(
        calibration_error,
        "expected calibration error: the distance between mean probability and share of true "
        f"labels, averaged over {BINS} bins of probabilities, which are weighted by their sizes; "
        "lower is better",
        lowest_is_best=True,
    ),
}
SELECTABLE: Mapping[str, Metric] = ChainMap(COMPUTED, METRICS)  # those of METRICS come first
