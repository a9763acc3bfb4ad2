"""Progress of an unfinished run: atomic, locked, and tied to the settings it was made under."""

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
    """Hex digest of everything that a run's numbers depend on (JSON values)."""
    return hashlib.sha256(records.canonical(facts).encode()).hexdigest()


class Checkpoint:
    """The checkpoint folder of one run, locked while it is open."""

    def __init__(self, folder: Path, fingerprint: str):
        self.folder, self.fingerprint = folder, fingerprint
        self.file = folder / "last.pt"

    def load(self) -> dict[str, Any] | None:
        """The saved state, or None. One made under other settings is renamed aside."""
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
        log.warning("the checkpoint was made under other settings or data: moved to %s", aside)
        return None

    def save(self, state: dict[str, Any]) -> None:
        with records.atomic(self.file) as file:
            torch.save(state | {"fingerprint": self.fingerprint}, file)

    def delete(self) -> None:
        """Remove the progress of a finished run; what was moved aside stays."""
        self.file.unlink(missing_ok=True)


@contextlib.contextmanager
def opened(folder: Path, fingerprint: str) -> Iterator[Checkpoint]:
    """Hold the run's lock; a second process on the same run gets a `UserError`."""
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"{folder}: another process is training this run; wait for it or stop it"
    with locks.held(folder / "lock", busy):
        yield Checkpoint(folder, fingerprint)
    with contextlib.suppress(OSError):  # not empty: it has been moved aside, or goes on later
        folder.rmdir()


class Stop:
    """The signal that asked a training to stop, if any."""

    received: str | None = None
    status = 143  # what Slurm and Snakemake take for an interrupted job

    def __call__(self, number: int, frame: object) -> None:
        self.received = signal.Signals(number).name
        self.status = 130 if number == signal.SIGINT else 143


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """Remember SIGTERM, SIGUSR1 and Ctrl-C instead of dying, until the block is left."""
    stop = Stop()
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
