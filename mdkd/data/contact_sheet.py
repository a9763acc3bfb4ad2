"""A picture of a cache's first training images, for a visual check.

Shape key: N images, C labels, S pixels on a side.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mdkd import records

COLUMNS, ROWS = 8, 6
SIDE, TEXT = 128, 44  # pixels of an image's side, and of the text below it


def write(
    path: Path, images_NSSC: np.ndarray, targets_NC: np.ndarray, classes: tuple[str, ...]
) -> None:
    """Write a PNG of the first images with their labels, as the networks see them."""
    sheet = Image.new("RGB", (COLUMNS * (SIDE + 8), ROWS * (SIDE + TEXT)), "white")
    draw = ImageDraw.Draw(sheet)
    for i in range(min(COLUMNS * ROWS, len(images_NSSC))):
        x, y = (i % COLUMNS) * (SIDE + 8) + 4, (i // COLUMNS) * (SIDE + TEXT) + 4
        image = Image.fromarray(np.asarray(images_NSSC[i]))
        sheet.paste(image.resize((SIDE, SIDE), Image.Resampling.NEAREST), (x, y))
        names = [classes[c] for c in np.flatnonzero(targets_NC[i])]
        for line in range(3):
            words = ", ".join(names[2 * line : 2 * line + 2])
            draw.text((x, y + SIDE + 1 + 12 * line), words, "black")
    with records.atomic(path) as file:
        sheet.save(file, format="PNG")
