"""Label statistics against counting by hand, and against a chain whose answer is known."""

import itertools

import numpy as np
import pytest
from label_cases import chain_targets

from mdkd import codependence as labels


def test_counted_joint_is_the_share_of_images_with_all_three_labels():
    targets_NC = (np.random.default_rng(0).random((50, 5)) < 0.4).astype(np.uint8)
    joint = labels.counted_joint(targets_NC)
    for k, m, n in itertools.product(range(5), repeat=3):
        expected = np.mean([row[k] and row[m] and row[n] for row in targets_NC])
        assert joint[k, m, n] == pytest.approx(expected)


def test_a_pair_that_a_mediator_explains_is_not_direct():
    joint = labels.counted_joint(chain_targets())
    direct = labels.direct_dependence(joint)
    assert labels.phi(joint)[0, 2] > 0.2
    assert direct[0, 2] == pytest.approx(0, abs=1e-12)
    assert direct[0, 1] > 0.05
    assert direct[1, 2] > 0.05


def test_of_two_labels_the_direct_dependence_is_their_mutual_information():
    y_NC = np.array([[1, 1]] * 3 + [[1, 0]] + [[0, 1]] * 2 + [[0, 0]] * 4)
    joint = {(1, 1): 0.3, (1, 0): 0.1, (0, 1): 0.2, (0, 0): 0.4}
    first, second = {1: 0.4, 0: 0.6}, {1: 0.5, 0: 0.5}
    expected = sum(p * np.log(p / (first[a] * second[b])) for (a, b), p in joint.items())
    direct_CC = labels.direct_dependence(labels.counted_joint(y_NC))
    assert direct_CC[[0, 1], [1, 0]] == pytest.approx([expected, expected])
    assert np.isfinite(direct_CC).all()


def test_of_one_label_the_direct_dependence_is_its_entropy():
    y_NC = np.array([[1], [0], [0], [0]])
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert labels.direct_dependence(labels.counted_joint(y_NC)) == pytest.approx(entropy)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_counted_joint_has_the_bits_of_products_over_all_images(share):
    targets_NC = (np.random.default_rng(1).random((500, 9)) < share).astype(np.uint8)
    targets_NC[:, 4] = 0
    y_NC = targets_NC.astype(np.int64)
    counts_CCC = np.einsum("nk,nl,nm->klm", y_NC, y_NC, y_NC)
    np.testing.assert_array_equal(labels.counted_joint(targets_NC), counts_CCC / 500)
