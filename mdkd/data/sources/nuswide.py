"""NUS-WIDE with its official lists and its 81 concepts as labels, in the order of their list.

Nothing is left out, also not the images without any of the labels. The photographs are not part of
the official archives, and copies of them are seldom complete: see the option ``missing``.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from mdkd import records
from mdkd.data.images import RESIZE
from mdkd.data.sources import Split, Table, common
from mdkd.errors import UserError

CONCEPTS = ("ConceptsList/Concepts81.txt", "Concepts81.txt")  # below the root, the first there
LABELS = ("Groundtruth/TrainTestLabels", "TrainTestLabels")
NAMED = 20  # missing images that the rule names


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where the photographs are, what becomes of missing ones, and how many lines to expect.

    ``missing: drop`` leaves images out whose files are missing; their number and the first names
    enter the record of the cache. The counts are those of the lists; None is not checked.
    """

    images: str = "Flickr"
    missing: Literal["error", "drop"] = "error"
    train_images: int | None = None
    test_images: int | None = None
    labels: int | None = None


def load(options: Options, root: Path, image_size: int) -> Table:
    """Read the lists of both splits; pixels are decoded when asked for.

    Raises:
        UserError: a file is missing or not in the format, two files differ in length, or a count
            is not the expected one.
    """
    concepts, labels = common.first(root, CONCEPTS), common.first(root, LABELS)
    classes = tuple(common.read_lines(concepts))
    common.expect(len(classes), options.labels, "concepts", concepts)
    images = root / options.images
    if not images.is_dir():
        raise UserError(f"{images}: no such folder of images; set the data set's root or images")
    counts = {"train": options.train_images, "test": options.test_images}
    splits: dict[str, Split] = {}
    missing, lists_sha256 = {}, {}
    for name, part in (("train", "Train"), ("test", "Test")):
        file = root / "ImageList" / f"{part}Imagelist.txt"
        ids = [line.replace("\\", "/") for line in common.read_lines(file)]
        common.expect(len(ids), counts[name], "images", file)
        columns = [_column(labels / f"Labels_{c}_{part}.txt", len(ids), file) for c in classes]
        targets_NC = np.stack(columns, axis=1)
        paths = [images / image_id for image_id in ids]
        if options.missing == "error":
            common.expect_images(paths, "complete them, or set missing: drop")
        gone = common.missing(paths) if options.missing == "drop" else []
        missing[name] = {"images": len(gone), "first": [ids[i] for i in gone[:NAMED]]}
        kept = np.setdiff1d(np.arange(len(ids)), gone)
        splits[name] = common.image_split(
            [ids[i] for i in kept], targets_NC[kept], [paths[i] for i in kept], image_size
        )
        lists_sha256[name] = records.sha256(file)
    rule = {
        "options": asdict(options),
        "lists_sha256": lists_sha256,
        "missing": missing,
        "resize": RESIZE,
    }
    return Table(classes, splits, rule)


def _column(file: Path, count: int, images: Path) -> np.ndarray:
    """One label of the ``count`` images listed in the file ``images``: uint8 ``[N]``."""
    lines = common.read_lines(file)
    if len(lines) != count:
        raise UserError(
            f"{file}: {len(lines)} labels for the {count} images of {images}; "
            "replace the incomplete one"
        )
    if strange := set(lines) - {"0", "1"}:
        raise UserError(f"{file}: expected 0 or 1 in every line, found '{min(strange)}'")
    return np.array(lines, np.uint8)
