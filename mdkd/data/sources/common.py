"""Code shared by sources that read image files: places, counts, and splits of images."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mdkd.data import reading
from mdkd.data.images import no_image, read_image
from mdkd.data.sources import Split
from mdkd.errors import UserError


def first(root: Path, places: tuple[str, ...]) -> Path:
    """The first of the ``places`` below ``root`` that exists; a UserError if none exists."""
    for place in places:
        if os.path.exists(root / place):  # Path.exists can raise an error
            return root / place
    if (reason := reading.problem(root)) != "is a folder":
        fix = "unpack it" if reason is None else reading.FETCH
        raise UserError(f"{root}: {reason or 'is a file, not a folder'}; {fix}")
    raise UserError(f"{root}: found none of {', '.join(places)}; {reading.FETCH}")


def two_splits(train: str, test: str, file: Path) -> None:
    """Raise a UserError if the options ``train`` and ``test`` name the same split."""
    if train == test:
        raise UserError(
            f"{file}: options train and test are both '{train}'; give two different splits"
        )


def expect(found: int, expected: int | None, what: str, file: Path) -> None:
    """Raise a UserError if ``found`` is not the ``expected`` number; None is not checked."""
    if expected is not None and found != expected:
        raise UserError(f"{file}: {found} {what}, expected {expected}; is the file complete?")


def missing(paths: Sequence[Path]) -> list[int]:
    """The indices of the paths that are not ordinary files."""
    return [i for i, path in enumerate(paths) if reading.problem(path) is not None]


def expect_images(
    paths: Sequence[Path], listed_in: Path, fix: str = "complete the images", where: str = ""
) -> None:
    """Raise a UserError if images are missing. It names the first one and their number."""
    if gone := missing(paths):
        counts = f"{len(gone)} of {len(paths)} of {listed_in} are missing"
        raise UserError(f"{where}{paths[gone[0]]}: {no_image(paths[gone[0]])} ({counts}); {fix}")


def targets(labels: list[set[int]], count: int) -> np.ndarray:
    """Convert sets of label indices in [0, ``count``) to uint8 ``[N, C]`` in {0, 1}."""
    targets_NC = np.zeros((len(labels), count), np.uint8)
    for row, positive in enumerate(labels):
        targets_NC[row, sorted(positive)] = 1
    return targets_NC


def image_split(
    ids: list[str],
    targets_NC: np.ndarray,
    paths: list[Path],
    image_size: int,
    listed_in: Path,
    ignored_NC: np.ndarray | None = None,
) -> Split:
    """A split whose images are files. They are decoded later, one by one."""
    image = partial(_image, paths, image_size)
    return Split(ids, targets_NC, image, ignored_NC, paths, listed_in)


def _image(paths: list[Path], image_size: int, i: int) -> np.ndarray:
    return read_image(paths[i], image_size)
