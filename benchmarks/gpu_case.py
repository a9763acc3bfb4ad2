"""What `benchmarks.gpu` measures: networks, a cache of random images, and single training steps.

Shape key: B images of a batch, N images, C labels, S pixels on a side.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mdkd import logits, methodfiles, methods, records
from mdkd.config import Dataset, Head, Method, Recipe, Run
from mdkd.data.cache import Cache, CachedSplit
from mdkd.data.loader import Loader
from mdkd.models import build_network
from mdkd.models.build import Network, merged
from mdkd.outputs import Output
from mdkd.training import loop
from mdkd.training.execution import DEFAULT, Execution, autocast, forward_of, prepare
from mdkd.training.optimizer import Adam
from mdkd.training.teacher import LiveTeacher, StoredTeacher, Teacher

EPOCHS, QUIET_EPOCH = 3, 1  # no gradients are compared in the second one
FILES = methodfiles.read_all()


@dataclass(frozen=True)
class Sizes:
    teacher: str = "resnet101.tv_in1k"
    student: str = "resnet34.tv_in1k"
    small: str = "cifar:resnet8"
    stem: str = "imagenet"
    head: Head = field(default_factory=lambda: Head(kind="mldecoder"))
    pixels: int = 224
    labels: int = 80
    batches: tuple[int, int] = (32, 256)  # of the benchmark, and one that fills a GPU
    warm: int = 10  # steps before those that are timed
    steps: int = 50
    images: int = 4096  # of an epoch
    matrix: int = 8192  # rows and columns of what is multiplied
    copied_mb: int = 512
    shared: tuple[int, ...] = (1, 2, 4, 8)  # trainings on one GPU
    compiled: tuple[str, ...] = ("default", "reduce-overhead")
    every_backbone: bool = True  # or the student and the teacher alone


TINY = Sizes(
    teacher="cifar:resnet14",
    student="cifar:resnet8",
    stem="small",
    head=Head(kind="mldecoder", width=16, heads=2, feedforward=16),
    pixels=32,
    labels=6,
    batches=(4, 8),
    warm=1,
    steps=2,
    images=16,
    matrix=64,
    copied_mb=1,
    shared=(2,),
    compiled=(),
    every_backbone=False,
)


class Case:
    """Networks and data of one size on one device."""

    def __init__(self, sizes: Sizes, device: torch.device):
        self.sizes, self.device = sizes, device

    def network(self, net: str) -> Network:
        """Random weights, the same in every call."""
        torch.manual_seed(0)
        sizes = self.sizes
        network = build_network(
            net,
            num_labels=sizes.labels,
            image_size=sizes.pixels,
            stem=sizes.stem,
            head=sizes.head,
        )
        return network.to(self.device).to(memory_format=torch.channels_last)

    def teacher(self, net: str | None = None) -> LiveTeacher:
        """A network as a teacher; by default the large one."""
        network = merged(self.network(net or self.sizes.teacher)).requires_grad_(False)
        return LiveTeacher(network, self.run("vanilla", 2).recipe)

    def run(self, method: str, batch_size: int, net: str | None = None) -> Run:
        sizes = self.sizes
        return Run(
            path=method,
            protocol="gpu",
            dataset=Dataset(name="random", source="scenes", image_size=sizes.pixels),
            arch="student",
            net=net or sizes.student,
            stem=sizes.stem,  # type: ignore[arg-type]
            weights=None,
            head=sizes.head,
            recipe=Recipe(
                epochs=EPOCHS,
                batch_size=batch_size,
                lr=1e-4,
                weight_decay=1e-4,
                flip=True,
                cutout=0.5,
            ),
            method=Method(name=method, settings=FILES[method].settings, revision=1),
            teacher=None,
            seed=0,
        )

    def cache(self, num_images: int) -> Cache:
        """Random pixels and labels."""
        random, size = np.random.default_rng(0), self.sizes.pixels
        split = CachedSplit(
            [str(i) for i in range(num_images)],
            random.integers(0, 256, (num_images, size, size, 3), np.uint8),
            (random.random((num_images, self.sizes.labels)) < 0.04).astype(np.uint8),
        )
        return Cache(tuple(map(str, range(self.sizes.labels))), {"train": split}, "random", {})

    def fit(
        self,
        run: Run,
        cache: Cache,
        teacher: Any = None,
        saved: Any = None,
        execution: Execution = DEFAULT,
    ) -> tuple[Network, float]:
        """The training loop itself; returns the network, and images/s of a whole epoch."""
        student = self.network(run.net)
        spec = (teacher or student).spec
        method = methods.build(run.method.name, student.spec, spec, run.method.settings)
        method.to(self.device)
        saved = saved or NotSaved()
        progress = loop._fit(
            run, student, teacher, method, cache, self.device, saved, execution=execution
        )
        return student, progress.history[QUIET_EPOCH]["images_per_s"]

    def stored(self, folder: Path, run: Run, num_images: int) -> StoredTeacher:
        """Random logits in files, as a training reads them."""
        entry, shape = logits.Entry(folder), (num_images, self.sizes.labels)
        folder.mkdir(exist_ok=True)
        for epoch in range(EPOCHS):
            np.save(entry.epoch(epoch), np.random.default_rng(epoch).normal(size=shape).astype("f"))
        digests = [records.sha256(entry.epoch(epoch)) for epoch in range(EPOCHS)]
        facts = {"cache": "", "teacher": "", "labels": self.sizes.labels, "by_label": False}
        record = facts | {"images_per_s": 1.0, "epochs": digests}
        records.write_json(folder / logits.RECORD, record)
        return StoredTeacher(entry, run.recipe.batch_size, self.device)


class NotSaved:
    """In place of a checkpoint."""

    due = False

    def load(self) -> None: ...

    def save(self, state: dict[str, Any]) -> None: ...

    def tell(self, *facts: object) -> None: ...


class Step:
    """A training step on one batch that stays on the device: what computing alone takes."""

    def __init__(
        self,
        case: Case,
        method: str,
        size: int,
        *,
        net: str | None = None,
        teacher: Teacher | None = None,
        execution: Execution = DEFAULT,
        fused: bool = True,
        channels_last: bool = True,
        precise: bool = False,
    ):
        self.case, self.teacher, self.precise = case, teacher, precise
        run = case.run(method, size, net)
        loader = Loader(case.cache(size).splits["train"], run.recipe, 0, case.device)
        self.batch = next(loader.train(0))
        self.student = case.network(run.net)
        if not channels_last:
            self.student.to(memory_format=torch.contiguous_format)
            images_BCHW = self.batch.images_BCHW.contiguous()
            self.batch = self.batch._replace(images_BCHW=images_BCHW)
        self.forward = forward_of(self.student, execution)
        spec = (teacher or self.student).spec
        self.method = methods.build(method, self.student.spec, spec, run.method.settings)
        self.method.to(case.device)
        parameters = [*self.student.parameters(), *self.method.parameters()]
        self.optimizer: Any = Adam(parameters, 1e-4) if fused else Unfused(parameters)

    def __call__(self) -> Tensor:
        """One step; returns its loss, which stays on the device."""
        images_BCHW = self.batch.images_BCHW
        with nullcontext() if self.precise else autocast(self.case.device):
            output = self.forward(images_BCHW)
        taught = self.teacher(0, 0, images_BCHW) if self.teacher else None
        losses = loop.loss_terms(self.method, output, taught, self.batch, "sum_mean")
        self.optimizer.zero_grad()
        loss = torch.stack(list(losses.values())).sum()
        loss.backward()
        self.optimizer.step(1e-4, 0.9)
        return loss.detach()


class AutocastTeacher:
    """A teacher as a student computes: float32 weights, each norm by itself."""

    stored_images_per_s = None

    def __init__(self, case: Case):
        self.network = case.network(case.sizes.teacher).eval().requires_grad_(False)
        self.spec, self.device = self.network.spec, case.device

    @torch.no_grad()
    def __call__(self, epoch: int, step: int, images_BCHW: Tensor) -> Output:
        with autocast(self.device):
            return self.network(images_BCHW)


class GivenTeacher:
    """Outputs that are there already."""

    stored_images_per_s = None

    def __init__(self, teacher: Teacher, images_BCHW: Tensor):
        self.spec, self.output = teacher.spec, teacher(0, 0, images_BCHW)

    def __call__(self, epoch: int, step: int, images_BCHW: Tensor) -> Output:
        return self.output


class Unfused:
    """Adam with one kernel for each of its operations, over all parameters."""

    def __init__(self, parameters: list[Any]):
        self.adam = torch.optim.Adam(parameters, lr=1e-4, weight_decay=1e-4, foreach=True)

    def zero_grad(self) -> None:
        self.adam.zero_grad(set_to_none=True)

    def step(self, lr: float, momentum: float) -> None:
        self.adam.step()


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(
    work: Callable[[], object], case: Case, warm: int | None = None, steps: int | None = None
) -> float:
    """The time of one call on the clock, until the device is done; the mean of many calls."""
    warm, steps = (case.sizes.warm if warm is None else warm), steps or case.sizes.steps
    for _ in range(warm):
        work()
    wait(case.device)
    started = time.perf_counter()
    for _ in range(steps):
        work()
    wait(case.device)
    return (time.perf_counter() - started) / steps


def share(sizes: Sizes, device: str, barrier: Any, rates: Any) -> None:
    """One of several trainings of the small student that share a device."""
    prepare(DEFAULT, Path())
    case, batch_size = Case(sizes, torch.device(device)), sizes.batches[0]
    cache, run = case.cache(sizes.images), case.run("vanilla", batch_size, sizes.small)
    case.fit(run, case.cache(batch_size))
    barrier.wait()
    rates.put(case.fit(run, cache)[1])
