"""The exception for mistakes that a user can fix. The command line prints it as one line."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A bad setting, file or command. The message names the file, the key and the fix."""


def nearest(name: object, valid: Iterable[str]) -> str:
    """A hint for a message about an unknown name: the most similar valid name, or all names."""
    names = sorted(valid)
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"valid: {', '.join(names) or 'none'}"
