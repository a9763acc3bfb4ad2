"""What the kinds sequences, matrices and transfer have in common."""

from dataclasses import replace

import pytest
from dependency_cases import (
    MATRICES,
    ORDERS,
    SEQUENCES,
    TEACHER_P,
    artefact,
    blocks,
    of,
    predicted,
    predictions,
    texts,
    unmade,
    write_run,
)
from reporting_cases import markdown_row, table_texts

from mdkd.artefacts import Cell
from mdkd.reporting.kinds import matrices, transfer
from mdkd.specfiles import Pair


@pytest.fixture
def results(tmp_path):
    return predicted(tmp_path)


@pytest.fixture
def empty(tmp_path):
    return unmade(tmp_path)


MADE = [
    artefact("sequences", SEQUENCES),
    artefact("matrices", MATRICES),
    artefact("transfer", ORDERS),
]


def shown(made, results):
    """The Markdown of a table, or all texts of a figure."""
    if made.kind == "matrices":
        return "\n".join(texts(matrices.figure(made, results)))
    if made.kind == "transfer":
        assert texts(transfer.figure(made, results))
    return table_texts(made, results)["md"]


@pytest.mark.parametrize("made", MADE, ids=lambda made: made.kind)
def test_nothing_has_run_yet(made, empty):
    text = shown(made, empty)
    if made.kind == "matrices":
        assert "–" in text
    else:
        assert "0 of 13 runs" in text
        assert set(markdown_row(text.split("teacher")[1], "PKT")) == {"–"}
    assert "n/a" in text  # L2D


@pytest.mark.parametrize("made", MADE, ids=lambda made: made.kind)
def test_other_predictions_are_shown_differently(made, results):
    made = replace(made, rows=made.rows[:3])
    before = shown(made, results)
    write_run(results, of("mld")[0], TEACHER_P / 2)
    assert shown(made, results) != before


@pytest.mark.parametrize("made", MADE, ids=lambda made: made.kind)
def test_students_before_their_teacher(made, empty):
    write_run(empty, of("vanilla")[0], predictions(of("vanilla")[0]))
    text = shown(replace(made, rows=made.rows[:3]), empty)
    if made.kind == "sequences":
        values, distances = text.split("distance to")
        assert markdown_row(values, "Student")[0].endswith("†")
        assert markdown_row(distances, "Student") == ["–", "–", "n/a"]
    elif made.kind == "transfer":
        batch, _, true = blocks(text).values()
        assert markdown_row(batch, "Student") == ["–", "–", "n/a", "–", "–"]
        assert markdown_row(true, "Student")[0].endswith("†**")
    else:
        assert "\nStudent\n" in text  # without a distance


@pytest.mark.parametrize("made", MADE, ids=lambda made: made.kind)
def test_two_pairs_stand_below_each_other(made, results):
    other = "supervised/scenes/wrn16_2/seed0"
    write_run(results, other, TEACHER_P[::-1])
    cells = {"Teacher": [other], "MLD": of("mld", teacher="wrn16_2")}
    rows = [
        replace(r, cells=[*r.cells, Cell(runs=cells[r.label])])
        for r in made.rows
        if r.label in cells
    ]
    pairs = [*made.pairs, Pair(dataset="scenes", teacher="wrn16_2", student="resnet8")]
    text = shown(replace(made, rows=rows, pairs=pairs, columns=["one", "two"]), results)
    if made.kind == "matrices":
        assert text.index("one\nc\n") < text.index("two\nc\n")
    else:
        assert text.index("\none: ") < text.index("\ntwo: ")
        assert f"**{made.title}**" in text
        last = text.rpartition("\ntwo: ")[2]
        assert set(markdown_row(last, "MLD")) <= {"–", "n/a", ""}
