"""Between two looks at the losses, no step of any method waits for an accelerator."""

from dataclasses import replace

import pytest
import torch
from network_cases import build, decoder
from trainings import MLD, STEPS, STUDENT
from waiting import META, NoWaiting

from mdkd import methodfiles, methods
from mdkd.config import Method
from mdkd.data.cache import open_cache
from mdkd.data.loader import Loader
from mdkd.training import loop
from mdkd.training.progress import Progress
from mdkd.training.teacher import LiveTeacher

FILES = methodfiles.read_all()


class Checked(Exception):
    """The loop looks at its losses, which waits for the device."""


class NoCheckpoint:
    due = False

    def load(self):
        return None


def network(cache, net):
    size, labels = cache.splits["train"].images_NSSC.shape[1], len(cache.classes)
    return build(net, size, "small", decoder(), labels)


@pytest.mark.parametrize("resident", [True, False], ids=["resident", "read ahead"])
@pytest.mark.parametrize("name", methods.names())
def test_no_step_of_the_loop_waits(taught, name, resident, monkeypatch, accelerator):
    """Loader, augmentation, networks, losses, backward pass, optimizer and progress."""
    settings = FILES[name].settings
    run = replace(
        taught.resolve(MLD if FILES[name].needs else STUDENT),
        method=Method(name=name, revision=1, settings=settings),
    )
    cache = open_cache(taught.layout.cache("scenes"))
    with META:
        student, taught_by = network(cache, "cifar:resnet8"), network(cache, "cifar:resnet14")
        method = methods.build(name, student.spec, taught_by.spec, settings)
    teacher = LiveTeacher(taught_by.eval(), run.recipe) if run.teacher else None
    watch, train = NoWaiting(), Loader.train
    watch.active = False

    def batches(loader, *where):
        for batch in train(loader, *where):
            yield batch
            watch.active = True  # after the first step, which may make constants

    def check(progress, steps_per_epoch):
        assert progress.step == STEPS
        raise Checked

    def on_device(loader):
        return torch.empty(loader.split.images_NSSC.shape, dtype=torch.uint8, device=META)

    monkeypatch.setattr(Loader, "train", batches)
    if resident:
        monkeypatch.setattr(Loader, "_resident", on_device)
    monkeypatch.setattr(Progress, "check", check)
    monkeypatch.setattr(loop, "CHECK_STEPS", STEPS)
    monkeypatch.setattr(loop, "gradient_ratios", lambda *args: {})  # waits, once an epoch
    with pytest.raises(Checked), watch:
        loop._fit(run, student, teacher, method, cache, META, NoCheckpoint())
    of_batch = (4, run.recipe.batch_size)  # indices and random decisions
    images = (run.recipe.batch_size, *cache.splits["train"].images_NSSC.shape[1:])
    assert watch.copied.count(of_batch) == STEPS - 1
    assert watch.copied.count(images) == (0 if resident else STEPS - 1)


X = torch.ones(3, 2, device=META)
HOST = torch.ones(3, 2)
WAITS = {
    "a value": lambda: X.sum().item(),
    "values": X.tolist,
    "a truth": lambda: bool((X > 0).all()),
    "places": X.nonzero,
    "a mask as an index": lambda: X[X > 0],
    "values under a mask": lambda: X.masked_select(X > 0),
    "different values": X.unique,
    "a copy to the host": X.cpu,
    "a copy into the host": lambda: HOST.clone().copy_(X),
    "a blocking copy": lambda: HOST.pin_memory().to(META),
    "a copy of what is not pinned": lambda: HOST.to(META, non_blocking=True),
    "a blocking copy into the device": lambda: X.clone().copy_(HOST.pin_memory()),
    "numbers of the host": lambda: torch.tensor([1.0, 2.0], device=META),
    "a list as an index": lambda: X[[0, 2]],
    "an index of the host": lambda: X[torch.tensor([0, 2])],
    "a mask of the host": lambda: X[torch.tensor([True, False, True])],
}
ALLOWED = {
    "a pinned copy": lambda: HOST.pin_memory().to(META, non_blocking=True),
    "a pinned copy into the device": lambda: X.clone().copy_(HOST.pin_memory(), non_blocking=True),
    "one number": lambda: X * torch.tensor(2.0),
    "an index": lambda: X[torch.zeros(2, dtype=torch.int64, device=META)],
    "a condition": lambda: torch.where(X > 0, X, 0.0),
    "work on the host": lambda: HOST[HOST > 0].sum().item(),
}


@pytest.mark.parametrize("wait", WAITS)
def test_the_watch_notices(wait, accelerator):
    with pytest.raises((AssertionError, RuntimeError, NotImplementedError)), NoWaiting():
        WAITS[wait]()


@pytest.mark.parametrize("work", ALLOWED)
def test_the_watch_allows(work, accelerator):
    with NoWaiting():
        ALLOWED[work]()
