"""A training step of every method against the step without its loss: two forwards, one backward.

The ratio is the share of the step that is not the method's: 1 means that its loss costs nothing.
Networks and images are small, and the networks of the paper are much slower than its losses, so
the share of a loss there is smaller than here.

Two further rows are about stored logits: a step that reads them against one that computes them, and
against one without a teacher.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.harness import Row
from mdkd import methodfiles, methods
from mdkd.config import Head
from mdkd.models import build_network
from mdkd.models.build import Network
from mdkd.outputs import Output
from mdkd.training.loop import supervised_loss

BATCH, LABELS, SIZE = 32, 80, 32
TEACHER, STUDENT = "cifar:resnet20", "cifar:resnet8"
HEAD = Head(kind="mldecoder", width=64, heads=4, feedforward=128)


def rows() -> Iterator[Row]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    teacher, student = _network(TEACHER).eval(), _network(STUDENT)
    images_BCHW = torch.randn(BATCH, 3, SIZE, SIZE)
    targets_BC = (torch.rand(BATCH, LABELS) < 2.9 / LABELS).float()
    files = methodfiles.read_all()
    for name in methods.names():
        loss = methods.build(name, student.spec, teacher.spec, files[name].settings)

        def step(loss: torch.nn.Module | None = loss) -> None:
            with torch.no_grad():
                taught = teacher(images_BCHW)
            output = student(images_BCHW)
            terms: list[Tensor] = [supervised_loss(output.logits_BC, targets_BC, "sum_mean")]
            if loss is not None:
                terms += loss(output, taught, targets_BC).values()
            student.zero_grad(set_to_none=True)
            torch.stack(terms).sum().backward()

        yield Row(
            f"step with {files[name].label}, {TEACHER[6:]} to {STUDENT[6:]}, {SIZE} px",
            lambda step=step: step(None),
            step,
        )


def stored_rows() -> Iterator[Row]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    teacher, student = _network(TEACHER).eval(), _network(STUDENT)
    images_BCHW = torch.randn(BATCH, 3, SIZE, SIZE)
    targets_BC = (torch.rand(BATCH, LABELS) < 2.9 / LABELS).float()
    loss = methods.build(
        "mdkd", student.spec, teacher.spec, methodfiles.read_all()["mdkd"].settings
    )
    with torch.no_grad():
        stored = teacher(images_BCHW)

    def step(taught: Output | None) -> None:
        output = student(images_BCHW)
        terms: list[Tensor] = [supervised_loss(output.logits_BC, targets_BC, "sum_mean")]
        if taught is not None:
            terms += loss(output, taught, targets_BC).values()
        student.zero_grad(set_to_none=True)
        torch.stack(terms).sum().backward()

    def live() -> None:
        with torch.no_grad():
            taught = teacher(images_BCHW)
        step(taught)

    nets = f"MDKD, {TEACHER[6:]} to {STUDENT[6:]}, {SIZE} px"
    yield Row(f"step with stored logits against a live teacher, {nets}", live, lambda: step(stored))
    yield Row(
        f"step with stored logits against no teacher, {nets}",
        lambda: step(None),
        lambda: step(stored),
    )


def _network(net: str) -> Network:
    return build_network(net, num_labels=LABELS, image_size=SIZE, stem="small", head=HEAD)
