"""What ends a program early, as one line with a fix: disks, signals, memory, and our own mistakes.

`report` turns an exception into a line and an exit status:

=======  =====================================================================================
0        the work is done; also if the reader of the output, such as `head`, has gone
1        a fault of this program
2        a mistake of the user, or a fault of the surroundings: disk, memory, permissions
130      interrupted by Ctrl-C
143      stopped by another signal, such as the one that a cluster sends
=======  =====================================================================================
"""

import codecs
import errno
import json
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mdkd import extras
from mdkd.errors import UserError

log = logging.getLogger(__name__)

DETAIL = (logging.DEBUG + logging.INFO) // 2  # the level of what a shared terminal does not show
AGAIN = "then run the command again: it goes on"
FIXES = {
    errno.ENOSPC: f"free up space on that disk, {AGAIN}",
    errno.EDQUOT: f"delete files or ask for a larger quota, {AGAIN}",
    errno.EROFS: "choose a folder on another disk, or mount this one for writing",
    errno.EACCES: "change its permissions, or choose a folder that belongs to you",
    errno.EPERM: "change its permissions, or choose a folder that belongs to you",
    errno.EIO: f"check that disk and its connection, {AGAIN}",
    errno.ESTALE: f"check that network disk, {AGAIN}",
    errno.ENAMETOOLONG: "use shorter names, or a project folder with a shorter path",
    errno.EMFILE: f"raise the limit, for example with `ulimit -n 4096`, {AGAIN}",
    errno.ENFILE: f"close other programs, {AGAIN}",
    errno.EAGAIN: f"start fewer processes, {AGAIN}",
    errno.ENOMEM: f"run fewer jobs at once, or use a machine with more memory, {AGAIN}",
    errno.EISDIR: "a folder lies where a file should be; move it away",
    errno.EEXIST: "something lies where a folder should be; move it away",
    errno.ENOTDIR: "a file lies where a folder should be; move it away",
    errno.ENOTEMPTY: "move its content away",
    errno.ELOOP: "a symbolic link leads back to itself; delete the link",
    errno.ENOENT: "it was moved or deleted, or its name is wrong; put it back or correct the name",
}
MEMORY = re.compile(r"out of memory|can't allocate memory|cannot allocate memory", re.IGNORECASE)
STOPS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")  # a cluster may send the last as a warning

PLAIN = {"→": "->", "±": "+-", "–": "-", "−": "-", "†": "+", "×": "x", "≥": ">=", "…": "..."}

received: list[int] = []  # the signals that have asked this process to stop


class ReaderGone(Exception):
    """The program that read our output, such as `head`, has ended."""


def stopped_from_outside() -> bool:
    """Whether a signal other than that of Ctrl-C has asked this process to stop."""
    return any(number != signal.SIGINT for number in received)


def describe(error: Exception) -> str:
    """One line about an error that is no fault of the program: the file, the reason and the fix."""
    if isinstance(error, OSError) and error.errno is not None:
        # Of two names, the second is the one that the user knows: a file gets it when complete.
        name = error.filename2 or error.filename
        text = error.strerror or errno.errorcode.get(error.errno, str(error.errno))
        fix = FIXES.get(error.errno, f"mend this, {AGAIN}")
        return f"{f'{os.fsdecode(name)}: ' if isinstance(name, str | bytes) else ''}{text}; {fix}"
    return str(error)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Add the path to errors of writing and closing, in which the system names no file."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def report(error: BaseException, log_file: Path | None = None, debug: bool = False) -> int:
    """Log one line about the exception that ended a command; returns the exit status.

    The traceback is logged below the level INFO, for mistakes of the user only with ``debug``.
    """
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, KeyboardInterrupt) or received:
        number = received[-1] if received else signal.SIGINT
        name = signal.Signals(number).name
        log.error("interrupted by %s; run the same command again: it goes on", name)
        return 130 if number == signal.SIGINT else 143
    if isinstance(error, ReaderGone):
        return 0
    if debug or not isinstance(error, UserError):
        log.debug("%s", "".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, UserError):
        for line in error.args:  # one for each mistake
            log.error("error: %s", line)
        return 2
    message, status = _explained(error)
    if status == 1:
        where = f"see {log_file}" if log_file else "add --debug to see where it happened"
        message = f"{message}; this is a fault of the program, {where}"
    log.error("error: %s", re.sub(r"\s*[\r\n]\s*", " ", message))
    return status


def _explained(error: BaseException) -> tuple[str, int]:
    """The message of an exception, and the exit status."""
    text = str(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and MEMORY.search(text)):
        return f"memory ran out ({text or 'MemoryError'}); {FIXES[errno.ENOMEM]}", 2
    if isinstance(error, OSError) and error.errno is not None:
        return describe(error), 2
    if isinstance(error, ModuleNotFoundError) and (advice := extras.advice(error)):
        return advice, 2
    if isinstance(error, UnicodeEncodeError) and error.encoding.replace("-", "") != "utf8":
        reason = f"{error.object!a} cannot be written in the encoding {error.encoding}"
        return f"{reason}; set LC_ALL=C.UTF-8 and PYTHONUTF8=1", 2
    return f"{type(error).__name__}: {text}", 1


def expect_working_directory() -> None:
    """Raise a UserError if the working directory is gone."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UserError(
            "the working directory has been deleted; go to the project's folder with cd, and run "
            "the command again"
        ) from None


def show(text: str) -> None:
    """Print the result of a command.

    Raises:
        ReaderGone: nobody reads it any more.
        OSError: it cannot be written; the error names the standard output.
    """
    try:
        with named(Path("standard output")):
            print(text, flush=True)
    except BrokenPipeError:
        _leave_stdout()
        raise ReaderGone from None
    except OSError:
        _leave_stdout()
        raise


def show_json(facts: Any) -> None:
    """Print the result of a command for another program: JSON on one line, in ASCII."""
    show(json.dumps(facts, allow_nan=False))


def flush() -> None:
    """Write what is still to be printed, such as the help, or drop it if nobody can get it."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        _leave_stdout()


def _leave_stdout() -> None:
    """Drop what is still to be printed. Python would complain about it when it ends."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class LogFile(logging.FileHandler):
    """Append messages to a file. If the disk is full, one warning is given, and the work goes on.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, file: Path):
        file.parent.mkdir(parents=True, exist_ok=True)
        # Appends: another process may be writing to it. Names of files may be no text.
        super().__init__(file, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self.broken = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self.broken:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            return super().handleError(record)
        self.broken = True
        log.warning("%s: %s; its further messages are lost", self.baseFilename, error.strerror)

    def close(self) -> None:
        with suppress(OSError):  # what could not be written before cannot be written now
            super().close()


def prepare_process() -> None:
    """Make signals and the terminal's encoding harmless. For the start of a program only.

    A signal raises `KeyboardInterrupt`, so files are closed and half-written ones deleted. Signals
    that are ignored, as under nohup, stay ignored.
    """
    for name in STOPS:
        number = getattr(signal, name)
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _interrupt)
    codecs.register_error("mdkd_plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="mdkd_plain")  # type: ignore[union-attr]


def _plain(error: UnicodeError) -> tuple[str, int]:
    """In place of what the terminal's encoding lacks: similar ASCII characters, or their codes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    codes = (PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lacking)
    return "".join(codes), error.end


def _interrupt(number: int, frame: object) -> None:
    received.append(number)
    raise KeyboardInterrupt
