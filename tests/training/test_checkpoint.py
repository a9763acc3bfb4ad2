"""Checkpoints: a training that is killed or stopped goes on with the same bits."""

import logging
import os
import signal
from dataclasses import replace

import pytest
import torch
from conftest import TEACHER, python
from trainings import LAST_STEP, MLD, REVIEW, STEPS, STUDENT, losses, read

from mdkd.errors import UserError
from mdkd.training import checkpoint
from mdkd.training import loop as training

# A process that sends itself a signal in the middle of a step.
DRIVER = """
import os, sys
from mdkd import cli
from mdkd.training import loop as train
number, at, *arguments = sys.argv[1:]
original = train.learning_rate
def learning_rate(recipe, step, last_step):
    if step == int(at):
        os.kill(os.getpid(), int(number))
    return original(recipe, step, last_step)
train.learning_rate = learning_rate
raise SystemExit(cli.main(arguments))
"""


def interrupted(bench, path, number, step):
    arguments = ["train", path, "--config", str(bench.spec.folder), "--device", "cpu"]
    return python("-c", DRIVER, str(int(number)), str(step), *arguments, cwd=bench.base)


def saved_state(bench, path):
    file = bench.layout.checkpoint(path) / "last.pt"
    return torch.load(file, weights_only=True)


def assert_equal_to_uninterrupted(bench, finished, path):
    folder, expected = bench.layout.run(path), finished.layout.run(path)
    assert read(folder, "model.pt") == read(expected, "model.pt")
    assert read(folder, "predictions.npz") == read(expected, "predictions.npz")
    assert losses(folder) == losses(expected)
    assert not bench.layout.checkpoint(path).exists()


def test_killed_in_an_epoch_and_resumed_gives_the_same_bits(bench, finished, caplog):
    result = interrupted(bench, REVIEW, signal.SIGKILL, STEPS + 1)
    assert result.returncode == -signal.SIGKILL
    assert not bench.layout.run(REVIEW).exists()
    assert saved_state(bench, REVIEW)["progress"]["step"] == STEPS
    with caplog.at_level(logging.INFO):
        bench.train(REVIEW)
    assert f"resumed at step {STEPS} of {LAST_STEP}" in caplog.text
    assert_equal_to_uninterrupted(bench, finished, REVIEW)


@pytest.mark.parametrize(
    ("number", "step"),
    [
        (signal.SIGTERM, STEPS + 1),
        (signal.SIGUSR1, 0),
        (signal.SIGTERM, STEPS - 1),  # the last step of an epoch
        (signal.SIGINT, LAST_STEP - 1),  # the last step of all
    ],
)
def test_asked_to_stop_it_saves_and_goes_on_later(bench, finished, number, step, caplog):
    result = interrupted(bench, REVIEW, number, step)
    assert result.returncode == (130 if number == signal.SIGINT else 143)
    assert "Traceback" not in result.stderr
    assert f"{number.name}: checkpoint saved at step {step + 1}" in result.stderr
    assert saved_state(bench, REVIEW)["progress"]["step"] == step + 1
    with caplog.at_level(logging.INFO):
        bench.train(REVIEW)
    assert f"resumed at step {step + 1} of {LAST_STEP}" in caplog.text
    assert_equal_to_uninterrupted(bench, finished, REVIEW)


def test_a_crash_before_the_record_does_not_repeat_the_training(bench, finished, monkeypatch):
    def crash(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "_write_results", crash)
        with pytest.raises(KeyboardInterrupt):
            bench.train(MLD)
    steps = []
    original = training.supervised_loss
    monkeypatch.setattr(
        training, "supervised_loss", lambda *args: steps.append(1) or original(*args)
    )
    bench.train(MLD)
    assert steps == []
    assert_equal_to_uninterrupted(bench, finished, MLD)


def test_a_second_process_on_the_same_run_is_refused(bench):
    folder = bench.layout.checkpoint(STUDENT)
    arguments = ["train", STUDENT, "--config", str(bench.spec.folder), "--device", "cpu"]
    with checkpoint.opened(folder, "0" * 64):
        result = python("-m", "mdkd", *arguments, cwd=bench.base)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert f"checkpoints/smoke/{STUDENT}: another process is training this run" in result.stderr
    assert not bench.layout.run(STUDENT).exists()


def stopped(bench, run, step):
    """Train in this process until SIGTERM comes in ``step``."""
    original = training.learning_rate

    def stop(recipe, at, last_step):
        if at == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(recipe, at, last_step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "learning_rate", stop)
        with pytest.raises(SystemExit) as caught:
            bench.train(run)
    assert caught.value.code == 143


def test_a_checkpoint_of_other_settings_is_moved_aside(bench, finished, caplog):
    run = bench.resolve(MLD)
    other = replace(run, recipe=replace(run.recipe, lr=0.01))
    stopped(bench, other, STEPS + 1)
    folder = bench.layout.checkpoint(MLD)
    made_under = saved_state(bench, MLD)["fingerprint"]
    stopped(bench, run, 0)
    aside = folder / f"other-{made_under[:12]}.pt"
    assert aside.exists()
    assert f"other settings or data; it was moved to {aside}" in caplog.text
    assert saved_state(bench, MLD)["progress"]["step"] == 1  # it began anew
    assert read(bench.train(MLD), "model.pt") == read(finished.layout.run(MLD), "model.pt")


@pytest.mark.parametrize("what", ["revision", "teacher"])
def test_a_checkpoint_is_bound_to_revision_and_teacher(bench, what):
    run = bench.resolve(MLD)
    stopped(bench, run, STEPS + 1)
    if what == "revision":
        run = replace(run, method=replace(run.method, revision=run.method.revision + 1))
    else:
        teacher = bench.resolve(TEACHER)
        bench.train(replace(teacher, recipe=replace(teacher.recipe, lr=0.01)))
    stopped(bench, run, 0)
    assert saved_state(bench, MLD)["progress"]["step"] == 1


def test_an_unreadable_checkpoint_is_named(bench):
    stopped(bench, MLD, STEPS + 1)
    file = bench.layout.checkpoint(MLD) / "last.pt"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match=r"last\.pt"):
        bench.train(MLD)
