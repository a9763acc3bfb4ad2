"""How numbers, marks and gaps are printed, in a comparison of known values."""

from dataclasses import replace

import pytest
from comparison_case import ARTEFACT, COLUMN, ODD, STUDENT, TEACHER, of, scored, texts, write_record
from reporting_cases import csv_lines, fail, markdown_row, row

from mdkd.results import Results


@pytest.fixture
def layout(tmp_path):
    return scored(tmp_path)


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
    lines = csv_lines(result["csv"])
    assert {line["std"] for line in lines} == {""}


def test_two_columns_are_ranked_apart(layout):
    for path in of("mld", "wrn16_2"):
        write_record(layout, path, 0.9)
    for path in of("mdkd", "wrn16_2"):
        write_record(layout, path, 0.95)
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


def test_a_failed_run_is_not_a_gap(layout):
    for path in (of("ps")[1], of("rkd")[2]):
        fail(layout, path)
    text = texts(ARTEFACT, layout)["md"]
    assert markdown_row(text, "PS") == ["failed", "failed"]
    assert markdown_row(text, "RKD")[0] == "30.00 ± 14.14†"
    assert "- 2 runs failed; failed.json in the folder of each says why." in text
    assert layout.state(of("ps")[0]) == "to do"
