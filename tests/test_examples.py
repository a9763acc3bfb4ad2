"""The examples for other training loops compute what they say.

Lightning and torchdistill are not installed with the tests. Without them, a stand-in has the few
names that an example imports, and its own part is run by hand.
"""

import importlib.util
import sys
from types import ModuleType

import pytest
import torch
from conftest import ROOT
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from mdkd import methods
from mdkd.nn import MDKDLoss
from mdkd.outputs import Output, Spec

EXAMPLES = ROOT / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stand_in(monkeypatch, name, **content):
    """A module, and the packages that it lies in, with these names."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        package = ".".join(parts[:count])
        if package not in sys.modules:
            monkeypatch.setitem(sys.modules, package, ModuleType(package))
    vars(sys.modules[name]).update(content)


def batch(labels):
    torch.manual_seed(1)
    return torch.randn(16, 3, 8, 8), torch.randint(2, (16, labels)).float()


def expected_loss(student, teacher, image, target):
    """The supervised loss, summed over labels, and the method `mdkd` with its defaults."""
    logits = student(image)
    each = binary_cross_entropy_with_logits(logits, target, reduction="none")
    spec = Spec(logits.shape[1], 0, (), (), None)
    loss = methods.build("mdkd", spec, spec, methods.get("mdkd").defaults())
    terms = loss(Output.of_logits(logits), Output.of_logits(teacher(image)), target)
    return (each.sum() / len(image) + sum(terms.values())).item()


def test_the_plain_loop_adds_the_loss_of_mdkd_and_learns():
    example = load("plain_loop")
    image, target = batch(example.LABELS)
    student, teacher = example.network(8), example.network(16)
    expected = expected_loss(student, teacher, image, target)
    before = [weight.clone() for weight in teacher.parameters()]
    losses = example.fit(student, image, target, teacher, epochs=3)
    assert losses[0] == pytest.approx(expected, rel=1e-5)
    assert losses[-1] < losses[0] and len(losses) == 3
    assert all(map(torch.equal, before, teacher.parameters()))


def test_the_lightning_module_adds_the_loss_of_mdkd(monkeypatch):
    logged = {}

    class LightningModule(nn.Module):
        def log_dict(self, values):
            logged.update(values)

    if not importlib.util.find_spec("lightning"):
        stand_in(monkeypatch, "lightning", LightningModule=LightningModule)
    example = load("lightning_module")
    monkeypatch.setattr(
        example.Distillation, "log_dict", lambda self, values: logged.update(values)
    )
    image, target = batch(example.LABELS)
    teacher = nn.Sequential(example.network(16), nn.Dropout(0.9))
    module = example.Distillation(example.network(8), teacher).train()
    loss = module.training_step((image, target), 0)
    loss.backward()
    expected = expected_loss(module.student, teacher.eval(), image, target)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert logged.keys() == {"bce", *MDKDLoss().terms(target, target)}
    assert all(p.grad is None for p in teacher.parameters())
    assert all(p.grad is not None for p in module.student.parameters())
    (group,) = module.configure_optimizers().param_groups
    assert group["params"] == list(module.student.parameters())


def test_the_configuration_of_torchdistill_names_what_is_registered(monkeypatch):
    registered = {}
    if not importlib.util.find_spec("torchdistill"):
        stand_in(monkeypatch, "torchdistill.core.distillation", DistillationBox=None)
        stand_in(
            monkeypatch,
            "torchdistill.losses.registry",
            register_low_level_loss=lambda cls: registered.setdefault(cls.__name__, cls),
        )
    else:
        from torchdistill.losses.registry import LOW_LEVEL_LOSS_DICT as registered
    example = load("torchdistill_registry")
    terms = example.configuration()["criterion"]["kwargs"]["sub_terms"]
    assert terms["bce"]["weight"] == example.LABELS  # a mean over labels becomes a sum
    term = terms["mdkd"]
    assert term["weight"] == 1
    loss = registered[term["criterion"]["key"]](**term["criterion"]["kwargs"])
    assert loss.settings == methods.get("mdkd").defaults()
    wrapped = term["criterion_wrapper"]["kwargs"]
    assert [wrapped[key]["is_from_teacher"] for key in ("input", "target")] == [False, True]


@pytest.mark.parametrize(
    ("package", "name"),
    [("lightning", "lightning_module"), ("torchdistill", "torchdistill_registry")],
)
def test_an_example_for_a_framework_runs(package, name, capsys):
    pytest.importorskip(package, reason=f"needs the package {package}")
    load(name).main()
    assert capsys.readouterr().out
