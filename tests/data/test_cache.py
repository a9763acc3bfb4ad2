"""Caches: what they hold, their fingerprint, and checks of what is there."""

import json
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import edit_yaml
from drawn_source import random_images, table

from mdkd import registry
from mdkd.cli import main
from mdkd.config import Dataset
from mdkd.data.build import build
from mdkd.data.cache import FORMAT, open_cache
from mdkd.data.sources import Split, Table
from mdkd.errors import UserError
from mdkd.plan import make_plan
from mdkd.spec import Specification

pytestmark = pytest.mark.usefixtures("no_power_cut")


SIZE, CLASSES = 6, ("cat", "dog", "a tree")

DATASET = Dataset(name="hand", source="hand", image_size=SIZE, options={"rule": "first"})


@dataclass(frozen=True)
class HandOptions:
    rule: str


def hand_made(n=5, seed=0):
    """A table of random images, every image with at least one label."""

    def split(name, count, offset):
        images = random_images(count, SIZE, seed + offset)
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
        monkeypatch.setattr(registry, "load", lambda *args: source)
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


def test_settings_of_a_cache_come_from_the_entry_and_the_protocol(config):
    def settings():
        found = make_plan(Specification(config)).datasets["scenes"]
        assert found.options["train"] == 48
        return found.val, found.damaged

    protocol = config / "protocols" / "smoke.yaml"
    assert settings() == (0, "error")
    edit_yaml(config / "datasets.yaml", lambda d: d["scenes"].update(val=0.25, damaged="drop"))
    assert settings() == (0.25, "drop")
    edit_yaml(protocol, lambda p: p["datasets"]["scenes"].update(val=0.1))
    assert settings() == (0.1, "drop")
    for value, error in ((0.6, "val: 0.6 is not in 0 .. 0.5"), ("x", "val: expected a number")):
        edit_yaml(protocol, lambda p, value=value: p["datasets"]["scenes"].update(val=value))
        with pytest.raises(UserError) as caught:
            settings()
        assert error in str(caught.value)
        assert "smoke.yaml: datasets: scenes: val" in str(caught.value)
    edit_yaml(protocol, lambda p: p["datasets"]["scenes"].update(val=0))
    edit_yaml(config / "datasets.yaml", lambda d: d["scenes"].update(val=-1))
    with pytest.raises(
        UserError, match=r"datasets\.yaml: scenes: val: -1\.0 is not in 0 \.\. 0\.5"
    ):
        settings()


# Checks of what is there


FOREIGN = {
    "a list": ("meta.json", lambda f: f.write_text("[]")),
    "another record": ("meta.json", lambda f: f.write_text(f'{{"format": {FORMAT}}}')),
    "bytes behind the rows": ("images_test.npy", lambda f: f.open("ab").write(b"x")),
    "an archive": ("images_train.npy", lambda f: np.savez(f.open("wb"), a=np.zeros(3))),
    "another label": ("labels_test.npy", lambda f: np.save(f, 1 - np.load(f))),
    "another name": (
        "ids_train.json",
        lambda f: f.write_text(f.read_text().replace("train/3.jpg", "train/x.jpg")),
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_files_of_others_are_refused_on_opening(make_cache, decode_log, tmp_path, kind):
    make_cache(table(decode_log, 30))
    name, spoil = FOREIGN[kind]
    spoil(tmp_path / "cache" / name)
    with pytest.raises(UserError) as caught:
        open_cache(tmp_path / "cache")
    assert str(tmp_path / "cache" / name) in str(caught.value)
    assert "delete" in str(caught.value)
    assert "\n" not in str(caught.value)


def flip_a_byte(file):
    with file.open("r+b") as content:
        content.seek(-1000, 2)
        byte = content.read(1)[0]
        content.seek(-1000, 2)
        content.write(bytes([byte ^ 1]))


def edit_json(file):
    meta = json.loads(file.read_text())
    meta["rule"]["seed"] = 5
    file.write_text(json.dumps(meta))


@pytest.mark.parametrize(
    ("name", "spoil"), [("images_test.npy", flip_a_byte), ("meta.json", edit_json)]
)
def test_verify_finds_a_flipped_byte(config, tmp_path, monkeypatch, capsys, name, spoil):
    monkeypatch.chdir(tmp_path)
    command = ["cache", "scenes", "--config", str(config)]
    assert main([*command, "--verify"]) == 2  # nothing there yet
    assert main([*command, "--jobs", "0"]) == 2
    assert main([*command, "--jobs", "1"]) == 0
    assert main([*command, "--verify"]) == 0
    spoil(tmp_path / "cache" / "smoke" / "scenes" / name)
    open_cache(tmp_path / "cache" / "smoke" / "scenes")
    capsys.readouterr()
    assert main([*command, "--verify"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert f"cache/smoke/scenes/{name}: " in lines[0]
    assert "delete" in lines[0]
