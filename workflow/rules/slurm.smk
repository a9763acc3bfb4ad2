# What is needed on a Slurm cluster only: `snakemake --workflow-profile profiles/slurm`.

import signal
import threading
from contextlib import suppress
from functools import cache

import psutil


def on_slurm():
    """Whether jobs are submitted to Slurm. Known once Snakemake has started its executor."""
    plugin = workflow.executor_plugin
    return plugin is not None and plugin.name == "slurm"


def after_earlier_job(wildcards):
    """Options of `sbatch`: wait for the job of an earlier call of Snakemake that has the same run.

    After Snakemake was killed, its jobs go on. The new job of the same run then starts when the
    earlier one has ended, finds the run finished in the store, and ends. Meanwhile it holds no GPU.
    """
    given = (workflow.resource_settings.default_resources or {}).get("slurm_extra")
    # A rule's own value replaces the default one, so it is repeated.
    options = [given.raw.strip("'\"")] if given and given.raw else []
    if on_slurm() and workflow.is_main_process:
        earlier = [job for job, comment in queued_jobs().items() if wildcards.key in comment]
        options += [f"--dependency=afterany:{':'.join(earlier)}"] if earlier else []
    return " ".join(options)


@cache
def queued_jobs():
    """The jobs in the queue when this call of Snakemake began: their comments, by number."""
    try:
        return slurm.queued()
    except UserError as error:
        raise WorkflowError(str(error)) from None


def prepare_slurm():
    """Stop if no node can run some job. Choose the command that says whether a job has ended."""
    for job in workflow.dag.needrun_jobs():
        if job.is_local:
            continue
        partition = job.resources.get("slurm_partition")
        request = slurm.Request(
            minutes=job.resources.get("runtime", 0),
            cores=job.threads,
            memory_mb=job.resources.get("mem_mb", 0),
            gpus=job.resources.get("gpu", 0),
        )
        try:
            reason = slurm.refusal(request, nodes_of(partition))
        except UserError as error:
            raise WorkflowError(f"slurm_partition in the profile: {error}") from None
        if reason:
            raise WorkflowError(
                f"partition {partition or '(any)'}: {reason} (rule {job.rule.name}); set job_limits "
                f"in {CONFIG_FOLDER}/config.yaml, or another slurm_partition in the profile"
            )
    if workflow.executor_settings.status_command == "sacct" and not slurm.has_accounting():
        workflow.executor_settings.status_command = "squeue"


@cache
def nodes_of(partition):
    """The nodes of a partition."""
    return slurm.nodes(partition)


def forward_signals():
    """Send the signals of Slurm that this process gets on to the trainings, which save checkpoints.

    Slurm sends SIGTERM and SIGUSR1 to the first process of a job step alone. This is Snakemake, which
    then waits for the trainings to end.
    """
    arrived, signals = os.pipe()
    os.set_blocking(signals, False)
    signal.set_wakeup_fd(signals)  # Python writes the numbers of signals there
    signal.signal(signal.SIGUSR1, lambda number, frame: None)  # does not end this process

    def forward():
        while number := os.read(arrived, 1):
            if number[0] in (signal.SIGTERM, signal.SIGUSR1):  # a terminal sends Ctrl-C to all
                for process in psutil.Process().children(recursive=True):
                    with suppress(psutil.NoSuchProcess):  # it has just ended
                        process.send_signal(number[0])

    threading.Thread(target=forward, daemon=True).start()


if slurm.job_id():
    forward_signals()
