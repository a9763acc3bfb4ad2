"""Tiny data sets in the official formats, with the peculiarities of the official files."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from mdkd.data.sources.voc import CLASSES


def photo(path, seed=0, width=24, height=16):
    """A JPEG of smooth colours that differ from seed to seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    image.save(path, "JPEG", quality=90)


def write(path, text):
    """A text file and the folders it lies in; line ends are written as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


# Each object: its class, and whether it is marked difficult.
VOC = {
    "trainval": {
        "000005": [("chair", 0), ("chair", 1), ("person", 0)],
        "000007": [("car", 1)],  # nothing else: without it, no label at all
        "000009": [("horse", 0), ("person", 1)],
        "000012": [("tvmonitor", 0), ("aeroplane", 0)],
    },
    "test": {
        "000001": [("dog", 0), ("person", 0)],
        "000002": [("train", 0)],
        "000003": [("sofa", 0), ("chair", 1)],
    },
}


def voc(root, splits=None):
    """VOC2007 as its archives unpack below ``root``, lists of every class included."""
    folder = root / "VOCdevkit" / "VOC2007"
    for split, images in (splits or VOC).items():
        main = folder / "ImageSets" / "Main"
        write(main / f"{split}.txt", "".join(f"{name}\n" for name in images))
        for label in CLASSES:
            lines = []
            for name, objects in images.items():
                marks = [difficult for thing, difficult in objects if thing == label]
                value = 1 if 0 in marks else 0 if marks else -1
                lines.append(f"{name} {value:2d}\n")  # two blanks before a positive number
            write(main / f"{label}_{split}.txt", "".join(lines))
        for seed, (name, objects) in enumerate(images.items()):
            photo(folder / "JPEGImages" / f"{name}.jpg", seed)
            write(folder / "Annotations" / f"{name}.xml", voc_annotation(name, objects))
    return root


def voc_annotation(name, objects):
    """One image's XML; a person's parts are objects of their own kind and no labels."""
    described = ""
    for thing, difficult in objects:
        part = "<part><name>head</name></part>" if thing == "person" else ""
        described += f"""
    <object>
        <name>{thing}</name>
        <pose>Left</pose>
        <truncated>1</truncated>
        <difficult>{difficult}</difficult>
        <bndbox><xmin>8</xmin><ymin>4</ymin><xmax>20</xmax><ymax>12</ymax></bndbox>{part}
    </object>"""
    return f"<annotation>\n    <filename>{name}.jpg</filename>{described}\n</annotation>\n"


COCO_CATEGORIES = [(90, "toothbrush"), (1, "person"), (18, "dog"), (3, "car")]
# Each image: its identifier and the categories of its objects, "crowd" ones after a minus sign.
COCO = {
    "train2014": {9: [18, 18, 1], 25: [], 4: [-1], 30: [90, 3]},
    "val2014": {71: [3], 42: [1, -1, 18], 74: []},
}


def coco(root, splits=None):
    """MS-COCO 2014 as its archives unpack: gaps between identifiers, nothing sorted."""
    for split, images in (splits or COCO).items():
        listed, annotations = [], []
        for image_id, categories in images.items():
            name = f"COCO_{split}_{image_id:012d}.jpg"
            photo(root / split / name, image_id)
            listed.append({"id": image_id, "file_name": name, "width": 24, "height": 16})
            for category in categories:
                annotations.append(
                    {
                        "id": 1000 - len(annotations),
                        "image_id": image_id,
                        "category_id": abs(category),
                        "iscrowd": int(category < 0),
                        "bbox": [0, 0, 5, 5],
                    }
                )
        content = {
            "info": {"year": 2014},
            "images": listed,
            "annotations": annotations[::-1],
            "categories": [{"id": key, "name": name} for key, name in COCO_CATEGORIES],
        }
        write(root / "annotations" / f"instances_{split}.json", json.dumps(content))
    return root


NUS_CONCEPTS = ("animal", "sky", "person")
NUS = {
    "Train": {
        "actor\\0001_2124494179.jpg": "animal person",
        "zoo\\0002_174174086.jpg": "",
        "sky\\0003_2330066085.jpg": "sky",
        "actor\\0004_2124494180.jpg": "person",
    },
    "Test": {
        "zoo\\0002_99.jpg": "animal",
        "sky\\0009_12.jpg": "",
        "actor\\0001_7.jpg": "sky person",
    },
}


def nuswide(root, splits=None, groundtruth="Groundtruth/", concepts="ConceptsList/"):
    """NUS-WIDE as its archives unpack: backslashes, blanks at line ends, both kinds of line end."""
    write(root / concepts / "Concepts81.txt", "".join(f"{name}\r\n" for name in NUS_CONCEPTS))
    for part, images in (splits or NUS).items():
        write(
            root / "ImageList" / f"{part}Imagelist.txt",
            "".join(f"{name}  \r\n" for name in images),
        )
        for concept in NUS_CONCEPTS:
            lines = [f"{int(concept in words.split())} \n" for words in images.values()]
            labels = root / groundtruth / "TrainTestLabels"
            write(labels / f"Labels_{concept}_{part}.txt", "".join(lines))
        for seed, name in enumerate(images):
            photo(root / "Flickr" / name.replace("\\", "/"), seed)
    return root


FOLDER = """\
file,split,labels
b.jpg,train,dog; person
deep/a.jpg,train,cat
"with, comma.jpg",test,person
none.jpg,test,
"""


def folder(root, table=FOLDER):
    """Images and ``labels.csv``, the table as given; images of other tables are not drawn."""
    for seed, name in enumerate(("b.jpg", "deep/a.jpg", "with, comma.jpg", "none.jpg")):
        photo(root / name, seed)
    write(root / "labels.csv", table)
    return Path(root)


def imagefolder(root, train=None, test="file_name,labels\nnone.jpg,\ntwo.jpg,person; cat\n"):
    """Two folders: one with JSON Lines, one with a CSV file."""
    default = '{"file_name": "b.jpg", "labels": ["dog", "person"]}\n\n'
    default += '{"file_name": "deep/a.jpg", "labels": [], "more": 1}\n'
    for seed, name in enumerate(
        ("train/b.jpg", "train/deep/a.jpg", "test/none.jpg", "test/two.jpg")
    ):
        photo(Path(root) / name, seed)
    write(Path(root) / "train" / "metadata.jsonl", default if train is None else train)
    write(Path(root) / "test" / "metadata.csv", test)
    return Path(root)
