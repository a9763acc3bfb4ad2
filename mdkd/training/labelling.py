"""Label pictures with a finished run: `mdkd predict`. No cache of a data set is needed.

A picture goes the way of the images of a cache: `read_image`, then the loader. On a CPU, the test
images of a run, in the order of its cache, therefore get the bits of its stored predictions.

Shape key: B images of a batch, C labels, S pixels on a side.
"""

import importlib.util
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from mdkd import metrics, records
from mdkd.config import Run, parse
from mdkd.data.cache import CachedSplit
from mdkd.data.images import read_image
from mdkd.data.loader import Loader
from mdkd.data.reading import problem
from mdkd.errors import UserError
from mdkd.metrics import THRESHOLD
from mdkd.store import Entry
from mdkd.training.loop import predict
from mdkd.training.networks import trained_network

SHOWN = 5  # labels that are printed at least, whatever their probabilities are
SMALLEST_MAP = 224  # pixels on a side of each half of a picture of attention
CAPTION = 20  # pixels below them, for the label


@dataclass(frozen=True)
class Picture:
    """What a network sees in a picture."""

    file: Path
    probabilities: dict[str, float]  # of every label, in [0, 1], the most likely first
    map: Path | None = None  # the picture of attention for the most likely label

    @property
    def labels(self) -> list[str]:
        """The predicted labels, the most likely first."""
        return [name for name, value in self.probabilities.items() if value >= THRESHOLD]

    def text(self) -> str:
        """For a terminal: the predicted labels, then others, at least `SHOWN` lines in all."""
        count = max(SHOWN, len(self.labels))
        lines = [
            f"  {value:.3f}  {name}" + ("" if value >= THRESHOLD else "  (below the threshold)")
            for name, value in list(self.probabilities.items())[:count]
        ]
        if self.map:
            lines.append(f"  attention for '{next(iter(self.probabilities))}': {self.map}")
        return "\n".join([str(self.file), *lines])

    def content(self) -> dict[str, Any]:
        """For JSON."""
        found = {"file": str(self.file), "labels": self.labels, "probabilities": self.probabilities}
        return found | ({"map": str(self.map)} if self.map else {})


def label(
    entry: Entry, files: Sequence[Path], device_type: str, maps: Path | None = None
) -> Iterator[Picture]:
    """Label pictures with the network of a finished run.

    Args:
        files: pictures in any format that a data set may have.
        maps: a folder that gets a picture of attention (Grad-CAM) for each picture.

    Raises:
        UserError: the run has no weights, a picture is missing or damaged, or the network has no
            attention maps. Whatever needs no network is checked first.
    """
    for file in files:
        if (reason := problem(file)) is not None:
            fix = "check the path" if reason == "no such file" else "name pictures"
            raise UserError(f"{file}: {reason}; {fix}")
    places = _places(files, maps) if maps else [None] * len(files)
    torch.set_num_threads(1)  # the number of threads changes the last bits of the results
    record, device = entry.record(), torch.device(device_type)
    run, classes = parse(Run, record["run"], f"{entry.folder}: run"), record["classes"]
    network = trained_network(entry, device)
    size = 2 * run.recipe.batch_size  # as for the stored predictions
    for start in range(0, len(files), size):
        part = files[start : start + size]
        split = _split(part, run.dataset.image_size, len(classes))
        logits_BC = predict(network, Loader(split, run.recipe, run.seed, device))
        scores_BC = metrics.probabilities(logits_BC)
        # numpy's stable order: labels of equal probability stay in the order of the data set
        order_BC = np.argsort(-scores_BC, axis=1, kind="stable")
        if maps:
            from mdkd.training.gradcam import grad_cam  # needs a package of the extra `benchmark`

            heat_BSS = grad_cam(network, split, order_BC[:, 0].tolist(), run.recipe, device)
        for i, file in enumerate(part):
            found = {classes[c]: float(scores_BC[i, c]) for c in order_BC[i]}
            if place := places[start + i]:
                name = classes[order_BC[i, 0]]
                _draw(place, split.images_NSSC[i], heat_BSS[i], f"{found[name]:.3f}  {name}")
            yield Picture(file, found, place)


def _split(files: Sequence[Path], size: int, labels: int) -> CachedSplit:
    """Pictures as the images of a split of a cache."""
    pixels_BSSC = np.stack([read_image(file, size) for file in files])
    return CachedSplit(
        [str(f) for f in files], pixels_BSSC, np.zeros((len(files), labels), np.uint8)
    )


def _places(files: Sequence[Path], folder: Path) -> list[Path]:
    """Where the pictures of attention are written; a UserError if two have one place."""
    if importlib.util.find_spec("pytorch_grad_cam") is None:
        raise UserError("--cam: needs the package grad-cam; run `pip install grad-cam`")
    places: dict[Path, Path] = {}
    for file in files:
        place = folder / f"{file.stem}.cam.png"
        if other := places.get(place):
            what = f"{other} and {file}: the attention of both would be in {place}"
            raise UserError(f"{what}; label them in two calls with another --output")
        places[place] = file
    return list(places)


def _draw(place: Path, image_SSC: np.ndarray, heat_SS: np.ndarray, caption: str) -> None:
    """Write a PNG: the picture as the network sees it, and with its attention from blue to red."""
    from pytorch_grad_cam.utils.image import show_cam_on_image

    shown_SSC = show_cam_on_image(np.float32(image_SSC) / 255, heat_SS, use_rgb=True)
    factor = -(-SMALLEST_MAP // len(image_SSC))
    both = np.concatenate([image_SSC, shown_SSC], axis=1).repeat(factor, 0).repeat(factor, 1)
    height, width, _ = both.shape
    drawn = Image.new("RGB", (width, height + CAPTION), "white")
    drawn.paste(Image.fromarray(both))
    font = ImageFont.load_default(12)
    ImageDraw.Draw(drawn).text((4, height + 3), caption, "black", font)
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
    with records.atomic(place) as file:
        file.write(buffer.getbuffer())
