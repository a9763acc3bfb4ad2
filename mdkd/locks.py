"""Lock files. A lock ends when the process that holds it ends, even by SIGKILL."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from mdkd.errors import UserError


class Busy(UserError):
    """Another process holds a lock."""


@contextlib.contextmanager
def held(file: Path, busy: str) -> Iterator[None]:
    """Lock ``file`` while the block runs, and delete it afterwards.

    If the process is killed, the file remains, but it is no longer locked.

    Raises:
        Busy: another process holds the lock; ``busy`` is the message.
    """
    while True:
        with file.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy(busy) from None
            if not _is_still(file, lock.fileno()):
                continue  # after we opened the file, its former holder ended and deleted it
            try:
                yield
            finally:
                file.unlink(missing_ok=True)
            return


def _is_still(file: Path, descriptor: int) -> bool:
    """Whether ``file`` is still the opened file, not deleted or replaced by a new file."""
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
