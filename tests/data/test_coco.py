"""MS-COCO: labels by hand from a tiny official folder, damage, and photographs."""

import json
from pathlib import Path

import make_datasets
import pytest
from source_cases import edit, labels_of, load, make, refused

PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "coco-photos"


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
