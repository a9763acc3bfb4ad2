"""Networks of the user: built by a function of another module, and checked."""

import sys
import textwrap

import pytest
import torch
from conftest import ROOT, copy_config, edit_yaml
from network_cases import build, decoder

from mdkd import plugins
from mdkd.errors import UserError
from mdkd.plan import make_plan
from mdkd.spec import Specification

GOOD = "x.mean(dim=(2, 3)), (x,)"
CODE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=4, padding=1)

    def forward(self, image):
        x = self.stem(image)
        return {returned}


def net(image_size):
    {body}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes a module with a network; returns the name of the net."""
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"own_{abs(hash(tmp_path))}"

    def write(returned=GOOD, body="return Net()", code=CODE):
        text = code.replace("{returned}", returned).replace("{body}", body)
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        return f"module:{name}:net"

    yield write
    sys.modules.pop(name, None)


@pytest.fixture(autouse=True)
def _no_plugins_afterwards():
    places = sys.path[:]
    yield
    sys.path[:] = places
    plugins.use([])


def test_a_function_of_another_module_makes_the_backbone(own):
    network = build(own(), 32, "small", decoder())
    assert network.training
    assert (network.spec.map_channels, network.spec.map_sizes) == ((8,), (8,))
    output = network(torch.randn(3, 3, 32, 32))
    assert output.pooled_BD.shape == (3, 8) and output.maps[0].shape == (3, 8, 8, 8)
    torch.testing.assert_close(output.pooled_BD, output.maps[0].mean(dim=(2, 3)))


def test_random_weights_follow_from_the_seed(own):
    net = own()
    first, again, other = (build(net, 32, seed=seed).backbone.stem.weight for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("x", r"its forward pass returned float32 \[2, 8, 8, 8\]; expected \(pooled, maps\)"),
        ("[x, x]", r"its forward pass returned a list of 2; expected \(pooled, maps\)"),
        ("x, (x,)", r"pooled is float32 \[2, 8, 8, 8\]; expected floats \[B, D\]"),
        ("x.mean(dim=(2, 3)).long(), (x,)", r"pooled is int64 \[2, 8\]; expected floats"),
        ("x.mean(dim=(2, 3)), x", r"maps is float32 .*; expected a tuple"),
        ("x.mean(dim=(2, 3)), ()", "maps is a tuple of 0; expected a tuple of at least one"),
        ("x.mean(dim=(2, 3)), (x, x.flatten(2))", r"maps\[1\] is float32 \[2, 8, 64\]; expected"),
        ("x.mean(dim=(2, 3)), (x[..., :4],)", r"maps\[0\] has float32 \[2, 8, 8, 4\]; .* square"),
        ("x.mean(dim=(2, 3)), (x, image)", r"maps\[1\] is larger than maps\[0\]; .* shallow to"),
        ("x.mean(dim=(2, 3))[:1], (x,)", r"pooled is float32 \[1, 8\] for 2 images"),
        ("x.mean(dim=(2, 3)), (x[:, :0],)", r"maps\[0\] is float32 \[2, 0, 8, 8\] for 2 images"),
        ("x.gone", "its forward pass fails at 32 px .AttributeError: 'Tensor' object has no"),
    ],
)
def test_outputs_that_break_the_contract_are_named(own, returned, message):
    net = own(returned)
    with pytest.raises(UserError, match=f"^net '{net}': {message}") as caught:
        build(net, 32)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 3", "net returned a int; return an nn.Module"),
        ("return nn.Identity()", "it has no parameter to train"),
        ("raise ValueError('odd\\nsize')", r"net\(32\) failed \(ValueError: odd size\)"),
    ],
)
def test_a_function_that_fails_is_named(own, body, message):
    net = own(body=body)
    with pytest.raises(UserError, match=f"^net '{net}': {message}"):
        build(net, 32)


def test_a_module_or_a_function_that_is_not_there_is_named(own):
    net = own()
    with pytest.raises(UserError, match=r"own_\d+.py has no function 'ned'; add it"):
        build(net.replace(":net", ":ned"), 32)
    with pytest.raises(
        UserError, match=r"'no_such' cannot be imported \(ModuleNotFoundError: .*\)"
    ):
        build("module:no_such:net", 32)
    with pytest.raises(UserError, match="no ImageNet weights; set weights to null or a file"):
        build(net, 32, weights="imagenet")


def configure(tmp_path, net, **more):
    config = copy_config(tmp_path / "config")
    entry = {"net": net, "label": "Plain"} | more
    edit_yaml(config / "architectures.yaml", lambda a: a.update(plain=entry))
    change = {"pairs": [{"dataset": "scenes", "teacher": "resnet8x2", "student": "plain"}]}
    edit_yaml(config / "experiments" / "comparison.yaml", lambda e: e.update(change))
    return config


def test_planning_looks_for_the_module_without_importing_it(tmp_path):
    net = "module:mdkd_example.networks:plain"
    config = configure(tmp_path, net)
    message = r"architectures\.yaml: plain: net: no module 'mdkd_example\.networks'; install"
    with pytest.raises(UserError, match=message):
        Specification(config)
    folder = str(ROOT / "examples" / "plugin" / "mdkd_example")
    plan = make_plan(Specification(config, {"plugins": [folder]}))
    assert plan.runs["supervised/scenes/plain/seed0"].net == net
    assert "mdkd_example.networks" not in sys.modules


@pytest.mark.parametrize(
    "net", ["module:x", "module:x:y:z", "module:x.y", "module::f", "module:a:1"]
)
def test_a_name_that_is_no_function_is_refused(tmp_path, net):
    config = configure(tmp_path, net)
    with pytest.raises(UserError, match=r"plain: net: '.*': names are of the form NAME \(timm\)"):
        Specification(config)


@pytest.mark.parametrize(
    ("protocol", "own", "expected", "note"),
    [
        ("imagenet", {}, None, "Trained from scratch: ResNet8x2, Plain."),
        (None, {"weights": "w.pth"}, "w.pth", "Initial weights of Plain: w.pth."),
        ("all.pth", {"weights": None}, None, "Trained from scratch: Plain."),
        ("all.pth", {}, "all.pth", None),
    ],
)
def test_initial_weights_per_network(tmp_path, monkeypatch, protocol, own, expected, note):
    monkeypatch.chdir(tmp_path)
    for name in ("w.pth", "all.pth"):
        (tmp_path / name).touch()
    config = configure(tmp_path, "module:json:load", **own)  # any module that exists
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p.update(weights=protocol))
    plan = make_plan(Specification(config))
    assert plan.runs["supervised/scenes/plain/seed0"].weights == expected
    words = ("Initial weights", "Trained from scratch")
    notes = [n for n in plan.artefacts["comparison"].notes if n.startswith(words)]
    assert notes == ([note] if note else [])
