"""What Slurm says, asked with its own commands, and the few things that we tell it.

Inside a job: how much time is left, and the request to start the job again. On the machine that
submits jobs: which jobs are queued, what the nodes of a partition have, and whether there is
accounting.
"""

import logging
import os
import re
import subprocess
from collections.abc import Iterable
from typing import NamedTuple

from mdkd.errors import UserError

ANSWER_S = 30  # the longest time to wait for an answer; a busy controller is slow

log = logging.getLogger(__name__)


class Node(NamedTuple):
    """What one node of a partition offers to a job. None: no limit."""

    name: str
    minutes: int | None
    cores: int
    memory_mb: int
    gpus: int


class Request(NamedTuple):
    """What a job asks for."""

    minutes: int
    cores: int
    memory_mb: int
    gpus: int


def job_id() -> str | None:
    """The number of the Slurm job in which this process runs, or None."""
    return os.environ.get("SLURM_JOB_ID")


def seconds_left() -> float | None:
    """The time until Slurm ends the job of this process; None without a job or a limit."""
    job = job_id()
    if job is None:
        return None
    try:
        return seconds(_ask("squeue", "--noheader", "--jobs", job, "--format=%L").strip())
    except UserError as error:
        log.warning("the time limit of Slurm job %s is not known: %s", job, error)
        return None


def requeue() -> None:
    """Ask Slurm to end the job of this process and to start it again later, under its number."""
    job = job_id()
    if job is None:
        return
    try:
        _ask("scontrol", "requeue", job)
        log.warning("Slurm job %s goes back into the queue and will continue there", job)
    except UserError as error:
        log.warning("Slurm job %s ends, because it could not be requeued: %s", job, error)


def queued() -> dict[str, str]:
    """The user's jobs of this folder that run or wait: comment by job number. Snakemake's comments
    name the rule and the wildcards."""
    lines = _ask("squeue", "--me", "--noheader", "--format=%A|%Z|%k").splitlines()
    jobs = [line.split("|", 2) for line in lines if line.strip()]
    return {job: comment for job, folder, comment in jobs if folder == os.getcwd()}


def nodes(partition: str | None) -> list[Node]:
    """The nodes of a partition, or of all partitions."""
    where = ["--partition", partition] if partition else []
    found = _ask("sinfo", "--noheader", "--Node", *where, "--format=%N|%l|%c|%m|%G").splitlines()
    if not found:
        raise UserError(f"Slurm has no partition '{partition}'; `sinfo` lists those that it has")
    return [_node(line) for line in found]


def has_accounting() -> bool:
    """Whether ``sacct`` answers. Without accounting it cannot say that a job has ended."""
    try:
        _ask("sacct", "--noheader", "--allocations", "--jobs=1")
    except UserError:
        return False
    return True


def refusal(request: Request, offers: Iterable[Node]) -> str | None:
    """Why no node can ever run a job that asks for this, or None."""
    best = list(offers)
    for name, unit in (
        ("gpus", "GPUs"),
        ("cores", "cores"),
        ("memory_mb", "MB"),
        ("minutes", "min"),
    ):
        wanted = getattr(request, name)
        able = [n for n in best if getattr(n, name) is None or getattr(n, name) >= wanted]
        if not able:
            most = max(getattr(node, name) for node in best)
            return (
                f"a job asks for {wanted} {unit}, but no node there gives more than {most} {unit}"
            )
        best = able
    return None


def seconds(text: str) -> float | None:
    """Slurm's notation of a duration, in seconds; None if it is not a duration.

    >>> [seconds(text) for text in ("1-02:03:04", "02:03:04", "5:10", "UNLIMITED", "")]
    [93784.0, 7384.0, 310.0, None, None]
    """
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if not match:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + rest)


def _node(line: str) -> Node:
    """One line of ``sinfo``: name, time limit, cores, MB, generic resources.

    >>> _node("n1|1-00:00:00|64|512000|gpu:a100:4(S:0-1),gpu:t4:2,lustre:1")
    Node(name='n1', minutes=1440, cores=64, memory_mb=512000, gpus=6)
    >>> _node("n2|infinite|8|16000|(null)")
    Node(name='n2', minutes=None, cores=8, memory_mb=16000, gpus=0)
    """
    name, limit, cores, memory, resources = line.split("|")
    limit_s = seconds(limit)
    gpus = re.findall(r"\bgpu(?::[^:,(]+)?:(\d+)", resources)
    minutes = None if limit_s is None else int(limit_s // 60)
    return Node(name, minutes, int(cores), int(memory), sum(map(int, gpus)))


def _ask(*command: str) -> str:
    """The output of one of Slurm's commands."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_S, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise UserError(f"{command[0]}: there is no such command on this machine") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]}: no answer within {ANSWER_S} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise UserError(f"{command[0]}: {said[-1]}")
    return done.stdout
