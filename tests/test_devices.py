"""GPUs are counted without torch, and named so that no two jobs share one."""

import os
import subprocess
import sys
import threading
from contextlib import ExitStack

import pytest
from conftest import environment

from mdkd import devices
from mdkd.errors import UserError

INFORMATION = "Model: \t\t NVIDIA H100\nGPU UUID: \t {}\nDevice Minor: \t {}\n"


@pytest.fixture
def gpus(tmp_path, monkeypatch):
    """A machine with GPUs 0 and 1, by the look of its device files."""
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.setattr(devices, "DEV", tmp_path)
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "driver")
    monkeypatch.setattr(devices, "WAIT_S", 0.02)
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    for variable in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.setenv(variable, "")  # restored after the test
        monkeypatch.delenv(variable)
    return tmp_path


def driver(folder, *gpus):
    """What the driver says about GPUs, given as UUID and minor number, in the order of the bus."""
    for bus, (uuid, minor) in enumerate(gpus):
        file = folder / "driver" / f"0000:{bus:02x}:00.0" / "information"
        file.parent.mkdir(parents=True)
        file.write_text(INFORMATION.format(uuid, minor))


def locks_of(gpus):
    return [gpu.lock for gpu in gpus]


@pytest.mark.parametrize(
    ("chosen", "names", "locks"),
    [
        (None, ["0", "1"], ["nvidia0", "nvidia1"]),
        ("1", ["1"], ["nvidia1"]),
        ("0, 1", ["0", "1"], ["nvidia0", "nvidia1"]),
        ("1,0", ["1", "0"], ["nvidia1", "nvidia0"]),
        ("", [], []),
        ("-1", [], []),
        ("0,-1,1", ["0"], ["nvidia0"]),  # as in CUDA, what follows an invalid index is hidden
        ("0,7,1", ["0"], ["nvidia0"]),
        ("MIG-a/1/0", ["MIG-a/1/0"], ["MIG-a_1_0"]),
    ],
)
def test_gpus_are_those_of_device_files_and_of_the_environment(
    gpus, monkeypatch, chosen, names, locks
):
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    found = devices.visible_gpus()
    assert [gpu.name for gpu in found] == names
    assert locks_of(found) == locks


def test_an_index_and_a_uuid_of_one_gpu_have_one_lock(gpus, monkeypatch):
    driver(gpus, ("GPU-aa11", 1), ("GPU-bb22", 0))  # on the bus, nvidia1 comes first
    for chosen, lock in (("0", "nvidia1"), ("1", "nvidia0"), ("GPU-bb22", "nvidia0")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
        assert locks_of(devices.visible_gpus()) == [lock]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aa")  # CUDA accepts the first characters
    assert locks_of(devices.visible_gpus()) == ["nvidia1"]


def test_a_device_file_that_cannot_be_opened_belongs_to_another_job(gpus, monkeypatch):
    driver(gpus, ("GPU-aa11", 0), ("GPU-bb22", 1))
    mine = str(gpus / "nvidia1")
    monkeypatch.setattr(devices.os, "access", lambda file, mode: str(file) == mine)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # as Slurm names it in such a job
    assert devices.visible_gpus() == [devices.Gpu("0", "nvidia1")]


def test_each_job_gets_a_gpu_of_its_own_or_waits_for_one(gpus, caplog):
    caplog.set_level("INFO", "mdkd")
    third = []

    def train():
        with devices.claim("auto"):
            third.append(os.environ["CUDA_VISIBLE_DEVICES"])

    with devices.claim("auto") as device:
        assert device == "cuda"
        assert os.environ.pop("CUDA_VISIBLE_DEVICES") == "0"
        with devices.claim("cuda"):
            assert os.environ.pop("CUDA_VISIBLE_DEVICES") == "1"
            waiting = threading.Thread(target=train)
            waiting.start()
            waiting.join(0.2)
            assert third == []
            assert caplog.messages == [
                "all 2 GPUs are in use by other trainings; waiting for one"
            ]  # said once
        waiting.join(30)
        assert third == ["1"]
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_trainings_that_share_gpus_fill_the_emptiest_first(gpus):
    order = []
    with devices.claim("auto", 2):
        order.append(os.environ.pop("CUDA_VISIBLE_DEVICES"))
        with devices.claim("auto", 2):
            order.append(os.environ.pop("CUDA_VISIBLE_DEVICES"))
            with devices.claim("auto", 2):
                order.append(os.environ.pop("CUDA_VISIBLE_DEVICES"))
    assert order == ["0", "1", "0"]


def test_a_gpu_whose_trainings_have_ended_is_the_next(gpus):
    """Two trainings on each GPU; one of GPU 0 and both of GPU 1 end: the next gets GPU 1."""
    with ExitStack() as ended, ExitStack() as stays:
        for stack, expected in ((ended, "0"), (ended, "1"), (stays, "0"), (ended, "1")):
            stack.enter_context(devices.claim("auto", 2))
            assert os.environ.pop("CUDA_VISIBLE_DEVICES") == expected
        ended.close()
        with devices.claim("auto", 2):
            assert os.environ.pop("CUDA_VISIBLE_DEVICES") == "1"


def test_no_gpu_means_cpu_unless_one_was_asked_for(gpus, monkeypatch):
    with devices.claim("cpu") as device:
        assert device == "cpu"
    for file in gpus.glob("nvidia*"):
        file.unlink()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with devices.claim("auto") as device:
        assert device == "cpu"
    with pytest.raises(UserError, match="no GPU is visible"), devices.claim("cuda"):
        pass


def test_the_training_modules_do_not_look_for_gpus_when_they_are_imported():
    """Otherwise CUDA would have read CUDA_VISIBLE_DEVICES before a GPU is claimed."""
    code = (
        "import torch\n"
        "torch._C._cuda_getDeviceCount = lambda: print('asked') or 0\n"
        "import mdkd.training.loop, mdkd.training.gradcam\n"
        "torch.cuda.is_available()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment()
    )
    assert (done.returncode, done.stdout) == (0, "asked\n")
