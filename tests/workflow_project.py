"""A copy of the project in which the tests of the workflow run Snakemake."""

import copy
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

from conftest import ROOT, copy_config, edit_yaml, environment

# Written to the end of the training loop: one line per step, to a file in the working directory.
TRACE = """
import os as _os
_traced = {}
_fit_untraced, _rate_untraced = _fit, learning_rate


def _fit(run, *arguments):
    _traced.update(entry=store.entry(run, Layout(run.protocol)))
    return _fit_untraced(run, *arguments)


def learning_rate(recipe, step, last_step):
    entry = _traced["entry"]
    with open("steps.txt", "a") as file:
        file.write(f"{entry.folder} {_os.getpid()} {entry.finished}\\n")
    time.sleep(float(_os.environ.get("STEP_S", 0)))
    return _rate_untraced(recipe, step, last_step)
"""

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
        file = self.folder / "steps.txt"
        lines = file.read_text().splitlines() if file.exists() else []
        entries = [Path(line.split()[0]) for line in lines]
        return Counter(entry.parent.relative_to("store").as_posix() for entry in entries)

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
    config = project.folder / "config"
    edit_yaml(config / "config.yaml", lambda c: c.update(seeds=[0]))
    experiment = config / "experiments" / "comparison.yaml"
    edit_yaml(experiment, lambda e: e.update(methods=["vanilla", "mld"], metrics=["mAP", "CF1_k"]))
    return project
