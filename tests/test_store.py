"""The store of runs: what is done, what is published, and what is refused."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import TEACHER
from store_case import finish, listing, rewrite
from trainings import MLD, STUDENT, tamper

from mdkd import keys, records, score, store
from mdkd.errors import UserError
from mdkd.results import Results


def published(bench, path):
    return bench.layout.published(path, keys.key(bench.resolve(path)))


def results(bench, *paths):
    runs = {path: bench.resolve(path) for path in paths}
    return Results("smoke", bench.base, runs=runs)


def publish_all(bench, *paths, withdraw=False):
    runs = {path: bench.resolve(path) for path in paths}
    return store.publish_all(runs, bench.layout, withdraw=withdraw)


def test_the_states_of_a_run(bench):
    run, entry = bench.resolve(STUDENT), bench.entry(STUDENT)
    assert store.state(run, bench.layout) == "to do"
    entry.folder.mkdir(parents=True)
    (entry.folder / "checkpoint.pt").touch()
    assert store.state(run, bench.layout) == "to do"
    (entry.folder / "lock").touch()  # of a process that was killed
    assert store.state(run, bench.layout) == "to do"
    records.write_json(entry.folder / "failed.json", {"error": "why"})
    assert store.state(run, bench.layout) == "failed"
    with entry.held():
        assert store.state(run, bench.layout) == "running"
    shutil.rmtree(entry.folder)
    finish(bench, STUDENT)
    assert store.state(run, bench.layout) == "done"
    with entry.held():  # a second job finds that there is nothing to do
        assert store.state(run, bench.layout) == "done"


def test_a_cache_with_another_fingerprint_is_another_setting(bench):
    run, meta = bench.resolve(TEACHER), bench.layout.cache("scenes") / "meta.json"
    rewrite(meta, fingerprint="another")
    assert store.state(run, bench.layout) == "other settings"
    reason = store.disagreement(run, bench.entry(TEACHER).record(), bench.layout)
    assert reason == "it was trained on another cache"


def test_a_teacher_with_other_weights_is_another_setting(bench):
    run = finish(bench, MLD)
    assert store.state(run, bench.layout) == "done"
    rewrite(bench.entry(TEACHER).folder / "run.json", weights_sha256="another")
    assert store.state(run, bench.layout) == "other settings"
    reason = store.disagreement(run, bench.entry(MLD).record(), bench.layout)
    assert reason == "its teacher has been trained again"


def test_what_is_gone_changes_no_state(bench):
    """A cache and the entry of a teacher may be deleted to save space."""
    run = finish(bench, MLD)
    shutil.rmtree(bench.base / "cache")
    shutil.rmtree(bench.entry(TEACHER).folder)
    assert store.state(run, bench.layout) == "done"


def test_a_record_under_a_wrong_key_is_another_setting(bench):
    run, entry = finish(bench, STUDENT), bench.entry(STUDENT)
    rewrite(entry.folder / "run.json", planned=keys.planned(run) | {"seed": 7})
    assert store.state(run, bench.layout) == "other settings"
    reason = store.disagreement(run, entry.record(), bench.layout)
    assert reason == "it was trained with other settings (seed: 0, found 7)"


def test_a_finished_entry_is_trained_again_for_another_cache_alone(bench, caplog):
    """The finished run is kept beside the new one."""
    before = listing(bench.entry(TEACHER).folder)
    bench.train(TEACHER)
    assert listing(bench.entry(TEACHER).folder) == before
    rewrite(bench.entry(TEACHER).folder / "run.json", cache="another")
    bench.train(TEACHER)
    assert "it was trained on another cache; the finished run was moved to" in caplog.text
    aside = next(bench.entry(TEACHER).folder.parent.glob("*.*"))
    assert store.Entry(aside).record()["cache"] == "another"
    assert bench.resolve(TEACHER).seed == 0
    assert store.state(bench.resolve(TEACHER), bench.layout) == "done"
    assert {name for name, _ in listing(aside).items()} == before.keys()


def test_a_checkpoint_that_outlived_its_run_is_deleted(bench):
    """The process was killed between the record and the end."""
    files = [bench.entry(TEACHER).folder / name for name in ("checkpoint.pt", "progress.json")]
    for file in files:
        file.touch()
    bench.train(TEACHER)
    assert not any(file.exists() for file in files)


def test_publishing_adds_and_rewrites_nothing_that_is_equal(bench):
    shutil.rmtree(bench.base / "results")
    finish(bench, STUDENT)
    before = listing(bench.base)
    found = publish_all(bench, TEACHER, STUDENT, MLD)
    assert found == [keys.key(bench.resolve(path)) for path in (TEACHER, STUDENT)]
    after = listing(bench.base)
    new = {published(bench, path).relative_to(bench.base).as_posix() for path in (TEACHER, STUDENT)}
    assert after.keys() - before.keys() == new
    assert before.items() <= after.items()
    assert publish_all(bench, TEACHER, STUDENT, MLD, withdraw=True) == found
    assert listing(bench.base) == after


def test_a_published_file_with_other_content_is_written_again(bench):
    file = published(bench, TEACHER)
    publish_all(bench, TEACHER)
    right = file.read_bytes()
    for wrong in (b'{"entry": "elsewhere"}', right[:20], b"", bytes(9)):
        file.write_bytes(wrong)
        publish_all(bench, TEACHER)
        assert file.read_bytes() == right


def test_only_a_call_that_may_withdraw_deletes_the_file_of_a_run_that_is_not_done(bench):
    finish(bench, STUDENT)
    publish_all(bench, STUDENT)
    shutil.rmtree(bench.entry(STUDENT).folder)
    assert publish_all(bench, STUDENT) == []
    assert published(bench, STUDENT).exists()
    assert publish_all(bench, STUDENT, withdraw=True) == []
    assert not published(bench, STUDENT).exists()


def test_nothing_is_withdrawn_while_a_process_trains_the_run(bench):
    finish(bench, MLD)
    publish_all(bench, MLD)
    rewrite(bench.entry(MLD).folder / "run.json", teacher="another")
    with bench.entry(MLD).held():
        publish_all(bench, MLD, withdraw=True)
        assert published(bench, MLD).exists()
    publish_all(bench, MLD, withdraw=True)
    assert not published(bench, MLD).exists()


@pytest.mark.parametrize("withdraw", [True, False])
def test_in_a_folder_that_cannot_be_written_what_is_there_counts(bench, monkeypatch, withdraw):
    finish(bench, STUDENT)

    def refuse(path, record):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(records, "write_json", refuse)
    found = publish_all(bench, STUDENT, TEACHER, withdraw=withdraw)
    assert found == [keys.key(bench.resolve(TEACHER))]


def test_equal_settings_under_two_names_are_published_together(bench):
    """Two data sets may have the same settings and different files: each needs its own run."""
    finish(bench, STUDENT)
    run = bench.resolve(STUDENT)
    twin = replace(
        run,
        path=run.path.replace("scenes", "twin"),
        dataset=replace(run.dataset, name="twin"),
    )
    assert keys.key(twin) == keys.key(run)
    runs = {r.path: r for r in (run, twin)}
    assert store.publish_all(runs, bench.layout, withdraw=True) == []
    assert published(bench, STUDENT).exists()
    shutil.copytree(store.entry(run, bench.layout).folder, store.entry(twin, bench.layout).folder)
    assert store.publish_all(runs, bench.layout, withdraw=True) == [keys.key(run)]


@pytest.mark.parametrize("name", store.DIGESTS)
def test_a_changed_byte_is_refused(bench, name):
    entry = bench.entry(TEACHER)
    assert entry.file(name).exists()
    tamper(entry.folder / name)
    with pytest.raises(UserError, match=rf"{name}: missing, or not the file that run\.json names"):
        entry.file(name)
    (entry.folder / name).unlink()
    with pytest.raises(UserError, match=rf"{name}: missing"):
        entry.file(name)


def test_predictions_of_another_run_are_refused(bench):
    finish(bench, STUDENT)
    folder, every = bench.entry(STUDENT).folder, results(bench, STUDENT)
    assert every.predictions(STUDENT).targets_NC.shape[0] == 32
    with np.load(folder / "predictions.npz") as content:
        other = dict(content) | {"logits_NC": -content["logits_NC"]}
    np.savez_compressed(folder / "predictions.npz", **other)
    (folder / "metrics.json").unlink()
    for reading in (every.predictions, every.scores):
        with pytest.raises(UserError, match=r"predictions\.npz: missing, or not the file"):
            reading(STUDENT)


@pytest.mark.parametrize(
    "facts",
    [{"revision": score.REVISION - 1}, {"predictions_sha256": "of another run"}, {"metrics": {}}],
    ids=["older", "of another run", "without a new metric"],
)
def test_metrics_that_are_not_current_are_computed_again(bench, facts):
    """They are not written, because several tables may be made at the same time."""
    file = bench.entry(TEACHER).folder / "metrics.json"
    right = records.read_json(file)
    rewrite(file, **{"metrics": dict.fromkeys(right["metrics"], -1.0)} | facts)
    before = file.read_bytes()
    assert results(bench, TEACHER).scores(TEACHER) == right
    assert file.read_bytes() == before


def test_metrics_that_are_current_are_read(bench):
    file = bench.entry(TEACHER).folder / "metrics.json"
    right = records.read_json(file)
    rewrite(file, metrics=dict.fromkeys(right["metrics"], -1.0))
    assert set(results(bench, TEACHER).scores(TEACHER)["metrics"].values()) == {-1.0}


def test_a_run_that_is_not_done_has_no_numbers(bench):
    finish(bench, MLD)
    rewrite(bench.entry(MLD).folder / "run.json", teacher="another")
    every = results(bench, MLD)
    assert every.state(MLD) == "other settings"
    assert (every.scores(MLD), every.predictions(MLD), every.history(MLD)) == (None, None, None)
