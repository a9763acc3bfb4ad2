"""`--use-conda`, with a test double of conda (tests/conda_double.py), and without any conda."""

import os
import shutil
import sys
from pathlib import Path

import conda_double
import pytest
import yaml
from workflow_project import small_project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return small_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("conda")


@pytest.fixture(scope="module")
def with_conda(project, folder):
    """The project after a run with the double of conda first on the PATH."""
    programs = conda_double.install(folder, project.folder / "environment.yml")
    whole = project.environment()
    project.environment = lambda: whole | {"PATH": f"{programs}{os.pathsep}{whole['PATH']}"}
    project.output = project.snakemake("--use-conda")
    return project


def test_the_environment_is_made_once_from_environment_yml(with_conda, folder):
    ((_, text),) = conda_double.created(folder)
    prefix = Path(text)
    assert prefix.parent == with_conda.folder / ".snakemake" / "conda"
    installed = {file.name.rsplit("-", 2)[0] for file in (prefix / "conda-meta").glob("*.json")}
    dependencies = yaml.safe_load((with_conda.folder / "environment.yml").read_text())
    assert installed == {text.split()[0] for text in dependencies["dependencies"]}


def test_every_job_runs_in_the_environment(with_conda, folder):
    ((_, prefix),) = conda_double.created(folder)
    jobs = conda_double.jobs(folder)
    assert {job.prefix for job in jobs} == {prefix}
    verbs = sorted(job.verb for job in jobs)
    assert verbs == [
        "cache scenes",
        "report figure",
        "report labels",
        "report metrics",
        "report page",
        "report table",
        "train distill/scenes/resnet8x2--resnet8/mld/default/seed0",
        "train supervised/scenes/resnet8/seed0",
        "train supervised/scenes/resnet8x2/seed0",
    ]
    assert with_conda.output.count("Activating conda environment") == len(jobs)
    assert (with_conda.results / "tables" / "comparison.tex").stat().st_size > 0


def test_a_second_run_makes_no_environment_and_trains_nothing(with_conda, folder):
    before = len(conda_double.calls(folder, "python"))
    assert "Nothing to be done" in with_conda.snakemake("--use-conda")
    assert len(conda_double.created(folder)) == 1
    assert len(conda_double.calls(folder, "python")) == before


def test_an_environment_that_cannot_be_solved_stops_the_workflow(with_conda, tmp_path):
    """It names the package, and no job starts."""
    other = small_project(tmp_path)
    other.environment = with_conda.environment
    file = other.folder / "environment.yml"
    file.write_text(file.read_text().replace("timm >=1.0.20", "timm >=77"))
    result = other.run("snakemake", "--cores", "1", "--use-conda")
    assert result.returncode == 1
    assert "timm >=77" in result.stdout + result.stderr
    assert not (other.folder / "cache").exists()


@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_without_conda_the_workflow_stops_and_says_so(tmp_path, dry):
    """A PATH with nothing on it but what Snakemake needs."""
    project = small_project(tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "sh", "which"):
        (programs / name).symlink_to(shutil.which(name))
    for name in ("snakemake", "python"):
        (programs / name).symlink_to(Path(sys.executable).with_name(name))
    environment = project.environment()
    project.environment = lambda: environment | {"PATH": str(programs)}
    result = project.run("snakemake", "--cores", "1", "--use-conda", *dry)
    assert result.returncode == 1
    output = result.stdout + result.stderr
    assert "Error running conda info. Is conda installed and accessible?" in output
    assert not (project.folder / "cache").exists()
