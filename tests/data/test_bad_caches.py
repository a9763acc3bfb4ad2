"""Caches whose files are not those of a cache: one line that names the file and the command."""

import json
import os

import make_datasets
import numpy as np
import pytest
from conftest import ROOT
from source_cases import SIZE, load, make

from mdkd import records
from mdkd.cli import main
from mdkd.config import Dataset, Recipe
from mdkd.data import digests, sources
from mdkd.data.build import build
from mdkd.data.cache import open_cache, verify
from mdkd.data.sources import coco
from mdkd.errors import UserError
from mdkd.reporting import dataset as dataset_report
from mdkd.spec import Specification

pytestmark = pytest.mark.usefixtures("no_power_cut")

DATASET = Dataset(name="tiny", source="voc", image_size=SIZE, options={"difficult": "ignore"})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A cache that has every kind of file, and a copy of its files."""
    base = tmp_path_factory.mktemp("made")
    build(DATASET, make_datasets.voc(base / "data"), base / "cache" / "smoke" / "tiny")
    return {f.name: f.read_bytes() for f in (base / "cache" / "smoke" / "tiny").iterdir()}


@pytest.fixture
def folder(made, tmp_path):
    folder = tmp_path / "cache" / "smoke" / "tiny"
    folder.mkdir(parents=True)
    for name, content in made.items():
        (folder / name).write_bytes(content)
    return folder


COMMAND = "run `mdkd cache tiny --protocol smoke`"


def refused(folder, *parts, check=open_cache):
    with pytest.raises(UserError) as caught:
        check(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder}/")
    for part in (COMMAND, *parts):
        assert part in message, message
    assert len(message.splitlines()) == 1


def put(*keys, value):
    def change(meta):
        for key in keys[:-1]:
            meta = meta[key]
        meta[keys[-1]] = value

    return change


META = {
    "no format": (lambda m: m.pop("format"), "cache format null, expected 2"),
    "format of the future": (put("format", value=3), "cache format 3, expected 2"),
    "format of the past": (put("format", value=1), "cache format 1, expected 2"),
    "format as text": (put("format", value="2"), "cache format '2', expected 2"),
    "no dataset": (lambda m: m.pop("dataset"), "key 'dataset' is missing"),
    "dataset text": (put("dataset", value="voc"), "dataset: expected keys and values"),
    "size as text": (put("dataset", "image_size", value="8"), "image_size: expected an integer"),
    "size another": (put("dataset", "image_size", value=9), "expected uint8 (3, 9, 9, 3)"),
    "classes text": (put("classes", value="cat"), "classes: expected a list"),
    "classes null": (put("classes", value=None), "classes: expected a list, found null"),
    "class null": (put("classes", 3, value=None), "classes[3]: expected text"),
    "class twice": (put("classes", 3, value="car"), "classes: label 'car' appears twice"),
    "class lost": (lambda m: m["classes"].pop(), "expected uint8 (3, 19)"),
    "splits a list": (put("splits", value=[]), "splits: expected keys and values"),
    "no test": (lambda m: m["splits"].pop("test"), "expected train and test, found train"),
    "no splits": (put("splits", value={}), "expected train and test, found none"),
    "split outside": (lambda m: m["splits"].update({"../x": m["splits"]["test"]}), "found"),
    "images as text": (put("splits", "train", "images", value="4"), "images: expected an integer"),
    "images none": (put("splits", "train", "images", value=0), "images: 0 is below 1"),
    "images negative": (put("splits", "train", "images", value=-4), "images: -4 is below 1"),
    "images true": (put("splits", "train", "images", value=True), "images: expected an integer"),
    "images more": (put("splits", "train", "images", value=5), "expected uint8 (5, 8, 8, 3)"),
    "images a lot": (put("splits", "train", "images", value=10**30), "images: expected an integ"),
    "checksum null": (put("splits", "test", "labels_sha256", value=None), "expected text"),
    "checksum lost": (lambda m: m["splits"]["test"].pop("ids_sha256"), "'ids_sha256' is missing"),
    "fingerprint lost": (lambda m: m.pop("fingerprint"), "key 'fingerprint' is missing"),
    "fingerprint a number": (put("fingerprint", value=5), "fingerprint: expected text"),
    "dropped text": (put("dropped", "train", value="1 missing"), "dropped: train: expected keys"),
    "dropped null": (put("dropped", value=None), "dropped: expected keys and values"),
    "repeated text": (put("repeated", value={"test": "3"}), "repeated: test: expected an integer"),
    "another key": (put("colour", value="red"), "unknown key 'colour'"),
}


@pytest.mark.parametrize("case", META)
def test_the_record_of_a_cache_is_checked(folder, case):
    change, *parts = META[case]
    file = folder / "meta.json"
    meta = json.loads(file.read_text())
    change(meta)
    file.write_text(json.dumps(meta))
    array = next((part for part in parts if "uint8" in part), None)
    refused(folder, "npy: " if array else "meta.json: ", *parts)


def saved(array):
    return lambda file: np.save(file, array)


def written(content):
    return lambda file: file.write_bytes(content)


def pipe(file):
    file.unlink()
    os.mkfifo(file)


def as_folder(file):
    file.unlink()
    file.mkdir()


def header(file, old, new):
    content = file.read_bytes()
    assert content.count(old) == 1 and len(old) == len(new)
    file.write_bytes(content.replace(old, new))


IMAGES, IDS = "images_train.npy", "ids_train.json"
FILES = {
    "pixels of pickled objects": (IMAGES, saved(np.array([{"a": 1}, None], object)), "damaged"),
    "pixels as text": (IMAGES, written(b"no array"), "damaged cache ("),
    "pixels an empty zip": (IMAGES, written(b"PK\x05\x06" + bytes(18)), "expected uint8"),
    "pixels a damaged zip": (IMAGES, written(b"PK\x03\x04" + bytes(99)), "damaged cache ("),
    "pixels a pipe": (IMAGES, pipe, "damaged cache (is a pipe or a device)"),
    "pixels a folder": (IMAGES, as_folder, "damaged cache (is a folder)"),
    "pixels of two axes": (IMAGES, saved(np.zeros((4, 192), np.uint8)), "uint8 (4, 192), expected"),
    "pixels with signs": (IMAGES, saved(np.zeros((4, 8, 8, 3), np.int8)), "int8 (4, 8, 8, 3), exp"),
    "pixels column by column": (
        IMAGES,
        lambda f: header(f, b"'fortran_order': False", b"'fortran_order': True "),
        "not those of 4 rows in order",
    ),
    "pixels of a later version": (IMAGES, lambda f: header(f, b"NUMPY\x01", b"NUMPY\x09"), "damag"),
    "labels of twos": (
        "labels_test.npy",
        saved(np.full((3, 20), 2, np.uint8)),
        "was changed after",
    ),
    "labels of bools": (
        "labels_test.npy",
        saved(np.zeros((3, 20), bool)),
        "expected uint8 (3, 20)",
    ),
    "ignored lost": ("ignored_train.npy", lambda f: f.unlink(), "damaged cache (no such file)"),
    "ignored changed": (
        "ignored_train.npy",
        saved(np.ones((4, 20), np.uint8)),
        "was changed after",
    ),
    "ids lost": (IDS, lambda f: f.unlink(), "cannot be read (no such file)"),
    "ids changed": (IDS, written(b'["a", "b", "c", "d"]'), "was changed after caching"),
    "ids no JSON": (IDS, written(b"["), "not valid JSON"),
}


@pytest.mark.parametrize("case", FILES)
def test_the_files_of_a_cache_are_checked(folder, case):
    name, spoil, *parts = FILES[case]
    spoil(folder / name)
    refused(folder, f"{folder / name}: ", *parts)


@pytest.mark.parametrize("ids", ['["a"]', '["a", "b", "c", 4]', '{"a": 1}', '"abcd"'])
def test_ids_that_agree_with_a_changed_record_are_checked_all_the_same(folder, ids):
    (folder / IDS).write_text(ids)
    meta = json.loads((folder / "meta.json").read_text())
    meta["splits"]["train"]["ids_sha256"] = records.sha256(folder / IDS)
    (folder / "meta.json").write_text(json.dumps(meta))
    refused(folder, IDS, "expected a list of 4 texts")


def test_counts_that_follow_from_others_are_not_part_of_the_fingerprint(folder):
    """Caches of older versions lack them."""
    before = open_cache(folder).fingerprint
    meta = json.loads((folder / "meta.json").read_text())
    meta["dropped"]["train"]["unannotated"] = 7
    del meta["repeated"]
    (folder / "meta.json").write_text(json.dumps(meta))
    verify(folder)
    assert open_cache(folder).fingerprint == before
    meta["dropped"]["train"]["damaged"] = 7
    (folder / "meta.json").write_text(json.dumps(meta))
    refused(folder, "meta.json", "does not match its fingerprint", check=verify)


def test_the_fingerprint_covers_what_it_always_did():
    """A change would repeat all trainings on all data sets."""
    facts = {
        "format": 2,
        "dataset": {"name": "x", "image_size": 8},
        "rule": {"options": {"train": "a"}, "missing": {"train": {"images": 1}}},
        "classes": ("a", "b"),
        "splits": {"train": {"images": 3, "pixels_sha256": "0"}},
        "dropped": {"train": {"missing": 1, "damaged": 2}},
    }
    always = "1caa40777b3174b0553373eb977da8521f2fcefa4e45adcd28dd132670c8c119"
    assert digests.fingerprint(facts) == always
    dropped = {"train": facts["dropped"]["train"] | {"unannotated": 3}}
    later = facts | {"dropped": dropped, "repeated": {"test": 1}, "fingerprint": "x"}
    assert digests.fingerprint(later) == always


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("coco", "annotations images train test train_images test_images labels"),
        ("voc", "train test difficult train_images test_images"),
        ("nuswide", "images missing train_images test_images labels"),
        ("folder", "csv train test classes train_images test_images"),
    ],
)
def test_the_rule_names_the_options_that_it_always_did(tmp_path, source, options):
    rule = load(source, make(source, tmp_path)).rule
    assert list(rule["options"]) == options.split()


def test_settings_of_a_data_set_are_those_that_older_caches_have():
    """Else they would have to be made again, with another fingerprint."""
    options = Specification(ROOT / "config").resolved["coco2014"].options
    names = "annotations images train test train_images test_images labels"
    assert sorted(options) == sorted(names.split())
    assert sources.facts(coco.Options(unannotated="keep"))["unannotated"] == "keep"


def test_a_cache_that_is_missing_names_the_command(config, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["cache", "scenes", "--config", str(config), "--verify"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cache/smoke/scenes/meta.json: no such file; " in line
    assert line.endswith("run `mdkd cache scenes --protocol smoke` first")


def test_a_progress_of_other_rows_starts_anew(tmp_path):
    root, folder = make_datasets.voc(tmp_path / "data"), tmp_path / "tiny"
    image = root / "VOCdevkit/VOC2007/JPEGImages/000003.jpg"
    content = image.read_bytes()
    image.write_bytes(content[:-120])
    with pytest.raises(UserError, match=r"000003\.jpg: cannot be decoded"):
        build(DATASET, root, folder)
    with np.load(folder / "progress.npz") as saved:
        states = dict(saved)
    for wrong in (np.zeros(2, np.uint8), np.zeros((4, 1), np.uint8), np.zeros(4)):
        np.savez(folder / "progress.npz", **(states | {"state_train": wrong}))
        image.write_bytes(content)
        build(DATASET, root, folder)
        assert len(open_cache(folder).splits["train"].ids) == 4


# What is unusual and accepted


def table_of(root, rows):
    text = "file,split,labels\n" + "".join(f"{row}\n" for row in rows)
    make_datasets.folder(root, text)
    return Dataset(name="own", source="folder", image_size=16)


@pytest.mark.parametrize(
    "label", ["cat", "traffic light, red", "a|b", "$x_1$ {y} 50% #1", "Stra\u00dfe"]
)
def test_one_label_of_any_name_can_be_cached_and_described(tmp_path, label):
    rows = [f'b.jpg,train,"{label}"', f'deep/a.jpg,train,"{label}"', "none.jpg,test,"]
    dataset = table_of(tmp_path / "data", rows)
    build(dataset, tmp_path / "data", tmp_path / "cache")
    cache = open_cache(tmp_path / "cache")
    assert cache.classes == (label,)
    assert cache.splits["test"].targets_NC.tolist() == [[0]]  # no test image has the label
    dataset_report.write(cache, "own", tmp_path / "results")
    frame = dataset_report.label_table(cache)
    assert frame["label"].tolist() == [label] and frame["test_images"].tolist() == [0]


def test_fewer_images_than_a_batch_is_one_line(tmp_path):
    torch = pytest.importorskip("torch")
    from mdkd.data.loader import Loader

    dataset = table_of(tmp_path / "data", ["b.jpg,train,a", "none.jpg,test,a"])
    build(dataset, tmp_path / "data", tmp_path / "cache")
    recipe = Recipe(epochs=1, batch_size=2, lr=1e-3, weight_decay=0, flip=False, cutout=0)
    loader = Loader(open_cache(tmp_path / "cache").splits["train"], recipe, 0, torch.device("cpu"))
    with pytest.raises(UserError, match="batch_size 2 exceeds the 1 training images; lower recipe"):
        loader.steps_per_epoch()
