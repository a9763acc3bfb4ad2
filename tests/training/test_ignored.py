"""Places that do not count, from VOC's annotations to the metrics of a training."""

import json

import make_datasets
import numpy as np
import pytest
import torch
from conftest import TEACHER, Workbench, copy_config, edit_yaml
from sklearn.metrics import average_precision_score, f1_score

from mdkd.data.build import build
from mdkd.data.cache import open_cache
from mdkd.data.loader import Loader
from mdkd.data.sources.voc import CLASSES
from mdkd.metrics import probabilities
from mdkd.reporting import dataset as label_report
from mdkd.resolve import resolve_dataset
from mdkd.results import Results
from mdkd.score import score
from mdkd.training import loop as training
from mdkd.training.networks import load_network

STUDENT = "supervised/voc2007/resnet8/seed0"
OWN_TEACHER = "supervised/voc2007/resnet20/seed0"
DISTILLED = "distill/voc2007/resnet20--resnet8/{}/default/seed0"


def drawn_objects(count, seed):
    """Images of one to three objects of six classes, each difficult with probability 0.4."""
    random = np.random.default_rng(seed)
    return {
        f"{seed}{i:05d}": [
            (CLASSES[random.integers(6)], int(random.random() < 0.4))
            for _ in range(random.integers(1, 4))
        ]
        for i in range(count)
    }


IMAGES = {"trainval": drawn_objects(64, 1), "test": drawn_objects(40, 2)}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A workbench with a cache of VOC, in which difficult objects do not count."""
    base = tmp_path_factory.mktemp("ignored")
    config = copy_config(base / "config")
    settings = {"train_images": 64, "test_images": 40, "difficult": "ignore", "val": 0.2}
    edit_yaml(
        config / "protocols" / "smoke.yaml", lambda p: p.update(datasets={"voc2007": settings})
    )
    bench = Workbench(base, config)
    root = make_datasets.voc(base / "data", IMAGES)
    build(resolve_dataset(bench.spec, "voc2007"), root, bench.layout.cache("voc2007"))
    bench.train(STUDENT)
    return bench


def ignored_by_hand(ids, images):
    """True where an image has difficult objects of a class and no clear one."""
    return np.array(
        [[(c, 1) in images[name] and (c, 0) not in images[name] for c in CLASSES] for name in ids]
    )


def average_precision_of_the_rest(scores_NC, targets_NC, ignored_NC):
    """By class, with scikit-learn, over the images that count; classes without a positive out."""
    left = {name: ~ignored_NC[:, c] for c, name in enumerate(CLASSES)}
    return {
        name: average_precision_score(targets_NC[left[name], c], scores_NC[left[name], c])
        for c, name in enumerate(CLASSES)
        if targets_NC[left[name], c].any()
    }


def test_the_metrics_are_those_of_the_places_that_count(bench):
    score(bench.entry(STUDENT))
    results = Results("smoke", bench.base, {STUDENT: bench.resolve(STUDENT)})
    predictions, scored = results.predictions(STUDENT), results.scores(STUDENT)
    ignored_NC = ignored_by_hand(predictions.ids, IMAGES["test"])
    np.testing.assert_array_equal(predictions.ignored_NC, ignored_NC)
    assert ignored_NC.sum() > 10
    assert not predictions.targets_NC[ignored_NC].any()
    expected = average_precision_of_the_rest(
        predictions.scores_NC, predictions.targets_NC, ignored_NC
    )
    assert scored["average_precision"] == pytest.approx(expected, abs=1e-12)
    assert scored["metrics"]["mAP"] == pytest.approx(np.mean(list(expected.values())), abs=1e-12)
    predicted_NC = predictions.scores_NC >= 0.5
    of1 = f1_score(predictions.targets_NC[~ignored_NC], predicted_NC[~ignored_NC], zero_division=0)
    assert scored["metrics"]["OF1"] == pytest.approx(of1, abs=1e-12)


def test_validation_leaves_the_same_places_out(bench):
    cache, cpu = open_cache(bench.layout.cache("voc2007")), torch.device("cpu")
    val, run = cache.splits["val"], bench.resolve(STUDENT)
    ignored_NC = ignored_by_hand(val.ids, IMAGES["trainval"])
    assert ignored_NC.any()
    network = load_network(bench.entry(STUDENT), cache, cpu)
    scores_NC = probabilities(training.predict(network, Loader(val, run.recipe, 0, cpu)))
    expected = average_precision_of_the_rest(scores_NC, val.targets_NC, ignored_NC)
    last = json.loads((bench.layout.run(STUDENT) / "history.jsonl").read_text().splitlines()[-1])
    assert last["val_mAP"] == pytest.approx(np.mean(list(expected.values())), abs=1e-12)


def test_a_training_does_not_see_the_labels_of_ignored_places(bench, tmp_path, monkeypatch):
    original, masks = training.supervised_loss, []

    def trained_with(change):
        """The weights, if ``change`` is done to the targets and the mask of every batch."""
        copy = bench.copy(tmp_path / change.__name__)
        (copy.layout.run(STUDENT) / "run.json").unlink()

        def loss(logits_BC, targets_BC, reduction, ignored_BC):
            masks.append(ignored_BC)
            return original(logits_BC, *change(targets_BC, reduction, ignored_BC))

        monkeypatch.setattr(training, "supervised_loss", loss)
        return (copy.train(STUDENT) / "model.pt").read_bytes()

    def flipped(targets_BC, reduction, ignored_BC):
        return torch.where(ignored_BC, 1 - targets_BC, targets_BC), reduction, ignored_BC

    def counted(targets_BC, reduction, ignored_BC):
        return targets_BC, reduction

    weights = (bench.layout.run(STUDENT) / "model.pt").read_bytes()
    assert trained_with(flipped) == weights
    assert trained_with(counted) != weights
    assert len(masks) == 2 * 2 * 3
    assert min(mask.sum() for mask in masks) > 0


@pytest.mark.parametrize("method", ["mdkd", "l2d"])
def test_distilled_students_are_scored_on_the_places_that_count(bench, method):
    if not (bench.layout.run(OWN_TEACHER) / "run.json").exists():
        bench.train(OWN_TEACHER)
    path = DISTILLED.format(method)
    folder = bench.train(path)
    score(bench.entry(path))
    epochs = (folder / "history.jsonl").read_text().splitlines()
    for epoch in map(json.loads, epochs):
        assert np.isfinite(list(epoch["losses"].values())).all(), epoch
    results = Results("smoke", bench.base, {path: bench.resolve(path)})
    predictions = results.predictions(path)
    ignored_NC = ignored_by_hand(predictions.ids, IMAGES["test"])
    expected = average_precision_of_the_rest(
        predictions.scores_NC, predictions.targets_NC, ignored_NC
    )
    assert results.scores(path)["average_precision"] == pytest.approx(expected, abs=1e-12)


def test_ignored_labels_count_as_absent_in_statistics(bench):
    cache = open_cache(bench.layout.cache("voc2007"))
    frame = label_report.label_table(cache).set_index("label")
    for name in CLASSES:
        clear = [image for image, objects in IMAGES["test"].items() if (name, 0) in objects]
        assert frame.loc[name, "test_images"] == len(clear)
    assert (bench.layout.cache("voc2007") / "contact_sheet.png").stat().st_size > 0


def test_where_every_place_counts_predictions_are_as_they_always_were(taught):
    with np.load(taught.layout.run(TEACHER) / "predictions.npz") as stored:
        assert set(stored.files) == {"logits_NC", "targets_NC", "ids"}
