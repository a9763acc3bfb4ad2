"""Batches from a cache, on the device, ready for a network.

Shape key: B images, C labels, H x W pixels.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mdkd.config import Recipe
from mdkd.data.augment import augment, order
from mdkd.data.cache import CachedSplit
from mdkd.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Batch(NamedTuple):
    images_BCHW: Tensor  # float32, normalised, channels_last in memory
    targets_BC: Tensor  # float32 in {0, 1}


class Loader:
    """The batches of one split under one recipe.

    Pixels cross to the device as uint8, a quarter of the bytes, and are normalised there.
    """

    def __init__(self, split: CachedSplit, recipe: Recipe, seed: int, device: torch.device):
        self.split, self.recipe, self.seed, self.device = split, recipe, seed, device
        imagenet = recipe.normalisation == "imagenet"
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if imagenet else ((0.0,) * 3, (1.0,) * 3)
        # (x / 255 - mean) / std as one multiply and one add
        self.scale = torch.tensor([1 / (255 * s) for s in std], device=device).view(3, 1, 1)
        self.shift = torch.tensor(
            [-m / s for m, s in zip(mean, std, strict=True)], device=device
        ).view(3, 1, 1)
        # ImageNet's mean colour hides the square from a normalised network; mid-grey otherwise
        self.fill = np.array([round(255 * m) for m in (mean if imagenet else (0.5,) * 3)], np.uint8)

    def steps_per_epoch(self) -> int:
        """Full batches only: batch-level terms depend on the batch size."""
        steps = len(self.split.ids) // self.recipe.batch_size
        if steps == 0:
            raise UserError(
                f"batch_size {self.recipe.batch_size} exceeds the {len(self.split.ids)} "
                "training images; lower recipe: batch_size in the protocol"
            )
        return steps

    def train(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Augmented batches of one epoch, from ``first_step`` on."""
        indices_N, size = order(len(self.split.ids), self.seed, epoch), self.recipe.batch_size
        for step in range(first_step, self.steps_per_epoch()):
            indices_B = indices_N[step * size : (step + 1) * size]
            images_BSSC = augment(
                self.split.images_NSSC[indices_B],
                indices_B,
                self.seed,
                epoch,
                flip=self.recipe.flip,
                cutout=self.recipe.cutout,
                fill=self.fill,
            )
            yield self._batch(images_BSSC, self.split.targets_NC[indices_B])

    def test(self) -> Iterator[Batch]:
        """Every image once, in the cache's order, as it is."""
        for start in range(0, len(self.split.ids), 2 * self.recipe.batch_size):
            part = slice(start, start + 2 * self.recipe.batch_size)
            images_BSSC = np.array(self.split.images_NSSC[part])
            yield self._batch(images_BSSC, self.split.targets_NC[part])

    def _batch(self, images_BSSC: np.ndarray, targets_BC: np.ndarray) -> Batch:
        pixels = torch.from_numpy(images_BSSC).to(self.device, non_blocking=True)
        images_BCHW = pixels.permute(0, 3, 1, 2).float().mul_(self.scale).add_(self.shift)
        return Batch(images_BCHW, torch.from_numpy(targets_BC).float().to(self.device))
