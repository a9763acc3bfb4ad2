"""The exception for mistakes that a user can fix. The command line prints it as one line."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class UserError(ValueError):
    """A bad setting, file or command. The message names the file, the key and the fix."""


def nearest(name: object, valid: Iterable[str]) -> str:
    """A hint for a message about an unknown name: the most similar valid name, or all names."""
    names = sorted(valid)
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"valid: {', '.join(names) or 'none'}"


def find(entries: Mapping[str, T], name: str) -> T:
    """The entry of a plan that is called ``name``.

    Raises:
        UserError: there is none; the message names the nearest.
    """
    if name not in entries:
        raise UserError(f"{name}: not in the plan; {nearest(name, entries)}")
    return entries[name]
