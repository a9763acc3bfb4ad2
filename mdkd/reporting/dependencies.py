"""Label dependencies in predicted probabilities: measures, errors, and their mean over seeds.

Batch level means the whole test set here. Shape key: N images, C labels, L labels of a sequence;
``p_NC`` are probabilities in [0, 1]. Never imports torch.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from mdkd import records
from mdkd import codependence as labels
from mdkd.reporting import summary as report
from mdkd.data.scenes_graph import Graph, Node, Scene, joint
from mdkd.errors import UserError
from mdkd.plan import Artefact, Cell
from mdkd.results import Predictions, Results

Key = tuple[str, ...]  # what is measured, one text per column of a frame
Measure = Callable[[Predictions], Mapping[Key, float]]
Moments = tuple[float, float, float]  # of a residual: S1^2, S2 and R


class Dependencies(NamedTuple):
    """What is known of the pairs and triples of labels; symmetric in k and l."""

    psi_CC: np.ndarray  # second-order Psi, a distance: 0 means alike
    phi_CC: np.ndarray  # correlation coefficients
    cmi_CCC: np.ndarray  # I(k; l | m) in nats


class Scope(NamedTuple):
    """Pairs k < l, and triples of such a pair and a third label, over which errors are averaged."""

    pairs_CC: np.ndarray  # bool
    triples_CCC: np.ndarray  # bool


class Truth(NamedTuple):
    """What is known of the labels themselves."""

    name: str
    dependencies: Dependencies
    scopes: dict[str, Scope]
    counted: Dependencies | None  # in the test labels, where the truth is known without them


def of_joint(joint_CCC: np.ndarray) -> Dependencies:
    """The dependencies of labels whose joint probabilities are known or counted."""
    return Dependencies(
        labels.psi(joint_CCC), labels.phi(joint_CCC), labels.conditional_information(joint_CCC)
    )


def of_predictions(p_NC: np.ndarray) -> Dependencies:
    """The dependencies in what a network says; Psi is the paper's, of the probabilities."""
    return of_joint(expected_joint(p_NC))._replace(psi_CC=psi(p_NC))


def psi(p_NC: np.ndarray) -> np.ndarray:
    """Psi(k, l) = mean over images of (p_k - p_l)^2 (Eq. 4), ``[C, C]``; of one image: Phi."""
    p_NC = p_NC.astype(np.float64)
    gram_CC = p_NC.T @ p_NC / len(p_NC)
    square_C = np.diag(gram_CC)
    return np.maximum(square_C[:, None] + square_C - 2 * gram_CC, 0.0)


def along(p_NL: np.ndarray) -> np.ndarray:
    """Phi_n of every image along a sequence of n = L labels, ``[N]``; its mean is Psi_n.

    The mean over the n - 1 neighbours (k, l) of (p_k - p_l)^2.
    """
    return (np.diff(p_NL.astype(np.float64), axis=1) ** 2).mean(axis=1)


def expected_joint(p_NC: np.ndarray) -> np.ndarray:
    """``joint_CCC`` as in `labels`, if labels are independent given the image, float64.

    P(k, l, m) = mean over images of p_k p_l p_m for three labels, and P(k, l) = mean of p_k p_l.
    """
    p_CN = np.ascontiguousarray(p_NC.T, dtype=np.float64)
    size, images = p_CN.shape
    joint_CCC = np.empty((size, size, size))
    for k in range(size):  # fill in all triples whose first label is k
        part_CC = (p_CN[k:] * p_CN[k]) @ p_CN[k:].T / images
        joint_CCC[k, k:, k:] = joint_CCC[k:, k, k:] = joint_CCC[k:, k:, k] = part_CC
    pair_CC = p_CN @ p_CN.T / images
    np.fill_diagonal(pair_CC, p_CN.mean(axis=1))  # a label with itself is no square
    i = np.arange(size)
    joint_CCC[i, i, :] = joint_CCC[i, :, i] = joint_CCC[:, i, i] = pair_CC
    return joint_CCC


def batch_errors(residual_CC: np.ndarray, orders: Sequence[int]) -> list[float]:
    """Root mean square over label sequences of the error of Psi_n: sqrt(2 L_BDn), per order n.

    ``residual_CC`` is the difference of two second-order Psi; every order n is at most C.
    """
    sums_C = residual_CC.sum(axis=1)
    moments = (sums_C.sum() ** 2, (residual_CC**2).sum(), (sums_C**2).sum())
    return [_error(moments, len(residual_CC), order) for order in orders]


def instance_errors(
    student_NC: np.ndarray, teacher_NC: np.ndarray, orders: Sequence[int]
) -> list[float]:
    """Root mean square over images and sequences of the error of Phi_n: sqrt(2 L_IDn).

    An image's residual factorises: D_kl = (u_k - u_l) (v_k - v_l) with u = teacher + student and
    v = teacher - student; centred, their sums give the moments.
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
    """Of any number of values; NaN of none."""
    return math.sqrt(float((values**2).mean())) if values.size else math.nan


def truth(artefact: Artefact, results: Results, column: int) -> Truth | None:
    """The graph of a data set that has one, otherwise what its test labels say."""
    said = first(artefact, results, column)
    if said is None:
        return None
    counted = of_joint(labels.counted_joint(said.targets_NC))
    scopes = {"all": everything(len(said.classes))}
    file = results.cache(artefact.pairs[column].dataset) / "graph.json"
    if not file.exists():
        return Truth("the counted test labels", counted, scopes, None)
    record = records.read_json(file)
    if record["classes"] != said.classes:
        raise UserError(f"{file}: not the labels of the trained networks; rebuild the cache")
    exact = of_joint(joint(read_graph(record)))
    return Truth("the true graph", exact, scopes | links(record), counted)


def read_graph(record: dict) -> Graph:
    """The graph whose dependencies are in a ``graph.json``, to the 8 decimals given there."""
    classes = record["classes"]
    scenes = []
    for name, scene in record["scenes"].items():
        rules = {
            edge["child"]: (
                classes.index(edge["parent"]),
                (edge["p_without_parent"], edge["p_with_parent"]),
            )
            for edge in record["edges"]
            if edge["scene"] == name
        }
        nodes = []
        for label in scene["labels"]:
            k = classes.index(label)
            p = scene["marginals"][k]
            nodes.append(Node(k, *rules.get(label, (None, (p, p)))))
        scenes.append(Scene(name, scene["weight"], tuple(nodes)))
    return Graph(tuple(classes), tuple(scenes))


def links(record: dict) -> dict[str, Scope]:
    """Direct pairs are linked in some scene; indirect ones are not, but have a common neighbour.

    The triples of a direct pair are those with any third label, the triples of an indirect pair
    those with its mediators.
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
    """All pairs and triples of ``size`` labels."""
    pairs_CC = np.triu(np.ones((size, size), bool), 1)
    triples_CCC = np.repeat(pairs_CC[:, :, None], size, axis=2)
    k = np.arange(size)
    triples_CCC[k, :, k] = triples_CCC[:, k, k] = False
    return Scope(pairs_CC, triples_CCC)


def teacher(artefact: Artefact, results: Results, column: int) -> Predictions | None:
    """What the teacher of a column says, if it has been trained."""
    paths = [row.cells[column].runs for row in artefact.rows if row.role == "teacher"]
    return results.predictions(paths[0][0])


def first(artefact: Artefact, results: Results, column: int) -> Predictions | None:
    """Predictions of any run of a column, for what all share: images, targets and labels."""
    paths = (path for row in artefact.rows for path in row.cells[column].runs)
    return next((found for path in paths if (found := results.predictions(path))), None)


def state(cell: Cell, results: Results, runs: int) -> str:
    """``done``, ``partial``, ``missing``, ``failed`` or ``n/a: reason``, given the runs found."""
    if cell.unavailable:
        return f"n/a: {cell.unavailable}"
    if runs:
        return "done" if runs == len(cell.runs) else "partial"
    failed = any(results.state(path) == "failed" for path in cell.runs)
    return "failed" if failed else "missing"


def over_seeds(
    artefact: Artefact,
    results: Results,
    column: int,
    names: Sequence[str],
    keys: Mapping[Key, str | None],
    measure: Measure,
) -> pd.DataFrame:
    """Mean and spread over the seeds of every cell of a column, one row per key.

    Args:
        names: the columns that hold a key's texts.
        keys: what is wanted, and why it cannot be had (None: it can).
        measure: values by key of one run's predictions; a key it leaves out is a gap.

    Columns: row, role, column, the names, mean, std (n - 1; NaN for one run), runs, planned, state.
    """
    lines = []
    for row in artefact.rows:
        cell = row.cells[column]
        # one run after the other: predictions of all of them may not fit into memory
        found = [measure(said) for path in cell.runs if (said := results.predictions(path))]
        for key, impossible in keys.items():
            values = pd.Series([values[key] for values in found if key in values], dtype=float)
            lines.append(
                {
                    "row": row.label,
                    "role": row.role,
                    "column": artefact.columns[column],
                    **dict(zip(names, key, strict=True)),
                    "mean": values.mean(),
                    "std": values.std(),
                    "runs": len(values),
                    "planned": len(cell.runs),
                    "state": f"n/a: {impossible}"
                    if impossible and not cell.unavailable
                    else state(cell, results, len(values)),
                }
            )
    return pd.DataFrame(lines)


def rank(frame: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    """1 for the smallest value of student and methods as printed; ties share it, NaN for gaps."""
    methods = frame[frame["role"].isin(("student", "method"))]
    printed = methods.assign(printed=(100 * methods["mean"]).round(2))
    return printed.groupby(["column", *names])["printed"].rank("min").reindex(frame.index)


def hundredfold(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame as it is written to CSV: hundredths of four decimals, as printed."""
    return frame.assign(**{key: (100 * frame[key]).round(4) for key in ("mean", "std")})


def notes(artefact: Artefact, results: Results) -> list[str]:
    """Protocol, seeds, the runs that are missing, and what the experiment says."""
    spread = "Mean ± standard deviation over seeds of the last epoch; the teacher is one run."
    return [*report.made(artefact, results), spread, *artefact.notes]
