"""The networks of runs: as a training starts with them, and as it has left them."""

import dataclasses
from pathlib import Path
from typing import Any

import torch

from mdkd import records
from mdkd.config import Run, parse
from mdkd.data.cache import Cache
from mdkd.errors import UserError
from mdkd.layout import Layout
from mdkd.models.build import WEIGHTS_FOLDER, Network, build_network, merged


def new_network(
    run: Run,
    cache: Cache,
    device: torch.device,
    seed: int,
    weights_folder: Path = WEIGHTS_FOLDER,
) -> Network:
    """The network that ``run`` trains, with its initial weights; ``seed`` draws the random ones."""
    torch.manual_seed(seed)
    network = build_network(
        run.net,
        num_labels=len(cache.classes),
        image_size=run.dataset.image_size,
        stem=run.stem,
        head=run.head,
        weights=run.weights,
        weights_folder=weights_folder,
    )
    return network.to(device).to(memory_format=torch.channels_last)


def load_network(
    record: dict[str, Any], layout: Layout, cache: Cache, device: torch.device
) -> Network:
    """The network of a finished run, for inference: in eval mode, merged, without gradients.

    Args:
        record: the run's ``run.json``, which vouches for the weights beside it.
        cache: what the network will see; it must be the one it was trained on.
    """
    run = parse(Run, record["run"], f"run {record['run']['path']}")
    file = layout.run(run.path) / "model.pt"
    if record["cache"] != cache.fingerprint:
        raise UserError(f"{file}: trained on another cache of {run.dataset.name}; run it again")
    if not file.exists() or records.sha256(file) != record["weights_sha256"]:
        raise UserError(f"{file}: missing, or not the weights of its run.json; run it again")
    network = new_network(dataclasses.replace(run, weights=None), cache, device, seed=0)
    network.load_state_dict(torch.load(file, map_location=device, weights_only=True))
    return merged(network).requires_grad_(False)
