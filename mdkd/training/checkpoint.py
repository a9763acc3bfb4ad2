"""Checkpoints of an unfinished run: atomic, with a digest, and valid for the same facts only."""

import hashlib
import io
import json
import logging
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from mdkd import records, store
from mdkd.errors import UserError
from mdkd.training.progress import Diverged

log = logging.getLogger(__name__)

DIGEST_BYTES = 32


class Checkpoint:
    """The checkpoint file of one run; it begins with the digest of its content."""

    def __init__(self, file: Path, fingerprint: str, minutes: float):
        self.file, self.fingerprint, self.minutes = file, fingerprint, minutes
        self.saved_at = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The saved state, or None.

        A checkpoint with another fingerprint is renamed. One that was renamed earlier is used again
        if its fingerprint is that of now. Without a state, the history of the run is deleted.

        Raises:
            UserError: the file was damaged.
        """
        own, state = self._renamed(self.fingerprint), self._read()
        if state is None and own.exists():
            own.replace(self.file)
            log.info("the checkpoint of an earlier training fits; %s is used", own)
            state = self._read()
        if state is None:  # the epochs of an earlier training are not those of this one
            self.file.with_name(store.HISTORY).unlink(missing_ok=True)
        return state

    def _renamed(self, fingerprint: str) -> Path:
        """Where a checkpoint lies that another training of the run has found."""
        return self.file.with_name(f"checkpoint-{fingerprint[:12]}.pt")

    def _read(self) -> dict[str, Any] | None:
        """The state in the file if it has the fingerprint of now; otherwise the file is renamed."""
        if not self.file.exists():
            return None
        content = self.file.read_bytes()
        digest, content = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            raise UserError(f"{self.file}: damaged checkpoint; delete it and run again")
        try:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            _check(state)
        except Exception as error:  # content that is no state raises many types
            what = f"not a checkpoint ({' '.join(str(error).split())[:100]})"
            raise UserError(f"{self.file}: {what}; delete it and run again") from None
        if state["fingerprint"] == self.fingerprint:
            return state
        aside = self._renamed(state["fingerprint"])
        self.file.replace(aside)
        what = "other data, weights, device or execution settings"
        log.warning("the checkpoint has %s; it was moved to %s", what, aside)
        return None

    def save(self, state: dict[str, Any]) -> None:
        """Write the state, or raise `Diverged` if its weights are not finite."""
        weights = [value for value in state["student"].values() if value.is_floating_point()]
        if not torch.stack([value.isfinite().all() for value in weights]).all():  # sync
            raise Diverged("the student's weights are not finite")
        buffer = io.BytesIO()
        torch.save(state | {"fingerprint": self.fingerprint}, buffer)
        with records.atomic(self.file) as file:
            file.write(hashlib.sha256(buffer.getbuffer()).digest())
            file.write(buffer.getbuffer())
        self.saved_at = time.monotonic()

    def tell(
        self,
        step: int,
        steps: int,
        epochs: int,
        images_per_s: float,
        left_s: float,
        history: list[dict[str, Any]],
    ) -> None:
        """Write beside the checkpoint how far the training is, for `mdkd status` and `curves`."""
        write_history(self.file.parent, history)
        facts = {
            "step": step,
            "steps": steps,
            "epoch": step * epochs // steps,  # finished ones
            "epochs": epochs,
            "images_per_s": images_per_s,
            "left_s": left_s,
            "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        records.write_json(self.file.with_name(store.PROGRESS), facts)

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is older than the setting allows."""
        return time.monotonic() - self.saved_at > 60 * self.minutes


def write_history(folder: Path, history: list[dict[str, Any]]) -> None:
    """Write one line for each finished epoch."""
    with records.atomic(folder / store.HISTORY) as file:
        for epoch in history:
            file.write(json.dumps(epoch, sort_keys=True).encode() + b"\n")


def _check(state: Any) -> None:
    """Check that a saved state has the parts that a training resumes from."""
    parts = {"student": dict, "optimizer": dict, "method": dict, "progress": dict}
    for name, kind in {**parts, "fingerprint": str}.items():
        if not isinstance(state, dict) or not isinstance(state.get(name), kind):
            raise ValueError(f"'{name}' is missing or of another type")
    if not state["fingerprint"].isalnum():  # it becomes a part of the name of a file
        raise ValueError("'fingerprint' is not a digest")
