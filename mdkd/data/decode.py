"""Write the pixel files of a cache, on all cores. An interrupted build can be resumed.

Rows are written with ordinary file writes, not through a memory map. With a memory map, each
written row counts as memory of the process, and a full disk kills the process without a message.

Shape key: N images, S pixels on a side.
"""

import io
import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mdkd import faults, records
from mdkd.data.images import UndecodableImage
from mdkd.errors import UserError

TO_DO, DONE, DAMAGED = 0, 1, 2  # states of a row
IMAGES_PER_TASK = 32
IMAGES_PER_PROCESS = 2000  # with fewer, starting a process takes longer than it saves
REPORT_S = 5.0  # between two progress messages; a killed build loses the work of this time

log = logging.getLogger(__name__)

Task = tuple[str, list[int]]  # the name of a split, indices of some of its images
Results = Generator[tuple[str, list[int], list[int]]]  # a task, indices of its damaged images


@dataclass(frozen=True)
class PixelFile:
    """A ``.npy`` file of uint8 ``[N, S, S, 3]``; ``image(i)`` returns the pixels of row ``i``."""

    path: Path
    count: int
    size: int
    image: Callable[[int], np.ndarray]

    @property
    def header(self) -> bytes:
        """The header of the ``.npy`` file.

        Its length does not depend on the number of images, because NumPy pads it.
        """
        buffer = io.BytesIO()
        shape = (self.count, self.size, self.size, 3)
        facts = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(buffer, facts)
        return buffer.getvalue()

    @property
    def row_bytes(self) -> int:
        return self.size * self.size * 3

    @property
    def file_bytes(self) -> int:
        return len(self.header) + self.count * self.row_bytes

    def allocate(self) -> None:
        """Create the file at its full size. The zeros do not use disk space yet (sparse file)."""
        with faults.named(self.path), self.path.open("wb") as file:
            file.write(self.header)
            file.truncate(self.file_bytes)

    def fill(self, indices: list[int], drop: bool) -> list[int]:
        """Decode the images at ``indices`` into their rows; return the indices of damaged images.

        Raises:
            UndecodableImage: an image is damaged and ``drop`` is false.
        """
        damaged, start = [], len(self.header)
        with faults.named(self.path), self.path.open("r+b") as file:
            for i in indices:
                try:
                    image_SSC = self.image(i)
                except UndecodableImage:
                    if not drop:
                        raise
                    damaged.append(i)
                    continue
                if image_SSC.shape != (self.size, self.size, 3) or image_SSC.dtype != np.uint8:
                    found = f"{image_SSC.dtype} {image_SSC.shape}"
                    raise ValueError(
                        f"{self.path.name}: the source returned image {i} as {found}, "
                        f"expected uint8 ({self.size}, {self.size}, 3)"
                    )
                file.seek(start + i * self.row_bytes)
                file.write(image_SSC.tobytes())
        return damaged

    def close_gaps(self, kept: list[int]) -> None:
        """Keep only the rows ``kept``, in their order: move them to the front, cut off the rest."""
        shorter, start = replace(self, count=len(kept)), len(self.header)
        assert len(shorter.header) == start
        with faults.named(self.path), self.path.open("r+b") as file:
            for to, index in enumerate(kept):
                if to != index:
                    file.seek(start + index * self.row_bytes)
                    row = file.read(self.row_bytes)
                    file.seek(start + to * self.row_bytes)
                    file.write(row)
            file.truncate(shorter.file_bytes)
            file.seek(0)
            file.write(shorter.header)

    def sync(self) -> None:
        """Wait until everything that any process wrote to the file is on disk."""
        with faults.named(self.path), self.path.open("r+b") as file:
            os.fsync(file.fileno())


class Rows:
    """The state of every row of every file, saved on disk with a fingerprint of the work.

    Files are reused only if their fingerprint matches. Otherwise they are created again; a
    `UserError` is raised if the disk has not enough free space. Images that were damaged are
    decoded again: their files may have been replaced.
    """

    def __init__(self, record: Path, fingerprint: str, files: dict[str, PixelFile]):
        self.record, self.fingerprint, self.files = record, fingerprint, files
        self.states = {name: np.full(f.count, TO_DO, np.uint8) for name, f in files.items()}
        if not self._load():
            self.delete()
            for file in files.values():
                file.path.unlink(missing_ok=True)
            expect_space(record.parent, sum(file.file_bytes for file in files.values()))
            for file in files.values():
                file.allocate()

    def _load(self) -> bool:
        for file in self.files.values():
            if not file.path.is_file() or file.path.stat().st_size != file.file_bytes:
                return False
        try:
            with np.load(self.record) as saved:
                if saved["fingerprint"] != self.fingerprint:
                    return False
                states = {name: saved[f"state_{name}"] for name in self.files}
                if any(
                    state_N.shape != self.states[name].shape or state_N.dtype != np.uint8
                    for name, state_N in states.items()
                ):
                    return False
                self.states = {
                    name: np.where(state_N == DAMAGED, TO_DO, state_N).astype(np.uint8)
                    for name, state_N in states.items()
                }
        except Exception:  # the file is missing or damaged; damage can raise almost any exception
            return False
        return True

    def save(self) -> None:
        for file in self.files.values():
            file.sync()  # the pixels must be on disk before a saved state says that they are done
        content: dict[str, Any] = {f"state_{name}": part for name, part in self.states.items()}
        with records.atomic(self.record) as record:
            np.savez(record, fingerprint=np.array(self.fingerprint), **content)

    def delete(self) -> None:
        self.record.unlink(missing_ok=True)


def expect_space(folder: Path, needed_bytes: int) -> None:
    """Raise a UserError if the disk of ``folder`` has less free space than ``needed_bytes``."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        needed, free = f"{needed_bytes / 1e9:.2f} GB", f"{free_bytes / 1e9:.2f} GB"
        raise UserError(f"{folder}: needs {needed}, {free} are free; free up space on that disk")


def available_cores() -> int:
    """The number of cores that this process may use. The machine may have more."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def decode(rows: Rows, drop: bool, jobs: int) -> None:
    """Decode all images that are not done yet. Progress is saved even if this fails.

    Args:
        drop: mark damaged images and continue, instead of failing at the first one.
        jobs: the number of processes; fewer are used for a small number of images.

    Raises:
        UserError: a process was killed.
        OSError: a file cannot be written.
    """
    try:
        _decode(rows, drop, jobs)
    except BaseException as error:
        with suppress(OSError):  # the first error says more; what was saved before stays valid
            rows.save()
        if not isinstance(error, BrokenProcessPool):
            raise
        raise UserError(
            "a decoding process was killed, perhaps because memory ran out; "
            "run the command again with fewer --jobs: it resumes where it stopped"
        ) from None
    rows.save()


def _decode(rows: Rows, drop: bool, jobs: int) -> None:
    tasks = list(_tasks(rows.states))
    count = sum(len(indices) for _, indices in tasks)
    total = sum(len(state_N) for state_N in rows.states.values())
    if count < total:
        log.info("resuming: %d of %d images are done", total - count, total)
    jobs = min(jobs, count // IMAGES_PER_PROCESS)
    pickled = _pickled(rows.files, drop) if jobs > 1 else None
    if pickled is None:
        results = _serial(rows.files, drop, tasks)
    else:
        results = _parallel(pickled, tasks, jobs)
    done, started = 0, time.monotonic()
    reported = started
    with closing(results):
        for name, indices, damaged in results:
            rows.states[name][indices] = DONE
            rows.states[name][damaged] = DAMAGED
            done += len(indices)
            due = time.monotonic() - reported > REPORT_S
            if due:
                rows.save()
            if due or done == count:
                reported = time.monotonic()
                rate = done / max(reported - started, 1e-6)
                left = divmod(round((count - done) / rate), 60)
                text = "%d of %d images, %.0f images/s, %d:%02d left"
                log.info(text, total - count + done, total, rate, *left)


def _tasks(states: dict[str, np.ndarray]) -> Iterator[Task]:
    for name, state_N in states.items():
        indices = np.flatnonzero(state_N == TO_DO).tolist()
        for start in range(0, len(indices), IMAGES_PER_TASK):
            yield name, indices[start : start + IMAGES_PER_TASK]


def _serial(files: dict[str, PixelFile], drop: bool, tasks: list[Task]) -> Results:
    for name, indices in tasks:
        yield name, indices, files[name].fill(indices, drop)


def _parallel(pickled: bytes, tasks: list[Task], jobs: int) -> Results:
    """Like `_serial`, but in several processes. Results come in the order of completion.

    If tasks fail, the error of the earliest failed task is raised. Processes are started with
    ``spawn``, because it is the only start method that is safe on both Linux and macOS.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _start_process, (pickled,)) as pool:
        futures = {pool.submit(_fill, *task): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield *futures[future], future.result()
        except Exception:
            # All tasks before the failed one have started, so none of them is cancelled.
            pool.shutdown(cancel_futures=True)
            raise next(e for f in futures if not f.cancelled() and (e := f.exception())) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _pickled(files: dict[str, PixelFile], drop: bool) -> bytes | None:
    """The data that every process needs; None if the source's functions cannot be pickled."""
    try:
        return pickle.dumps((files, drop))
    except (pickle.PicklingError, AttributeError, TypeError):
        return None


_shared: tuple[dict[str, PixelFile], bool]  # set once in each decoding process


def _start_process(pickled: bytes) -> None:
    global _shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and stops its children
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _shared = pickle.loads(pickled)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _fill(name: str, indices: list[int]) -> list[int]:
    files, drop = _shared
    return files[name].fill(indices, drop)
