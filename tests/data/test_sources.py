"""Sources of image files: labels by hand from tiny official folders, damage, and every pixel."""

import json
from pathlib import Path

import make_datasets
import numpy as np
import pytest
from conftest import ROOT
from hash_orders import printed_by_both
from make_datasets import photo, write
from PIL import Image

from mdkd import registry
from mdkd.config import Dataset, parse
from mdkd.data.cache import build, open_cache
from mdkd.data.images import read_image
from mdkd.data.sources.voc import CLASSES
from mdkd.errors import UserError
from mdkd.spec import Specification

SIZE = 8
SOURCES = ("coco", "folder", "nuswide", "voc")
PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "coco-photos"


def load(source, root, **options):
    module = registry.load("mdkd.data.sources", source)
    return module.load(parse(module.Options, options, source), root, SIZE)


def make(source, root, *args, **kwargs):
    return getattr(make_datasets, source)(root, *args, **kwargs)


def labels_of(table, split):
    """Every image's labels by name."""
    part = table.splits[split]
    return {
        name: {table.classes[c] for c in np.flatnonzero(row)}
        for name, row in zip(part.ids, part.targets_NC, strict=True)
    }


def refused(source, root, *parts, **options):
    """The message of the one-line error that loading ends with; it must hold all ``parts``."""
    with pytest.raises(UserError) as caught:
        load(source, root, **options)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message
    return message


def edit(file, change):
    """Rewrite a file with what ``change`` makes of its text."""
    text = file.read_text()
    changed = change(text)
    assert changed != text
    file.write_text(changed)


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
from mdkd.data.cache import build
base = Path(base) / os.environ["PYTHONHASHSEED"]
for source in sources:
    cache, options = base / f"cache-{source}", {}
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


COUNTS = {"coco": (3, 2), "folder": (2, 2), "nuswide": (4, 3), "voc": (4, 3)}


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


# VOC2007


def test_voc_labels_are_those_of_all_objects(tmp_path):
    table = load("voc", make("voc", tmp_path))
    assert table.classes == CLASSES
    assert labels_of(table, "train") == {
        "000005": {"chair", "person"},
        "000007": {"car"},
        "000009": {"horse", "person"},
        "000012": {"tvmonitor", "aeroplane"},
    }
    assert labels_of(table, "test") == {
        "000001": {"dog", "person"},
        "000002": {"train"},
        "000003": {"sofa", "chair"},
    }


def test_voc_difficult_objects_may_count_as_absent(tmp_path):
    root = make("voc", tmp_path)
    table = load("voc", root, difficult="negative")
    assert labels_of(table, "train") == {
        "000005": {"chair", "person"},
        "000007": set(),
        "000009": {"horse"},
        "000012": {"tvmonitor", "aeroplane"},
    }
    assert labels_of(table, "test")["000003"] == {"sofa"}
    assert table.rule != load("voc", root).rule
    refused("voc", root, "difficult", "positive", difficult="maybe")


def test_voc_difficult_objects_may_not_count(tmp_path):
    root = make("voc", tmp_path)
    table, without = load("voc", root, difficult="ignore"), load("voc", root, difficult="negative")
    with_all = load("voc", root, difficult="positive")
    ignored = {
        (name, CLASSES[c])
        for split in table.splits.values()
        for name, row in zip(split.ids, split.ignored_NC, strict=True)
        for c in np.flatnonzero(row)
    }
    # not the second chair of 000005, which has a clear one as well
    assert ignored == {("000007", "car"), ("000009", "person"), ("000003", "chair")}
    for name, split in table.splits.items():
        assert split.ignored_NC.dtype == bool
        assert split.targets_NC.dtype == np.uint8
        np.testing.assert_array_equal(split.targets_NC, without.splits[name].targets_NC)
        np.testing.assert_array_equal(
            split.targets_NC | split.ignored_NC, with_all.splits[name].targets_NC
        )
        assert with_all.splits[name].ignored_NC is without.splits[name].ignored_NC is None


def test_voc_places_that_do_not_count_are_cached(tmp_path):
    images = make_datasets.VOC | {"test": {"000002": [("train", 0)], "000004": [("car", 0)]}}
    root = make("voc", tmp_path / "data", images)
    dataset = Dataset(name="voc", source="voc", image_size=SIZE, options={"difficult": "ignore"})
    build(dataset, root, tmp_path / "cache")
    cache = open_cache(tmp_path / "cache")
    places = np.argwhere(cache.splits["train"].ignored_NC).tolist()
    assert places == [[1, CLASSES.index("car")], [2, CLASSES.index("person")]]
    assert cache.splits["test"].ignored_NC is None
    assert cache.meta["splits"]["train"]["ignored_per_label"][CLASSES.index("person")] == 1
    assert [file.name for file in (tmp_path / "cache").glob("ignored_*")] == ["ignored_train.npy"]


@pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/VOC2007"])
def test_voc_is_found_from_each_of_its_folders(tmp_path, below):
    root = make("voc", tmp_path)
    assert labels_of(load("voc", root / below), "test")["000002"] == {"train"}


def test_voc_names_the_places_it_looked_at(tmp_path):
    places = ("VOCdevkit/VOC2007/ImageSets/Main", "VOC2007/ImageSets/Main", " ImageSets/Main")
    refused("voc", tmp_path, *places)


@pytest.mark.parametrize(
    ("label", "image", "old", "new", "found"),
    [
        ("chair", "000005", " 1", "-1", "an object (1)"),
        ("chair", "000005", " 1", " 0", "an object (1)"),
        ("car", "000007", " 0", " 1", "only difficult objects (0)"),
        ("car", "000007", " 0", "-1", "only difficult objects (0)"),
        ("bus", "000012", "-1", " 1", "no object (-1)"),
        ("bus", "000012", "-1", " 0", "no object (-1)"),
        ("bus", "000012", "-1", "", "no object (-1)"),
    ],
)
def test_voc_lists_must_not_contradict_the_annotations(tmp_path, label, image, old, new, found):
    root = make("voc", tmp_path)
    file = root / "VOCdevkit/VOC2007/ImageSets/Main" / f"{label}_trainval.txt"
    edit(file, lambda text: text.replace(f"{image} {old}", f"{image} {new}"))
    refused("voc", root, file, f"image {image}: {new.strip() or 'nothing'}", found)
    file.unlink()  # the lists are optional
    load("voc", root)


def test_voc_lists_must_have_the_images_of_their_split(tmp_path):
    root = make("voc", tmp_path)
    file = root / "VOCdevkit/VOC2007/ImageSets/Main/bus_test.txt"
    edit(file, lambda text: text.splitlines()[0])
    refused("voc", root, file, "lists other images than", "test.txt")


def xml(change):
    return "Annotations/000009.xml", change


VOC_DAMAGES = {
    "XML cut": (*xml(lambda t: t[:-20]), "000009.xml: not valid XML"),
    "XML gone": (*xml(None), "000009.xml: cannot be read"),
    "unknown class": (*xml(lambda t: t.replace("horse", "hose")), "'hose'; did you mean 'horse'?"),
    "unknown mark": (*xml(lambda t: t.replace("<difficult>1", "<difficult>2")), "found '2'"),
    "image twice": (
        "ImageSets/Main/trainval.txt",
        lambda t: t + "000007\n",
        "000007 appears twice",
    ),
    "list gone": ("ImageSets/Main/trainval.txt", None, "trainval.txt: cannot be read"),
}


@pytest.mark.parametrize("damage", VOC_DAMAGES)
def test_voc_damage_is_one_line(tmp_path, damage):
    name, change, message = VOC_DAMAGES[damage]
    file = make("voc", tmp_path) / "VOCdevkit/VOC2007" / name
    file.unlink() if change is None else edit(file, change)
    refused("voc", tmp_path, file, message)


def test_voc_objects_without_a_mark_are_not_difficult(tmp_path):
    root = make("voc", tmp_path)
    edit(
        root / "VOCdevkit/VOC2007/Annotations/000002.xml",
        lambda text: text.replace("<difficult>0</difficult>", ""),
    )
    assert labels_of(load("voc", root, difficult="negative"), "test")["000002"] == {"train"}


# MS-COCO


def test_coco_drops_unannotated_images_counts_crowds_and_sorts(tmp_path):
    table = load("coco", make("coco", tmp_path))
    assert table.classes == ("car", "dog", "person", "toothbrush")
    assert table.splits["train"].ids == ["4", "9", "30"]
    assert labels_of(table, "train") == {
        "4": {"person"},
        "9": {"dog", "person"},
        "30": {"car", "toothbrush"},
    }
    assert labels_of(table, "test") == {"42": {"person", "dog"}, "71": {"car"}}
    assert table.rule["category_ids"] == {"toothbrush": 90, "person": 1, "dog": 18, "car": 3}


def test_coco_may_have_other_names(tmp_path):
    splits = {"a": make_datasets.COCO["train2014"], "b": make_datasets.COCO["val2014"]}
    root = make("coco", tmp_path, splits)
    (root / "a").rename(root / "images-a")
    (root / "b").rename(root / "images-b")
    table = load("coco", root, train="a", test="b", images="images-{split}", labels=4)
    assert len(table.splits["train"].ids) == 3
    options = {"train": "a", "test": "b"}
    refused("coco", root, "4 labels, expected 5", labels=5, **options)
    refused("coco", root, "instances_{spilt}.json", annotations="instances_{spilt}.json", **options)


def content(change):
    def edited(text):
        loaded = json.loads(text)
        change(loaded)
        return json.dumps(loaded)

    return edited


COCO_DAMAGES = {
    "not JSON": (lambda t: t[:-5], "not valid JSON"),
    "a list": (lambda t: "[]", "no 'images'"),
    "no categories": (content(lambda c: c.pop("categories")), "no 'categories'"),
    "no identifier": (content(lambda c: c["images"][1].pop("id")), "images[1]: expected the keys"),
    "no object": (content(lambda c: c["annotations"].append(7)), "annotations[6]: expected"),
    "unknown category": (
        content(lambda c: c["annotations"][0].update(category_id=77)),
        "unknown category 77",
    ),
    "unknown image": (content(lambda c: c["images"].pop(0)), "image 9, which is not listed"),
    "image twice": (
        content(lambda c: c["images"].append(c["images"][0])),
        "images: id 9 appears twice",
    ),
    "name twice": (
        content(lambda c: c["categories"].append({"id": 5, "name": "dog"})),
        "categories: name 'dog' appears twice",
    ),
    "other categories": (
        content(lambda c: c["categories"].append({"id": 5, "name": "cat"})),
        "categories differ",
    ),
}


@pytest.mark.parametrize("damage", COCO_DAMAGES)
def test_coco_damage_is_one_line(tmp_path, damage):
    change, message = COCO_DAMAGES[damage]
    file = make("coco", tmp_path) / "annotations" / "instances_train2014.json"
    edit(file, change)
    refused("coco", tmp_path, file, message)


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"no photographs at {PHOTOS}")
def test_real_photographs_are_read():
    table = load("coco", PHOTOS, train_images=245, test_images=105, labels=80)
    for name, mean, seen in (("train", 3.1, 78), ("test", 3.0, 69)):
        targets_NC = table.splits[name].targets_NC
        assert targets_NC.sum(axis=1).min() >= 1
        assert targets_NC.sum(axis=1).mean() == pytest.approx(mean, abs=0.06)
        assert targets_NC.any(axis=0).sum() == seen
        for i in range(0, len(targets_NC), 20):
            assert table.splits[name].image(i).std() > 5
    assert table.classes.index("person") == 49  # the papers' order


# NUS-WIDE


def test_nuswide_keeps_every_image(tmp_path):
    table = load("nuswide", make("nuswide", tmp_path), labels=3)
    assert table.classes == ("animal", "sky", "person")  # the order of the list
    assert table.splits["test"].ids == ["zoo/0002_99.jpg", "sky/0009_12.jpg", "actor/0001_7.jpg"]
    assert labels_of(table, "train") == {
        "actor/0001_2124494179.jpg": {"animal", "person"},
        "zoo/0002_174174086.jpg": set(),
        "sky/0003_2330066085.jpg": {"sky"},
        "actor/0004_2124494180.jpg": {"person"},
    }
    assert table.rule["missing"] == {
        "train": {"images": 0, "first": []},
        "test": {"images": 0, "first": []},
    }
    refused("nuswide", tmp_path, "Concepts81.txt: 3 concepts, expected 81", labels=81)


def test_nuswide_is_found_without_the_upper_folders(tmp_path):
    root = make("nuswide", tmp_path, groundtruth="", concepts="")
    assert len(load("nuswide", root).splits["train"].ids) == 4


def test_nuswide_may_drop_missing_images_and_tells_which(tmp_path):
    root = make("nuswide", tmp_path)
    (root / "Flickr" / "zoo" / "0002_174174086.jpg").unlink()
    (root / "Flickr" / "sky" / "0003_2330066085.jpg").unlink()
    refused("nuswide", root, "0002_174174086.jpg: no such image (2 of 4", "set missing: drop")
    table = load("nuswide", root, missing="drop", train_images=4, test_images=3)
    assert labels_of(table, "train") == {
        "actor/0001_2124494179.jpg": {"animal", "person"},
        "actor/0004_2124494180.jpg": {"person"},
    }
    assert table.rule["missing"] == {
        "train": {"images": 2, "first": ["zoo/0002_174174086.jpg", "sky/0003_2330066085.jpg"]},
        "test": {"images": 0, "first": []},
    }
    pixels = read_image(root / "Flickr" / "actor" / "0004_2124494180.jpg", SIZE)
    np.testing.assert_array_equal(table.splits["train"].image(1), pixels)


def test_nuswide_names_at_most_twenty_missing_images(tmp_path):
    images = {f"sky\\{i:04d}.jpg": "sky" for i in range(30)}
    root = make("nuswide", tmp_path, {"Train": images, "Test": images})
    for i in range(25):
        (root / "Flickr" / "sky" / f"{i:04d}.jpg").unlink()
    missing = load("nuswide", root, missing="drop").rule["missing"]["train"]
    assert missing["images"] == 25
    assert missing["first"] == [f"sky/{i:04d}.jpg" for i in range(20)]


def test_nuswide_without_its_images_is_refused_even_if_they_may_be_missing(tmp_path):
    root = make("nuswide", tmp_path)
    (root / "Flickr").rename(root / "photos")
    refused("nuswide", root, root / "Flickr", "no such folder of images", missing="drop")
    assert load("nuswide", root, images="photos", missing="drop").rule["missing"]["train"] == {
        "images": 0,
        "first": [],
    }


NUS_DAMAGES = {
    "shorter labels": ("Labels_sky_Train.txt", lambda t: t[:-3], "3 labels for the 4 images of"),
    "longer labels": ("Labels_sky_Train.txt", lambda t: t + "0 \n", "5 labels for the 4 images"),
    "other labels": ("Labels_sky_Test.txt", lambda t: t.replace("1", "-1"), "found '-1'"),
    "no labels": ("Labels_sky_Test.txt", None, "cannot be read"),
    "nothing": ("Labels_sky_Test.txt", lambda t: " \n", "is empty"),
    "no text": ("Labels_sky_Test.txt", b"\xff\xfe0\x001", "not UTF-8"),
}


@pytest.mark.parametrize("damage", NUS_DAMAGES)
def test_nuswide_damage_is_one_line(tmp_path, damage):
    name, change, message = NUS_DAMAGES[damage]
    file = make("nuswide", tmp_path) / "Groundtruth" / "TrainTestLabels" / name
    if isinstance(change, bytes):
        file.write_bytes(change)
    else:
        file.unlink() if change is None else edit(file, change)
    found = refused("nuswide", tmp_path, file, message)
    assert ("TrainImagelist.txt" in found) == ("images" in message)


# Any folder


def test_folder_reads_a_table(tmp_path):
    table = load("folder", make("folder", tmp_path))
    assert table.classes == ("cat", "dog", "person")
    assert labels_of(table, "train") == {"b.jpg": {"dog", "person"}, "deep/a.jpg": {"cat"}}
    assert labels_of(table, "test") == {"with, comma.jpg": {"person"}, "none.jpg": set()}


def test_folder_takes_what_spreadsheets_write(tmp_path):
    header = "\ufeffsplit,id, labels ,file\r\n"
    text = header + "Training,7,person;;person; ,b.jpg\r\n\r\n dev ,8,cat, none.jpg "
    root = make("folder", tmp_path, text)
    table = load("folder", root, train="Training", test="dev", classes=["person", "dog", "cat"])
    assert table.classes == ("person", "dog", "cat")
    assert table.splits["train"].targets_NC.tolist() == [[1, 0, 0]]
    assert table.splits["test"].targets_NC.tolist() == [[0, 0, 1]]
    assert table.splits["test"].ids == ["none.jpg"]
    (root / "labels.csv").rename(root / "table.csv")
    refused("folder", root, root / "labels.csv", "cannot be read", "csv")
    load("folder", root, csv="table.csv", train="Training", test="dev")


HEADER = "file,split,labels\n"
FOLDER_DAMAGES = {
    "missing column": ("file,labels\nb.jpg,cat\n", {}, ":1: no column 'split'"),
    "empty": ("", {}, ":1: no column 'file'"),
    "unknown split": (HEADER + "b.jpg,trian,cat\n", {}, ":2: unknown split 'trian'", "'train'?"),
    "unknown label": (
        HEADER + "b.jpg,train,cat\nnone.jpg,test,dgo\n",
        {"classes": ["cat", "dog"]},
        ":3: unknown label 'dgo'",
        "'dog'?",
    ),
    "file twice": (
        HEADER + "b.jpg,train,cat\nnone.jpg,test,\nb.jpg,test,cat\n",
        {},
        ":4: 'b.jpg' also appears in line 2",
    ),
    "missing image": (
        HEADER + "b.jpg,train,cat\nc.jpg,test,\nd.jpg,test,\n",
        {},
        ":3: ",
        "c.jpg: no such image (2 of 3 are missing)",
    ),
    "no file": (HEADER + ",train,cat\n", {}, ":2: column 'file' is empty"),
    "no split": (HEADER + "b.jpg,,cat\n", {}, ":2: unknown split ''", "test, train"),
    "too few cells": (HEADER + "\nb.jpg,train\n", {}, ":3: 2 cells, but the header has 3"),
    "labels by commas": (HEADER + "b.jpg,train,cat,dog\n", {}, ":2: 4 cells", "semicolons"),
    "open quote": (HEADER + 'b.jpg,train,\nnone.jpg,test,"cat\n\n', {}, ":3: not valid CSV"),
    "no label at all": (HEADER + "b.jpg,train,\n", {}, "at least one label"),
    "class twice": (HEADER + "b.jpg,train,cat\n", {"classes": ["cat", "cat"]}, "no label twice"),
    "one split": (HEADER + "b.jpg,train,cat\n", {"test": "train"}, "both 'train'"),
}


@pytest.mark.parametrize("damage", FOLDER_DAMAGES)
def test_folder_damage_is_one_line_that_names_the_line(tmp_path, damage):
    text, options, *parts = FOLDER_DAMAGES[damage]
    root = make("folder", tmp_path, text)
    refused("folder", root, f"{root / 'labels.csv'}{':' if parts[0][0] == ':' else ''}", **options)
    refused("folder", root, *parts, **options)


def test_folder_must_be_utf8(tmp_path):
    root = make("folder", tmp_path)
    (root / "labels.csv").write_bytes(HEADER.encode() + b"b.jpg,train,caf\xe9\n")
    refused("folder", root, "labels.csv: not UTF-8")


# Decoding


def saved(tmp_path, image, name, **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def colours(size=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3)).astype(np.uint8)


@pytest.mark.parametrize("progressive", [False, True])
def test_plain_jpegs_are_decoded_and_resized_by_pillow_alone(tmp_path, progressive):
    smooth = Image.fromarray(colours(4)).resize((50, 37), Image.Resampling.BICUBIC)
    file = saved(tmp_path, smooth, "a.jpg", progressive=progressive)
    with Image.open(file) as image:
        assert ("progressive" in image.info) == progressive
        expected = np.asarray(image.resize((12, 12), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(read_image(file, 12), expected)


def test_shrinking_averages_and_stretches(tmp_path):
    stripes = np.zeros((40, 60, 3), np.uint8)
    stripes[:, ::2] = 255
    stripes[20:] //= 2
    pixels = read_image(saved(tmp_path, Image.fromarray(stripes), "a.png"), 10)
    assert pixels[:4].mean() == pytest.approx(127.5, abs=2)
    assert pixels[6:].mean() == pytest.approx(63.5, abs=2)


def test_pixels_of_the_wanted_size_stay_as_they_are(tmp_path):
    image = Image.fromarray(colours())
    for name in ("a.png", "a.bmp", "a.tif"):
        np.testing.assert_array_equal(read_image(saved(tmp_path, image, name), 16), colours())


def test_greyscale_and_bilevel_fill_all_channels(tmp_path):
    grey = colours()[:, :, 0]
    file = saved(tmp_path, Image.fromarray(grey), "a.png")
    np.testing.assert_array_equal(read_image(file, 16), np.repeat(grey[:, :, None], 3, axis=2))
    file = saved(tmp_path, Image.fromarray(grey > 127), "b.png")
    pixels = read_image(file, 16)
    np.testing.assert_array_equal(pixels[:, :, 1], np.where(grey > 127, 255, 0))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.ppm", "big-endian.tif"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, name):
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    ramp[0, 1] += 128  # rounds down, one more would round up
    ramp[0, 2] += 129
    stored = ramp.astype(">u2") if "big" in name else ramp
    pixels = read_image(saved(tmp_path, Image.fromarray(stored), name), 16)
    expected = np.arange(256).reshape(16, 16)
    expected[0, 2] += 1
    for channel in range(3):
        np.testing.assert_array_equal(pixels[:, :, channel], expected)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_without_a_range_are_refused(tmp_path, dtype):
    file = saved(tmp_path, Image.fromarray(np.ones((4, 4), dtype)), "a.tif")
    with pytest.raises(UserError, match=r"a\.tif: cannot be decoded \(32-bit pixels"):
        read_image(file, 4)


def test_palettes_give_their_colours(tmp_path):
    image = Image.fromarray(colours()).quantize(16)
    pixels = read_image(saved(tmp_path, image, "a.png"), 16)
    np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))


def test_what_is_transparent_shows_white(tmp_path):
    palette = Image.fromarray(colours()).quantize(16)
    pixels = read_image(saved(tmp_path, palette, "p.png", transparency=3), 16)
    clear = np.asarray(palette) == 3
    assert clear.any()
    assert (pixels[clear] == 255).all()
    np.testing.assert_array_equal(pixels[~clear], np.asarray(palette.convert("RGB"))[~clear])

    alpha = np.repeat(np.array([0, 51, 255, 255], np.uint8)[None], 4, axis=0)
    red = np.zeros((4, 4, 3), np.uint8)
    red[:, :, 0] = 100
    rgba = Image.fromarray(np.dstack([red, alpha]))
    pixels = read_image(saved(tmp_path, rgba, "rgba.png"), 4)
    assert pixels[0].tolist() == [[255, 255, 255], [224, 204, 204], [100, 0, 0], [100, 0, 0]]

    grey = Image.fromarray(np.full((4, 4), 100, np.uint8))
    grey.putalpha(Image.fromarray(alpha))
    assert read_image(saved(tmp_path, grey, "la.png"), 4)[0, :, 0].tolist() == [255, 224, 100, 100]

    rgb = Image.fromarray(red)
    rgb.putpixel((1, 0), (0, 0, 255))
    pixels = read_image(saved(tmp_path, rgb, "key.png", transparency=(0, 0, 255)), 4)
    assert pixels[0].tolist() == [[100, 0, 0], [255, 255, 255], [100, 0, 0], [100, 0, 0]]


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
@pytest.mark.parametrize(
    ("inks", "colour"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 255, 255, 0), (255, 0, 0)),
        ((0, 0, 255, 128), (127, 127, 0)),
    ],
)
def test_cmyk_is_ink_on_paper(tmp_path, name, inks, colour):
    file = saved(tmp_path, Image.new("CMYK", (16, 16), inks), name)
    assert np.abs(read_image(file, 4).astype(int) - colour).max() <= 4


# Where the four corners of the upright picture (0 1 over 2 3) lie in the file.
ORIENTATIONS = {
    1: [[0, 1], [2, 3]],
    2: [[1, 0], [3, 2]],
    3: [[3, 2], [1, 0]],
    4: [[2, 3], [0, 1]],
    5: [[0, 2], [1, 3]],
    6: [[1, 3], [0, 2]],
    7: [[3, 1], [2, 0]],
    8: [[2, 0], [3, 1]],
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "sixteen.png"])
def test_pictures_are_turned_upright(tmp_path, orientation, name):
    grey = np.array(ORIENTATIONS[orientation], np.uint8) * 80
    grey = np.kron(grey, np.ones((8, 8), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = grey.astype(np.uint16) * 257 if name == "sixteen.png" else grey
    pixels = read_image(saved(tmp_path, Image.fromarray(stored), name, exif=exif), 16)
    corners = [int(pixels[y, x, 0]) for y in (2, 13) for x in (2, 13)]
    assert np.abs(np.array(corners) - [0, 80, 160, 240]).max() <= 3


def test_a_sideways_picture_is_stretched_after_it_was_turned(tmp_path):
    wide = np.zeros((16, 48), np.uint8)
    wide[:, 24:] = 255  # upright, this is the lower half
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = read_image(saved(tmp_path, Image.fromarray(wide), "a.png", exif=exif), 8)
    assert pixels[:3].max() == 0
    assert pixels[5:].min() == 255


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_senseless_orientations_are_ignored(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(tmp_path, Image.fromarray(colours()), "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(file, 16), colours())


def test_other_damaged_tags_do_no_harm(tmp_path):
    exif = Image.Exif()
    exif[0x0100] = 16  # the width
    exif[0x0112] = 3
    file = saved(tmp_path, Image.fromarray(colours()), "a.jpg", exif=exif)
    expected = read_image(file, 16)
    content = file.read_bytes()
    width_as_number, width_as_text = b"\x01\x00\x00\x04", b"\x01\x00\x00\x02"
    assert content.count(width_as_number) == 1
    file.write_bytes(content.replace(width_as_number, width_as_text))
    np.testing.assert_array_equal(read_image(file, 16), expected)


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    file = saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert (read_image(file, 8) == [255, 0, 0]).all()


@pytest.mark.parametrize("name", ["a.jpg", "progressive.jpg", "a.png", "a.gif", "a.tif", "a.webp"])
@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.9])
def test_truncated_files_are_refused_and_named(tmp_path, name, kept):
    options = {"progressive": True} if "progressive" in name else {}
    file = saved(tmp_path, Image.fromarray(colours(32)), name, **options)
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match="cannot be decoded") as caught:
        read_image(file, 8)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_images_are_refused(tmp_path):
    write(tmp_path / "a.jpg", "<html>not found</html>")
    with pytest.raises(UserError, match=r"a\.jpg: cannot be decoded \(cannot identify"):
        read_image(tmp_path / "a.jpg", 8)
    with pytest.raises(UserError, match=r"b\.jpg: no such image"):
        read_image(tmp_path / "b.jpg", 8)
    with pytest.raises(UserError, match="cannot be decoded"):
        read_image(tmp_path, 8)


def test_randomly_damaged_files_give_pixels_or_one_line(tmp_path):
    rng = np.random.default_rng(5)
    for name in ("a.png", "a.jpg", "a.gif"):
        photo(tmp_path / "photo.jpg")
        with Image.open(tmp_path / "photo.jpg") as image:
            image.save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        for _ in range(150):
            spoilt = bytearray(content)
            for place in rng.integers(0, len(content), 4):
                spoilt[place] = rng.integers(256)
            (tmp_path / name).write_bytes(bytes(spoilt))
            try:
                assert read_image(tmp_path / name, 8).shape == (8, 8, 3)
            except UserError as error:
                assert str(tmp_path / name) in str(error)
                assert "\n" not in str(error)
