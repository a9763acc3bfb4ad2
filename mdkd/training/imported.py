"""The network of a run that was trained elsewhere (`mdkd.checkpoints`)."""

import dataclasses
import logging
from pathlib import Path

import torch

from mdkd import store
from mdkd.checkpoints import check_unchanged
from mdkd.config import Run
from mdkd.data.cache import Cache
from mdkd.errors import UserError
from mdkd.models.build import Network
from mdkd.models.whole import load_whole
from mdkd.training.networks import new_network

log = logging.getLogger(__name__)


def imported_network(run: Run, cache: Cache, device: torch.device) -> Network:
    """The network with the weights of the run's checkpoint.

    Raises:
        UserError: the file is gone or was changed, its labels are others than those of the cache,
            or its weights do not fit the network.
    """
    assert run.checkpoint is not None
    file = Path(run.checkpoint.file)
    check_unchanged("checkpoint", file, run.checkpoint.sha256)
    _check_labels(file, run, cache)
    scratch = dataclasses.replace(run, weights=None)
    network = new_network(scratch, len(cache.classes), device, seed=0)
    load_whole(network, file)
    log.info("weights are those of %s; nothing is trained", file)
    return network


def _check_labels(file: Path, run: Run, cache: Cache) -> None:
    """Compare the labels of a run of this project with those of the data; others have no names."""
    origin = store.Entry(file.parent)
    if file.name != store.WEIGHTS or not origin.finished:
        return
    ours, theirs = list(cache.classes), origin.record()["classes"]
    if ours == theirs:
        return
    what = f"checkpoint '{file}': {len(theirs)} labels, but data set '{run.dataset.name}' has"
    if sorted(ours) == sorted(theirs):
        raise UserError(f"{what} them in another order; give the data set the same `classes`")
    others = [*sorted(set(theirs) - set(ours)), *sorted(set(ours) - set(theirs))]
    names = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
    raise UserError(f"{what} {len(ours)}; only one of them has {names}")
