"""Metrics that tables compute from predictions: which runs are compared, and what is best."""

from dataclasses import replace

import numpy as np
import pytest
from reporting_cases import (
    artefact,
    csv_lines,
    path_of,
    planned,
    predict,
    random_predictions,
    row,
    table_texts,
)

from mdkd import reporting
from mdkd.agreement import COMPUTED, NO_TEACHER
from mdkd.errors import UserError
from mdkd.reporting.kinds import curve
from mdkd.score import read_predictions
from mdkd.specfiles import Pair

METRICS = ["ECE", "mAP", "KL_teacher", "agreement"]
OTHER = ("resnet8", "resnet20")  # the pair reversed: the networks change their roles


def of(method, pair=("resnet20", "resnet8")):
    return [path_of(method, seed, pair) for seed in (0, 1)]


def reversed_pair():
    """Two columns in which each network is once the teacher and once the student."""
    rows = [
        row("Teacher", "teacher", [path_of("teacher")], [path_of("teacher", pair=OTHER)]),
        row("Student", "student", of("vanilla"), of("vanilla", OTHER)),
        row("MLD", "method", of("mld"), of("mld", OTHER)),
        row("MDKD", "method", of("mdkd"), of("mdkd", OTHER)),
    ]
    pairs = [Pair(dataset="scenes", teacher=t, student=s) for t, s in (OTHER[::-1], OTHER)]
    columns = ["one", "two"]
    return artefact("comparison", rows, metrics=METRICS, pairs=pairs, columns=columns)


def done(tmp_path, without=()):
    table = reversed_pair()
    results = planned(tmp_path, table.runs)
    for seed, path in enumerate(table.runs):
        if path not in without:
            predict(results, path, *random_predictions(seed, ignoring=True)[:2])
    return table, results


def computed(results, path, teacher, metric):
    own, other = (
        read_predictions(results.run(p) / "predictions.npz", 5) if p else None
        for p in (path, teacher)
    )
    return 100 * COMPUTED[metric].of(own, other)


def test_runs_are_compared_with_the_teacher_of_their_column(tmp_path):
    table, results = done(tmp_path)
    lines = {
        (line["row"], line["column"], line["metric"]): line
        for line in csv_lines(table_texts(table, results)["csv"])
    }
    assert len(lines) == 4 * 2 * 4
    for i, column in enumerate(table.columns):
        teacher = table.rows[0].cells[i].runs[0]
        for r in table.rows[1:]:
            for metric in COMPUTED:
                expected = [computed(results, p, teacher, metric) for p in r.cells[i].runs]
                found = lines[r.label, column, metric]
                assert float(found["mean"]) == pytest.approx(np.mean(expected), abs=1e-4)
                assert float(found["std"]) == pytest.approx(np.std(expected, ddof=1), abs=1e-4)
        for metric in ("KL_teacher", "agreement"):
            assert lines["Teacher", column, metric]["state"] == f"n/a: {NO_TEACHER}"
        own = computed(results, teacher, None, "ECE")
        assert float(lines["Teacher", column, "ECE"]["mean"]) == pytest.approx(own, abs=1e-4)
    students = [lines["Student", column, "KL_teacher"]["mean"] for column in table.columns]
    assert students[0] != students[1]


def test_the_lowest_divergence_and_error_are_best_and_the_highest_agreement(tmp_path):
    table, results = done(tmp_path)
    best = {"ECE": min, "mAP": max, "KL_teacher": min, "agreement": max}
    found = csv_lines(table_texts(table, results)["csv"])
    for column in table.columns:
        for metric, choose in best.items():
            own = [
                (float(line["mean"]), line["rank"])
                for line in found
                if (line["column"], line["metric"]) == (column, metric) and line["rank"]
            ]
            assert choose(own)[1] == "1.0"
            assert [rank for _, rank in own].count("1.0") == 1


def test_notes_say_what_the_numbers_are(tmp_path):
    table, results = done(tmp_path)
    text = table_texts(table, results)["md"]
    for name, metric in COMPUTED.items():
        assert f"- {name}: " in text and metric.note.split(":")[0] in text
        assert metric.lowest_is_best == ("lower is better" in metric.note)
    assert "- Percentages (KL_teacher: units of 0.01 nats): mean" in text
    assert f"- KL_teacher, agreement: n/a for Teacher: {NO_TEACHER}." in text
    rows = [line for line in text.splitlines() if line.startswith("| Teacher |")]
    assert [line.split(" | ")[3:] for line in rows] == [["n/a", "n/a |"]] * 2


def test_agreement_has_the_value_of_a_student_that_says_no_to_all(tmp_path):
    table, results = done(tmp_path)
    values = []
    for i, column in enumerate(table.columns):
        logits_NC = results.stored(table.rows[0].cells[i].runs[0]).logits_NC
        values.append(f"{100 * (logits_NC < 0).mean():.2f} ({column})")
    assert len(set(values)) == 2
    note = f"every label of every image would have {'; '.join(values)}."
    assert note in table_texts(table, results)["md"]
    others = replace(table, metrics=["mAP", "ECE"])
    assert "says no" not in table_texts(others, results)["md"]


def test_before_the_teacher_is_trained_nothing_is_compared_with_it(tmp_path):
    table, results = done(tmp_path, without=[path_of("teacher")])
    found = {
        line["metric"]: line["state"]
        for line in csv_lines(table_texts(table, results)["csv"])
        if (line["row"], line["column"]) == ("MLD", "one")
    }
    assert found == {"ECE": "done", "mAP": "done", "KL_teacher": "missing", "agreement": "missing"}
    rows = [line for line in table_texts(table, results)["md"].splitlines() if "| MLD |" in line]
    assert rows[0].split(" | ")[3:] == ["–", "– |"]


POINTS = (3, 6)  # epochs; the second is the default


def over_epochs(metrics):
    """A curve with a student and MLD at two lengths of training."""

    def point(label, role, runs, epochs):
        variant = "" if epochs == POINTS[1] else f"epochs-{epochs}/"
        runs = [run.replace("default/", "").replace("seed", f"{variant}seed") for run in runs]
        if role == "method" and not variant:
            runs = [run.replace("seed", "default/seed") for run in runs]
        return row(f"{label}, {epochs}", role, runs, panel=label, x=float(epochs))

    rows = [row("Teacher", "teacher", [path_of("teacher")])]
    rows += [point("Student", "student", of("vanilla"), n) for n in POINTS]
    rows += [point("MLD", "method", of("mld"), n) for n in POINTS]
    options = {"x": "epochs", "points": [float(n) for n in POINTS]}
    return artefact("curve", rows, metrics=metrics, options=options)


def test_a_curve_of_a_divergence(tmp_path):
    table = over_epochs(["KL_teacher", "mAP"])
    results = planned(tmp_path, table.runs, epochs=POINTS[1])
    for seed, path in enumerate(table.runs):
        predict(results, path, *random_predictions(seed)[:2])
    teacher = path_of("teacher")
    divergence = {path: computed(results, path, teacher, "KL_teacher") for path in table.runs}
    means = {r.label: np.mean([divergence[path] for path in r.cells[0].runs]) for r in table.rows}
    lines = {
        line["row"]: line
        for line in csv_lines(table_texts(table, results)["csv"])
        if line["metric"] == "KL_teacher"
    }
    for n in POINTS:
        student, mld = f"Student, {n}", f"MLD, {n}"
        (base,) = (r.cells[0].runs for r in table.rows if r.label == student)
        (runs,) = (r.cells[0].runs for r in table.rows if r.label == mld)
        found = [divergence[a] - divergence[b] for a, b in zip(runs, base, strict=True)]
        assert float(lines[mld]["difference"]) == pytest.approx(np.mean(found), abs=1e-4)
        assert float(lines[mld]["difference_std"]) == pytest.approx(np.std(found, ddof=1), abs=1e-4)
        best = min((student, mld), key=means.__getitem__)  # the lowest
        assert lines[best]["rank"] == "1.0"
    left, right = curve.figure(table, results).axes
    assert left.get_ylabel() == "KL_teacher (0.01 nats)"
    assert right.get_ylabel() == "0.01 nats"


def test_the_csv_of_a_scale_has_the_unit_of_each_metric(tmp_path):
    table, results = done(tmp_path)
    for path in table.runs:
        (results.run(path) / "history.jsonl").write_text(
            '{"epoch": 1, "losses": {}, "gradient_ratios": {}, "images_per_s": 1.0}\n'
        )
    texts = table_texts(replace(table, kind="scale"), results)
    units = {line["metric"]: line["unit"] for line in csv_lines(texts["csv"])}
    assert units == {"ECE": "%", "mAP": "%", "KL_teacher": "0.01 nats", "agreement": "%"}


def test_predictions_of_other_images_are_refused(tmp_path):
    table, results = done(tmp_path)
    path = of("mdkd")[1]
    logits_NC, targets_NC, _ = random_predictions(0)
    predict(results, path, logits_NC, targets_NC, ids=[f"other{i}" for i in range(60)])
    with pytest.raises(UserError, match=rf"{path}: its test images differ"):
        table_texts(table, results)


def test_the_figure_shows_the_first_metric_of_every_run(tmp_path, monkeypatch):
    from mdkd.reporting import plots

    drawn = []
    monkeypatch.setattr(plots, "save", lambda figure, *_: drawn.append(figure))
    table, results = done(tmp_path)
    reporting.write_figure(table, results, tmp_path)
    ((first, _),) = [drawn[0].axes]
    assert first.get_xlabel() == "ECE (%)"
    dots = [line.get_xdata() for line in first.lines if line.get_marker() == "o"]
    expected = [
        [computed(results, path, None, "ECE") for path in r.cells[0].runs] for r in table.rows[1:]
    ]
    np.testing.assert_allclose(dots, expected)
