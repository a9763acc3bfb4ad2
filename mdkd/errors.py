"""The one exception for mistakes a user can fix; the command line prints it as one line."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A bad setting, file or command. The message names the file, the key and the fix."""


def nearest(name: object, valid: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest valid one, or all of them."""
    names = sorted(valid)
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"valid: {', '.join(names) or 'none'}"
