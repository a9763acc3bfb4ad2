"""Attention maps of trained networks: Grad-CAM (Selvaraju et al., ICCV 2017) on test images.

Shape key: N test images, C labels, R rows (networks), P (image, label) pairs, B of them in a
batch, D channels, H x W map size, S pixels on a side.
"""

import logging

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from mdkd import store
from mdkd.artefacts import Artefact
from mdkd.attention import Maps, basis, path_of, state
from mdkd.config import Recipe
from mdkd.data.cache import CachedSplit, open_cache
from mdkd.data.loader import Loader
from mdkd.errors import UserError
from mdkd.kinds import Attention
from mdkd.metrics import THRESHOLD
from mdkd.models.build import Network
from mdkd.results import Predictions, Results
from mdkd.training.networks import load_network

log = logging.getLogger(__name__)


def attend(artefact: Artefact, results: Results, device_type: str) -> None:
    """Compute the maps of the first run of every cell; write ``attention/{name}.npz``, see `Maps`.

    The maps of a missing run are NaN. Without the teacher's run, a column has no images at all.
    """
    torch.set_num_threads(1)  # the number of threads changes the last bits of the results
    device = torch.device(device_type)
    states_RK = [[state(cell, results) for cell in row.cells] for row in artefact.rows]
    for row, states_K in zip(artefact.rows, states_RK, strict=True):
        for column, found in zip(artefact.columns, states_K, strict=True):
            if found.name != "done":
                log.warning("%s: %s: %s, so its maps stay empty", column, row.label, found)
    parts = [_column(artefact, k, results, device) for k in range(len(artefact.columns))]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    maps = Maps(
        basis=np.array(basis(artefact, results)),
        rows_R=np.array([row.label for row in artefact.rows]),
        states_KR=np.array(states_RK).astype(str).T,
        **joined,
    )
    path = path_of(artefact, results)
    maps.save(path)
    log.info("maps of %d (image, label) pairs are in %s", len(maps.ids_P), path)


def _column(
    artefact: Artefact, column: int, results: Results, device: torch.device
) -> dict[str, np.ndarray]:
    """The part of one column in all fields of `Maps` with the axis P."""
    cells_R = [row.cells[column] for row in artefact.rows]
    teacher_run = cells_R[0].runs[0]  # the teacher's row comes first
    size = results.runs[teacher_run].dataset.image_size
    teacher = results.predictions(teacher_run)
    pairs = choose(teacher, Attention(**artefact.options)) if teacher else []
    shape = (len(pairs), len(cells_R))
    part = {
        "column_P": np.full(len(pairs), column),
        "ids_P": np.array([], str),
        "labels_P": np.array([], str),
        "errors_P": np.zeros(len(pairs), int),
        "images_PSSC": np.zeros((len(pairs), size, size, 3), np.uint8),
        "probabilities_PR": np.full(shape, np.nan, np.float32),
        "maps_PRSS": np.full((*shape, size, size), np.nan, np.float16),
    }
    if teacher is None:
        return part
    positions_P, labels_P = np.array(pairs).T
    cache = open_cache(results.cache(artefact.pairs[column].dataset))
    test = cache.splits["test"]
    shown = CachedSplit(
        ids=[test.ids[i] for i in positions_P],
        images_NSSC=test.images_NSSC[positions_P],
        targets_NC=test.targets_NC[positions_P],
    )
    part["ids_P"] = np.array(shown.ids)
    part["labels_P"] = np.array(cache.classes)[labels_P]
    part["errors_P"] = errors(teacher)[positions_P]
    part["images_PSSC"] = shown.images_NSSC
    for r, cell in enumerate(cells_R):
        predictions = results.predictions(cell.runs[0]) if cell.runs else None
        if predictions is None:
            continue
        network = load_network(store.entry(results.runs[cell.runs[0]], results), cache, device)
        recipe = results.runs[cell.runs[0]].recipe
        part["probabilities_PR"][:, r] = predictions.scores_NC[positions_P, labels_P]
        part["maps_PRSS"][:, r] = grad_cam(network, shown, labels_P.tolist(), recipe, device)
    return part


def choose(teacher: Predictions, options: Attention) -> list[tuple[int, int]]:
    """Choose the (image position, label) pairs to show. Pairs of one image follow each other.

    Images: those named in `options`. If none are named, images with labels are sorted by these
    criteria, of which the first is the most important:

    1. images with at least two labels before images with one;
    2. fewest wrong labels in the teacher's predictions;
    3. most labels;
    4. highest mean probability of the true labels in the teacher's predictions;
    5. position in the test split.

    The first `skip` images are left out, and the next `count` images are used.

    Labels: at most `labels` true labels per image, those with the teacher's highest probabilities.

    Raises:
        UserError: a named image is unknown or has no label, or `skip` leaves no image.
    """
    true_NC = teacher.targets_NC.astype(bool)
    labels_N = true_NC.sum(axis=1)
    if options.images:
        positions = [_position(teacher, image) for image in options.images]
    else:
        certainty_N = (teacher.scores_NC * true_NC).sum(axis=1) / np.maximum(labels_N, 1)
        # np.lexsort sorts by the last key first.
        keys = (-certainty_N, -labels_N, errors(teacher), labels_N < 2)
        order = [int(i) for i in np.lexsort(keys) if labels_N[i]]
        positions = order[options.skip : options.skip + options.count]
        if not positions:
            raise UserError(
                f"options: skip: no image is left of {len(order)} with labels; lower skip"
            )
    pairs = []
    for i in positions:
        classes = sorted(np.flatnonzero(true_NC[i]), key=lambda c: (-teacher.scores_NC[i, c], c))
        pairs += [(i, int(c)) for c in classes[: options.labels]]
    return pairs


def errors(predictions: Predictions) -> np.ndarray:
    """The number of wrong labels of each image, ``[N]``. Ignored labels are not counted."""
    wrong_NC = (predictions.scores_NC >= THRESHOLD) != predictions.targets_NC.astype(bool)
    if predictions.ignored_NC is not None:
        wrong_NC &= ~predictions.ignored_NC
    return wrong_NC.sum(axis=1)


def _position(teacher: Predictions, image: str) -> int:
    if image not in teacher.ids:
        known = f"its ids look like '{teacher.ids[0]}'"
        raise UserError(f"options: images: '{image}' is not in the test split; {known}")
    position = teacher.ids.index(image)
    if not teacher.targets_NC[position].any():
        raise UserError(f"options: images: '{image}' has no label; choose another image")
    return position


class CutAtLastMap(nn.Module):
    """A network in the form that the Grad-CAM library needs.

    The library needs a network that returns logits as one tensor, and a module whose output is the
    map. Here this module is `last_map`; its output is the map that the head reads, in NCHW order.
    Gradients flow only through the head, so the activations of the backbone are not stored.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.last_map = nn.Identity()

    def forward(self, image_BCHW: Tensor) -> Tensor:
        with torch.no_grad():
            pooled_BD, maps = self.network.backbone(image_BCHW)
            whole_BC, _ = self.network.head(pooled_BD, maps[-1])
        map_BDHW = self.last_map(maps[-1].requires_grad_())
        logits_BC, _ = self.network.head(map_BDHW.mean(dim=(2, 3)), map_BDHW)
        if not torch.allclose(logits_BC, whole_BC, rtol=1e-3, atol=1e-3):
            raise UserError(
                "attention maps: the classifier reads more than the average of the last map; "
                "set head: kind: mldecoder, or use another backbone"
            )
        return logits_BC


def grad_cam(
    network: Network, split: CachedSplit, labels_P: list[int], recipe: Recipe, device: torch.device
) -> np.ndarray:
    """Grad-CAM of one label's logit for each image of `split`, ``[P, S, S]`` in [0, 1].

    The channels of the last map are weighted by the mean gradient of the logit and summed, and
    negative values are set to 0. The result is scaled to [0, 1] and resized bilinearly to the
    image's size. It is 0 everywhere if no position supports the label.
    """
    cut = CutAtLastMap(network)
    # Not used in a with statement, because the library's context manager hides IndexErrors.
    compute = GradCAM(model=cut, target_layers=[cut.last_map])
    labels = iter(labels_P)
    parts = []
    for batch in Loader(split, recipe, 0, device).test():
        targets = [ClassifierOutputTarget(next(labels)) for _ in batch.images_BCHW]
        parts.append(compute(batch.images_BCHW, targets))
    return np.concatenate(parts)
