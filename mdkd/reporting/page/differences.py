"""Differences of two methods over the seeds that both have, with paired intervals.

Shape key: S shared seeds, V values of a run.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mdkd.reporting.statistics import paired_interval

# Methods of one pair of networks. Of more, only those of the main table and those with unchanged
# settings are compared with all others.
MANY = 100


def differences(
    by_seed: Sequence[dict[int, np.ndarray]], references: Sequence[int]
) -> list[list[Any]]:
    """`paired_interval` of every two methods of which one is a reference and which share a seed.

    Args:
        by_seed: for each method its values ``[V]`` (fractions) by seed.
        references: methods, by number.

    Returns:
        Entries ``[first, second, seeds, means, half widths]`` with first < second. The last two are
        lists of V whole numbers, hundredths of a percent; an unknown number is None. Without any
        interval the last one is None.
    """
    found: list[list[Any]] = []
    chosen = set(references)
    for i, first in enumerate(by_seed):
        for j in range(i + 1, len(by_seed)):
            seeds = [seed for seed in first if seed in by_seed[j]]
            if not seeds or not chosen & {i, j}:
                continue
            mean_V, half_V = paired_interval(
                np.stack([first[seed] for seed in seeds]),
                np.stack([by_seed[j][seed] for seed in seeds]),
            )
            halves = hundredths(half_V)
            there = any(half is not None for half in halves)
            found.append([i, j, seeds, hundredths(mean_V), halves if there else None])
    return found


def hundredths(values_V: np.ndarray) -> list[int | None]:
    """Fractions in hundredths of a percent; None for NaN.

    >>> hundredths(np.array([0.65432, np.nan]))
    [6543, None]
    """
    return [None if np.isnan(value) else round(1e4 * value) for value in values_V.tolist()]
