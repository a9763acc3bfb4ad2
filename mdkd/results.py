"""The records of a plan's runs, and the words for what has become of a run or of a table's cell.

Records of runs with other settings than planned, another cache or another teacher are not used.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from mdkd import records, store
from mdkd.artefacts import Cell
from mdkd.config import Run, Split, number, parse_known
from mdkd.errors import UserError
from mdkd.layout import Layout
from mdkd.metrics import probabilities
from mdkd.score import Stored, read_predictions, splits_of
from mdkd.score import stored as stored_scores

CellState = Literal["done", "partial", "missing", "failed", "n/a"]


@dataclass(frozen=True)
class State:
    """The state of one cell of a table, which averages the runs of several seeds.

    ``done``: all runs are done. ``partial``: some are. ``failed``: none is, and at least one has
    failed. ``missing``: none is, and none has failed. ``n/a``: there can never be a number;
    ``reason`` says why.
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
    """A run's predictions for the images of a split. Shape key: N images, C labels."""

    scores_NC: np.ndarray  # probabilities, float32
    targets_NC: np.ndarray  # uint8 in {0, 1}
    ids: list[str]  # of the images
    classes: list[str]
    ignored_NC: np.ndarray | None = None  # bool, true only where targets are 0; None: none is


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What a line of ``history.jsonl`` must hold, as far as it is read again."""

    epoch: int = number(1)
    losses: dict[str, float]  # means of the weighted terms
    gradient_ratios: dict[str, float] | None  # None: not probed in this epoch; the last one is
    images_per_s: float = number(1e-9)
    val_mAP: float | None = None


def read_history(file: Path) -> list[dict[str, Any]]:
    """One entry per epoch of a training.

    Raises:
        UserError: the file is missing or damaged; the message names the line.
    """
    hint = f"delete {file.parent} and train the run again"
    entries = []
    for i, line in enumerate(records.read_text(file, hint, hint).splitlines(), 1):
        try:
            content = records.parse_json(line)
            if not isinstance(content, dict):
                raise UserError("keys and values are expected")
            parse_known(Epoch, content, "not an epoch")
        except UserError as error:
            raise UserError(f"{file}: line {i}: {error}; {hint}") from None
        entries.append(content)
    return entries


@dataclass(frozen=True)
class Results(Layout):
    """The folders of a protocol, and the store's records of a plan's runs.

    Scores and predictions are those of the images of one split.
    """

    runs: dict[str, Run] = field(default_factory=dict, hash=False)
    split: Split = field(default="test", kw_only=True)

    def on(self, split: Split) -> "Results":
        """The same runs with scores and predictions of another split."""
        return replace(self, split=split)

    def run(self, path: str) -> Path:
        """The folder of the run's entry in the store."""
        return store.entry(self.runs[path], self).folder

    def record(self, path: str) -> dict[str, Any]:
        """The run's record, ``run.json``."""
        return store.entry(self.runs[path], self).record()

    def scores(self, path: str) -> dict[str, Any] | None:
        """The run's metrics (`mdkd.score.stored`), or None unless the run is done.

        Early versions kept no predictions of validation images. There, the mAP that the training
        measured after its last epoch is the only metric.
        """
        entry = self._done(path)
        if entry is None:
            return None
        if self.split == "val" and "val" not in splits_of(entry):
            mean_ap = (self.history(path) or [{}])[-1].get("val_mAP")
            found = {} if mean_ap is None else {"mAP": mean_ap}
            return {"metrics": found, "average_precision": {}, "labels_without_positives": []}
        return stored_scores(entry, self.split)

    def stored(self, path: str) -> Stored | None:
        """The run's predictions as they are stored, or None unless the run is done."""
        entry = self._done(path)
        if entry is None:
            return None
        if self.split == "val" and "val" not in splits_of(entry):
            return None
        file = entry.file(store.SPLITS[self.split].predictions)
        return read_predictions(file, len(entry.record()["classes"]))

    def predictions(self, path: str) -> Predictions | None:
        """The run's predictions as probabilities, or None unless the run is done."""
        found = self.stored(path)
        if found is None:
            return None
        return Predictions(
            probabilities(found.logits_NC),
            found.targets_NC,
            found.ids_N.tolist(),
            self.record(path)["classes"],
            found.ignored_NC,
        )

    def history(self, path: str) -> list[dict[str, Any]] | None:
        """One entry per epoch of the run's training, or None unless the run is done."""
        entry = self._done(path)
        if entry is None:
            return None
        known = entry.record().get(store.DIGESTS[store.HISTORY]) is not None
        return read_history(entry.file(store.HISTORY) if known else entry.folder / store.HISTORY)

    def state(self, path: str) -> store.RunState:
        """What has become of a run."""
        return store.state(self.runs[path], self)

    def diverged(self, path: str) -> bool:
        """Whether a run has failed because of its settings; see `mdkd.store.diverged`."""
        return store.diverged(self.runs[path], self)

    def _done(self, path: str) -> store.Entry | None:
        """The entry of a run that is done."""
        return store.entry(self.runs[path], self) if self.state(path) == "done" else None

    def cell_state(self, cell: Cell, found: int | None = None) -> State:
        """The state of a cell of which ``found`` runs have a value; None: those that are done."""
        if cell.unavailable:
            return State("n/a", cell.unavailable)
        if found is None:
            found = sum(self.state(path) == "done" for path in cell.runs)
        if found:
            return State("done" if found == len(cell.runs) else "partial")
        failed = any(self.state(path) in ("failed", "damaged") for path in cell.runs)
        return State("failed" if failed else "missing")
