"""Do methods differ? Ranks over cells, resampled test images, paired seeds and their power.

Shape key: K cells (a pair of networks on a data set), M methods, N test images, C labels, G levels
of a label (distinct scores of its positive images), R resamples. Never imports torch. Only
functions that ranks need import scipy.stats, which takes half a second.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse, special

from mdkd.metrics import counting

LEVEL = 0.05  # of all tests; intervals cover 1 - LEVEL
POWER = 0.8  # of the test in `resolvable_difference`
# Pairs of runs that an interval or a test over seeds needs. From five, the standard deviation of
# the differences is known within a factor of 3; from three, within a factor of 6 (95 %).
FEWEST_SEEDS = 5
SEED = 0  # of the resampling
TOGETHER = 32  # resamples: 3 MB for 40,000 images, which stay in the processor's cache


def ranks(values_KM: np.ndarray) -> np.ndarray:
    """Rank of each method within its cell, 1 for the highest value; ties share their mean rank.

    >>> ranks(np.array([[0.3, 0.5, 0.3]])).tolist()
    [[2.5, 1.0, 2.5]]
    """
    from scipy import stats

    return stats.rankdata(-np.round(values_KM, 12), axis=1)  # 12: below it there is only rounding


def friedman(values_KM: np.ndarray) -> tuple[float, float]:
    """Friedman's chi square and its p-value: do the methods differ at all? Needs 3 methods.

    It is (0, 1) if all methods are tied in every cell.

    >>> chi_square, p = friedman(np.array([[0.1, 0.2, 0.3]] * 4))
    >>> round(chi_square, 4), round(p, 4)
    (8.0, 0.0183)
    """
    from scipy import stats

    if (ranks(values_KM) == (values_KM.shape[1] + 1) / 2).all():
        return 0.0, 1.0
    statistic, p = stats.friedmanchisquare(*np.round(values_KM, 12).T)
    return float(statistic), float(p)


def critical_difference(methods: int, cells: int) -> float:
    """Nemenyi's critical difference: closer mean ranks cannot be separated.

    It is q sqrt(M (M + 1) / 6K), where q is the quantile of the studentized range divided by
    sqrt(2) (Demsar, JMLR 2006, Sec. 3.2.2).

    >>> round(critical_difference(methods=4, cells=14), 2)  # Demsar's example
    1.25
    """
    from scipy import stats

    q = float(stats.studentized_range.ppf(1 - LEVEL, methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * cells))


def cliques(mean_ranks_M: np.ndarray, critical: float) -> list[tuple[int, int]]:
    """Largest groups of mean ranks less than ``critical`` apart, as first and last index.

    The ranks must ascend. A single method is no group.

    >>> cliques(np.array([1.0, 1.5, 3.0]), critical=1.0)
    [(0, 1)]
    """
    found: list[tuple[int, int]] = []
    for first, rank in enumerate(mean_ranks_M):
        last = int(np.searchsorted(mean_ranks_M, rank + critical, side="left")) - 1
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def wilcoxon(first_K: np.ndarray, second_K: np.ndarray) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test; cells without a difference are dropped.

    >>> wilcoxon(np.arange(1.0, 7.0), np.zeros(6))  # 2 / 2^6
    0.03125
    """
    from scipy import stats

    differences_K = np.round(first_K - second_K, 12)
    if not differences_K.any():
        return 1.0
    return float(stats.wilcoxon(differences_K).pvalue)


def holm(p_T: Sequence[float]) -> list[float]:
    """P-values of T tests, corrected for their number by Holm's step-down procedure.

    >>> holm([0.04, 0.01, 0.03])
    [0.06, 0.03, 0.06]
    """
    order = np.argsort(p_T, kind="stable")
    factors = np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(factors * np.asarray(p_T)[order]), 1)
    return corrected.tolist()


class Paired(NamedTuple):
    """The result of a paired t-test."""

    difference: float  # the mean
    low: float  # of its 95 % confidence interval
    high: float
    p: float  # two-sided


def paired_interval(first_SV: np.ndarray, second_SV: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of first minus second over S seeds, and half the width of its interval, ``[V]`` each.

    The interval covers 95 %: mean ± t_0.975 s / sqrt(S), with S - 1 degrees of freedom. It is NaN
    for fewer than `FEWEST_SEEDS` seeds.

    >>> first_SV = np.array([[0.1], [0.2], [0.3], [0.4], [0.5]])
    >>> mean_V, half_V = paired_interval(first_SV, np.zeros((5, 1)))
    >>> mean_V.round(4).tolist(), half_V.round(4).tolist()  # 2.7764 * 0.1581 / sqrt(5)
    ([0.3], [0.1963])
    """
    mean_V, error_V = _mean_and_error(first_SV, second_SV)
    return mean_V, special.stdtrit(len(first_SV) - 1, 1 - LEVEL / 2) * error_V


def _mean_and_error(first_SV: np.ndarray, second_SV: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean difference and its standard error, which is NaN for too few seeds."""
    differences_SV = np.round(first_SV - second_SV, 12)  # 12: below it there is only rounding
    mean_V, seeds = differences_SV.mean(axis=0), len(differences_SV)
    if seeds < FEWEST_SEEDS:
        return mean_V, np.full_like(mean_V, np.nan)
    return mean_V, differences_SV.std(axis=0, ddof=1) / math.sqrt(seeds)


def paired_t(first_S: np.ndarray, second_S: np.ndarray) -> Paired:
    """`paired_interval` of one number, and whether the mean differs from 0.

    The interval and p are NaN for fewer than `FEWEST_SEEDS` seeds. If all differences are equal,
    the interval has no width: p is 0, or 1 if they are 0.

    >>> [round(x, 3) for x in paired_t(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.zeros(5))]
    [3.0, 1.037, 4.963, 0.013]
    """
    mean, half = (float(number) for number in paired_interval(first_S, second_S))
    if half == 0:
        return Paired(mean, mean, mean, float(mean == 0))
    error = float(_mean_and_error(first_S, second_S)[1])
    p = 2 * float(special.stdtr(len(first_S) - 1, -abs(mean) / error))  # Student's distribution
    return Paired(mean, mean - half, mean + half, p)


def resolvable_difference(deviation: float, seeds: int) -> float:
    """The mean difference over ``seeds`` pairs of runs that a paired t-test finds with `POWER`.

    The test is two-sided and of level `LEVEL`. The result has the unit of ``deviation``, the
    standard deviation of the paired differences. This is the textbook approximation
    (t_0.975 + t_power) s / sqrt(n), with n - 1 degrees of freedom.

    >>> round(resolvable_difference(1.0, seeds=5), 2)  # (2.776 + 0.941) / sqrt(5)
    1.66
    """
    freedom = seeds - 1
    quantiles = special.stdtrit(freedom, 1 - LEVEL / 2) + special.stdtrit(freedom, POWER)
    return float(quantiles) * deviation / math.sqrt(seeds)


def seeds_needed(deviation: float, difference: float) -> int:
    """The smallest number of seeds, at least `FEWEST_SEEDS`, that resolves ``difference``.

    >>> seeds_needed(0.741, difference=0.5)
    20
    """
    enough = FEWEST_SEEDS
    while resolvable_difference(deviation, enough) > difference:
        enough *= 2
    return next(
        seeds
        for seeds in range(max(FEWEST_SEEDS, enough // 2), enough + 1)
        if resolvable_difference(deviation, seeds) <= difference
    )


class ResampledLabel:
    """Average precision of one label on any resamples of the test images, sorted only once.

    Equals `metrics.average_precision` on the resampled arrays: precision and recall change at a
    positive image only, so it is enough to count the images between the levels.

    Args:
        scores_N: of the label, any numbers.
        targets_N: 0/1.
        counts_N: false where an image does not count for the label.
    """

    def __init__(self, scores_N: np.ndarray, targets_N: np.ndarray, counts_N: np.ndarray):
        self.positives = np.flatnonzero(targets_N.astype(bool) & counts_N)
        levels_G = np.unique(scores_N[self.positives])
        self.levels = len(levels_G)
        # The highest level is 0; G is below all positive images, where nothing is counted.
        order = np.argsort(scores_N)  # to look up sorted scores takes an eighth of the time
        level_N = np.empty(len(order), np.int32)
        level_N[order] = self.levels - np.searchsorted(levels_G, scores_N[order], side="right")
        level_N[~counts_N] = self.levels
        self.at_level = _sums_by_level(level_N, self.levels)
        self.positives_at_level = _sums_by_level(level_N[self.positives], self.levels)

    def average_precisions(self, times_NR: np.ndarray) -> np.ndarray:
        """Of resamples that take image n ``times_NR[n, r]`` times, ``[R]``; NaN without a positive.

        ``times_NR`` are unsigned integers of a type that can hold their sum over all images: the
        shorter the type, the faster.
        """
        if not self.levels:
            return np.full(times_NR.shape[1], np.nan)
        hits_GR = self.positives_at_level @ times_NR[self.positives]
        taken_GR = self.at_level @ times_NR
        hits_RG = np.ascontiguousarray(hits_GR.T, dtype=np.float64)
        retrieved_RG = np.ascontiguousarray(taken_GR.T, dtype=np.float64)
        found_RG = np.cumsum(hits_RG, axis=1)
        np.cumsum(retrieved_RG, axis=1, out=retrieved_RG)
        np.maximum(retrieved_RG, 1, out=retrieved_RG)
        found_R = found_RG[:, -1].copy()
        found_RG *= hits_RG
        found_RG /= retrieved_RG
        sums_R = found_RG.sum(axis=1)
        return np.divide(sums_R, found_R, out=np.full_like(sums_R, np.nan), where=found_R > 0)


def _sums_by_level(level_N: np.ndarray, levels: int) -> sparse.csc_array:
    """The matrix ``[levels, N]`` that sums over the images of each level, and leaves out others."""
    there_N = level_N < levels
    starts = np.concatenate([[0], np.cumsum(there_N)]).astype(np.int32)
    ones = np.ones(starts[-1], np.uint8)
    return sparse.csc_array((ones, level_N[there_N], starts), shape=(levels, len(level_N)))


class Bootstrap(NamedTuple):
    """A difference of two methods' mAP (fractions), and how it varies with the test images."""

    difference: float  # on the test set itself
    low: float  # of the percentile interval of 95 %
    high: float
    not_above: float  # share of the resamples in which it is 0 or less


def paired_bootstrap(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    targets_NC: np.ndarray,
    resamples: int,
    ignored_NC: np.ndarray | None = None,
) -> Bootstrap:
    """Resample the test images: mAP of the first method minus mAP of the second.

    Both are judged on the same resamples (Efron & Tibshirani 1993, Sec. 13.3, percentile interval).
    A label without a positive image in a resample is left out of its mAP.

    Args:
        first: scores ``[N, C]`` of each seed; their mAP is averaged.
        second: the same of the other method; the number of seeds may differ.
        targets_NC: 0/1.
        resamples: at least 1.
        ignored_NC: true where an image does not count for a label; None: all count.

    >>> right, wrong = np.array([[0.9], [0.1], [0.8]]), np.array([[0.1], [0.9], [0.2]])
    >>> paired_bootstrap([right], [right], np.array([[1], [0], [1]]), resamples=10).difference
    0.0
    >>> round(paired_bootstrap([right], [wrong], np.array([[1], [0], [1]]), 10).difference, 4)
    0.4167
    """
    images = len(targets_NC)
    counts_NC = counting(targets_NC.shape, ignored_NC)
    prepared = [
        [_labels(scores_NC, targets_NC, counts_NC) for scores_NC in seeds]
        for seeds in (first, second)
    ]
    random = np.random.default_rng(SEED)
    counts = np.min_scalar_type(images)  # a resample has as many images
    differences = []
    for done in range(0, resamples, TOGETHER):
        drawn = [random.integers(images, size=images) for _ in range(done, resamples)[:TOGETHER]]
        times_RN = np.array([np.bincount(d, minlength=images) for d in drawn], counts)
        differences.append(_difference(prepared, np.ascontiguousarray(times_RN.T)))
    differences_R = np.concatenate(differences)
    differences_R = differences_R[np.isfinite(differences_R)]  # without any positive there is none
    low, high = np.quantile(differences_R, [0.025, 0.975])
    (difference,) = _difference(prepared, np.ones((images, 1), counts))
    return Bootstrap(float(difference), float(low), float(high), float(np.mean(differences_R <= 0)))


def _labels(*arrays_NC: np.ndarray) -> list[ResampledLabel]:
    """Every label of one run, from its scores, targets and what counts."""
    of_labels = (np.ascontiguousarray(array_NC.T) for array_NC in arrays_NC)
    return [ResampledLabel(*label) for label in zip(*of_labels, strict=True)]


def _difference(
    methods: Sequence[Sequence[list[ResampledLabel]]], times_NR: np.ndarray
) -> np.ndarray:
    """mAP of the first method minus that of the second in every resample, ``[R]``."""
    ours_R, theirs_R = (
        np.stack([_mean_ap(labels, times_NR) for labels in seeds], axis=1).mean(axis=1)
        for seeds in methods
    )
    return ours_R - theirs_R


def _mean_ap(labels: list[ResampledLabel], times_NR: np.ndarray) -> np.ndarray:
    """mAP of one run in every resample, ``[R]``; NaN if no label has a positive image."""
    aps_RC = np.stack([label.average_precisions(times_NR) for label in labels], axis=1)
    there = [aps_C[~np.isnan(aps_C)] for aps_C in aps_RC]
    return np.array([aps.mean() if aps.size else math.nan for aps in there])
