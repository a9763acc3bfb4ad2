"""The error of `mdkd plan`: `python -m benchmarks.plan_error [PROTOCOL [STORE]]` in a project.

The time of every finished run is estimated twice: from `config/rates.yaml` alone, and from that and
the records of all other finished runs. A ratio is the recorded time over the estimated one. The
recorded time is that on the clock, so other work on the machine raises it.
"""

import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

from mdkd import logits, methodfiles, records
from mdkd.costs import Estimator
from mdkd.plan import Plan, make_plan
from mdkd.rates import Rates, read_rates
from mdkd.results import Results
from mdkd.spec import Specification

CONFIG, RESULTS = Path("config"), Path("results/plan_error.json")
Ratios = tuple[float, float]  # with rates alone, and with the records of the other runs


def main() -> None:
    given = dict(zip(("protocol", "store"), sys.argv[1:], strict=False))
    plan = make_plan(Specification(CONFIG, dict(given)))
    results = Results(protocol=plan.protocol, store_folder=plan.store, runs=plan.runs)
    found = measured(plan, results, read_rates(CONFIG / "rates.yaml"))
    text = markdown(found)
    records.write_json(RESULTS, found)
    RESULTS.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    print(text)


def measured(plan: Plan, results: Results, rates: Rates) -> dict[str, list[Ratios]]:
    """The two ratios of each finished run, by method."""
    every = {path: results.record(path) for path in plan.runs if results.state(path) == "done"}
    read_once = SimpleNamespace(record=every.__getitem__)  # learning reads nothing else of it
    readers = logits.groups(plan)
    found: dict[str, list[Ratios]] = defaultdict(list)
    for path, record in every.items():
        run = plan.runs[path]
        live = record.get("stored_logits_images_per_s") is None
        ratios = []
        for known in ([], every.keys() - {path}):
            estimator = Estimator(plan, rates, results)
            estimator.learn(read_once, dict.fromkeys(known, "done"))  # type: ignore[arg-type]
            estimator.on_gpu = record["environment"]["device"] != "cpu"
            estimator.stores = readers  # as if all runs that may read them were left to train
            if hours := estimator.hours_left(run, live=live):
                ratios.append(record["wall_s"] / (3600 * hours))
        if len(ratios) == 2:
            found[run.method.name].append((ratios[0], ratios[1]))
    return found


def markdown(found: Mapping[str, list[Ratios]]) -> str:
    """A line for each method: the median ratio and its range."""
    lines = [
        "| recorded / planned | runs | from rates.yaml alone | with records of other runs |",
        "|---|--:|--:|--:|",
    ]
    every = [ratios for of_method in found.values() for ratios in of_method]
    for name, of_method in [*found.items(), ("all", every)]:
        label = "all" if name == "all" else methodfiles.read(name).label
        cells = [
            f"{statistics.median(column):.2f} ({min(column):.2f} - {max(column):.2f})"
            for column in zip(*of_method, strict=True)
        ]
        lines.append(f"| {label} | {len(of_method)} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "Medians over runs; in brackets, the smallest and the largest."])


if __name__ == "__main__":
    main()
