"""What each method costs: time, speed and memory of its trainings, and parameters."""

import math
import re
from typing import Any

import pandas as pd

from mdkd.reporting import summary as report
from mdkd.plan import Artefact, Row
from mdkd.results import Results
from mdkd.reporting.tables import Entry, Table

HOURS_FROM_S = 7200.0  # longer trainings are printed in hours
MILLIONS_FROM = 1e6
KEYS = ["row", "role", "column", "quantity", "mean", "std", "runs", "planned", "state", "machines"]
OTHER_MACHINES = "n/a: made on different machines"


def table(artefact: Artefact, results: Results) -> Table:
    """One block per pair; costs of an image also as multiples of the student's and of MLD's."""
    frame = costs(artefact, results)
    cells = frame.set_index(["row", "column", "quantity"]).to_dict("index")
    largest = frame.groupby("quantity")["mean"].max()
    time = ("h", 3600.0) if largest["wall_s"] > HOURS_FROM_S else ("s", 1.0)
    count = ("M", 1e6) if largest["parameters"] > MILLIONS_FROM else ("k", 1e3)
    columns = [  # heading, quantity, unit
        (f"time ({time[0]})", "wall_s", time[1]),
        ("images/s", "fastest_images_per_s", 1.0),
        *((f"× {row.label}", f"cost_over_{row.label}", 1.0) for row in references(artefact)),
        ("memory (GB)", "peak_memory_bytes", 1e9),
        (f"parameters ({count[0]})", "parameters", count[1]),
        (f"connectors ({count[0]})", "connectors", count[1]),
    ]

    def entries(row: Row, column: str) -> list[Entry]:
        return [_entry(cells[row.label, column, quantity], unit) for _, quantity, unit in columns]

    return Table(
        name=artefact.name,
        title=report.title(artefact),
        headings=[heading for heading, _, _ in columns],
        blocks=report.blocks(artefact, entries),
        notes=_notes(artefact, results),
        frame=frame,
    )


def costs(artefact: Artefact, results: Results) -> pd.DataFrame:
    """Mean and spread over seeds of what the records say of every cell, in the records' units.

    Columns: row, role, column, quantity, mean, std (with n - 1, NaN for one run), runs, planned,
    state (as in `report.summary`), machines. ``cost_over_X`` is X's mean ``fastest_images_per_s``
    over this row's (2: twice the cost of an image), and n/a unless all runs of both cells were made
    on one machine.
    """
    summary = report.summary(artefact, results)
    states = summary[summary["metric"] == artefact.metrics[0]].set_index(["row", "column"])
    rows = []
    for i, column in enumerate(artefact.columns):
        found = {row.label: _found(row, i, results) for row in artefact.rows}
        for row in artefact.rows:
            state = states.loc[(row.label, column), ["role", "runs", "planned", "state"]]
            names = sorted({machine(record) for record in found[row.label]})
            cell = {"row": row.label, "column": column, **state, "machines": "; ".join(names)}
            for quantity, values in _quantities(found[row.label]).items():
                cell |= {"quantity": quantity, "mean": values.mean(), "std": values.std()}
                rows.append(cell.copy())
            for reference in references(artefact):
                ratio = _cost_ratio(found[row.label], found[reference.label])
                rows.append(cell | {"quantity": f"cost_over_{reference.label}", **ratio})
    return pd.DataFrame(rows, columns=KEYS)


def references(artefact: Artefact) -> list[Row]:
    """The rows that costs are divided by: the student's, and MLD's as by default."""
    mld = re.compile(r"distill/[^/]+/[^/]+/mld/default/")
    mlds = [row for row in artefact.rows if any(mld.match(r) for c in row.cells for r in c.runs)]
    return [row for row in artefact.rows if row.role == "student"][:1] + mlds[:1]


def machine(record: dict[str, Any]) -> str:
    """What a run was made on: the GPU and the processor, or the processor alone."""
    made = record["environment"]
    processor = f"{made['cpu']} ({made['cpu_capability']})"
    return processor if made["device"] == "cpu" else f"{made['device']} beside {processor}"


def _found(row: Row, column: int, results: Results) -> list[dict[str, Any]]:
    """The records of a cell's runs that are done, with the speed of their fastest epoch.

    Other jobs on the machine slow some epochs down and speed none up.
    """
    found = []
    for path in row.cells[column].runs:
        if history := results.history(path):
            fastest = max(epoch["images_per_s"] for epoch in history)
            found.append(results.record(path) | {"fastest_images_per_s": fastest})
    return found


def _quantities(found: list[dict[str, Any]]) -> dict[str, pd.Series]:
    """One value per run of each quantity."""
    values = {
        "wall_s": [record["wall_s"] for record in found],
        "fastest_images_per_s": [record["fastest_images_per_s"] for record in found],
        "peak_memory_bytes": [record["peak_memory_bytes"] for record in found],
        "parameters": [r["parameters"]["backbone"] + r["parameters"]["head"] for r in found],
        "connectors": [record["parameters"]["connectors"] for record in found],
    }
    return {quantity: pd.Series(numbers, dtype=float) for quantity, numbers in values.items()}


def _cost_ratio(found: list[dict[str, Any]], reference: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean, std and, where there is no ratio, runs and state of its cell."""
    ratio: dict[str, Any] = {"mean": math.nan, "std": math.nan}
    if not found:
        return ratio
    if not reference:
        return ratio | {"runs": 0, "state": "missing"}
    if len({machine(record) for record in found + reference}) > 1:
        return ratio | {"runs": 0, "state": OTHER_MACHINES}
    ours, theirs = (
        _quantities(records)["fastest_images_per_s"].max() for records in (found, reference)
    )
    return ratio | {"mean": theirs / ours}


def _entry(cell: dict[str, Any], unit: float) -> Entry:
    """Three digits, with the spread over seeds where the runs differ."""
    if not cell["runs"]:
        return Entry(report.absent(cell["state"]))
    mean, std = cell["mean"] / unit, cell["std"] / unit
    digits = 2 if mean < 10 else 1 if mean < 100 else 0
    spread = f" ± {std:.{digits}f}" if std > 0 else ""
    mark = report.PARTIAL if cell["state"] == "partial" else ""
    return Entry(f"{mean:.{digits}f}{spread}{mark}" if mean else "0")


def _notes(artefact: Artefact, results: Results) -> list[str]:
    """What was measured, and on what."""
    return [
        *report.made(artefact, results),
        "Mean ± standard deviation over seeds. Time: wall time of the training loop with its "
        "checkpoints, without the scoring of the test images. It contains what else ran on the "
        "machine, so it does not rank the methods.",
        "images/s: of each run's fastest epoch, with the teacher's forward passes in a "
        "distillation. ×: cost of an image as a multiple of another row's, from the fastest "
        "epoch of all seeds: a job beside it can only slow a training down.",
        "Memory: peak of the GPU's allocator, or of the whole process without a GPU. Parameters: "
        "of the network that is kept. Connectors: trained beside it and thrown away.",
        *_machines(artefact, results),
        *artefact.notes,
    ]


def _machines(artefact: Artefact, results: Results) -> list[str]:
    """On what the runs were made; if not all on one machine, which run on which."""
    rows: dict[str, list[str]] = {}
    for i, column in enumerate(artefact.columns):
        for row in artefact.rows:
            seeds: dict[str, list[str]] = {}
            for record in _found(row, i, results):
                seeds.setdefault(machine(record), []).append(str(record["run"]["seed"]))
            name = f"{column}: {row.label}" if len(artefact.columns) > 1 else row.label
            for where, of in seeds.items():
                part = f" (seed {', '.join(of)})" if len(seeds) > 1 else ""
                rows.setdefault(where, []).append(name + part)
    if len(rows) < 2:
        return [f"All on {where}." for where in rows]
    lists = "; ".join(f"{where}: {', '.join(names)}" for where, names in sorted(rows.items()))
    return [f"Made on different machines, between which no costs are compared. {lists}."]
