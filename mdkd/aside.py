"""Finished runs whose data or teacher is not the planned one any more.

They lie beside their entry, in ``{key}.{digest}``. If data and teacher are restored, they come
back, and nothing is trained again.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

from mdkd import records, store
from mdkd.config import Run
from mdkd.layout import Layout
from mdkd.store import LOCK, LOG, RECORD, Entry

DIGITS = 8  # of the digest of a record


def move_aside(entry: Entry) -> Path:
    """Move the files of a finished entry, which this process holds, into a folder beside it.

    The record is moved last, so that this can be interrupted. The lock of the entry stays.
    """
    digest = records.digest(entry.record())[:DIGITS]
    aside = entry.folder.with_name(f"{entry.folder.name}.{digest}")
    aside.mkdir(exist_ok=True)
    _move(entry.folder, aside)
    return aside


def bring_back(run: Run, entry: Entry, layout: Layout) -> Path | None:
    """Move a run back that has the data and the teacher of now; returns where it was.

    The entry must be held, and not done. If another finished run is there, it is moved aside. What
    an unfinished run has is deleted.
    """
    teacher = store.teacher_entry(run, layout)
    is_known = (layout.cache(run.dataset.name) / "meta.json").exists()
    if not is_known or (teacher and not teacher.record_if_intact()):
        return None  # the record of a run alone does not say that its data are those of now
    for folder in sorted(entry.folder.parent.glob(f"{entry.folder.name}.*")):
        record = Entry(folder).record_if_intact()
        if record is None or store.disagreement(run, record, layout) or not _whole(folder, record):
            continue
        if entry.finished:
            move_aside(entry)
        elif (entry.folder / LOG).exists():  # of trainings that did not end
            with (folder / LOG).open("ab") as log:
                log.write((entry.folder / LOG).read_bytes())
        entry.forget_progress()
        _move(folder, entry.folder)
        with suppress(OSError):  # something else lies there
            folder.rmdir()
        return folder
    return None


def _whole(folder: Path, record: dict[str, Any]) -> bool:
    """Whether all files of a record are there and as it says."""
    return all(
        (folder / name).is_file() and records.sha256(folder / name) == digest
        for name, digest in store.digests(record).items()
    )


def _move(source: Path, target: Path) -> None:
    """Move all files but the lock, and the record last."""
    files = [file for file in source.iterdir() if file.name != LOCK]
    for file in sorted(files, key=lambda f: f.name == RECORD):
        file.replace(target / file.name)
