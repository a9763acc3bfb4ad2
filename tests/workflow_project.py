"""A copy of the project in which the tests of the workflow run Snakemake."""

import copy
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from conftest import ROOT, copy_config, edit_yaml, environment

# Written to the end of the training loop: one line per step, to a file in the working directory. It
# says who trained the step, and on which device. As in CUDA, CUDA_VISIBLE_DEVICES is an index into
# the devices that the process can open.
TRACE = """
import os as _os, socket as _socket
_traced = {}


def _device():
    opened = []
    for file in sorted(Path("/dev").glob("nvidia[0-9]*")):
        try:
            _os.close(_os.open(file, _os.O_RDWR))
        except OSError:
            continue
        opened.append(file.name)
    index = _os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return opened[int(index)] if opened and index else "-"


_fit_untraced, _rate_untraced = _fit, learning_rate


def _fit(run, *arguments):
    _traced.update(entry=store.entry(run, Layout(run.protocol)))
    return _fit_untraced(run, *arguments)


def learning_rate(recipe, step, last_step):
    entry = _traced["entry"]
    with open("steps.txt", "a") as file:
        facts = (entry.folder, _os.getpid(), entry.finished, step, _socket.gethostname())
        job = _os.environ.get("SLURM_JOB_ID", "-")
        print(*facts, job, _device(), file=file)
    time.sleep(float(_os.environ.get("STEP_S", 0)))
    return _rate_untraced(recipe, step, last_step)
"""


class Step(NamedTuple):
    """One line of the trace."""

    path: str  # of the run
    pid: int
    finished: bool  # the run was finished already
    number: int
    host: str
    job: str  # of Slurm, or -
    device: str

    @classmethod
    def of_line(cls, line):
        entry, pid, finished, number, *place = line.split()
        path = Path(entry).parent.relative_to("store").as_posix()
        return cls(path, int(pid), finished == "True", int(number), *place)


PARTS = ("Snakefile", "workflow", "profiles", "mdkd", "environment.yml")


class Project:
    """A copy of the project in which snakemake runs."""

    def __init__(self, folder, default=False):
        self.folder = folder
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / part)
        if default:
            shutil.copytree(ROOT / "config", folder / "config")
        else:
            copy_config(folder / "config")

    def copy(self, folder):
        """The same in another folder, with all that was made."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        other = copy.copy(self)
        other.folder = folder
        return other

    def trace(self):
        """Make trainings write every step to ``steps.txt``."""
        with (self.folder / "mdkd/training/loop.py").open("a", encoding="utf-8") as file:
            file.write(TRACE)

    def steps(self):
        """The number of steps that were trained, by run path."""
        return Counter(step.path for step in self.traced())

    def traced(self):
        """All steps that were trained, in order."""
        file = self.folder / "steps.txt"
        lines = file.read_text().splitlines() if file.exists() else []
        return [Step.of_line(line) for line in lines]

    def environment(self, **variables):
        return environment() | {"PYTHONPATH": str(self.folder)} | variables

    def run(self, *command, **variables):
        variables = self.environment(**variables)
        return subprocess.run(
            command, cwd=self.folder, env=variables, capture_output=True, text=True
        )

    def mdkd(self, *arguments):
        return self.run("python", "-m", "mdkd", *arguments)

    def begin(self, *command, **variables):
        """Start a command in the background; its messages are added to ``log.txt``."""
        with (self.folder / "log.txt").open("a") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment(**variables),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def snakemake(self, *arguments):
        result = self.run("snakemake", "--cores", "1", *arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    def planned(self, *arguments):
        """Jobs of a dry run, by rule; empty if there is nothing to do."""
        text = self.snakemake("--dry-run", *arguments)
        if "Nothing to be done" in text:
            return {}
        lines = re.findall(r"^(\w+) +(\d+)$", text[text.rindex("Job stats:") :], re.MULTILINE)
        return {rule: int(count) for rule, count in lines}

    @property
    def results(self):
        return self.folder / "results" / "smoke"


def small_project(folder):
    """A project with two methods and one seed. Nothing has been run in it."""
    project = Project(folder)
    shrink(project)
    return project


def shrink(project):
    """Leave two methods and one seed."""
    config = project.folder / "config"
    edit_yaml(config / "config.yaml", lambda c: c.update(seeds=[0]))
    experiment = config / "experiments" / "comparison.yaml"
    edit_yaml(experiment, lambda e: e.update(methods=["vanilla", "mld"], metrics=["mAP", "CF1_k"]))
