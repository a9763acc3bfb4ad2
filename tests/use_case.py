"""A run that was trained on image files, for the tests of what is done with finished runs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdkd import score, store
from mdkd.config import Dataset
from mdkd.data.build import build
from mdkd.layout import Layout
from mdkd.resolve import resolve_run
from mdkd.spec import Specification

ROOT = Path(__file__).parents[1]
LABELS = ("blue sky", "green|lawn", "red_car")
TRAIN, TEST = 8, 10  # with batches of 4, predictions are made for 8 and 2 images


def draw(folder):
    """Pictures of several shapes and modes, and their table. Colours tell the labels."""
    drawn, rows = np.random.default_rng(0), ["file,split,labels"]
    for i in range(TRAIN + TEST):
        present = [bool((i + 1) >> c & 1) for c in range(3)]
        pixels = drawn.integers(0, 90, (30 + 5 * (i % 3), 40, 3), np.uint8)
        pixels[..., ::-1] += np.uint8(150) * np.array(present, np.uint8)
        image, exif = Image.fromarray(pixels), Image.Exif()
        exif[0x0112] = 6 if i % 4 == 0 else 1  # some lie on their side
        image.save(folder / f"{i}.png", exif=exif)
        names = ";".join(name for name, there in zip(LABELS, present, strict=True) if there)
        rows.append(f"{i}.png,{'train' if i < TRAIN else 'test'},{names}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """The folder with the files of the data set `own`."""
    return draw(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def used(pictures, tmp_path_factory):
    """The entry of a finished run on these files; never change it."""
    from mdkd.training.loop import train

    layout = Layout("smoke", tmp_path_factory.mktemp("used"))
    spec = Specification(ROOT / "config", {"protocol": "smoke"})
    planned = resolve_run(spec, "supervised/scenes/resnet8/seed0")
    dataset = Dataset(name="own", source="folder", image_size=32)
    recipe = replace(planned.recipe, batch_size=4, epochs=1, normalisation="imagenet")
    run = replace(planned, path="supervised/own/resnet8/seed0", dataset=dataset, recipe=recipe)
    build(dataset, pictures, layout.cache("own"))
    train(run, layout, "cpu")
    return store.entry(run, layout)


def predictions_of(entry):
    """Logits, ids and labels of the stored predictions of the test images."""
    return score.read_predictions(entry.file(store.PREDICTIONS), len(LABELS))
