"""Which processor a job may use. Workflow engines count GPUs; this module names them."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mdkd.errors import UserError

DEV = Path("/dev")


def visible_gpus() -> list[str]:
    """Names of the GPUs this process may use, for ``CUDA_VISIBLE_DEVICES``. Needs no torch."""
    present = sorted(path.name.removeprefix("nvidia") for path in DEV.glob("nvidia[0-9]*"))
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None or not present:  # the variable may be set where there is no GPU at all
        return present
    return [name for name in chosen.split(",") if name.strip() not in ("", "-1")]


@contextlib.contextmanager
def claim(device: str) -> Iterator[str]:
    """Yield ``cpu`` or ``cuda``, having reserved one GPU for this process in the latter case.

    A lock file per GPU is held for as long as the process lives, also through SIGKILL, so that two
    jobs on one machine never share a GPU. Must run before CUDA is initialised.

    Args:
        device: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.
    """
    gpus = [] if device == "cpu" else visible_gpus()
    if not gpus:
        if device == "cuda":
            raise UserError("device: cuda was asked for, but no GPU is visible; use auto or cpu")
        yield "cpu"
        return
    folder = Path(tempfile.gettempdir()) / f"mdkd-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for gpu in gpus:
        with (folder / f"{gpu.replace('/', '_')}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            yield "cuda"
            return
    raise UserError(f"all {len(gpus)} GPUs are in use by other runs; lower --resources gpu=")
