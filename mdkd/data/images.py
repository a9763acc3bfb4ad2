"""From an image file to the pixels of a cache.

What becomes of the less common kinds of file:

==================== ============================================================================
Greyscale, bilevel   one value in all three channels
Palette              the palette's colours
Transparency         composed over white, whether by alpha channel, palette or a transparent colour
CMYK, YCCK           Pillow's profile-free formula, inverted values of Adobe's JPEGs included
16-bit greyscale     scaled to 8 bits: v / 257, rounded
16-bit colour        the high byte, as Pillow decodes it
32-bit, float        refused: such pixels have no fixed range
Progressive JPEG     as any other JPEG
EXIF orientation     turned upright; the other tags are ignored, damaged ones too
Animations           the first frame
Colour profiles      ignored
Damaged, truncated   refused: no file is ever filled up with grey
==================== ============================================================================
"""

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from mdkd.errors import UserError

RESIZE = "square, bilinear with antialiasing"  # for the rule of a source

TURNS = {  # EXIF orientation: how to undo it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UndecodableImage(UserError):
    """The content of an image file is at fault; a data set may drop such images."""


def read_image(path: Path, size: int) -> np.ndarray:
    """Decode, turn upright, make RGB and resize to uint8 ``[size, size, 3]``.

    Bilinear with antialiasing; the aspect ratio is not kept, as in the papers' protocols.

    Raises:
        UndecodableImage: the file is truncated, no image or of an unknown range of values.
        UserError: it is missing or cannot be read. Either message names it.
    """
    try:
        with Image.open(path) as image:
            image.load()
            turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
            upright = image if turn is None else image.transpose(turn)
            rgb = _rgb(upright, image.format)
            return np.asarray(rgb.resize((size, size), Image.Resampling.BILINEAR))
    except FileNotFoundError:
        raise UserError(f"{path}: no such image") from None
    except Exception as error:  # on damaged files, decoders raise nearly anything
        # Decoders give no error numbers: one with a number tells of the disk, not of the image.
        of_system = isinstance(error, MemoryError) or getattr(error, "errno", None) is not None
        kind = UserError if of_system else UndecodableImage
        raise kind(f"{path}: cannot be decoded ({error}); replace the file") from None


def _rgb(image: Image.Image, format: str | None) -> Image.Image:
    # Before Pillow 11 or so, a 16-bit PNG is of mode I; a 16-bit PPM still is.
    if image.mode.startswith("I;16") or (image.mode == "I" and format in ("PNG", "PPM")):
        values_HW = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values_HW + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"32-bit pixels, mode {image.mode}, have no fixed range; make them 8-bit")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
