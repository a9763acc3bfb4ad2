"""The differences of two methods that the page shows, against scipy and by hand."""

import numpy as np
import pytest
from scipy import stats

from mdkd.reporting.page.differences import differences
from mdkd.reporting.statistics import paired_interval


def test_five_shared_seeds_have_an_interval():
    one = {seed: np.array([value, np.nan]) for seed, value in enumerate((0.3, 0.5, 0.7, 0.4, 0.6))}
    other = {seed: np.array([0.25, 0.5]) for seed in range(6)}
    # The deviation is 0.1581, t with 4 degrees of freedom is 2.7764, so ± 0.1963.
    ((_, _, seeds, means, halves),) = differences([one, other], [0])
    assert (seeds, means, halves) == ([0, 1, 2, 3, 4], [2500, None], [1963, None])


def test_the_interval_is_that_of_scipy():
    first_SV, second_SV = np.random.default_rng(0).random((2, 5, 3))
    mean_V, half_V = paired_interval(first_SV, second_SV)
    for v in range(3):
        test = stats.ttest_rel(first_SV[:, v], second_SV[:, v]).confidence_interval(0.95)
        assert mean_V[v] - half_V[v] == pytest.approx(test.low)
        assert mean_V[v] + half_V[v] == pytest.approx(test.high)


def test_one_seed_has_no_interval_and_no_shared_seed_no_difference():
    one, other, third = {0: np.array([0.5, 0.2])}, {0: np.array([0.25, np.nan])}, {1: np.ones(2)}
    assert differences([one, other, third], [0, 1, 2]) == [[0, 1, [0], [2500, None], None]]


def test_only_references_are_compared_with_all():
    found = differences([{0: np.array([float(i)])} for i in range(4)], [1])
    assert [(i, j) for i, j, *_ in found] == [(0, 1), (1, 2), (1, 3)]
