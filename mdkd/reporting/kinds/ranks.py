"""Which methods differ: ranks over all cells with their tests, and resampled test images.

Shape key: K cells (a pair of networks on a data set), M methods.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mdkd.artefacts import Artefact, Row
from mdkd.kinds import Ranks
from mdkd.reporting import cells, notes, plots, statistics, summary
from mdkd.reporting.statistics import Bootstrap
from mdkd.reporting.tables import Block, Entry, Line, Table
from mdkd.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEWEST_CELLS = 6  # for Friedman's and Nemenyi's distributions
FEWEST_METHODS = 3
FEWEST_TO_MARK = 2  # cells: a mean over one cell is no mean
RESULT_KEYS = ["quantity", "column", "method", "against", "value", "low", "high", "state"]


@dataclass(frozen=True)
class Ranking:
    """The methods' mAP in every cell, and their ranks in the complete ones."""

    cells: pd.DataFrame  # of `summary.of_metrics`, by column and row
    methods: list[str]  # that can run in every cell
    complete: list[str]  # columns in which all methods have a run
    means_KM: np.ndarray  # fractions, of the complete columns
    ranks_KM: np.ndarray

    @property
    def mean_ranks_M(self) -> np.ndarray:
        """The mean over the complete cells, of which there must be one."""
        return self.ranks_KM.mean(axis=0)

    @property
    def untested(self) -> str | None:
        """Why there is no test, or None."""
        if len(self.complete) < FEWEST_CELLS:
            return "n/a: fewer than six cells"
        return "n/a: fewer than three methods" if len(self.methods) < FEWEST_METHODS else None

    @property
    def critical_difference(self) -> float:
        return statistics.critical_difference(len(self.methods), len(self.complete))


def rank(artefact: Artefact, results: Results) -> Ranking:
    """Rank the methods by their mean mAP over seeds; the teacher has no rank."""
    frame = summary.of_metrics(replace(artefact, metrics=["mAP"]), results)
    by_cell = frame.set_index(["column", "row"])
    methods = [row.label for row in _methods(artefact)]
    means_KM = np.array([[by_cell.loc[(c, m), "mean"] for m in methods] for c in artefact.columns])
    complete_K = np.isfinite(means_KM).all(axis=1)
    complete = [c for c, there in zip(artefact.columns, complete_K, strict=True) if there]
    means_KM = means_KM[complete_K]
    return Ranking(by_cell, methods, complete, means_KM, statistics.ranks(means_KM))


def table(artefact: Artefact, results: Results) -> Table:
    """A line of ranks per cell with its resampled difference, and the mean ranks."""
    ranking = rank(artefact, results)
    resamples = Ranks(**artefact.options).resamples
    differences = {c: bootstrap(artefact, c, ranking, results, resamples) for c in artefact.columns}
    lines = []
    for column in artefact.columns:
        compared = _difference_entries(differences[column], resamples)
        lines.append(Line(label=column, entries=[*_rank_entries(ranking, column), *compared]))
    means = [*_mean_rank_entries(ranking), Entry(""), Entry("")]
    lines.append(Line(label="mean rank", entries=means, rule=True))
    return Table(
        name=artefact.name,
        title=artefact.title,
        headings=[*ranking.methods, "best − second", "share"],
        blocks=[Block(heading=None, lines=lines)],
        notes=_notes(artefact, results, ranking, resamples),
        frame=_frame(artefact, ranking, differences),
    )


@dataclass(frozen=True)
class Comparison:
    """The two best methods of a cell by mean mAP, on resampled test images."""

    best: str
    second: str
    result: Bootstrap


def bootstrap(
    artefact: Artefact, column: str, ranking: Ranking, results: Results, resamples: int
) -> Comparison | None:
    """The best method of a cell against the second; None unless two methods have a run there."""
    means = ranking.cells.loc[column].loc[ranking.methods, "mean"].dropna()
    if len(means) < 2:
        return None
    best, second = means.sort_values(ascending=False, kind="stable").index[:2]
    i = artefact.columns.index(column)
    runs_of = {row.label: row.cells[i].runs for row in artefact.rows}
    found = [
        [(path, p) for path in runs_of[name] if (p := results.predictions(path))]
        for name in (best, second)
    ]
    test = found[0][0][1]
    for path, predictions in found[0] + found[1]:
        summary.check_images(path, predictions, test.ids)
    first, other = ([predictions.scores_NC for _, predictions in runs] for runs in found)
    result = statistics.paired_bootstrap(first, other, test.targets_NC, resamples, test.ignored_NC)
    return Comparison(best, second, result)


def _methods(artefact: Artefact) -> list[Row]:
    """All rows except the teacher and the methods that cannot run in some cell."""
    methods = [row for row in artefact.rows if row.role != "teacher"]
    return [row for row in methods if not any(cell.unavailable for cell in row.cells)]


def _rank_entries(ranking: Ranking, column: str) -> list[Entry]:
    """Ranks of the methods that have a run in a cell, in parentheses unless all have one."""
    own = ranking.cells.loc[column].loc[ranking.methods]
    there_M = own["mean"].notna().to_numpy()
    ranks_M = np.full(len(own), math.nan)
    ranks_M[there_M] = statistics.ranks(own["mean"].to_numpy()[None, there_M])[0]
    form = "{:g}" if column in ranking.complete else "({:g})"
    entries = []
    for value, state in zip(ranks_M, own["state"], strict=True):
        number = form.format(value) + cells.dagger(state)
        entries.append(Entry(cells.absent(state) if math.isnan(value) else number))
    return entries


def _mean_rank_entries(ranking: Ranking) -> list[Entry]:
    """The lowest mean rank is marked as best, the next as second, unless there is only one cell."""
    if not ranking.complete:
        return [Entry("n/a")] * len(ranking.methods)
    printed_M = ranking.mean_ranks_M.round(2)
    if len(ranking.complete) < FEWEST_TO_MARK:
        return [Entry(f"{value:.2f}") for value in printed_M]
    return [Entry(f"{v:.2f}", cells.mark(1 + (printed_M < v).sum())) for v in printed_M]


def _difference_entries(comparison: Comparison | None, resamples: int) -> list[Entry]:
    """Percentage points with their interval, and the share of resamples at 0 or below.

    A share that is smaller than the resamples or three decimals can show is printed as ``< bound``.
    """
    if comparison is None:
        return [Entry("n/a"), Entry("n/a")]
    difference, low, high, not_above = comparison.result
    points = cells.minus(f"{100 * difference:.2f} [{100 * low:.2f}, {100 * high:.2f}]")
    least = max(1 / resamples, 0.001)
    share = f"< {least:.3f}" if not_above < least else f"{not_above:.3f}"
    return [Entry(points), Entry(share)]


def _notes(artefact: Artefact, results: Results, ranking: Ranking, resamples: int) -> list[str]:
    """What the ranks and differences mean, and what they leave out."""
    marks = " The best mean rank is bold, the second underlined."
    lines = [
        *notes.of_runs(artefact, results),
        "Ranks: the methods sorted by their mean mAP over seeds. 1 is best, and ties share their "
        "mean rank. The teacher has no rank." + marks * (len(ranking.complete) >= FEWEST_TO_MARK),
    ]
    left_out = [row.label for row in artefact.rows if any(c.unavailable for c in row.cells)]
    if left_out:
        lines.append(f"Left out, because they cannot run in every cell: {', '.join(left_out)}.")
    if len(ranking.complete) < len(artefact.columns):
        lines.append(
            f"{len(ranking.complete)} of {len(artefact.columns)} cells are complete. In the others "
            "some method has no run; their ranks are in parentheses and do not count."
        )
    if ranking.untested:
        lines.append(f"Friedman's test, critical difference: {ranking.untested}.")
    else:
        chi2, p = statistics.friedman(ranking.means_KM)
        lines.append(
            f"Friedman's test: chi square {chi2:.2f}, p ≈ {p:.2g}. This p is approximate: it is "
            "exact for very many cells only. Nemenyi's critical difference of two mean ranks at "
            f"5 %: {ranking.critical_difference:.2f}. Both assume independent cells; cells that "
            "share data or networks are not fully independent. The CSV has p-values of Wilcoxon's "
            "test of the best method against each other one, corrected for their number (Holm). "
            "They are too small, because the best method is chosen on the same data."
        )
    return [
        *lines,
        "best − second: difference of the two best methods' mAP in percentage points, averaged "
        f"over seeds. The interval covers 95 % of {resamples} resamples of the test images. Share: "
        "the share of the resamples in which the difference is 0 or less. Both cover the choice of "
        "the test images and NOT the seeds of the trainings. They favour the best method, because "
        "it is chosen on the same images.",
        *artefact.notes,
    ]


def _frame(
    artefact: Artefact, ranking: Ranking, differences: dict[str, Comparison | None]
) -> pd.DataFrame:
    """Every number of the table and its notes; mAP and differences in percent.

    Columns: quantity, column, method, against, value, low, high, state.
    """
    rows: list[dict[str, Any]] = []

    def add(quantity: str, value: float, **keys: Any) -> None:
        rows.append({"quantity": quantity, "value": round(value, 6), **keys})

    for column in artefact.columns:
        for m, method in enumerate(ranking.methods):
            cell = ranking.cells.loc[(column, method)]
            keys = {"column": column, "method": method, "state": cell["state"]}
            add("mAP", 100 * cell["mean"], **keys)
            if column in ranking.complete:
                add("rank", ranking.ranks_KM[ranking.complete.index(column), m], **keys)
    if ranking.complete:
        for method, value in zip(ranking.methods, ranking.mean_ranks_M, strict=True):
            add("mean rank", value, method=method)
    if not ranking.untested:
        for name, value in zip(
            ("chi square", "p"), statistics.friedman(ranking.means_KM), strict=True
        ):
            add(f"Friedman {name}", value)
        add("critical difference", ranking.critical_difference)
        best, others, p_T = against_best(ranking)
        for method, p in zip(others, p_T, strict=True):
            add("Wilcoxon p (Holm)", p, method=best, against=method)
    for column, comparison in differences.items():
        if comparison is not None:
            keys = {"column": column, "method": comparison.best, "against": comparison.second}
            difference, low, high, not_above = comparison.result
            limits = {"low": round(100 * low, 6), "high": round(100 * high, 6)}
            add("difference", 100 * difference, **keys, **limits)
            add("share not above 0", not_above, **keys)
    return pd.DataFrame(rows, columns=RESULT_KEYS)


def against_best(ranking: Ranking) -> tuple[str, list[str], list[float]]:
    """The method of the lowest mean rank, all others, and p-values of Wilcoxon's test by Holm."""
    b = int(ranking.mean_ranks_M.argmin())
    others = [m for m in range(len(ranking.methods)) if m != b]
    values_MK = ranking.means_KM.T
    p_T = statistics.holm([statistics.wilcoxon(values_MK[b], values_MK[m]) for m in others])
    return ranking.methods[b], [ranking.methods[m] for m in others], p_T


def figure(artefact: Artefact, results: Results) -> Figure:
    """Critical-difference diagram (Demsar, JMLR 2006): bars join methods that do not differ."""
    ranking = rank(artefact, results)
    count = len(ranking.methods)
    if ranking.untested:
        figure, axis = plots.subplots(figsize=(6.5, 1.2))
        there = f"{len(ranking.complete)} of {len(artefact.columns)} cells are complete"
        axis.text(0.5, 0.5, f"{ranking.untested} ({there})", ha="center", va="center")
        axis.set_axis_off()
        plots.caption(figure, artefact, "mean ranks are in the table")
        return figure
    order = np.argsort(ranking.mean_ranks_M, kind="stable")
    ranks_M, methods = ranking.mean_ranks_M[order], [ranking.methods[m] for m in order]
    groups = statistics.cliques(ranks_M, ranking.critical_difference)
    half = -(-count // 2)
    figure, axis = plots.subplots(figsize=(6.5, 1.3 + 0.15 * len(groups) + 0.25 * half))
    axis.hlines(0, 1, count, color="black", linewidth=1)
    for tick in range(1, count + 1):
        axis.vlines(tick, 0, 0.25, color="black", linewidth=1)
        axis.text(tick, 0.35, str(tick), ha="center", va="bottom", fontsize=8)
    for level, (first, last) in enumerate(groups, 1):
        ends = ranks_M[first] - 0.04, ranks_M[last] + 0.04
        axis.hlines(-0.6 * level, *ends, color=plots.COLORS[0], linewidth=3)
    for i, (method, value) in enumerate(zip(methods, ranks_M, strict=True)):
        left = i < half
        y = -0.6 * len(groups) - 1 - (i if left else count - 1 - i)
        end = 0.8 if left else count + 0.2
        axis.plot([value, value, end], [0, y, y], color="black", linewidth=0.8)
        side: Any = {"x": end - 0.05, "ha": "right"} if left else {"x": end + 0.05, "ha": "left"}
        axis.text(y=y, s=f"{method} ({value:.2f})", va="center", fontsize=8, **side)
    critical = ranking.critical_difference
    axis.plot([1, 1 + critical], [1.9, 1.9], "|-", color="black", linewidth=1)
    axis.text(1 + critical / 2, 2.1, f"CD = {critical:.2f}", ha="center", va="bottom", fontsize=8)
    axis.set_axis_off()
    legend = (
        f"mean ranks over {len(ranking.complete)} cells; bars join methods that do not differ (5 %)"
    )
    plots.caption(figure, artefact, legend)
    return figure
