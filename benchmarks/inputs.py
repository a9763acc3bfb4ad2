"""Images per second and core of the cache against decoding: `python -m benchmarks.inputs [DIR]`.

DIR holds JPEGs (photographs of about 640 x 480, say); without it, scenes are drawn and encoded.
The baseline is what a training loop without a cache does for each image: decode, resize to
224 px, flip, Cutout. Both sides end in uint8; conversion to normalised floats, which a GPU does on
its side, is shown apart. One thread, medians of interleaved rounds.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.harness import medians
from mdkd.config import Recipe
from mdkd.data.augment import augment_on_host, draw
from mdkd.data.cache import CachedSplit
from mdkd.data.images import read_image
from mdkd.data.loader import Loader
from mdkd.data.sources import scenes

SIZE, BATCH, IMAGES = 224, 32, 256
RECIPE = Recipe(epochs=1, batch_size=BATCH, lr=1.0, weight_decay=0.0, flip=True, cutout=0.5)
FILL = np.array([124, 116, 104], np.uint8)


def drawn_jpegs(folder: Path, images: int) -> list[Path]:
    """Scenes of 640 x 480 as JPEGs of quality 95."""
    split = scenes.load(scenes.Options(train=images, test=1), folder, 640).splits["train"]
    for i in range(images):
        image = Image.fromarray(split.image(i)).crop((0, 80, 640, 560))
        image.save(folder / f"{i}.jpg", quality=95)
    return sorted(folder.glob("*.jpg"))


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary)
        paths = sorted(folder.glob("*.jpg"))[:IMAGES] or drawn_jpegs(folder, IMAGES)
        pixels = np.lib.format.open_memmap(
            Path(temporary) / "images.npy", "w+", np.uint8, (len(paths), SIZE, SIZE, 3)
        )
        for i, path in enumerate(paths):
            pixels[i] = read_image(path, SIZE)
        compare(paths, pixels)


def compare(paths: list[Path], pixels: np.ndarray) -> None:
    indices_B = np.random.default_rng(0).permutation(len(paths))[:BATCH]
    targets_NC = np.zeros((len(paths), 80), np.uint8)
    split = CachedSplit([p.name for p in paths], pixels, targets_NC)
    loader = Loader(split, RECIPE, seed=0, device=torch.device("cpu"))

    def changed(images_BSS3: np.ndarray) -> None:
        augment_on_host(images_BSS3, draw(indices_B, SIZE, 0, 0, flip=True, cutout=0.5), FILL)

    times = medians(
        {
            "decode + resize + augment": lambda: changed(
                np.stack([read_image(paths[i], SIZE) for i in indices_B])
            ),
            "cache + augment": lambda: changed(pixels[indices_B]),
            "cache + augment + floats": lambda: next(loader.train(epoch=0)),
        },
        rounds=30,
    )
    slowest = times["decode + resize + augment"]
    for name, seconds in times.items():
        print(f"{name:28} {BATCH / seconds:8.0f} images/s {slowest / seconds:7.1f} times as fast")


if __name__ == "__main__":
    main()
