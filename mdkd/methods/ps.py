"""Partial softmax distillation (PS), as Yang et al., ICCV 2023, take it from Song et al., 2021."""

# Shape key: B images, C labels.
import torch
from torch import Tensor

from mdkd.methods.base import method
from mdkd.methods.common import binary_kl, widen
from mdkd.outputs import Output

FAR = -1e9  # a logit that no softmax notices; finite, so that no gradient becomes inf - inf


@method("ps", needs=("logits",))
def ps(student: Output, teacher: Output, target_BC: Tensor, *, weight: float) -> dict[str, Tensor]:
    """KL between softmaxes over {one positive} and all negatives, summed over the positives.

    The average over images counts those without positives, as 0. Let a_p = z_p - logsumexp of the
    negatives: that softmax gives sigmoid(a_p) to the positive and the rest to q, the softmax of the
    negatives alone. So each positive costs KL(sigmoid(a_p)) + (1 - sigmoid(a_p^T)) KL(q^T || q^S),
    and q is common to all positives of an image.
    """
    if not weight:
        return {}
    student_BC, teacher_BC = widen(student.logits_BC), widen(teacher.logits_BC.detach())
    positive_BC = target_BC > 0.5
    student_log_q_BC, student_a_BC = _split(student_BC, positive_BC)
    teacher_log_q_BC, teacher_a_BC = _split(teacher_BC, positive_BC)

    negatives_B1 = (teacher_log_q_BC.exp() * (teacher_log_q_BC - student_log_q_BC)).sum(
        1, keepdim=True
    )
    cost_BC = binary_kl(student_a_BC, teacher_a_BC) + torch.sigmoid(-teacher_a_BC) * negatives_B1
    return {"ps": weight * (cost_BC * positive_BC).sum(1).mean()}


def _split(logits_BC: Tensor, positive_BC: Tensor) -> tuple[Tensor, Tensor]:
    """Log-softmax over the negatives, and every logit's distance to their logsumexp.

    With no negatives all entries of both are the same constants for student and teacher, and
    sigmoid(a) is exactly 1: the image costs 0.
    """
    negatives_BC = logits_BC.masked_fill(positive_BC, FAR)
    total_B1 = negatives_BC.logsumexp(1, keepdim=True)
    return negatives_BC - total_B1, logits_BC - total_B1
