"""The workflow on a real Slurm cluster, whose jobs are confined, stopped, killed and repeated.

Each project has two or four runs to train. Afterwards, each run must have the weights and
predictions of an undisturbed training, and no run may have been trained twice.
"""

import os
import signal
import socket
from functools import partial
from pathlib import Path

import conda_double
import pytest
from conftest import edit_yaml
from slurm_case import (
    EPOCH,
    MLD,
    RUNS,
    SEED,
    SEEDS,
    STEPS,
    STUDENT,
    TEACHER,
    changes,
    disturb,
    kill,
)
from slurm_cluster import GPUS, OPEN_NODE, until

pytestmark = pytest.mark.slurm

FIRST, SECOND = RUNS[:2]
COLLECT = (*SEED, "--", "collect")
RESTARTED = "Trying to restart job"  # Snakemake's words for a retry


def test_the_whole_workflow_runs_from_a_login_node_without_gpus(fresh, expected, tmp_path):
    """The cluster has no accounting, and the profile is as a user has it."""
    project = fresh.copy(tmp_path / "made")
    project.ended(project.submit())
    runs = (TEACHER, STUDENT.format(0), MLD.format(0))
    assert project.digests() == {path: expected[path] for path in runs}
    assert (project.results / "tables" / "comparison.tex").exists()
    assert project.steps() == dict.fromkeys(runs, STEPS)
    assert {step.host for step in project.traced()} <= set(project.cluster.nodes)
    assert all(step.device.startswith("nvidia") for step in project.traced())


def test_jobs_on_one_node_train_side_by_side_on_different_devices(made, expected):
    made.use("first")
    process = made.submit(*COLLECT, STEP_S="2")
    steps = [made.trained(path) for path in (FIRST, SECOND)]
    made.ended(process)
    assert [step.host for step in steps] == ["n1", "n1"]
    assert steps[0].device != steps[1].device
    assert changes(step.path for step in made.traced()) > 1
    for path in (FIRST, SECOND):
        made.check(expected, path)
        assert made.restarts(path) == 0


def test_with_conda_every_job_on_a_node_runs_in_the_one_environment(fresh, expected, tmp_path):
    """Conda is a test double. Two methods read stored logits, which a job on a node makes."""
    project = fresh.copy(tmp_path / "made")
    experiment = project.folder / "config/experiments/comparison.yaml"
    edit_yaml(experiment, lambda e: e.update(methods=["vanilla", "mld", "mse"]))
    conda = tmp_path / "conda"
    programs = conda_double.install(conda, project.folder / "environment.yml")
    path = f"{programs}{os.pathsep}{project.environment()['PATH']}"
    project.ended(project.submit("--use-conda", "--", "collect", PATH=path))

    login = socket.gethostname()
    ((host, prefix),) = conda_double.created(conda)
    assert (host, Path(prefix).parent) == (login, project.folder / ".snakemake" / "conda")
    jobs = conda_double.jobs(conda)
    assert {job.prefix for job in jobs} == {prefix}
    assert [job.verb for job in jobs if job.host == login] == ["report metrics"]
    runs = (TEACHER, STUDENT.format(0), MLD.format(0), MLD.format(0).replace("mld", "mse"))
    verbs = ["cache scenes", "logits logits/scenes/resnet8x2/seed0", *(f"train {r}" for r in runs)]
    assert sorted(job.verb for job in jobs if job.host in project.cluster.nodes) == sorted(verbs)
    digests = project.digests()
    assert {path: digests[path] for path in runs[:3]} == {path: expected[path] for path in runs[:3]}


# Jobs that are stopped. The fixtures disturb several jobs at once, because each of them takes time.


@pytest.fixture(scope="module")
def limited(origin, tmp_path_factory):
    """A workflow whose jobs may take two minutes, and need more."""
    project = origin.copy(tmp_path_factory.mktemp("limited"))
    project.use("short")
    project.limit(minutes=2)
    return project, project.submit(*COLLECT, STEP_S="20")


@pytest.fixture(scope="module")
def disturbed(limited, origin, tmp_path_factory):
    """A workflow of four runs: one is signalled, one is cancelled, and one is killed."""
    project = origin.copy(tmp_path_factory.mktemp("disturbed"))
    process = project.submit(*SEEDS, "--", "collect", STEP_S="3")
    signalled, cancelled, killed = STUDENT.format(1), MLD.format(1), STUDENT.format(2)

    def job_of(path):
        return project.steps_of(path)[-1].job

    def python_of(path):
        """The process that trains a run, by its id on this machine."""
        commands = {}
        for node in project.cluster.nodes.values():
            commands |= node.processes()
        (found,) = (p for p, c in commands.items() if c.startswith(f"python -m mdkd train {path} "))
        return found

    scancel = partial(project.cluster.run, "scancel")
    disturb(
        [
            (lambda: scancel("--signal=USR1", job_of(signalled)), [(project, signalled, 1)]),
            (lambda: scancel(job_of(cancelled)), [(project, cancelled, 1)]),
            (lambda: os.kill(python_of(killed), signal.SIGKILL), [(project, killed, EPOCH + 1)]),
        ]
    )
    project.ended(process)
    return project


def test_a_job_that_gets_usr1_requeues_itself_and_continues(disturbed, expected):
    path = STUDENT.format(1)
    disturbed.check(expected, path)
    assert disturbed.restarts(path) == 1


def test_a_cancelled_job_is_submitted_again_and_continues(disturbed, expected):
    path = MLD.format(1)
    disturbed.check(expected, path)
    assert len(disturbed.jobs_of(path)) == 2


def test_a_killed_training_is_submitted_again_and_continues_from_its_checkpoint(
    disturbed, expected
):
    path = STUDENT.format(2)
    disturbed.check(expected, path, repeated=EPOCH)
    assert len(disturbed.jobs_of(path)) == 2
    assert [step.number for step in disturbed.steps_of(path)].count(0) == 1


def test_a_job_beside_disturbed_ones_is_not_disturbed(disturbed, expected):
    path = MLD.format(2)
    disturbed.check(expected, path)
    assert disturbed.restarts(path) == 0


@pytest.fixture(scope="module")
def crashed_and_preempted(origin, tmp_path_factory):
    """Two workflows. The node of one crashes; the jobs of the other give way to an urgent job."""
    crashed, preempted = (origin.copy(tmp_path_factory.mktemp(name)) for name in ("crash", "prio"))
    cluster = origin.cluster
    processes = []
    for project, partition in ((crashed, "first"), (preempted, "second")):
        project.use(partition)
        processes.append(project.submit(*COLLECT, STEP_S="4"))
    urgent = partial(cluster.start_job, "urgent", gpus=GPUS, seconds=1)
    disturb(
        [
            (urgent, [(preempted, path, 1) for path in (FIRST, SECOND)]),
            (cluster.nodes["n1"].crash, [(crashed, path, EPOCH + 1) for path in (FIRST, SECOND)]),
        ]
    )
    until(lambda: cluster.state("n1") == "down*", "the controller notices the crash", 90)
    cluster.nodes["n1"].start()
    for project, process in zip((crashed, preempted), processes, strict=True):
        project.ended(process)
    return crashed, preempted


def test_jobs_on_a_node_that_crashes_continue_from_their_checkpoints(
    crashed_and_preempted, expected
):
    project, _ = crashed_and_preempted
    for path in (FIRST, SECOND):
        project.check(expected, path, repeated=EPOCH)
        assert project.restarts(path) == 1
        assert [step.number for step in project.steps_of(path)].count(0) == 1
    assert RESTARTED not in project.messages()


def test_jobs_that_give_way_to_an_urgent_job_continue(crashed_and_preempted, expected):
    _, project = crashed_and_preempted
    for path in (FIRST, SECOND):
        project.check(expected, path)
        assert project.restarts(path) == 1
    assert RESTARTED not in project.messages()


def test_a_job_at_its_time_limit_requeues_itself_and_uses_no_retry(limited, expected):
    project, process = limited
    project.ended(process)
    for path in (FIRST, SECOND):
        project.check(expected, path)
        assert project.restarts(path) >= 1
    assert RESTARTED not in project.messages()


def test_jobs_on_a_node_that_confines_nothing_train_on_different_devices(crashed_and_preempted):
    _, project = crashed_and_preempted
    first, second = (project.steps_of(path)[0] for path in (FIRST, SECOND))
    assert (first.host, second.host) == (OPEN_NODE, OPEN_NODE)
    assert first.device != second.device


# Snakemake is stopped or killed, or there are several at a time


def test_after_ctrl_c_jobs_are_cancelled_and_continue_in_the_next_workflow(made, expected):
    process = made.submit(*COLLECT, STEP_S="3")
    for path in (FIRST, SECOND):
        made.trained(path)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=600) == 1
    made.ended(made.submit(*COLLECT))
    states = [job["JobState"] for job in made.jobs().values()]
    assert states == 2 * ["CANCELLED"] + 2 * ["COMPLETED"]
    for path in (FIRST, SECOND):
        made.check(expected, path)


def test_snakemake_is_killed_and_started_again_while_its_jobs_run_and_wait(made, expected):
    cluster = made.cluster
    made.use("first")
    blocker = cluster.start_job("first", gpus=GPUS - 1, seconds=1000)
    until(lambda: cluster.jobs()[blocker] == "RUNNING", "one GPU is left")
    process = made.submit(*COLLECT, STEP_S="5")
    until(lambda: len(made.jobs()) == 2, "both jobs are submitted", more=made.messages)
    until(made.traced, "one of them trains", more=made.messages)
    kill(process)
    before = made.jobs()
    assert {job["JobState"] for job in before.values()} == {"RUNNING", "PENDING"}
    made.run(*made.command("--unlock"))
    process = made.submit(*COLLECT, STEP_S="5")
    until(lambda: len(made.jobs()) == 4, "both are submitted again", more=made.messages)
    later = {number: job for number, job in made.jobs().items() if number not in before}
    assert {job["Reason"] for job in later.values()} == {"Dependency"}
    cluster.run("scancel", blocker)
    made.ended(process)
    for path in (FIRST, SECOND):
        made.check(expected, path)
    assert {step.job for step in made.traced()} == set(before)


def test_two_protocols_with_the_same_runs_train_them_once(made, expected):
    protocols = made.folder / "config/protocols"
    (protocols / "other.yaml").write_text((protocols / "smoke.yaml").read_text())
    first = made.submit(*COLLECT, STEP_S="3")
    until(made.traced, "a job of the first trains", more=made.messages)
    second = made.submit("--config", "seeds=[1,2]", "protocol=other", "--", "collect")
    made.ended(first)
    made.ended(second)
    for path in RUNS:
        made.check(expected, path)
    for protocol, runs in (("smoke", RUNS[:2]), ("other", RUNS)):
        published = (made.folder / "results" / protocol / "runs").rglob("*.json")
        paths = {file.parent.relative_to(made.folder).as_posix() for file in published}
        assert {f"results/{protocol}/runs/{path}" for path in runs} <= paths


# What cannot run, and several trainings inside one job


@pytest.mark.parametrize("partition", ["short", "nowhere"])
def test_jobs_that_can_never_start_are_said_in_one_line(made, partition):
    made.use(partition)
    result = made.run(*made.command(*COLLECT))
    assert result.returncode == 1
    (line,) = (line for line in result.stderr.splitlines() if partition in line and ":" in line)
    assert ("job_limits" in line) == (partition == "short")
    assert not made.jobs()


def test_several_trainings_inside_one_job_share_its_gpu_and_all_save_if_it_is_requeued(
    made, expected
):
    command = "exec snakemake --nolock --cores 2 --config seeds=[1] trainings_per_gpu=2 -- collect"
    need = ("--partition=first", "--gpus=1", "--cpus-per-task=2", "--mem=8G", "--time=10")
    variables = made.environment(STEP_S="3")
    job = made.run(
        "env",
        *(f"{name}={variables[name]}" for name in ("TMPDIR", "STEP_S")),
        *("sbatch", "--parsable", *need, "--output=log.txt", f"--wrap={command}"),
    ).stdout.strip()
    for path in (FIRST, SECOND):
        made.trained(path)
    made.cluster.run("scontrol", "requeue", job)
    until(lambda: made.cluster.jobs()[job] == "COMPLETED", "the job is done", 180, made.messages)
    assert {step.job for step in made.traced()} == {job}
    assert len({step.device for step in made.traced()}) == 1
    assert changes(step.path for step in made.traced()) > 1
    for path in (FIRST, SECOND):
        made.check(expected, path)
        assert len({step.pid for step in made.steps_of(path)}) == 2
