"""Checks before any training starts: what planned runs need of their data.

The numbers of labels and images come from the cache, or from the source just before it makes one.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mdkd import store
from mdkd.config import Dataset
from mdkd.data.cache import elsewhere, read_meta
from mdkd.errors import UserError
from mdkd.layout import Layout
from mdkd.needs import problems, without_positives
from mdkd.plan import Plan


def check_data(
    plan: Plan,
    names: Iterable[str],
    dataset: str,
    labels: int,
    images: int,
    others: Iterable[str] = (),
) -> None:
    """Check the runs of the artefacts ``names`` on a data set of so many labels and images.

    Args:
        images: the number of training images.
        others: further reasons why no run on the data set can be trained.

    Raises:
        UserError: a run cannot be trained. One line for each reason and artefact.
    """
    lines: dict[str, None] = {}
    for name in names:
        for run in plan.only([name]).runs.values():
            if run.dataset.name == dataset:
                found = [*problems(run, labels, images), *others]
                lines |= dict.fromkeys(f"experiment {name}: {text}" for text in found)
    if lines:
        raise UserError(*lines)


def check(plan: Plan, names: list[str], layout: Layout) -> None:
    """Check all that is known before the first job: tuned weights, finished runs, and caches.

    Raises:
        UserError: weights are not tuned yet, a record is damaged, or a run cannot be trained. One
            line each.
    """
    check_weights(plan, names)
    if damaged := store.damage(plan.only(names).runs, layout):
        raise UserError(*damaged)
    check_caches(plan, names, layout)


def check_weights(plan: Plan, names: Iterable[str]) -> None:
    """Raise a UserError if artefacts need tuned weights that are not there, one line each."""
    if lines := [why for name in names if (why := plan.artefacts[name].unavailable)]:
        raise UserError(*lines)


def check_caches(plan: Plan, names: Iterable[str], layout: Layout) -> None:
    """Like `check_data`, for all data sets of a plan whose caches are there."""
    names, lines = list(names), list[str]()
    for name, dataset in plan.datasets.items():
        if (meta := read_meta(dataset, layout)) is None:
            continue
        splits = meta["splits"]
        positives = {split: any(facts["images_per_label"]) for split, facts in splits.items()}
        others = without_positives(name, positives)
        try:
            images = splits["train"]["images"]
            check_data(plan, names, name, len(meta["classes"]), images, others)
        except UserError as error:
            lines += error.args
    if lines:
        raise UserError(*lines)


def other_root(dataset: Dataset, root: str | Path, layout: Layout, options: str = "") -> str | None:
    """What to say if the cache of a data set was made from another folder than planned, or None.

    No key of a run depends on the folder, so runs on other files would count as done.

    Args:
        options: what `mdkd cache` needs to find these settings, with a space before it.

    Raises:
        UserError: the cache is damaged.
    """
    wrong = elsewhere(dataset, layout.cache(dataset.name), Path(root))
    fix = f"run `mdkd cache {dataset.name}{options}` again"
    return wrong and f"{wrong}; {fix}: trainings stay valid if the files are the same"


def other_roots(plan: Plan, names: Iterable[str], layout: Layout, options: str = "") -> list[str]:
    """`other_root` of all data sets of the artefacts ``names``, where there is something to say.

    A cache that is damaged is left out: what reads it says so.
    """
    lines: list[str] = []
    for name, dataset in plan.only(list(names)).datasets.items():
        with suppress(UserError):
            line = other_root(dataset, plan.roots[name], layout, options)
            lines += [line] if line else []
    return lines
