"""Caches of many images: several processes, interruptions, damaged files and validation splits."""

import doctest
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import drawn_source
import make_datasets
import numpy as np
import pytest
from conftest import ROOT, edit_yaml, environment
from drawn_source import dataset, table

from mdkd.cli import main
from mdkd.config import Dataset
from mdkd.data import cache as caches
from mdkd.data import decode
from mdkd.data.cache import build, carve, open_cache, verify
from mdkd.data.images import UndecodableImage, read_image
from mdkd.data.sources import Split
from mdkd.errors import UserError
from mdkd.plan import make_plan
from mdkd.spec import Specification

SCRIPT = ROOT / "tests" / "drawn_source.py"


@pytest.fixture(autouse=True)
def _no_power_cut(monkeypatch):
    """Tests need not wait until the disk has everything."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "decoded.txt"


def decoded(log):
    """How often each image was decoded since the last call."""
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return Counter(lines)


@pytest.fixture
def make(tmp_path):
    """Build and open a cache of a drawn table."""
    undo = []

    def make(table, name="cache", jobs=1, **settings):
        undo.append(drawn_source.offer(table))
        build(dataset(**settings), tmp_path, tmp_path / name, jobs)
        return open_cache(tmp_path / name)

    yield make
    for step in reversed(undo):
        step()


@pytest.fixture
def many_processes(monkeypatch):
    """Processes for the smallest of caches."""
    monkeypatch.setattr(decode, "IMAGES_PER_PROCESS", 1)
    monkeypatch.setattr(decode, "IMAGES_PER_TASK", 5)


def swapped(drawn, **changes):
    """The table with another training split."""
    split = drawn.splits["train"]
    return replace(drawn, splits=drawn.splits | {"train": replace(split, **changes)})


def content(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# Several processes


def test_several_processes_make_the_same_bytes(make, log, tmp_path, many_processes):
    make(table(log, 101), "one")
    once = decoded(log)
    make(table(log, 101), "two", jobs=2)
    assert decoded(log) == once
    assert set(once.values()) == {1}
    assert len(once) == 141
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_few_images_start_no_process(make, log, monkeypatch):
    monkeypatch.setattr(decode, "ProcessPoolExecutor", None)
    make(table(log, decode.IMAGES_PER_PROCESS), jobs=8)


def test_sources_that_cannot_be_sent_to_processes_are_read_by_one(make, log, many_processes):
    local = swapped(table(log, 20), image=lambda i: np.full((8, 8, 3), i, np.uint8))
    cache = make(local, jobs=2)
    assert cache.splits["train"].images_NSSC[7, 0, 0, 0] == 7


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_first_damaged_image_ends_the_build(make, log, many_processes, jobs):
    damaged = table(log, 3000, damaged=(33, 34, 61, 2500), delay_s=0.0002)
    with pytest.raises(UndecodableImage, match=r"train-33\.jpg"):
        make(damaged, jobs=jobs)
    assert len(decoded(log)) < 1500


def test_an_image_of_another_size_is_not_stored(make, log):
    with pytest.raises(ValueError, match=r"image 0 as uint8 \(9, 9, 3\)"):
        make(table(log, 5, size=9))


def test_a_killed_process_is_one_line(make, log, many_processes):
    with pytest.raises(UserError, match=r"process was killed.* fewer --jobs"):
        make(swapped(table(log, 50), image=os._exit), jobs=2)


# Interruptions


def wait_for_the_end_of(group):
    """The processes of a killed build end by themselves, if not at once."""
    for _ in range(500):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError("processes outlive the build that started them")


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_build_goes_on_where_it_stopped(make, log, tmp_path, jobs):
    folder, file = tmp_path / "killed", tmp_path / "killed" / "progress.npz"
    command = [sys.executable, SCRIPT, folder, log, "600", "8", str(jobs), "0.005"]
    process = subprocess.Popen(list(map(str, command)), env=environment(), start_new_session=True)
    done = 0
    while done < 100 and process.poll() is None:
        time.sleep(0.02)
        if file.exists():
            with np.load(file) as saved:
                done = int((saved["state_train"] == decode.DONE).sum())
    process.kill()
    assert process.wait() < 0
    wait_for_the_end_of(process.pid)
    assert 100 <= len(decoded(log)) < 640
    with np.load(file) as saved:
        left = {f"train {i}" for i in np.flatnonzero(saved["state_train"] == decode.TO_DO)}
        left |= {f"test {i}" for i in np.flatnonzero(saved["state_test"] == decode.TO_DO)}
    with pytest.raises(UserError, match=r"meta\.json"):
        open_cache(folder)

    make(table(log, 600), "killed")
    assert decoded(log).keys() == left
    assert len(left) <= 540
    make(table(log, 600), "whole")
    assert content(folder) == content(tmp_path / "whole")


def interrupted(make, log):
    """Leave an unfinished build of 150 images behind, of which 96 are done."""
    with pytest.raises(UndecodableImage):
        make(table(log, 150, damaged=(100,)))
    assert len(decoded(log)) == 101


def test_a_repaired_image_continues_the_build(make, log, tmp_path):
    interrupted(make, log)
    assert "lock" not in content(tmp_path / "cache")
    make(table(log, 150))
    assert len(decoded(log)) == 150 + 40 - 96


def test_other_work_starts_anew(make, log, tmp_path):
    drawn = table(log, 150)
    others = {
        "rule": (replace(drawn, rule={"changed": True}), {}),
        "ids": (swapped(drawn, ids=drawn.splits["train"].ids[::-1]), {}),
        "labels": (swapped(drawn, targets_NC=1 - drawn.splits["train"].targets_NC), {}),
        "settings": (drawn, {"damaged": "drop"}),
    }
    for other, settings in others.values():
        interrupted(make, log)
        make(other, **settings)
        assert len(decoded(log)) == 190
        shutil.rmtree(tmp_path / "cache")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda f: (f / "progress.npz").write_bytes(b"PK nonsense"),
        lambda f: (f / "progress.npz").write_bytes((f / "progress.npz").read_bytes()[:-40]),
        lambda f: (f / "images_train.npy").unlink(),
        lambda f: (f / "images_test.npy").write_bytes(b""),
    ],
)
def test_a_damaged_progress_starts_anew(make, log, tmp_path, spoil):
    interrupted(make, log)
    spoil(tmp_path / "cache")
    make(table(log, 150))
    assert len(decoded(log)) == 190


def test_a_finished_cache_leaves_no_progress(make, log, tmp_path):
    make(table(log, 30))
    assert sorted(content(tmp_path / "cache")) == [
        *("contact_sheet.png", "ids_test.json", "ids_train.json"),
        *("images_test.npy", "images_train.npy", "labels_test.npy", "labels_train.npy"),
        "meta.json",
    ]


# Disk and memory


def test_a_full_disk_is_one_line_before_anything_is_decoded(make, log, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**7))
    with pytest.raises(UserError) as caught:
        make(table(log, 1000, size=64), size=64)
    message = str(caught.value)
    assert str(tmp_path / "cache") in message
    assert "needs 0.01 GB, 0.01 GB are free" in message
    assert "\n" not in message
    assert not decoded(log)


def test_a_disk_that_fills_up_is_one_line(make, log, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(decode.PixelFile, "fill", full)
    with pytest.raises(UserError, match=r"cannot be written .*No space left") as caught:
        make(table(log, 10))
    assert str(tmp_path / "cache") in str(caught.value)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_memory_does_not_grow_with_the_images(tmp_path):
    peaks = []
    for images in (300, 3000):  # 4 and 37 MB of pixels
        command = [SCRIPT, tmp_path / str(images), tmp_path / "log", images, 64, 1, 0]
        result = subprocess.run(
            [sys.executable, *map(str, command)], env=environment(), capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        peaks.append(int(result.stdout))
    assert peaks[1] - peaks[0] < 8e6, peaks


# Damaged images


def test_damaged_images_are_dropped_and_counted(make, log, tmp_path, many_processes):
    damaged = (0, 7, 8, 39)
    drawn = table(log, 101, damaged=damaged)
    drawn = replace(drawn, rule={"missing": {"train": {"images": 3}}})
    cache = make(drawn, damaged="drop")
    for name, count in (("train", 101), ("test", 40)):
        split, whole = cache.splits[name], drawn.splits[name]
        kept = [i for i in range(count) if i not in damaged]
        assert split.ids == [whole.ids[i] for i in kept]
        np.testing.assert_array_equal(split.targets_NC, whole.targets_NC[kept])
        for row, i in enumerate(kept):
            np.testing.assert_array_equal(split.images_NSSC[row], whole.image(i))
        facts = cache.meta["splits"][name]
        assert facts["images"] == count - 4
        assert facts["images_per_label"] == whole.targets_NC[kept].sum(axis=0).tolist()
        assert facts["damaged"] == [whole.ids[i] for i in damaged]
    assert cache.meta["dropped"] == {
        "train": {"missing": 3, "damaged": 4},
        "test": {"missing": 0, "damaged": 4},
    }
    verify(tmp_path / "cache")
    one_process = content(tmp_path / "cache")
    make(drawn, jobs=2, damaged="drop")
    assert content(tmp_path / "cache") == one_process


def test_dropping_nothing_changes_no_pixel(make, log):
    kept, dropped = make(table(log, 20), "a"), make(table(log, 20), "b", damaged="drop")
    hashes = [{n: s["pixels_sha256"] for n, s in c.meta["splits"].items()} for c in (kept, dropped)]
    assert hashes[0] == hashes[1]
    nothing = {"missing": 0, "damaged": 0}
    assert kept.meta["dropped"] == {"test": nothing, "train": nothing}


def test_a_build_that_ends_while_rows_move_starts_anew(make, log, tmp_path, monkeypatch):
    def interrupt(pixels, kept):
        with pixels.path.open("r+b") as file:
            file.write(bytes(2000))
        raise KeyboardInterrupt

    drawn = table(log, 100, damaged=(5,))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(decode.PixelFile, "close_gaps", interrupt)
        make(drawn, damaged="drop")
    again = make(drawn, damaged="drop")
    assert again.fingerprint == make(drawn, "whole", damaged="drop").fingerprint


def test_a_split_of_damaged_images_alone_is_refused(make, log):
    with pytest.raises(UserError, match="split 'train': none of its 3 images can be decoded"):
        make(table(log, 3, damaged=(0, 1, 2)), damaged="drop")


def test_image_files_are_dropped_for_their_content_alone(tmp_path):
    root = make_datasets.folder(tmp_path / "data")
    (root / "b.jpg").write_bytes((root / "b.jpg").read_bytes()[:-120])
    settings = Dataset(name="own", source="folder", image_size=8, damaged="drop")
    build(settings, root, tmp_path / "cache")
    cache = open_cache(tmp_path / "cache")
    assert cache.splits["train"].ids == ["deep/a.jpg"]
    assert cache.meta["splits"]["train"]["damaged"] == ["b.jpg"]
    with pytest.raises(UndecodableImage):
        build(replace(settings, damaged="error"), root, tmp_path / "cache")
    for gone in (tmp_path / "none.jpg", tmp_path):  # not there, and a folder
        with pytest.raises(UserError) as caught:
            read_image(gone, 8)
        assert not isinstance(caught.value, UndecodableImage)


# Validation splits


def train_split(ids):
    targets_NC = np.arange(len(ids), dtype=np.uint8)[:, None]
    return {"train": Split(ids, targets_NC, lambda i: ids[i]), "test": Split([], targets_NC, str)}


IDS = [f"images/{i:06d}.jpg" for i in range(4000)]


def test_a_validation_split_is_a_part_of_the_training_images():
    parts = carve(train_split(IDS), 0.1)
    assert list(parts) == ["train", "val", "test"]
    assert 340 < len(parts["val"].ids) < 460  # 3 standard deviations
    for part in (parts["train"], parts["val"]):
        assert part.ids == sorted(part.ids)
        assert [part.image(i) for i in range(len(part.ids))] == part.ids
        assert part.targets_NC[:, 0].tolist() == [IDS.index(name) % 256 for name in part.ids]
    assert sorted(parts["train"].ids + parts["val"].ids) == IDS


def test_a_validation_split_depends_on_each_name_alone():
    val = set(carve(train_split(IDS), 0.2)["val"].ids)
    shuffled = [IDS[i] for i in np.random.default_rng(0).permutation(len(IDS))]
    assert set(carve(train_split(shuffled), 0.2)["val"].ids) == val
    fewer = carve(train_split(IDS[100:]), 0.2)["val"].ids
    assert set(fewer) == val - set(IDS[:100])
    renamed = carve(train_split(["other", *IDS[1:]]), 0.2)["val"].ids
    assert set(renamed) - {"other"} == val - {IDS[0]}
    assert set(carve(train_split(IDS), 0.1)["val"].ids) < val
    half = carve(train_split(IDS[:10]), 0.5)["val"].ids
    assert half == [IDS[i] for i in (3, 4, 5, 6, 8, 9)]  # must never change


def test_the_example_is_true():
    assert doctest.testmod(caches) == (0, 3)


def test_no_fraction_no_split(make, log):
    splits = train_split(IDS)
    assert carve(splits, 0) is splits
    assert set(make(table(log, 20)).splits) == {"train", "test"}
    for fraction in (-0.1, 0.51):
        with pytest.raises(UserError, match=r"val: .* is not a fraction in 0 \.\. 0\.5"):
            carve(splits, fraction)


def test_a_cache_with_a_validation_split(make, log, tmp_path, many_processes):
    drawn = table(log, 200, damaged=(11, 12, 13, 14, 15, 16))
    cache = make(drawn, val=0.3, damaged="drop", jobs=2)
    train, val = cache.splits["train"], cache.splits["val"]
    assert len(train.ids) + len(val.ids) == 194
    assert 30 < len(val.ids) < 90
    assert cache.meta["dropped"]["train"]["damaged"] + cache.meta["dropped"]["val"]["damaged"] == 6
    whole = drawn.splits["train"]
    for split in (train, val):
        for row, name in enumerate(split.ids):
            i = whole.ids.index(name)
            np.testing.assert_array_equal(split.images_NSSC[row], whole.image(i))
            np.testing.assert_array_equal(split.targets_NC[row], whole.targets_NC[i])
    assert len(list((tmp_path / "cache").glob("*_val.*"))) == 3
    assert make(table(log, 200)).fingerprint != cache.fingerprint
    assert not list((tmp_path / "cache").glob("*_val.*"))


def test_too_small_a_validation_split_is_refused(make, log):
    with pytest.raises(UserError, match="split 'val' has no image; raise val"):
        make(table(log, 5), val=0.001)


def test_settings_of_a_cache_come_from_the_entry_and_the_protocol(config):
    def settings():
        found = make_plan(Specification(config)).datasets["scenes"]
        assert found.options["train"] == 48
        return found.val, found.damaged

    protocol = config / "protocols" / "smoke.yaml"
    assert settings() == (0, "error")
    edit_yaml(config / "datasets.yaml", lambda d: d["scenes"].update(val=0.25, damaged="drop"))
    assert settings() == (0.25, "drop")
    edit_yaml(protocol, lambda p: p["datasets"]["scenes"].update(val=0.1))
    assert settings() == (0.1, "drop")
    for value, error in ((0.6, "val: 0.6 is not in 0 .. 0.5"), ("x", "val: expected a number")):
        edit_yaml(protocol, lambda p, value=value: p["datasets"]["scenes"].update(val=value))
        with pytest.raises(UserError) as caught:
            settings()
        assert error in str(caught.value)
        assert "smoke.yaml: datasets: scenes: val" in str(caught.value)
    edit_yaml(protocol, lambda p: p["datasets"]["scenes"].update(val=0))
    edit_yaml(config / "datasets.yaml", lambda d: d["scenes"].update(val=-1))
    with pytest.raises(UserError, match=r"datasets\.yaml: scenes: val: -1 is not in"):
        settings()


# Places that do not count


def ignored_in(cache):
    """Every place that does not count, by the name of its image."""
    return {
        (name, int(c))
        for split in cache.splits.values()
        if split.ignored_NC is not None
        for name, row in zip(split.ids, split.ignored_NC, strict=True)
        for c in np.flatnonzero(row)
    }


def test_places_that_do_not_count_stay_with_their_images(make, log, tmp_path, many_processes):
    drawn = table(log, 200, damaged=(3, 7, 12, 39), ignored=0.3)
    cache = make(drawn, val=0.3, damaged="drop", jobs=2)
    kept = {name for split in cache.splits.values() for name in split.ids}
    expected = {
        (split.ids[i], int(c))
        for split in drawn.splits.values()
        for i, c in np.argwhere(split.ignored_NC)
        if split.ids[i] in kept
    }
    assert ignored_in(cache) == expected
    assert len(expected) > 60
    for name, split in cache.splits.items():
        assert split.ignored_NC.dtype == bool
        assert split.ignored_NC.shape == split.targets_NC.shape
        assert not (split.targets_NC.astype(bool) & split.ignored_NC).any()
        counts = cache.meta["splits"][name]["ignored_per_label"]
        assert counts == split.ignored_NC.sum(axis=0).tolist()
    verify(tmp_path / "cache")


def test_every_place_that_does_not_count_changes_the_fingerprint(make, log):
    drawn = swapped(table(log, 30), targets_NC=np.zeros((30, 3), np.uint8))
    one_NC, two_NC = np.zeros((2, 30, 3), bool)
    one_NC[4, 1] = two_NC[4, 1] = two_NC[5, 1] = True
    other_NC = np.roll(one_NC, 1, axis=0)  # every count stays
    fingerprints = {
        make(swapped(drawn, ignored_NC=mask_NC), str(name)).fingerprint
        for name, mask_NC in enumerate((None, one_NC, two_NC, other_NC))
    }
    assert len(fingerprints) == 4


def test_where_every_place_counts_a_cache_is_as_it_always_was(make, log, tmp_path):
    mask_NC = np.zeros((30, 3), bool)
    make(table(log, 30), "none")
    make(swapped(table(log, 30), ignored_NC=mask_NC), "no place")
    make(table(log, 30, ignored=0.5), "rebuilt")
    assert (tmp_path / "rebuilt" / "ignored_train.npy").exists()
    make(table(log, 30), "rebuilt")
    assert content(tmp_path / "none") == content(tmp_path / "no place")
    assert content(tmp_path / "none") == content(tmp_path / "rebuilt")
    # runs are tied to this number: caches from before places could be ignored stay valid
    assert open_cache(tmp_path / "none").fingerprint == (
        "ca2652b0927ef43e111c8c6d1152f27b972b7881309b505e5a74fab1d0c0c968"
    )


def test_a_source_must_not_ignore_what_it_calls_positive(make, log):
    drawn = table(log, 30)
    with pytest.raises(ValueError, match=r"ignored_train\.npy: .* ignored and positive"):
        make(swapped(drawn, ignored_NC=drawn.splits["train"].targets_NC == 1))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.unlink(),
        lambda file: np.save(file, 1 - np.load(file)),
        lambda file: np.save(file, np.load(file)[:-1]),
        lambda file: np.save(file, np.load(file).astype(bool)),
    ],
)
def test_other_places_than_the_cached_ones_are_refused(make, log, tmp_path, spoil):
    make(table(log, 30, ignored=0.3))
    spoil(tmp_path / "cache" / "ignored_train.npy")
    with pytest.raises(UserError, match=r"cache/ignored_train\.npy: .*delete") as caught:
        open_cache(tmp_path / "cache")
    assert "\n" not in str(caught.value)


# Checks of what is there


FOREIGN = {
    "a list": ("meta.json", lambda f: f.write_text("[]")),
    "another record": ("meta.json", lambda f: f.write_text(f'{{"format": {caches.FORMAT}}}')),
    "bytes behind the rows": ("images_test.npy", lambda f: f.open("ab").write(b"x")),
    "an archive": ("images_train.npy", lambda f: np.savez(f.open("wb"), a=np.zeros(3))),
    "another label": ("labels_test.npy", lambda f: np.save(f, 1 - np.load(f))),
    "another name": (
        "ids_train.json",
        lambda f: f.write_text(f.read_text().replace("train/3.jpg", "train/x.jpg")),
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_files_of_others_are_refused_on_opening(make, log, tmp_path, kind):
    make(table(log, 30))
    name, spoil = FOREIGN[kind]
    spoil(tmp_path / "cache" / name)
    with pytest.raises(UserError) as caught:
        open_cache(tmp_path / "cache")
    assert str(tmp_path / "cache" / name) in str(caught.value)
    assert "delete" in str(caught.value)
    assert "\n" not in str(caught.value)


def flip_a_byte(file):
    with file.open("r+b") as content:
        content.seek(-1000, 2)
        byte = content.read(1)[0]
        content.seek(-1000, 2)
        content.write(bytes([byte ^ 1]))


def edit_json(file):
    meta = json.loads(file.read_text())
    meta["rule"]["seed"] = 5
    file.write_text(json.dumps(meta))


@pytest.mark.parametrize(
    ("name", "spoil"), [("images_test.npy", flip_a_byte), ("meta.json", edit_json)]
)
def test_verify_finds_a_flipped_byte(config, tmp_path, monkeypatch, capsys, name, spoil):
    monkeypatch.chdir(tmp_path)
    command = ["cache", "scenes", "--config", str(config)]
    assert main([*command, "--verify"]) == 2  # nothing there yet
    assert main([*command, "--jobs", "0"]) == 2
    assert main([*command, "--jobs", "1"]) == 0
    assert main([*command, "--verify"]) == 0
    spoil(tmp_path / "cache" / "smoke" / "scenes" / name)
    open_cache(tmp_path / "cache" / "smoke" / "scenes")
    capsys.readouterr()
    assert main([*command, "--verify"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert f"cache/smoke/scenes/{name}: " in lines[0]
    assert "delete" in lines[0]
