"""Which records of runs count, and what is read from them."""

from dataclasses import replace

import numpy as np
import pytest
from comparison_case import TEACHER, of, scored
from reporting_cases import fail, planned, predict, random_predictions

from mdkd import records
from mdkd.errors import UserError
from mdkd.metrics import METRICS


@pytest.fixture
def layout(tmp_path):
    return scored(tmp_path)


def test_scores_that_are_missing_or_of_other_predictions_are_computed_anew(layout):
    folder = layout.run(TEACHER[0])
    logits_NC, targets_NC = np.array([[2.0], [1.0], [0.0]]), np.array([[0], [1], [0]], np.uint8)
    stored = {"logits_NC": logits_NC, "targets_NC": targets_NC, "ids": ["a", "b", "c"]}
    np.savez(folder / "predictions.npz", **stored)
    digest = records.sha256(folder / "predictions.npz")
    record = records.read_json(folder / "run.json")
    records.write_json(
        folder / "run.json", record | {"predictions_sha256": digest, "classes": ["cat"]}
    )
    old = (folder / "metrics.json").read_bytes()
    assert layout.scores(TEACHER[0])["metrics"]["mAP"] == 0.5  # the positive is second
    assert (folder / "metrics.json").read_bytes() == old
    (folder / "metrics.json").unlink()
    assert layout.state(TEACHER[0]) == "done"
    assert layout.scores(TEACHER[0])["average_precision"] == {"cat": 0.5}
    (folder / "predictions.npz").unlink()
    with pytest.raises(UserError, match=r"missing, or not the file that run\.json names"):
        layout.scores(TEACHER[0])


def test_scores_that_lack_a_metric_are_computed_anew(tmp_path):
    path = TEACHER[0]
    results = planned(tmp_path, [path])
    predict(results, path, *random_predictions(0)[:2], mean_ap=0.9)
    assert results.scores(path)["metrics"]["mAP"] == 0.9
    file = results.run(path) / "metrics.json"
    scores = records.read_json(file)
    del scores["metrics"]["OF1"]  # as if it had been scored before there was this metric
    records.write_json(file, scores)
    metrics = results.scores(path)["metrics"]
    assert metrics.keys() == METRICS.keys()
    assert metrics["mAP"] != 0.9


def test_a_failure_under_other_settings_does_not_count(layout):
    path = of("ps")[0]
    run = layout.runs[path]
    other = replace(run, recipe=replace(run.recipe, epochs=99))
    fail(replace(layout, runs={path: other}), path)
    assert layout.state(path) == "to do"
