"""Locks: of two builds of one cache, the second is refused; a killed one keeps nothing locked."""

import fcntl
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest
from conftest import ROOT, environment, python

from mdkd import locks
from mdkd.data.cache import open_cache, verify
from mdkd.errors import UserError

FOLDER = "cache/smoke/scenes"


@pytest.fixture
def begun(tmp_path):
    """A process that builds a cache in `FOLDER`, stopped in the middle; ended with the test."""
    log, script = tmp_path / "decoded.txt", ROOT / "tests" / "drawn_source.py"
    arguments = [tmp_path / FOLDER, log, 300, 8, 1, 0.005]
    process = subprocess.Popen([sys.executable, script, *map(str, arguments)], env=environment())
    while not log.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGSTOP)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def build(config, tmp_path):
    """Build the cache of 48 + 32 scenes in `FOLDER`, from the command line."""
    command = ("-m", "mdkd", "cache", "scenes", "--config", str(config), "--jobs", "1")
    return lambda: python(*command, cwd=tmp_path)


def test_a_second_build_of_the_same_cache_is_refused(begun, build, tmp_path):
    second = build()
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    assert f"{FOLDER}: another process is building this cache; wait for it or" in second.stderr
    begun.send_signal(signal.SIGCONT)
    assert begun.wait() == 0
    verify(tmp_path / FOLDER)
    assert len(open_cache(tmp_path / FOLDER).splits["train"].ids) == 300
    assert build().returncode == 0  # a finished one may be replaced
    assert len(open_cache(tmp_path / FOLDER).splits["train"].ids) == 48
    assert not (tmp_path / FOLDER / "lock").exists()


def test_a_killed_build_leaves_no_lock(begun, build, tmp_path):
    begun.kill()
    assert begun.wait() < 0
    second = build()
    assert second.returncode == 0, second.stderr
    assert not (tmp_path / FOLDER / "lock").exists()


def test_a_lock_ends_with_its_block_however_that_ends(tmp_path):
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), locks.held(tmp_path / "lock", "busy"):
            raise error
        assert not (tmp_path / "lock").exists()


def test_who_waits_gets_the_lock_though_its_folder_was_deleted(tmp_path, caplog):
    """`mdkd store prune` deletes a folder while it holds the lock in it."""
    file, there = tmp_path / "folder" / "lock", []

    def wait():
        with locks.held(file, "busy", wait=True):
            there.append(file.exists())

    caplog.set_level("INFO", "mdkd")
    waiting = threading.Thread(target=wait)
    with locks.held(file, "-"):
        waiting.start()
        while "busy" not in caplog.messages:
            time.sleep(0.01)
        shutil.rmtree(file.parent)
    waiting.join(60)
    assert there == [True]


@pytest.mark.parametrize("successor", [True, False])
def test_a_lock_file_that_was_removed_meanwhile_is_no_lock(tmp_path, monkeypatch, successor):
    """Between opening the file and locking it, its holder may end and another process begin."""
    file, original = tmp_path / "lock", fcntl.flock
    with ExitStack() as others:

        def flock(lock, operation):
            monkeypatch.setattr(fcntl, "flock", original)
            file.unlink()
            if successor:
                others.enter_context(locks.held(file, "-"))
            original(lock, operation)

        monkeypatch.setattr(fcntl, "flock", flock)
        with ExitStack() as own:
            if not successor:
                own.enter_context(locks.held(file, "-"))
            with pytest.raises(UserError, match="busy"), locks.held(file, "busy"):
                pass
            assert file.exists()
    assert not file.exists()
