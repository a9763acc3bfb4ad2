"""Metrics against scikit-learn, against numbers worked out by hand, and at their edges."""

import warnings

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from mdkd.metrics import (
    METRICS,
    average_precision,
    average_precisions,
    evaluate,
    f1_scores,
    probabilities,
)


def random_case(seed, images=60, labels=7, ties=True):
    """Scores with many ties; label 2 is never true, image 3 has no label, image 4 has all."""
    random = np.random.default_rng(seed)
    targets_NC = (random.random((images, labels)) < 0.3).astype(np.uint8)
    scores_NC = random.random((images, labels))
    if ties:
        scores_NC = np.round(scores_NC * 8) / 8
    targets_NC[3], targets_NC[4], targets_NC[:, 2] = 0, 1, 0
    return scores_NC.astype(np.float32), targets_NC


def top_k_by_sorting(scores_NC, k_N):
    predicted_NC = np.zeros(scores_NC.shape, int)
    for image, (scores, k) in enumerate(zip(scores_NC, k_N, strict=True)):
        best = sorted(range(len(scores)), key=lambda label: (-scores[label], label))[:k]
        predicted_NC[image, best] = 1
    return predicted_NC


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_scikit_learns(seed, ties):
    scores_NC, targets_NC = random_case(seed, ties=ties)
    aps_C = average_precisions(scores_NC, targets_NC)
    for label, ap in enumerate(aps_C):
        if label != 2:
            expected = average_precision_score(targets_NC[:, label], scores_NC[:, label])
            assert ap == pytest.approx(expected, abs=1e-14)
    assert np.isnan(aps_C[2])
    mean = np.mean([ap for label, ap in enumerate(aps_C) if label != 2])
    assert evaluate(scores_NC, targets_NC)["mAP"] == pytest.approx(mean, abs=1e-14)


def test_average_precision_by_hand():
    # hits at ranks 1 and 3: (1/1 + 2/3) / 2
    assert average_precision(np.array([0.9, 0.5, 0.4, 0.1]), np.array([1, 0, 1, 0])) == (
        pytest.approx(5 / 6)
    )
    # all tied: one threshold, precision 1/4 at recall 1
    assert average_precision(np.full(4, 0.5), np.array([0, 0, 0, 1])) == 0.25
    assert average_precision(np.array([0.1]), np.array([1])) == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_f1_scores_are_scikit_learns(seed):
    scores_NC, targets_NC = random_case(seed)
    result = evaluate(scores_NC, targets_NC)
    at_half = (scores_NC >= 0.5).astype(int)
    oracle = top_k_by_sorting(scores_NC, targets_NC.sum(axis=1))
    top3 = top_k_by_sorting(scores_NC, np.full(len(scores_NC), 3))

    def micro(predicted):
        return f1_score(targets_NC, predicted, average="micro", zero_division=0)

    def harmonic(predicted):
        options = {"average": "macro", "zero_division": 0}
        p = precision_score(targets_NC, predicted, **options)
        r = recall_score(targets_NC, predicted, **options)
        return 2 * p * r / (p + r)

    expected = {
        "OF1": micro(at_half),
        "CF1": harmonic(at_half),
        "OF1_k": micro(oracle),
        "CF1_k": f1_score(targets_NC, oracle, average="macro", zero_division=0),
        "OF1_top3": micro(top3),
        "CF1_top3": harmonic(top3),
    }
    assert {key: result[key] for key in expected} == pytest.approx(expected, abs=1e-12)


def ignoring_case(seed):
    """As `random_case`, with ignored places: all of label 5 and of image 6, all but two of 7."""
    scores_NC, targets_NC = random_case(seed)
    ignored_NC = np.random.default_rng(seed + 100).random(targets_NC.shape) < 0.2
    ignored_NC[:, 5] = ignored_NC[6] = ignored_NC[7] = True
    ignored_NC[7, :2] = False
    return scores_NC, np.where(ignored_NC, 0, targets_NC).astype(np.uint8), ignored_NC


@pytest.mark.parametrize("seed", range(5))
def test_without_ignored_places_average_precision_is_scikit_learns(seed):
    scores_NC, targets_NC, ignored_NC = ignoring_case(seed)
    aps_C = average_precisions(scores_NC, targets_NC, ignored_NC)
    expected = []
    for label in (0, 1, 3, 4, 6):
        counts_N = ~ignored_NC[:, label]
        assert 20 < counts_N.sum() < 60
        expected.append(
            average_precision_score(targets_NC[counts_N, label], scores_NC[counts_N, label])
        )
        assert aps_C[label] == pytest.approx(expected[-1], abs=1e-14)
    assert np.isnan(aps_C[[2, 5]]).all()  # without a positive image, without any image
    result = evaluate(scores_NC, targets_NC, ignored_NC)
    assert result["mAP"] == pytest.approx(np.mean(expected), abs=1e-14)


@pytest.mark.parametrize("seed", range(5))
def test_without_ignored_places_f1_scores_are_scikit_learns(seed):
    scores_NC, targets_NC, ignored_NC = ignoring_case(seed)
    images, labels = targets_NC.shape

    def top(k_N):
        predicted_NC = np.zeros((images, labels), int)
        for i in range(images):
            (left,) = np.nonzero(~ignored_NC[i])  # removed before ranking
            best = top_k_by_sorting(scores_NC[i : i + 1, left], k_N[i : i + 1])[0]
            predicted_NC[i, left] = best
        return predicted_NC

    at_half = (scores_NC >= 0.5).astype(int)
    oracle, top3 = top(targets_NC.sum(axis=1)), top(np.full(images, 3))
    assert top3[:8].sum(axis=1).tolist() == [3, 3, 3, 3, 3, 3, 0, 2]

    def micro(predicted):
        return f1_score(targets_NC[~ignored_NC], predicted[~ignored_NC], zero_division=0)

    def mean_of(score, predicted):
        left = [~ignored_NC[:, c] for c in range(labels)]
        values = [
            score(targets_NC[n, c], predicted[n, c], zero_division=0) if n.any() else 0.0
            for c, n in enumerate(left)
        ]
        return np.mean(values)

    def harmonic(predicted):
        p, r = mean_of(precision_score, predicted), mean_of(recall_score, predicted)
        return 2 * p * r / (p + r)

    expected = {
        "OF1": micro(at_half),
        "CF1": harmonic(at_half),
        "OF1_k": micro(oracle),
        "CF1_k": mean_of(f1_score, oracle),
        "OF1_top3": micro(top3),
        "CF1_top3": harmonic(top3),
    }
    result = evaluate(scores_NC, targets_NC, ignored_NC)
    assert {key: result[key] for key in expected} == pytest.approx(expected, abs=1e-12)
    everything = evaluate(scores_NC, targets_NC)
    for key in ("mAP", *expected):
        assert abs(result[key] - everything[key]) > 1e-4, key


def test_ignored_places_by_hand():
    scores_NC = np.array([[0.9, 0.8, 0.7, 0.6], [0.2, 0.9, 0.6, 0.1]])
    targets_NC = np.array([[0, 1, 0, 1], [1, 0, 0, 0]])
    ignored_NC = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], bool)
    result = evaluate(scores_NC, targets_NC, ignored_NC)
    # each label over the images that count: [0.2 +], [0.8 +], [0.7 -, 0.6 -], [0.6 +, 0.1 -]
    assert result["mAP"] == 1.0
    # at 0.5, labels 1, 2, 3 and label 2 are predicted: hits 2 of 4, positives 3
    assert result["OF1"] == pytest.approx(2 * 2 / (4 + 3))
    # k = 2 and 1: labels 1, 2 and label 2
    assert result["OF1_k"] == pytest.approx(2 * 1 / (3 + 3))
    # labels 1, 2, 3 and labels 0, 2, 3: nothing but three remains
    assert result["OF1_top3"] == pytest.approx(2 * 3 / (6 + 3))


@pytest.mark.parametrize("seed", range(3))
def test_ignored_places_may_hold_anything(seed):
    scores_NC, targets_NC, ignored_NC = ignoring_case(seed)
    expected = evaluate(scores_NC, targets_NC, ignored_NC)
    noise_NC = np.random.default_rng(seed).random(scores_NC.shape).astype(np.float32)
    other_NC = np.where(ignored_NC, noise_NC, scores_NC)
    np.testing.assert_equal(evaluate(other_NC, targets_NC, ignored_NC), expected)
    np.testing.assert_equal(evaluate(scores_NC, targets_NC | ignored_NC, ignored_NC), expected)


@pytest.mark.parametrize("seed", range(3))
def test_ignoring_nothing_changes_no_bit(seed):
    scores_NC, targets_NC = random_case(seed)
    nothing_NC = np.zeros(targets_NC.shape, bool)
    assert evaluate(scores_NC, targets_NC, nothing_NC) == evaluate(scores_NC, targets_NC)


def test_class_f1_by_hand():
    predicted = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]])
    targets = np.array([[1, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 0]])
    # hits 2 1 0, predicted 3 2 0, positives 2 2 1
    overall, harmonic, macro = f1_scores(predicted, targets)
    assert overall == pytest.approx(2 * 3 / (5 + 5))
    cp, cr = (2 / 3 + 1 / 2 + 0) / 3, (2 / 2 + 1 / 2 + 0) / 3
    assert harmonic == pytest.approx(2 * cp * cr / (cp + cr))
    assert macro == pytest.approx((2 * 2 / (3 + 2) + 2 * 1 / (2 + 2) + 0) / 3)
    assert harmonic != pytest.approx(macro)


def test_perfect_scores_are_one_everywhere():
    targets_NC = np.tile(np.eye(4, dtype=np.uint8) | np.roll(np.eye(4, dtype=np.uint8), 1, 1), 2)
    targets_NC = targets_NC[:, :4] | np.roll(targets_NC[:, :4], 1, 1)  # three labels each
    assert set(targets_NC.sum(axis=1)) == {3}
    assert set(evaluate(targets_NC.astype(float), targets_NC).values()) == {1.0}


def test_labels_that_no_image_has_bound_the_metrics_over_all_labels():
    """The bound that notes under tables print: reached by perfect scores, exceeded by none."""
    for seed in range(20):
        _, targets_NC = random_case(seed)
        targets_NC[:, 5] = 0  # label 2 has no image either
        perfect = evaluate(targets_NC.astype(np.float32), targets_NC)
        bound = 5 / 7
        for name, metric in METRICS.items():
            if metric.over_all_labels:
                for other in range(10):
                    scores_NC = np.random.default_rng([seed, other]).random(targets_NC.shape)
                    mixed_NC = (0.7 * targets_NC + 0.3 * scores_NC).clip(0, 1)
                    assert evaluate(mixed_NC, targets_NC)[name] <= bound + 1e-12
        assert perfect["CF1"] == pytest.approx(bound)
        assert perfect["CF1_k"] == pytest.approx(bound)
        assert perfect["CF1_top3"] <= bound
        assert perfect["mAP"] == perfect["OF1"] == perfect["OF1_k"] == 1


def test_no_positive_at_all_gives_zeros_and_no_average_precision():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = evaluate(np.full((3, 4), 0.25), np.zeros((3, 4), np.uint8))
    assert np.isnan(result.pop("mAP"))
    assert set(result.values()) == {0.0}


@pytest.mark.parametrize(
    ("scores", "says"),
    [
        (np.array([[2.0, -1.0]]), "probabilities"),
        (np.array([[np.nan, 0.5]]), "probabilities"),
        (np.array([[0.5]]), "N, C"),
        (np.array([0.5, 0.5]), "N, C"),
    ],
)
def test_what_is_no_probability_is_refused(scores, says):
    with pytest.raises(ValueError, match=says):
        evaluate(scores, np.zeros((1, 2), np.uint8) if scores.ndim == 2 else np.zeros(2))


def test_probabilities_are_the_sigmoid_at_any_logit():
    logits = np.array([[-1e30, -1e4, -104, -88, -17, -1, -0.0, 0, 1e-6, 3, 17, 88, 1e4, 1e30]])
    logits = np.concatenate([logits, np.random.default_rng(0).normal(0, 9, (50, 14))])
    logits = logits.astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        p = probabilities(logits)
    assert p.dtype == np.float32
    wide = logits.astype(np.float64)
    small = np.exp(-np.abs(wide))
    expected = np.where(wide >= 0, 1 / (1 + small), small / (1 + small))
    np.testing.assert_allclose(p, expected, rtol=3e-7, atol=1e-44)
    assert ((p >= 0) & (p <= 1)).all()
    assert p[0, 0] == 0
    assert p[0, -1] == 1
    assert p[0, 7] == 0.5


def average_precision_by_argsort(scores_N, targets_N):
    """The definition step by step: sort the images, end each tie, count the hits."""
    if not targets_N.any():
        return float("nan")
    order = np.argsort(-scores_N, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores_N[order])), len(order) - 1)
    hits = np.cumsum(targets_N[order], dtype=np.float64)[ends]
    return float(np.sum(np.diff(hits, prepend=0.0) * hits / (ends + 1)) / hits[-1])


def test_average_precision_has_the_bits_of_the_definition_step_by_step():
    random = np.random.default_rng(0)
    for case in range(400):
        images, ties = int(random.integers(1, 300)), int(random.integers(1, 40))
        scores_N = random.random(images).astype((np.float32, np.float64)[case % 2])
        if case % 4 < 2:
            scores_N = np.round(scores_N * ties) / ties
        targets_N = (random.random(images) < random.random()).astype(
            (np.uint8, bool)[case % 3 == 0]
        )
        expected = average_precision_by_argsort(scores_N, targets_N)
        np.testing.assert_array_equal(average_precision(scores_N, targets_N), expected)


@pytest.mark.parametrize("seed", range(5))
def test_average_precisions_are_those_of_the_labels_one_by_one(seed):
    scores_NC, targets_NC, ignored_NC = ignoring_case(seed)
    for ignored in (None, ignored_NC):
        counts_NC = np.ones(targets_NC.shape, bool) if ignored is None else ~ignored
        expected = [
            average_precision_by_argsort(scores_NC[n, c], targets_NC[n, c])
            for c, n in enumerate(counts_NC.T)
        ]
        found = average_precisions(scores_NC, targets_NC, ignored)
        np.testing.assert_array_equal(found, expected)
