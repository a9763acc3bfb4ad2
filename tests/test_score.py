"""Scoring of stored predictions."""

import io
import zipfile

import numpy as np
import pytest
from conftest import TEACHER
from trainings import tamper

from mdkd import records
from mdkd.errors import UserError
from mdkd.score import Stored, read_predictions, score, write_predictions


def test_scoring_refuses_predictions_of_another_run(bench):
    folder = bench.layout.run(TEACHER)
    score(bench.entry(TEACHER))
    assert records.read_json(folder / "metrics.json")["test_images"] == 32
    tamper(folder / "predictions.npz")
    with pytest.raises(UserError, match=r"predictions\.npz"):
        score(bench.entry(TEACHER))


def stored(ignored_NC=None):
    random = np.random.default_rng(0)
    logits_NC = random.normal(size=(30, 4)).astype(np.float32)
    logits_NC[0] = [-0.0, 3e38, 1e-45, -7]  # all of them must keep their bits
    targets_NC = random.integers(2, size=(30, 4), dtype=np.uint8)
    return Stored(logits_NC, targets_NC, np.array([f"b/{i} \u00fc" for i in range(30)]), ignored_NC)


@pytest.mark.parametrize("ignored_NC", [None, np.eye(30, 4, dtype=bool)])
def test_predictions_are_read_as_they_were_written(tmp_path, ignored_NC):
    written, file = stored(ignored_NC), tmp_path / "predictions.npz"
    with file.open("wb") as stream:
        write_predictions(stream, written)
    older = tmp_path / "older.npz"  # as older versions wrote it
    given = {"logits_NC": written.logits_NC, "targets_NC": written.targets_NC, "ids": written.ids_N}
    np.savez_compressed(older, **given | ({} if ignored_NC is None else {"ignored_NC": ignored_NC}))
    for found in (read_predictions(file, 4), read_predictions(older, 4)):
        for own, expected in zip(found, written, strict=True):
            if expected is None:
                assert own is None
            else:
                assert own.dtype == expected.dtype
                assert own.tobytes() == expected.tobytes()


def test_equal_predictions_give_equal_files_whose_logits_are_not_compressed(monkeypatch):
    files = []
    for now in (0, 1e9):
        monkeypatch.setattr("time.time", lambda now=now: now)
        files.append(io.BytesIO())
        write_predictions(files[-1], stored())
    assert files[0].getvalue() == files[1].getvalue()
    with zipfile.ZipFile(files[0]) as archive:
        members = {member.filename: member.compress_type for member in archive.infolist()}
    assert members.pop("logits_NC.npy") == zipfile.ZIP_STORED
    assert members == dict.fromkeys(("ids.npy", "targets_NC.npy"), zipfile.ZIP_DEFLATED)
