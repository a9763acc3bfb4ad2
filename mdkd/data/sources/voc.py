"""PASCAL VOC2007, and other data in the folder layout of its official archives.

An image has a label if an object of that class is annotated in it. If the official lists of a
class exist, they are compared with the annotations. The labels are the 20 official classes in
alphabetical order, or those of the option ``classes``, even if some do not occur.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from mdkd import records
from mdkd.data import checks
from mdkd.data.images import RESIZE
from mdkd.data.reading import inside, read_bytes, read_lines, reason_of, repeated
from mdkd.data.sources import ADDED, Split, Table, common, facts
from mdkd.errors import UserError, nearest, show

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
LISTS = tuple(f"{top}ImageSets/Main" for top in ("VOCdevkit/VOC2007/", "VOC2007/", ""))
LICENCE = (
    "VOC2007's photographs are from Flickr and belong to their owners; Flickr's terms of use "
    "apply. If this is other data in the VOC format, say here what its owner allows"
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The official splits, the handling of difficult objects, and the expected image numbers.

    ``difficult`` says what happens if all objects of a class in an image are marked difficult. The
    image has the label (``positive``), does not have it (``negative``), or is skipped for this
    label in training and testing (``ignore``, as in the official evaluation). A number of None is
    not checked. ``classes`` are the labels of other data, in their order; None: those of VOC2007.
    """

    train: str = "trainval"  # ImageSets/Main/{train}.txt
    test: str = "test"
    difficult: Literal["positive", "ignore", "negative"] = "positive"
    train_images: int | None = None
    test_images: int | None = None
    classes: list[str] | None = field(default=None, metadata=ADDED)


def load(options: Options, root: Path, image_size: int) -> Table:
    """Read the lists and annotations of both splits. Images are decoded later, one by one.

    Raises:
        UserError: a file is missing or has another format, a list of a class contradicts the
            annotations, or a number is not the expected one.
    """
    classes = CLASSES if options.classes is None else tuple(options.classes)
    checks.labels(classes, "option classes")
    main = common.first(root, LISTS)
    lists = {
        name: main / f"{split}.txt"
        for name, split in (("train", options.train), ("test", options.test))
    }
    common.two_splits(options.train, options.test, main)
    counts = {"train": options.train_images, "test": options.test_images}
    splits, annotations_sha256 = {}, {}
    for name, file in lists.items():
        splits[name], annotations_sha256[name] = _split(
            main.parents[1], file, classes, counts[name], options.difficult, image_size
        )
    rule = {
        "options": facts(options),
        "lists_sha256": {name: records.sha256(file) for name, file in lists.items()},
        "annotations_sha256": annotations_sha256,
        "resize": RESIZE,
    }
    return Table(classes, splits, rule)


def _split(
    folder: Path,
    file: Path,
    classes: tuple[str, ...],
    expected: int | None,
    difficult: str,
    image_size: int,
) -> tuple[Split, str]:
    """The split listed in ``file``, and one SHA-256 checksum of all its annotation files."""
    ids = read_lines(file)
    common.expect(len(ids), expected, "images", file)
    if (twice := repeated(ids)) is not None:
        raise UserError(f"{file}: image {show(twice)} appears twice; remove one of the lines")
    paths = [inside(folder / "JPEGImages", f"{image_id}.jpg", str(file)) for image_id in ids]
    digest, clear, doubtful = hashlib.sha256(), [], []
    for image_id in ids:
        path = folder / "Annotations" / f"{image_id}.xml"
        content = read_bytes(path, f"it is needed for an image of {file}")
        digest.update(content)
        image_clear, image_doubtful = _objects(content, path, classes)
        clear.append(image_clear)
        doubtful.append(image_doubtful)
    _check_lists(file, classes, ids, clear, doubtful)
    common.expect_images(paths, file, fix="complete the images; their names must end in .jpg")
    targets_NC = common.targets(clear, len(classes))
    only_doubtful_NC = common.targets(doubtful, len(classes)) > targets_NC
    if difficult == "positive":
        targets_NC |= only_doubtful_NC
    ignored_NC = only_doubtful_NC if difficult == "ignore" else None
    split = common.image_split(ids, targets_NC, paths, image_size, file, ignored_NC)
    return split, digest.hexdigest()


class _Tree(ElementTree.TreeBuilder):
    """A document without a document type, which could define entities or name other files."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError(f"it has a document type, <!DOCTYPE {name}>, which is not read")


def _objects(content: bytes, path: Path, classes: tuple[str, ...]) -> tuple[set[int], set[int]]:
    """The classes of an image's objects: first of those not marked difficult, then of the others.

    One class can be in both sets. An annotation without objects is an image without labels.
    """
    try:
        root = ElementTree.fromstring(content, ElementTree.XMLParser(target=_Tree()))
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the latter: encodings
        raise UserError(f"{path}: not valid XML ({reason_of(error)}); replace the file") from None
    if root.tag != "annotation":
        raise UserError(
            f"{path}: expected the element <annotation> without a namespace, "
            f"found <{root.tag}>; convert it to the VOC format"
        )
    found: tuple[set[int], set[int]] = (set(), set())
    things = root.findall("object")
    if len(things) < sum(element.tag.rpartition("}")[2] == "object" for element in root.iter()):
        raise UserError(
            f"{path}: an <object> is not directly inside <annotation>; convert it to the VOC format"
        )
    for thing in things:
        name = _only(thing, "name", path)
        if name not in classes:
            hint = nearest(name, classes)
            hint += " (the option `classes` names other labels)" if classes == CLASSES else ""
            raise UserError(f"{path}: object of unknown class {show(name)}; {hint}")
        difficult = _only(thing, "difficult", path) or "0"
        if difficult not in ("0", "1"):
            raise UserError(
                f"{path}: difficult: expected 0 or 1, found {show(difficult)}; correct it"
            )
        found[int(difficult)].add(classes.index(name))
    return found


def _only(thing: ElementTree.Element, tag: str, path: Path) -> str:
    """The text of an object's only element ``tag``; empty if there is none."""
    texts = [element.text or "" for element in thing.findall(tag)]
    if len(texts) > 1:
        raise UserError(f"{path}: an object has {len(texts)} elements <{tag}>; remove all but one")
    return texts[0].strip() if texts else ""


def _check_lists(
    file: Path,
    classes: tuple[str, ...],
    ids: list[str],
    clear: list[set[int]],
    doubtful: list[set[int]],
) -> None:
    """Compare the lists ``{class}_{split}.txt`` with the annotations.

    Values in a list: 1 means an object, 0 means only difficult objects, -1 means no object.
    """
    meaning = {"1": "an object", "0": "only difficult objects", "-1": "no object"}
    for label, name in enumerate(classes):
        path = file.parent / f"{name}_{file.name}"
        if "/" in name or not path.exists():  # a file cannot have such a name
            continue
        lines = [line.split() for line in read_lines(path)]
        if [words[0] for words in lines] != ids:
            raise UserError(
                f"{path}: lists other images than {file}; correct the list, or move it away"
            )
        for image_id, words, sure, unsure in zip(ids, lines, clear, doubtful, strict=True):
            value = "1" if label in sure else "0" if label in unsure else "-1"
            if words[1:] != [value]:
                raise UserError(
                    f"{path}: image {image_id}: {' '.join(words[1:]) or 'nothing'} in the list, "
                    f"but its annotation has {meaning[value]} ({value}); "
                    "correct one of them, or move the list away"
                )
