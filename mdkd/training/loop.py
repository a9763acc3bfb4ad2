"""Train one network, with or without distillation, and write its results.

Shape key: B images, C labels.
"""

import dataclasses
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mdkd import devices, faults, keys, methods, metrics, records, rng, slurm, store
from mdkd.aside import bring_back, move_aside
from mdkd.config import Run
from mdkd.data.cache import Cache, open_planned
from mdkd.data.loader import Batch, Loader
from mdkd.errors import UserError
from mdkd.layout import Layout
from mdkd.models.build import WEIGHTS_FOLDER, Network
from mdkd.needs import problems, without_positives
from mdkd.outputs import Output
from mdkd.training import checkpoint, provenance
from mdkd.training.average import Average
from mdkd.training.execution import DEFAULT, Execution, autocast, claimed, forward_of, prepare
from mdkd.training.losses import gradient_ratios, reduced, supervised_loss
from mdkd.training.networks import new_network
from mdkd.training.optimizer import new_optimizer
from mdkd.training.progress import SHORTEST_S, Diverged, Progress, describe
from mdkd.training.results import predict, score_checkpoint, write_results
from mdkd.training.schedule import learning_rate, momentum, probed_epochs
from mdkd.training.signals import stop_signals
from mdkd.training.teacher import Teacher, open_teacher

log = logging.getLogger(__name__)

CHECK_STEPS = 50  # between two looks at the losses, each of which waits for the device


def train(
    run: Run,
    layout: Layout,
    device: str,
    weights_folder: Path = WEIGHTS_FOLDER,
    checkpoint_minutes: float = 10.0,
    trainings_per_gpu: int = 1,
    execution: Execution = DEFAULT,
) -> None:
    """Train ``run`` into its entry in the store, and publish it. A finished run is only published.

    If another process trains the same run, this one waits for it. If the run has a checkpoint,
    training resumes from it. On the CPU, the result then has the same bits as that of an
    uninterrupted run. On SIGTERM, SIGUSR1 or Ctrl-C, and shortly before the end of a Slurm job, a
    checkpoint is saved and the process exits.

    Args:
        device: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``. No GPU is held for a run that
            is finished or that another process trains.
    """
    prepare(execution, layout.compiled)
    entry = store.entry(run, layout)
    with entry.held():
        if store.state(run, layout) != "done" and (found := bring_back(run, entry, layout)):
            log.info("data and teacher are those of an earlier training; %s was moved back", found)
        if store.state(run, layout) == "done":
            entry.forget_progress()  # a process was killed just after writing the record
            log.info("already trained; nothing is trained again")
        else:
            with claimed(device, trainings_per_gpu) as device_type:
                entry.sign(devices.describe(device_type))
                _train_entry(
                    run,
                    layout,
                    entry,
                    torch.device(device_type),
                    weights_folder,
                    checkpoint_minutes,
                    execution,
                )
        store.publish(run, layout)
    log.info("results are in %s", entry.folder)


def _train_entry(
    run: Run,
    layout: Layout,
    entry: store.Entry,
    device: torch.device,
    weights_folder: Path,
    checkpoint_minutes: float,
    execution: Execution,
) -> None:
    """Train a run whose entry is held and not finished, or has other data than planned."""
    cache = open_planned(run.dataset, layout.cache(run.dataset.name))
    lines = problems(run, len(cache.classes), len(cache.splits["train"].ids))
    positives = {name: bool(split.targets_NC.any()) for name, split in cache.splits.items()}
    if lines := [*lines, *without_positives(run.dataset.name, positives)]:
        raise UserError(*lines)
    teacher_entry = store.teacher_entry(run, layout)
    facts = _facts(run, cache, teacher_entry)
    with _recorded(entry, facts):
        teacher = open_teacher(run, layout, cache, device)
    if entry.finished:  # only now it is known that the teacher can be used
        reason = store.disagreement(run, entry.record(), layout)
        log.warning("%s; the finished run was moved to %s", reason, move_aside(entry))
    with _recorded(entry, facts):
        if run.checkpoint is not None:
            score_checkpoint(run, entry, cache, device, facts)
            return
        # The protocol and the name of a run change no number: another one may resume.
        shared = {name: fact for name, fact in facts.items() if name != "run"}
        fingerprint = records.digest(shared | execution.changed() | {"device": device.type})
        file = entry.folder / store.CHECKPOINT
        saved = checkpoint.Checkpoint(file, fingerprint, checkpoint_minutes)
        _train(run, entry, cache, teacher, device, weights_folder, saved, execution, facts)


def _facts(run: Run, cache: Cache, teacher_entry: store.Entry | None) -> dict[str, Any]:
    """What a record says about its run: the planned settings, and the data and teacher used."""
    teacher = teacher_entry and teacher_entry.record(f"train it first: mdkd train {run.teacher}")
    return {
        "run": dataclasses.asdict(run),
        "planned": keys.planned(run),
        "cache": cache.fingerprint,
        "teacher": teacher["weights_sha256"] if teacher else None,
    }


def _train(
    run: Run,
    entry: store.Entry,
    cache: Cache,
    teacher: Teacher | None,
    device: torch.device,
    weights_folder: Path,
    saved: checkpoint.Checkpoint,
    execution: Execution,
    facts: dict,
) -> None:
    """Build the networks, train, and write all files of the entry."""
    seed = rng.torch_seed(run.seed, "init", run.arch)
    student = new_network(run, len(cache.classes), device, seed, weights_folder)
    torch.manual_seed(rng.torch_seed(run.seed, "connectors"))
    method = methods.build(
        run.method.name, student.spec, (teacher or student).spec, run.method.settings
    )
    method.to(device)
    log.info("training on %s; its checkpoint is %s", device.type, saved.file)
    progress = _fit(run, student, teacher, method, cache, device, saved, execution)
    measured = facts | {
        "stored_logits_images_per_s": teacher.stored_images_per_s if teacher else None,
        "environment": provenance.environment(device) | dataclasses.asdict(execution),
    }
    write_results(run, entry.folder, student, method, cache, device, measured, progress)
    entry.forget_progress()


@contextmanager
def _recorded(entry: store.Entry, facts: dict) -> Iterator[None]:
    """Append all messages of the block to the entry's log; an error goes into ``failed.json`` too.

    Tables then print 'failed'. A finished entry stays as it is.
    """
    file = entry.folder / store.FAILED
    file.unlink(missing_ok=True)
    with entry.logged():
        try:
            yield
        except Exception as error:
            with suppress(OSError):  # the first error says more
                if not entry.finished:
                    why = {"error": faults.describe(error), "diverged": isinstance(error, Diverged)}
                    records.write_json(file, facts | why)
            raise


def _fit(
    run: Run,
    student: Network,
    teacher: Teacher | None,
    method: nn.Module,
    cache: Cache,
    device: torch.device,
    saved: checkpoint.Checkpoint,
    execution: Execution = DEFAULT,
) -> Progress:
    """The training loop, from the checkpoint (if there is one) to the last step.

    A step is one batch. The optimizer makes an update after every ``recipe.accumulate`` steps; an
    epoch has whole updates only. Afterwards the student has the weights that count: its own, or
    their moving average if the recipe has one.
    """
    recipe = run.recipe
    loader = Loader(cache.splits["train"], recipe, run.seed, device)
    val = cache.splits.get("val")
    held_out = Loader(val, recipe, run.seed, device) if val else None
    optimizer = new_optimizer(recipe, [*student.parameters(), *method.parameters()])
    average = Average(student, recipe.ema) if recipe.ema else None
    steps_per_epoch = loader.steps_per_epoch() // recipe.accumulate * recipe.accumulate
    last_step = recipe.epochs * steps_per_epoch
    last_update = last_step // recipe.accumulate
    progress = Progress()
    state = saved.load()
    if state:
        try:
            student.load_state_dict(state["student"])
            optimizer.load_state_dict(state["optimizer"])
            method.load_state_dict(state["method"])
            if average:
                average.network.load_state_dict(state["average"])
            progress = Progress.of_state(state["progress"], device)
            checkpoint.write_history(saved.file.parent, progress.history)
        except Exception as error:  # saved by another version of a network or of torch
            what = f"does not fit the networks ({' '.join(str(error).split())[:200]})"
            raise UserError(f"{saved.file}: {what}; delete it and run again") from None
        log.info("resumed at step %d of %d", progress.step, last_step)

    student.train()
    forward = forward_of(student, execution)
    with stop_signals(slurm.seconds_left()) as stop:
        while progress.step < last_step:
            epoch, first_step = divmod(progress.step, steps_per_epoch)
            epoch_started = time.monotonic()
            batches = islice(loader.train(epoch, first_step), steps_per_epoch - first_step)
            for step, batch in enumerate(batches, first_step):
                torch.manual_seed(rng.torch_seed(run.seed, "step", progress.step))  # for dropout
                with autocast(device):
                    student_output = forward(batch.images_BCHW)
                teacher_output = teacher(epoch, step, batch.images_BCHW) if teacher else None
                losses = loss_terms(
                    method, student_output, teacher_output, batch, recipe.bce_reduction
                )
                if step == 0:
                    probed = epoch in probed_epochs(recipe.epochs)
                    progress.gradient_ratios = (
                        gradient_ratios(losses, list(student.parameters())) if probed else None
                    )
                loss = torch.stack(list(losses.values())).sum()
                loss.backward(torch.full_like(loss, 1 / recipe.accumulate))
                progress.add(losses)
                if progress.step % CHECK_STEPS == 0:
                    progress.check(steps_per_epoch)
                if progress.step % recipe.accumulate > 0:
                    continue
                update = progress.step // recipe.accumulate - 1  # counted from 0
                lr = learning_rate(recipe, update, last_update)
                optimizer.step(lr, momentum(recipe, update, last_update))
                optimizer.zero_grad()
                if average:
                    average.update(student)
                if stop.received or saved.due:
                    break

            progress.check(steps_per_epoch)
            done = progress.step - epoch * steps_per_epoch
            images = (done - first_step) * recipe.batch_size
            images_per_s = images / max(time.monotonic() - epoch_started, SHORTEST_S)
            left_s = (last_step - progress.step) * recipe.batch_size / images_per_s
            if done == steps_per_epoch:
                facts = {"lr": lr, "images_per_s": images_per_s, "left_s": left_s}
                if held_out:
                    facts["val_mAP"] = _validate(average.network if average else student, held_out)
                entry = progress.close_epoch(epoch, steps_per_epoch, **facts)
                log.log(faults.DETAIL, describe(entry, recipe.epochs))
            saved.save(
                {
                    "student": student.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "method": method.state_dict(),
                    "progress": progress.state(),  # no RNG state, because every step sets its seed
                    "average": average.network.state_dict() if average else None,
                }
            )
            saved.tell(
                progress.step, last_step, recipe.epochs, images_per_s, left_s, progress.history
            )
            if stop.received:
                if stop.limit_is_near:
                    slurm.requeue()
                log.warning(  # the last line of a log says how the job ended
                    "interrupted by %s; a checkpoint was saved at step %d of %d",
                    *(stop.received, progress.step, last_step),
                )
                raise SystemExit(stop.status)
    if average:
        student.load_state_dict(average.network.state_dict())
    return progress


def loss_terms(
    method: nn.Module, student: Output, teacher: Output | None, batch: Batch, reduction: str
) -> dict[str, Tensor]:
    """The weighted loss terms of a batch: the supervised one and those of the method."""
    targets_BC = batch.host_targets_BC if method.labels_on_host else batch.targets_BC
    if method.own_supervised:
        losses = method(student, teacher, targets_BC)
        each_BC = losses["supervised"]
        return losses | {"supervised": reduced(each_BC, reduction, batch.ignored_BC)}
    bce = supervised_loss(student.logits_BC.float(), batch.targets_BC, reduction, batch.ignored_BC)
    return {"bce": bce, **method(student, teacher, targets_BC)}


def _validate(student: Network, held_out: Loader) -> float:
    """mAP on the validation split. It does not change the next training step."""
    scores_NC, val = metrics.probabilities(predict(student, held_out)), held_out.split
    student.train()
    return metrics.evaluate(scores_NC, val.targets_NC, val.ignored_NC)["mAP"]
