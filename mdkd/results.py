"""The records of a plan's runs, and the words for what has become of a run or of a table's cell.

Records of runs with other settings than planned are not used.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from mdkd import records
from mdkd.config import Run
from mdkd.layout import Layout
from mdkd.metrics import METRICS, probabilities
from mdkd.plan import Cell
from mdkd.score import scores as scores_of_predictions

RunState = Literal["done", "to do", "failed", "other settings"]
CellState = Literal["done", "partial", "missing", "failed", "n/a"]


@dataclass(frozen=True)
class State:
    """The state of one cell of a table, which averages the runs of several seeds.

    ``partial`` means that some runs are done. ``missing`` means that none is, and ``failed`` that,
    besides, one has failed. ``n/a`` means that there can be no number; ``reason`` says why.
    """

    name: CellState
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}" if self.reason else self.name

    @classmethod
    def parse(cls, text: str) -> "State":
        """The inverse of ``str``.

        >>> State.parse("n/a: no labels")
        State(name='n/a', reason='no labels')
        """
        name, _, reason = text.partition(": ")
        return cls(name, reason)  # type: ignore[arg-type]


class Predictions(NamedTuple):
    """A run's predictions for the test images. Shape key: N images, C labels."""

    scores_NC: np.ndarray  # probabilities, float32
    targets_NC: np.ndarray  # uint8 in {0, 1}
    ids: list[str]  # of the images
    classes: list[str]
    ignored_NC: np.ndarray | None = None  # bool, true only where targets are 0; None: none is


@dataclass(frozen=True)
class Results(Layout):
    """The folders of a protocol, and the records in them of a plan's runs."""

    runs: dict[str, Run] = field(default_factory=dict, hash=False)

    def record(self, path: str) -> dict[str, Any]:
        """The run's record, ``run.json``."""
        return records.read_json(self.run(path) / "run.json")

    def scores(self, path: str) -> dict[str, Any] | None:
        """The run's ``metrics.json``, or None unless the run is done.

        A missing file, one that belongs to other predictions, or one that lacks a metric is
        computed again. It is not written, because several tables may be made at the same time.
        """
        if self.state(path) != "done":
            return None
        file, digest = self.run(path) / "metrics.json", self.record(path)["predictions_sha256"]
        if file.exists():
            scores = records.read_json(file)
            if (
                scores["predictions_sha256"] == digest
                and METRICS.keys() <= scores["metrics"].keys()
            ):
                return scores
        return scores_of_predictions(path, self)

    def predictions(self, path: str) -> Predictions | None:
        """The run's stored predictions, or None unless the run is done."""
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
        """One entry per epoch of the run's training, or None unless the run is done."""
        if self.state(path) != "done":
            return None
        lines = (self.run(path) / "history.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def state(self, path: str) -> RunState:
        """Whether a run is done, and with the planned settings."""
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

    def cell_state(self, cell: Cell, found: int | None = None) -> State:
        """The state of a cell of which ``found`` runs have a value; None: those that are done."""
        if cell.unavailable:
            return State("n/a", cell.unavailable)
        if found is None:
            found = sum(self.state(path) == "done" for path in cell.runs)
        if found:
            return State("done" if found == len(cell.runs) else "partial")
        failed = any(self.state(path) == "failed" for path in cell.runs)
        return State("failed" if failed else "missing")
