"""`mdkd store`: list, verify and prune the store of runs."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mdkd import locks, logits, records, score, store
from mdkd.errors import UserError
from mdkd.plan import Plan
from mdkd.runpath import DISTILLED, SUPERVISED
from mdkd.store import RECORD, Entry

DAY_S = 86400.0
KINDS = [path.partition("/")[0] for path in (SUPERVISED, DISTILLED)]  # folders of a store
NAMES = 3  # of artefacts that the list shows for each protocol


@dataclass(frozen=True, kw_only=True)
class Item:
    """An entry of the store, as the list shows it: a training, or outputs of a teacher."""

    path: str  # below the store
    state: Literal["finished", "running", "unfinished", "damaged", "logits", "pooled"]
    bytes: int
    used_by: dict[str, list[str]] | None = None  # artefacts by protocol; None for outputs
    age_days: float | None = None  # None for outputs
    # Whether a table or figure needs it. Outputs are needed while a run that may read them is left.
    needed: bool


def items(plans: list[Plan]) -> list[Item]:
    """Every entry of the store: trainings by path, then outputs."""
    folder, users = plans[0].layout().store, _users(plans)
    found = []
    for entry in entries(folder):
        files = _facts(entry.folder)
        last = max((f.st_mtime for f in files), default=0.0)
        state = "running" if entry.running else "unfinished"
        if entry.finished:
            state = "finished" if entry.record_if_intact() else "damaged"
        found.append(
            Item(
                path=entry.folder.relative_to(folder).as_posix(),
                state=state,  # type: ignore[arg-type]
                bytes=sum(f.st_size for f in files),
                used_by=users.get(entry.folder, {}),
                age_days=max(time.time() - last, 0.0) / DAY_S,  # a clock may have been set back
                needed=entry.folder in users,
            )
        )
    wanted = _waited_for(plans)
    for stored in logits.entries(folder):
        path = stored.folder.relative_to(folder).as_posix()
        state = "running" if stored.running else "unfinished"
        if stored.record() and not stored.running:
            state = logits.kind_of(path)
        found.append(
            Item(
                path=path,
                state=state,  # type: ignore[arg-type]
                bytes=_size(stored.folder),
                needed=stored.folder in wanted,
            )
        )
    return found


def listing(plans: list[Plan]) -> str:
    """Two lines per entry: its state, size, age and place, and the artefacts that use it."""
    found, lines = items(plans), []
    for item in found:
        age = f"{'':11}" if item.age_days is None else f"{item.age_days:6.1f} days"
        lines.append(f"{item.state:10} {item.bytes / 1e6:9.1f} MB {age}  {item.path}")
        if item.used_by is None:
            use = "for runs that are left to train" if item.needed else "not needed now"
        else:
            use = f"used by {_used(item.used_by)}"
        lines.append(f"{'':4}{use}")
    total = sum(item.bytes for item in found) / 1e9
    return "\n".join([*lines, f"{len(found)} entries, {total:.2f} GB"])


def facts(plans: list[Plan]) -> dict[str, Any]:
    """The same as plain data."""
    found = items(plans)
    return {
        "store": str(plans[0].layout().store),
        "bytes": sum(item.bytes for item in found),
        "entries": [asdict(item) for item in found],
    }


def verify(plan: Plan) -> str:
    """Check every finished entry of the store: digests of its files, and its metrics.

    Raises:
        UserError: it lists every entry that is not as its record says, one line each.
    """
    wrong, checked = [], 0
    for entry in entries(plan.layout().store):
        if entry.finished:
            checked += 1
            try:
                _verify(entry)
            except UserError as error:
                wrong.append(str(error))
    if wrong:
        raise UserError(f"{len(wrong)} of {checked} entries are damaged:", *wrong)
    return f"{checked} finished entries are intact"


def prune(plans: list[Plan], *, delete: bool) -> str:
    """Delete the entries that no plan uses, or only say how much that would free.

    Outputs of teachers come first: they are not used if all runs that could read them are done.
    """
    users, wanted, folder = _users(plans), _waited_for(plans), plans[0].layout().store
    unused: list[Entry | logits.Entry] = [
        e for e in logits.entries(folder) if e.folder not in wanted
    ]
    unused += [entry for entry in entries(folder) if entry.folder not in users]
    unused = [entry for entry in unused if not entry.running]
    if delete:
        sizes = []
        for entry in unused:
            with suppress(locks.Busy), locks.held(entry.folder / store.LOCK, "busy"):
                sizes.append(_size(entry.folder))
                shutil.rmtree(entry.folder)
        return f"deleted {len(sizes)} entries, {sum(sizes) / 1e9:.2f} GB"
    size = sum(_size(entry.folder) for entry in unused) / 1e9
    names = [str(entry.folder) for entry in unused]
    what = f"{len(unused)} entries, {size:.2f} GB, are not needed by the plan of any protocol"
    return "\n".join([*names, f"{what}; `mdkd store prune --yes` deletes them"])


def entries(folder: Path) -> Iterator[Entry]:
    """All entries of a store, by path."""
    files = (*store.DIGESTS, RECORD, store.CHECKPOINT, store.FAILED, store.LOCK)
    below = (folder / kind for kind in KINDS)
    found = {file.parent for place in below for name in files for file in place.rglob(name)}
    for place in sorted(found):
        yield Entry(place)


def _waited_for(plans: list[Plan]) -> set[Path]:
    """The folders of the outputs that some run of the plans may read."""
    return {folder for plan in plans for folder in logits.waited_for(plan, plan.layout())}


def _users(plans: list[Plan]) -> dict[Path, dict[str, list[str]]]:
    """The artefacts that use each planned entry, by protocol. A teacher is used by its students."""
    users: dict[Path, dict[str, list[str]]] = {}
    for plan in plans:
        layout = plan.layout()
        folders = {path: store.entry(run, layout).folder for path, run in plan.runs.items()}
        for folder in folders.values():
            users.setdefault(folder, {})
        for name, artefact in plan.artefacts.items():
            teachers = {t for path in artefact.runs if (t := plan.runs[path].teacher)}
            for path in teachers | set(artefact.runs):
                users[folders[path]].setdefault(plan.protocol, []).append(name)
    return users


def _used(users: dict[str, list[str]]) -> str:
    """The users of an entry, of each protocol the first ones.

    >>> _used({"quick": ["table4"], "paper": ["a", "b", "c", "d", "e"]})
    'quick: table4; paper: a, b, c and 2 more'
    """
    texts = []
    for protocol, names in users.items():
        more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
        texts.append(f"{protocol}: {', '.join(names[:NAMES])}{more}")
    return "; ".join(texts) or "no artefact of any protocol"


def _facts(folder: Path) -> list[os.stat_result]:
    """Sizes and times of all files of an entry. A process may delete some of them just now."""
    facts = []
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):
            facts.append(file.stat())
    return facts


def _size(folder: Path) -> int:
    """Bytes of all files of an entry."""
    return sum(facts.st_size for facts in _facts(folder))


def _verify(entry: Entry) -> None:
    for name in store.digests(entry.record()):
        entry.file(name)
    for split in score.splits_of(entry):
        files = store.SPLITS[split]
        if files.predictions not in store.digests(entry.record()):
            score.stored(entry, split)  # an error if the metrics are not those of the record
            continue
        found, file = score.computed(entry, split), entry.folder / files.metrics
        # Metrics that are missing are made again when they are needed.
        written = records.read_object(file, "", score.AGAIN) if file.exists() else found
        if written != found and written.get("revision", score.REVISION) == score.REVISION:
            raise UserError(f"{file}: not the metrics of its predictions; {score.AGAIN}")
