"""The closed form against enumeration, and what follows from the definition."""

import itertools
import math

import oracles
import pytest
import torch

from mdkd import dependencies, methodfiles
from mdkd.dependencies import NORMS, batch_loss, instance_loss, multi_order_losses

LEVELS = {"batch": batch_loss, "instance": instance_loss}
# Fewer labels than images, as many, and more: the batch level takes another route below B.
SIZES = [(1, 3), (6, 2), (9, 4), (5, 5), (3, 6), (2, 7)]
CASES = [(b, c, n) for b, c in SIZES for n in range(2, c + 1)]


def probabilities(num_images, num_labels, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, num_images, num_labels, generator=generator, dtype=dtype).unbind()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("num_images", "num_labels", "order"), CASES)
def test_equals_enumeration_in_value_and_gradient(level, num_images, num_labels, order):
    student, teacher = probabilities(num_images, num_labels)
    student.requires_grad_()
    expected = oracles.dependency_loss(student, teacher, order, level)
    loss = LEVELS[level](student, teacher, order)
    assert expected > 1e-6
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-14)
    (expected_gradient,) = torch.autograd.grad(expected, student)
    (gradient,) = torch.autograd.grad(loss, student)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-11, atol=1e-14)


def test_a_value_worked_out_by_hand():
    student, teacher = torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    # Teacher pairs 01, 02, 12: 0, 1, 1; student pairs: 1/4, 1, 1/4; residuals -1/4, 0, 3/4.
    second = (1 / 16 + 9 / 16) / 3 / 2
    third = ((-1 / 4) ** 2 + (3 / 4) ** 2 + (2 / 4) ** 2) / 4 / 3 / 2
    assert instance_loss(student, teacher, 2).item() == pytest.approx(second)
    assert instance_loss(student, teacher, 3).item() == pytest.approx(third)


@pytest.mark.parametrize("loss", LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize("size", [(3, 5), (6, 4)])
def test_gradcheck(loss, size):
    student, teacher = probabilities(*size)
    # Away from the borders, which a finite difference would step over.
    student = (0.1 + 0.8 * student).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, 4), student)


def test_one_pass_equals_single_calls():
    student, teacher = probabilities(5, 8)
    student.requires_grad_()
    batch_orders, instance_orders = (4, 2, 6), (3, 2, 8)
    batch, instance = multi_order_losses(student, teacher, batch_orders, instance_orders)
    singles = [batch_loss(student, teacher, n) for n in batch_orders]
    singles += [instance_loss(student, teacher, n) for n in instance_orders]
    weights = torch.arange(1.0, 7.0, dtype=torch.float64)
    together, apart = torch.cat((batch, instance)), torch.stack(singles)
    torch.testing.assert_close(together, apart, rtol=1e-13, atol=0)
    gradients = [torch.autograd.grad(weights @ x, student)[0] for x in (together, apart)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-15)


def test_no_orders_give_no_losses():
    batch, instance = multi_order_losses(*probabilities(2, 3), (), ())
    assert batch.shape == instance.shape == (0,)


def test_norm_sum_leaves_out_the_number_of_sequences():
    student, teacher = probabilities(4, 6)
    orders = (2, 3, 4, 5)
    mean = multi_order_losses(student, teacher, orders, orders)
    total = multi_order_losses(student, teacher, orders, orders, norm="sum")
    sequences = torch.tensor([math.perm(6, n) / 2 for n in orders], dtype=torch.float64)
    for level in range(2):
        torch.testing.assert_close(total[level], mean[level] * sequences, rtol=1e-13, atol=0)


def test_properties_of_the_definition():
    student, teacher = probabilities(5, 9)
    orders = range(2, 10)
    batch, instance = multi_order_losses(student, teacher, orders, orders)
    assert (batch > 0).all()
    assert (batch <= instance).all()
    assert (instance <= instance[0]).all()
    shuffled = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    permuted = multi_order_losses(student[:, shuffled], teacher[:, shuffled], orders, orders)
    torch.testing.assert_close(permuted, (batch, instance), rtol=1e-12, atol=0)
    shift = 0.1 * torch.rand(5, 1, dtype=torch.float64)
    # What no pair of labels can tell apart.
    for twin, of in (
        (teacher, teacher),
        (1 - teacher, teacher),
        (0.9 * teacher + shift, 0.9 * teacher),
    ):
        for losses in multi_order_losses(twin, of, orders, orders):
            assert losses.abs().max() < 1e-15


def test_the_teacher_is_a_constant():
    student, teacher = (p.requires_grad_() for p in probabilities(3, 4))
    (batch_loss(student, teacher, 3) + instance_loss(student, teacher, 3)).backward()
    assert student.grad.abs().max() > 0
    assert teacher.grad is None


@pytest.mark.parametrize("size", [(32, 80), (64, 20), (4, 5000)])
def test_float32_is_accurate_for_a_student_near_its_teacher(size):
    student, teacher = probabilities(*size)
    student = teacher + 1e-3 * (student - teacher)
    values = []
    for dtype in (torch.float64, torch.float32):
        s, t = student.float().to(dtype).requires_grad_(), teacher.float().to(dtype)
        batch, instance = multi_order_losses(s, t, range(2, 7), range(2, 7))
        losses = torch.cat((batch, instance))
        gradients = [torch.autograd.grad(x, s, retain_graph=True)[0] for x in losses]
        values.append((losses, torch.stack(gradients)))
    (exact, exact_gradient), (loss, gradient) = values
    assert ((loss - exact).abs() / exact).max() < 1e-4
    error = (gradient - exact_gradient).norm(dim=(1, 2)) / exact_gradient.norm(dim=(1, 2))
    assert error.max() < 1e-3


def test_a_hundred_thousand_labels_need_no_matrix_of_labels():
    student, teacher = probabilities(2, 100_000, dtype=torch.float32)
    student.requires_grad_()
    batch, instance = multi_order_losses(student, teacher, (2, 4, 6), (2, 4, 6))
    (batch.sum() + instance.sum()).backward()
    reference = multi_order_losses(student.double(), teacher.double(), (2, 4, 6), (2, 4, 6))
    torch.testing.assert_close((batch.double(), instance.double()), reference, rtol=1e-4, atol=0)
    assert student.grad.isfinite().all()


def test_autocast_changes_nothing():
    student, teacher = probabilities(4, 6, dtype=torch.float32)
    student.requires_grad_()
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            batch, instance = multi_order_losses(student, teacher, (2, 3, 4), (2, 3, 4))
            (gradient,) = torch.autograd.grad(batch.sum() + instance.sum(), student)
        results.append((batch, instance, gradient))
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_a_first_call_in_inference_mode_does_not_spoil_training():
    dependencies._coefficients.cache_clear()
    student, teacher = probabilities(3, 4)
    with torch.inference_mode():
        instance_loss(student, teacher, 3)
    instance_loss(student.clone().requires_grad_(), teacher, 3).backward()


@pytest.mark.parametrize("loss", LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize(
    ("student", "teacher", "order", "message"),
    [
        (torch.full((2, 3), 1.1), torch.rand(2, 3), 2, "student has values outside"),
        (torch.full((2, 3), -0.1), torch.rand(2, 3), 2, "student has values outside"),
        (torch.rand(2, 3), torch.full((2, 3), math.nan), 2, "teacher has values outside"),
        (torch.rand(2, 3), torch.rand(2, 4), 2, "same shape"),
        (torch.rand(3), torch.rand(3), 2, "same shape"),
        (torch.rand(2, 3).half(), torch.rand(2, 3).half(), 2, "float32"),
        (torch.rand(2, 3), torch.rand(2, 3).double(), 2, "float32"),
        (torch.ones(2, 3).int(), torch.ones(2, 3).int(), 2, "float32"),
        (torch.rand(2, 3), torch.rand(2, 3), 1, "order 1"),
        (torch.rand(2, 3), torch.rand(2, 3), 4, "order 4"),
        (torch.rand(0, 3), torch.rand(0, 3), 2, "empty"),
    ],
)
def test_bad_arguments_are_named(loss, student, teacher, order, message):
    with pytest.raises(ValueError, match=message):
        loss(student, teacher, order)


def test_unknown_norm():
    with pytest.raises(ValueError, match="norm must be one of paper, sum"):
        multi_order_losses(torch.rand(2, 3), torch.rand(2, 3), (2,), (), norm="mean")


def test_borders_of_the_range_are_legal():
    corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)))
    assert batch_loss(corners, 1 - corners.flip(1), 3).isfinite()


def test_the_configuration_offers_every_norm():
    assert methodfiles.read("mdkd").choices == {"norm": list(NORMS)}
