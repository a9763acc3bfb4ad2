"""`mdkd compare A B`: the metrics of two runs or two methods, and the labels that gain and lose.

Two methods are compared over the seeds that both have: runs of one seed see the same batches. Two
runs are compared on resampled test images. Shape key: N images, C labels.
"""

import difflib
import json
import math
import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mdkd import neighbours, plugins
from mdkd.errors import UserError, nearest
from mdkd.metrics import METRICS, average_precisions
from mdkd.plan import Plan
from mdkd.reporting import statistics
from mdkd.reporting.cells import minus
from mdkd.reporting.status_listing import columns
from mdkd.reporting.tables import Table
from mdkd.results import Predictions, Results
from mdkd.runpath import DEFAULT, DISTILLED, SUPERVISED, RunPath

RESAMPLES = 1000  # of the test images
SHOWN = 5  # labels that gain, and labels that lose, in the text
NOT_CORRECTED = "No interval is corrected for the number of metrics and labels"
RUN = tuple(path.partition("/")[0] + "/" for path in (SUPERVISED, DISTILLED))


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A number of both, and first minus second; fractions. None: it is not known."""

    name: str  # of a metric or a label
    first: float
    second: float
    difference: float
    low: float | None = None  # of the 95 % confidence interval of the difference
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All differences of two runs, or of two methods on one pair of networks."""

    first: str
    second: str
    where: str  # the data set and the networks
    basis: str  # what the intervals are over
    seeds: list[int]  # that both have; of two runs, none
    metrics: list[Difference]
    labels: list[Difference]  # average precisions, the largest gain of the first one first


def is_run(name: str) -> bool:
    """Whether a text is meant as the path of a run, and not as a method.

    >>> is_run("distill/scenes/a--b/mld/default/seed0"), is_run("mdkd/bd3-0.5")
    (True, False)
    """
    return name.startswith(RUN)


def of_runs(first: str, second: str, results: Results) -> Comparison:
    """Two runs of one data set. The metrics but mAP have no interval.

    Raises:
        UserError: a run is not done, or the two have other labels or test images.
    """
    ours, theirs = (_predictions(path, results) for path in (first, second))
    for what, same in (
        ("labels", ours.classes == theirs.classes),
        ("test images", ours.ids == theirs.ids),
        ("targets", np.array_equal(ours.targets_NC, theirs.targets_NC)),
    ):
        if not same:
            raise UserError(
                f"{first}, {second}: their {what} differ; name two runs of one data set"
            )
    scores = [_scores(path, results) for path in (first, second)]
    metrics = [
        _resampled(name, ours, theirs, None)
        if name == "mAP"
        else Difference(name=name, first=a, second=b, difference=a - b)
        for name, (a, b) in _both(*(found["metrics"] for found in scores)).items()
    ]
    known = _both(*(found["average_precision"] for found in scores))
    labels = [_resampled(name, ours, theirs, ours.classes.index(name)) for name in known]
    networks = dict.fromkeys(_networks(path, results) for path in (first, second))
    return Comparison(
        first=first,
        second=second,
        where=f"{RunPath.parse(first).dataset}: {' and '.join(networks)}",
        basis=f"{RESAMPLES} resamples of the {len(ours.ids)} test images; other trainings of the "
        f"same settings would differ by more. {NOT_CORRECTED}",
        seeds=[],
        metrics=metrics,
        labels=sorted(labels, key=lambda d: -d.difference),
    )


def of_methods(plan: Plan, first: str, second: str, results: Results) -> list[Comparison]:
    """Two methods on every pair of networks where runs of both are done with one seed.

    Args:
        first: NAME or NAME/VARIANT; `vanilla` is the student without a teacher.

    Raises:
        UserError: the plan has no such method, or there is no such pair.
    """
    runs = {path: RunPath.parse(path) for path in plan.runs}
    names = {_method(run) for run in runs.values()}
    for name in (first, second):
        if _normal(name) not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = nearest(name, close or {run.method for run in runs.values()})
            raise UserError(f"{name}: not a method or run of the plan; {hint}; {plugins.HINT}")
    ours, theirs = (_cells(runs, _normal(name), results) for name in (first, second))
    found = []
    for ours_at, at in ours.items():
        for theirs_at, others in theirs.items():
            seeds = sorted(at.keys() & others.keys())
            if not seeds or not _meet(ours_at, theirs_at):
                continue
            taught = at if ours_at[1] else others
            pairs = [[_scores(cell[seed], results) for cell in (at, others)] for seed in seeds]
            labels = _paired(pairs, "average_precision")
            found.append(
                Comparison(
                    first=first,
                    second=second,
                    where=f"{ours_at[0]}: {_networks(taught[seeds[0]], results)}",
                    basis=f"paired t-test over these seeds; not over test images or teachers. "
                    f"{NOT_CORRECTED}"
                    if len(seeds) >= statistics.FEWEST_SEEDS
                    else f"none, because they need {statistics.FEWEST_SEEDS} seeds",
                    seeds=seeds,
                    metrics=_paired(pairs, "metrics"),
                    labels=sorted(labels, key=lambda d: -d.difference),
                )
            )
    if not found:
        what = "no pair of networks where runs of both are done with the same seed"
        raise UserError(f"{first}, {second}: {what}; `mdkd list runs` shows what is done")
    return found


def text(found: Comparison) -> str:
    """A table of the metrics, and the labels with the largest differences; percentages."""
    plural = "s" if len(found.seeds) > 1 else ""
    over = f", seed{plural} {', '.join(map(str, found.seeds))}" if found.seeds else ""
    rows = [["", "A", "B", "A − B", "95 %"]]
    for each in found.metrics:
        values = (f"{100 * each.first:.2f}", f"{100 * each.second:.2f}", _signed(each.difference))
        rows.append([f"  {each.name}", *values, _interval(each)])
    gains = [d for d in found.labels if d.difference > 0][:SHOWN]
    losses = [d for d in reversed(found.labels) if d.difference < 0][:SHOWN]
    lines = [
        f"{found.where}{over}",
        f"  A: {found.first}",
        f"  B: {found.second}",
        *columns(rows, ">"),
        *_named("gain", gains, sum(d.difference > 0 for d in found.labels)),
        *_named("lose", losses, sum(d.difference < 0 for d in found.labels)),
        f"  Intervals: {found.basis}.",
    ]
    return "\n".join(lines)


def facts(found: Comparison) -> dict[str, Any]:
    """The same as plain data; all labels are there, and numbers are fractions."""
    return asdict(found)


def facts_of_table(table: Table) -> dict[str, Any]:
    """The numbers of a table as its CSV file has them: percentages, empty ones are None."""
    cells = table.frame.astype({"state": str}).to_json(orient="records")
    return {"name": table.name, "title": table.title, "cells": json.loads(cells)}


def _networks(path: str, results: Results) -> str:
    """The teacher and the student of a run, or how its only network was trained."""
    run = RunPath.parse(path)
    if run.teacher:
        return f"{run.teacher} → {run.arch}"
    elsewhere = results.runs[path].checkpoint
    return f"{run.arch} ({'trained elsewhere' if elsewhere else 'without a teacher'})"


def _named(verb: str, shown: list[Difference], count: int) -> list[str]:
    if not shown:
        return []
    names = columns([[f"    {d.name}", _signed(d.difference), _interval(d)] for d in shown], ">")
    some = f", the {len(shown)} largest" if count > len(shown) else ""
    who = f"1 label {verb}s" if count == 1 else f"{count} labels {verb}"
    return [f"  {who} average precision with A{some}:", *names]


def _signed(value: float) -> str:
    return minus(f"{100 * value:+.2f}")


def _interval(each: Difference) -> str:
    if each.low is None or each.high is None:
        return ""
    return minus(f"[{100 * each.low:.2f}, {100 * each.high:.2f}]")


def _predictions(path: str, results: Results) -> Predictions:
    found = results.predictions(path)
    if found is None:
        fix = neighbours.hint(results.runs[path], results)
        fix = fix or f"train it first: mdkd train {path}"
        raise UserError(f"{path}: {results.state(path)}; {fix}")
    return found


def _scores(path: str, results: Results) -> dict[str, Any]:
    found = results.scores(path)
    assert found is not None  # only runs that are done are compared
    return found


def _both(first: dict[str, float], second: dict[str, float]) -> dict[str, tuple[float, float]]:
    """The numbers that both have; metrics in the order of `METRICS`."""
    names = sorted(first.keys() & second.keys(), key=[*METRICS, *first].index)
    return {name: (first[name], second[name]) for name in names}


def _resampled(name: str, ours: Predictions, theirs: Predictions, label: int | None) -> Difference:
    """The difference of average precisions, of one label or of the mean over all."""
    chosen = slice(None) if label is None else slice(label, label + 1)
    first, second = (p.scores_NC[:, chosen] for p in (ours, theirs))
    ignored_NC = None if ours.ignored_NC is None else ours.ignored_NC[:, chosen]
    targets_NC = ours.targets_NC[:, chosen]
    own, other = (
        float(np.nanmean(average_precisions(scores_NC, targets_NC, ignored_NC)))
        for scores_NC in (first, second)
    )
    found = statistics.paired_bootstrap([first], [second], targets_NC, RESAMPLES, ignored_NC)
    interval = {"low": found.low, "high": found.high}
    return Difference(name=name, first=own, second=other, difference=own - other, **interval)


def _paired(pairs: list[list[dict[str, Any]]], part: str) -> list[Difference]:
    """The mean difference of every number that all runs have, with its paired interval."""
    names = set.intersection(*(set(scores[part]) for pair in pairs for scores in pair))
    found = []
    for name in sorted(names, key=[*METRICS, *pairs[0][0][part]].index):
        first_S, second_S = (np.array([pair[i][part][name] for pair in pairs]) for i in (0, 1))
        mean, half = (float(x) for x in statistics.paired_interval(first_S, second_S))
        low, high = (None, None) if math.isnan(half) else (mean - half, mean + half)
        found.append(
            Difference(
                name=name,
                first=float(first_S.mean()),
                second=float(second_S.mean()),
                difference=mean,
                low=low,
                high=high,
            )
        )
    return found


Place = tuple[str, str | None, str]  # data set, teacher, student


def _cells(runs: dict[str, RunPath], method: str, results: Results) -> dict[Place, dict[int, str]]:
    """The paths of a method's runs that are done, by place and seed."""
    found: dict[Place, dict[int, str]] = {}
    for path, run in runs.items():
        if _method(run) == method and results.state(path) == "done":
            found.setdefault((run.dataset, run.teacher, run.arch), {})[run.seed] = path
    return found


def _meet(first: Place, second: Place) -> bool:
    """Whether two places are one; a run without a teacher is at the place of every teacher."""
    same = first[0] == second[0] and first[2] == second[2]
    return same and (first[1] == second[1] or None in (first[1], second[1]))


def _method(run: RunPath) -> str:
    return run.method if run.variant == DEFAULT else f"{run.method}/{run.variant}"


def _normal(name: str) -> str:
    """A method as `_method` writes it.

    >>> _normal("mld/default")
    'mld'
    """
    return re.sub(f"/{DEFAULT}$", "", name)
