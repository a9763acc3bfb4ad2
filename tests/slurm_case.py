"""The project in a real Slurm cluster: a copy whose trainings claim GPUs and compute on the CPU."""

import os
import signal
import subprocess
import time
from itertools import pairwise

import pytest
from conftest import Workbench, edit_text, edit_yaml
from slurm_cluster import REQUIRED, Cluster, until, why_not
from workflow_project import Project, shrink

from mdkd import records
from mdkd.data.build import build
from mdkd.resolve import resolve_dataset

TEACHER = "supervised/scenes/resnet8x2/seed0"
STUDENT = "supervised/scenes/resnet8/seed{}"
MLD = "distill/scenes/resnet8x2--resnet8/mld/default/seed{}"
RUNS = tuple(path.format(seed) for seed in (1, 2) for path in (STUDENT, MLD))
SEED, SEEDS = ("--config", "seeds=[1]"), ("--config", "seeds=[1,2]")
STEPS, EPOCH = 6, 3  # steps of one training, and of its epochs

STARTED: list[subprocess.Popen] = []  # all workflows; what still runs at the end is killed

# Written to the end of a copy's Snakefile. The executor doubles its waits, to spare the controller.
ASK_OFTEN = """
if "--workflow-profile" in sys.argv:
    from snakemake_executor_plugin_slurm import Executor
    Executor.next_seconds_between_status_checks = property(lambda self: 2, lambda self, s: None)
"""


class SlurmProject(Project):
    """A copy of the project on the login node of a cluster."""

    cluster: Cluster

    def double(self):
        """Compute on the CPU what was claimed as a GPU. This is the test double for GPUs."""
        for file in ("loop.py", "teacher.py"):
            code = self.folder / "mdkd/training" / file
            edit_text(code, "torch.device(device_type)", 'torch.device("cpu")')
        check = self.folder / "mdkd/training/execution.py"
        edit_text(check, "not torch.cuda.is_available()", "False")
        self.trace()
        with (self.folder / "Snakefile").open("a") as file:
            file.write(ASK_OFTEN)

    def use(self, partition):
        """Do what a user does first: name the partition in the profile."""
        edit_yaml(
            self.folder / "profiles/slurm/profile.yaml",
            lambda p: p.update({"default-resources": {"slurm_partition": partition}}),
        )

    def limit(self, **limits):
        edit_yaml(self.folder / "config/config.yaml", lambda c: c["job_limits"].update(limits))

    def environment(self, **variables):
        return super().environment(TMPDIR=str(self.cluster.scratch), **variables)

    @staticmethod
    def command(*arguments):
        return ("snakemake", "--workflow-profile", "profiles/slurm", *arguments)

    def submit(self, *arguments, **variables):
        """Start a workflow on the login node. Its jobs go to Slurm."""
        process = self.begin(*self.command(*arguments), **variables)
        STARTED.append(process)
        return process

    def ended(self, process, seconds=300):
        """Wait for a workflow, which must succeed."""
        try:
            assert process.wait(timeout=seconds) == 0, self.messages()
        except subprocess.TimeoutExpired:
            pytest.fail(f"it does not end; Slurm's jobs: {self.jobs()}\n{self.messages()}")

    def messages(self):
        """What Snakemake and the trainings said."""
        files = [self.folder / "log.txt", *(self.folder / "store").rglob("train.log")]
        return "\n".join(f"{file}:\n{file.read_text()}" for file in files if file.exists())

    def jobs(self):
        """The Slurm jobs of this project by number, in the order of submission."""
        jobs = {number: self.cluster.job(number) for number in self.cluster.jobs()}
        mine = [n for n, job in jobs.items() if job["WorkDir"] == str(self.folder)]
        return {number: jobs[number] for number in sorted(mine, key=int)}

    def jobs_of(self, path):
        """The numbers of the jobs of one run."""
        kind, *parts = path.replace("--", "/").replace("seed", "").split("/")
        if kind == "supervised":
            parts.insert(-1, "")  # the recipe is that of the protocol: an empty wildcard
        name = "_".join(["smoke", *parts])
        return [number for number, job in self.jobs().items() if f"_{name}_" in job["Comment"]]

    def steps_of(self, path):
        return [step for step in self.traced() if step.path == path]

    def trained(self, path, steps=1):
        """Wait until a run has trained so many steps; returns the last of them."""
        until(lambda: len(self.steps_of(path)) >= steps, f"{path} trains", 120, self.messages)
        return self.steps_of(path)[-1]

    def digests(self):
        """Those of the weights and predictions of all finished runs, by run path."""
        found = {}
        for file in (self.folder / "store").rglob("run.json"):
            path = file.parent.parent.relative_to(self.folder / "store").as_posix()
            assert path not in found
            record = records.read_json(file)
            found[path] = (record["weights_sha256"], record["predictions_sha256"])
        return found

    def check(self, expected, path, repeated=0):
        """A run gave what an undisturbed training gives, and no step was trained twice.

        Args:
            repeated: so many steps may have been lost and trained again.
        """
        steps = self.steps_of(path)
        assert self.digests()[path] == expected[path]
        assert {step.number for step in steps} == set(range(STEPS))
        assert len(steps) <= STEPS + repeated, self.messages()
        assert not any(step.finished for step in steps)
        lives = [(step.host, step.job, step.pid) for step in steps]
        assert changes(lives) == len(set(lives)) - 1, "two processes trained it at once"

    def restarts(self, path):
        """How often the job of a run was started again; it must have been submitted once."""
        (number,) = self.jobs_of(path)
        assert {step.job for step in self.steps_of(path)} == {number}
        restarts = int(self.cluster.job(number)["Restarts"])
        assert len({step.pid for step in self.steps_of(path)}) == 1 + restarts
        return restarts


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A cluster for all tests."""
    if reason := why_not():
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(f"{REQUIRED}=1, but {reason}")
        pytest.skip(reason)
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        for process in STARTED:
            if process.poll() is None:
                kill(process)
        cluster.stop()


@pytest.fixture(scope="session")
def fresh(cluster, tmp_path_factory):
    """A project in which nothing was run. Never change it."""
    project = SlurmProject(tmp_path_factory.mktemp("fresh"))
    project.cluster = cluster
    shrink(project)
    edit_yaml(project.folder / "config/config.yaml", lambda c: c.update(device="auto"))
    project.double()
    project.use("gpu")
    return project


@pytest.fixture(scope="session")
def origin(fresh, tmp_path_factory):
    """A project with its cache, and with all runs of seed 0 in the store. Never change it."""
    project = fresh.copy(tmp_path_factory.mktemp("origin"))
    bench = Workbench(project.folder, project.folder / "config")
    build(resolve_dataset(bench.spec, "scenes"), bench.base / "data", bench.layout.cache("scenes"))
    for path in (TEACHER, STUDENT.format(0), MLD.format(0)):
        bench.train(path)
    return project


@pytest.fixture(scope="session")
def expected(origin, tmp_path_factory):
    """The digests of all runs of seeds 0 to 2, trained in one process that nobody disturbs."""
    project = origin.copy(tmp_path_factory.mktemp("expected"))
    bench = Workbench(project.folder, project.folder / "config")
    for path in RUNS:
        bench.train(path)
    return project.digests()


@pytest.fixture
def made(origin, tmp_path):
    """A copy of a project for one test."""
    return origin.copy(tmp_path / "made")


def disturb(moments):
    """Do each action as soon as its runs have trained so many steps.

    Args:
        moments: pairs of an action and of what it waits for, as (project, path, steps).
    """
    end = time.monotonic() + 600
    while moments:
        assert time.monotonic() < end, moments
        for moment in list(moments):
            action, needed = moment
            if all(project.steps()[path] >= steps for project, path, steps in needed):
                action()
                moments.remove(moment)
        assert all(process.poll() in (None, 0) for process in STARTED), "a workflow failed"
        time.sleep(0.2)


def changes(values):
    """How often a value differs from the one before it."""
    return sum(a != b for a, b in pairwise(values))


def kill(process):
    """Kill Snakemake with all its processes on the login node."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
