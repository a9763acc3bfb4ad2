"""A metric is one entry of `METRICS`: configuration, records, tables and notes follow."""

import numpy as np
import pytest
import yaml
from conftest import facts_of

from mdkd import metrics, records
from mdkd.plan import make_plan
from mdkd.resolve import resolve_run
from mdkd.results import Results
from mdkd.spec import Specification

PAIR = {"dataset": "scenes", "teacher": "resnet20", "student": "resnet8"}
SCORES_NC = np.array([[0.9, 0.2, 0.8], [0.4, 0.3, 0.1]])
TARGETS_NC = np.array([[1, 0, 0], [0, 1, 0]])


@pytest.fixture
def hamming(monkeypatch):
    """A further metric: the share of places that the threshold 0.5 gets wrong."""

    def wrong(judged):
        predicted_NC = judged.ranked_NC >= 0.5
        return float((predicted_NC != judged.true_NC)[judged.counts_NC].mean())

    monkeypatch.setitem(metrics.METRICS, "HL", metrics.Metric(wrong, metrics.HALF))


def test_a_new_metric_is_evaluated(hamming):
    found = metrics.evaluate(SCORES_NC, TARGETS_NC)
    assert list(found) == list(metrics.METRICS)
    assert found["HL"] == pytest.approx(2 / 6)
    ignored_NC = np.array([[0, 0, 1], [0, 0, 0]])
    assert metrics.evaluate(SCORES_NC, TARGETS_NC, ignored_NC)["HL"] == pytest.approx(1 / 5)


def test_finished_runs_get_a_new_metric_from_their_predictions(config, tmp_path, hamming):
    path = "supervised/scenes/resnet8/seed0"
    run = resolve_run(Specification(config), path)
    results = Results("smoke", tmp_path, {path: run})
    folder = results.run(path)
    folder.mkdir(parents=True)
    stored = {"logits_NC": 20 * SCORES_NC - 10, "targets_NC": TARGETS_NC}
    np.savez(folder / "predictions.npz", **stored, ids=[f"image{i}" for i in range(len(SCORES_NC))])
    digest = records.sha256(folder / "predictions.npz")
    record = facts_of(results, path)
    record |= {"predictions_sha256": digest, "classes": ["a", "b", "c"]}
    records.write_json(folder / "run.json", record)
    old = {"predictions_sha256": digest, "metrics": {"mAP": 0.5}}
    records.write_json(folder / "metrics.json", old)
    assert results.scores(path)["metrics"]["HL"] == pytest.approx(2 / 6)


def test_an_experiment_may_name_a_new_metric(config, hamming):
    content = {"kind": "comparison", "title": "T", "pairs": [PAIR], "methods": ["mld"]}
    file = config / "experiments" / "mine.yaml"
    file.write_text(yaml.safe_dump(content | {"metrics": ["HL", "mAP"]}))
    assert make_plan(Specification(config)).artefacts["mine"].metrics == ["HL", "mAP"]
