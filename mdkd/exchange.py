"""`mdkd store`: export runs to a folder that can be published, import runs, and compare them.

An exported folder has the layout of a store. It may leave large files out; the record of each run
then names them under ``left_out``.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mdkd import keys, records, score, store
from mdkd.config import Run
from mdkd.errors import UserError
from mdkd.plan import Plan
from mdkd.store import RECORD, Entry

AGAIN = "copy the whole run again, or leave it out"


def export(plan: Plan, folder: Path, with_predictions: Iterable[str]) -> str:
    """Copy all finished runs of a plan into a folder that can be published.

    A copy has its record, metrics and history. Weights are copied of teachers only, and predictions
    only of the runs of some artefacts. Runs that the folder has already are left as they are.

    Args:
        with_predictions: names of artefacts or targets.

    Raises:
        UserError: an artefact is not in the plan, or a file of a run is missing or was changed.
    """
    names = [name for target in with_predictions for name in plan.members(target)]
    predicted = {run for name in names for run in plan.artefacts[name].runs}
    teachers = {run.teacher for run in plan.runs.values() if run.teacher}
    written = there = left = 0
    for path, run in plan.runs.items():
        entry = store.entry(run, plan.layout())
        target = Entry(folder / entry.folder.relative_to(plan.layout().store))
        if store.state(run, plan.layout()) != "done":
            left += 1
        elif target.finished:
            there += 1
        else:
            wanted = {store.HISTORY}
            if path in teachers:
                wanted.add(store.WEIGHTS)
            if path in predicted:
                wanted |= {files.predictions for files in store.SPLITS.values()}
            record = entry.record()
            missing = {*record.get("left_out", []), *(store.digests(record).keys() - wanted)}
            written += _copy(entry.folder, target, record | {"left_out": sorted(missing)})
    return (
        f"exported {written} runs to {folder}; {there} were there already; "
        f"{left} of the plan are not done"
    )


def compare(plan: Plan, folder: Path) -> str:
    """Say whether the finished runs of a plan have the same weights as those of a folder.

    Raises:
        UserError: the folder has no run of the plan that is done here too.
    """
    equal, other = 0, []
    for path, run in plan.runs.items():
        entry = store.entry(run, plan.layout())
        theirs = Entry(folder / entry.folder.relative_to(plan.layout().store))
        if not (entry.finished and theirs.finished):
            continue
        if entry.record()["weights_sha256"] == theirs.record()["weights_sha256"]:
            equal += 1
        else:
            other.append((path, entry.record(), theirs.record()))
    if not (equal or other):
        raise UserError(f"{folder}: has no run of protocol '{plan.protocol}' that is done here too")
    lines = [f"{path}: {_difference(own, theirs)}" for path, own, theirs in other]
    return "\n".join([*lines, f"{equal} runs have the same weights, {len(other)} have others"])


def _difference(own: dict[str, Any], theirs: dict[str, Any]) -> str:
    """What the environments of two records with other weights have apart."""
    ours, others = own["environment"], theirs["environment"]
    shown = ("cpu", "cpu_capability", "device", "torch", "timm", "numpy")
    texts = [
        f"{name}: {ours.get(name)} here, {others.get(name)} there"
        for name in shown
        if ours.get(name) != others.get(name)
    ]
    return "other weights; " + ("; ".join(texts) or "the environments are equal")


def take_over(plan: Plan, folder: Path) -> str:
    """Import finished runs from another store, or from copies of its entries.

    Every run is verified. A copy of a run that the plan has with other settings is refused. Entries
    of a store that the plan does not have are left out.

    Raises:
        UserError: nothing can be imported from the folder, or a run is damaged or refused. Runs
            before the first such run have been imported then.
    """
    found = sorted(file.parent for file in folder.rglob(RECORD))
    if not found:
        raise UserError(f"{folder}: no {RECORD} below it; name a store, or a folder of runs")
    contents = {source: records.read_object(source / RECORD, AGAIN, AGAIN) for source in found}
    imported = known = 0
    for source in sorted(found, key=lambda f: contents[f].get("teacher") is not None):
        planned = _planned(contents[source], plan)
        if planned is None or _is_other_entry(source, planned):
            continue
        record = store.check_record(contents[source], source / RECORD, AGAIN)
        if reason := store.disagreement(planned, record, plan.layout()):
            raise UserError(f"{source}: not the planned run: {reason}")
        if _copy(source, store.entry(planned, plan.layout()), record):
            imported += 1
        else:
            known += 1
    rest = len(found) - imported - known
    return (
        f"imported {imported} runs; {known} were there already; {rest} are not in the plan of "
        f"protocol '{plan.protocol}'"
    )


def _is_other_entry(source: Path, planned: Run) -> bool:
    """Whether a folder is an entry of a store, and not the entry of the planned run."""
    in_store = source.parent.as_posix().endswith(f"/{planned.path}")
    return in_store and source.name != keys.key(planned)


def _planned(record: dict[str, Any], plan: Plan) -> Run | None:
    """The run of a plan that has the path of this record, or None."""
    run = record.get("run")
    return plan.runs.get(str(run.get("path"))) if isinstance(run, dict) else None


def _copy(source: Path, own: Entry, record: dict[str, Any]) -> bool:
    """Copy a run's files into an entry, verified, and the record last.

    Returns whether it was copied: an entry that is finished already stays as it is.
    """
    kept = store.digests(record)
    for name, digest in kept.items():
        if not (source / name).exists() or records.sha256(source / name) != digest:
            raise UserError(f"{source / name}: missing, or not the file that its {RECORD} names")
    with own.held():
        if own.finished:
            return False
        own.forget_progress()
        for name in (*kept, store.LOG):
            if (source / name).exists():  # the log is no part of the results
                shutil.copyfile(source / name, own.folder / name)
        _write_metrics(source, own, record)
        records.write_json(own.folder / RECORD, record)
    return True


def _write_metrics(source: Path, own: Entry, record: dict[str, Any]) -> None:
    """Write the metrics of copied predictions; of predictions that are left out, copy them."""
    for split, files in store.SPLITS.items():
        digest = record.get(files.digest)
        if files.predictions in record.get("left_out", []):
            found = score.stored(Entry(source), split)
        elif digest:
            predictions = own.folder / files.predictions
            found = score.scores(predictions, digest, record["classes"], split)
        else:
            continue  # the data have no such images
        records.write_json(own.folder / files.metrics, found)
