"""Faults of disk and surroundings: one line with file and fix, and the next call goes on."""

import errno
import fcntl
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from conftest import TEACHER
from trainings import STUDENT, read

from mdkd import cli, faults, locks, records
from mdkd.errors import UserError
from mdkd.joblog import last_message
from mdkd.training import loop

FULL, QUOTA, READ_ONLY = errno.ENOSPC, errno.EDQUOT, errno.EROFS
DENIED, BROKEN, OPEN, LONG = errno.EACCES, errno.EIO, errno.EMFILE, errno.ENAMETOOLONG


@pytest.fixture
def call(bench, monkeypatch, capsys):
    """Run a verb in the workbench; returns the exit status and the lines of both outputs."""
    monkeypatch.chdir(bench.base)
    shutil.copytree(bench.spec.folder, "config")
    for file in Path("config/protocols").glob("*.yaml"):
        if file.stem not in ("smoke", "quick"):
            file.unlink()

    def call(*arguments):
        status = cli.main(arguments)
        printed = capsys.readouterr()
        return status, printed.out.splitlines(), printed.err.splitlines()

    return call


def only_error(result, status=2):
    """The message of a call that failed with this status and one line about it."""
    assert result[0] == status, result
    errors = [line for line in result[2] if "] error: " in line]
    assert len(errors) == 1 and result[2][-1] == errors[0]
    assert not [line for line in result[2] if "Traceback" in line]
    return errors[0].partition("] error: ")[2]


def failing(monkeypatch, name, code):
    """Let every attempt to write a file of this name fail as the system would."""
    original = Path.open

    def fail(path, mode="r", *arguments, **keywords):
        if name in path.name and set(mode) & set("wax+"):
            raise OSError(code, os.strerror(code), str(path))
        return original(path, mode, *arguments, **keywords)

    monkeypatch.setattr(Path, "open", fail)


def files(folder, *left_out):
    """The content of all files below a folder."""
    found = {file for file in folder.rglob("*") if file.is_file() and file.name not in left_out}
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in found}


@pytest.mark.parametrize("code", faults.FIXES, ids=errno.errorcode.get)
def test_every_error_of_the_system_has_a_reason_and_a_fix(code):
    text = faults.describe(OSError(code, os.strerror(code), "/some/file"))
    assert text == f"/some/file: {os.strerror(code)}; {faults.FIXES[code]}"
    assert faults.describe(OSError(code, "x", "a.part", None, "a")).startswith("a: ")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("checkpoint.pt", FULL),
        ("model.pt", QUOTA),
        ("predictions.npz", READ_ONLY),
        ("history.jsonl", BROKEN),
        ("metrics.json", DENIED),
        ("run.json", OPEN),
        ("lock", READ_ONLY),
    ],
)
def test_a_training_that_cannot_write_is_done_again(call, bench, finished, monkeypatch, name, code):
    with monkeypatch.context() as patched:
        failing(patched, name, code)
        message = only_error(call("train", STUDENT))
    folder = bench.entry(STUDENT).folder
    assert name in message and message.endswith(f"{os.strerror(code)}; {faults.FIXES[code]}")
    assert not (folder / "run.json").exists() and not list(bench.base.rglob("*.part"))
    assert not list((bench.layout.results / "runs").rglob(f"{folder.name}.json"))
    assert call("train", STUDENT)[0] == 0
    for same in ("model.pt", "predictions.npz", "metrics.json"):
        assert read(folder, same) == read(finished.layout.run(STUDENT), same)


def test_a_record_for_snakemake_that_cannot_be_written_loses_no_training(call, bench, monkeypatch):
    call("train", TEACHER)
    (published,) = (bench.layout.results / "runs").rglob("*.json")
    published.unlink()
    with monkeypatch.context() as patched:
        failing(patched, published.name, FULL)
        assert published.name in only_error(call("train", TEACHER))
    _, _, lines = call("train", TEACHER)
    assert "already trained" in lines[0] and published.exists()


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("images_train.npy", FULL),
        ("progress.npz", QUOTA),
        ("labels_train.npy", READ_ONLY),
        ("ids_test.json", BROKEN),
        ("meta.json", DENIED),
        ("contact_sheet.png", OPEN),
    ],
)
def test_a_cache_that_cannot_be_written_is_completed_later(call, bench, monkeypatch, name, code):
    folder = bench.layout.cache("scenes")
    expected = files(folder)
    (folder / name).unlink(missing_ok=True)
    with monkeypatch.context() as patched:
        failing(patched, name, code)
        message = only_error(call("cache", "scenes", "--jobs", "1"))
    assert name in message and faults.FIXES[code] in message
    assert not (folder / "meta.json").exists()
    status, _, lines = call("cache", "scenes", "--jobs", "1")
    assert status == 0
    if name in ("meta.json", "contact_sheet.png"):  # written last
        assert any("resuming: 80 of 80 images are done" in line for line in lines)
    assert files(folder) == expected


@pytest.mark.parametrize(
    ("verb", "name", "code"),
    [
        ("metrics", "metrics.csv", FULL),
        ("labels scenes", "labels_scenes.svg", READ_ONLY),
        ("table comparison", "comparison.csv", LONG),
        ("table comparison", "comparison.md", BROKEN),
        ("table comparison", "comparison.tex", DENIED),
        ("table comparison", "comparison.html", OPEN),
        ("document", "paper.tex", FULL),
    ],
)
def test_a_report_that_cannot_be_written_leaves_the_old_one(
    call, bench, monkeypatch, verb, name, code
):
    assert call("report", *verb.split())[0] == 0
    before = files(bench.layout.results)
    with monkeypatch.context() as patched:
        failing(patched, name, code)
        message = only_error(call("report", *verb.split()))
    assert name in message and faults.FIXES[code] in message
    assert files(bench.layout.results).keys() >= before.keys() - {"paper.pdf"}
    assert not list(bench.base.rglob("*.part"))
    assert call("report", *verb.split())[0] == 0
    assert files(bench.layout.results) == before


# Real file systems


@pytest.fixture
def mount(tmp_path):
    """Mount small or read-only file systems, where that is permitted."""
    mounted = []

    def mount(folder, *options):
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", *options, str(folder)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting is not permitted here")
        if "-o" in options and "remount" not in options[options.index("-o") + 1]:
            mounted.append(folder)

    yield mount
    for folder in reversed(mounted):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_training_goes_on_when_a_full_disk_has_space_again(call, bench, finished, mount):
    folder = bench.entry(STUDENT).folder
    mount(folder, "-t", "tmpfs", "-o", "size=128k", "tmpfs")
    message = only_error(call("train", STUDENT))
    assert message.startswith(f"{folder.relative_to(bench.base)}/checkpoint.pt: No space left")
    assert not (folder / "checkpoint.pt").exists() and not list(folder.glob("*.part"))
    mount(folder, "-o", "remount,size=50m")
    assert call("train", STUDENT)[0] == 0
    assert read(folder, "model.pt") == read(finished.layout.run(STUDENT), "model.pt")


def test_a_store_on_a_read_only_disk_is_read_but_not_written(call, bench, mount):
    mount(bench.layout.store, "-o", "bind", str(bench.layout.store))
    mount(bench.layout.store, "-o", "remount,ro,bind", str(bench.layout.store))
    assert "Read-only file system; choose a folder on" in only_error(call("train", STUDENT))
    assert call("report", "table", "comparison")[0] == 0
    assert call("store", "list")[1][0].startswith("finished ")


def test_results_on_a_full_disk(call, bench, mount):
    mount(bench.layout.results / "tables", "-t", "tmpfs", "-o", "size=4k", "tmpfs")
    (bench.layout.results / "tables" / "filled").write_bytes(bytes(4096))
    assert "tables/comparison.csv: No space left" in only_error(
        call("report", "table", "comparison")
    )
    assert [f.name for f in (bench.layout.results / "tables").iterdir()] == ["filled"]


def test_a_full_log_file_stops_no_work(call, bench, mount):
    mount(bench.base / "logs", "-t", "tmpfs", "-o", "size=4k", "tmpfs")
    (bench.base / "logs" / "filled").write_bytes(bytes(4096))
    status, _, lines = call("train", STUDENT, "--log", "logs/a.log")
    warnings = [line for line in lines if "No space left on device; its further messages" in line]
    assert status == 0 and len(warnings) == 1
    assert "results are in" in "".join(lines)


# Things that lie where others should be


TABLE = "report table comparison"
PRINTED = "results/smoke/tables/comparison.md"


def folder_in_place_of(file):
    file.unlink(missing_ok=True)
    (file / "something").mkdir(parents=True)


def file_in_place_of(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("")


def test_halves_of_killed_processes_are_deleted_and_those_of_others_are_kept(tmp_path):
    ended = subprocess.Popen("true")
    ended.wait()
    file, node = tmp_path / "a[1].json", platform.node()
    names = [f"a[1].json.{writer}.part" for writer in (f"{node}-{os.getppid()}", "elsewhere-1")]
    halves = [tmp_path / f"{file.name}.{node}-{ended.pid}.part", *map(tmp_path.joinpath, names)]
    for half in halves:
        half.write_bytes(b"{")
    records.write_json(file, {})
    assert {path.name for path in tmp_path.iterdir()} == {file.name, *names}


def test_two_processes_may_write_a_file_at_once(tmp_path, monkeypatch):
    file = tmp_path / "a.json"
    with records.atomic(file) as first:
        first.write(b"first")
        with monkeypatch.context() as other:
            other.setattr(os, "getpid", lambda: -1)
            with records.atomic(file) as second:
                second.write(b"second")
        assert file.read_bytes() == b"second"
    assert file.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [file]


def loop_in_place_of(file):
    shutil.rmtree(file, ignore_errors=True)
    file.symlink_to(file)


def gone(file):
    file.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("spoil", "place", "verb", "reason"),
    [
        (folder_in_place_of, PRINTED, TABLE, "a folder lies where"),
        (folder_in_place_of, f"{PRINTED}.OWN.part", TABLE, "a folder lies where"),
        (file_in_place_of, "results", "report metrics", "move it away"),
        (file_in_place_of, "results/smoke/tables", TABLE, "move it away"),
        (file_in_place_of, "logs", "report metrics --log logs/a/b.log", "a file lies where"),
        (folder_in_place_of, "a.log", "report metrics --log a.log", "a.log: Is a directory"),
        (loop_in_place_of, "results", "report metrics", "leads back to itself"),
        (loop_in_place_of, "a.log", "report metrics --log a.log", "leads back to itself"),
        (folder_in_place_of, "plan.json", "report metrics --plan plan.json", "is a folder, a file"),
        (loop_in_place_of, "plan.json", "report metrics --plan plan.json", "cannot be read (Too"),
        (gone, "plan.json", "report metrics --plan plan.json", "name a plan that `snakemake`"),
        (gone, "-", f"report metrics --log {'x' * 300}", "File name too long; use shorter"),
        (file_in_place_of, "store", f"train {STUDENT}", "move it away"),
        (loop_in_place_of, "store", f"train {STUDENT}", "leads back to itself"),
        (file_in_place_of, "cache/smoke/scenes", "cache scenes", "move it away"),
        (folder_in_place_of, "cache/smoke/scenes/meta.json", "cache scenes", "a folder lies where"),
        (folder_in_place_of, "cache/smoke/scenes/lock", "cache scenes", "a folder lies where"),
    ],
)  # fmt: skip
def test_what_lies_in_the_way_is_named(call, bench, spoil, place, verb, reason):
    spoil(bench.base / place.replace("OWN", f"{platform.node()}-{os.getpid()}"))
    assert reason in only_error(call(*verb.split()))


# Locks, memory, processes, clocks


@pytest.mark.parametrize("code", locks.NO_LOCKS, ids=errno.errorcode.get)
@pytest.mark.parametrize("verb", ["cache scenes", f"train {STUDENT}"])
def test_a_disk_without_locks_is_named_with_the_way_out(call, monkeypatch, code, verb):
    def flock(file, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    message = only_error(call(*verb.split()))
    assert "files cannot be locked on this disk" in message and "-o flock" in message
    assert verb.split()[1].split("/")[0] in message


def test_another_error_of_a_lock_names_its_file(tmp_path, monkeypatch):
    def flock(file, operation):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / "lock").touch()
    for act in (
        lambda: locks.is_held(tmp_path / "lock"),
        locks.held(tmp_path / "lock", "").__enter__,
    ):
        with pytest.raises(OSError, match=f"{tmp_path}/lock"):
            act()


ENDS = {  # what a verb may raise: exit status, and a part of the line
    "memory": (MemoryError(), 2, "memory ran out (MemoryError); run fewer jobs at once"),
    "torch's memory": (RuntimeError("[enforce] can't allocate memory: 9 bytes"), 2, "fewer jobs"),
    "GPU memory": (RuntimeError("CUDA out of memory.\n Tried 2 GiB"), 2, "Tried 2 GiB); run"),
    "encoding": ("é".encode, 2, "set LC_ALL=C.UTF-8"),
    "our mistake": (KeyError("x"), 1, "KeyError: 'x'; this is a fault of the program, see a.log"),
    "without a number": (OSError("cannot write mode P"), 1, "cannot write mode P; this is a"),
    "unknown number": (OSError(9999, "Odd", "a"), 2, "a: Odd; mend this, then run the command"),
    "several lines": (UserError("a\n  b"), 2, "error: a\\n  b"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_how_a_verb_may_end(call, bench, monkeypatch, name):
    error, status, part = ENDS[name]

    def end(*arguments, **keywords):
        if callable(error):
            error("ascii")
        raise error

    monkeypatch.setattr(loop, "train", end)
    result = call("train", STUDENT, "--log", "a.log")
    assert part in "error: " + only_error(result, status)
    text = (bench.base / "a.log").read_text(encoding="utf-8")
    assert ("Traceback" in text) == (name != "several lines")
    assert text.splitlines()[-1].partition(" error: ")[2] == only_error(result, status)
    shown = "\n".join(call("train", STUDENT, "--debug")[2])
    assert "Traceback" in shown and "in end" in shown


def test_a_clock_that_stands_still_or_goes_back(call, monkeypatch, bench, finished):
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    monkeypatch.setattr(time, "time", lambda: 1e9)
    assert call("cache", "scenes", "--jobs", "1")[0] == 0
    assert call("train", STUDENT)[0] == 0
    assert read(bench.entry(STUDENT).folder, "model.pt") == read(
        finished.layout.run(STUDENT), "model.pt"
    )
    assert all(" 0.0 days" in line for line in call("store", "list")[1][:-1:2])


def test_a_failure_that_cannot_be_recorded_hides_no_other(call, monkeypatch):
    failing(monkeypatch, "failed.json", FULL)
    monkeypatch.setattr(loop, "learning_rate", lambda *arguments: 1 / 0)
    assert "ZeroDivisionError: division by zero" in only_error(call("train", STUDENT), 1)


def test_files_that_vanish_while_the_store_is_listed(call, bench):
    (bench.entry(TEACHER).folder / "vanished").symlink_to("nowhere")
    assert call("store", "list")[0] == 0


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["error: a: b", ""], "a: b"),
        (["Traceback", "error: KeyError"], "KeyError"),
        (["interrupted by SIGTERM; a checkpoint"], "interrupted by SIGTERM; a checkpoint"),
        (["x: another process is training this run; waiting for it"], "it ended without a word"),
        (["epoch 1/2"], "its last message: epoch 1/2"),
        ([], "no message"),
    ],
)
def test_why_a_job_ended(tmp_path, lines, reason):
    log = tmp_path / "a.log"
    log.write_bytes("".join(f"2026-01-01 10:00:00,123 {line}\n" for line in lines).encode() + b"\n")
    assert reason in last_message(log)
