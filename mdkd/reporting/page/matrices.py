"""Dependencies of pairs of labels: of each group of runs the mean over its seeds, and the truth.

Shape key: N images, C labels, L labels that are shown.
"""

from typing import Any, NamedTuple

import numpy as np

from mdkd import store
from mdkd.reporting import dependencies, summary
from mdkd.reporting.dependencies import Dependencies
from mdkd.results import Predictions, Results
from mdkd.runpath import RunPath

LABELS = 20  # of a data set that are shown, at most


class Matrices(NamedTuple):
    """By data set: the labels, the images and the truth. By group: its own matrices."""

    datasets: dict[str, dict[str, Any]]
    groups: dict[str, dict[str, Any]]


def matrices(
    results: Results, members: dict[str, list[str]], named: dict[str, list[str]]
) -> Matrices:
    """The matrices of all groups. Runs whose predictions were not kept have none.

    Args:
        members: the paths of each group's runs.
        named: by data set, labels to show in any case.
    """
    found = Matrices({}, {})
    tests: dict[str, Predictions] = {}
    for group, paths in members.items():
        dataset = RunPath.parse(paths[0]).dataset
        own = []
        for path in paths:
            if not (results.run(path) / store.PREDICTIONS).exists():
                continue
            predictions = results.predictions(path)
            if predictions is None:
                continue
            if dataset not in tests:
                tests[dataset] = predictions
                labels = choose(predictions, named.get(dataset, []))
                found.datasets[dataset] = _dataset(results, dataset, predictions, labels)
            summary.check_images(path, predictions, tests[dataset].ids)
            shown = found.datasets[dataset]["labels"]
            own.append(dependencies.of_predictions(predictions.scores_NC[:, shown]))
        if own:
            psi_LL = np.mean([one.psi_CC for one in own], axis=0)
            phi_LL = np.mean([one.phi_CC for one in own], axis=0)
            found.groups[group] = {"runs": len(own), "psi": lower(psi_LL), "phi": lower(phi_LL)}
    return found


def choose(test: Predictions, named: list[str]) -> list[int]:
    """The labels to show, by number: those that are named, then the most frequent ones."""
    counts_C = test.targets_NC.sum(axis=0)
    frequent = np.argsort(-counts_C.astype(int), kind="stable").tolist()
    first = [test.classes.index(label) for label in named if label in test.classes]
    return sorted(list(dict.fromkeys([*first, *frequent]))[:LABELS])


def lower(matrix_LL: np.ndarray) -> list[int]:
    """The entries below the diagonal, row by row, in thousandths.

    >>> lower(np.array([[0, 0, 0], [0.1, 0, 0], [0.2, 0.3, 0]]))
    [100, 200, 300]
    """
    rows, columns = np.tril_indices(len(matrix_LL), -1)
    return np.rint(1e3 * matrix_LL[rows, columns]).astype(int).tolist()


def _dataset(results: Results, name: str, test: Predictions, labels: list[int]) -> dict[str, Any]:
    """The labels that are shown, and what is true for them."""
    truth = dependencies.true_dependencies(test, results.cache(name) / "graph.json")
    known = {truth.name: truth.dependencies}
    if truth.counted is not None:
        known["the test labels"] = truth.counted
    return {
        "labels": labels,
        "images": len(test.ids),
        "positives": test.targets_NC.sum(axis=0).astype(int).tolist(),
        "truths": [{"name": text} | _both(true, labels) for text, true in known.items()],
    }


def _both(true: Dependencies, labels: list[int]) -> dict[str, list[int]]:
    chosen = np.ix_(labels, labels)
    return {"psi": lower(true.psi_CC[chosen]), "phi": lower(true.phi_CC[chosen])}
