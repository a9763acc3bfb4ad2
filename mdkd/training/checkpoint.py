"""Checkpoints of an unfinished run: atomic, locked, and valid only for the same settings."""

import contextlib
import hashlib
import logging
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from mdkd import locks, records
from mdkd.errors import UserError

log = logging.getLogger(__name__)


def fingerprint(facts: Any) -> str:
    """Hex digest of all facts that determine a run's numbers. They must be JSON values."""
    return hashlib.sha256(records.canonical(facts).encode()).hexdigest()


class Checkpoint:
    """The checkpoint folder of one run, locked while it is open."""

    def __init__(self, folder: Path, fingerprint: str):
        self.folder, self.fingerprint = folder, fingerprint
        self.file = folder / "last.pt"

    def load(self) -> dict[str, Any] | None:
        """The saved state, or None. A checkpoint with other settings is renamed and not used."""
        if not self.file.exists():
            return None
        try:
            state = torch.load(self.file, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError):
            raise UserError(f"{self.file}: damaged checkpoint; delete it and run again") from None
        if state["fingerprint"] == self.fingerprint:
            return state
        aside = self.folder / f"other-{state['fingerprint'][:12]}.pt"
        self.file.replace(aside)
        log.warning("the checkpoint has other settings or data; it was moved to %s", aside)
        return None

    def save(self, state: dict[str, Any]) -> None:
        with records.atomic(self.file) as file:
            torch.save(state | {"fingerprint": self.fingerprint}, file)

    def delete(self) -> None:
        """Delete the checkpoint of a finished run. Renamed checkpoints are kept."""
        self.file.unlink(missing_ok=True)


@contextlib.contextmanager
def opened(folder: Path, fingerprint: str) -> Iterator[Checkpoint]:
    """Open the checkpoint folder and lock it.

    Raises:
        UserError: another process is training the same run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"{folder}: another process is training this run; wait for it or stop it"
    with locks.held(folder / "lock", busy):
        yield Checkpoint(folder, fingerprint)
    # rmdir fails if the folder still contains a checkpoint, for example of an interrupted run.
    with contextlib.suppress(OSError):
        folder.rmdir()


class Stop:
    """A signal handler that only remembers the signal. The training loop then stops by itself."""

    received: str | None = None  # the signal's name
    status = 143  # exit status; Slurm and Snakemake read it as an interrupted job

    def __call__(self, number: int, frame: object) -> None:
        self.received = signal.Signals(number).name
        self.status = 130 if number == signal.SIGINT else 143


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """Inside the block, remember SIGTERM, SIGUSR1 and Ctrl-C instead of ending the process."""
    stop = Stop()
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
