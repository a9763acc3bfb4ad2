"""The exponential moving average of a network's weights while it is trained."""

import copy

import torch
from torch import Tensor

from mdkd.models.build import Network


class Average:
    """A copy of a network whose weights follow those of the original, slowly.

    It starts with the weights that the original has now. Each `update` keeps the share ``decay`` of
    every weight and takes the rest from the original. Buffers, such as the running means of batch
    norm, are copied: they are means already.
    """

    def __init__(self, network: Network, decay: float):
        self.decay = decay
        self.network = copy.deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Take the weights of the original into the mean; this does not wait for the device."""
        ours: list[Tensor] = list(self.network.parameters())
        theirs: list[Tensor] = list(network.parameters())
        torch._foreach_lerp_(ours, theirs, 1 - self.decay)
        for copied, buffer in zip(self.network.buffers(), network.buffers(), strict=True):
            copied.copy_(buffer)
