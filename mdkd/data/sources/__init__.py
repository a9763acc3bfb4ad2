"""Data sources: one module per kind of source, found by its file name.

A source module defines ``Options`` (a frozen dataclass with its settings) and
``load(options, root, image_size) -> Table``, where ``root`` is the folder with its files. It
decodes or draws images; it does not use the cache or the loader. If a source leaves images out,
it reports their number in ``rule["missing"][split]["images"]``, and tables print that number. A
source that draws its images and reads no files sets ``DRAWN = True``.

Shape key: N images, C labels, S pixels on a side.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Split:
    """One split: ``image(i)`` returns the ``i``-th image as uint8 ``[S, S, 3]``.

    If ``image`` can be pickled, images are decoded in several processes. Where ``ignored_NC`` is
    true, it is unknown whether the image has the label. The supervised loss and the metrics skip
    this label of this image.
    """

    ids: list[str]
    targets_NC: np.ndarray  # uint8 in {0, 1}
    image: Callable[[int], np.ndarray]
    ignored_NC: np.ndarray | None = None  # bool, only where targets are 0; None: nothing is ignored


@dataclass(frozen=True)
class Table:
    """Everything that a source returns: label names, splits and how they were made."""

    classes: tuple[str, ...]
    splits: dict[str, Split]  # "train" and "test"
    rule: dict  # JSON: how pixels and labels were made; part of the cache's fingerprint
    extras: Callable[[Path], None] | None = None  # writes additional files into the cache's folder
