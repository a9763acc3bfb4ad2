"""Data set caches: every image is decoded once and stored as uint8 at a fixed size.

Training reads all data sets in this form. A cache is a folder with these files:

- ``images_{split}.npy``: pixels, uint8 ``[N, S, S, 3]``, memory-mapped.
- ``labels_{split}.npy``: labels, uint8 ``[N, C]``.
- ``ignored_{split}.npy``: uint8 ``[N, C]``, 1 where the label is unknown. Only written if a label
  is ignored somewhere.
- ``ids_{split}.json``: the names of the images.
- ``contact_sheet.png``: a picture of the first training images, for a visual check.
- ``meta.json``: settings, counts and checksums. It is written after all data: a cache is complete
  if this file exists.
- ``progress.npz``: only in an unfinished cache. The next build resumes from it.

Shape key: N images, C labels, S pixels on a side.
"""

import hashlib
import io
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mdkd import locks, records, registry
from mdkd.config import Dataset, number, one_line, parse
from mdkd.data import checks, contact_sheet, digests
from mdkd.data.decode import DAMAGED, DONE, PixelFile, Progress, available_cores, decode
from mdkd.data.reading import problem, read_json, reason_of, show
from mdkd.data.sources import Split, Table
from mdkd.errors import UserError

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


def build(
    dataset: Dataset,
    root: Path,
    folder: Path,
    jobs: int | None = None,
    check: Callable[[int, int], None] | None = None,
) -> None:
    """Decode or draw every image of ``dataset`` into the cache at ``folder``.

    An interrupted build of the same images is resumed.

    Args:
        root: the folder with the source's files.
        jobs: the maximum number of processes; None means one per available core.
        check: called with the numbers of labels and of training images, before any image is read.
            It may raise a UserError.

    Raises:
        UserError: a setting or a file of the source is wrong, the disk is full, or another
            process is building this cache.
    """
    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs {jobs}: must be 1 or more; leave it out to use all cores")
    source = registry.load("mdkd.data.sources", dataset.source)
    options = parse(source.Options, dataset.options, f"data set '{dataset.name}'")
    table: Table = source.load(options, root, dataset.image_size)
    where = f"data set '{dataset.name}': a label"
    table = replace(table, classes=tuple(one_line(name, where) for name in table.classes))
    checks.check(table, f"data set '{dataset.name}'")
    splits = carve(table.splits, dataset.val)
    for name, split in splits.items():
        left_out = _counts(table.dropped.get(name, {}))
        if left_out:
            log.info("%s: images left out: %s", name, left_out)
        if not split.ids:
            hint = "raise val" if name == "val" else "check its options"
            hint += f" (images left out: {left_out})" if left_out else ""
            raise UserError(f"data set '{dataset.name}': split '{name}' has no image; {hint}")
    if check is not None:
        check(len(table.classes), len(splits["train"].ids))
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"{folder}: another process is building this cache; wait for it or stop it"
    with locks.held(folder / "lock", busy):
        _write(dataset, table, splits, folder, available_cores() if jobs is None else jobs)


def is_complete(dataset: Dataset, folder: Path) -> bool:
    """Whether the cache at ``folder`` is complete and has the settings of ``dataset``."""
    file = folder / "meta.json"
    meta = records.read_json(file) if file.exists() else {}
    planned = records.canonical(asdict(dataset))  # as text, because the file has no tuples
    return meta.get("format") == FORMAT and records.canonical(meta.get("dataset")) == planned


def _write(
    dataset: Dataset, table: Table, splits: dict[str, Split], folder: Path, jobs: int
) -> None:
    """Write all files of the cache, ``meta.json`` last."""
    facts = {
        "format": FORMAT,
        "dataset": asdict(dataset),
        "rule": table.rule,
        "classes": list(table.classes),
    }
    (folder / "meta.json").unlink(missing_ok=True)
    if "val" not in splits:  # an earlier build with a val split may have left gigabytes
        for file in folder.glob("*_val.*"):
            file.unlink()
    files = {
        name: PixelFile(
            folder / f"images_{name}.npy", len(split.ids), dataset.image_size, split.image
        )
        for name, split in splits.items()
    }
    work = {name: [split.ids, digests.labels(split.targets_NC)] for name, split in splits.items()}
    progress = Progress(folder / "progress.npz", digests.fingerprint(facts | {"work": work}), files)
    decode(progress, dataset.damaged == "drop", jobs)

    if any((state_N == DAMAGED).any() for state_N in progress.states.values()):
        progress.delete()  # _finish moves rows, so the saved row states become wrong
    meta: dict = facts | {"splits": {}, "dropped": {}}
    rows: dict[str, list[bytes]] = {}  # a digest of the pixels of each image
    ids: dict[str, list[str]] = {}
    for name, split in splits.items():
        damaged = np.flatnonzero(progress.states[name] == DAMAGED).tolist()
        counts = {"missing": 0, "damaged": len(damaged)} | table.dropped.get(name, {})
        meta["dropped"][name] = counts
        if damaged:
            log.warning("%s: %d damaged images left out", name, len(damaged))
        kept = np.flatnonzero(progress.states[name] == DONE).tolist()
        part = select(split, kept)
        meta["splits"][name], rows[name] = _finish(name, part, kept, files[name], folder)
        ids[name] = part.ids
        if unseen := [table.classes[c] for c in np.flatnonzero(~part.targets_NC.any(axis=0))]:
            text = "%s: no image has %d of %d labels, such as '%s'"
            log.info(text, name, len(unseen), len(table.classes), unseen[0])
        meta["splits"][name]["damaged"] = [split.ids[i] for i in damaged]
    meta["repeated"] = _repeated(rows, ids)
    meta["fingerprint"] = digests.fingerprint(meta)
    if table.extras is not None:
        table.extras(folder)
    records.write_json(folder / "meta.json", meta)
    progress.delete()
    cache = open_cache(folder)
    train = cache.splits["train"]
    contact_sheet.write(
        folder / "contact_sheet.png", train.images_NSSC, train.targets_NC, cache.classes
    )


def carve(splits: dict[str, Split], fraction: float) -> dict[str, Split]:
    """Move about ``fraction`` of the training images into a new split ``val``.

    The choice depends only on the name of each image, not on the order or on other images.

    >>> ids = [f"{i}.jpg" for i in range(8)]
    >>> train = Split(ids, np.eye(8, dtype=np.uint8), lambda i: np.zeros((4, 4, 3), np.uint8))
    >>> carve({"train": train}, 0.25)["val"].ids
    ['0.jpg', '5.jpg']
    """
    if fraction == 0:
        return splits
    train = splits["train"]
    hashes = (hashlib.sha256(image_id.encode()).digest() for image_id in train.ids)
    aside_N = [int.from_bytes(found[:8]) < fraction * 2**64 for found in hashes]
    return {
        "train": select(train, [i for i, aside in enumerate(aside_N) if not aside]),
        "val": select(train, [i for i, aside in enumerate(aside_N) if aside]),
        **{name: split for name, split in splits.items() if name != "train"},
    }


def select(split: Split, indices: list[int]) -> Split:
    """A split with only the images at ``indices``, in that order."""
    if len(indices) == len(split.ids):
        return split
    return Split(
        [split.ids[i] for i in indices],
        split.targets_NC[indices],
        partial(_image_at, split.image, indices),
        None if split.ignored_NC is None else split.ignored_NC[indices],
    )


def _image_at(image: Callable[[int], np.ndarray], indices: list[int], i: int) -> np.ndarray:
    return image(indices[i])


def _counts(dropped: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count)


def _repeated(rows: dict[str, list[bytes]], ids: dict[str, list[str]]) -> dict[str, int]:
    """How many images of a split have the same pixels as one of a split before it.

    Splits without such images are left out. Within a split, images may have equal pixels.
    """
    found: dict[str, int] = {}
    seen: dict[bytes, str] = {}
    for name in sorted(rows, key=SPLITS.index):
        twice = [i for i, row in enumerate(rows[name]) if row in seen]
        if twice:
            found[name] = len(twice)
            log.warning(
                "%s: %d of %d images have the same pixels as an image of another split, such as "
                "'%s' and '%s': scores become too high; remove these images from one of the splits",
                *(name, len(twice), len(rows[name])),
                *(ids[name][twice[0]], seen[rows[name][twice[0]]]),
            )
        seen |= {row: i for row, i in zip(rows[name], ids[name], strict=True) if row not in seen}
    return found


def _finish(
    name: str, split: Split, kept: list[int], file: PixelFile, folder: Path
) -> tuple[dict, list[bytes]]:
    """Write the labels and ids of a split.

    Returns its counts and checksums for ``meta.json``, and a digest of the pixels of each image.
    """
    n, targets_NC = len(split.ids), split.targets_NC.astype(np.uint8)
    if n == 0:
        raise UserError(
            f"split '{name}': none of its {file.count} images can be decoded; replace the files"
        )
    if n < file.count:
        file.close_gaps(kept)
    _save(folder / f"labels_{name}.npy", targets_NC)
    records.write_json(folder / f"ids_{name}.json", split.ids)
    pixels_sha256, rows = digests.pixels(file.path)
    facts = _finish_ignored(split, folder / f"ignored_{name}.npy") | {
        "images": n,
        "labels_per_image": float(targets_NC.sum(axis=1).mean()),
        "images_per_label": targets_NC.sum(axis=0).tolist(),
        "pixels_sha256": pixels_sha256,
        "labels_sha256": digests.labels(targets_NC),
        "ids_sha256": records.sha256(folder / f"ids_{name}.json"),
    }
    return facts, rows


def _finish_ignored(split: Split, file: Path) -> dict:
    """Write the ignored labels of a split; return their counts and checksum for ``meta.json``.

    If nothing is ignored, no file is written and the result is empty.
    """
    if split.ignored_NC is None or not split.ignored_NC.any():
        file.unlink(missing_ok=True)  # an earlier build may have written it
        return {}
    if (split.targets_NC & split.ignored_NC).any():
        raise ValueError(f"{file.name}: the source returned a label that is ignored and positive")
    ignored_NC = split.ignored_NC.astype(np.uint8)
    _save(file, ignored_NC)
    return {
        "ignored_per_label": ignored_NC.sum(axis=0).tolist(),
        "ignored_sha256": digests.labels(ignored_NC),
    }


def _save(file: Path, values_NC: np.ndarray) -> None:
    buffer = io.BytesIO()  # writing to a file, NumPy would not say why it fails
    np.save(buffer, values_NC)
    with records.atomic(file) as out:
        out.write(buffer.getbuffer())


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
    fingerprint: str


def open_cache(folder: Path) -> Cache:
    """Open a finished cache. Everything except the pixels is checked against ``meta.json``."""
    file = folder / "meta.json"
    if problem(file) == "no such file":
        raise UserError(f"{file}: no such file; run {_command(folder)} first")
    content = read_json(file, _anew(folder))
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        reason = f"cache format {show(found)}, expected {FORMAT}"
        raise UserError(f"{file}: {reason}; {_anew(folder)}")
    try:
        meta = parse(_Meta, content, str(file))
        checks.labels(meta.classes, f"{file}: classes")
    except (UserError, OverflowError) as error:  # the latter: an integer too large for a float
        where = "" if isinstance(error, UserError) else f"{file}: "
        raise UserError(f"{where}{error}; {_anew(folder)}") from None
    if not {"train", "test"} <= meta.splits.keys() <= set(SPLITS):
        names = ", ".join(meta.splits) or "none"
        raise UserError(f"{file}: splits: expected train and test, found {names}; {_anew(folder)}")
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
    if cache.meta["dataset"] != asdict(dataset):
        raise UserError(f"{folder}: made with other settings than planned; run `mdkd cache` again")
    return cache


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
    log.info("cache is complete: %s images, fingerprint %s", counts, cache.fingerprint)
