"""Facts about the machine that can affect a run: code, versions, processor and memory."""

import platform
import re
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

import torch

from mdkd import methodfiles, records, registry
from mdkd.config import OWN_NET, Run


def plugins(run: Run) -> dict[str, Any]:
    """The parts of a run that are not built in: what brought them, and a checksum of their code."""
    parts = {"method": (methodfiles.PACKAGE, run.method.name)}
    parts |= {"source": ("mdkd.data.sources", run.dataset.source)}
    found = {
        part: {
            "name": plugin.name,
            "package": plugin.package,
            "version": plugin.version,
            "sha256": records.sha256(plugin.file),
        }
        for part, names in parts.items()
        if (plugin := registry.plugin(*names))
    }
    if own := re.fullmatch(OWN_NET, run.net):
        found["net"] = {"name": run.net, **_module(own["module"])}
    return found


def _module(name: str) -> dict[str, str | None]:
    """The installed package that has a module, its version, and a checksum of the file."""
    top = name.partition(".")[0]
    package = next(iter(packages_distributions().get(top, [])), None)
    file = sys.modules[name].__file__
    return {
        "package": package or (file and str(Path(file).parent)),
        "version": package and _version(package),
        "sha256": file and records.sha256(Path(file)),
    }


def environment(device: torch.device) -> dict[str, str | None]:
    """The code version, package versions and processor; the numbers may depend on them."""
    on_gpu = device.type == "cuda"
    return {
        "git_revision": git_revision(Path(__file__).parent),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "torchvision", "timm", "numpy")},
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "cpu": _cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def _version(package: str) -> str | None:
    """The installed version of a package; None if its metadata is missing, as in some images."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def peak_memory_bytes(device: torch.device) -> int:
    """Peak memory of torch's GPU allocator or, on the CPU, of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if platform.system() == "Darwin" else 1024  # ru_maxrss is in KiB, on macOS in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def git_revision(folder: Path) -> str | None:
    """The git commit of ``folder``, with ``+`` if tracked files have changes; None without git."""
    commit = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return commit and commit + ("+" if changed else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        command = ["git", "-C", str(folder), *arguments]
        result = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None
