"""Label dependencies in predicted probabilities: measures, their errors, and what is true.

"Batch level" means here that the whole test set is one batch. Shape key: N images, C labels,
L labels of a sequence; ``p_NC`` are probabilities in [0, 1].
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdkd import codependence, records
from mdkd.artefacts import Artefact
from mdkd.data.scenes_graph import joint, read_graph
from mdkd.errors import UserError
from mdkd.reporting.summary import any_predictions
from mdkd.results import Predictions, Results

Moments = tuple[float, float, float]  # of a residual: S1^2, S2 and R


class Dependencies(NamedTuple):
    """Measures of the dependency of pairs and triples of labels, symmetric in k and l."""

    psi_CC: np.ndarray  # second-order Psi, a distance: 0 means alike
    phi_CC: np.ndarray  # correlation coefficients
    cmi_CCC: np.ndarray  # I(k; l | m) in nats


class Scope(NamedTuple):
    """Pairs k < l, and triples of such a pair and a third label, over which errors are averaged."""

    pairs_CC: np.ndarray  # bool
    triples_CCC: np.ndarray  # bool


class Truth(NamedTuple):
    """The dependencies of the true labels."""

    name: str  # where they come from
    dependencies: Dependencies
    scopes: dict[str, Scope]
    counted: Dependencies | None  # counted in the test labels, if the truth comes from a graph


def of_joint(joint_CCC: np.ndarray) -> Dependencies:
    """The dependencies of labels whose joint probabilities are known or counted."""
    return Dependencies(
        codependence.psi(joint_CCC),
        codependence.phi(joint_CCC),
        codependence.conditional_information(joint_CCC),
    )


def of_predictions(p_NC: np.ndarray) -> Dependencies:
    """The dependencies in a network's predictions; Psi is the paper's, of probabilities."""
    return of_joint(expected_joint(p_NC))._replace(psi_CC=psi(p_NC))


def psi(p_NC: np.ndarray) -> np.ndarray:
    """Psi(k, l) = mean over images of (p_k - p_l)^2 (Eq. 4), ``[C, C]``. For one image it is Phi.

    >>> psi(np.array([[0.2, 0.6], [0.5, 0.5]])).round(3).tolist()
    [[0.0, 0.08], [0.08, 0.0]]
    """
    p_NC = p_NC.astype(np.float64)
    gram_CC = p_NC.T @ p_NC / len(p_NC)
    square_C = np.diag(gram_CC)
    return np.maximum(square_C[:, None] + square_C - 2 * gram_CC, 0.0)


def along(p_NL: np.ndarray) -> np.ndarray:
    """Phi_n of every image along a sequence of n = L labels, ``[N]``. Its mean is Psi_n.

    Phi_n is the mean of (p_k - p_l)^2 over the n - 1 neighbours (k, l).

    >>> along(np.array([[0.1, 0.5, 0.4]])).round(3).tolist()
    [0.085]
    """
    return (np.diff(p_NL.astype(np.float64), axis=1) ** 2).mean(axis=1)


def expected_joint(p_NC: np.ndarray) -> np.ndarray:
    """``joint_CCC`` as in `mdkd.codependence`, float64, if labels are independent given the image.

    For different labels P(k, l, m) is the mean of p_k p_l p_m over images, and P(k, l) the mean of
    p_k p_l.

    >>> joint_CCC = expected_joint(np.array([[0.5, 0.2], [0.1, 0.4]]))
    >>> codependence.pairs(joint_CCC).round(3).tolist()
    [[0.3, 0.07], [0.07, 0.3]]
    """
    p_CN = np.ascontiguousarray(p_NC.T, dtype=np.float64)
    size, images = p_CN.shape
    joint_CCC = np.empty((size, size, size))
    for k in range(size):  # all triples whose lowest label is k
        part_CC = (p_CN[k:] * p_CN[k]) @ p_CN[k:].T / images
        joint_CCC[k, k:, k:] = joint_CCC[k:, k, k:] = joint_CCC[k:, k:, k] = part_CC
    pair_CC = p_CN @ p_CN.T / images
    np.fill_diagonal(pair_CC, p_CN.mean(axis=1))  # the mean of p_k, not of p_k squared
    i = np.arange(size)
    joint_CCC[i, i, :] = joint_CCC[i, :, i] = joint_CCC[:, i, i] = pair_CC
    return joint_CCC


def batch_errors(residual_CC: np.ndarray, orders: Sequence[int]) -> list[float]:
    """For each order n: the root mean square over label sequences of the error of Psi_n.

    This is sqrt(2 L_BDn). ``residual_CC`` is the difference of two second-order Psi; an order is
    at most C.

    >>> batch_errors(np.array([[0.0, 0.3], [0.3, 0.0]]), [2])
    [0.3]
    """
    sums_C = residual_CC.sum(axis=1)
    moments = (sums_C.sum() ** 2, (residual_CC**2).sum(), (sums_C**2).sum())
    return [_error(moments, len(residual_CC), order) for order in orders]


def instance_errors(
    student_NC: np.ndarray, teacher_NC: np.ndarray, orders: Sequence[int]
) -> list[float]:
    """For each order n: the root mean square over images and label sequences of the error of Phi_n.

    This is sqrt(2 L_IDn). An image's residual factorises into D_kl = (u_k - u_l) (v_k - v_l) with
    u = teacher + student and v = teacher - student. Sums over the centred u and v give the moments.

    >>> [round(e, 3) for e in instance_errors(np.array([[0.2, 0.6]]), np.array([[0.1, 0.8]]), [2])]
    [0.33]
    """
    student_NC, teacher_NC = student_NC.astype(np.float64), teacher_NC.astype(np.float64)
    u_NC, v_NC = teacher_NC + student_NC, teacher_NC - student_NC
    u_NC -= u_NC.mean(axis=1, keepdims=True)
    v_NC -= v_NC.mean(axis=1, keepdims=True)
    w_NC, size = u_NC * v_NC, u_NC.shape[1]
    P_N, Q_N = w_NC.sum(axis=1), (w_NC**2).sum(axis=1)
    norms_N = (u_NC**2).sum(axis=1) * (v_NC**2).sum(axis=1)
    S1_squared_N = (2 * size * P_N) ** 2
    S2_N = 2 * size * Q_N + 2 * norms_N + 4 * P_N**2
    R_N = size**2 * Q_N + 3 * size * P_N**2
    moments = (S1_squared_N.mean(), S2_N.mean(), R_N.mean())
    return [_error(moments, size, order) for order in orders]


def _error(moments: Moments, size: int, order: int) -> float:
    """sqrt(2 L_n): mean squares of one edge, two that share a label, and two disjoint ones."""
    if not 2 <= order <= size:
        raise ValueError(f"order {order} needs 2 <= order <= number of labels, which is {size}")
    S1_squared, S2, R = moments
    total = (order - 1) * S2 / math.perm(size, 2)
    if order >= 3:
        total += 2 * (order - 2) * (R - S2) / math.perm(size, 3)
    if order >= 4:
        disjoint = S1_squared - 4 * R + 2 * S2
        total += (order - 2) * (order - 3) * disjoint / math.perm(size, 4)
    return math.sqrt(max(total, 0.0)) / (order - 1)


def root_mean_square(values: np.ndarray) -> float:
    """The root mean square of any values, NaN if there are none.

    >>> root_mean_square(np.array([3.0, -4.0, 0.0, 0.0]))
    2.5
    """
    return math.sqrt(float((values**2).mean())) if values.size else math.nan


def truth(artefact: Artefact, results: Results, column: int) -> Truth | None:
    """The `true_dependencies` of a column.

    None if no run of the column is done, because the labels are then not known yet.
    """
    test = any_predictions(artefact, column, results)
    if test is None:
        return None
    return true_dependencies(test, results.cache(artefact.pairs[column].dataset) / "graph.json")


def true_dependencies(test: Predictions, file: Path) -> Truth:
    """The dependencies in the label graph of a file, or, if there is none, in the test labels."""
    counted = of_joint(codependence.counted_joint(test.targets_NC))
    scopes = {"all": everything(len(test.classes))}
    if not file.exists():
        return Truth("the counted test labels", counted, scopes, None)
    record = records.read_json(file)
    if record["classes"] != test.classes:
        raise UserError(f"{file}: other labels than the trained networks have; rebuild the cache")
    exact = of_joint(joint(read_graph(record)))
    return Truth("the true graph", exact, scopes | links(record), counted)


def links(record: dict) -> dict[str, Scope]:
    """The scopes of direct and of indirect pairs, from a ``graph.json``.

    A direct pair is linked in some scene. An indirect pair is not, but has a common neighbour. The
    triples of a direct pair are those with any third label; the triples of an indirect pair are
    those with its common neighbours (its mediators).
    """
    classes = record["classes"]
    size = len(classes)
    direct_CC, indirect_CC = np.zeros((2, size, size), bool)
    mediated_CCC = np.zeros((size, size, size), bool)
    for edge in record["edges"]:
        k, m = sorted((classes.index(edge["parent"]), classes.index(edge["child"])))
        direct_CC[k, m] = True
    for chain in record["chains"]:
        k, m = sorted(classes.index(end) for end in chain["ends"])
        if not direct_CC[k, m]:
            indirect_CC[k, m] = mediated_CCC[k, m, classes.index(chain["mediator"])] = True
    direct_CCC = everything(size).triples_CCC & direct_CC[:, :, None]
    return {"direct": Scope(direct_CC, direct_CCC), "indirect": Scope(indirect_CC, mediated_CCC)}


def everything(size: int) -> Scope:
    """All pairs and triples of ``size`` labels.

    >>> scope = everything(3)
    >>> int(scope.pairs_CC.sum()), int(scope.triples_CCC.sum())
    (3, 3)
    """
    pairs_CC = np.triu(np.ones((size, size), bool), 1)
    triples_CCC = np.repeat(pairs_CC[:, :, None], size, axis=2)
    k = np.arange(size)
    triples_CCC[k, :, k] = triples_CCC[:, k, k] = False
    return Scope(pairs_CC, triples_CCC)
