"""Decoding many images: several processes, interruptions, full disks and damaged images."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import make_datasets
import numpy as np
import pytest
from conftest import ROOT, environment
from drawn_cache import content, decoded, swapped
from drawn_source import table

from mdkd.config import Dataset
from mdkd.data import decode
from mdkd.data.build import build
from mdkd.data.cache import open_cache, verify
from mdkd.data.images import UndecodableImage, read_image
from mdkd.errors import UserError

pytestmark = pytest.mark.usefixtures("no_power_cut")


SCRIPT = ROOT / "tests" / "drawn_source.py"


# Several processes


def test_several_processes_make_the_same_bytes(make_cache, decode_log, tmp_path, many_processes):
    make_cache(table(decode_log, 101), "one")
    once = decoded(decode_log)
    make_cache(table(decode_log, 101), "two", jobs=2)
    assert decoded(decode_log) == once
    assert set(once.values()) == {1}
    assert len(once) == 141
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_few_images_start_no_process(make_cache, decode_log, monkeypatch):
    monkeypatch.setattr(decode, "ProcessPoolExecutor", None)
    make_cache(table(decode_log, decode.IMAGES_PER_PROCESS), jobs=8)


def test_sources_that_cannot_be_sent_to_processes_are_read_by_one(
    make_cache, decode_log, many_processes
):
    local = swapped(table(decode_log, 20), image=lambda i: np.full((8, 8, 3), i, np.uint8))
    cache = make_cache(local, jobs=2)
    assert cache.splits["train"].images_NSSC[7, 0, 0, 0] == 7


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_first_damaged_image_ends_the_build(make_cache, decode_log, many_processes, jobs):
    damaged = table(decode_log, 3000, damaged=(33, 34, 61, 2500), delay_s=0.0002)
    with pytest.raises(UndecodableImage, match=r"train-33\.jpg"):
        make_cache(damaged, jobs=jobs)
    assert len(decoded(decode_log)) < 1500


def test_an_image_of_another_size_is_not_stored(make_cache, decode_log):
    with pytest.raises(ValueError, match=r"image 0 as uint8 \(9, 9, 3\)"):
        make_cache(table(decode_log, 5, size=9))


def test_a_killed_process_is_one_line(make_cache, decode_log, many_processes):
    with pytest.raises(UserError, match=r"process was killed.* fewer --jobs"):
        make_cache(swapped(table(decode_log, 50), image=os._exit), jobs=2)


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
def test_a_killed_build_goes_on_where_it_stopped(make_cache, decode_log, tmp_path, jobs):
    folder, file = tmp_path / "killed", tmp_path / "killed" / "progress.npz"
    command = [sys.executable, SCRIPT, folder, decode_log, "600", "8", str(jobs), "0.005"]
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
    assert 100 <= len(decoded(decode_log)) < 640
    with np.load(file) as saved:
        left = {f"train {i}" for i in np.flatnonzero(saved["state_train"] == decode.TO_DO)}
        left |= {f"test {i}" for i in np.flatnonzero(saved["state_test"] == decode.TO_DO)}
    with pytest.raises(UserError, match=r"meta\.json"):
        open_cache(folder)

    (folder / "labels_train.npy.1.part").write_bytes(b"half")
    make_cache(table(decode_log, 600), "killed")
    assert decoded(decode_log).keys() == left
    assert len(left) <= 540
    make_cache(table(decode_log, 600), "whole")
    assert content(folder) == content(tmp_path / "whole")


def interrupted(make_cache, decode_log):
    """Leave an unfinished build of 150 images behind, of which 96 are done."""
    with pytest.raises(UndecodableImage):
        make_cache(table(decode_log, 150, damaged=(100,)))
    assert len(decoded(decode_log)) == 101


def test_a_repaired_image_continues_the_build(make_cache, decode_log, tmp_path):
    interrupted(make_cache, decode_log)
    assert "lock" not in content(tmp_path / "cache")
    make_cache(table(decode_log, 150))
    assert len(decoded(decode_log)) == 150 + 40 - 96


def test_a_replaced_image_is_not_left_out(make_cache, decode_log, tmp_path):
    """One was left out as damaged before the build was interrupted; the user replaces its file."""
    drawn = table(decode_log, 150, damaged=(7,))
    image = drawn.splits["train"].image

    def ends(i):
        if i == 100:
            raise KeyboardInterrupt
        return image(i)

    with pytest.raises(KeyboardInterrupt):
        make_cache(swapped(drawn, image=ends), damaged="drop")
    with np.load(tmp_path / "cache" / "progress.npz") as saved:
        assert saved["state_train"][7] == decode.DAMAGED
    decoded(decode_log)
    cache = make_cache(table(decode_log, 150), damaged="drop")
    assert len(decoded(decode_log)) == 150 + 40 - 95
    assert cache.fingerprint == make_cache(table(decode_log, 150), "w", damaged="drop").fingerprint


def test_other_work_starts_anew(make_cache, decode_log, tmp_path):
    drawn = table(decode_log, 150)
    others = {
        "rule": (replace(drawn, rule={"changed": True}), {}),
        "ids": (swapped(drawn, ids=drawn.splits["train"].ids[::-1]), {}),
        "labels": (swapped(drawn, targets_NC=1 - drawn.splits["train"].targets_NC), {}),
        "settings": (drawn, {"damaged": "drop"}),
    }
    for other, settings in others.values():
        interrupted(make_cache, decode_log)
        make_cache(other, **settings)
        assert len(decoded(decode_log)) == 190
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
def test_a_damaged_progress_starts_anew(make_cache, decode_log, tmp_path, spoil):
    interrupted(make_cache, decode_log)
    spoil(tmp_path / "cache")
    make_cache(table(decode_log, 150))
    assert len(decoded(decode_log)) == 190


def test_a_finished_cache_leaves_no_progress(make_cache, decode_log, tmp_path):
    make_cache(table(decode_log, 30))
    assert sorted(content(tmp_path / "cache")) == [
        *("contact_sheet.png", "ids_test.json", "ids_train.json"),
        *("images_test.npy", "images_train.npy", "labels_test.npy", "labels_train.npy"),
        "meta.json",
    ]


# Disk and memory


def test_a_full_disk_is_one_line_before_anything_is_decoded(
    make_cache, decode_log, tmp_path, monkeypatch
):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**7))
    with pytest.raises(UserError) as caught:
        make_cache(table(decode_log, 1000, size=64), size=64)
    message = str(caught.value)
    assert str(tmp_path / "cache") in message
    assert "needs 0.01 GB, 0.01 GB are free" in message
    assert "\n" not in message
    assert not decoded(decode_log)


def test_a_disk_that_fills_up_is_one_line(make_cache, decode_log, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(decode.PixelFile, "fill", full)
    with pytest.raises(OSError, match="No space left"):
        make_cache(table(decode_log, 10))
    assert not (tmp_path / "cache" / "meta.json").exists()


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


def test_damaged_images_are_dropped_and_counted(make_cache, decode_log, tmp_path, many_processes):
    damaged = (0, 7, 8, 39)
    drawn = table(decode_log, 101, damaged=damaged)
    drawn = replace(drawn, dropped={"train": {"missing": 3, "unannotated": 2}})
    cache = make_cache(drawn, damaged="drop")
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
        "train": {"missing": 3, "damaged": 4, "unannotated": 2},
        "test": {"missing": 0, "damaged": 4},
    }
    verify(tmp_path / "cache")
    one_process = content(tmp_path / "cache")
    make_cache(drawn, jobs=2, damaged="drop")
    assert content(tmp_path / "cache") == one_process


def test_dropping_nothing_changes_no_pixel(make_cache, decode_log):
    kept, dropped = (
        make_cache(table(decode_log, 20), "a"),
        make_cache(table(decode_log, 20), "b", damaged="drop"),
    )
    hashes = [{n: s["pixels_sha256"] for n, s in c.meta["splits"].items()} for c in (kept, dropped)]
    assert hashes[0] == hashes[1]
    nothing = {"missing": 0, "damaged": 0}
    assert kept.meta["dropped"] == {"test": nothing, "train": nothing}


def test_a_build_that_ends_while_rows_move_starts_anew(
    make_cache, decode_log, tmp_path, monkeypatch
):
    def interrupt(pixels, kept):
        with pixels.path.open("r+b") as file:
            file.write(bytes(2000))
        raise KeyboardInterrupt

    drawn = table(decode_log, 100, damaged=(5,))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(decode.PixelFile, "close_gaps", interrupt)
        make_cache(drawn, damaged="drop")
    again = make_cache(drawn, damaged="drop")
    assert again.fingerprint == make_cache(drawn, "whole", damaged="drop").fingerprint


def test_a_split_of_damaged_images_alone_is_refused(make_cache, decode_log):
    with pytest.raises(UserError, match="split 'train': none of its 3 images can be decoded"):
        make_cache(table(decode_log, 3, damaged=(0, 1, 2)), damaged="drop")


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
