"""Dependencies along label sequences (Tables 7, 8 of the paper), and how far from the teacher's."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from mdkd.artefacts import Artefact
from mdkd.reporting import cells, dependencies, notes, summary
from mdkd.reporting.summary import Key, Measure, Values
from mdkd.reporting.tables import Block, Entry, Table
from mdkd.results import Predictions, Results

NAMES = ("sequence", "quantity")
# Psi_n over the test set; |Psi_n - teacher's|; mean over images of |Phi_n - teacher's|.
QUANTITIES = ("psi", "distance", "instance_distance")


def table(artefact: Artefact, results: Results) -> Table:
    """Two blocks per pair: the dependencies, and how far they are from the teacher's."""
    frame = along_sequences(artefact, results)
    sequences: list[list[str]] = artefact.options["sequences"]
    numbers = frame.set_index(["row", "column", *NAMES]).to_dict("index")
    blocks = []
    for column in artefact.columns:
        pair = f"{column}: " if len(artefact.columns) > 1 else ""
        for quantity, heading in (
            ("psi", f"{pair}dependency Ψ over the test set × 100"),
            ("distance", f"{pair}distance to the teacher's Ψ × 100"),
        ):
            rows = [
                (r.label, r.role) for r in artefact.rows if quantity == "psi" or r.role != "teacher"
            ]

            def entries(row: str, column=column, quantity=quantity) -> list[Entry]:
                keys = [(row, column, _name(sequence), quantity) for sequence in sequences]
                return [cells.entry(numbers[key]) for key in keys]

            lines = cells.lines(rows, entries)
            blocks.append(Block(heading=heading, lines=lines))
    short = abbreviations(label for sequence in sequences for label in sequence)
    return Table(
        name=artefact.name,
        title=cells.title(artefact),
        headings=["-".join(short[label] for label in sequence) for sequence in sequences],
        blocks=blocks,
        notes=_notes(artefact, results, frame, short),
        frame=summary.hundredfold(frame),
    )


def along_sequences(artefact: Artefact, results: Results) -> pd.DataFrame:
    """`summary.over_seeds` by sequence and quantity, with rank (1 is nearest to the teacher)."""
    measures = [_measure(artefact, i, results) for i in range(len(artefact.columns))]
    frame = summary.over_seeds(artefact, results, NAMES, measures)
    compared = frame[frame["quantity"] != "psi"]
    frame["rank"] = summary.rank(compared, ["column", *NAMES], lowest_is_best=True)
    return frame


def _measure(artefact: Artefact, column: int, results: Results) -> Measure:
    """All quantities of all sequences in one column."""
    teacher = summary.teacher_predictions(artefact, column, results)
    test = summary.any_predictions(artefact, column, results)
    keys: dict[Key, str | None] = {}
    for sequence in artefact.options["sequences"]:
        lacking = [label for label in sequence if test and label not in test.classes]
        reason = f"the data set lacks {', '.join(lacking)}" if lacking else None
        keys |= {(_name(sequence), quantity): reason for quantity in QUANTITIES}
    possible = [s for s in artefact.options["sequences"] if keys[_name(s), "psi"] is None]

    def distances(path: str) -> Values | None:
        predictions = results.predictions(path)
        if predictions is None:
            return None
        values: dict[Key, float] = {}
        for sequence in possible:
            own_N = dependencies.along(_columns(predictions, sequence))
            values[_name(sequence), "psi"] = own_N.mean()
            if teacher is not None:
                other_N = dependencies.along(_columns(teacher, sequence))
                values[_name(sequence), "distance"] = abs(own_N.mean() - other_N.mean())
                values[_name(sequence), "instance_distance"] = abs(own_N - other_N).mean()
        return values

    return Measure(keys, distances)


def abbreviations(names: Iterable[str]) -> dict[str, str]:
    """Initials for labels of several words, as the paper writes them, if they are unambiguous.

    >>> abbreviations(["dog", "parking meter", "traffic light", "tall lamp"])["parking meter"]
    'p. m.'
    """
    distinct = list(dict.fromkeys(names))
    short = {
        name: " ".join(f"{word[0]}." for word in name.split()) if " " in name else name
        for name in distinct
    }
    texts = list(short.values())
    return {name: text if texts.count(text) == 1 else name for name, text in short.items()}


def _name(sequence: list[str]) -> str:
    return "-".join(sequence)


def _columns(predictions: Predictions, sequence: list[str]) -> np.ndarray:
    return predictions.scores_NC[:, [predictions.classes.index(label) for label in sequence]]


def _notes(
    artefact: Artefact, results: Results, frame: pd.DataFrame, short: dict[str, str]
) -> list[str]:
    full = "; ".join(f"{text}: {name}" for name, text in short.items() if text != name)
    counts = []
    for i, column in enumerate(artefact.columns):
        test = summary.any_predictions(artefact, i, results)
        where = f"{column}: " if len(artefact.columns) > 1 else ""
        counts += [f"{where}{len(test.ids)} images"] if test else []
    size = f" ({'; '.join(counts)})" if counts else ""
    lacking = frame[[state.reason.startswith("the data set") for state in frame["state"]]]
    reasons = lacking[["column", "sequence", "state"]].drop_duplicates()
    return [
        "Ψ: the squared difference of two labels' probabilities, averaged over the neighbours (k, "
        f"l) of a sequence and over the test set as one batch{size}. Lower means more alike.",
        "Distance: the absolute difference of a run's Ψ to the teacher's, averaged over seeds. The "
        "smallest is bold, the second underlined. The CSV also has the distance image by image.",
        *([f"{full}."] if full else []),
        *(f"{c}: {s}: {state}." for c, s, state in reasons.itertuples(index=False)),
        *notes.of_dependencies(artefact, results),
    ]
