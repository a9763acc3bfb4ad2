"""Random numbers, augmentation, cache and batches: the same pixels for every method."""

import json
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mdkd import rng
from mdkd.config import Dataset, Recipe
from mdkd.data import cache as caches
from mdkd.data.augment import augment_on_device, augment_on_host, draw, order
from mdkd.data.cache import CachedSplit, build, open_cache
from mdkd.data.loader import IMAGENET_MEAN, IMAGENET_STD, Loader
from mdkd.data.sources import Split, Table
from mdkd.errors import UserError

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=2, batch_size=4, lr=0.1, weight_decay=0, flip=True, cutout=0.5)


def splitmix(*keys):
    """The same bits with Python's integers, one element at a time."""
    mask, state = 2**64 - 1, 0
    for key in keys:
        z = ((state ^ key) + 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        state = z ^ (z >> 31)
    return state


def test_bits_never_change():
    assert int(rng.bits(0)) == 16294208416658607535  # the first output of SplitMix64 from seed 0
    assert int(rng.bits(1, 2, 3)) == 15020427595393229491
    assert rng.bits("flip", 0, np.arange(3)).tolist() == [
        7912790573679199697,
        3862281974268089563,
        15206790190389795679,
    ]
    assert float(rng.uniform(7, "order", 1)) == 0.593276753095951
    assert rng.integers(48, 5, "cutout-y", 2, np.arange(5)).tolist() == [36, 1, 3, 8, 14]
    assert rng.permutation(10, 3, "order", 4).tolist() == [6, 9, 2, 1, 0, 8, 3, 4, 7, 5]
    assert rng.torch_seed(0, "init", "resnet8") == 6363486874275412560


def test_bits_are_those_of_exact_integer_arithmetic():
    keys = [(0, 0), (1, 2**63), (2**64 - 1, 5), (123456789, 987654321)]
    assert [int(rng.bits(*pair)) for pair in keys] == [splitmix(*pair) for pair in keys]
    assert rng.torch_seed(3, 4) == splitmix(3, 4) >> 1


def test_bits_broadcast_and_depend_on_every_key():
    table = rng.bits(np.arange(3)[:, None], "a", np.arange(4))
    assert table.shape == (3, 4)
    assert int(table[2, 3]) == int(rng.bits(2, "a", 3))
    assert len(np.unique(table)) == 12
    assert int(rng.bits(1, 2)) != int(rng.bits(2, 1))
    assert int(rng.bits("a")) != int(rng.bits("b"))


@pytest.mark.parametrize("n", [1, 2, 1000])
def test_a_permutation_holds_everything_once(n):
    assert sorted(rng.permutation(n, 5, "order", 0).tolist()) == list(range(n))


def test_draws_are_uniform():
    values = rng.uniform(0, "test", np.arange(100_000))
    assert ((values >= 0) & (values < 1)).all()
    counts = np.histogram(values, bins=20, range=(0, 1))[0]
    assert ((counts - 5000) ** 2 / 5000).sum() < 43.8  # chi-squared, 19 degrees, p = 0.001
    counts = np.bincount(rng.integers(7, 1, np.arange(70_000)), minlength=7)
    assert len(counts) == 7
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 22.5  # 6 degrees, p = 0.001
    pairs = np.corrcoef(values[:-1], values[1:])[0, 1]
    assert abs(pairs) < 0.013  # 4 standard errors


def test_every_place_of_a_permutation_is_equally_likely():
    first = [int(rng.permutation(5, seed, "order", 0)[0]) for seed in range(2000)]
    counts = np.bincount(first, minlength=5)
    assert ((counts - 400) ** 2 / 400).sum() < 18.5  # 4 degrees, p = 0.001


def images_of(n, size=12, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3)).astype(np.uint8)


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
    images = images_of(12, size=11)
    result = augmented(images, np.arange(12), seed=4, epoch=9, flip=flip, cutout=cutout)
    for index in range(12):
        expected = augment_one_pixel_at_a_time(images[index], index, 4, 9, flip, cutout)
        np.testing.assert_array_equal(result[index], expected)


def test_pixels_depend_on_seed_epoch_and_index_alone():
    images = images_of(20)
    together = augmented(images, np.arange(20))
    shuffled = [7, 3, 19, 0, 11]
    np.testing.assert_array_equal(augmented(images, shuffled), together[shuffled])
    for index in (0, 13):
        np.testing.assert_array_equal(augmented(images, [index])[0], together[index])
    assert not np.array_equal(augmented(images, np.arange(20), epoch=1), together)
    assert not np.array_equal(augmented(images, np.arange(20), seed=1), together)


def test_half_of_the_images_are_flipped_anew_in_every_epoch():
    images = images_of(400, size=4)
    flipped = [
        (augmented(images, np.arange(400), epoch=epoch, cutout=0) != images).any(axis=(1, 2, 3))
        for epoch in range(2)
    ]
    assert all(150 < f.sum() < 250 for f in flipped)
    assert 150 < (flipped[0] != flipped[1]).sum() < 250


def test_squares_are_centred_anywhere_and_clipped():
    images = np.zeros((600, 8, 8, 3), np.uint8)
    masked = augmented(images, np.arange(600), flip=False).any(axis=3)
    assert set(masked.sum(axis=(1, 2))) >= {2 * 2, 4 * 4}  # a corner, and a whole square
    assert masked.sum(axis=(1, 2)).max() == 16
    assert masked.any(axis=0).all()


@pytest.mark.parametrize(("flip", "cutout"), [(True, 0.5), (False, 0.3), (True, 0.0)])
def test_augmentation_on_a_device_gives_the_same_bytes(flip, cutout):
    images = images_of(40)
    before = images.copy()
    draws = draw(np.arange(40), images.shape[1], 3, 2, flip=flip, cutout=cutout)
    result = augment_on_device(torch.from_numpy(images), draws, FILL)
    expected = augmented(images, np.arange(40), seed=3, epoch=2, flip=flip, cutout=cutout)
    np.testing.assert_array_equal(result.numpy(), expected)
    np.testing.assert_array_equal(images, before)


def test_orders_are_permutations_that_differ_between_epochs_and_seeds():
    orders = [order(50, seed, epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(o) == list(range(50)) for o in orders)
    assert len({tuple(o) for o in orders}) == 4


SIZE, CLASSES = 6, ("cat", "dog", "a tree")
DATASET = Dataset(name="hand", source="hand", image_size=SIZE, options={"rule": "first"})


@dataclass(frozen=True)
class HandOptions:
    rule: str


def hand_made(n=5, seed=0):
    """A table of random images, every image with at least one label."""

    def split(name, count, offset):
        images = images_of(count, SIZE, seed + offset)
        targets_NC = np.random.default_rng(seed + offset).integers(0, 2, (count, 3))
        targets_NC[:, 0] |= ~targets_NC.any(axis=1)
        ids = [f"{name}{i}" for i in range(count)]
        return Split(ids, targets_NC.astype(np.uint8), lambda i: images[i])

    splits = {"train": split("a", n, 1), "test": split("b", n - 2, 2)}
    return Table(CLASSES, splits, {"drawn": "by hand"})


@pytest.fixture
def make(monkeypatch, tmp_path):
    """Build and open a cache of a hand-made table."""

    def make(table, name="cache", dataset=DATASET):
        source = SimpleNamespace(Options=HandOptions, load=lambda *args: table)
        monkeypatch.setattr(caches.registry, "load", lambda *args: source)
        build(dataset, tmp_path, tmp_path / name)
        return open_cache(tmp_path / name)

    return make


def test_a_cache_holds_the_pixels_labels_and_names_of_its_source(make, tmp_path):
    table = hand_made()
    cache = make(table)
    assert cache.classes == CLASSES
    assert list(cache.splits) == ["test", "train"] or list(cache.splits) == ["train", "test"]
    for name, split in table.splits.items():
        cached = cache.splits[name]
        assert cached.ids == split.ids
        assert cached.images_NSSC.dtype == cached.targets_NC.dtype == np.uint8
        np.testing.assert_array_equal(cached.targets_NC, split.targets_NC)
        for i in range(len(split.ids)):
            np.testing.assert_array_equal(cached.images_NSSC[i], split.image(i))
    meta = json.loads((tmp_path / "cache" / "meta.json").read_text())
    targets_NC = table.splits["train"].targets_NC
    facts = meta["splits"]["train"]
    assert facts["images"] == 5
    assert facts["images_per_label"] == [int(targets_NC[:, c].sum()) for c in range(3)]
    assert facts["labels_per_image"] == pytest.approx(targets_NC.sum() / 5)
    assert meta["rule"] == {"drawn": "by hand"}
    assert (tmp_path / "cache" / "contact_sheet.png").stat().st_size > 0


def test_the_fingerprint_changes_with_a_pixel_a_label_and_a_rule(make):
    base = make(hand_made()).fingerprint
    assert make(hand_made(), "again").fingerprint == base

    pixel = hand_made()
    image = pixel.splits["test"].image(0)
    image[0, 0, 0] ^= 1
    label = hand_made()
    label.splits["train"].targets_NC[1, 2] ^= 1
    swapped = hand_made()  # every count stays
    labels_NC = swapped.splits["train"].targets_NC
    assert labels_NC[0].tolist() != labels_NC[1].tolist()
    labels_NC[[0, 1]] = labels_NC[[1, 0]]
    others = [
        make(pixel, "pixel"),
        make(label, "label"),
        make(swapped, "swapped"),
        make(replace(hand_made(), rule={"drawn": "otherwise"}), "rule"),
        make(replace(hand_made(), classes=("cat", "dog", "tree")), "classes"),
        make(hand_made(), "options", replace(DATASET, options={"rule": "second"})),
    ]
    assert len({base, *(cache.fingerprint for cache in others)}) == 7


def test_a_rebuilt_cache_replaces_the_old_one(make):
    first = make(hand_made(n=9)).fingerprint
    second = make(hand_made(n=4))
    assert second.fingerprint != first
    assert len(second.splits["train"].images_NSSC) == 4


def truncate(file):
    file.write_bytes(file.read_bytes()[:-20])


DAMAGES = {
    "meta gone": ("meta.json", lambda f: f.unlink()),
    "meta cut": ("meta.json", truncate),
    "images gone": ("images_train.npy", lambda f: f.unlink()),
    "images cut": ("images_test.npy", truncate),
    "images empty": ("images_test.npy", lambda f: f.write_bytes(b"")),
    "images of another size": (
        "images_train.npy",
        lambda f: np.save(f, np.zeros((5, 7, 7, 3), np.uint8)),
    ),
    "images of another type": (
        "images_train.npy",
        lambda f: np.save(f, np.zeros((5, SIZE, SIZE, 3), np.float32)),
    ),
    "labels gone": ("labels_test.npy", lambda f: f.unlink()),
    "too few labels": ("labels_train.npy", lambda f: np.save(f, np.zeros((4, 3), np.uint8))),
    "ids gone": ("ids_train.json", lambda f: f.unlink()),
    "ids cut": ("ids_train.json", truncate),
    "too few ids": ("ids_train.json", lambda f: f.write_text('["a0"]')),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_one_line_that_names_the_file(make, tmp_path, damage):
    make(hand_made())
    name, spoil = DAMAGES[damage]
    spoil(tmp_path / "cache" / name)
    with pytest.raises(UserError) as caught:
        open_cache(tmp_path / "cache")
    assert str(tmp_path / "cache" / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_format_of_cache_is_refused(make, tmp_path):
    make(hand_made())
    meta = tmp_path / "cache" / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"format": 0}))
    with pytest.raises(UserError, match="format 0, expected"):
        open_cache(tmp_path / "cache")


def test_an_empty_split_is_refused(make):
    table = hand_made()
    empty = Split([], np.zeros((0, 3), np.uint8), table.splits["test"].image)
    with pytest.raises(UserError, match="split 'test'"):
        make(Table(CLASSES, table.splits | {"test": empty}, {}))


def test_an_interrupted_build_leaves_no_valid_cache(make, tmp_path):
    make(hand_made())
    table = hand_made()

    def broken(i):
        raise UserError("unreadable image")

    split = replace(table.splits["test"], image=broken)
    with pytest.raises(UserError, match="unreadable"):
        make(replace(table, splits=table.splits | {"test": split}))
    with pytest.raises(UserError, match=r"meta\.json"):
        open_cache(tmp_path / "cache")


def cached_split(n=11, size=8):
    targets_NC = np.random.default_rng(1).integers(0, 2, (n, 3)).astype(np.uint8)
    return CachedSplit([str(i) for i in range(n)], images_of(n, size), targets_NC)


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
    assert all(batch.ignored_BC is None for batch in [*every.train(0), *every.test()])
    for (images_BCHW, targets_BC, _), batch in zip(every.train(0), loader.train(0), strict=True):
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
