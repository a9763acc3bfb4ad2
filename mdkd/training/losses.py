"""The supervised loss of a batch, and how strong each loss term is beside it.

Shape key: B images, C labels.
"""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

TINY = 1e-30  # minimum of a gradient's norm in a division


def supervised_loss(
    logits_BC: Tensor, targets_BC: Tensor, reduction: str, ignored_BC: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy, Eq. 1; see `reduced` for the other arguments."""
    each_BC = binary_cross_entropy_with_logits(logits_BC, targets_BC, reduction="none")
    return reduced(each_BC, reduction, ignored_BC)


def reduced(each_BC: Tensor, reduction: str, ignored_BC: Tensor | None = None) -> Tensor:
    """The supervised loss of a batch from that of each image and label.

    Args:
        reduction: ``sum_mean`` sums over labels and averages over images, as in Eq. 1; ``sum_sum``
            sums over both, as in L2D's code; ``mean_mean`` averages over both.
        ignored_BC: true where the label is ignored; it then adds nothing to the sums, and
            ``mean_mean`` does not count it.
    """
    places: int | Tensor = each_BC.numel()
    if ignored_BC is not None:
        each_BC = each_BC.masked_fill(ignored_BC, 0)
        places = (~ignored_BC).sum().clamp_min(1)
    divisor = {"sum_mean": len(each_BC), "sum_sum": 1, "mean_mean": places}[reduction]
    return each_BC.sum() / divisor


def gradient_ratios(losses: dict[str, Tensor], parameters: list[Tensor]) -> dict[str, float]:
    """The gradient norm of each weighted loss term divided by that of the supervised loss.

    The supervised loss is `bce`, or `supervised` of a method that has its own. Gradients are with
    respect to the student's parameters. If the norm of the supervised loss is 0, `TINY` is used
    instead, because JSON records cannot contain infinity. The autograd graph is kept, so the next
    training step has the same bits as without this call.
    """
    supervised = "bce" if "bce" in losses else "supervised"
    if losses.keys() == {supervised}:
        return {}  # nothing to compare: this saves a backward pass
    trained = [p for p in parameters if p.requires_grad]
    norms = {}
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, trained, retain_graph=True, allow_unused=True)
        squares = [g.double().square().sum() for g in gradients if g is not None]
        norms[name] = torch.stack(squares).sum().sqrt().item() if squares else 0.0
    reference = norms.pop(supervised)
    return {name: norm / max(reference, TINY) for name, norm in norms.items()}
