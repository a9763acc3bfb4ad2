"""Initial weights: from a file, from a folder with checksums, or one clear error."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn

from mdkd import store
from mdkd.config import Head
from mdkd.errors import UserError
from mdkd.models import adapters, build_network
from mdkd.models.weights import digest

ROOT = Path(__file__).parents[2]
MOBILENET = ROOT.parent / "shared/data/weights/mobilenetv2_100.imagenet_fp16.pth"
needs_mobilenet = pytest.mark.skipif(
    not MOBILENET.exists(), reason=f"needs {MOBILENET.name} in ../shared/data"
)


def build(net, weights=None, folder=Path("weights"), image_size=64, seed=0):
    torch.manual_seed(seed)
    return build_network(
        net,
        num_labels=5,
        image_size=image_size,
        stem="small",
        head=Head(kind="gap"),
        weights=weights,
        weights_folder=folder,
    )


def put(folder, name, state):
    """Save a state dict under a name and list its checksum, as `sha256sum` prints it."""
    from safetensors.torch import save_file

    file = folder / name
    (save_file if file.suffix == ".safetensors" else torch.save)(state, file)
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {name}\n")
    return file


@needs_mobilenet
def test_a_half_precision_weight_file_loads_into_the_backbone():
    network = build("mobilenetv2_100", weights=str(MOBILENET))
    state = torch.load(MOBILENET, weights_only=True)
    own = network.backbone.model.state_dict()
    assert set(state) - set(own) == {"classifier.weight", "classifier.bias"}
    for key, value in own.items():
        assert torch.equal(value, state[key].to(value.dtype)), key
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    with pytest.raises(UserError, match=r"fp16.pth' has other sizes of .*conv_stem.weight"):
        build("mobilenetv2_050", weights=str(MOBILENET))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weight_files_in_both_formats(tmp_path, suffix):
    from safetensors.torch import save_file

    path = tmp_path / f"weights{suffix}"
    source = build("cifar:resnet8", seed=1)
    state = source.backbone.state_dict() | {"fc.weight": torch.zeros(100, 64)}
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    loaded = build("cifar:resnet8", seed=2, weights=str(path))
    image_BCHW = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(loaded(image_BCHW).pooled_BD, source(image_BCHW).pooled_BD)

    with pytest.raises(UserError, match=rf"weights{suffix}' lacks .*stages\.0\.1\."):
        build("cifar:resnet14", weights=str(path))
    (tmp_path / f"text{suffix}").write_text("not weights")
    with pytest.raises(UserError, match="not a readable state dict"):
        build("cifar:resnet8", weights=str(tmp_path / f"text{suffix}"))


def test_unknown_tensors_in_a_weight_file(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(build("cifar:resnet14").backbone.state_dict(), path)
    with pytest.raises(UserError, match=r"has unknown .* tensors: stages.0.1.conv1.weight, .*"):
        build("cifar:resnet8", weights=str(path))


# a folder of ImageNet weights

FAMILIES = [
    ("mobilenetv2_050.lamb_in1k", ".safetensors"),
    ("repvgg_a0.rvgg_in1k", ".pth"),
    ("swin_tiny_patch4_window7_224.ms_in1k", ".safetensors"),
    pytest.param("vgg11_bn.tv_in1k", ".pth", marks=pytest.mark.slow),  # half a gigabyte
    ("resnet18.tv_in1k", ".safetensors"),
    ("tv:shufflenet_v2_x0_5", ".pth"),
]


def whole_network(net):
    """The network as its library publishes it, with a classifier of 1,000 classes."""
    torch.manual_seed(7)
    if net.startswith("tv:"):
        return torchvision.models.get_model(net[3:])
    return timm.create_model(net)


@pytest.mark.parametrize(("net", "suffix"), FAMILIES)
def test_a_folder_of_weights_fills_every_tensor_of_a_backbone(tmp_path, net, suffix):
    whole = whole_network(net)
    state = whole.state_dict()
    put(tmp_path, net.replace(":", "-") + suffix, state)
    network = build(net, "imagenet", tmp_path, image_size=224)  # Swin resizes tables elsewhere
    own = network.backbone.model.state_dict()
    moved = [key for key, value in own.items() if not torch.equal(value, state[key])]
    assert moved == []
    assert (
        network.state_dict().keys() == build(net, image_size=224).state_dict().keys()
    )  # as a teacher is rebuilt
    assert network.initial_weights == {
        "source": str(tmp_path / (net.replace(":", "-") + suffix)),
        "tensors_sha256": digest(network.backbone.model),
    }


@needs_mobilenet
def test_real_weights_through_the_folder(tmp_path):
    net = "mobilenetv2_100.ra_in1k"
    state = torch.load(MOBILENET, weights_only=True)
    put(tmp_path, f"{net}.pth", state)
    network = build(net, "imagenet", tmp_path)
    for key, value in network.backbone.model.state_dict().items():
        assert torch.equal(value, state[key].to(value.dtype)), key
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    single = build(net, str(MOBILENET))  # the same tensors, given as a file
    assert single.initial_weights["tensors_sha256"] == network.initial_weights["tensors_sha256"]
    assert single.initial_weights["source"] == str(MOBILENET)


def test_random_weights_have_no_source():
    assert build("cifar:resnet8").initial_weights is None


@pytest.mark.parametrize("net", ["resnet18.tv_in1k", "tv:resnet18"])
def test_only_listed_and_unchanged_files_are_used(tmp_path, net):
    name = net.replace(":", "-") + ".pth"
    file = put(tmp_path, name, {"x": torch.zeros(1)})
    with pytest.raises(UserError, match=rf"{name}: not the weights of '{net}'.*conv1\.weight"):
        build(net, "imagenet", tmp_path)
    file.write_bytes(file.read_bytes() + b"0")
    with pytest.raises(UserError, match="checksum differs from SHA256SUMS"):
        build(net, "imagenet", tmp_path)
    for lines in ("", "0  other.pth\n\n"):
        (tmp_path / "SHA256SUMS").write_text(lines)
        with pytest.raises(UserError, match=rf"SHA256SUMS: no line for {name}; .*`sha256sum"):
            build(net, "imagenet", tmp_path)
    (tmp_path / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match="no line for"):
        build(net, "imagenet", tmp_path)


@pytest.mark.parametrize(
    ("net", "name", "hub"),
    [
        ("resnet18.tv_in1k", "resnet18.tv_in1k", "https://huggingface.co/timm/resnet18.tv_in1k"),
        ("tv:resnet18", "tv-resnet18", "https://download.pytorch.org/models/resnet18-f37072fd.pth"),
    ],
)
def test_without_file_and_network_one_line_says_what_to_fetch(
    tmp_path, monkeypatch, net, name, hub
):
    def unreachable(*args, **kwargs):
        raise OSError("no route\nto host")

    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", unreachable)
    monkeypatch.setattr(torchvision.models._api.WeightsEnum, "get_state_dict", unreachable)
    with pytest.raises(UserError) as caught:
        build(net, "imagenet", tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    for part in (net, "no route to host", hub, str(tmp_path / f"{name}.safetensors")):
        assert part in message


def test_what_a_hub_gives_is_recorded_with_its_address(tmp_path, monkeypatch):
    state = whole_network("resnet18").state_dict()
    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", lambda *a, **k: state)
    fetched = build("resnet18.tv_in1k", "imagenet", tmp_path)
    assert fetched.initial_weights["source"] == adapters.hub("resnet18.tv_in1k")
    put(tmp_path, "resnet18.tv_in1k.safetensors", state)
    local = build("resnet18.tv_in1k", "imagenet", tmp_path)
    digests = [n.initial_weights["tensors_sha256"] for n in (fetched, local)]
    assert digests[0] == digests[1]
    # The head behind the weights is drawn alike, wherever they came from.
    torch.testing.assert_close(fetched.state_dict(), local.state_dict(), rtol=0, atol=0)


def test_the_digest_sees_names_and_values():
    torch.manual_seed(0)
    one, same = nn.Linear(2, 2), nn.Linear(2, 2)
    same.load_state_dict(one.state_dict())
    assert digest(one) == digest(same)
    same.weight.data[0, 0] += 1
    assert digest(one) != digest(same)
    assert digest(nn.Sequential(one)) != digest(one)


@needs_mobilenet
def test_a_run_records_its_initial_weights(bench, tmp_path):
    from mdkd.training.loop import train

    net = "mobilenetv2_100.ra_in1k"
    put(tmp_path, f"{net}.pth", torch.load(MOBILENET, weights_only=True))
    run = bench.resolve("supervised/scenes/mobilenet_v2/seed0")
    assert run.net == net
    run = replace(run, weights="imagenet", recipe=replace(run.recipe, epochs=1))
    train(run, bench.layout, "cpu", tmp_path)
    record = store.entry(run, bench.layout).record()
    assert record["initial_weights"]["source"] == str(tmp_path / f"{net}.pth")
    assert record["initial_weights"]["tensors_sha256"] == digest(
        build(net, "imagenet", tmp_path).backbone.model
    )
