"""Thousands of damaged copies of valid files: each is read to something valid, or is one line."""

import io
import json
import os
import tarfile
import zipfile

import make_datasets
import mutations
import numpy as np
import pytest
from PIL import Image
from source_cases import SIZE, load, make

from mdkd.config import Dataset
from mdkd.data.build import build
from mdkd.data.cache import open_cache, verify
from mdkd.data.download import _read_record
from mdkd.data.images import read_image
from mdkd.data.reading import is_clean
from mdkd.data.sources import scenes
from mdkd.data.unpack import unpack
from mdkd.errors import UserError

pytestmark = [
    pytest.mark.usefixtures("no_power_cut"),
    pytest.mark.filterwarnings("ignore"),  # Pillow's and NumPy's, about what they read
]
JSON_SEEDS = 500


def settled(read, base):
    """What ``read`` returns; None if it is refused with one line that names a file below ``base``.

    Any other exception is a fault of ours.
    """
    try:
        return read()
    except UserError as error:
        message = str(error)
        assert len(message.splitlines()) == 1 and is_clean(message), message
        assert str(base) in message, message
        assert len(message) < 1500, message
        return None


def valid(source, root):
    """Read a data set, which passes the checks of `source_cases.load` or is refused."""
    table = settled(lambda: load(source, root), root)
    if table is None:
        return False
    for split in table.splits.values():
        for file in split.files:
            assert file.is_file() and file.resolve().is_relative_to(root.resolve())
    return True


def outcomes(count, one):
    """How many of ``count`` damaged copies are valid; some must be, and most need not."""
    return sum(bool(one(seed)) for seed in range(count))


FILES = {  # a file of each reader, and how many damaged copies of it
    "annotations/instances_train2014.json": ("coco", 500),
    "VOCdevkit/VOC2007/Annotations/000009.xml": ("voc", 400),
    "VOCdevkit/VOC2007/ImageSets/Main/trainval.txt": ("voc", 150),
    "VOCdevkit/VOC2007/ImageSets/Main/bus_test.txt": ("voc", 100),
    "ImageList/TrainImagelist.txt": ("nuswide", 250),
    "Groundtruth/TrainTestLabels/Labels_sky_Train.txt": ("nuswide", 150),
    "ConceptsList/Concepts81.txt": ("nuswide", 150),
    "labels.csv": ("folder", 500),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_labels(tmp_path, name):
    source, count = FILES[name]
    file = make(source, tmp_path) / name
    content = file.read_bytes()
    assert valid(source, tmp_path)

    def one(seed):
        file.write_bytes(mutations.of_bytes(content, seed))
        return valid(source, tmp_path)

    assert 0 < outcomes(count, one) < count


@pytest.mark.parametrize("unannotated", ["drop", "keep"])
def test_values_of_coco(tmp_path, unannotated):
    file = make("coco", tmp_path) / "annotations" / "instances_train2014.json"
    content = json.loads(file.read_text())

    def one(seed):
        file.write_text(json.dumps(mutations.of_value(content, seed)))
        table = settled(lambda: load("coco", tmp_path, unannotated=unannotated), tmp_path)
        return table is not None

    assert 0 < outcomes(JSON_SEEDS, one) < JSON_SEEDS


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF"])
def test_images(tmp_path, kind):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    image = Image.fromarray(pixels).resize((24, 16), Image.Resampling.BICUBIC)
    buffer, file = io.BytesIO(), tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(buffer, kind, **({} if kind == "GIF" else {"exif": exif}))

    def one(seed):
        file.write_bytes(mutations.of_bytes(buffer.getvalue(), seed))
        found = settled(lambda: read_image(file, SIZE), file)
        assert found is None or (found.shape == (SIZE, SIZE, 3) and found.dtype == np.uint8)
        return found is not None

    assert 0 < outcomes(200, one) < 200


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    base = tmp_path_factory.mktemp("made")
    dataset = Dataset(name="tiny", source="voc", image_size=SIZE, options={"difficult": "ignore"})
    build(dataset, make_datasets.voc(base / "data"), base / "tiny")
    return base / "tiny"


def valid_cache(folder):
    cache = settled(lambda: open_cache(folder), folder)
    if cache is None:
        return False
    for split in cache.splits.values():
        assert split.images_NSSC.shape == (len(split.ids), SIZE, SIZE, 3)
        assert split.targets_NC.shape == (len(split.ids), len(cache.classes))
    settled(lambda: verify(folder), folder)
    return True


CACHED = {"meta.json": 300, "images_train.npy": 150, "labels_test.npy": 150, "ids_train.json": 150}


@pytest.mark.parametrize("name", CACHED)
def test_files_of_a_cache(made, name):
    file = made / name
    content = file.read_bytes()

    def one(seed):
        file.write_bytes(mutations.of_bytes(content, seed))
        return valid_cache(made)

    try:
        assert outcomes(CACHED[name], one) < CACHED[name]
    finally:
        file.write_bytes(content)
    assert valid_cache(made)


def test_values_of_a_cache(made):
    file = made / "meta.json"
    content = file.read_bytes()

    def one(seed):
        file.write_text(json.dumps(mutations.of_value(json.loads(content), seed)))
        return valid_cache(made)

    try:
        assert 0 < outcomes(JSON_SEEDS, one) < JSON_SEEDS
    finally:
        file.write_bytes(content)


def tarred(mode):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as container:
        for name in ("folder/a.jpg", "folder/b.xml"):
            info = tarfile.TarInfo(name)
            info.size = 600
            container.addfile(info, io.BytesIO(os.urandom(600)))
    return buffer.getvalue()


def zipped(compression):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as container:
        for name in ("folder/a.jpg", "folder/b.xml"):
            container.writestr(name, os.urandom(600))
    return buffer.getvalue()


ARCHIVES = {
    "a.tar": lambda: tarred("w"),
    "gz.tar": lambda: tarred("w:gz"),
    "xz.tar": lambda: tarred("w:xz"),
    "a.zip": lambda: zipped(zipfile.ZIP_DEFLATED),
    "bz2.zip": lambda: zipped(zipfile.ZIP_BZIP2),
    "lzma.zip": lambda: zipped(zipfile.ZIP_LZMA),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives(tmp_path, name):
    content, file, folder = ARCHIVES[name](), tmp_path / name, tmp_path / "folder" / "to"

    def one(seed):
        file.write_bytes(mutations.of_bytes(content, seed))
        return settled(lambda: unpack(file, folder) or True, file)

    outcomes(60, one)
    assert {path.name for path in tmp_path.iterdir()} <= {name, "folder"}
    assert {path.name for path in tmp_path.glob("folder/*")} <= {"to"}


def test_records_of_downloads(tmp_path):
    file = tmp_path / "download.json"
    content = {"archives": [{"name": "a.tar", "size": 5, "checksum": None}], "files": 3}

    def one(seed):
        file.write_text(json.dumps(mutations.of_value(content, seed)))
        return settled(lambda: _read_record(file, "move it away"), file)

    assert 0 < outcomes(200, one) < 200


GRAPH = {
    "classes": ["person", "car", "dog"],
    "scenes": {
        "street": {"weight": 3, "labels": {"person": 0.6, "car": ["person", 0.2, 0.7]}},
        "park": {"weight": 1, "labels": {"person": 0.3, "dog": ["person", 0.4, 0.8]}},
    },
}


def test_graphs_of_scenes(tmp_path):
    file = tmp_path / "graph.json"
    options = scenes.Options(train=2, test=2, graph="graph.json")

    def one(seed):
        file.write_text(json.dumps(mutations.of_value(GRAPH, seed)))
        return settled(lambda: scenes.load(options, tmp_path, 16), file)

    assert 0 < outcomes(200, one) < 200
