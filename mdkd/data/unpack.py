"""Unpack tar and zip archives safely, even if they come from an untrusted server.

An archive may contain only files and folders, and they must stay inside the target folder. Every
file must have a name of its own, also on a disk that ignores upper and lower case. All names are
checked before the first file is written. Owners, modes and times are ignored.
"""

import errno
import logging
import shutil
import stat
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from mdkd.data.reading import LONGEST_NAME, is_clean, reason_of
from mdkd.errors import UserError, show

REPORT_S = 5.0  # between two progress messages
LONGEST_PATH = 1024  # bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """One entry of an archive; ``size`` in bytes."""

    name: str
    kind: str  # "file", "folder", or another kind, such as "link"
    size: int
    open: Callable[[], Any]


def unpack(archive: Path, folder: Path) -> None:
    """Write all files of ``archive`` into ``folder``. Existing files are replaced.

    Raises:
        UserError: the archive is damaged, contains anything except files and folders, has a path
            outside ``folder``, or does not fit on the disk. Nothing is written in these cases,
            except if the damage is found only while unpacking.
    """
    try:
        with _opened(archive) as members:
            for member in members:
                _expect_harmless(archive, member)
            _expect_distinct(archive, members)
            if all(member.kind == "folder" for member in members):
                raise UserError(
                    f"{archive}: contains no file; move it away and run the command again"
                )
            folder.mkdir(parents=True, exist_ok=True)
            needed, free = sum(m.size for m in members), shutil.disk_usage(folder).free
            if free < needed:
                gb = f"{needed / 1e9:.1f} GB when unpacked, {free / 1e9:.1f} GB are free"
                raise UserError(f"{archive}: {gb}; free up space and run the command again")
            _write(archive.name, members, folder)
    except UserError:
        raise
    except Exception as error:  # a damaged archive can raise almost any exception
        # An errno is about the disk, except after a search for a place before the archive's start.
        if getattr(error, "errno", None) not in (None, errno.EINVAL):
            raise
        raise UserError(
            f"{archive}: cannot be unpacked ({reason_of(error)}); "
            "it is damaged: move it away, then run the command again"
        ) from None


def _write(name: str, members: list[Member], folder: Path) -> None:
    reported_s = time.monotonic()
    for i, member in enumerate(members):
        target = folder / member.name
        if member.kind == "folder":
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)
        if time.monotonic() - reported_s > REPORT_S:
            reported_s = time.monotonic()
            log.info("%s: %d of %d files unpacked", name, i + 1, len(members))


def _expect_harmless(archive: Path, member: Member) -> None:
    path, name = PurePosixPath(member.name), show(member.name)
    if member.kind not in ("file", "folder"):
        raise UserError(f"{archive}: {name} is a {member.kind}; nothing was unpacked")
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise UserError(f"{archive}: {name} is outside the target folder; nothing was unpacked")
    sizes = [len(part.encode(errors="replace")) for part in path.parts]
    too_long = max(sizes, default=0) > LONGEST_NAME or sum(sizes) + len(sizes) > LONGEST_PATH
    if too_long or not is_clean(member.name) or (not path.parts and member.kind == "file"):
        raise UserError(f"{archive}: {name} is no usable name of a file; nothing was unpacked")


def _expect_distinct(archive: Path, members: list[Member]) -> None:
    """Raise a UserError if two files have the same path, or a file has the path of a folder."""
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for member in members:
        path = PurePosixPath(member.name.casefold())
        above = path.parents if member.kind == "file" else (path, *path.parents)
        folders |= {str(folder): member.name for folder in above}
        if member.kind == "file":
            if str(path) in files:
                raise _clash(archive, files[str(path)], member.name)
            files[str(path)] = member.name
    if both := files.keys() & folders.keys():
        raise _clash(archive, files[min(both)], folders[min(both)])


def _clash(archive: Path, first: str, second: str) -> UserError:
    return UserError(
        f"{archive}: {show(first)} and {show(second)} have the same place; nothing was unpacked"
    )


@contextmanager
def _opened(archive: Path) -> Iterator[list[Member]]:
    """The members of a tar or zip archive. They can be read only inside the ``with`` block."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as container:
            yield [_zip_member(container, info) for info in container.infolist()]
    else:
        with tarfile.open(archive) as container:
            yield [_tar_member(container, info) for info in container]


def _tar_member(container: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    kind = "device or pipe"
    if info.isreg() or info.isdir():
        kind = "file" if info.isreg() else "folder"
    elif info.issym() or info.islnk():
        kind = "link"
    return Member(info.name, kind, info.size, lambda: container.extractfile(info))


def _zip_member(container: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    kind = "folder" if info.is_dir() else "file"
    mode = info.external_attr >> 16  # Unix file mode; 0 if written on another system
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        kind = "link" if stat.S_ISLNK(mode) else "device or pipe"

    def opened() -> IO[bytes]:
        return container.open(info)

    return Member(info.filename, kind, info.file_size, opened)
