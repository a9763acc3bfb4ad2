"""Whole training loops side by side, from files of images: ours and the usual recipe.

The usual recipe is what public code for this task does, written here anew. Images are decoded and
augmented by PIL in every epoch, in two workers. The teacher runs with its graph, the losses are
loops in Python, every step waits for its loss, and the test set is predicted after every epoch.

Ours is `mdkd.training.loop` itself, without the checkpoint and the probe of an epoch, because the
epochs here have few steps. What is done once for many epochs or runs is counted with its share:
decoding is done once in `EPOCHS` epochs, and stored logits serve `READERS` runs. One prediction of
the test set in 110 epochs is left out.

Shape key: B images, C labels, S pixels on a side.
"""

import copy
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader
from torchvision import transforms

from benchmarks.harness import Row
from benchmarks.inputs import drawn_jpegs
from benchmarks.losses import loop_led, loop_ps
from benchmarks.references import average_precisions
from mdkd import methodfiles, methods
from mdkd.config import Dataset, Head, Method, Recipe, Run
from mdkd.data.cache import Cache, CachedSplit
from mdkd.data.images import read_image
from mdkd.data.loader import IMAGENET_MEAN, IMAGENET_STD, Loader
from mdkd.methods.common import mld_loss
from mdkd.models import build_network
from mdkd.models.build import Network
from mdkd.outputs import Output
from mdkd.training import loop
from mdkd.training.teacher import LiveTeacher, Teacher

BATCH, LABELS, PER_IMAGE = 32, 80, 2.9  # as MS-COCO has
TEST_SHARE = 0.5  # test images for each training image; MS-COCO has 40,137 for 82,081
EPOCHS = 110  # of the paper
READERS = 4  # the methods of the paper's tables that need logits alone: MLD, MSE, PS, MDKD
WORKERS = 2
CPU = torch.device("cpu")
HEADS = {
    "paper": Head(kind="mldecoder", width=768),
    "small": Head(kind="mldecoder", width=64, heads=4, feedforward=128),
}


class Pair(NamedTuple):
    """A teacher, a student, and what they are trained on."""

    teacher: str
    student: str
    head: str
    size: int = 224
    stem: str = "imagenet"
    steps: int = 1  # of a round

    @property
    def name(self) -> str:
        short = [net.rpartition(":")[2].partition(".")[0] for net in (self.teacher, self.student)]
        return f"{' to '.join(short)}, {self.size} px"


PAIRS = (
    Pair("cifar:resnet8x2", "cifar:resnet8", "small", steps=4),
    Pair("resnet34.tv_in1k", "tv:shufflenet_v2_x1_0", "paper", steps=2),
    Pair("resnet101.tv_in1k", "resnet34.tv_in1k", "paper"),
)


def rows() -> Iterator[Row]:
    for pair in PAIRS:
        case = Case(pair)
        for method, stored in (("ps", True), ("l2d", False)):
            label, kind = methodfiles.read(method).label, "stored logits" if stored else "live"
            yield Row(
                f"usual recipe, {label}, {kind}, {pair.name}",
                lambda case=case, method=method: case.usual(method),
                lambda case=case, method=method, stored=stored: case.ours(method, stored),
                images=case.images,
                apart=pair.head == "paper",
            )


class Case:
    """The networks of a pair, and images as JPEGs and as a cache."""

    def __init__(self, pair: Pair):
        self.pair, self.images = pair, BATCH * pair.steps

    @cached_property
    def networks(self) -> tuple[Network, Network]:
        """The teacher, in eval mode, and the student."""
        torch.set_num_threads(1)
        torch.manual_seed(0)
        nets = [
            build_network(
                net,
                num_labels=LABELS,
                image_size=self.pair.size,
                stem=self.pair.stem,
                head=HEADS[self.pair.head],
            )
            for net in (self.pair.teacher, self.pair.student)
        ]
        return nets[0].eval(), nets[1]

    @cached_property
    def own(self) -> tuple[Network, Network]:
        """Copies of the networks, in the memory layout of our loop."""
        teacher, student = (
            copy.deepcopy(net).to(memory_format=torch.channels_last) for net in self.networks
        )
        return teacher.requires_grad_(False), student

    @cached_property
    def files(self) -> list[Path]:
        """One JPEG for each training image; the folder lives as long as this case."""
        self.folder = tempfile.TemporaryDirectory()
        return drawn_jpegs(Path(self.folder.name), self.images)

    @cached_property
    def split(self) -> CachedSplit:
        images_NSSC = np.stack([read_image(file, self.pair.size) for file in self.files])
        random = np.random.default_rng(0)
        targets_NC = (random.random((self.images, LABELS)) < PER_IMAGE / LABELS).astype(np.uint8)
        return CachedSplit([file.name for file in self.files], images_NSSC, targets_NC)

    def run(self, method: str) -> Run:
        """A training of one epoch."""
        recipe = Recipe(
            epochs=1, batch_size=BATCH, lr=1e-4, weight_decay=1e-4, flip=True, cutout=0.5
        )
        return Run(
            path="benchmark",
            protocol="benchmark",
            dataset=Dataset(name="drawn", source="coco", image_size=self.pair.size),
            arch="student",
            net=self.pair.student,
            stem=self.pair.stem,  # type: ignore[arg-type]
            weights=None,
            head=HEADS[self.pair.head],
            recipe=recipe,
            method=Method(name=method, revision=1, settings=methodfiles.read(method).settings),
            teacher="teacher",
            seed=0,
        )

    def ours(self, method: str, stored: bool) -> None:
        """One epoch of our loop, with the share of decoding."""
        for file in self.files[: max(1, round(self.images / EPOCHS))]:
            read_image(file, self.pair.size)
        self.fit(method, stored)

    def fit(self, method: str, stored: bool) -> None:
        """One epoch of `mdkd.training.loop`; with stored logits, also the share of storing them."""
        run, (network, student) = self.run(method), self.own
        live = LiveTeacher(network, run.recipe)
        teacher: Teacher = _Stored(network) if stored else live
        if stored:
            images_BCHW = next(Loader(self.split, run.recipe, 0, CPU).train(0)).images_BCHW
            for _ in range(self.pair.steps):
                live(0, 0, images_BCHW[: BATCH // READERS])
        cache = Cache((), {"train": self.split}, "", {})
        loss = methods.build(method, student.spec, teacher.spec, run.method.settings)
        with mock.patch.object(loop, "probed_epochs", lambda epochs: ()):
            loop._fit(run, student, teacher, loss, cache, CPU, _NoCheckpoint())  # type: ignore[arg-type]

    def usual(self, method: str) -> np.ndarray:
        """One epoch of the usual recipe; returns the average precisions."""
        teacher, student = self.networks
        transform = transforms.Compose(
            [
                transforms.Resize((self.pair.size, self.pair.size)),
                transforms.RandomHorizontalFlip(),
                cut_out,
                transforms.ToTensor(),
                transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ]
        )
        train = _Files(self.files, self.split.targets_NC, transform)
        test = torch.utils.data.Subset(train, range(round(TEST_SHARE * self.images)))
        optimizer = torch.optim.Adam(student.parameters(), lr=1e-4, weight_decay=1e-4)
        settings = methodfiles.read(method).settings
        student.train()
        for images_BCHW, target_BC in DataLoader(train, BATCH, shuffle=True, num_workers=WORKERS):
            taught, output = teacher(images_BCHW), student(images_BCHW)
            loss = (
                binary_cross_entropy_with_logits(output.logits_BC, target_BC, reduction="none")
                .sum(1)
                .mean()
            )
            loss = loss + usual_loss(method, settings, output, taught, target_BC)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            float(loss.detach())  # for the log
        student.eval()
        with torch.no_grad():
            batches = DataLoader(test, BATCH, num_workers=WORKERS)
            found = [(student(x).logits_BC.sigmoid(), y) for x, y in batches]
        scores_NC, targets_NC = (torch.cat(part).numpy() for part in zip(*found, strict=True))
        return average_precisions(scores_NC, targets_NC)


def usual_loss(
    method: str, settings: dict[str, float], output: Output, taught: Output, target_BC: Tensor
) -> Tensor:
    """PS or L2D with loops over images and labels. The teacher's outputs have a graph."""
    if method == "ps":
        return settings["weight"] * loop_ps(output.logits_BC, taught.logits_BC.detach(), target_BC)
    assert output.embeddings_BCE is not None
    assert taught.embeddings_BCE is not None
    mld = settings["mld"] * mld_loss(output.logits_BC, taught.logits_BC)
    return mld + loop_led(output.embeddings_BCE, taught.embeddings_BCE.detach(), target_BC)


class _Files(torch.utils.data.Dataset):
    """Images that are decoded whenever they are asked for."""

    def __init__(self, files: list[Path], targets_NC: np.ndarray, transform: Callable):
        self.files, self.transform = files, transform
        self.targets_NC = torch.from_numpy(targets_NC).float()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        with Image.open(self.files[i]) as image:
            return self.transform(image.convert("RGB")), self.targets_NC[i]


def cut_out(image: Image.Image) -> Image.Image:
    """Cover a grey square of half the side."""
    side = image.width // 2
    left, top = (int(torch.randint(image.width, ())) - side // 2 for _ in range(2))
    ImageDraw.Draw(image).rectangle((left, top, left + side, top + side), fill=(124, 116, 104))
    return image


class _Stored:
    """Stored logits. Their values do not change the time."""

    stored_images_per_s: float | None = None

    def __init__(self, teacher: Network):
        self.spec, self.logits_BC = teacher.spec, torch.randn(BATCH, LABELS)

    def __call__(self, epoch: int, step: int, images_BCHW: Tensor) -> Output:
        return Output(self.logits_BC, self.logits_BC, (), None)


class _NoCheckpoint:
    """What the loop asks of a checkpoint, without one."""

    due = False

    def load(self) -> None: ...

    def save(self, state: object) -> None: ...

    def tell(self, *facts: object) -> None: ...
