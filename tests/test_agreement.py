"""Agreement with the teacher and calibration, against loops over every image and label."""

import math
from fractions import Fraction

import numpy as np
import pytest

from mdkd.agreement import BINS, COMPUTED, SELECTABLE, binary_kl
from mdkd.metrics import METRICS
from mdkd.score import Stored


def predictions(logits_NC, targets_NC=None, ignored_NC=None):
    logits_NC = np.asarray(logits_NC, np.float32)
    targets_NC = np.zeros(logits_NC.shape, np.uint8) if targets_NC is None else targets_NC
    ids_N = np.array([f"image{i}" for i in range(len(logits_NC))])
    return Stored(logits_NC, np.asarray(targets_NC, np.uint8), ids_N, ignored_NC)


def drawn(seed, ignoring):
    """A student, its teacher, and the places that count as a list."""
    random = np.random.default_rng(seed)
    targets_NC = (random.random((40, 6)) < 0.3).astype(np.uint8)
    student_NC, teacher_NC = random.normal(0, 3, (2, 40, 6)) + 2 * targets_NC
    ignored_NC = (random.random((40, 6)) < 0.2) & (targets_NC == 0) if ignoring else None
    places = [(n, c) for n in range(40) for c in range(6) if not ignoring or not ignored_NC[n, c]]
    student = predictions(student_NC, targets_NC, ignored_NC)
    return student, predictions(teacher_NC, targets_NC, ignored_NC), places


def sigmoid(logit):
    return 1 / (1 + math.exp(-logit))


@pytest.mark.parametrize("ignoring", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_metrics_are_those_of_loops_over_places(seed, ignoring):
    student, teacher, places = drawn(seed, ignoring)
    divergence, equal, bins = 0.0, 0, [[] for _ in range(15)]
    for n, c in places:
        p, q = sigmoid(float(teacher.logits_NC[n, c])), sigmoid(float(student.logits_NC[n, c]))
        divergence += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
        equal += (p >= 0.5) == (q >= 0.5)
        bins[min(int(15 * q), 14)].append((q, int(student.targets_NC[n, c])))
    gaps = [abs(sum(q for q, _ in own) - sum(y for _, y in own)) for own in bins]
    expected = {
        "KL_teacher": divergence / len(places),
        "agreement": equal / len(places),
        "ECE": sum(gaps) / len(places),
    }
    found = {name: metric.of(student, teacher) for name, metric in COMPUTED.items()}
    assert found == pytest.approx(expected, abs=1e-6)  # probabilities are rounded to float32
    assert found["KL_teacher"] == pytest.approx(expected["KL_teacher"], rel=1e-12)
    assert 0 < found["agreement"] < 1


def test_the_divergence_is_that_of_the_teacher_to_the_student():
    certain, half = predictions([[math.log(3)]]), predictions([[0.0]])
    p = 0.75
    expected = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
    assert COMPUTED["KL_teacher"].of(half, certain) == pytest.approx(expected, rel=1e-6)
    other = 0.5 * math.log(0.5 / p) + 0.5 * math.log(0.5 / (1 - p))
    assert COMPUTED["KL_teacher"].of(certain, half) == pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (20.0, 20.0, 0.0),
        (0.0, 200.0, 100 - math.log(2)),  # as float32, the probability of 200 is 1
        (-200.0, 200.0, 200.0),
        (3e38, -3e38, 3e38),
        (1000.0, 1001.0, 0.0),
    ],
)
def test_the_divergence_of_certain_predictions_is_finite(first, second, expected):
    logits = np.array([[first]], np.float32), np.array([[second]], np.float32)
    assert binary_kl(*logits)[0, 0] == pytest.approx(expected, rel=1e-6)


def test_a_run_without_teacher_is_calibrated_but_agrees_with_nobody():
    student, _, _ = drawn(0, False)
    found = {name: metric.of(student, None) for name, metric in COMPUTED.items()}
    assert math.isnan(found["KL_teacher"]) and math.isnan(found["agreement"])
    assert 0 < found["ECE"] < 1


def test_the_calibration_error_of_known_bins():
    # Half of the images have the label. A network that says 0.5 is calibrated; one that is certain
    # and right is too; one that is certain and wrong is off by 1.
    targets_NC = np.array([[1], [0], [1], [0]])
    error = COMPUTED["ECE"].of
    assert error(predictions(np.zeros((4, 1)), targets_NC)) == 0
    assert error(predictions(200.0 * (2 * targets_NC - 1), targets_NC)) == 0
    assert error(predictions(200.0 * (1 - 2 * targets_NC), targets_NC)) == 1
    # 0.75 in the bin of two images with one label, 0.25 in that of two with one label
    logits_NC = math.log(3) * np.array([[1], [1], [-1], [-1]])
    assert error(predictions(logits_NC, targets_NC)) == pytest.approx(0.25)
    assert Fraction(3, 4) * BINS // 1 == 11 and Fraction(1, 4) * BINS // 1 == 3  # not at an edge


def test_equal_networks_agree():
    student, _, _ = drawn(1, False)
    assert COMPUTED["KL_teacher"].of(student, student) == 0
    assert COMPUTED["agreement"].of(student, student) == 1


def test_every_metric_can_be_selected_and_has_one_name():
    assert list(SELECTABLE) == [*METRICS, *COMPUTED]
    assert not METRICS.keys() & COMPUTED.keys()
