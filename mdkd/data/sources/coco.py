"""Folders in the COCO format: ``instances_*.json`` and images. MS-COCO 2014, or your own data.

An image has a label if any object of that category is annotated in it, crowds included. Images
without an annotation are dropped, as in the papers that report on MS-COCO. Labels are ordered by
name.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mdkd import records
from mdkd.data.images import read_image
from mdkd.data.sources import Split, Table
from mdkd.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where the files of each split lie below the root, and how many images to expect.

    ``{split}`` in a path stands for the name of the split. A count of None is not checked.
    """

    annotations: str = "annotations/instances_{split}.json"
    images: str = "{split}"
    train: str = "train2014"  # name of the training split
    test: str = "val2014"
    train_images: int | None = None
    test_images: int | None = None
    labels: int | None = None


def load(options: Options, root: Path, image_size: int) -> Table:
    """Read the annotations of both splits; pixels are decoded when asked for.

    Raises:
        UserError: a file is missing or not in the format, or a count is not the expected one.
    """
    files = {
        name: root / options.annotations.format(split=split)
        for name, split in (("train", options.train), ("test", options.test))
    }
    contents = {name: _read(file) for name, file in files.items()}
    categories = {
        name: {c["id"]: c["name"] for c in content["categories"]}
        for name, content in contents.items()
    }
    if categories["train"] != categories["test"]:
        raise UserError(f"{files['test']}: its categories differ from those of {files['train']}")
    classes = tuple(sorted(categories["train"].values()))
    _expect(len(classes), options.labels, "labels", files["train"])
    splits = {}
    for name, split in (("train", options.train), ("test", options.test)):
        folder = root / options.images.format(split=split)
        splits[name] = _split(contents[name], classes, folder, image_size, files[name])
        expected = options.train_images if name == "train" else options.test_images
        _expect(len(splits[name].ids), expected, "annotated images", files[name])
    rule = {
        "options": asdict(options),
        "category_ids": {name: key for key, name in categories["train"].items()},
        "annotations_sha256": {name: records.sha256(file) for name, file in files.items()},
        "resize": "square, bilinear with antialiasing",
    }
    return Table(classes, splits, rule)


def _read(file: Path) -> dict:
    content = records.read_json(file, "download it, or set the data set's root or annotations")
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or key not in content:
            raise UserError(f"{file}: no '{key}'; expected COCO's instances format")
    return content


def _split(
    content: dict, classes: tuple[str, ...], folder: Path, image_size: int, file: Path
) -> Split:
    index = {name: i for i, name in enumerate(classes)}
    label_of = {c["id"]: index[c["name"]] for c in content["categories"]}
    labels: dict[int, set[int]] = {}
    for annotation in content["annotations"]:
        if annotation["category_id"] not in label_of:
            raise UserError(f"{file}: annotation of unknown category {annotation['category_id']}")
        labels.setdefault(annotation["image_id"], set()).add(label_of[annotation["category_id"]])
    images = sorted((i for i in content["images"] if i["id"] in labels), key=lambda i: i["id"])
    unknown = labels.keys() - {image["id"] for image in images}
    if unknown:
        raise UserError(f"{file}: annotations of image {min(unknown)}, which is not listed")
    targets_NC = np.zeros((len(images), len(classes)), np.uint8)
    for row, image in enumerate(images):
        targets_NC[row, sorted(labels[image["id"]])] = 1
    paths = [folder / image["file_name"] for image in images]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise UserError(f"{missing[0]}: no such image ({len(missing)} of {len(paths)} are missing)")
    ids = [str(image["id"]) for image in images]
    return Split(ids, targets_NC, partial(_image, paths, image_size))


def _image(paths: list[Path], image_size: int, i: int) -> np.ndarray:
    return read_image(paths[i], image_size)


def _expect(found: int, expected: int | None, what: str, file: Path) -> None:
    if expected is not None and found != expected:
        raise UserError(f"{file}: {found} {what}, expected {expected}; is the file complete?")
