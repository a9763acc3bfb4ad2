"""Load batches from a cache and put them on the device, normalised for a network.

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
    ignored_BC: Tensor | None = None  # bool, only where targets are 0; None: nothing is ignored


class Loader:
    """The batches of one split, with the augmentation and normalisation of a recipe.

    With a CPU, images are read from the memory map and augmented on the CPU. With a GPU, images
    are transferred as uint8 and augmented on the GPU: the whole split is stored in GPU memory if
    it needs at most half of the free memory; otherwise each batch is copied from pinned memory.
    Augmentation gives the same bytes on both devices.
    """

    def __init__(self, split: CachedSplit, recipe: Recipe, seed: int, device: torch.device):
        self.split, self.recipe, self.seed, self.device = split, recipe, seed, device
        imagenet = recipe.normalisation == "imagenet"
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if imagenet else ((0.0,) * 3, (1.0,) * 3)
        # (x / 255 - mean) / std, written as one multiplication and one addition
        self.scale = torch.tensor([1 / (255 * s) for s in std], device=device).view(3, 1, 1)
        self.shift = torch.tensor(
            [-m / s for m, s in zip(mean, std, strict=True)], device=device
        ).view(3, 1, 1)
        # The colour of the Cutout square: ImageNet's mean becomes 0 after normalisation. Without
        # normalisation it is mid-grey.
        self.fill = np.array([round(255 * m) for m in (mean if imagenet else (0.5,) * 3)], np.uint8)
        self.targets_NC = torch.from_numpy(split.targets_NC).float()
        ignored = split.ignored_NC is not None
        self.ignored_NC = torch.from_numpy(split.ignored_NC) if ignored else None
        self.resident_NSS3 = self._resident()

    def steps_per_epoch(self) -> int:
        """The number of full batches.

        A smaller last batch is left out, because batch-level losses depend on the batch size.
        """
        steps = len(self.split.ids) // self.recipe.batch_size
        if steps == 0:
            raise UserError(
                f"batch_size {self.recipe.batch_size} exceeds the {len(self.split.ids)} "
                "training images; lower recipe: batch_size in the protocol"
            )
        return steps

    def train(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Augmented batches of one epoch, starting at ``first_step``."""
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
        """Every image once, in the cache's order, without augmentation."""
        size = 2 * self.recipe.batch_size
        for start in range(0, len(self.split.ids), size):
            indices_B = np.arange(start, min(start + size, len(self.split.ids)))
            yield self._batch(self._gather(indices_B), indices_B)

    def _resident(self) -> Tensor | None:
        """The whole split in GPU memory; None on a CPU or if it needs over half the free memory."""
        if self.device.type != "cuda":
            return None
        free_bytes, _ = torch.cuda.mem_get_info(self.device)
        if self.split.images_NSSC.nbytes > free_bytes / 2:
            return None
        resident_NSS3 = torch.empty(
            self.split.images_NSSC.shape, dtype=torch.uint8, device=self.device
        )
        for start in range(0, len(resident_NSS3), 1024):  # in parts, to save memory on the host
            part = np.array(self.split.images_NSSC[start : start + 1024])
            resident_NSS3[start : start + 1024] = torch.from_numpy(part).to(self.device)
        return resident_NSS3

    def _gather(self, indices_B: np.ndarray) -> Tensor:
        """The images at these indices, uint8 ``[B, S, S, 3]`` on the device."""
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
        """The mask of ignored labels; None if the batch has none.

        With None, the loss is computed in the same way as for a data set without ignored labels.
        """
        if self.ignored_NC is None:
            return None
        # The mask is still on the host here, so .any() does not wait for the device.
        ignored_BC = self.ignored_NC.index_select(0, rows_B)
        return self._to_device(ignored_BC) if ignored_BC.any() else None
