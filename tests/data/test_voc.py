"""VOC2007: labels by hand from a tiny official folder, and damage."""

import make_datasets
import numpy as np
import pytest
from source_cases import SIZE, edit, labels_of, load, make, refused

from mdkd.config import Dataset
from mdkd.data.build import build
from mdkd.data.cache import open_cache
from mdkd.data.sources.voc import CLASSES

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
        "'000007' appears twice",
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


def test_a_class_whose_name_is_no_name_of_a_file_has_no_list(tmp_path):
    root = make("voc", tmp_path)
    for file in (root / "VOCdevkit/VOC2007/Annotations").iterdir():
        file.write_text(file.read_text().replace("<name>horse<", "<name>horse/pony<"))
    own = ["horse/pony" if name == "horse" else name for name in CLASSES]
    table = load("voc", root, classes=own)
    assert table.classes == tuple(own)
    before = labels_of(load("voc", make("voc", tmp_path / "other")), "train")
    renamed = {i: {n.replace("horse", "horse/pony") for n in names} for i, names in before.items()}
    assert labels_of(table, "train") == renamed != before


def test_voc_with_classes_of_ones_own(tmp_path):
    root = make("voc", tmp_path)
    own = ["zebra", "person", *sorted(set(CLASSES) - {"person"})]
    table = load("voc", root, classes=own)
    assert table.classes == tuple(own)
    assert labels_of(table, "train") == labels_of(load("voc", root), "train")
    assert not table.splits["train"].targets_NC[:, 0].any()
    assert table.rule != load("voc", root).rule
    refused("voc", root, "object of unknown class 'chair'", classes=["person"])
    refused("voc", root, "option classes: label 'a' appears twice", classes=["a", "a"])
    edit(
        root / "VOCdevkit/VOC2007/Annotations/000001.xml",
        lambda t: t.replace("<name>dog", "<name>gnu"),
    )
    refused("voc", root, "unknown class 'gnu'", "(the option `classes` names other labels)")


def test_voc_without_own_classes_has_the_rule_of_older_caches(tmp_path):
    rule = load("voc", make("voc", tmp_path)).rule
    assert "classes" not in rule["options"]
