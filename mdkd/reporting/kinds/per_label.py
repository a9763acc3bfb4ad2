"""Average precision of every label (the paper's Table 3): labels down, methods across."""

import math

import pandas as pd

from mdkd.artefacts import Artefact
from mdkd.reporting import cells, notes, summary
from mdkd.reporting.summary import Measure, Values
from mdkd.reporting.tables import Block, Entry, Line, Table
from mdkd.results import Results

WITHOUT = "no positive test image"


def table(artefact: Artefact, results: Results) -> Table:
    """One block per pair: its labels, then the metrics of the experiment."""
    of_metrics = summary.of_metrics(artefact, results)
    frame = pd.concat([_of_labels(artefact, results), of_metrics.assign(label="")])
    numbers = frame.set_index(["column", "metric", "label", "row"]).to_dict("index")
    blocks = []
    for i, column in enumerate(artefact.columns):
        names = [("AP", label) for label in classes(artefact, i, results)]
        lines = []
        for metric, label in [*names, *((metric, "") for metric in artefact.metrics)]:
            found = [numbers[column, metric, label, row.label] for row in artefact.rows]
            rule = bool(names) and metric == artefact.metrics[0]
            entries = [_mean(cell) for cell in found]
            lines.append(Line(label=label or metric, entries=entries, rule=rule))
            if metric == "mAP" and any(cell["runs"] > 1 for cell in found):
                lines.append(Line(label="± mAP", entries=[_spread(cell) for cell in found]))
        blocks.append(Block(heading=column if len(artefact.columns) > 1 else None, lines=lines))
    keys = ["row", "role", "column", "metric", "label"]
    written = summary.hundredfold(frame)
    return Table(
        name=artefact.name,
        title=cells.title(artefact),
        headings=[row.label for row in artefact.rows],
        blocks=blocks,
        notes=[*notes.of_metrics(artefact, of_metrics, results, "In each row"), *_notes(frame)],
        frame=written[[*keys, *written.columns.difference(keys, sort=False)]],
    )


def classes(artefact: Artefact, column: int, results: Results) -> list[str]:
    """The labels of a column's data set in their order; none before its first run is done."""
    path = summary.any_run(artefact, column, results)
    return results.record(path)["classes"] if path else []


def _of_labels(artefact: Artefact, results: Results) -> pd.DataFrame:
    """The average precision of every label; columns as in `summary.of_metrics`, and label."""

    def precisions(path: str) -> Values | None:
        scores = results.scores(path)
        if scores is None:
            return None
        found = {label: WITHOUT for label in scores["labels_without_positives"]}
        return {("AP", label): x for label, x in (found | scores["average_precision"]).items()}

    measures = [
        Measure(
            dict.fromkeys(("AP", label) for label in classes(artefact, i, results)),
            precisions,
        )
        for i in range(len(artefact.columns))
    ]
    frame = summary.over_seeds(artefact, results, ["metric", "label"], measures)
    ranks = summary.rank(frame, ["column", "label"])
    return frame.assign(reported=math.nan, rank=ranks)


def _mean(cell: dict) -> Entry:
    """As in other tables, but without the spread: a table with many columns has no room for it."""
    return cells.entry(cell | {"runs": min(cell["runs"], 1)})


def _spread(cell: dict) -> Entry:
    """The standard deviation; empty for a single run, which has none."""
    return Entry(cells.percent(cell["std"]) if cell["runs"] else cells.absent(cell["state"]))


def _notes(frame: pd.DataFrame) -> list[str]:
    lines = [] if (frame["metric"] == "AP").any() else ["Labels are listed once a run is done."]
    if (frame["runs"] > 1).any():
        lines.append(
            "Only the mAP has its standard deviation here, in the row ± mAP; it is empty where "
            "there is one run. All other numbers are means, and the CSV has their deviations."
        )
    if any(state.reason == WITHOUT for state in frame["state"]):
        lines.append("n/a: no test image has the label, so it has no average precision.")
    return lines
