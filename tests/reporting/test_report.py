"""Tables and figures from records with known values."""

import csv
import io
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from conftest import copy_config

from mdkd import records, reporting
from mdkd.errors import UserError
from mdkd.layout import TABLE_FORMATS
from mdkd.metrics import METRICS
from mdkd.plan import Artefact, Cell, Row, resolve_run
from mdkd.reporting.statistics import resolvable_difference, seeds_needed
from mdkd.reporting.summary import metrics_csv, of_metrics
from mdkd.reporting.tables import tex_escape
from mdkd.results import Results
from mdkd.spec import Pair, Specification

SEEDS = [0, 1, 2]
TEACHER = ["supervised/scenes/resnet20/seed0"]
STUDENT = [f"supervised/scenes/resnet8/seed{seed}" for seed in SEEDS]


def of(method, teacher="resnet20"):
    return [f"distill/scenes/{teacher}--resnet8/{method}/default/seed{seed}" for seed in SEEDS]


def row(label, role, *runs, unavailable=None):
    return Row(label=label, role=role, cells=[Cell(runs=r, unavailable=unavailable) for r in runs])


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
REASON = "needs one embedding per label"


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return Specification(copy_config(tmp_path_factory.mktemp("spec") / "config"))


def write_record(layout, spec, path, value):
    metrics = dict.fromkeys(METRICS, 0.125) | {"mAP": value, "CF1_k": value / 2}
    folder = layout.run(path)
    run = {"run": asdict(resolve_run(spec, path)), "predictions_sha256": "p", "dropped": {}}
    records.write_json(folder / "run.json", run)
    record = {
        "run": path,
        "predictions_sha256": "p",
        "metrics": metrics,
        "average_precision": dict.fromkeys("abc", 0.5),
        "labels_without_positives": [],
    }
    records.write_json(folder / "metrics.json", record)


@pytest.fixture
def layout(tmp_path, spec):
    """The folders of a protocol in which the runs of VALUES have been scored."""
    paths = [*VALUES, *of("rkd"), *of("ps"), *of("mld", "wrn16_2"), *of("mdkd", "wrn16_2")]
    layout = Results("smoke", tmp_path, {path: resolve_run(spec, path) for path in paths})
    for path, value in VALUES.items():
        write_record(layout, spec, path, value)
    return layout


ARTEFACT = Artefact(
    name="short",
    kind="comparison",
    title="Methods compared",
    protocol="smoke",
    seeds=SEEDS,
    pairs=[Pair(dataset="scenes", teacher="resnet20", student="resnet8")],
    columns=["Scenes: ResNet20 → ResNet8"],
    metrics=["mAP", "CF1_k"],
    rows=[
        row("Teacher", "teacher", TEACHER),
        row("Student", "student", STUDENT),
        row("MLD", "method", of("mld")),
        row(ODD, "method", of("mdkd")),
        row("PKT", "method", of("pkt")),
        row("RKD", "method", of("rkd")),
        row("PS", "method", of("ps")),
        row("L2D", "method", [], unavailable=REASON),
    ],
    notes=["A note of the experiment: 100 %."],
)
COLUMN = ARTEFACT.columns[0]


def texts(artefact, layout):
    reporting.write_table(artefact, layout, layout.base / "tables")
    files = {suffix: layout.base / "tables" / f"short.{suffix}" for suffix in TABLE_FORMATS}
    return {suffix: file.read_text(encoding="utf-8") for suffix, file in files.items()}


def markdown_row(text, label):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {label} |")]
    return [cell.strip() for cell in line.strip("|").split(" | ")][1:]


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


def test_the_csv_holds_percentages(layout):
    lines = list(csv.DictReader(io.StringIO(texts(ARTEFACT, layout)["csv"])))
    by_place = {(line["row"], line["metric"]): line for line in lines}
    assert len(by_place) == 16
    odd = by_place[ODD, "mAP"]
    assert (float(odd["mean"]), float(odd["std"])) == (70.0, 1.0)
    assert float(by_place["PKT", "mAP"]["mean"]) == 70.003
    assert float(by_place["RKD", "CF1_k"]["mean"]) == 15.0
    assert by_place["Teacher", "mAP"]["std"] == by_place["Teacher", "mAP"]["rank"] == ""
    assert by_place["PS", "mAP"]["mean"] == ""
    assert by_place["L2D", "mAP"]["state"] == f"n/a: {REASON}"


def test_the_markdown_table(layout):
    text = texts(ARTEFACT, layout)["md"]
    assert text.splitlines()[0] == f"**Methods compared. {COLUMN}**"
    assert "|  | mAP | CF1_k |" in text
    assert markdown_row(text, "Teacher") == ["80.00", "40.00"]
    assert markdown_row(text, "Student") == ["60.00 ± 10.00", "30.00 ± 5.00"]
    assert markdown_row(text, "MLD") == ["**70.00 ± 0.00**", "**35.00 ± 0.00**"]
    assert markdown_row(text, ODD) == ["**70.00 ± 1.00**", "**35.00 ± 0.50**"]
    assert markdown_row(text, "RKD") == ["30.00 ± 14.14†", "15.00 ± 7.07†"]
    assert markdown_row(text, "PS") == ["–", "–"]
    assert markdown_row(text, "L2D") == ["n/a", "n/a"]


def test_the_second_best_is_underlined(layout):
    rows = [ARTEFACT.rows[i] for i in (0, 1, 2, 5)]
    result = texts(replace(ARTEFACT, rows=rows), layout)
    assert markdown_row(result["md"], "Student")[0] == "<u>60.00 ± 10.00</u>"
    assert "Student & \\underline{60.00 $\\pm$ 10.00} &" in result["tex"]
    assert "MLD & \\textbf{70.00 $\\pm$ 0.00} &" in result["tex"]


def test_runs_of_other_settings_are_gaps_with_a_note(layout):
    path = of("mld")[0]
    file = layout.run(path) / "run.json"
    record = records.read_json(file)
    record["run"]["method"]["settings"]["mld"] = 3.0
    records.write_json(file, record)
    text = texts(ARTEFACT, layout)["md"]
    assert layout.state(path) == "other settings"
    assert "- 1 runs were trained with other settings and are left out." in text
    assert "14 of 19 runs" in text
    assert markdown_row(text, "MLD")[0] == "**70.00 ± 0.00†**"


def test_scores_that_are_missing_or_of_other_predictions_are_computed_anew(layout):
    folder = layout.run(TEACHER[0])
    logits_NC, targets_NC = np.array([[2.0], [1.0], [0.0]]), np.array([[0], [1], [0]], np.uint8)
    np.savez(folder / "predictions.npz", logits_NC=logits_NC, targets_NC=targets_NC)
    digest = records.sha256(folder / "predictions.npz")
    record = records.read_json(folder / "run.json")
    records.write_json(
        folder / "run.json", record | {"predictions_sha256": digest, "classes": ["cat"]}
    )
    old = (folder / "metrics.json").read_bytes()
    assert layout.scores(TEACHER[0])["metrics"]["mAP"] == 0.5  # the positive is second
    assert (folder / "metrics.json").read_bytes() == old
    (folder / "metrics.json").unlink()
    assert layout.state(TEACHER[0]) == "done"
    assert layout.scores(TEACHER[0])["average_precision"] == {"cat": 0.5}
    (folder / "predictions.npz").unlink()
    with pytest.raises(UserError, match="missing, or not the predictions"):
        layout.scores(TEACHER[0])


def test_labels_absent_in_the_test_split_are_counted(layout):
    assert "leaves out" not in texts(ARTEFACT, layout)["md"]
    for path in VALUES:
        file = layout.run(path) / "metrics.json"
        record = records.read_json(file) | {"labels_without_positives": ["d", "e"]}
        records.write_json(file, record)
    note = "- Scenes: ResNet20 → ResNet8: mAP leaves out 2 of 5 labels, which no test image has."
    assert note in texts(ARTEFACT, layout)["md"]


def test_notes_say_protocol_seeds_counts_and_reasons(layout):
    text = texts(ARTEFACT, layout)["md"]
    assert "Protocol smoke, seeds 0, 1, 2, 15 of 19 runs (– not yet run" in text
    assert "oracle k" in text
    assert f"- L2D: n/a: {REASON}." in text
    assert "- A note of the experiment: 100 %." in text
    done = replace(ARTEFACT, rows=ARTEFACT.rows[:3], metrics=["mAP"])
    text = texts(done, layout)["md"]
    assert "seeds 0, 1, 2, 7 runs." in text
    assert "oracle" not in text
    assert "not yet run" not in text


def test_a_shared_run_is_counted_once(layout):
    two = replace(
        ARTEFACT,
        columns=["one", "two"],
        rows=[
            row("Teacher", "teacher", TEACHER, TEACHER),
            row("Student", "student", STUDENT, STUDENT),
            row("MLD", "method", of("mld"), of("mld", "wrn16_2")),
        ],
    )
    assert "7 of 10 runs" in texts(two, layout)["md"]


def test_one_seed_has_no_spread(layout):
    rows = [
        row("Teacher", "teacher", TEACHER),
        row("Student", "student", STUDENT[:1]),
        row("MLD", "method", of("mld")[:1]),
    ]
    result = texts(replace(ARTEFACT, rows=rows, seeds=[0]), layout)
    assert markdown_row(result["md"], "Student") == ["<u>50.00</u>", "<u>25.00</u>"]
    assert "MLD & \\textbf{70.00} & \\textbf{35.00} \\\\" in result["tex"]
    assert "seed 0," in result["md"]
    lines = list(csv.DictReader(io.StringIO(result["csv"])))
    assert {line["std"] for line in lines} == {""}


def test_two_columns_are_ranked_apart(layout, spec):
    for path in of("mld", "wrn16_2"):
        write_record(layout, spec, path, 0.9)
    for path in of("mdkd", "wrn16_2"):
        write_record(layout, spec, path, 0.95)
    two = replace(
        ARTEFACT,
        columns=["one", "two"],
        metrics=["mAP"],
        rows=[
            row("Student", "student", STUDENT, STUDENT),
            row("MLD", "method", of("mld"), of("mld", "wrn16_2")),
            row("RKD", "method", of("rkd"), of("mdkd", "wrn16_2")),
        ],
    )
    text = texts(two, layout)["md"]
    first, second = text.split("\none\n")[1].split("\ntwo\n")
    assert markdown_row(first, "MLD") == ["**70.00 ± 0.00**"]
    assert markdown_row(first, "RKD") == ["30.00 ± 14.14†"]
    assert markdown_row(second, "MLD") == ["<u>90.00 ± 0.00</u>"]
    assert markdown_row(second, "RKD") == ["**95.00 ± 0.00**"]


def test_nothing_has_run_yet(layout, tmp_path):
    result = texts(ARTEFACT, Results("smoke", tmp_path / "empty", layout.runs))
    assert "0 of 19 runs" in result["md"]
    assert markdown_row(result["md"], "Teacher") == ["–", "–"]


def unescaped(text, char):
    return sum(c == char and not text[:i].endswith("\\") for i, c in enumerate(text))


def test_latex_prints_special_characters(layout):
    text = texts(ARTEFACT, layout)["tex"]
    assert "a\\_b \\& 50\\% \\#1 \\{x\\} & \\textbf{70.00 $\\pm$ 1.00} &" in text
    assert "Scenes: ResNet20 $\\rightarrow$ ResNet8" in text
    assert "CF1\\_k" in text
    assert "100 \\%." in text
    body = text[text.index("\\toprule") : text.index("\\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith("\\\\")]
    assert len(lines) == 1 + 8
    assert {unescaped(line, "&") for line in lines} == {2}
    assert unescaped(text, "{") == unescaped(text, "}")
    assert unescaped(text, "%") == 2  # a comment, and a line whose end is no space
    assert unescaped(text, "#") == 0
    assert text.isascii()


def with_reported(numbers):
    """The artefact with published mAPs beside some of its rows."""
    rows = [
        replace(r, cells=[replace(c, reported=numbers.get(r.label, {})) for c in r.cells])
        for r in ARTEFACT.rows
    ]
    return replace(ARTEFACT, rows=rows)


def test_published_numbers_stand_beside_ours(layout):
    numbers = {"Teacher": {"mAP": 0.8125}, "MLD": {"mAP": 0.71, "OF1": 0.9}, "PS": {"mAP": 0.6}}
    result = texts(with_reported(numbers), layout)
    assert "|  | mAP | paper | Δ | CF1_k |" in result["md"]
    assert markdown_row(result["md"], "Teacher") == ["80.00", "81.25", "−1.25", "40.00"]
    assert markdown_row(result["md"], "MLD")[1:3] == ["71.00", "−1.00"]
    assert markdown_row(result["md"], "Student")[1:3] == ["", ""]
    assert markdown_row(result["md"], "PS")[:3] == ["–", "60.00", ""]
    assert "Published OF1 and CF1 are compared with OF1_k and CF1_k." in result["md"]
    assert " & mAP & paper & $\\Delta$ & CF1\\_k \\\\" in result["tex"]
    lines = {
        (line["row"], line["metric"]): line["reported"]
        for line in csv.DictReader(io.StringIO(result["csv"]))
    }
    assert lines["Teacher", "mAP"] == "81.25"
    assert lines["MLD", "CF1_k"] == lines["Student", "mAP"] == ""
    assert "reported" not in texts(ARTEFACT, layout)["csv"]


def test_a_failed_run_is_not_a_gap(layout):
    for path in (of("ps")[1], of("rkd")[2]):
        failure = {"run": asdict(layout.runs[path]), "error": "losses not finite in epoch 3"}
        records.write_json(layout.run(path) / "failed.json", failure)
    text = texts(ARTEFACT, layout)["md"]
    assert markdown_row(text, "PS") == ["failed", "failed"]
    assert markdown_row(text, "RKD")[0] == "30.00 ± 14.14†"
    assert "- 2 runs failed; `failed.json` in the folder of each says why." in text
    assert layout.state(of("ps")[0]) == "to do"


def test_a_failure_under_other_settings_does_not_count(layout):
    path = of("ps")[0]
    run = asdict(layout.runs[path]) | {"seed": 99}
    records.write_json(layout.run(path) / "failed.json", {"run": run, "error": "e"})
    assert layout.state(path) == "to do"


def test_the_smallest_difference_that_can_be_told():
    # two groups of 3: t quantiles with 4 degrees of freedom are 2.7764 and 0.9410
    expected = (2.7764451 + 0.9409646) * 0.5 * (2 / 3) ** 0.5
    assert resolvable_difference(0.5, 3) == pytest.approx(expected, rel=1e-6)
    assert seeds_needed(0.5, expected + 1e-6) == 3
    assert seeds_needed(0.5, expected - 1e-6) == 4
    assert seeds_needed(0.0, 0.5) == 2
    assert seeds_needed(1.0, 0.5) == 64  # G*Power for a two-sided t-test, d = 0.5
    for deviation in (1.4, 3.0):
        needed = seeds_needed(deviation, 0.5)
        assert resolvable_difference(deviation, needed) <= 0.5
        assert resolvable_difference(deviation, needed - 1) > 0.5


def test_the_power_line_pools_the_spread_of_rows_not_below_the_student(layout):
    rows = [r for r in ARTEFACT.rows if r.label in ("Teacher", "Student", "MLD", "RKD")]
    text = texts(replace(ARTEFACT, rows=rows), layout)["md"]
    pooled = (100 * (0.1**2 / 2) ** 0.5, 3)  # spreads 0.1 and 0 of three runs; RKD is far below
    assert f"standard deviation over seeds is {pooled[0]:.2f} mAP (pooled over" in text
    assert f"difference of {resolvable_difference(*pooled):.2f} mAP" in text


def test_every_special_character_of_latex():
    assert tex_escape("\\~^&%$#_{}") == (
        "\\textbackslash{}\\textasciitilde{}\\textasciicircum{}\\&\\%\\$\\#\\_\\{\\}"
    )


def test_tables_are_rebuilt_byte_by_byte(layout):
    assert texts(ARTEFACT, layout) == texts(ARTEFACT, layout)


def test_figures_are_written_and_rebuilt_byte_by_byte(layout):
    for name in ("first", "second"):
        reporting.write_figure(ARTEFACT, layout, layout.base / name)
    starts = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}
    for suffix, start in starts.items():
        content = (layout.base / "first" / f"short.{suffix}").read_bytes()
        assert content.startswith(start)
        assert content == (layout.base / "second" / f"short.{suffix}").read_bytes()


def test_the_figure_shows_other_values_differently(layout, spec):
    rows = ARTEFACT.rows[:3]
    reporting.write_figure(replace(ARTEFACT, rows=rows), layout, layout.base / "before")
    write_record(layout, spec, of("mld")[0], 0.1)
    reporting.write_figure(replace(ARTEFACT, rows=rows), layout, layout.base / "after")
    files = [layout.base / name / "short.svg" for name in ("before", "after")]
    assert files[0].read_bytes() != files[1].read_bytes()


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
