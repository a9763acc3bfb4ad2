"""Signals that ask a training to stop are remembered until it does."""

import os
import signal

import pytest

from mdkd.training.signals import stop_signals

LIMIT = ("SIGALRM", "SIGUSR1")  # the job reaches its time limit


@pytest.mark.parametrize("name", [*LIMIT, "SIGTERM", "SIGINT"])
def test_one_signal(name):
    before = signal.getsignal(signal.Signals[name])
    with stop_signals() as stop:
        assert (stop.received, stop.limit_is_near) == (None, False)
        os.kill(os.getpid(), signal.Signals[name])
    assert (stop.received, stop.limit_is_near) == (name, name in LIMIT)
    assert stop.status == (130 if name == "SIGINT" else 143)
    assert signal.getsignal(signal.Signals[name]) == before


@pytest.mark.parametrize("name", LIMIT)
def test_a_job_at_its_limit_is_still_known_as_such_after_sigterm(name):
    """Slurm sends SIGTERM at the limit, and the last step may take longer than until then."""
    with stop_signals() as stop:
        os.kill(os.getpid(), signal.Signals[name])
        os.kill(os.getpid(), signal.SIGTERM)
    assert (stop.received, stop.limit_is_near) == ("SIGTERM", True)
