"""Shared fixtures: a shrunk configuration, a cache of few images, and trainings of seconds."""

import logging
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
import yaml

from mdkd import keys, records, store
from mdkd.layout import Layout
from mdkd.resolve import resolve_dataset, resolve_run
from mdkd.spec import Specification

pytest_plugins = [
    "download_case",
    "drawn_cache",
    "slurm_case",
    "store_case",
    "trainings",
    "waiting",
    "use_case",
]  # fixtures of several files
ROOT = Path(__file__).parents[1]

# A shell may ignore these signals in what it starts in the background, and children inherit that.
# Tests send them.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(
            _number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL
        )

TINY = {"scenes": {"train": 48, "test": 32}}


def edit_yaml(file, change):
    """Rewrite a YAML file with what ``change`` does to its content."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def edit_text(file, old, new):
    """Replace one place of a file, which must be there."""
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file}: {text.count(old)} times {old!r}"
    file.write_text(text.replace(old, new), encoding="utf-8")


def environment():
    """That of a user who has activated the environment of these tests."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def python(*arguments, cwd=ROOT):
    """Run Python in a process of its own."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment(), capture_output=True, text=True
    )


def copy_config(folder):
    """The project's configuration: one experiment, the smoke protocol on 48 + 32 images."""
    shutil.copytree(ROOT / "config", folder)
    edit_yaml(folder / "config.yaml", lambda c: c.update(protocol="smoke", device="cpu"))
    smoke, quick = folder / "protocols" / "smoke.yaml", folder / "protocols" / "quick.yaml"
    edit_yaml(quick, lambda p: p.update(changes={}))
    whole = yaml.safe_load(quick.read_text()) | yaml.safe_load(smoke.read_text())
    del whole["extends"]  # every key is there for a test to change
    smoke.write_text(yaml.safe_dump(whole | {"datasets": TINY, "changes": {}}, sort_keys=False))
    (folder / "methods.yaml").write_text("mdkd: {}\n")
    for file in (folder / "experiments").glob("*.yaml"):
        if file.stem != "comparison":
            file.unlink()
    return folder


@pytest.fixture
def config(tmp_path):
    """A folder of settings that a test may spoil."""
    return copy_config(tmp_path / "config")


@pytest.fixture(autouse=True)
def _leave_the_process_as_it_was():
    """The command line sets log handlers, and a training signal handlers."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    yield
    root.handlers[:], root.level = handlers, level
    for number, handler in signals.items():
        signal.signal(number, handler)


@dataclass(frozen=True)
class Folders(Layout):
    """The folders of a protocol, and those of its runs in the store."""

    spec: Specification = field(default=None, compare=False)

    def run(self, path):
        return store.entry(resolve_run(self.spec, path), self).folder


ENVIRONMENT = {"device": "cpu", "cpu": "One", "cpu_capability": "AVX2", "git_revision": None}


def facts_of(results, path, run=None):
    """What a record must say for its run to count as done; ``run`` if it is not as planned."""
    run = run or results.runs[path]
    meta, teacher = results.cache(run.dataset.name) / "meta.json", store.teacher_entry(run, results)
    return {
        "run": asdict(run),
        "planned": keys.planned(run),
        "cache": records.read_json(meta)["fingerprint"] if meta.exists() else "no cache",
        "teacher": teacher.record()["weights_sha256"] if teacher and teacher.finished else None,
        "weights_sha256": "not checked",
        "predictions_sha256": "not checked",
        "classes": [],
        "dropped": {},
        "parameters": {"backbone": 0, "head": 0, "connectors": 0},
        "wall_s": 1.0,
        "images_per_s": 1.0,
        "peak_memory_bytes": 0,
        "environment": ENVIRONMENT,
    }


class Workbench:
    """A working directory with a cache and a teacher, and short cuts to train in it."""

    def __init__(self, base, config):
        self.base, self.spec = base, Specification(config)
        self.layout = Folders("smoke", base, spec=self.spec)

    def resolve(self, path):
        return resolve_run(self.spec, path)

    def entry(self, path):
        return store.entry(self.resolve(path), self.layout)

    def train(self, run):
        """Train a run or the path of one; returns the folder of its results."""
        from mdkd.training.loop import train

        run = self.resolve(run) if isinstance(run, str) else run
        train(run, self.layout, "cpu")
        return store.entry(run, self.layout).folder

    def copy(self, base):
        """The same in another directory: cache, finished and unfinished runs."""
        for folder in ("cache", "store", "results"):
            shutil.copytree(self.base / folder, base / folder)
        return Workbench(base, self.spec.folder)


TEACHER = "supervised/scenes/resnet20/seed0"


@pytest.fixture(scope="session")
def taught(tmp_path_factory):
    """A workbench with a trained teacher; never train in it, train in copies."""
    from mdkd.data.build import build

    base = tmp_path_factory.mktemp("taught")
    bench = Workbench(base, copy_config(base / "config"))
    dataset = resolve_dataset(bench.spec, "scenes")
    build(dataset, base / "data", bench.layout.cache("scenes"))
    bench.train(TEACHER)
    return bench


@pytest.fixture
def bench(taught, tmp_path):
    """A workbench of a test's own."""
    return taught.copy(tmp_path / "bench")
