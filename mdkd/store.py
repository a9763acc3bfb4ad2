"""The store of runs: every training once, whoever planned it.

    store/{run path}/{key}/
        run.json            the record, written last: what vouches for all other files
        model.pt            weights
        predictions.npz     of the test images
        predictions_val.npz of the validation images, if the data set has some
        history.jsonl       one line per epoch, also while the run is trained
        metrics.json        derived from the predictions; metrics_val.json from those of val
        train.log           all messages of the trainings, also of those that were interrupted
        checkpoint.pt       only of an unfinished run
        progress.json       only of an unfinished run: how far it is, for `mdkd status`
        failed.json         only of a run whose last training ended with an error
        lock                while a process trains it: JSON that names the process

An entry without ``run.json`` is unfinished. A finished entry never changes: it is used as often as
its key is planned, and a run whose measured facts differ (another cache, another teacher) moves it
aside (`mdkd.aside`), until they are restored. What a workflow engine declares as its output is a
small file that names the entry, so the engine may delete its outputs and ask for them again at no
cost.
"""

import functools
import json
import logging
import math
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mdkd import faults, keys, locks, records, slurm
from mdkd.config import Run, Split, named, number, parse_known
from mdkd.errors import UserError
from mdkd.layout import Layout

RunState = Literal["done", "running", "failed", "to do", "other settings", "damaged"]
RECORD, WEIGHTS, PREDICTIONS = "run.json", "model.pt", "predictions.npz"
HISTORY, LOG = "history.jsonl", "train.log"
CHECKPOINT, PROGRESS, FAILED, LOCK = "checkpoint.pt", "progress.json", "failed.json", "lock"
DIGESTS = {  # keys of the record
    WEIGHTS: "weights_sha256",
    PREDICTIONS: "predictions_sha256",
    HISTORY: "history_sha256",
}


class SplitFiles(NamedTuple):
    """The files of an entry about the images of one split."""

    predictions: str
    digest: str  # of the predictions: a key of the record
    metrics: str


SPLITS: dict[Split, SplitFiles] = {
    "test": SplitFiles(PREDICTIONS, DIGESTS[PREDICTIONS], "metrics.json"),
    "val": SplitFiles("predictions_val.npz", "predictions_val_sha256", "metrics_val.json"),
}
_KEYS = DIGESTS | {files.predictions: files.digest for files in SPLITS.values()}

DIGEST = "[0-9a-z ]+"  # of a digest in a record: it becomes a part of the name of a folder

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The numbers of trained parameters."""

    backbone: int = number(0)
    head: int = number(0)
    connectors: int = number(0)  # of the method


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What a training ran on, as far as reports need it."""

    device: str  # the name of the GPU, or cpu
    cpu: str
    cpu_capability: str
    git_revision: str | None


@dataclass(frozen=True, kw_only=True)
class PluginCode:
    """A part of a run that is not built in. The checksum is that of its file."""

    name: str
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class Record:
    """What ``run.json`` must hold, as far as it is read again."""

    run: Run
    planned: dict[str, Any]  # see mdkd.keys
    cache: str  # fingerprint
    teacher: str | None = named(pattern=DIGEST)  # of its weights
    weights_sha256: str = named(pattern=DIGEST)
    predictions_sha256: str = named(pattern=DIGEST)
    predictions_val_sha256: str | None = named(None, pattern=DIGEST)  # early versions kept none
    history_sha256: str | None = named(None, pattern=DIGEST)
    classes: list[str] = field(metadata={"distinct": True})
    dropped: dict[str, dict[str, int]] = field(metadata={"range": (0, math.inf)})
    parameters: Parameters
    wall_s: float = number(0)
    images_per_s: float | None = number(1e-9)  # None: nothing was trained
    peak_memory_bytes: int = number(0)
    environment: dict[str, Any]
    left_out: list[str] = field(default_factory=list)  # files that the run was exported without
    plugins: dict[str, dict[str, Any]] = field(default_factory=dict)  # by part; early: none

    def check(self) -> None:
        """Called by the loader."""
        parse_known(Environment, self.environment, "environment")
        for part, facts in self.plugins.items():
            parse_known(PluginCode, facts, f"plugins: {part}")


def digests(record: Mapping[str, Any]) -> dict[str, str]:
    """The files of a finished entry and their digests, as its record has them.

    Early versions kept no history and no predictions of validation images. An imported run may lack
    files that were left out.
    """
    there = _KEYS.keys() - set(record.get("left_out", []))
    return {name: record[key] for name, key in _KEYS.items() if name in there and record.get(key)}


def check_record(content: dict[str, Any], file: Path, hint: str) -> dict[str, Any]:
    """The content of a ``run.json`` if it holds all that is read again; otherwise a UserError."""
    try:
        parse_known(Record, content, str(file))
    except UserError as error:
        raise UserError(f"{error}; {hint}") from None
    return content


@functools.lru_cache(maxsize=2048)
def _check_text(text: str, file: Path, hint: str) -> None:
    """Check a record once: a report asks for the same records many times."""
    try:
        content = records.parse_json(text)
    except UserError as error:
        raise UserError(f"{file}: {error}; {hint}") from None
    if not isinstance(content, dict):
        raise UserError(f"{file}: keys and values are expected; {hint}")
    check_record(content, file, hint)


@dataclass(frozen=True)
class Entry:
    """The folder of one run in the store."""

    folder: Path

    @property
    def finished(self) -> bool:
        return (self.folder / RECORD).exists()

    def record(self, fix: str = "train the run first") -> dict[str, Any]:
        """The record of a finished entry.

        Raises:
            UserError: it is missing or damaged. The message names the file and what to do.
        """
        file = self.folder / RECORD
        hint = f"restore it from a copy, or delete {self.folder} and train the run again"
        text = records.read_text(file, fix, hint)
        _check_text(text, file, hint)
        return json.loads(text)

    def record_if_intact(self) -> dict[str, Any] | None:
        """The record, or None if there is none or it is damaged."""
        try:
            return self.record()
        except UserError:
            return None

    def file(self, name: str) -> Path:
        """A file of a finished entry, checked against the digest in the record.

        Raises:
            UserError: it is missing, was changed, or was left out of an imported run.
        """
        record, file = self.record(), self.folder / name
        hint = f"delete {self.folder} and train the run again"
        if name in record.get("left_out", []):
            raise UserError(f"{file}: the run was imported without this file; to have it, {hint}")
        if not file.is_file() or records.sha256(file) != record.get(_KEYS[name]):
            raise UserError(f"{file}: missing, or not the file that {RECORD} names; {hint}")
        return file

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the entry, after waiting for any other process that holds it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        message = (
            f"{self.folder}: another process is training this run{self._where()}; waiting for it"
        )
        with locks.held(self.folder / LOCK, message, wait=True):
            self.sign(device=None)
            yield

    def sign(self, device: str | None) -> None:
        """Write into the lock, which this process holds, who trains the run and on which device."""
        facts = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "slurm_job": slurm.job_id(),
            "device": device,
            "since": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        (self.folder / LOCK).write_text(json.dumps(facts), encoding="utf-8")

    def holder(self) -> dict[str, Any] | None:
        """What the process that holds the entry has written into the lock, or None."""
        with suppress(OSError, ValueError):  # no lock, or its process has not written yet
            facts = json.loads((self.folder / LOCK).read_text(encoding="utf-8"))
            return facts if isinstance(facts, dict) else None
        return None

    def _where(self) -> str:
        """The host and the Slurm job of the holder, in parentheses; empty if not known."""
        holder = self.holder() or {}
        job = f", Slurm job {holder['slurm_job']}" if holder.get("slurm_job") else ""
        return f" ({holder['host']}{job})" if "host" in holder else ""

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Append all messages of the block to ``train.log``. Snakemake deletes logs of its own."""
        handler = faults.LogFile(self.folder / LOG)
        package = logging.getLogger("mdkd")
        package.addHandler(handler)
        try:
            yield
        finally:
            package.removeHandler(handler)
            handler.close()

    @property
    def running(self) -> bool:
        """Whether a process holds the entry."""
        return locks.is_held(self.folder / LOCK)

    def forget_progress(self) -> None:
        """Delete what only an unfinished run has. Renamed checkpoints are kept.

        A killed process may leave half-written files.
        """
        halves = self.folder.glob(f"*{records.PART}")
        for file in (*(self.folder / name for name in (CHECKPOINT, PROGRESS, FAILED)), *halves):
            file.unlink(missing_ok=True)


def entry(run: Run, layout: Layout) -> Entry:
    """The entry of a planned run, whether it exists or not."""
    return Entry(layout.store_entry(run.path, keys.key(run)))


def teacher_entry(run: Run, layout: Layout) -> Entry | None:
    """The entry of a run's teacher, or None for a supervised run."""
    if run.teacher is None or run.teacher_key is None:
        return None
    return Entry(layout.store_entry(run.teacher, run.teacher_key))


def disagreement(run: Run, record: Mapping[str, Any], layout: Layout) -> str | None:
    """Why the record under a run's key is not that of the planned run, or None.

    If the cache or the teacher's entry is gone or damaged, the record decides alone.
    """
    if found := keys.differences(keys.planned(run), record["planned"]):
        return f"it was trained with other settings ({', '.join(found)})"
    meta = layout.cache(run.dataset.name) / "meta.json"
    again = f"run `mdkd cache {run.dataset.name}` again"
    if meta.exists() and records.read_object(meta, again).get("fingerprint") != record["cache"]:
        return "it was trained on another cache"
    teacher = teacher_entry(run, layout)
    known = teacher.record_if_intact() if teacher else None
    if known and known["weights_sha256"] != record["teacher"]:
        return "its teacher has been trained again"
    return None


def state(run: Run, layout: Layout) -> RunState:
    """What has become of a planned run."""
    own = entry(run, layout)
    if own.finished:
        record = own.record_if_intact()
        if record is None:
            return "damaged"
        return "other settings" if disagreement(run, record, layout) else "done"
    if own.running:
        return "running"
    return "failed" if (own.folder / FAILED).exists() else "to do"


def diverged(run: Run, layout: Layout) -> bool:
    """Whether a run has failed because its numbers were not finite any more.

    Any other failure, such as too little memory, says nothing about the settings of the run.
    """
    own = entry(run, layout)
    if state(run, layout) != "failed":
        return False
    hint = f"delete {own.folder} and train the run again"
    return records.read_object(own.folder / FAILED, hint).get("diverged") is True


def damage(runs: Mapping[str, Run], layout: Layout) -> list[str]:
    """What is wrong with the records of these runs, one line per damaged entry."""
    texts = []
    for own in dict.fromkeys(entry(run, layout) for run in runs.values()):
        try:
            if own.finished:
                own.record()
        except UserError as error:
            texts.append(str(error))
    return texts


def publish(run: Run, layout: Layout) -> None:
    """Write the small file that declares a finished run to the workflow engine."""
    own = entry(run, layout)
    record = own.record()
    same = (DIGESTS[WEIGHTS], DIGESTS[PREDICTIONS])  # a history contains times
    published = {
        "entry": str(own.folder),
        **{name: record[name] for name in (*same, "cache", "teacher")},
    }
    file = layout.published(run.path, keys.key(run))
    with suppress(UserError):  # missing or damaged
        if records.read_json(file) == published:
            return
    records.write_json(file, published)


def publish_all(runs: Mapping[str, Run], layout: Layout, *, withdraw: bool) -> list[str]:
    """Publish every finished run of a plan; returns the keys of those that are published.

    In a folder that cannot be written, only what is there already counts. Runs of two data sets
    whose settings are equal have one key; it is returned if all of them are published.

    Args:
        withdraw: also delete the files of runs that are not done any more. A dry run must not.
    """
    finished, open_keys, writable = [], set(), True
    for run in runs.values():
        own = keys.key(run)
        file, found = layout.published(run.path, own), state(run, layout)
        try:
            if found == "done" and writable:
                publish(run, layout)
            elif withdraw and file.exists() and writable:
                _withdraw(run, layout, file)
        except OSError as error:
            log.warning("%s: cannot be written (%s)", file, error.strerror)
            writable = False
        if found == "done" and file.exists():
            finished.append(own)
        else:
            open_keys.add(own)
    return [own for own in dict.fromkeys(finished) if own not in open_keys]


def _withdraw(run: Run, layout: Layout, file: Path) -> None:
    """Delete the published file of a run, unless a process is just training it."""
    own = entry(run, layout)
    if not own.folder.exists():
        file.unlink(missing_ok=True)
        return
    with suppress(locks.Busy), locks.held(own.folder / LOCK, "busy"):
        if state(run, layout) != "done":
            file.unlink(missing_ok=True)
