"""NUS-WIDE with its official lists. The labels are its 81 concepts, in the order of their list.

Images without any label are kept. The photographs are not part of the official archives, and most
copies of them are incomplete: see the option ``missing``.
"""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mdkd import records
from mdkd.data import checks
from mdkd.data.images import RESIZE
from mdkd.data.reading import inside, read_lines, repeated
from mdkd.data.sources import Split, Table, common
from mdkd.errors import UserError, show

# Possible paths below the root; the first one that exists is used.
CONCEPTS = ("ConceptsList/Concepts81.txt", "Concepts81.txt")
LABELS = ("Groundtruth/TrainTestLabels", "TrainTestLabels")
NAMED = 20  # the rule lists the names of at most this many missing images
LICENCE = (
    "NUS-WIDE's photographs are from Flickr and belong to their owners; its publishers give them "
    "to those who sign their agreement, which says what is allowed"
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The folder of photographs, the handling of missing ones, and the expected list lengths.

    ``missing: drop`` leaves out the images whose files are missing. Their number and the first of
    their names are written to the record of the cache. ``train_images``, ``test_images`` and
    ``labels`` are the expected lengths of the lists; None is not checked.
    """

    images: str = "Flickr"
    missing: Literal["error", "drop"] = "error"
    train_images: int | None = None
    test_images: int | None = None
    labels: int | None = None


def load(options: Options, root: Path, image_size: int) -> Table:
    """Read the lists of both splits. Images are decoded later, one by one.

    Raises:
        UserError: a file is missing or has another format, two files differ in length, or a
            number is not the expected one.
    """
    concepts, labels = common.first(root, CONCEPTS), common.first(root, LABELS)
    classes = tuple(read_lines(concepts))
    checks.labels(classes, concepts)
    common.expect(len(classes), options.labels, "concepts", concepts)
    images = root / options.images
    if not os.path.isdir(images):  # Path.is_dir can raise an error
        raise UserError(f"{images}: no such folder of images; set the data set's root or images")
    counts = {"train": options.train_images, "test": options.test_images}
    splits: dict[str, Split] = {}
    missing: dict[str, dict[str, Any]] = {}
    lists_sha256 = {}
    for name, part in (("train", "Train"), ("test", "Test")):
        file = root / "ImageList" / f"{part}Imagelist.txt"
        ids = [line.replace("\\", "/") for line in read_lines(file)]
        common.expect(len(ids), counts[name], "images", file)
        if (twice := repeated(ids)) is not None:
            raise UserError(f"{file}: image {show(twice)} appears twice; remove one of the lines")
        files = [inside(labels, f"Labels_{c}_{part}.txt", str(concepts)) for c in classes]
        columns = [_column(column, len(ids), file) for column in files]
        targets_NC = np.stack(columns, axis=1)
        paths = [inside(images, image_id, str(file)) for image_id in ids]
        if options.missing == "error":
            common.expect_images(paths, file, fix="add them, or set missing: drop")
        gone = common.missing(paths) if options.missing == "drop" else []
        missing[name] = {"images": len(gone), "first": [ids[i] for i in gone[:NAMED]]}
        kept = np.setdiff1d(np.arange(len(ids)), gone)
        splits[name] = common.image_split(
            [ids[i] for i in kept], targets_NC[kept], [paths[i] for i in kept], image_size, file
        )
        lists_sha256[name] = records.sha256(file)
    rule = {
        "options": asdict(options),
        "lists_sha256": lists_sha256,
        "missing": missing,
        "resize": RESIZE,
    }
    dropped = {name: {"missing": facts["images"]} for name, facts in missing.items()}
    return Table(classes, splits, rule, dropped=dropped)


def _column(file: Path, count: int, images: Path) -> np.ndarray:
    """One label of all ``count`` images, uint8 ``[N]``; the file ``images`` lists the images."""
    lines = read_lines(file)
    if len(lines) != count:
        raise UserError(
            f"{file}: {len(lines)} labels for the {count} images of {images}; "
            "replace the incomplete file"
        )
    if strange := set(lines) - {"0", "1"}:
        raise UserError(
            f"{file}: expected 0 or 1 in every line, found {show(min(strange))}; replace the file"
        )
    return np.array(lines, np.uint8)
