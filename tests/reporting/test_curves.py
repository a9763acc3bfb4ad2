"""`mdkd curves`: the numbers of every epoch, of finished and of other trainings."""

import csv
import json
import sys

import pytest
from reporting_cases import path_of, planned, write_record

from mdkd import store
from mdkd.cli import main
from mdkd.errors import UserError
from mdkd.reporting import curves

MLD, STUDENT, PKT = path_of("mld"), path_of("vanilla"), path_of("pkt")


def epoch(number, **changes):
    entry = {
        "epoch": number,
        "losses": {"bce": 0.5, "mld": 0.25 * number},
        "gradient_ratios": None,
        "lr": 0.001,
        "images_per_s": 100.0,
        "left_s": 1.0,
    }
    return json.dumps(entry | changes) + "\n"


@pytest.fixture
def results(tmp_path):
    """MLD is done, the student is trained, and PKT has not begun."""
    results = planned(tmp_path, [path_of("teacher"), MLD, STUDENT, PKT])
    for path, text in (
        (MLD, epoch(1, gradient_ratios={"mld": 3.0}) + epoch(2, val_mAP=0.5)),
        (STUDENT, epoch(1, losses={"bce": 0.75})),
    ):
        folder = results.run(path)
        folder.mkdir(parents=True)
        (folder / "history.jsonl").write_text(text)
    write_record(results, MLD)
    return results


def points(curve):
    found = {}
    for number, quantity, value in curve.points():
        found.setdefault(quantity, []).append((number, value))
    return found


def test_every_number_of_finished_and_running_trainings(results):
    done, running = curves.read(results, [MLD, STUDENT, PKT])
    assert (done.run, running.run) == (MLD, STUDENT)
    assert points(done) == {
        "loss": [(1, 0.75), (2, 1.0)],
        "loss/bce": [(1, 0.5), (2, 0.5)],
        "loss/mld": [(1, 0.25), (2, 0.5)],
        "gradient/mld": [(1, 3.0)],
        "lr": [(1, 0.001), (2, 0.001)],
        "val_mAP": [(2, 0.5)],
        "images_per_s": [(1, 100.0), (2, 100.0)],
    }
    assert points(running)["loss"] == [(1, 0.75)]


def test_csv_has_one_line_per_number(results, tmp_path):
    found = curves.read(results, [MLD, STUDENT])
    curves.write_csv(found, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["value"]) for line in lines if line["quantity"] == "loss"] == [0.75, 1, 0.75]
    assert len(lines) == sum(len(list(curve.points())) for curve in found)
    assert {line["run"] for line in lines} == {MLD, STUDENT}


def test_without_a_finished_epoch_there_is_one_clear_line(results):
    with pytest.raises(UserError, match=rf"^{PKT}: no finished epoch is recorded; `mdkd status`"):
        curves.read(results, [PKT])
    (results.run(STUDENT) / "history.jsonl").write_text("")  # as when a training begins
    with pytest.raises(UserError, match=r"^2 runs: no finished epoch"):
        curves.read(results, [PKT, STUDENT])


def test_a_damaged_history_is_named(results):
    file = results.run(STUDENT) / "history.jsonl"
    file.write_text("{}\n")
    with pytest.raises(UserError) as error:
        curves.read(results, [STUDENT])
    assert str(error.value).startswith(f"{file}: line 1: not an epoch: ")


def test_tensorboard_shows_the_same_numbers_and_no_point_twice(results, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    found = curves.read(results, [MLD, STUDENT])
    other = tmp_path / "board" / MLD / "mine.txt"
    for _ in range(2):
        curves.write_tensorboard(found, tmp_path / "board")
        other.write_text("kept")
    for curve in found:
        read = EventAccumulator(str(tmp_path / "board" / curve.run), {"tensors": 0}).Reload()
        shown = {
            tag: [(e.step, float(make_ndarray(e.tensor_proto))) for e in read.Tensors(tag)]
            for tag in read.Tags()["tensors"]
        }
        expected = points(curve)
        assert shown.keys() == expected.keys()
        for tag, values in expected.items():
            assert shown[tag] == [(step, pytest.approx(value)) for step, value in values]
    assert other.read_text() == "kept"


def test_without_tensorboard_there_is_one_clear_line(kept, capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary", None)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert main(["curves", "--tensorboard", str(tmp_path / "board")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "tensorboard is not installed" in line
    assert "run `pip install 'mdkd[tensorboard]'`" in line
    assert not (tmp_path / "board").exists()


def test_the_verb_prints_or_writes_them(kept, capsys, tmp_path):
    teacher = "supervised/scenes/resnet20/seed0"
    folder = store.entry(kept.resolve(teacher), kept.layout).folder
    epochs = (folder / "history.jsonl").read_text().splitlines()
    for words in ([], [teacher], ["comparison"], ["default"]):
        assert main(["curves", *words]) == 0
        lines = list(csv.DictReader(capsys.readouterr().out.splitlines()))
        assert {line["run"] for line in lines} == {teacher}
        assert sum(line["quantity"] == "loss" for line in lines) == len(epochs)
    assert main(["curves", teacher, "--csv", str(tmp_path / "x.csv")]) == 0
    shown = capsys.readouterr()
    assert shown.out == "" and f"wrote the curves of 1 runs to {tmp_path / 'x.csv'}" in shown.err
    assert list(csv.DictReader((tmp_path / "x.csv").open(newline=""))) == lines
    assert main(["curves", "supervised/scenes/resnet20/seed7"]) == 2
    assert "seed7: no finished epoch is recorded" in capsys.readouterr().err
    assert main(["curves", "nonsense"]) == 2
    assert "error: nonsense: not a run path" in capsys.readouterr().err
