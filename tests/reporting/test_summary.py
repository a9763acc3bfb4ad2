"""From records to means, spreads, states and ranks: records with known values."""

import csv
import shutil
from dataclasses import replace

import pandas as pd
import pytest
from comparison_case import (
    ARTEFACT,
    ODD,
    TEACHER,
    of,
    scored,
)
from reporting_cases import REASON

from mdkd.metrics import METRICS
from mdkd.reporting.summary import metrics_csv, of_metrics


@pytest.fixture
def layout(tmp_path):
    return scored(tmp_path)


def test_summary_of_known_values(layout):
    frame = of_metrics(ARTEFACT, layout)
    assert len(frame) == 8 * 2
    table = frame[frame["metric"] == "mAP"].set_index("row")
    expected = {  # mean, standard deviation with n - 1, runs, state, rank
        "Teacher": (0.8, None, 1, "done", None),
        "Student": (0.6, 0.1, 3, "done", 4),
        "MLD": (0.7, 0.0, 3, "done", 1),
        ODD: (0.7, 0.01, 3, "done", 1),
        "PKT": (0.70003, 0.00001, 3, "done", 1),  # reads 70.00 like the others
        "RKD": (0.3, 0.02**0.5, 2, "partial", 5),
        "PS": (None, None, 0, "missing", None),
        "L2D": (None, None, 0, f"n/a: {REASON}", None),
    }
    for label, (mean, std, runs, state, rank) in expected.items():
        line = table.loc[label]
        assert (line["runs"], str(line["state"])) == (runs, state)
        for key, value in (("mean", mean), ("std", std), ("rank", rank)):
            if value is None:
                assert pd.isna(line[key]), (label, key)
            else:
                assert line[key] == pytest.approx(value, abs=1e-12), (label, key)
    assert table["planned"].tolist() == [1, 3, 3, 3, 3, 3, 3, 0]
    halves = frame[frame["metric"] == "CF1_k"].set_index("row")
    assert halves.loc["MLD", "mean"] == pytest.approx(0.35)
    assert halves.loc["RKD", "std"] == pytest.approx(0.02**0.5 / 2)


def test_folders_that_only_look_like_seeds_are_left_out(layout):
    metrics_csv(layout)
    before = (layout.results / "metrics.csv").read_bytes()
    first = layout.store / of("mld")[0]
    for name in ("seed0_backup", "seed", "seed00", "seeds"):
        shutil.copytree(first, first.with_name(name))
    metrics_csv(layout)
    assert (layout.results / "metrics.csv").read_bytes() == before


def test_metrics_csv_is_tidy(layout):
    paths = [*TEACHER, *of("mld"), *of("rkd")]
    metrics_csv(replace(layout, runs={path: layout.runs[path] for path in paths}))
    with (layout.results / "metrics.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == (
        ["kind", "dataset", "teacher", "student", "method", "variant", "seed", "metric", "value"]
    )
    assert len(lines) == (1 + 3 + 2) * len(METRICS)  # the third run of rkd has not been made
    first = [line for line in lines if line["kind"] == "supervised"]
    assert {line["metric"] for line in first} == set(METRICS)
    assert {(ln["teacher"], ln["student"], ln["method"], ln["seed"]) for ln in first} == {
        ("", "resnet20", "vanilla", "0")
    }
    (value,) = [
        line
        for line in lines
        if (line["method"], line["seed"], line["metric"]) == ("rkd", "1", "CF1_k")
    ]
    assert float(value.pop("value")) == 0.2
    assert value == {
        "kind": "distill",
        "dataset": "scenes",
        "teacher": "resnet20",
        "student": "resnet8",
        "method": "rkd",
        "variant": "default",
        "seed": "1",
        "metric": "CF1_k",
    }
