"""`mdkd status`: what has become of every run, as text for a terminal."""

import shutil
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from mdkd import keys
from mdkd.costs import Estimator, needed, stores_of
from mdkd.faults import show, show_json
from mdkd.plan import Plan
from mdkd.rates import read_rates
from mdkd.reporting import plugin_code
from mdkd.reporting.plan_listing import RATES, TIMES, amount
from mdkd.results import Results
from mdkd.status import STATES, Status, statuses

CLEAR = "\033[H\033[2J\033[3J"  # the terminal, and what can be scrolled back to
ABOVE = "\033[F\033[K"  # back to the line above, which is cleared


def watch(
    plan: Plan,
    results: Results,
    rates: Path,
    every_s: float | None,
    *,
    target: str | None = None,
    all_runs: bool = False,
    as_line: bool = False,
    as_json: bool = False,
) -> None:
    """Print the status once, or every ``every_s`` seconds until every run is done or failed.

    As JSON, each look is one line. With ``as_line`` it is one too; a terminal shows only the last.
    ``target`` is what the plan is a part of, None if it is whole.
    """
    terminal = every_s is not None and sys.stdout.isatty()
    replaced = ""  # what takes the last look away
    while True:
        now = time.time()
        found = statuses(plan, results, now)
        if as_json:
            show_json(facts(plan, results, found, now, rates))
        elif as_line:
            text = line(plan, results, found, now, rates)
            if terminal:  # a longer line would need two, and only one is taken away
                text = replaced + text[: shutil.get_terminal_size().columns - 1]
                replaced = ABOVE
            show(text)
        else:
            text = overview(plan, results, found, now, rates, target=target, all_runs=all_runs)
            show(f"{CLEAR}{text}" if terminal else text)
        if every_s is None or {s.state for s in found.values()} <= {"done", "failed"}:
            return
        time.sleep(every_s)
        if not as_json and not as_line:
            show("")


def overview(
    plan: Plan,
    results: Results,
    found: dict[str, Status],
    now: float,
    rates: Path = RATES,
    *,
    target: str | None = None,
    all_runs: bool = False,
) -> str:
    """Totals, the runs that matter now, and when everything will be done.

    The totals are those of groups of artefacts, and of a ``target`` those of its artefacts.
    """
    counts = Counter(status.state for status in found.values())
    totals = ", ".join(f"{counts[state]} {state}" for state in STATES)
    at = time.strftime("%H:%M:%S", time.localtime(now))
    parts = [[f"Protocol {plan.protocol} at {at}: {len(found)} runs: {totals}."]]
    if all_runs:
        parts.append(_lines([(f"{s.state:7}  {s.path}", s) for s in found.values()], now))
    else:
        parts.append(_totals(plan, found, target))
        for heading, shown in _sections(found.values()):
            lines = _lines([(status.path, status) for status in shown], now)
            parts += [[f"{heading}:", *lines]] if lines else []
    for text in plugin_code.warnings(plan, results):
        parts.append([textwrap.fill(text, 100, break_on_hyphens=False)])
    parts.append([_end(_left(plan, results, found, now, rates), found, now)])
    return "\n\n".join("\n".join(part) for part in parts)


def line(
    plan: Plan, results: Results, found: dict[str, Status], now: float, rates: Path = RATES
) -> str:
    """Runs that are done, the time left, the mean speed of running trainings, and other states.

    What matters most is in front: a narrow terminal cuts off the end.
    """
    counts = Counter(status.state for status in found.values())
    left = _left(plan, results, found, now, rates)
    parts = [f"{counts['done']}/{len(found)} runs done"]
    if left.runs and left.total_s is not None:
        parts.append(f"about {_duration(left.total_s)} left")
    if left.unknown:
        parts.append(f"length of {left.unknown} not known")
    running = [s for s in found.values() if s.state == "running" and not s.dead]
    if speeds := [s.progress.images_per_s for s in running if s.progress]:
        parts.append(f"mean {sum(speeds) / len(speeds):,.0f} images/s")
    parts += [f"{counts[state]} {state}" for state in STATES[1:] if counts[state]]
    return ", ".join(parts)


def facts(
    plan: Plan, results: Results, found: dict[str, Status], now: float, rates: Path = RATES
) -> dict[str, Any]:
    """The status of every run as plain data; what is not known is None."""
    counts = Counter(status.state for status in found.values())
    left = _left(plan, results, found, now, rates)
    return {
        "protocol": plan.protocol,
        "time": datetime.fromtimestamp(now).astimezone().isoformat(timespec="seconds"),
        "counts": {state: counts[state] for state in STATES},
        "left_s": left.total_s,
        "unknown": left.unknown,
        "runs": [
            {
                "path": status.path,
                "key": keys.key(plan.runs[status.path]),
                "state": status.state,
                "note": status.note,
                "log": status.log and str(status.log),
                "dead": status.dead,
                "silent_s": status.silent_s if status.holder else None,
                "left_s": status.left_s(now),
                "progress": status.progress and asdict(status.progress),
                "process": status.holder and asdict(status.holder),
            }
            for status in found.values()
        ],
    }


def columns(rows: Iterable[Sequence[str]], align: str = "<") -> list[str]:
    """Lines in which cells stand below each other; the first cells of the rows to the left."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    formats = [f"{{:{align if i else '<'}{width}}}" for i, width in enumerate(widths)]
    return ["  ".join(formats).format(*row).rstrip() for row in table]


def _totals(plan: Plan, found: dict[str, Status], target: str | None) -> list[str]:
    """One line per group, or per artefact of a target: the states of the runs that it needs."""
    lines: dict[str, set[str]] = {}
    for artefact in plan.artefacts.values():
        name = artefact.name if target else artefact.target or artefact.name
        lines.setdefault(name, set()).update(needed(artefact, plan))
    if target is None:
        lines["default: made if no target is named"] = set(plan.only(plan.selected).runs)
        lines["all"] = set(found)
    elif len(lines) > 1:
        lines[f"target {target}"] = set(found)
    rows = [["", "runs", *STATES]]
    for name, paths in lines.items():
        counts = Counter(found[path].state for path in paths)
        rows.append([name, str(len(paths)), *(str(counts[state]) for state in STATES)])
    return [f"  {line}" for line in columns(rows, ">")]


def _sections(found: Iterable[Status]) -> list[tuple[str, list[Status]]]:
    found = list(found)
    return [
        ("running", [s for s in found if s.state == "running"]),
        ("failed", [s for s in found if s.state == "failed"]),
        (
            "interrupted, will continue from the checkpoint when started again",
            [s for s in found if s.state == "waiting" and s.progress],
        ),
    ]


def _lines(shown: Sequence[tuple[str, Status]], now: float) -> list[str]:
    """Names of runs with place, progress and remarks; below a failed run, its log."""
    texts = columns([f"  {name}", *_texts(status, now)] for name, status in shown)
    lines = []
    for text, (_, status) in zip(texts, shown, strict=True):
        lines += [text, f"    log: {status.log}"] if status.log else [text]
    return lines


def _texts(status: Status, now: float) -> tuple[str, str, str]:
    """Place, progress and remarks."""
    if status.state == "running":
        return _place(status), _progress(status), _remark(status, now)
    return "", _progress(status), status.note


def _place(status: Status) -> str:
    holder = status.holder
    if holder is None or holder.host is None:
        return "host not known"
    job = f"Slurm job {holder.slurm_job}" if holder.slurm_job else ""
    return ", ".join(part for part in (holder.host, job, holder.device) if part)


def _progress(status: Status) -> str:
    progress, holder = status.progress, status.holder
    if holder and holder.host and holder.device is None:
        return "starts, or waits for a GPU"
    if progress is None:
        return "starts" if status.state == "running" else ""
    if progress.step == progress.steps:
        return "trained, is being scored"
    epochs = f"epoch {progress.epoch}/{progress.epochs}"
    within = progress.step * progress.epochs % progress.steps > 0  # a long epoch has begun
    return (
        f"{epochs} + {_part(progress.step, progress.steps, progress.epochs)}" if within else epochs
    )


def _part(step: int, steps: int, epochs: int) -> str:
    """How much of the epoch is done.

    >>> _part(25, 100, 10)
    '50 %'
    """
    return f"{100 * (step * epochs % steps) // steps} %"


def _remark(status: Status, now: float) -> str:
    ago = _duration(status.silent_s)
    if status.dead:
        return f"no sign of life for {ago}; if it was killed, start the workflow again"
    left, progress = status.left_s(now), status.progress
    told = [f"{progress.images_per_s:,.0f} images/s"] if progress else []
    told += [f"{_duration(left)} left"] if left else []
    return ", ".join([*told, f"last sign of life {ago} ago"])


class Left(NamedTuple):
    """What is left to train."""

    runs: int  # and stored outputs
    unknown: int  # of them: how long they take is not known
    at_once: int  # trainings that run now
    total_s: float | None  # until all of known length is done; None if none is known


def _left(plan: Plan, results: Results, found: dict[str, Status], now: float, rates: Path) -> Left:
    """What is left, if as many trainings run at once as now, and one if none runs."""
    estimator = Estimator(plan, read_rates(rates), results)
    estimator.learn(results, {path: status.state for path, status in found.items()})
    alive = [s for s in found.values() if s.state == "running" and not s.dead]
    others = [s for s in found.values() if s.state == "waiting" or s.dead]
    left = [_seconds_left(status, estimator, now) for status in [*alive, *others]]
    for store in stores_of([status.path for status in others], estimator).values():
        hours = estimator.logits_hours(*store)
        left += [3600 * hours] if hours else []
    known = [seconds for seconds in left if seconds is not None]
    longest = max((seconds for seconds in left[: len(alive)] if seconds is not None), default=0)
    total_s = max(sum(known) / max(len(alive), 1), longest) if known or not left else None
    return Left(len(left), len(left) - len(known), len(alive), total_s)


def _end(left: Left, found: dict[str, Status], now: float) -> str:
    """When everything will be done, and what this assumes."""
    if not left.runs:
        return "Nothing is left to train."
    if left.total_s is None:
        return (
            f"How long the {left.runs} runs that are left take is not known; `mdkd plan` says why."
        )
    end = time.strftime("%a %d %b, %H:%M", time.localtime(now + left.total_s))
    several = f"{left.at_once} trainings run at once, as now"
    text = [
        f"All done in about {_duration(left.total_s)} ({end}), if",
        f"{several}." if left.at_once > 1 else "one training runs at a time.",
        "This adds the time left that running trainings have measured, and for waiting ones the",
        "estimate of `mdkd plan`.",
    ]
    if left.unknown:
        text.append(f"{left.unknown} runs of unknown length are left out.")
    if any(status.state == "failed" for status in found.values()):
        text.append("Failed runs are left out.")
    return textwrap.fill(" ".join(text), 100)


def _seconds_left(status: Status, estimator: Estimator, now: float) -> float | None:
    """What a training has told, or else an estimate for the steps that are not done."""
    if (told := status.left_s(now)) is not None and not status.dead:
        return told
    hours = estimator.hours_left(estimator.plan.runs[status.path])
    if hours is None:
        return None
    progress = status.progress
    return 3600 * hours * (1 - progress.step / progress.steps if progress else 1)


def _duration(seconds: float) -> str:
    """In seconds, minutes or hours.

    >>> [_duration(seconds) for seconds in (0, 59, 90, 7200)]
    ['0 s', '59 s', '1.5 min', '2.0 h']
    """
    return amount(seconds / 3600, TIMES) if seconds >= 1 else "0 s"
