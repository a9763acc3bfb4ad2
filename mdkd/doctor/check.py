"""One finding of the doctor, and how other programs are asked: always with a time limit."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

Verdict = Literal["ok", "warning", "problem"]
NAME_WIDTH = 11
ROOT = Path(__file__).parents[2]  # the folder of the package


class Check(NamedTuple):
    """What was looked at, the verdict, what was found, and what to do about it."""

    name: str
    verdict: Verdict
    text: str
    fix: str = ""

    def __str__(self) -> str:
        head = f"{self.verdict:7}  {self.name:{NAME_WIDTH}}  "
        fix = f"\n{' ' * len(head)}fix: {self.fix}" if self.fix else ""
        return f"{head}{self.text}{fix}"


def judged(name: str, text: str, fix: str, verdict: Verdict | None) -> Check:
    """A check whose fix counts only if there is a verdict; None is ok."""
    return Check(name, verdict, text, fix) if verdict else Check(name, "ok", text)


class Answer(NamedTuple):
    """What a program has said."""

    text: str  # its standard output
    error: str | None  # why there is no useful output, in one line; None: there is


def ask(command: Sequence[str], seconds: float) -> Answer:
    """Run a program, but no longer than ``seconds``. It reads nothing from the terminal."""
    if shutil.which(command[0]) is None:
        return Answer("", f"{command[0]} is not installed")
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # so that all its children can be ended
    )
    try:
        text, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return Answer("", f"{command[0]} gave no answer within {seconds:g} s")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)  # one that hangs in a dead file system cannot be ended
    if process.returncode:
        lines = [line.strip() for line in (said or text).splitlines() if line.strip()]
        return Answer(text, lines[-1] if lines else f"exit status {process.returncode}")
    return Answer(text, None)


def ask_python(arguments: Sequence[str], seconds: float) -> Answer:
    """Run this Python in a process of its own."""
    return ask([sys.executable, *arguments], seconds)


def plural(number: int, word: str) -> str:
    """
    >>> plural(1, "run"), plural(2, "run")
    ('1 run', '2 runs')
    """
    return f"{number} {word}{'' if number == 1 else 's'}"


def gigabytes(size: float) -> str:
    """
    >>> gigabytes(1.24e9), gigabytes(143e9)
    ('1.2 GB', '143 GB')
    """
    return f"{size / 1e9:.1f} GB" if size < 9.95e9 else f"{size / 1e9:,.0f} GB"
