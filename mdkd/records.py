"""Records on disk: small JSON files, each written whole or not at all, each by one writer."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mdkd.errors import UserError


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears under its name only once it is complete and on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def canonical(record: Any) -> str:
    """One text per value: sorted keys, no spaces."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)


def write_json(path: Path, record: Any) -> None:
    """Write a record with sorted keys, so that equal records are equal files."""
    text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False)
    with atomic(path) as file:
        file.write(text.encode() + b"\n")


def read_json(path: Path, fix: str = "run the job that makes it first") -> Any:
    """Read a record; a missing or damaged one is a `UserError` that names the file and the fix."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {fix}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); delete it, then {fix}") from None


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
