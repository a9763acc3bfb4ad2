"""The kind sequences, from runs with known predictions."""

import doctest
from dataclasses import replace

import numpy as np
import pytest
from dependency_cases import (
    SEQUENCES,
    TEACHER,
    TEACHER_P,
    artefact,
    of,
    predicted,
    predictions,
)
from reporting_cases import COLUMN, REASON, csv_lines, markdown_row, row, table_texts

from mdkd.reporting.kinds import sequences


@pytest.fixture
def results(tmp_path):
    return predicted(tmp_path)


def mean_and_spread(values):
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"


def third_order(p_NC):
    """Phi_3 of cup - parking meter - dog, image by image, in per cent."""
    return 100 * np.array([((p[0] - p[1]) ** 2 + (p[1] - p[2]) ** 2) / 2 for p in p_NC])


def test_values_and_distances_along_sequences(results):
    text = table_texts(artefact("sequences", SEQUENCES), results)["md"]
    assert "|  | cup-p. m.-dog | dog-cat | dog-zebra |" in text
    values, distances = text.split("\ndistance to the teacher's Ψ × 100\n")
    # the teacher: (0.01 + 0.49, 0.16 + 0.01, 0.01 + 0) / 6 and (0.01 + 0.25 + 0.81) / 3
    assert markdown_row(values, "Teacher") == ["11.33", "35.67", "n/a"]
    own = {
        label: [third_order(predictions(p)).mean() for p in of(m)]
        for label, m in (("Student", "vanilla"), ("MLD", "mld"))
    }
    assert markdown_row(values, "Student")[0] == mean_and_spread(own["Student"])
    assert markdown_row(values, "MLD")[0] == mean_and_spread(own["MLD"])
    assert markdown_row(values, "RKD")[0] == f"{third_order(predictions(of('rkd')[0])).mean():.2f}†"
    assert markdown_row(values, "PKT") == ["–", "–", "n/a"]
    assert markdown_row(values, "PS") == ["failed", "failed", "n/a"]
    assert markdown_row(values, "L2D") == ["n/a", "n/a", "n/a"]
    assert "| Teacher |" not in distances
    far = {key: np.abs(np.array(v) - third_order(TEACHER_P).mean()) for key, v in own.items()}
    assert markdown_row(distances, "MLD")[0] == f"**{mean_and_spread(far['MLD'])}**"
    assert markdown_row(distances, "MDKD")[0] == f"**{mean_and_spread(far['MLD'])}**"  # a tie
    assert markdown_row(distances, "Student")[0] == mean_and_spread(far["Student"])
    # the shifted label is in neither of the second sequence's: nobody errs
    assert markdown_row(distances, "Student")[1] == "**0.00 ± 0.00**"


def test_the_second_nearest_is_underlined(results):
    made = artefact("sequences", SEQUENCES)
    made = replace(made, rows=[made.rows[i] for i in (0, 1, 2)])
    distances = table_texts(made, results)["md"].split("distance to")[1]
    assert markdown_row(distances, "Student")[0].startswith("<u>")


def test_notes_of_sequences_say_what_is_lacking(results):
    text = table_texts(artefact("sequences", SEQUENCES), results)["md"]
    assert f"- {COLUMN}: dog-zebra: n/a: the data set lacks zebra." in text
    assert "- p. m.: parking meter." in text
    assert "as one batch (3 images)" in text
    assert "8 of 13 runs (– not yet run" in text
    assert "- 2 runs failed; failed.json in the folder of each says why." in text
    assert f"- L2D: n/a: {REASON}." in text
    assert "- A note of the experiment." in text


def test_the_csv_has_the_distance_image_by_image(results):
    text = table_texts(artefact("sequences", SEQUENCES), results)["csv"]
    lines = {(line["row"], line["sequence"], line["quantity"]): line for line in csv_lines(text)}
    line = lines["Student", "cup-parking meter-dog", "instance_distance"]
    differences = [
        np.abs(third_order(predictions(p)) - third_order(TEACHER_P)).mean() for p in of("vanilla")
    ]
    assert float(line["mean"]) == pytest.approx(np.mean(differences), abs=1e-3)
    assert float(line["std"]) == pytest.approx(np.std(differences, ddof=1), abs=1e-3)
    assert line["rank"] == "4.0"  # behind a tie and RKD, which has half the spread of shifts
    assert lines["Student", "cup-parking meter-dog", "psi"]["rank"] == ""


def test_abbreviations_name_one_label_only():
    assert doctest.testmod(sequences) == (0, 1)
    short = sequences.abbreviations(["traffic light", "tall lamp", "dog"])
    assert short == {"traffic light": "traffic light", "tall lamp": "tall lamp", "dog": "dog"}


def test_one_seed_has_no_spread(results):
    made = artefact("sequences", SEQUENCES)
    rows = [row("Teacher", "teacher", [TEACHER]), row("MLD", "method", of("mld")[:1])]
    text = table_texts(replace(made, rows=rows, seeds=[0]), results)["md"]
    values, distances = text.split("\ndistance to")
    assert markdown_row(values, "MLD")[0] == "11.33"
    assert markdown_row(distances, "MLD")[0] == "**0.00**"
