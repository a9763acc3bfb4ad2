"""What a training keeps of the validation images of its data set."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import Workbench, copy_config, edit_yaml
from sklearn.metrics import average_precision_score
from trainings import tamper

from mdkd import exchange, records, store
from mdkd.data.build import build
from mdkd.data.cache import open_cache
from mdkd.errors import UserError
from mdkd.plan import make_plan
from mdkd.resolve import resolve_dataset
from mdkd.results import Results
from mdkd.score import score
from mdkd.store_admin import verify

STUDENT = "supervised/scenes_val/resnet8/seed0"
PAIR = {"dataset": "scenes_val", "teacher": "resnet20", "student": "resnet8"}
LARGE = ("predictions.npz", "predictions_val.npz")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workbench in which a student on data with a validation split is trained; do not change."""
    base = tmp_path_factory.mktemp("val")
    config = copy_config(base / "config")
    change = {"datasets": {"scenes_val": {"train": 64, "test": 32}}, "seeds": [0]}
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p.update(change))
    edit_yaml(config / "experiments" / "comparison.yaml", lambda e: e.update(pairs=[PAIR]))
    bench = Workbench(base, config)
    dataset = resolve_dataset(bench.spec, "scenes_val")
    build(dataset, base / "data", bench.layout.cache("scenes_val"), jobs=1)
    bench.train(STUDENT)
    return bench


@pytest.fixture
def bench(trained, tmp_path, monkeypatch):
    """The same in the working directory of a test."""
    monkeypatch.chdir(tmp_path)
    return trained.copy(tmp_path)


def plan_of(bench):
    return make_plan(bench.spec)


def results_of(bench):
    return Results("smoke", bench.base, {STUDENT: bench.resolve(STUDENT)})


def test_predictions_of_validation_images_are_kept_and_scored(trained):
    results, split = results_of(trained), open_cache(trained.layout.cache("scenes_val")).splits
    assert 0 < len(split["val"].ids) < len(split["train"].ids)
    found = results.on("val").predictions(STUDENT)
    assert found.ids == list(split["val"].ids)
    assert np.array_equal(found.targets_NC, split["val"].targets_NC)
    shown = found.targets_NC.any(axis=0)
    expected = average_precision_score(found.targets_NC[:, shown], found.scores_NC[:, shown])
    scores = results.on("val").scores(STUDENT)
    assert scores["metrics"]["mAP"] == pytest.approx(expected, abs=1e-12)
    assert scores["val_images"] == len(found.ids)
    assert scores["metrics"]["mAP"] == results.history(STUDENT)[-1]["val_mAP"]
    assert results.predictions(STUDENT).ids == list(split["test"].ids)
    assert results.scores(STUDENT)["metrics"] != scores["metrics"]
    record, folder = results.record(STUDENT), results.run(STUDENT)
    assert record["predictions_val_sha256"] == records.sha256(folder / "predictions_val.npz")


def test_verify_knows_them(bench):
    folder, plan = results_of(bench).run(STUDENT), plan_of(bench)
    assert verify(plan) == "1 finished entries are intact"
    metrics = json.loads((folder / "metrics_val.json").read_text())
    metrics["metrics"]["mAP"] += 1e-9
    records.write_json(folder / "metrics_val.json", metrics)
    with pytest.raises(UserError) as caught:
        verify(plan)
    assert "metrics_val.json: not the metrics of its predictions" in caught.value.args[1]
    (folder / "metrics_val.json").unlink()  # made again when it is needed
    assert verify(plan) == "1 finished entries are intact"
    tamper(folder / "predictions_val.npz")
    with pytest.raises(UserError) as caught:
        verify(plan)
    assert "predictions_val.npz: missing, or not the file" in caught.value.args[1]


def test_missing_metrics_are_made_again_from_the_predictions(bench):
    results, entry = results_of(bench), store.Entry(results_of(bench).run(STUDENT))
    before = results.on("val").scores(STUDENT)
    (entry.folder / "metrics_val.json").unlink()
    assert results.on("val").scores(STUDENT) == before
    assert not (entry.folder / "metrics_val.json").exists()
    score(entry)
    assert records.read_json(entry.folder / "metrics_val.json") == before


def test_a_record_of_an_early_version_is_readable(bench):
    results, folder = results_of(bench), results_of(bench).run(STUDENT)
    record = records.read_json(folder / "run.json")
    del record["predictions_val_sha256"]
    records.write_json(folder / "run.json", record)
    for name in ("predictions_val.npz", "metrics_val.json"):
        (folder / name).unlink()
    assert verify(plan_of(bench)) == "1 finished entries are intact"
    assert results.state(STUDENT) == "done"
    last = results.history(STUDENT)[-1]["val_mAP"]
    assert results.on("val").scores(STUDENT)["metrics"] == {"mAP": last}
    assert len(results.scores(STUDENT)["metrics"]) > 1


@pytest.mark.parametrize("wanted", [(), ("comparison",)])
def test_an_export_carries_their_metrics_and_if_wanted_the_predictions(bench, wanted):
    plan, folder = plan_of(bench), bench.base / "published"
    exchange.export(plan, folder, wanted)
    (record,) = folder.rglob("run.json")
    assert (record.parent / "metrics_val.json").exists()
    assert [(record.parent / name).exists() for name in LARGE] == [bool(wanted)] * 2
    before = results_of(bench).on("val").scores(STUDENT)
    shutil.rmtree(bench.base / "store")
    assert exchange.take_over(plan, folder).startswith("imported 1 runs")
    assert results_of(bench).on("val").scores(STUDENT) == before
    assert verify(plan) == "1 finished entries are intact"


@pytest.mark.parametrize("name", ["val", "test"])
def test_a_split_without_a_positive_label_is_refused_before_training(bench, monkeypatch, name):
    from mdkd.training import loop

    def without(dataset, folder):
        cache = open_cache(folder)
        split = cache.splits[name]
        empty = replace(split, targets_NC=np.zeros_like(split.targets_NC))
        return replace(cache, splits=cache.splits | {name: empty})

    monkeypatch.setattr(loop, "open_planned", without)
    monkeypatch.setattr(loop, "_fit", None)  # nothing is trained
    message = f"'scenes_val': no label has a positive {name} image; use a larger {name} split"
    with pytest.raises(UserError, match=message):
        bench.train("supervised/scenes_val/resnet8/seed7")
