"""Folders in the COCO format (``instances_*.json`` and images): MS-COCO 2014 or your own data.

An image has a label if at least one object of that category is annotated in it; crowds count too.
Images without any annotation are dropped, as in the papers that report on MS-COCO. Labels are
ordered by name.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from mdkd import records
from mdkd.data.images import RESIZE
from mdkd.data.sources import Split, Table, common
from mdkd.errors import UserError

KEYS = {  # the required keys of the entries in each part of the JSON file
    "images": {"id", "file_name"},
    "annotations": {"image_id", "category_id"},
    "categories": {"id", "name"},
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The paths of each split's files below the root, and the expected numbers of images.

    In a path, ``{split}`` is replaced by the name of the split. A number of None is not checked.
    """

    annotations: str = "annotations/instances_{split}.json"
    images: str = "{split}"
    train: str = "train2014"  # replaces {split} in the paths of the training split
    test: str = "val2014"  # the same for the test split
    train_images: int | None = None
    test_images: int | None = None
    labels: int | None = None


def load(options: Options, root: Path, image_size: int) -> Table:
    """Read the annotations of both splits. Images are decoded later, one by one.

    Raises:
        UserError: a file is missing or has another format, or a number is not the expected one.
    """
    files = {
        name: root / options.annotations.replace("{split}", split)
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
    common.expect(len(classes), options.labels, "labels", files["train"])
    splits = {}
    for name, split in (("train", options.train), ("test", options.test)):
        folder = root / options.images.replace("{split}", split)
        splits[name] = _split(contents[name], classes, folder, image_size, files[name])
        expected = options.train_images if name == "train" else options.test_images
        common.expect(len(splits[name].ids), expected, "annotated images", files[name])
    rule = {
        "options": asdict(options),
        "category_ids": {name: key for key, name in categories["train"].items()},
        "annotations_sha256": {name: records.sha256(file) for name, file in files.items()},
        "resize": RESIZE,
    }
    return Table(classes, splits, rule)


def _read(file: Path) -> dict:
    content = records.read_json(file, common.FETCH)
    for part, keys in KEYS.items():
        if not isinstance(content, dict) or part not in content:
            raise UserError(f"{file}: no '{part}'; expected COCO's instances format")
        for i, entry in enumerate(content[part]):
            if not isinstance(entry, dict) or not keys.issubset(entry):
                raise UserError(f"{file}: {part}[{i}]: expected the keys {', '.join(sorted(keys))}")
    for part, key in (("images", "id"), ("categories", "id"), ("categories", "name")):
        values = [entry[key] for entry in content[part]]
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise UserError(
                f"{file}: {part}: {key} {twice!r} appears twice; remove one of the entries"
            )
    return content


def _split(
    content: dict, classes: tuple[str, ...], folder: Path, image_size: int, file: Path
) -> Split:
    index = {name: i for i, name in enumerate(classes)}
    label_of = {c["id"]: index[c["name"]] for c in content["categories"]}
    labels: dict[int, set[int]] = {}
    for annotation in content["annotations"]:
        if annotation["category_id"] not in label_of:
            raise UserError(
                f"{file}: annotations: unknown category {annotation['category_id']}; "
                "add it to 'categories' or remove the annotation"
            )
        labels.setdefault(annotation["image_id"], set()).add(label_of[annotation["category_id"]])
    images = sorted((i for i in content["images"] if i["id"] in labels), key=lambda i: i["id"])
    unknown = labels.keys() - {image["id"] for image in images}
    if unknown:
        raise UserError(
            f"{file}: annotations of image {min(unknown)}, which is not listed; "
            "add it to 'images' or remove the annotations"
        )
    paths = [folder / image["file_name"] for image in images]
    common.expect_images(paths)
    ids = [str(image["id"]) for image in images]
    targets_NC = common.targets([labels[image["id"]] for image in images], len(classes))
    return common.image_split(ids, targets_NC, paths, image_size)
