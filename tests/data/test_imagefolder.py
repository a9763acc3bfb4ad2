"""Folders with a metadata file each: what they read, and damage by line."""

import pytest
from source_cases import labels_of, load, make, refused

TRAIN = {"train/b.jpg": {"dog", "person"}, "train/deep/a.jpg": set()}


def test_both_kinds_of_metadata_are_read(tmp_path):
    table = load("imagefolder", make("imagefolder", tmp_path), train_images=2, test_images=2)
    assert table.classes == ("cat", "dog", "person")
    assert labels_of(table, "train") == TRAIN
    assert labels_of(table, "test") == {"test/none.jpg": set(), "test/two.jpg": {"cat", "person"}}
    assert table.splits["train"].image(0).shape == (8, 8, 3)


def test_labels_may_be_numbers_of_classes_in_a_column_of_another_name(tmp_path):
    line = '{"file_name": "b.jpg", "objects": [2, 0]}'
    root = make("imagefolder", tmp_path, line, "file_name,objects\nnone.jpg,car\n")
    options = {"column": "objects", "classes": ["person", "car", "dog"]}
    table = load("imagefolder", root, **options)
    assert table.classes == ("person", "car", "dog")
    assert labels_of(table, "train") == {"train/b.jpg": {"dog", "person"}}
    assert labels_of(table, "test") == {"test/none.jpg": {"car"}}


def line(**content):
    import json

    return json.dumps({"file_name": "b.jpg", "labels": ["cat"]} | content) + "\n"


DAMAGES = {
    "not JSON": ("{\n", {}, ":1: not valid JSON", "one object per line"),
    "a list": ("[1]\n", {}, ":1: found [1]; write one object per line"),
    "no column": ('\n{"file_name": "b.jpg", "label": []}\n', {}, ":2: no 'labels'", "'label'?"),
    "no name": (line(file_name=""), {}, ":1: 'file_name' is ''"),
    "twice": (line() + line(), {}, ":2: 'b.jpg' also appears in line 1"),
    "missing": (line() + line(file_name="c.jpg"), {}, ":2: ", "c.jpg: no such image (1 of 2 of "),
    "outside": (line(file_name="../x.jpg"), {}, ":1: 'file_name'"),
    "labels": (line(labels=3), {}, ":1: 'labels' is 3; write a list of labels"),
    "a label": (line(labels=[1.5]), {}, ":1: label 1.5: expected a name or a number"),
    "numbers": (line(labels=[1]), {}, ":1: labels are numbers; name them in the option `classes`"),
    "large": (line(labels=[3]), {"classes": ["cat", "person"]}, ":1: label 3 is not in 0 .. 1"),
    "unknown": (line(labels=["cta"]), {"classes": ["cat", "person"]}, ":1: unknown label 'cta'"),
    "count": (line(), {"train_images": 3}, "1 images, expected 3"),
}


@pytest.mark.parametrize(
    ("text", "options", "parts"), [(t, o, p) for t, o, *p in DAMAGES.values()], ids=DAMAGES
)
def test_damage_is_named_by_line(tmp_path, text, options, parts):
    root = make("imagefolder", tmp_path, text)
    refused("imagefolder", root, root / "train" / "metadata.jsonl", *parts, **options)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("file_name,labels\nnone.jpg\n", (":2: another number of cells",)),
        ("file_name,labels\nnone.jpg,cat,dog\n", (":2: another number of cells", "quotes")),
        ('file_name,labels\nnone.jpg,"cat\n', (": not valid CSV",)),
        ("file,labels\nnone.jpg,cat\n", (":2: no 'file_name'",)),
    ],
)
def test_damage_of_a_csv_file_is_named(tmp_path, text, parts):
    root = make("imagefolder", tmp_path, None, text)
    refused("imagefolder", root, root / "test" / "metadata.csv", *parts)


def test_a_folder_without_metadata_is_named(tmp_path):
    root = make("imagefolder", tmp_path)
    (root / "test" / "metadata.csv").unlink()
    refused("imagefolder", root, "test: found none of metadata.csv, metadata.jsonl")
    refused("imagefolder", root, "both 'train'", test="train")
