"""Scoring of stored predictions."""

import pytest
from conftest import TEACHER
from trainings import tamper

from mdkd import records
from mdkd.errors import UserError
from mdkd.score import score


def test_scoring_refuses_predictions_of_another_run(bench):
    folder = bench.layout.run(TEACHER)
    score(bench.entry(TEACHER))
    assert records.read_json(folder / "metrics.json")["test_images"] == 32
    tamper(folder / "predictions.npz")
    with pytest.raises(UserError, match=r"predictions\.npz"):
        score(bench.entry(TEACHER))
