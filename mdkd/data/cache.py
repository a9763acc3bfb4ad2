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
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mdkd import locks, records, registry
from mdkd.config import Dataset, parse
from mdkd.data.decode import DAMAGED, DONE, PixelFile, Progress, available_cores, decode
from mdkd.data.sources import Split, Table
from mdkd.errors import UserError

FORMAT = 2  # increase it when the layout of the folder changes

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

    ``meta["dropped"][split]`` counts the images that were left out: those with a ``missing`` file
    and those with a ``damaged`` file.
    """

    classes: tuple[str, ...]
    splits: dict[str, CachedSplit]  # "train", "test" and, with a validation split, "val"
    fingerprint: str
    meta: dict


def build(dataset: Dataset, root: Path, folder: Path, jobs: int | None = None) -> None:
    """Decode or draw every image of ``dataset`` into the cache at ``folder``.

    An interrupted build of the same images is resumed.

    Args:
        root: the folder with the source's files.
        jobs: the maximum number of processes; None means one per available core.

    Raises:
        UserError: a setting or a file of the source is wrong, the disk is full, or another
            process is building this cache.
    """
    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs {jobs}: must be 1 or more; leave it out to use all cores")
    source = registry.load("mdkd.data.sources", dataset.source)
    options = parse(source.Options, dataset.options, f"data set '{dataset.name}'")
    table: Table = source.load(options, root, dataset.image_size)
    splits = carve(table.splits, dataset.val)
    for name, split in splits.items():
        if not split.ids:
            hint = "raise val" if name == "val" else "check its options"
            raise UserError(f"data set '{dataset.name}': split '{name}' has no image; {hint}")
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"{folder}: another process is building this cache; wait for it or stop it"
    with locks.held(folder / "lock", busy):
        _write(dataset, table, splits, folder, available_cores() if jobs is None else jobs)


def is_complete(dataset: Dataset, folder: Path) -> bool:
    """Whether the cache at ``folder`` is complete and has the settings of ``dataset``."""
    file = folder / "meta.json"
    meta = records.read_json(file) if file.exists() else {}
    settings = json.loads(json.dumps(asdict(dataset)))  # tuples become lists, as in the file
    return meta.get("format") == FORMAT and meta.get("dataset") == settings


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
    work = {name: [split.ids, _sha256(split.targets_NC)] for name, split in splits.items()}
    progress = Progress(folder / "progress.npz", _fingerprint(facts | {"work": work}), files)
    decode(progress, dataset.damaged == "drop", jobs)

    if any((state_N == DAMAGED).any() for state_N in progress.states.values()):
        progress.delete()  # _finish moves rows, so the saved row states become wrong
    meta: dict = facts | {"splits": {}, "dropped": {}}
    for name, split in splits.items():
        damaged = np.flatnonzero(progress.states[name] == DAMAGED).tolist()
        missing = table.rule.get("missing", {}).get(name, {}).get("images", 0)
        meta["dropped"][name] = {"missing": missing, "damaged": len(damaged)}
        kept = np.flatnonzero(progress.states[name] == DONE).tolist()
        meta["splits"][name] = _finish(name, select(split, kept), kept, files[name], folder)
        meta["splits"][name]["damaged"] = [split.ids[i] for i in damaged]
    meta["fingerprint"] = _fingerprint(meta)
    if table.extras is not None:
        table.extras(folder)
    records.write_json(folder / "meta.json", meta)
    progress.delete()
    _contact_sheet(open_cache(folder), folder / "contact_sheet.png")


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
    digests = (hashlib.sha256(image_id.encode()).digest() for image_id in train.ids)
    aside_N = [int.from_bytes(digest[:8]) < fraction * 2**64 for digest in digests]
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


def _finish(name: str, split: Split, kept: list[int], file: PixelFile, folder: Path) -> dict:
    """Write the labels and ids of a split; return its counts and checksums for ``meta.json``."""
    n, targets_NC = len(split.ids), split.targets_NC.astype(np.uint8)
    if n == 0:
        raise UserError(
            f"split '{name}': none of its {file.count} images can be decoded; replace the files"
        )
    if n < file.count:
        file.close_gaps(kept)
    np.save(folder / f"labels_{name}.npy", targets_NC)
    records.write_json(folder / f"ids_{name}.json", split.ids)
    return _finish_ignored(split, folder / f"ignored_{name}.npy") | {
        "images": n,
        "labels_per_image": float(targets_NC.sum(axis=1).mean()),
        "images_per_label": targets_NC.sum(axis=0).tolist(),
        "pixels_sha256": _pixels_sha256(file.path),
        "labels_sha256": _sha256(targets_NC),
        "ids_sha256": records.sha256(folder / f"ids_{name}.json"),
    }


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
    np.save(file, ignored_NC)
    return {
        "ignored_per_label": ignored_NC.sum(axis=0).tolist(),
        "ignored_sha256": _sha256(ignored_NC),
    }


def open_cache(folder: Path) -> Cache:
    """Open a finished cache. Everything except the pixels is checked against ``meta.json``."""
    file = folder / "meta.json"
    meta = records.read_json(file)
    found = meta.get("format") if isinstance(meta, dict) else None
    if found != FORMAT:
        raise UserError(f"{file}: cache format {found}, expected {FORMAT}; delete {folder}")
    try:
        size, classes = meta["dataset"]["image_size"], tuple(meta["classes"])
        splits = {
            name: _open_split(name, facts, size, len(classes), folder)
            for name, facts in meta["splits"].items()
        }
        return Cache(classes, splits, meta["fingerprint"], meta)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: not a valid cache record ({error!r}); delete {folder}") from None


def open_planned(dataset: Dataset, folder: Path) -> Cache:
    """The cache in ``folder``, if it was made from this data set with the planned settings.

    Raises:
        UserError: it was made with other settings, or there is none.
    """
    cache = open_cache(folder)
    if cache.meta["dataset"] != asdict(dataset):
        raise UserError(f"{folder}: made with other settings than planned; run `mdkd cache` again")
    return cache


def _open_split(name: str, facts: dict, size: int, labels: int, folder: Path) -> CachedSplit:
    n = facts["images"]
    images_NSSC = _load(folder / f"images_{name}.npy", (n, size, size, 3))
    targets_NC = _load_labels(folder / f"labels_{name}.npy", (n, labels), facts["labels_sha256"])
    ignored_NC = None
    if "ignored_sha256" in facts:
        file = folder / f"ignored_{name}.npy"
        ignored_NC = _load_labels(file, (n, labels), facts["ignored_sha256"]).astype(bool)
    ids_file = folder / f"ids_{name}.json"
    ids = records.read_json(ids_file)
    if records.sha256(ids_file) != facts["ids_sha256"]:
        raise _changed(ids_file)
    return CachedSplit(ids, images_NSSC, targets_NC, ignored_NC)


def _load_labels(file: Path, shape: tuple[int, int], sha256: str) -> np.ndarray:
    """Read a uint8 ``[N, C]`` file into memory and compare it with its checksum."""
    values_NC = np.array(_load(file, shape))
    if _sha256(values_NC) != sha256:
        raise _changed(file)
    return values_NC


def _changed(file: Path) -> UserError:
    return UserError(
        f"{file}: was changed after caching (checksum in meta.json); delete {file.parent}"
    )


def _load(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Memory-map a uint8 ``.npy`` file. Its shape and its size on disk must match ``shape``."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: damaged cache ({error}); delete {path.parent}") from None
    if not isinstance(array, np.memmap) or array.shape != shape or array.dtype != np.uint8:
        found = f"{getattr(array, 'dtype', 'no array')} {getattr(array, 'shape', '')}"
        raise UserError(f"{path}: {found}, expected uint8 {shape}; delete {path.parent}")
    if path.stat().st_size != array.offset + array.nbytes:
        raise UserError(f"{path}: extra bytes after its {shape[0]} rows; delete {path.parent}")
    return array


def verify(folder: Path) -> None:
    """Check a finished cache completely, including every pixel.

    Raises:
        UserError: a file does not match ``meta.json``, or ``meta.json`` was changed.
    """
    cache = open_cache(folder)
    for name, facts in cache.meta["splits"].items():
        file = folder / f"images_{name}.npy"
        if _pixels_sha256(file) != facts["pixels_sha256"]:
            raise _changed(file)
    if _fingerprint(cache.meta) != cache.fingerprint:
        raise UserError(f"{folder / 'meta.json'}: does not match its fingerprint; delete {folder}")
    counts = ", ".join(f"{name} {len(split.ids)}" for name, split in cache.splits.items())
    log.info("cache is complete: %s images, fingerprint %s", counts, cache.fingerprint)


def _fingerprint(facts: dict) -> str:
    """Hex digest of all facts except the fingerprint itself.

    The facts are converted to JSON and back first, so that they are the same as those read later
    from ``meta.json``. For example, tuples become lists.
    """
    others = {key: value for key, value in facts.items() if key != "fingerprint"}
    return records.digest(json.loads(json.dumps(others)))


def _sha256(targets_NC: np.ndarray) -> str:
    return hashlib.sha256(targets_NC.astype(np.uint8).tobytes()).hexdigest()


def _pixels_sha256(path: Path) -> str:
    """Hex digest of all rows, in order. Reads in small pieces, to save memory."""
    start = np.load(path, mmap_mode="r").offset
    with path.open("rb") as file:
        file.seek(start)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _contact_sheet(cache: Cache, path: Path, columns: int = 8, rows: int = 6) -> None:
    """Write a picture of the first training images with their labels, as the networks see them."""
    split = cache.splits["train"]
    side, text = 128, 44
    sheet = Image.new("RGB", (columns * (side + 8), rows * (side + text)), "white")
    draw = ImageDraw.Draw(sheet)
    for i in range(min(columns * rows, len(split.ids))):
        x, y = (i % columns) * (side + 8) + 4, (i // columns) * (side + text) + 4
        image = Image.fromarray(np.asarray(split.images_NSSC[i]))
        sheet.paste(image.resize((side, side), Image.Resampling.NEAREST), (x, y))
        names = [cache.classes[c] for c in np.flatnonzero(split.targets_NC[i])]
        for line in range(3):
            words = ", ".join(names[2 * line : 2 * line + 2])
            draw.text((x, y + side + 1 + 12 * line), words, "black")
    with records.atomic(path) as file:
        sheet.save(file, format="PNG")
