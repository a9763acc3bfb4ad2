"""Splits of a cache: validation images, and places that do not count."""

import numpy as np
import pytest
from drawn_cache import content, swapped
from drawn_source import table

from mdkd.config import Dataset, parse
from mdkd.data.build import carve
from mdkd.data.cache import open_cache, verify
from mdkd.data.sources import Split
from mdkd.errors import UserError

pytestmark = pytest.mark.usefixtures("no_power_cut")


# Validation splits


def train_split(ids):
    targets_NC = np.arange(len(ids), dtype=np.uint8)[:, None]
    return {"train": Split(ids, targets_NC, lambda i: ids[i]), "test": Split([], targets_NC, str)}


IDS = [f"images/{i:06d}.jpg" for i in range(4000)]


def test_a_validation_split_is_a_part_of_the_training_images():
    parts = carve(train_split(IDS), 0.1)
    assert list(parts) == ["train", "val", "test"]
    assert 340 < len(parts["val"].ids) < 460  # 3 standard deviations
    for part in (parts["train"], parts["val"]):
        assert part.ids == sorted(part.ids)
        assert [part.image(i) for i in range(len(part.ids))] == part.ids
        assert part.targets_NC[:, 0].tolist() == [IDS.index(name) % 256 for name in part.ids]
    assert sorted(parts["train"].ids + parts["val"].ids) == IDS


def test_a_validation_split_depends_on_each_name_alone():
    val = set(carve(train_split(IDS), 0.2)["val"].ids)
    shuffled = [IDS[i] for i in np.random.default_rng(0).permutation(len(IDS))]
    assert set(carve(train_split(shuffled), 0.2)["val"].ids) == val
    fewer = carve(train_split(IDS[100:]), 0.2)["val"].ids
    assert set(fewer) == val - set(IDS[:100])
    renamed = carve(train_split(["other", *IDS[1:]]), 0.2)["val"].ids
    assert set(renamed) - {"other"} == val - {IDS[0]}
    assert set(carve(train_split(IDS), 0.1)["val"].ids) < val
    half = carve(train_split(IDS[:10]), 0.5)["val"].ids
    assert half == [IDS[i] for i in (3, 4, 5, 6, 8, 9)]  # must never change


def test_no_fraction_no_split(make_cache, decode_log):
    splits = train_split(IDS)
    assert carve(splits, 0) is splits
    assert set(make_cache(table(decode_log, 20)).splits) == {"train", "test"}
    for fraction in (-0.1, 0.51):
        content = {"name": "drawn", "source": "drawn", "image_size": 8, "val": fraction}
        with pytest.raises(UserError, match=r"val: .* is not in 0 \.\. 0\.5"):
            parse(Dataset, content, "here")


def test_a_cache_with_a_validation_split(make_cache, decode_log, tmp_path, many_processes):
    drawn = table(decode_log, 200, damaged=(11, 12, 13, 14, 15, 16))
    cache = make_cache(drawn, val=0.3, damaged="drop", jobs=2)
    train, val = cache.splits["train"], cache.splits["val"]
    assert len(train.ids) + len(val.ids) == 194
    assert 30 < len(val.ids) < 90
    assert cache.meta["dropped"]["train"]["damaged"] + cache.meta["dropped"]["val"]["damaged"] == 6
    whole = drawn.splits["train"]
    for split in (train, val):
        for row, name in enumerate(split.ids):
            i = whole.ids.index(name)
            np.testing.assert_array_equal(split.images_NSSC[row], whole.image(i))
            np.testing.assert_array_equal(split.targets_NC[row], whole.targets_NC[i])
    assert len(list((tmp_path / "cache").glob("*_val.*"))) == 3
    assert make_cache(table(decode_log, 200)).fingerprint != cache.fingerprint
    assert not list((tmp_path / "cache").glob("*_val.*"))


def test_too_small_a_validation_split_is_refused(make_cache, decode_log):
    with pytest.raises(UserError, match="split 'val' has no image; raise val"):
        make_cache(table(decode_log, 5), val=0.001)


# Places that do not count


def ignored_in(cache):
    """Every place that does not count, by the name of its image."""
    return {
        (name, int(c))
        for split in cache.splits.values()
        if split.ignored_NC is not None
        for name, row in zip(split.ids, split.ignored_NC, strict=True)
        for c in np.flatnonzero(row)
    }


def test_places_that_do_not_count_stay_with_their_images(
    make_cache, decode_log, tmp_path, many_processes
):
    drawn = table(decode_log, 200, damaged=(3, 7, 12, 39), ignored=0.3)
    cache = make_cache(drawn, val=0.3, damaged="drop", jobs=2)
    kept = {name for split in cache.splits.values() for name in split.ids}
    expected = {
        (split.ids[i], int(c))
        for split in drawn.splits.values()
        for i, c in np.argwhere(split.ignored_NC)
        if split.ids[i] in kept
    }
    assert ignored_in(cache) == expected
    assert len(expected) > 60
    for name, split in cache.splits.items():
        assert split.ignored_NC.dtype == bool
        assert split.ignored_NC.shape == split.targets_NC.shape
        assert not (split.targets_NC.astype(bool) & split.ignored_NC).any()
        counts = cache.meta["splits"][name]["ignored_per_label"]
        assert counts == split.ignored_NC.sum(axis=0).tolist()
    verify(tmp_path / "cache")


def test_every_place_that_does_not_count_changes_the_fingerprint(make_cache, decode_log):
    drawn = swapped(table(decode_log, 30), targets_NC=np.zeros((30, 3), np.uint8))
    one_NC, two_NC = np.zeros((2, 30, 3), bool)
    one_NC[4, 1] = two_NC[4, 1] = two_NC[5, 1] = True
    other_NC = np.roll(one_NC, 1, axis=0)  # every count stays
    fingerprints = {
        make_cache(swapped(drawn, ignored_NC=mask_NC), str(name)).fingerprint
        for name, mask_NC in enumerate((None, one_NC, two_NC, other_NC))
    }
    assert len(fingerprints) == 4


def test_where_every_place_counts_a_cache_is_as_it_always_was(make_cache, decode_log, tmp_path):
    mask_NC = np.zeros((30, 3), bool)
    make_cache(table(decode_log, 30), "none")
    make_cache(swapped(table(decode_log, 30), ignored_NC=mask_NC), "no place")
    make_cache(table(decode_log, 30, ignored=0.5), "rebuilt")
    assert (tmp_path / "rebuilt" / "ignored_train.npy").exists()
    make_cache(table(decode_log, 30), "rebuilt")
    assert content(tmp_path / "none") == content(tmp_path / "no place")
    assert content(tmp_path / "none") == content(tmp_path / "rebuilt")
    # runs are tied to this number: caches from before places could be ignored stay valid
    assert open_cache(tmp_path / "none").fingerprint == (
        "ca2652b0927ef43e111c8c6d1152f27b972b7881309b505e5a74fab1d0c0c968"
    )


def test_a_source_must_not_ignore_what_it_calls_positive(make_cache, decode_log):
    drawn = table(decode_log, 30)
    with pytest.raises(ValueError, match=r"ignored_train\.npy: .* ignored and positive"):
        make_cache(swapped(drawn, ignored_NC=drawn.splits["train"].targets_NC == 1))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.unlink(),
        lambda file: np.save(file, 1 - np.load(file)),
        lambda file: np.save(file, np.load(file)[:-1]),
        lambda file: np.save(file, np.load(file).astype(bool)),
    ],
)
def test_other_places_than_the_cached_ones_are_refused(make_cache, decode_log, tmp_path, spoil):
    make_cache(table(decode_log, 30, ignored=0.3))
    spoil(tmp_path / "cache" / "ignored_train.npy")
    with pytest.raises(UserError, match=r"cache/ignored_train\.npy: .*delete") as caught:
        open_cache(tmp_path / "cache")
    assert "\n" not in str(caught.value)
