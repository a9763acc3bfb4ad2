"""The kind scale, from records and histories with known values."""

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

pytestmark = pytest.mark.filterwarnings("error")


STRONG = "bd2-100_id2-100"
SCALE = artefact(
    "scale",
    [
        *levels(),
        row("MDKD x 100", "method", of("mdkd", STRONG)),
        row("MDKD x 10", "method", of("mdkd", "bd2-10")),
        row("L2D", "method", of("l2d")),
        row("PS", "method", of("ps")),
        row("RKD", "method", [], unavailable="needs more"),
    ],
    metrics=["mAP", "OF1_k"],
)


def ratios(last, **first):
    """A history with the ratios `last`, of which some differ in the first epoch.

    The second epoch and the last but one have none.
    """
    last_one = {"gradient_ratios": last}
    none = {"gradient_ratios": None}
    return [last_one | {"gradient_ratios": last | first}, none, last_one, last_one, none, last_one]


MATCHED = {
    teacher()[0]: 0.8,
    **dict(zip(student(), (0.50, 0.54), strict=True)),
    **dict(zip(of("mld"), (0.6, 0.6), strict=True)),
    **dict(zip(of("mdkd"), (0.7, 0.74), strict=True)),
    of("mdkd", STRONG)[0]: 0.71,
    of("mdkd", "bd2-10")[0]: "failed",
    **dict(zip(of("l2d"), (0.7, 0.7), strict=True)),
}
GRADIENTS = {
    **{path: ratios({"mld": 8.0}, mld=2.0) for path in of("mld")},
    # BD: the mean over seeds is largest for order 3, the largest number of a seed is of order 2
    of("mdkd")[0]: ratios({"mld": 10.0, "bd2": 0.005, "bd3": 0.004, "id2": 0.25}, bd2=3.0),
    of("mdkd")[1]: ratios({"mld": 14.48, "bd2": 0.001, "bd3": 0.003, "id2": 0.35}, bd2=3.0),
    of("mdkd", STRONG)[0]: ratios({"mld": 9.0, "bd2": 1.25, "id2": 0.999}),
    **{path: ratios({"mld": 4.0, "cd": 2.0, "id": 5.0}) for path in of("l2d")},
}


@pytest.fixture
def matched(tmp_path):
    return results_of(tmp_path, SCALE, MATCHED, GRADIENTS)


def test_ratios_of_the_last_epoch_stand_beside_the_metrics(matched):
    (lines,), text, _ = written(SCALE, matched)
    assert "|  | mAP | OF1_k | MLD / BCE | BD / BCE | ID / BCE |" in text
    assert lines["Teacher"] == ["80.00", "12.50", "0", "0", "0"]
    assert lines["Student"] == ["52.00 ± 2.83", "**12.50 ± 0.00**", "0", "0", "0"]
    assert lines["MLD"][2:] == ["8.0", "0", "0"]
    assert lines["MDKD"][0] == "**72.00 ± 2.83**"
    assert lines["MDKD"][2:] == ["12.2", "0.0035", "0.3"]  # BD: of order 3; 12.24
    assert lines["MDKD x 100"] == ["<u>71.00†</u>", "**12.50†**", "9.0†", "1.2†", "1†"]
    assert lines["MDKD x 10"] == ["failed"] * 5
    assert lines["L2D"][2:] == ["4.0", "0", "0"]  # its term `id` is none of ours
    assert lines["PS"] == ["–"] * 5
    assert lines["RKD"] == ["n/a"] * 5
    assert "first batch (16 images) of the last epoch" in text


def test_every_term_and_its_mean_over_measured_epochs_is_in_the_csv(matched):
    _, _, lines = written(SCALE, matched)
    terms = [line for line in lines if line["metric"] == "gradient ratio"]
    assert {line["unit"] for line in terms} == {"1"}
    assert {line["unit"] for line in lines if line not in terms} == {"%"}
    found = {(line["row"], line["term"]) for line in terms}
    assert found == {
        *(("MDKD", term) for term in ("mld", "bd2", "bd3", "id2")),
        *(("MDKD x 100", term) for term in ("mld", "bd2", "id2")),
        *(("L2D", term) for term in ("mld", "cd", "id")),
        ("MLD", "mld"),
    }
    last = of_csv(terms, row="MDKD", term="bd2", epochs="last")
    assert float(last["mean"]) == pytest.approx(0.003)
    assert float(last["std"]) == pytest.approx(0.004 / 2**0.5)
    assert (last["runs"], last["planned"]) == ("2", "2")
    assert of_csv(terms, row="MDKD x 100", term="bd2", epochs="measured")["planned"] == "2"
    mean = of_csv(terms, row="MDKD", term="bd2", epochs="measured")
    assert float(mean["mean"]) == pytest.approx((3 + 3 * 0.003) / 4)
    assert of_csv(terms, row="MDKD x 100", term="id2", epochs="last")["std"] == ""
    first = of_csv(terms, row="MLD", term="mld", epochs="measured")
    assert float(first["mean"]) == pytest.approx((2 + 3 * 8) / 4)


def test_the_figure_has_a_marker_per_term(matched):
    left, right = drawn(SCALE, matched).axes
    assert right.get_xscale() == "log"
    rows = [tick.get_text() for tick in left.get_yticklabels()]
    assert rows == [r.label for r in SCALE.rows[1:]]
    (x, y) = np.transpose(line_of(right, "BD 2"))
    np.testing.assert_allclose(x, [0.003, 1.25])
    assert [rows[round(place)] for place in y] == ["MDKD", "MDKD x 100"]
    x, y = np.transpose(line_of(right, "MLD"))
    assert {rows[round(place)]: value for place, value in zip(y, x, strict=True)} == {
        "MLD": 8.0,
        "MDKD": pytest.approx(12.24),
        "MDKD x 100": 9.0,
        "L2D": 4.0,
    }
    assert line_of(right, "id")[0, 0] == 5.0
    said = {
        rows[round(y)]: text.get_text() for text in right.texts for y in [text.get_position()[1]]
    }
    assert said == {
        "Student": "the BCE alone",
        "MDKD x 10": "failed",
        "PS": "–",
        "RKD": "n/a",
    }


def test_scale_of_two_pairs(tmp_path):
    archs = ("resnet8x2", "resnet14")
    two = artefact("scale", levels(archs), archs=archs)
    one, other = of("mdkd")[1], of("mdkd", arch="resnet14")
    history = dict.fromkeys(other, ratios({"mld": 3.0, "id2": 0.5}))
    history[one] = ratios({"mld": 9.0, "bd2": 0.02, "id2": 0.25})
    results = results_of(tmp_path, two, dict.fromkeys(history, 0.7), history)
    blocks, _, _ = written(two, results)
    entries = [block["MDKD"] for block in blocks]
    assert entries[0] == ["**70.00†**", "9.0†", "0.02†", "0.25†"]
    assert entries[1] == ["**70.00 ± 0.00**", "3.0", "0", "0.5"]
    assert blocks[0]["MLD"] == ["–"] * 4
    axes = drawn(two, results).axes
    assert [line_of(axis, "ID 2")[0, 0] for axis in axes[1::2]] == [0.25, 0.5]
