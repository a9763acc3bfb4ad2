"""What other programs and the kernel print is understood."""

from pathlib import Path

import pytest
from doctor_case import INFORMATION, MEMINFO, MOUNTS, SINFO, SMI, VERSIONS

from mdkd.doctor import parse


def test_nvidia_smi_is_read():
    a100, busy, gh200 = parse.nvidia_smi(SMI)
    assert a100 == ("NVIDIA A100-SXM4-80GB", 81920, 81037, "535.129.03")
    assert busy.free_mb == 1024
    assert gh200[1:3] == (None, None)
    assert parse.nvidia_smi("No devices were found\n") == []


@pytest.mark.parametrize("driver", VERSIONS)
def test_the_files_of_the_driver_are_read(tmp_path, driver):
    (tmp_path / "version").write_text(VERSIONS[driver])
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    (tmp_path / "gpus" / "0000:01:00.0" / "information").write_text(INFORMATION)
    assert parse.driver_folder(tmp_path) == [("NVIDIA H100 80GB HBM3", None, None, driver)]
    assert parse.driver_folder(tmp_path / "none") == []


def test_sinfo_is_read():
    debug, batch, a100, v100, old = parse.sinfo(SINFO)
    assert debug == ("debug", False, True, 30, 32, 192000, "", 4)
    assert batch == ("batch", True, True, 2880, 64, 257000, "", 118)
    assert a100 == ("gpu", False, True, 1440, 128, 1031000, "gpu:a100:4", 12)
    assert v100.gpus == "gpu:v100:8"
    assert old == ("old", False, False, None, 16, 64000, "gpu:2", 1)
    assert parse.sinfo("sinfo: warning: something\n\n") == []


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("conda 24.7.1\n", (24, 7, 1)),
        ("conda 4.12.0\n", (4, 12, 0)),
        ("conda 25.3.0.dev12+g1f2e\n", (25, 3, 0)),
        ("conda: broken", None),
    ],
)
def test_conda_is_read(text, version):
    assert parse.version(text) == version


def test_memory_is_read():
    found = parse.meminfo(MEMINFO)
    assert found["MemTotal"] == 24683656 * 1024
    assert found["MemAvailable"] == 22787992 * 1024
    assert "HugePages_Total" not in found  # has no unit


@pytest.mark.parametrize(
    ("path", "kind", "option"),
    [
        ("/etc", "ext4", "relatime"),
        ("/tmp/a/b", "tmpfs", "nodev"),
        ("/tmpfile", "ext4", "rw"),
        ("/home/me/mdkd", "nfs4", "local_lock=none"),
        ("/old data/x", "nfs", "nolock"),
        ("/scratch/fastest", "lustre", "flock"),
        ("/scratch/fast", "lustre", "localflock"),
    ],
)
def test_the_file_system_of_a_folder_is_found(path, kind, option):
    mount = parse.mount_of(Path(path), MOUNTS)
    assert mount.kind == kind
    assert option in mount.options


def test_of_two_file_systems_at_one_place_the_last_counts():
    mounts = MOUNTS + "/dev/sdb /home ext3 rw 0 0\n"
    assert parse.mount_of(Path("/home/me"), mounts).kind == "ext3"
    assert parse.mount_of(Path("/home"), "") is None
