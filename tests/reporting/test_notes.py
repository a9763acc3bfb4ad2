"""The notes under tables, in a comparison of known values."""

from dataclasses import asdict, replace

import pytest
from comparison_case import ARTEFACT, STUDENT, TEACHER, VALUES, of, scored, texts, write_record
from reporting_cases import REASON, artefact, markdown_row, path_of, planned, row

from mdkd import records
from mdkd.artefacts import Cell, Row
from mdkd.data.cache import FORMAT
from mdkd.metrics import METRICS
from mdkd.reporting.notes import OTHER_SETTINGS, of_dependencies, of_runs


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


# The mAP of five seeds each.
FIVE = {
    "vanilla": [0.50, 0.52, 0.48, 0.51, 0.49],
    "mld": [0.60, 0.62, 0.58, 0.61, 0.59],  # student plus 10: the differences do not vary
    "mdkd": [0.61, 0.62, 0.60, 0.61, 0.61],  # MLD plus 1, 0, 2, 0, 2
}


def of_five_seeds(base, runs):
    """The page of a comparison of these runs."""
    seeds = list(range(5))
    labels = {"vanilla": "Student", "mld": "MLD", "mdkd": "MDKD"}
    rows = [row("Teacher", "teacher", TEACHER)]
    for method in runs:
        role = "student" if method == "vanilla" else "method"
        paths = [path_of(method, seed) for seed in seeds]
        rows.append(row(labels[method], role, paths))
    table = artefact("comparison", rows, seeds=seeds)
    results = planned(base, table.runs)
    write_record(results, TEACHER[0], 0.9)
    for method, values in runs.items():
        for seed, value in enumerate(values):
            write_record(results, path_of(method, seed), value)
    return texts(table, results)["md"]


def test_power_is_that_of_paired_tests(tmp_path):
    text = of_five_seeds(tmp_path, {key: FIVE[key] for key in ("vanilla", "mld", "mdkd")})
    # MLD − Student: no spread. MDKD − Student: 11, 10, 12, 10, 12 has the variance 4 / 4 = 1.
    spread = "0.00 (MLD − Student) to 1.00 (MDKD − Student) percentage points."
    assert f"two runs of one seed has a standard deviation over seeds of {spread}" in text
    # With 4 degrees of freedom: (2.7764 + 0.9410) / sqrt(5) = 1.66. For 0.5, by G*Power's "matched
    # pairs" with effect size 0.5: 34 pairs.
    assert "finds a difference of 0.00 to 1.66 percentage points" in text
    assert "before correction for the number of tests" in text
    assert "To find 0.5 percentage points, 5 to 34 seeds are needed." in text


def test_the_power_of_one_test_is_one_number(tmp_path):
    text = of_five_seeds(tmp_path, {key: FIVE[key] for key in ("vanilla", "mld")})
    (power,) = [line for line in text.splitlines() if line.startswith("- Power: ")]
    assert "over seeds of 0.00 (MLD − Student) percentage points" in power and " to 0" not in power


def test_fewer_seeds_than_an_interval_needs_have_no_power(layout):
    text = texts(ARTEFACT, layout)["md"]  # three seeds
    assert "- Fewer than 5 seeds: intervals and tests of differences need 5" in text
    assert "Power" not in text


def test_one_seed_has_no_spread(layout):
    mean = "mean ± standard deviation over seeds, after the last epoch."
    assert f"- Percentages: {mean}" in texts(ARTEFACT, layout)["md"]
    rows = [line for line in ARTEFACT.rows if line.role == "teacher"]
    alone = replace(ARTEFACT, seeds=[0], rows=rows)
    text = texts(alone, layout)["md"]
    assert "- Percentages: one seed, after the last epoch." in text and "deviation" not in text
    shared = "One seed, after the last epoch. The teacher is one run that all methods share."
    assert shared in of_dependencies(alone, layout)


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


def test_distinct_teachers_are_not_called_one_run(layout):
    """Two pairs of networks: with one teacher, and with a teacher each."""
    two = {"columns": ["one", "two"]}
    shared = row("Teacher", "teacher", TEACHER, TEACHER)
    assert ONE_TEACHER in texts(replace(ARTEFACT, rows=[shared], **two), layout)["md"]
    other = [path_of("teacher", pair=("wrn16_2", "resnet8"))]
    results = planned(layout.base / "other", [*TEACHER, *other])
    apart = row("Teacher", "teacher", TEACHER, other)
    text = texts(replace(ARTEFACT, rows=[apart], **two), results)["md"]
    assert ONE_TEACHER not in text
    assert "Each pair of networks has one run of the teacher, which all its methods share." in text


ONE_TEACHER = "The teacher is one run that all methods share."


def test_epochs_and_images_are_named(tmp_path):
    rows = [
        row("Teacher", "teacher", TEACHER),
        row("Student", "student", STUDENT[:1]),
        row("Long", "student", ["supervised/scenes/resnet8/epochs-9/seed0"]),
        row("MLD", "method", of("mld")[:1]),
    ]
    made = artefact("comparison", rows, seeds=[0])
    results = planned(tmp_path, made.runs)
    epochs = results.runs[STUDENT[0]].recipe.epochs
    assert f"- Epochs: {epochs}; Long: 9.\n" in texts(made, results)["md"]
    dataset = results.runs[STUDENT[0]].dataset
    meta = meta_of(dataset, train=(53, [9, 9, 9]), val=(11, [1, 1, 1]), test=(48, [12, 0, 24]))
    records.write_json(results.cache(dataset.name) / "meta.json", meta)
    images = "Images of scenes: 53 for training, 11 for validation, 48 for the test."
    text = texts(made, results)["md"]
    assert f"- Epochs: {epochs}; Long: 9. {images}\n" in text
    assert "- mAP of random scores: about 37.5.\n" in text  # (12 + 24) / 48 / 2; none has label 1
    meta["splits"]["test"]["ignored_per_label"] = [0, 0, 16]
    records.write_json(results.cache(dataset.name) / "meta.json", meta)
    text = texts(made, results)["md"]
    assert "- mAP of random scores: about 50.0.\n" in text  # 12 / 48 and 24 / 32
    assert "random" not in texts(replace(made, metrics=["OF1"]), results)["md"]
    meta["dataset"]["image_size"] += 1
    records.write_json(results.cache(dataset.name) / "meta.json", meta)
    text = texts(made, results)["md"]
    assert "Images of" not in text and "random" not in text  # of a cache with other settings


def meta_of(dataset, **splits):
    """The record of a cache. A split is given by its images, in all and of each label."""
    facts = {name: "0" for name in ("pixels_sha256", "labels_sha256", "ids_sha256")}
    return {
        "format": FORMAT,
        "dataset": asdict(dataset),
        "rule": {},
        "classes": ["a", "b", "c"],
        "splits": {
            name: facts
            | {"images": n, "images_per_label": counts, "labels_per_image": 1.0, "damaged": []}
            for name, (n, counts) in splits.items()
        },
        "dropped": {},
        "fingerprint": "0",
    }
