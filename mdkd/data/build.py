"""Build a cache (`mdkd.data.cache` describes its files): decode every image, write all files.

Shape key: N images, C labels, S pixels on a side.
"""

import hashlib
import io
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np

from mdkd import locks, records, registry
from mdkd.config import Dataset, one_line, parse
from mdkd.data import checks, contact_sheet, digests
from mdkd.data.cache import FORMAT, SPLITS, kept_root
from mdkd.data.decode import DAMAGED, DONE, PixelFile, Rows, available_cores, decode
from mdkd.data.sources import Split, Table
from mdkd.errors import UserError

log = logging.getLogger(__name__)


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
    made_from = None if getattr(source, "DRAWN", False) else kept_root(root)
    with locks.held(folder / "lock", busy):
        cores = available_cores() if jobs is None else jobs
        _write(dataset, table, splits, made_from, folder, cores)


def _write(
    dataset: Dataset,
    table: Table,
    splits: dict[str, Split],
    root: str | None,
    folder: Path,
    jobs: int,
) -> None:
    """Write all files of the cache, ``meta.json`` last. ``root``: what it keeps of its origin."""
    facts = {
        "format": FORMAT,
        "dataset": asdict(dataset),
        "rule": table.rule,
        "classes": list(table.classes),
    }
    (folder / "meta.json").unlink(missing_ok=True)
    for half in folder.glob(f"*{records.PART}"):  # of a build that was killed
        half.unlink()
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
    made_from = {} if root is None else {"root": root}
    begun = facts | {"work": work if root is None else [root, work]}  # not that of other files
    decoded = Rows(folder / "progress.npz", digests.fingerprint(begun), files)
    decode(decoded, dataset.damaged == "drop", jobs)

    if any((state_N == DAMAGED).any() for state_N in decoded.states.values()):
        decoded.delete()  # _finish moves rows, so the saved row states become wrong
    meta: dict = facts | made_from | {"splits": {}, "dropped": {}}
    rows: dict[str, list[bytes]] = {}  # a digest of the pixels of each image
    ids: dict[str, list[str]] = {}
    for name, split in splits.items():
        damaged = np.flatnonzero(decoded.states[name] == DAMAGED).tolist()
        counts = {"missing": 0, "damaged": len(damaged)} | table.dropped.get(name, {})
        meta["dropped"][name] = counts
        if damaged:
            log.warning("%s: %d damaged images left out", name, len(damaged))
        kept = np.flatnonzero(decoded.states[name] == DONE).tolist()
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
    images_NSSC = np.load(files["train"].path, mmap_mode="r")
    targets_NC = np.load(folder / "labels_train.npy")
    contact_sheet.write(folder / "contact_sheet.png", images_NSSC, targets_NC, table.classes)
    records.write_json(folder / "meta.json", meta)
    decoded.delete()


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
