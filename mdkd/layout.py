"""Where everything lies below the working directory; the protocol is a folder level.

cache/{protocol}/{dataset}/            pixels and labels, made once
checkpoints/{protocol}/{run path}/     progress of unfinished runs; no workflow output
results/{protocol}/runs/{run path}/    run.json metrics.json history.jsonl model.pt ...
results/{protocol}/tables|figures/     artefacts, built from records alone
"""

from dataclasses import dataclass
from pathlib import Path


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
