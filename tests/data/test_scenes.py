"""The embedded scenes: exact label statistics, bit-identical pixels, strict options."""

import hashlib
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mdkd.data import scenes_graph
from mdkd.data.scenes_looks import LOOKS
from mdkd.data.scenes_render import render
from mdkd.data.sources.scenes import Options, load, read_graph
from mdkd.errors import UserError

ROOT = Path("/")

SMALL = {
    "classes": ["person", "car", "dog", "cup", "book"],
    "scenes": {
        "street": {
            "weight": 3,
            "labels": {"person": 0.6, "car": ["person", 0.2, 0.7], "dog": ["car", 0.1, 0.55]},
        },
        "room": {
            "weight": 1,
            "labels": {"person": 0.3, "cup": ["person", 0.4, 0.8], "book": 0.25},
        },
    },
}


def small_probability(person, car, dog, cup, book):
    """P(label set) of SMALL, written out by hand."""

    def bernoulli(p, y):
        return p if y else 1 - p

    street = bernoulli(0.6, person) * bernoulli(0.7 if person else 0.2, car)
    street *= bernoulli(0.55 if car else 0.1, dog) * (not cup) * (not book)
    room = bernoulli(0.3, person) * bernoulli(0.8 if person else 0.4, cup)
    room *= bernoulli(0.25, book) * (not car) * (not dog)
    return 0.75 * street + 0.25 * room


STATES = {y: small_probability(*y) for y in itertools.product((0, 1), repeat=5)}


def expect(f):
    return sum(p * f(y) for y, p in STATES.items())


@pytest.fixture(scope="module")
def small_joint():
    return scenes_graph.joint(scenes_graph.parse_graph(SMALL, tuple(LOOKS)))


@pytest.fixture(scope="module")
def graph():
    return read_graph(Options(), ROOT)


@pytest.fixture(scope="module")
def table():
    return load(Options(train=120, test=120), ROOT, 32)


def test_joints_equal_enumeration(small_joint):
    assert sum(STATES.values()) == pytest.approx(1)
    for k, m, n in itertools.product(range(5), repeat=3):
        brute = expect(lambda y, k=k, m=m, n=n: y[k] * y[m] * y[n])
        assert small_joint[k, m, n] == pytest.approx(brute, abs=1e-14)


def test_phi_and_psi_equal_enumeration(small_joint):
    phi, psi = scenes_graph.phi(small_joint), scenes_graph.psi(small_joint)
    for k, m in itertools.product(range(5), repeat=2):
        assert psi[k, m] == pytest.approx(expect(lambda y, k=k, m=m: (y[k] - y[m]) ** 2), abs=1e-14)
        mean_k, mean_m = (expect(lambda y, i=i: y[i]) for i in (k, m))
        covariance = expect(lambda y, k=k, m=m: y[k] * y[m]) - mean_k * mean_m
        scale = math.sqrt(mean_k * (1 - mean_k) * mean_m * (1 - mean_m))
        assert phi[k, m] == pytest.approx(covariance / scale, abs=1e-13)


def test_conditional_information_equals_enumeration(small_joint):
    cmi = scenes_graph.conditional_information(small_joint)
    for k, n, m in itertools.permutations(range(5), 3):

        def p(*fixed, positions=(k, n, m)):
            wanted = [(i, v) for i, v in zip(positions, fixed, strict=True) if v is not None]
            return sum(q for y, q in STATES.items() if all(y[i] == v for i, v in wanted))

        brute = sum(
            p(a, b, c) * math.log(p(a, b, c) * p(None, None, c) / (p(a, None, c) * p(None, b, c)))
            for a, b, c in itertools.product((0, 1), repeat=3)
            if p(a, b, c) > 0
        )
        assert cmi[k, n, m] == pytest.approx(brute, abs=1e-12)


def test_ends_of_a_chain_are_independent_given_the_mediator_within_a_scene(graph):
    facts = scenes_graph.dependencies(graph)
    found = {(chain["scene"], *chain["ends"], chain["mediator"]) for chain in facts["chains"]}
    assert ("street", "person", "parking meter", "car") in found
    assert ("street", "car", "dog", "person") in found
    for chain in facts["chains"]:
        assert chain["cmi_in_scene"] < 1e-12
        assert abs(chain["phi_in_scene"]) > 0.05
    for scene in graph.scenes:
        cmi = scenes_graph.conditional_information(scenes_graph.joint(graph, scene))
        for k, m, n in scenes_graph.chains(scene):
            assert cmi[k, n, m] < 1e-12, (scene, k, m, n)


def test_sampled_frequencies_agree_with_the_exact_ones(graph):
    count = 20_000
    targets_NC, scene_N = scenes_graph.sample(graph, count, "frequencies", 0)
    joint = scenes_graph.joint(graph)
    pairs = scenes_graph.pairs(joint)
    for exact, seen in (
        (pairs, targets_NC.T.astype(float) @ targets_NC / count),
        (joint[0], (targets_NC[:, :1] * targets_NC).T.astype(float) @ targets_NC / count),
        ([s.weight for s in graph.scenes], np.bincount(scene_N) / count),
    ):
        exact = np.asarray(exact)
        sigma = np.sqrt(exact * (1 - exact) / count)
        assert np.all(np.abs(seen - exact) <= 5 * sigma + 1e-12)


def test_label_sets_look_like_those_of_photographs(graph):
    facts = scenes_graph.dependencies(graph)
    targets_NC, _ = scenes_graph.sample(graph, 20_000, "frequencies", 1)
    assert 2.6 < facts["cardinality"] < 3.2
    assert targets_NC.sum(axis=1).mean() == pytest.approx(facts["cardinality"], abs=0.06)
    assert (targets_NC.sum(axis=1) == 0).mean() < 0.03
    assert min(facts["marginals"]) > 0.04


def test_graph_file_is_complete_small_and_symmetric(table, tmp_path):
    table.extras(tmp_path)
    text = (tmp_path / "graph.json").read_text()
    facts = json.loads(text)
    assert len(text) < 300_000
    assert facts["classes"] == list(table.classes) and len(table.classes) == 20
    for name in ("phi", "psi", "pairs"):
        matrix = np.array(facts[name])
        assert matrix.shape == (20, 20)
        np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1.1e-8)  # written with 8 digits
    assert np.all(np.diag(facts["psi"]) == 0)
    assert np.allclose(np.diag(facts["phi"]), 1)
    assert [edge for edge in facts["edges"] if not math.isfinite(edge["log_odds"])] == []


def test_fewer_labels_leave_the_statistics_of_the_rest_alone(graph):
    whole = scenes_graph.joint(graph)
    for count in (2, 9, 19):
        cut = scenes_graph.joint(read_graph(Options(labels=count), ROOT))
        assert np.allclose(cut, whole[:count, :count, :count], atol=1e-14)


# Guards of bit identity: a changed value means that REVISION of the renderer must be raised.
GOLDEN_LABELS = "fce8bfef3edf9070cb329778009dbfa1b9232fbda14a03253047d9039c9676b4"
GOLDEN_PIXELS = {
    (48, 1.0): "ee85f8e3cf6b4cef9efc963434edd47ae0e880d2efe6475d27be76ebc1da2c6d",
    (48, 0.0): "2ce9f1893b5a4954a8576f3fcc6660ca12d8e95b8b56888dec1b738bf42225d0",
    (33, 1.7): "9811e9f5b71ad67614b7d627aa2802d266c6349d7f528479ff4525fe7f0c62f4",
    (224, 1.0): "261ca984b2f074d5885281780d5c0b26e0435e260721673de457f098a4c96e7f",
}


def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def test_labels_are_bit_identical_everywhere():
    table = load(Options(train=500, test=500, seed=7), ROOT, 32)
    labels = [table.splits[split].targets_NC for split in ("train", "test")]
    assert digest(*labels) == GOLDEN_LABELS


@pytest.mark.parametrize("size, difficulty", [(48, 1.0), (48, 0.0), (33, 1.7), (224, 1.0)])
def test_pixels_are_bit_identical_everywhere(size, difficulty):
    table = load(Options(train=60, test=60, seed=3, difficulty=difficulty), ROOT, size)
    count = 4 if size > 100 else 60
    images = [table.splits[s].image(i) for s in ("train", "test") for i in range(count)]
    assert digest(*images) == GOLDEN_PIXELS[size, difficulty]


def test_an_image_depends_on_its_index_alone(table):
    split = table.splits["train"]
    first = [split.image(i) for i in range(10)]
    again = [split.image(i) for i in reversed(range(10))][::-1]
    longer = load(Options(train=500, test=1), ROOT, 32).splits["train"]
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, [longer.image(i) for i in range(10)])
    assert np.array_equal(split.targets_NC, longer.targets_NC[:120])
    assert first[0].shape == (32, 32, 3) and first[0].dtype == np.uint8


def test_seeds_and_splits_differ(table):
    other = load(Options(train=120, test=120, seed=1), ROOT, 32)
    images = [
        split.image(i).tobytes()
        for one in (table, other)
        for split in one.splits.values()
        for i in range(120)
    ]
    ids = [name for split in table.splits.values() for name in split.ids]
    assert len(set(images)) == 480
    assert len(set(ids)) == 240


def test_a_scene_may_have_twelve_labels():
    image = render(scenes_graph.BUILT_IN["classes"][:12], 0, 48, 2.0, "twelve")
    assert image.shape == (48, 48, 3)


def test_every_label_has_a_look_and_can_be_drawn():
    blank = render([], 0, 48, 0.0, "looks")
    drawn = {name: render([name], 0, 48, 0.0, "looks") for name in scenes_graph.BUILT_IN["classes"]}
    assert set(drawn) == set(LOOKS)
    for image in drawn.values():
        assert 0.01 < np.any(image != blank, axis=2).mean() < 0.5


@pytest.mark.parametrize(
    "change, words",
    [
        ({"train": 0}, "train: 0"),
        ({"test": -1}, "test: -1"),
        ({"seed": -1}, "seed: -1"),
        ({"difficulty": 2.5}, "difficulty: 2.5"),
        ({"difficulty": math.nan}, "difficulty: nan"),
        ({"labels": 1}, "labels: 1"),
        ({"labels": 21}, "between 2 and 20"),
        ({"graph": "/nowhere/graph.yaml"}, "/nowhere/graph.yaml"),
    ],
)
def test_bad_options_are_one_line(change, words):
    with pytest.raises(UserError) as error:
        load(replace(Options(), **change), ROOT, 48)
    assert words in str(error.value) and "\n" not in str(error.value)


def changed(path, value):
    """SMALL with the entry at ``path`` replaced."""
    data = json.loads(json.dumps(SMALL))
    *way, last = path
    entry = data
    for key in way:
        entry = entry[key]
    entry[last] = value
    return data


@pytest.mark.parametrize(
    "data, words",
    [
        ([], "graph: a mapping"),
        (changed(["colour"], 1), "graph.colour: unknown key"),
        (changed(["classes", 1], "carr"), "classes: no picture of 'carr'; did you mean 'car'?"),
        (changed(["classes", 1], "person"), "classes: a label appears twice"),
        (changed(["classes"], "person"), "classes: a list"),
        (changed(["scenes"], {}), "scenes: 1 or more"),
        (changed(["scenes", "room", "weight"], 0), "scenes.room.weight"),
        (changed(["scenes", "room"], {"weight": 1}), "scenes.room.labels: missing key"),
        (changed(["scenes", "room", "labels"], {}), "scenes.room.labels: 1 to 12"),
        (changed(["scenes", "room", "labels", "kite"], 0.5), "labels.kite: not one of"),
        (changed(["scenes", "room", "labels", "book"], 1.0), "labels.book: a root's"),
        (changed(["scenes", "room", "labels", "book"], ["cup", 0.1]), "labels.book: a root's"),
        (changed(["scenes", "room", "labels", "book"], ["dog", 0.1, 0.2]), "parent 'dog' is not"),
        (changed(["classes"], ["car", "person", "dog", "cup", "book"]), "must come earlier"),
    ],
)
def test_bad_graph_files_name_the_file_and_the_key(tmp_path, data, words):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(data))
    with pytest.raises(UserError) as error:
        load(Options(graph=str(path)), ROOT, 48)
    message = str(error.value)
    assert words in message and str(path) in message and "\n" not in message


def test_a_graph_file_replaces_the_built_in_graph(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(SMALL))
    table = load(Options(train=50, test=10, graph=str(path)), ROOT, 32)
    built_in = load(Options(train=50, test=10), ROOT, 32)
    assert table.classes == tuple(SMALL["classes"])
    assert table.splits["train"].targets_NC.shape == (50, 5)
    assert table.splits["train"].image(0).shape == (32, 32, 3)
    assert table.rule["graph_sha256"] != built_in.rule["graph_sha256"]
