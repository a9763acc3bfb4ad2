"""Decoding of image files, pixel by pixel."""

import numpy as np
import pytest
from make_datasets import photo, write
from PIL import Image

from mdkd.data.images import read_image
from mdkd.errors import UserError

# Decoding


def saved(tmp_path, image, name, **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def colours(size=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3)).astype(np.uint8)


@pytest.mark.parametrize("progressive", [False, True])
def test_plain_jpegs_are_decoded_and_resized_by_pillow_alone(tmp_path, progressive):
    smooth = Image.fromarray(colours(4)).resize((50, 37), Image.Resampling.BICUBIC)
    file = saved(tmp_path, smooth, "a.jpg", progressive=progressive)
    with Image.open(file) as image:
        assert ("progressive" in image.info) == progressive
        expected = np.asarray(image.resize((12, 12), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(read_image(file, 12), expected)


def test_shrinking_averages_and_stretches(tmp_path):
    stripes = np.zeros((40, 60, 3), np.uint8)
    stripes[:, ::2] = 255
    stripes[20:] //= 2
    pixels = read_image(saved(tmp_path, Image.fromarray(stripes), "a.png"), 10)
    assert pixels[:4].mean() == pytest.approx(127.5, abs=2)
    assert pixels[6:].mean() == pytest.approx(63.5, abs=2)


def test_pixels_of_the_wanted_size_stay_as_they_are(tmp_path):
    image = Image.fromarray(colours())
    for name in ("a.png", "a.bmp", "a.tif"):
        np.testing.assert_array_equal(read_image(saved(tmp_path, image, name), 16), colours())


def test_greyscale_and_bilevel_fill_all_channels(tmp_path):
    grey = colours()[:, :, 0]
    file = saved(tmp_path, Image.fromarray(grey), "a.png")
    np.testing.assert_array_equal(read_image(file, 16), np.repeat(grey[:, :, None], 3, axis=2))
    file = saved(tmp_path, Image.fromarray(grey > 127), "b.png")
    pixels = read_image(file, 16)
    np.testing.assert_array_equal(pixels[:, :, 1], np.where(grey > 127, 255, 0))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.ppm", "big-endian.tif"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, name):
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    ramp[0, 1] += 128  # rounds down, one more would round up
    ramp[0, 2] += 129
    stored = ramp.astype(">u2") if "big" in name else ramp
    pixels = read_image(saved(tmp_path, Image.fromarray(stored), name), 16)
    expected = np.arange(256).reshape(16, 16)
    expected[0, 2] += 1
    for channel in range(3):
        np.testing.assert_array_equal(pixels[:, :, channel], expected)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_without_a_range_are_refused(tmp_path, dtype):
    file = saved(tmp_path, Image.fromarray(np.ones((4, 4), dtype)), "a.tif")
    with pytest.raises(UserError, match=r"a\.tif: cannot be decoded \(32-bit pixels"):
        read_image(file, 4)


def test_palettes_give_their_colours(tmp_path):
    image = Image.fromarray(colours()).quantize(16)
    pixels = read_image(saved(tmp_path, image, "a.png"), 16)
    np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))


def test_what_is_transparent_shows_white(tmp_path):
    palette = Image.fromarray(colours()).quantize(16)
    pixels = read_image(saved(tmp_path, palette, "p.png", transparency=3), 16)
    clear = np.asarray(palette) == 3
    assert clear.any()
    assert (pixels[clear] == 255).all()
    np.testing.assert_array_equal(pixels[~clear], np.asarray(palette.convert("RGB"))[~clear])

    alpha = np.repeat(np.array([0, 51, 255, 255], np.uint8)[None], 4, axis=0)
    red = np.zeros((4, 4, 3), np.uint8)
    red[:, :, 0] = 100
    rgba = Image.fromarray(np.dstack([red, alpha]))
    pixels = read_image(saved(tmp_path, rgba, "rgba.png"), 4)
    assert pixels[0].tolist() == [[255, 255, 255], [224, 204, 204], [100, 0, 0], [100, 0, 0]]

    grey = Image.fromarray(np.full((4, 4), 100, np.uint8))
    grey.putalpha(Image.fromarray(alpha))
    assert read_image(saved(tmp_path, grey, "la.png"), 4)[0, :, 0].tolist() == [255, 224, 100, 100]

    rgb = Image.fromarray(red)
    rgb.putpixel((1, 0), (0, 0, 255))
    pixels = read_image(saved(tmp_path, rgb, "key.png", transparency=(0, 0, 255)), 4)
    assert pixels[0].tolist() == [[100, 0, 0], [255, 255, 255], [100, 0, 0], [100, 0, 0]]


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
@pytest.mark.parametrize(
    ("inks", "colour"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 255, 255, 0), (255, 0, 0)),
        ((0, 0, 255, 128), (127, 127, 0)),
    ],
)
def test_cmyk_is_ink_on_paper(tmp_path, name, inks, colour):
    file = saved(tmp_path, Image.new("CMYK", (16, 16), inks), name)
    assert np.abs(read_image(file, 4).astype(int) - colour).max() <= 4


# Where the four corners of the upright picture (0 1 over 2 3) lie in the file.
ORIENTATIONS = {
    1: [[0, 1], [2, 3]],
    2: [[1, 0], [3, 2]],
    3: [[3, 2], [1, 0]],
    4: [[2, 3], [0, 1]],
    5: [[0, 2], [1, 3]],
    6: [[1, 3], [0, 2]],
    7: [[3, 1], [2, 0]],
    8: [[2, 0], [3, 1]],
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "sixteen.png"])
def test_pictures_are_turned_upright(tmp_path, orientation, name):
    grey = np.array(ORIENTATIONS[orientation], np.uint8) * 80
    grey = np.kron(grey, np.ones((8, 8), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = grey.astype(np.uint16) * 257 if name == "sixteen.png" else grey
    pixels = read_image(saved(tmp_path, Image.fromarray(stored), name, exif=exif), 16)
    corners = [int(pixels[y, x, 0]) for y in (2, 13) for x in (2, 13)]
    assert np.abs(np.array(corners) - [0, 80, 160, 240]).max() <= 3


def test_a_sideways_picture_is_stretched_after_it_was_turned(tmp_path):
    wide = np.zeros((16, 48), np.uint8)
    wide[:, 24:] = 255  # upright, this is the lower half
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = read_image(saved(tmp_path, Image.fromarray(wide), "a.png", exif=exif), 8)
    assert pixels[:3].max() == 0
    assert pixels[5:].min() == 255


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_senseless_orientations_are_ignored(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(tmp_path, Image.fromarray(colours()), "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(file, 16), colours())


def test_other_damaged_tags_do_no_harm(tmp_path):
    exif = Image.Exif()
    exif[0x0100] = 16  # the width
    exif[0x0112] = 3
    file = saved(tmp_path, Image.fromarray(colours()), "a.jpg", exif=exif)
    expected = read_image(file, 16)
    content = file.read_bytes()
    width_as_number, width_as_text = b"\x01\x00\x00\x04", b"\x01\x00\x00\x02"
    assert content.count(width_as_number) == 1
    file.write_bytes(content.replace(width_as_number, width_as_text))
    np.testing.assert_array_equal(read_image(file, 16), expected)


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    file = saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert (read_image(file, 8) == [255, 0, 0]).all()


@pytest.mark.parametrize("name", ["a.jpg", "progressive.jpg", "a.png", "a.gif", "a.tif", "a.webp"])
@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.9])
def test_truncated_files_are_refused_and_named(tmp_path, name, kept):
    options = {"progressive": True} if "progressive" in name else {}
    file = saved(tmp_path, Image.fromarray(colours(32)), name, **options)
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match="cannot be decoded") as caught:
        read_image(file, 8)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_images_are_refused(tmp_path):
    write(tmp_path / "a.jpg", "<html>not found</html>")
    with pytest.raises(UserError, match=r"a\.jpg: cannot be decoded \(cannot identify"):
        read_image(tmp_path / "a.jpg", 8)
    with pytest.raises(UserError, match=r"b\.jpg: no such image"):
        read_image(tmp_path / "b.jpg", 8)
    with pytest.raises(UserError, match="is a folder"):
        read_image(tmp_path, 8)


def test_randomly_damaged_files_give_pixels_or_one_line(tmp_path):
    rng = np.random.default_rng(5)
    for name in ("a.png", "a.jpg", "a.gif"):
        photo(tmp_path / "photo.jpg")
        with Image.open(tmp_path / "photo.jpg") as image:
            image.save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        for _ in range(150):
            spoilt = bytearray(content)
            for place in rng.integers(0, len(content), 4):
                spoilt[place] = rng.integers(256)
            (tmp_path / name).write_bytes(bytes(spoilt))
            try:
                assert read_image(tmp_path / name, 8).shape == (8, 8, 3)
            except UserError as error:
                assert str(tmp_path / name) in str(error)
                assert "\n" not in str(error)
