"""Finished runs with other data or another teacher: moved aside, and back if these are restored."""

import shutil

import pytest
from conftest import TEACHER
from store_case import finish, listing, rewrite
from trainings import MLD, STUDENT, tamper

from mdkd import locks, records, store
from mdkd.aside import bring_back, move_aside
from mdkd.errors import UserError


def with_cache(bench, fingerprint):
    """Let the cache be another one; returns the fingerprint that it had."""
    meta = bench.layout.cache("scenes") / "meta.json"
    before = records.read_json(meta)["fingerprint"]
    rewrite(meta, fingerprint=fingerprint)
    return before


def test_an_entry_that_is_moved_aside_stays_locked(bench):
    finish(bench, STUDENT)
    entry = bench.entry(STUDENT)
    files = {file.name for file in entry.folder.iterdir()}
    with entry.held():
        aside = move_aside(entry)
        assert entry.running
        with pytest.raises(locks.Busy), locks.held(entry.folder / "lock", "busy"):
            pass
        assert {file.name for file in aside.iterdir()} == files
        assert not entry.finished
        shutil.copytree(aside, entry.folder, dirs_exist_ok=True)  # it was interrupted before
        assert move_aside(entry) == aside
    assert not list(entry.folder.iterdir())


def test_runs_of_equal_weights_have_folders_of_their_own(bench):
    """A cache with other test images alone gives the same weights."""
    finish(bench, STUDENT)
    entry = bench.entry(STUDENT)
    first = move_aside(entry)
    shutil.copytree(first, entry.folder, dirs_exist_ok=True)
    rewrite(entry.folder / "run.json", cache="another")
    second = move_aside(entry)
    assert first != second
    assert store.Entry(first).record()["cache"] != store.Entry(second).record()["cache"]


def test_a_finished_run_stays_until_it_is_known_that_it_can_be_trained_again(bench, caplog):
    bench.train(MLD)
    before = listing(bench.entry(MLD).folder)
    right = with_cache(bench, "0" * 64)
    with pytest.raises(UserError, match="another cache of scenes"):  # of the teacher
        bench.train(MLD)
    now = listing(bench.entry(MLD).folder)
    assert now.keys() == before.keys()
    assert {name: now[name][0] for name in now} == {name: before[name][0] for name in before}
    with_cache(bench, right)
    caplog.set_level("INFO")
    bench.train(MLD)
    assert "already trained" in caplog.text


def test_a_cache_that_is_changed_and_restored_costs_no_training(bench, caplog):
    caplog.set_level("INFO")
    bench.train(MLD)
    right, found = None, {}
    for fingerprint in ("0" * 64, None, "0" * 64):
        old = with_cache(bench, fingerprint or right)
        right = right or old
        found.setdefault(old, [listing(bench.entry(path).folder) for path in (TEACHER, MLD)])
        caplog.clear()
        for path in (TEACHER, MLD):
            bench.train(path)
            assert store.state(bench.resolve(path), bench.layout) == "done"
        known = found.get(fingerprint or right)
        assert (known is not None) == ("was moved back" in caplog.text)
        assert (known is not None) == ("training on" not in caplog.text)
        if known:
            assert known == [listing(bench.entry(path).folder) for path in (TEACHER, MLD)]


def test_only_a_whole_run_with_known_data_and_teacher_comes_back(bench):
    run, entry = finish(bench, MLD), bench.entry(MLD)
    aside = move_aside(entry)
    cache, teacher = bench.layout.cache("scenes"), bench.entry(TEACHER).folder
    for needed in (cache / "meta.json", teacher / "run.json"):
        needed.rename(needed.with_suffix(".gone"))
        assert bring_back(run, entry, bench.layout) is None
        needed.with_suffix(".gone").rename(needed)
    kept = (aside / "model.pt").read_bytes()
    tamper(aside / "model.pt")
    assert bring_back(run, entry, bench.layout) is None
    (aside / "model.pt").write_bytes(kept)
    assert bring_back(run, entry, bench.layout) == aside
    assert not aside.exists()


def test_what_an_unfinished_training_has_left_does_not_mix_with_the_run(bench):
    run, entry = finish(bench, STUDENT), bench.entry(STUDENT)
    (entry.folder / "train.log").write_text("first\n")
    expected = {name: content for name, (content, _) in listing(entry.folder).items()}
    move_aside(entry)
    for name in ("checkpoint.pt", "progress.json", "failed.json", "history.jsonl"):
        (entry.folder / name).write_text("of an unfinished training")
    (entry.folder / "train.log").write_text("second\n")
    bring_back(run, entry, bench.layout)
    found = {name: content for name, (content, _) in listing(entry.folder).items()}
    assert found == expected | {"train.log": b"first\nsecond\n"}
