"""All checks, in the order in which they are printed."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mdkd.costs import Estimator
from mdkd.doctor import machine, places, tools
from mdkd.doctor.check import Check, plural
from mdkd.errors import UserError
from mdkd.plan import Plan
from mdkd.rates import read_rates
from mdkd.results import Results
from mdkd.specfiles import JobLimits
from mdkd.status import statuses


def examine(
    settings: Callable[[], tuple[Plan, JobLimits]],
    config: Path,
    engines: Sequence[str],
    now: float,
) -> Iterator[Check]:
    """Check one thing after the other, and yield each finding at once: some take seconds.

    Args:
        settings: reads the plan and the limits of jobs; its error is one of the findings.
        config: the folder with ``rates.yaml`` and ``downloads.yaml``.
        engines: programs that can make a PDF from LaTeX.
    """
    yield machine.python()
    yield machine.packages()
    plan, estimator, limits = None, None, JobLimits()
    try:
        plan, limits = settings()
        results = Results(protocol=plan.protocol, store_folder=plan.store, runs=plan.runs)
        estimator = Estimator(plan, read_rates(config / "rates.yaml"), results)
        states = {path: each.state for path, each in statuses(plan, results, now).items()}
        estimator.learn(results, states)
        done = list(states.values()).count("done")
        text = f"protocol {plan.protocol}, {plural(len(plan.runs), 'run')}, {done} done"
        yield Check("settings", "ok", text)
    except UserError as error:
        fix = "as the message says; then call this again, for what depends on the settings"
        yield Check("settings", "problem", str(error), fix)
    yield from machine.gpus()
    yield machine.torch(plan.device if plan else "auto")
    yield from machine.device(estimator) if estimator else ()
    yield machine.cores()
    yield from [machine.memory(estimator)] if estimator else []
    yield machine.variables()
    found = places.places(Path(plan.store if plan else "store"))
    yield places.writable(found)
    for group in places.file_systems(found):
        yield places.locks(group)
        yield from [places.room(group, estimator)] if estimator else []
    if estimator:
        yield from places.data(estimator, config / "downloads.yaml")
        yield places.weights(estimator)
    yield tools.latex(engines)
    yield tools.conda()
    yield from tools.cluster(estimator, limits)


def facts(found: Sequence[Check]) -> dict[str, Any]:
    """All findings as plain data."""
    verdicts = [check.verdict for check in found]
    return {
        "problems": verdicts.count("problem"),
        "warnings": verdicts.count("warning"),
        "checks": [check._asdict() for check in found],
    }


def summary(found: Sequence[Check]) -> str:
    """The number of problems and warnings."""
    verdicts = [check.verdict for check in found]
    problems = plural(verdicts.count("problem"), "problem")
    return f"{problems}, {plural(verdicts.count('warning'), 'warning')}"
