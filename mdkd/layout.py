"""Where everything lies below the working directory; the protocol is a folder level.

cache/{protocol}/{dataset}/            pixels and labels, decoded or drawn once
checkpoints/{protocol}/{run path}/     progress of unfinished runs; no output of the workflow
logs/{protocol}/train/{run path}.log   messages of trainings
results/{protocol}/runs/{run path}/    run.json metrics.json history.jsonl model.pt ...
results/{protocol}/tables|figures/     artefacts, computed from records alone
"""

from dataclasses import dataclass
from pathlib import Path

TABLE_FORMATS = ("csv", "md", "tex", "html")  # every table is written in all of them
FIGURE_FORMATS = ("pdf", "svg", "png")  # and every figure in all of these


@dataclass(frozen=True)
class Layout:
    """Folders of one protocol below ``base``."""

    protocol: str
    base: Path = Path(".")

    @property
    def results(self) -> Path:
        return self.base / "results" / self.protocol

    def cache(self, dataset: str) -> Path:
        return self.base / "cache" / self.protocol / dataset

    def checkpoint(self, run_path: str) -> Path:
        return self.base / "checkpoints" / self.protocol / run_path

    def run(self, run_path: str) -> Path:
        return self.results / "runs" / run_path

    def log(self, run_path: str) -> Path:
        return self.base / "logs" / self.protocol / "train" / f"{run_path}.log"
