"""NUS-WIDE: labels by hand from a tiny official folder, missing images, damage."""

import numpy as np
import pytest
from source_cases import SIZE, edit, labels_of, load, make, refused

from mdkd.data.images import read_image

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
    root = make("nuswide", tmp_path, {"Train": images, "Test": {"sky\\t.jpg": "sky"}})
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
    "no text": ("Labels_sky_Test.txt", b"\xff\xfe0\x001", "not UTF-16"),
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
