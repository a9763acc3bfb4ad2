"""Any folder with a table: what it reads, and damage by line."""

import pytest
from source_cases import labels_of, load, make, refused

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
        "c.jpg: no such image (2 of 3 of ",
    ),
    "no file": (HEADER + ",train,cat\n", {}, ":2: column 'file' is empty"),
    "no split": (HEADER + "b.jpg,,cat\n", {}, ":2: unknown split ''", "test, train"),
    "too few cells": (HEADER + "\nb.jpg,train\n", {}, ":3: 2 cells, but the header has 3"),
    "labels by commas": (HEADER + "b.jpg,train,cat,dog\n", {}, ":2: 4 cells", "semicolons"),
    "open quote": (HEADER + 'b.jpg,train,\nnone.jpg,test,"cat\n\n', {}, ":3: not valid CSV"),
    "no label at all": (HEADER + "b.jpg,train,\n", {}, "at least one label"),
    "class twice": (
        HEADER + "b.jpg,train,cat\n",
        {"classes": ["cat", "cat"]},
        "label 'cat' appears twice",
    ),
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
