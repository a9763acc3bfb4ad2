"""Decode an image file to the pixels of a cache.

Less common kinds of files are handled as follows:

==================== ============================================================================
Greyscale, bilevel   the same value in all three channels
Palette              the palette's colours
Transparency         put on white; alpha channel, palette transparency or one transparent colour
CMYK, YCCK           Pillow's formula without colour profiles; Adobe's inverted JPEGs are handled
16-bit greyscale     scaled to 8 bits: v / 257, rounded
16-bit colour        the high byte, as Pillow decodes it
32-bit, float        an error, because such pixels have no fixed range
Progressive JPEG     like any other JPEG
EXIF orientation     the image is turned upright; other tags and damaged tags are ignored
Animations           the first frame
Colour profiles      ignored
Damaged, truncated   an error; missing pixels are never filled with grey
Very large           an error above 179 million pixels (Pillow's limit against "bombs")
PostScript (EPS)     an error, because decoding runs the file as a program
==================== ============================================================================
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from mdkd.data.reading import problem, reason_of
from mdkd.errors import UserError

RESIZE = "square, bilinear with antialiasing"  # recorded in the rule of a source

TURNS = {  # EXIF orientation -> the operation that turns the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UndecodableImage(UserError):
    """The content of an image file is damaged or unsupported. A data set may drop such images."""


def no_image(path: Path) -> str | None:
    """Why ``path`` cannot be an image, whatever its content is; None if it is an ordinary file."""
    reason = problem(path)
    return "no such image" if reason == "no such file" else reason


def read_image(path: Path, size: int) -> np.ndarray:
    """Decode an image, turn it upright, convert it to RGB and resize it.

    Returns uint8 ``[size, size, 3]``. Resizing is bilinear with antialiasing. The aspect ratio is
    not kept, as in the papers' protocols.

    Raises:
        UndecodableImage: the file is truncated, is not an image, or has no fixed range of values.
        UserError: the file is missing or cannot be read.
    """
    if (reason := no_image(path)) is not None:
        raise UserError(f"{path}: {reason}; replace it by an image")
    try:
        with _without_warnings(), Image.open(path) as image:
            if image.format == "EPS":
                raise ValueError("PostScript is a program; convert it to PNG or JPEG")
            image.load()
            turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
            upright = image if turn is None else image.transpose(turn)
            rgb = _rgb(upright, image.format)
            return np.asarray(rgb.resize((size, size), Image.Resampling.BILINEAR))
    except Exception as error:  # damaged files can make a decoder raise almost any exception
        # Only the operating system sets an errno. Such errors are about the disk, not the image.
        of_system = isinstance(error, MemoryError) or getattr(error, "errno", None) is not None
        kind = UserError if of_system else UndecodableImage
        raise kind(f"{path}: cannot be decoded ({reason_of(error)}); replace the file") from None


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Pillow warns from half of its limit on. Images up to the limit are decoded without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _rgb(image: Image.Image, format: str | None) -> Image.Image:
    # Pillow before about version 11 gives mode I to a 16-bit PNG. A 16-bit PPM still has mode I.
    if image.mode.startswith("I;16") or (image.mode == "I" and format in ("PNG", "PPM")):
        values_HW = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values_HW + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(
            f"32-bit pixels (mode {image.mode}) have no fixed range; convert them to 8 bits"
        )
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
