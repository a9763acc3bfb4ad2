"""The notes under tables: what must be known to read the numbers rightly."""

from collections import Counter
from typing import Any

import pandas as pd

from mdkd import neighbours
from mdkd.agreement import SELECTABLE, no_to_all
from mdkd.artefacts import Artefact, Row
from mdkd.config import Split
from mdkd.data.cache import read_meta
from mdkd.reporting import differences, plugin_code, statistics
from mdkd.reporting.cells import PARTIAL
from mdkd.reporting.summary import any_run, teacher_runs
from mdkd.reporting.tables import GAP
from mdkd.results import Results

OTHER_SETTINGS = (
    "runs are left out: they have other settings, other data or another teacher than planned."
)
SPLITS: dict[Split, str] = {"test": "test", "val": "validation"}
USES = {"train": "for training", "val": "for validation", "test": "for the test"}  # of images
WANTED = 0.5  # of the metric's unit: the note says how many seeds would find such a difference


def of_runs(artefact: Artefact, results: Results) -> list[str]:
    """Protocol, seeds and runs of an artefact, and what is missing or impossible."""
    states = [results.state(path) for path in artefact.runs]  # each run once
    done = states.count("done")
    runs = f"{done} runs"
    if done < len(states):
        runs = f"{done} of {len(states)} runs ({GAP} not yet run, {PARTIAL} some seeds only)"
    lines = [f"Protocol {artefact.protocol}, {artefact.named_seeds}, {runs}."]
    for state, text in (
        ("failed", "runs failed; failed.json in the folder of each says why."),
        ("damaged", "runs have a damaged record; `mdkd store verify` says what is wrong."),
        ("running", "runs are being trained now."),
        ("other settings", OTHER_SETTINGS),
    ):
        lines += [f"{states.count(state)} {text}"] if state in states else []
    lines += _other_settings(artefact, results)
    lines += plugin_code.notes(artefact, results)
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


def of_metrics(
    artefact: Artefact, frame: pd.DataFrame, results: Results, ranked: str = "In each column"
) -> list[str]:
    """All notes under a table of metrics.

    Args:
        frame: that of `summary.of_metrics`.
        ranked: which numbers are ranked among themselves, as the begin of a sentence.
    """
    lines = [
        *of_runs(artefact, results),
        *_trainings(artefact, results),
        *_chance(artefact, results),
        f"{_units(artefact)}: {means(artefact)}, after the last epoch. {_teacher(artefact)} "
        f"{ranked}, the best number is bold and the second is underlined. The teacher is not part "
        "of this ranking.",
        *_predictions(artefact),
        *_no_to_all(artefact, results),
        *_without_numbers(frame),
    ]
    if frame["reported"].notna().any():
        lines.append(
            "Paper: the published number, if there is one. Δ: ours minus the published number. "
            "Published OF1 and CF1 are compared with OF1_k and CF1_k."
        )
    power = _power(artefact, frame, results)
    return [*lines, *power, *_left_out(artefact, results), *artefact.notes]


def of_dependencies(artefact: Artefact, results: Results) -> list[str]:
    """The notes that all tables of label dependencies share."""
    spread = means(artefact).capitalize()
    text = f"{spread}, after the last epoch. {_teacher(artefact)}"
    return [*of_runs(artefact, results), text, *artefact.notes]


def _trainings(artefact: Artefact, results: Results) -> list[str]:
    """How long students are trained, and on how many images, if the cache is there to count them.

    A row whose label tells its epochs is left out.
    """
    rows: dict[int, list[str]] = {}
    for row in artefact.rows:
        for epochs in {results.runs[path].recipe.epochs for c in row.cells for path in c.runs}:
            if row.role != "teacher" and f"epochs = {epochs}" not in row.label:
                rows.setdefault(epochs, []).append(row.label)
    usual = max(rows, key=lambda epochs: len(rows[epochs]), default=None)
    others = [f"{', '.join(rows[epochs])}: {epochs}" for epochs in rows if epochs != usual]
    texts = [f"Epochs: {'; '.join([str(usual), *others])}."] if rows else []
    for label, splits in _splits(artefact, results).items():
        counts = [f"{splits[s]['images']} {use}" for s, use in USES.items() if s in splits]
        texts.append(f"Images of {label}: {', '.join(counts)}.")
    return [" ".join(texts)] if texts else []


def _chance(artefact: Artefact, results: Results) -> list[str]:
    """The mAP of random scores. For one label it is the fraction of images that have the label."""
    found = {}
    for label, splits in _splits(artefact, results).items():
        if "mAP" in artefact.metrics and (split := splits.get(artefact.split)):
            ignored = split.get("ignored_per_label") or [0] * len(split["images_per_label"])
            shares = [
                positive / (split["images"] - skipped)
                for positive, skipped in zip(split["images_per_label"], ignored, strict=True)
                if positive
            ]
            if shares:
                found[label] = f"{100 * sum(shares) / len(shares):.1f}"
    texts = found.values() if len(found) == 1 else [f"{label} {found[label]}" for label in found]
    return [f"mAP of random scores: about {', '.join(texts)}."] if found else []


def _splits(artefact: Artefact, results: Results) -> dict[str, dict[str, Any]]:
    """What is known of the splits of each data set whose cache is there, by its label."""
    runs = filter(None, map(results.runs.get, artefact.runs))
    datasets = {run.dataset.name: run.dataset for run in runs}
    metas = {name: read_meta(dataset, results) for name, dataset in datasets.items()}
    return {artefact.labels.get(name, name): m["splits"] for name, m in metas.items() if m}


def _units(artefact: Artefact) -> str:
    """What the numbers of a table are."""
    others: dict[str, list[str]] = {}
    for name in artefact.metrics:
        if (unit := SELECTABLE[name].unit) != "%":
            others.setdefault(unit, []).append(name)
    texts = "; ".join(f"{', '.join(names)}: units of {unit}" for unit, names in others.items())
    return f"Percentages ({texts})" if texts else "Percentages"


def means(artefact: Artefact) -> str:
    """What the numbers of a table are: means over seeds, or numbers of one seed."""
    several = len(artefact.seeds) > 1
    return "mean ± standard deviation over seeds" if several else "one seed"


def _teacher(artefact: Artefact) -> str:
    """Whose runs the rows of the teacher are."""
    teachers = [row for row in artefact.rows if row.role == "teacher"]
    if len(teachers) > 1:
        return "Each teacher is one run; the label of a row says which teacher it had."
    if len({path for row in teachers for cell in row.cells for path in cell.runs}) > 1:
        return "Each pair of networks has one run of the teacher, which all its methods share."
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


def _no_to_all(artefact: Artefact, results: Results) -> list[str]:
    """What a student without a single positive decision has as its agreement with the teacher."""
    texts = []
    for i, column in enumerate(artefact.columns if "agreement" in artefact.metrics else []):
        teachers = teacher_runs(artefact, i)
        for label, path in teachers.items():
            names = [column] * (len(artefact.columns) > 1) + [label] * (len(teachers) > 1)
            if teacher := results.stored(path):
                value = f"{100 * no_to_all(teacher):.2f}"
                texts.append(f"{value} ({', '.join(names)})" if names else value)
    who = "a student that says no to every label of every image would have"
    return [f"Base rate of agreement: {who} {'; '.join(texts)}."] if texts else []


def _power(artefact: Artefact, frame: pd.DataFrame, results: Results) -> list[str]:
    """The smallest differences that paired tests over these seeds can find."""
    if not frame["runs"].any():
        return []
    planned = frame["planned"][frame["role"] != "teacher"]
    if (planned <= 1).all():
        return ["One seed: no difference can be told from chance."]
    if not any(differences.references(artefact, results).values()):
        return []
    fewest = statistics.FEWEST_SEEDS
    if (planned < fewest).all():
        what = "intervals and tests of differences need"
        return [f"Fewer than {fewest} seeds: {what} {fewest}, so this table has none."]
    found = differences.tests(artefact, frame, results)
    if found.empty:
        return []
    ends = found.loc[list(dict.fromkeys([found["std"].idxmin(), found["std"].idxmax()]))]
    seeds, metric = int(found["runs"].median()), artefact.metrics[0]
    unit, columns = differences.unit(metric), len(artefact.columns)
    spreads, resolved, needed = [], [], []
    for test in ends.to_dict("records"):
        deviation = 100 * test["std"]
        where = f", {test['column']}" if columns > 1 else ""
        spreads.append(f"{deviation:.2f} ({test['row']} − {test['against']}{where})")
        resolved.append(f"{statistics.resolvable_difference(deviation, seeds):.2f}")
        needed.append(f"{statistics.seeds_needed(deviation, WANTED)}")
    return [
        f"Power: the difference of {metric} between two runs of one seed has a standard deviation "
        f"over seeds of {' to '.join(spreads)} {unit}. With {seeds} seeds, a paired t-test at "
        f"{100 * statistics.LEVEL:g} % then finds a difference of {' to '.join(resolved)} {unit} "
        f"with a probability of about {statistics.POWER:g}, before correction for the number of "
        f"tests. To find {WANTED:g} {unit}, {' to '.join(needed)} seeds are needed."
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
