"""`--sdm apptainer` with a test double of apptainer, and the Dockerfile. No test has a real engine.

The double notes its calls and runs the command of a job on this machine. So a test sees that
Snakemake starts each job through the engine with the right image. It does not see whether the image
can be built.
"""

import fnmatch
import json
import os
import re
import shlex
import sys
import tomllib

import pytest
from conftest import ROOT, edit_yaml
from workflow_project import small_project

DOUBLE = """#!{python}
import json, os, sys

words = sys.argv[1:]
if words == ["--version"]:
    sys.exit(print("apptainer version 1.3.0"))
with open("{calls}", "a") as log:
    log.write(json.dumps(words) + "\\n")
if words[0] == "pull":  # writes the image
    sys.exit(open(words[words.index("--name") + 1], "w").close())
os.execvp("bash", words[words.index("bash"):])  # exec: options, image, bash, -c, command
"""
IMAGE = "docker://registry.example/mdkd:1"


class Engine:
    """The double of apptainer, in a folder of its own."""

    def __init__(self, folder):
        self.log = folder / "calls.txt"
        self.program = folder / "bin" / "apptainer"
        self.program.parent.mkdir()
        self.program.write_text(DOUBLE.format(python=sys.executable, calls=self.log))
        self.program.chmod(0o755)

    def put_first(self, project):
        whole = project.environment()
        path = f"{self.program.parent}{os.pathsep}{whole['PATH']}"
        project.environment = lambda: whole | {"PATH": path}

    def calls(self, verb):
        calls = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [words for words in calls if words[0] == verb]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return Engine(tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="module")
def project(tmp_path_factory, engine):
    """A project in which every job has run through the double."""
    project = small_project(tmp_path_factory.mktemp("project"))
    edit_yaml(project.folder / "config" / "config.yaml", lambda c: c.update(container=IMAGE))
    engine.put_first(project)
    project.snakemake("--sdm", "apptainer", "--apptainer-args=--nv", "collect")
    return project


def test_the_image_is_fetched_once_and_every_job_runs_in_it(project, engine):
    (pull,) = engine.calls("pull")
    assert pull[-1] == IMAGE
    image = str(project.folder / ".snakemake" / "singularity" / pull[pull.index("--name") + 1])
    jobs = engine.calls("exec")
    for words in jobs:
        assert os.path.abspath(project.folder / words[words.index("bash") - 1]) == image
        assert words[words.index("--home") + 1] == str(project.folder)
        assert "--nv" in words
    verbs = sorted(re.search(r"python -m mdkd (\S+ \S+)", words[-1])[1] for words in jobs)
    assert verbs == [
        "cache scenes",
        "report metrics",
        "train distill/scenes/resnet8x2--resnet8/mld/default/seed0",
        "train supervised/scenes/resnet8/seed0",
        "train supervised/scenes/resnet8x2/seed0",
    ]
    assert (project.results / "metrics.csv").stat().st_size > 0


def test_an_image_in_a_file_is_used_where_it_lies(project, engine):
    (project.folder / "mdkd.sif").touch()
    before = len(engine.calls("exec"))
    arguments = ("--sdm", "apptainer", "--config", "container=mdkd.sif", "--force", "collect")
    project.snakemake(*arguments)
    (words,) = engine.calls("exec")[before:]
    assert words[words.index("bash") - 1] == "mdkd.sif"
    assert len(engine.calls("pull")) == 1


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "--sdm apptainer needs an image; build one from Dockerfile and name it here"),
        ("no.sif", "no file 'no.sif'; name an image file, or an address such as docker://..."),
    ],
)
def test_without_an_image_nothing_starts(project, image, message):
    file = project.folder / "config" / "config.yaml"
    edit_yaml(file, lambda c: c.update(container=image))
    result = project.run("snakemake", "-n", "--sdm", "apptainer")
    edit_yaml(file, lambda c: c.update(container=IMAGE))
    assert result.returncode == 1
    output = result.stdout + result.stderr
    assert f"config/config.yaml: container: {message}" in output
    assert "Traceback" not in output


def instructions():
    """The Dockerfile as pairs of an instruction and its text."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]


def texts(name):
    return [text for instruction, text in instructions() if instruction == name]


def is_sent(file):
    """Whether .dockerignore lets a file of the top folder reach the builder."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#") and fnmatch.fnmatch(file, line.removeprefix("!")):
            sent = line.startswith("!")
    return sent


def test_the_image_is_made_from_the_lock_file_alone():
    (copied,) = texts("COPY")
    source, target = copied.split()
    assert source == "requirements.lock"
    sent = [path.name for path in ROOT.iterdir() if is_sent(path.name)]
    assert sent == [source]  # no data, no results, no secrets
    (run,) = texts("RUN")
    words = shlex.split(run)
    assert words[:2] == ["pip", "install"]
    assert {"--no-deps", "--no-cache-dir"} < set(words)
    assert words[words.index("-r") + 1] == target


def test_the_image_has_a_python_of_the_project_and_is_not_run_as_root():
    (base,) = texts("FROM")
    version = re.fullmatch(r"python:(3\.\d+)-slim-\w+", base)[1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    least = project["requires-python"].removeprefix(">=")
    assert [int(part) for part in version.split(".")] >= [int(part) for part in least.split(".")]
    users = texts("USER")
    assert users
    assert users[-1].partition(":")[0] not in ("root", "0")
    names = [name for name, _ in instructions()]
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")


def test_the_image_holds_no_secret():
    assert {name for name, _ in instructions()} <= {
        *("FROM", "COPY", "RUN", "ENV", "USER", "WORKDIR", "CMD")  # no ARG, no ADD
    }
    for text in texts("ENV"):
        for name in re.findall(r"(\w+)=", text):
            assert not re.search("token|secret|password|key", name, re.IGNORECASE)
