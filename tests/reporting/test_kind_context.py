"""The kind context, from predictions judged by hand and by scikit-learn."""

import itertools

import numpy as np
import pytest
from reporting_cases import (
    METHODS,
    artefact_of,
    check_before_any_run,
    fail,
    markdown_row,
    path_of,
    planned,
    predict,
    random_predictions,
    written,
)
from sklearn.metrics import average_precision_score

from mdkd import metrics
from mdkd.errors import UserError
from mdkd.kinds import Context
from mdkd.reporting.kinds import context
from mdkd.results import Predictions


def test_before_any_run_there_are_gaps(tmp_path):
    check_before_any_run(tmp_path, "context", ["Teacher", "Student", "MLD", "L2D"])


def test_the_strongest_pairs_are_those_of_largest_absolute_phi():
    random = np.random.default_rng(0)
    targets_NC = (random.random((200, 6)) < 0.4).astype(np.uint8)
    targets_NC[:, 1] = targets_NC[:, 0] ^ (random.random(200) < 0.05)  # phi about 0.9
    targets_NC[:, 3] = 1 - targets_NC[:, 2] ^ (random.random(200) < 0.15)  # about -0.7
    targets_NC[:, 5] = targets_NC[:, 4]  # equal: A without B has no positive image
    phi_CC = np.corrcoef(targets_NC.T)
    judged = [p for p in itertools.combinations(range(6), 2) if p != (4, 5)]
    expected = sorted(judged, key=lambda p: -round(abs(phi_CC[p]), 9))  # (0, 4) ties with (0, 5)
    assert expected[:2] == [(0, 1), (2, 3)]
    found = context.strongest_pairs(targets_NC, 5)
    assert found[::2] == expected[:5]
    assert found[1::2] == [(b, a) for a, b in expected[:5]]
    assert len(context.strongest_pairs(targets_NC, 99)) == 2 * len(judged)


def strongest_pairs_in_integers(targets_NC, count):
    """Counted without rounding, image by image and pair by pair."""
    rows = targets_NC.astype(int).tolist()
    size, strength = len(rows[0]), {}
    for a, b in itertools.combinations(range(size), 2):
        n = {(i, j): 0 for i in (0, 1) for j in (0, 1)}
        for row in rows:
            n[row[a], row[b]] += 1
        if all(n.values()):
            first, second = n[1, 0] + n[1, 1], n[0, 1] + n[1, 1]
            spread = first * (len(rows) - first) * second * (len(rows) - second)
            strength[a, b] = abs(len(rows) * n[1, 1] - first * second) / spread**0.5
    found = sorted(strength, key=lambda p: (-round(strength[p], 9), p))[:count]
    return [pair for a, b in found for pair in ((a, b), (b, a))]


@pytest.mark.parametrize("seed", range(5))
def test_the_strongest_pairs_are_those_counted_in_integers(seed):
    random = np.random.default_rng(seed)
    targets_NC = (random.random((300, 7)) < random.random(7) / 2).astype(np.uint8)
    targets_NC[:, 6] = targets_NC[:, 5]
    for count in (1, 4, 99):
        expected = strongest_pairs_in_integers(targets_NC, count)
        assert context.strongest_pairs(targets_NC, count) == expected


def test_pairs_that_cannot_be_judged_are_left_out():
    always, never, some = np.ones(4), np.zeros(4), np.array([1, 1, 0, 0])
    apart, within = np.array([0, 0, 1, 0]), np.array([1, 0, 0, 0])
    for other in (always, never, apart, within):
        targets_NC = np.stack([some, other], axis=1).astype(np.uint8)
        assert context.strongest_pairs(targets_NC, 10) == []
    crossed = np.stack([some, [1, 0, 1, 0]], axis=1).astype(np.uint8)
    assert context.strongest_pairs(crossed, 10) == [(0, 1), (1, 0)]


def test_thirds_go_by_frequency_and_ties_by_order():
    counts = [1, 5, 0, 3, 3, 5, 1, 3]  # label 2 has no positive image
    targets_NC = (np.arange(6)[:, None] < counts).astype(np.uint8)
    predictions = Predictions(targets_NC * 1.0, targets_NC, list("abcdef"), list("01234567"))
    found = context.subsets(predictions, Context(at_least=7))
    assert [group.tolist() for group in found.groups] == [[1, 5, 3], [4, 7], [0, 6]]
    assert found.crowded_N.tolist() == [True, False, False, False, False, False]


@pytest.mark.parametrize("ignoring", [False, True])
def test_a_run_is_judged_on_subsets(ignoring):
    logits_NC, targets_NC, ignored_NC = random_predictions(0, ignoring)
    scores_NC = metrics.probabilities(logits_NC)
    names = list("abcde")
    predictions = Predictions(scores_NC, targets_NC, [str(i) for i in range(60)], names, ignored_NC)
    chosen = context.subsets(predictions, Context(at_least=3, pairs=2))
    found = context.judge(predictions, chosen)
    counts_NC = np.ones((60, 5), bool) if ignored_NC is None else ~ignored_NC
    expected = {context.WITH: [], context.WITHOUT: []}
    for a, b in chosen.pairs:
        for name, b_is in ((context.WITH, 1), (context.WITHOUT, 0)):
            images = [
                i
                for i in range(60)
                if targets_NC[i, b] == b_is and counts_NC[i, a] and counts_NC[i, b]
            ]
            ap = average_precision_score(targets_NC[images, a], scores_NC[images, a])
            assert found[name, names[a], names[b]] == pytest.approx(ap)
            expected[name].append(ap)
    for name, aps in expected.items():
        assert len(aps) == 4
        assert found[name, "", ""] == pytest.approx(np.mean(aps))
    keep_NC = counts_NC & (targets_NC.sum(axis=1) >= 3)[:, None]
    for kept_NC, labels, name in (
        (counts_NC, range(5), "mAP"),
        (counts_NC, chosen.groups[0], "head"),
        (counts_NC, chosen.groups[2], "tail"),
        (keep_NC, range(5), "crowded mAP"),
    ):
        aps = [
            average_precision_score(targets_NC[kept_NC[:, c], c], scores_NC[kept_NC[:, c], c])
            for c in labels
        ]
        assert found[name, "", ""] == pytest.approx(np.mean(aps)), name
    hits, true = 0, 0
    for i in np.flatnonzero(targets_NC.sum(axis=1) >= 3):
        k = targets_NC[i].sum()
        order = sorted((c for c in range(5) if counts_NC[i, c]), key=lambda c: -scores_NC[i, c])
        hits += targets_NC[i, order[:k]].sum()
        true += k
    assert found["crowded OF1_k", "", ""] == pytest.approx(hits / true)


def test_the_context_table(tmp_path):
    artefact = artefact_of("context", [*METHODS, "L2D"], options={"at_least": 3, "pairs": 2})
    results = planned(tmp_path, artefact.runs)
    runs = {
        path_of("teacher", 0): 9,
        path_of("vanilla", 0): 0,
        path_of("vanilla", 1): 1,
        path_of("mld", 0): 2,
    }
    for path, seed in runs.items():
        predict(results, path, *random_predictions(seed)[:2])
    fail(results, path_of("pkt", 1))
    text, lines = written(artefact, results)
    chosen = context.subsets(results.predictions(path_of("mld", 0)), Context(at_least=3, pairs=2))
    values = [
        100 * context.judge(results.predictions(path_of("vanilla", seed)), chosen)["tail", "", ""]
        for seed in (0, 1)
    ]
    tail = context.NAMES.index("tail")
    mean, spread = np.mean(values), np.std(values, ddof=1)
    assert markdown_row(text, "Student")[tail].strip("*</u>") == f"{mean:.2f} ± {spread:.2f}"
    assert markdown_row(text, "MLD")[tail].strip("*</u>").endswith("†")
    assert markdown_row(text, "MDKD") == ["–"] * len(context.NAMES)
    assert markdown_row(text, "PKT") == ["failed"] * len(context.NAMES)
    assert markdown_row(text, "L2D") == ["n/a"] * len(context.NAMES)
    marks = {markdown_row(text, label)[tail][:2] for label in ("Student", "MLD")}
    assert marks == {"**", "<u"}
    of_pairs = [row for row in lines if row["label"] and row["row"] == "Student"]
    assert len(of_pairs) == 8  # 2 pairs, both directions, with and without
    (of_pair,) = [
        row
        for row in of_pairs
        if (row["metric"], row["label"], row["given"])
        == (context.WITH, *(f"label{c}" for c in chosen.pairs[0]))
    ]
    assert of_pair["runs"] == "2"
    a, b = chosen.pairs[0]
    assert f"- resnet20 - resnet8: 2 pairs of labels: label{a} + label{b}, " in text


def test_subsets_without_anything_to_judge_are_not_zero(tmp_path):
    artefact = artefact_of("context", ["Student"], seeds=[0], options={"at_least": 3, "pairs": 4})
    results = planned(tmp_path, artefact.runs)
    targets_NC = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], np.uint8)  # no image with both
    logits_NC = np.array([[3, 0], [2, 0], [1, 2], [0, 1]], np.float32)
    predict(results, path_of("vanilla", 0), logits_NC, targets_NC)
    text, lines = written(artefact, results)
    expected = ["100.00", "n/a", "n/a", "100.00", "100.00", "n/a", "n/a", "n/a"]
    assert [entry.strip("*") for entry in markdown_row(text, "Student")] == expected
    states = {row["metric"]: row["state"] for row in lines if row["row"] == "Student"}
    assert states["crowded OF1_k"] == "n/a: nothing to judge"


def test_context_refuses_runs_of_other_test_images(tmp_path):
    artefact = artefact_of("context", ["Student"], options={"at_least": 3, "pairs": 2})
    results = planned(tmp_path, artefact.runs)
    logits_NC, targets_NC, _ = random_predictions(0)
    predict(results, path_of("vanilla", 0), logits_NC, targets_NC)
    predict(results, path_of("vanilla", 1), logits_NC[:50], targets_NC[:50])
    with pytest.raises(UserError, match="seed1: its test images differ"):
        written(artefact, results)
