"""Images that are drawn quickly and note in a file that they were; in a process of its own too.

`python tests/drawn_source.py CACHE LOG IMAGES SIZE JOBS DELAY_S` builds a cache of them and prints
the peak memory of this process in bytes, on Linux.
"""

import re
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from mdkd import registry
from mdkd.config import Dataset
from mdkd.data import decode
from mdkd.data.build import build
from mdkd.data.images import UndecodableImage
from mdkd.data.sources import Split, Table


@dataclass(frozen=True)
class Options:
    pass


def dataset(size=8, **settings):
    return Dataset(name="drawn", source="drawn", image_size=size, **settings)


def draw(log, split, size, damaged, delay_s, i):
    """A picture of its own for every index; those in ``damaged`` fail, the first one slowly."""
    with open(log, "a") as lines:
        lines.write(f"{split} {i}\n")
    time.sleep(delay_s)
    if i in damaged:
        time.sleep(0.2 * (i == damaged[0]))
        raise UndecodableImage(f"{split}-{i}.jpg: cannot be decoded")
    return np.random.default_rng([len(split), i]).integers(0, 256, (size, size, 3), np.uint8)


def table(log, train, test=40, size=8, damaged=(), delay_s=0.0, ignored=0.0):
    """A table of two splits with three labels; ``damaged`` are indices of both.

    ``ignored`` is the share of the places without a label that do not count.
    """

    def split(name, count):
        random = np.random.default_rng(count)
        targets_NC = random.integers(0, 2, (count, 3)).astype(np.uint8)
        ignored_NC = (random.random((count, 3)) < ignored) & (targets_NC == 0) if ignored else None
        ids = [f"{name}/{i}.jpg" for i in range(count)]
        image = partial(draw, log, name, size, damaged, delay_s)
        return Split(ids, targets_NC, image, ignored_NC)

    return Table(("a", "b", "c"), {"train": split("train", train), "test": split("test", test)}, {})


def random_images(n, size=12, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3)).astype(np.uint8)


def offer(table):
    """Make any source's name stand for this table; returns what undoes it."""
    before = registry.load
    source = SimpleNamespace(Options=Options, load=lambda *args: table, DRAWN=True)
    registry.load = lambda *args: source
    return lambda: setattr(registry, "load", before)


if __name__ == "__main__":
    folder, log = Path(sys.argv[1]), sys.argv[2]
    images, size, jobs = map(int, sys.argv[3:6])
    offer(table(log, images, size=size, delay_s=float(sys.argv[6])))
    decode.REPORT_S, decode.IMAGES_PER_PROCESS, decode.IMAGES_PER_TASK = 0.1, 1, 8
    build(dataset(size), folder, folder, jobs)
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts the memory of whoever started this process, too
        print(int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) * 1024)
