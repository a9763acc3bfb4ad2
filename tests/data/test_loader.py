"""Batches: normalised, in the order of the seed, complete."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_source import random_images
from waiting import META, NoWaiting

from mdkd.config import Recipe
from mdkd.data.augment import order
from mdkd.data.cache import CachedSplit
from mdkd.data.loader import IMAGENET_MEAN, IMAGENET_STD, Loader, one_ahead
from mdkd.errors import UserError

CPU = torch.device("cpu")

RECIPE = Recipe(epochs=2, batch_size=4, lr=0.1, weight_decay=0, flip=True, cutout=0.5)


def cached_split(n=11, size=8):
    targets_NC = np.random.default_rng(1).integers(0, 2, (n, 3)).astype(np.uint8)
    return CachedSplit([str(i) for i in range(n)], random_images(n, size), targets_NC)


@pytest.mark.parametrize("normalisation", ["imagenet", "none"])
def test_images_are_normalised_channel_by_channel(normalisation):
    split = cached_split()
    recipe = replace(RECIPE, flip=False, cutout=0.0, normalisation=normalisation)
    batch = next(Loader(split, recipe, 3, CPU).train(epoch=1))
    indices = order(11, 3, 1)[:4]
    assert batch.images_BCHW.shape == (4, 3, 8, 8)
    assert batch.images_BCHW.dtype == batch.targets_BC.dtype == torch.float32
    for row, index in enumerate(indices):
        for colour in range(3):
            pixels = split.images_NSSC[index, :, :, colour].astype(np.float64) / 255
            if normalisation == "imagenet":
                pixels = (pixels - IMAGENET_MEAN[colour]) / IMAGENET_STD[colour]
            np.testing.assert_allclose(batch.images_BCHW[row, colour], pixels, atol=2e-6)
        assert batch.targets_BC[row].tolist() == split.targets_NC[index].tolist()
    assert batch.host_targets_BC.tolist() == batch.targets_BC.tolist()


def test_the_masked_square_is_the_mean_colour_of_the_network():
    white = CachedSplit(["0"] * 8, np.full((8, 8, 8, 3), 255, np.uint8), np.ones((8, 1), np.uint8))
    values = torch.cat([b.images_BCHW for b in Loader(white, RECIPE, 0, CPU).train(0)]).unique()
    assert ((values.abs() < 0.02) | (values > 2)).all()  # 0 is the mean, up to rounding to uint8
    assert (values.abs() < 0.02).any()


def test_only_full_batches_and_none_twice():
    loader = Loader(cached_split(11), RECIPE, 0, CPU)
    assert loader.steps_per_epoch() == 2
    batches = list(loader.train(0))
    assert [len(b.images_BCHW) for b in batches] == [4, 4]
    split = cached_split(11)
    expected = split.targets_NC[order(11, 0, 0)[:8]]
    np.testing.assert_array_equal(torch.cat([b.targets_BC for b in batches]).numpy(), expected)


def test_batches_say_which_places_do_not_count():
    split = cached_split(19)
    rows = np.arange(19)[:, None]
    split = replace(split, ignored_NC=(rows % 7 == 3) & (split.targets_NC == 0))
    assert split.ignored_NC.any()
    loader, epochs = Loader(split, RECIPE, 5, CPU), 6
    without = 0
    for epoch in range(epochs):
        for step, batch in enumerate(loader.train(epoch)):
            expected_BC = split.ignored_NC[order(19, 5, epoch)[4 * step : 4 * step + 4]]
            if expected_BC.any():
                assert batch.ignored_BC.dtype == torch.bool
                np.testing.assert_array_equal(batch.ignored_BC.numpy(), expected_BC)
            else:  # not a mask of nothing: the loss then takes other steps than without one
                assert batch.ignored_BC is None
                without += 1
    assert 0 < without < epochs * loader.steps_per_epoch()
    every = Loader(cached_split(19), RECIPE, 5, CPU)
    for batch in [*every.train(0), *every.test()]:
        assert batch.ignored_BC is None
    for (images_BCHW, targets_BC, *_), batch in zip(every.train(0), loader.train(0), strict=True):
        assert torch.equal(images_BCHW, batch.images_BCHW)
        assert torch.equal(targets_BC, batch.targets_BC)


def test_too_few_images_for_a_batch_is_a_users_error():
    with pytest.raises(UserError, match="batch_size 4 exceeds the 3 training images"):
        Loader(cached_split(3), RECIPE, 0, CPU).steps_per_epoch()


def test_an_epoch_goes_on_where_it_stopped():
    loader = Loader(cached_split(23), RECIPE, 0, CPU)
    whole = list(loader.train(2))
    assert len(whole) == 5
    for first in range(5):
        rest = list(Loader(cached_split(23), RECIPE, 0, CPU).train(2, first))
        assert len(rest) == 5 - first
        for a, b in zip(whole[first:], rest, strict=True):
            assert torch.equal(a.images_BCHW, b.images_BCHW)
            assert torch.equal(a.targets_BC, b.targets_BC)


def test_every_test_image_comes_once_in_order_as_it_is():
    split = cached_split(19)
    batches = list(Loader(split, RECIPE, 0, CPU).test())
    targets = torch.cat([b.targets_BC for b in batches])
    np.testing.assert_array_equal(targets.numpy(), split.targets_NC)
    images = torch.cat([b.images_BCHW for b in batches])
    scale = torch.tensor(IMAGENET_STD).view(3, 1, 1)
    shift = torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
    pixels = ((images * scale + shift) * 255).permute(0, 2, 3, 1).round().numpy()
    np.testing.assert_array_equal(pixels, split.images_NSSC)


# Batches on the device "meta" go the way of a GPU (see waiting.py).


@pytest.mark.parametrize("resident", [True, False])
def test_a_batch_on_a_gpu_takes_one_copy_and_waits_for_nothing(resident, accelerator):
    split = cached_split(11)
    split = replace(split, ignored_NC=split.targets_NC == 0)
    loader = Loader(split, RECIPE, 3, META)
    if resident:
        loader.resident_NSS3 = torch.empty(split.images_NSSC.shape, dtype=torch.uint8, device=META)
    with NoWaiting() as watch:
        batches = list(loader.train(0))
    facts, images = (4, 4), (4, 8, 8, 3)  # a batch of 4: indices, flips, rows, columns
    assert watch.copied == [facts, facts] if resident else [facts, images] * 2
    assert [batch.images_BCHW.shape for batch in batches] == [(4, 3, 8, 8)] * 2
    for batch in batches:
        assert {batch.images_BCHW.device, batch.targets_BC.device} == {META}
        assert batch.ignored_BC.device == META
        assert batch.host_targets_BC.device == CPU


def test_the_way_of_a_gpu_gives_the_batches_of_a_cpu(monkeypatch, accelerator):
    """With its tensors on the CPU after all, and with the split resident or read ahead."""
    expected = list(Loader(cached_split(23), RECIPE, 5, CPU).train(2, 1))
    for resident in (True, False):
        loader = Loader(cached_split(23), RECIPE, 5, CPU)
        loader.device = NotCalledCpu()
        if resident:
            loader.resident_NSS3 = torch.from_numpy(cached_split(23).images_NSSC)
        monkeypatch.setattr(Loader, "_to_device", lambda self, tensor: tensor)
        found = list(loader.train(2, 1))
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.equal(ours.images_BCHW, theirs.images_BCHW)
            assert torch.equal(ours.targets_BC, theirs.targets_BC)


class NotCalledCpu:
    type = "another"


def test_reading_ahead_keeps_the_order_and_passes_errors_on():
    def numbers():
        yield from range(5)
        raise ValueError("the sixth")

    seen = []
    with pytest.raises(ValueError, match="the sixth"):
        for number in one_ahead(numbers()):
            seen.append(number)
    assert seen == [0, 1, 2, 3, 4]
    assert list(one_ahead(iter([]))) == []
