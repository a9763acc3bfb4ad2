"""Probabilistic knowledge transfer (PKT): Passalis and Tefas, ECCV 2018."""

# Shape key: B images, D channels (student and teacher may differ).
import torch
from torch import Tensor

from mdkd.methods.base import method
from mdkd.methods.common import no_autocast, widen
from mdkd.outputs import Output

EPSILON = 1e-7  # of the original formula, in the norms and in the logarithm
REFERENCE_BATCH = 64  # at which the published weight was chosen


@method("pkt", needs=("pooled",))
def pkt(student: Output, teacher: Output, target_BC: Tensor, *, weight: float) -> dict[str, Tensor]:
    """Mean over B^2 of K_T log(K_T / K_S), where row i of K is image i's similarity to all.

    A mean over B^2 of B rows that each sum to a KL shrinks as 1 / B. The published weight belongs
    to B = 64, so the term is multiplied by B / 64 and the weight means the same at any B.
    """
    if not weight:
        return {}
    student_BB = _similarities(widen(student.pooled_BD))
    teacher_BB = _similarities(widen(teacher.pooled_BD.detach()))
    ratio_BB = (teacher_BB + EPSILON) / (student_BB + EPSILON)
    batch_scale = len(student_BB) / REFERENCE_BATCH
    return {"pkt": weight * batch_scale * (teacher_BB * ratio_BB.log()).mean()}


def _similarities(x_BD: Tensor) -> Tensor:
    """Cosines moved to [0, 1], each row then scaled to sum to 1 (the diagonal included)."""
    unit_BD = x_BD / (torch.linalg.vector_norm(x_BD, dim=1, keepdim=True) + EPSILON)
    with no_autocast(unit_BD):
        cosine_BB = (unit_BD @ unit_BD.T + 1) / 2
    return cosine_BB / cosine_BB.sum(1, keepdim=True)
