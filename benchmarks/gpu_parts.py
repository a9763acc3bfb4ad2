"""The parts of `benchmarks.gpu`. Each yields rows: what was measured, under a name."""

import functools
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import yaml

from benchmarks import harness
from benchmarks.gpu_case import AutocastTeacher, Case, GivenTeacher, Sizes, Step, seconds, share
from mdkd import methodfiles
from mdkd.data.loader import Loader
from mdkd.training import checkpoint
from mdkd.training.execution import DEFAULT, Execution, prepare

ARCHITECTURES = Path("config/architectures.yaml")
DETERMINISTIC = Execution(deterministic=True)
NETWORKS = "both networks, no loss"
PRECISION_STEPS = 50
Row = dict[str, Any]


def row(name: str, device: torch.device, work: Callable[..., Row], *args: Any) -> Row:
    """What ``work`` measures, with the peak memory of the GPU; or its error."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        found = {"name": name, **work(*args)}
    except Exception as error:  # the next row may work
        return {"name": name, "error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    if device.type == "cuda":
        found["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return found


def ceilings(case: Case) -> Iterator[Row]:
    """What the device does at most: products of matrices, and copies from the host."""
    size, num_bytes = case.sizes.matrix, case.sizes.copied_mb * 2**20

    def product() -> Row:
        a = torch.randn(size, size, device=case.device, dtype=torch.bfloat16)
        return {"tflop_per_s": 2 * size**3 / seconds(lambda: a @ a, case) / 1e12}

    def copy(pinned: bool) -> Row:
        source = torch.zeros(num_bytes, dtype=torch.uint8)
        source = source.pin_memory() if pinned and case.device.type == "cuda" else source
        target = torch.empty_like(source, device=case.device)
        work = functools.partial(target.copy_, source, non_blocking=True)
        return {"gb_per_s": num_bytes / seconds(work, case) / 1e9}

    yield row(f"product of two matrices, {size} rows, bfloat16", case.device, product)
    for pinned in (True, False):
        place = "pinned" if pinned else "pageable"
        yield row(f"copy from {place} memory", case.device, copy, pinned)


def of_methods(case: Case, execution: Execution = DEFAULT) -> Iterator[Row]:
    """A step of every method; `over_networks` is its time over that of the networks alone.

    It is left out if the networks alone could not be measured.
    """
    size, teacher = case.sizes.batches[0], case.teacher()

    def step(method: str) -> Row:
        work = Step(case, method, size, teacher=teacher, execution=execution)
        duration = seconds(work, case)
        facts = {"finite": work().isfinite().item(), "ms": 1e3 * duration}
        return facts | {"images_per_s": size / duration}

    alone = row(NETWORKS, case.device, step, "vanilla")
    yield over(alone, alone)
    for name, file in methodfiles.read_all().items():
        if file.needs:
            yield over(row(name, case.device, step, name), alone)


def over(found: Row, alone: Row) -> Row:
    """A row with its time over that of another one, if both were measured."""
    if "ms" not in found or "ms" not in alone:
        return found
    return found | {"over_networks": found["ms"] / alone["ms"]}


def backbones(case: Case) -> Iterator[Row]:
    """Images/s of every backbone as a supervised student, and as a teacher."""
    nets = [case.sizes.student, case.sizes.teacher]
    if case.sizes.every_backbone:
        entries = yaml.safe_load(ARCHITECTURES.read_text(encoding="utf-8")).values()
        nets = list(dict.fromkeys(entry["net"] for entry in entries))

    def measured(net: str) -> Row:
        found: Row = {"finite": True}
        for size in case.sizes.batches:
            work, teacher = Step(case, "vanilla", size, net=net), case.teacher(net)
            found[f"training_{size}"] = size / seconds(work, case)
            found["finite"] = found["finite"] and work().isfinite().item()
            infer = functools.partial(teacher, 0, 0, work.batch.images_BCHW)
            found[f"inference_{size}"] = size / seconds(infer, case)
        return found

    for net in nets:
        yield row(net, case.device, measured, net)


def precision(case: Case) -> Iterator[Row]:
    """The losses of the same training in bfloat16 and in float32."""

    def losses(precise: bool) -> torch.Tensor:
        torch.backends.cudnn.allow_tf32 = not precise
        work = Step(case, "vanilla", case.sizes.batches[0], precise=precise)
        torch.manual_seed(0)
        return torch.stack([work() for _ in range(PRECISION_STEPS)]).cpu()

    def compared() -> Row:
        low_S, high_S = losses(False), losses(True)
        gap_S = (low_S - high_S).abs() / high_S
        facts = {"largest_gap": gap_S.max().item(), "last_gap": gap_S[-1].item()}
        return facts | {"first_loss": high_S[0].item(), "last_loss": high_S[-1].item()}

    yield row(f"bfloat16 against float32, {PRECISION_STEPS} steps", case.device, compared)


def whole_loop(case: Case) -> Iterator[Row]:
    """Images/s of the training loop, and its share of a step that computes alone."""
    cache, small = case.cache(case.sizes.images), case.sizes.batches[0]
    split = cache.splits["train"]
    read = mock.patch.object(Loader, "_resident", lambda loader: None)

    def fitted(method: str, source: str, size: int, resident: bool) -> Row:
        run = case.run(method, size)
        teacher: Any = None if source == "no teacher" else case.teacher()
        given = teacher
        with tempfile.TemporaryDirectory() as folder:
            if source == "stored logits":
                given = GivenTeacher(teacher, Step(case, "vanilla", size).batch.images_BCHW)
                teacher = case.stored(Path(folder), run, len(split.ids))
            if resident:
                rate = case.fit(run, cache, teacher)[1]
            else:
                with read:
                    rate = case.fit(run, cache, teacher)[1]
        alone = size / seconds(Step(case, method, size, teacher=given), case)
        return {"images_per_s": rate, "compute_only": alone, "share": rate / alone}

    def same_batches() -> Row:
        recipe = case.run("vanilla", small).recipe
        loaders = [Loader(split, recipe, 0, case.device)]
        with read:
            loaders.append(Loader(split, recipe, 0, case.device))
        pairs = zip(*(loader.train(0) for loader in loaders), strict=True)
        equal = [torch.equal(a.images_BCHW, b.images_BCHW) for a, b in pairs]
        return {"batches": len(equal), "equal": all(equal)}

    for size in case.sizes.batches:
        sources = ("vanilla", "no teacher"), ("mdkd", "live teacher"), ("mdkd", "stored logits")
        for method, source in sources:
            for resident in (True, False):
                place = "resident" if resident else "read"
                name = f"{method}, {source}, {size} images a batch, {place}"
                yield row(name, case.device, fitted, method, source, size, resident)
    yield row("the same batches, resident and read", case.device, same_batches)


def measures(case: Case) -> Iterator[Row]:
    """A step of MDKD with and without each measure. The first row of a size is what is used."""
    teacher, in_float32 = case.teacher(), AutocastTeacher(case)

    def measured(size: int, options: dict[str, Any]) -> Row:
        work = Step(case, size=size, **{"method": "mdkd", "teacher": teacher} | options)
        first_s, duration = seconds(work, case, warm=0, steps=1), seconds(work, case)
        return {"ms": 1e3 * duration, "images_per_s": size / duration, "first_step_s": first_s}

    for size in case.sizes.batches:
        given = GivenTeacher(teacher, Step(case, "vanilla", size).batch.images_BCHW)
        variants: dict[str, dict[str, Any]] = {
            "as it is": {},
            "teacher in float32, under autocast": {"teacher": in_float32},
            "logits are given": {"teacher": given},
            "no teacher and no loss": {"method": "vanilla", "teacher": None},
            "Adam not fused": {"fused": False},
            "not channels last": {"channels_last": False},
        }
        for mode in case.sizes.compiled:
            variants[f"compiled: {mode}"] = {"execution": Execution(compile=mode)}  # type: ignore[arg-type]
        for name, options in variants.items():
            yield row(f"{name}, {size} images a batch", case.device, measured, size, options)


def sharing(case: Case) -> Iterator[Row]:
    """Images/s of several trainings of a small student at once."""
    context = multiprocessing.get_context("spawn")

    def together(count: int) -> Row:
        barrier, rates = context.Barrier(count), context.Queue()
        args = (case.sizes, case.device.type, barrier, rates)
        processes = [context.Process(target=share, args=args, daemon=True) for _ in range(count)]
        found = harness.collected(processes, rates)
        return {"images_per_s": sum(found), "slowest": min(found)}

    for count in case.sizes.shared:
        yield row(f"trainings at once: {count}", case.device, together, count)


def deterministic(case: Case) -> Iterator[Row]:
    """Steps of every method with `deterministic`, over the usual ones; a resumed training."""
    found = []
    for execution in (DEFAULT, DETERMINISTIC):  # each in a process of its own, as trainings are
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            work = pool.submit(_under, execution, case.sizes, case.device.type)
            found.append({r["name"]: r for r in work.result()})
    usual, strict = found
    for name, steps in strict.items():
        if "ms" in steps and "ms" in usual[name]:
            steps["price"] = steps["ms"] / usual[name]["ms"]
        yield steps


def _under(execution: Execution, sizes: Sizes, device: str) -> list[Row]:
    prepare(execution, Path())
    case = Case(sizes, torch.device(device))
    resumed = row("interrupted and resumed", case.device, _resumed, case)
    return [*of_methods(case, execution), resumed]


def _resumed(case: Case) -> Row:
    """Whether a training that stops after every step ends with the bits of one that does not."""
    run = case.run("mdkd", case.sizes.batches[0])
    cache = case.cache(2 * run.recipe.batch_size)
    whole, _ = case.fit(run, cache, case.teacher())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "checkpoint.pt"
        stops, parts = 0, None
        while parts is None:
            try:
                parts, _ = case.fit(run, cache, case.teacher(), Stopping(file, "0", 0))
            except Stopped:
                stops += 1
    ours, theirs = whole.state_dict(), parts.state_dict()
    return {"stops": stops, "equal": all(torch.equal(ours[key], theirs[key]) for key in ours)}


class Stopped(Exception):
    """In place of the end of the process."""


class Stopping(checkpoint.Checkpoint):
    """Ends the training after each checkpoint, but the last one."""

    def tell(self, step: int, steps: int, *facts: Any) -> None:
        if step < steps:
            raise Stopped


PARTS: dict[str, Callable[[Case], Iterator[Row]]] = {
    "ceilings": ceilings,
    "methods": of_methods,
    "backbones": backbones,
    "precision": precision,
    "loop": whole_loop,
    "measures": measures,
    "sharing": sharing,
    "deterministic": deterministic,
}
