"""The log files of jobs: how a job ended."""

import re
from pathlib import Path

LOG_TIME = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ "  # at the head of a line in a log file
ERROR = "error: "


def last_message(log_file: Path) -> str:
    """Why a job ended early: the last line of its log, without its time."""
    last = re.sub(LOG_TIME, "", _last_line(log_file)).strip() or "no message"
    if last.startswith((ERROR, "interrupted ")):
        return last.removeprefix(ERROR)
    killed = "it ended without a word, as when memory runs out and the system kills it"
    return f"{killed}; its last message: {last}"


def failure(log_file: Path) -> str | None:
    """The error with which a job ended, in one line; None if no log says that it failed.

    A job that was stopped, or that goes on, has a last line of another kind. A line without a time
    is the end of a traceback.
    """
    last = _last_line(log_file)
    head = re.match(LOG_TIME, last)
    if not last or (head and not last[head.end() :].startswith(ERROR)):
        return None
    return last_message(log_file)


def _last_line(log_file: Path) -> str:
    """The last line of a file that is not empty; "" if there is none."""
    text = log_file.read_text(encoding="utf-8", errors="replace") if log_file.exists() else ""
    return next((x for x in reversed(text.split("\n")) if re.sub(LOG_TIME, "", x).strip()), "")
