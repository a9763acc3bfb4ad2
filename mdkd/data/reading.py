"""Read the files of a data set. Users and other programs wrote them, so anything may be in them.

Every error is one line that names the file, what is wrong with it, and the fix. Nothing here
advises to delete a file, because the files belong to the user.
"""

import errno
import json
import os
import stat
import unicodedata
from collections.abc import Hashable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from mdkd.errors import UserError, show

FETCH = "download it (`mdkd download` does this for public data sets), or set the data set's root"
MARKS = (  # byte-order marks, and the encodings that they announce
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
SHOWN = 240  # characters of an error that a message repeats
LONGEST_NAME = 255  # bytes of a file's or folder's name, on nearly all disks

T = TypeVar("T", bound=Hashable)


def problem(path: Path) -> str | None:
    """Why ``path`` is not an ordinary file, in a few words; None if it is one.

    Pipes and devices are no ordinary files: reading them could wait forever.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "the file that this link names is missing" if path.is_symlink() else "no such file"
    except NotADirectoryError:
        above = next(p for p in path.parents if os.path.lexists(p) and not p.is_dir())
        return f"{above} is a file, not a folder"
    except OSError as error:
        return "a link that leads to itself" if error.errno == errno.ELOOP else error.strerror
    except ValueError:
        return "no valid path"
    if stat.S_ISREG(mode):
        return None
    return "is a folder" if stat.S_ISDIR(mode) else "is a pipe or a device"


def read_bytes(file: Path, fix: str = FETCH) -> bytes:
    """The content of a file.

    Raises:
        UserError: it is not an ordinary file or cannot be read. The message ends with ``fix``.
    """
    reason = problem(file)
    try:
        if reason is None:
            return file.read_bytes()
    except OSError as error:
        reason = error.strerror
    except MemoryError:
        reason = "it does not fit into memory"
    raise UserError(f"{file}: cannot be read ({reason}); {fix}")


def read_text(file: Path, fix: str = FETCH, damaged: str = "save it as UTF-8 text") -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 if it begins with a byte-order mark.

    Raises:
        UserError: the file cannot be read; the message ends with ``fix``. Or it has another
            encoding or contains null bytes; the message ends with ``damaged``.
    """
    content = read_bytes(file, fix)
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        name = "UTF-8" if encoding.startswith("utf-8") else encoding.upper()
        where = f"byte {error.start}: {error.reason}"
        raise UserError(f"{file}: not {name} text ({where}); {damaged}") from None
    if "\0" in text:
        raise UserError(f"{file}: contains null bytes, so it is no text; {damaged}")
    return text


def read_lines(file: Path, fix: str = FETCH) -> list[str]:
    """The lines of a text file, without white space at both ends and without blank lines.

    All kinds of line ends are accepted.

    Raises:
        UserError: the file cannot be read, is empty or is not text. The message ends with a fix.
    """
    lines = [line.strip() for line in read_text(file, fix).splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{file}: is empty; {fix}")
    return lines


def read_json(file: Path, fix: str | None = None) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: the file cannot be read, is not JSON, or is nested too deeply. The message ends
            with ``fix``; without it, with the advice for a file of the user.
    """
    text = read_text(file, fix or FETCH, fix or "save it as UTF-8 text")
    try:
        return json.loads(text)
    except (ValueError, RecursionError, MemoryError) as error:
        reason = reason_of(error)
        fix = fix or "replace it by a correct file"
        raise UserError(f"{file}: not valid JSON ({reason}); {fix}") from None


def inside(folder: Path, name: str, where: str) -> Path:
    """The path of the file ``name`` below ``folder``; ``where`` begins the message of an error.

    Raises:
        UserError: the name is empty, too long or absolute, leads out of the folder, or has control
            characters.
    """
    parts = PurePosixPath(name).parts
    usable = parts and is_clean(name) and all(len(p.encode()) <= LONGEST_NAME for p in parts)
    if not usable or name.startswith("/") or ".." in parts:
        raise UserError(
            f"{where}: {show(name)} is not the path of a file inside {folder}; "
            "write paths relative to this folder, without '..'"
        )
    return folder / name


def is_clean(text: str) -> bool:
    """Whether a text has no control characters, line breaks or halves of Unicode pairs."""
    if text.isprintable():  # fast, but it also excludes rare kinds of blanks
        return True
    return not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text)


def reason_of(error: Exception) -> str:
    """What an error says, on one line and not long; its kind if it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = "".join(c if is_clean(c) else ascii(c)[1:-1] for c in text)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def repeated(values: Iterable[T]) -> T | None:
    """The first value that appears for the second time; None if all values are different.

    >>> repeated("abcb")
    'b'
    """
    seen = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None
