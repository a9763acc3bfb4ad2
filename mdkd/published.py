"""Published numbers: the CSV files in ``config/reported/``.

A line names its row: by ``row``, a number, or by ``dataset``, ``teacher``, ``student`` and
``method``. The other columns are metrics in percent; a place may be empty.
"""

import csv
import io
from pathlib import Path

from mdkd import records
from mdkd.errors import UserError, nearest

Line = dict[str, str]  # one line of a file, by column

PUBLISHED = {"mAP": "mAP", "OF1": "OF1_k", "CF1": "CF1_k"}  # the paper's columns, and our names
NAMES = ("dataset", "teacher", "student", "method")
ROW = "row"


def read(file: Path) -> list[Line]:
    """The checked lines of a file.

    Raises:
        UserError: it is missing or no CSV, a column is missing or unknown, or a number is none.
    """
    there = [path.stem for path in file.parent.glob("*.csv")] if file.parent.is_dir() else []
    text = records.read_text(file, nearest(file.stem, there))
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise UserError(f"{file}: not valid CSV ({error}); correct it") from None
    columns = rows[0] if rows else []
    names = [ROW] if ROW in columns else [*NAMES]
    for name in names:
        if name not in columns:
            raise UserError(f"{file}: no column '{name}'; add it to the first line")
    for i, column in enumerate(columns):
        if column not in (*names, *PUBLISHED):
            hint = nearest(column, (*names, *PUBLISHED))
            raise UserError(f"{file}: unknown column '{column[:60]}'; {hint}")
        if column in columns[:i]:
            raise UserError(f"{file}: column '{column}' appears twice; remove one of them")
    lines: list[Line] = []
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue  # a blank line
        if len(row) != len(columns):
            what = f"{len(row)} values, expected {len(columns)}"
            raise UserError(f"{file}: line {number}: {what} ({', '.join(columns)})")
        line = dict(zip(columns, row, strict=True))
        _check(line, names, f"{file}: line {number}")
        if (own := [line[name] for name in names]) in [[one[n] for n in names] for one in lines]:
            raise UserError(f"{file}: line {number}: {' '.join(own)}: appears twice; remove one")
        lines.append(line)
    return lines


def _check(line: Line, names: list[str], where: str) -> None:
    for name in names:
        if not line[name].strip() or (name == ROW and not line[name].isdecimal()):
            what = "a number" if name == ROW else "a name"
            raise UserError(f"{where}: {name}: expected {what}, found '{line[name][:60]}'")
    for column in PUBLISHED.keys() & line.keys():
        if line[column] and not _is_percentage(line[column]):
            what = "expected a percentage in 0 .. 100, or nothing"
            raise UserError(f"{where}: {column}: {what}, found '{line[column][:60]}'")


def _is_percentage(text: str) -> bool:
    try:
        return 0 <= float(text) <= 100
    except ValueError:
        return False
