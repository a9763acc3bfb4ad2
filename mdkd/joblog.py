"""The log files of jobs: how a job ended."""

import re
from pathlib import Path

LOG_TIME = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ "  # at the head of a line in a log file
ERROR = "error: "


def last_message(log_file: Path) -> str:
    """The last line of a job's log, without its time: why the job failed."""
    last = _last_line(log_file) or "no message"
    return re.sub(LOG_TIME, "", last).removeprefix(ERROR)


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
    lines = log_file.read_text(encoding="utf-8").split("\n") if log_file.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "")
