"""Attention maps: Grad-CAM against plain autograd, the choice of images, and gaps."""

import functools
import hashlib
import pickle
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from attention_case import ARTEFACT, FAILED, NO_TEACHER, REASON, STUDENT, texts
from conftest import ROOT, TEACHER
from hash_orders import printed_by_both
from torch.nn.functional import interpolate

from mdkd import records, store
from mdkd.artefacts import Cell
from mdkd.attention import Maps, path_of
from mdkd.cli import main
from mdkd.config import Head, Recipe
from mdkd.data.cache import CachedSplit, open_cache
from mdkd.errors import UserError
from mdkd.kinds import Attention
from mdkd.models import Network, build_network
from mdkd.reporting.kinds.attention import figure
from mdkd.results import Predictions, Results
from mdkd.score import score
from mdkd.training.gradcam import attend, choose, errors, grad_cam
from mdkd.training.networks import load_network

CPU = torch.device("cpu")

HEADS = {
    "gap": Head(kind="gap"),
    "mldecoder": Head(kind="mldecoder", width=16, heads=2, feedforward=16),
}

RECIPE = Recipe(epochs=1, batch_size=1, lr=0.1, weight_decay=0, flip=False, cutout=0)

LABELS = 4


def scaled(map_SS):
    return (map_SS - map_SS.min()) / (1e-7 + map_SS.max() - map_SS.min())


def normalised(image_SS3):
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    image_1HW3 = ((image_SS3 / 255 - mean) / std)[None]
    return torch.from_numpy(image_1HW3).permute(0, 3, 1, 2).float()


def reference(network, layer, image_SS3, label, nhwc=False):
    """Grad-CAM of one label by its definition, on the output of `layer` of the whole network."""
    kept = []
    handle = layer.register_forward_hook(lambda module, given, result: kept.append(result))
    logits_1C = network(normalised(image_SS3)).logits_BC
    handle.remove()
    map_1DHW, slope_1DHW = kept[0], torch.autograd.grad(logits_1C[0, label], kept)[0]
    if nhwc:
        map_1DHW, slope_1DHW = (x.permute(0, 3, 1, 2) for x in (map_1DHW, slope_1DHW))
    heat_HW = torch.einsum("d,dhw->hw", slope_1DHW[0].mean(dim=(1, 2)), map_1DHW[0]).relu()
    size = image_SS3.shape[:2]
    heat_SS = interpolate(scaled(heat_HW)[None, None], size, mode="bilinear")[0, 0]
    return scaled(heat_SS).detach().numpy(), logits_1C[0, label].sigmoid().item()


def split_of(size, images):
    pixels = np.random.default_rng(0).integers(0, 256, (images, size, size, 3), np.uint8)
    return CachedSplit([str(i) for i in range(images)], pixels, np.ones((images, LABELS), np.uint8))


@functools.cache
def backbone(net, size):
    """Random weights; one network for both heads, for building Swin takes seconds."""
    torch.manual_seed(0)
    options = {"image_size": size, "stem": "small", "head": HEADS["gap"]}
    return build_network(net, num_labels=LABELS, **options).backbone


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    ("net", "size", "layer"),
    [
        ("cifar:resnet8", 32, "final"),
        ("cifar:wrn10_1", 32, "final"),
        ("swin_tiny_patch4_window7_224", 96, "model.norm"),  # puts out NHWC
        ("tv:shufflenet_v2_x0_5", 96, "model.conv5"),
        ("mobilenetv2_050", 96, "model.bn2"),
    ],
)
def test_grad_cam_is_what_its_definition_says(net, size, layer, head):
    torch.manual_seed(1)
    network = Network(backbone(net, size), LABELS, size, HEADS[head]).eval()
    split, labels = split_of(size, 3), [0, 1, 3]  # batches of 2 and 1
    maps_PSS = grad_cam(network, split, labels, RECIPE, CPU)
    assert maps_PSS.shape == (3, size, size)
    layer = network.backbone.get_submodule(layer)
    nhwc = net.startswith("swin")
    expected = [
        reference(network, layer, image, label, nhwc)[0]
        for image, label in zip(split.images_NSSC, labels, strict=True)
    ]
    assert sum(map_SS.max() > 0.99 for map_SS in expected) >= 2  # where all is 0 nothing is tested
    np.testing.assert_allclose(maps_PSS, np.stack(expected), atol=2e-3)


def test_a_classifier_that_reads_something_else_is_refused():
    """A layer norm stands between ConvNeXt's pooling and its linear classifier."""
    options = {"num_labels": LABELS, "image_size": 64, "stem": "small"}
    network = build_network("convnext_atto", head=HEADS["gap"], **options).eval()
    with pytest.raises(UserError, match="reads more than the average of the last map"):
        grad_cam(network, split_of(64, 1), [0], RECIPE, CPU)
    network = build_network("convnext_atto", head=HEADS["mldecoder"], **options).eval()
    assert grad_cam(network, split_of(64, 1), [0], RECIPE, CPU).shape == (1, 64, 64)


# Probabilities of three labels; which of them are true; how many are wrong at 0.5.
CASES = [
    ((0.9, 0.9, 0.1), (1, 1, 0), 0),
    ((0.6, 0.8, 0.7), (1, 1, 1), 0),
    ((0.1, 0.9, 0.9), (0, 1, 1), 0),  # ties with the first image
    ((0.9, 0.95, 0.1), (1, 1, 0), 0),
    ((0.1, 0.99, 0.1), (0, 1, 0), 0),  # one label only
    ((0.9, 0.9, 0.4), (1, 1, 1), 1),  # one is missed
    ((0.1, 0.1, 0.1), (0, 0, 0), 0),  # nothing to look for
    ((0.9, 0.7, 0.8), (1, 0, 1), 1),  # one is invented
    ((0.5, 0.5, 0.1), (1, 1, 0), 0),  # 0.5 counts as found
]

PREDICTED = Predictions(
    scores_NC=np.array([case[0] for case in CASES], np.float32),
    targets_NC=np.array([case[1] for case in CASES], np.uint8),
    ids=[f"image{i}" for i in range(len(CASES))],
    classes=["a", "b", "c"],
)


def test_errors_are_counted_at_one_half():
    assert errors(PREDICTED).tolist() == [case[2] for case in CASES]


def test_images_are_chosen_where_the_teacher_is_right():
    def images(**options):
        return list(dict.fromkeys(i for i, _ in choose(PREDICTED, Attention(**options))))

    assert images(count=5) == [1, 3, 0, 2, 8]  # most labels, most certain, position
    assert images(count=2, skip=2) == [0, 2]
    assert images(count=99) == [1, 3, 0, 2, 8, 5, 7, 4]  # too few: errors, then a single label
    assert images(count=99, skip=6) == [7, 4]
    with pytest.raises(UserError, match="no image is left of 8 with labels; lower skip"):
        images(skip=8)


def test_labels_are_those_of_which_the_teacher_is_most_certain():
    assert choose(PREDICTED, Attention(count=1)) == [(1, 1), (1, 2), (1, 0)]
    assert choose(PREDICTED, Attention(count=1, labels=2)) == [(1, 1), (1, 2)]
    named = Attention(images=["image7", "image0"], count=1, skip=5)  # both concern the automatism
    assert choose(PREDICTED, named) == [(7, 0), (7, 2), (0, 0), (0, 1)]  # a tie keeps the order


def test_named_images_must_exist_and_have_labels():
    with pytest.raises(UserError, match=r"'image99' is not in the test split; .* 'image0'"):
        choose(PREDICTED, Attention(images=["image99"]))
    with pytest.raises(UserError, match="'image6' has no label"):
        choose(PREDICTED, Attention(images=["image6"]))


@pytest.fixture(scope="module")
def trained(taught, tmp_path_factory):
    """Folders in which the teacher and one student have been trained, and one run has failed."""
    bench = taught.copy(tmp_path_factory.mktemp("trained"))
    bench.train(STUDENT)
    for path in (TEACHER, STUDENT):
        score(bench.entry(path))
    runs = {path: bench.resolve(path) for path in ARTEFACT.runs}
    failure = {"run": asdict(runs[FAILED]), "error": "diverged"}
    records.write_json(bench.layout.run(FAILED) / "failed.json", failure)
    return Results("smoke", bench.base, runs)


@pytest.fixture
def results(trained, tmp_path):
    """The same, for a test to spoil."""
    for folder in ("cache", "store"):
        shutil.copytree(trained.base / folder, tmp_path / folder)
    return replace(trained, base=tmp_path)


def attended(results, artefact=ARTEFACT):
    attend(artefact, results, "cpu")
    return Maps.load(path_of(artefact, results))


def test_maps_are_of_the_right_image_label_and_network(results):
    maps = attended(results)
    assert maps.rows_R.tolist() == ["Teacher", "Student", "RKD", "PS", "L2D"]
    assert maps.states_KR.tolist() == [["done", "done", "missing", "failed", f"n/a: {REASON}"]]
    cache = open_cache(results.cache("scenes"))
    test = cache.splits["test"]
    chosen = choose(results.predictions(TEACHER), Attention(count=2, labels=2))
    assert maps.ids_P.tolist() == [test.ids[i] for i, _ in chosen]
    assert maps.labels_P.tolist() == [cache.classes[c] for _, c in chosen]
    assert maps.column_P.tolist() == [0] * len(chosen)
    assert maps.images_PSSC.shape == (len(chosen), 32, 32, 3)
    for p, (position, label) in enumerate(chosen):
        assert test.targets_NC[position, label]
        np.testing.assert_array_equal(maps.images_PSSC[p], test.images_NSSC[position])
        for r, path in enumerate((TEACHER, STUDENT)):
            network = load_network(
                store.entry(results.runs[path], results), cache, CPU
            ).requires_grad_()
            layer = network.backbone.final
            map_SS, probability = reference(network, layer, test.images_NSSC[position], label)
            assert maps.probabilities_PR[p, r] == pytest.approx(probability, abs=1e-4)
            np.testing.assert_allclose(maps.maps_PRSS[p, r], map_SS, atol=3e-3)
    assert np.isnan(maps.maps_PRSS[:, 2:]).all()
    assert np.isnan(maps.probabilities_PR[:, 2:]).all()
    assert np.nanmax(maps.maps_PRSS) == 1 and np.nanmin(maps.maps_PRSS) == 0


ATTEND = """
import hashlib, pickle, sys
from pathlib import Path
from mdkd.attention import path_of
from mdkd.training.gradcam import attend
artefact, results = pickle.loads(Path(sys.argv[1]).read_bytes())
attend(artefact, results, "cpu")
print(hashlib.sha256(path_of(artefact, results).read_bytes()).hexdigest())
"""


def test_maps_are_computed_byte_by_byte(results):
    attend(ARTEFACT, results, "cpu")
    before = path_of(ARTEFACT, results).read_bytes()
    given = results.base / "given.pickle"
    given.write_bytes(pickle.dumps((ARTEFACT, results)))
    assert set(printed_by_both(ATTEND, given)) == {f"{hashlib.sha256(before).hexdigest()}\n"}


def test_weights_must_be_those_of_the_record(results):
    file = results.run(STUDENT) / "model.pt"
    file.write_bytes(file.read_bytes() + b" ")
    for _ in ("changed", "missing"):
        with pytest.raises(UserError, match=r"model\.pt: missing, or not the file that run\.json"):
            attend(ARTEFACT, results, "cpu")
        file.unlink(missing_ok=True)


def test_a_network_of_another_cache_is_a_gap(results):
    file = results.run(STUDENT) / "run.json"
    records.write_json(file, records.read_json(file) | {"cache": "another"})
    maps = attended(results)
    assert maps.states_KR[0, 1] == "missing"
    assert np.isnan(maps.maps_PRSS[:, 1].astype(np.float32)).all()
    cache = open_cache(results.cache("scenes"))
    with pytest.raises(UserError, match="trained on another cache of scenes"):
        load_network(store.entry(results.runs[STUDENT], results), cache, CPU)


def test_without_the_teacher_no_image_is_chosen(results):
    shutil.rmtree(results.run(TEACHER))
    maps = attended(results)
    assert len(maps.ids_P) == 0
    assert maps.maps_PRSS.shape == (0, 5, 32, 32)
    assert NO_TEACHER in texts(figure(ARTEFACT, results))


def test_one_teacher_of_two_is_missing(results):
    absent = TEACHER.replace("resnet20", "wrn10_1")
    runs = results.runs | {absent: replace(results.runs[TEACHER], path=absent, arch="wrn10_1")}
    rows = [replace(r, cells=[Cell(runs=[absent]), *r.cells]) for r in ARTEFACT.rows[:2]]
    two = replace(ARTEFACT, rows=rows, columns=["one", "two"], pairs=ARTEFACT.pairs * 2)
    results = replace(results, runs=runs)
    maps = attended(results, two)
    assert set(maps.column_P) == {1} and len(maps.ids_P) > 1
    shown = texts(figure(two, results))
    assert {"one", "two", NO_TEACHER} <= set(shown)
    assert shown.count("Input") == 1


def test_the_command_line_makes_maps_of_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--config", str(ROOT / "config"), "--protocol", "smoke", "--device", "cpu"]
    assert main(["attend", "figure5", *options]) == 0
    assert (tmp_path / "results" / "smoke" / "attention" / "figure5.npz").exists()


def test_maps_of_other_runs_or_options_are_not_shown(results):
    attend(ARTEFACT, results, "cpu")
    expected = "attention maps were computed from other runs or options: run `mdkd attend looks`"
    assert expected not in texts(figure(ARTEFACT, results))
    other = replace(ARTEFACT, options=asdict(Attention(count=1)))
    assert expected in texts(figure(other, results))
    file = results.run(STUDENT) / "run.json"
    records.write_json(file, records.read_json(file) | {"weights_sha256": "trained again"})
    assert expected in texts(figure(ARTEFACT, results))
