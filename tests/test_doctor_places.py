"""`mdkd doctor`: folders, locks, room, and files that must be there."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from cost_case import TEACHER
from doctor_case import MOUNTS, make_estimator

from mdkd.doctor import parse, places, trylock


@pytest.fixture
def estimator(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_estimator(config)


def test_folders_that_are_not_there_yet_count_as_the_ones_above(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cache").mkdir()
    found = {place.name: place.existing for place in places.places(tmp_path / "far" / "store")}
    assert found["cache"] == tmp_path / "cache"
    assert found["results"] == found["logs"] == found["store"] == tmp_path
    assert found["temporary"].exists()
    assert places.writable(places.places(Path("store"))).verdict == "ok"
    assert [file.name for file in tmp_path.iterdir()] == ["cache"]  # nothing is left behind


def test_a_folder_that_cannot_be_written_is_a_problem(monkeypatch, tmp_path):
    def full(*, dir, **_):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(places.tempfile, "TemporaryFile", full)
    found = places.writable([places.Place("cache", tmp_path / "cache", tmp_path)])
    assert found.verdict == "problem"
    assert f"{tmp_path}: Disk quota exceeded" in found.text


def test_a_second_process_is_kept_out_by_a_lock(tmp_path, monkeypatch):
    place = places.Place("store", tmp_path / "store", tmp_path)
    assert places.locks([place]).verdict == "ok"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(places, "LOCK_S", 0.01)
    found = places.locks([place])
    assert found.verdict == "problem"
    assert "gave no answer within 0.01 s" in found.text


def test_the_second_process_says_what_it_sees(tmp_path, capsys):
    (tmp_path / "lock").touch()
    trylock.main(tmp_path / "lock")
    with trylock.locks.held(tmp_path / "lock", "busy"):
        trylock.main(tmp_path / "lock")
    assert capsys.readouterr().out == "free\nheld\n"


@pytest.mark.parametrize(
    ("said", "path", "verdict", "text"),
    [
        ("held", "/etc", "ok", "on ext4: locks keep out other processes"),
        ("free", "/etc", "problem", "a second process does not see a lock"),
        ("OSError: [Errno 37] No locks available", "/home", "problem", "No locks available"),
        ("held", "/home", "ok", "between hosts this is not tested"),
        ("held", "/old data", "problem", "on one host only (mount option local_lock=all, nolock)"),
        ("held", "/scratch", "ok", "between hosts this is not tested"),
        ("held", "/scratch/fast", "problem", "on one host only (mount option localflock)"),
    ],
)
def test_verdicts_on_locks(said, path, verdict, text):
    mount = parse.mount_of(Path(path), MOUNTS)
    found = places.judge_locks("store", f" on {mount.kind}", said, mount)
    assert found.verdict == verdict
    assert text in found.text


def test_room_that_the_plan_needs(estimator):
    """By hand: weights and predictions of all runs into the store, pixels into the cache."""
    plan, default = estimator.plan, places.default_of(estimator.plan)
    images, pixels = 48 + 32, 3 * 32 * 32
    assert places.need(estimator, default, {"cache"}) == (images * pixels, True)
    voc = (5011 + 4952) * pixels
    assert places.need(estimator, plan, {"cache"}).size == images * pixels + voc
    runs = sum(estimator.disk(run) for run in plan.runs.values())
    assert places.need(estimator, plan, {"store", "logs"}) == (runs, True)
    assert places.need(estimator, plan, {"logs"}) == (0, True)
    estimator.done[TEACHER] = {}
    rest = runs - estimator.disk(plan.runs[TEACHER])
    assert places.need(estimator, plan, {"store"}).size == pytest.approx(rest)


@pytest.mark.parametrize(
    ("free", "everything", "default", "verdict", "text"),
    [
        (10e9, (20e9, True), (11e9, True), "problem", "the default artefacts still need 11 GB"),
        (15e9, (20e9, True), (11e9, True), "warning", "all artefacts together still need 20 GB"),
        (25e9, (20e9, True), (11e9, True), "ok", "25 GB free; the plan still needs 20 GB"),
        (25e9, (20e9, False), (11e9, True), "ok", "needs 20 GB, and more for"),
        (10e9, (20e9, False), (11e9, False), "problem", "still need 11 GB"),
    ],
)
def test_verdicts_on_room(free, everything, default, verdict, text):
    needs = (places.Need(*each) for each in (everything, default))
    found = places.judge_room("store", free, *needs)
    assert found.verdict == verdict
    assert text in found.text


def test_files_of_data_sets(estimator, tmp_path):
    def look():
        return {found.text.split()[0].rstrip(":"): found for found in places.data(estimator, file)}

    file = tmp_path / "config" / "downloads.yaml"
    found = look()
    assert found["scenes"].verdict == "ok"
    assert found["voc2007"].verdict == "warning"  # the default needs only scenes
    assert "`mdkd download voc2007`" in found["voc2007"].fix
    estimator.plan.selected.append("wide")
    assert look()["voc2007"].verdict == "problem"
    root = Path(estimator.plan.roots["voc2007"])
    root.mkdir(parents=True)
    assert "is empty" in look()["voc2007"].text
    (root / "VOCdevkit").mkdir()
    assert look()["voc2007"].verdict == "ok"
    shutil.rmtree(root)
    estimator.metas["voc2007"] = {"splits": {}}
    assert look()["voc2007"][1:3] == ("ok", "voc2007: cache/smoke/voc2007 is complete")


@pytest.mark.parametrize("wanted", ["imagenet", "own.pth"])
def test_weights_of_the_runs_that_are_not_done(estimator, tmp_path, wanted):
    assert places.weights(estimator)[1:3] == ("ok", "none are needed")
    for path, run in estimator.plan.runs.items():
        settings = {"weights": wanted, "net": run.net.removeprefix("cifar:")}
        estimator.plan.runs[path] = type(run)(**vars(run) | settings)
    found = places.weights(estimator)
    if wanted == "own.pth":
        assert found[1:3] == ("problem", "own.pth: no such file")
        (tmp_path / wanted).touch()
        assert places.weights(estimator).verdict == "ok"
        return
    assert found.verdict == "warning"
    assert found.text.endswith("resnet8, resnet8x2")
    folder = tmp_path / "weights"
    folder.mkdir()
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for name in ("resnet8", "resnet8x2"):
        (folder / f"{name}.pth").touch()
    found = places.weights(estimator)
    assert found.verdict == "problem"
    assert "SHA256SUMS: no line for resnet8.pth" in found.text
    (folder / "SHA256SUMS").write_text(f"{empty}  resnet8.pth\n{empty}  resnet8x2.pth\n")
    assert places.weights(estimator)[1:3] == ("ok", "all 2 are there")
