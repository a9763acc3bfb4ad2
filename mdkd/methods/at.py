"""Attention transfer (AT): Zagoruyko and Komodakis, ICLR 2017."""

# Shape key: B images, D channels, H x W map size, P = H W places.
import torch
import torch.nn.functional as F
from torch import Tensor

from mdkd.errors import UserError
from mdkd.methods.base import method
from mdkd.methods.common import shared_levels, widen
from mdkd.outputs import Output

SMALLEST = 1e-12  # minimum of a norm


@method("at")
def at(student: Output, teacher: Output, target_BC: Tensor, *, weight: float) -> dict[str, Tensor]:
    """Squared error of attention maps: the mean over images and places, summed over levels.

    The attention at a place is the mean of the squared activations over the channels. The map of an
    image is divided by its norm. There is one level for each map size that both networks have.

    Raises:
        UserError: the networks have no map size in common.
    """
    if not weight:
        return {}
    sizes = [tuple(x.shape[-1] for x in output.maps) for output in (student, teacher)]
    levels = shared_levels(*sizes)
    if not levels:
        raise UserError(
            f"method at: the student has maps of sizes {_listed(sizes[0])}, the teacher of "
            f"{_listed(sizes[1])}; choose networks with a common size, or remove at from the rows"
        )
    losses = [
        F.mse_loss(_attention(widen(student.maps[s])), _attention(widen(teacher.maps[t].detach())))
        for s, t in levels
    ]
    return {"at": weight * torch.stack(losses).sum()}


def _attention(x_BDHW: Tensor) -> Tensor:
    """Mean over channels of the squares, divided by its norm over places, [B, P]."""
    return F.normalize(x_BDHW.square().mean(1).flatten(1), eps=SMALLEST)


def _listed(sizes: tuple[int, ...]) -> str:
    return ", ".join(map(str, sizes))
