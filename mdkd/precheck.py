"""Checks before any training starts: what planned runs need of their data.

The numbers of labels and images come from the cache, or from the source just before it makes one.
"""

from collections.abc import Iterable

from mdkd import store
from mdkd.data.cache import read_meta
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
