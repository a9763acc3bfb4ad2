"""MDKD's loss as a module is the method `mdkd`, and `methods.build` needs no network."""

import copy
import inspect

import pytest
import torch

from mdkd import methods
from mdkd.errors import UserError
from mdkd.nn import MDKDLoss
from mdkd.outputs import Output, Spec

IMAGES, LABELS = 6, 7


@pytest.fixture
def logits():
    """Those of a student, which need a gradient, and those of a teacher."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = 2 * torch.randn(2, IMAGES, LABELS, generator=generator)
    return student.requires_grad_(), teacher.requires_grad_()


def by_name(settings, student, teacher):
    """The terms of the method `mdkd`, as the benchmark builds it."""
    spec = Spec(LABELS, 3, (), (), None)
    loss = methods.build("mdkd", spec, spec, methods.get("mdkd").defaults() | settings)
    pooled = torch.zeros(IMAGES, 3)
    targets = torch.ones(IMAGES, LABELS)
    return loss(Output(student, pooled, (), None), Output(teacher, pooled, (), None), targets)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mld": 3, "bd2": 0.5},
        {"mld": 0.0, "id5": 2.0, "bd6": 0.1},
        {"norm": "sum", "bd4": 0.0, "id4": 0.0},
    ],
)
def test_the_module_has_the_numbers_and_the_gradient_of_the_method(logits, settings):
    student, teacher = logits
    loss = MDKDLoss(**settings)(student, teacher)
    terms = by_name(settings, student, teacher)
    assert loss.item() == pytest.approx(sum(term.item() for term in terms.values()), rel=1e-6)
    (found,) = torch.autograd.grad(loss, student)
    (expected,) = torch.autograd.grad(sum(terms.values()), student)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_the_terms_are_those_of_the_method_to_the_last_bit(logits):
    found, expected = MDKDLoss().terms(*logits), by_name({}, *logits)
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_defaults_of_the_module_are_those_of_the_file():
    parameters = inspect.signature(MDKDLoss).parameters.values()
    assert {p.name: p.default for p in parameters} == methods.get("mdkd").defaults()


def test_by_hand():
    """Probabilities 0.5, 0.5 and 0.25, 0.75: dependencies 0 and 1 / 4; Huber's loss is half."""
    student, teacher = torch.zeros(1, 2), torch.tensor([[1 / 3, 3.0]]).log()
    loss = MDKDLoss(mld=0, bd2=1, bd3=0, bd4=0, id2=10, id3=0, id4=0)
    assert loss(student, teacher).item() == pytest.approx(11 * 0.25**2 / 2, rel=1e-5)


def test_no_gradient_reaches_the_teacher(logits):
    student, teacher = logits
    MDKDLoss()(student, teacher).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_half_precision_is_computed_in_float32(logits):
    halves = [x.detach().bfloat16() for x in logits]
    loss = MDKDLoss()
    assert loss(*halves).dtype == torch.float32
    assert torch.equal(loss(*halves), loss(*(x.float() for x in halves)))


def test_a_copy_has_the_same_settings(logits):
    loss = MDKDLoss(mld=2, bd5=0.5)
    assert torch.equal(copy.deepcopy(loss)(*logits), loss(*logits))
    assert "mld=2.0" in repr(loss) and "bd5=0.5" in repr(loss) and "bd6" not in repr(loss)
    assert not loss.state_dict()


NOTHING = dict.fromkeys(("mld", "bd2", "bd3", "bd4", "id2", "id3", "id4"), 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bd3": -1.0}, "MDKDLoss: bd3: -1.0 is not in 0 .. "),
        ({"norm": "Paper"}, "MDKDLoss: norm: unknown 'Paper'; did you mean 'paper'?"),
        ({"mld": "10"}, "MDKDLoss: mld: expected float, found '10'"),
        (NOTHING, "MDKDLoss: all weights are 0"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(UserError) as error:
        MDKDLoss(**settings)
    assert str(error.value).startswith(message)


def test_an_order_needs_as_many_labels(logits):
    with pytest.raises(ValueError, match=r"order 4 needs .* number of labels, which is 3"):
        MDKDLoss()(*(x[:, :3] for x in logits))


def test_the_sizes_of_an_output():
    maps = (torch.zeros(2, 4, 8, 8), torch.zeros(2, 6, 4, 4))
    output = Output(torch.zeros(2, 5), torch.zeros(2, 6), maps, torch.zeros(2, 5, 3))
    assert Spec.of(output) == Spec(5, 6, (4, 6), (8, 4), 3)


@pytest.mark.parametrize(("name", "part"), [("pkt", "pooled"), ("fitnet", "maps")])
def test_a_method_says_which_part_of_an_output_is_lacking(name, part):
    whole, bare = Spec(5, 6, (4, 6), (8, 4), None), Spec(5, 0, (), (), None)
    defaults = methods.get(name).defaults()
    methods.build(name, whole, whole, defaults)
    for specs, who in (((bare, whole), "student"), ((whole, bare), "teacher")):
        with pytest.raises(UserError, match=f"method {name}: needs {part} of the {who}"):
            methods.build(name, *specs, defaults)


def test_defaults_are_a_copy():
    methods.get("mld").defaults()["mld"] = 99.0
    assert methods.get("mld").defaults() == {"mld": 10.0}
