"""Order and augmentation of images, as a pure function of (seed, epoch, index).

They depend on no worker and no state. Every method sees the same pixels in the same order, and a
run can resume at any step.
Shape key: B images of S x S pixels, 3 channels last (BSS3).
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mdkd import rng


class Draws(NamedTuple):
    """The random decisions for the images of a batch."""

    flipped_B: np.ndarray  # bool: mirror horizontally
    top_B: np.ndarray  # int64, first row of the masked square; may be outside the image
    left_B: np.ndarray  # int64, first column of the square; may be outside the image
    side: int  # side of the square in pixels; 0 means no square

    @property
    def places(self) -> np.ndarray:
        """Flips, first rows and first columns in one array, int64 ``[3, B]``."""
        return np.stack([self.flipped_B, self.top_B, self.left_B]).astype(np.int64)


def order(n: int, seed: int, epoch: int) -> np.ndarray:
    """The order in which ``n`` training images are visited in an epoch, int64 ``[n]``."""
    return rng.permutation(n, seed, "order", epoch)


def draw(
    indices_B: np.ndarray, size: int, seed: int, epoch: int, *, flip: bool, cutout: float
) -> Draws:
    """Draw the flips and the Cutout squares (DeVries and Taylor, 2017) of a batch.

    Args:
        indices_B: each image's index in the training split; its random numbers depend on it.
        size: height and width of the images in pixels.
        flip: mirror each image with probability 1/2.
        cutout: side of the masked square as a fraction of the image's side, in [0, 1); 0 means no
            square. The square's centre can be any pixel, and the border cuts off what is outside.
    """
    side = round(cutout * size)
    coin_B = rng.uniform(seed, "flip", epoch, indices_B)
    return Draws(
        flipped_B=(coin_B < 0.5) if flip else np.zeros(len(indices_B), bool),
        top_B=rng.integers(size, seed, "cutout-y", epoch, indices_B) - side // 2,
        left_B=rng.integers(size, seed, "cutout-x", epoch, indices_B) - side // 2,
        side=side,
    )


def augment_on_host(images_BSS3: np.ndarray, draws: Draws, fill: np.ndarray) -> None:
    """Apply ``draws`` to uint8 images in place, image by image, which is fastest on a CPU.

    Args:
        fill: the colour of the square, uint8 ``[3]``.
    """
    images = torch.from_numpy(images_BSS3)  # shares memory with images_BSS3
    for i in np.flatnonzero(draws.flipped_B):
        # For this memory layout (channels last), torch's flip is 20 times as fast as numpy's.
        images[i] = images[i].permute(2, 0, 1).flip(2).permute(1, 2, 0)
    if draws.side:
        for image_SS3, top, left in zip(images_BSS3, draws.top_B, draws.left_B, strict=True):
            rows = slice(max(top, 0), top + draws.side)
            image_SS3[rows, max(left, 0) : left + draws.side] = fill


def augment_on_device(images_BSS3: Tensor, places_3B: Tensor, side: int, fill_3: Tensor) -> Tensor:
    """Like `augment_on_host`, with whole-batch operations for a GPU. Returns a new tensor.

    All tensors are on the device, so nothing here waits for it.

    Args:
        places_3B: `Draws.places` of the batch.
        side: side of the square in pixels; 0 means no square.
        fill_3: the colour of the square, uint8.
    """
    size = images_BSS3.shape[1]
    flipped_B111, top_B111, left_B111 = places_3B.view(3, -1, 1, 1, 1)
    images_BSS3 = torch.where(flipped_B111 > 0, images_BSS3.flip(2), images_BSS3)
    if not side:
        return images_BSS3
    pixel_S = torch.arange(size, device=images_BSS3.device)
    row_BS11 = pixel_S.view(1, -1, 1, 1) - top_B111
    column_B1S1 = pixel_S.view(1, 1, -1, 1) - left_B111
    masked_BSS1 = (row_BS11 >= 0) & (row_BS11 < side) & (column_B1S1 >= 0) & (column_B1S1 < side)
    return torch.where(masked_BSS1, fill_3, images_BSS3)
