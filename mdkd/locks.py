"""Lock files. A lock ends when the process that holds it ends, even by SIGKILL."""

import contextlib
import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mdkd import faults
from mdkd.errors import UserError

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)

log = logging.getLogger(__name__)


class Busy(UserError):
    """Another process holds a lock."""


class NoLocks(UserError):
    """The file system has no locks."""


@contextlib.contextmanager
def held(file: Path, busy: str, *, wait: bool = False) -> Iterator[None]:
    """Lock ``file`` while the block runs, and delete it afterwards. Its folder is made if needed.

    If the process is killed, the file remains, but it is no longer locked. The holder may write its
    name into the file.

    Args:
        busy: the message if another process holds the lock.
        wait: log the message and wait for the other process, instead of raising an error.

    Raises:
        Busy: another process holds the lock, and ``wait`` is false.
        NoLocks: the file system has no locks.
    """
    while True:
        file.parent.mkdir(parents=True, exist_ok=True)  # its last holder may have deleted it
        with file.open("a") as lock:  # not "w": the holder may have written its name into it
            try:
                _flock(file, lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise Busy(busy) from None
                log.info("%s", busy)
                _flock(file, lock, fcntl.LOCK_EX)
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
            _flock(file, lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two may look at once
    except BlockingIOError:
        return True
    except (FileNotFoundError, NotADirectoryError, NoLocks):
        return False
    return False


def _flock(file: Path, lock: IO, operation: int) -> None:
    """Call ``flock``. Its errors name the file and, on a disk without locks, the fix."""
    try:
        with faults.named(file):
            fcntl.flock(lock, operation)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise NoLocks(
            f"{file.parent}: files cannot be locked on this disk ({error.strerror}); mount it with "
            "locks (Lustre: -o flock; NFS: start lockd), or put this folder on another disk"
        ) from None


def _is_still(file: Path, descriptor: int) -> bool:
    """Whether ``file`` is still the opened file, not deleted or replaced by a new file."""
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
