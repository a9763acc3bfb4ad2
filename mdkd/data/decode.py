"""Fill the pixel files of a cache: on all cores, and resumed where a build was interrupted.

Rows are written with ordinary writes. Through a memory map, every row would count as memory of the
process that wrote it, and a full disk would kill that process without a word.

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
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mdkd import records
from mdkd.data.images import UndecodableImage
from mdkd.errors import UserError

TO_DO, DONE, DAMAGED = 0, 1, 2  # states of a row
IMAGES_PER_TASK = 32
IMAGES_PER_PROCESS = 2000  # with fewer, processes take as long to start as they save
REPORT_S = 5.0  # between two lines of progress; a killed build loses as much

log = logging.getLogger(__name__)

Task = tuple[str, list[int]]  # a split and indices of its images
Results = Generator[tuple[str, list[int], list[int]]]  # tasks, and which images are damaged


@dataclass(frozen=True)
class PixelFile:
    """A ``.npy`` file of uint8 ``[N, S, S, 3]``, and where its images come from."""

    path: Path
    count: int
    size: int
    image: Callable[[int], np.ndarray]

    @property
    def header(self) -> bytes:
        """The same length for any number of images, for NumPy leaves room."""
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
        """Make the file in its full size, of zeros that take no space yet."""
        with self.path.open("wb") as file:
            file.write(self.header)
            file.truncate(self.file_bytes)

    def fill(self, indices: list[int], drop: bool) -> list[int]:
        """Decode the images at ``indices`` into their rows; returns those that are damaged.

        Raises:
            UndecodableImage: the first of them, unless they are to be dropped.
        """
        damaged, start = [], len(self.header)
        with self.path.open("r+b") as file:
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
                    raise ValueError(f"{self.path.name}: its source made image {i} as {found}")
                file.seek(start + i * self.row_bytes)
                file.write(image_SSC.tobytes())
        return damaged

    def close_gaps(self, kept: list[int]) -> None:
        """Move the rows ``kept`` to the front, in their order, and cut the file behind them."""
        shorter, start = replace(self, count=len(kept)), len(self.header)
        assert len(shorter.header) == start
        with self.path.open("r+b") as file:
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
        """Return when all that any process wrote is on disk."""
        with self.path.open("r+b") as file:
            os.fsync(file.fileno())


class Progress:
    """The state of every row of every file, kept on disk and tied to a fingerprint of the work.

    What is on disk counts under the same fingerprint alone; else the files are made anew, provided
    that the disk has room for them.
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
                self.states = {name: saved[f"state_{name}"] for name in self.files}
        except Exception:  # no such file, or a damaged one, which may raise nearly anything
            return False
        return True

    def save(self) -> None:
        for file in self.files.values():
            file.sync()  # pixels before the states that vouch for them
        content: dict[str, Any] = {f"state_{name}": part for name, part in self.states.items()}
        with records.atomic(self.record) as record:
            np.savez(record, fingerprint=np.array(self.fingerprint), **content)

    def delete(self) -> None:
        self.record.unlink(missing_ok=True)


def expect_space(folder: Path, needed_bytes: int) -> None:
    """Raise a UserError if the disk of ``folder`` has less room than that."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        needed, free = f"{needed_bytes / 1e9:.2f} GB", f"{free_bytes / 1e9:.2f} GB"
        raise UserError(f"{folder}: needs {needed}, {free} are free; make room on that disk")


def available_cores() -> int:
    """The cores that this process may run on, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def decode(progress: Progress, drop: bool, jobs: int) -> None:
    """Decode all images that are still to do; what is done is saved, however this ends.

    Args:
        drop: mark damaged images instead of ending with the first of them.
        jobs: processes, if there are enough images.
    """
    try:
        try:
            _decode(progress, drop, jobs)
        finally:
            progress.save()
    except BrokenProcessPool:
        raise UserError(
            "a decoding process was killed, for lack of memory perhaps; "
            "run it again with fewer --jobs: it goes on where it stopped"
        ) from None
    except OSError as error:
        raise UserError(
            f"{progress.record.parent}: cannot be written ({error}); make room and run it again"
        ) from None


def _decode(progress: Progress, drop: bool, jobs: int) -> None:
    tasks = list(_tasks(progress.states))
    count = sum(len(indices) for _, indices in tasks)
    total = sum(len(state_N) for state_N in progress.states.values())
    if count < total:
        log.info("goes on after %d of %d images", total - count, total)
    jobs = min(jobs, count // IMAGES_PER_PROCESS)
    pickled = _pickled(progress.files, drop) if jobs > 1 else None
    if pickled is None:
        results = _serial(progress.files, drop, tasks)
    else:
        results = _parallel(pickled, tasks, jobs)
    done, started = 0, time.monotonic()
    reported = started
    with closing(results):
        for name, indices, damaged in results:
            progress.states[name][indices] = DONE
            progress.states[name][damaged] = DAMAGED
            done += len(indices)
            due = time.monotonic() - reported > REPORT_S
            if due:
                progress.save()
            if due or done == count:
                reported = time.monotonic()
                rate = done / (reported - started)
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
    """As `_serial`, in order of completion. Ends with the error of the first task that has one.

    Processes are spawned: the one way to start them that is safe on Linux and on macOS.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _start_process, (pickled,)) as pool:
        futures = {pool.submit(_fill, *task): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield *futures[future], future.result()
        except Exception:
            pool.shutdown(cancel_futures=True)  # tasks before the failed one have all begun
            raise next(e for f in futures if not f.cancelled() and (e := f.exception())) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _pickled(files: dict[str, PixelFile], drop: bool) -> bytes | None:
    """What a process needs, once for all; None if the source has functions it cannot be sent."""
    try:
        return pickle.dumps((files, drop))
    except (pickle.PicklingError, AttributeError, TypeError):
        return None


_shared: tuple[dict[str, PixelFile], bool]  # of a decoding process


def _start_process(pickled: bytes) -> None:
    global _shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends its processes
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
