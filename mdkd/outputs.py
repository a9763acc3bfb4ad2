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


class Spec(NamedTuple):
    """Sizes of an `Output` at the protocol's image size, measured on the network itself."""

    num_labels: int
    pooled_dim: int
    map_channels: tuple[int, ...]  # one value per map, in the order of Output.maps
    map_sizes: tuple[int, ...]  # height = width of each map, in pixels
    embedding_dim: int | None
