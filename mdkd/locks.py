"""Locks that end with the process that holds them, also through SIGKILL."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from mdkd.errors import UserError


@contextlib.contextmanager
def held(file: Path, busy: str) -> Iterator[None]:
    """Hold ``file`` as a lock while the block runs; the file itself is gone afterwards.

    A killed process leaves the file behind, but not the lock.

    Raises:
        UserError: another process holds it; ``busy`` is the message.
    """
    while True:
        with file.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(busy) from None
            if not _is_still(file, lock.fileno()):
                continue  # its holder ended and removed it after we had opened it
            try:
                yield
            finally:
                file.unlink(missing_ok=True)
            return


def _is_still(file: Path, descriptor: int) -> bool:
    """Whether the path leads to the open file, not to nothing or to a later one."""
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
