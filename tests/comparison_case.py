"""A comparison of methods whose mAPs are known in every run: what the tests of its table share."""

import reporting_cases
from reporting_cases import PAIR, REASON, path_of, row

from mdkd.metrics import METRICS

SEEDS = [0, 1, 2]
TEACHER = [path_of("teacher")]


def of(method, teacher="resnet20"):
    return [path_of(method, seed, (teacher, PAIR[1])) for seed in SEEDS]


STUDENT = of("vanilla")
# The mAP of every run: the mean of mld and mdkd is 0.7, that of pkt reads the same.
VALUES = {
    TEACHER[0]: 0.8,
    **dict(zip(STUDENT, (0.5, 0.6, 0.7), strict=True)),
    **dict(zip(of("mld"), (0.7, 0.7, 0.7), strict=True)),
    **dict(zip(of("mdkd"), (0.69, 0.70, 0.71), strict=True)),
    **dict(zip(of("pkt"), (0.70004, 0.70003, 0.70002), strict=True)),
    **dict(zip(of("rkd")[:2], (0.2, 0.4), strict=True)),  # the third is missing
}
ODD = "a_b & 50% #1 {x}"
ARTEFACT = reporting_cases.artefact(
    "comparison",
    [
        row("Teacher", "teacher", TEACHER),
        row("Student", "student", STUDENT),
        row("MLD", "method", of("mld")),
        row(ODD, "method", of("mdkd")),
        row("PKT", "method", of("pkt")),
        row("RKD", "method", of("rkd")),
        row("PS", "method", of("ps")),
        row("L2D", "method", [], unavailable=REASON),
    ],
    title="Methods compared",
    seeds=SEEDS,
    metrics=["mAP", "CF1_k"],
    notes=["A note of the experiment: 100 %."],
)
COLUMN = ARTEFACT.columns[0]


def write_record(layout, path, value):
    """A run of this mAP; its CF1_k is half of it."""
    metrics = dict.fromkeys(METRICS, 0.125) | {"mAP": value, "CF1_k": value / 2}
    reporting_cases.write_record(layout, path, metrics, dict.fromkeys("abc", 0.5))


def scored(base):
    """The folders of a protocol in which the runs of VALUES have been scored."""
    paths = [*VALUES, *of("rkd"), *of("ps"), *of("mld", "wrn16_2"), *of("mdkd", "wrn16_2")]
    layout = reporting_cases.planned(base, paths)
    for path, value in VALUES.items():
        write_record(layout, path, value)
    return layout


def texts(artefact, layout):
    return reporting_cases.table_texts(artefact, layout)
