"""`mdkd plan --commands`: what is left to compute, as commands of a shell, one job a line."""

import shlex
import sys
from pathlib import Path

from mdkd.costs import Estimator
from mdkd.data.cache import is_complete
from mdkd.plan import Plan
from mdkd.rates import read_rates
from mdkd.results import Results


def commands(plan: Plan, results: Results, file: Path, rates: Path) -> str:
    """Four blocks of commands; each block must wait for the one before it.

    A block begins with a comment, and an empty line ends it. A command that is started twice does
    its work once.

    Args:
        plan: what to compute.
        file: the plan file that the commands read.
        rates: the file with the sizes of networks, which decide what is stored of their outputs.
    """
    left = {path: run for path, run in plan.runs.items() if results.state(path) != "done"}
    needed = {run.dataset.name: run.dataset for run in left.values()}
    caches = [
        ["cache", name, "--if-needed"]
        for name, dataset in needed.items()
        if not is_complete(dataset, results.cache(name), Path(plan.roots[name]))
    ]
    teachers = {run.teacher for run in plan.runs.values()}
    trainings = [["train", path] for path in left]
    stores = Estimator(plan, read_rates(rates), results).worthwhile(set(left))
    storing = [["logits", name] for name in stores]
    blocks = {
        "data sets": caches,
        "teachers": [words for words in trainings if words[1] in teachers],
        "outputs of teachers": storing,
        "all other runs": [words for words in trainings if words[1] not in teachers],
    }
    return "\n\n".join(
        "\n".join([f"# {number}. {title}: {len(jobs)}", *(_line(job, file) for job in jobs)])
        for number, (title, jobs) in enumerate(blocks.items(), start=1)
    )


def _line(words: list[str], file: Path) -> str:
    """The command calls this Python by its path, so no environment must be active."""
    return shlex.join([sys.executable, "-m", "mdkd", *words, "--plan", str(file)])
