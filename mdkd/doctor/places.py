"""Folders of the project: can be written, hold locks, have room. Files that must be there."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mdkd import registry
from mdkd.costs import Estimator, stores_of
from mdkd.data.cache import elsewhere
from mdkd.doctor import parse, trylock
from mdkd.doctor.check import Check, ask_python, gigabytes
from mdkd.errors import UserError
from mdkd.plan import Plan
from mdkd.weightfiles import local_file
from mdkd.yamlfiles import read_yaml

LOCK_S = 15
MOUNTS = Path("/proc/mounts")
LOCAL_LOCKS = {  # options of network file systems with which locks hold on one host only
    "nfs": ("nolock", "local_lock=flock", "local_lock=all"),
    "lustre": ("localflock",),
}
SHARED = ("nfs", "lustre", "gpfs", "beegfs", "ceph", "cifs", "fuse", "9p", "orangefs")


class Place(NamedTuple):
    """A folder of the project, and the folder that is there already: itself or one above it."""

    name: str
    folder: Path
    existing: Path


def places(store: Path) -> list[Place]:
    """The folders that a workflow writes to, and the one with the locks of GPUs."""
    folders = {name: Path(name) for name in ("results", "cache", "logs")}
    folders |= {"store": store, "temporary": Path(tempfile.gettempdir())}
    return [Place(name, folder, _existing(folder)) for name, folder in folders.items()]


def _existing(folder: Path) -> Path:
    whole = Path.cwd() / folder
    return next(each for each in (whole, *whole.parents) if each.exists())


def writable(found: list[Place]) -> Check:
    """Whether a file can be made in every folder, also against quotas and read-only mounts."""
    wrong = []
    for place in found:
        try:
            with tempfile.TemporaryFile(prefix=trylock.PREFIX, dir=place.existing):
                pass
        except OSError as error:
            wrong.append(f"{place.existing}: {error.strerror}")
    if wrong:
        fix = "change the owner or mode of the folder, or `store` in config.yaml, or TMPDIR"
        return Check("folders", "problem", "; ".join(dict.fromkeys(wrong)), fix)
    return Check("folders", "ok", f"can be written: {', '.join(place.name for place in found)}")


def file_systems(found: list[Place]) -> list[list[Place]]:
    """The places, those of one file system together."""
    groups: dict[int, list[Place]] = {}
    for place in found:
        groups.setdefault(place.existing.stat().st_dev, []).append(place)
    return list(groups.values())


def locks(found: list[Place]) -> Check:
    """Whether a lock keeps out a second process; for places of one file system."""
    names = ", ".join(place.name for place in found)
    mount = parse.mount_of(found[0].existing.resolve(), _mounts())
    kind = f" on {mount.kind}" if mount else ""
    answer = ask_python(["-m", "mdkd.doctor.trylock", str(found[0].existing)], LOCK_S)
    return judge_locks(names, kind, answer.error or answer.text.strip(), mount)


def judge_locks(names: str, kind: str, said: str, mount: parse.Mount | None) -> Check:
    """``said`` is "held" if a second process found the lock of the first one."""
    fix = "put the folders on a file system with locks (flock), such as a local disk"
    if said != "held":
        reason = "a second process does not see a lock" if said == "free" else said
        return Check("locks", "problem", f"{names}{kind}: {reason}", fix)
    for family, options in LOCAL_LOCKS.items():
        if mount and mount.kind.startswith(family) and (own := mount.options & set(options)):
            why = f"mount option {', '.join(sorted(own))}"
            text = f"{names}{kind}: locks hold on one host only ({why})"
            return Check("locks", "problem", text, f"{fix}; or use one host only")
    shared = mount is not None and mount.kind.startswith(SHARED)
    other = "; between hosts this is not tested" if shared else ""
    return Check("locks", "ok", f"{names}{kind}: locks keep out other processes{other}")


def _mounts() -> str:
    return MOUNTS.read_text(encoding="utf-8", errors="replace") if MOUNTS.exists() else ""


def room(found: list[Place], estimator: Estimator) -> Check:
    """Free bytes of a file system, and what the plan will still write there."""
    plan = estimator.plan
    names = {place.name for place in found}
    everything, default = (need(estimator, p, names) for p in (plan, default_of(plan)))
    return judge_room(
        ", ".join(place.name for place in found),
        shutil.disk_usage(found[0].existing).free,
        everything,
        default,
    )


def default_of(plan: Plan) -> Plan:
    """The part of the plan that is made if no target is named."""
    return plan.only([name for name in plan.selected if name in plan.artefacts])


class Need(NamedTuple):
    size: float  # bytes, of what is known
    complete: bool  # whether all is known


def need(estimator: Estimator, plan: Plan, names: set[str]) -> Need:
    """What a plan will still write into ``store`` and ``cache``, if they are among the names."""
    sizes: list[float | None] = []
    if "store" in names:
        left = (run for path, run in plan.runs.items() if path not in estimator.done)
        sizes += [estimator.disk(run) for run in left]
        stores = stores_of(plan.runs, estimator).values()
        sizes += [estimator.logits_disk(*store) for store in stores]
    if "cache" in names:
        to_make = (d for name, d in plan.datasets.items() if estimator.metas[name] is None)
        sizes += [estimator.cache(dataset) for dataset in to_make]
    return Need(sum(size for size in sizes if size is not None), None not in sizes)


def judge_room(names: str, free: float, everything: Need, default: Need) -> Check:
    """Compare free bytes with the need of all artefacts, and with that of the default ones."""
    text = f"{names}: {gigabytes(free)} free"
    fix = "free some space, or set `store` in config.yaml to a larger disk"
    if free < default.size:
        text += f", but the default artefacts still need {gigabytes(default.size)}"
        return Check("disk", "problem", text, fix)
    if free < everything.size:
        text += f", but all artefacts together still need {gigabytes(everything.size)}"
        return Check("disk", "warning", text, fix)
    more = "" if everything.complete else ", and more for data sets or networks of unknown size"
    return Check("disk", "ok", f"{text}; the plan still needs {gigabytes(everything.size)}{more}")


def data(estimator: Estimator, downloads: Path) -> Iterator[Check]:
    """For each planned data set: its cache, or the files to make it from."""
    plan = estimator.plan
    default = default_of(plan).datasets
    known = read_yaml(downloads) if downloads.exists() else {}
    for name, dataset in plan.datasets.items():
        root = Path(plan.roots[name])
        if other := elsewhere(dataset, plan.layout().cache(name), root):
            fix = f"run `mdkd cache {name}` with these settings again"
            yield Check("data", "problem" if name in default else "warning", other, fix)
        elif estimator.metas[name] is not None:
            yield Check("data", "ok", f"{name}: {plan.layout().cache(name)} is complete")
        elif getattr(registry.load("mdkd.data.sources", dataset.source), "DRAWN", False):
            yield Check("data", "ok", f"{name} is drawn and needs no files")
        elif reason := _unreadable(root):
            same = [other for other in known if plan.roots.get(other) == str(root)]
            fetch = f"`mdkd download {same[0]}`, or " if same else ""
            fix = f"{fetch}set data_root in config.yaml or root in datasets.yaml"
            used = name in default
            text = f"{name}: {reason}{'' if used else '; no default artefact needs it'}"
            yield Check("data", "problem" if used else "warning", text, fix)
        else:
            text = f"{name}: {root} can be read; `mdkd cache` checks its content"
            yield Check("data", "ok", text)


def _unreadable(root: Path) -> str | None:
    """Why a data set cannot be read from a folder, or None."""
    if not root.is_dir():
        return f"{root}: no such folder"
    if not os.access(root, os.R_OK | os.X_OK):
        return f"{root}: cannot be read"
    return None if any(root.iterdir()) else f"{root}: is empty"


def weights(estimator: Estimator) -> Check:
    """Initial weights of the runs that are not done: files, or downloads at the first training."""
    plan = estimator.plan
    left = [run for path, run in plan.runs.items() if path not in estimator.done and run.weights]
    folder, wrong, download = Path(plan.weights_folder), [], []
    nets = sorted({run.net for run in left if run.weights == "imagenet"})
    for net in nets:
        try:
            if local_file(net, folder) is None:
                download.append(net)
        except UserError as error:
            wrong.append(str(error))
    files = sorted({run.weights_file for run in left if run.weights_file})
    wrong += [f"{file}: no such file" for file in files if not Path(file).is_file()]
    if wrong:
        fix = "replace the files, or change weights in the protocol"
        return Check("weights", "problem", "; ".join(wrong), fix)
    if download:
        text = f"{len(download)} of {len(nets)} are not in {folder} and will be downloaded (the "
        text += f"network is not tested): {', '.join(download)}"
        fix = "without network: see docs/weights.md"
        return Check("weights", "warning", text, fix)
    needed = len(nets) + len(files)
    return Check("weights", "ok", f"all {needed} are there" if needed else "none are needed")
