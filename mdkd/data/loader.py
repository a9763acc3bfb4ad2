"""Load batches from a cache and put them on the device, normalised for a network.

Shape key: B images, C labels, H x W pixels.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from mdkd.config import Recipe
from mdkd.data.augment import Draws, augment_on_device, augment_on_host, draw, order
from mdkd.data.cache import CachedSplit
from mdkd.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

T = TypeVar("T")
_END = object()


class Batch(NamedTuple):
    images_BCHW: Tensor  # float32, normalised, channels_last in memory
    targets_BC: Tensor  # float32 in {0, 1}
    host_targets_BC: Tensor  # uint8, the same targets in the host's memory
    ignored_BC: Tensor | None = None  # bool, only where targets are 0; None: nothing is ignored


def normalisation_of(recipe: Recipe) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each colour: a network sees (pixel / 255 - mean) / deviation.

    Without normalisation they are 0 and 1.
    """
    if recipe.normalisation == "imagenet":
        return IMAGENET_MEAN, IMAGENET_STD
    return (0.0,) * 3, (1.0,) * 3


class Loader:
    """The batches of one split, with the augmentation and normalisation of a recipe.

    With a CPU, images are read from the memory map and augmented on the CPU. With a GPU, images
    are transferred as uint8 and augmented on the GPU: the whole split is stored in GPU memory if
    it needs at most half of the free memory; otherwise a thread reads one batch ahead into pinned
    memory. The labels are always stored on the device. What else a batch needs from the host, its
    indices and random decisions, crosses in one copy that the host does not wait for. Augmentation
    gives the same bytes on both devices.
    """

    def __init__(self, split: CachedSplit, recipe: Recipe, seed: int, device: torch.device):
        self.split, self.recipe, self.seed, self.device = split, recipe, seed, device
        mean, std = normalisation_of(recipe)
        # (x / 255 - mean) / std, written as one multiplication and one addition
        self.scale = torch.tensor([1 / (255 * s) for s in std], device=device).view(3, 1, 1)
        self.shift = torch.tensor(
            [-m / s for m, s in zip(mean, std, strict=True)], device=device
        ).view(3, 1, 1)
        # The colour of the Cutout square: ImageNet's mean becomes 0 after normalisation. Without
        # normalisation it is mid-grey.
        middle = mean if recipe.normalisation == "imagenet" else (0.5,) * 3
        self.fill = np.array([round(255 * m) for m in middle], np.uint8)
        self.fill_3 = torch.from_numpy(self.fill).to(device)
        self.targets_NC = torch.from_numpy(split.targets_NC).float().to(device)
        self.ignored_NC: Tensor | None = None
        if split.ignored_NC is not None:
            self.ignored_NC = torch.from_numpy(split.ignored_NC).to(device)
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
        if self.device.type == "cpu":
            for indices_B, draws in self._draws(epoch, first_step):
                images_BSS3 = self.split.images_NSSC[indices_B]  # a copy
                augment_on_host(images_BSS3, draws, self.fill)
                yield self._batch(
                    torch.from_numpy(images_BSS3), torch.from_numpy(indices_B), indices_B
                )
            return
        on_host = map(self._read, self._draws(epoch, first_step))
        for read in on_host if self.resident_NSS3 is not None else one_ahead(on_host):
            facts_4B = self._to_device(read.facts_4B)
            images_BSS3 = self._images(read.images_BSS3, facts_4B[0])
            augmented = augment_on_device(images_BSS3, facts_4B[1:], read.side, self.fill_3)
            yield self._batch(augmented, facts_4B[0], read.indices_B)

    def _draws(self, epoch: int, first_step: int) -> Iterator[tuple[np.ndarray, Draws]]:
        """The indices and the random decisions of each batch."""
        indices_N, size = order(len(self.split.ids), self.seed, epoch), self.recipe.batch_size
        image_size = self.split.images_NSSC.shape[1]
        for step in range(first_step, self.steps_per_epoch()):
            indices_B = indices_N[step * size : (step + 1) * size]
            yield (
                indices_B,
                draw(
                    indices_B,
                    image_size,
                    self.seed,
                    epoch,
                    flip=self.recipe.flip,
                    cutout=self.recipe.cutout,
                ),
            )

    def _read(self, drawn: tuple[np.ndarray, Draws]) -> "_OnHost":
        """What a batch on a GPU needs from the host, in pinned memory."""
        indices_B, draws = drawn
        facts_4B = self._pinned(np.concatenate([indices_B[None], draws.places]))
        return _OnHost(indices_B, facts_4B, draws.side, self._images_on_host(indices_B))

    def test(self) -> Iterator[Batch]:
        """Every image once, in the cache's order, without augmentation."""
        size = 2 * self.recipe.batch_size
        for start in range(0, len(self.split.ids), size):
            indices_B = np.arange(start, min(start + size, len(self.split.ids)))
            rows_B = self._to_device(self._pinned(indices_B))
            images_BSS3 = self._images(self._images_on_host(indices_B), rows_B)
            yield self._batch(images_BSS3, rows_B, indices_B)

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

    def _images(self, images_BSS3: Tensor | None, rows_B: Tensor) -> Tensor:
        """Images on the device: those that were read, or those at these rows, uint8."""
        if images_BSS3 is not None:
            return self._to_device(images_BSS3)
        assert self.resident_NSS3 is not None
        return self.resident_NSS3.index_select(0, rows_B)

    def _images_on_host(self, indices_B: np.ndarray) -> Tensor | None:
        """The images at these indices, read from the cache; None if they are on the device."""
        if self.resident_NSS3 is not None:
            return None
        return self._pinned(self.split.images_NSSC[indices_B])

    def _pinned(self, values: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(values)
        return tensor if self.device.type == "cpu" else tensor.pin_memory()

    def _to_device(self, pinned: Tensor) -> Tensor:
        return pinned.to(self.device, non_blocking=True)

    def _batch(self, images_BSS3: Tensor, rows_B: Tensor, indices_B: np.ndarray) -> Batch:
        """A batch from uint8 images and the rows of its labels, which both are on the device.

        The batch has a mask only if it has ignored labels. Without a mask, the loss is computed in
        the same way as for a data set without ignored labels.
        """
        images_BCHW = images_BSS3.permute(0, 3, 1, 2).float().mul_(self.scale).add_(self.shift)
        ignored_BC = None
        # The mask on the host is asked, so nothing waits for the device.
        if self.split.ignored_NC is not None and self.split.ignored_NC[indices_B].any():
            assert self.ignored_NC is not None
            ignored_BC = self.ignored_NC.index_select(0, rows_B)
        host_targets_BC = torch.from_numpy(self.split.targets_NC[indices_B])
        return Batch(
            images_BCHW, self.targets_NC.index_select(0, rows_B), host_targets_BC, ignored_BC
        )


class _OnHost(NamedTuple):
    """A batch before it crosses to a GPU."""

    indices_B: np.ndarray
    facts_4B: Tensor  # the indices, and `Draws.places`
    side: int
    images_BSS3: Tensor | None  # None: they are on the device


def one_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each computed in a thread while the one before is used."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, _END)
        while (item := coming.result()) is not _END:
            coming = thread.submit(next, items, _END)
            yield item  # type: ignore[misc]
