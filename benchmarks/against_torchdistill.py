"""Our training loop against that of torchdistill, with the same networks, losses and images.

torchdistill is not part of the project's environment. Install it beside that environment:

    python -m venv --system-site-packages td       # of an environment that has mdkd, or
    echo PROJECT/.venv/lib/python3.X/site-packages > td/lib/python3.X/site-packages/project.pth
    td/bin/python -m pip install --no-deps torchdistill
    td/bin/python -m benchmarks torchdistill

Both loops get the pixels of a cache, so no image is decoded. torchdistill gets them as its examples
for CIFAR do: each as a PIL image with transforms of torchvision, in the main process. Its teacher
is frozen and has no graph. The losses are BCE and the squared error of logits, with our weights;
their sum on one batch is compared first.
"""

import importlib.util
import logging
import sys
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision import transforms

from benchmarks.endtoend import BATCH, CPU, LABELS, PER_IMAGE, Case, Pair, cut_out
from benchmarks.harness import Row
from mdkd import methodfiles, methods
from mdkd.data.cache import CachedSplit
from mdkd.data.loader import IMAGENET_MEAN, IMAGENET_STD, Loader
from mdkd.models.build import Network
from mdkd.training import loop

PAIRS = (
    Pair("cifar:resnet8x2", "cifar:resnet8", "small", size=48, stem="small", steps=31),  # quick
    Pair("resnet34.tv_in1k", "tv:shufflenet_v2_x1_0", "paper", steps=2),
)
MSE = methodfiles.read("mse").settings["weight"]


def rows() -> Iterator[Row]:
    if importlib.util.find_spec("torchdistill") is None:
        how = "benchmarks/against_torchdistill.py says how to install it"
        print(f"torchdistill is not installed, so its rows are left out; {how}", file=sys.stderr)
        return
    for pair in PAIRS:
        case = Pixels(pair)
        for stored in (False, True):
            yield Row(
                f"torchdistill's loop, MSE, {'stored logits' if stored else 'live'}, {pair.name}",
                case.torchdistill,
                lambda case=case, stored=stored: case.fit("mse", stored),
                images=case.images,
                apart=True,
            )


class Pixels(Case):
    """The networks of a pair, and random pixels."""

    @cached_property
    def split(self) -> CachedSplit:
        random = np.random.default_rng(0)
        shape = (self.images, self.pair.size, self.pair.size, 3)
        targets_NC = (random.random((self.images, LABELS)) < PER_IMAGE / LABELS).astype(np.uint8)
        pixels_NSS3 = random.integers(256, size=shape, dtype=np.uint8)
        return CachedSplit([str(i) for i in range(self.images)], pixels_NSS3, targets_NC)

    @cached_property
    def box(self) -> Any:
        """torchdistill's object for one training."""
        from torchdistill.core.distillation import DistillationBox

        logging.getLogger("torchdistill").setLevel(logging.WARNING)
        student = {"io": "output", "module_path": ".", "is_from_teacher": False}

        def term(criterion: str, target: dict[str, Any], weight: float) -> dict[str, Any]:
            return {
                "criterion": {"key": criterion, "kwargs": {"reduction": "mean"}},
                "criterion_wrapper": {
                    "key": "SimpleLossWrapper",
                    "kwargs": {"input": student, "target": target},
                },
                "weight": weight * LABELS,  # a mean over labels becomes a sum
            }

        config = {
            "num_epochs": 1,
            "train_data_loader": {
                "dataset_id": "train",
                "sampler": {"class_or_func": torch.utils.data.RandomSampler, "kwargs": {}},
                "kwargs": {"batch_size": BATCH, "num_workers": 0, "drop_last": True},
            },
            "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
            "student": {"forward_proc": "forward_batch_only"},
            "optimizer": {"key": "Adam", "kwargs": {"lr": 1e-4, "weight_decay": 1e-4}},
            "criterion": {
                "key": "WeightedSumLoss",
                "kwargs": {
                    "sub_terms": {
                        "bce": term("BCEWithLogitsLoss", {"uses_label": True}, 1.0),
                        "mse": term("MSELoss", student | {"is_from_teacher": True}, MSE),
                    }
                },
            },
        }
        nets = [_Logits(net) for net in self.networks]
        data = {"train": _Pixels(self.split)}
        box = DistillationBox(*nets, data, config, CPU, None, False, 1.0)
        self._check(box)
        return box

    def _check(self, box: Any) -> None:
        """Both sides have the same loss on a batch, without dropout."""
        batch = next(Loader(self.split, self.run("mse").recipe, 0, CPU).train(0))
        teacher, student = (net.eval() for net in self.networks)
        with torch.no_grad():
            theirs = box.forward_process(batch.images_BCHW, batch.targets_BC, {})
            output, taught = student(batch.images_BCHW), teacher(batch.images_BCHW)
        loss = methods.build("mse", student.spec, teacher.spec, {"weight": MSE})
        ours = loop.supervised_loss(output.logits_BC, batch.targets_BC, "sum_mean")
        ours += sum(loss(output, taught, batch.targets_BC).values())
        torch.testing.assert_close(theirs, ours)

    def torchdistill(self) -> None:
        """One epoch as in torchdistill's examples, without their log."""
        self.box.teacher_model.eval()
        self.box.student_model.train()
        self.box.pre_epoch_process(epoch=0)
        for images_BCHW, target_BC, more in self.box.train_data_loader:
            self.box.pre_forward_process()
            loss = self.box.forward_process(images_BCHW, target_BC, more)
            self.box.post_forward_process(loss=loss)
            float(loss.detach())  # for the log
        self.box.post_epoch_process()


class _Logits(nn.Module):
    """A network that returns its logits alone."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.network(images_BCHW).logits_BC


class _Pixels(Dataset):
    """Images of a cache, as torchvision's data sets of small images give them."""

    def __init__(self, split: CachedSplit):
        self.split, self.targets_NC = split, torch.from_numpy(split.targets_NC).float()
        self.transform = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                cut_out,
                transforms.ToTensor(),
                transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.split.ids)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.transform(Image.fromarray(self.split.images_NSSC[i])), self.targets_NC[i]
