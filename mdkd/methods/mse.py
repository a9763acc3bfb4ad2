"""Mean squared error of logits, after the distillation term of Xu et al., 2022 (CPSD)."""

# Shape key: B images, C labels.
from torch import Tensor

from mdkd.methods.base import method
from mdkd.methods.common import widen
from mdkd.outputs import Output


@method("mse")
def mse(student: Output, teacher: Output, target_BC: Tensor, *, weight: float) -> dict[str, Tensor]:
    """(z_S - z_T)^2, summed over labels and averaged over images, like the other logit losses."""
    if not weight:
        return {}
    gap_BC = widen(student.logits_BC) - widen(teacher.logits_BC.detach())
    return {"mse": weight * gap_BC.square().sum(1).mean()}
