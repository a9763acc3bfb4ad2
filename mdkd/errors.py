"""The exception for mistakes that a user can fix. The command line prints it as one line."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
LONGEST = 200  # characters of a name that are compared with valid names


class UserError(ValueError):
    """A bad setting, file or command. The message names the file, the key and the fix.

    It is one line; several mistakes are one line each. Characters that do not print, from a name in
    a file for example, are written as escapes.

    >>> str(UserError("a\\nb: wrong", "c: wrong"))
    'a\\\\nb: wrong\\nc: wrong'
    """

    def __init__(self, *lines: str):
        super().__init__(*map(printable, lines))

    def __str__(self) -> str:
        return "\n".join(self.args)


def printable(text: str) -> str:
    """The text with line ends, control characters and halves of surrogate pairs as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def nearest(name: object, valid: Iterable[str]) -> str:
    """A hint for a message about an unknown name: the most similar valid name, or all names."""
    names = sorted(valid)
    text = name[:LONGEST] if isinstance(name, str) else ""
    close = difflib.get_close_matches(text, names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"valid: {', '.join(names) or 'none'}"


def show(value: Any) -> str:
    """A value as it is quoted in an error: short, and on one line.

    >>> show("a\\nb"), show(None), show([1, 2])
    ("'a\\\\nb'", 'null', '[1, 2]')
    """
    try:
        text = "null" if value is None else repr(value)
    except (RecursionError, ValueError):  # an integer with thousands of digits
        text = f"a very large {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def find(entries: Mapping[str, T], name: str) -> T:
    """The entry of a plan that is called ``name``.

    Raises:
        UserError: there is none; the message names the nearest.
    """
    if name not in entries:
        raise UserError(f"{name}: not in the plan; {nearest(name, entries)}")
    return entries[name]
