"""The kind curve, from records with known values."""

from dataclasses import replace

import numpy as np
import pytest
from curve_cases import drawn, of, of_csv, results_of, student, teacher, written
from reporting_cases import artefact, row

from mdkd import records
from mdkd.specfiles import Pair

pytestmark = pytest.mark.filterwarnings("error")


def longer(runs, epochs):
    """The same runs with other epochs; 6 are those of the protocol."""
    if epochs == 6:
        return runs
    if "/default/" in runs[0]:
        return [run.replace("default", f"epochs-{epochs}") for run in runs]
    return [run.replace("/seed", f"/epochs-{epochs}/seed") for run in runs]


def point(label, role, runs, epochs):
    runs = longer(runs, epochs)
    return row(f"{label}, epochs = {epochs}", role, runs, panel=label, x=float(epochs))


EPOCHS = artefact(
    "curve",
    [
        row("Teacher", "teacher", teacher()),
        *(point("Student", "student", student(), n) for n in (3, 6)),
        *(point("MLD", "method", of("mld"), n) for n in (3, 6)),
        *(point("MDKD", "method", of("mdkd"), n) for n in (3, 6)),
    ],
    options={"x": "epochs", "points": [3.0, 6.0]},
)
VALUES = {
    teacher()[0]: 0.8,
    **dict(zip(longer(student(), 3), (0.40, 0.44), strict=True)),
    **dict(zip(student(), (0.50, 0.54), strict=True)),
    **dict(zip(longer(of("mld"), 3), (0.45, 0.47), strict=True)),
    **dict(zip(of("mld"), (0.60, 0.62), strict=True)),
    of("mdkd")[1]: 0.70,  # of one seed only
    longer(of("mdkd"), 3)[0]: "failed",
}
SIZES = artefact(
    "curve",
    [
        row("Teacher", "teacher", teacher(), teacher(arch="resnet14")),
        row("Student", "student", student(), student()),
        row("MLD", "method", of("mld"), of("mld", arch="resnet14")),
    ],
    pairs=[Pair(dataset="scenes", teacher=t, student="resnet8") for t in ("resnet8x2", "resnet14")],
    columns=["Scenes: wide", "Scenes: deep"],
    labels={"scenes": "Scenes", "resnet8x2": "Wide", "resnet14": "Deep", "resnet8": "Small"},
    options={"x": "teacher", "points": []},
)
OF_SIZES = {
    teacher()[0]: 0.8,
    **dict(zip(student(), (0.50, 0.54), strict=True)),
    **dict(zip(of("mld"), (0.60, 0.66), strict=True)),
}


@pytest.fixture
def over_epochs(tmp_path):
    return results_of(tmp_path, EPOCHS, VALUES)


@pytest.fixture
def over_sizes(tmp_path):
    results = results_of(tmp_path, SIZES, OF_SIZES)
    file = results.run(teacher()[0]) / "run.json"
    sizes = {"parameters": {"backbone": 290_000, "head": 25_000, "connectors": 7}}
    records.write_json(file, records.read_json(file) | sizes)
    return results


def curve_of(axis, label):
    """Points of a curve: one row (x, y, half a whisker) per point."""
    (container,) = [c for c in axis.containers if c.get_label() == label]
    (_, _, (bars,)) = container.lines
    segments = bars.get_segments()
    half = [(s[1, 1] - s[0, 1]) / 2 if len(s) else np.nan for s in segments]
    return np.column_stack([container.lines[0].get_xydata(), half])


def test_the_runs_of_these_tests_are_runs_of_their_epochs(over_epochs):
    found = {run.recipe.epochs for path, run in over_epochs.runs.items() if "epochs-3" in path}
    assert found == {3}


def test_a_line_per_method_and_an_entry_per_point(over_epochs):
    (block,), text, _ = written(EPOCHS, over_epochs)
    assert "|  | epochs = 3 | epochs = 6 |" in text
    assert "mAP: Teacher 80.00" in text
    assert block["Student"] == ["<u>42.00 ± 2.83</u>", "52.00 ± 2.83"]
    assert block["MLD"] == ["**46.00 ± 1.41**", "<u>61.00 ± 1.41</u>"]
    assert block["MDKD"] == ["failed", "**70.00†**"]
    assert (
        "Each column is a value of epochs in the recipe of the student and of all methods" in text
    )


def test_the_csv_has_points_and_differences_to_the_student(over_epochs):
    _, _, lines = written(EPOCHS, over_epochs)
    mld = of_csv(lines, row="MLD, epochs = 3")
    # by seed: 45 - 40 = 5 and 47 - 44 = 3
    assert [mld[key] for key in ("curve", "place", "x")] == ["MLD", "epochs = 3", "3.0"]
    assert [float(mld["difference"]), float(mld["difference_std"])] == [4.0, 1.4142]
    mdkd = of_csv(lines, row="MDKD, epochs = 6")
    assert float(mdkd["difference"]) == 16.0  # seed 1: 70 - 54
    assert mdkd["difference_std"] == ""
    assert of_csv(lines, row="Teacher")["x"] == of_csv(lines, row="Teacher")["place"] == ""


def test_curves_over_epochs(over_epochs):
    figure = drawn(EPOCHS, over_epochs)
    left, right = figure.axes
    mld = curve_of(left, "MLD")
    assert mld[:, 0] == pytest.approx([3, 6], rel=0.05)
    assert mld[:, 1:] == pytest.approx(np.array([[46, np.sqrt(2)], [61, np.sqrt(2)]]))
    assert curve_of(left, "MDKD")[:, 1] == pytest.approx([np.nan, 70], nan_ok=True)
    (level,) = [line for line in left.lines if line.get_label() == "Teacher"]
    assert level.get_ydata() == pytest.approx([80, 80])
    differences = curve_of(right, "MLD")  # at 6 epochs: 60 - 50 = 10 and 62 - 54 = 8
    assert differences[:, 1:] == pytest.approx(np.array([[4, np.sqrt(2)], [9, np.sqrt(2)]]))
    assert {c.get_label() for c in right.containers} == {"MLD", "MDKD"}
    assert [text.get_text() for text in left.get_xticklabels()] == ["3", "6"]


def test_the_size_of_the_teacher(over_sizes):
    (block,), text, lines = written(SIZES, over_sizes)
    assert "|  | Wide | Deep |" in text
    assert block["Parameters of the teacher"] == ["0.32 M", "–"]  # 290,000 + 25,000
    assert block["Teacher"] == ["80.00", "–"]
    assert block["Student"] == ["<u>52.00 ± 2.83</u>", "**52.00 ± 2.83**"]
    assert block["MLD"] == ["**63.00 ± 4.24**", "–"]
    assert "Scenes: Small, mAP" in text
    assert float(of_csv(lines, row="MLD", place="Wide")["x"]) == 315_000
    left, right = drawn(SIZES, over_sizes).axes
    assert curve_of(left, "MLD")[0] == pytest.approx([315_000, 63, 4.2426], rel=0.02)
    assert curve_of(right, "MLD")[0, 1:] == pytest.approx([11, np.sqrt(2)])  # 10 and 12
    assert [text.get_text() for text in left.get_xticklabels()] == ["Wide\n0.32 M"]


def test_students_of_different_pairs_have_panels_of_their_own(over_sizes):
    other = replace(SIZES.pairs[1], student="wrn10_1")
    labels = SIZES.labels | {"wrn10_1": "Other"}
    figure = drawn(replace(SIZES, pairs=[SIZES.pairs[0], other], labels=labels), over_sizes)
    assert [axis.get_title() for axis in figure.axes[::2]] == SIZES.columns
