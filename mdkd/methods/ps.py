"""Partial softmax distillation (PS), as Yang et al., ICCV 2023, take it from Song et al., 2021."""

# Shape key: B images, C labels.
import torch
from torch import Tensor

from mdkd.methods.base import method
from mdkd.methods.common import widen
from mdkd.outputs import Output

FAR = -1e9  # a logit that no softmax notices; finite, so that no gradient becomes inf - inf


@method("ps", needs=("logits",))
def ps(student: Output, teacher: Output, target_BC: Tensor, *, weight: float) -> dict[str, Tensor]:
    """KL between softmaxes over {one positive} and all negatives, summed over the positives.

    The average over images counts those without positives, as 0. With logits s and t and their
    logsumexps S_p and T_p in the softmax of positive p, KL_p = sum_j q_j (t_j - s_j) - (T_p - S_p),
    q the teacher's softmax. Its negatives share one expectation E of t - s among all
    positives of an image, so KL_p = q_p (t_p - s_p) + (1 - q_p) E - (T_p - S_p): no loop.
    """
    if not weight:
        return {}
    student_BC, teacher_BC = widen(student.logits_BC), widen(teacher.logits_BC.detach())
    positive_BC = target_BC > 0.5
    gap_BC = teacher_BC - student_BC
    # An image without negatives: T_p = t_p, S_p = s_p and q_p = 1, so it costs 0.
    teacher_negatives_BC = teacher_BC.masked_fill(positive_BC, FAR)
    expected_gap_B1 = (teacher_negatives_BC.softmax(1) * gap_BC).sum(1, keepdim=True)
    teacher_total_BC = _total(teacher_BC, teacher_negatives_BC)
    student_total_BC = _total(student_BC, student_BC.masked_fill(positive_BC, FAR))
    q_BC = (teacher_BC - teacher_total_BC).exp()
    kl_BC = torch.lerp(expected_gap_B1, gap_BC, q_BC) - (teacher_total_BC - student_total_BC)
    return {"ps": (kl_BC * positive_BC).sum() * (weight / len(target_BC))}


def _total(logits_BC: Tensor, negatives_BC: Tensor) -> Tensor:
    """Logsumexp over each label's own logit and all negatives."""
    return torch.logaddexp(logits_BC, negatives_BC.logsumexp(1, keepdim=True))
