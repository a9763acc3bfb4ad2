"""Dependencies along label sequences (Tables 7, 8 of the paper), and how far from the teacher's."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from mdkd.reporting import dependencies as predicted
from mdkd.reporting import summary as report
from mdkd.plan import Artefact
from mdkd.reporting.dependencies import Key
from mdkd.results import Predictions, Results
from mdkd.reporting.tables import Block, Line, Table

NAMES = ("sequence", "quantity")
# Psi_n over the test set; |Psi_n - teacher's|; mean over images of |Phi_n - teacher's|.
QUANTITIES = ("psi", "distance", "instance_distance")


def table(artefact: Artefact, results: Results) -> Table:
    """Two blocks per pair: the dependencies, and how far they are from the teacher's."""
    frame = summary(artefact, results)
    sequences: list[list[str]] = artefact.options["sequences"]
    cells = frame.set_index(["row", "column", *NAMES]).to_dict("index")
    blocks = []
    for column in artefact.columns:
        pair = f"{column}: " if len(artefact.columns) > 1 else ""
        for quantity, heading in (
            ("psi", f"{pair}dependency Ψ over the test set × 100"),
            ("distance", f"{pair}distance to the teacher's Ψ × 100"),
        ):
            rows = [r for r in artefact.rows if quantity == "psi" or r.role != "teacher"]
            lines = []
            for i, row in enumerate(rows):
                own = [cells[row.label, column, _name(s), quantity] for s in sequences]
                rule = i > 0 and row.role == "method" and rows[i - 1].role != "method"
                entries = [report.entry(cell) for cell in own]
                lines.append(Line(label=row.label, entries=entries, rule=rule))
            blocks.append(Block(heading=heading, lines=lines))
    short = abbreviations(label for sequence in sequences for label in sequence)
    return Table(
        name=artefact.name,
        title=report.title(artefact),
        headings=["-".join(short[label] for label in sequence) for sequence in sequences],
        blocks=blocks,
        notes=_notes(artefact, results, frame, short),
        frame=predicted.hundredfold(frame),
    )


def summary(artefact: Artefact, results: Results) -> pd.DataFrame:
    """`predicted.over_seeds` of all columns, by sequence and quantity, with rank (1 is nearest)."""
    frames = []
    for i in range(len(artefact.columns)):
        teacher = predicted.teacher(artefact, results, i)
        anyone = predicted.first(artefact, results, i)
        keys: dict[Key, str | None] = {}
        for sequence in artefact.options["sequences"]:
            lacking = [k for k in sequence if anyone and k not in anyone.classes]
            reason = f"the data set lacks {', '.join(lacking)}" if lacking else None
            keys |= {(_name(sequence), quantity): reason for quantity in QUANTITIES}
        possible = [s for s in artefact.options["sequences"] if keys[_name(s), "psi"] is None]

        def measure(said: Predictions, teacher=teacher, possible=possible) -> dict[Key, float]:
            values: dict[Key, float] = {}
            for sequence in possible:
                # images' own dependencies along the sequence, and the teacher's
                own_N = predicted.along(_columns(said, sequence))
                values[_name(sequence), "psi"] = own_N.mean()
                if teacher is not None:
                    other_N = predicted.along(_columns(teacher, sequence))
                    values[_name(sequence), "distance"] = abs(own_N.mean() - other_N.mean())
                    values[_name(sequence), "instance_distance"] = abs(own_N - other_N).mean()
            return values

        frames.append(predicted.over_seeds(artefact, results, i, NAMES, keys, measure))
    frame = pd.concat(frames, ignore_index=True)
    frame["rank"] = predicted.rank(frame[frame["quantity"] != "psi"], NAMES)
    return frame


def abbreviations(names: Iterable[str]) -> dict[str, str]:
    """Initials for labels of several words, as the paper writes them, if they name one label only.

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


def _columns(said: Predictions, sequence: list[str]) -> Any:
    return said.scores_NC[:, [said.classes.index(label) for label in sequence]]


def _notes(
    artefact: Artefact, results: Results, frame: pd.DataFrame, short: dict[str, str]
) -> list[str]:
    full = "; ".join(f"{text}: {name}" for name, text in short.items() if text != name)
    counts = []
    for i, column in enumerate(artefact.columns):
        said = predicted.first(artefact, results, i)
        where = f"{column}: " if len(artefact.columns) > 1 else ""
        counts += [f"{where}{len(said.ids)} images"] if said else []
    size = f" ({'; '.join(counts)})" if counts else ""
    lacking = frame[frame["state"].str.startswith("n/a: the data set")]
    reasons = lacking[["column", "sequence", "state"]].drop_duplicates()
    return [
        "Ψ: the mean over neighbours (k, l) of a sequence, and over the whole test set as one "
        f"batch{size}, of the squared difference of their probabilities; lower means more alike.",
        "Distance: of a run's Ψ to the teacher's, absolute, then averaged over seeds; the least "
        "is bold, the second underlined. The CSV has also the distance image by image.",
        *([f"{full}."] if full else []),
        *(f"{c}: {s}: {state}." for c, s, state in reasons.itertuples(index=False)),
        *predicted.notes(artefact, results),
    ]
