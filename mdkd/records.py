"""Records: small JSON files. Each is written completely or not at all, by a single process."""

import glob
import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from mdkd import faults
from mdkd.errors import UserError

PART = ".part"  # the end of the name of a file that is not complete yet


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing. It appears at ``path`` only when it is complete and on disk.

    Several processes may write the same file at once; the last one that is complete stays. What
    killed processes of this machine have left of the file is deleted.

    Raises:
        OSError: it cannot be written; the error names the file, and an older file is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for half in _abandoned(path):
        half.unlink(missing_ok=True)
    part = part_of(path, os.getpid())
    try:
        with faults.named(path), part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with suppress(OSError):  # the error that led here says more
            part.unlink()


def part_of(path: Path, process: int) -> Path:
    """The file that a process of this machine writes before it becomes ``path``."""
    return path.with_name(f"{path.name}.{platform.node()}-{process}{PART}")


def _abandoned(path: Path) -> Iterator[Path]:
    """What processes of this machine that have ended have left of a file."""
    ours = str(part_of(path, 0)).removesuffix(f"0{PART}")
    for half in path.parent.glob(f"{glob.escape(path.name)}.*{PART}"):
        process = str(half).removeprefix(ours).removesuffix(PART)
        if not process.isdecimal():
            continue  # of another machine
        try:
            os.kill(int(process), 0)  # sends nothing
        except ProcessLookupError:
            yield half
        except OSError:
            continue  # it runs, and belongs to another user


def canonical(record: Any) -> str:
    """Compact JSON with sorted keys, so that equal records give equal texts."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(record: Any) -> str:
    """The SHA-256 of a record as hexadecimal digits. Equal records have equal digests."""
    return hashlib.sha256(canonical(record).encode()).hexdigest()


def write_json(path: Path, record: Any) -> None:
    """Write a record with sorted keys, so that equal records give equal files."""
    text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False)
    with atomic(path) as file:
        file.write(text.encode() + b"\n")


def read_text(path: Path, fix: str, damaged: str = "save it as UTF-8") -> str:
    """The content of a UTF-8 file. A byte-order mark is left out.

    Raises:
        UserError: it is missing, is a folder or cannot be read; the message ends with ``fix``. Or
            it is not UTF-8; the message ends with ``damaged``.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {fix}") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, a file is expected; {fix}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {fix}") from None
    except UnicodeDecodeError as error:
        what = f"not UTF-8 text ({error.reason} at byte {error.start})"
        raise UserError(f"{path}: {what}; {damaged}") from None


def read_json(
    path: Path, fix: str = "run the job that writes it first", damaged: str | None = None
) -> Any:
    """Read a JSON file. NaN, infinity and a key that appears twice are mistakes.

    Args:
        fix: what to do about a missing file.
        damaged: what to do about a file that is not valid JSON; None: delete it, then ``fix``.

    Raises:
        UserError: the file is missing or damaged. The message names it and what to do.
    """
    damaged = damaged or f"delete it, then {fix}"
    text = read_text(path, fix, damaged)
    try:
        return parse_json(text)
    except UserError as error:
        raise UserError(f"{path}: {error}; {damaged}") from None


def parse_json(text: str) -> Any:
    """The value that JSON text stands for; a UserError if it is not valid."""
    try:
        return json.loads(text, parse_constant=_no_number, object_pairs_hook=_unique)
    except RecursionError:
        raise UserError("not valid JSON (nested too deep)") from None
    except ValueError as error:  # also of an integer with thousands of digits
        raise UserError(f"not valid JSON ({error})") from None


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in content if keys.count(key) > 1)
        raise ValueError(f"key '{twice}' appears twice")
    return content


def read_object(
    path: Path, fix: str = "run the job that writes it first", damaged: str | None = None
) -> dict[str, Any]:
    """Read a JSON file that holds keys and values, as every record does; see `read_json`."""
    content = read_json(path, fix, damaged)
    if not isinstance(content, dict):
        damaged = damaged or f"delete it, then {fix}"
        raise UserError(f"{path}: keys and values are expected; {damaged}")
    return content


def sha256(path: Path) -> str:
    """The SHA-256 hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
