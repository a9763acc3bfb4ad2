"""Bring the official archives of a data set to where its source looks for their files.

Everything happens in ``ROOT.download``, a folder beside the data set's root: archives, the part of
an archive that has arrived, unpacked files. An interrupted download goes on from there. The root
appears whole and last, with ``download.json``, the record that vouches for it.
"""

import fcntl
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mdkd import records
from mdkd.config import parse, read_yaml
from mdkd.data.fetch import fetch, received
from mdkd.data.unpack import unpack
from mdkd.errors import UserError

RECORD = "download.json"
CHECKSUM = r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One file to fetch and unpack."""

    url: str
    size: int  # bytes
    unpacked: int  # bytes on disk, an estimate from above
    checksum: str | None  # ALGORITHM:HEX; None: not known

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it the same archive, wherever it comes from."""
        return {"name": self.name, "size": self.size, "checksum": self.checksum}


@dataclass(frozen=True, kw_only=True)
class Download:
    """One entry of ``downloads.yaml``: archives, or instructions where there can be none."""

    archives: list[Archive] = field(default_factory=list)
    keep_archives: bool = False
    instructions: str | None = None


def read_downloads(file: Path) -> dict[str, Download]:
    """The checked content of ``downloads.yaml``, by data set."""
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected one entry per data set")
    downloads = {str(k): parse(Download, v, f"{file}: {k}") for k, v in content.items()}
    for dataset, entry in downloads.items():
        if bool(entry.archives) == bool(entry.instructions):
            raise UserError(f"{file}: {dataset}: give either archives or instructions")
        for i, archive in enumerate(entry.archives):
            where = f"{file}: {dataset}: archives[{i}]"
            if not re.fullmatch(r"https?://[^/]+/.*[^/]", archive.url):
                raise UserError(f"{where}: url: '{archive.url}' is no http(s) address of a file")
            if archive.size <= 0 or archive.unpacked <= 0:
                raise UserError(f"{where}: size and unpacked must be positive")
            if archive.checksum is not None and not re.fullmatch(CHECKSUM, archive.checksum):
                raise UserError(f"{where}: checksum: write md5:HEX, sha256:HEX or null")
    return downloads


def download(dataset: str, root: Path, downloads: Path, mirror: str | None = None) -> None:
    """Bring the files of ``dataset`` to ``root``; does nothing if they are there already.

    Args:
        downloads: the file that says what to fetch.
        mirror: a folder with the archives, or an address that their names are appended to.

    Raises:
        UserError: anything that keeps the files from being fetched, checked or unpacked.
    """
    entries = read_downloads(downloads)
    if dataset not in entries:
        raise UserError(f"{downloads}: nothing to fetch for {dataset}, only: {', '.join(entries)}")
    entry = entries[dataset]
    if entry.instructions:
        log.info("%s", entry.instructions.rstrip().replace("{root}", str(root)))
        raise UserError(f"{dataset} cannot be fetched by a program; do what is written above")
    if mirror and "://" in mirror and not mirror.startswith(("http://", "https://")):
        raise UserError(f"--mirror {mirror}: expected http://, https:// or a folder")
    root = root.resolve()  # a link to another disk stays one
    work = root.with_name(f"{root.name}.download")
    try:
        if _is_complete(root, entry):
            log.info("%s: complete, nothing to do", root)
            return
        _expect_space(entry, work, mirror)
        with _claim(work):
            _bring(entry, root, work, mirror)
    except KeyboardInterrupt:
        raise UserError("interrupted; the same command goes on where this one stopped") from None
    except OSError as error:
        reason = f"{error.filename or work}: {error.strerror or error}"
        raise UserError(f"{reason}; once mended, the same command goes on") from None


def _is_complete(root: Path, entry: Download) -> bool:
    """Whether the record in ``root`` vouches for these archives; other files are an error."""
    if not root.exists() or not any(root.iterdir()):
        return False
    if not (root / RECORD).exists():
        raise UserError(
            f"{root}: holds files that were not downloaded by this program; "
            "use them as they are, or move them away and repeat"
        )
    record = records.read_json(root / RECORD, "repeat with the folder moved away")
    if record["archives"] != [archive.identity for archive in entry.archives]:
        raise UserError(f"{root}: made from other archives; move it away and repeat")
    gone = record["files"] - _count_files(root)
    if gone > 0:
        raise UserError(f"{root}: {gone} files are gone; move it away and repeat")
    return True


def _count_files(folder: Path) -> int:
    """How many files lie in and below a folder, its record left out."""
    files = sum(len(names) for _, _, names in os.walk(folder))
    return files - (folder / RECORD).exists()


@contextmanager
def _claim(work: Path) -> Iterator[None]:
    """Make the folder of a download and hold its lock."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{work}: another process is downloading this; wait for it") from None
        yield


def _bring(entry: Download, root: Path, work: Path, mirror: str | None) -> None:
    """Fetch, check and unpack one archive after the other, then move the files into place."""
    files, done = work / "files", _unpacked(work)
    for archive in entry.archives:
        if archive.identity in done:
            continue
        file = _obtain(archive, work, mirror)
        unpack(file, files)
        done.append(archive.identity)
        record = {"archives": done, "files": _count_files(files), "mirror": mirror}
        records.write_json(files / RECORD, record)
        if file.parent == work and not entry.keep_archives:
            file.unlink()
    if root.exists():
        root.rmdir()  # it is empty
    files.replace(root)
    if not entry.keep_archives:
        shutil.rmtree(work)
    log.info("%s: complete, %d files", root, _count_files(root))


def _unpacked(work: Path) -> list[dict[str, Any]]:
    """Identities of the archives that an earlier call has unpacked."""
    file = work / "files" / RECORD
    return records.read_json(file, "repeat")["archives"] if file.exists() else []


def _expect_space(entry: Download, work: Path, mirror: str | None) -> None:
    """Raise a UserError unless archives and files fit on the disk."""
    level = peak = 0  # bytes more than now
    done = _unpacked(work)
    for archive in entry.archives:
        if archive.identity in done:
            continue
        level += archive.unpacked
        if not _is_folder(mirror):
            level += archive.size - received(work / archive.name)
        peak = max(peak, level)
        if not _is_folder(mirror) and not entry.keep_archives:
            level -= archive.size
    disk = next(folder for folder in (work, *work.parents) if folder.exists())
    free = shutil.disk_usage(disk).free
    if free < peak:
        raise UserError(
            f"{work.parent}: {free / 1e9:.1f} GB free, {peak / 1e9:.1f} GB needed; "
            "make room, or set data_root in config.yaml"
        )


def _is_folder(mirror: str | None) -> bool:
    return mirror is not None and "://" not in mirror


def _obtain(archive: Archive, work: Path, mirror: str | None) -> Path:
    """The checked archive: fetched into ``work``, or as it lies in the mirror's folder."""
    if mirror is not None and _is_folder(mirror):
        file = Path(mirror) / archive.name
        if not file.is_file():
            raise UserError(f"{file}: no such file; it belongs into the folder given as --mirror")
        _check(file, archive)
        return file
    file = work / archive.name
    url = f"{mirror.rstrip('/')}/{archive.name}" if mirror else archive.url
    try:
        if not file.exists():
            log.info("%s: fetching %.0f MB from %s", file.name, archive.size / 1e6, url)
            fetch(url, file, archive.size)
        try:
            _check(file, archive)
        except UserError:
            file.unlink()
            raise
    except UserError as error:
        hint = "try again, or name another place with --mirror URL_OR_FOLDER"
        raise UserError(f"{error}; {hint}") from None
    return file


def _check(file: Path, archive: Archive) -> None:
    """Raise a UserError unless size and checksum are the expected ones."""
    found = file.stat().st_size
    if found != archive.size:
        raise UserError(f"{file}: {found:,} bytes, expected {archive.size:,}")
    algorithm, _, expected = (archive.checksum or "sha256").partition(":")
    log.info("%s: computing its %s", file.name, algorithm)
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, algorithm).hexdigest()
    if archive.checksum is None:
        log.warning("%s: NOT CHECKED, its checksum is not known; sha256 %s", file.name, digest)
    elif digest != expected:
        raise UserError(f"{file}: {algorithm} {digest}, expected {expected}: damaged or replaced")
