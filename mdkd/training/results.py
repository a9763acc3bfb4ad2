"""What a training leaves in its entry: predictions, metrics, weights, and last the record.

Shape key: N images, C labels.
"""

import io
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mdkd import records, score, store
from mdkd.config import Run
from mdkd.data.cache import Cache
from mdkd.data.loader import Loader
from mdkd.models.build import Network, merged
from mdkd.training import provenance
from mdkd.training.checkpoint import write_history
from mdkd.training.execution import autocast
from mdkd.training.imported import imported_network
from mdkd.training.progress import SHORTEST_S, Progress


def score_checkpoint(
    run: Run, entry: store.Entry, cache: Cache, device: torch.device, facts: dict
) -> None:
    """Write all files of a network that was trained elsewhere; its history is empty."""
    network = imported_network(run, cache, device)
    facts = facts | {"environment": provenance.environment(device)}
    write_results(run, entry.folder, network, nn.Identity(), cache, device, facts, Progress())


@torch.no_grad()
def predict(network: Network, loader: Loader) -> np.ndarray:
    """Logits of every image of a split, float32 ``[N, C]``, in the cache's order."""
    network = merged(network)
    logits = []
    for batch in loader.test():
        with autocast(batch.images_BCHW.device):
            logits.append(network(batch.images_BCHW).logits_BC.float().cpu())
    return torch.cat(logits).numpy()


def write_results(
    run: Run,
    folder: Path,
    student: Network,
    method: nn.Module,
    cache: Cache,
    device: torch.device,
    facts: dict,
    progress: Progress,
) -> None:
    """Predict and score what was not trained on; write all files, and last the record."""
    digests = {}
    for name, files in store.SPLITS.items():
        if split := cache.splits.get(name):
            logits_NC = predict(student, Loader(split, run.recipe, run.seed, device))
            ids_N = np.array(split.ids)
            found = score.Stored(logits_NC, split.targets_NC, ids_N, split.ignored_NC)
            with records.atomic(folder / files.predictions) as file:
                score.write_predictions(file, found)
            digests[files.digest] = records.sha256(folder / files.predictions)
    buffer = io.BytesIO()  # writing to a file, torch would not say why it fails
    torch.save({name: value.cpu() for name, value in student.state_dict().items()}, buffer)
    with records.atomic(folder / store.WEIGHTS) as file:
        file.write(buffer.getbuffer())
    write_history(folder, progress.history)
    classes = list(cache.classes)
    score.write(folder, digests | {"classes": classes})
    images = progress.step * run.recipe.batch_size
    record = facts | {
        "initial_weights": student.initial_weights,
        "weights_sha256": records.sha256(folder / store.WEIGHTS),
        **digests,
        "history_sha256": records.sha256(folder / store.HISTORY),
        "classes": classes,
        "dropped": cache.meta["dropped"],  # numbers of left-out images, by split and reason
        "repeated": cache.meta.get("repeated", {}),  # numbers of images as in another split
        "parameters": {
            "backbone": sum(p.numel() for p in student.backbone.parameters()),
            "head": sum(p.numel() for p in student.head.parameters()),
            # Connectors are trained with the student, but they belong to the method.
            "connectors": sum(p.numel() for p in method.parameters()),
        },
        "wall_s": progress.wall_s,
        "images_per_s": images / max(progress.wall_s, SHORTEST_S) if images else None,
        "peak_memory_bytes": provenance.peak_memory_bytes(device),
        "final_epoch": progress.history[-1] if progress.history else None,
        "plugins": provenance.plugins(run),
    }
    records.write_json(folder / store.RECORD, record)
