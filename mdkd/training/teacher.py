"""Where a training gets the outputs of its teacher: from the network, or from a store.

Shape key: B images, C labels, D channels, N images of an epoch.
"""

import logging
import time
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mdkd import locks, logits, records, slurm, store
from mdkd.config import Recipe, Run
from mdkd.data.cache import Cache, open_planned
from mdkd.data.loader import Loader
from mdkd.errors import UserError
from mdkd.layout import Layout
from mdkd.models.build import Network
from mdkd.models.frozen import frozen
from mdkd.outputs import Output, Spec
from mdkd.training.execution import DEFAULT, Execution, claimed, prepare
from mdkd.training.networks import load_network
from mdkd.training.signals import stop_signals

log = logging.getLogger(__name__)


class Teacher(Protocol):
    """What a training asks of its teacher."""

    spec: Spec
    stored_images_per_s: float | None  # the speed at which its outputs were stored, if they were

    def __call__(self, epoch: int, step: int, images_BCHW: Tensor) -> Output:
        """The outputs for the images of a batch, which is step ``step`` of an epoch."""


class LiveTeacher:
    """A network that sees every batch.

    On a GPU it computes in pure bfloat16 (`mdkd.models.frozen`); on the CPU it is the network
    itself, in float32.
    """

    stored_images_per_s: float | None = None

    def __init__(self, network: Network, recipe: Recipe):
        on_cpu = next(network.parameters()).device.type == "cpu"
        self.network, self.spec = network if on_cpu else frozen(network), network.spec
        self.dtype = getattr(torch, recipe.teacher_logits)

    @torch.no_grad()
    def __call__(self, epoch: int, step: int, images_BCHW: Tensor) -> Output:
        output = self.network(images_BCHW)
        return output._replace(logits_BC=rounded(output.logits_BC, self.dtype))


def rounded(logits_BC: Tensor, dtype: torch.dtype) -> Tensor:
    """Logits in float32, with the precision of the recipe."""
    return logits_BC.to(dtype).float()


class StoredTeacher:
    """Logits, and perhaps pooled vectors, that were stored for the same batches.

    On the CPU, their bits are those of the live teacher. On a GPU, the same network computes both
    in the same batches, but repetitions may differ by what bfloat16 rounds, unless trainings are
    `deterministic`. Outputs that were stored on a CPU may be read on a GPU, and the other way
    round: they then differ from the live ones as the devices do.
    """

    def __init__(self, entry: logits.Entry, batch_size: int, device: torch.device):
        self.entry, self.batch_size, self.device = entry, batch_size, device
        record = entry.record()
        assert record is not None
        self.record = record
        self.stored_images_per_s: float | None = record.images_per_s
        self.spec = Spec(record.labels, record.channels, (), (), None)
        self.epoch: int | None = None
        self.outputs_NX = torch.empty(0)  # X = C + D

    def __call__(self, epoch: int, step: int, images_BCHW: Tensor) -> Output:
        if epoch != self.epoch:
            self.outputs_NX, self.epoch = self._read(epoch), epoch
        start, record = step * self.batch_size, self.record
        outputs_BX = self.outputs_NX[start : start + self.batch_size].float()
        logits_BC, pooled_BD = outputs_BX.split([record.labels, record.channels], dim=1)
        return Output(
            _laid_out(logits_BC, record.by_label), _laid_out(pooled_BD, record.by_channel), (), None
        )

    def _read(self, epoch: int) -> Tensor:
        """All outputs of an epoch, on the device."""
        file = self.entry.epoch(epoch)
        if not file.exists() or records.sha256(file) != self.record.epochs[epoch]:
            raise UserError(
                f"{file}: missing or damaged; delete {self.entry.folder}, and run again"
            )
        return torch.from_numpy(np.load(file)).to(self.device)


def _laid_out(x_BX: Tensor, by_column: bool) -> Tensor:
    """The same numbers as in the live output's memory: other layouts have sums with other bits."""
    return x_BX.t().contiguous().t() if by_column else x_BX.contiguous()


def open_teacher(run: Run, layout: Layout, cache: Cache, device: torch.device) -> Teacher | None:
    """The teacher of a run: stored outputs, if they suffice and are complete, or the network."""
    entry = store.teacher_entry(run, layout)
    if entry is None:
        return None
    for kind in logits.kinds_for(run):
        stored = logits.entry(run, layout, kind)
        if logits.complete(stored, cache.fingerprint, entry.record()["weights_sha256"]):
            log.info("the teacher's outputs are read from %s", stored.folder)
            return StoredTeacher(stored, run.recipe.batch_size, device)
    return LiveTeacher(load_network(entry, cache, device), run.recipe)


def store_logits(
    run: Run,
    layout: Layout,
    kind: str,
    device: str,
    trainings_per_gpu: int = 1,
    execution: Execution = DEFAULT,
) -> None:
    """Store a teacher's outputs for all runs that have the data, teacher and seed of ``run``.

    Epochs that are there already are kept, so an interrupted call can be repeated. If another
    process stores the same outputs, this one waits for it.

    Args:
        kind: what is stored, one of `logits.KINDS`.
        device: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.
    """
    prepare(execution, layout.compiled)  # as in trainings
    teacher_entry, entry = store.teacher_entry(run, layout), logits.entry(run, layout, kind)
    assert teacher_entry is not None
    entry.folder.mkdir(parents=True, exist_ok=True)
    message = f"{entry.folder}: another process stores these outputs; waiting for it"
    with locks.held(entry.folder / "lock", message, wait=True):
        cache = open_planned(run.dataset, layout.cache(run.dataset.name))
        weights = teacher_entry.record(f"train it first: mdkd train {run.teacher}")[
            "weights_sha256"
        ]
        if logits.complete(entry, cache.fingerprint, weights):
            log.info("already stored")
        else:
            with claimed(device, trainings_per_gpu) as device_type:
                network = load_network(teacher_entry, cache, torch.device(device_type))
                facts = {"cache": cache.fingerprint, "teacher": weights, "device": device_type}
                facts["planned"] = logits.planned(run)
                _write(entry, run, kind, network, cache, facts)
        logits.publish(run, layout, kind)
    log.info("outputs are in %s", entry.folder)


def _write(
    entry: logits.Entry, run: Run, kind: str, network: Network, cache: Cache, facts: dict[str, Any]
) -> None:
    """Write the epochs that are missing, and last the record."""
    _begin(entry, facts)
    measured = _epochs(entry, run, kind, network, cache)
    digests = [records.sha256(entry.epoch(epoch)) for epoch in range(run.recipe.epochs)]
    record = facts | measured | {"epochs": digests, "labels": len(cache.classes)}
    records.write_json(entry.folder / logits.RECORD, record)


def _begin(entry: logits.Entry, facts: dict[str, Any]) -> None:
    """Delete outputs of other data, of another teacher or device; write whose these will be.

    On another device all epochs are stored again, so that a store never mixes the roundings of two.
    That costs the work of an interrupted call; to refuse would cost a whole workflow.
    """
    for half in entry.folder.glob(f"*{records.PART}"):  # of a process that was killed
        half.unlink()
    begun = entry.folder / logits.BEGUN
    before = records.read_json(begun, f"delete {entry.folder}") if begun.exists() else None
    if before == facts:
        return
    (entry.folder / logits.RECORD).unlink(missing_ok=True)
    begun.unlink(missing_ok=True)
    old = list(entry.folder.glob("epoch*.npy"))
    if old:
        log.warning(
            "%s: %d epochs of other data, or of another teacher or device, are stored again",
            *(entry.folder, len(old)),
        )
    for file in old:
        file.unlink()
    records.write_json(begun, facts)


def _epochs(
    entry: logits.Entry, run: Run, kind: str, network: Network, cache: Cache
) -> dict[str, Any]:
    """Write the epochs that are missing; returns the speed, and the layout of a batch's outputs."""
    recipe, device = run.recipe, next(network.parameters()).device
    loader = Loader(cache.splits["train"], recipe, run.seed, device)
    live, images, seconds = LiveTeacher(network, recipe), 0, 0.0
    parts = len(logits.KINDS[kind])  # logits are the first part of an output, pooled vectors next
    dtype = live.dtype if parts == 1 else torch.float32  # where the logits are rounded already
    if all(entry.epoch(epoch).exists() for epoch in range(recipe.epochs)):
        entry.epoch(recipe.epochs - 1).unlink()  # one epoch is needed for what is returned
    with stop_signals(slurm.seconds_left()) as stop:
        for epoch in range(recipe.epochs):
            if entry.epoch(epoch).exists():
                continue
            started, rows = time.monotonic(), []
            for step, batch in enumerate(loader.train(epoch)):
                output = live(epoch, step, batch.images_BCHW)
                rows.append(torch.cat((output.logits_BC, output.pooled_BD)[:parts], dim=1))
                if stop.received:
                    if stop.limit_is_near:
                        slurm.requeue()
                    # The last line of a log says how the job ended.
                    log.warning("interrupted by %s; %d epochs are stored", stop.received, epoch)
                    raise SystemExit(stop.status)
            outputs_NX = torch.cat(rows).to(dtype).cpu().numpy()
            with records.atomic(entry.epoch(epoch)) as file:
                np.save(file, np.ascontiguousarray(outputs_NX))
            images, seconds = images + len(outputs_NX), seconds + time.monotonic() - started
            log.info("epoch %d/%d  %.0f images/s", epoch + 1, recipe.epochs, images / seconds)
    channels = network.spec.pooled_dim if parts > 1 else 0
    return {
        "images_per_s": images / seconds,
        "by_label": not output.logits_BC.is_contiguous(),
        "channels": channels,
        "by_channel": not output.pooled_BD.is_contiguous(),
    }
