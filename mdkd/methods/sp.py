"""Similarity-preserving distillation (SP): Tung and Mori, ICCV 2019."""

# Shape key: B images, D channels, H x W map size, F = D H W features (the networks may differ).
import torch.nn.functional as F
from torch import Tensor

from mdkd.methods.base import method
from mdkd.methods.common import no_autocast, widen
from mdkd.outputs import Output

SMALLEST = 1e-12  # minimum of a norm
REFERENCE_BATCH = 64  # the batch size of the published weight


@method("sp")
def sp(student: Output, teacher: Output, target_BC: Tensor, *, weight: float) -> dict[str, Tensor]:
    """Mean over all B^2 entries of (G_S - G_T)^2.

    G contains the inner products of the last maps of all pairs of images; each row is divided by
    its norm. A row of squared differences sums to at most 4, so the mean decreases as 1 / B. The
    published weight was chosen for B = 64. The term is multiplied by B / 64, so the weight has the
    same meaning for every B.
    """
    if not weight:
        return {}
    student_BB = _similarities(widen(student.maps[-1]))
    teacher_BB = _similarities(widen(teacher.maps[-1].detach()))
    batch_scale = len(student_BB) / REFERENCE_BATCH
    return {"sp": weight * batch_scale * F.mse_loss(student_BB, teacher_BB)}


def _similarities(x_BDHW: Tensor) -> Tensor:
    """Inner products of images; then each row is divided by its norm."""
    x_BF = x_BDHW.flatten(1)
    with no_autocast(x_BF):
        inner_BB = x_BF @ x_BF.T
    return F.normalize(inner_BB, eps=SMALLEST)
