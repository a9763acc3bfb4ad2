"""Stored outputs of a teacher: the same bits as the network gives, also after interruptions."""

import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from trainings import LAST_STEP, MDKD, MLD, REVIEW, STEPS, STUDENT, losses, read, tamper

from mdkd import logits, records, store
from mdkd.data.cache import open_cache
from mdkd.errors import UserError
from mdkd.training import teacher as teaching
from mdkd.training.networks import load_network

EPOCHS = LAST_STEP // STEPS
PKT, RKD, RKD_LOGITS = (
    f"distill/scenes/resnet20--resnet8/{row}/seed0"
    for row in ("pkt/default", "rkd/default", "rkd/input-logits")
)


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


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (MLD, "logits"),
        (MLD, "pooled"),  # it needs no pooled vectors, and does not mind them
        (PKT, "pooled"),
        (RKD, "pooled"),
        (RKD_LOGITS, "pooled"),
    ],
)
def test_stored_outputs_have_the_bits_of_live_ones(bench, passes, path, kind, precision):
    """float16 rounds the logits of a live teacher too, and no pooled vectors."""
    run = bench.resolve(path)
    run = replace(run, recipe=replace(run.recipe, teacher_logits=precision))
    live = bench.train(run)
    kept = {name: read(live, name) for name in ("model.pt", "predictions.npz")}, losses(live)
    shutil.rmtree(live)
    write(bench, run, kind)
    passes.clear()
    stored = bench.train(run)
    assert passes == []
    assert ({name: read(stored, name) for name in kept[0]}, losses(stored)) == kept


@pytest.mark.parametrize(("path", "kind"), [(PKT, "logits"), (REVIEW, "pooled")])
def test_a_method_that_needs_more_than_is_stored_asks_the_network(bench, passes, path, kind):
    write(bench, MLD, kind)
    bench.train(path)
    assert len(passes) == 2 * LAST_STEP


def test_which_runs_may_read_and_which_share_logits(bench):
    def run(path):
        return bench.resolve(path)

    for path in (MLD, MDKD):
        assert logits.kinds_for(run(path)) == ["pooled", "logits"]
    for path in (PKT, RKD):
        assert logits.kinds_for(run(path)) == ["pooled"]
    for path in (REVIEW, STUDENT):
        assert logits.kinds_for(run(path)) == []
    mld = run(MLD)
    assert logits.key(mld) == logits.key(run(MDKD)) == logits.key(run(PKT))
    assert logits.path_of(mld) == "logits/scenes/resnet20/seed0"
    assert logits.path_of(run(PKT), "pooled") == "pooled/scenes/resnet20/seed0"
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


def batches_of(bench, run):
    """The network of a run's teacher, and the batches of each epoch."""
    cache, cpu = open_cache(bench.layout.cache("scenes")), torch.device("cpu")
    network = load_network(store.teacher_entry(run, bench.layout), cache, cpu)
    loader = teaching.Loader(cache.splits["train"], run.recipe, run.seed, cpu)
    return network, [list(loader.train(epoch)) for epoch in range(EPOCHS)]


@pytest.mark.parametrize("kind", ["logits", "pooled"])
def test_what_is_stored_is_what_the_network_says_of_each_batch(bench, kind):
    run, entry = bench.resolve(MLD), write(bench, MLD, kind)
    network, epochs = batches_of(bench, run)
    for epoch, batches in enumerate(epochs):
        outputs = [network(batch.images_BCHW) for batch in batches]
        expected = torch.cat([output.logits_BC for output in outputs])
        if kind == "pooled":
            pooled = torch.cat([output.pooled_BD for output in outputs])
            expected = torch.cat([expected, pooled], dim=1)
        assert np.array_equal(np.load(entry.epoch(epoch)), expected.numpy())


@pytest.mark.parametrize("turned", [False, True])
def test_stored_outputs_lie_in_memory_as_the_live_ones(bench, monkeypatch, turned):
    """Also those of a network whose pooled vectors lie channel by channel."""
    call = teaching.LiveTeacher.__call__

    def turn(self, epoch, step, images_BCHW):
        output = call(self, epoch, step, images_BCHW)
        return output._replace(pooled_BD=output.pooled_BD.t().contiguous().t())

    if turned:
        monkeypatch.setattr(teaching.LiveTeacher, "__call__", turn)
    run, entry = bench.resolve(PKT), write(bench, PKT, "pooled")
    network, epochs = batches_of(bench, run)
    live = teaching.LiveTeacher(network, run.recipe)
    stored = teaching.StoredTeacher(entry, run.recipe.batch_size, torch.device("cpu"))
    assert stored.spec[:2] == live.spec[:2]
    for step, batch in enumerate(epochs[1]):
        for found, expected in zip(
            stored(1, step, None)[:2], live(1, step, batch.images_BCHW)[:2], strict=True
        ):
            assert torch.equal(found, expected)
            assert found.stride() == expected.stride()


@pytest.mark.parametrize(("kind", "dtype"), [("logits", np.float16), ("pooled", np.float32)])
def test_float16_halves_the_files_of_logits_alone(bench, kind, dtype):
    run = bench.resolve(MLD)
    run = replace(run, recipe=replace(run.recipe, teacher_logits="float16"))
    assert np.load(write(bench, run, kind).epoch(0)).dtype == dtype


@pytest.mark.parametrize("kind", ["logits", "pooled"])
def test_killed_while_writing_it_goes_on_with_the_next_epoch(bench, passes, kind):
    entry = write(bench, MLD, kind)
    whole = {file.name: file.read_bytes() for file in entry.folder.glob("*.npy")}
    (entry.folder / logits.RECORD).unlink()
    entry.epoch(1).unlink()
    (entry.folder / "epoch0002.npy.1.part").write_bytes(b"half")
    passes.clear()
    write(bench, MLD, kind)
    assert not list(entry.folder.glob("*.part"))
    assert len(passes) == STEPS  # of the epoch that was missing
    assert {file.name: file.read_bytes() for file in entry.folder.glob("*.npy")} == whole
    write(bench, MLD, kind)
    assert len(passes) == STEPS  # complete: nothing is computed
    (entry.folder / logits.RECORD).unlink()
    write(bench, MLD, kind)  # killed just before the record: the speed is measured again
    assert len(passes) == 2 * STEPS
    assert entry.record().images_per_s > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])  # the second one requeues
def test_a_signal_stops_between_two_batches_and_keeps_whole_epochs(
    bench, monkeypatch, caplog, number
):
    call = teaching.LiveTeacher.__call__

    def stopped(self, epoch, step, images_BCHW):
        if (epoch, step) == (1, 1):
            os.kill(os.getpid(), number)
        return call(self, epoch, step, images_BCHW)

    monkeypatch.setattr(teaching.LiveTeacher, "__call__", stopped)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("PATH", str(bench.base))  # no scontrol: the requeue is refused
    with pytest.raises(SystemExit) as stop:
        write(bench)
    assert stop.value.code == 143
    assert caplog.messages[-1] == f"interrupted by {number.name}; 1 epochs are stored"
    requeued = any("could not be requeued" in message for message in caplog.messages)
    assert requeued == (number == signal.SIGUSR1)
    entry = logits.entry(bench.resolve(MLD), bench.layout)
    assert sorted(file.name for file in entry.folder.iterdir()) == ["begun.json", "epoch0001.npy"]
    assert not bench.layout.published(
        logits.path_of(bench.resolve(MLD)), entry.folder.name
    ).exists()


def test_a_store_holds_the_outputs_of_one_device(bench, passes, caplog):
    """Some epochs were stored on a GPU; then the job goes on where there is none."""
    entry = write(bench)
    assert entry.record().device == "cpu"
    (entry.folder / logits.RECORD).unlink()
    entry.epoch(1).unlink()
    begun = records.read_json(entry.folder / logits.BEGUN)
    records.write_json(entry.folder / logits.BEGUN, begun | {"device": "cuda"})
    passes.clear()
    write(bench)
    assert len(passes) == LAST_STEP  # all of them are made again
    assert "1 epochs of other data, or of another teacher or device, are stored" in caplog.text
    assert records.read_json(entry.folder / logits.BEGUN) == begun


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
