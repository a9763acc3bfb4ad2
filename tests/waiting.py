"""Notices what makes the host wait for an accelerator, on a machine without one.

The tensors of the accelerator are on torch's device "meta", where they have no values. Whatever
needs a value of them on the host raises an error there by itself: `item`, `nonzero`, a mask as an
index, a copy to the host. The watch adds what would pass: copies to the device that the host waits
for, and tensors of the host that an operation has to copy first.
"""

from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")
COPIES = ("_to_copy", "copy_")


class NoWaiting(TorchDispatchMode):
    """Fails on operations for which the host waits. Counts copies to the device."""

    def __init__(self):
        super().__init__()
        self.active, self.copied = True, []  # shapes

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, func.overloadpacket.__name__
        result = func(*args, **kwargs)
        given, made = tensors((args, kwargs)), tensors(result)
        if not self.active or not any(x.device == META for x in [*given, *made]):
            return result
        # From a list of Python numbers, such as torch.tensor([1, 2], device=...).
        assert name != "lift_fresh", "a tensor is made of numbers on the host, and copied"
        on_host = [x for x in given if x.device != META]
        if name in COPIES and on_host:
            (source,) = on_host
            non_blocking = kwargs.get("non_blocking", args[2] if len(args) > 2 else False)
            assert non_blocking, f"{name} of {tuple(source.shape)} to the device blocks"
            assert hasattr(source, "pinned"), f"{name} of {tuple(source.shape)}: not pinned"
            self.copied.append(tuple(source.shape))
        else:  # single numbers become arguments of a kernel
            wide = [tuple(x.shape) for x in on_host if x.ndim]
            assert not wide, f"{name} has to copy tensors of the host: {wide}"
        return result


def tensors(tree):
    return [x for x in tree_leaves(tree) if isinstance(x, torch.Tensor)]


@pytest.fixture
def accelerator(monkeypatch):
    """Give the device "meta" what it lacks: autocast, and pinned memory, which the watch knows."""

    def pin_memory(tensor):
        pinned = tensor.clone()
        pinned.pinned = True
        return pinned

    def autocast(device_type, *args, **kwargs):
        return nullcontext() if device_type == "meta" else real(device_type, *args, **kwargs)

    real = torch.autocast
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    monkeypatch.setattr(torch, "autocast", autocast)
