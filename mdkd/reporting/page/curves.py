"""Learning curves of runs, thinned out so that the page stays small."""

from typing import Any

import numpy as np

from mdkd import store
from mdkd.results import Results

POINTS = 60  # of a curve, at most


def curves(results: Results, paths: list[str]) -> list[dict[str, Any] | None]:
    """The curves of each run: of the loss terms, their gradients, and mAP on a validation split.

    A run whose history was not kept has None. ``val`` holds hundredths of a percent.
    """
    found: list[dict[str, Any] | None] = []
    for path in paths:
        there = (results.run(path) / store.HISTORY).exists()
        history = results.history(path) if there else None
        found.append(_curves(history) if history else None)
    return found


def shown(epochs: int, points: int = POINTS) -> list[int]:
    """The positions of the epochs that are shown: all, or ``points`` from the first to the last.

    >>> shown(3), shown(9, points=3)
    ([0, 1, 2], [0, 4, 8])
    """
    return np.unique(np.linspace(0, epochs - 1, min(epochs, points)).round().astype(int)).tolist()


def _curves(history: list[dict[str, Any]]) -> dict[str, Any]:
    entries = [history[i] for i in shown(len(history))]
    found: dict[str, Any] = {"epochs": [entry["epoch"] for entry in entries]}
    for name in ("losses", "gradient_ratios"):
        values = [entry[name] or {} for entry in entries]  # few epochs have gradients
        terms = dict.fromkeys(term for own in values for term in own)
        found[name] = {term: [_short(own.get(term)) for own in values] for term in terms}
    if any(entry.get("val_mAP") is not None for entry in entries):
        found["val"] = [
            None if entry.get("val_mAP") is None else round(1e4 * entry["val_mAP"])
            for entry in entries
        ]
    return found


def _short(value: float | None) -> float | None:
    """A number with four significant digits."""
    return None if value is None or not np.isfinite(value) else float(f"{value:.4g}")
