"""Data sources: one module per kind of source, found by its file name.

A source module defines ``Options`` (a frozen dataclass with its settings) and
``load(options, root, image_size) -> Table``, where ``root`` is the folder with its files. It
decodes or draws images; it does not use the cache or the loader. What it returns is checked by
`mdkd.data.checks`. If a source leaves images out, it counts them in ``Table.dropped``, and tables
print the numbers. A source that draws its images and reads no files sets ``DRAWN = True``. The text
``LICENCE`` says who may use its images; model cards print it.

Shape key: N images, C labels, S pixels on a side.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ADDED = {"added": True}  # metadata of a field that was added when caches existed; see `facts`


def added(default: Any) -> Any:
    """A field of ``Options`` that was added when caches existed already; see `facts`."""
    return field(default=default, metadata=ADDED)


def facts(options: Any) -> dict[str, Any]:
    """The fields of ``Options`` by name, without those of `added` that have their default.

    So a cache that is older than a field keeps its settings and its fingerprint.
    """
    fields = dataclasses.fields(options)
    values = {f.name: getattr(options, f.name) for f in fields}
    return {
        f.name: values[f.name]
        for f in fields
        if not ("added" in f.metadata and values[f.name] == f.default)
    }


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
    files: Sequence[Path] = ()  # those of the images, in order; empty if images are not files
    listed_in: Path | None = None  # the file with the list of the images, for messages


@dataclass(frozen=True)
class Table:
    """Everything that a source returns: label names, splits and how they were made."""

    classes: tuple[str, ...]
    splits: dict[str, Split]  # "train" and "test"
    rule: dict  # JSON: how pixels and labels were made; part of the cache's fingerprint
    extras: Callable[[Path], None] | None = None  # writes additional files into the cache's folder
    dropped: dict[str, dict[str, int]] = field(default_factory=dict)  # images: split, reason, count
