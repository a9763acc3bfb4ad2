"""The figure of attention maps, drawn from maps of known content."""

import numpy as np
import pytest
from attention_case import ARTEFACT, texts
from conftest import ROOT, python
from reporting_cases import planned, written_by_both

from mdkd import reporting
from mdkd.attention import Maps, basis, path_of
from mdkd.kinds import Attention
from mdkd.layout import FIGURE_FORMATS
from mdkd.plan import make_plan
from mdkd.reporting.kinds.attention import figure
from mdkd.spec import Specification


def by_hand(results, images=2, labels=2):
    """Maps of known content: each image has a label that the student misses."""
    states, count, size = ["done", "done", "missing", "failed", "n/a: why"], images * labels, 8
    rng = np.random.default_rng(0)
    probabilities_PR = np.tile(np.linspace(0.5, 0.9, len(states), dtype=np.float32), (count, 1))
    probabilities_PR[::labels, 1] = 0.4996
    maps_PRSS = rng.random((count, len(states), size, size)).astype(np.float16)
    probabilities_PR[:, 2:], maps_PRSS[:, 2:] = np.nan, np.nan
    maps = Maps(
        basis=np.array(basis(ARTEFACT, results)),
        rows_R=np.array([r.label for r in ARTEFACT.rows]),
        states_KR=np.array([states]),
        column_P=np.zeros(count, int),
        ids_P=np.repeat([f"id{i}" for i in range(images)], labels),
        labels_P=np.tile(["cat", "dog", "cup"][:labels], images),
        errors_P=np.repeat(np.arange(images), labels),
        images_PSSC=rng.integers(0, 256, (count, size, size, 3), np.uint8),
        probabilities_PR=probabilities_PR,
        maps_PRSS=maps_PRSS,
    )
    maps.save(path_of(ARTEFACT, results))
    return maps


@pytest.fixture
def empty(tmp_path):
    """A plan of which nothing has been run."""
    return planned(tmp_path, ARTEFACT.runs)


def test_the_figure_shows_labels_probabilities_misses_and_gaps(empty):
    by_hand(empty)
    shown = texts(figure(ARTEFACT, empty))
    assert [shown.count(label) for label in ("cat", "dog")] == [2, 2]
    headings = ["Input", "Teacher", "Student", "RKD", "PS", "L2D"]
    assert [text for text in shown if text in headings] == headings
    assert shown.count("0.50") == 4  # the teacher finds all
    assert shown.count("0.49 missed") == 2 and shown.count("0.60") == 2
    assert [shown.count(gap) for gap in ("–", "failed", "n/a")] == [4, 4, 4]
    assert {"id0; teacher: no label wrong", "id1; teacher: 1 label wrong"} <= set(shown)
    caption = shown[-1].replace("\n", " ")
    assert caption.startswith("protocol smoke; seeds 0, 1; students of seed 0.")
    assert "L2D: n/a: why." in caption
    assert "– not yet run." in caption


def test_many_images_are_set_in_two_blocks(empty):
    by_hand(empty, images=3, labels=3)
    assert texts(figure(ARTEFACT, empty)).count("Input") == 1
    by_hand(empty, images=4, labels=3)
    assert texts(figure(ARTEFACT, empty)).count("Input") == 2
    by_hand(empty, images=5, labels=2)
    shown = texts(figure(ARTEFACT, empty))
    assert all(shown.count(f"id{i}; teacher: {i} labels wrong") == 1 for i in (2, 3, 4))


def test_another_process_draws_the_same_figure_of_the_same_maps(empty):
    maps = by_hand(empty, images=1)
    made = {"looks": (ARTEFACT, empty, ["figure"])}
    first, second = written_by_both(empty.base / "files", made)["looks"]
    assert set(first) == {f"looks.{suffix}" for suffix in FIGURE_FORMATS}
    assert first == second
    maps.maps_PRSS[0, 0] = 0
    maps.save(path_of(ARTEFACT, empty))
    reporting.write_figure(ARTEFACT, empty, empty.base / "third")
    assert (empty.base / "third" / "looks.png").read_bytes() != first["looks.png"]


def test_the_figure_without_maps_says_how_to_make_them(empty):
    reporting.write_figure(ARTEFACT, empty, empty.base / "figures")
    assert (empty.base / "figures" / "looks.pdf").exists()
    expected = "attention maps not yet computed: run `mdkd attend looks`"
    assert expected in texts(figure(ARTEFACT, empty))


def test_the_figures_of_the_paper_choose_different_images():
    plan = make_plan(Specification(ROOT / "config"))
    first, second = (Attention(**plan.artefacts[f"figure{i}"].options) for i in (5, 7))
    assert second.skip >= first.skip + first.count


def test_drawing_needs_no_torch():
    result = python(
        "-c", "import sys, mdkd.reporting.kinds.attention; print('torch' in sys.modules)"
    )
    assert result.stdout == "False\n", result.stderr
