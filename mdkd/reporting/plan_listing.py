"""`mdkd plan`: what a plan costs, as text for a terminal."""

import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

from mdkd import keys
from mdkd.costs import ORIGINS, Cost, Estimator, Origin, cells, costs, needed, stores_of, total
from mdkd.errors import UserError, nearest
from mdkd.logits import LEAST_RUNS
from mdkd.plan import Plan
from mdkd.rates import read_rates
from mdkd.reporting import plugin_code
from mdkd.results import Results

RATES = Path("config/rates.yaml")
TIMES = {"s": 1 / 3600, "min": 1 / 60, "h": 1}  # in hours
SIZES = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}  # in bytes


def overview(plan: Plan, results: Results, rates: Path = RATES, options: str = "") -> str:
    """A line per artefact, totals, what would run now, and where the numbers come from.

    Args:
        options: what another command needs to have the same settings, with a space before it.
    """
    estimator = Estimator(plan, read_rates(rates), results).learn(results)
    lines = costs(estimator)
    time = "GPU time" if estimator.on_gpu else "core time"
    table = [
        ["", "kind", "cells", "runs", "own", "done", "failed", "to do", time, "disk"],
        *(_texts(line, estimator) for line in [*lines, _totals(lines)]),
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    formats = [f"{{:{'<' if i < 2 else '>'}{width}}}" for i, width in enumerate(widths)]
    text = ["  ".join(formats).format(*row) for row in table]
    notes = [
        "own: the runs of this artefact that are not already counted in a line above. "
        f"{time}: of the own runs that are still to train. disk: of all own runs and their caches.",
        _now(lines, estimator),
        *_not_tuned(plan),
        *plugin_code.warnings(plan, results),
        *_stored_logits(estimator),
        *_assumptions(estimator, rates),
        *_unknown(estimator, rates, options),
    ]
    heading = f"Protocol {plan.protocol}: {len(plan.runs)} runs for {len(lines)} artefacts."
    whole = textwrap.TextWrapper(  # a command can be copied: no word of it is cut
        100, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
    )
    wrapped = map(whole.fill, notes)
    return "\n".join([heading, "", *text, "", *wrapped])


def _texts(line: Cost, estimator: Estimator) -> list[str]:
    states = Counter(estimator.states[path] for path in line.runs)
    counts = [line.cells, len(line.runs), len(line.own), states["done"], states["failed"]]
    left = len(line.runs) - states["done"] - states["failed"]
    name = f"* {line.name}" if line.name in estimator.plan.selected else f"  {line.name}"
    amounts = [amount(line.hours, TIMES), amount(line.disk, SIZES)]
    return [name, line.kind, *map(str, [*counts, left]), *amounts]


def _totals(lines: list[Cost]) -> Cost:
    own = [path for line in lines for path in line.own]
    cells = sum(line.cells for line in lines)
    hours, disk = sum(line.hours or 0 for line in lines), sum(line.disk or 0 for line in lines)
    return Cost("total", "", cells, own, own, hours, disk)


def _now(lines: list[Cost], estimator: Estimator) -> str:
    """What the workflow would do if no target is named."""
    plan, states = estimator.plan, estimator.states
    paths = {path for line in lines if line.name in plan.selected for path in line.runs}
    left = [path for path in paths if states[path] != "done"]
    if not paths:
        return "* default: none of these artefacts is made if no target is named."
    if not left:
        return f"* default: all of {len(paths)} runs are done."
    why = Counter(states[path] for path in left if states[path] != "to do")
    reasons = ", ".join(f"{why[reason]} {reason}" for reason in sorted(why))
    hours = [estimator.hours_left(plan.runs[path]) for path in left]
    hours += [estimator.logits_hours(*store) for store in stores_of(left, estimator).values()]
    time = amount(total(hours), TIMES)
    which = f"{len(left)} of {len(paths)} runs{f' ({reasons})' if reasons else ''}"
    return f"* default: {which} are left to train, {time}."


def _not_tuned(plan: Plan) -> list[str]:
    """The artefacts whose runs are not known before the weights are tuned."""
    return [
        f"{a.unavailable}. Its runs are not counted yet."
        for a in plan.artefacts.values()
        if a.unavailable
    ]


def _stored_logits(estimator: Estimator) -> list[str]:
    """What storing the outputs of teachers saves and costs."""
    runs = estimator.plan.runs
    stores = stores_of(runs, estimator)
    stores = {name: s for name, s in stores.items() if estimator.logits_hours(*s) is not None}
    if not stores:
        return []
    readers = [runs[path] for name in stores for path in estimator.stores[name]]
    pooled = sum(kind == "pooled" for _, kind in stores.values())
    live = total(estimator.hours_left(run, live=True) for run in readers)
    read = total(map(estimator.hours_left, readers))
    saved = None if live is None or read is None else live - read
    cost = amount(total(estimator.logits_hours(*store) for store in stores.values()), TIMES)
    disk = amount(total(estimator.logits_disk(*store) for store in stores.values()), SIZES)
    vectors = f", {pooled} of them with pooled vectors," if pooled else ""
    return [
        f"Stored logits of {len(stores)} pairs of teacher and seed{vectors} serve {len(readers)} "
        f"runs: they save {amount(saved, TIMES)}, cost {cost} and need {disk}. They are made for "
        f"at least {LEAST_RUNS} runs. `stored_logits: never` in config.yaml switches them off."
    ]


def _assumptions(estimator: Estimator, rates: Path) -> list[str]:
    """The sources of the speeds, by their share of the time."""
    speeds, runs = estimator.speeds, estimator.plan.runs.values()
    hours: dict[Origin, float] = dict.fromkeys(ORIGINS, 0.0)
    guessed: set[str | None] = set()
    for run in runs:
        if (pace := estimator.pace(run)) and (left := estimator.hours_left(run)):
            hours[pace.origin] += left
            guessed |= set(estimator.nets(run)) if pace.origin == "guessed" else set()
    scaled = {run.dataset.image_size for run in runs} - {speeds.image_size}
    table = f"in {rates} for {speeds.device} at {speeds.image_size} px"
    table += f", scaled to {max(scaled)} px by pixels" if scaled else ""
    texts = {
        "measured": f"measured here on {', '.join(sorted(estimator.processors))}",
        "tabulated": f"tabulated {table}",
        "guessed": f"partly guessed {table}: {', '.join(sorted({*speeds.guessed} & guessed))}",
    }
    return [
        f"Speeds behind {100 * part / sum(hours.values()):.0f} % of the time: {texts[origin]}."
        for origin, part in sorted(hours.items(), key=lambda item: -item[1])
        if part
    ]


def _unknown(estimator: Estimator, rates: Path, options: str) -> list[str]:
    """Why hours or bytes are n/a, and the remedy."""
    plan, notes = estimator.plan, []
    slow = {
        f"{net} (stem {run.stem})" if net.startswith("cifar:") else net
        for run in plan.runs.values()
        if estimator.pace(run) is None and run.path not in estimator.done
        for net in estimator.nets(run)
        if net and estimator.supervised(net, run) is None
    }
    if slow:
        names = ", ".join(sorted(slow))
        notes.append(f"n/a: no speed of {names} on {estimator.speeds.device}: extend {rates}.")
    known = estimator.parameters.keys() | estimator.rates.sizes.keys()
    if nets := {run.net for run in plan.runs.values()} - known:
        notes.append(f"n/a: no size of {', '.join(sorted(nets))}: extend {rates}.")
    for name, dataset in plan.datasets.items():
        if estimator.images(dataset) is None:
            command = f"mdkd cache {name}{options}"
            notes.append(f"n/a: the number of images of {name} is known after `{command}`.")
    return [*notes, "The totals leave out what is n/a."] if notes else []


def amount(value: float | None, units: dict[str, float]) -> str:
    """A quantity in the largest unit of which it is at least one, or in the first; None is n/a.

    >>> [amount(value, {"m": 1, "km": 1000}) for value in (None, 0, 0.14, 52, 1234, 2e6)]
    ['n/a', '0', '0.1 m', '52 m', '1.2 km', '2,000 km']
    """
    if not value:
        return "n/a" if value is None else "0"
    unit = [name for name, size in units.items() if value >= size or name == next(iter(units))][-1]
    number = value / units[unit]
    return f"{number:.1f} {unit}" if number < 9.95 else f"{number:,.0f} {unit}"


def listed(plan: Plan, name: str | None = None) -> dict[str, list[str]]:
    """The runs of an artefact, or of all, by path: the artefacts that use each."""
    if name is not None and name not in plan.artefacts:
        raise UserError(f"{name}: not in the plan; {nearest(name, plan.artefacts)}")
    users: dict[str, list[str]] = {path: [] for path in plan.runs}
    for key, artefact in plan.artefacts.items():
        for path in needed(artefact, plan):
            users[path].append(key)
    return {path: names for path, names in users.items() if name is None or name in names}


def listing(plan: Plan, results: Results, name: str | None = None) -> str:
    """Every run of an artefact, or of all: its state, its length, and the artefacts that use it."""
    lines = []
    for path, users in listed(plan, name).items():
        run = plan.runs[path]
        length = f"{run.recipe.epochs} epochs of {run.dataset.name}"
        if run.checkpoint:
            length = f"scored, not trained: {run.checkpoint.file}"
        lines.append(f"{results.state(path):14} {path}  ({length}; {', '.join(users)})")
    shown = plan.artefacts.values() if name is None else [plan.artefacts[name]]
    what = f"protocol {plan.protocol}" if name is None else name
    return "\n".join([*lines, f"{what}: {len(lines)} runs for {sum(map(cells, shown))} cells"])


def facts(plan: Plan, results: Results, rates: Path = RATES) -> dict[str, Any]:
    """What `overview` says, as plain data; what is not known is None."""
    estimator = Estimator(plan, read_rates(rates), results).learn(results)
    lines = costs(estimator)
    left = [path for path in plan.runs if estimator.states[path] != "done"]
    return {
        "protocol": plan.protocol,
        "device": "gpu" if estimator.on_gpu else "cpu",  # of the hours
        "runs": len(plan.runs),
        "left": len(left),
        "hours": sum(line.hours or 0 for line in lines),
        "unknown": sum(estimator.hours_left(plan.runs[path]) is None for path in left),
        "artefacts": [
            {
                "name": line.name,
                "kind": line.kind,
                "title": plan.artefacts[line.name].title,
                "default": line.name in plan.selected,
                "targets": plan.artefacts[line.name].targets,
                "unavailable": plan.artefacts[line.name].unavailable,
                "cells": line.cells,
                "runs": len(line.runs),
                "own": len(line.own),
                "done": sum(estimator.states[path] == "done" for path in line.runs),
                "failed": sum(estimator.states[path] == "failed" for path in line.runs),
                "hours": line.hours,
                "bytes": line.disk,
            }
            for line in lines
        ],
    }


def facts_of_runs(plan: Plan, results: Results, name: str | None = None) -> dict[str, Any]:
    """What `listing` says, as plain data."""
    found = listed(plan, name)
    return {
        "protocol": plan.protocol,
        "runs": [
            {
                "path": path,
                "key": keys.key(plan.runs[path]),
                "state": results.state(path),
                "epochs": 0 if plan.runs[path].checkpoint else plan.runs[path].recipe.epochs,
                "dataset": plan.runs[path].dataset.name,
                "artefacts": users,
            }
            for path, users in found.items()
        ],
    }
