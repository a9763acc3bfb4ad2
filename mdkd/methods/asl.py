"""Asymmetric loss (ASL): Ridnik et al., ICCV 2021. It replaces the binary cross-entropy."""

# Shape key: B images, C labels.
import torch
import torch.nn.functional as F
from torch import Tensor

from mdkd.methods.base import method
from mdkd.methods.common import mld_loss, widen
from mdkd.outputs import Output

SMALLEST = 1e-12  # minimum of what is raised to a power; keeps the gradient finite


@method("asl")
def asl(
    student: Output,
    teacher: Output,
    target_BC: Tensor,
    *,
    gamma_neg: float,
    gamma_pos: float,
    margin: float,
    mld: float,
) -> dict[str, Tensor]:
    """The loss of the labels, element by element, and MLD if it has a weight.

    A label that is present costs -(1 - p)^gamma_pos log p. One that is absent costs
    -q^gamma_neg log(1 - q), where q = max(p - margin, 0): absent labels that are recognised well
    cost nothing. The gradient includes that of the factors. With `mld` 0, the teacher is not used.
    """
    logits_BC = widen(student.logits_BC)
    absent_BC = torch.sigmoid(-logits_BC)
    present_BC = _power(absent_BC, gamma_pos) * F.logsigmoid(logits_BC)
    if margin:
        rest_BC = (absent_BC + margin).clamp_max(1)  # 1 - q
        shifted_BC, log_rest_BC = 1 - rest_BC, rest_BC.log()
    else:  # from logits: 1 - p may be rounded to 0
        shifted_BC, log_rest_BC = torch.sigmoid(logits_BC), F.logsigmoid(-logits_BC)
    terms = {
        "supervised": -torch.where(
            target_BC > 0.5, present_BC, _power(shifted_BC, gamma_neg) * log_rest_BC
        )
    }
    if mld:
        terms["mld"] = mld * mld_loss(student.logits_BC, teacher.logits_BC)
    return terms


def _power(x_BC: Tensor, gamma: float) -> Tensor:
    return x_BC.clamp_min(SMALLEST) ** gamma
