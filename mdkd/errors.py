"""The one exception for mistakes a user can fix; the command line prints it as one line."""


class UserError(ValueError):
    """A bad setting, file or command. The message names the file, the key and the fix."""
