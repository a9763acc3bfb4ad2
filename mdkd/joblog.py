"""The log files of jobs: how a job ended."""

import re
from itertools import takewhile
from pathlib import Path

LOG_TIME = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ "  # at the head of a line in a log file
ERROR = "error: "


def last_message(log_file: Path) -> str:
    """Why a job ended early: the last line of its log, without its time, or all its last errors."""
    found = _lines(log_file)
    lines = [re.sub(LOG_TIME, "", line).strip() for line in found]
    last = lines[-1] if lines else "no message"
    if last.startswith(ERROR):
        errors = list(takewhile(lambda line: line.startswith(ERROR), reversed(lines)))
        return "\n".join(error.removeprefix(ERROR) for error in reversed(errors))
    ends_a_traceback = bool(found) and not re.match(LOG_TIME, found[-1])
    if last.startswith("interrupted ") or ends_a_traceback:
        return last
    killed = "it ended without a word, as when memory runs out and the system kills it"
    return f"{killed}; its last message: {last}"


def failure(log_file: Path) -> str | None:
    """The error with which a job ended; None if no log says that it failed.

    A job that was stopped, or that goes on, has a last line of another kind. A line without a time
    is the end of a traceback.
    """
    lines = _lines(log_file)
    if not lines:
        return None
    head = re.match(LOG_TIME, lines[-1])
    if head and not lines[-1][head.end() :].startswith(ERROR):
        return None
    return last_message(log_file)


def _lines(log_file: Path) -> list[str]:
    """The lines of a log that say something."""
    text = log_file.read_text(encoding="utf-8", errors="replace") if log_file.exists() else ""
    return [line for line in text.split("\n") if re.sub(LOG_TIME, "", line).strip()]
