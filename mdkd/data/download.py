"""Download the official archives of a data set and unpack them into the data set's root.

All work is done in the folder ``ROOT.download`` beside the root. It holds the archives, partly
received archives and unpacked files. An interrupted download resumes from them. At the end, the
unpacked files are moved to the root in one step, together with the record ``download.json``.
"""

import hashlib
import logging
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from mdkd import faults, locks, records
from mdkd.config import parse
from mdkd.data.fetch import fetch, received
from mdkd.data.reading import read_json
from mdkd.data.unpack import unpack
from mdkd.errors import UserError
from mdkd.yamlfiles import read_yaml

RECORD = "download.json"
CHECKSUM = r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One file to download and unpack."""

    url: str
    size: int  # bytes
    unpacked: int  # bytes on disk after unpacking, an upper bound
    checksum: str | None  # ALGORITHM:HEX; None: unknown

    @property
    def name(self) -> str:
        """The name of its file: the last part of the URL's path, without a query."""
        return PurePosixPath(urlsplit(self.url).path).name

    @property
    def identity(self) -> dict[str, Any]:
        """The facts that identify the archive. They do not depend on the server or mirror."""
        return {"name": self.name, "size": self.size, "checksum": self.checksum}


@dataclass(frozen=True, kw_only=True)
class Download:
    """One entry of ``downloads.yaml``: archives, or instructions for a download by hand."""

    archives: list[Archive] = field(default_factory=list)
    keep_archives: bool = False
    instructions: str | None = None


def read_downloads(file: Path) -> dict[str, Download]:
    """Read and check ``downloads.yaml``; returns one entry per data set name."""
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected one entry per data set")
    downloads = {str(k): parse(Download, v, f"{file}: {k}") for k, v in content.items()}
    for dataset, entry in downloads.items():
        if bool(entry.archives) == bool(entry.instructions):
            raise UserError(f"{file}: {dataset}: give either archives or instructions, not both")
        for i, archive in enumerate(entry.archives):
            where = f"{file}: {dataset}: archives[{i}]"
            is_file = re.fullmatch(r"https?://[^/?#]+/[^?#]*[^/?#](\?[^#]*)?", archive.url)
            if not is_file or archive.name == "..":
                raise UserError(f"{where}: url: '{archive.url}' is not the http(s) URL of a file")
            if archive.size <= 0 or archive.unpacked <= 0:
                raise UserError(f"{where}: size and unpacked must be positive")
            if archive.checksum is not None and not re.fullmatch(CHECKSUM, archive.checksum):
                raise UserError(f"{where}: checksum: write md5:HEX, sha256:HEX or null")
    return downloads


def download(dataset: str, root: Path, downloads: Path, mirror: str | None = None) -> None:
    """Download the files of ``dataset`` to ``root``. Does nothing if the download is complete.

    Args:
        downloads: the path of ``downloads.yaml``.
        mirror: a folder with the archives, or a base URL; the archives' names are appended to it.

    Raises:
        UserError: the files cannot be downloaded, checked or unpacked.
        OSError: the disk is full, or a folder cannot be written.
    """
    entries = read_downloads(downloads)
    if dataset not in entries:
        raise UserError(
            f"{downloads}: no download for {dataset}; data sets with one: {', '.join(entries)}"
        )
    entry = entries[dataset]
    if entry.instructions:
        log.info("%s", entry.instructions.rstrip().replace("{root}", str(root)))
        raise UserError(f"{dataset} cannot be downloaded automatically; follow the steps above")
    if mirror and "://" in mirror and not mirror.startswith(("http://", "https://")):
        raise UserError(f"--mirror {mirror}: expected http://, https:// or a folder")
    # If root is a link to another disk, keep the link and use its target.
    root = Path(os.path.realpath(root))
    work = root.with_name(f"{root.name}.download")
    with faults.named(work):
        if _is_complete(root, entry):
            log.info("%s: complete, nothing to do", root)
            return
        _expect_space(entry, work, mirror)
        work.mkdir(parents=True, exist_ok=True)
        busy = f"{work}: another process is downloading this data set; wait for it"
        with locks.held(work / "lock", busy):
            _bring(entry, root, work, mirror)


def _is_complete(root: Path, entry: Download) -> bool:
    """Whether ``root`` holds a complete download of these archives.

    Raises:
        UserError: ``root`` holds other files, files of other archives, or too few files.
    """
    if not root.exists() or not any(root.iterdir()):
        return False
    if not (root / RECORD).exists():
        raise UserError(
            f"{root}: contains files that were not downloaded by this program; "
            "use them as they are, or move them away and run the command again"
        )
    record = _read_record(root / RECORD, f"move {root} away and run the command again")
    if record["archives"] != [archive.identity for archive in entry.archives]:
        raise UserError(
            f"{root}: was downloaded from other archives; move it away and run the command again"
        )
    gone = record["files"] - _count_files(root)
    if gone > 0:
        raise UserError(f"{root}: {gone} files are missing; move it away and run the command again")
    return True


def _count_files(folder: Path) -> int:
    """The number of files in a folder and its subfolders, without the record."""
    files = sum(len(names) for _, _, names in os.walk(folder))
    return files - (folder / RECORD).exists()


def _bring(entry: Download, root: Path, work: Path, mirror: str | None) -> None:
    """Download, check and unpack one archive after another, then move the files to ``root``."""
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
        root.rmdir()  # _is_complete has checked that it is empty
    files.replace(root)
    if not entry.keep_archives:
        shutil.rmtree(work)
    log.info("%s: complete, %d files", root, _count_files(root))


def _unpacked(work: Path) -> list[dict[str, Any]]:
    """The identities of the archives that an earlier call has unpacked."""
    file = work / "files" / RECORD
    if not file.exists():
        return []
    return _read_record(file, "delete it and run the command again")["archives"]


def _read_record(file: Path, fix: str) -> dict[str, Any]:
    """The record of a download, which has the keys ``archives`` and ``files``."""
    record = read_json(file, fix)
    kinds = (("archives", list), ("files", int))
    if not isinstance(record, dict) or any(
        type(record.get(key)) is not kind for key, kind in kinds
    ):
        raise UserError(f"{file}: not the record of a download; {fix}")
    return record


def _expect_space(entry: Download, work: Path, mirror: str | None) -> None:
    """Raise a UserError if the archives and unpacked files do not fit on the disk."""
    level = peak = 0  # bytes in addition to those used now
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
            "free up space on that disk, or set data_root in config.yaml"
        )


def _is_folder(mirror: str | None) -> bool:
    return mirror is not None and "://" not in mirror


def _obtain(archive: Archive, work: Path, mirror: str | None) -> Path:
    """The path of the checked archive: downloaded into ``work``, or inside the mirror folder."""
    if mirror is not None and _is_folder(mirror):
        file = Path(mirror) / archive.name
        if not file.is_file():
            raise UserError(f"{file}: no such file; put it into the folder given as --mirror")
        _check(file, archive)
        return file
    file = work / archive.name
    url = f"{mirror.rstrip('/')}/{archive.name}" if mirror else archive.url
    try:
        if not file.exists():
            log.info("%s: downloading %.0f MB from %s", file.name, archive.size / 1e6, url)
            fetch(url, file, archive.size)
        try:
            _check(file, archive)
        except UserError:
            file.unlink()
            raise
    except UserError as error:
        hint = "try again, or use another server or folder with --mirror URL_OR_FOLDER"
        raise UserError(f"{error}; {hint}") from None
    return file


def _check(file: Path, archive: Archive) -> None:
    """Raise a UserError if the size or the checksum of the file is wrong."""
    found = file.stat().st_size
    if found != archive.size:
        raise UserError(f"{file}: {found:,} bytes, expected {archive.size:,}")
    algorithm, _, expected = (archive.checksum or "sha256").partition(":")
    log.info("%s: computing its %s", file.name, algorithm)
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, algorithm).hexdigest()
    if archive.checksum is None:
        log.warning(
            "%s: NOT CHECKED, because its checksum is unknown; its sha256 is %s", file.name, digest
        )
    elif digest != expected:
        raise UserError(
            f"{file}: {algorithm} {digest}, expected {expected}; the file is damaged or replaced"
        )
