"""Choose the device of a job. A workflow engine only counts GPUs; this module assigns one."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mdkd import locks
from mdkd.errors import UserError

DEV = Path("/dev")


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as values for ``CUDA_VISIBLE_DEVICES``.

    This does not import torch.
    """
    present = sorted(path.name.removeprefix("nvidia") for path in DEV.glob("nvidia[0-9]*"))
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None or not present:  # a machine without GPUs may set the variable too
        return present
    return [name for name in chosen.split(",") if name.strip() not in ("", "-1")]


@contextlib.contextmanager
def claim(device: str) -> Iterator[str]:
    """Yield ``cpu``, or reserve one GPU for this process and yield ``cuda``.

    Each GPU has a lock file, so two jobs on one machine never share a GPU. The lock ends with the
    ``with`` block, and also if the process is killed. This must run before CUDA is initialised.

    Args:
        device: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.

    Raises:
        UserError: ``cuda`` without a visible GPU, or all visible GPUs are in use.
    """
    gpus = [] if device == "cpu" else visible_gpus()
    if not gpus:
        if device == "cuda":
            raise UserError("device: cuda was requested, but no GPU is visible; use auto or cpu")
        yield "cpu"
        return
    folder = Path(tempfile.gettempdir()) / f"mdkd-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    busy = f"all {len(gpus)} GPUs are in use by other runs; lower --resources gpu="
    with contextlib.ExitStack() as stack:
        for gpu in gpus:
            try:
                stack.enter_context(locks.held(folder / f"{gpu.replace('/', '_')}.lock", busy))
            except locks.Busy:
                continue
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            yield "cuda"
            return
    raise UserError(busy)
