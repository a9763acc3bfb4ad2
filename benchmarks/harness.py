"""How benchmarks measure: interleaved rounds, processor time, medians and spread.

A row compares two functions that do the same work. Both run once in every round, and a ratio is
taken within the round, so that other work on the machine slows both alike. Processor time is that
of this process and of the processes that it has started and that have ended.
"""

import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from queue import Empty
from typing import Any, NamedTuple

WORSE = 0.1  # a ratio that falls by more than this share is reported


class Row(NamedTuple):
    """Two ways to do the same work. The ratio is the reference's time over our own."""

    name: str
    reference: Callable[[], object]
    own: Callable[[], object]
    check: Callable[[object, object], None] | None = None  # raises unless the results agree
    images: int | None = None  # of a row whose speed is shown in images/s
    apart: bool = False  # slow or of another package: only on request, and its ratio is not kept


def processor_s() -> float:
    """Processor seconds that this process and its ended children have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def interleaved(
    variants: Mapping[str, Callable[[], object]], rounds: int
) -> dict[str, list[float]]:
    """Processor seconds of each variant in each round; every round runs each variant once."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for i in range(rounds + 1):
        for name, run in variants.items():
            start = processor_s()
            run()
            if i:  # the first round warms up
                times[name].append(processor_s() - start)
    return times


def medians(variants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median processor seconds of each variant over interleaved rounds."""
    times = interleaved(variants, rounds)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(rows: Iterable[Row], rounds: int) -> list[dict[str, Any]]:
    """Times and ratios of all rows, one after the other; progress goes to stderr."""
    results = []
    for row in rows:
        print(row.name, file=sys.stderr, flush=True)
        if row.check:
            row.check(row.reference(), row.own())
        times = interleaved({"reference": row.reference, "own": row.own}, rounds)
        ratios = [r / o for r, o in zip(times["reference"], times["own"], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
        results.append(
            {
                "name": row.name,
                "reference_ms": 1e3 * statistics.median(times["reference"]),
                "own_ms": 1e3 * statistics.median(times["own"]),
                "ratio": statistics.median(ratios),
                "ratio_quartiles": [low, high],
                "images": row.images,
                "apart": row.apart,
            }
        )
    return results


def collected(processes: Sequence[Any], queue: Any, limit_s: float = 600) -> list[Any]:
    """Start processes, and wait for what each of them puts into the queue once.

    Args:
        limit_s: how long to wait for the next result.

    Raises:
        RuntimeError: a process ended without a result, such as one that was killed, or none came in
            time. The others are stopped.
    """
    for process in processes:
        process.start()
    found: list[Any] = []
    waiting_since = time.monotonic()
    try:
        while len(found) < len(processes):
            ended = [process.exitcode for process in processes]  # before a look at the queue
            try:
                found.append(queue.get(timeout=0.5))
                waiting_since = time.monotonic()
            except Empty:
                if any(ended) or None not in ended:
                    status = next(filter(None, ended), 0)
                    what = f"a process ended without a result, with status {status}"
                    raise RuntimeError(what) from None
                if time.monotonic() - waiting_since > limit_s:
                    raise RuntimeError(f"no result in {limit_s:g} s") from None
    except BaseException:
        for process in processes:
            process.kill()
        raise
    finally:
        for process in processes:
            process.join()
    return found


def markdown(results: Iterable[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """The results as a table, with what they were measured on."""
    lines = [
        "| what | reference | own | ratio | its quartiles |",
        "|---|--:|--:|--:|--:|",
    ]
    for r in results:
        low, high = r["ratio_quartiles"]
        lines.append(
            f"| {r['name']} | {_speed(r, 'reference_ms')} | {_speed(r, 'own_ms')} "
            f"| {r['ratio']:.2f} | {low:.2f} - {high:.2f} |"
        )
    measured_on = ", ".join(f"{key} {value}" for key, value in facts.items())
    return "\n".join([*lines, "", f"Medians of processor time on one thread. {measured_on}."])


def _speed(result: Mapping[str, Any], name: str) -> str:
    """A time in ms, or a speed in images/s."""
    ms, images = result[name], result["images"]
    return f"{ms:.1f} ms" if images is None else f"{1e3 * images / ms:.3g} images/s"


def worse(results: Iterable[Mapping[str, Any]], committed: Mapping[str, float]) -> list[str]:
    """One line for every ratio that fell by more than `WORSE`, and for every row that is gone."""
    found = {r["name"]: r["ratio"] for r in results}
    lines = []
    for name, expected in committed.items():
        if name not in found:
            lines.append(f"{name}: not measured any more; write the ratios again with --keep")
        elif found[name] < (1 - WORSE) * expected:
            lines.append(f"{name}: ratio {found[name]:.2f}, was {expected:.2f}")
    return lines


def facts() -> dict[str, Any]:
    """Hardware and versions."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    models = [line.split(":")[1].strip() for line in text.splitlines() if "model name" in line]
    names = [name for name in ("numpy", "scipy", "torch", "torchdistill") if find_spec(name)]
    packages = {name: version(name) for name in names}
    processor = models[0] if models else platform.machine()
    return {"processor": processor, "python": platform.python_version(), **packages}
