"""Updates from several batches, averaged weights, and their way through checkpoints."""

import copy
import os
import signal
from dataclasses import replace

import pytest
import torch
from network_cases import GAP, build
from torch import nn
from trainings import REVIEW, STUDENT, history, losses, read, weights
from waiting import META, NoWaiting

from mdkd import keys, methods, records, store
from mdkd.data.cache import open_cache
from mdkd.data.loader import Loader
from mdkd.training import loop as training
from mdkd.training import results
from mdkd.training.average import Average
from mdkd.training.progress import Progress

CPU = torch.device("cpu")
ALL_ON = {"batch_size": 8, "accumulate": 2, "warmup_epochs": 0.5, "ema": 0.9}
EVERYTHING = [
    ALL_ON | {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
    ALL_ON | {"optimizer": "adamw", "betas": [0.8, 0.99]},
]


class Kept:
    """A checkpoint that is kept in memory."""

    due = False

    def __init__(self):
        self.states, self.told = [], []

    def load(self):
        return None

    def save(self, state):
        self.states.append(copy.deepcopy(state))

    def tell(self, *facts):
        self.told.append(facts[:3])


def changed(bench, path, **recipe):
    run = bench.resolve(path)
    return replace(run, recipe=replace(run.recipe, **recipe))


def fitted(bench, with_norms=False, saved=None, val=False, **recipe):
    """A student that `_fit` has trained, and the progress."""
    run, cache = changed(bench, STUDENT, **recipe), open_cache(bench.layout.cache("scenes"))
    if val:
        cache.splits["val"] = cache.splits["test"]
    labels, size = len(cache.classes), cache.splits["train"].images_NSSC.shape[1]
    student = build("cifar:resnet8", size, "small", GAP, labels)
    if not with_norms:
        for block in list(student.modules()):
            for name, part in list(block.named_children()):
                if isinstance(part, nn.BatchNorm2d):
                    setattr(block, name, nn.Identity())
    method = methods.build("vanilla", student.spec, student.spec, {})
    saved = saved or Kept()
    return student, training._fit(run, student, None, method, cache, CPU, saved)


def farthest(student, other):
    """The largest difference of two weights."""
    pairs = zip(student.parameters(), other.parameters(), strict=True)
    return max((one - two).abs().max().item() for one, two in pairs)


# Accumulation


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(("size", "batches"), [(8, 2), (16, 2), (4, 3)])
def test_accumulated_batches_are_one_large_batch(taught, optimizer, size, batches):
    """Also where the batches of an epoch (48 images) do not fill the last update."""
    shared = {"optimizer": optimizer, "lr": 0.01, "warmup_epochs": 0.5}
    large, of_large = fitted(taught, batch_size=size * batches, **shared)
    small, of_small = fitted(taught, batch_size=size, accumulate=batches, **shared)
    start, _ = fitted(taught, batch_size=48, lr=1e-12)
    for name, expected in large.state_dict().items():
        torch.testing.assert_close(small.state_dict()[name], expected, rtol=1e-3, atol=1e-5)
    assert farthest(small, start) > 0.005
    for one, other in zip(of_large.history, of_small.history, strict=True):
        assert one["losses"]["bce"] == pytest.approx(other["losses"]["bce"], rel=1e-4)
        assert one["lr"] == other["lr"]
    assert of_small.step == batches * of_large.step


def test_a_step_is_a_batch_and_the_schedule_counts_updates(taught, monkeypatch):
    seen, original = [], training.learning_rate

    def spy(recipe, step, last_step):
        seen.append((step, last_step))
        return original(recipe, step, last_step)

    monkeypatch.setattr(training, "learning_rate", spy)
    saved = Kept()
    _, progress = fitted(taught, batch_size=8, accumulate=4, epochs=3, saved=saved)
    assert progress.step == 3 * 4  # 6 batches of an epoch: one update, and two are left out
    assert seen == [(0, 3), (1, 3), (2, 3)]
    assert saved.told == [(4, 12, 3), (8, 12, 3), (12, 12, 3)]


def test_with_batch_norm_a_batch_is_what_it_was(taught):
    """Its statistics are those of 8 images, not of 16."""
    large, _ = fitted(taught, with_norms=True, batch_size=16)
    small, _ = fitted(taught, with_norms=True, batch_size=8, accumulate=2)
    assert farthest(large, small) > 1e-4


# Averaged weights


def test_the_average_is_that_of_the_formula(taught, monkeypatch):
    seen, update = [], Average.update

    def spy(average, student):
        seen.append(copy.deepcopy(student.state_dict()))
        update(average, student)

    monkeypatch.setattr(Average, "update", spy)
    saved = Kept()
    student, _ = fitted(taught, with_norms=True, saved=saved, batch_size=16, ema=0.75)
    start, _ = fitted(taught, with_norms=True, batch_size=16, lr=1e-12)
    assert len(seen) == 6
    names = {name for name, _ in student.named_parameters()}
    for name, found in student.state_dict().items():
        expected = start.state_dict()[name].double()
        for state in seen if name in names else seen[-1:]:
            share = 0.25 if name in names else 1.0
            expected = (1 - share) * expected + share * state[name].double()
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    assert len(names) < len(student.state_dict())  # it has buffers
    last = saved.states[-1]
    assert_equal(last["student"], seen[-1])
    assert_equal(last["average"], student.state_dict())


def assert_equal(states, others):
    assert states.keys() == others.keys()
    assert [name for name in states if not torch.equal(states[name], others[name])] == []


def test_the_averaged_weights_are_evaluated_and_saved(bench, monkeypatch):
    plain, averaged = changed(bench, STUDENT), changed(bench, STUDENT, ema=0.9)
    judged, predict = [], results.predict

    def spy(network, loader):
        judged.append(copy.deepcopy(network.state_dict()))
        return predict(network, loader)

    bench.train(plain)
    monkeypatch.setattr(results, "predict", spy)
    folder = bench.train(averaged)
    assert_equal(judged[-1], weights(folder))
    (of_plain, of_averaged) = (store.entry(run, bench.layout).folder for run in (plain, averaged))
    assert of_averaged == folder
    # The training itself is the same: the average changes no step.
    assert losses(of_plain) == losses(of_averaged)
    assert read(of_plain, "model.pt") != read(of_averaged, "model.pt")
    assert read(of_plain, "predictions.npz") != read(of_averaged, "predictions.npz")
    assert records.read_json(folder / "run.json")["run"]["recipe"]["ema"] == 0.9


def test_the_averaged_weights_are_validated_and_the_training_does_not_notice(taught, monkeypatch):
    judged, predict = [], training.predict

    def spy(network, loader):
        judged.append(copy.deepcopy(network.state_dict()))
        return predict(network, loader)

    monkeypatch.setattr(training, "predict", spy)
    with_val, without, plain = Kept(), Kept(), Kept()
    fitted(taught, with_norms=True, saved=with_val, val=True, ema=0.9)
    fitted(taught, with_norms=True, saved=without, ema=0.9)
    fitted(taught, with_norms=True, saved=plain)
    for i in range(2):  # epochs
        assert_equal(judged[i], with_val.states[i]["average"])
        assert_equal(with_val.states[i]["student"], plain.states[i]["student"])
        assert_equal(with_val.states[i]["average"], without.states[i]["average"])
    assert len(judged) == 2


# Checkpoints


def stopped(bench, run, batch):
    """Train until SIGTERM comes while a batch, counted from 0, is computed."""
    seen, original = [], training.supervised_loss

    def loss(*args):
        if len(seen) == batch:
            os.kill(os.getpid(), signal.SIGTERM)
        seen.append(1)
        return original(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "supervised_loss", loss)
        with pytest.raises(SystemExit):
            bench.train(run)


@pytest.mark.parametrize("recipe", EVERYTHING, ids=lambda recipe: recipe["optimizer"])
def test_an_interrupted_training_with_everything_on_gives_the_same_bits(bench, tmp_path, recipe):
    other = bench.copy(tmp_path / "other")
    run = changed(bench, REVIEW, **recipe)
    expected = other.train(changed(other, REVIEW, **recipe))
    for batch in (1, 2, 3, 1):  # of each call: the second of an update, the first, the last of all
        stopped(bench, run, batch)
    folder = bench.train(run)
    assert read(folder, "model.pt") == read(expected, "model.pt")
    assert read(folder, "predictions.npz") == read(expected, "predictions.npz")
    assert losses(folder) == losses(expected)
    assert [epoch["lr"] for epoch in history(folder)] == [e["lr"] for e in history(expected)]
    assert folder.name == expected.name == keys.key(run)


def test_it_stops_between_updates_only(bench):
    run = changed(bench, STUDENT, **EVERYTHING[0])
    stopped(bench, run, 2)
    progress = records.read_json(store.entry(run, bench.layout).folder / "progress.json")
    assert (progress["step"], progress["steps"]) == (4, 12)


# Waiting


@pytest.mark.parametrize("recipe", EVERYTHING, ids=lambda recipe: recipe["optimizer"])
def test_no_step_with_everything_on_waits(taught, recipe, monkeypatch, accelerator):
    run = changed(taught, STUDENT, **recipe)
    cache = open_cache(taught.layout.cache("scenes"))
    with META:
        size, labels = cache.splits["train"].images_NSSC.shape[1], len(cache.classes)
        student = build("cifar:resnet8", size, "small", GAP, labels)
        method = methods.build("vanilla", student.spec, student.spec, {})
    watch, train, updates = NoWaiting(), Loader.train, []
    watch.active = False

    def batches(loader, *where):
        for batch in train(loader, *where):
            yield batch
            watch.active = True

    def check(progress, steps_per_epoch):
        assert progress.step == 5
        raise InterruptedError

    update = Average.update
    monkeypatch.setattr(
        Average, "update", lambda *args: updates.append(watch.active) or update(*args)
    )
    monkeypatch.setattr(Loader, "train", batches)
    monkeypatch.setattr(Progress, "check", check)
    monkeypatch.setattr(training, "CHECK_STEPS", 5)
    monkeypatch.setattr(training, "gradient_ratios", lambda *args: {})
    with pytest.raises(InterruptedError), watch:
        training._fit(run, student, None, method, cache, META, Kept())
    assert updates == [True, True]
