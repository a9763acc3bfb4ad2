"""Values of no particular type, as `mdkd.config.parse` accepts them: what JSON has too."""

import math
import unicodedata
from typing import Any

from mdkd.errors import UserError, show
from mdkd.yamlfiles import DEEPEST

INTEGERS = 2**63  # integers are smaller: numpy and torch have no larger ones


def plain(value: Any, where: str, depth: int = 0) -> Any:
    """A value of any type that JSON has too, checked: its numbers are finite, its texts clean."""
    if depth > DEEPEST:
        raise UserError(f"{where}: nested deeper than {DEEPEST} levels; write it flatter")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise UserError(f"{where}: key {show(key)} is no text; quote it")
            plain(item, f"{where}: {clean(key, where)}", depth + 1)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            plain(item, f"{where}[{i}]", depth + 1)
    elif isinstance(value, str):
        clean(value, where)
    elif type(value) in (int, float):
        if not is_finite(value):
            raise UserError(f"{where}: expected a finite number, found {show(value)}")
    elif value is not None and not isinstance(value, bool):
        raise UserError(f"{where}: expected a number, text, a list or keys, found {show(value)}")
    return value


def clean(text: str, where: str) -> str:
    """The text, which must be valid Unicode without control characters except line ends."""
    for character in "" if text.isprintable() else text:
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t":
            raise UserError(f"{where}: {show(text)}: remove {character!a} from the text")
    return text


def is_finite(value: float) -> bool:
    """Whether a number is finite, and an integer not larger than numpy and torch allow."""
    return abs(value) < INTEGERS if isinstance(value, int) else math.isfinite(value)


def is_number(text: str) -> bool:
    """Whether a text is a finite number as Python writes it."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
