"""Stored outputs of teachers: what many runs would compute alike, computed once.

The order of the images and their augmentation depend on the seed, the epoch and the image alone. A
teacher therefore gives the same outputs to every student of a seed. A method that needs nothing of
the teacher but its logits, or but these and its pooled vectors, may read them from files:

    store/logits/{dataset}/{teacher}/seed{seed}/{key}/  (or teacher/epochs-40/, as in a run's path)
        logits.json       the record, written last: facts, and the digest of each epoch
        begun.json        the facts of the epochs that are there, written first
        epoch0001.npy     float32 or float16 [N, C], images in the order of the epoch's batches
        lock              while a process writes them
    store/pooled/...      the same with pooled vectors behind the logits, float32 [N, C + D]

The files can always be computed again, so `mdkd store prune` names them first.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdkd import keys, locks, methodfiles, records, store
from mdkd.config import Run, number, parse_known
from mdkd.layout import Layout
from mdkd.plan import Plan
from mdkd.runpath import OUTPUTS, RunPath, changes_of, level, written
from mdkd.specfiles import VIEWS

RECORD, BEGUN = "logits.json", "begun.json"
# The parts of an output that a store holds, by its kind: the first folder of its path.
KINDS = {"pooled": ("logits", "pooled"), "logits": ("logits",)}
LEAST_RUNS = 2  # that are left to train; for a single one it saves nothing


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of a complete store, besides the plan."""

    cache: str  # the fingerprint of the cache
    teacher: str  # the digest of the teacher's weights
    device: str | None = None  # cpu or cuda, where all epochs were computed; None: not recorded
    epochs: list[str]  # the SHA-256 of the file of each epoch
    labels: int = number(1)
    images_per_s: float = number(1e-9)  # the speed at which the teacher computed them
    by_label: bool  # whether a batch of the teacher's logits lies label by label in memory
    channels: int = number(0, default=0)  # of a pooled vector; 0: none are stored
    by_channel: bool = False  # whether a batch of pooled vectors lies channel by channel


@dataclass(frozen=True)
class Entry:
    """The folder of the stored outputs of one teacher for one seed."""

    folder: Path

    def epoch(self, number: int) -> Path:
        """The file of an epoch, counted from 0."""
        return self.folder / f"epoch{number + 1:04d}.npy"

    def record(self) -> "Record | None":
        """The record, or None if the store is not complete."""
        file = self.folder / RECORD
        if not file.exists():
            return None
        fix = f"delete {self.folder}; it is then stored again"
        return parse_known(Record, records.read_json(file, fix, fix), str(file))

    @property
    def running(self) -> bool:
        """Whether a process writes into it."""
        return locks.is_held(self.folder / "lock")


def kinds_for(run: Run) -> list[str]:
    """The kinds of stores that hold all that a run needs of its teacher."""
    return _kinds([run]).get(run.path, [])


def _kinds(runs: Iterable[Run]) -> dict[str, list[str]]:
    """The same for each distilled run, by its path. The file of each method is read once."""
    distilled = [run for run in runs if run.teacher is not None]
    names = {run.method.name for run in distilled}
    needs = {name: set(methodfiles.read(name).needs) for name in names}
    return {
        run.path: [kind for kind, held in KINDS.items() if needs[run.method.name] <= set(held)]
        for run in distilled
    }


def kind_of(path: str) -> str:
    """The kind of a store, from its path."""
    return path.partition("/")[0]


def path_of(run: Run, kind: str = "logits") -> str:
    """The path of a store that serves a distilled run."""
    identity = RunPath.parse(run.path)
    changes = changes_of(identity.variant, run.nameable)
    own = {key: value for key, value in changes.items() if key in (*VIEWS, "teacher_seed")}
    return OUTPUTS.format(
        kind=kind,
        dataset=identity.dataset,
        teacher=identity.teacher,
        level=level(written(own)),
        seed=run.seed,
    )


def planned(run: Run) -> dict[str, Any]:
    """Everything planned that stored outputs depend on, as JSON."""
    facts = keys.planned(run)
    recipe = {name: value for name, value in facts["recipe"].items() if name in VIEWS}
    return {name: facts[name] for name in ("numerics", "dataset", "teacher", "seed")} | {
        "recipe": recipe
    }


def key(run: Run) -> str:
    """The key of the stores that serve a distilled run."""
    return records.digest(planned(run))[: keys.DIGITS]


def entry(run: Run, layout: Layout, kind: str = "logits") -> Entry:
    """The store of a kind that serves a distilled run, whether it exists or not."""
    return Entry(layout.store_entry(path_of(run, kind), key(run)))


def complete(entry: Entry, cache: str, teacher: str) -> bool:
    """Whether all outputs for a cache, by its fingerprint, and a teacher's weights are there."""
    record = entry.record()
    return record is not None and (record.cache, record.teacher) == (cache, teacher)


def publish(run: Run, layout: Layout, kind: str) -> None:
    """Write the small file that declares a complete store to the workflow engine."""
    own = entry(run, layout, kind)
    record = own.record()
    assert record is not None
    published = {"entry": str(own.folder), "cache": record.cache, "teacher": record.teacher}
    records.write_json(layout.published(path_of(run, kind), key(run)), published)


def withdraw(plan: Plan, layout: Layout) -> None:
    """Delete the published files of stores that are gone, or of another teacher or cache."""
    for name, runs in groups(plan).items():
        run = plan.runs[runs[0]]
        published = layout.published(name, key(run))
        if published.exists() and not _current(run, layout, kind_of(name)):
            published.unlink()


def _current(run: Run, layout: Layout, kind: str) -> bool:
    """Whether a complete store agrees with the teacher and the cache that are there now."""
    record, teacher = entry(run, layout, kind).record(), store.teacher_entry(run, layout)
    if record is None:
        return False
    if teacher and teacher.finished and teacher.record()["weights_sha256"] != record.teacher:
        return False
    meta = layout.cache(run.dataset.name) / "meta.json"
    return not meta.exists() or records.read_object(meta).get("fingerprint") == record.cache


def groups(plan: Plan) -> dict[str, list[str]]:
    """The runs of a plan that a store can serve, by the path of the store; of all kinds."""
    found: dict[str, list[str]] = {}
    for path, kinds in _kinds(plan.runs.values()).items():
        for kind in kinds:
            found.setdefault(path_of(plan.runs[path], kind), []).append(path)
    return found


def worthwhile(
    plan: Plan, left: set[str], layout: Layout, affordable: Callable[[Run, str], bool]
) -> dict[str, list[str]]:
    """The stores that pay, by path, each with the runs ``left`` to train that will read it.

    A run reads one store, and at least `LEAST_RUNS` runs read each. What is there already is used
    first. A new store holds no more than some of its runs needs.

    Args:
        affordable: whether a store of this kind that serves this run may be made.
    """
    if plan.stored_logits == "never":
        return {}
    kinds, members = _kinds(plan.runs.values()), groups(plan)
    readers = {name: plan.runs[paths[0]] for name, paths in members.items()}  # one of each
    made = {n for n, run in readers.items() if entry(run, layout, kind_of(n)).record() is not None}
    found: dict[str, list[str]] = {}
    served: set[str] = set()
    for name in sorted(members, key=lambda n: (n not in made, [*KINDS].index(kind_of(n)))):
        kind = kind_of(name)
        runs = [path for path in members[name] if path in left and path not in served]
        needed = any(kinds[path][-1] == kind for path in runs)  # no smaller kind would do
        pays = name in made or (needed and affordable(readers[name], kind))
        if pays and len(runs) >= LEAST_RUNS:
            found[name] = runs
            served.update(runs)
    return found


def entries(store_folder: Path) -> list[Entry]:
    """All stored outputs of a store, complete or not, by path."""
    below = [store_folder / kind for kind in KINDS]
    found = {f.parent for place in below for name in (RECORD, BEGUN) for f in place.rglob(name)}
    return [Entry(folder) for folder in sorted(found)]


def waited_for(plan: Plan, layout: Layout) -> set[Path]:
    """The folders of the stores that runs of a plan may read that are not done."""
    return {
        entry(plan.runs[path], layout, kind).folder
        for path, kinds in _kinds(plan.runs.values()).items()
        if store.state(plan.runs[path], layout) != "done"
        for kind in kinds
    }
