"""Choose the device of a job. A workflow engine only counts GPUs; this module assigns one.

A GPU has several names: its index among the GPUs that a process may use, its index in the machine,
and its UUID. Under Slurm, each job may call its own GPU 0. The lock of a GPU therefore has the name
of its device file, which is the same for all processes of the machine.
"""

import contextlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mdkd import locks
from mdkd.errors import UserError

DEV = Path("/dev")
DRIVER = Path("/proc/driver/nvidia/gpus")  # one folder per GPU, named after its PCI bus
WAIT_S = 1.0  # between two looks at the locks, if all GPUs are in use

log = logging.getLogger(__name__)


class Gpu(NamedTuple):
    """A GPU that this process may use."""

    name: str  # the value for CUDA_VISIBLE_DEVICES
    lock: str  # the name of its lock, the same for all processes of the machine


class _Device(NamedTuple):
    file: str  # such as nvidia0
    uuid: str | None


def visible_gpus() -> list[Gpu]:
    """The GPUs that this process may use. This does not import torch.

    A device file that cannot be opened belongs to another job. ``CUDA_VISIBLE_DEVICES`` may have
    indices, in the order of the PCI bus, UUIDs or their first characters, or names of MIG devices.
    As in CUDA, the first invalid name hides the rest.
    """
    devices = _devices()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None or not devices:  # a machine without GPUs may set the variable too
        return [Gpu(str(index), device.file) for index, device in enumerate(devices)]
    gpus: list[Gpu] = []
    for name in (part.strip() for part in chosen.split(",")):
        if (lock := _lock_name(name, devices)) is None:
            break
        gpus.append(Gpu(name, lock))
    return gpus


def _devices() -> list[_Device]:
    """The GPUs of this machine whose files this process can open, in the order of the PCI bus."""
    found = {}
    for file in DEV.glob("nvidia[0-9]*"):
        if os.access(file, os.R_OK | os.W_OK):
            found[file.name] = _Device(file.name, None)
    ordered = []
    for information in sorted(DRIVER.glob("*/information")):
        text = information.read_text(encoding="utf-8")
        minor = re.search(r"^Device Minor:\s*(\d+)", text, re.MULTILINE)
        uuid = re.search(r"^GPU UUID:\s*(\S+)", text, re.MULTILINE)
        if minor and found.pop(name := f"nvidia{minor[1]}", None):
            ordered.append(_Device(name, uuid[1] if uuid else None))
    rest = sorted(found.values(), key=lambda device: int(device.file.removeprefix("nvidia")))
    return ordered + rest


def _lock_name(name: str, devices: Sequence[_Device]) -> str | None:
    """The name of the lock of one part of ``CUDA_VISIBLE_DEVICES``, None if it is not valid."""
    if name.isdecimal():
        return devices[int(name)].file if int(name) < len(devices) else None
    if name.startswith("MIG-"):
        return name.replace("/", "_")
    if name.startswith("GPU-"):
        known = [device.file for device in devices if (device.uuid or "").startswith(name)]
        return known[0] if known else name
    return None


@contextlib.contextmanager
def claim(device: str, trainings_per_gpu: int = 1) -> Iterator[str]:
    """Yield ``cpu``, or reserve a place on one GPU for this process and yield ``cuda``.

    Each GPU has as many lock files as trainings may share it. If all are held, this waits. The lock
    ends with the ``with`` block, and also if the process is killed. This must run before CUDA is
    initialised.

    Args:
        device: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.

    Raises:
        UserError: ``cuda`` without a visible GPU.
    """
    gpus = [] if device == "cpu" else visible_gpus()
    if not gpus:
        if device == "cuda":
            raise UserError("device: cuda was requested, but no GPU is visible; use auto or cpu")
        yield "cpu"
        return
    with contextlib.ExitStack() as stack:
        gpu = _take_place(stack, gpus, trainings_per_gpu)
        # Without this order, CUDA calls the fastest GPU 0.
        os.environ.update(CUDA_VISIBLE_DEVICES=gpu.name, CUDA_DEVICE_ORDER="PCI_BUS_ID")
        yield "cuda"


def describe(device_type: str) -> str:
    """The device that was claimed, such as ``cpu`` or ``cuda 0``."""
    name = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return f"{device_type} {name}" if device_type == "cuda" else device_type


def _take_place(stack: contextlib.ExitStack, gpus: list[Gpu], trainings_per_gpu: int) -> Gpu:
    """Lock a place on the GPU with the fewest trainings until ``stack`` ends; wait for one."""
    folder = Path(tempfile.gettempdir()) / f"mdkd-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    places = {
        gpu: [folder / f"{gpu.lock}.{number}.lock" for number in range(trainings_per_gpu)]
        for gpu in gpus
    }
    message = f"all {len(gpus)} GPUs are in use by other trainings; waiting for one"
    choosing = "another process chooses its GPU; waiting for it"
    waiting = False
    while True:
        # One at a time: two processes that count at once would choose the same GPU.
        with locks.held(folder / "choice.lock", choosing, wait=True):
            for gpu in sorted(gpus, key=lambda gpu: sum(map(locks.is_held, places[gpu]))):
                for file in places[gpu]:
                    with contextlib.suppress(locks.Busy):
                        stack.enter_context(locks.held(file, message))
                        return gpu
        if not waiting:
            log.info("%s", message)
            waiting = True
        time.sleep(WAIT_S)
