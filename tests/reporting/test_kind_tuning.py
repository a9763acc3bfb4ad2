"""The table of a tuning study, with numbers by hand."""

import shutil

import numpy as np
import pytest
from reporting_cases import fail, markdown_row, predict_val, written
from tuning_case import experiment, finish, planned, value_of, write_run

from mdkd.reporting.kinds import tuning

STEM = "distill/scenes_val/resnet20--resnet8"


@pytest.fixture
def study(config, tmp_path):
    experiment(config)
    plan, results = planned(config, tmp_path)
    return plan.artefacts["study"], results


def test_every_point_is_shown_with_its_mean_and_the_choice(study):
    artefact, results = study
    finish(results, artefact)
    text, lines = written(artefact, results)
    assert text.startswith("**Weights (validation images). Scenes: ResNet20 → ResNet8**")
    assert "| val mAP |  |" in text
    assert markdown_row(text, "Teacher") == ["80.00", ""]
    assert markdown_row(text, "Student") == ["15.00 ± 0.00", ""]
    assert markdown_row(text, "MLD: mld = 1") == ["**55.00 ± 7.07**", "chosen"]
    assert markdown_row(text, "MLD") == ["<u>50.00 ± 28.28</u>", "published"]
    assert markdown_row(text, "MLD: mld = 1000") == ["15.00 ± 7.07", ""]
    assert markdown_row(text, "MSE") == ["**45.00 ± 7.07**", "chosen, published"]
    assert markdown_row(text, "MSE: weight = 10") == ["**45.00 ± 7.07**", ""]
    assert len([line for line in lines if "chosen" in line["choice"]]) == 2
    points = [(line["method"], line["point"], line["mean"]) for line in lines[2:5]]
    assert points == [("MLD", "1.0", "35.0"), ("MLD", "2.0", "55.0"), ("MLD", "3.0", "50.0")]
    assert "the same budget of 5 points" in text
    assert "All metrics are of the images set aside, and none is of test images." in text
    assert text.count("bold") == 1
    assert "Among the points of one method, the best number is bold" in text


def test_nothing_is_called_chosen_before_all_points_of_a_method_have_ended(study):
    artefact, results = study
    finish(results, artefact)
    shutil.rmtree(results.run(f"{STEM}/mld/mld-1000/seed1"))
    text, _ = written(artefact, results)
    assert markdown_row(text, "MLD: mld = 1") == ["**55.00 ± 7.07**", ""]
    assert markdown_row(text, "MLD: mld = 1000") == ["10.00†", ""]
    assert markdown_row(text, "MSE") == ["**45.00 ± 7.07**", "chosen, published"]
    fail(results, f"{STEM}/mld/mld-1000/seed1")
    text, _ = written(artefact, results)
    assert markdown_row(text, "MLD: mld = 1") == ["**55.00 ± 7.07**", "chosen"]


def test_test_metrics_are_nowhere(study):
    artefact, results = study
    finish(results, artefact)
    before = written(artefact, results)
    finish(results, artefact, test_seed=1)
    assert written(artefact, results) == before
    write_run(results, f"{STEM}/mse/weight-1/seed0", 0.99)
    assert written(artefact, results) != before


def test_a_metric_that_old_runs_lack_is_no_number(config, tmp_path):
    experiment(config, metrics=["mAP", "OF1", "ECE"])
    plan, results = planned(config, tmp_path)
    artefact = plan.artefacts["study"]
    finish(results, artefact)
    text, _ = written(artefact, results)
    assert markdown_row(text, "MLD: mld = 1") == ["**55.00 ± 7.07**", "n/a", "n/a", "chosen"]
    reason = "an older version trained it and kept no validation predictions"
    assert f"- OF1, ECE: n/a: {reason}." in text


def test_the_lowest_calibration_error_is_best(config, tmp_path):
    experiment(config, metrics=["ECE"])
    plan, results = planned(config, tmp_path)
    artefact = plan.artefacts["study"]
    finish(results, artefact)
    targets_NC = np.array([[1, 0, 1], [0, 1, 0]], np.uint8)
    for path in artefact.runs:  # the larger value_of(path), the surer and the better
        logits_NC = (8 * value_of(path) * (2.0 * targets_NC - 1)).astype(np.float32)
        predict_val(results, path, logits_NC, targets_NC)
    text, _ = written(artefact, results)
    assert markdown_row(text, "MLD: mld = 1")[0].startswith("**")
    assert markdown_row(text, "MLD")[0].startswith("<u>")
    assert tuning.figure(artefact, results).axes[0].get_ylabel() == "val ECE (%)"


def test_the_figure_has_a_panel_for_each_method(study):
    artefact, results = study
    finish(results, artefact)
    figure = tuning.figure(artefact, results)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["MLD", "MSE"]
    (chosen,) = (line for line in figure.axes[0].lines if line.get_label() == "chosen")
    assert chosen.get_xydata().tolist() == [[2.0, pytest.approx(55.0)]]
