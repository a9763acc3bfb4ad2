"""Teachers for a GPU: folded batch norms, bfloat16, and the outputs of the network itself."""

from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from network_cases import LABELS, build, decoder
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils._python_dispatch import TorchDispatchMode

from mdkd.models.build import Network
from mdkd.models.frozen import folded, frozen

ROOT = Path(__file__).parents[2]
ARCHITECTURES = yaml.safe_load((ROOT / "config/architectures.yaml").read_text(encoding="utf-8"))
SIZE = 64


def norms(network):
    return [name for name, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)]


def used(net, images_BCHW):
    """A network in float64 with weights and statistics as training leaves them, not 0 and 1."""
    return with_statistics(build(net, SIZE, head=decoder()).double(), images_BCHW)


def with_statistics(network, images_BCHW):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.1, 0.4)
            nn.init.normal_(module.bias, std=0.1)
            module.momentum = 1.0
    with torch.no_grad():
        network(images_BCHW)
    return network.eval()


def drawn(num_images=4):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(num_images, 3, SIZE, SIZE, generator=generator, dtype=torch.float64)


def tensors(output):
    return [output.logits_BC, output.pooled_BD, *output.maps, output.embeddings_BCE]


def error(found, expected):
    """The largest difference of each output, over its largest value; the worst of all."""
    pairs = zip(tensors(found), tensors(expected), strict=True)
    return max(((x.double() - y).abs().max() / y.abs().max()).item() for x, y in pairs)


@pytest.mark.parametrize(
    "net",
    [
        "cifar:resnet8",
        "cifar:wrn16_2",
        "resnet18",
        "resnet26",
        "vgg11_bn",
        "mobilenetv2_050",
        "repvgg_a0",
        "swin_tiny_patch4_window7_224",
        "tv:shufflenet_v2_x0_5",
        "tv:mobilenet_v3_small",
        "tv:regnet_y_400mf",
    ],
)
@torch.no_grad()
def test_a_folded_network_gives_the_same_outputs(net):
    images_BCHW = drawn()
    network = used(net, images_BCHW)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    expected = network(images_BCHW[:2])
    assert error(folded(network)(images_BCHW[:2]), expected) < 1e-12
    # The network itself is not touched.
    assert before.keys() == network.state_dict().keys()
    assert [key for key, x in network.state_dict().items() if not torch.equal(before[key], x)] == []


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_norm_behind_a_convolution_is_folded(name):
    """In a pre-activation block, the sum of two branches is normed: that cannot be folded."""
    net = ARCHITECTURES[name]["net"]
    with torch.device("cpu" if "repvgg" in net else "meta"):  # timm cannot merge its branches there
        network = build(net, SIZE)
    left = norms(folded(network))
    if net.startswith("cifar:wrn"):
        assert 0 < len(left) < len(norms(network))
    else:
        assert left == []


@pytest.mark.parametrize(
    "net", ["cifar:resnet8", "cifar:wrn16_2", "vgg11_bn", "swin_tiny_patch4_window7_224"]
)
@torch.no_grad()
def test_precision_is_lost_only_where_it_must_be(net):
    """In lower precision, the error is that of the unfolded network, up to chance."""
    images_BCHW = drawn()
    network = used(net, images_BCHW)
    images_BCHW, expected = images_BCHW[:2].float(), network(images_BCHW[:2])
    network = network.float()
    plain = error(network(images_BCHW), expected)
    assert error(folded(network)(images_BCHW), expected) < max(3 * plain, 1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        cast = error(network(images_BCHW), expected)
    teacher = frozen(network)
    output = teacher(images_BCHW)
    assert {x.dtype for x in tensors(output)} == {torch.bfloat16}
    assert plain < 1e-4 < error(output, expected) < 2 * cast < 0.2


def test_a_norm_is_folded_only_if_no_one_else_reads_the_convolution():
    """The stem of wrn10_1 is read by the first norm and by the shortcut around it."""
    network = build("cifar:wrn10_1", SIZE).eval()
    folded_norms = set(norms(network)) - set(norms(folded(network)))
    assert folded_norms == {f"backbone.stages.{i}.0.bn2" for i in range(3)}
    network = build("cifar:wrn10_2", SIZE).eval()  # there, the shortcut reads the activation
    assert "backbone.stages.0.0.bn1" in set(norms(network)) - set(norms(folded(network)))


class Sharing(nn.Module):
    """A backbone in which convolutions and norms are used in several places, or computed."""

    def __init__(self, shared):
        super().__init__()
        conv = partial(nn.Conv2d, kernel_size=3, padding=1)
        self.stem, self.stem_norm = conv(3, 8), nn.BatchNorm2d(8)
        self.convs = nn.ModuleList(conv(8, 8) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))
        if shared == "conv":
            self.convs[1] = self.convs[0]
        elif shared == "weight":
            self.convs[1].weight = self.convs[0].weight
        elif shared == "norm":
            self.norms[1] = self.norms[0]
        elif shared == "second name":
            self.first_conv, self.first_norm = self.convs[0], self.norms[0]
        elif shared == "nothing, but one is parametrised":
            parametrizations.spectral_norm(self.convs[0])

    def forward(self, x):
        x = self.stem_norm(self.stem(x)).relu()
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x)).relu()
        return x.mean((2, 3)), (x,)


@pytest.mark.parametrize(
    ("shared", "left"),
    [
        ("nothing", []),
        ("conv", ["backbone.norms.0", "backbone.norms.1"]),
        ("weight", []),
        ("norm", ["backbone.norms.0"]),
        ("second name", ["backbone.norms.0"]),
        ("nothing, but one is parametrised", ["backbone.norms.0"]),
    ],
)
@torch.no_grad()
def test_what_is_used_twice_or_computed_is_not_folded(shared, left):
    torch.manual_seed(0)
    network = with_statistics(Network(Sharing(shared), LABELS, SIZE, decoder()).double(), drawn())
    images_BCHW = drawn()
    expected = network(images_BCHW)
    assert error(folded(network)(images_BCHW), expected) < 1e-12
    assert norms(folded(network)) == left


def test_activations_inside_norms_are_kept():
    network = build("mobilenetv2_050", SIZE).eval()
    count = [sum(isinstance(m, nn.ReLU6) for m in n.modules()) for n in (network, folded(network))]
    assert count[0] == count[1] > 0


class Count(TorchDispatchMode):
    """Counts operations."""

    calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def test_half_of_the_operations_are_left():
    network, images_BCHW = build("resnet34", SIZE).eval(), torch.zeros(1, 3, SIZE, SIZE)
    teacher, counts = frozen(network), []
    with torch.autocast("cpu", torch.bfloat16), Count() as count:
        network(images_BCHW)
    counts.append(count.calls)
    with Count() as count:
        teacher(images_BCHW)
    counts.append(count.calls)
    assert counts[1] < 0.6 * counts[0]
