"""States and places of runs, from files made by hand."""

import fcntl
import os
import re
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from conftest import facts_of
from cost_case import TEACHER, distilled, record
from status_case import MLD, NOW, STUDENT, ago, fail, lock, log, look, progress, shown, small_plan

from mdkd import joblog, records, store

HERE = socket.gethostname()


@pytest.fixture
def plan_and_results(config, tmp_path):
    return small_plan(config, tmp_path)


def test_states(plan_and_results):
    results = plan_and_results[1]
    assert {status.state for status in look(plan_and_results).values()} == {"waiting"}
    record(results, TEACHER)
    lock(results, MLD)
    fail(results, STUDENT, "\nlosses not finite\nin epoch 3")
    found = look(plan_and_results)
    states = {path: status.state for path, status in found.items()}
    mdkd = distilled("mdkd", 0)
    assert states == {TEACHER: "done", MLD: "running", STUDENT: "failed", mdkd: "waiting"}
    assert found[STUDENT].note == "losses not finite"


def test_a_run_with_other_data_than_planned_waits_to_be_trained_again(plan_and_results):
    record(plan_and_results[1], TEACHER)
    file = plan_and_results[1].run(TEACHER) / "run.json"
    content = facts_of(plan_and_results[1], TEACHER, plan_and_results[0].runs[STUDENT])
    records.write_json(file, records.read_json(file) | {"planned": content["planned"]})
    assert look(plan_and_results)[TEACHER].state == "waiting"
    assert "it was trained with other settings" in look(plan_and_results)[TEACHER].note


def test_a_student_of_a_failed_teacher_says_so(plan_and_results):
    fail(plan_and_results[1], TEACHER, "no")
    found = look(plan_and_results)
    assert (found[MLD].state, found[MLD].note) == ("waiting", "its teacher failed")
    assert found[STUDENT].note == ""


STAMP = "2026-01-31 11:59:00,123 "
TRACEBACK = (f"{STAMP}Traceback (most recent call last):", '  File "a.py", line 3', "KeyError: 'a'")


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ([f"{STAMP}begins", f"{STAMP}error: cache/x: no such file"], "cache/x: no such file"),
        (TRACEBACK, "KeyError: 'a'"),
        ([f"{STAMP}SIGTERM: checkpoint saved at step 3"], None),
        ([f"{STAMP}error: once", f"{STAMP}training on cpu"], None),
        ([], None),
    ],
)
def test_a_job_that_died_before_the_training_is_known_from_its_log(plan_and_results, lines, error):
    file = log(plan_and_results[1], MLD, *lines)
    status = look(plan_and_results)[MLD]
    assert joblog.failure(file) == error
    assert status.state == ("failed" if error else "waiting")
    assert status.note == (error or "")
    assert status.log == (file if error else None)


def test_the_log_of_a_failed_training_is_the_one_that_is_there(plan_and_results):
    """Snakemake's log, or that of the entry: a training by hand has no other."""
    results = plan_and_results[1]
    fail(results, MLD, "no")
    assert look(plan_and_results)[MLD].log == results.run(MLD) / "train.log"
    file = log(results, MLD, f"{STAMP}error: no")
    assert look(plan_and_results)[MLD].log == file


def test_a_damaged_record_of_a_failure_hides_no_other_run(plan_and_results):
    results = plan_and_results[1]
    fail(results, MLD, "no")
    (results.run(MLD) / "failed.json").write_text("[]")
    found = look(plan_and_results)
    assert found[MLD].state == "failed"
    assert "failed.json: keys and values are expected; delete it" in found[MLD].note
    assert found[STUDENT].state == "waiting"


def test_a_training_that_was_interrupted_goes_on_if_its_checkpoint_is_there(plan_and_results):
    results = plan_and_results[1]
    progress(results, MLD)
    assert look(plan_and_results)[MLD].state == "waiting"
    assert look(plan_and_results)[MLD].progress.epoch == 1
    (results.run(MLD) / "checkpoint.pt").unlink()
    assert look(plan_and_results)[MLD].progress is None


@pytest.fixture
def process():
    """A process of this machine that does nothing."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_on_this_host_the_process_must_exist(plan_and_results, process):
    since = datetime.now(UTC).isoformat()
    lock(plan_and_results[1], MLD, host=HERE, pid=process.pid, since=since)
    assert look(plan_and_results)[MLD].state == "running"
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # has ended, but is not collected
    if sys.platform == "linux":
        assert look(plan_and_results)[MLD].state == "waiting"
    process.wait()
    assert look(plan_and_results)[MLD].state == "waiting"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_younger_process_with_the_same_number_is_another_one(plan_and_results, process):
    since = (datetime.now(UTC) - timedelta(minutes=10)).isoformat()
    lock(plan_and_results[1], MLD, host=HERE, pid=process.pid, since=since)
    assert look(plan_and_results)[MLD].state == "waiting"


def test_on_another_host_the_last_sign_of_life_counts(plan_and_results, config):
    results = plan_and_results[1]
    lock(results, MLD, device="cuda 0", slurm_job="4711", since=ago(hours=2))
    status = look(plan_and_results)[MLD]
    assert (status.state, status.silent_s, status.dead) == ("running", 7200, True)
    text = shown(plan_and_results, config)
    assert f"{MLD}  n7, Slurm job 4711, cuda 0  starts  no sign of life for 2.0 h; if" in text
    progress(results, MLD)
    status = look(plan_and_results)[MLD]
    assert (status.state, status.silent_s, status.dead) == ("running", 60, False)
    assert ("epoch 1/2  1,234 images/s, 40 s left, last sign of life 1.0 min ago") in shown(
        plan_and_results, config
    )


@pytest.mark.parametrize(("minutes", "dead"), [(39.9, False), (40.1, True)])
def test_silence_is_measured_in_checkpoints(plan_and_results, minutes, dead):
    """Three checkpoints of 10 minutes, and 10 minutes."""
    lock(plan_and_results[1], MLD, since=ago(minutes=minutes))
    assert look(plan_and_results)[MLD].dead is dead


def test_who_waits_for_a_gpu_may_be_silent(plan_and_results, config):
    lock(plan_and_results[1], MLD, device=None, since=ago(hours=9))
    assert not look(plan_and_results)[MLD].dead
    assert f"{MLD}  n7  starts, or waits for a GPU" in shown(plan_and_results, config)


def test_an_empty_lock_file_has_only_its_time(plan_and_results, config):
    file = lock(plan_and_results[1], MLD)
    file.write_text("")
    at = (NOW - timedelta(minutes=3)).timestamp()
    os.utime(file, (at, at))
    status = look(plan_and_results)[MLD]
    assert (status.state, status.silent_s, status.dead) == ("running", 180, False)
    assert f"{MLD}  host not known  starts  last sign of life 3.0 min ago" in shown(
        plan_and_results, config
    )
    os.utime(file, (at - 3600, at - 3600))
    assert look(plan_and_results)[MLD].dead


def test_a_look_takes_no_lock(plan_and_results, config, monkeypatch):
    """A training that begins at this moment would see it as another training."""
    record(plan_and_results[1], TEACHER)
    lock(plan_and_results[1], MLD)
    lock(plan_and_results[1], STUDENT, host=HERE, pid=2**22 + 1)  # no process has this number
    monkeypatch.setattr(fcntl, "flock", lambda *_: pytest.fail("a lock was taken"))
    monkeypatch.setattr(fcntl, "lockf", lambda *_: pytest.fail("a lock was taken"))
    assert "1 done, 1 running, 0 failed, 2 waiting" in shown(plan_and_results, config)


@pytest.mark.parametrize("name", ["progress.json", "lock", "run.json", "failed.json"])
def test_damaged_files_do_not_end_it(plan_and_results, config, name):
    results = plan_and_results[1]
    results.run(MLD).mkdir(parents=True)
    (results.run(MLD) / name).write_text('{"step": ')
    shown(plan_and_results, config)
    status = look(plan_and_results)[MLD]
    expected = {"progress.json": "waiting", "lock": "running"}.get(name, "failed")
    assert status.state == expected
    assert ("not valid JSON" in status.note) is (expected == "failed")


def test_progress_of_another_version_is_left_out(plan_and_results):
    lock(plan_and_results[1], MLD)
    records.write_json(plan_and_results[1].run(MLD) / "progress.json", {"step": 1})
    assert look(plan_and_results)[MLD].progress is None


def test_the_time_left_runs_down_from_when_it_was_told_or_resumed(plan_and_results):
    lock(plan_and_results[1], MLD)
    progress(plan_and_results[1], MLD)
    status = look(plan_and_results)[MLD]
    assert status.left_s(NOW.timestamp()) == 40  # told 60 s ago: 100 s
    assert status.left_s(NOW.timestamp() + 50) == 0
    lock(plan_and_results[1], MLD, since=ago(seconds=10))  # goes on since then
    assert look(plan_and_results)[MLD].left_s(NOW.timestamp()) == 90


def test_the_docstring_of_the_store_lists_the_files():
    for name in (store.RECORD, store.CHECKPOINT, store.PROGRESS, store.FAILED, store.LOCK):
        assert re.search(rf"^ {{8}}{re.escape(name)} ", store.__doc__, re.MULTILINE)
