"""One module per kind of data source, found by its file name.

A source module defines ``Options`` (a frozen dataclass, its settings) and
``load(options, root, image_size) -> Table``, where ``root`` is the folder its files lie in. It
decodes or draws images; it knows no cache or loader. Images that a source itself leaves out are
counted as ``rule["missing"][split]["images"]``, which tables print.

Shape key: N images, C labels, S pixels on a side.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Split:
    """One split: ``image(i)`` returns the ``i``-th image as uint8 ``[S, S, 3]``.

    Decoding runs on several processors if ``image`` can be pickled. At an ignored place nobody
    knows whether the image has the label: neither the supervised loss nor a metric counts it.
    """

    ids: list[str]
    targets_NC: np.ndarray  # uint8 in {0, 1}
    image: Callable[[int], np.ndarray]
    ignored_NC: np.ndarray | None = None  # bool, where targets are 0; None: every place counts


@dataclass(frozen=True)
class Table:
    """Everything a source knows about its images."""

    classes: tuple[str, ...]
    splits: dict[str, Split]  # "train" and "test"
    rule: dict  # how the pixels and labels were made, as JSON; part of the cache's fingerprint
    extras: Callable[[Path], None] | None = None  # writes further files into a folder
