"""The kind convergence, from records and histories with known values."""

import numpy as np
import pytest
from curve_cases import (
    EPOCHS,
    artefact,
    drawn,
    line_of,
    of,
    of_csv,
    results_of,
    student,
    teacher,
    written,
)
from reporting_cases import row

from mdkd.errors import UserError

pytestmark = pytest.mark.filterwarnings("error")


CONVERGENCE = artefact(
    "convergence",
    [
        row("Teacher", "teacher", teacher("scenes_val")),
        row("Student", "student", student("scenes_val")),
        row("MLD", "method", of("mld", data="scenes_val")),
        row("L2D", "method", of("l2d", data="scenes_val")),
        row("MDKD", "method", of("mdkd", data="scenes_val")),
        row("PS", "method", of("ps", data="scenes_val")),
        row("MSE", "method", of("mse", data="scenes_val")),
    ],
    data="scenes_val",
)


def rising(*values):
    return [{"val_mAP": value} for value in values]


LEARNT = {
    teacher("scenes_val")[0]: rising(0.2, 0.4, 0.5, 0.6, 0.7, 0.75),
    # the mean ends at 0.4
    student("scenes_val")[0]: rising(0.1, 0.1, 0.2, 0.3, 0.3, 0.375),
    student("scenes_val")[1]: rising(0.1, 0.2, 0.3, 0.4, 0.42, 0.425),
    # the mean is 0.4 after the third epoch, though one run never gets there; later it falls
    of("mld", data="scenes_val")[0]: rising(0.1, 0.2, 0.375, 0.3, 0.3, 0.35),
    of("mld", data="scenes_val")[1]: rising(0.1, 0.3, 0.425, 0.4, 0.4, 0.45),
    of("l2d", data="scenes_val")[1]: rising(0.1, 0.3, 0.6, 0.5, 0.5, 0.5),
    **{path: rising(0.1, 0.1, 0.2, 0.3, 0.3, 0.39) for path in of("mdkd", data="scenes_val")},
    of("ps", data="scenes_val")[0]: "failed",
}


@pytest.fixture
def learnt(tmp_path):
    values = {path: "failed" if curve == "failed" else 0.5 for path, curve in LEARNT.items()}
    values[student("scenes_val")[0]] = 0.3
    return results_of(tmp_path, CONVERGENCE, values, LEARNT)


def test_validation_on_the_way_and_the_epoch_at_which_the_student_is_reached(learnt):
    (lines,), text, _ = written(CONVERGENCE, learnt)
    assert "after these epochs: 2, 3, 5, 6." in text  # 1.5, 3, 4.5 and 6 of 6
    assert "The validation split is a part of the training images that no network" in text
    # 25 %, 50 %, 75 %, 100 %, epoch, test
    assert lines["Teacher"] == ["40.00", "50.00", "70.00", "75.00", "2", "50.00"]
    assert lines["Student"][:4] == [
        "15.00 ± 7.07",
        "25.00 ± 7.07",
        "<u>36.00 ± 8.49</u>",
        "<u>40.00 ± 3.54</u>",
    ]
    assert lines["Student"][4:] == ["6", "40.00 ± 14.14"]
    assert lines["MLD"][1] == "<u>40.00 ± 3.54</u>"
    assert lines["MLD"][3:] == ["<u>40.00 ± 7.07</u>", "**3**", "**50.00 ± 0.00**"]
    assert lines["L2D"] == [
        "**30.00†**",
        "**60.00†**",
        "**50.00†**",
        "**50.00†**",
        "**3†**",
        "**50.00†**",
    ]
    assert lines["MDKD"][3:] == ["39.00 ± 0.00", "–", "**50.00 ± 0.00**"]
    assert lines["PS"] == ["failed"] * 6
    assert lines["MSE"] == ["–"] * 6


def test_the_csv_has_every_epoch_and_the_test_metrics(learnt):
    _, _, lines = written(CONVERGENCE, learnt)
    curve = [line for line in lines if line["metric"] == "val mAP"]
    assert len(curve) == 7 * EPOCHS
    second = of_csv(curve, row="MLD", epoch="2")
    assert float(second["mean"]) == 25.0
    assert float(second["std"]) == pytest.approx(50**0.5, abs=1e-4)
    assert (second["runs"], second["planned"], second["state"]) == ("2", "2", "done")
    assert of_csv(curve, row="PS", epoch="1")["mean"] == ""
    test = of_csv(lines, row="MLD", metric="mAP")
    assert (float(test["mean"]), test["epoch"]) == (50.0, str(EPOCHS))
    reached = {
        line["row"]: (line["epoch"], line["runs"], line["planned"])
        for line in lines
        if line["metric"] == "epoch reaching student"
    }
    assert reached["L2D"] == ("3", "1", "2")
    assert reached["MDKD"] == ("", "2", "2")


def test_the_figure_draws_means_over_epochs(learnt):
    left, right = drawn(CONVERGENCE, learnt).axes
    mld = line_of(left, "MLD")
    np.testing.assert_allclose(mld[:, 0], range(1, EPOCHS + 1))
    np.testing.assert_allclose(mld[:, 1], [10, 25, 40, 35, 35, 40])
    np.testing.assert_allclose(line_of(left, "L2D")[:, 1], [10, 30, 60, 50, 50, 50])
    np.testing.assert_allclose(line_of(left, "Teacher")[-1], [6, 75])
    assert {"PS: failed", "MSE: –"} <= {line.get_label() for line in left.lines}
    student_band, mld_band, *_ = left.collections
    reach = mld_band.get_paths()[0].get_extents()
    np.testing.assert_allclose(reach.ymax, 40 + 50**0.5)  # after the last epoch
    np.testing.assert_allclose(student_band.get_paths()[0].get_extents().ymin, 15 - 50**0.5)
    assert {text.get_text() for text in right.texts} == {"failed", "–"}


def test_without_the_student_nothing_can_reach_it(learnt):
    for path in student("scenes_val"):
        (learnt.run(path) / "run.json").unlink()
    (lines,), _, _ = written(CONVERGENCE, learnt)
    assert {entries[4] for entries in lines.values()} == {"–", "failed"}
    assert lines["MLD"][0] == "<u>25.00 ± 7.07</u>"


def test_a_data_set_without_a_validation_split_is_the_users_error(learnt):
    path = of("mdkd", data="scenes_val")[1]
    line = '{"epoch": 1, "losses": {}, "gradient_ratios": {}, "images_per_s": 9}\n'
    text = line * EPOCHS
    (learnt.run(path) / "history.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"config/datasets.yaml: scenes_val: .*mdkd.*`val`"):
        written(CONVERGENCE, learnt)


def test_convergence_before_anything_has_run(tmp_path):
    nothing = results_of(tmp_path, CONVERGENCE, {})
    (lines,), _, _ = written(CONVERGENCE, nothing)
    assert lines["Teacher"] == lines["MDKD"] == ["–"] * 6
    assert len(drawn(CONVERGENCE, nothing).axes) == 2
