"""Code run in two processes that hash strings differently: results must not show it.

Within one process a set always has the same order, so a second computation there proves nothing.
"""

import subprocess
import sys

from conftest import ROOT, environment

HASH_SEEDS = ("1", "2")  # their sets have different orders, see test_hash_orders.py


def python(hash_seed, *arguments, cwd=ROOT):
    """What a Python process with this hash seed prints."""
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment() | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def printed_by_both(code, *arguments, cwd=ROOT):
    """What each of the two prints; the code finds its hash seed in the environment."""
    return [python(seed, "-c", code, *arguments, cwd=cwd) for seed in HASH_SEEDS]
