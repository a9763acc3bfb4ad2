"""Average precision of every label (the paper's Table 3): labels down, methods across."""

import math

import pandas as pd

from mdkd.reporting import summary as report
from mdkd.plan import Artefact
from mdkd.results import Results
from mdkd.reporting.tables import Block, Entry, Line, Table

WITHOUT = "n/a: no positive test image"


def table(artefact: Artefact, results: Results) -> Table:
    """One block per pair: its labels, then the metrics of the experiment."""
    summary = report.summary(artefact, results)
    frame = pd.concat([_labels(artefact, results, summary), summary.assign(label="")])
    cells = frame.set_index(["column", "metric", "label", "row"]).to_dict("index")
    blocks = []
    for i, column in enumerate(artefact.columns):
        names = [("AP", label) for label in classes(artefact, i, results)]
        lines = []
        for metric, label in [*names, *((metric, "") for metric in artefact.metrics)]:
            found = [cells[column, metric, label, row.label] for row in artefact.rows]
            rule = bool(names) and metric == artefact.metrics[0]
            entries = [_mean(cell) for cell in found]
            lines.append(Line(label=label or metric, entries=entries, rule=rule))
            if metric == "mAP" and any(cell["runs"] > 1 for cell in found):
                lines.append(Line(label="± mAP", entries=[_spread(cell) for cell in found]))
        blocks.append(Block(heading=column if len(artefact.columns) > 1 else None, lines=lines))
    return Table(
        name=artefact.name,
        title=report.title(artefact),
        headings=[row.label for row in artefact.rows],
        blocks=blocks,
        notes=[*report.notes(artefact, summary, results), *_notes(frame)],
        frame=_csv(frame),
    )


def classes(artefact: Artefact, column: int, results: Results) -> list[str]:
    """Labels of a column's data set in its order, none before its first run."""
    paths = (path for row in artefact.rows for path in row.cells[column].runs)
    path = next((path for path in paths if results.state(path) == "done"), None)
    return results.record(path)["classes"] if path else []


def _labels(artefact: Artefact, results: Results, summary: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread of every label's average precision, as in `report.summary`.

    Columns: those of a summary, and label; metric is ``AP``.
    """
    states = summary[summary["metric"] == artefact.metrics[0]]
    cells = states.set_index(["row", "column"])[["role", "runs", "planned", "state"]]
    rows = []
    for i, column in enumerate(artefact.columns):
        for row in artefact.rows:
            found = [scores["average_precision"] for scores in results.found(row.cells[i])]
            for label in classes(artefact, i, results):
                aps = pd.Series([ap[label] for ap in found if label in ap], dtype=float)
                cell = {"row": row.label, "column": column, **cells.loc[(row.label, column)]}
                cell |= {"metric": "AP", "label": label, "mean": aps.mean(), "std": aps.std()}
                if found and aps.empty:
                    cell |= {"runs": 0, "state": WITHOUT}
                rows.append(cell | {"reported": math.nan})
    frame = pd.DataFrame(rows, columns=[*summary.columns, "label"])
    methods = frame[frame["role"] != "teacher"].assign(printed=(100 * frame["mean"]).round(2))
    ranks = methods.groupby(["column", "label"])["printed"].rank("min", ascending=False)
    return frame.assign(rank=ranks)


def _mean(cell: dict) -> Entry:
    """As in other tables, without the spread: many columns stand side by side."""
    return report.entry(cell | {"runs": min(cell["runs"], 1)})


def _spread(cell: dict) -> Entry:
    return Entry(report.percent(cell["std"]) or report.absent(cell["state"]))


def _notes(frame: pd.DataFrame) -> list[str]:
    lines = [] if (frame["metric"] == "AP").any() else ["Labels are listed from the first run on."]
    if (frame["state"] == WITHOUT).any():
        lines.append("n/a: the label has no positive test image and no average precision.")
    return lines


def _csv(frame: pd.DataFrame) -> pd.DataFrame:
    keys = ["row", "role", "column", "metric", "label"]
    frame = report.percentages(frame)
    return frame[[*keys, *frame.columns.difference(keys, sort=False)]]
