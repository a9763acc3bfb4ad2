"""GPUs are counted without torch, and named so that no two jobs share one."""

import os

import pytest

from mdkd import devices
from mdkd.errors import UserError


@pytest.fixture
def gpus(tmp_path, monkeypatch):
    """A machine with GPUs 0 and 1, by the look of its device files."""
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.setattr(devices, "DEV", tmp_path)
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield tmp_path
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)


def test_gpus_are_counted_from_device_files_and_the_environment(gpus, monkeypatch):
    assert devices.visible_gpus() == ["0", "1"]
    for chosen, expected in (("1", ["1"]), ("", []), ("-1", []), ("MIG-a/1/0", ["MIG-a/1/0"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
        assert devices.visible_gpus() == expected


def test_each_job_gets_a_gpu_of_its_own(gpus):
    with devices.claim("auto") as device:
        assert device == "cuda"
        assert os.environ.pop("CUDA_VISIBLE_DEVICES") == "0"
        with devices.claim("cuda"):
            assert os.environ.pop("CUDA_VISIBLE_DEVICES") == "1"
            with pytest.raises(UserError, match="all 2 GPUs are in use"), devices.claim("auto"):
                pass
        with devices.claim("auto"):  # freed again
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"


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
