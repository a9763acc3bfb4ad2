"""`mdkd compare A B`: differences computed by hand, and by scikit-learn and scipy."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from reporting_cases import path_of, planned, predict, write_record
from scipy import stats
from sklearn.metrics import average_precision_score
from store_case import finish

from mdkd.cli import main
from mdkd.config import Checkpoint
from mdkd.errors import UserError
from mdkd.metrics import METRICS
from mdkd.plan import Plan
from mdkd.reporting import side_by_side

MLD, PKT = (path_of(method) for method in ("mld", "pkt"))
TARGETS = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]])
LOGITS = {
    MLD: np.where(TARGETS == 1, 2.0, -2.0) + np.arange(18).reshape(6, 3) / 100,
    PKT: np.random.default_rng(0).normal(size=(6, 3)),
}


def by_name(differences):
    return {each.name: each for each in differences}


@pytest.fixture
def two_runs(tmp_path):
    results = planned(tmp_path, [path_of("teacher"), MLD, PKT])
    for path, logits_NC in LOGITS.items():
        predict(results, path, logits_NC, TARGETS)
    return results


def test_two_runs_differ_as_scikit_learn_says(two_runs):
    found = side_by_side.of_runs(MLD, PKT, two_runs)
    expected = [average_precision_score(TARGETS, LOGITS[p], average=None) for p in (MLD, PKT)]
    labels = by_name(found.labels)
    for c in range(3):
        each = labels[f"label{c}"]
        assert (each.first, each.second) == pytest.approx((expected[0][c], expected[1][c]))
        assert each.difference == pytest.approx(expected[0][c] - expected[1][c])
        assert each.low <= each.difference <= each.high
    mean = by_name(found.metrics)["mAP"]
    assert mean.difference == pytest.approx(expected[0].mean() - expected[1].mean())
    assert mean.low <= mean.difference <= mean.high
    assert [each.name for each in found.metrics] == list(METRICS)
    assert by_name(found.metrics)["OF1"].low is None
    order = [each.difference for each in found.labels]
    assert order == sorted(order, reverse=True)


def test_the_interval_of_a_label_is_that_of_resampled_images(two_runs):
    """The same resamples, judged by scikit-learn."""
    random, seen = np.random.default_rng(0), []
    for _ in range(side_by_side.RESAMPLES):
        drawn = random.integers(6, size=6)
        if TARGETS[drawn, 0].any():
            both = [
                average_precision_score(TARGETS[drawn, 0], LOGITS[path][drawn, 0])
                for path in (MLD, PKT)
            ]
            seen.append(both[0] - both[1])
    each = by_name(side_by_side.of_runs(MLD, PKT, two_runs).labels)["label0"]
    assert (each.low, each.high) == pytest.approx(tuple(np.quantile(seen, [0.025, 0.975])))


def test_a_run_against_itself_has_no_difference(two_runs):
    found = side_by_side.of_runs(MLD, MLD, two_runs)
    assert {(d.difference, d.low, d.high) for d in found.labels} == {(0, 0, 0)}
    assert not re.search("labels? (gain|lose)", side_by_side.text(found))


def test_runs_of_other_images_or_labels_are_refused(two_runs):
    predict(two_runs, PKT, LOGITS[PKT], TARGETS, [f"other{i}" for i in range(6)])
    with pytest.raises(UserError, match="their test images differ; name two runs of one data set"):
        side_by_side.of_runs(MLD, PKT, two_runs)
    predict(two_runs, PKT, LOGITS[PKT][:, :2], TARGETS[:, :2])
    with pytest.raises(UserError, match="their labels differ"):
        side_by_side.of_runs(MLD, PKT, two_runs)


def test_a_run_that_is_not_done_is_named(tmp_path):
    results = planned(tmp_path, [MLD, PKT])
    with pytest.raises(UserError, match=f"{MLD}: to do; train it first: mdkd train {MLD}"):
        side_by_side.of_runs(MLD, PKT, results)


MAPS = {
    "mld": {0: 0.50, 1: 0.54, 2: 0.55, 4: 0.53, 5: 0.56},
    "pkt": {0: 0.48, 1: 0.49, 2: 0.51, 3: 0.9, 4: 0.52, 5: 0.50},
}


@pytest.fixture
def two_methods(tmp_path):
    paths = [path_of(method, seed) for method, seeds in MAPS.items() for seed in seeds]
    student = path_of("vanilla", 1)
    results = planned(tmp_path, [*paths, student, path_of("mld", 3), path_of("teacher")])
    for method, seeds in MAPS.items():
        for seed, value in seeds.items():
            aps = {"cat": value, "dog": 0.4, "cow": value - 0.2 * seed}
            write_record(results, path_of(method, seed), {"mAP": value}, aps)
    write_record(results, student, {"mAP": 0.3}, {"cat": 0.3, "dog": 0.6, "cow": 0.3})
    plan = Plan.__new__(Plan)
    object.__setattr__(plan, "runs", results.runs)
    return plan, results


def test_two_methods_differ_over_the_seeds_that_both_have(two_methods):
    plan, results = two_methods
    (found,) = side_by_side.of_methods(plan, "mld", "pkt", results)
    assert (found.seeds, found.where) == ([0, 1, 2, 4, 5], "scenes: resnet20 → resnet8")
    mean = by_name(found.metrics)["mAP"]
    differences = [0.02, 0.05, 0.04, 0.01, 0.06]
    assert mean.difference == pytest.approx(sum(differences) / 5)
    assert (mean.first, mean.second) == pytest.approx((0.536, 0.5))
    both = [0.50, 0.54, 0.55, 0.53, 0.56], [0.48, 0.49, 0.51, 0.52, 0.50]
    expected = stats.ttest_rel(*both).confidence_interval(0.95)
    assert (mean.low, mean.high) == pytest.approx((expected.low, expected.high))
    labels = by_name(found.labels)
    assert labels["cat"].difference == pytest.approx(mean.difference)
    assert (labels["dog"].difference, labels["dog"].low) == (0, 0)


def test_a_single_seed_has_no_interval_and_the_student_is_at_every_teacher(two_methods):
    plan, results = two_methods
    for names, sign in ((("mld", "vanilla"), 1), (("vanilla", "mld/default"), -1)):
        (found,) = side_by_side.of_methods(plan, *names, results)
        assert (found.seeds, found.where) == ([1], "scenes: resnet20 → resnet8")
        mean = by_name(found.metrics)["mAP"]
        assert mean.difference == pytest.approx(sign * 0.24) and mean.low is None
        assert "Intervals: none, because they need 5 seeds." in side_by_side.text(found)


def test_four_seeds_have_no_interval(two_methods):
    plan, results = two_methods
    (results.run(path_of("mld", 2)) / "run.json").unlink()
    (found,) = side_by_side.of_methods(plan, "mld", "pkt", results)
    assert found.seeds == [0, 1, 4, 5]
    assert {(d.low, d.high) for d in found.metrics + found.labels} == {(None, None)}
    assert ", seeds 0, 1, 4, 5\n" in side_by_side.text(found)


def test_a_network_without_a_teacher_is_named_alone(two_methods):
    plan, results = two_methods
    teacher = path_of("teacher")
    write_record(results, teacher, {"mAP": 0.6}, {"cat": 0.6, "dog": 0.6, "cow": 0.6})
    own = side_by_side.of_methods(plan, "vanilla", "vanilla", results)
    assert [each.where for each in own] == [
        "scenes: resnet8 (without a teacher)",
        "scenes: resnet20 (without a teacher)",
    ]
    assert side_by_side.text(own[0]).startswith("scenes: resnet8 (without a teacher), seed 1\n")
    checkpoint = Checkpoint(file="a.pth", sha256="ab" * 32)
    run = replace(results.runs[teacher], checkpoint=checkpoint)
    elsewhere = replace(results, runs={teacher: run})
    assert side_by_side._networks(teacher, elsewhere) == "resnet20 (trained elsewhere)"


def test_an_unknown_name_is_answered_with_methods_and_not_with_every_variant(two_methods):
    plan, results = two_methods
    with pytest.raises(UserError) as caught:
        side_by_side.of_methods(plan, "mae_logits", "pkt", results)
    assert str(caught.value) == (
        "mae_logits: not a method or run of the plan; valid: mld, pkt, vanilla; "
        "if it is a plug-in of yours, name its folder in `plugins` of config.yaml"
    )


def test_unknown_methods_and_methods_without_a_shared_seed(two_methods):
    plan, results = two_methods
    with pytest.raises(UserError, match="mlx: not a method or run of the plan; did you mean 'mld'"):
        side_by_side.of_methods(plan, "mlx", "pkt", results)
    for path in (path_of("mld", seed) for seed in MAPS["mld"]):
        (results.run(path) / "run.json").unlink()
    with pytest.raises(UserError, match="mld, pkt: no pair of networks where runs of both are"):
        side_by_side.of_methods(plan, "mld", "pkt", results)


def test_the_text_names_the_labels_that_gain_and_lose(two_methods):
    plan, results = two_methods
    (found,) = side_by_side.of_methods(plan, "mld", "vanilla", results)
    lines = side_by_side.text(found).splitlines()
    # mld with seed 1: cat 54, dog 40, cow 34; the student: 30, 60, 30
    i = lines.index("  2 labels gain average precision with A:")
    assert [line.split() for line in lines[i + 1 : i + 3]] == [["cat", "+24.00"], ["cow", "+4.00"]]
    assert lines[i + 3] == "  1 label loses average precision with A:"
    assert lines[i + 4].split() == ["dog", "−20.00"]


def test_the_verb_takes_two_names_and_keeps_its_old_form(kept, capsys):
    paths = [f"supervised/scenes/{net}/seed0" for net in ("resnet20", "resnet8")]
    finish(kept, paths[1])  # the predictions of the teacher
    assert main(["compare", *paths, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["comparisons"]
    assert {each["difference"] for each in found["metrics"] + found["labels"]} == {0.0}
    assert main(["compare", *paths]) == 0
    assert "A − B" in capsys.readouterr().out
    assert main(["compare", "vanilla", "mld"]) == 2
    assert "no pair of networks where runs of both are done" in capsys.readouterr().err
    assert main(["compare", paths[0], "mld"]) == 2
    assert "error: mld: not a run path" in capsys.readouterr().err
    assert main(["compare", "mld"]) == 2
    assert "to compare two runs or methods, name both" in capsys.readouterr().err
    assert main(["compare", "comparison"]) == 2  # the old form
    assert "comparison: no published numbers" in capsys.readouterr().err


def test_numbers_that_are_not_known_are_null(kept, capsys):
    from conftest import ROOT

    words = ["compare", "table5", "--protocol", "paper", "--config", str(ROOT / "config")]
    assert main([*words, "--json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    (cell, *_) = [c for c in table["cells"] if c["reported"] is not None]
    assert table["name"] == "table5" and cell["mean"] is None and math.isfinite(cell["reported"])
