"""How numbers of a frame are printed in a table: text, marks, gaps, lines and blocks."""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from mdkd.artefacts import Artefact
from mdkd.reporting.tables import GAP, Block, Entry, Line, Mark, sentence
from mdkd.results import State

PARTIAL = "†"  # some seeds have not been run yet


def entry(cell: dict[str, Any]) -> Entry:
    """``mean ± std`` of one row of a frame in percent, or why there is no number."""
    if not cell["runs"]:
        return Entry(absent(cell["state"]))
    spread = f" ± {100 * cell['std']:.2f}" if cell["runs"] > 1 else ""
    text = f"{percent(cell['mean'])}{spread}{dagger(cell['state'])}"
    return Entry(text, mark(cell["rank"]))


def mark(rank: float) -> Mark:
    """How the number with this rank is marked."""
    return "best" if rank == 1 else "second" if rank == 2 else ""


def dagger(state: State) -> str:
    """What is printed behind a number if some of its seeds have not been run yet."""
    return PARTIAL if state.name == "partial" else ""


def absent(state: State) -> str:
    """What is printed in place of a number."""
    return state.name if state.name in ("n/a", "failed") else GAP


def percent(value: float) -> str:
    """A fraction as a percentage of two decimals, empty for NaN."""
    return "" if math.isnan(value) else f"{100 * value:.2f}"


def minus(text: str) -> str:
    """Printed numbers with a minus sign in place of the hyphen. A zero has no sign.

    >>> minus("-1.50 [-2.00, -0.00]"), minus("+0.00"), minus("-10.00")
    ('−1.50 [−2.00, 0.00]', '0.00', '−10.00')
    """
    return re.sub(r"[-+](0(\.0+)?)(?![\d.])", r"\1", text).replace("-", "−")


def lines(rows: Iterable[tuple[str, str]], entries: Callable[[str], list[Entry]]) -> list[Line]:
    """One line per row, given as label and role; a rule is drawn above the first method."""
    found: list[Line] = []
    before = None
    for label, role in rows:
        rule = role == "method" and before not in (None, "method")
        found.append(Line(label=label, entries=entries(label), rule=rule))
        before = role
    return found


def blocks(artefact: Artefact, entries: Callable[[str, str], list[Entry]]) -> list[Block]:
    """One block per column, one line per row, filled by ``entries(row, column)``."""
    rows = [(row.label, row.role) for row in artefact.rows]
    return [
        Block(
            heading=column if len(artefact.columns) > 1 else None,
            lines=lines(rows, lambda row, column=column: entries(row, column)),  # type: ignore[misc]
        )
        for column in artefact.columns
    ]


def title(artefact: Artefact) -> str:
    """The title of a printed table. A single pair is named here, several pairs in headings."""
    text = artefact.title
    if artefact.split == "val":
        text = f"{text.removesuffix('.')} (validation images)"
    if len(artefact.columns) > 1:
        return text
    return f"{sentence(text)} {artefact.columns[0]}"
