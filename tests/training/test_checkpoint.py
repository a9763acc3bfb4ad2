"""Checkpoints: a training that is killed or stopped goes on with the same bits."""

import hashlib
import io
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import datetime

import pytest
import torch
from conftest import TEACHER, edit_yaml, environment, python
from trainings import LAST_STEP, MLD, REVIEW, STEPS, STUDENT, losses, read

from mdkd import records, store
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


def file_of(bench, path):
    return bench.layout.run(path) / "checkpoint.pt"


def saved_state(bench, path, file=None):
    """The state behind the digest at the head of the file."""
    content = (file or file_of(bench, path)).read_bytes()
    digest, content = content[: checkpoint.DIGEST_BYTES], content[checkpoint.DIGEST_BYTES :]
    assert hashlib.sha256(content).digest() == digest
    return torch.load(io.BytesIO(content), weights_only=True)


def progress_of(bench, path):
    """Steps and epochs in ``progress.json``, whose speed and time must agree with each other."""
    found = records.read_json(bench.layout.run(path) / "progress.json")
    images = (found["steps"] - found["step"]) * bench.resolve(path).recipe.batch_size
    assert found["left_s"] == pytest.approx(images / found["images_per_s"])
    assert datetime.fromisoformat(found["time"]).tzinfo
    return tuple(found[name] for name in ("step", "steps", "epoch", "epochs"))


def assert_equal_to_uninterrupted(bench, finished, path):
    folder, expected = bench.layout.run(path), finished.layout.run(path)
    assert read(folder, "model.pt") == read(expected, "model.pt")
    assert read(folder, "predictions.npz") == read(expected, "predictions.npz")
    assert losses(folder) == losses(expected)
    assert not file_of(bench, path).exists()
    assert not (folder / "progress.json").exists()


def test_killed_in_an_epoch_and_resumed_gives_the_same_bits(bench, finished, caplog):
    result = interrupted(bench, REVIEW, signal.SIGKILL, STEPS + 1)
    assert result.returncode == -signal.SIGKILL
    assert not (bench.layout.run(REVIEW) / "run.json").exists()
    assert saved_state(bench, REVIEW)["progress"]["step"] == STEPS
    assert progress_of(bench, REVIEW) == (STEPS, LAST_STEP, 1, 2)
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
    message = f"interrupted by {number.name}; a checkpoint was saved at step {step + 1} of "
    assert message in result.stderr
    assert saved_state(bench, REVIEW)["progress"]["step"] == step + 1
    assert progress_of(bench, REVIEW) == (step + 1, LAST_STEP, (step + 1) // STEPS, 2)
    with caplog.at_level(logging.INFO):
        bench.train(REVIEW)
    assert f"resumed at step {step + 1} of {LAST_STEP}" in caplog.text
    assert_equal_to_uninterrupted(bench, finished, REVIEW)


def test_near_the_limit_of_its_slurm_job_it_saves_and_is_requeued(bench, finished, tmp_path):
    answers = {"squeue": "echo 0:01", "scontrol": f"echo $@ > {tmp_path}/asked"}
    for name, answer in answers.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{answer}\n")
        (tmp_path / name).chmod(0o755)
    slow = DRIVER.replace("os.kill(os.getpid(), int(number))", "__import__('time').sleep(1)")
    variables = environment()
    variables |= {"SLURM_JOB_ID": "17", "PATH": f"{tmp_path}{os.pathsep}{variables['PATH']}"}
    arguments = ["0", "1", "train", REVIEW, "--config", str(bench.spec.folder), "--device", "cpu"]
    result = subprocess.run(
        [sys.executable, "-c", slow, *arguments],
        cwd=bench.base,
        env=variables,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 143, result.stderr
    assert "interrupted by SIGALRM; a checkpoint was saved at step" in result.stderr
    assert (tmp_path / "asked").read_text() == "requeue 17\n"
    assert "interrupted by SIGALRM" in result.stderr.splitlines()[-1]  # also after a refusal
    bench.train(REVIEW)
    assert_equal_to_uninterrupted(bench, finished, REVIEW)


def test_a_crash_before_the_record_does_not_repeat_the_training(bench, finished, monkeypatch):
    def crash(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "write_results", crash)
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


def test_halves_of_files_of_a_killed_process_are_gone_after_the_end(bench):
    folder = bench.layout.run(STUDENT)
    folder.mkdir(parents=True)
    for name in ("progress.json.part", "checkpoint.pt.part", "history.jsonl.part"):
        (folder / name).write_bytes(b"{")
    bench.train(STUDENT)
    assert not list(folder.glob("*.part"))
    (folder / "progress.json.part").write_bytes(b"{")  # killed after the record was written
    bench.train(STUDENT)
    assert not list(folder.glob("*.part"))


def test_a_second_process_waits_for_the_first_and_takes_its_result(bench, finished):
    command = ["train", STUDENT, "--config", str(bench.spec.folder), "--device", "cpu"]
    entry = store.entry(bench.resolve(STUDENT), bench.layout)
    with entry.held():
        second = subprocess.Popen(
            [sys.executable, "-m", "mdkd", *command],
            cwd=bench.base,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        here = f"another process is training this run ({socket.gethostname()}); waiting for it"
        assert here in second.stderr.readline()
        shutil.copytree(finished.layout.run(STUDENT), entry.folder, dirs_exist_ok=True)
    _, rest = second.communicate(timeout=600)
    assert second.returncode == 0
    assert "epoch" not in rest  # nothing was trained
    assert read(entry.folder, "run.json") == read(finished.layout.run(STUDENT), "run.json")


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


def test_other_settings_have_a_checkpoint_of_their_own(bench, finished):
    """A setting that is changed and changed back finds its checkpoint again."""
    run = bench.resolve(MLD)
    for other in (
        replace(run, recipe=replace(run.recipe, lr=0.01)),
        replace(run, method=replace(run.method, revision=run.method.revision + 1)),
    ):
        stopped(bench, run, STEPS + 1)
        stopped(bench, other, 0)
        assert store.entry(other, bench.layout).folder != bench.layout.run(MLD)
        assert saved_state(bench, MLD)["progress"]["step"] == STEPS + 2
        file_of(bench, MLD).unlink()
    assert read(bench.train(MLD), "model.pt") == read(finished.layout.run(MLD), "model.pt")


def test_a_checkpoint_of_another_teacher_is_moved_aside(bench, caplog):
    stopped(bench, MLD, STEPS + 1)
    before = saved_state(bench, MLD)["fingerprint"]
    teacher = store.entry(bench.resolve(TEACHER), bench.layout)
    weights = torch.load(teacher.folder / "model.pt", weights_only=True)
    torch.save({name: value * 1.01 for name, value in weights.items()}, teacher.folder / "model.pt")
    digest = records.sha256(teacher.folder / "model.pt")
    record = teacher.record() | {"weights_sha256": digest}
    records.write_json(teacher.folder / "run.json", record)
    stopped(bench, MLD, 0)
    aside = bench.layout.run(MLD) / f"checkpoint-{before[:12]}.pt"
    assert aside.exists()
    assert f"other data, weights, device or execution settings; it was moved to {aside}" in (
        caplog.text
    )
    assert saved_state(bench, MLD)["progress"]["step"] == 1  # it began again


@pytest.mark.parametrize("place", [0, 40, 5000, -1])
def test_a_flipped_byte_of_a_checkpoint_is_an_error(bench, place):
    stopped(bench, MLD, STEPS + 1)
    content = bytearray(file_of(bench, MLD).read_bytes())
    content[place] ^= 1
    file_of(bench, MLD).write_bytes(content)
    with pytest.raises(UserError, match=r"checkpoint\.pt: damaged checkpoint; delete it"):
        bench.train(MLD)


def test_a_cut_checkpoint_is_an_error(bench):
    stopped(bench, MLD, STEPS + 1)
    file_of(bench, MLD).write_bytes(file_of(bench, MLD).read_bytes()[:100])
    with pytest.raises(UserError, match=r"checkpoint\.pt: damaged checkpoint"):
        bench.train(MLD)


def test_checkpoints_are_saved_by_time_within_an_epoch(bench, finished):
    """A job that is killed before its first epoch ends makes progress all the same."""
    file = bench.spec.folder / "config.yaml"
    edit_yaml(file, lambda c: c.update(checkpoint_minutes=0))
    try:
        result = interrupted(bench, REVIEW, signal.SIGKILL, STEPS - 1)
    finally:
        edit_yaml(file, lambda c: c.pop("checkpoint_minutes"))
    assert result.returncode == -signal.SIGKILL
    assert saved_state(bench, REVIEW)["progress"]["step"] == STEPS - 1
    assert progress_of(bench, REVIEW) == (STEPS - 1, LAST_STEP, 0, 2)
    bench.train(REVIEW)
    assert_equal_to_uninterrupted(bench, finished, REVIEW)


def test_weights_that_are_not_finite_are_never_saved(bench):
    """The loss becomes infinite in one step; SIGTERM comes before it is looked at."""
    run = bench.resolve(MLD)
    wild = replace(run, method=replace(run.method, settings={"mld": 3e38}))
    original = training.learning_rate

    def stop(recipe, at, last_step):
        if at == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(recipe, at, last_step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "learning_rate", stop)
        with pytest.raises(UserError, match="not finite in epoch 1, step 1: mld; lower"):
            bench.train(wild)
    folder = store.entry(wild, bench.layout).folder
    assert not (folder / "checkpoint.pt").exists()
    assert "step 1: mld" in records.read_json(folder / "failed.json")["error"]
    assert store.diverged(wild, bench.layout)


def test_the_history_grows_while_the_run_is_trained(bench, monkeypatch):
    """`mdkd curves` reads it; what another training left there is gone at the first look."""
    file, seen = bench.entry(STUDENT).folder / "history.jsonl", []
    file.parent.mkdir(parents=True)
    file.write_text("left by a training with other data\n")
    real = checkpoint.Checkpoint.tell

    def tell(self, *facts):
        seen.append(file.exists() and len(file.read_text().splitlines()))
        real(self, *facts)
        seen.append([json.loads(line)["epoch"] for line in file.read_text().splitlines()])

    monkeypatch.setattr(checkpoint.Checkpoint, "tell", tell)
    bench.train(STUDENT)
    assert seen == [False, [1], 1, [1, 2]]
