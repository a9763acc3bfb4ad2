"""How a device computes: precision, and the settings of `config.yaml` that concern it.

These settings are not part of a run's key. Like the device itself, they change the last bits of its
numbers, and no more.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mdkd import devices
from mdkd.errors import UserError
from mdkd.models.build import Network
from mdkd.outputs import Output


@dataclass(frozen=True, kw_only=True)
class Execution:
    """The settings. A record names both; a checkpoint is used only with the same ones."""

    compile: Literal["default", "reduce-overhead"] | None = None  # a mode of torch.compile
    deterministic: bool = False  # the same bits in every repetition on the same GPU

    def changed(self) -> dict[str, Any]:
        """The settings that do not have their default value."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v != getattr(DEFAULT, k)}


DEFAULT = Execution()


def prepare(execution: Execution, compiled_folder: Path) -> None:
    """Set torch's global switches. This must run before CUDA is initialised.

    Args:
        compiled_folder: where compiled code is kept, for all trainings.
    """
    # The number of threads changes the last bits of the results. One thread is also faster if
    # several jobs run at the same time.
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = not execution.deterministic
    torch.backends.cudnn.deterministic = execution.deterministic
    if execution.deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(execution.deterministic)  # imports torch's compiler: 2 s
    if execution.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # torch's documentation explains it
    if execution.compile:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(compiled_folder.absolute()))


@contextmanager
def claimed(device: str, trainings_per_gpu: int = 1) -> Iterator[str]:
    """`devices.claim`, which trusts device files, and a check that torch can use the GPU.

    Raises:
        UserError: torch cannot use it.
    """
    with devices.claim(device, trainings_per_gpu) as device_type:
        if device_type == "cuda" and not torch.cuda.is_available():
            name = devices.describe(device_type)
            if torch.version.cuda is None:
                what = f"{name}: torch {torch.__version__} was built without CUDA"
                raise UserError(f"{what}; install PyPI's default build, or set device: cpu")
            what = f"{name}: torch {torch.__version__} cannot use this GPU"
            raise UserError(f"{what}; update the driver, or set device: cpu")
        yield device_type


def autocast(device: torch.device) -> AbstractContextManager:
    """On a GPU, layers compute in bfloat16; their weights stay float32."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


def forward_of(student: Network, execution: Execution) -> Callable[[Tensor], Output]:
    """The student's forward pass, compiled if the settings say so. Its weights stay the same."""
    if execution.compile is None:
        return student
    import torch._functorch.config as settings

    settings.donated_buffer = False  # the gradient probe runs backward passes more than once
    return torch.compile(student, mode=execution.compile)
