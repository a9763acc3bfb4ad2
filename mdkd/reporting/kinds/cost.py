"""What each method costs: time, speed and memory of its trainings, and parameters."""

import math
from typing import Any

import pandas as pd

from mdkd.artefacts import Artefact, Row
from mdkd.reporting import cells, differences, notes, summary
from mdkd.reporting.summary import Measure, Values
from mdkd.reporting.tables import Entry, Table
from mdkd.results import Results, State

HOURS_FROM_S = 7200.0  # longer trainings are printed in hours
MILLIONS_FROM = 1e6
SPEED = "fastest_images_per_s"
QUANTITIES = ("wall_s", SPEED, "peak_memory_bytes", "parameters", "connectors")
OTHER_MACHINES = State("n/a", "trained on different machines")
ELSEWHERE = "trained elsewhere"


def table(artefact: Artefact, results: Results) -> Table:
    """One block per pair; costs of an image also as multiples of the student's and of MLD's."""
    frame = costs(artefact, results)
    numbers = frame.set_index(["row", "column", "quantity"]).to_dict("index")
    largest = frame.groupby("quantity")["mean"].max()
    time = ("h", 3600.0) if largest["wall_s"] > HOURS_FROM_S else ("s", 1.0)
    count = ("M", 1e6) if largest["parameters"] > MILLIONS_FROM else ("k", 1e3)
    references = _references(artefact, results)
    columns = [  # heading, quantity, unit
        (f"time ({time[0]})", "wall_s", time[1]),
        ("images/s", SPEED, 1.0),
        *((f"× {row.label}", f"cost_over_{row.label}", 1.0) for row in references),
        ("memory (GB)", "peak_memory_bytes", 1e9),
        (f"parameters ({count[0]})", "parameters", count[1]),
        (f"connectors ({count[0]})", "connectors", count[1]),
    ]

    def entries(row: str, column: str) -> list[Entry]:
        return [_entry(numbers[row, column, quantity], unit) for _, quantity, unit in columns]

    return Table(
        name=artefact.name,
        title=cells.title(artefact),
        headings=[heading for heading, _, _ in columns],
        blocks=cells.blocks(artefact, entries),
        notes=_notes(artefact, results, frame),
        frame=frame,
    )


def costs(artefact: Artefact, results: Results) -> pd.DataFrame:
    """`summary.over_seeds` by quantity, in the records' units, and machines.

    The quantity ``cost_over_X`` is the maximum of ``fastest_images_per_s`` over the seeds of X,
    divided by that of this row, so 2 means twice the cost of an image. It is n/a unless all runs of
    both cells were trained on one machine.
    """

    def quantities(path: str) -> Values | None:
        record = _record(path, results)
        return None if record is None else {(q,): record[q] for q in QUANTITIES}

    measure = Measure(dict.fromkeys((quantity,) for quantity in QUANTITIES), quantities)
    frame = summary.over_seeds(artefact, results, ["quantity"], [measure] * len(artefact.columns))
    frame = frame.drop(columns="values")
    parts = []
    for i, column in enumerate(artefact.columns):
        for row in artefact.rows:
            own = frame[(frame["row"] == row.label) & (frame["column"] == column)]
            cell = own.to_dict("records")[0]
            ratios = [
                cell
                | {"quantity": f"cost_over_{reference.label}"}
                | _cost_ratio(cell, row, reference, i, results)
                for reference in _references(artefact, results)
            ]
            machines = "; ".join(sorted(_machines(row, i, results)))
            parts.append(pd.concat([own, pd.DataFrame(ratios)]).assign(machines=machines))
    return pd.concat(parts, ignore_index=True)


def _references(artefact: Artefact, results: Results) -> list[Row]:
    """The rows that costs are divided by: the first of the student, and the first of MLD."""
    return [rows[0] for rows in differences.baselines(artefact, results) if rows]


def machine(record: dict[str, Any]) -> str:
    """The machine that trained a run: the GPU and the processor, or the processor alone."""
    environment = record["environment"]
    processor = f"{environment['cpu']} ({environment['cpu_capability']})"
    on_cpu = environment["device"] == "cpu"
    return processor if on_cpu else f"{environment['device']} beside {processor}"


def _record(path: str, results: Results) -> dict[str, Any] | None:
    """The record of a run that is done, with all `QUANTITIES`.

    The speed is that of the fastest epoch: other jobs on the machine only slow epochs down. If the
    run read stored logits, the time of its teacher is added, so that all methods can be compared.
    A network that was trained elsewhere has no time, speed and memory of a training.
    """
    history = results.history(path)
    if history is None:
        return None
    record = results.record(path)
    sizes = record["parameters"]
    record |= {
        "parameters": sizes["backbone"] + sizes["head"],
        "connectors": sizes["connectors"],
    }
    if not history:
        return record | dict.fromkeys(("wall_s", SPEED, "peak_memory_bytes"), ELSEWHERE)
    seconds = 1 / max(epoch["images_per_s"] for epoch in history)
    if speed := record.get("stored_logits_images_per_s"):
        seconds += 1 / speed
    return record | {SPEED: 1 / seconds}


def _found(row: Row, column: int, results: Results) -> list[dict[str, Any]]:
    """The records of a cell's runs that were trained here and are done."""
    records = [_record(path, results) for path in row.cells[column].runs]
    return [record for record in records if record and record[SPEED] != ELSEWHERE]


def _machines(row: Row, column: int, results: Results) -> set[str]:
    return {machine(record) for record in _found(row, column, results)}


def _cost_ratio(
    cell: dict[str, Any], row: Row, reference: Row, column: int, results: Results
) -> dict[str, Any]:
    """Mean, std and, if there is no ratio, runs and state of a frame's row."""
    ratio: dict[str, Any] = {"mean": math.nan, "std": math.nan}
    if not cell["runs"]:
        return ratio
    ours, theirs = _found(row, column, results), _found(reference, column, results)
    if not theirs:
        return ratio | {"runs": 0, "state": State("missing")}
    if len({machine(record) for record in ours + theirs}) > 1:
        return ratio | {"runs": 0, "state": OTHER_MACHINES}
    fastest, fastest_reference = (max(r[SPEED] for r in found) for found in (ours, theirs))
    return ratio | {"mean": fastest_reference / fastest}


def _entry(cell: dict[str, Any], unit: float) -> Entry:
    """Three digits, with the spread over seeds if the runs differ."""
    if not cell["runs"]:
        return Entry(cells.absent(cell["state"]))
    mean, std = cell["mean"] / unit, cell["std"] / unit
    digits = 2 if mean < 10 else 1 if mean < 100 else 0
    spread = f" ± {std:.{digits}f}" if std > 0 else ""
    number = f"{mean:.{digits}f}{spread}" if mean else "0"
    return Entry(f"{number}{cells.dagger(cell['state'])}")


def _notes(artefact: Artefact, results: Results, frame: pd.DataFrame) -> list[str]:
    """What was measured, and on which machines."""
    elsewhere = frame[[state.reason == ELSEWHERE for state in frame["state"]]]["row"].unique()
    return [
        *notes.of_runs(artefact, results),
        *(f"{row}: n/a: {ELSEWHERE}, so only its parameters are known." for row in elsewhere),
        f"{notes.means(artefact).capitalize()}. Time: wall time of the training loop with its "
        "checkpoints, without the scoring of the test images. Other jobs on the machine affect "
        "these times. Do not rank methods by them.",
        "images/s: speed of each run's fastest epoch. In a distillation it includes the teacher's "
        "forward passes, also if the run read stored logits. ×: cost of an image as a multiple of "
        "another row's, from the fastest epoch of all seeds, because other jobs can only slow a "
        "training down.",
        "Memory: the peak of the GPU's allocator, or of the whole process on a CPU. Time and "
        "memory of a run that read stored logits do not contain its teacher. Parameters: of the "
        "network that is kept. Connectors: parameters that are trained with it and then discarded.",
        *_machines_note(artefact, results),
        *artefact.notes,
    ]


def _machines_note(artefact: Artefact, results: Results) -> list[str]:
    """The machine of all runs; if there are several, which run was trained on which."""
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
        return [f"All runs were trained on {where}." for where in rows]
    lists = "; ".join(f"{where}: {', '.join(names)}" for where, names in sorted(rows.items()))
    return [
        "The runs were trained on different machines. Costs of different machines are not "
        f"compared. {lists}."
    ]
