"""Optimizers against torch's own classes and against formulas; what a training imports for them."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from mdkd.config import Recipe
from mdkd.training.optimizer import SGD, Adam, new_optimizer

DECAY = 0.01
RATES = [(0.01, 0.9), (0.02, 0.85), (0.005, 0.95)] * 7  # learning rate and momentum of each step
CASES = {  # what a recipe says, the class of torch, and its settings
    "adam": ({}, torch.optim.Adam, {}),
    "adam, beta2": ({"betas": [0.9, 0.95]}, torch.optim.Adam, {"betas": (0.9, 0.95)}),
    "adamw": ({"optimizer": "adamw"}, torch.optim.AdamW, {}),
    "sgd": ({"optimizer": "sgd"}, torch.optim.SGD, {"momentum": 0.0}),
    "momentum": ({"optimizer": "sgd", "momentum": 0.9}, torch.optim.SGD, {"momentum": 0.9}),
    "nesterov": (
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
        torch.optim.SGD,
        {"momentum": 0.9, "nesterov": True},
    ),
}


def recipe(**changes):
    plain = {"epochs": 1, "batch_size": 2, "lr": 0.1, "weight_decay": DECAY}
    return Recipe(**plain, flip=False, cutout=0, **changes)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(5))


def trained(steps, make):
    """The state of a network after some steps, and the optimizer."""
    student = network()
    images = torch.randn(len(RATES), 6, 3, 8, 8)
    student(images[0])  # sizes of the last layer
    optimizer, step = make(student)
    for images_BCHW, (lr, beta1) in list(zip(images, RATES, strict=True))[:steps]:
        optimizer.zero_grad()
        student(images_BCHW).square().mean().backward()
        step(lr, beta1)
    return student.state_dict(), optimizer


def ours(case):
    changes, _, _ = CASES[case]

    def make(student):
        optimizer = new_optimizer(recipe(**changes), student.parameters())
        if case == "sgd":  # without momentum at any step
            return optimizer, lambda lr, momentum: optimizer.step(lr, 0.0)
        return optimizer, optimizer.step

    return make


def of_torch(case):
    _, cls, settings = CASES[case]

    def make(student):
        groups = [
            {"params": [p for p in student.parameters() if p.ndim > 1], "weight_decay": DECAY},
            {"params": [p for p in student.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ]
        kernels = {"foreach": True} if cls is torch.optim.SGD else {"fused": True}
        optimizer = cls(groups, lr=1.0, **kernels, **settings)

        def step(lr, momentum):
            for group in optimizer.param_groups:
                group["lr"] = lr
                if "betas" in group:
                    group["betas"] = (momentum, group["betas"][1])
                elif group["momentum"]:
                    group["momentum"] = momentum
            optimizer.step()

        return optimizer, step

    return make


@pytest.mark.parametrize("case", CASES)
def test_the_bits_are_those_of_torchs_class(case):
    expected, _ = trained(len(RATES), of_torch(case))
    found, _ = trained(len(RATES), ours(case))
    assert {name for name in expected if not torch.equal(found[name], expected[name])} == set()


def test_every_setting_of_a_recipe_changes_the_steps():
    ends = [trained(5, ours(case))[0]["0.weight"] for case in CASES]
    for i, end in enumerate(ends):
        assert not any(torch.equal(end, other) for other in ends[:i])


@pytest.mark.parametrize("decoupled", [False, True])
def test_a_step_is_that_of_the_formula(decoupled):
    weight = nn.Parameter(torch.tensor([[2.0]], dtype=torch.float64))
    bias = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = Adam([weight, bias], weight_decay=0.5, beta2=0.99, decoupled=decoupled)
    expected = [2.0, 2.0]
    means, squares = [0.0, 0.0], [0.0, 0.0]
    for count, gradient in enumerate((3.0, -1.0, 0.5), start=1):
        for i, (parameter, decay) in enumerate(((weight, 0.5), (bias, 0.0))):
            parameter.grad = torch.full_like(parameter, gradient)
            whole = gradient if decoupled else gradient + decay * expected[i]
            expected[i] -= 0.1 * decay * expected[i] if decoupled else 0
            means[i] = 0.9 * means[i] + 0.1 * whole
            squares[i] = 0.99 * squares[i] + 0.01 * whole**2
            mean, square = means[i] / (1 - 0.9**count), squares[i] / (1 - 0.99**count)
            expected[i] -= 0.1 * mean / (math.sqrt(square) + 1e-8)
        optimizer.step(lr=0.1, momentum=0.9)
    assert [weight.item(), bias.item()] == pytest.approx(expected, rel=1e-12)


def test_a_step_with_momentum_is_that_of_the_formula():
    weight = nn.Parameter(torch.tensor([[2.0]], dtype=torch.float64))
    optimizer = SGD([weight], weight_decay=0.5, nesterov=True)
    expected, kept = 2.0, 0.0
    for gradient in (3.0, -1.0, 0.5):
        weight.grad = torch.full_like(weight, gradient)
        whole = gradient + 0.5 * expected
        kept = 0.8 * kept + whole
        expected -= 0.1 * (whole + 0.8 * kept)
        optimizer.step(lr=0.1, momentum=0.8)
    assert weight.item() == pytest.approx(expected, rel=1e-12)


def test_a_parameter_without_a_gradient_stays_as_it_is():
    used, unused = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)
    optimizer = Adam([used, unused, frozen], DECAY)
    used.sum().backward()
    optimizer.step(lr=0.1, momentum=0.9)
    assert not torch.equal(used, torch.ones(2, 2))
    assert torch.equal(unused, torch.ones(2, 2))
    assert torch.equal(frozen, torch.ones(2, 2))
    assert optimizer.parameters == [used, unused]


@pytest.mark.parametrize("case", CASES)
def test_a_saved_state_continues_with_the_same_bits(case, tmp_path):
    whole, _ = trained(len(RATES), ours(case))
    half, optimizer = trained(9, ours(case))
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")

    def resumed(student):
        student.load_state_dict(half)
        continued, step = ours(case)(student)
        continued.load_state_dict(torch.load(tmp_path / "state.pt"))
        seen = []

        def later_step(lr, momentum):
            seen.append(lr)
            if len(seen) > 9:
                step(lr, momentum)

        return continued, later_step

    # The batches before step 9 also change the running means of the batch norm: only weights count.
    found, _ = trained(len(RATES), resumed)
    weights = [name for name in whole if "running" not in name and "batches" not in name]
    assert {name for name in weights if not torch.equal(found[name], whole[name])} == set()


@pytest.mark.parametrize("shapes", [[(2, 2)], [(2, 2), (3,), (1,)], [(2, 2), (4,)]])
def test_the_state_of_other_parameters_is_refused(shapes):
    saved = Adam([nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(3))], DECAY).state_dict()
    optimizer = Adam([nn.Parameter(torch.ones(shape)) for shape in shapes], DECAY)
    with pytest.raises(ValueError):
        optimizer.load_state_dict(saved)


def test_the_state_of_another_optimizer_is_refused():
    weights = [nn.Parameter(torch.ones(2, 2))]
    with pytest.raises(KeyError):
        SGD(weights, DECAY).load_state_dict(Adam(weights, DECAY).state_dict())


def test_no_optimizer_imports_torchs_compiler():
    code = """
import sys, torch
from mdkd.training.optimizer import SGD, Adam
parameter = torch.nn.Parameter(torch.ones(2))
parameter.sum().backward()
Adam([parameter], 0.0).step(lr=0.1, momentum=0.9)
Adam([parameter], 0.0, decoupled=True).step(lr=0.1, momentum=0.9)
SGD([parameter], 0.0).step(lr=0.1, momentum=0.9)
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
