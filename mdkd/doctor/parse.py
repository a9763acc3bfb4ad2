"""What other programs and the kernel print, as values. Each function reads the text of one source.

A line that is not understood is left out: the doctor then says less, but it does not fail.
"""

import re
from pathlib import Path
from typing import NamedTuple

from mdkd import slurm


class Gpu(NamedTuple):
    """One GPU. None: not told."""

    name: str
    total_mb: int | None
    free_mb: int | None
    driver: str | None


def nvidia_smi(text: str) -> list[Gpu]:
    """The output of ``nvidia-smi`` with `machine.SMI_QUERY`.

    >>> nvidia_smi("NVIDIA H100 PCIe, 81559, 80995, 550.54.15")
    [Gpu(name='NVIDIA H100 PCIe', total_mb=81559, free_mb=80995, driver='550.54.15')]
    """
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    return [Gpu(row[0], _whole(row[1]), _whole(row[2]), row[3]) for row in rows if len(row) == 4]


def driver_folder(folder: Path) -> list[Gpu]:
    """The GPUs in ``/proc/driver/nvidia``, which is there also without nvidia-smi."""
    version = folder / "version"
    text = version.read_text(encoding="utf-8", errors="replace") if version.exists() else ""
    driver = re.search(r"\b\d{3}\.\d+(?:\.\d+)?\b", text)  # behind the name of the module
    gpus = []
    for file in sorted(folder.glob("gpus/*/information")):
        model = re.search(r"^Model:\s*(.+?)\s*$", file.read_text(encoding="utf-8"), re.MULTILINE)
        name = model[1] if model else "unknown model"
        gpus.append(Gpu(name, None, None, driver[0] if driver else None))
    return gpus


def meminfo(text: str) -> dict[str, int]:
    """``/proc/meminfo``, in bytes."""
    found = re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)
    return {name: 1024 * int(value) for name, value in found}


def cpu_quota(text: str) -> float | None:
    """The cores that a control group allows, from its ``cpu.max``; None: no limit.

    >>> cpu_quota("150000 100000"), cpu_quota("max 100000")
    (1.5, None)
    """
    found = re.match(r"(\d+) (\d+)", text)
    return int(found[1]) / int(found[2]) if found else None


def version(text: str) -> tuple[int, ...] | None:
    """The first version number in a text.

    >>> version("conda 24.7.1"), version("none")
    ((24, 7, 1), None)
    """
    found = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(map(int, found[0].split("."))) if found else None


class Mount(NamedTuple):
    """The file system that holds a path."""

    kind: str  # such as ext4, nfs4
    options: frozenset[str]


def mount_of(path: Path, text: str) -> Mount | None:
    """The line of ``/proc/mounts`` for an absolute path; the last of several for one folder."""
    best, found = -1, None
    for line in text.splitlines():
        cells = line.split(" ")
        if len(cells) < 4:
            continue
        place = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), cells[1]))
        if path.is_relative_to(place) and len(place.parts) >= best:
            best, found = len(place.parts), Mount(cells[2], frozenset(cells[3].split(",")))
    return found


class Partition(NamedTuple):
    """A partition of Slurm, as far as its nodes are alike. None: no limit, or not told."""

    name: str
    default: bool
    up: bool
    minutes: float | None
    cores: int | None  # of one node, at least
    memory_mb: int | None  # of one node, at least
    gpus: str  # such as "gpu:a100:4"; "" if there are none
    nodes: int | None


def sinfo(text: str) -> list[Partition]:
    """The output of ``sinfo`` with `tools.SINFO`. A partition of unlike nodes has several lines."""
    rows = [line.strip().split("|") for line in text.splitlines()]
    return [_partition(row) for row in rows if len(row) == 7]


def _partition(row: list[str]) -> Partition:
    name, state, limit, cores, memory, resources, nodes = row
    limit_s = slurm.seconds(limit)
    gpus = re.findall(r"gpu(?::[^,(]+)*", resources)
    return Partition(
        name=name.removesuffix("*"),
        default=name.endswith("*"),
        up=state == "up",
        minutes=None if limit_s is None else limit_s / 60,
        cores=_whole(cores),
        memory_mb=_whole(memory),
        gpus=",".join(gpus),
        nodes=_whole(nodes),
    )


def _whole(text: str) -> int | None:
    """A number; ``64+`` is 64, because some nodes have more."""
    found = re.fullmatch(r"(\d+)\+?", text.strip())
    return int(found[1]) if found else None
