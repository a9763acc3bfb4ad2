"""The records of a plan's runs, as far as they were made under the plan's settings."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from mdkd import records
from mdkd.config import Run
from mdkd.layout import Layout
from mdkd.plan import Cell
from mdkd.score import probabilities

State = Literal["done", "to do", "failed", "other settings"]


class Predictions(NamedTuple):
    """What a run says of the test images. Shape key: N images, C labels."""

    scores_NC: np.ndarray  # probabilities, float32
    targets_NC: np.ndarray  # uint8 in {0, 1}
    ids: list[str]  # of the images
    classes: list[str]


@dataclass(frozen=True)
class Results(Layout):
    """A protocol's folders, and what stands in them about the runs of a plan.

    A run that was made by hand, or before a setting changed, is never mistaken for the planned one.
    """

    runs: dict[str, Run] = field(default_factory=dict, hash=False)

    def record(self, path: str) -> dict[str, Any]:
        """The run's record, ``run.json``."""
        return records.read_json(self.run(path) / "run.json")

    def scores(self, path: str) -> dict[str, Any] | None:
        """The run's ``metrics.json``, or None unless its state is ``done``."""
        if self.state(path) != "done":
            return None
        return records.read_json(self.run(path) / "metrics.json")

    def found(self, cell: Cell) -> list[dict[str, Any]]:
        """The scores of a cell's runs that are done, in the order of the seeds."""
        return [scores for path in cell.runs if (scores := self.scores(path))]

    def predictions(self, path: str) -> Predictions | None:
        """The run's stored predictions, or None unless its state is ``done``."""
        if self.state(path) != "done":
            return None
        with np.load(self.run(path) / "predictions.npz") as stored:
            scores_NC = probabilities(stored["logits_NC"])
            ids = stored["ids"].tolist()
            return Predictions(scores_NC, stored["targets_NC"], ids, self.record(path)["classes"])

    def history(self, path: str) -> list[dict[str, Any]] | None:
        """One entry per epoch of the run's training, or None unless its state is ``done``."""
        if self.state(path) != "done":
            return None
        lines = (self.run(path) / "history.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def state(self, path: str) -> State:
        """Whether a run has been trained and scored, and as planned."""
        folder = self.run(path)
        planned = records.canonical(asdict(self.runs[path]))
        if not (folder / "run.json").exists():
            failure = folder / "failed.json"
            if failure.exists() and records.canonical(records.read_json(failure)["run"]) == planned:
                return "failed"
            return "to do"
        if records.canonical(self.record(path)["run"]) != planned:
            return "other settings"
        if not (folder / "metrics.json").exists():
            return "to do"
        scored = records.read_json(folder / "metrics.json")["predictions_sha256"]
        return "done" if scored == self.record(path)["predictions_sha256"] else "to do"
