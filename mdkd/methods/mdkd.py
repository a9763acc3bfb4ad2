"""Multi-order label pair dependencies (MDKD): Eqs. 2-15 of the paper, ACM MM 2024."""

# Shape key: B images, C labels.
from typing import Any

import torch
from torch import Tensor

from mdkd.dependencies import multi_order_losses
from mdkd.methods.base import method
from mdkd.methods.common import mld_loss, widen
from mdkd.outputs import Output


@method("mdkd")
def mdkd(
    student: Output,
    teacher: Output,
    target_BC: Tensor,
    *,
    mld: float,
    bd2: float,
    bd3: float,
    bd4: float,
    bd5: float,
    bd6: float,
    id2: float,
    id3: float,
    id4: float,
    id5: float,
    id6: float,
    norm: str,
) -> dict[str, Tensor]:
    """mld L_MLD + sum_n (bd_n L_BDn + id_n L_IDn): Eq. 15 without the supervised loss.

    The batch-level terms depend on the batch size; in data-parallel training, on the batch size
    per device. `norm` has the same meaning as in `multi_order_losses`.
    """
    terms = {}
    if mld:
        terms["mld"] = mld * mld_loss(student.logits_BC, teacher.logits_BC)
    batch = {n: weight for n, weight in enumerate((bd2, bd3, bd4, bd5, bd6), 2) if weight}
    instance = {n: weight for n, weight in enumerate((id2, id3, id4, id5, id6), 2) if weight}
    batch_losses, instance_losses = multi_order_losses(
        torch.sigmoid(widen(student.logits_BC)),
        torch.sigmoid(widen(teacher.logits_BC.detach())),
        tuple(batch),
        tuple(instance),
        norm=norm,
    )
    for level, weights, losses in (("bd", batch, batch_losses), ("id", instance, instance_losses)):
        for (n, weight), loss in zip(weights.items(), losses.unbind(), strict=True):
            terms[f"{level}{n}"] = weight * loss
    return terms


def equal_weights(mld: float, dependencies: float) -> dict[str, Any]:
    """Settings with the paper's terms: both levels, orders 2 to 4, one weight for all six."""
    unused = dict.fromkeys(("bd5", "bd6", "id5", "id6"), 0.0)
    used = dict.fromkeys(("bd2", "bd3", "bd4", "id2", "id3", "id4"), dependencies)
    return {"mld": mld, "norm": "paper"} | used | unused
