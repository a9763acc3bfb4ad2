"""From records to numbers in tables: means, spreads, ranks, and what must stand under them.

Metrics are fractions in records and percentages in tables and figures. Never imports torch.
"""

import math
from collections.abc import Callable

import pandas as pd
from scipy import stats

from mdkd import records
from mdkd.plan import Artefact, Row
from mdkd.results import Results
from mdkd.reporting.tables import GAP, Block, Entry, Line, sentence

RUN_COLUMNS = ("kind", "dataset", "teacher", "student", "method", "variant", "seed")
PARTIAL = "†"  # some seeds have not been run yet
POWER = 0.8  # of the test whose resolution is printed under a table
WANTED = 0.5  # percentage points of mAP that one would like to resolve


def metrics_csv(results: Results) -> None:
    """Write ``metrics.csv``: every scored run of the plan, one row per metric."""
    text = collect(results).to_csv(index=False, lineterminator="\n")
    with records.atomic(results.results / "metrics.csv") as file:
        file.write(text.encode())


def collect(results: Results) -> pd.DataFrame:
    """One tidy row per run and metric of all runs that have been scored.

    Columns: kind, dataset, teacher, student, method, variant, seed, metric, value (a fraction).
    """
    rows = []
    for path, run in results.runs.items():
        scores = results.scores(path)
        parts = path.split("/")
        for metric, value in scores["metrics"].items() if scores else ():
            rows.append(
                {
                    "kind": parts[0],
                    "dataset": run.dataset.name,
                    "teacher": run.teacher.split("/")[2] if run.teacher else "",
                    "student": run.arch,
                    "method": run.method.name,
                    "variant": parts[4] if parts[0] == "distill" else "default",
                    "seed": run.seed,
                    "metric": metric,
                    "value": value,
                }
            )
    return pd.DataFrame(rows, columns=[*RUN_COLUMNS, "metric", "value"])


def summary(artefact: Artefact, results: Results) -> pd.DataFrame:
    """Mean and spread of every cell of a comparison.

    Columns: row, role, column, metric, mean, std (fractions; std with n - 1, NaN for one run),
    runs, planned, state (``done``, ``partial``, ``missing``, ``failed`` or ``n/a: reason``), rank
    (1 is the best method of its column and metric, ties share a rank; NaN for the teacher and
    gaps), reported (a fraction; NaN where nothing was published).
    """
    rows = []
    for row in artefact.rows:
        for column, cell in zip(artefact.columns, row.cells, strict=True):
            found = [scores["metrics"] for scores in results.found(cell)]
            state = "done" if len(found) == len(cell.runs) else "partial" if found else "missing"
            if state == "missing" and any(results.state(run) == "failed" for run in cell.runs):
                state = "failed"
            for metric in artefact.metrics:
                values = pd.Series([metrics[metric] for metrics in found], dtype=float)
                rows.append(
                    {
                        "row": row.label,
                        "role": row.role,
                        "column": column,
                        "metric": metric,
                        "mean": values.mean(),
                        "std": values.std(),
                        "runs": len(found),
                        "planned": len(cell.runs),
                        "state": f"n/a: {cell.unavailable}" if cell.unavailable else state,
                        "reported": cell.reported.get(metric, math.nan),
                    }
                )
    frame = pd.DataFrame(rows)
    # rank what is printed: two cells that read the same share a rank
    ranked = frame[frame["role"] != "teacher"].assign(printed=lambda f: (100 * f["mean"]).round(2))
    frame["rank"] = ranked.groupby(["column", "metric"])["printed"].rank("min", ascending=False)
    return frame


def percentages(frame: pd.DataFrame) -> pd.DataFrame:
    """A summary as it is written to CSV: percentages of four decimals."""
    keys = ("mean", "std", "reported")
    frame = frame.assign(**{key: (100 * frame[key]).round(4) for key in keys})
    return frame if frame["reported"].notna().any() else frame.drop(columns="reported")


def entry(cell: dict) -> Entry:
    """``mean ± std`` of a summary's cell in percent, or why there is no number."""
    if not cell["runs"]:
        return Entry(absent(cell["state"]))
    spread = f" ± {100 * cell['std']:.2f}" if cell["runs"] > 1 else ""
    mark = PARTIAL if cell["state"] == "partial" else ""
    text = f"{percent(cell['mean'])}{spread}{mark}"
    ranks = {1.0: "best", 2.0: "second"}
    return Entry(text, ranks.get(cell["rank"], ""))  # type: ignore[arg-type]


def blocks(artefact: Artefact, entries: Callable[[Row, str], list[Entry]]) -> list[Block]:
    """One block per column, one line per row, filled by ``entries(row, column)``."""
    found = []
    for column in artefact.columns:
        lines = []
        for i, row in enumerate(artefact.rows):
            rule = i > 0 and row.role == "method" and artefact.rows[i - 1].role != "method"
            lines.append(Line(label=row.label, entries=entries(row, column), rule=rule))
        found.append(Block(heading=column if len(artefact.columns) > 1 else None, lines=lines))
    return found


def absent(state: str) -> str:
    """What stands in place of a number."""
    return "n/a" if state.startswith("n/a") else "failed" if state == "failed" else GAP


def percent(value: float) -> str:
    """A fraction as a percentage of two decimals, empty for NaN."""
    return "" if math.isnan(value) else f"{100 * value:.2f}"


def title(artefact: Artefact) -> str:
    """The title of a printed table; a single pair is named here instead of in every heading."""
    if len(artefact.columns) > 1:
        return artefact.title
    return f"{sentence(artefact.title)} {artefact.columns[0]}"


def made(artefact: Artefact, results: Results) -> list[str]:
    """Protocol, seeds and runs of an artefact, and what is missing or impossible."""
    states = [results.state(path) for path in artefact.runs]  # cells may share runs
    done = states.count("done")
    runs = f"{done} runs"
    if done < len(states):
        runs = f"{done} of {len(states)} runs ({GAP} not yet run, {PARTIAL} some seeds only)"
    plural = "s" if len(artefact.seeds) > 1 else ""
    seeds = ", ".join(map(str, artefact.seeds))
    lines = [f"Protocol {artefact.protocol}, seed{plural} {seeds}, {runs}."]
    for state, text in (
        ("failed", "runs failed: their failed.json says why."),
        ("other settings", "runs were made under other settings and are left out."),
    ):
        lines += [f"{states.count(state)} {text}"] if state in states else []
    reasons = {row.label: cell.unavailable for row in artefact.rows for cell in row.cells}
    return lines + [f"{row}: n/a: {reason}." for row, reason in reasons.items() if reason]


def notes(artefact: Artefact, frame: pd.DataFrame, results: Results) -> list[str]:
    """What must stand under a table for its numbers to be read rightly."""
    lines = [
        *made(artefact, results),
        "Percentages, mean ± standard deviation over seeds of the last epoch; the teacher is one "
        "run shared by all methods. Best bold, second underlined, the teacher apart.",
    ]
    if {"OF1", "CF1"} & set(artefact.metrics):
        lines.append("OF1, CF1: threshold 0.5.")
    if any(metric.endswith("_k") for metric in artefact.metrics):
        lines.append(
            "OF1_k, CF1_k: as many predictions per image as it has true labels (oracle k), the "
            "form that L2D's code computes and the paper follows."
        )
    if frame["reported"].notna().any():
        lines.append(
            "Paper: the published number, empty where none is; Δ: ours minus it. Published OF1 and "
            "CF1 are compared with OF1_k and CF1_k."
        )
    lines += _resolution(frame)
    lines += _left_out(artefact, results)
    return lines + list(artefact.notes)


def _resolution(frame: pd.DataFrame) -> list[str]:
    """The smallest difference of two methods' mAP that the spread over seeds lets one see.

    Of rows that are at least as good as the student alone: what collapses spreads far more.
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
    resolved = resolvable_difference(deviation, seeds)
    needed = seeds_needed(deviation, WANTED)
    return [
        f"Power: with {seeds} seeds and a standard deviation of {deviation:.2f}, pooled over the "
        f"rows not below the student, a difference of {resolved:.2f} mAP between two methods is "
        f"found with a probability of about {POWER:g} (two-sided t-test, 5 %); {WANTED:g} mAP "
        f"would need {needed} seeds."
    ]


def resolvable_difference(deviation: float, seeds: int) -> float:
    """Difference of two means of ``seeds`` runs each that a t-test of level 5 % finds with `POWER`.

    In the unit of ``deviation``, the standard deviation of one run. The textbook approximation
    (t_0.975 + t_power) s sqrt(2 / n) with 2 (n - 1) degrees of freedom.
    """
    freedom = 2 * (seeds - 1)
    quantiles = stats.t.ppf(0.975, freedom) + stats.t.ppf(POWER, freedom)
    return float(quantiles) * deviation * math.sqrt(2 / seeds)


def seeds_needed(deviation: float, difference: float) -> int:
    """The smallest number of seeds that resolves ``difference``."""
    enough = 2
    while resolvable_difference(deviation, enough) > difference:
        enough *= 2
    return next(
        seeds
        for seeds in range(max(2, enough // 2), enough + 1)
        if resolvable_difference(deviation, seeds) <= difference
    )


def _left_out(artefact: Artefact, results: Results) -> list[str]:
    """Labels that no test image of a column has, and images that its data set lacks."""
    notes = []
    for i, column in enumerate(artefact.columns):
        paths = [path for row in artefact.rows for path in row.cells[i].runs]
        path = next((path for path in paths if results.state(path) == "done"), None)
        scores = results.scores(path) if path else None
        if path is None or scores is None:
            continue
        out, there = len(scores["labels_without_positives"]), len(scores["average_precision"])
        if out:
            labels = f"{out} of {out + there} labels, absent in the test split"
            notes.append(f"{column}: mAP leaves out {labels}.")
        for split, dropped in results.record(path)["dropped"].items():
            if any(dropped.values()):
                counts = ", ".join(f"{n} {why}" for why, n in dropped.items() if n)
                notes.append(f"{column}: images left out of {split}: {counts}.")
    return notes
