"""Checks of what a source returns, the same for every source, before any image is decoded."""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mdkd.data.reading import is_clean, repeated
from mdkd.data.sources import Split, Table
from mdkd.errors import UserError, show


def check(table: Table, where: str) -> None:
    """Check the labels and splits of a source; ``where`` names the data set in messages.

    Raises:
        UserError: a label's name is not usable, or an image is used twice.
        ValueError: the source has a fault: shapes or types are not those of `Split`.
    """
    labels(table.classes, where)
    for name, split in table.splits.items():
        _arrays(split, len(table.classes), f"{where}: split '{name}'")
        if (twice := repeated(split.ids)) is not None:
            raise UserError(
                f"{split.listed_in or where}: image {show(twice)} appears twice in split "
                f"'{name}'; remove one of the entries"
            )
    images_once(table.splits, where)


def labels(names: Sequence[object], where: object) -> None:
    """Check the names of labels.

    Two names are the same if they differ only in blanks at the ends or in the Unicode form.

    Raises:
        UserError: there is none, or one is not text, is empty, has blanks at its ends or control
            characters, or appears twice. The message begins with ``where``.
    """
    if not names:
        raise UserError(f"{where}: no label; add at least one label")
    for name in names:
        if not isinstance(name, str):
            raise UserError(f"{where}: label {show(name)}: expected text; write a name in quotes")
        if not name.strip() or not is_clean(name):
            raise UserError(
                f"{where}: label {show(name)}: expected a name without line breaks; give it a name"
            )
    forms = [unicodedata.normalize("NFC", str(name).strip()) for name in names]
    if (twice := repeated(forms)) is not None:
        raise UserError(f"{where}: label {show(twice)} appears twice; give it another name")
    for name in names:
        if name != str(name).strip():
            raise UserError(f"{where}: label {show(name)} has blanks at its ends; remove them")


def images_once(splits: dict[str, Split], where: str) -> None:
    """Check that no file is used twice, in whatever split and however its path is written.

    Links to a file and different spellings of its path are the same file.

    Raises:
        UserError: a file is used twice. The message names the file and both places.
    """
    seen: dict[tuple[int, int], tuple[str, Path]] = {}
    for file, place in _places(splits):
        status = os.stat(file)
        identity = (status.st_dev, status.st_ino)
        if identity in seen:
            first_place, first_file = seen[identity]
            link = "" if first_file == file else f" (the same file as {first_file})"
            raise UserError(
                f"{where}: {file}{link} is both {first_place} and {place}; "
                "an image may be used once, in one split: remove one of the entries"
            )
        seen[identity] = (place, file)


def _places(splits: dict[str, Split]) -> Iterator[tuple[Path, str]]:
    for name, split in splits.items():
        listed = f" ({split.listed_in.name})" if split.listed_in else ""
        for image_id, file in zip(split.ids, split.files, strict=False):
            yield file, f"image {show(image_id)} of split '{name}'{listed}"


def _arrays(split: Split, count: int, where: str) -> None:
    """Raise a ValueError if a source returned arrays of another shape or type."""
    shape = (len(split.ids), count)
    for name, array, dtype in (
        ("targets_NC", split.targets_NC, np.uint8),
        ("ignored_NC", split.ignored_NC, np.bool_),
    ):
        if array is not None and (array.shape != shape or array.dtype != dtype):
            found = f"{array.dtype} {array.shape}"
            raise ValueError(f"{where}: {name} is {found}, expected {np.dtype(dtype)} {shape}")
    if split.targets_NC.size and split.targets_NC.max() > 1:
        raise ValueError(f"{where}: targets_NC: expected 0 or 1, found {split.targets_NC.max()}")
