"""The notes under tables: what must be known to read the numbers rightly."""

import math
from collections import Counter

import pandas as pd

from mdkd import neighbours
from mdkd.agreement import SELECTABLE
from mdkd.artefacts import Artefact, Row
from mdkd.config import Split
from mdkd.reporting import statistics
from mdkd.reporting.cells import PARTIAL
from mdkd.reporting.summary import any_run
from mdkd.reporting.tables import GAP
from mdkd.results import Results

OTHER_SETTINGS = (
    "runs are left out: they have other settings, other data or another teacher than planned."
)
SPLITS: dict[Split, str] = {"test": "test", "val": "validation"}
WANTED = 0.5  # percentage points of mAP: the note says how many seeds would resolve them


def of_runs(artefact: Artefact, results: Results) -> list[str]:
    """Protocol, seeds and runs of an artefact, and what is missing or impossible."""
    states = [results.state(path) for path in artefact.runs]  # each run once
    done = states.count("done")
    runs = f"{done} runs"
    if done < len(states):
        runs = f"{done} of {len(states)} runs ({GAP} not yet run, {PARTIAL} some seeds only)"
    plural = "s" if len(artefact.seeds) > 1 else ""
    seeds = ", ".join(map(str, artefact.seeds))
    lines = [f"Protocol {artefact.protocol}, seed{plural} {seeds}, {runs}."]
    for state, text in (
        ("failed", "runs failed; failed.json in the folder of each says why."),
        ("damaged", "runs have a damaged record; `mdkd store verify` says what is wrong."),
        ("running", "runs are being trained now."),
        ("other settings", OTHER_SETTINGS),
    ):
        lines += [f"{states.count(state)} {text}"] if state in states else []
    lines += _other_settings(artefact, results)
    return lines + [text for row in artefact.rows for text in _impossible(artefact, row)]


def _impossible(artefact: Artefact, row: Row) -> list[str]:
    """Why a row has no numbers; the pairs of networks are named if others have some."""
    columns: dict[str, list[str]] = {}
    for column, cell in zip(artefact.columns, row.cells, strict=True):
        if cell.unavailable:
            columns.setdefault(cell.unavailable, []).append(column)
    return [
        f"{row.label}: n/a{_some(names, len(row.cells))}: {reason}."
        for reason, names in columns.items()
    ]


def _some(names: list[str], all_of_them: int) -> str:
    return "" if len(names) == all_of_them else f" for {', '.join(names)}"


def _other_settings(artefact: Artefact, results: Results) -> list[str]:
    """How finished runs in the store differ from planned runs that are not done."""
    missing = [path for path in artefact.runs if results.state(path) != "done"]
    texts = Counter(
        text for path in missing for text in neighbours.differences(results.runs[path], results)
    )
    return [f"{n} runs exist with other settings: {text}." for text, n in texts.most_common(3)]


def of_metrics(artefact: Artefact, frame: pd.DataFrame, results: Results) -> list[str]:
    """All notes under a table of metrics; ``frame`` is that of `summary.of_metrics`."""
    lines = [
        *of_runs(artefact, results),
        f"Percentages: {means(artefact)}, after the last epoch. {_teacher(artefact)} "
        "The best number is bold, the second underlined; the teacher is not "
        "compared.",
        *_predictions(artefact),
        *_without_numbers(frame),
    ]
    if frame["reported"].notna().any():
        lines.append(
            "Paper: the published number, if there is one. Δ: ours minus the published number. "
            "Published OF1 and CF1 are compared with OF1_k and CF1_k."
        )
    return [*lines, *_power(frame), *_left_out(artefact, results), *artefact.notes]


def of_dependencies(artefact: Artefact, results: Results) -> list[str]:
    """The notes that all tables of label dependencies share."""
    spread = means(artefact).capitalize()
    text = f"{spread}, after the last epoch. The teacher is one run."
    return [*of_runs(artefact, results), text, *artefact.notes]


def means(artefact: Artefact) -> str:
    """What the numbers of a table are: means over seeds, or numbers of one seed."""
    several = len(artefact.seeds) > 1
    return "mean ± standard deviation over seeds" if several else "one seed"


def _teacher(artefact: Artefact) -> str:
    """Whose runs the rows of the teacher are."""
    if sum(row.role == "teacher" for row in artefact.rows) > 1:
        return "Each teacher is one run; the label of a row says which teacher it had."
    return "The teacher is one run that all methods share."


def _predictions(artefact: Artefact) -> list[str]:
    """How the metrics of a table predict labels, metrics with the same rule together."""
    names: dict[str, list[str]] = {}
    for name in artefact.metrics:
        if note := SELECTABLE[name].note:
            names.setdefault(note, []).append(name)
    return [f"{', '.join(found)}: {note}." for note, found in names.items()]


def _without_numbers(frame: pd.DataFrame) -> list[str]:
    """Why runs can never have some metrics; `_impossible` is about rows without any run."""
    names = frame["state"].map(lambda state: state.name)
    reasons = frame["state"].map(lambda state: state.reason)
    found = frame[(names == "n/a") & (frame["planned"] > 0)].assign(reason=reasons)
    metrics: dict[tuple[str, tuple[str, ...]], list[str]] = {}  # by reason and rows
    for (metric, reason), rows in found.groupby(["metric", "reason"], sort=False)["row"]:
        metrics.setdefault((reason, tuple(rows.unique())), []).append(metric)
    return [
        f"{', '.join(own)}: n/a{_some(list(rows), frame['row'].nunique())}: {reason}."
        for (reason, rows), own in metrics.items()
    ]


def _power(frame: pd.DataFrame) -> list[str]:
    """The smallest difference of two methods' mAP that these seeds can show.

    Rows below the student's own mAP are left out, because a collapsed run spreads far more.
    """
    cells = frame[(frame["metric"] == "mAP") & (frame["role"] != "teacher")]
    students = cells[cells["role"] == "student"].groupby("column")["mean"].mean()
    cells = cells[(cells["runs"] > 1) & ~(cells["mean"] < cells["column"].map(students))]
    if not frame["runs"].any():
        return []
    if (frame["planned"][frame["role"] != "teacher"] <= 1).all():
        return ["One seed: no difference can be told from chance."]
    if cells.empty:
        return []
    freedom = (cells["runs"] - 1).sum()
    deviation = 100 * math.sqrt((cells["std"] ** 2 * (cells["runs"] - 1)).sum() / freedom)
    seeds = int(cells["runs"].median())
    resolved = statistics.resolvable_difference(deviation, seeds)
    needed = statistics.seeds_needed(deviation, WANTED)
    return [
        f"Power: the standard deviation over seeds is {deviation:.2f} mAP (pooled over the rows "
        f"that are not below the student). With {seeds} seeds, a two-sided t-test at 5 % finds a "
        f"difference of {resolved:.2f} mAP between two methods with a probability of about "
        f"{statistics.POWER:g}. To find {WANTED:g} mAP, {needed} seeds are needed."
    ]


def _left_out(artefact: Artefact, results: Results) -> list[str]:
    """Labels without a positive image, images left out, and images in two splits."""
    notes = []
    for i, column in enumerate(artefact.columns):
        path = any_run(artefact, i, results)
        scores = results.scores(path) if path else None
        if path is None or scores is None:
            continue
        absent, present = len(scores["labels_without_positives"]), len(scores["average_precision"])
        texts = _absent_labels(artefact, absent, present, results.split)
        notes += [f"{column}: {text}" for text in texts]
        record = results.record(path)
        for split, dropped in record["dropped"].items():
            if any(dropped.values()):
                counts = ", ".join(f"{n} {why}" for why, n in dropped.items() if n)
                notes.append(f"{column}: images left out of {split}: {counts}.")
        for split, n in record.get("repeated", {}).items():  # records of older versions have none
            same = f"{n} images of {split} have the same pixels as an image of another split"
            notes.append(f"{column}: {same}. Numbers on {split} are too high.")
    return notes


def _absent_labels(artefact: Artefact, absent: int, present: int, split: Split) -> list[str]:
    """What labels without a positive image do to the metrics of the artefact."""
    if not absent:
        return []
    labels = f"{absent} of {absent + present} labels, which no {SPLITS[split]} image has"
    lines = [f"mAP leaves out {labels}."] if "mAP" in artefact.metrics else []
    lowered = [name for name in artefact.metrics if SELECTABLE[name].over_all_labels]
    if lowered:
        verb = "counts" if len(lowered) == 1 else "count"
        best = 100 * present / (absent + present)
        lines.append(
            f"{', '.join(lowered)} {verb} {labels}, as 0. The best possible value is {best:.2f}."
        )
    return lines
