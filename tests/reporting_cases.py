"""Artefacts and records of their runs by hand: what the tests of tables and figures share."""

import csv
import io
import itertools
import pickle
import tempfile
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
from conftest import ENVIRONMENT, copy_config, edit_yaml, facts_of
from hash_orders import HASH_SEEDS, printed_by_both

from mdkd import records, reporting, score, store
from mdkd.artefacts import Artefact, Cell, Row
from mdkd.layout import TABLE_FORMATS
from mdkd.metrics import METRICS
from mdkd.resolve import resolve_run
from mdkd.results import Results
from mdkd.spec import Specification
from mdkd.specfiles import Pair

PAIR = ("resnet20", "resnet8")
PAIRS = [PAIR, *itertools.product(["wrn16_2", "resnet56"], ["resnet8", "resnet20", "wrn10_1"])]
METHODS = {"Student": "vanilla", "MLD": "mld", "MDKD": "mdkd", "PKT": "pkt"}  # by label of the row
COLUMN = "Scenes: ResNet20 → ResNet8"
REASON = "needs one embedding per label"
CPU = ENVIRONMENT


@cache
def specification(epochs=None):
    """The shrunk configuration, with trainings of this length."""
    with tempfile.TemporaryDirectory() as folder:
        config = copy_config(Path(folder) / "config")
        if epochs:
            protocol = config / "protocols" / "smoke.yaml"
            edit_yaml(protocol, lambda p: p["recipe"].update(epochs=epochs))
        return Specification(config)


def planned(base, paths, epochs=None):
    """The folders of a protocol with these runs, of which none has been made."""
    spec = specification(epochs)
    return Results("smoke", base, {path: resolve_run(spec, path) for path in paths})


def path_of(method, seed=0, pair=PAIR, variant="default", data="scenes"):
    """The path of a run; the method may also be ``teacher``."""
    teacher, student = pair
    if method == "teacher":
        return f"supervised/{data}/{teacher}/seed0"
    if method == "vanilla":
        return f"supervised/{data}/{student}/seed{seed}"
    return f"distill/{data}/{teacher}--{student}/{method}/{variant}/seed{seed}"


def row(label, role, *runs, unavailable=None, panel=None, x=None):
    """A row with one list of runs per column."""
    cells = [Cell(runs=r, unavailable=unavailable) for r in runs]
    return Row(label=label, role=role, cells=cells, panel=panel, x=x)


def artefact(kind, rows, **changes):
    fields = {
        "name": "short",
        "title": "Title",
        "protocol": "smoke",
        "seeds": [0, 1],
        "pairs": [Pair(dataset="scenes", teacher=PAIR[0], student=PAIR[1])],
        "columns": [COLUMN],
        "metrics": ["mAP"],
        "notes": ["A note of the experiment."],
    }
    return Artefact(kind=kind, rows=rows, **fields | changes)


def artefact_of(kind, labels=tuple(METHODS), pairs=(PAIR,), seeds=(0, 1), **changes):
    """Rows Teacher and some of METHODS; another label is a method that cannot run."""
    rows = [row("Teacher", "teacher", *([path_of("teacher", pair=pair)] for pair in pairs))]
    for label in labels:
        role = "student" if label == "Student" else "method"
        if label in METHODS:
            runs = [[path_of(METHODS[label], seed, pair) for seed in seeds] for pair in pairs]
            rows.append(row(label, role, *runs))
        else:
            rows.append(row(label, role, *([] for _ in pairs), unavailable="needs embeddings"))
    named = {
        "seeds": list(seeds),
        "pairs": [Pair(dataset="scenes", teacher=t, student=s) for t, s in pairs],
        "columns": [f"{t} - {s}" for t, s in pairs],
    }
    return artefact(kind, rows, **named | changes)


def write_record(results, path, metric_values=(), aps=(), without=(), **keys):
    """A run that is done, with the given content of its two files; other metrics are 0.125."""
    folder, aps = results.run(path), dict(aps)
    run = facts_of(results, path) | {
        "predictions_sha256": "p",
        "classes": sorted([*aps, *without], reverse=True),
        "dropped": {},
        "environment": CPU,
    }
    records.write_json(folder / "run.json", run | keys)
    scores = {
        "revision": score.REVISION,
        "predictions_sha256": "p",
        "metrics": dict.fromkeys(METRICS, 0.125) | dict(metric_values),
        "average_precision": aps,
        "labels_without_positives": list(without),
    }
    records.write_json(folder / "metrics.json", scores)


def write_predictions(results, path, logits_NC, targets_NC, ids, ignored_NC=None):
    """Only the predictions; their digest."""
    file = results.run(path) / "predictions.npz"
    file.parent.mkdir(parents=True, exist_ok=True)
    stored = {"logits_NC": logits_NC, "targets_NC": targets_NC, "ids": np.array(ids)}
    np.savez(file, **stored | ({} if ignored_NC is None else {"ignored_NC": ignored_NC}))
    return records.sha256(file)


def predict(results, path, logits_NC, targets_NC, ids=None, ignored_NC=None, mean_ap=None):
    """A run that has predicted and been scored; ``mean_ap`` replaces its mAP."""
    folder = results.run(path)
    ids = ids or [f"image{i}" for i in range(len(targets_NC))]
    run = facts_of(results, path) | {
        "predictions_sha256": write_predictions(
            results, path, logits_NC, targets_NC, ids, ignored_NC
        ),
        "classes": [f"label{c}" for c in range(targets_NC.shape[1])],
        "dropped": {},
    }
    records.write_json(folder / "run.json", run)
    score.score(store.entry(results.runs[path], results))
    if mean_ap is not None:
        scores = records.read_json(folder / "metrics.json")
        scores["metrics"]["mAP"] = mean_ap
        records.write_json(folder / "metrics.json", scores)


def predict_val(results, path, logits_NC, targets_NC):
    """Add predictions of validation images to a run that is done."""
    file = results.run(path) / "predictions_val.npz"
    ids = [f"image{i}" for i in range(len(targets_NC))]
    np.savez(file, logits_NC=logits_NC, targets_NC=targets_NC, ids=np.array(ids))
    record = records.read_json(file.with_name("run.json"))
    record["predictions_val_sha256"] = records.sha256(file)
    records.write_json(file.with_name("run.json"), record)


def random_predictions(seed, ignoring=False):
    """Logits, targets and what is ignored of 60 images and 5 labels; the targets never differ."""
    random = np.random.default_rng(seed)
    targets_NC = (np.random.default_rng(99).random((60, 5)) < 0.45).astype(np.uint8)
    logits_NC = np.round(2 * (random.normal(size=(60, 5)) + targets_NC)).astype(np.float32)
    ignored_NC = (random.random((60, 5)) < 0.2) & (targets_NC == 0) if ignoring else None
    return logits_NC, targets_NC, ignored_NC


def fail(results, path, **changes):
    """A run that failed, under its settings or changed ones."""
    failure = {"run": asdict(results.runs[path]) | changes, "error": "losses not finite"}
    records.write_json(results.run(path) / "failed.json", failure | {"diverged": True})


def table_texts(artefact, results):
    """The files of a table by their format."""
    folder = results.base / "tables"
    reporting.write_table(artefact, results, folder)
    files = {suffix: folder / f"{artefact.name}.{suffix}" for suffix in TABLE_FORMATS}
    return {suffix: file.read_text(encoding="utf-8") for suffix, file in files.items()}


def csv_lines(text):
    return list(csv.DictReader(io.StringIO(text)))


def written(artefact, results):
    """The Markdown page of a table, and its CSV as dictionaries."""
    texts = table_texts(artefact, results)
    return texts["md"], csv_lines(texts["csv"])


def markdown_row(text, label):
    """The entries of a row of a Markdown table."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {label} |")]
    return [cell.strip() for cell in line.strip("|").split(" | ")][1:]


def labels_of(text):
    """The labels of the rows of a Markdown table."""
    return [row.split(" | ")[0].strip("| ") for row in text.splitlines() if row.startswith("| ")]


def check_before_any_run(base, kind, labels):
    """The rows of a table have these labels, and gaps."""
    made = artefact_of(kind, ["Student", "MLD", "L2D"])
    text, lines = written(made, planned(base, made.runs))
    assert labels_of(text)[1:] == labels
    assert "0 of 5 runs (– not yet run" in text
    assert "- L2D: n/a: needs embeddings." in text
    assert "- A note of the experiment." in text
    first = markdown_row(text, labels[0])
    assert first[:2] == ["–", "–"]
    assert "" not in first
    assert lines


WRITE = """
import os, pickle, sys
from pathlib import Path
from mdkd import reporting
for folder, artefact, results, outputs in pickle.loads(Path(sys.argv[1]).read_bytes()):
    folder = folder / os.environ["PYTHONHASHSEED"]
    if "table" in outputs:
        reporting.write_table(artefact, results, folder)
    if "figure" in outputs:
        reporting.write_figure(artefact, results, folder)
"""


def written_by_both(base, made):
    """The files of artefacts as two processes write them that hash strings differently.

    Args:
        base: a folder for the files.
        made: by a name for each: artefact, results, and the outputs to write.

    Returns:
        By name: what each process has written, the content of files by their names.
    """
    tasks = [(base / name, *what) for name, what in made.items()]
    base.mkdir(parents=True, exist_ok=True)
    (base / "tasks.pickle").write_bytes(pickle.dumps(tasks))
    printed_by_both(WRITE, base / "tasks.pickle")
    folders = {name: [base / name / seed for seed in HASH_SEEDS] for name in made}
    return {
        name: [{file.name: file.read_bytes() for file in folder.iterdir()} for folder in both]
        for name, both in folders.items()
    }
