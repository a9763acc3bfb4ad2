"""A training step of every method against the step without its loss: two forwards, one backward.

The ratio is the share of the step that is not the method's: 1 means that its loss costs nothing.
Networks and images are small, and the networks of the paper are much slower than its losses, so
the share of a loss there is smaller than here.

Further rows are about stored outputs of a teacher: a step that reads them against one that computes
them, and against one without a teacher.
"""

from collections.abc import Iterator

import torch

from benchmarks.harness import Row
from mdkd import methodfiles, methods
from mdkd.config import Head
from mdkd.data.loader import Batch
from mdkd.models import build_network
from mdkd.models.build import Network
from mdkd.outputs import Output
from mdkd.training.loop import loss_terms
from mdkd.training.losses import supervised_loss

BATCH, LABELS, SIZE = 32, 80, 32
TEACHER, STUDENT = "cifar:resnet20", "cifar:resnet8"
NETS = f"{TEACHER[6:]} to {STUDENT[6:]}, {SIZE} px"
HEAD = Head(kind="mldecoder", width=64, heads=4, feedforward=128)


def rows() -> Iterator[Row]:
    case, files = _Case(), methodfiles.read_all()
    for name in methods.names():
        loss = case.loss(name)
        yield Row(
            f"step with {files[name].label}, {NETS}",
            lambda: case.step(None, case.teach()),
            lambda loss=loss: case.step(loss, case.teach()),
        )


def stored_rows() -> Iterator[Row]:
    case, files = _Case(), methodfiles.read_all()
    stored = case.teach()
    for name, what in (("mdkd", "logits"), ("rkd", "pooled vectors"), ("pkt", "pooled vectors")):
        loss, label = case.loss(name), files[name].label
        yield Row(
            f"step with stored {what} against a live teacher, {label}, {NETS}",
            lambda loss=loss: case.step(loss, case.teach()),
            lambda loss=loss: case.step(loss, stored),
        )
        yield Row(
            f"step with stored {what} against no teacher, {label}, {NETS}",
            lambda: case.step(None, None),
            lambda loss=loss: case.step(loss, stored),
        )


class _Case:
    """A teacher, a student and a batch."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.teacher, self.student = _network(TEACHER).eval(), _network(STUDENT)
        self.images_BCHW = torch.randn(BATCH, 3, SIZE, SIZE)
        self.targets_BC = (torch.rand(BATCH, LABELS) < 2.9 / LABELS).float()

    def loss(self, name: str) -> torch.nn.Module:
        settings = methodfiles.read_all()[name].settings
        return methods.build(name, self.student.spec, self.teacher.spec, settings)

    @torch.no_grad()
    def teach(self) -> Output:
        return self.teacher(self.images_BCHW)

    def step(self, loss: torch.nn.Module | None, taught: Output | None) -> None:
        output = self.student(self.images_BCHW)
        if loss is None:
            terms = {"bce": supervised_loss(output.logits_BC, self.targets_BC, "sum_mean")}
        else:
            batch = Batch(self.images_BCHW, self.targets_BC, self.targets_BC)
            terms = loss_terms(loss, output, taught, batch, "sum_mean")
        self.student.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()


def _network(net: str) -> Network:
    return build_network(net, num_labels=LABELS, image_size=SIZE, stem="small", head=HEAD)
