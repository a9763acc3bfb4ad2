"""Rank tests against tables and hand computation, the bootstrap against real resampling."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from mdkd import metrics
from mdkd.reporting import statistics
from mdkd.reporting.statistics import (
    ResampledLabel,
    paired_bootstrap,
    resolvable_difference,
    seeds_needed,
)


def test_ties_share_their_mean_rank():
    values = np.array([[0.3, 0.5, 0.3], [0.1, 0.2, 0.3], [0.1 + 0.2, 0.3, 0.2]])
    assert statistics.ranks(values).tolist() == [[2.5, 1, 2.5], [3, 2, 1], [1.5, 1.5, 3]]
    assert statistics.ranks(np.empty((0, 3))).shape == (0, 3)


def test_friedman_by_hand():
    values = np.array([[3, 2, 1], [3, 2, 1], [3, 1, 2], [2, 3, 1]]) / 10
    sums = (1 + 1 + 1 + 2, 2 + 2 + 3 + 1, 3 + 3 + 2 + 3)
    chi2 = 12 / (4 * 3 * 4) * sum(s**2 for s in sums) - 3 * 4 * 4
    statistic, p = statistics.friedman(values)
    assert statistic == pytest.approx(chi2)
    assert p == pytest.approx(math.exp(-chi2 / 2))  # chi square with two degrees of freedom


def test_friedman_where_all_is_tied():
    assert statistics.friedman(np.full((6, 3), 0.5)) == (0, 1)


# Demsar, JMLR 2006, Table 5a: alpha = 0.05, two to ten classifiers.
Q = (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164)


@pytest.mark.parametrize(("methods", "q"), list(enumerate(Q, 2)))
def test_critical_difference_has_the_published_quantiles(methods, q):
    expected = q * math.sqrt(methods * (methods + 1) / (6 * 14))
    assert statistics.critical_difference(methods, 14) == pytest.approx(expected, rel=5e-4)


@pytest.mark.parametrize(
    ("critical", "expected"),
    [
        (1.0, [(0, 1), (1, 2), (3, 4)]),
        (1.3, [(0, 2), (3, 4)]),  # (1, 2) lies within (0, 2)
        (0.5, []),  # a difference that is critical itself tells apart
        (10.0, [(0, 4)]),
    ],
)
def test_cliques(critical, expected):
    assert statistics.cliques(np.array([1, 1.5, 2.25, 4, 4.5]), critical) == expected


def test_the_smallest_difference_that_can_be_told():
    # 5 pairs: t quantiles with 4 degrees of freedom are 2.7764 and 0.9410
    expected = (2.7764451 + 0.9409646) * 0.5 / 5**0.5
    assert resolvable_difference(0.5, 5) == pytest.approx(expected, rel=1e-6)
    assert seeds_needed(0.5, expected + 1e-6) == 5
    assert seeds_needed(0.5, expected - 1e-6) == 6
    assert seeds_needed(0.0, 0.5) == 5  # fewer have no test
    assert seeds_needed(1.0, 0.5) == 34  # G*Power, matched pairs, two-sided, dz = 0.5
    assert resolvable_difference(0.741, 5) == pytest.approx(1.23, abs=0.005)
    for deviation in (1.4, 3.0):
        needed = seeds_needed(deviation, 0.5)
        assert resolvable_difference(deviation, needed) <= 0.5
        assert resolvable_difference(deviation, needed - 1) > 0.5


def test_wilcoxon_counts_signs_by_hand():
    first = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 0.4])
    gains = np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06])
    assert statistics.wilcoxon(first + gains, first) == pytest.approx(2 / 2**6)
    assert statistics.wilcoxon(first, first + gains) == pytest.approx(2 / 2**6)
    one_loss = gains * [-1, 1, 1, 1, 1, 1]  # the smallest: rank sums 0 and 1 are as extreme
    assert statistics.wilcoxon(first + one_loss, first) == pytest.approx(4 / 2**6)
    assert statistics.wilcoxon(first, first) == 1


def test_wilcoxon_drops_cells_without_a_difference():
    first = np.linspace(0.3, 0.9, 7)
    gains = np.array([0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06])
    assert statistics.wilcoxon(first + gains, first) == pytest.approx(2 / 2**6)


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.7]) == [1, 1]
    assert statistics.holm([0.2]) == [0.2]
    assert statistics.holm([]) == []


def scores_and_targets(seed, images=40, labels=5, ties=True):
    """Label 0 has one positive image only, and so none in many resamples."""
    random = np.random.default_rng(seed)
    targets_NC = (random.random((images, labels)) < 0.3).astype(np.uint8)
    targets_NC[:, 0] = np.arange(images) == 7
    scores_NC = random.random((images, labels))
    scores_NC = np.round(scores_NC * 6) / 6 if ties else scores_NC
    return scores_NC.astype(np.float32), targets_NC


def times_of(drawn_RN):
    """How often each resample takes each image, ``[N, R]``."""
    counts = [np.bincount(drawn_N, minlength=len(drawn_N)) for drawn_N in drawn_RN]
    return np.array(counts, np.uint16).T


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_average_precision_of_a_resample_is_that_of_its_images(seed, ties):
    scores_NC, targets_NC = scores_and_targets(seed, ties=ties)
    drawn_RN = np.random.default_rng(seed).integers(40, size=(20, 40))
    without = 0
    for scores_N, targets_N in zip(scores_NC.T, targets_NC.T, strict=True):
        label = ResampledLabel(scores_N, targets_N, np.ones(40, bool))
        aps_R = label.average_precisions(times_of(drawn_RN))
        for drawn_N, ap in zip(drawn_RN, aps_R, strict=True):
            expected = metrics.average_precision(scores_N[drawn_N], targets_N[drawn_N])
            assert ap == pytest.approx(expected, abs=1e-14, nan_ok=True)
            if targets_N[drawn_N].any():
                oracle = average_precision_score(targets_N[drawn_N], scores_N[drawn_N])
                assert ap == pytest.approx(oracle, abs=1e-14)
            else:
                without += 1
    assert without  # label 0


def test_images_that_do_not_count_are_left_out_of_a_label():
    scores_NC, targets_NC = scores_and_targets(1)
    counts_N = np.random.default_rng(5).random(40) < 0.7
    label = ResampledLabel(scores_NC[:, 1], targets_NC[:, 1], counts_N)
    drawn_RN = np.random.default_rng(6).integers(40, size=(1, 40))
    (drawn_N,) = drawn_RN
    kept_N = drawn_N[counts_N[drawn_N]]
    expected = average_precision_score(targets_NC[kept_N, 1], scores_NC[kept_N, 1])
    assert label.average_precisions(times_of(drawn_RN)) == pytest.approx(expected, abs=1e-14)


def test_a_label_without_a_positive_has_no_average_precision():
    label = ResampledLabel(np.array([0.1, 0.2]), np.zeros(2), np.ones(2, bool))
    aps_R = label.average_precisions(np.ones((2, 3), np.uint8))
    assert aps_R.shape == (3,)
    assert np.isnan(aps_R).all()


def by_bincount(scores_N, targets_N, counts_N, times_N):
    """Average precision of one label on one resample: images counted between the levels."""
    positives = np.flatnonzero(targets_N.astype(bool) & counts_N)
    levels_G = np.unique(scores_N[positives])
    level_N = len(levels_G) - np.searchsorted(levels_G, scores_N, side="right")
    level_N = np.where(counts_N, level_N, len(levels_G))
    taken_G = np.bincount(level_N, weights=times_N, minlength=len(levels_G) + 1)[:-1]
    hits_G = np.bincount(level_N[positives], weights=times_N[positives], minlength=len(levels_G))
    found_G, retrieved_G = np.cumsum(hits_G), np.cumsum(taken_G)
    if not found_G.size or found_G[-1] == 0:
        return math.nan
    return float(np.sum(hits_G * found_G / np.maximum(retrieved_G, 1)) / found_G[-1])


@pytest.mark.parametrize("seed", range(20))
def test_resamples_together_have_the_bits_of_one_after_the_other(seed):
    random = np.random.default_rng(seed)
    images = int(random.integers(2, 300))
    scores_NC, targets_NC = scores_and_targets(seed, max(images, 8), ties=seed % 2 == 0)
    counts_N = random.random(len(scores_NC)) < (1 if seed % 3 else 0.8)
    drawn_RN = random.integers(len(scores_NC), size=(7, len(scores_NC)))
    times_NR = times_of(drawn_RN)
    for scores_N, targets_N in zip(scores_NC.T, targets_NC.T, strict=True):
        found_R = ResampledLabel(scores_N, targets_N, counts_N).average_precisions(times_NR)
        expected = [by_bincount(scores_N, targets_N, counts_N, t.astype(float)) for t in times_NR.T]
        np.testing.assert_array_equal(found_R, expected)


@pytest.mark.parametrize("together", [1, 7, 1000])
def test_how_many_resamples_are_judged_together_changes_no_bit(together, monkeypatch):
    first_NC, targets_NC = scores_and_targets(0)
    runs = [first_NC], [scores_and_targets(seed)[0] for seed in (1, 2)]
    expected = paired_bootstrap(*runs, targets_NC, 50)
    monkeypatch.setattr(statistics, "TOGETHER", together)
    assert paired_bootstrap(*runs, targets_NC, 50) == expected


def resampled_differences(first, second, targets_NC, resamples, ignored_NC=None):
    """mAP differences on arrays that are really resampled."""
    random = np.random.default_rng(statistics.SEED)
    images = len(targets_NC)
    ignored_NC = np.zeros(targets_NC.shape, bool) if ignored_NC is None else ignored_NC
    differences = []
    for _ in range(resamples):
        drawn = random.integers(images, size=images)
        means = [
            np.mean(
                [
                    metrics.evaluate(s_NC[drawn], targets_NC[drawn], ignored_NC[drawn])["mAP"]
                    for s_NC in seeds
                ]
            )
            for seeds in (first, second)
        ]
        differences.append(means[0] - means[1])
    return np.array(differences)


@pytest.mark.parametrize("ignoring", [False, True])
def test_the_bootstrap_is_that_of_resampled_arrays(ignoring):
    first_NC, targets_NC = scores_and_targets(0)
    first = [first_NC, scores_and_targets(1)[0]]
    second = [scores_and_targets(seed)[0] for seed in (2, 3, 4)]
    ignored_NC = None
    if ignoring:
        ignored_NC = (np.random.default_rng(9).random(targets_NC.shape) < 0.2) & (targets_NC == 0)
    result = paired_bootstrap(first, second, targets_NC, 60, ignored_NC)
    expected = resampled_differences(first, second, targets_NC, 60, ignored_NC)
    assert result.low == pytest.approx(np.percentile(expected, 2.5), abs=1e-12)
    assert result.high == pytest.approx(np.percentile(expected, 97.5), abs=1e-12)
    assert result.not_above == np.mean(expected <= 0)
    assert 0 < result.not_above < 1
    whole = [
        np.mean([metrics.evaluate(s_NC, targets_NC, ignored_NC)["mAP"] for s_NC in seeds])
        for seeds in (first, second)
    ]
    assert result.difference == pytest.approx(whole[0] - whole[1], abs=1e-12)


def test_equal_methods_do_not_differ_and_a_perfect_one_always_wins():
    scores_NC, targets_NC = scores_and_targets(0, ties=False)
    assert paired_bootstrap([scores_NC], [scores_NC], targets_NC, 20) == (0, 0, 0, 1)
    perfect = paired_bootstrap([targets_NC], [scores_NC], targets_NC, 20)
    assert perfect.not_above == 0
    assert 0 < perfect.low < perfect.difference < perfect.high < 1


def test_resamples_without_any_positive_are_left_out():
    targets_NC = np.array([[1], [0]])
    result = paired_bootstrap([targets_NC * 1.0], [1.0 - targets_NC], targets_NC, 50)
    assert result.difference == 0.5
    assert (result.low, result.high) == (0, 0.5)  # the positive image twice: both are right
