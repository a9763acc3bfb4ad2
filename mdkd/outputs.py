"""What a network returns, and what it promises about it: the contract of models and methods.

Shape key: B images, C labels, D channels, E embedding width, H x W map size.
"""

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """One forward pass."""

    logits_BC: Tensor  # before the sigmoid
    pooled_BD: Tensor  # globally pooled last map, what a linear classifier would read
    maps: tuple[Tensor, ...]  # x_BDHW, shallow to deep, always NCHW order
    embeddings_BCE: Tensor | None  # one vector per label, or None if the head makes none


class Spec(NamedTuple):
    """Sizes of an `Output` at the protocol's image size, probed from the network itself."""

    num_labels: int
    pooled_dim: int
    map_channels: tuple[int, ...]  # aligned with Output.maps
    map_sizes: tuple[int, ...]  # height = width of each map, in pixels
    embedding_dim: int | None
