"""Networks: every family keeps the contract of `mdkd.outputs`; levels, branches, errors."""

import csv
from pathlib import Path

import pytest
import torch
import yaml
from hash_orders import printed_by_both
from network_cases import LABELS, build, decoder
from torch import nn
from waiting import META, NoWaiting

from mdkd.config import Head
from mdkd.errors import UserError
from mdkd.models import table
from mdkd.models.build import _probe, merged

ROOT = Path(__file__).parents[2]


# name, image size, stem, does the pooled vector equal the mean of the last map?
NETS = [
    ("cifar:resnet8", 32, "cifar", True),
    ("cifar:resnet8", 48, "small", True),
    ("cifar:resnet8", 45, "small", True),
    ("cifar:resnet8", 224, "imagenet", True),
    ("cifar:resnet8x1.5", 64, "small", True),
    ("cifar:resnet8x4", 32, "small", True),
    ("cifar:wrn10_2", 32, "cifar", True),
    ("cifar:wrn10_1", 64, "small", True),
    ("cifar:wrn10_1", 224, "imagenet", True),
    ("resnet18", 64, "small", True),
    ("mobilenetv2_050", 48, "small", True),
    ("repvgg_a0", 32, "small", True),
    ("vgg11_bn", 64, "small", True),
    ("swin_tiny_patch4_window7_224", 64, "small", True),
    ("convnext_atto", 64, "small", False),  # a layer norm follows the pooling
    ("vit_tiny_patch16_224", 64, "small", False),  # the class token
    ("tv:shufflenet_v2_x0_5", 64, "small", True),
    ("tv:resnet18", 48, "small", True),
    ("tv:mobilenet_v2", 64, "small", True),
    ("tv:vgg11_bn", 32, "small", True),
]


@pytest.mark.parametrize(("name", "size", "stem", "averages"), NETS)
def test_contract(name, size, stem, averages):
    network = build(name, size, stem, decoder())
    assert network.training
    spec = network.spec
    image_BCHW = torch.randn(3, 3, size, size)
    for training in (False, True):
        output = network.train(training)(image_BCHW)
        assert output.logits_BC.shape == (3, spec.num_labels) == (3, LABELS)
        assert output.pooled_BD.shape == (3, spec.pooled_dim)
        assert output.embeddings_BCE.shape == (3, LABELS, spec.embedding_dim)
        shapes = zip(spec.map_channels, spec.map_sizes, strict=True)
        assert [tuple(x.shape) for x in output.maps] == [(3, c, s, s) for c, s in shapes]
        mean_BD, largest = output.maps[-1].mean(dim=(2, 3)), output.maps[-1].abs().max().item()
        equal = mean_BD.shape == output.pooled_BD.shape and torch.allclose(
            mean_BD, output.pooled_BD, rtol=0, atol=1e-5 * largest
        )
        assert equal == averages
    assert list(spec.map_sizes) == sorted(set(spec.map_sizes), reverse=True)

    # One step of plain gradient descent reaches the backbone's first layer and the head.
    before = [p.detach().clone() for p in network.parameters()]
    output.logits_BC.square().sum().backward()
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    changed = [not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True)]
    assert changed[0] and sum(changed) > len(changed) / 2


@pytest.mark.parametrize(
    ("name", "channels", "pooled"),
    [
        ("resnet34", (64, 128, 256, 512), 512),
        ("wide_resnet50_2", (256, 512, 1024, 2048), 2048),
        ("swin_tiny_patch4_window7_224", (96, 192, 384, 768), 768),
        ("repvgg_a0", (48, 96, 192, 1280), 1280),
        ("mobilenetv2_100", (24, 32, 96, 1280), 1280),
        ("vgg13_bn", (256, 512, 512, 512), 512),
        ("tv:shufflenet_v2_x1_0", (24, 116, 232, 1024), 1024),
        ("tv:resnet34", (64, 128, 256, 512), 512),
        ("tv:mobilenet_v2", (24, 32, 96, 1280), 1280),
        ("tv:vgg13_bn", (256, 512, 512, 512), 512),
    ],
)
def test_levels_of_imagenet_networks(name, channels, pooled):
    with torch.device("meta"):
        spec = build(name, 224).spec
    assert spec.map_channels == channels
    assert spec.map_sizes == (56, 28, 14, 7)
    assert spec.pooled_dim == pooled


@pytest.mark.parametrize(
    "name",
    ["resnet18", "shufflenet_v2_x0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf"],
)
def test_torchvision_maps_are_what_the_network_itself_pools(name):
    """The layers run in order give the very vector that torchvision's classifier reads."""
    import torchvision

    torch.manual_seed(0)
    whole = torchvision.models.get_model(name).double().eval()
    network = build(f"tv:{name}").double().eval()
    network.backbone.model.load_state_dict(whole.state_dict(), strict=False)
    first_linear = next(m for m in whole.modules() if isinstance(m, nn.Linear))
    seen = []
    first_linear.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    image_BCHW = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        whole(image_BCHW)
        torch.testing.assert_close(network(image_BCHW).pooled_BD, seen[0])


def test_swin_maps_are_normed_and_channel_first():
    network = build("swin_tiny_patch4_window7_224", 64).double().eval()
    model, image_BCHW = network.backbone.model, torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        last_BDHW = network(image_BCHW).maps[-1]
        torch.testing.assert_close(last_BDHW, model.forward_features(image_BCHW).movedim(3, 1))


def test_probing_moves_no_statistics_and_draws_nothing():
    for module in build("cifar:resnet8", 48).modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.num_batches_tracked == 0 and not module.running_mean.any()
    drops_paths = build("swin_tiny_patch4_window7_224").backbone  # random in train mode
    before = torch.get_rng_state()
    _probe(drops_paths, 64)
    assert torch.equal(torch.get_rng_state(), before)
    assert [module for module in drops_paths.modules() if not module.training] == []
    drops_paths(torch.zeros(1, 3, 64, 64))
    assert not torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["cifar:resnet8", "resnet18", "tv:shufflenet_v2_x0_5"])
def test_the_seed_decides_everything(name):
    one, same, other = (build(name, head=decoder(), seed=s).state_dict() for s in (1, 1, 2))
    assert [key for key in one if not torch.equal(one[key], same[key])] == []
    assert not torch.equal(one["head.queries_QE"], other["head.queries_QE"])


INITIALISE = """
import sys
import torch
from mdkd.config import Head
from mdkd.models import build_network
from mdkd.models.weights import digest
head = Head(kind="mldecoder", width=16, heads=4, feedforward=24)
for net in sys.argv[1:]:
    torch.manual_seed(1)
    options = {"num_labels": 5, "image_size": 64, "stem": "small", "head": head}
    print(digest(build_network(net, **options)))
"""


def test_initial_weights_do_not_depend_on_hash_orders():
    nets = ("cifar:resnet8", "resnet18", "tv:shufflenet_v2_x0_5")
    first, second = printed_by_both(INITIALISE, *nets)
    assert first == second
    assert len(set(first.split())) == len(nets)


# merged branches


def test_merged_branches_give_the_same_outputs():
    """In float64: what the order of a sum does to the last digits is the processor's."""
    network = build("repvgg_a0", head=decoder()).double()
    torch.manual_seed(1)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.1)
        norm.momentum = 1.0
    with torch.no_grad():  # statistics as training leaves them, not 0 and 1
        network(torch.randn(8, 3, 64, 64, dtype=torch.float64))
    assert min(norm.running_var.std() for norm in norms) > 0.001
    network.eval()
    image_BCHW = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    keys = list(network.state_dict())
    with torch.no_grad():
        expected = network(image_BCHW)
        fast = merged(network)
        output = fast(image_BCHW)
        torch.testing.assert_close(network(image_BCHW), expected, rtol=0, atol=0)
    torch.testing.assert_close(output, expected, rtol=1e-10, atol=1e-10)
    assert expected.logits_BC.std() > 0.01 and expected.maps[-1].std() > 0.01
    assert list(network.state_dict()) == keys  # what is saved keeps its branches
    convolutions = [m for m in fast.backbone.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 22  # the 22 layers of RepVGG-A0
    assert [m for m in fast.backbone.modules() if isinstance(m, nn.BatchNorm2d)] == []
    assert not fast.training


@pytest.mark.parametrize("name", ["cifar:resnet8", "resnet18", "tv:shufflenet_v2_x0_5"])
def test_networks_without_branches_are_returned_as_they_are(name):
    network = build(name)
    assert merged(network) is network
    assert not network.training


# configuration and errors


ARCHITECTURES = yaml.safe_load((ROOT / "config/architectures.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_configured_architectures_build_and_wait_for_nothing(name):
    """On the device meta nothing is computed, so the big ones are cheap."""
    with META:
        network = build(ARCHITECTURES[name]["net"], 224, "imagenet", decoder(), num_labels=80)
        images_BCHW = torch.zeros(2, 3, 224, 224)
    with NoWaiting():  # the forward pass in train mode, and the backward pass
        output = network(images_BCHW)
        output.logits_BC.sum().backward()
    assert output.logits_BC.shape == (2, 80)
    assert tuple(x.shape[1] for x in output.maps) == network.spec.map_channels


def test_the_table_of_architectures_is_up_to_date():
    """A backbone of one's own need not be in it; those of the paper's tables must."""
    page = (ROOT / "docs/architectures.md").read_text(encoding="utf-8").splitlines()
    printed = table.markdown().splitlines()
    rows = dict(zip(ARCHITECTURES, printed[-len(ARCHITECTURES) :], strict=True))
    papers = {arch for file in (ROOT / "config/reported").glob("*.csv") for arch in archs_of(file)}
    missing = {arch for arch, row in rows.items() if row not in page}
    how = "run `python -m mdkd.models.table > docs/architectures.md`"
    assert [line for line in page if line not in printed] == [], how
    assert missing & papers == set(), how
    assert papers <= rows.keys() and len(page) == len(printed) - len(missing)


def archs_of(file):
    """The networks of a table of the paper."""
    with file.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return {row[key] for row in rows for key in ("teacher", "student") if key in row}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"net": "resnt101"}, "close names: resnet101"),
        ({"net": "resnet101.foo"}, "Invalid pretrained tag"),
        ({"net": "tv:shuflenet_v2_x1_0"}, "close names: shufflenet_v2_x1_0"),
        ({"net": "tv:swin_t"}, "try timm's name"),
        ({"net": "cifar:resnet21"}, r"6n \+ 2"),
        ({"net": "cifar:wrn40_0"}, "stage would be without channels"),
        ({"net": "cifar:densenet"}, "examples: resnet8"),
        ({"net": "hub:resnet18"}, "unknown prefix 'hub'"),
        ({"net": "cifar:resnet8", "weights": "imagenet"}, "no public ImageNet weights"),
        ({"net": "tv:regnet_y_128gf", "weights": "imagenet"}, "has no weights IMAGENET1K_V1; set"),
        ({"net": "cifar:resnet8", "weights": "lost.pth"}, "'lost.pth': no such file"),
        ({"net": "cifar:resnet8", "stem": "large"}, "choose one of cifar, small, imagenet"),
        ({"net": "cifar:resnet8", "stem": "imagenet", "image_size": 15}, "too small, 16 needed"),
        ({"net": "tv:vgg11_bn", "image_size": 31}, "too small, 32 needed"),
        ({"net": "cifar:resnet8", "head": Head(kind="fc")}, "one of gap, mldecoder"),
        ({"net": "cifar:resnet8", "head": decoder(width=18)}, "must be a multiple of head.heads 4"),
        ({"net": "cifar:resnet8", "head": decoder(queries=6)}, "between 1 and 5"),
        ({"net": "cifar:resnet8", "head": decoder(queries=0)}, "between 1 and 5"),
    ],
)
def test_errors_say_what_to_change(settings, message):
    with pytest.raises(UserError, match=message):
        build(**settings)
