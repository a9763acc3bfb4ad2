"""Programs beside this one: LaTeX, conda and Slurm. None of them is needed for everything."""

import importlib.util
import shutil
from collections.abc import Iterator, Sequence

from mdkd import extras, slurm
from mdkd.costs import Estimator
from mdkd.doctor import parse
from mdkd.doctor.check import Check, ask, judged, plural
from mdkd.errors import UserError
from mdkd.specfiles import JobLimits

CONDA = (24, 7, 1)  # the oldest that Snakemake works with
CONDA_S = 30
SINFO = ("sinfo", "--noheader", "--format=%P|%a|%l|%c|%m|%G|%D")
SACCT, SQUEUE = ("sacct", "-n"), ("squeue", "--noheader", "--me")
SLURM_S = 8
PLUGIN = "snakemake_executor_plugin_slurm"


def latex(engines: Sequence[str]) -> Check:
    """Whether one of the engines can make paper.pdf."""
    found = next((name for name in engines if shutil.which(name)), None)
    if found:
        return Check("LaTeX", "ok", f"{found} makes paper.pdf")
    return Check(
        "LaTeX", "warning", "not installed: paper.tex is written, but no paper.pdf", extras.LATEX
    )


def conda() -> Check:
    if shutil.which("conda") is None:
        return Check("conda", "ok", "not installed; it is only needed for --use-conda")
    answer = ask(("conda", "--version"), CONDA_S)
    found = parse.version(answer.text)
    needed = ".".join(map(str, CONDA))
    fix = f"--use-conda needs conda >= {needed}: `conda update -n base conda`; pip needs no conda"
    if answer.error or found is None:
        text = answer.error or f"its version is not readable: {answer.text.strip()}"
        return Check("conda", "warning", text, fix)
    return judged("conda", answer.text.strip(), fix, "warning" if found < CONDA else None)


def cluster(estimator: Estimator | None, limits: JobLimits) -> Iterator[Check]:
    """Slurm's partitions, queue and accounting, and Snakemake's plugin; nothing without Slurm."""
    if shutil.which("sinfo") is None:
        yield Check("Slurm", "ok", "not installed; trainings run on this machine")
        return
    answer = ask(SINFO, SLURM_S)
    if answer.error:
        fix = "on a cluster, ask who looks after it; otherwise ignore this"
        yield Check("Slurm", "warning", f"sinfo does not work: {answer.error}", fix)
        return
    found = parse.sinfo(answer.text)
    yield from (Check("Slurm", "ok", describe(partition)) for partition in found)
    if not any(partition.up for partition in found):
        fix = "wait, or ask who looks after the cluster"
        yield Check("Slurm", "problem", "no partition is up", fix)
    elif estimator:
        yield from fits(largest_job(estimator, limits))
    yield queue(ask(SQUEUE, SLURM_S).error, ask(SACCT, SLURM_S).error)
    if importlib.util.find_spec(PLUGIN):
        yield Check("plugin", "ok", "Snakemake can submit jobs to Slurm")
    else:
        fix = "pip install snakemake-executor-plugin-slurm"
        yield Check("plugin", "warning", "Snakemake cannot submit jobs: no plugin for Slurm", fix)


def describe(partition: parse.Partition) -> str:
    """A partition in one line."""
    limit = "no time limit" if partition.minutes is None else f"up to {partition.minutes:g} min"
    size = [plural(partition.cores, "core")] if partition.cores else []
    size += [f"{partition.memory_mb / 1000:.0f} GB"] if partition.memory_mb else []
    size += [partition.gpus] if partition.gpus else []
    name = f"{partition.name}{' (default)' if partition.default else ''}"
    state = "" if partition.up else ", not up"
    nodes = plural(partition.nodes, "node") if partition.nodes is not None else "nodes"
    return f"partition {name}: {nodes} with {', '.join(size) or 'unknown size'}, {limit}{state}"


def largest_job(estimator: Estimator, limits: JobLimits) -> slurm.Request:
    """The most that any training of the plan that is not done asks for, within the limits."""
    left = [run for path, run in estimator.plan.runs.items() if path not in estimator.done]
    known = [run for run in left if estimator.hours_left(run) is not None]
    minutes = max((estimator.minutes(run) for run in known), default=0)
    memory_mb = max(((estimator.memory(run) or 0) for run in left), default=0) // 10**6
    if limits.minutes is not None:
        minutes = min(minutes, limits.minutes)
    if limits.memory_gb is not None:
        memory_mb = min(memory_mb, round(1000 * limits.memory_gb))
    return slurm.Request(minutes, cores=1, memory_mb=memory_mb, gpus=int(estimator.on_gpu))


def fits(request: slurm.Request) -> Iterator[Check]:
    """A warning if no node of any partition can run a job."""
    try:
        reason = slurm.refusal(request, slurm.nodes(None))
    except UserError as error:
        yield Check("Slurm", "warning", str(error), "ask who looks after the cluster")
        return
    if reason:
        limits = "set job_limits in config.yaml; a long training then continues in a new job"
        fix = "set device: cpu in config.yaml" if "GPU" in reason else limits
        yield Check("Slurm", "warning", reason, fix)


def queue(squeue_error: str | None, sacct_error: str | None) -> Check:
    """Whether the state of jobs can be asked for, and by which command."""
    if squeue_error and sacct_error:
        text = f"neither works: squeue: {squeue_error}; sacct: {sacct_error}"
        return Check("jobs", "problem", text, "ask who looks after the cluster")
    if sacct_error:
        text = f"accounting does not work: {sacct_error}"
        fix = "the workflow then asks squeue; `slurm-status-command: squeue` in a profile says so"
        return Check("jobs", "warning", text, fix)
    if squeue_error:
        return Check(
            "jobs", "warning", f"squeue: {squeue_error}", "ask who looks after the cluster"
        )
    return Check("jobs", "ok", "squeue and sacct answer")
