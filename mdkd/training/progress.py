"""The progress of a training run: steps, time, losses and history. Checkpoints contain it."""

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mdkd.errors import UserError

SHORTEST_S = 1e-6  # a clock may stand still


class Diverged(UserError):
    """The settings of a run let its numbers grow without bound: another attempt ends alike."""

    def __init__(self, what: str):
        super().__init__(f"{what}; lower the method's weights, or recipe: lr")


@dataclass
class Progress:
    """Finished steps, time used, and the loss terms of the current epoch."""

    step: int = 0
    wall_s: float = 0.0
    sums: dict[str, Tensor] = field(default_factory=dict)  # of each loss term, over this epoch
    gradient_ratios: dict[str, float] | None = None  # at the epoch's first batch, if probed there
    history: list[dict[str, Any]] = field(default_factory=list)  # one entry per finished epoch
    recent: list[Tensor] = field(default_factory=list)  # losses of the steps since the last check
    resumed_at: float = field(default_factory=lambda: time.monotonic())

    def add(self, losses: dict[str, Tensor]) -> None:
        """Count one step and add its losses. This does not wait for the device."""
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + loss.detach()
        self.recent.append(torch.stack([loss.detach() for loss in losses.values()]))
        self.step += 1

    def check(self, steps_per_epoch: int) -> None:
        """Stop a run whose losses are not finite any more. This waits for the device.

        Raises:
            Diverged: it names the epoch, the first step in it and the terms.
        """
        if not self.recent:
            return
        finite_SN = torch.stack(self.recent).isfinite().tolist()  # sync
        first = self.step - len(self.recent)
        self.recent = []
        for i, finite_N in enumerate(finite_SN):
            if not all(finite_N):
                epoch, step = divmod(first + i, steps_per_epoch)
                terms = [name for name, ok in zip(self.sums, finite_N, strict=True) if not ok]
                what = (
                    f"losses not finite in epoch {epoch + 1}, step {step + 1}: {', '.join(terms)}"
                )
                raise Diverged(what)

    def close_epoch(self, epoch: int, steps: int, **facts: Any) -> dict[str, Any]:
        """Compute the mean of each loss term over ``steps`` and append an entry to the history."""
        means = {name: value.item() / steps for name, value in self.sums.items()}  # sync
        entry = {
            "epoch": epoch + 1,
            "losses": means,
            "gradient_ratios": self.gradient_ratios,
            **facts,
        }
        self.history.append(entry)
        self.sums = {}
        return entry

    def state(self) -> dict[str, Any]:
        """The progress as plain data, for a checkpoint. Updates `wall_s`."""
        now = time.monotonic()
        self.wall_s, self.resumed_at = self.wall_s + now - self.resumed_at, now
        return {
            "step": self.step,
            "wall_s": self.wall_s,
            "sums": {name: value.tolist() for name, value in self.sums.items()},
            "gradient_ratios": self.gradient_ratios,
            "history": self.history,
        }

    @classmethod
    def of_state(cls, state: dict[str, Any], device: torch.device) -> "Progress":
        """The inverse of `state`."""
        sums = {name: torch.tensor(value, device=device) for name, value in state["sums"].items()}
        return cls(**{**state, "sums": sums})


def describe(entry: dict[str, Any], epochs: int) -> str:
    """One log line for a finished epoch."""
    terms = " ".join(f"{name} {value:.3g}" for name, value in entry["losses"].items())
    return (
        f"epoch {entry['epoch']:{len(str(epochs))}}/{epochs}  "
        f"loss {sum(entry['losses'].values()):.3f} ({terms})  "
        f"{entry['images_per_s']:.0f} images/s  {_clock(entry['left_s'])} left"
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
