"""Stored logits of a teacher: the same bits as the network gives, also after interruptions."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from trainings import LAST_STEP, MDKD, MLD, REVIEW, STEPS, STUDENT, losses, read, tamper

from mdkd import logits, records, store
from mdkd.data.cache import open_cache
from mdkd.errors import UserError
from mdkd.models.build import Network
from mdkd.training import teacher as teaching
from mdkd.training.networks import load_network

EPOCHS = LAST_STEP // STEPS


def write(bench, run=MLD, kind="logits"):
    """Store what serves a run; returns its entry."""
    run = bench.resolve(run) if isinstance(run, str) else run
    teaching.store_logits(run, bench.layout, kind, "cpu")
    return logits.entry(run, bench.layout, kind)


@pytest.fixture
def passes(monkeypatch):
    """A list that gets the size of every batch that the teacher's network sees."""
    seen = []
    call = teaching.LiveTeacher.__call__

    def counted(self, epoch, step, images_BCHW):
        seen.append(len(images_BCHW))
        return call(self, epoch, step, images_BCHW)

    monkeypatch.setattr(teaching.LiveTeacher, "__call__", counted)
    return seen


@pytest.mark.parametrize("path", [MLD, MDKD])
def test_a_training_from_stored_logits_has_the_bits_of_a_live_one(bench, finished, passes, path):
    write(bench, path)
    assert len(passes) == LAST_STEP
    folder, live = bench.train(path), finished.layout.run(path)
    assert len(passes) == LAST_STEP  # the network saw nothing more
    for name in ("model.pt", "predictions.npz"):
        assert read(folder, name) == read(live, name)
    assert losses(folder) == losses(live)
    assert records.read_json(folder / "run.json")["stored_logits_images_per_s"] > 0
    assert records.read_json(live / "run.json")["stored_logits_images_per_s"] is None


def test_a_method_that_needs_more_than_logits_asks_the_network(bench, passes):
    write(bench)
    bench.train(REVIEW)
    assert len(passes) == 2 * LAST_STEP


def test_which_runs_may_read_and_which_share_logits(bench):
    def run(path):
        return bench.resolve(path)

    assert [logits.may_read(run(p)) for p in (MLD, MDKD, REVIEW, STUDENT)] == [1, 1, 0, 0]
    mld = run(MLD)
    assert logits.key(mld) == logits.key(run(MDKD))
    assert logits.path_of(mld) == "logits/scenes/resnet20/seed0"
    others = [
        replace(mld, seed=1),
        replace(mld, teacher_key="0" * 16),
        replace(mld, recipe=replace(mld.recipe, flip=not mld.recipe.flip)),
        replace(mld, recipe=replace(mld.recipe, batch_size=8)),
        replace(mld, recipe=replace(mld.recipe, teacher_logits="float16")),
    ]
    assert len({logits.key(other) for other in (mld, *others)}) == 6
    for same in (replace(mld, recipe=replace(mld.recipe, lr=0.5)), replace(mld, arch="resnet14")):
        assert logits.key(same) == logits.key(mld)


def test_what_is_stored_is_what_the_network_says_of_each_batch(bench):
    run, entry = bench.resolve(MLD), write(bench)
    cache = open_cache(bench.layout.cache("scenes"))
    teacher = store.teacher_entry(run, bench.layout)
    network = load_network(teacher, cache, teaching.torch.device("cpu"))
    loader = teaching.Loader(cache.splits["train"], run.recipe, run.seed, network_device(network))
    for epoch in range(EPOCHS):
        expected = [network(batch.images_BCHW).logits_BC.numpy() for batch in loader.train(epoch)]
        assert np.array_equal(np.load(entry.epoch(epoch)), np.concatenate(expected))


def network_device(network: Network):
    return next(network.parameters()).device


def test_float16_rounds_the_live_logits_too(bench, passes):
    run = bench.resolve(MLD)
    run = replace(run, recipe=replace(run.recipe, teacher_logits="float16"))
    live = bench.train(run)
    for name in ("run.json", "checkpoint.pt"):
        (live / name).unlink(missing_ok=True)
    kept = {name: read(live, name) for name in ("model.pt", "predictions.npz")}
    entry = write(bench, run)
    assert np.load(entry.epoch(0)).dtype == np.float16
    passes.clear()
    stored = bench.train(run)
    assert passes == []
    assert {name: read(stored, name) for name in kept} == kept


def test_killed_while_writing_it_goes_on_with_the_next_epoch(bench, passes, monkeypatch):
    whole = {file.name: file.read_bytes() for file in write(bench).folder.glob("*.npy")}
    entry = logits.entry(bench.resolve(MLD), bench.layout)
    (entry.folder / logits.RECORD).unlink()
    entry.epoch(1).unlink()
    passes.clear()
    write(bench)
    assert len(passes) == STEPS  # of the epoch that was missing
    assert {file.name: file.read_bytes() for file in entry.folder.glob("*.npy")} == whole
    write(bench)
    assert len(passes) == STEPS  # complete: nothing is computed
    (entry.folder / logits.RECORD).unlink()
    write(bench)  # killed just before the record: the speed is measured again
    assert len(passes) == 2 * STEPS
    assert entry.record().images_per_s > 0


def test_a_signal_stops_between_two_batches_and_keeps_whole_epochs(bench, monkeypatch):
    call = teaching.LiveTeacher.__call__

    def stopped(self, epoch, step, images_BCHW):
        if (epoch, step) == (1, 1):
            os.kill(os.getpid(), signal.SIGTERM)
        return call(self, epoch, step, images_BCHW)

    monkeypatch.setattr(teaching.LiveTeacher, "__call__", stopped)
    with pytest.raises(SystemExit) as stop:
        write(bench)
    assert stop.value.code == 143
    entry = logits.entry(bench.resolve(MLD), bench.layout)
    assert sorted(file.name for file in entry.folder.iterdir()) == ["begun.json", "epoch0001.npy"]
    assert not bench.layout.published(
        logits.path_of(bench.resolve(MLD)), entry.folder.name
    ).exists()


def test_logits_of_another_teacher_or_cache_are_not_used(bench, passes):
    entry = write(bench)
    for fact in ("teacher", "cache"):
        record = records.read_json(entry.folder / logits.RECORD)
        records.write_json(entry.folder / logits.RECORD, record | {fact: "another"})
        records.write_json(entry.folder / logits.BEGUN, {"of": "another"})
        passes.clear()
        write(bench)
        assert len(passes) == LAST_STEP  # all of them are made again
    record = records.read_json(entry.folder / logits.RECORD)
    records.write_json(entry.folder / logits.RECORD, record | {"teacher": "another"})
    passes.clear()
    bench.train(MLD)
    assert len(passes) == LAST_STEP  # by the network, in every step


def test_a_changed_byte_is_noticed(bench):
    entry = write(bench)
    tamper(entry.epoch(1))
    with pytest.raises(UserError, match=r"epoch0002\.npy: missing or damaged; delete "):
        bench.train(MLD)


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"cache": 1}', b"\xff\xfe", b"{", b"null"])
def test_a_foreign_record_is_one_line_with_the_fix(bench, content):
    entry = write(bench)
    (entry.folder / logits.RECORD).write_bytes(content)
    with pytest.raises(UserError, match=r"logits\.json: ") as error:
        bench.train(MLD)
    assert "\n" not in str(error.value)
