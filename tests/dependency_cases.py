"""Runs with known predictions: what tests of sequences, matrices and transfer share."""

import itertools
import math

import numpy as np
import reporting_cases
from matplotlib import pyplot as plt
from reporting_cases import PAIR, REASON, fail, path_of, planned, row, write_predictions

from mdkd.data.build import build
from mdkd.data.cache import open_cache
from mdkd.resolve import resolve_dataset

TEACHER = path_of("teacher")
CLASSES = ["cup", "parking meter", "dog", "cat", "bus"]
TARGETS = np.array([[1, 1, 0, 0, 1], [0, 1, 1, 0, 0], [1, 1, 1, 0, 0]], np.uint8)
IDS = ["a", "b", "c"]
# Options of the three kinds.
SEQUENCES = {"sequences": [["cup", "parking meter", "dog"], ["dog", "cat"], ["dog", "zebra"]]}
LABELS = ["cup", "parking meter", "dog"]
MATRICES = {"labels": LABELS, "images": [], "count": 1, "skip": 0}
ORDERS = {"orders": [2, 3, 6]}
TEACHER_P = np.array([[0.9, 0.8, 0.1, 0.2, 0.5], [0.3, 0.7, 0.6, 0.1, 0.2], [0.8, 0.9, 0.9, 0, 0]])


def of(method, teacher="resnet20"):
    return [path_of(method, seed, (teacher, PAIR[1])) for seed in (0, 1)]


# Shifts of the teacher's first label, the other way round in the second image: of two seeds each,
# but one of rkd has not been run.
SHIFTS = {
    **dict(zip(of("vanilla"), (-0.3, -0.2), strict=True)),
    **dict(zip(of("mld"), (0.0, -0.1), strict=True)),
    **dict(zip(of("mdkd"), (-0.1, 0.0), strict=True)),  # the same as mld
    of("rkd")[0]: -0.22,
}


def predictions(path):
    shift_NC = np.zeros(TEACHER_P.shape)
    shift_NC[:, 0] = SHIFTS.get(path, 0.0) * np.array([1, -1, 1])
    return TEACHER_P + shift_NC


def write_run(results, path, p_NC, classes=CLASSES, targets_NC=TARGETS, ids=IDS):
    p_NC = np.clip(p_NC, 1e-9, 1 - 1e-9)
    logits_NC = np.log(p_NC / (1 - p_NC)).astype(np.float32)
    digest = write_predictions(results, path, logits_NC, targets_NC, ids)
    reporting_cases.write_record(results, path, classes=classes, predictions_sha256=digest)


def artefact(kind, options):
    rows = [
        row("Teacher", "teacher", [TEACHER]),
        row("Student", "student", of("vanilla")),
        row("MLD", "method", of("mld")),
        row("MDKD", "method", of("mdkd")),
        row("RKD", "method", of("rkd")),
        row("PKT", "method", of("pkt")),
        row("PS", "method", of("ps")),
        row("L2D", "method", [], unavailable=REASON),
    ]
    return reporting_cases.artefact(kind, rows, title="Dependencies", options=options)


def unmade(base):
    """The folders of a protocol in which nothing has been run."""
    paths = [TEACHER, *(p for m in ("vanilla", "mld", "mdkd", "rkd", "pkt", "ps") for p in of(m))]
    paths += [*of("mld", teacher="wrn16_2"), path_of("teacher", pair=("wrn16_2", "resnet8"))]
    return planned(base, paths)


def predicted(base):
    """The same with records: PKT has not been run, PS has failed."""
    results = unmade(base)
    for path in (TEACHER, *SHIFTS):
        write_run(results, path, predictions(path))
    for path in of("ps"):
        fail(results, path)
    return results


def scenes_cache(base):
    """A cache of the embedded data below a folder."""
    folder = base / "cache" / "smoke" / "scenes"
    dataset = resolve_dataset(reporting_cases.specification(), "scenes")
    build(dataset, base / "data", folder, jobs=1)
    return open_cache(folder)


def texts(figure):
    found = [text.get_text() for axis in figure.axes for text in axis.texts]
    found += [axis.get_title() for axis in figure.axes]
    found += [text.get_text() for text in figure.texts]
    plt.close(figure)
    return found


def blocks(text):
    """Lines of the table by the heading of their block."""
    found, heading = {}, None
    for line in text.splitlines():
        heading = line if line and not line.startswith(("|", "-", "**")) else heading
        if heading:
            found.setdefault(heading, []).append(line)
    return {heading: "\n".join(lines) for heading, lines in found.items()}


def enumerated(student_NC, teacher_NC, order, level):
    """Root mean square error of the dependency, over all sequences of distinct labels."""
    own_NCC, other_NCC = (
        (p_NC[:, :, None] - p_NC[:, None, :]) ** 2 for p_NC in (student_NC, teacher_NC)
    )
    errors = []
    for sequence in itertools.permutations(range(student_NC.shape[1]), order):
        neighbours = list(itertools.pairwise(sequence))
        error_N = sum(own_NCC[:, k, m] - other_NCC[:, k, m] for k, m in neighbours) / (order - 1)
        errors.append(error_N.mean() ** 2 if level == "batch" else (error_N**2).mean())
    return math.sqrt(np.mean(errors))
