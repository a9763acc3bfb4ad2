"""The built-in synthetic data set: drawn scenes whose label dependencies are known exactly.

Nothing is downloaded. Every image is a pure function of (seed, split, index, size, difficulty).
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mdkd.data import scenes_graph, scenes_render
from mdkd.data.scenes_graph import Graph
from mdkd.data.scenes_looks import LOOKS
from mdkd.data.sources import Split, Table
from mdkd.errors import UserError
from mdkd.yamlfiles import read_yaml

DRAWN = True
LICENCE = "its images are drawn by this program; nobody else has a right to them"


@dataclass(frozen=True)
class Options:
    """Settings of the synthetic scenes."""

    train: int = 2000  # number of images
    test: int = 1000  # number of images
    seed: int = 0  # for label sets and pixels
    difficulty: float = 1.0  # in [0, 2]: 0 is clean, 2 has the most clutter, noise, uneven light
    labels: int | None = None  # use only the first n labels of the graph; None means all
    graph: str | None = None  # YAML or JSON file below the root; None means the built-in graph


def load(options: Options, root: Path, image_size: int) -> Table:
    """The splits ``train`` and ``test`` with images of ``image_size`` pixels.

    The table's ``extras`` write ``graph.json``, the exact statistics of the labels.
    """
    for name, ok, legal in (
        ("train", options.train > 0, "at least 1"),
        ("test", options.test > 0, "at least 1"),
        ("seed", options.seed >= 0, "0 or more"),
        ("difficulty", 0 <= options.difficulty <= 2, "in [0, 2]"),
    ):
        if not ok:
            raise UserError(f"scenes: {name}: {getattr(options, name)} must be {legal}")
    if image_size < 16:
        raise UserError(f"scenes: image size: {image_size} must be at least 16 pixels")
    graph = read_graph(options, root)
    splits = {
        split: _split(graph, options, split, count, image_size)
        for split, count in (("train", options.train), ("test", options.test))
    }
    described = json.dumps(asdict(graph), sort_keys=True)
    rule = {
        "source": "scenes",
        "renderer": scenes_render.REVISION,
        "seed": options.seed,
        "difficulty": options.difficulty,
        "image_size": image_size,
        "graph_sha256": hashlib.sha256(described.encode()).hexdigest(),
    }
    return Table(graph.classes, splits, rule, partial(_write_extras, graph))


def read_graph(options: Options, root: Path) -> Graph:
    """The label graph of these options: the built-in one, or one from a file.

    With the option ``labels``, only the first labels are kept.
    """
    data, source = scenes_graph.BUILT_IN, "scenes"
    if options.graph is not None:
        source = str(root / options.graph)
        data = read_yaml(Path(source))
    graph = scenes_graph.parse_graph(data, tuple(LOOKS), source)
    if options.labels is None:
        return graph
    if not 2 <= options.labels <= len(graph.classes):
        raise UserError(
            f"scenes: labels: {options.labels} must be between 2 and {len(graph.classes)}, "
            "the number of labels in the graph"
        )
    return scenes_graph.first_labels(graph, options.labels)


def _split(graph: Graph, options: Options, split: str, count: int, size: int) -> Split:
    targets_NC, scene_N = scenes_graph.sample(graph, count, "scenes", options.seed, split)

    image = partial(_image, graph.classes, targets_NC, scene_N, size, options, split)
    return Split([f"{split}-{index:06d}" for index in range(count)], targets_NC, image)


def _image(
    classes: tuple[str, ...],
    targets_NC: np.ndarray,
    scene_N: np.ndarray,
    size: int,
    options: Options,
    split: str,
    index: int,
) -> np.ndarray:
    labels = [classes[k] for k in np.flatnonzero(targets_NC[index])]
    keys = ("scenes", options.seed, split, "pixels", index)
    return scenes_render.render(labels, int(scene_N[index]), size, options.difficulty, *keys)


def _write_extras(graph: Graph, folder: Path) -> None:
    """Write ``graph.json``: the exact statistics of the labels."""
    text = json.dumps(scenes_graph.dependencies(graph))
    (folder / "graph.json").write_text(text + "\n", encoding="utf-8")
