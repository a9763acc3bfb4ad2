"""Probabilistic knowledge transfer (PKT): Passalis and Tefas, ECCV 2018."""

# Shape key: B images, D channels (student and teacher may differ).
import torch
from torch import Tensor

from mdkd.methods.base import method
from mdkd.methods.common import no_autocast, widen
from mdkd.outputs import Output

EPSILON = 1e-7  # from the original code; used in the norms and in the logarithm
REFERENCE_BATCH = 64  # the batch size of the published weight


@method("pkt")
def pkt(student: Output, teacher: Output, target_BC: Tensor, *, weight: float) -> dict[str, Tensor]:
    """Mean over all B^2 entries of K_T log(K_T / K_S).

    Row i of K contains the similarities of image i to all images of the batch. The sum over a row
    is a KL divergence, so the mean over B^2 entries decreases as 1 / B. The published weight was
    chosen for B = 64. The term is multiplied by B / 64, so the weight has the same meaning for
    every B.
    """
    if not weight:
        return {}
    student_BB = _similarities(widen(student.pooled_BD))
    teacher_BB = _similarities(widen(teacher.pooled_BD.detach()))
    ratio_BB = (teacher_BB + EPSILON) / (student_BB + EPSILON)
    batch_scale = len(student_BB) / REFERENCE_BATCH
    return {"pkt": weight * batch_scale * (teacher_BB * ratio_BB.log()).mean()}


def _similarities(x_BD: Tensor) -> Tensor:
    """Cosine similarities, shifted to [0, 1]; then each row is divided by its sum."""
    unit_BD = x_BD / (torch.linalg.vector_norm(x_BD, dim=1, keepdim=True) + EPSILON)
    with no_autocast(unit_BD):
        cosine_BB = (unit_BD @ unit_BD.T + 1) / 2
    return cosine_BB / cosine_BB.sum(1, keepdim=True)
