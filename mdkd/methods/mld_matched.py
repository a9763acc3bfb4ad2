"""Control: MLD with a gradient as long as MDKD's. Any gain is not due to label dependencies."""

# Shape key: B images, C labels.
import torch
from torch import Tensor

from mdkd.methods.base import method
from mdkd.methods.common import mld_loss, widen
from mdkd.methods.mdkd import equal_weights, mdkd
from mdkd.outputs import Output


@method("mld_matched")
def mld_matched(
    student: Output, teacher: Output, target_BC: Tensor, *, mld: float, dependencies: float
) -> dict[str, Tensor]:
    """MLD with a weight that is set for each batch, so that its gradient is as long as MDKD's.

    The gradients are those with respect to the student's logits. MDKD has the weight `mld` for
    L_MLD and `dependencies` for each of its other six terms.
    """
    if not mld:
        return {}
    with torch.enable_grad():
        logits_BC = widen(student.logits_BC.detach()).requires_grad_()
        terms = mdkd(
            student._replace(logits_BC=logits_BC),
            teacher,
            target_BC,
            **equal_weights(mld, dependencies),
        )
        whole_BC, mld_BC = (
            torch.autograd.grad(loss, logits_BC, retain_graph=True)[0]
            for loss in (torch.stack(list(terms.values())).sum(), terms["mld"])
        )
    tiny = torch.finfo(mld_BC.dtype).tiny  # if student and teacher are equal, both norms are 0
    factor = whole_BC.norm().clamp_min(tiny) / mld_BC.norm().clamp_min(tiny)
    return {"mld": mld * factor * mld_loss(student.logits_BC, teacher.logits_BC)}
