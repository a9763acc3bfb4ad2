"""A few rounds of the stress test; `make stress` runs more."""

import pytest
from conftest import ROOT, python

FEW = {"--train": 6, "--cache": 2, "--snakemake": 0, "--every": 40}


@pytest.mark.parametrize(
    "rounds", [FEW, pytest.param(FEW | {"--snakemake": 2, "--every": 10}, marks=pytest.mark.slow)]
)
def test_killed_at_random_times_nothing_is_lost_or_done_twice(rounds):
    options = [str(word) for option in rounds.items() for word in option]
    result = python(str(ROOT / "tests" / "stress.py"), *options)
    assert result.returncode == 0, result.stdout + result.stderr
    rows = [line.split(" | ") for line in result.stdout.splitlines()[2:]]
    done = sum(int(row[1]) for row in rows if not row[0].startswith("each change"))
    assert done == sum(rounds.values()) - rounds["--every"]
    changes = [int(row[1]) for row in rows if row[0].startswith("each change")]
    assert sum(changes) >= len(changes) / 2  # some verbs have fewer changes than `--every`
