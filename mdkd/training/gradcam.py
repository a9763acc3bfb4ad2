"""Where networks look for a label: Grad-CAM (Selvaraju et al., ICCV 2017) on chosen test images.

Shape key: N test images, C labels, R rows (networks), P pairs of an image and a label, B of them in
a batch, D channels, H x W map size, S pixels on a side.
"""

import logging

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from mdkd.attention import THRESHOLD, Maps, basis, path_of, state
from mdkd.config import Recipe
from mdkd.data.cache import CachedSplit, open_cache
from mdkd.data.loader import Loader
from mdkd.errors import UserError
from mdkd.kinds import Attention
from mdkd.models.build import Network
from mdkd.plan import Artefact
from mdkd.results import Predictions, Results
from mdkd.training.networks import load_network

log = logging.getLogger(__name__)


def attend(artefact: Artefact, results: Results, device_type: str) -> None:
    """Write ``attention/{name}.npz``, see `Maps`: the maps of the first run of every cell.

    A run that is missing leaves a gap; without the teacher's there are no images to show.
    """
    torch.set_num_threads(1)  # thread count changes bits
    device = torch.device(device_type)
    states_RK = [[state(cell, results) for cell in row.cells] for row in artefact.rows]
    for row, states_K in zip(artefact.rows, states_RK, strict=True):
        for column, found in zip(artefact.columns, states_K, strict=True):
            if found.name != "done":
                log.warning("%s: %s: %s, a gap", column, row.label, found)
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
    log.info("maps of %d pairs of an image and a label are in %s", len(maps.ids_P), path)


def _column(
    artefact: Artefact, column: int, results: Results, device: torch.device
) -> dict[str, np.ndarray]:
    """One column's share of all fields of `Maps` that have the axis P."""
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
        network = load_network(results.record(cell.runs[0]), results, cache, device)
        recipe = results.runs[cell.runs[0]].recipe
        part["probabilities_PR"][:, r] = predictions.scores_NC[positions_P, labels_P]
        part["maps_PRSS"][:, r] = grad_cam(network, shown, labels_P.tolist(), recipe, device)
    return part


def choose(teacher: Predictions, options: Attention) -> list[tuple[int, int]]:
    """Pairs of a test image's position and a label that it has; those of an image in a row.

    Images: those named in `options`; else by the teacher's predictions, `skip` left out and `count`
    taken of this order: with at least two labels before those with one, fewest labels wrong (a
    perfect image wherever there is one), most labels, highest mean probability of the true labels,
    position. Labels: those of which the teacher is most certain, at most `labels`.

    Raises:
        UserError: an image is unknown or has no label, or all images that have one are skipped.
    """
    true_NC = teacher.targets_NC.astype(bool)
    labels_N = true_NC.sum(axis=1)
    if options.images:
        positions = [_position(teacher, image) for image in options.images]
    else:
        certainty_N = (teacher.scores_NC * true_NC).sum(axis=1) / np.maximum(labels_N, 1)
        keys = (-certainty_N, -labels_N, errors(teacher), labels_N < 2)  # the last one leads
        order = [int(i) for i in np.lexsort(keys) if labels_N[i]]
        positions = order[options.skip : options.skip + options.count]
        if not positions:
            raise UserError(f"options: no image is left of {len(order)} with labels; lower skip")
    pairs = []
    for i in positions:
        classes = sorted(np.flatnonzero(true_NC[i]), key=lambda c: (-teacher.scores_NC[i, c], c))
        pairs += [(i, int(c)) for c in classes[: options.labels]]
    return pairs


def errors(predictions: Predictions) -> np.ndarray:
    """How many labels of each image are missed or invented, ``[N]``; ignored ones never are."""
    wrong_NC = (predictions.scores_NC >= THRESHOLD) != predictions.targets_NC.astype(bool)
    if predictions.ignored_NC is not None:
        wrong_NC &= ~predictions.ignored_NC
    return wrong_NC.sum(axis=1)


def _position(teacher: Predictions, image: str) -> int:
    if image not in teacher.ids:
        known = f"ids look like '{teacher.ids[0]}'"
        raise UserError(f"options: images: '{image}' is not in the test split; {known}")
    position = teacher.ids.index(image)
    if not teacher.targets_NC[position].any():
        raise UserError(f"options: images: '{image}' has no label to look for; name another")
    return position


class CutAtLastMap(nn.Module):
    """A network as the library wants it: logits as a tensor, and a module that puts out the map.

    `last_map` puts out the map that the head reads, NCHW whatever the backbone: the gradient of a
    logit with respect to it flows through the head alone, so the backbone keeps no activations.
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
                "use head: kind: mldecoder, or another backbone"
            )
        return logits_BC


def grad_cam(
    network: Network, split: CachedSplit, labels_P: list[int], recipe: Recipe, device: torch.device
) -> np.ndarray:
    """Grad-CAM of one label's logit for each image of `split`, ``[P, S, S]`` in [0, 1].

    Channels weighted by the mean gradient of the logit, summed, negative values cut off; then
    scaled to 0..1 and, bilinearly, to the image's size. All 0 where nothing speaks for the label.
    """
    cut = CutAtLastMap(network)
    compute = GradCAM(model=cut, target_layers=[cut.last_map])  # as a context it hides IndexErrors
    labels = iter(labels_P)
    parts = []
    for batch in Loader(split, recipe, 0, device).test():
        targets = [ClassifierOutputTarget(next(labels)) for _ in batch.images_BCHW]
        parts.append(compute(batch.images_BCHW, targets))
    return np.concatenate(parts)
