"""Build the untrained network of a run, or load its trained network."""

import dataclasses
import re
import textwrap
from pathlib import Path
from typing import Any

import torch

from mdkd import plugins, records
from mdkd.checkpoints import check_unchanged
from mdkd.config import OWN_NET, Run, parse
from mdkd.data.cache import Cache
from mdkd.errors import UserError
from mdkd.models.build import WEIGHTS_FOLDER, Network, build_network, merged
from mdkd.models.weights import read_state
from mdkd.store import WEIGHTS, Entry


def new_network(
    run: Run,
    num_labels: int,
    device: torch.device,
    seed: int,
    weights_folder: Path = WEIGHTS_FOLDER,
) -> Network:
    """The network of ``run`` with its initial weights. ``seed`` determines random weights.

    Raises:
        UserError: the file with the initial weights is gone, was changed, or does not fit.
    """
    if run.weights_file and run.weights_sha256:
        check_unchanged("weights", Path(run.weights_file), run.weights_sha256)
    torch.manual_seed(seed)
    network = build_network(
        run.net,
        num_labels=num_labels,
        image_size=run.dataset.image_size,
        stem=run.stem,
        head=run.head,
        weights=run.weights,
        weights_folder=weights_folder,
    )
    return network.to(device).to(memory_format=torch.channels_last)


def load_network(entry: Entry, cache: Cache, device: torch.device) -> Network:
    """The network of a finished run, for inference: in eval mode, merged, without gradients.

    Args:
        entry: of the run in the store.
        cache: the data of the network; it must be the cache that the network was trained on.

    Raises:
        UserError: the cache is another one, or the weights are missing or have another checksum.
    """
    record = entry.record()
    if record["cache"] != cache.fingerprint:
        name = record["run"]["dataset"]["name"]
        what = f"trained on another cache of {name}; train it again"
        raise UserError(f"{entry.folder / WEIGHTS}: {what}")
    return trained_network(entry, device)


def trained_network(entry: Entry, device: torch.device) -> Network:
    """Like `load_network`, for other images than those of the cache: it needs no cache.

    Raises:
        UserError: the weights are missing, have another checksum, or do not fit the present code.
    """
    record, file = entry.record(), entry.file(WEIGHTS)
    run = parse(Run, record["run"], f"{entry.folder}: run")
    scratch = dataclasses.replace(run, weights=None)
    network = new_network(scratch, len(record["classes"]), device, seed=0)
    try:
        network.load_state_dict(read_state(file))
    except (UserError, RuntimeError) as error:
        reason = textwrap.shorten(str(error), 200, placeholder=" ...")
        hint = f"delete {entry.folder} and train the run again"
        if module := _changed_module(run, record):
            reason = f"the code of {module} has changed since this training"
            hint = "restore it, or give the network another name in architectures.yaml"
        raise UserError(f"{file}: not the weights of {run.path} ({reason}); {hint}") from None
    return merged(network).requires_grad_(False)


def _changed_module(run: Run, record: dict[str, Any]) -> str | None:
    """The module of the run's own network, if its file is not the one that was trained."""
    own, known = re.fullmatch(OWN_NET, run.net), record.get("plugins", {}).get("net")
    if not own or not known:
        return None
    place = plugins.locate(own["module"])
    is_same = place is None or place.file is None or records.sha256(place.file) == known["sha256"]
    return None if is_same else own["module"]
