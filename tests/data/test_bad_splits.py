"""An image is one thing, in one split, once, however its path is written; and lists of splits."""

import json
import os

import make_datasets
import numpy as np
import pytest
from conftest import edit_yaml
from drawn_source import random_images
from PIL import Image
from source_cases import SIZE, labels_of, load, make, refused

from mdkd.cli import main
from mdkd.config import Dataset
from mdkd.data import checks
from mdkd.data.build import build
from mdkd.data.cache import open_cache, verify
from mdkd.data.sources import Split, Table
from mdkd.errors import UserError

ONCE = "an image may be used once, in one split: remove one of the entries"


def images_of(root, split):
    return json.loads((root / "annotations" / f"instances_{split}.json").read_text())


def write(root, split, content):
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


# A second name of a file, seen from the folder of images


def respelled(text):
    return lambda folder, name: text.format(name)


def symlink(folder, name):
    (folder / "link.jpg").symlink_to(name)
    return "link.jpg"


def link_of_link(folder, name):
    (folder / "b.jpg").symlink_to(symlink(folder, name))
    return "b.jpg"


def hard_link(folder, name):
    os.link(folder / name, folder / "hard.jpg")
    return "hard.jpg"


def linked_folder(folder, name):
    (folder / "again").symlink_to(".")
    return f"again/{name}"


SPELLINGS = {
    "the same": respelled("{}"),
    "a dot": respelled("./{}"),
    "two slashes": respelled(".//{}"),
    "dots within": respelled("././{}"),
    "a symbolic link": symlink,
    "a link of a link": link_of_link,
    "a hard link": hard_link,
    "a linked folder": linked_folder,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("where", ["same split", "other split"])
def test_one_file_under_two_ids_of_coco_is_refused(tmp_path, spelling, where):
    """Both splits have one folder of images here."""
    root = make("coco", tmp_path)
    (root / "train2014").rename(root / "all")
    for file in (root / "val2014").iterdir():
        file.rename(root / "all" / file.name)
    load("coco", root, images="all")
    split = "train2014" if where == "same split" else "val2014"
    content = images_of(root, split)
    first = images_of(root, "train2014")["images"][0]
    name = SPELLINGS[spelling](root / "all", first["file_name"])
    content["images"].append({"id": 999, "file_name": name})
    content["annotations"].append({"image_id": 999, "category_id": 90})  # other labels
    write(root, split, content)
    place = "split 'train' (instances_train2014.json)"
    other = place if where == "same split" else "split 'test' (instances_val2014.json)"
    refused(
        "coco", root, f"is both image '9' of {place} and image '999' of {other}", ONCE, images="all"
    )


def test_a_file_under_two_ids_without_annotation_is_used_once(tmp_path):
    root = make("coco", tmp_path)
    content = images_of(root, "train2014")
    content["images"].append(content["images"][0] | {"id": 999})
    write(root, "train2014", content)
    assert labels_of(load("coco", root), "train")["9"] == {"dog", "person"}
    refused("coco", root, "image '9'", "image '999'", ONCE, unannotated="keep")


SAME_SPLIT = {
    "coco": {"train": "train2014", "test": "train2014"},
    "voc": {"train": "test", "test": "test"},
    "folder": {"train": "train", "test": "train"},
}


@pytest.mark.parametrize("source", SAME_SPLIT)
def test_train_and_test_are_two_splits(tmp_path, source):
    options = SAME_SPLIT[source]
    text = f"options train and test are both '{options['train']}'; give two different splits"
    refused(source, make(source, tmp_path), text, **options)


def test_a_copied_list_of_voc_is_refused(tmp_path):
    root = make("voc", tmp_path)
    main = root / "VOCdevkit/VOC2007/ImageSets/Main"
    (main / "copy.txt").write_bytes((main / "trainval.txt").read_bytes())
    refused(
        "voc", root, "image '000005' of split 'train' (trainval.txt)", "(copy.txt)", test="copy"
    )


def test_one_line_of_voc_in_both_lists_is_refused(tmp_path):
    images = make_datasets.VOC | {"test": make_datasets.VOC["test"] | {"000009": [("horse", 0)]}}
    root = make("voc", tmp_path, images)
    for list_of_class in root.glob("VOCdevkit/VOC2007/ImageSets/Main/*_*.txt"):
        list_of_class.unlink()  # they contradict the annotation, which was written twice
    refused("voc", root, "000009.jpg is both image '000009' of split 'train'", "'test'", ONCE)


def test_one_line_of_nuswide_in_both_lists_is_refused(tmp_path):
    both = {"sky\\0003_2330066085.jpg": "sky"}
    root = make("nuswide", tmp_path, make_datasets.NUS | {"Test": both})
    for missing in ("error", "drop"):
        refused("nuswide", root, "image 'sky/0003_2330066085.jpg' of", ONCE, missing=missing)


@pytest.mark.parametrize("name", ["./b.jpg", "deep/./../b.jpg", ".//b.jpg", "link.jpg"])
def test_one_file_in_two_rows_of_a_table_is_refused(tmp_path, name):
    root = make("folder", tmp_path, f"file,split,labels\nb.jpg,train,dog\n{name},test,cat\n")
    (root / "link.jpg").symlink_to("b.jpg")
    parts = ["relative to this folder"] if ".." in name else ["b.jpg", "(labels.csv)", ONCE]
    refused("folder", root, *parts)


def test_a_file_of_the_same_name_in_another_folder_is_another_image(tmp_path):
    images = {"train2014": {1: [1], 2: [18]}, "val2014": {1: [3], 2: [1]}}
    root = make("coco", tmp_path, images)
    for split in images:
        content = images_of(root, split)
        for image in content["images"]:
            short = f"{image['id']}.jpg"
            (root / split / image["file_name"]).rename(root / split / short)
            image["file_name"] = short
        write(root, split, content)
    assert len(load("coco", root).splits["test"].ids) == 2


def test_the_command_line_says_it_in_one_line(config, tmp_path, monkeypatch, capsys):
    root = make("coco", tmp_path / "data")
    content = images_of(root, "val2014")
    content["images"][0]["file_name"] = "../train2014/COCO_train2014_000000000009.jpg"
    write(root, "val2014", content)
    entry = {"label": "Mine", "source": "coco", "root": str(root)}
    edit_yaml(config / "datasets.yaml", lambda d: d.update(mine=entry))
    monkeypatch.chdir(tmp_path)
    assert main(["cache", "mine", "--config", str(config)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "instances_val2014.json: images[0]: file_name: '../train2014/COCO" in line
    (root / "val2014" / "link.jpg").symlink_to("../train2014/COCO_train2014_000000000009.jpg")
    content["images"][0]["file_name"] = "link.jpg"
    write(root, "val2014", content)
    assert main(["cache", "mine", "--config", str(config)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is both image '9' of split 'train'" in line and ONCE in line
    assert not (tmp_path / "cache").exists()


# The same picture in two files: counted, not refused


def tiny(root, **settings):
    dataset = Dataset(name="tiny", source="coco", image_size=SIZE, **settings)
    build(dataset, root, root / "cache")
    return open_cache(root / "cache")


@pytest.mark.parametrize("copies", ["bytes", "PNG"])
def test_copies_of_training_images_in_the_test_split_are_counted(tmp_path, caplog, copies):
    root = make("coco", tmp_path)
    before = tiny(root)
    assert before.meta["repeated"] == {}
    train = root / "train2014" / "COCO_train2014_000000000009.jpg"
    test = root / "val2014" / "COCO_val2014_000000000042.jpg"
    if copies == "bytes":
        test.write_bytes(train.read_bytes())
    else:
        with Image.open(train) as image:
            image.save(test, "PNG")
    caplog.set_level("INFO")
    cache = tiny(root)
    assert cache.meta["repeated"] == {"test": 1}
    assert "test: 1 of 2 images have the same pixels" in caplog.text
    assert "such as '42' and '9'" in caplog.text
    verify(root / "cache")


def test_repeated_pictures_within_a_split_are_accepted(tmp_path):
    root = make("coco", tmp_path)
    folder = root / "train2014"
    (folder / "COCO_train2014_000000000004.jpg").write_bytes(
        (folder / "COCO_train2014_000000000009.jpg").read_bytes()
    )
    assert tiny(root).meta["repeated"] == {}


def test_copies_in_a_validation_split_are_counted(tmp_path):
    root = make(
        "coco", tmp_path, {"train2014": {i: [1] for i in range(1, 9)}, "val2014": {99: [1]}}
    )
    content = (root / "train2014" / "COCO_train2014_000000000001.jpg").read_bytes()
    for i in range(1, 9):
        (root / "train2014" / f"COCO_train2014_{i:012d}.jpg").write_bytes(content)
    cache = tiny(root, val=0.4)
    assert 0 < len(cache.splits["val"].ids) < 8
    assert cache.meta["repeated"] == {"val": len(cache.splits["val"].ids)}


# Images that are left out


def test_images_left_out_are_counted_and_logged(tmp_path, caplog):
    root = make("coco", tmp_path)
    file = root / "train2014" / "COCO_train2014_000000000009.jpg"
    file.write_bytes(file.read_bytes()[:-120])
    caplog.set_level("INFO")
    cache = tiny(root, damaged="drop")
    assert cache.meta["dropped"] == {
        "train": {"missing": 0, "damaged": 1, "unannotated": 1},
        "test": {"missing": 0, "damaged": 0, "unannotated": 1},
    }
    for text in (
        "train: images left out: 1 unannotated",
        "test: images left out: 1 unannotated",
        "train: 1 damaged images left out",
        "train: no image has 1 of 4 labels, such as 'dog'",
        "test: no image has 1 of 4 labels, such as 'toothbrush'",
    ):
        assert text in caplog.text


def test_a_split_of_unannotated_images_says_so(tmp_path):
    root = make("coco", tmp_path, {"train2014": {1: [1]}, "val2014": {2: [], 3: []}})
    with pytest.raises(UserError, match=r"split 'test' has no image; .*left out: 2 unannotated"):
        tiny(root)
    assert len(tiny(root, options={"unannotated": "keep"}).splits["test"].ids) == 2


# Lists of VOC


def voc_list(root, name="trainval.txt"):
    return make("voc", root) / "VOCdevkit/VOC2007/ImageSets/Main" / name


LISTS = {
    "path outside": ("../../../x", "'../../../x.jpg' is not the path of a file inside"),
    "absolute": ("/etc/passwd", "'/etc/passwd.jpg' is not the path of a file inside"),
    "with an ending": ("000005.jpg", "000005.jpg.xml: cannot be read (no such file)"),
    "list of a class": ("000005  1", "000005  1.xml: cannot be read"),
    "a bell": ("0000\a05", r"'0000\x0705.jpg' is not the path"),
    "null bytes": ("0000\x0005", "contains null bytes"),
    "too long": ("0" * 300, "'000000"),
    "twice": ("000007\n000007", "image '000007' appears twice; remove one of the lines"),
    "twice but for blanks": ("000007\n000007 ", "image '000007' appears twice"),
}


@pytest.mark.parametrize("case", LISTS)
def test_lists_of_voc_are_checked(tmp_path, case):
    line, message = LISTS[case]
    file = voc_list(tmp_path)
    file.write_bytes(f"000005\n{line}\n".encode())
    for list_of_class in file.parent.glob("*_trainval.txt"):
        list_of_class.unlink()
    refused("voc", tmp_path, message)


def test_lists_of_voc_may_have_any_line_end_and_a_mark(tmp_path):
    file = voc_list(tmp_path)
    expected = labels_of(load("voc", tmp_path), "train")
    for text in ("\ufeff{}", "\n\n{}\n\n", "  {}"):
        for end in ("\n", "\r\n", "\r"):
            file.write_bytes(text.format(end.join(expected)).encode())
            assert labels_of(load("voc", tmp_path), "train") == expected
    file.write_bytes("\n".join(expected).encode("utf-16"))
    assert labels_of(load("voc", tmp_path), "train") == expected


def test_a_voc_image_with_another_ending_gets_a_hint(tmp_path):
    make("voc", tmp_path)
    image = tmp_path / "VOCdevkit/VOC2007/JPEGImages/000005.jpg"
    image.rename(image.with_suffix(".png"))
    refused("voc", tmp_path, "000005.jpg: no such image (1 of 4 of ", "must end in .jpg")


# Sources of others


def drawn(**changes):
    pixels = random_images(3, SIZE)
    facts = {"ids": ["a", "b", "c"], "targets_NC": np.eye(3, 2, dtype=np.uint8)}
    return Table(("x", "y"), {"train": Split(**facts | changes, image=lambda i: pixels[i])}, {})


def test_what_a_plug_in_returns_is_checked():
    checks.check(drawn(), "data set 'x'")
    with pytest.raises(UserError, match="data set 'x': image 'a' appears twice in split 'train'"):
        checks.check(drawn(ids=["a", "b", "a"]), "data set 'x'")
    for wrong in (
        np.eye(3, 3, dtype=np.uint8),
        np.eye(2, 2, dtype=np.uint8),
        np.eye(3, 2, dtype=np.float32),
        2 * np.eye(3, 2, dtype=np.uint8),
    ):
        with pytest.raises(ValueError, match="split 'train': targets_NC"):
            checks.check(drawn(targets_NC=wrong), "data set 'x'")
    with pytest.raises(ValueError, match="ignored_NC is uint8"):
        checks.check(drawn(ignored_NC=np.eye(3, 2, dtype=np.uint8)), "data set 'x'")
