"""Folders in the COCO format (``instances_*.json`` and images): MS-COCO 2014 or your own data.

An image has a label if at least one object of that category is annotated in it; crowds count too.
Images without any annotation are dropped, as in the papers that report on MS-COCO; the option
``unannotated`` keeps them. Labels are ordered by name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mdkd import records
from mdkd.data import checks
from mdkd.data.images import RESIZE
from mdkd.data.reading import inside, is_clean, read_json, repeated
from mdkd.data.sources import Split, Table, added, common, facts
from mdkd.errors import UserError, show

Id = int | str
LICENCE = (
    "MS-COCO's annotations are under CC BY 4.0; its photographs belong to their owners on Flickr, "
    "each under the licence that the annotation file names. If this is other data in the COCO "
    "format, say here what its owner allows"
)


def _is_id(value: Any) -> bool:
    return type(value) is int or (type(value) is str and is_clean(value))  # a bool is no int here


def _is_text(value: Any) -> bool:
    return type(value) is str


# The required keys of the entries in each part of the JSON file, what their values must be, and the
# same in words. Names of files and labels are checked further where they are used.
ID, TEXT = (_is_id, "an integer or text on one line"), (_is_text, "text")
KEYS: dict[str, dict[str, tuple[Callable[[Any], bool], str]]] = {
    "images": {"id": ID, "file_name": TEXT},
    "annotations": {"image_id": ID, "category_id": ID},
    "categories": {"id": ID, "name": TEXT},
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
    unannotated: Literal["drop", "keep"] = added("drop")  # images without any annotation
    train_images: int | None = None
    test_images: int | None = None
    labels: int | None = None


def load(options: Options, root: Path, image_size: int) -> Table:
    """Read the annotations of both splits. Images are decoded later, one by one.

    Raises:
        UserError: a file is missing or has another format, or a number is not the expected one.
    """
    names = (("train", options.train), ("test", options.test))
    files = {name: root / options.annotations.replace("{split}", split) for name, split in names}
    common.two_splits(options.train, options.test, files["train"])
    contents = {name: _read(file) for name, file in files.items()}
    categories = {
        name: {c["id"]: c["name"] for c in content["categories"]}
        for name, content in contents.items()
    }
    if categories["train"] != categories["test"]:
        raise UserError(
            f"{files['test']}: its categories differ from those of {files['train']}; "
            "write the same 'categories' into both files"
        )
    classes = tuple(sorted(categories["train"].values()))
    common.expect(len(classes), options.labels, "labels", files["train"])
    splits, dropped = {}, {}
    for name, split in names:
        folder = root / options.images.replace("{split}", split)
        keep = options.unannotated == "keep"
        splits[name] = _split(contents[name], classes, folder, image_size, files[name], keep)
        unannotated = len(contents[name]["images"]) - len(splits[name].ids)
        dropped[name] = {"unannotated": unannotated} if unannotated else {}
        expected = options.train_images if name == "train" else options.test_images
        used = "images" if keep else "annotated images"
        common.expect(len(splits[name].ids), expected, used, files[name])
    rule = {
        "options": facts(options),
        "category_ids": {name: key for key, name in categories["train"].items()},
        "annotations_sha256": {name: records.sha256(file) for name, file in files.items()},
        "resize": RESIZE,
    }
    return Table(classes, splits, rule, dropped=dropped)


def _read(file: Path) -> dict:
    """The content of an annotation file, with every part, key and type that is used."""
    content = read_json(file)
    for part, keys in KEYS.items():
        if not isinstance(content, dict) or part not in content:
            raise UserError(f"{file}: no '{part}'; expected COCO's instances format")
        if not isinstance(content[part], list):
            raise UserError(
                f"{file}: {part}: expected a list, found {show(content[part])}; "
                "write it in COCO's instances format"
            )
        for i, entry in enumerate(content[part]):
            _check_entry(entry, keys, f"{file}: {part}[{i}]")
    for part, key in (("images", "id"), ("categories", "id"), ("categories", "name")):
        values = [entry[key] for entry in content[part]]
        if (twice := repeated(values)) is not None:
            raise UserError(
                f"{file}: {part}: {key} {show(twice)} appears twice; remove one of the entries"
            )
        other = next((v for v in values if type(v) is not type(values[0])), None)
        if other is not None:
            raise UserError(
                f"{file}: {part}: {key} is {show(values[0])} in one entry and {show(other)} in "
                "another; write all of them as numbers or all as text"
            )
    checks.labels([category["name"] for category in content["categories"]], f"{file}: categories")
    return content


def _check_entry(
    entry: Any, keys: dict[str, tuple[Callable[[Any], bool], str]], where: str
) -> None:
    if not isinstance(entry, dict) or not keys.keys() <= entry.keys():
        names = ", ".join(sorted(keys))
        raise UserError(f"{where}: expected the keys {names}, found {show(entry)}; correct it")
    for key, (is_right, expected) in keys.items():
        if not is_right(entry[key]):
            found = show(entry[key])
            raise UserError(f"{where}: {key}: expected {expected}, found {found}; correct it")


def _split(
    content: dict,
    classes: tuple[str, ...],
    folder: Path,
    image_size: int,
    file: Path,
    keep: bool,
) -> Split:
    """One split; images without annotation are in it only if ``keep``."""
    index = {name: i for i, name in enumerate(classes)}
    label_of = {c["id"]: index[c["name"]] for c in content["categories"]}
    labels: dict[Id, set[int]] = {image["id"]: set() for image in content["images"]}
    for i, annotation in enumerate(content["annotations"]):
        image_id, category = annotation["image_id"], annotation["category_id"]
        if category not in label_of:
            raise UserError(
                f"{file}: annotations[{i}]: unknown category {show(category)}; "
                "add it to 'categories' or remove the annotation"
            )
        if image_id not in labels:
            raise UserError(
                f"{file}: annotations[{i}] is of image {show(image_id)}, which is not listed; "
                "add it to 'images' or remove the annotation"
            )
        labels[image_id].add(label_of[category])
    numbered = [(i, m) for i, m in enumerate(content["images"]) if keep or labels[m["id"]]]
    numbered.sort(key=lambda pair: pair[1]["id"])
    paths = [
        inside(folder, image["file_name"], f"{file}: images[{i}]: file_name")
        for i, image in numbered
    ]
    common.expect_images(paths, file)
    ids = [image["id"] for _, image in numbered]
    targets_NC = common.targets([labels[image_id] for image_id in ids], len(classes))
    return common.image_split([str(i) for i in ids], targets_NC, paths, image_size, file)
