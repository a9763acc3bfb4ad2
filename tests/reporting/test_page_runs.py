"""What the page says about single runs and groups, besides their numbers."""

from dataclasses import replace

import comparison_case
import page_case
import reporting_cases
from reporting_cases import path_of

from mdkd import records
from mdkd.reporting.page.gather import content


def test_a_network_that_was_trained_elsewhere_has_no_epochs_here(tmp_path):
    results = comparison_case.scored(tmp_path)
    file = results.run(path_of("teacher")) / "run.json"
    records.write_json(file, records.read_json(file) | {"images_per_s": None})
    runs = content(page_case.plan_of(comparison_case.ARTEFACT, results), results)["runs"]
    epochs = {run["path"]: run["epochs"] for run in runs}
    assert epochs.pop(path_of("teacher")) == 0
    assert min(epochs.values()) > 0


def test_students_without_a_teacher_have_names_of_their_own(tmp_path):
    def student(label, epochs, x=None):
        runs = [f"supervised/scenes/resnet8/epochs-{epochs}/seed0"]
        return reporting_cases.row(label, "student", runs, x=x)

    made = reporting_cases.artefact_of("comparison", ["Student"], seeds=[0])
    rows = [*made.rows, student("Student, as long as MDKD", 84), student("Student, 5", 5, x=5.0)]
    made = replace(made, rows=rows)
    results = reporting_cases.planned(tmp_path, made.runs)
    for path in made.runs:
        reporting_cases.write_record(results, path, {"mAP": 0.5}, {"a": 0.5})
    groups = content(page_case.plan_of(made, results), results)["groups"]
    labels = {group["variant"]: group["label"] for group in groups if group["student"] == "resnet8"}
    assert labels == {
        "default": "no teacher",
        "epochs-84": "Student, as long as MDKD",
        "epochs-5": "no teacher (epochs-5)",
    }
