"""Order and augmentation as a pure function of (seed, epoch, index): no worker, no state.

Every method sees the same pixels in the same order, and a run can resume at any step.
Shape key: B images of S x S pixels, 3 channels last (BSSC).
"""

import numpy as np

from mdkd import rng


def order(n: int, seed: int, epoch: int) -> np.ndarray:
    """The order in which ``n`` training images are visited in an epoch, int64 ``[n]``."""
    return rng.permutation(n, seed, "order", epoch)


def augment(
    images_BSSC: np.ndarray,
    indices_B: np.ndarray,
    seed: int,
    epoch: int,
    *,
    flip: bool,
    cutout: float,
    fill: np.ndarray,
) -> np.ndarray:
    """Flip and Cutout (DeVries and Taylor, 2017) of uint8 images; returns a new array.

    Args:
        indices_B: each image's index in the training split, the key of its random draws.
        flip: mirror an image horizontally with probability 1/2.
        cutout: side of one masked square as a fraction of S in [0, 1), centred on any pixel and
            clipped at the border; 0 masks nothing.
        fill: uint8 ``[3]``, the colour of the square.
    """
    size = images_BSSC.shape[1]
    images_BSSC = images_BSSC.copy()
    if flip:
        flipped = rng.uniform(seed, "flip", epoch, indices_B) < 0.5
        images_BSSC[flipped] = images_BSSC[flipped, :, ::-1]
    side = round(cutout * size)
    if side:
        tops = rng.integers(size, seed, "cutout-y", epoch, indices_B) - side // 2
        lefts = rng.integers(size, seed, "cutout-x", epoch, indices_B) - side // 2
        for image_SSC, top, left in zip(images_BSSC, tops, lefts, strict=True):
            rows = slice(max(top, 0), top + side)
            image_SSC[rows, max(left, 0) : left + side] = fill
    return images_BSSC
