"""Correlation instead of equality (DIST): Huang et al., NeurIPS 2022, on sigmoid outputs."""

# Shape key: B images, C labels, R rows of K values.
import torch
from torch import Tensor

from mdkd.methods.base import method
from mdkd.methods.common import widen
from mdkd.outputs import Output

SMALLEST = 1e-12  # a smaller sum of squared deviations is rounding: the values count as equal


@method("dist")
def dist(
    student: Output, teacher: Output, target_BC: Tensor, *, inter: float, intra: float
) -> dict[str, Tensor]:
    """1 - Pearson's correlation between the probabilities of student and teacher.

    `inter` weighs the correlation over the labels of an image, averaged over images; `intra` that
    over the images of the batch, averaged over labels. The paper uses a softmax; here the
    probabilities are sigmoids, without a temperature. Where all values of one network are equal,
    there is no correlation: it counts as 0 and has no gradient.
    """
    student_BC = torch.sigmoid(widen(student.logits_BC))
    teacher_BC = torch.sigmoid(widen(teacher.logits_BC.detach()))
    terms = {}
    if inter:
        terms["inter"] = inter * (1 - _correlations(student_BC, teacher_BC).mean())
    if intra:
        terms["intra"] = intra * (1 - _correlations(student_BC.T, teacher_BC.T).mean())
    return terms


def _correlations(student_RK: Tensor, teacher_RK: Tensor) -> Tensor:
    """Pearson's correlation of each row of the student with that of the teacher, [R]."""
    return (_standardised(student_RK) * _standardised(teacher_RK)).sum(1)


def _standardised(x_RK: Tensor) -> Tensor:
    """Each row minus its mean, divided by its norm; zero if all values of the row are equal."""
    gap_RK = x_RK - x_RK.mean(1, keepdim=True)
    squared_R1 = gap_RK.square().sum(1, keepdim=True)
    scale_R1 = squared_R1.clamp_min(SMALLEST).rsqrt()
    return gap_RK * torch.where(squared_R1 > SMALLEST, scale_R1, torch.zeros_like(scale_R1))
