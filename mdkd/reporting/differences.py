"""Do methods differ over the seeds? Rows of a table against others, by paired t-tests.

Runs of the same seed see the same batches and start from the same weights, so they are pairs.
"""

from collections.abc import Mapping

import pandas as pd

from mdkd.agreement import SELECTABLE
from mdkd.artefacts import Artefact, Row
from mdkd.reporting import cells, statistics
from mdkd.reporting.tables import Block, Entry, Line
from mdkd.results import Results, State

REFERENCE = "mld"  # distillation of single labels, which is what a method adds to
# What a row is tested against unless the experiment says it, by the role of the other row: how it
# is called if it is not the same row for all, and the sign of a difference from it.
NAMES = {"student": "Student", "method": "MLD"}
SIGNS = {"student": "*", "method": "‡"}
COVERED = (
    "The tests cover the seeds of the students, and NOT the choice of the images or the training "
    "of the teacher."
)
COLUMNS = ["row", "role", "column", "metric", "against", "mean", "std", "runs", "planned", "state"]
RESULTS = ["low", "high", "p"]


def tests(artefact: Artefact, frame: pd.DataFrame, results: Results) -> pd.DataFrame:
    """Every test of the first metric, from a frame of `summary.of_metrics`; empty if there is none.

    A test needs `statistics.FEWEST_SEEDS` seeds of which both runs are done. Columns: row, role,
    column, metric, against (the label of the other row), mean and std (of the differences,
    fractions), runs (pairs), planned, state, low and high (of the 95 % confidence interval), p, and
    p_holm, which is corrected for the number of all these tests.
    """
    metric = artefact.metrics[0]
    values = frame[frame["metric"] == metric].set_index(["row", "column"])["values"]
    others_of = references(artefact, results)
    lines = []
    for i, column in enumerate(artefact.columns):
        for row in artefact.rows:
            own = _by_seed(values[row.label, column], results)
            for other in others_of[row.label]:
                theirs = _by_seed(values[other.label, column], results)
                seeds = sorted(own.keys() & theirs.keys())
                if len(seeds) < statistics.FEWEST_SEEDS or row.cells[i] == other.cells[i]:
                    continue
                pairs = pd.DataFrame([(own[seed], theirs[seed]) for seed in seeds])
                test = statistics.paired_t(pairs[0].to_numpy(), pairs[1].to_numpy())
                std = (pairs[0] - pairs[1]).std()
                names = [row.label, row.role, column, metric, other.label]
                planned = len(artefact.seeds)
                state = State("done" if len(seeds) == planned else "partial")
                numbers = [test.difference, std, len(seeds), planned, state, *test[1:]]
                lines.append([*names, *numbers])
    found = pd.DataFrame(lines, columns=COLUMNS + RESULTS)
    return found.assign(p_holm=statistics.holm(found["p"].tolist()))


def references(artefact: Artefact, results: Results) -> dict[str, list[Row]]:
    """The rows that each row is tested against, by its label.

    They are those that ``against`` of the experiment names. Without the key, a method is tested
    against the student of its recipe and against MLD of its recipe and teacher.
    """
    if artefact.against is not None:
        rows = {row.label: row for row in artefact.rows}
        return {label: [rows[other] for other in artefact.against.get(label, [])] for label in rows}
    found: dict[str, list[Row]] = {row.label: [] for row in artefact.rows}
    for row in artefact.rows:
        for candidates in baselines(artefact, results) if row.role == "method" else ():
            alike = (other for other in candidates if _alike(row, other, results))
            other = next(alike, None)
            if other is not None and other is not row:
                found[row.label].append(other)
    return found


def baselines(artefact: Artefact, results: Results) -> list[list[Row]]:
    """The rows of the student, and those of `REFERENCE`; the first of each is the usual one."""
    students = [row for row in artefact.rows if row.role == "student"]
    taught = [
        row
        for row in artefact.rows
        if row.role == "method"
        and any(results.runs[path].method.name == REFERENCE for c in row.cells for path in c.runs)
    ]
    taught.sort(key=lambda row: row.panel is not None)  # a method itself, before its points
    return [students, taught]


def _alike(row: Row, other: Row, results: Results) -> bool:
    """Whether two rows have one recipe in all columns and, if both have a teacher, one teacher."""
    for own, theirs in zip(row.cells, other.cells, strict=True):
        if own.runs and theirs.runs:
            a, b = results.runs[own.runs[0]], results.runs[theirs.runs[0]]
            if a.recipe != b.recipe or (b.teacher is not None and a.teacher != b.teacher):
                return False
    return True


def _by_seed(values: Mapping[str, float], results: Results) -> dict[int, float]:
    return {results.runs[path].seed: value for path, value in values.items()}


def signs(artefact: Artefact, found: pd.DataFrame) -> dict[tuple[str, str], str]:
    """One sign of `SIGNS` for each row that a method differs from, by its own row and column."""
    roles: dict[str, str] = {row.label: row.role for row in artefact.rows}
    made: dict[tuple[str, str], str] = {}
    for test in found[found["p_holm"] < statistics.LEVEL].to_dict("records"):
        place = test["row"], test["column"]
        made[place] = made.get(place, "") + SIGNS[roles[test["against"]]]
    return made


def blocks(artefact: Artefact, found: pd.DataFrame) -> list[Block]:
    """One block per column of the artefact that has a test.

    It has two columns for each row that methods are tested against. If the experiment names these
    rows, it has one line per test.
    """
    made = []
    for column in artefact.columns:
        own = found[found["column"] == column]
        if own.empty:
            continue
        if artefact.against is None:
            columns, lines = _side_by_side(artefact, own)
        else:
            columns = ["difference", "p"]
            lines = [
                Line(label=f"{test['row']} − {test['against']}", entries=_entries(test))
                for test in own.to_dict("records")
            ]
        pair = f"{column}: " if len(artefact.columns) > 1 else ""
        heading = f"{pair}differences of {artefact.metrics[0]}"
        made.append(Block(heading=heading, lines=lines, columns=columns, apart=True))
    return made


def _side_by_side(artefact: Artefact, found: pd.DataFrame) -> tuple[list[str], list[Line]]:
    """Headings and lines of a block: a line per method, with its tests beside each other."""
    names = _references(artefact, found)
    roles: dict[str, str] = {row.label: row.role for row in artefact.rows}
    lines = []
    for label, own in found.groupby("row", sort=False):
        tests = {roles[test["against"]]: test for test in own.to_dict("records")}
        entries = [entry for role in names for entry in _entries(tests.get(role))]
        lines.append(Line(label=str(label), entries=entries))
    return [heading for name in names.values() for heading in (f"− {name}", "p")], lines


def _references(artefact: Artefact, found: pd.DataFrame) -> dict[str, str]:
    """How the rows are called that methods are tested against, by their role."""
    labels: dict[str, list[str]] = {}
    for row in artefact.rows:
        if row.label in set(found["against"]):
            labels.setdefault(row.role, []).append(row.label)
    return {
        role: labels[role][0] if len(labels[role]) == 1 else NAMES[role]
        for role in NAMES
        if role in labels
    }


def _entries(test: dict | None) -> list[Entry]:
    """The difference with its interval, bold if it is found after correction; and p."""
    if test is None:
        return [Entry(""), Entry("")]
    difference, low, high = (100 * test[key] for key in ("mean", "low", "high"))
    text = cells.minus(f"{difference:+.2f} [{low:.2f}, {high:.2f}]")
    p = "< 0.001" if test["p_holm"] < 0.001 else f"{test['p_holm']:.3f}"
    return [Entry(text, "best" if test["p_holm"] < statistics.LEVEL else ""), Entry(p)]


def written(found: pd.DataFrame) -> pd.DataFrame:
    """The tests as they are written to CSV: a hundredfold, but for p."""
    keys = ["mean", "std", "low", "high"]
    return found.assign(**{key: (100 * found[key]).round(4) for key in keys})


def unit(metric: str) -> str:
    """The unit of a difference of this metric."""
    return SELECTABLE[metric].unit.replace("%", "percentage points")


def note(artefact: Artefact, found: pd.DataFrame) -> str:
    """How to read the differences."""
    metric = artefact.metrics[0]
    what = f"{metric} of a method minus {metric} of the row named in the heading"
    if artefact.against is not None:
        what = f"{metric} of the first row minus {metric} of the second"
    return (
        f"Differences: {what}, in {unit(metric)}: the mean over seeds, and the 95 % confidence "
        f"interval of a paired t-test.{_several(artefact, found)} Bold: p is below "
        f"{statistics.LEVEL:g}. {_corrected(found)} The intervals are not corrected. {COVERED}"
    )


def note_of_signs(artefact: Artefact, found: pd.DataFrame) -> str:
    """What the signs mean."""
    metric, names = artefact.metrics[0], _references(artefact, found)
    found_in = [f"{SIGNS[role]}: {metric} differs from {name}" for role, name in names.items()]
    return (
        f"{'; '.join(found_in)}. That is, p of a paired t-test over seeds is below "
        f"{statistics.LEVEL:g}.{_several(artefact, found)} {_corrected(found)} {COVERED}"
    )


def _several(artefact: Artefact, found: pd.DataFrame) -> str:
    """Which row of the student and of MLD is meant, if methods have different ones."""
    if artefact.against is not None or found["against"].nunique() == len(
        _references(artefact, found)
    ):
        return ""
    return " A method is compared with the rows of the same recipe and the same teacher."


def _corrected(found: pd.DataFrame) -> str:
    tests = "the only test" if len(found) == 1 else f"all {len(found)} tests"
    return (
        f"p is corrected for {tests} of this table (Holm). In a table with other tests, the same "
        "difference can have another p. The CSV has p without this correction too."
    )
