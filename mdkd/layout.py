"""Where everything lies below the working directory; the protocol is a folder level.

cache/{protocol}/{dataset}/            pixels and labels, decoded or drawn once
store/{run path}/{key}/                run.json metrics.json model.pt ... (mdkd/store.py)
store/compiled/                        code that torch.compile made; only if it was asked to
logs/{protocol}/                       messages of jobs
results/{protocol}/runs/{run path}/    {key}.json: the small file that names a finished entry
results/{protocol}/plans/{digest}.json what jobs read instead of the configuration
results/{protocol}/tables|figures/     artefacts, computed from records alone
results/{protocol}/explore.html        all runs, to look at in a browser (mdkd/reporting/page)
results/{protocol}/report/             what the workflow's report shows first
"""

from dataclasses import dataclass, field
from pathlib import Path

TABLE_FORMATS = ("csv", "md", "tex", "tabular.tex", "html")  # every table is written in all of them
FIGURE_FORMATS = ("pdf", "svg", "png")  # and every figure in all of these


@dataclass(frozen=True)
class Layout:
    """Folders of one protocol below ``base``."""

    protocol: str
    base: Path = Path(".")
    # Absolute, or below ``base``; several projects may share a store.
    store_folder: str = field(default="store", kw_only=True)

    @property
    def results(self) -> Path:
        return self.base / "results" / self.protocol

    def cache(self, dataset: str) -> Path:
        return self.base / "cache" / self.protocol / dataset

    @property
    def store(self) -> Path:
        return self.base / self.store_folder

    @property
    def compiled(self) -> Path:
        """What torch.compile makes, for all trainings."""
        return self.store / "compiled"

    def store_entry(self, run_path: str, key: str) -> Path:
        return self.store / run_path / key

    def train_log(self, run_path: str, key: str) -> Path:
        """The log of the last job that trained a run, or that should have done so."""
        return self.base / "logs" / self.protocol / "train" / run_path / f"{key}.log"

    def published(self, run_path: str, key: str) -> Path:
        return self.results / "runs" / run_path / f"{key}.json"

    def plan(self, digest: str) -> Path:
        return self.results / "plans" / f"{digest}.json"
