"""Metrics and histories with known values: what tests of sensitivity, scale, convergence share."""

import json

import numpy as np
import reporting_cases
from matplotlib import pyplot as plt
from reporting_cases import fail, path_of, planned, row, write_record

from mdkd import registry
from mdkd.reporting import plots
from mdkd.specfiles import Pair

SEEDS = [0, 1]
EPOCHS = 6
ARCH = "resnet8x2"


def teacher(data="scenes", arch=ARCH):
    return [path_of("teacher", pair=(arch, "resnet8"), data=data)]


def student(data="scenes"):
    return of("vanilla", data=data)


def of(method, variant="default", data="scenes", arch=ARCH):
    return [path_of(method, seed, (arch, "resnet8"), variant, data) for seed in SEEDS]


def levels(archs=(ARCH,)):
    return [
        row("Teacher", "teacher", *(teacher(arch=arch) for arch in archs)),
        row("Student", "student", *(student() for _ in archs)),
        row("MLD", "method", *(of("mld", arch=arch) for arch in archs)),
        row("MDKD", "method", *(of("mdkd", arch=arch) for arch in archs)),
    ]


def artefact(kind, rows, metrics=("mAP",), data="scenes", archs=(ARCH,)):
    return reporting_cases.artefact(
        kind,
        rows,
        name="drawn",
        title="Drawn",
        seeds=SEEDS,
        pairs=[Pair(dataset=data, teacher=arch, student="resnet8") for arch in archs],
        columns=[f"Scenes: {arch}" for arch in archs],
        metrics=list(metrics),
        notes=[],
    )


def results_of(base, artefact, values, histories=None):
    """The folders of a protocol: runs of `values` are done, with metrics by name or the mAP.

    The text ``failed`` is a run that failed; runs that are not named have not been made.
    """
    results = planned(base, artefact.runs, EPOCHS)
    assert set(values) <= set(results.runs)
    for path, value in values.items():
        if value == "failed":
            fail(results, path)
            continue
        metrics = value if isinstance(value, dict) else {"mAP": value}
        write_record(results, path, metrics, {"a": 0.5})
        lines = [
            {"epoch": i, "losses": {}, "gradient_ratios": {}, "images_per_s": 1.0} | entry
            for i, entry in enumerate((histories or {}).get(path, [{}] * EPOCHS), 1)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (results.run(path) / "history.jsonl").write_text(text, encoding="utf-8")
    return results


def written(artefact, results):
    """The Markdown as {label: entries} of each block, the notes, and the lines of the CSV."""
    text, lines = reporting_cases.written(artefact, results)
    blocks = []
    for line in text.splitlines():
        if line.startswith("|---"):
            blocks.append({})
        elif line.startswith("| ") and not line.startswith("|  |"):
            label, *entries = (cell.strip() for cell in line.strip("|").split(" | "))
            blocks[-1][label] = entries
    return blocks, text, lines


def of_csv(lines, **wanted):
    (line,) = [ln for ln in lines if all(ln[key] == value for key, value in wanted.items())]
    return line


def line_of(axis, label):
    """The points of a line of a figure."""
    (line,) = [line for line in axis.lines if line.get_label() == label]
    return np.array(line.get_xydata(), dtype=float)


def drawn(artefact, results):
    """The figure, laid out as on paper; a warning is an error."""
    plots.set_style()
    figure = registry.load("mdkd.reporting.kinds", artefact.kind).figure(artefact, results)
    figure.draw_without_rendering()
    plt.close(figure)
    return figure
