"""What all sources of image files have in common."""

import json

import numpy as np
import pytest
from conftest import ROOT
from hash_orders import printed_by_both
from source_cases import SIZE, load, make, refused

from mdkd import registry
from mdkd.config import Dataset
from mdkd.data.build import build
from mdkd.data.cache import open_cache
from mdkd.data.sources.voc import CLASSES
from mdkd.errors import UserError
from mdkd.spec import Specification

SOURCES = ("coco", "folder", "imagefolder", "nuswide", "voc")


# All sources


def test_every_source_is_found_and_shared_code_is_none():
    names = registry.names("mdkd.data.sources")
    assert set(names) >= {*SOURCES, "scenes"}
    for name in names:
        module = registry.load("mdkd.data.sources", name)
        assert callable(module.Options) and callable(module.load), name


@pytest.mark.parametrize("source", SOURCES)
def test_a_cache_holds_every_image_and_does_not_depend_on_the_place(source, tmp_path):
    options = {"test": "test"} if source == "folder" else {}
    dataset = Dataset(name="tiny", source=source, image_size=SIZE, options=options)
    fingerprints = set()
    for place in ("here", "there"):
        root = make(source, tmp_path / place)
        build(dataset, root, tmp_path / f"cache-{place}")
        cache = open_cache(tmp_path / f"cache-{place}")
        fingerprints.add(cache.fingerprint)
    assert len(fingerprints) == 1
    table = load(source, tmp_path / "here")
    assert cache.classes == table.classes
    assert json.loads(json.dumps(table.rule)) == cache.meta["rule"]
    for name, split in table.splits.items():
        assert cache.splits[name].ids == split.ids
        assert split.targets_NC.dtype == np.uint8
        np.testing.assert_array_equal(cache.splits[name].targets_NC, split.targets_NC)
        for i in range(len(split.ids)):
            assert split.image(i).shape == (SIZE, SIZE, 3)
            np.testing.assert_array_equal(cache.splits[name].images_NSSC[i], split.image(i))
        assert len({split.image(i).tobytes() for i in range(len(split.ids))}) == len(split.ids)


BUILD = """
import hashlib, os, sys
from pathlib import Path
tests, base, *sources = sys.argv[1:]
sys.path.insert(0, tests)
import make_datasets
from mdkd.config import Dataset
from mdkd.data.build import build
base = Path(base)  # of the files: both caches keep the same folder
for source in sources:
    cache, options = base / os.environ["PYTHONHASHSEED"] / source, {}
    if source == "folder":
        options = {"test": "test"}
    if source == "scenes":
        root, options = base, {"train": 12, "test": 4}
    else:
        root = getattr(make_datasets, source)(base / source)
    build(Dataset(name="tiny", source=source, image_size=16, options=options), root, cache)
    for file in sorted(cache.iterdir()):
        print(source, file.name, hashlib.sha256(file.read_bytes()).hexdigest())
"""


def test_caches_do_not_depend_on_hash_orders(tmp_path):
    sources = (*SOURCES, "scenes")
    first, second = printed_by_both(BUILD, ROOT / "tests", tmp_path, *sources)
    assert first == second
    for source in sources:
        assert f"{source} meta.json " in first and f"{source} images_train.npy " in first


FIRST_IMAGE = {
    "coco": "train2014/COCO_train2014_000000000009.jpg",
    "folder": "b.jpg",
    "imagefolder": "train/b.jpg",
    "nuswide": "Flickr/actor/0001_2124494179.jpg",
    "voc": "VOCdevkit/VOC2007/JPEGImages/000005.jpg",
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_missing_image_is_named_and_counted(source, tmp_path):
    root = make(source, tmp_path)
    (root / FIRST_IMAGE[source]).unlink()
    refused(source, root, root / FIRST_IMAGE[source], "no such image (1 of ", "missing")


@pytest.mark.parametrize("source", SOURCES)
def test_a_truncated_image_ends_the_cache(source, tmp_path):
    root = make(source, tmp_path / "data")
    file = root / FIRST_IMAGE[source]
    file.write_bytes(file.read_bytes()[:-120])
    dataset = Dataset(name="tiny", source=source, image_size=SIZE)
    with pytest.raises(UserError, match=r"cannot be decoded \(.*truncated") as caught:
        build(dataset, root, tmp_path / "cache")
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("source", SOURCES)
def test_an_empty_place_is_refused(source, tmp_path):
    refused(source, tmp_path, tmp_path, "set the data set's root")


COUNTS = {
    "coco": (3, 2),
    "folder": (2, 2),
    "imagefolder": (2, 2),
    "nuswide": (4, 3),
    "voc": (4, 3),
}


@pytest.mark.parametrize("source", SOURCES)
def test_counts_are_held_against_the_expected_ones(source, tmp_path):
    root = make(source, tmp_path)
    train, test = COUNTS[source]
    load(source, root, train_images=train, test_images=test)
    refused(source, root, f"{train} ", "images", "expected 99", train_images=99)
    refused(source, root, f"{test} ", "images", "expected 99", test_images=99)


def test_the_papers_data_sets_expect_the_papers_counts():
    spec = Specification(ROOT / "config")
    for name, train, test, labels in (
        ("voc2007", 5011, 4952, None),
        ("coco2014", 82081, 40137, 80),
        ("nuswide", 161789, 107859, 81),
    ):
        options = spec.resolved[name].options
        assert (options["train_images"], options["test_images"]) == (train, test)
        assert options.get("labels") == labels
    assert len(CLASSES) == 20
    assert sorted(CLASSES) == list(CLASSES)
