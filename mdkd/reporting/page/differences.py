"""Differences of two methods over the seeds that both have, with paired intervals.

Shape key: S shared seeds, V values of a run.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special

LEVEL = 0.95  # of the intervals
# Methods of one pair of networks. Of more, only those of the main table and those with unchanged
# settings are compared with all others.
MANY = 100


def paired(first_SV: np.ndarray, second_SV: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of first minus second, and half the width of its 95 % interval, ``[V]`` each.

    The interval is that of Student's t for paired values: mean ± t_0.975 s / sqrt(S) with S - 1
    degrees of freedom. It is NaN for one seed.

    >>> mean, half = paired(np.array([[0.3], [0.5], [0.7]]), np.array([[0.2], [0.3], [0.4]]))
    >>> mean.round(4).tolist(), half.round(4).tolist()  # 0.1 * 4.3027 / sqrt(3)
    ([0.2], [0.2484])
    """
    difference_SV = first_SV - second_SV
    mean_V, seeds = difference_SV.mean(axis=0), len(difference_SV)
    if seeds < 2:
        return mean_V, np.full_like(mean_V, np.nan)
    quantile = special.stdtrit(seeds - 1, (1 + LEVEL) / 2)
    return mean_V, quantile * difference_SV.std(axis=0, ddof=1) / np.sqrt(seeds)


def differences(
    by_seed: Sequence[dict[int, np.ndarray]], references: Sequence[int]
) -> list[list[Any]]:
    """`paired` of every two methods of which one is a reference and which share a seed.

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
            mean_V, half_V = paired(
                np.stack([first[seed] for seed in seeds]),
                np.stack([by_seed[j][seed] for seed in seeds]),
            )
            halves = hundredths(half_V) if len(seeds) > 1 else None
            found.append([i, j, seeds, hundredths(mean_V), halves])
    return found


def hundredths(values_V: np.ndarray) -> list[int | None]:
    """Fractions in hundredths of a percent; None for NaN.

    >>> hundredths(np.array([0.65432, np.nan]))
    [6543, None]
    """
    return [None if np.isnan(value) else round(1e4 * value) for value in values_V.tolist()]
