"""Batches from a cache, on the device, ready for a network.

Shape key: B images, C labels, H x W pixels.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mdkd.config import Recipe
from mdkd.data.augment import augment_on_device, augment_on_host, draw, order
from mdkd.data.cache import CachedSplit
from mdkd.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Batch(NamedTuple):
    images_BCHW: Tensor  # float32, normalised, channels_last in memory
    targets_BC: Tensor  # float32 in {0, 1}
    ignored_BC: Tensor | None = None  # bool, where targets are 0; None: every place counts


class Loader:
    """The batches of one split under one recipe.

    On the CPU, pixels are gathered from the memory map and augmented there. On a GPU they stay
    uint8 until the last moment: the whole split lives in its memory if that leaves half of it
    free, else batches cross from pinned memory; augmentation runs there. Both give the same bytes.
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
        self.targets_NC = torch.from_numpy(split.targets_NC).float()
        ignored = split.ignored_NC is not None
        self.ignored_NC = torch.from_numpy(split.ignored_NC) if ignored else None
        self.resident_NSS3 = self._resident()

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
        image_size = self.split.images_NSSC.shape[1]
        for step in range(first_step, self.steps_per_epoch()):
            indices_B = indices_N[step * size : (step + 1) * size]
            draws = draw(
                indices_B,
                image_size,
                self.seed,
                epoch,
                flip=self.recipe.flip,
                cutout=self.recipe.cutout,
            )
            if self.device.type == "cpu":
                images_BSS3 = self.split.images_NSSC[indices_B]  # a copy
                augment_on_host(images_BSS3, draws, self.fill)
                yield self._batch(torch.from_numpy(images_BSS3), indices_B)
            else:
                images_on_device = self._gather(indices_B)
                augmented = augment_on_device(images_on_device, draws, self.fill)
                yield self._batch(augmented, indices_B)

    def test(self) -> Iterator[Batch]:
        """Every image once, in the cache's order, as it is."""
        size = 2 * self.recipe.batch_size
        for start in range(0, len(self.split.ids), size):
            indices_B = np.arange(start, min(start + size, len(self.split.ids)))
            yield self._batch(self._gather(indices_B), indices_B)

    def _resident(self) -> Tensor | None:
        """The whole split in the GPU's memory, or None on the CPU or where it would crowd it."""
        if self.device.type != "cuda":
            return None
        free_bytes, _ = torch.cuda.mem_get_info(self.device)
        if self.split.images_NSSC.nbytes > free_bytes / 2:
            return None
        resident_NSS3 = torch.empty(
            self.split.images_NSSC.shape, dtype=torch.uint8, device=self.device
        )
        for start in range(0, len(resident_NSS3), 1024):  # in parts: no second copy on the host
            part = np.array(self.split.images_NSSC[start : start + 1024])
            resident_NSS3[start : start + 1024] = torch.from_numpy(part).to(self.device)
        return resident_NSS3

    def _gather(self, indices_B: np.ndarray) -> Tensor:
        """Images by index, uint8 on the device."""
        if self.resident_NSS3 is not None:
            return self.resident_NSS3.index_select(0, self._to_device(torch.from_numpy(indices_B)))
        return self._to_device(torch.from_numpy(self.split.images_NSSC[indices_B]))

    def _to_device(self, tensor: Tensor) -> Tensor:
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor

    def _batch(self, images_BSS3: Tensor, indices_B: np.ndarray) -> Batch:
        images_BCHW = images_BSS3.permute(0, 3, 1, 2).float().mul_(self.scale).add_(self.shift)
        rows_B = torch.from_numpy(indices_B)
        targets_BC = self._to_device(self.targets_NC.index_select(0, rows_B))
        return Batch(images_BCHW, targets_BC, self._ignored(rows_B))

    def _ignored(self, rows_B: Tensor) -> Tensor | None:
        """None for a batch in which every place counts: its loss takes the same steps as ever."""
        if self.ignored_NC is None:
            return None
        ignored_BC = self.ignored_NC.index_select(0, rows_B)  # on the host: looking is no wait
        return self._to_device(ignored_BC) if ignored_BC.any() else None
