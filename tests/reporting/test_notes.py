"""The notes under tables, in a comparison of known values."""

from dataclasses import replace

import pytest
from comparison_case import ARTEFACT, STUDENT, TEACHER, VALUES, of, scored, texts
from reporting_cases import REASON, artefact, markdown_row, planned, row

from mdkd import records
from mdkd.artefacts import Cell, Row
from mdkd.metrics import METRICS
from mdkd.reporting.notes import OTHER_SETTINGS, of_dependencies, of_runs
from mdkd.reporting.statistics import resolvable_difference


@pytest.fixture
def layout(tmp_path):
    return scored(tmp_path)


def test_runs_of_other_settings_are_gaps_with_a_note(layout):
    path = of("mld")[0]
    file = layout.run(path) / "run.json"
    record = records.read_json(file)
    record["planned"]["method"]["settings"]["mld"] = 3.0
    records.write_json(file, record)
    text = texts(ARTEFACT, layout)["md"]
    assert layout.state(path) == "other settings"
    assert f"- 1 {OTHER_SETTINGS}" in text
    assert "14 of 19 runs" in text
    assert markdown_row(text, "MLD")[0] == "**70.00 ± 0.00†**"


def test_labels_absent_in_the_test_split_are_counted(layout):
    assert "leaves out" not in texts(ARTEFACT, layout)["md"]
    for path in VALUES:
        file = layout.run(path) / "metrics.json"
        record = records.read_json(file) | {"labels_without_positives": ["d", "e"]}
        records.write_json(file, record)
    text = texts(ARTEFACT, layout)["md"]
    absent = "2 of 5 labels, which no test image has"
    assert f"- Scenes: ResNet20 → ResNet8: mAP leaves out {absent}.\n" in text
    best = "The best possible value is 60.00."  # 3 of 5 labels
    assert f"- Scenes: ResNet20 → ResNet8: CF1_k counts {absent}, as 0. {best}\n" in text
    text = texts(replace(ARTEFACT, metrics=list(METRICS)), layout)["md"]
    assert f": CF1, CF1_k, CF1_top3 count {absent}, as 0. {best}\n" in text
    text = texts(replace(ARTEFACT, metrics=["OF1", "OF1_k"]), layout)["md"]
    assert absent not in text


LEFT_OUT = {
    "train": {"missing": 1, "damaged": 2, "unannotated": 3},
    "test": {"missing": 0, "damaged": 0, "unannotated": 5},
    "val": {"missing": 0, "damaged": 0},
}


def test_images_left_out_are_counted_by_reason(layout):
    column = "- Scenes: ResNet20 → ResNet8"
    plain = texts(ARTEFACT, layout)["md"]
    assert "left out of" not in plain and "same pixels" not in plain
    for path in VALUES:
        file = layout.run(path) / "run.json"
        changed = {"dropped": LEFT_OUT, "repeated": {"test": 7}}
        records.write_json(file, records.read_json(file) | changed)
    text = texts(ARTEFACT, layout)["md"]
    counts = "2 damaged, 1 missing, 3 unannotated"
    assert f"{column}: images left out of train: {counts}.\n" in text
    assert f"{column}: images left out of test: 5 unannotated.\n" in text
    assert "left out of val" not in text
    same = "7 images of test have the same pixels as an image of another split"
    assert f"{column}: {same}. Numbers on test are too high.\n" in text


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


def test_the_power_line_pools_the_spread_of_rows_not_below_the_student(layout):
    rows = [r for r in ARTEFACT.rows if r.label in ("Teacher", "Student", "MLD", "RKD")]
    text = texts(replace(ARTEFACT, rows=rows), layout)["md"]
    pooled = (100 * (0.1**2 / 2) ** 0.5, 3)  # spreads 0.1 and 0 of three runs; RKD is far below
    assert f"standard deviation over seeds is {pooled[0]:.2f} mAP (pooled over" in text
    assert f"difference of {resolvable_difference(*pooled):.2f} mAP" in text


def test_one_seed_has_no_spread(layout):
    mean = "mean ± standard deviation over seeds, after the last epoch."
    assert f"- Percentages: {mean}" in texts(ARTEFACT, layout)["md"]
    rows = [line for line in ARTEFACT.rows if line.role == "teacher"]
    alone = replace(ARTEFACT, seeds=[0], rows=rows)
    text = texts(alone, layout)["md"]
    assert "- Percentages: one seed, after the last epoch." in text and "deviation" not in text
    assert "One seed, after the last epoch. The teacher is one run." in of_dependencies(
        alone, layout
    )


def test_a_reason_names_the_pairs_if_others_have_numbers(tmp_path):
    reason = "the teacher has a linear classifier and no embedding per label"
    cells = [Cell(runs=[]), Cell(runs=[], unavailable=reason), Cell(runs=[], unavailable=REASON)]
    line = Row(label="L2D", role="method", cells=cells)
    columns = ["Scenes: A → C", "Scenes: B → C", "Scenes: D → C"]
    found = of_runs(artefact("comparison", [line], columns=columns), planned(tmp_path, []))
    assert found[1:] == [
        f"L2D: n/a for Scenes: B → C: {reason}.",
        f"L2D: n/a for Scenes: D → C: {REASON}.",
    ]
