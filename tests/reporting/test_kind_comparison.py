"""The kind comparison, from records with known values."""

from dataclasses import replace

import pytest
from comparison_case import ARTEFACT, ODD, of, scored, texts, write_record
from reporting_cases import REASON, csv_lines, markdown_row

from mdkd import reporting


@pytest.fixture
def layout(tmp_path):
    return scored(tmp_path)


def test_the_csv_holds_percentages(layout):
    lines = csv_lines(texts(ARTEFACT, layout)["csv"])
    by_place = {(line["row"], line["metric"]): line for line in lines}
    assert len(by_place) == 16
    odd = by_place[ODD, "mAP"]
    assert (float(odd["mean"]), float(odd["std"])) == (70.0, 1.0)
    assert float(by_place["PKT", "mAP"]["mean"]) == 70.003
    assert float(by_place["RKD", "CF1_k"]["mean"]) == 15.0
    assert by_place["Teacher", "mAP"]["std"] == by_place["Teacher", "mAP"]["rank"] == ""
    assert by_place["PS", "mAP"]["mean"] == ""
    assert by_place["L2D", "mAP"]["state"] == f"n/a: {REASON}"


def unescaped(text, char):
    return sum(c == char and not text[:i].endswith("\\") for i, c in enumerate(text))


def test_latex_prints_special_characters(layout):
    text = texts(ARTEFACT, layout)["tex"]
    assert "a\\_b \\& 50\\% \\#1 \\{x\\} & \\textbf{70.00 $\\pm$ 1.00} &" in text
    assert "Scenes: ResNet20 $\\rightarrow$ ResNet8" in text
    assert "CF1\\_k" in text
    assert "100 \\%." in text
    body = text[text.index("\\toprule") : text.index("\\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith("\\\\")]
    assert len(lines) == 1 + 8
    assert {unescaped(line, "&") for line in lines} == {2}
    assert unescaped(text, "{") == unescaped(text, "}")
    assert unescaped(text, "%") == 4  # comments, and lines whose end is no space
    assert unescaped(text, "#") == 0
    assert text.isascii()


def with_reported(numbers):
    """The artefact with published mAPs beside some of its rows."""
    rows = [
        replace(r, cells=[replace(c, reported=numbers.get(r.label, {})) for c in r.cells])
        for r in ARTEFACT.rows
    ]
    return replace(ARTEFACT, rows=rows)


def test_published_numbers_stand_beside_ours(layout):
    numbers = {"Teacher": {"mAP": 0.8125}, "MLD": {"mAP": 0.71, "OF1": 0.9}, "PS": {"mAP": 0.6}}
    result = texts(with_reported(numbers), layout)
    assert "|  | mAP | paper | Δ | CF1_k |" in result["md"]
    assert markdown_row(result["md"], "Teacher") == ["80.00", "81.25", "−1.25", "40.00"]
    assert markdown_row(result["md"], "MLD")[1:3] == ["71.00", "−1.00"]
    assert markdown_row(result["md"], "Student")[1:3] == ["", ""]
    assert markdown_row(result["md"], "PS")[:3] == ["–", "60.00", ""]
    assert "Published OF1 and CF1 are compared with OF1_k and CF1_k." in result["md"]
    assert " & mAP & paper & $\\Delta$ & CF1\\_k \\\\" in result["tex"]
    lines = {(line["row"], line["metric"]): line["reported"] for line in csv_lines(result["csv"])}
    assert lines["Teacher", "mAP"] == "81.25"
    assert lines["MLD", "CF1_k"] == lines["Student", "mAP"] == ""
    assert "reported" not in texts(ARTEFACT, layout)["csv"]


def test_the_figure_shows_other_values_differently(layout):
    rows = ARTEFACT.rows[:3]
    reporting.write_figure(replace(ARTEFACT, rows=rows), layout, layout.base / "before")
    write_record(layout, of("mld")[0], 0.1)
    reporting.write_figure(replace(ARTEFACT, rows=rows), layout, layout.base / "after")
    files = [layout.base / name / "short.svg" for name in ("before", "after")]
    assert files[0].read_bytes() != files[1].read_bytes()
