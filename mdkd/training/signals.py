"""Signals that ask a process to stop, or say that its job ends soon."""

import contextlib
import signal
from collections.abc import Iterator

SAVING_S = 120  # before the end of a job: for the last step and the checkpoint


class Stop:
    """A signal handler that only remembers the signal. The training loop then stops by itself."""

    received: str | None = None  # the name of the last signal
    status = 143  # exit status; Slurm and Snakemake read it as an interrupted job
    limit_is_near = False  # whether a signal said that the job reaches its time limit

    def __call__(self, number: int, frame: object) -> None:
        self.received = signal.Signals(number).name
        self.status = 130 if number == signal.SIGINT else 143
        if number in (signal.SIGALRM, signal.SIGUSR1):  # at the limit, SIGTERM follows
            self.limit_is_near = True


@contextlib.contextmanager
def stop_signals(limit_s: float | None = None) -> Iterator[Stop]:
    """Inside the block, remember SIGTERM, SIGUSR1 and Ctrl-C instead of ending the process.

    Args:
        limit_s: the time until the job is ended, in seconds. Some time before, SIGALRM is received.
    """
    stop = Stop()
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGALRM)
    before = {number: signal.signal(number, stop) for number in numbers}
    if limit_s is not None:
        signal.setitimer(signal.ITIMER_REAL, max(limit_s - min(SAVING_S, limit_s / 5), 0.1))
    try:
        yield stop
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
