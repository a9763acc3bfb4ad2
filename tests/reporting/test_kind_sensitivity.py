"""The kind sensitivity, from records with known values."""

from dataclasses import replace

import numpy as np
import pytest
from curve_cases import (
    artefact,
    drawn,
    levels,
    line_of,
    of,
    of_csv,
    results_of,
    student,
    teacher,
    written,
)
from reporting_cases import row

from mdkd.reporting.kinds import sensitivity

pytestmark = pytest.mark.filterwarnings("error")


def texts(axis):
    return {text.get_text(): text.get_position() for text in axis.texts}


def points_of(container):
    """Centres and half lengths of whiskers: one row (x, y, half) per point."""
    (_, _, (bars,)) = container.lines
    segments = bars.get_segments()
    half = [(s[1, 1] - s[0, 1]) / 2 if len(s) else np.nan for s in segments]
    return np.column_stack([container.lines[0].get_xydata(), half])


def points(setting, *values, archs=("resnet8x2",)):
    rows = []
    for value in values:
        variant = "default" if value == 1 else f"{setting}-{value:g}"
        runs = [of("mdkd", variant, arch=arch) for arch in archs]
        rows.append(row(f"{setting} = {value:g}", "method", *runs, panel=setting, x=float(value)))
    return rows


SENSITIVITY = artefact(
    "sensitivity",
    # the order of an experiment's points is the user's
    [*levels(), *points("bd2", 1, 0, 4), *points("mld", 1, 0, 4)],
    metrics=["mAP", "OF1_k"],
)
VARIED = {
    teacher()[0]: 0.8,
    **dict(zip(student(), (0.50, 0.54), strict=True)),
    **dict(zip(of("mld"), (0.6, 0.6), strict=True)),
    of("mdkd")[0]: {"mAP": 0.70, "OF1_k": 0.30},
    of("mdkd")[1]: {"mAP": 0.74, "OF1_k": 0.40},
    of("mdkd", "bd2-0")[0]: {"mAP": 0.68, "OF1_k": 0.35},
    of("mdkd", "bd2-0")[1]: {"mAP": 0.74, "OF1_k": 0.43},
    # of the value 4 one seed only: the other, and so the difference of means, says nothing
    of("mdkd", "bd2-4")[1]: {"mAP": 0.72, "OF1_k": 0.41},
    of("mdkd", "mld-0")[0]: "failed",
}


@pytest.fixture
def varied(tmp_path):
    return results_of(tmp_path, SENSITIVITY, VARIED)


def test_a_line_per_value_and_an_entry_per_setting(varied):
    (mean_ap, of1), text, _ = written(SENSITIVITY, varied)
    assert "|  | bd2 | mld |" in text
    # mean 72 twice in bd2: they share the first place, and no second is named
    assert list(mean_ap) == ["0", "1", "4"]
    assert mean_ap["0"] == ["71.00 ± 4.24", "failed"]
    assert mean_ap["1"] == ["**72.00 ± 2.83**", "**72.00 ± 2.83**"]
    assert mean_ap["4"] == ["**72.00†**", "–"]
    assert of1["0"] == ["<u>39.00 ± 5.66</u>", "failed"]
    assert of1["4"] == ["**41.00†**", "–"]
    assert of1["1"] == ["35.00 ± 7.07", "**35.00 ± 7.07**"]
    heading = "mAP: Teacher 80.00, Student 52.00 ± 2.83, MLD 60.00 ± 0.00, MDKD 72.00 ± 2.83"
    assert heading in text.splitlines()


def test_differences_are_those_of_runs_with_the_same_seed(varied):
    _, _, lines = written(SENSITIVITY, varied)
    assert len(lines) == 10 * 2
    low = of_csv(lines, row="bd2 = 0", metric="mAP")
    assert (low["setting"], low["value"]) == ("bd2", "0.0")
    assert (float(low["mean"]), float(low["rank"])) == (71.0, 3.0)
    assert float(low["difference"]) == pytest.approx(-1.0)  # of -2 and 0
    assert float(low["difference_std"]) == pytest.approx(2**0.5, abs=1e-4)
    high = of_csv(lines, row="bd2 = 4", metric="mAP")
    assert float(high["difference"]) == pytest.approx(-2.0)  # the means are equal
    assert high["difference_std"] == ""
    assert float(of_csv(lines, row="bd2 = 4", metric="OF1_k")["difference"]) == pytest.approx(1.0)
    default = of_csv(lines, row="bd2 = 1", metric="mAP")
    assert (float(default["difference"]), float(default["difference_std"])) == (0.0, 0.0)
    for label in ("mld = 0", "Student", "MDKD"):
        line = of_csv(lines, row=label, metric="mAP")
        assert line["difference"] == line["difference_std"] == line["rank"] == ""


def test_a_seed_without_the_default_is_not_compared(varied):
    (varied.run(of("mdkd")[1]) / "run.json").unlink()
    _, _, lines = written(SENSITIVITY, varied)
    line = of_csv(lines, row="bd2 = 0", metric="mAP")
    assert (float(line["mean"]), float(line["difference"])) == (71.0, pytest.approx(-2.0))
    assert of_csv(lines, row="bd2 = 4", metric="mAP")["difference"] == ""


def test_the_notes_count_each_run_once_and_say_what_is_ranked(varied):
    _, text, _ = written(SENSITIVITY, varied)
    assert text.count("bold") == 1
    assert "Among the values of one setting, the best number is bold" in text
    assert "10 of 15 runs" in text
    assert "1 runs failed" in text


def test_the_figure_shows_values_at_equal_distances(varied):
    top, other, bottom, _ = drawn(SENSITIVITY, varied).axes
    assert [axis.get_title() for axis in (top, other)] == [r"$\lambda_{BD_{2}}$", "mld"]
    assert [tick.get_text() for tick in bottom.get_xticklabels()] == ["0", "1", "4"]
    means = points_of(top.containers[0])
    expected = [(0, 71, 18**0.5), (1, 72, 8**0.5), (2, 72, np.nan)]
    np.testing.assert_allclose(means, expected, atol=1e-9)
    np.testing.assert_allclose(line_of(top, "MDKD")[:, 1], 72)
    np.testing.assert_allclose(line_of(top, "Student")[:, 1], 52)
    assert "Teacher" not in {line.get_label() for line in top.lines}
    runs = [line.get_xydata() for line in top.lines if line.get_markersize() == 3]
    heights = sorted(float(y) for line in runs for _, y in line)
    np.testing.assert_allclose(heights, [68, 70, 72, 74, 74])
    assert top.get_ylim() == other.get_ylim()
    of1 = points_of(bottom.containers[1])
    np.testing.assert_allclose(of1[:, 1], [4, 0, 1], atol=1e-9)  # of 5 and 3; 0; 1
    np.testing.assert_allclose(of1[0, 2], 2**0.5, atol=1e-9)


def test_missing_and_failed_points_are_named_gaps(varied):
    _, other, *_ = drawn(SENSITIVITY, varied).axes
    assert {text: x for text, (x, _) in texts(other).items()} == {"failed": 0, "–": 2}
    assert other.get_xlim() == (-0.5, 2.5)
    heights = points_of(other.containers[0])[:, 1]
    np.testing.assert_allclose(heights, [np.nan, 72, np.nan])


@pytest.mark.parametrize(
    ("setting", "title"),
    [("id4", r"$\lambda_{ID_{4}}$"), ("bd12", r"$\lambda_{BD_{12}}$"), ("weight", "weight")],
)
def test_titles_of_panels(setting, title):
    assert sensitivity.symbol(setting) == title


def test_a_study_of_two_pairs_without_the_default(tmp_path):
    archs = ("resnet8x2", "resnet14")
    rows = [*levels(archs), *points("bd2", 0, 4, archs=archs), *points("id3", 0, 4, archs=archs)]
    study = artefact("sensitivity", rows, archs=archs)
    results = results_of(tmp_path, study, {of("mdkd", "bd2-0", arch="resnet14")[0]: 0.5})
    blocks, text, lines = written(study, results)
    assert [block["0"] for block in blocks] == [["–", "–"], ["**50.00†**", "–"]]
    assert "Scenes: resnet14, mAP: Teacher –, Student –, MLD –, MDKD –" in text.splitlines()
    assert {line["difference"] for line in lines} == {""}
    assert len(drawn(study, results).axes) == 2 * 2 * 2


def test_a_study_that_cannot_run_or_has_not(tmp_path):
    nothing = results_of(tmp_path, SENSITIVITY, {})
    top, *_, bottom = drawn(SENSITIVITY, nothing).axes
    assert [text.get_text() for text in top.texts] == ["–", "–", "–"]
    assert list(texts(bottom)) == ["–"]
    labels = {line.get_label() for line in top.lines}
    assert {"Student: –", "MLD: –", "MDKD: –"} <= labels
    reason = "needs more"
    rows = [
        row(r.label, r.role, [], unavailable=reason, panel=r.panel, x=r.x) if r.panel else r
        for r in SENSITIVITY.rows
    ]
    blocks, text, _ = written(replace(SENSITIVITY, rows=rows), nothing)
    assert blocks[0]["4"] == ["n/a", "n/a"]
    assert f"n/a: {reason}" in text
