"""The machine itself: Python, packages, GPUs, cores, memory, environment variables."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from mdkd import devices
from mdkd.costs import Estimator
from mdkd.data.decode import available_cores
from mdkd.doctor import parse
from mdkd.doctor.check import Check, ask, ask_python, gigabytes, judged, plural

PYTHONS = ((3, 11), (3, 13))  # the oldest and the newest that are tested
SNAKEMAKE = (9, 20)
PACKAGES = {  # by the name of the module
    **{name: name for name in ("torch", "torchvision", "timm", "numpy", "snakemake", "pandas")},
    **{name: name for name in ("matplotlib", "seaborn", "scipy")},
    "pytorch_grad_cam": "grad-cam",
}
INSTALL = (
    "call `make install`, or `pip install -r requirements.lock` in your environment; without the "
    "repository, `pip install 'mdkd[benchmark]'`"
)

DRIVER = Path("/proc/driver/nvidia")
SMI_QUERY = (
    "nvidia-smi",
    "--query-gpu=name,memory.total,memory.free,driver_version",
    "--format=csv,noheader,nounits",
)
SMI_S, TORCH_S = 20, 180  # torch alone can take a minute from a slow file system
TRY_TORCH = """
import json, torch
facts = {"version": torch.__version__, "cuda": torch.version.cuda, "gpus": 0, "error": None}
try:
    if facts["cuda"]:
        torch.cuda.init()
    for i in range(torch.cuda.device_count()):
        torch.ones(8, device=f"cuda:{i}").sum().item()
        facts["gpus"] += 1
except Exception as error:
    facts["error"] = " ".join(str(error).split())
print(json.dumps(facts))
"""

# They change how numbers are rounded, so results have other digits than without them.
ROUNDING = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)


def python() -> Check:
    found = sys.version_info[:2]
    oldest, newest = (".".join(map(str, each)) for each in PYTHONS)
    text = f"{platform.python_version()} in {sys.prefix}"
    fix = f"use Python {oldest} to {newest}"
    if found < PYTHONS[0]:
        return Check("Python", "problem", text, fix)
    return judged("Python", text, fix, "warning" if found > PYTHONS[1] else None)


def packages() -> Check:
    missing = [name for module, name in PACKAGES.items() if not importlib.util.find_spec(module)]
    if missing:
        return Check("packages", "problem", f"not installed: {', '.join(missing)}", INSTALL)
    snakemake = importlib.metadata.version("snakemake")
    old = (parse.version(snakemake) or (0,)) < SNAKEMAKE
    oldest = ".".join(map(str, SNAKEMAKE))
    text = f"all {len(PACKAGES)} are installed; Snakemake {snakemake}"
    return judged("packages", text, f"install Snakemake >= {oldest}", "problem" if old else None)


def gpus() -> Iterator[Check]:
    """One check per GPU, from nvidia-smi or, where it is missing, from the driver's files."""
    answer = ask(SMI_QUERY, SMI_S)
    found = parse.nvidia_smi(answer.text) if not answer.error else parse.driver_folder(DRIVER)
    if DRIVER.exists() and not found:
        fix = "`nvidia-smi` must list the GPUs; ask who looks after the machine"
        reason = answer.error or "it lists no GPU"
        yield Check("GPU", "warning", f"NVIDIA's driver is loaded, but: {reason}", fix)
    elif not found:
        yield Check("GPU", "ok", "no NVIDIA driver here; trainings run on the CPU")
    for number, gpu in enumerate(found):
        yield _gpu(number, gpu)


def _gpu(number: int, gpu: parse.Gpu) -> Check:
    text = f"{gpu.name}, driver {gpu.driver}"
    if gpu.total_mb is None or gpu.free_mb is None:
        return Check(f"GPU {number}", "ok", text)
    free, total = gigabytes(1e6 * gpu.free_mb), gigabytes(1e6 * gpu.total_mb)
    used = 2 * gpu.free_mb < gpu.total_mb
    fix = "`nvidia-smi` lists the processes that use it; CUDA_VISIBLE_DEVICES chooses other GPUs"
    text = f"{text}, {free} of {total} free"
    return judged(f"GPU {number}", text, fix, "warning" if used else None)


def torch(device: str) -> Check:
    """Whether torch can use every GPU that a training would be given."""
    answer = ask_python(["-c", TRY_TORCH], TORCH_S)
    if answer.error:
        return Check("torch", "problem", f"cannot be used: {answer.error}", INSTALL)
    facts = json.loads(answer.text.splitlines()[-1])
    return judge_torch(facts, len(devices.visible_gpus()), device)


def judge_torch(facts: dict, visible: int, device: str) -> Check:
    """Compare what torch says of itself with the number of visible GPUs and the setting."""
    build = f"built for CUDA {facts['cuda']}" if facts["cuda"] else "built without CUDA"
    text = f"{facts['version']}, {build}"
    if device == "cpu":
        return Check("torch", "ok", f"{text}; device: cpu in config.yaml")
    if not visible:
        fix = "start it where GPUs are, or set device: auto or cpu in config.yaml"
        none = f"{text}; no GPU is visible"
        return judged("torch", none, fix, "problem" if device == "cuda" else None)
    if not facts["cuda"]:
        fix = "install PyPI's default build of torch, or set device: cpu in config.yaml"
        return Check("torch", "problem", f"{text}, but there is a GPU", fix)
    if facts["error"] or facts["gpus"] < visible:
        reason = facts["error"] or f"it sees {facts['gpus']} of {visible}"
        fix = "install a newer driver or an older torch, or set device: cpu in config.yaml"
        return Check("torch", "problem", f"{text}, but it cannot use the GPUs: {reason}", fix)
    return Check("torch", "ok", f"{text}; it computes on {plural(facts['gpus'], 'GPU')}")


def device(estimator: Estimator) -> Iterator[Check]:
    """A warning if trainings that are meant for GPUs would run on the CPU of this machine."""
    if estimator.on_gpu and estimator.plan.device == "auto" and not devices.visible_gpus():
        text = "the plan is for GPUs; trainings that start here would run on the CPU"
        yield Check("device", "warning", text, "start them where GPUs are: docs/cluster.md")


def cores() -> Check:
    own, everything = available_cores(), os.cpu_count()
    text = f"{own} of {everything} may be used"
    file = Path("/sys/fs/cgroup/cpu.max")
    quota = parse.cpu_quota(file.read_text(encoding="utf-8")) if file.exists() else None
    low = quota is not None and quota < own
    text += f", but only {quota:g} at a time" if low else ""
    fix = f"start snakemake with --cores {max(int(quota or 1), 1)}"
    return judged("cores", text, fix, "warning" if low else None)


def memory(estimator: Estimator) -> Check:
    """Whether the largest training fits into memory, and as many as run side by side."""
    plan, file = estimator.plan, Path("/proc/meminfo")
    if not file.exists():
        return Check("memory", "ok", "not known on this system")
    found = parse.meminfo(file.read_text(encoding="utf-8"))
    available, total = found["MemAvailable"], found["MemTotal"]
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (text := limit.read_text(encoding="utf-8").strip()).isdecimal():
        available, total = min(available, int(text)), min(total, int(text))
    text = f"{gigabytes(available)} of {gigabytes(total)} available"
    needed = [
        estimator.memory(run) for path, run in plan.runs.items() if path not in estimator.done
    ]
    largest = max((size for size in needed if size is not None), default=0)
    side_by_side = (len(devices.visible_gpus()) if estimator.on_gpu else 0) or available_cores()
    return judge_memory(text, available, largest, side_by_side)


def judge_memory(text: str, available: int, largest: int, side_by_side: int) -> Check:
    """Compare with the need of the largest training, in bytes, and with that of several."""
    if not largest:
        return Check("memory", "ok", text)
    text += f"; the largest training asks for {gigabytes(largest)}"
    if available < largest:
        return Check("memory", "problem", text, "use a machine with more memory")
    low = available < side_by_side * largest
    text += f", and {side_by_side} may run at once" if low else ""
    fix = f"start snakemake with --resources mem_mb={available // 10**6}"
    return judged("memory", text, fix, "warning" if low else None)


def variables() -> Check:
    """Environment variables that change results or hide GPUs."""
    found = [f"{name}={os.environ[name]}" for name in ROUNDING if name in os.environ]
    if found:
        text = f"{', '.join(found)}: results get other digits than without"
        names = " ".join(item.partition("=")[0] for item in found)
        return Check("environment", "warning", text, f"unset {names}")
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return Check("environment", "ok", "no variable is set that changes results or hides GPUs")
    hidden = sorted(devices.DEV.glob("nvidia[0-9]*")) and not devices.visible_gpus()
    fix = "unset CUDA_VISIBLE_DEVICES to use the GPUs"
    text = f"CUDA_VISIBLE_DEVICES={chosen}{' hides all GPUs' if hidden else ''}"
    return judged("environment", text, fix, "warning" if hidden else None)
