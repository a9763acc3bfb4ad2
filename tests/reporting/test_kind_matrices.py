"""The kind matrices, from runs with known predictions."""

from dataclasses import replace

import numpy as np
import pytest
from dependency_cases import (
    MATRICES,
    TEACHER,
    TEACHER_P,
    artefact,
    of,
    predicted,
    predictions,
    scenes_cache,
    texts,
    write_run,
)
from matplotlib import pyplot as plt
from reporting_cases import row

from mdkd.reporting.kinds import matrices
from mdkd.results import Predictions


@pytest.fixture
def results(tmp_path):
    return predicted(tmp_path)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A cache of the embedded data."""
    base = tmp_path_factory.mktemp("scenes")
    return base, scenes_cache(base)


def said(p_NC, targets_NC, ids):
    return Predictions(*(p_NC, targets_NC, ids, ["x", "y", "z"]))


def test_images_are_chosen_by_labels_then_by_the_teacher_then_by_place():
    targets_NC = np.array([[0, 0, 1], [1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 0]], np.uint8)
    p_NC = np.array([[0, 0, 1], [0.5, 0.5, 0], [0.9, 0.5, 1], [0.9, 0.5, 1], [0, 0, 1]], np.float32)
    teacher = said(p_NC, targets_NC, list("abcde"))
    assert matrices.choose(teacher, teacher, ["x", "y"], 5, 0) == ["c", "d", "b", "e", "a"]
    assert matrices.choose(teacher, teacher, ["x", "y"], 2, 1) == ["d", "b"]
    assert matrices.choose(teacher, None, ["y", "x"], 3, 0) == ["b", "c", "d"]


def mean_squares(vectors):
    """What the lower triangle of three labels shows, row by row."""
    pairs = ((1, 0), (2, 0), (2, 1))
    return [f"{np.mean([(p[k] - p[m]) ** 2 for p in vectors]):.2f}" for k, m in pairs]


def test_heat_maps_show_numbers_and_distances(results):
    made = artefact("matrices", MATRICES | {"images": ["b"]})
    rows = [row("Teacher", "teacher", [TEACHER]), row("MLD", "method", of("mld"))]
    found = texts(matrices.figure(replace(made, rows=rows), results))
    for vectors in ([TEACHER_P[1]], [predictions(path)[1] for path in of("mld")]):
        expected = mean_squares(vectors)
        start = found.index(expected[0])
        assert [text for text in found[start:] if text.startswith("0")][:3] == expected
    # one seed is the teacher, the other's cup is 0.1 more: 0.09 and 0.04 instead of 0.16 and 0.09
    assert f"MLD\nΔ 0.020 ± {0.12 / 3 / 2**0.5:.3f}" in found
    assert "b\nparking meter, dog" in found  # there is no cache, so no picture
    assert "whole test set, 3\nimages\n" in found


def test_gaps_of_heat_maps_are_visible(results):
    found = texts(matrices.figure(artefact("matrices", MATRICES), results))
    assert found.count("–") == found.count("failed") == found.count("n/a") == 2
    assert "c\ncup, parking meter,\ndog" in found  # it has all three labels
    assert any(text.startswith("RKD\nΔ") and text.endswith("†") for text in found)


def test_a_named_image_that_does_not_exist_and_labels_that_are_lacking(results):
    made = artefact("matrices", MATRICES | {"images": ["b", "nowhere"]})
    found = texts(matrices.figure(made, results))
    assert "; n/a: no test image nowhere" in found[-1]
    assert found.count("–") == 2
    made = artefact("matrices", MATRICES | {"labels": ["zebra", "dog", "cup"]})
    found = texts(matrices.figure(made, results))
    assert "zebra" not in found
    assert found[-1].endswith("; n/a: the data set lacks zebra")
    made = artefact("matrices", MATRICES | {"labels": ["zebra", "dog"]})
    caption = texts(matrices.figure(made, results))[-1]
    assert "; n/a: fewer than two of the labels; n/a: the data set lacks zebra" in caption


def test_the_picture_comes_from_the_cache(scenes, results):
    base, opened = scenes
    split = opened.splits["test"]
    results = replace(results, base=base)
    p_NC = np.full(split.targets_NC.shape, 0.25)
    facts = {"targets_NC": split.targets_NC, "ids": split.ids, "classes": list(opened.classes)}
    write_run(results, TEACHER, p_NC, **facts)
    made = artefact("matrices", MATRICES | {"images": [split.ids[5]]})
    figure = matrices.figure(replace(made, rows=made.rows[:1]), results)
    (picture,) = figure.axes[0].images
    assert (picture.get_array() == split.images_NSSC[5]).all()
    assert figure.axes[0].get_title() == split.ids[5]
    plt.close(figure)
