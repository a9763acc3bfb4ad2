"""Image files that are none, or that want too much: one line, for every kind of file."""

import io
import os
import struct
import zlib

import make_datasets
import numpy as np
import pytest
from PIL import Image
from source_cases import SIZE, load, make, refused

from mdkd.config import Dataset
from mdkd.data import images
from mdkd.data.build import build
from mdkd.data.cache import open_cache
from mdkd.data.images import UndecodableImage, read_image
from mdkd.errors import UserError


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


GREY = Image.new("L", (8, 8), 100)
JPEG, PNG = encoded(GREY, "JPEG"), encoded(GREY, "PNG")


def png(width, height, pixels=b""):
    """A PNG of this size whose pixels are these bytes, compressed."""

    def chunk(name, content):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(x) run\n%%EOF\n"
BAD = {  # what is in a file called a.jpg, and a part of the message
    "nothing": (b"", "cannot identify image file"),
    "zeros": (bytes(1000), "cannot identify image file"),
    "a web page": (b"<html>not found</html>", "cannot identify image file"),
    "a pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "cannot identify"),
    "a vector graphic": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "cannot identify"),
    "a program in PostScript": (EPS, "PostScript is a program"),
    "a document": (b"%PDF-1.4\n%%EOF\n", "cannot identify image file"),
    "the start of a JPEG": (JPEG[:2], "cannot identify image file"),
    "half a JPEG": (JPEG[: len(JPEG) - 30], "runcated"),
    "half a PNG": (PNG[: len(PNG) // 2], "cannot be decoded"),
    "a PNG without pixels": (png(8, 8), "cannot be decoded"),
    "a PNG of no size": (png(0, 8), "cannot be decoded"),
    "a PNG with a wrong checksum": (PNG.replace(b"IDAT", b"IDAU"), "cannot be decoded"),
    "a PNG of 10^10 pixels": (png(10**5, 10**5), "decompression bomb"),
    "a PNG of 2^62 pixels": (png(2**31 - 1, 2**31 - 1), "decompression bomb"),
    "a GIF of few bytes": (b"GIF89a\xff\xff\xff\xff\0\0\0", "cannot be decoded"),
    "a BMP of negative size": (
        b"BM" + struct.pack("<IIIIiiHH", 0, 0, 54, 40, -9, 9, 1, 24),
        "canno",
    ),
    "floats": (
        encoded(Image.new("F", (4, 4)), "TIFF"),
        "32-bit pixels (mode F) have no fixed range",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_contents_that_are_no_image(tmp_path, case):
    content, message = BAD[case]
    file = tmp_path / "a.jpg"
    file.write_bytes(content)
    with pytest.raises(UndecodableImage) as caught:
        read_image(file, SIZE)
    text = str(caught.value)
    assert text.startswith(f"{file}: cannot be decoded (")
    assert message in text and text.endswith("; replace the file")
    assert len(text.splitlines()) == 1


def pipe(file):
    os.mkfifo(file)


def device(file):
    file.symlink_to("/dev/zero")


def loop(file):
    file.symlink_to(file)


def dangling(file):
    file.symlink_to(file.with_name("gone.jpg"))


def socket(file):
    file.symlink_to("/dev/null")


NO_FILES = {
    "a folder": (lambda file: file.mkdir(), "is a folder"),
    "a pipe": (pipe, "is a pipe or a device"),
    "an endless device": (device, "is a pipe or a device"),
    "an empty device": (socket, "is a pipe or a device"),
    "a link to itself": (loop, "a link that leads to itself"),
    "a link to nothing": (dangling, "the file that this link names is missing"),
    "nothing": (lambda file: None, "no such image"),
}
FIRST_IMAGE = {
    "coco": "train2014/COCO_train2014_000000000009.jpg",
    "folder": "b.jpg",
    "nuswide": "Flickr/actor/0001_2124494179.jpg",
    "voc": "VOCdevkit/VOC2007/JPEGImages/000005.jpg",
}


@pytest.mark.parametrize("case", NO_FILES)
def test_what_is_no_file_is_never_opened(tmp_path, case):
    spoil, message = NO_FILES[case]
    spoil(tmp_path / "a.jpg")
    with pytest.raises(UserError) as caught:
        read_image(tmp_path / "a.jpg", SIZE)
    assert f"{tmp_path / 'a.jpg'}: {message}; " in str(caught.value)
    assert not isinstance(caught.value, UndecodableImage)  # `damaged: drop` does not drop it


@pytest.mark.parametrize("case", NO_FILES)
@pytest.mark.parametrize("source", FIRST_IMAGE)
def test_what_is_no_file_is_found_before_anything_is_decoded(tmp_path, source, case):
    spoil, message = NO_FILES[case]
    file = make(source, tmp_path) / FIRST_IMAGE[source]
    file.unlink()
    spoil(file)
    refused(source, tmp_path, f"{file}: {message} (1 of ", "are missing)")


def test_an_image_without_permission_is_not_dropped(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(JPEG)

    def denied(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(images.Image, "open", denied)  # the tests may run as root
    with pytest.raises(UserError, match=r"a\.jpg: cannot be decoded .*Permission denied") as caught:
        read_image(tmp_path / "a.jpg", SIZE)
    assert not isinstance(caught.value, UndecodableImage)


def test_an_image_that_does_not_fit_into_memory_is_not_dropped(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(JPEG)

    def too_large(path):
        raise MemoryError

    monkeypatch.setattr(images.Image, "open", too_large)
    with pytest.raises(UserError, match=r"a\.jpg: cannot be decoded \(MemoryError\)") as caught:
        read_image(tmp_path / "a.jpg", SIZE)
    assert not isinstance(caught.value, UndecodableImage)


@pytest.mark.filterwarnings("error")
def test_large_photographs_are_read_without_a_word(tmp_path, monkeypatch):
    """Pillow warns from its limit on, and refuses from twice the limit on."""
    monkeypatch.setattr(images.Image, "MAX_IMAGE_PIXELS", 100)
    file = tmp_path / "a.png"
    Image.new("RGB", (20, 10), "red").save(file)
    assert (read_image(file, 2) == [255, 0, 0]).all()
    Image.new("RGB", (21, 10), "red").save(file)
    with pytest.raises(UndecodableImage, match="decompression bomb"):
        read_image(file, 2)


# What is accepted on purpose

RED = Image.new("RGB", (8, 8), (200, 0, 0))
FRAMES = [RED, Image.new("RGB", (8, 8), (0, 0, 200))]
GOOD = {
    "PNG": encoded(RED, "PNG"),
    "GIF": encoded(RED, "GIF"),
    "BMP": encoded(RED, "BMP"),
    "TIFF": encoded(RED, "TIFF"),
    "WebP": encoded(RED, "WEBP", lossless=True),
    "PPM": encoded(RED, "PPM"),
    "an animated GIF": encoded(RED, "GIF", save_all=True, append_images=FRAMES[1:]),
    "an animated PNG": encoded(RED, "PNG", save_all=True, append_images=FRAMES[1:]),
    "a TIFF of two pages": encoded(RED, "TIFF", save_all=True, append_images=FRAMES[1:]),
    "a JPEG with more behind it": encoded(RED, "JPEG", quality=100) + b"more",
}


@pytest.mark.parametrize("case", GOOD)
def test_the_content_says_the_kind_not_the_ending(tmp_path, case):
    (tmp_path / "a.jpg").write_bytes(GOOD[case])
    pixels = read_image(tmp_path / "a.jpg", 4)
    assert np.abs(pixels.astype(int) - [200, 0, 0]).max() <= 2


ODD_NAMES = (
    "Z\u00fcrich \u6771\u4eac.jpg",
    "a b.jpg",
    "o'neil.jpg",
    'q".jpg',
    "#1 {x} 100%.jpg",
    "~.jpg",
)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_of_images_and_folders_may_be_odd(tmp_path, name):
    root = make_datasets.folder(tmp_path / name.removesuffix(".jpg"))
    (root / "b.jpg").rename(root / name)
    cell = '"' + name.replace('"', '""') + '"'
    (root / "labels.csv").write_text(f"file,split,labels\n{cell},train,a\nnone.jpg,test,a\n")
    assert load("folder", root).splits["train"].ids == [name]
    folder = tmp_path / f"cache {name}"
    build(Dataset(name="tiny", source="folder", image_size=SIZE), root, folder)
    assert open_cache(folder).splits["train"].ids == [name]
    (root / name).write_bytes(JPEG[:50])
    with pytest.raises(UserError) as caught:
        build(Dataset(name="tiny", source="folder", image_size=SIZE), root, folder)
    assert f"{root / name}: cannot be decoded" in str(caught.value)
