"""Whatever is wrong with a table of labels or a list of NUS-WIDE ends in one line that says so."""

import pytest
from source_cases import labels_of, load, make, refused

from mdkd.data import checks
from mdkd.errors import UserError

HEADER = "file,split,labels\n"
GOOD = "b.jpg,train,dog\nnone.jpg,test,cat\n"
NOT_INSIDE = "column 'file': "
TABLES = {  # the table, and what the message says
    "no header": (GOOD, ":1: no column 'file'; the header needs file, split, labels"),
    "header in capitals": ("File,Split,Labels\n" + GOOD, ":1: no column 'file'"),
    "column twice": (
        "file,split,labels,labels\nb.jpg,train,a,b\n",
        ":1: more than one column 'lab",
    ),
    "blanks as delimiters": ("file split labels\nb.jpg train dog\n", ":1: no column 'file'"),
    "bars as delimiters": ("file|split|labels\nb.jpg|train|dog\n", ":1: no column 'file'"),
    "header alone": (HEADER, "no label; add at least one label"),
    "a web page": ("<!DOCTYPE html>\n<html></html>\n", ":1: no column 'file'"),
    "semicolons, labels not quoted": (
        "file;split;labels\nb.jpg;train;a;b\n",
        ":2: 4 cells",
        "quot",
    ),
    "tabs, ragged": ("file\tsplit\tlabels\nb.jpg\ttrain\n", ":2: 2 cells, but the header has 3"),
    "ragged, more": (HEADER + "b.jpg,train,dog,,\n", ":2: 5 cells, but the header has 3"),
    "absolute path": (
        HEADER + "/etc/passwd,train,a\n",
        ":2: " + NOT_INSIDE + "'/etc/passwd' is not",
    ),
    "path outside": (HEADER + "../b.jpg,train,a\n", ":2: " + NOT_INSIDE + "'../b.jpg' is not"),
    "path through outside": (HEADER + "deep/../../b.jpg,train,a\n", ":2: " + NOT_INSIDE),
    "path of two lines": (HEADER + '"b\n.jpg",train,a\n', ":3: " + NOT_INSIDE + r"'b\n.jpg' is"),
    "path a bell": (HEADER + "b\a.jpg,train,a\n", ":2: " + NOT_INSIDE + r"'b\x07.jpg' is not"),
    "path too long": (HEADER + f"{'x' * 256},train,a\n", ":2: " + NOT_INSIDE + "'xxx"),
    "path of a folder": (HEADER + "deep,train,a\n", ":2: ", "deep: is a folder (1 of 1 of"),
    "home": (HEADER + "~/b.jpg,train,a\n", ":2: ", "/~/b.jpg: no such image"),
    "label of two lines": (HEADER + 'b.jpg,train,"a\nb"\n', ":3: label ", r"'a\nb'", "line breaks"),
    "label alike but for Unicode": (
        HEADER + "b.jpg,train,caf\u00e9\nnone.jpg,test,cafe\u0301\n",
        "label 'caf\u00e9' appears twice",
    ),
    "split with another case": (
        HEADER + "b.jpg,Train,a\n",
        ":2: unknown split 'Train'",
        "'train'?",
    ),
    "split of two lines": (HEADER + 'b.jpg,"tr\nain",a\n', ":3: unknown split ", r"'tr\nain'"),
    "a cell too long": (HEADER + f"b.jpg,train,{'x' * 200000}\n", "not valid CSV (field larger"),
    "quote within": (HEADER + 'b.jpg,train,"a"b\n', ":2: not valid CSV", "check its quotes"),
    "null bytes": (HEADER + "b.jpg,train,a\0\n", "contains null bytes"),
    "UTF-16 without a mark": ((HEADER + GOOD).encode("utf-16-le"), "contains null bytes"),
    "latin-1": (HEADER.encode() + b"b.jpg,train,caf\xe9\n", "not UTF-8 text (byte "),
    "a spreadsheet itself": (b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x9c\xff", "not UTF-8 text"),
    "a pointer of Git LFS": (
        "version https://git-lfs.github.com/spec/v1\n",
        ":1: no column 'file'",
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_tables_are_checked(tmp_path, case):
    table, *parts = TABLES[case]
    root = make("folder", tmp_path)
    (root / "labels.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    refused("folder", root, root / "labels.csv", *parts)


TEXT = HEADER + 'b.jpg,train,"dog; person"\nnone.jpg,test,cat\n'
SPREADSHEETS = {
    "a mark": TEXT.encode("utf-8-sig"),
    "line ends of Windows": TEXT.replace("\n", "\r\n").encode(),
    "line ends of old Macs": TEXT.replace("\n", "\r").encode(),
    "Excel's Unicode text": TEXT.replace(",", "\t").replace("\n", "\r\n").encode("utf-16"),
    "tabs": TEXT.replace(",", "\t").encode(),
    "semicolons": TEXT.replace(",", ";").encode(),
    "semicolons, all quoted": b'"file";"split";"labels"\n"b.jpg";"train";"dog;person"\n'
    b'"none.jpg";"test";"cat"\n',
    "blank lines": TEXT.replace("\n", "\n\n").encode(),
    "no line end at the end": TEXT.strip().encode(),
}


@pytest.mark.parametrize("case", SPREADSHEETS)
def test_tables_of_spreadsheets_are_read(tmp_path, case):
    root = make("folder", tmp_path)
    (root / "labels.csv").write_bytes(SPREADSHEETS[case])
    table = load("folder", root)
    assert labels_of(table, "train") == {"b.jpg": {"dog", "person"}}
    assert labels_of(table, "test") == {"none.jpg": {"cat"}}


def test_names_may_hold_what_a_shell_would_not_like(tmp_path):
    odd = "Z\u00fcrich \u6771\u4eac 'a' #1 {x} 100% $HOME.jpg"
    root = make("folder", tmp_path / "o'neil #1 {50%}")
    (root / "b.jpg").rename(root / odd)
    (root / "labels.csv").write_text(f"{HEADER}{odd},train,a {{b}} #2\nnone.jpg,test,\n")
    table = load("folder", root)
    assert labels_of(table, "train") == {odd: {"a {b} #2"}}
    assert table.splits["train"].image(0).shape == (8, 8, 3)


CLASSES = {
    "none": ([], "no label"),
    "empty": (["a", ""], "label '': expected a name"),
    "with blanks": (["a", "b "], "label 'b ' has blanks at its ends"),
    "twice but for blanks": (["a", " a"], "label 'a' appears twice"),
    "no text": (["a", None], "label null: expected text"),
    "a tab": (["a", "b\tc"], r"label 'b\tc': expected a name"),
}


@pytest.mark.parametrize("case", CLASSES)
def test_names_of_labels_are_checked_for_every_source(case):
    names, message = CLASSES[case]
    with pytest.raises(UserError) as caught:
        checks.labels(names, "data set 'x'")
    assert str(caught.value).startswith(f"data set 'x': {message}")
    checks.labels(["traffic light, red", "a|b", "$x_1$", "Stra\u00dfe", "cat", "Cat"], "accepted")


# NUS-WIDE

CONCEPTS, TRAIN = "ConceptsList/Concepts81.txt", "ImageList/TrainImagelist.txt"
SKY = "Groundtruth/TrainTestLabels/Labels_sky_Train.txt"
LISTS = {  # a file, what is done to its text, and what the message says
    "concept twice": (CONCEPTS, lambda t: t + "sky\r\n", "label 'sky' appears twice"),
    "concept of another": (CONCEPTS, lambda t: t + "lake\r\n", "Labels_lake_Train.txt: cannot be"),
    "concept a path": (CONCEPTS, lambda t: t + "x/../../../y", "is not the path of a file inside"),
    "concepts missing": (CONCEPTS, None, "found none of ConceptsList/Concepts81.txt"),
    "concepts a bell": (CONCEPTS, lambda t: t.replace("sky", "s\aky"), r"label 's\x07ky'"),
    "list missing": (TRAIN, None, "cannot be read (no such file)"),
    "list empty": (TRAIN, lambda t: "\n \n", "is empty"),
    "list shorter": (TRAIN, lambda t: t[: t.index("\r\n") + 2], "4 labels for the 1 images of"),
    "image absolute": (
        TRAIN,
        lambda t: t.replace("zoo\\", "/zoo\\"),
        "'/zoo/0002_174174086.jpg' is",
    ),
    "image outside": (
        TRAIN,
        lambda t: t.replace("zoo\\", "..\\..\\"),
        "'../../0002_174174086.jpg'",
    ),
    "image with 0": (TRAIN, lambda t: t.replace("zoo", "z\0o"), "contains null bytes"),
    "label two": (SKY, lambda t: t.replace("1", "2"), "expected 0 or 1 in every line, found '2'"),
    "label a fraction": (SKY, lambda t: t.replace("1", "1.0"), "found '1.0'"),
    "label a word": (SKY, lambda t: t.replace("1", "yes"), "found 'yes'"),
    "two labels in a line": (SKY, lambda t: t.replace("1 \n", "1 0\n"), "found '1 0'"),
    "labels of Arabic digits": (SKY, lambda t: t.replace("1", "\u0661"), "found '\u0661'"),
    "labels not UTF-8": (SKY, b"1\xe9\n", "not UTF-8 text"),
}


@pytest.mark.parametrize("case", LISTS)
def test_lists_of_nuswide_are_checked(tmp_path, case):
    name, change, *parts = LISTS[case]
    file = make("nuswide", tmp_path) / name
    if change is None:
        file.unlink()
    elif isinstance(change, bytes):
        file.write_bytes(change)
    else:
        file.write_bytes(change(file.read_bytes().decode()).encode())
    refused("nuswide", tmp_path, *parts)


@pytest.mark.parametrize("missing", ["error", "drop"])
def test_a_line_twice_is_not_two_images(tmp_path, missing):
    root = make("nuswide", tmp_path)
    for file in (root / TRAIN, *root.glob("Groundtruth/TrainTestLabels/*_Train.txt")):
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join([*lines, lines[1]]))
    text = "image 'zoo/0002_174174086.jpg' appears twice; remove one of the lines"
    refused("nuswide", root, root / TRAIN, text, missing=missing)
