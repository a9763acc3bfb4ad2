"""Straight forms of what grows with the data: what `benchmarks.growth` compares the package with.

Shape key: N images, C labels, G levels, P positive images.
"""

import math

import numpy as np


def average_precisions(scores_NC: np.ndarray, targets_NC: np.ndarray) -> np.ndarray:
    """Indices are sorted, not values."""

    def of_label(scores_N: np.ndarray, targets_N: np.ndarray) -> float:
        if not targets_N.any():
            return math.nan
        order = np.argsort(-scores_N, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(scores_N[order])), len(order) - 1)
        hits = np.cumsum(targets_N[order], dtype=np.float64)[ends]
        return float(np.sum(np.diff(hits, prepend=0.0) * hits / (ends + 1)) / hits[-1])

    return np.array([of_label(*label) for label in zip(scores_NC.T, targets_NC.T, strict=True)])


def counted_joint(targets_NC: np.ndarray) -> np.ndarray:
    """Products over all images, also those without the label."""
    y_NC = targets_NC.astype(np.float64)
    joint_CCC = np.stack([(y_NC * y_NC[:, [k]]).T @ y_NC for k in range(y_NC.shape[1])])
    return joint_CCC / len(y_NC)


def counted_pairs(targets_NC: np.ndarray) -> np.ndarray:
    """In integers, for which there is no fast matrix product."""
    y_NC = targets_NC.astype(np.int64)
    return y_NC.T @ y_NC


class CountedLabel:
    """One resample after the other, each by counting images between the levels."""

    def __init__(self, scores_N: np.ndarray, targets_N: np.ndarray):
        self.positives = np.flatnonzero(targets_N)
        levels_G = np.unique(scores_N[self.positives])
        self.levels = len(levels_G)
        self.level_N = self.levels - np.searchsorted(levels_G, scores_N, side="right")
        self.positive_levels = self.level_N[self.positives]

    def average_precision(self, times_N: np.ndarray) -> float:
        taken_G = np.bincount(self.level_N, weights=times_N, minlength=self.levels + 1)[:-1]
        times_P = times_N[self.positives]
        hits_G = np.bincount(self.positive_levels, weights=times_P, minlength=self.levels)
        found_G, retrieved_G = np.cumsum(hits_G), np.cumsum(taken_G)
        if not found_G.size or found_G[-1] == 0:
            return math.nan
        return float(np.sum(hits_G * found_G / np.maximum(retrieved_G, 1)) / found_G[-1])
