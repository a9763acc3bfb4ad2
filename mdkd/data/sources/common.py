"""Code shared by sources that read image files: text lists, checks, and splits of images."""

from functools import partial
from pathlib import Path

import numpy as np

from mdkd.data.images import read_image
from mdkd.data.sources import Split
from mdkd.errors import UserError

FETCH = "download it (`mdkd download` does this for public data sets), or set the data set's root"


def first(root: Path, places: tuple[str, ...]) -> Path:
    """The first of the ``places`` below ``root`` that exists; a UserError if none exists."""
    for place in places:
        if (root / place).exists():
            return root / place
    raise UserError(f"{root}: found none of {', '.join(places)}; {FETCH}")


def read_lines(file: Path, fix: str = FETCH) -> list[str]:
    """The lines of a text file, without white space at both ends and without blank lines.

    All kinds of line ends and a byte-order mark are accepted.

    Raises:
        UserError: the file is missing, empty or not UTF-8. The message ends with ``fix``.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); {fix}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 text ({error}); {fix}") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{file}: is empty; {fix}")
    return lines


def expect(found: int, expected: int | None, what: str, file: Path) -> None:
    """Raise a UserError if ``found`` is not the ``expected`` number; None is not checked."""
    if expected is not None and found != expected:
        raise UserError(f"{file}: {found} {what}, expected {expected}; is the file complete?")


def missing(paths: list[Path]) -> list[int]:
    """The indices of the paths where no file exists."""
    return [i for i, path in enumerate(paths) if not path.is_file()]


def expect_images(paths: list[Path], fix: str = "complete the images") -> None:
    """Raise a UserError if images are missing. It names the first one and their number."""
    gone = missing(paths)
    if gone:
        counts = f"{len(gone)} of {len(paths)} are missing"
        raise UserError(f"{paths[gone[0]]}: no such image ({counts}); {fix}")


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
    ignored_NC: np.ndarray | None = None,
) -> Split:
    """A split whose images are files. They are decoded later, one by one."""
    return Split(ids, targets_NC, partial(_image, paths, image_size), ignored_NC)


def _image(paths: list[Path], image_size: int, i: int) -> np.ndarray:
    return read_image(paths[i], image_size)
