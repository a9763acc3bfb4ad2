"""Partial softmax distillation (PS): Song et al., 2021, in the form of Yang et al., ICCV 2023."""

# Shape key: B images, C labels.
import torch
from torch import Tensor

from mdkd.methods.base import method
from mdkd.methods.common import widen
from mdkd.outputs import Output

FAR = -1e9  # a logit with probability 0 in a softmax; finite, so that inf - inf never occurs


@method("ps")
def ps(student: Output, teacher: Output, target_BC: Tensor, *, weight: float) -> dict[str, Tensor]:
    """KL between teacher and student softmax, summed over positives, averaged over images.

    For each positive label p of an image, the softmax is taken over p and all negative labels. An
    image without positive labels has loss 0 and counts in the average.

    Let s and t be the logits of student and teacher, S_p and T_p their logsumexps over p and the
    negatives, and q the teacher's softmax. Then KL_p = sum_j q_j (t_j - s_j) - (T_p - S_p). Let E
    be the mean of t - s over the negatives, weighted by the teacher's softmax over the negatives.
    E is the same for all positives of an image, so no loop over them is needed:

        KL_p = q_p (t_p - s_p) + (1 - q_p) E - (T_p - S_p)
    """
    if not weight:
        return {}
    student_BC, teacher_BC = widen(student.logits_BC), widen(teacher.logits_BC.detach())
    positive_BC = target_BC > 0.5
    gap_BC = teacher_BC - student_BC
    # In an image without negatives, T_p = t_p, S_p = s_p and q_p = 1, so the loss is 0.
    teacher_negatives_BC = teacher_BC.masked_fill(positive_BC, FAR)
    expected_gap_B1 = (teacher_negatives_BC.softmax(1) * gap_BC).sum(1, keepdim=True)
    teacher_total_BC = _total(teacher_BC, teacher_negatives_BC)
    student_total_BC = _total(student_BC, student_BC.masked_fill(positive_BC, FAR))
    q_BC = (teacher_BC - teacher_total_BC).exp()
    kl_BC = torch.lerp(expected_gap_B1, gap_BC, q_BC) - (teacher_total_BC - student_total_BC)
    return {"ps": (kl_BC * positive_BC).sum() * (weight / len(target_BC))}


def _total(logits_BC: Tensor, negatives_BC: Tensor) -> Tensor:
    """For each label, the logsumexp over its logit and all negatives, [B, C]."""
    return torch.logaddexp(logits_BC, negatives_BC.logsumexp(1, keepdim=True))
