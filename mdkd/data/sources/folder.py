"""A folder of images with one table of labels: the simplest way to use your own data.

The table is a CSV file with a header and the columns ``file``, ``split`` and ``labels`` in any
order, for example ::

    file,split,labels
    photos/1.jpg,train,dog;person
    photos/2.jpg,test,

Paths in ``file`` are relative to the folder. Several labels are separated by semicolons. An image
without labels is kept.
"""

import csv
from dataclasses import asdict, dataclass
from pathlib import Path

from mdkd import records
from mdkd.data.images import RESIZE
from mdkd.data.sources import Table, common
from mdkd.errors import UserError, nearest

COLUMNS = ("file", "split", "labels")


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
    if len(names) < 2:
        raise UserError(
            f"{file}: options train and test are both '{options.train}'; give two different splits"
        )
    rows = _read(file, names)
    found = {label for row in rows for label in row.labels}
    classes = sorted(found) if options.classes is None else options.classes
    if not classes or len(set(classes)) < len(classes):
        raise UserError(
            f"{file}: expected at least one label and no label twice, found {classes}; "
            "change the table or the option classes"
        )
    for row in rows:
        if unknown := row.labels - set(classes):
            hint = nearest(min(unknown), classes)
            raise UserError(f"{file}:{row.line}: unknown label '{min(unknown)}'; {hint}")
    paths = [root / row.file for row in rows]
    if gone := common.missing(paths):
        counts = f"{len(gone)} of {len(rows)} are missing"
        raise UserError(f"{file}:{rows[gone[0]].line}: {paths[gone[0]]}: no such image ({counts})")
    index = {name: i for i, name in enumerate(classes)}
    splits = {}
    for own, name in names.items():
        part = [row for row in rows if row.split == own]
        expected = options.train_images if name == "train" else options.test_images
        common.expect(len(part), expected, f"images of split '{own}'", file)
        targets_NC = common.targets([{index[n] for n in row.labels} for row in part], len(classes))
        ids, files = [row.file for row in part], [root / row.file for row in part]
        splits[name] = common.image_split(ids, targets_NC, files, image_size)
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
    rows: dict[str, _Row] = {}
    line = 0
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.reader(lines, strict=True)
            header = [name.strip() for name in next(reader, [])]
            for column in COLUMNS:
                if column not in header:
                    needed = ", ".join(COLUMNS)
                    raise UserError(f"{file}:1: no column '{column}'; the header needs {needed}")
            for cells in reader:
                line = reader.line_num
                if not cells:
                    continue
                row = _row(header, [cell.strip() for cell in cells], line, f"{file}:{line}", splits)
                if row.file in rows:
                    first = rows[row.file].line
                    raise UserError(
                        f"{file}:{line}: '{row.file}' also appears in line {first}; remove one line"
                    )
                rows[row.file] = row
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
        raise UserError(f"{file}: {reason}; set the data set's root or csv") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 text ({error}); save it as UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{file}:{line + 1}: not valid CSV ({error}); check its quotes") from None
    return list(rows.values())


def _row(header: list[str], cells: list[str], line: int, where: str, splits: dict) -> _Row:
    if len(cells) != len(header):
        raise UserError(
            f"{where}: {len(cells)} cells, but the header has {len(header)}; "
            "separate labels by semicolons"
        )
    named = dict(zip(header, cells, strict=True))
    if not named["file"]:
        raise UserError(f"{where}: column 'file' is empty; write the image's path in the folder")
    if named["split"] not in splits:
        hint = nearest(named["split"], splits)
        raise UserError(f"{where}: unknown split '{named['split']}'; {hint}")
    labels = {label.strip() for label in named["labels"].split(";")} - {""}
    return _Row(line, named["file"], named["split"], labels)
