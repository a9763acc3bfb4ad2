"""Data set caches: every image is decoded once and stored as uint8 at a fixed size.

Training reads all data sets in this form. `mdkd.data.build` makes a cache; here it is opened and
checked. A cache is a folder with these files:

- ``images_{split}.npy``: pixels, uint8 ``[N, S, S, 3]``, memory-mapped.
- ``labels_{split}.npy``: labels, uint8 ``[N, C]``.
- ``ignored_{split}.npy``: uint8 ``[N, C]``, 1 where the label is unknown. Only written if a label
  is ignored somewhere.
- ``ids_{split}.json``: the names of the images.
- ``contact_sheet.png``: a picture of the first training images, for a visual check.
- ``meta.json``: settings, counts, checksums, and the folder of the files that the images are from.
  It is written after all data: a cache is complete if this file exists.
- ``progress.npz``: only in an unfinished cache. The next build resumes from it.

Shape key: N images, C labels, S pixels on a side.
"""

import logging
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mdkd import records
from mdkd.config import Dataset, number, parse
from mdkd.data import checks, digests
from mdkd.data.reading import problem, read_json, reason_of
from mdkd.errors import UserError, show
from mdkd.layout import Layout
from mdkd.plainvalues import clean

FORMAT = 2  # increase it when the layout of the folder changes
SPLITS = ("train", "val", "test")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CachedSplit:
    """One split of an opened cache."""

    ids: list[str]
    images_NSSC: np.ndarray  # uint8, memory-mapped
    targets_NC: np.ndarray  # uint8 in {0, 1}
    ignored_NC: np.ndarray | None = None  # bool, only where targets are 0; None: nothing is ignored


@dataclass(frozen=True)
class Cache:
    """An opened cache. Its `fingerprint` changes if any pixel, label or rule changes.

    ``meta["dropped"][split]`` counts the images that were left out, by reason: their files are
    ``missing`` or ``damaged``, or a rule of the source drops them (``unannotated``).
    ``meta["repeated"][split]`` counts the images with the same pixels as an image of another split
    that comes earlier in train, val, test.
    """

    classes: tuple[str, ...]
    splits: dict[str, CachedSplit]  # "train", "test" and, with a validation split, "val"
    fingerprint: str
    meta: dict


@dataclass(frozen=True, kw_only=True)
class _SplitFacts:
    """What ``meta.json`` says of a split."""

    images: int = number(1)
    labels_per_image: float
    images_per_label: list[int]
    pixels_sha256: str
    labels_sha256: str
    ids_sha256: str
    damaged: list[str]  # ids of images that were left out
    ignored_per_label: list[int] | None = None
    ignored_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Meta:
    """The content of ``meta.json``."""

    format: int
    dataset: Dataset
    rule: dict[str, Any]
    classes: list[str]
    splits: dict[str, _SplitFacts]
    dropped: dict[str, dict[str, int]]
    repeated: dict[str, int] = field(default_factory=dict)
    root: str | None = None  # None: the images are drawn, or an earlier version made the cache
    fingerprint: str


class OtherFormat(UserError):
    """A cache has the layout of another version."""


def open_cache(folder: Path) -> Cache:
    """Open a finished cache. Everything except the pixels is checked against ``meta.json``."""
    file = folder / "meta.json"
    if problem(file) == "no such file":
        raise UserError(f"{file}: no such file; run {_command(folder)} first")
    meta, content = _read(folder)
    splits = {
        name: _open_split(name, facts, meta.dataset.image_size, len(meta.classes), folder)
        for name, facts in meta.splits.items()
    }
    return Cache(tuple(meta.classes), splits, meta.fingerprint, content)


def open_planned(dataset: Dataset, folder: Path) -> Cache:
    """The cache in ``folder``, if it was made from this data set with the planned settings.

    Raises:
        UserError: it was made with other settings, or there is none.
    """
    cache = open_cache(folder)
    if not _is_of(dataset, cache.meta):
        raise UserError(f"{folder}: made with other settings than planned; run `mdkd cache` again")
    return cache


def is_complete(dataset: Dataset, folder: Path, root: Path) -> bool:
    """Whether the cache at ``folder`` is complete and has the settings of ``dataset``.

    It must not be made from another folder than ``root``, see `is_from_elsewhere`.

    Raises:
        UserError: its ``meta.json`` is damaged.
    """
    if not (folder / "meta.json").exists():
        return False
    try:
        content = _read(folder)[1]
        return _is_of(dataset, content) and not is_from_elsewhere(content, root)
    except OtherFormat:
        return False


def read_meta(dataset: Dataset, layout: Layout) -> dict[str, Any] | None:
    """The record of a data set's cache; None if there is none or it has other settings.

    Raises:
        UserError: it is damaged, or the layout of the cache is that of another version.
    """
    return _meta_of(dataset, layout.cache(dataset.name))


def _meta_of(dataset: Dataset, folder: Path) -> dict[str, Any] | None:
    if not (folder / "meta.json").exists():
        return None
    _, content = _read(folder)
    return content if _is_of(dataset, content) else None


def is_from_elsewhere(meta: dict[str, Any], root: Path) -> bool:
    """Whether the folder ``root`` is there, and the cache was made from another one.

    Nothing is compared if ``root`` is not there: the files are not needed once a cache is made.
    """
    made_from = meta.get("root")
    return made_from is not None and os.path.isdir(root) and made_from != os.path.realpath(root)


def kept_root(root: Path) -> str | None:
    """The folder of the files as a cache keeps it: absolute, without links.

    None if ``meta.json`` cannot hold its path, which is no valid Unicode, say.
    """
    try:
        return clean(os.path.realpath(root), "root")
    except UserError:
        return None


def elsewhere(dataset: Dataset, folder: Path, root: Path) -> str | None:
    """What is wrong if the cache in ``folder`` has the planned settings and other files."""
    try:
        meta = _meta_of(dataset, folder)
    except OtherFormat:
        return None
    if meta is None or not is_from_elsewhere(meta, root):
        return None
    made = f"the cache of '{dataset.name}' was made from {meta['root']}"
    return f"{made}, and its root is {os.path.realpath(root)} now"


def _read(folder: Path) -> tuple[_Meta, dict[str, Any]]:
    """The checked content of ``meta.json``, and the same as plain data.

    Raises:
        UserError: it is damaged; `OtherFormat` if another version has written it.
    """
    file, anew = folder / "meta.json", _anew(folder)
    content = records.read_object(file, anew, anew)
    if (found := content.get("format")) != FORMAT:
        raise OtherFormat(f"{file}: cache format {show(found)}, expected {FORMAT}; {anew}")
    try:
        meta = parse(_Meta, content, str(file))
        checks.labels(meta.classes, f"{file}: classes")
    except (UserError, OverflowError) as error:  # the latter: an integer too large for a float
        where = "" if isinstance(error, UserError) else f"{file}: "
        raise UserError(f"{where}{error}; {anew}") from None
    if not {"train", "test"} <= meta.splits.keys() <= set(SPLITS):
        names = ", ".join(meta.splits) or "none"
        raise UserError(f"{file}: splits: expected train and test, found {names}; {anew}")
    return meta, content


def _is_of(dataset: Dataset, content: dict[str, Any]) -> bool:
    """Whether a cache has the planned settings. They are compared as text: JSON has no tuples."""
    return records.canonical(content["dataset"]) == records.canonical(asdict(dataset))


def _command(folder: Path) -> str:
    """The command that makes the cache in this folder, which is ``cache/PROTOCOL/DATASET``."""
    return f"`mdkd cache {folder.name} --protocol {folder.parent.name}`"


def _anew(folder: Path) -> str:
    return f"delete {folder}, then run {_command(folder)}"


def _open_split(name: str, facts: _SplitFacts, size: int, labels: int, folder: Path) -> CachedSplit:
    n = facts.images
    images_NSSC = _load(folder / f"images_{name}.npy", (n, size, size, 3))
    targets_NC = _load_labels(folder / f"labels_{name}.npy", (n, labels), facts.labels_sha256)
    ignored_NC = None
    if facts.ignored_sha256 is not None:
        file = folder / f"ignored_{name}.npy"
        ignored_NC = _load_labels(file, (n, labels), facts.ignored_sha256).astype(bool)
    ids_file = folder / f"ids_{name}.json"
    ids = read_json(ids_file, _anew(folder))
    if records.sha256(ids_file) != facts.ids_sha256:
        raise _changed(ids_file)
    if not isinstance(ids, list) or len(ids) != n or not all(type(i) is str for i in ids):
        raise UserError(f"{ids_file}: expected a list of {n} texts; {_anew(folder)}")
    return CachedSplit(ids, images_NSSC, targets_NC, ignored_NC)


def _load_labels(file: Path, shape: tuple[int, int], sha256: str) -> np.ndarray:
    """Read a uint8 ``[N, C]`` file into memory and compare it with its checksum."""
    values_NC = np.array(_load(file, shape))
    if digests.labels(values_NC) != sha256 or values_NC.max() > 1:
        raise _changed(file)
    return values_NC


def _changed(file: Path) -> UserError:
    reason = "was changed after caching (it does not match meta.json)"
    return UserError(f"{file}: {reason}; {_anew(file.parent)}")


def _load(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Memory-map a uint8 ``.npy`` file. Its shape and its size on disk must match ``shape``."""
    if (reason := problem(path)) is None:
        try:
            array = np.load(path, mmap_mode="r")
        except Exception as error:  # a damaged header can raise almost any exception
            reason = reason_of(error)
    if reason is not None:
        raise UserError(f"{path}: damaged cache ({reason}); {_anew(path.parent)}")
    if not isinstance(array, np.memmap) or array.shape != shape or array.dtype != np.uint8:
        found = f"{getattr(array, 'dtype', 'no array')} {getattr(array, 'shape', '')}"
        raise UserError(f"{path}: {found}, expected uint8 {shape}; {_anew(path.parent)}")
    if not array.flags.c_contiguous or path.stat().st_size != array.offset + array.nbytes:
        reason = f"its bytes are not those of {shape[0]} rows in order"
        raise UserError(f"{path}: {reason}; {_anew(path.parent)}")
    return array


def verify(folder: Path) -> None:
    """Check a finished cache completely, including every pixel.

    Raises:
        UserError: a file does not match ``meta.json``, or ``meta.json`` was changed.
    """
    cache = open_cache(folder)
    for name, facts in cache.meta["splits"].items():
        file = folder / f"images_{name}.npy"
        if digests.pixels(file)[0] != facts["pixels_sha256"]:
            raise _changed(file)
    if not digests.agree(cache.meta):
        reason = "does not match its fingerprint"
        raise UserError(f"{folder / 'meta.json'}: {reason}; {_anew(folder)}")
    counts = ", ".join(f"{name} {len(split.ids)}" for name, split in cache.splits.items())
    origin = f", made from {root}" if (root := cache.meta.get("root")) else ""
    log.info("cache is complete: %s images, fingerprint %s%s", counts, cache.fingerprint, origin)
