"""Stored logits of teachers: what many runs would compute alike, computed once.

The order of the images and their augmentation depend on the seed, the epoch and the image alone. A
teacher therefore gives the same logits to every student of a seed, and a method that needs nothing
else of the teacher may read them from files:

    store/logits/{dataset}/{teacher}/seed{seed}/{key}/  (or teacher/epochs-40/, as in a run's path)
        logits.json       the record, written last: facts, and the digest of each epoch
        begun.json        the facts of the epochs that are there, written first
        epoch0001.npy     float32 or float16 [N, C], images in the order of the epoch's batches
        lock              while a process writes them

The files can always be computed again, so `mdkd store prune` names them first.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdkd import keys, locks, methodfiles, records, store
from mdkd.config import Run, number, parse_known
from mdkd.layout import Layout
from mdkd.plan import Plan
from mdkd.runpath import LOGITS, RunPath, changes_of, level, written
from mdkd.specfiles import VIEWS

RECORD, BEGUN = "logits.json", "begun.json"
LEAST_RUNS = 2  # that are left to train; for a single one it saves nothing


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of complete logits, besides the plan."""

    cache: str  # the fingerprint of the cache
    teacher: str  # the digest of the teacher's weights
    epochs: list[str]  # the SHA-256 of the file of each epoch
    labels: int = number(1)
    images_per_s: float = number(1e-9)  # the speed at which the teacher computed them
    by_label: bool  # whether a batch of the teacher's logits lies label by label in memory


@dataclass(frozen=True)
class Entry:
    """The folder of the stored logits of one teacher for one seed."""

    folder: Path

    def epoch(self, number: int) -> Path:
        """The file of an epoch, counted from 0."""
        return self.folder / f"epoch{number + 1:04d}.npy"

    def record(self) -> "Record | None":
        """The record, or None if the logits are not complete."""
        file = self.folder / RECORD
        if not file.exists():
            return None
        fix = f"delete {self.folder}; the logits are then stored again"
        return parse_known(Record, records.read_json(file, fix, fix), str(file))

    @property
    def running(self) -> bool:
        """Whether a process writes the logits."""
        return locks.is_held(self.folder / "lock")


def may_read(run: Run) -> bool:
    """Whether a run needs nothing of its teacher but the logits."""
    return bool(_readers([run]))


def _readers(runs: Iterable[Run]) -> list[Run]:
    """The runs that need nothing of their teachers but the logits. Each method is read once."""
    distilled = [run for run in runs if run.teacher is not None]
    names = {run.method.name for run in distilled}
    suited = {name for name in names if methodfiles.read(name).needs == ["logits"]}
    return [run for run in distilled if run.method.name in suited]


def path_of(run: Run) -> str:
    """The path of the stored logits that serve a distilled run."""
    identity = RunPath.parse(run.path)
    changes = changes_of(identity.variant, run.nameable)
    own = {key: value for key, value in changes.items() if key in (*VIEWS, "teacher_seed")}
    return LOGITS.format(
        dataset=identity.dataset,
        teacher=identity.teacher,
        level=level(written(own)),
        seed=run.seed,
    )


def planned(run: Run) -> dict[str, Any]:
    """Everything planned that the logits depend on, as JSON."""
    facts = keys.planned(run)
    recipe = {name: value for name, value in facts["recipe"].items() if name in VIEWS}
    return {name: facts[name] for name in ("numerics", "dataset", "teacher", "seed")} | {
        "recipe": recipe
    }


def key(run: Run) -> str:
    """The key of the stored logits that serve a distilled run."""
    return records.digest(planned(run))[: keys.DIGITS]


def entry(run: Run, layout: Layout) -> Entry:
    """The stored logits that serve a distilled run, whether they exist or not."""
    return Entry(layout.store_entry(path_of(run), key(run)))


def complete(run: Run, layout: Layout, cache: str, teacher: str) -> bool:
    """Whether all logits of a cache, by its fingerprint, and of a teacher's weights are there."""
    record = entry(run, layout).record()
    return record is not None and (record.cache, record.teacher) == (cache, teacher)


def publish(run: Run, layout: Layout) -> None:
    """Write the small file that declares complete logits to the workflow engine."""
    own = entry(run, layout)
    record = own.record()
    assert record is not None
    published = {"entry": str(own.folder), "cache": record.cache, "teacher": record.teacher}
    records.write_json(layout.published(path_of(run), key(run)), published)


def withdraw(plan: Plan, layout: Layout) -> None:
    """Delete the published files of logits that are gone, or of another teacher or cache."""
    for name, runs in groups(plan).items():
        run = plan.runs[runs[0]]
        published = layout.published(name, key(run))
        if published.exists() and not _current(run, layout):
            published.unlink()


def _current(run: Run, layout: Layout) -> bool:
    """Whether complete logits agree with the teacher and the cache that are there now."""
    record, teacher = entry(run, layout).record(), store.teacher_entry(run, layout)
    if record is None:
        return False
    if teacher and teacher.finished and teacher.record()["weights_sha256"] != record.teacher:
        return False
    meta = layout.cache(run.dataset.name) / "meta.json"
    return not meta.exists() or records.read_json(meta).get("fingerprint") == record.cache


def groups(plan: Plan) -> dict[str, list[str]]:
    """The runs of a plan that stored logits can serve, by the path of these logits."""
    found: dict[str, list[str]] = {}
    for run in _readers(plan.runs.values()):
        found.setdefault(path_of(run), []).append(run.path)
    return found


def worthwhile(plan: Plan, left: set[str]) -> dict[str, list[str]]:
    """The groups of which at least `LEAST_RUNS` runs are ``left`` to train, with these runs."""
    if plan.stored_logits == "never":
        return {}
    kept = {name: [path for path in runs if path in left] for name, runs in groups(plan).items()}
    return {name: runs for name, runs in kept.items() if len(runs) >= LEAST_RUNS}


def entries(store_folder: Path) -> list[Entry]:
    """All stored logits of a store, complete or not, by path."""
    below = store_folder / LOGITS.partition("/")[0]
    found = {file.parent for name in (RECORD, BEGUN) for file in below.rglob(name)}
    return [Entry(folder) for folder in sorted(found)]


def waited_for(plan: Plan, layout: Layout) -> set[Path]:
    """The folders of the logits that runs of a plan will read that are not done."""
    runs = _readers(plan.runs.values())
    return {entry(run, layout).folder for run in runs if store.state(run, layout) != "done"}
