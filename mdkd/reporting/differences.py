"""Do methods differ over the seeds? Each against the student and against MLD, by paired t-tests.

Runs of the same seed see the same batches and start from the same weights, so they are pairs.
"""

from collections.abc import Mapping

import pandas as pd

from mdkd.agreement import SELECTABLE
from mdkd.artefacts import Artefact, Row
from mdkd.reporting import cells, statistics
from mdkd.reporting.tables import Block, Entry, Line
from mdkd.results import Results, State

FEWEST_PAIRS = 5  # of runs: with fewer, an interval is too wide to say anything
SIGNS = ("*", "‡")  # of a difference from the student and from that of `REFERENCE`
REFERENCE = "mld"  # distillation of single labels, which is what a method adds to
COVERED = (
    "The tests cover the seeds of the students, and NOT the choice of the images or the training "
    "of the teacher."
)
COLUMNS = ["row", "role", "column", "metric", "against", "mean", "std", "runs", "planned", "state"]
RESULTS = ["low", "high", "p"]


def tests(artefact: Artefact, frame: pd.DataFrame, results: Results) -> pd.DataFrame:
    """Every test of the first metric, from a frame of `summary.of_metrics`; empty if there is none.

    A test needs `FEWEST_PAIRS` seeds of which both runs are done. Columns: row, role, column,
    metric, against (the label of the other row), mean and std (of the differences, fractions), runs
    (pairs), planned, state, low and high (of the interval of 95 %), p, and p_holm, which is
    corrected for the number of all these tests.
    """
    metric = artefact.metrics[0]
    values = frame[frame["metric"] == metric].set_index(["row", "column"])["values"]
    lines = []
    for column in artefact.columns:
        for row in artefact.rows:
            own = _by_seed(values[row.label, column], results)
            for other in references(artefact, results) if row.role == "method" else []:
                theirs = _by_seed(values[other.label, column], results)
                seeds = sorted(own.keys() & theirs.keys())
                if row is other or len(seeds) < FEWEST_PAIRS:
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


def references(artefact: Artefact, results: Results) -> list[Row]:
    """The rows that the methods are tested against: the student's and that of `REFERENCE`."""
    students = [row for row in artefact.rows if row.role == "student"]
    taught = [
        row
        for row in artefact.rows
        if row.role == "method"
        and any(results.runs[path].method.name == REFERENCE for c in row.cells for path in c.runs)
    ]
    return students[:1] + taught[:1]


def _by_seed(values: Mapping[str, float], results: Results) -> dict[int, float]:
    return {results.runs[path].seed: value for path, value in values.items()}


def signs(artefact: Artefact, found: pd.DataFrame, results: Results) -> dict[tuple[str, str], str]:
    """One sign of `SIGNS` for each row that a method differs from, by its own row and column."""
    sign_of = dict(zip((row.label for row in references(artefact, results)), SIGNS, strict=False))
    made: dict[tuple[str, str], str] = {}
    for test in found[found["p_holm"] < statistics.LEVEL].to_dict("records"):
        place = test["row"], test["column"]
        made[place] = made.get(place, "") + sign_of[test["against"]]
    return made


def blocks(artefact: Artefact, found: pd.DataFrame, results: Results) -> list[Block]:
    """One block per column of the artefact that has a test."""
    others = [row.label for row in references(artefact, results)]
    headings = [heading for label in others for heading in (f"− {label}", "p")]
    numbers = found.set_index(["row", "column", "against"]).to_dict("index")
    made = []
    for column in artefact.columns:
        if column not in set(found["column"]):
            continue
        lines = []
        for row in artefact.rows:
            tested = [numbers.get((row.label, column, label)) for label in others]
            if any(tested):
                entries = [entry for test in tested for entry in _entries(test)]
                lines.append(Line(label=row.label, entries=entries))
        pair = f"{column}: " if len(artefact.columns) > 1 else ""
        heading = f"{pair}differences of {artefact.metrics[0]}"
        made.append(Block(heading=heading, lines=lines, columns=headings, apart=True))
    return made


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


def note(artefact: Artefact, found: pd.DataFrame) -> str:
    """How to read the differences."""
    metric = artefact.metrics[0]
    unit = SELECTABLE[metric].unit.replace("%", "percentage points")
    return (
        f"Differences: {metric} of a method minus that of the row named, in {unit}: the mean over "
        "seeds, and the interval of 95 % of a paired t-test. p: of this test, corrected for all "
        f"{len(found)} tests of the table (Holm); bold if it is below {statistics.LEVEL:g}. The "
        f"intervals are not corrected. {COVERED}"
    )


def note_of_signs(artefact: Artefact, found: pd.DataFrame, results: Results) -> str:
    """What the signs mean."""
    others = zip(references(artefact, results), SIGNS, strict=False)
    meant = ", ".join(f"{sign} from {row.label}" for row, sign in others)
    return (
        f"Signs: {artefact.metrics[0]} differs {meant}. By a paired t-test over seeds, p is below "
        f"{statistics.LEVEL:g} after correction for all {len(found)} tests of the table (Holm). "
        f"{COVERED}"
    )
