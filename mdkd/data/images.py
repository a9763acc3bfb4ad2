"""From an image file to the pixels of a cache."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mdkd.errors import UserError


def read_image(path: Path, size: int) -> np.ndarray:
    """Decode, turn upright by the EXIF tag, make RGB and resize to uint8 ``[size, size, 3]``.

    Bilinear with antialiasing; the aspect ratio is not kept, as in the papers' protocols.

    Raises:
        UserError: the file is missing, truncated or no image; the message names it.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
            return np.asarray(upright.resize((size, size), Image.Resampling.BILINEAR))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be decoded ({error}); replace the file") from None
