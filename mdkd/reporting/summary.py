"""From records to one long frame of numbers: means, spreads, states and ranks.

A frame has one row per number of a table: a row and a column of the artefact, and what was
measured there. Metrics are fractions in records and in frames, percentages in tables and CSVs.
"""

import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from mdkd import records
from mdkd.agreement import COMPUTED, NO_TEACHER, SELECTABLE
from mdkd.artefacts import Artefact, Row
from mdkd.errors import UserError
from mdkd.results import Predictions, Results, State
from mdkd.runpath import FIELDS, RunPath

OTHER_IMAGES = "its test images differ from those of other runs; train it again"
RUN_COLUMNS = ("kind", "dataset", "teacher", "student", "method", "variant", "seed")

OLD = "an older version trained {} and kept no validation predictions"

Key = tuple  # what is measured: one entry per name in `over_seeds`
# Of one run, by key: a number, or the reason why it cannot have one. Numbers that it does not have
# yet are left out or NaN.
Values = Mapping[Key, float | str]


class Measure(NamedTuple):
    """What to measure of the runs in one column of an artefact."""

    keys: Mapping[Key, str | None]  # each with the reason why no run can have it; None: runs can
    of_run: Callable[[str], Values | None]  # by the run's path; None: the run is not done


def over_seeds(
    artefact: Artefact, results: Results, names: Sequence[str], measures: Sequence[Measure]
) -> pd.DataFrame:
    """Mean and spread over the seeds of every cell, for any measure.

    Args:
        names: of the entries of a key; columns of the frame.
        measures: one per column of the artefact.

    Columns: row, role, column, the names, mean, std (with n - 1; NaN for one run), runs (how many
    have a value), planned, values (of the runs, by path; `hundredfold` drops them), state (a
    `State`). Rows of the frame are sorted by column, row and key.
    """
    lines = []
    for i, (column, measure) in enumerate(zip(artefact.columns, measures, strict=True)):
        for row in artefact.rows:
            cell = row.cells[i]
            # One run after the other: the predictions of all may not fit into memory.
            found = {p: own for p in cell.runs if (own := measure.of_run(p)) is not None}
            for key, impossible in measure.keys.items():
                given = {path: own[key] for path, own in found.items() if key in own}
                reasons = [reason for reason in given.values() if isinstance(reason, str)]
                by_run = {p: value for p, value in given.items() if not isinstance(value, str)}
                values = pd.Series(by_run, dtype=float).dropna()
                state = results.cell_state(cell, len(values))
                reason = impossible or (reasons[0] if reasons and values.empty else "")
                lines.append(
                    {
                        "row": row.label,
                        "role": row.role,
                        "column": column,
                        **dict(zip(names, key, strict=True)),
                        "mean": values.mean(),
                        "std": values.std(),
                        "runs": len(values),
                        "planned": len(cell.runs),
                        "values": values.to_dict(),
                        "state": State("n/a", reason) if reason and state.name != "n/a" else state,
                    }
                )
    of_cells = ["mean", "std", "runs", "planned", "values", "state"]
    return pd.DataFrame(lines, columns=["row", "role", "column", *names, *of_cells])


def rank(frame: pd.DataFrame, within: Sequence[str], *, lowest_is_best: bool = False) -> pd.Series:
    """The rank of each mean among the student's and the methods' rows of a group; 1 is the best.

    Numbers that are printed alike share a rank. Gaps and other rows have NaN.

    Args:
        within: the columns of the frame that name a group.
    """
    compared = frame[frame["role"].isin(("student", "method"))]
    printed = compared.assign(printed=(100 * compared["mean"]).round(2))
    ranks = printed.groupby(list(within))["printed"].rank("min", ascending=lowest_is_best)
    return ranks.reindex(frame.index)


def of_metrics(artefact: Artefact, results: Results) -> pd.DataFrame:
    """The artefact's metrics: `over_seeds` by metric, with reported and rank.

    They are of the images of the results' split. ``reported`` is the published value (a fraction;
    NaN if there is none). The best mean of a column and metric has rank 1.
    """
    names = dict.fromkeys((metric,) for metric in artefact.metrics)
    columns = range(len(artefact.columns))
    measures = [Measure(names, _metrics(artefact, i, results)) for i in columns]
    frame = by_row(artefact, over_seeds(artefact, results, ["metric"], measures))
    published = {
        (row.label, column, metric): value
        for row in artefact.rows
        for column, cell in zip(artefact.columns, row.cells, strict=True)
        for metric, value in cell.reported.items()
    }
    places = frame[["row", "column", "metric"]].itertuples(index=False, name=None)
    frame["reported"] = [published.get(place, math.nan) for place in places]
    frame["rank"] = rank_metrics(frame, ["column", "metric"])
    return frame


def rank_metrics(frame: pd.DataFrame, within: Sequence[str]) -> pd.Series:
    """`rank` of a frame of metrics; some of them are best if they are low."""
    low = frame["metric"].map(lambda metric: SELECTABLE[metric].lowest_is_best).astype(bool)
    ranks = [rank(frame[low == lowest], within, lowest_is_best=lowest) for lowest in (False, True)]
    return pd.concat(ranks).reindex(frame.index)


def differences(
    artefact: Artefact, frame: pd.DataFrame, compared: Iterable[tuple[Row, Row]]
) -> pd.DataFrame:
    """The metrics of a row minus those of another one, seed by seed.

    Args:
        frame: that of `of_metrics`.
        compared: pairs of a row and the one that it is compared with.

    Columns: row, column, metric, difference (the mean; a fraction) and difference_std.
    """
    of_runs = frame.set_index(["row", "column", "metric"])["values"]
    lines = []
    for (row, base), (i, column) in product(compared, enumerate(artefact.columns)):
        # A row that cannot be trained has no runs.
        runs = list(zip(row.cells[i].runs, base.cells[i].runs, strict=False))
        for metric in artefact.metrics:
            own, other = (of_runs[r.label, column, metric] for r in (row, base))
            found = [own[a] - other[b] for a, b in runs if a in own and b in other]
            values = pd.Series(found, dtype=float)
            lines.append((row.label, column, metric, values.mean(), values.std()))
    names = {"row": str, "column": str, "metric": str, "difference": float, "difference_std": float}
    return pd.DataFrame(lines, columns=list(names)).astype(names)


def _metrics(artefact: Artefact, column: int, results: Results) -> Callable[[str], Values | None]:
    """What gives the metrics of a run in a column: from its scores, or from its predictions.

    A run is compared with the teacher that it was distilled from; a student with the column's.
    """
    computed = {name: COMPUTED[name] for name in artefact.metrics if name in COMPUTED}
    stored = functools.lru_cache(maxsize=1)(results.stored)  # of the teacher of many runs
    teachers = set(teacher_runs(artefact, column).values())

    def metrics(path: str) -> Values | None:
        scores = results.scores(path)
        if scores is None:
            return None
        # A run of an older version has the mAP of validation images alone.
        values = {name: scores["metrics"].get(name, OLD.format("it")) for name in artefact.metrics}
        own = results.stored(path) if computed else None
        if own is not None:
            teacher_path = results.runs[path].teacher or teacher_run(artefact, column)
            teacher = None if path in teachers else stored(teacher_path)
            if teacher is not None and teacher.ids_N.tolist() != own.ids_N.tolist():
                raise UserError(f"{path}: {OTHER_IMAGES}")
            values |= {name: metric.of(own, teacher) for name, metric in computed.items()}
            if reason := _no_teacher(path in teachers, teacher_path, results):
                values |= {name: reason for name in computed if math.isnan(values[name])}
        return {(metric,): value for metric, value in values.items()}

    return metrics


def _no_teacher(is_teacher: bool, teacher_path: str, results: Results) -> str:
    """Why a run can never be compared with a teacher; empty if it only waits for its teacher."""
    if is_teacher:
        return NO_TEACHER
    return OLD.format("its teacher") if results.state(teacher_path) == "done" else ""


def by_row(artefact: Artefact, frame: pd.DataFrame) -> pd.DataFrame:
    """A frame of `over_seeds`, sorted by row first and by column second."""
    order = {row.label: i for i, row in enumerate(artefact.rows)}
    return frame.sort_values("row", key=lambda r: r.map(order), kind="stable", ignore_index=True)


def hundredfold(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame as it is written to CSV: numbers as they are printed, with four decimals.

    The values of single runs are left out, and published values if there are none.
    """
    keys = [key for key in ("mean", "std", "reported") if key in frame]
    frame = frame.assign(**{key: (100 * frame[key]).round(4) for key in keys})
    empty = "reported" in frame and frame["reported"].isna().all()
    frame = frame.drop(columns="values", errors="ignore")
    return frame.drop(columns="reported") if empty else frame


def any_run(artefact: Artefact, column: int, results: Results) -> str | None:
    """The path of a column's first run that is done: for facts that all of its runs share."""
    paths = (path for row in artefact.rows for path in row.cells[column].runs)
    return next((path for path in paths if results.state(path) == "done"), None)


def any_predictions(artefact: Artefact, column: int, results: Results) -> Predictions | None:
    """The predictions of `any_run`: for the images, targets and labels of a column."""
    path = any_run(artefact, column, results)
    return None if path is None else results.predictions(path)


def teacher_runs(artefact: Artefact, column: int) -> dict[str, str]:
    """The paths of the runs that teach in a column, by the labels of their rows."""
    rows = (row for row in artefact.rows if row.role == "teacher")
    return {row.label: row.cells[column].runs[0] for row in rows}


def teacher_run(artefact: Artefact, column: int) -> str:
    """The path of the run that teaches in a column; of several teachers, the first."""
    return next(iter(teacher_runs(artefact, column).values()))


def teacher_predictions(artefact: Artefact, column: int, results: Results) -> Predictions | None:
    """The predictions of a column's teacher, or None if it is not trained yet."""
    return results.predictions(teacher_run(artefact, column))


def check_images(path: str, predictions: Predictions, ids: list[str]) -> None:
    """Raise a UserError unless the predictions are for the test images ``ids``."""
    if predictions.ids != ids:
        raise UserError(f"{path}: {OTHER_IMAGES}")


def metrics_csv(results: Results) -> None:
    """Write ``metrics.csv``: every scored run of the plan, one row per metric."""
    text = collect(results).to_csv(index=False, lineterminator="\n")
    with records.atomic(results.results / "metrics.csv") as file:
        file.write(text.encode())


def collect(results: Results) -> pd.DataFrame:
    """One tidy row per run and metric of all finished runs of the plan, with any seed.

    Columns: kind, dataset, teacher, student, method, variant, seed, metric, value (a fraction).
    """
    rows = []
    every = with_other_seeds(results)
    families = list(dict.fromkeys(Path(path).parent for path in every.runs))  # but for the seed

    def place(path: str) -> tuple[int, int]:
        return families.index(Path(path).parent), every.runs[path].seed

    for path in sorted(every.runs, key=place):
        scores, identity = every.scores(path), RunPath.parse(path)
        for metric, value in scores["metrics"].items() if scores else ():
            rows.append(
                {
                    "kind": identity.kind,
                    "dataset": identity.dataset,
                    "teacher": identity.teacher or "",
                    "student": identity.arch,
                    "method": identity.method,
                    "variant": identity.variant,
                    "seed": identity.seed,
                    "metric": metric,
                    "value": value,
                }
            )
    return pd.DataFrame(rows, columns=[*RUN_COLUMNS, "metric", "value"])


def with_other_seeds(results: Results) -> Results:
    """The same results, with runs in the store that differ from planned ones by their seed alone.

    So what is made of them does not depend on the seeds of the last call.
    """
    found = {}
    for run in results.runs.values():
        for folder in (results.store / run.path).parent.glob("seed*"):
            path = folder.relative_to(results.store).as_posix()
            seed = re.fullmatch(f"seed({FIELDS['seed']})", folder.name)
            if seed and path not in results.runs:  # other folders are not ours
                found[path] = replace(run, path=path, seed=int(seed[1]))
    return replace(results, runs=results.runs | found)
