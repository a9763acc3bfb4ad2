"""Dependencies in stored predictions: measures by enumeration, tables and figures by hand."""

import csv
import doctest
import io
import itertools
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from conftest import copy_config
from matplotlib import pyplot as plt

from mdkd import codependence, dependencies, records, reporting
from mdkd.data import cache, scenes_graph
from mdkd.errors import UserError
from mdkd.plan import Artefact, Cell, Row, resolve_dataset, resolve_run
from mdkd.reporting import dependencies as predicted
from mdkd.reporting.kinds import matrices, sequences, transfer
from mdkd.results import Predictions, Results
from mdkd.spec import Pair, Specification

# --- measures ---


def probabilities(images, size, seed=0):
    return np.random.default_rng(seed).random((2, images, size))


def enumerated(student_NC, teacher_NC, order, level):
    """Root mean square error of the dependency, over all sequences of distinct labels."""
    own_NCC, other_NCC = (
        (p_NC[:, :, None] - p_NC[:, None, :]) ** 2 for p_NC in (student_NC, teacher_NC)
    )
    errors = []
    for sequence in itertools.permutations(range(student_NC.shape[1]), order):
        neighbours = list(itertools.pairwise(sequence))
        error_N = sum(own_NCC[:, k, m] - other_NCC[:, k, m] for k, m in neighbours) / (order - 1)
        errors.append(error_N.mean() ** 2 if level == "batch" else (error_N**2).mean())
    return math.sqrt(np.mean(errors))


SIZES = [(1, 3), (6, 2), (9, 4), (5, 5), (3, 6), (2, 7)]


@pytest.mark.parametrize(("images", "size"), SIZES)
def test_errors_equal_enumeration_and_the_loss(images, size):
    student_NC, teacher_NC = probabilities(images, size)
    orders = list(range(2, size + 1))
    residual_CC = predicted.psi(teacher_NC) - predicted.psi(student_NC)
    found = {
        "batch": predicted.batch_errors(residual_CC, orders),
        "instance": predicted.instance_errors(student_NC, teacher_NC, orders),
    }
    losses = dependencies.multi_order_losses(
        torch.tensor(student_NC), torch.tensor(teacher_NC), orders, orders, check=True
    )
    for (level, errors), loss_O in zip(found.items(), losses, strict=True):
        expected = [enumerated(student_NC, teacher_NC, n, level) for n in orders]
        assert errors == pytest.approx(expected, rel=1e-10)
        assert errors == pytest.approx((2 * loss_O).sqrt().tolist(), rel=1e-10)


def test_an_order_beyond_the_labels_is_refused():
    student_NC, teacher_NC = probabilities(4, 3)
    with pytest.raises(
        ValueError, match="order 4 needs 2 <= order <= number of labels, which is 3"
    ):
        predicted.instance_errors(student_NC, teacher_NC, [4])


def test_psi_and_the_dependency_along_a_sequence():
    p_NC = np.array([[0.2, 0.6, 0.9], [0.5, 0.5, 0.1]], np.float32)
    assert predicted.psi(p_NC)[0] == pytest.approx([0, 0.08, 0.325], abs=1e-7)
    assert predicted.along(p_NC) == pytest.approx([(0.16 + 0.09) / 2, 0.16 / 2], abs=1e-7)
    assert predicted.along(p_NC[:, [0, 2]]).mean() == pytest.approx(predicted.psi(p_NC)[0, 2])


def test_the_expected_joint_is_a_sum_over_all_label_sets():
    p_NC = probabilities(5, 4)[0]
    states = np.array(list(itertools.product((0, 1), repeat=4)), np.uint8)
    weights = np.zeros(len(states))
    for p_C in p_NC:
        weights += np.where(states == 1, p_C, 1 - p_C).prod(axis=1) / len(p_NC)
    assert weights.sum() == pytest.approx(1)
    expected = np.einsum("t,tk,tl,tm->klm", weights, states, states, states)
    np.testing.assert_allclose(predicted.expected_joint(p_NC), expected, atol=1e-14)


def test_certain_predictions_have_the_dependencies_of_the_labels():
    targets_NC = (np.random.default_rng(1).random((60, 5)) < 0.4).astype(np.uint8)
    own = predicted.of_predictions(targets_NC.astype(np.float32))
    counted = predicted.of_joint(codependence.counted_joint(targets_NC))
    for found, expected in zip(own, counted, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    assert own.phi_CC[1, 2] == pytest.approx(np.corrcoef(targets_NC.T)[1, 2])


GRAPH = scenes_graph.parse_graph(scenes_graph.BUILT_IN, tuple(scenes_graph.BUILT_IN["classes"]))


def test_the_graph_is_read_back_from_its_record():
    graph = scenes_graph.read_graph(scenes_graph.dependencies(GRAPH))
    np.testing.assert_allclose(
        scenes_graph.joint(graph), scenes_graph.joint(GRAPH), rtol=0, atol=1e-7
    )


def test_direct_pairs_are_linked_and_indirect_ones_share_a_neighbour_only():
    record = scenes_graph.dependencies(GRAPH)
    index = {name: k for k, name in enumerate(record["classes"])}
    scopes = predicted.links(record)
    direct_CC, indirect_CC = (scopes[name].pairs_CC for name in ("direct", "indirect"))
    assert direct_CC.sum() == len({(e["parent"], e["child"]) for e in record["edges"]})
    assert direct_CC[index["person"], index["dog"]]
    # car - person - dog on the street; chair - person - cup in the kitchen, but linked elsewhere
    assert indirect_CC[index["car"], index["dog"]]
    assert direct_CC[index["chair"], index["cup"]]
    assert not (direct_CC & indirect_CC).any()
    triples_CCC = scopes["indirect"].triples_CCC
    mediators = np.flatnonzero(triples_CCC[index["car"], index["dog"]])
    assert mediators.tolist() == [index["person"]]
    assert scopes["direct"].triples_CCC.sum() == direct_CC.sum() * (len(index) - 2)


# --- records of known predictions ---

TEACHER = "supervised/scenes/resnet20/seed0"
CLASSES = ["cup", "parking meter", "dog", "cat", "bus"]
TARGETS = np.array([[1, 1, 0, 0, 1], [0, 1, 1, 0, 0], [1, 1, 1, 0, 0]], np.uint8)
IDS = ["a", "b", "c"]
TEACHER_P = np.array([[0.9, 0.8, 0.1, 0.2, 0.5], [0.3, 0.7, 0.6, 0.1, 0.2], [0.8, 0.9, 0.9, 0, 0]])
COLUMN = "Scenes: ResNet20 → ResNet8"
REASON = "needs one embedding per label"


def of(method, seeds=(0, 1), teacher="resnet20"):
    if method == "vanilla":
        return [f"supervised/scenes/resnet8/seed{seed}" for seed in seeds]
    stem = f"distill/scenes/{teacher}--resnet8/{method}/default"
    return [f"{stem}/seed{seed}" for seed in seeds]


# Shifts of the teacher's first label, the other way round in the second image: of two seeds each,
# but one of rkd has not been run.
SHIFTS = {
    **dict(zip(of("vanilla"), (-0.3, -0.2), strict=True)),
    **dict(zip(of("mld"), (0.0, -0.1), strict=True)),
    **dict(zip(of("mdkd"), (-0.1, 0.0), strict=True)),  # the same as mld
    of("rkd")[0]: -0.22,
}


def predictions(path):
    shift_NC = np.zeros(TEACHER_P.shape)
    shift_NC[:, 0] = SHIFTS.get(path, 0.0) * np.array([1, -1, 1])
    return TEACHER_P + shift_NC


def write_run(results, path, p_NC, classes=CLASSES, targets_NC=TARGETS, ids=IDS):
    folder = results.run(path)
    folder.mkdir(parents=True, exist_ok=True)
    p_NC = np.clip(p_NC, 1e-9, 1 - 1e-9)
    logits_NC = np.log(p_NC / (1 - p_NC)).astype(np.float32)
    np.savez(folder / "predictions.npz", logits_NC=logits_NC, targets_NC=targets_NC, ids=ids)
    run = asdict(results.runs[path])
    records.write_json(
        folder / "run.json", {"run": run, "predictions_sha256": "p", "classes": classes}
    )
    records.write_json(folder / "metrics.json", {"predictions_sha256": "p", "metrics": {}})


def row(label, role, runs, unavailable=None):
    return Row(label=label, role=role, cells=[Cell(runs=runs, unavailable=unavailable)])


def artefact(kind, options, name="short"):
    return Artefact(
        name=name,
        kind=kind,
        title="Dependencies",
        protocol="smoke",
        seeds=[0, 1],
        pairs=[Pair(dataset="scenes", teacher="resnet20", student="resnet8")],
        columns=[COLUMN],
        metrics=["mAP"],
        rows=[
            row("Teacher", "teacher", [TEACHER]),
            row("Student", "student", of("vanilla")),
            row("MLD", "method", of("mld")),
            row("MDKD", "method", of("mdkd")),
            row("RKD", "method", of("rkd")),
            row("PKT", "method", of("pkt")),
            row("PS", "method", of("ps")),
            row("L2D", "method", [], unavailable=REASON),
        ],
        notes=["A note of the experiment."],
        options=options,
    )


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return Specification(copy_config(tmp_path_factory.mktemp("spec") / "config"))


@pytest.fixture
def empty(tmp_path, spec):
    paths = [TEACHER, *(p for m in ("vanilla", "mld", "mdkd", "rkd", "pkt", "ps") for p in of(m))]
    paths += [*of("mld", teacher="wrn16_2"), "supervised/scenes/wrn16_2/seed0"]
    return Results("smoke", tmp_path, {path: resolve_run(spec, path) for path in paths})


@pytest.fixture
def results(empty):
    """PKT has not been run, PS has failed."""
    for path in (TEACHER, *SHIFTS):
        write_run(empty, path, predictions(path))
    for path in of("ps"):
        failure = {"run": asdict(empty.runs[path]), "error": "losses not finite"}
        records.write_json(empty.run(path) / "failed.json", failure)
    return empty


def files(made, results):
    reporting.write_table(made, results, results.base / "tables")
    suffixes = ("csv", "md", "tex", "html")
    return {s: (results.base / "tables" / f"{made.name}.{s}").read_text() for s in suffixes}


def markdown_row(text, label):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {label} |")]
    return [cell.strip() for cell in line.strip("|").split(" | ")][1:]


def mean_and_spread(values):
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"


# --- sequences ---

SEQUENCES = {"sequences": [["cup", "parking meter", "dog"], ["dog", "cat"], ["dog", "zebra"]]}


def third_order(p_NC):
    """Phi_3 of cup - parking meter - dog, image by image, in per cent."""
    return 100 * np.array([((p[0] - p[1]) ** 2 + (p[1] - p[2]) ** 2) / 2 for p in p_NC])


def test_values_and_distances_along_sequences(results):
    text = files(artefact("sequences", SEQUENCES), results)["md"]
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
    distances = files(made, results)["md"].split("distance to")[1]
    assert markdown_row(distances, "Student")[0].startswith("<u>")


def test_notes_of_sequences_say_what_is_lacking(results):
    text = files(artefact("sequences", SEQUENCES), results)["md"]
    assert f"- {COLUMN}: dog-zebra: n/a: the data set lacks zebra." in text
    assert "- p. m.: parking meter." in text
    assert "as one batch (3 images)" in text
    assert "8 of 13 runs (– not yet run" in text
    assert "- 2 runs failed; `failed.json` in the folder of each says why." in text
    assert f"- L2D: n/a: {REASON}." in text
    assert "- A note of the experiment." in text


def test_the_csv_has_the_distance_image_by_image(results):
    text = files(artefact("sequences", SEQUENCES), results)["csv"]
    lines = {
        (line["row"], line["sequence"], line["quantity"]): line
        for line in csv.DictReader(io.StringIO(text))
    }
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
    text = files(replace(made, rows=rows, seeds=[0]), results)["md"]
    values, distances = text.split("\ndistance to")
    assert markdown_row(values, "MLD")[0] == "11.33"
    assert markdown_row(distances, "MLD")[0] == "**0.00**"


# --- matrices ---

LABELS = ["cup", "parking meter", "dog"]
OPTIONS = {"labels": LABELS, "images": [], "count": 1, "skip": 0}


def said(p_NC, targets_NC, ids):
    return Predictions(*(p_NC, targets_NC, ids, ["x", "y", "z"]))


def test_images_are_chosen_by_labels_then_by_the_teacher_then_by_place():
    targets_NC = np.array([[0, 0, 1], [1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 0]], np.uint8)
    p_NC = np.array([[0, 0, 1], [0.5, 0.5, 0], [0.9, 0.5, 1], [0.9, 0.5, 1], [0, 0, 1]], np.float32)
    teacher = said(p_NC, targets_NC, list("abcde"))
    assert matrices.choose(teacher, teacher, ["x", "y"], 5, 0) == ["c", "d", "b", "e", "a"]
    assert matrices.choose(teacher, teacher, ["x", "y"], 2, 1) == ["d", "b"]
    assert matrices.choose(teacher, None, ["y", "x"], 3, 0) == ["b", "c", "d"]


def texts(figure):
    found = [text.get_text() for axis in figure.axes for text in axis.texts]
    found += [axis.get_title() for axis in figure.axes]
    found += [text.get_text() for text in figure.texts]
    plt.close(figure)
    return found


def mean_squares(vectors):
    """What the lower triangle of three labels shows, row by row."""
    pairs = ((1, 0), (2, 0), (2, 1))
    return [f"{np.mean([(p[k] - p[m]) ** 2 for p in vectors]):.2f}" for k, m in pairs]


def test_heat_maps_show_numbers_and_distances(results):
    made = artefact("matrices", OPTIONS | {"images": ["b"]})
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
    found = texts(matrices.figure(artefact("matrices", OPTIONS), results))
    assert found.count("–") == found.count("failed") == found.count("n/a") == 2
    assert "c\ncup, parking meter,\ndog" in found  # it has all three labels
    assert any(text.startswith("RKD\nΔ") and text.endswith("†") for text in found)


def test_a_named_image_that_does_not_exist_and_labels_that_are_lacking(results):
    made = artefact("matrices", OPTIONS | {"images": ["b", "nowhere"]})
    found = texts(matrices.figure(made, results))
    assert "; n/a: no test image nowhere" in found[-1]
    assert found.count("–") == 2
    made = artefact("matrices", OPTIONS | {"labels": ["zebra", "dog", "cup"]})
    found = texts(matrices.figure(made, results))
    assert "zebra" not in found
    assert found[-1].endswith("; n/a: the data set lacks zebra")
    made = artefact("matrices", OPTIONS | {"labels": ["zebra", "dog"]})
    caption = texts(matrices.figure(made, results))[-1]
    assert "; n/a: fewer than two of the labels; n/a: the data set lacks zebra" in caption


@pytest.fixture(scope="module")
def scenes(tmp_path_factory, spec):
    """A cache of the embedded data."""
    base = tmp_path_factory.mktemp("scenes")
    folder = base / "cache" / "smoke" / "scenes"
    cache.build(resolve_dataset(spec, "scenes"), base / "data", folder, jobs=1)
    return base, cache.open_cache(folder)


def test_the_picture_comes_from_the_cache(scenes, results):
    base, opened = scenes
    split = opened.splits["test"]
    results = replace(results, base=base)
    p_NC = np.full(split.targets_NC.shape, 0.25)
    facts = {"targets_NC": split.targets_NC, "ids": split.ids, "classes": list(opened.classes)}
    write_run(results, TEACHER, p_NC, **facts)
    made = artefact("matrices", OPTIONS | {"images": [split.ids[5]]})
    figure = matrices.figure(replace(made, rows=made.rows[:1]), results)
    (picture,) = figure.axes[0].images
    assert (picture.get_array() == split.images_NSSC[5]).all()
    assert figure.axes[0].get_title() == split.ids[5]
    plt.close(figure)


# --- transfer ---

ORDERS = {"orders": [2, 3, 6]}


def blocks(text):
    """Lines of the table by the heading of their block."""
    found, heading = {}, None
    for line in text.splitlines():
        heading = line if line and not line.startswith(("|", "-", "**")) else heading
        if heading:
            found.setdefault(heading, []).append(line)
    return {heading: "\n".join(lines) for heading, lines in found.items()}


def brute(p_NC, other_NC, truth=None):
    """phi over pairs and CMI over triples, from sums over label sets, in the table's units."""
    sets = np.array(list(itertools.product((0, 1), repeat=5)))

    def weights(p_NC):
        return np.mean([np.where(sets == 1, p, 1 - p).prod(axis=1) for p in p_NC], axis=0)

    def phi(w, k, m):
        return np.cov(sets[:, [k, m]].T, aweights=w, ddof=0)[0, 1] / math.sqrt(
            np.prod([w @ sets[:, c] * (1 - w @ sets[:, c]) for c in (k, m)])
        )

    def cmi(w, k, m, given):
        def p(**at):
            return w[np.all([sets[:, c] == at[n] for n, c in names.items() if n in at], 0)].sum()

        names, total = {"a": k, "b": m, "c": given}, 0.0
        for a, b, c in itertools.product((0, 1), repeat=3):
            if (joint := p(a=a, b=b, c=c)) > 1e-12:
                total += joint * math.log(joint * p(c=c) / (p(a=a, c=c) * p(b=b, c=c)))
        return total

    w, v = weights(p_NC), weights(other_NC)
    pairs = list(itertools.combinations(range(5), 2))
    triples = [(k, m, c) for k, m in pairs for c in range(5) if c not in (k, m)]
    return (
        100 * math.sqrt(np.mean([(phi(w, *pair) - phi(v, *pair)) ** 2 for pair in pairs])),
        1e3 * math.sqrt(np.mean([(cmi(w, *t) - cmi(v, *t)) ** 2 for t in triples])),
    )


SOFT = np.clip(TEACHER_P, 0.05, 0.95)  # labels that vary


def test_errors_of_transfer(results):
    other = np.random.default_rng(3).uniform(0.05, 0.95, SOFT.shape)
    write_run(results, TEACHER, SOFT)
    write_run(results, of("mld")[0], other)
    made = artefact("transfer", ORDERS)
    rows = [made.rows[0], row("MLD", "method", of("mld")[:1]), made.rows[5]]
    text = files(replace(made, rows=rows), results)["md"]
    found = blocks(text)
    batch, instance, true = found.values()
    assert [heading for heading in found] == [
        "error against the teacher, batch level",
        "error against the teacher, instance level",
        "error against the counted test labels, batch level",
    ]
    assert "|  | Ψ_2 | Ψ_3 | Ψ_6 | φ | CMI |" in batch
    numbers = [entry.strip("*") for entry in markdown_row(batch, "MLD")]
    expected = [100 * enumerated(other, SOFT, order, "batch") for order in (2, 3)]
    assert numbers[:3] == [*(f"{value:.2f}" for value in expected), "n/a"]
    assert [float(number) for number in numbers[3:]] == pytest.approx(brute(other, SOFT), abs=6e-3)
    assert "|  | Φ_2 | Φ_3 | Φ_6 |  |  |" in instance
    numbers = [entry.strip("*") for entry in markdown_row(instance, "MLD")]
    expected = [100 * enumerated(other, SOFT, order, "instance") for order in (2, 3)]
    assert numbers == [*(f"{value:.2f}" for value in expected), "n/a", "", ""]
    numbers = [entry.strip("*") for entry in markdown_row(true, "MLD")]
    labels_psi = 100 * enumerated(other, TARGETS.astype(float), 2, "batch")
    assert numbers[0] == f"{labels_psi:.2f}"
    assert markdown_row(batch, "PKT") == ["–", "–", "n/a", "–", "–"]
    assert "| Teacher |" in true
    assert "| Teacher |" not in batch
    assert f"- {COLUMN}: Psi batch 6, Psi instance 6: n/a: the data set has fewer labels." in text
    assert "b = 3." in text


def test_transfer_is_ranked_by_the_least_error(results):
    batch = blocks(files(artefact("transfer", ORDERS), results)["md"])[
        "error against the teacher, batch level"
    ]
    assert markdown_row(batch, "MLD")[0].startswith("**")
    assert markdown_row(batch, "MLD") == markdown_row(batch, "MDKD")
    assert markdown_row(batch, "RKD")[0].endswith("†")
    assert markdown_row(batch, "PS") == ["failed", "failed", "n/a", "failed", "failed"]
    assert markdown_row(batch, "L2D") == ["n/a"] * 5


def test_the_true_graph_judges_phi_of_linked_pairs(scenes, results):
    base, opened = scenes
    split = opened.splits["test"]
    results = replace(results, base=base)
    facts = {"targets_NC": split.targets_NC, "ids": split.ids, "classes": list(opened.classes)}
    write_run(results, TEACHER, split.targets_NC.astype(float), **facts)  # it knows everything
    for path in of("mld"):
        write_run(results, path, np.full(split.targets_NC.shape, 0.5), **facts)
    made = artefact("transfer", {"orders": [2]})
    frame, _ = transfer.errors(replace(made, rows=made.rows[:3]), results)
    values = frame[frame["reference"] == "truth"].set_index(["row", "measure", "scope"])["mean"]

    graph = records.read_json(results.cache("scenes") / "graph.json")
    index = {name: k for k, name in enumerate(graph["classes"])}
    counted = np.nan_to_num(np.corrcoef(split.targets_NC.T))
    exact = {(index[e["parent"]], index[e["child"]]): e["phi"] for e in graph["edges"]}
    errors = [counted[pair] - value for pair, value in exact.items()]
    expected = np.sqrt(np.mean(np.square(errors)))
    assert values["Test labels", "phi", "direct"] == pytest.approx(expected, abs=1e-6)
    assert values["Teacher", "phi", "direct"] == pytest.approx(expected, abs=1e-6)
    # labels of a constant probability depend on nothing
    expected = np.sqrt(np.mean(np.square(list(exact.values()))))
    assert values["MLD", "phi", "direct"] == pytest.approx(expected, abs=1e-6)
    mediated = {
        (*sorted(index[end] for end in chain["ends"]), index[chain["mediator"]]): chain["cmi"]
        for chain in graph["chains"]
    }
    indirect = {t: v for t, v in mediated.items() if t[:2] not in exact and t[1::-1] not in exact}
    assert len(indirect) < len(mediated)
    expected = 10 * np.sqrt(np.mean(np.square(list(indirect.values()))))
    assert values["MLD", "CMI", "indirect"] == pytest.approx(expected, abs=1e-5)
    upper = np.triu_indices(len(index), 1)
    expected = np.sqrt(np.mean(np.array(graph["psi"])[upper] ** 2))
    assert values["MLD", "Psi batch", "2"] == pytest.approx(expected, abs=1e-7)


def dots(axis):
    """The rows at which an axis has dots, of each legend's text."""
    return {
        bars.get_label(): [round(y) for x, y in bars.lines[0].get_xydata() if np.isfinite(x)]
        for bars in axis.containers
    }


def test_the_figure_of_transfer_does_not_compare_the_teacher_with_itself(scenes, results):
    base, opened = scenes
    split = opened.splits["test"]
    results = replace(results, base=base)
    facts = {"targets_NC": split.targets_NC, "ids": split.ids, "classes": list(opened.classes)}
    for path, shift in ((TEACHER, 0.2), (of("mld")[0], 0.3)):
        write_run(results, path, split.targets_NC * 0.5 + shift, **facts)
    made = artefact("transfer", {"orders": [2, 3]})
    made = replace(made, rows=[made.rows[0], row("MLD", "method", of("mld")[:1]), made.rows[5]])
    figure = transfer.figure(made, results)
    psi, instance, phi, cmi = figure.axes
    assert dots(psi) == dots(instance) == {"order 2": [1], "order 3": [1]}
    assert dots(phi) == dots(cmi) == {"against the teacher": [1], "against the truth": [0, 1]}
    assert [text.get_text() for text in psi.texts] == ["is the reference", "–"]
    assert [text.get_text() for text in phi.texts] == ["–"]
    frame, _ = transfer.errors(made, results)
    floor = frame[frame["row"] == "Test labels"].set_index(["measure", "scope"])["mean"]
    for axis, measure in ((phi, "phi"), (cmi, "CMI")):
        (line,) = [line for line in axis.lines if line.get_label() == transfer.FLOOR]
        assert line.get_xdata()[0] == pytest.approx(100 * floor[measure, "all"])
    legends = [[text.get_text() for text in legend.get_texts()] for legend in figure.legends]
    assert legends[0] == ["order 2", "order 3"]
    assert legends[1] == ["against the teacher", "against the truth", transfer.FLOOR]
    plt.close(figure)


def test_without_counted_labels_the_figure_has_no_floor(results):
    figure = transfer.figure(artefact("transfer", ORDERS), results)
    assert len(figure.legends[1].get_texts()) == 2
    plt.close(figure)


def test_a_cache_of_other_labels_is_refused(scenes, results):
    with pytest.raises(UserError, match="other labels than the trained networks"):
        other = replace(results, base=scenes[0])
        write_run(other, TEACHER, TEACHER_P)
        transfer.errors(artefact("transfer", ORDERS), other)


# --- all kinds ---

MADE = [
    artefact("sequences", SEQUENCES, "s"),
    artefact("matrices", OPTIONS, "m"),
    artefact("transfer", ORDERS, "t"),
]


def shown(made, results):
    """The Markdown of a table, or all texts of a figure."""
    if made.kind == "matrices":
        return "\n".join(texts(matrices.figure(made, results)))
    if made.kind == "transfer":
        assert texts(transfer.figure(made, results))
    return files(made, results)["md"]


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
def test_rebuilding_gives_the_same_bytes(made, results):
    made = replace(made, rows=made.rows[:3])
    found = []
    for folder in (results.base / "first", results.base / "second"):
        if made.kind != "matrices":
            reporting.write_table(made, results, folder)
        if made.kind != "sequences":
            reporting.write_figure(made, results, folder)
        found.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert found[0] == found[1]
    assert len(found[0]) == {"sequences": 4, "matrices": 3, "transfer": 7}[made.kind]


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
