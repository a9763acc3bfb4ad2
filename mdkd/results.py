"""The records of a plan's runs, as far as they were made under the plan's settings."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from mdkd import records
from mdkd.config import Run
from mdkd.layout import Layout
from mdkd.metrics import probabilities
from mdkd.plan import Cell
from mdkd.score import scores as scores_of_predictions

State = Literal["done", "to do", "failed", "other settings"]


class Predictions(NamedTuple):
    """What a run says of the test images. Shape key: N images, C labels."""

    scores_NC: np.ndarray  # probabilities, float32
    targets_NC: np.ndarray  # uint8 in {0, 1}
    ids: list[str]  # of the images
    classes: list[str]
    ignored_NC: np.ndarray | None = None  # bool, where targets are 0; None: every place counts


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
        """The run's ``metrics.json``, or None unless its state is ``done``.

        One that was deleted, or belongs to other predictions, is computed anew and not written:
        several tables may be made at once.
        """
        if self.state(path) != "done":
            return None
        file = self.run(path) / "metrics.json"
        if file.exists():
            scores = records.read_json(file)
            if scores["predictions_sha256"] == self.record(path)["predictions_sha256"]:
                return scores
        return scores_of_predictions(path, self)

    def found(self, cell: Cell) -> list[dict[str, Any]]:
        """The scores of a cell's runs that are done, in the order of the seeds."""
        return [scores for path in cell.runs if (scores := self.scores(path))]

    def predictions(self, path: str) -> Predictions | None:
        """The run's stored predictions, or None unless its state is ``done``."""
        if self.state(path) != "done":
            return None
        with np.load(self.run(path) / "predictions.npz") as stored:
            scores_NC = probabilities(stored["logits_NC"])
            return Predictions(
                scores_NC,
                stored["targets_NC"],
                stored["ids"].tolist(),
                self.record(path)["classes"],
                stored.get("ignored_NC"),
            )

    def history(self, path: str) -> list[dict[str, Any]] | None:
        """One entry per epoch of the run's training, or None unless its state is ``done``."""
        if self.state(path) != "done":
            return None
        lines = (self.run(path) / "history.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def state(self, path: str) -> State:
        """Whether a run has been made, and as planned."""
        folder = self.run(path)
        planned = records.canonical(asdict(self.runs[path]))
        if not (folder / "run.json").exists():
            failure = folder / "failed.json"
            if failure.exists() and records.canonical(records.read_json(failure)["run"]) == planned:
                return "failed"
            return "to do"
        if records.canonical(self.record(path)["run"]) != planned:
            return "other settings"
        return "done"
