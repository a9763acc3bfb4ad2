"""The interface between models and methods: the outputs of a network and their sizes.

Shape key: B images, C labels, D channels, E embedding width, H x W map size.
"""

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """The outputs of one forward pass."""

    logits_BC: Tensor  # before the sigmoid
    pooled_BD: Tensor  # globally pooled last map, the usual input of a linear classifier
    maps: tuple[Tensor, ...]  # x_BDHW, shallow to deep, always NCHW order
    embeddings_BCE: Tensor | None  # one vector per label; None if the head has none

    @classmethod
    def of_logits(cls, logits_BC: Tensor) -> "Output":
        """The output of a network of which only the logits are known; many methods need no more.

        >>> import torch
        >>> output = Output.of_logits(torch.zeros(2, 5))
        >>> output.pooled_BD.shape, output.maps, output.embeddings_BCE
        (torch.Size([2, 0]), (), None)
        """
        return cls(logits_BC, logits_BC.new_empty(len(logits_BC), 0), (), None)


class Spec(NamedTuple):
    """Sizes of an `Output` at the protocol's image size, measured on the network itself."""

    num_labels: int
    pooled_dim: int
    map_channels: tuple[int, ...]  # one value per map, in the order of Output.maps
    map_sizes: tuple[int, ...]  # height = width of each map, in pixels
    embedding_dim: int | None

    @classmethod
    def of(cls, output: Output) -> "Spec":
        """The sizes of an output.

        >>> import torch
        >>> Spec.of(Output.of_logits(torch.zeros(2, 5)))
        Spec(num_labels=5, pooled_dim=0, map_channels=(), map_sizes=(), embedding_dim=None)
        """
        embeddings_BCE = output.embeddings_BCE
        return cls(
            num_labels=output.logits_BC.shape[1],
            pooled_dim=output.pooled_BD.shape[1],
            map_channels=tuple(x_BDHW.shape[1] for x_BDHW in output.maps),
            map_sizes=tuple(x_BDHW.shape[3] for x_BDHW in output.maps),
            embedding_dim=None if embeddings_BCE is None else embeddings_BCE.shape[2],
        )
