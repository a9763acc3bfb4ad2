"""Multi-label logits distillation (MLD): Eq. 2 of the paper, after Yang et al., ICCV 2023."""

# Shape key: B images, C labels.
from torch import Tensor

from mdkd.methods.base import method
from mdkd.methods.common import mld_loss
from mdkd.outputs import Output


@method("mld")
def mld(student: Output, teacher: Output, target_BC: Tensor, *, mld: float) -> dict[str, Tensor]:
    """Binary KL(teacher || student), summed over labels, averaged over images."""
    return {"mld": mld * mld_loss(student.logits_BC, teacher.logits_BC)} if mld else {}
