"""Folders as Hugging Face's ``imagefolder`` reads them: one per split, with ``metadata.*`` in it.

``train/metadata.csv`` or ``train/metadata.jsonl`` names each image of the split and its labels::

    {"file_name": "0001.jpg", "labels": ["dog", "person"]}
    {"file_name": "0002.jpg", "labels": []}

In a CSV file, the columns are ``file_name`` and ``labels``, and several labels are separated by
semicolons. In JSON Lines, the labels are a list of names, or of their numbers in ``classes``.
"""

import csv
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mdkd import records
from mdkd.data import checks
from mdkd.data.images import RESIZE
from mdkd.data.reading import inside, read_text, reason_of
from mdkd.data.sources import Split, Table, common
from mdkd.errors import UserError, nearest, show

FILES = ("metadata.csv", "metadata.jsonl")
NAME = "file_name"
LICENCE = "your own images: say here who owns them and what they allow"


@dataclass(frozen=True, kw_only=True)
class Options:
    """The folders of the two splits, the column with the labels, and the numbers of images.

    Labels are ordered by name. If ``classes`` is given, its order is used, and any other label is
    an error. A number of None is not checked.
    """

    train: str = "train"
    test: str = "test"
    column: str = "labels"
    classes: list[str] | None = None
    train_images: int | None = None
    test_images: int | None = None


@dataclass(frozen=True)
class _Row:
    line: int  # line number in the file, from 1
    file: str
    labels: set[str]


def load(options: Options, root: Path, image_size: int) -> Table:
    """Read the metadata of both splits. Images are decoded later, one by one.

    Raises:
        UserError: a file is missing or wrong (the message names the line), an image is missing, or
            a number is not the expected one.
    """
    common.two_splits(options.train, options.test, root)
    files = {
        "train": common.first(root / options.train, FILES),
        "test": common.first(root / options.test, FILES),
    }
    rows = {name: _rows(file, options) for name, file in files.items()}
    found = {label for part in rows.values() for row in part for label in row.labels}
    classes = sorted(found) if options.classes is None else options.classes
    checks.labels(classes, root)
    counts = {"train": options.train_images, "test": options.test_images}
    splits = {}
    for name, file in files.items():
        common.expect(len(rows[name]), counts[name], "images", file)
        splits[name] = _split(rows[name], classes, file, image_size)
    digests = {name: records.sha256(file) for name, file in files.items()}
    rule = {"options": asdict(options), "metadata_sha256": digests, "resize": RESIZE}
    return Table(tuple(classes), splits, rule)


def _split(rows: list[_Row], classes: list[str], file: Path, image_size: int) -> Split:
    """The images of one split. Their ids are the name of its folder and the path below it."""
    index = {name: i for i, name in enumerate(classes)}
    for row in rows:
        if unknown := row.labels - set(classes):
            hint = nearest(min(unknown), classes)
            raise UserError(f"{file}:{row.line}: unknown label {show(min(unknown))}; {hint}")
    paths = [inside(file.parent, row.file, f"{file}:{row.line}: '{NAME}'") for row in rows]
    if gone := common.missing(paths):
        common.expect_images(paths, file, where=f"{file}:{rows[gone[0]].line}: ")
    targets_NC = common.targets([{index[n] for n in row.labels} for row in rows], len(classes))
    ids = [(Path(file.parent.name) / row.file).as_posix() for row in rows]
    return common.image_split(ids, targets_NC, paths, image_size, file)


def _rows(file: Path, options: Options) -> list[_Row]:
    """The rows of a metadata file. Every row has a different image."""
    read = _csv if file.suffix == ".csv" else _json_lines
    rows: dict[str, _Row] = {}
    for line, content in read(file):
        where = f"{file}:{line}"
        for key in (NAME, options.column):
            if key not in content:
                raise UserError(f"{where}: no '{key}'; {nearest(key, map(str, content))}")
        name = content[NAME]
        if not isinstance(name, str) or not name:
            raise UserError(f"{where}: '{NAME}' is {show(name)}; write the path of the image")
        if name in rows:
            first = f"also appears in line {rows[name].line}"
            raise UserError(f"{where}: {show(name)} {first}; remove one line")
        rows[name] = _Row(line, name, _labels(content[options.column], options, where))
    return list(rows.values())


def _csv(file: Path) -> list[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(read_text(file), newline=""), strict=True)
    found = []
    try:
        for row in reader:
            if None in row or None in row.values():
                what = "another number of cells than the header has"
                raise UserError(f"{file}:{reader.line_num}: {what}; put labels into quotes")
            found.append((reader.line_num, dict(row)))
    except csv.Error as error:
        line = reader.line_num + 1
        raise UserError(f"{file}:{line}: not valid CSV ({reason_of(error)})") from None
    return found


def _json_lines(file: Path) -> list[tuple[int, dict[str, Any]]]:
    found = []
    for number, line in enumerate(read_text(file).split("\n"), 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            what = f"not valid JSON ({reason_of(error)})"
            raise UserError(f"{file}:{number}: {what}; write one object per line") from None
        if not isinstance(content, dict):
            raise UserError(f"{file}:{number}: found {show(content)}; write one object per line")
        found.append((number, content))
    return found


def _labels(value: Any, options: Options, where: str) -> set[str]:
    """The labels of an image, in any of the ways in which a row may write them."""
    items = value.split(";") if isinstance(value, str) else value
    if not isinstance(items, list):
        what = f"'{options.column}' is {show(value)}"
        raise UserError(f"{where}: {what}; write a list of labels, or labels with ';' between them")
    names = [
        item.strip() if isinstance(item, str) else _numbered(item, options, where) for item in items
    ]
    if labels := {name for name in names if name}:
        checks.labels(sorted(labels), where)
    return labels


def _numbered(item: Any, options: Options, where: str) -> str:
    """The label of a number in ``classes``."""
    if type(item) is not int:
        raise UserError(f"{where}: label {show(item)}: expected a name or a number")
    if options.classes is None:
        raise UserError(f"{where}: labels are numbers; name them in the option `classes`")
    if not 0 <= item < len(options.classes):
        last = len(options.classes) - 1
        raise UserError(f"{where}: label {item} is not in 0 .. {last}, the numbers of `classes`")
    return options.classes[item]
