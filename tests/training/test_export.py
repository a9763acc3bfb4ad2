"""`mdkd export`: what is written loads elsewhere and gives the same outputs; the model card."""

import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import timm
import torch
import torchvision
from conftest import ROOT, TEACHER
from PIL import Image
from store_case import finish
from trainings import MLD
from use_case import LABELS, predictions_of

from mdkd import metrics, records, store
from mdkd.cli import main
from mdkd.config import Head, Run, parse
from mdkd.data.images import read_image
from mdkd.errors import UserError
from mdkd.models.build import build_network
from mdkd.store import Entry
from mdkd.training import export as exporting
from mdkd.training.card import ONNX, _cell, text
from mdkd.training.export import export
from mdkd.training.networks import trained_network

GAP = Head(kind="gap")
DECODER = Head(kind="mldecoder", width=16, heads=2, feedforward=24)
GROUPS = replace(DECODER, queries=2)  # each decodes two labels, of which the last is cut off
NETWORKS = [
    ("cifar:resnet8", DECODER),
    ("cifar:wrn10_1", GAP),
    ("resnet10t", GROUPS),
    ("repvgg_a0", GAP),
    ("vit_tiny_patch16_224", DECODER),
    ("tv:shufflenet_v2_x0_5", GAP),
    ("tv:mobilenet_v3_small", GROUPS),
]
NAMES = [f"{net}, {head.kind}" for net, head in NETWORKS]


def made(used, folder, net, head):
    """A finished run of another network, with random weights, statistics and biases."""
    shutil.copytree(used.folder, folder)
    record = used.record()
    run = replace(parse(Run, record["run"], "run"), net=net, head=head)
    torch.manual_seed(0)
    network = build_network(
        net, num_labels=len(LABELS), image_size=32, stem=run.stem, head=head, weights=None
    )
    for name, value in network.state_dict().items():
        if name.endswith(("running_mean", "bias", "bias_C")):
            value.normal_(std=0.3)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2)
    torch.save(network.state_dict(), folder / store.WEIGHTS)
    digest = records.sha256(folder / store.WEIGHTS)
    changes = {"run": asdict(run), "weights_sha256": digest}
    records.write_json(folder / store.RECORD, record | changes)
    return Entry(folder)


def outputs(network, batch):
    images = torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(batch))
    with torch.no_grad():
        return images, network(images)


def check_module(entry, folder):
    """The exported module agrees with the network of the run; returns its backbone."""
    module = runpy.run_path(str(folder / "network.py"))
    loaded = module["load"]()
    expected = trained_network(entry, torch.device("cpu"))
    for batch in (1, 7):
        images, logits_BC = outputs(loaded, batch)
        with torch.no_grad():
            expected_BC = expected(images).logits_BC
        assert expected_BC.std() > 1e-2  # else nothing is compared
        scale = max(1.0, expected_BC.abs().max().item())
        assert (logits_BC - expected_BC).abs().max() / scale < 1e-6
    return loaded.backbone


@pytest.mark.parametrize(("net", "head"), NETWORKS, ids=NAMES)
def test_the_module_gives_the_outputs_of_the_network(used, tmp_path, net, head):
    entry = made(used, tmp_path / "run", net, head)
    to = "safetensors" if net.startswith("tv:") else "state-dict"
    export(entry, to, tmp_path / "out")
    check_module(entry, tmp_path / "out")
    assert records.read_json(tmp_path / "out" / "model.json")["largest_difference"] < 1e-4


def test_backbones_load_into_timm_and_torchvision(used, tmp_path):
    """Strictly, without a word of our own code."""
    for net, build in {
        "resnet10t": lambda: timm.create_model("resnet10t", num_classes=0),
        "repvgg_a0": lambda: timm.models.reparameterize_model(
            timm.create_model("repvgg_a0", num_classes=0)
        ),
        "tv:shufflenet_v2_x0_5": lambda: _without_fc(torchvision.models.shufflenet_v2_x0_5()),
    }.items():
        folder = tmp_path / net.replace(":", "-")
        entry = made(used, tmp_path / f"run-{folder.name}", net, GAP)
        export(entry, "state-dict", folder)
        backbone = build().eval()
        backbone.load_state_dict(torch.load(folder / "backbone.pt", weights_only=True))
        images, pooled_BD = outputs(backbone, 2)
        expected = trained_network(entry, torch.device("cpu"))(images).pooled_BD
        torch.testing.assert_close(pooled_BD, expected, rtol=1e-5, atol=1e-5)


def _without_fc(model):
    model.fc = torch.nn.Identity()
    return model


@pytest.mark.parametrize(
    ("net", "head"), [("cifar:resnet8", DECODER), ("resnet10t", GROUPS), ("repvgg_a0", GAP)]
)
def test_onnx_gives_the_outputs_of_the_network_for_any_number_of_images(used, tmp_path, net, head):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    entry = made(used, tmp_path / "run", net, head)
    export(entry, "onnx", tmp_path / "out")
    assert {f.name for f in (tmp_path / "out").iterdir()} == {
        *("model.onnx", "model.json", "README.md")
    }
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    (given,) = session.get_inputs()
    assert given.name == "image"
    assert given.shape[1:] == [3, 32, 32]
    network = trained_network(entry, torch.device("cpu"))
    for batch in (1, 3, 7):
        images, output = outputs(network, batch)
        (logits_BC,) = session.run(["logits"], {"image": images.numpy()})
        scale = max(1.0, output.logits_BC.abs().max().item())
        np.testing.assert_allclose(logits_BC / scale, output.logits_BC / scale, atol=2e-5)


def python_of(card):
    return re.findall(r"```python\n(.*?)```", card, re.S)


def run_example(code, folder, file):
    """Run an example of a card as its reader would; the network's own folder is the directory."""
    code = code.replace("photo.jpg", str(file))
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def expected_lines(entry, name):
    stored = predictions_of(entry)
    scores_C = metrics.probabilities(stored.logits_NC)[list(stored.ids_N).index(name)]
    pairs = zip(LABELS, scores_C, strict=True)
    return [f"{score:.2f} {label}" for label, score in pairs if score >= 0.5]


@pytest.mark.parametrize("to", ["safetensors", "onnx"])
def test_the_examples_of_the_card_print_the_predicted_labels(used, pictures, tmp_path, to, caplog):
    """They see the picture as the network did, also one that EXIF turns."""
    if to == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    export(used, to, tmp_path / "out")
    assert [record for record in caplog.records if record.name.startswith("onnxscript")] == []
    first, *rest = python_of((tmp_path / "out" / "README.md").read_text())
    assert first in (ROOT / "docs" / "use.md").read_text(encoding="utf-8")
    printed = run_example(first, tmp_path / "out", pictures / "12.png")
    assert printed.splitlines() == expected_lines(used, "12.png")
    for code in rest:
        assert run_example(code, tmp_path / "out", pictures / "12.png") == ""


def transparent(folder):
    """Pictures with transparent pixels, and one of ink colours, of 50 x 40 random pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 4), np.uint8)
    palette = Image.fromarray(pixels[..., :3]).quantize(8)
    palette.save(folder / "palette.png", transparency=3)
    Image.fromarray(pixels[..., :3]).save(folder / "colour.png", transparency=(1, 2, 3))
    Image.fromarray(pixels[..., :2], "LA").save(folder / "grey.png")
    Image.fromarray(pixels, "CMYK").save(folder / "ink.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(folder / "turned.png", exif=exif)
    return sorted(folder.iterdir())


def test_the_module_and_the_card_see_transparent_pixels_on_white(used, tmp_path):
    """As the images of a cache."""
    (tmp_path / "pictures").mkdir()
    export(used, "state-dict", tmp_path / "out")
    module = runpy.run_path(str(tmp_path / "out" / "network.py"))
    mean, std = (np.array(module["FACTS"][key]) for key in ("mean", "std"))
    start, _, _ = ONNX.removeprefix("```python\n").partition("(logits,)")
    for file in transparent(tmp_path / "pictures"):
        expected_3SS = ((read_image(file, 32) / 255 - mean) / std).transpose(2, 0, 1)
        np.testing.assert_allclose(module["read_image"](file)[0], expected_3SS, atol=1e-6)
        code = start.replace("photo.jpg", str(file)).replace("import onnxruntime\n", "")
        made: dict = {}
        exec(code.replace("model.json", str(tmp_path / "out" / "model.json")), made)
        np.testing.assert_allclose(made["batch"][0], expected_3SS, atol=1e-6)


def test_the_card_says_what_the_record_knows(used, tmp_path):
    export(used, "state-dict", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    record = used.record()
    found = records.read_json(used.folder / "metrics.json")
    for name in metrics.METRICS:
        assert f"| {name} | {100 * found['metrics'][name]:.2f} % |" in card
    for i, name in enumerate(LABELS):
        ap = found["average_precision"].get(name)
        shown = "not measured" if ap is None else f"{100 * ap:.2f} %"
        assert f"| {i} | {_cell(name)} | {shown} |" in card
    assert "green\\|lawn" in card
    for part in ("supervised/own/resnet8/seed0", record["weights_sha256"], record["cache"]):
        assert part in card
    assert "10 test images" in card
    assert "epochs = 1" in card
    assert "**Data set:** own: your own images: say here who owns them" in card
    assert "**Initial weights:** random numbers" in card
    assert "Teacher" not in card
    assert records.read_json(tmp_path / "out" / "model.json")["labels"] == list(LABELS)


def test_the_card_of_a_distilled_run_names_its_teacher(bench, tmp_path):
    finish(bench, MLD)
    entry = bench.entry(MLD)
    facts = {"largest_difference": 0, "image_size": 32, "mean": 0, "std": 1, "threshold": 0.5}
    card = text(entry, facts, "onnx", None)
    teacher = bench.entry(TEACHER)
    score = records.read_json(teacher.folder / "metrics.json")["metrics"]["mAP"]
    assert entry.record()["teacher"] in card
    assert f"| Teacher's mAP | {100 * score:.2f} % |" in card
    assert "**Initial weights of the teacher:** random numbers" in card
    assert "mld = 10.0" in card
    assert "drawn by this program" in card
    alone = Entry(shutil.copytree(entry.folder, tmp_path / "alone"))
    assert "teacher:** its record was not at hand" in text(alone, facts, "onnx", None)


def test_the_card_of_a_network_that_was_only_scored_claims_no_training(used, tmp_path):
    shutil.copytree(used.folder, tmp_path / "run")
    record = used.record()
    checkpoint = {"file": "/elsewhere/resnet8.pth", "sha256": "ab" * 32}
    changed = record | {"run": record["run"] | {"checkpoint": checkpoint}, "images_per_s": None}
    records.write_json(tmp_path / "run" / store.RECORD, changed)
    export(Entry(tmp_path / "run"), "state-dict", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    said = " ".join(card.split())
    assert f"trained elsewhere: file `/elsewhere/resnet8.pth`, SHA-256 {'ab' * 32}." in said
    assert "`mdkd` only scored it on the 10 test images of own, as the run" in said
    assert "Whether these were among its training images is not known." in said
    assert "32 x 32 pixels" in card and "(pixel / 255 - mean) / std" in card
    for untrue in ("trained by", "trained on", "epoch", "Recipe", "Seed", "Method", "## Training"):
        assert untrue not in card


def test_the_card_tells_the_licence_of_imagenet_weights(used, tmp_path):
    shutil.copytree(used.folder, tmp_path / "run")
    record = used.record()
    for net, part in {
        "resnet34.tv_in1k": "licence by timm: bsd-3-clause",
        "tv:shufflenet_v2_x1_0": "torchvision gives them no licence",
    }.items():
        run = record["run"] | {"net": net, "weights": "imagenet"}
        source = {"source": "https://example.org/w.pth", "tensors_sha256": "0"}
        changed = record | {"run": run, "initial_weights": source}
        records.write_json(tmp_path / "run" / store.RECORD, changed)
        facts = {"largest_difference": 0, "image_size": 32, "mean": 0, "std": 1, "threshold": 0.5}
        card = text(Entry(tmp_path / "run"), facts, "onnx", None)
        assert f"`{net}` from https://example.org/w.pth" in card
        assert part in card


def test_a_folder_that_is_not_new_is_left_alone(used, tmp_path, capsys):
    (tmp_path / "README.md").write_text("mine")
    run = str(used.folder / store.RECORD)
    assert main(["export", run, "--to", "state-dict", "--output", str(tmp_path)]) == 2
    assert "name a new folder with --output" in capsys.readouterr().err
    assert [f.name for f in tmp_path.iterdir()] == ["README.md"]
    (tmp_path / "README.md").unlink()
    assert main(["export", run, "--to", "state-dict", "--output", str(tmp_path)]) == 0
    assert "network.py" in capsys.readouterr().out


def test_outputs_that_differ_leave_nothing_behind(used, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with pytest.raises(UserError, match="it was not exported"):
        export(used, "state-dict", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_one_line(used, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(exporting.NEEDS, "onnx", ("onnx", "no_such_package"))
    output = ["--output", str(tmp_path / "out")]
    assert main(["export", str(used.folder / store.RECORD), "--to", "onnx", *output]) == 2
    error = capsys.readouterr().err
    assert "--to onnx: needs no_such_package; run `pip install no_such_package`" in error
    assert error.count("\n") == 1
