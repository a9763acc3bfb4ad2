"""A folder of images with one table of labels: the simplest way to use your own data.

The table is a CSV file with a header and the columns ``file``, ``split`` and ``labels`` in any
order, for example ::

    file,split,labels
    photos/1.jpg,train,dog;person
    photos/2.jpg,test,

Paths in ``file`` are relative to the folder. Several labels are separated by semicolons. An image
without labels is kept. Spreadsheets write such tables in many ways: columns may also be separated
by tabs or semicolons, cells may be quoted, and the text may be UTF-16 with a byte-order mark. If
semicolons separate the columns, a cell with several labels must be quoted.
"""

import csv
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mdkd import records
from mdkd.data import checks
from mdkd.data.images import RESIZE
from mdkd.data.reading import inside, read_text, reason_of
from mdkd.data.sources import Table, common
from mdkd.errors import UserError, nearest, show

COLUMNS = ("file", "split", "labels")
DELIMITERS = ",\t;"
LICENCE = "your own images: say here who owns them and what they allow"


@dataclass(frozen=True, kw_only=True)
class Options:
    """The table's file name, its words for the two splits, and the expected numbers of images.

    Labels are ordered by name. If ``classes`` is given, its order is used, and any other label is
    an error. A number of None is not checked.
    """

    csv: str = "labels.csv"
    train: str = "train"
    test: str = "test"
    classes: list[str] | None = None
    train_images: int | None = None
    test_images: int | None = None


def load(options: Options, root: Path, image_size: int) -> Table:
    """Read the table. Images are decoded later, one by one.

    Raises:
        UserError: the table is missing or wrong (the message names the line), an image is missing,
            or a number is not the expected one.
    """
    file = root / options.csv
    names = {options.train: "train", options.test: "test"}
    common.two_splits(options.train, options.test, file)
    rows = _read(file, names)
    found = {label for row in rows for label in row.labels}
    classes = sorted(found) if options.classes is None else options.classes
    checks.labels(classes, file)
    for row in rows:
        if unknown := row.labels - set(classes):
            hint = nearest(min(unknown), classes)
            raise UserError(f"{file}:{row.line}: unknown label {show(min(unknown))}; {hint}")
    paths = [inside(root, row.file, f"{file}:{row.line}: column 'file'") for row in rows]
    if gone := common.missing(paths):
        common.expect_images(paths, file, where=f"{file}:{rows[gone[0]].line}: ")
    index = {name: i for i, name in enumerate(classes)}
    splits = {}
    for own, name in names.items():
        part = [row for row in rows if row.split == own]
        expected = options.train_images if name == "train" else options.test_images
        common.expect(len(part), expected, f"images of split '{own}'", file)
        targets_NC = common.targets([{index[n] for n in row.labels} for row in part], len(classes))
        ids, files = [row.file for row in part], [root / row.file for row in part]
        splits[name] = common.image_split(ids, targets_NC, files, image_size, file)
    rule = {"options": asdict(options), "csv_sha256": records.sha256(file), "resize": RESIZE}
    return Table(tuple(classes), splits, rule)


@dataclass(frozen=True)
class _Row:
    line: int  # line number in the file, from 1
    file: str
    split: str
    labels: set[str]


def _read(file: Path, splits: dict[str, str]) -> list[_Row]:
    """The rows of the table. Every row has a different file and one of the ``splits``."""
    text = read_text(file, "set the data set's root or csv")
    rows: dict[str, _Row] = {}
    line = 0
    try:
        lines = io.StringIO(text, newline="")
        reader = csv.reader(lines, strict=True, delimiter=_delimiter(text))
        header = _header(reader, file)
        line = reader.line_num
        for cells in reader:
            line = reader.line_num
            if not cells:
                continue
            row = _row(header, [cell.strip() for cell in cells], line, file, splits)
            if row.file in rows:
                first = rows[row.file].line
                raise UserError(
                    f"{file}:{line}: {show(row.file)} also appears in line {first}; remove one line"
                )
            rows[row.file] = row
    except csv.Error as error:
        raise UserError(
            f"{file}:{line + 1}: not valid CSV ({reason_of(error)}); check its quotes"
        ) from None
    return list(rows.values())


def _header(reader: Any, file: Path) -> list[str]:
    """The names of the columns, which must include `COLUMNS`, each once."""
    header = [name.strip() for name in next(reader, [])]
    for column in COLUMNS:
        if header.count(column) != 1:
            count = "no column" if column not in header else "more than one column"
            raise UserError(
                f"{file}:1: {count} '{column}'; the header needs {', '.join(COLUMNS)}, each once"
            )
    return header


def _delimiter(text: str) -> str:
    """The delimiter with which the header has all columns; a comma if there is none."""
    for delimiter in DELIMITERS:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        if set(COLUMNS) <= {name.strip() for name in header}:
            return delimiter
    return DELIMITERS[0]


def _row(header: list[str], cells: list[str], line: int, file: Path, splits: dict) -> _Row:
    where = f"{file}:{line}"
    if len(cells) != len(header):
        raise UserError(
            f"{where}: {len(cells)} cells, but the header has {len(header)}; separate labels by "
            "semicolons, and put cells with several labels into quotes"
        )
    named = dict(zip(header, cells, strict=True))
    if not named["file"]:
        raise UserError(f"{where}: column 'file' is empty; write the image's path in the folder")
    if named["split"] not in splits:
        hint = nearest(named["split"], splits)
        raise UserError(f"{where}: unknown split {show(named['split'])}; {hint}")
    labels = {label.strip() for label in named["labels"].split(";")} - {""}
    if labels:
        checks.labels(sorted(labels), where)
    return _Row(line, named["file"], named["split"], labels)
