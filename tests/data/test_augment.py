"""Augmentation: a function of seed, epoch and index, the same on host and device."""

import numpy as np
import pytest
import torch
from drawn_source import random_images

from mdkd import rng
from mdkd.data.augment import augment_on_device, augment_on_host, draw, order

FILL = np.array([1, 2, 3], np.uint8)


def augmented(images, indices, *, seed=0, epoch=0, flip=True, cutout=0.5):
    indices = np.asarray(indices)
    result = images[indices]
    draws = draw(indices, images.shape[1], seed, epoch, flip=flip, cutout=cutout)
    augment_on_host(result, draws, FILL)
    return result


def augment_one_pixel_at_a_time(image, index, seed, epoch, flip, cutout):
    size = len(image)
    mirrored = flip and float(rng.uniform(seed, "flip", epoch, index)) < 0.5
    side = round(cutout * size)
    top = int(rng.integers(size, seed, "cutout-y", epoch, index)) - side // 2
    left = int(rng.integers(size, seed, "cutout-x", epoch, index)) - side // 2
    result = np.empty_like(image)
    for y in range(size):
        for x in range(size):
            inside = top <= y < top + side and left <= x < left + side
            result[y, x] = FILL if inside else image[y, size - 1 - x if mirrored else x]
    return result


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("cutout", [0.0, 0.25, 0.4, 0.5, 0.99])
def test_augmentation_is_what_it_says(flip, cutout):
    images = random_images(12, size=11)
    result = augmented(images, np.arange(12), seed=4, epoch=9, flip=flip, cutout=cutout)
    for index in range(12):
        expected = augment_one_pixel_at_a_time(images[index], index, 4, 9, flip, cutout)
        np.testing.assert_array_equal(result[index], expected)


def test_pixels_depend_on_seed_epoch_and_index_alone():
    images = random_images(20)
    together = augmented(images, np.arange(20))
    shuffled = [7, 3, 19, 0, 11]
    np.testing.assert_array_equal(augmented(images, shuffled), together[shuffled])
    for index in (0, 13):
        np.testing.assert_array_equal(augmented(images, [index])[0], together[index])
    assert not np.array_equal(augmented(images, np.arange(20), epoch=1), together)
    assert not np.array_equal(augmented(images, np.arange(20), seed=1), together)


def test_half_of_the_images_are_flipped_anew_in_every_epoch():
    images = random_images(400, size=4)
    flipped = [
        (augmented(images, np.arange(400), epoch=epoch, cutout=0) != images).any(axis=(1, 2, 3))
        for epoch in range(2)
    ]
    for flipped_N in flipped:
        assert 150 < flipped_N.sum() < 250
    assert 150 < (flipped[0] != flipped[1]).sum() < 250


def test_squares_are_centred_anywhere_and_clipped():
    images = np.zeros((600, 8, 8, 3), np.uint8)
    masked = augmented(images, np.arange(600), flip=False).any(axis=3)
    assert set(masked.sum(axis=(1, 2))) >= {2 * 2, 4 * 4}  # a corner, and a whole square
    assert masked.sum(axis=(1, 2)).max() == 16
    assert masked.any(axis=0).all()


@pytest.mark.parametrize(("flip", "cutout"), [(True, 0.5), (False, 0.3), (True, 0.0)])
def test_augmentation_on_a_device_gives_the_same_bytes(flip, cutout):
    images = random_images(40)
    before = images.copy()
    draws = draw(np.arange(40), images.shape[1], 3, 2, flip=flip, cutout=cutout)
    places_3B, fill_3 = torch.from_numpy(draws.places), torch.from_numpy(FILL)
    result = augment_on_device(torch.from_numpy(images), places_3B, draws.side, fill_3)
    expected = augmented(images, np.arange(40), seed=3, epoch=2, flip=flip, cutout=cutout)
    np.testing.assert_array_equal(result.numpy(), expected)
    np.testing.assert_array_equal(images, before)


def test_orders_are_permutations_that_differ_between_epochs_and_seeds():
    orders = [order(50, seed, epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
    for found in orders:
        assert sorted(found) == list(range(50))
    assert len({tuple(o) for o in orders}) == 4
