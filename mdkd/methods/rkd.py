"""Relational knowledge distillation (RKD): Park et al., CVPR 2019."""

# Shape key: B images, D channels (student and teacher may differ).
import torch
import torch.nn.functional as F
from torch import Tensor

from mdkd.errors import UserError
from mdkd.methods.base import method
from mdkd.methods.common import no_autocast, widen
from mdkd.outputs import Output

SMALLEST = 1e-12  # two images with a smaller squared distance are treated as equal


@method("rkd")
def rkd(
    student: Output,
    teacher: Output,
    target_BC: Tensor,
    *,
    distance: float,
    angle: float,
    input: str,
) -> dict[str, Tensor]:
    """Smooth L1 between the relations of images in student and teacher.

    The relations are all B^2 distances and all B^3 angles; each loss is a mean over them. `input`
    is "pooled" (features) or "logits": the vectors between which the relations are computed.
    """
    if input == "pooled":
        student_BD, teacher_BD = student.pooled_BD, teacher.pooled_BD
    elif input == "logits":
        student_BD, teacher_BD = student.logits_BC, teacher.logits_BC
    else:
        raise UserError(f"method rkd: input must be 'pooled' or 'logits', got {input!r}")

    student_BBD = _differences(widen(student_BD))
    teacher_BBD = _differences(widen(teacher_BD.detach()))
    terms = {}
    if distance:
        gap = F.smooth_l1_loss(_distances(student_BBD), _distances(teacher_BBD))
        terms["distance"] = distance * gap
    if angle:
        terms["angle"] = angle * F.smooth_l1_loss(_angles(student_BBD), _angles(teacher_BBD))
    return terms


def _differences(x_BD: Tensor) -> Tensor:
    # Subtract explicitly: with inner products, close vectors of large norm would lose all digits.
    return x_BD.unsqueeze(1) - x_BD.unsqueeze(0)


def _distances(differences_BBD: Tensor) -> Tensor:
    """|f_i - f_j| divided by its mean over all i != j, [B, B]."""
    num_images = len(differences_BBD)
    distances_BB = differences_BBD.square().sum(2).clamp_min(SMALLEST).sqrt()
    itself_BB = torch.eye(num_images, dtype=distances_BB.dtype, device=distances_BB.device)
    distances_BB = distances_BB * (1 - itself_BB)
    pairs = max(num_images * (num_images - 1), 1)
    return distances_BB / (distances_BB.sum() / pairs).clamp_min(SMALLEST)


def _angles(differences_BBD: Tensor) -> Tensor:
    """Cosine of the angle at image j between f_i - f_j and f_k - f_j, indexed [j, i, k]."""
    squared_BB1 = differences_BBD.square().sum(2, keepdim=True)
    # Equal images have no direction. Set it to zero, so that the gradient is zero, not 1 / 0.
    scale_BB1 = torch.where(
        squared_BB1 > SMALLEST,
        squared_BB1.clamp_min(SMALLEST).rsqrt(),
        torch.zeros_like(squared_BB1),
    )
    directions_BBD = differences_BBD * scale_BB1
    with no_autocast(directions_BBD):
        return directions_BBD @ directions_BBD.transpose(1, 2)
