"""Values by hand, and what every method promises."""

import math

import pytest
import torch

from mdkd import methodfiles, methods
from mdkd.outputs import Output, Spec

SPEC = Spec(2, 1, (), (), None)


def output(*logits):
    logits_BC = torch.tensor([logits], requires_grad=True)
    return Output(logits_BC, torch.zeros(1, 1), (), None)


def term(student, teacher, **changes):
    settings = methodfiles.read("confident").settings | changes
    loss = methods.build("confident", SPEC, SPEC, settings)
    return loss(student, teacher, torch.zeros(1, 2))["confident"]


def test_the_value_is_that_of_the_formula():
    """The teacher has p = 3/4 and p = 1/2: it is half sure of one label, and not of the other."""
    teacher = output(math.log(3), 0.0)
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    found = term(output(0.0, 2.0), teacher, weight=4.0, power=1.0)
    assert found.item() == pytest.approx(4 * 0.5 * divergence / 2, rel=1e-5)


def test_it_is_zero_where_both_agree_and_at_extreme_logits():
    both = output(100.0, -3.0)
    assert term(both, both).item() == pytest.approx(0, abs=1e-6)


def test_the_teacher_gets_no_gradient():
    student, teacher = output(0.0, 1.0), output(2.0, -1.0)
    term(student, teacher).backward()
    assert student.logits_BC.grad.abs().sum() > 0 and teacher.logits_BC.grad is None
