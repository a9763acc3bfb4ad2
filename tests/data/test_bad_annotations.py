"""Whatever is wrong with an annotation file of COCO or VOC ends in one line that says so."""

import json
import os
from itertools import pairwise

import make_datasets
import pytest
from source_cases import labels_of, load, make, refused

BOM = b"\xef\xbb\xbf"
CORRECT = "correct it"


# COCO: what is changed in the content of the file, and what the message says


def put(part, i, key, value):
    return lambda content: content[part][i].update({key: value})


def lose(part, i, key):
    return lambda content: content[part][i].pop(key)


def entry(part, value):
    return lambda content: content[part].append(value)


def whole(part, value):
    return lambda content: content.update({part: value})


def same_names(content):
    content["categories"].append({"id": 5, "name": "caf\u00e9"})
    content["categories"].append({"id": 6, "name": "cafe\u0301"})  # the accent apart


FILE_NAME = "images[1]: file_name: expected text, found"
INSIDE = "relative to this folder, without '..'"
COCO = {
    "images null": (whole("images", None), "images: expected a list, found null"),
    "images an object": (whole("images", {"1": {}}), "images: expected a list, found {"),
    "annotations text": (
        whole("annotations", "none"),
        "annotations: expected a list, found 'none'",
    ),
    "categories a number": (whole("categories", 3), "categories: expected a list, found 3"),
    "no annotations": (lambda c: c.pop("annotations"), "no 'annotations'; expected COCO's"),
    "no images": (lambda c: c.pop("images"), "no 'images'; expected COCO's"),
    "image null": (entry("images", None), "images[4]: expected the keys file_name, id, found null"),
    "image a list": (entry("images", [1]), "images[4]: expected the keys file_name, id, found [1]"),
    "annotation text": (entry("annotations", "x"), "annotations[6]: expected the keys category_id"),
    "category null": (entry("categories", None), "categories[4]: expected the keys id, name"),
    "no file name": (lose("images", 1, "file_name"), "images[1]: expected the keys file_name, id"),
    "no image id": (lose("annotations", 2, "image_id"), "annotations[2]: expected the keys"),
    "no name": (lose("categories", 0, "name"), "categories[0]: expected the keys id, name"),
    "id null": (
        put("images", 1, "id", None),
        "images[1]: id: expected an integer or text",
        CORRECT,
    ),
    "id a fraction": (put("images", 1, "id", 9.0), "images[1]: id: expected an integer", "9.0"),
    "id true": (put("images", 1, "id", True), "images[1]: id: expected an integer", "True"),
    "id a list": (put("images", 1, "id", [1]), "images[1]: id: expected an integer", "[1]"),
    "id with a line end": (put("images", 1, "id", "a\nb"), "images[1]: id:", r"found 'a\nb'"),
    "id no Unicode": (put("images", 1, "id", "\ud800"), "images[1]: id:", r"found '\ud800'"),
    "ids of two types": (put("images", 1, "id", "9"), "images: id is 9 in one entry and '9' in"),
    "image id NaN": (put("annotations", 0, "image_id", float("nan")), "image_id:", "found nan"),
    "image id as text": (
        put("annotations", 0, "image_id", "9"),
        "annotations[0] is of image '9', which is not listed",
    ),
    "category null in use": (
        put("annotations", 1, "category_id", None),
        "annotations[1]: category",
    ),
    "category as text": (put("annotations", 1, "category_id", "1"), "[1]: unknown category '1'"),
    "category id true": (
        put("categories", 1, "id", True),
        "categories[1]: id: expected an integer",
    ),
    "category id twice": (put("categories", 1, "id", 90), "categories: id 90 appears twice"),
    "category ids mixed": (put("categories", 1, "id", "1"), "categories: id is 90 in one entry"),
    "file name null": (put("images", 1, "file_name", None), FILE_NAME, "null", CORRECT),
    "file name a number": (put("images", 1, "file_name", 12), FILE_NAME, "12"),
    "file name a list": (put("images", 1, "file_name", ["a"]), FILE_NAME, "['a']"),
    "file name empty": (put("images", 0, "file_name", ""), "images[0]: file_name: ''", INSIDE),
    "file name a dot": (put("images", 0, "file_name", "."), "images[0]: file_name: '.'", INSIDE),
    "file name absolute": (put("images", 0, "file_name", "/etc/passwd"), "'/etc/passwd'", INSIDE),
    "file name outside": (put("images", 0, "file_name", "a/../../b.jpg"), "../b.jpg'", INSIDE),
    "file name with 0": (put("images", 0, "file_name", "a\0.jpg"), r"'a\x00.jpg'", INSIDE),
    "file name no Unicode": (put("images", 0, "file_name", "\udcff"), r"'\udcff'", INSIDE),
    "file name of two lines": (put("images", 0, "file_name", "a\n.jpg"), r"'a\n.jpg'", INSIDE),
    "file name too long": (put("images", 0, "file_name", "\u6771" * 100), "'\u6771", INSIDE),
    "file name below a file": (
        put("images", 0, "file_name", "COCO_train2014_000000000030.jpg/a.jpg"),
        "is a file, not a folder",
    ),
    "name null": (put("categories", 0, "name", None), "categories[0]: name: expected text"),
    "name empty": (put("categories", 0, "name", " "), "label ' ': expected a name"),
    "name of two lines": (put("categories", 0, "name", "a\nb"), r"label 'a\nb': expected a name"),
    "name with blanks": (put("categories", 0, "name", "cup "), "label 'cup ' has blanks"),
    "names alike but for blanks": (put("categories", 0, "name", " dog"), "'dog' appears twice"),
    "names alike but for Unicode": (same_names, "label 'caf\u00e9' appears twice"),
    "no category at all": (whole("categories", []), "no label; add at least one label"),
}


def coco_file(tmp_path, split="train2014"):
    return make("coco", tmp_path) / "annotations" / f"instances_{split}.json"


@pytest.mark.parametrize("case", COCO)
def test_coco_entries_are_checked(tmp_path, case):
    change, *parts = COCO[case]
    file = coco_file(tmp_path)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    refused("coco", tmp_path, file, *parts)


COCO_BYTES = {
    "empty": (lambda b: b"", "not valid JSON"),
    "a web page": (lambda b: b"<!DOCTYPE html><html>404</html>", "not valid JSON", "replace it"),
    "a pointer of Git LFS": (lambda b: b"version https://git-lfs.github.com/spec/v1", "not valid"),
    "two documents": (lambda b: b + b, "not valid JSON (Extra data"),
    "nested too deeply": (lambda b: b"[" * 10**5, "not valid JSON"),
    "a number too long": (lambda b: b.replace(b"2014", b"9" * 5000), "not valid JSON"),
    "latin-1": (
        lambda b: b.replace(b"dog", b"caf\xe9"),
        "not UTF-8 text (byte ",
        "save it as UTF-8",
    ),
    "UTF-16 without a mark": (lambda b: b.decode().encode("utf-16-le"), "null bytes", "UTF-8"),
    "null bytes at the end": (lambda b: b + bytes(512), "contains null bytes"),
    "half of UTF-16": (lambda b: b"\xff\xfe" + b[:101], "not UTF-16 text"),
    "a list on top": (lambda b: b"[" + b + b"]", "no 'images'; expected COCO's instances format"),
    "null on top": (lambda b: b"null", "no 'images'; expected COCO's instances format"),
}


@pytest.mark.parametrize("case", COCO_BYTES)
def test_coco_files_must_be_json(tmp_path, case):
    change, *parts = COCO_BYTES[case]
    file = coco_file(tmp_path)
    file.write_bytes(change(file.read_bytes()))
    refused("coco", tmp_path, file, *parts)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_accepted(tmp_path, encoding):
    file = coco_file(tmp_path)
    expected = labels_of(load("coco", tmp_path), "train")
    file.write_bytes(file.read_text().encode(encoding))
    assert labels_of(load("coco", tmp_path), "train") == expected


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def loop(path):
    path.unlink()
    path.symlink_to(path)


def dangling(path):
    path.unlink()
    path.symlink_to(path.with_name("gone"))


def folder(path):
    path.unlink()
    path.mkdir()


def device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


NO_FILES = {
    "a pipe": (pipe, "cannot be read (is a pipe or a device)"),
    "a device": (device, "cannot be read (is a pipe or a device)"),
    "a folder": (folder, "cannot be read (is a folder)"),
    "a link to itself": (loop, "cannot be read (a link that leads to itself)"),
    "a link to nothing": (dangling, "cannot be read (the file that this link names is missing)"),
    "nothing": (lambda path: path.unlink(), "cannot be read (no such file)"),
}
READ = {  # a file of each reader
    "coco": "annotations/instances_train2014.json",
    "voc": "VOCdevkit/VOC2007/Annotations/000009.xml",
    "nuswide": "Groundtruth/TrainTestLabels/Labels_sky_Train.txt",
    "folder": "labels.csv",
}


@pytest.mark.parametrize("case", NO_FILES)
@pytest.mark.parametrize("source", READ)
def test_what_is_no_file_is_never_waited_for(tmp_path, source, case):
    spoil, message = NO_FILES[case]
    file = make(source, tmp_path) / READ[source]
    spoil(file)
    refused(source, tmp_path, file, message)


@pytest.mark.parametrize("source", READ)
def test_a_file_as_root_is_named(tmp_path, source):
    archive = tmp_path / "data.zip"
    archive.write_bytes(b"PK")
    refused(source, archive, archive, "is a file, not a folder")


def test_a_file_without_permission_is_named(tmp_path, monkeypatch):
    file = coco_file(tmp_path)

    def denied(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(file), "read_bytes", denied)  # the tests may run as root
    refused("coco", tmp_path, file, "cannot be read (Permission denied)")


def test_a_file_too_large_for_the_memory_is_named(tmp_path, monkeypatch):
    file = coco_file(tmp_path)

    def too_large(self):
        raise MemoryError

    monkeypatch.setattr(type(file), "read_bytes", too_large)
    refused("coco", tmp_path, file, "does not fit into memory")


# COCO: what is accepted on purpose


def test_coco_ids_may_be_text(tmp_path):
    for split in ("train2014", "val2014"):
        file = coco_file(tmp_path, split) if split == "train2014" else file_of(tmp_path, split)
        content = json.loads(file.read_text())
        for image in content["images"]:
            image["id"] = f"x{image['id']}"
        for annotation in content["annotations"]:
            annotation["image_id"] = f"x{annotation['image_id']}"
        file.write_text(json.dumps(content))
    assert load("coco", tmp_path).splits["train"].ids == ["x30", "x4", "x9"]


def file_of(root, split):
    return root / "annotations" / f"instances_{split}.json"


def test_coco_files_may_number_their_images_alike(tmp_path):
    images = {"train2014": {1: [1], 2: [18]}, "val2014": {1: [3], 2: [1]}}
    table = load("coco", make("coco", tmp_path, images))
    assert table.splits["train"].ids == table.splits["test"].ids == ["1", "2"]


def test_coco_may_keep_images_without_annotation(tmp_path):
    make("coco", tmp_path)
    dropped, kept = load("coco", tmp_path), load("coco", tmp_path, unannotated="keep")
    assert dropped.dropped == {"train": {"unannotated": 1}, "test": {"unannotated": 1}}
    assert kept.dropped == {"train": {}, "test": {}}
    assert labels_of(kept, "train") == labels_of(dropped, "train") | {"25": set()}
    assert kept.splits["train"].ids == ["4", "9", "25", "30"]
    assert "unannotated" not in dropped.rule["options"]  # it is younger than many caches
    assert kept.rule["options"]["unannotated"] == "keep"
    load("coco", tmp_path, unannotated="keep", train_images=4, test_images=3)
    refused("coco", tmp_path, "4 images, expected 3", unannotated="keep", train_images=3)


# VOC


def voc_file(root, name="000009"):
    return make("voc", root) / "VOCdevkit/VOC2007/Annotations" / f"{name}.xml"


ENTITIES = '<!DOCTYPE a [<!ENTITY e "horse">]>'
LAUGHS = (
    '<!DOCTYPE a [<!ENTITY a "horse">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in pairwise("abcdefghi"))
    + "]>"
)
OUTSIDE = '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
NAME = "<name>horse</name>"
VOC = {
    "empty": (lambda t: "", "not valid XML"),
    "a web page": (lambda t: "<html><body>404</body></html>", "expected the element <annotation>"),
    "a namespace": (
        lambda t: t.replace("<annotation>", '<annotation xmlns="http://x">'),
        "without a namespace, found <{http://x}annotation>",
    ),
    "a wrapper on top": (lambda t: f"<data>{t}</data>", "found <data>; convert it"),
    "a wrapper of the objects": (
        lambda t: t.replace("</filename>", "</filename><objects>").replace(
            "</annotation>", "</objects></annotation>"
        ),
        "an <object> is not directly inside <annotation>",
    ),
    "a namespace of objects": (
        lambda t: (
            t.replace("<annotation>", '<annotation xmlns:v="v">')
            .replace("<object>", "<v:object>")
            .replace("</object>", "</v:object>")
        ),
        "an <object> is not directly inside <annotation>",
    ),
    "no name": (lambda t: t.replace(NAME, ""), "object of unknown class ''"),
    "two names": (lambda t: t.replace(NAME, NAME * 2), "an object has 2 elements <name>"),
    "a name in capitals": (lambda t: t.replace("horse", "Horse"), "'Horse'; did you mean 'horse'?"),
    "a name of two lines": (lambda t: t.replace("horse", "a&#10;b"), r"class 'a\nb'"),
    "difficult as a word": (lambda t: t.replace("<difficult>1", "<difficult>yes"), "found 'yes'"),
    "difficult twice": (
        lambda t: t.replace("</difficult>", "</difficult><difficult>0</difficult>"),
        "an object has 2 elements <difficult>",
    ),
    "an unknown entity": (lambda t: t.replace("horse", "&horse;"), "not valid XML (undefined ent"),
    "an entity": (lambda t: ENTITIES + t.replace("horse", "&e;"), "it has a document type"),
    "entities that explode": (lambda t: LAUGHS + t.replace("horse", "&i;"), "it has a document ty"),
    "a file outside": (lambda t: OUTSIDE + t.replace("horse", "&e;"), "it has a document type"),
    "a rule outside": (lambda t: '<!DOCTYPE a SYSTEM "http://x/a.dtd">' + t, "a document type"),
    "an unknown encoding": (lambda t: f'<?xml version="1.0" encoding="x"?>{t}', "not valid XML"),
    "a multi-byte encoding": (
        lambda t: f'<?xml version="1.0" encoding="gbk"?>{t}',
        "not valid XML",
    ),
    "two documents": (lambda t: t + t, "not valid XML (junk after document element"),
    "null bytes": (lambda t: t + "\0", "not valid XML"),
    "JSON": (lambda t: '{"annotation": {}}', "not valid XML"),
}


@pytest.mark.parametrize("case", VOC)
def test_voc_annotations_are_checked(tmp_path, case):
    change, *parts = VOC[case]
    file = voc_file(tmp_path)
    file.write_text(change(file.read_text()))
    message = refused("voc", tmp_path, file, *parts)
    assert "root:" not in message  # a line of /etc/passwd


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "iso-8859-1", "windows-1252"])
def test_voc_annotations_may_have_any_encoding_that_they_declare(tmp_path, encoding):
    file = voc_file(tmp_path)
    expected = labels_of(load("voc", tmp_path), "train")
    declared = "utf-8" if encoding == "utf-8-sig" else encoding
    text = file.read_text().replace("Left", "K\u00f6ln")
    text = f'<?xml version="1.0" encoding="{declared}"?>\n<!-- a comment -->{text}'
    file.write_bytes(text.encode(encoding))
    assert labels_of(load("voc", tmp_path), "train") == expected


def test_voc_images_may_have_no_object(tmp_path):
    images = make_datasets.VOC | {"test": {"000001": [("dog", 0)], "000002": []}}
    table = load("voc", make("voc", tmp_path, images))
    assert labels_of(table, "test")["000002"] == set()
