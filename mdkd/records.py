"""Records: small JSON files. Each is written completely or not at all, by a single process."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from mdkd import faults
from mdkd.errors import UserError


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing. It appears at ``path`` only when it is complete and on disk.

    Raises:
        OSError: it cannot be written; the error names the file, and an older file is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with faults.named(path), part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with suppress(OSError):  # the error that led here says more
            part.unlink()


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


def read_json(path: Path, fix: str = "run the job that writes it first") -> Any:
    """Read a record. If it is missing or damaged, a `UserError` names the file and ``fix``."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {fix}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); delete it, then {fix}") from None


def sha256(path: Path) -> str:
    """The SHA-256 hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
