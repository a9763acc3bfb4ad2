"""The one form in which every data set reaches a training: decoded once, uint8, fixed size.

A cache is a folder: ``images_{split}.npy`` (uint8 ``[N, S, S, 3]``, memory-mapped),
``labels_{split}.npy`` (uint8 ``[N, C]``), ``ids_{split}.json``, ``contact_sheet.png`` and
``meta.json``, which is written last and so vouches for the rest.
"""

import hashlib
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mdkd import records, registry
from mdkd.config import Dataset, parse
from mdkd.data.sources import Split, Table
from mdkd.errors import UserError

FORMAT = 1  # raise it when the layout of the folder changes
SPLITS = ("train", "test")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CachedSplit:
    """One split of an opened cache."""

    ids: list[str]
    images_NSSC: np.ndarray  # uint8, memory-mapped
    targets_NC: np.ndarray  # uint8 in {0, 1}


@dataclass(frozen=True)
class Cache:
    """An opened cache; `fingerprint` changes whenever a pixel, a label or a rule does."""

    classes: tuple[str, ...]
    splits: dict[str, CachedSplit]
    fingerprint: str
    meta: dict


def build(dataset: Dataset, root: Path, folder: Path) -> None:
    """Decode or draw every image of ``dataset`` into the cache at ``folder``.

    Args:
        root: where the source finds its files.
    """
    source = registry.load("mdkd.data.sources", dataset.source)
    options = parse(source.Options, dataset.options, f"data set '{dataset.name}'")
    table: Table = source.load(options, root, dataset.image_size)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta.json").unlink(missing_ok=True)
    meta: dict = {
        "format": FORMAT,
        "dataset": asdict(dataset),
        "rule": table.rule,
        "classes": list(table.classes),
        "splits": {},
    }
    for name in SPLITS:
        meta["splits"][name] = _build_split(name, table.splits[name], dataset.image_size, folder)
    meta["fingerprint"] = hashlib.sha256(records.canonical(meta).encode()).hexdigest()
    if table.extras is not None:
        table.extras(folder)
    records.write_json(folder / "meta.json", meta)
    _contact_sheet(open_cache(folder), folder / "contact_sheet.png")


def _build_split(name: str, split: Split, size: int, folder: Path) -> dict:
    """Write one split and return its facts: counts, labels per image, checksums."""
    n, started = len(split.ids), time.monotonic()
    if n == 0:
        raise UserError(f"split '{name}' has no image")
    images_NSSC = np.lib.format.open_memmap(
        folder / f"images_{name}.npy", mode="w+", dtype=np.uint8, shape=(n, size, size, 3)
    )
    digest, reported = hashlib.sha256(), started
    for i in range(n):
        image_SSC = split.image(i)
        images_NSSC[i] = image_SSC
        digest.update(image_SSC.tobytes())
        now = time.monotonic()
        if now - reported > 5 or i + 1 == n:
            rate, reported = (i + 1) / (now - started), now
            log.info("%s: %d of %d images, %.0f images/s", name, i + 1, n, rate)
    images_NSSC.flush()
    np.save(folder / f"labels_{name}.npy", split.targets_NC.astype(np.uint8))
    records.write_json(folder / f"ids_{name}.json", split.ids)
    return {
        "images": n,
        "labels_per_image": float(split.targets_NC.sum(axis=1).mean()),
        "images_per_label": split.targets_NC.sum(axis=0).tolist(),
        "pixels_sha256": digest.hexdigest(),
        "labels_sha256": hashlib.sha256(split.targets_NC.astype(np.uint8).tobytes()).hexdigest(),
    }


def open_cache(folder: Path) -> Cache:
    """Open a finished cache; every file is checked against the counts in ``meta.json``."""
    meta = records.read_json(folder / "meta.json")
    if meta["format"] != FORMAT:
        raise UserError(f"{folder}: cache format {meta['format']}, expected {FORMAT}; delete it")
    size, classes = meta["dataset"]["image_size"], tuple(meta["classes"])
    splits = {}
    for name, facts in meta["splits"].items():
        n = facts["images"]
        images_NSSC = _load(folder / f"images_{name}.npy", (n, size, size, 3))
        targets_NC = np.array(_load(folder / f"labels_{name}.npy", (n, len(classes))))
        ids = records.read_json(folder / f"ids_{name}.json")
        if len(ids) != n:
            raise UserError(f"{folder}/ids_{name}.json: {len(ids)} ids, not {n}; delete {folder}")
        splits[name] = CachedSplit(ids, images_NSSC, targets_NC)
    return Cache(classes, splits, meta["fingerprint"], meta)


def _load(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: damaged cache ({error}); delete {path.parent}") from None
    if array.shape != shape or array.dtype != np.uint8:
        raise UserError(f"{path}: shape {array.shape}, expected {shape}; delete {path.parent}")
    return array


def _contact_sheet(cache: Cache, path: Path, columns: int = 8, rows: int = 6) -> None:
    """The first training images with their labels: what the networks will see."""
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
