"""Lock files. A lock ends when the process that holds it ends, even by SIGKILL."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from mdkd.errors import UserError

log = logging.getLogger(__name__)


class Busy(UserError):
    """Another process holds a lock."""


@contextlib.contextmanager
def held(file: Path, busy: str, *, wait: bool = False) -> Iterator[None]:
    """Lock ``file`` while the block runs, and delete it afterwards.

    If the process is killed, the file remains, but it is no longer locked. The holder may write its
    name into the file.

    Args:
        busy: the message if another process holds the lock.
        wait: log the message and wait for the other process, instead of raising an error.

    Raises:
        Busy: another process holds the lock, and ``wait`` is false.
    """
    while True:
        with file.open("a") as lock:  # not "w": the holder may have written its name into it
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise Busy(busy) from None
                log.info("%s", busy)
                fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_still(file, lock.fileno()):
                continue  # after we opened the file, its former holder ended and deleted it
            try:
                yield
            finally:
                file.unlink(missing_ok=True)
            return


def is_held(file: Path) -> bool:
    """Whether a process holds the lock. A file that a killed process left behind is not held."""
    try:
        with file.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two may look at once
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _is_still(file: Path, descriptor: int) -> bool:
    """Whether ``file`` is still the opened file, not deleted or replaced by a new file."""
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
