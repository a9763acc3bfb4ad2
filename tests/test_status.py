"""`mdkd status`: states, places and times, from files made by hand."""

import fcntl
import json
import os
import re
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from conftest import facts_of
from test_costs import MLD_S, PAIR, RATES, STUDENT_S, TEACHER, TEACHER_S, distilled, record

from mdkd import cli, joblog, keys, records, store
from mdkd.plan import make_plan
from mdkd.reporting import status_listing
from mdkd.results import Results
from mdkd.spec import Specification
from mdkd.status import statuses

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
HERE = socket.gethostname()
STUDENT, MLD = "supervised/scenes/resnet8/seed0", distilled("mld", 0)
FURTHER = {"kind": "comparison", "title": "More", "pairs": [PAIR], "targets": ["more"]}


@pytest.fixture
def config(config):
    """The teacher, the student and MLD with one seed; MDKD outside of what is selected."""
    folder = config / "experiments"
    (folder / "comparison.yaml").unlink()
    small = FURTHER | {"methods": ["vanilla", "mld"], "targets": ["first"]}
    (folder / "small.yaml").write_text(yaml.safe_dump(small))
    (folder / "wide.yaml").write_text(yaml.safe_dump(FURTHER | {"methods": ["mld", "mdkd"]}))
    (config / "rates.yaml").write_text(yaml.safe_dump(RATES))
    return config


@pytest.fixture
def plan_and_results(config, tmp_path):
    plan = make_plan(Specification(config, {"experiments": ["small"], "seeds": [0]}))
    return plan, Results("smoke", tmp_path, plan.runs)


def ago(**spans):
    return (NOW - timedelta(**spans)).isoformat()


def lock(results, path, **facts):
    """The lock file of a training that began five minutes ago on the CPU of another host."""
    facts = {
        "host": "n7",
        "pid": 4,
        "slurm_job": None,
        "device": "cpu",
        "since": ago(minutes=5),
    } | facts
    file = results.run(path) / "lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts))
    return file


def progress(results, path, step=3, **facts):
    """What a training of 2 epochs of 3 steps has written one minute ago."""
    records.write_json(
        results.run(path) / "progress.json",
        {"step": step, "steps": 6, "epoch": step // 3, "epochs": 2}
        | {"images_per_s": 1234.5, "left_s": 100.0, "time": ago(minutes=1)}
        | facts,
    )
    (results.run(path) / "checkpoint.pt").touch()


def fail(results, path, error):
    records.write_json(results.run(path) / "failed.json", {"error": error})


def log(results, path, *lines):
    """The log of a run's last job; each line that is no text has a time at its head."""
    file = results.train_log(path, keys.key(results.runs[path]))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def look(plan_and_results):
    return statuses(*plan_and_results, NOW.timestamp())


def shown(plan_and_results, config, **options):
    found = look(plan_and_results)
    now, rates = NOW.timestamp(), config / "rates.yaml"
    return status_listing.overview(*plan_and_results, found, now, rates, **options)


def ending(text):
    """The estimate at the end, without its line breaks."""
    return " ".join(text.rpartition("\n\n")[2].split())


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


def test_the_overview(plan_and_results, config):
    results = plan_and_results[1]
    record(results, TEACHER, images_per_s=50.0)
    lock(results, MLD)
    progress(results, MLD)
    progress(results, distilled("mdkd", 0), step=4)
    fail(results, STUDENT, "losses not finite")
    text = shown(plan_and_results, config)
    assert re.match(r"Protocol smoke at \d\d:\d\d:\d\d: 4 runs: 1 done, 1 running, 1 f", text)
    table = [line.split() for line in text.splitlines()[2:7]]
    assert table == [
        ["runs", "done", "running", "failed", "waiting"],
        ["First", "3", "1", "1", "1", "0"],
        ["More", "3", "1", "1", "0", "1"],
        ["default:", "made", "if", "no", "target", "is", "named", "3", "1", "1", "1", "0"],
        ["all", "4", "1", "1", "1", "1"],
    ]
    headings, lines = zip(
        *(section.splitlines() for section in text.split("\n\n")[2:-1]), strict=True
    )
    assert [heading.partition(",")[0] for heading in headings] == [
        "running:",
        "failed:",
        "interrupted",
    ]
    told = "epoch 1/2  1,234 images/s, 40 s left, last sign of life 1.0 min ago"
    assert [re.split(r" {2,}", line.strip(), maxsplit=1) for line in lines] == [
        [MLD, f"n7, cpu  {told}"],
        [STUDENT, f"losses not finite (log: {results.run(STUDENT) / 'train.log'})"],
        [distilled("mdkd", 0), "epoch 1/2 + 33 %"],
    ]


def test_all_lists_every_run(plan_and_results, config):
    lock(plan_and_results[1], MLD)
    lines = shown(plan_and_results, config, all_runs=True).split("\n\n")[1].splitlines()
    found = [line.split()[:2] for line in lines]
    assert found == [
        ["running" if path == MLD else "waiting", path] for path in plan_and_results[0].runs
    ]


def test_a_run_whose_last_step_is_done_is_being_scored(plan_and_results, config):
    lock(plan_and_results[1], MLD)
    progress(plan_and_results[1], MLD, step=6, left_s=0.0)
    assert "trained, is being scored" in shown(plan_and_results, config)


def test_the_estimate_of_the_end(plan_and_results, config):
    """By hand: what runs has told its time, what waits is estimated; two are side by side."""
    results = plan_and_results[1]
    text = ending(shown(plan_and_results, config))
    total = TEACHER_S + STUDENT_S + 2 * MLD_S
    assert text.startswith(f"All done in about {total:.1f} s (Sat 31 Jan, ")
    assert "if one training runs at a time." in text
    lock(results, TEACHER)
    progress(results, TEACHER, left_s=62.0)  # 2 s are left
    lock(results, STUDENT)
    progress(results, STUDENT, left_s=64.0)
    text = ending(shown(plan_and_results, config))
    assert f"in about {(2 + 4 + 2 * MLD_S) / 2:.1f} s" in text
    assert "if 2 trainings run at once, as now." in text
    progress(results, STUDENT, left_s=160.0)  # the longest one decides
    assert "in about 1.7 min" in ending(shown(plan_and_results, config))


def test_what_counts_in_the_estimate(plan_and_results, config):
    results = plan_and_results[1]
    record(results, TEACHER, images_per_s=50.0)
    fail(results, STUDENT, "no")
    progress(results, MLD)  # half of it is done
    lock(results, distilled("mdkd", 0), since=ago(hours=9))  # dead: all is to do again
    text = ending(shown(plan_and_results, config))
    assert f"in about {1.5 * MLD_S:.1f} s" in text
    assert "if one training runs at a time." in text
    assert text.endswith("Failed runs are left out.")
    lock(results, distilled("mdkd", 0), device=None)  # no time is told yet: the whole estimate
    assert f"in about {1.5 * MLD_S:.1f} s" in ending(shown(plan_and_results, config))


def test_unknown_lengths_are_counted(plan_and_results, config):
    rates = RATES | {"cpu": RATES["cpu"] | {"training": {"cifar:resnet8": 400}}}
    (config / "rates.yaml").write_text(yaml.safe_dump(rates))
    text = ending(shown(plan_and_results, config))
    assert STUDENT_S < 1  # so it is rounded to
    assert "in about 0 s" in text
    assert "3 runs of unknown length are left out." in text
    record(plan_and_results[1], STUDENT)
    text = ending(shown(plan_and_results, config))
    assert text == "How long the 3 runs that are left take is not known; `mdkd plan` says why."


def test_nothing_is_left(plan_and_results, config):
    for path in plan_and_results[1].runs:
        record(plan_and_results[1], path)
    assert ending(shown(plan_and_results, config)) == "Nothing is left to train."


@pytest.fixture
def call(config, tmp_path, monkeypatch):
    """The command line in the folder of the results."""
    monkeypatch.chdir(tmp_path)
    given = ["--set", "experiments=[small]", "--set", "seeds=[0]"]
    return lambda *words: cli.main(["status", *words, "--config", str(config), *given])


def test_watching_ends_when_no_run_is_left(call, plan_and_results, monkeypatch, capsys):
    left = [*plan_and_results[1].runs]
    fail(plan_and_results[1], distilled("mdkd", 0), "no")
    left.remove(distilled("mdkd", 0))
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        record(plan_and_results[1], left.pop(0))

    monkeypatch.setattr(status_listing.time, "sleep", sleep)
    assert call("--watch", "2.5") == 0
    assert slept == [2.5] * 3
    text = capsys.readouterr().out
    assert re.findall(r"(\d) done, 0 running, 1 failed", text) == ["0", "1", "2", "3"]
    assert "\033" not in text  # only a terminal is cleared


def test_ctrl_c_is_the_usual_end_of_watching(call, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(status_listing.time, "sleep", interrupt)
    assert call("--watch") == 0
    assert capsys.readouterr().out.count("Protocol smoke") == 1
    monkeypatch.setattr(cli, "_plan", interrupt)
    assert call("--watch") == 0
    assert call() == 130


def test_one_target(call, capsys):
    assert call("wide", "--all") == 0
    assert (
        capsys.readouterr()
        .out.splitlines()[0]
        .endswith("3 runs: 0 done, 0 running, 0 failed, 3 waiting.")
    )
    assert call("default") == 0
    assert STUDENT not in capsys.readouterr().out
    assert call("smal") == 2
    assert "did you mean 'small'?" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_an_interval_is_a_number_of_seconds(call, seconds, capsys):
    with pytest.raises(SystemExit) as caught:
        call(f"--watch={seconds}")
    assert caught.value.code == 2
    assert "--watch" in capsys.readouterr().err


def test_the_docstring_of_the_store_lists_the_files():
    for name in (store.RECORD, store.CHECKPOINT, store.PROGRESS, store.FAILED, store.LOCK):
        assert re.search(rf"^ {{8}}{re.escape(name)} ", store.__doc__, re.MULTILINE)
