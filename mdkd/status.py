"""What has become of every planned run, read from files alone.

This works while a cluster trains, on any machine that sees the store. Slurm and Snakemake are not
asked. No lock is taken, not even for a moment: a training that begins in this moment would take the
look for another training. A lock file says which process has written it. On this host, the process
must still exist. On another host, `Status.silent_s` says how long nothing has been heard of it.
"""

import contextlib
import os
import socket
import time
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from mdkd import joblog, keys, records, store
from mdkd.config import Run
from mdkd.errors import UserError
from mdkd.layout import Layout
from mdkd.plan import Plan

State = Literal["done", "running", "failed", "waiting"]
STATES: tuple[State, ...] = ("done", "running", "failed", "waiting")

# A training gives a sign of life after each epoch and at each checkpoint. If it gives none for so
# many times the interval of checkpoints, and these seconds, it is thought to be dead.
MISSED, GRACE_S = 3, 600
CLOCK_S = 60  # a process may seem to begin so much after its lock: clocks are adjusted


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a training tells of itself: the content of ``progress.json``."""

    step: int
    steps: int
    epoch: int  # the number of finished ones
    epochs: int
    images_per_s: float  # of training steps alone
    left_s: float  # from ``time`` on, at this speed: without validation and scores
    time: str  # ISO 8601


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The process that trains a run, as its lock file names it; None: not known."""

    host: str | None = None
    pid: int | None = None
    slurm_job: str | None = None
    device: str | None = None  # None also while it waits for a GPU
    since: str | None = None  # ISO 8601


@dataclass(frozen=True, kw_only=True)
class Status:
    """The state of one run.

    ``note`` is one line: why the run failed, or what is known of one that waits.
    """

    path: str
    state: State
    note: str = ""
    log: Path | None = None  # of a failed run
    progress: Told | None = None  # of a run that has begun and is not done
    holder: Holder | None = None  # of a running one
    silent_s: float = 0.0  # of a running one: seconds since its last sign of life
    dead: bool = False  # it counts as running, but it has been silent for too long

    def left_s(self, now: float) -> float | None:
        """Seconds that a running training still needs; None if it has not told."""
        if self.progress is None or self.holder is None:
            return None
        told = max(_seconds(self.progress.time) or 0, _seconds(self.holder.since) or 0)
        return max(self.progress.left_s - max(now - told, 0), 0)


def statuses(plan: Plan, layout: Layout, now: float) -> dict[str, Status]:
    """The status of every run of a plan, by path, in the plan's order.

    Args:
        now: the time, in seconds since 1970.
    """
    limit_s = MISSED * 60 * plan.checkpoint_minutes + GRACE_S
    found: dict[str, Status] = {}
    for path, run in plan.runs.items():  # teachers come before their students
        try:
            found[path] = status(run, layout, now, limit_s)
        except UserError as error:  # a damaged record
            found[path] = Status(path=path, state="failed", note=one_line(error))
        teacher_failed = run.teacher is not None and found[run.teacher].state == "failed"
        if teacher_failed and found[path].state == "waiting":
            found[path] = replace(found[path], note="its teacher failed")
    return found


def status(run: Run, layout: Layout, now: float, limit_s: float) -> Status:
    """The status of one run; after ``limit_s`` of silence it is thought to be dead."""
    entry, path = store.entry(run, layout), run.path
    holder = _living_holder(entry)  # first: a run that ends now is seen as running or as done
    reason = store.disagreement(run, entry.record(), layout) if entry.finished else None
    if entry.finished and not reason:
        return Status(path=path, state="done")
    progress = _progress(entry.folder / store.PROGRESS)
    if holder:
        return _running(path, holder, progress, now, limit_s)
    if reason:
        return Status(path=path, state="waiting", note=reason)
    failed, log = entry.folder / store.FAILED, layout.train_log(path, keys.key(run))
    if failed.exists():
        log = log if log.exists() else entry.folder / store.LOG
        note = one_line(records.read_object(failed).get("error"))
        return Status(path=path, state="failed", note=note, log=log, progress=progress)
    if error := joblog.failure(log):  # it failed before the training began
        return Status(path=path, state="failed", note=one_line(error), log=log, progress=progress)
    can_go_on = (entry.folder / store.CHECKPOINT).exists()
    return Status(path=path, state="waiting", progress=progress if can_go_on else None)


def _running(
    path: str, holder: Holder, progress: Told | None, now: float, limit_s: float
) -> Status:
    told = (_seconds(holder.since), _seconds(progress.time) if progress else None)
    silent_s = max(now - max(each or 0 for each in told), 0)
    # A process of this host exists. One that has no device yet may wait for a GPU for long.
    doubtful = holder.host is None or (holder.device and holder.host != socket.gethostname())
    return Status(
        path=path,
        state="running",
        progress=progress,
        holder=holder,
        silent_s=silent_s,
        dead=bool(doubtful) and silent_s > limit_s,
    )


def one_line(text: object) -> str:
    """The first line of a message that says something."""
    return next((line.strip() for line in str(text).splitlines() if line.strip()), "no message")


def _living_holder(entry: store.Entry) -> Holder | None:
    """The process whose lock file is there and that may still live, or None.

    An empty lock file comes from an older version, or its process is just about to write it. Then
    only its time is known.
    """
    lock = entry.folder / store.LOCK
    facts = entry.holder()
    if facts is None:
        with contextlib.suppress(OSError):  # there is none
            written = datetime.fromtimestamp(lock.stat().st_mtime).astimezone()
            return Holder(since=written.isoformat())
        return None
    holder = Holder(**{f.name: facts.get(f.name) for f in fields(Holder)})
    here = holder.host == socket.gethostname()
    return None if here and not _exists(holder.pid, _seconds(holder.since)) else holder


def _exists(pid: int | None, since: float | None) -> bool:
    """Whether a process of this host exists that is old enough to have begun at ``since``."""
    if pid is None:
        return True
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return True
    values = text.rpartition(") ")[2].split()  # a name stands before it and may contain anything
    if values[0] == "Z":  # it has ended, but its parent does not know yet
        return False
    ticks = int(values[19])  # when it began, from the start of the machine
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return since is None or time.time() - age_s <= since + CLOCK_S


def _progress(file: Path) -> Told | None:
    """The content of the file, None if it is not there or another version has written it."""
    try:
        content = records.read_json(file)
        return Told(**{field.name: content[field.name] for field in fields(Told)})
    except (UserError, KeyError, TypeError):
        return None


def _seconds(time: str | None) -> float | None:
    """Seconds since 1970 of a time in ISO 8601."""
    return None if time is None else datetime.fromisoformat(time).timestamp()
