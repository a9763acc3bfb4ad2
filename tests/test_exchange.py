"""`mdkd store`: export, import from a store or from copies of entries, and compare."""

import json
import shutil
from contextlib import contextmanager

import pytest
from conftest import TEACHER, edit_yaml
from store_case import finish, listing, rewrite
from trainings import MLD, REVIEW, STUDENT, tamper

from mdkd import keys, records, score, store
from mdkd.errors import UserError

REST = "are not in the plan of protocol 'smoke'"


def loose(bench, folder, *paths):
    """Copies of runs in folders without keys."""
    for path in paths:
        shutil.copytree(bench.entry(path).folder, folder / path)
    return folder


def empty(bench):
    shutil.rmtree(bench.layout.store)


THREE = (TEACHER, STUDENT, MLD)


def kept_in(folder, bench, path):
    """The folder of a run in another store."""
    return folder / bench.entry(path).folder.relative_to(bench.layout.store)


@pytest.mark.parametrize("layout", ["loose", "store"])
def test_runs_are_imported_once_with_the_same_bytes(kept, keep, tmp_path, layout):
    finish(kept, STUDENT)
    finish(kept, MLD)
    finish(kept, REVIEW)  # is not in the plan
    paths, source = (TEACHER, STUDENT, MLD), tmp_path / "elsewhere"
    if layout == "loose":
        loose(kept, source, *paths, REVIEW)
    else:
        shutil.copytree(kept.layout.store, source)
    names = (*store.DIGESTS, "metrics.json", "run.json")
    before = {path: [(kept.entry(path).folder / n).read_bytes() for n in names] for path in paths}
    elsewhere = listing(source)
    empty(kept)
    status, text = keep("import", str(source))
    assert (status, text) == (0, f"imported 3 runs; 0 were there already; 1 {REST}\n")
    assert listing(source) == elsewhere
    for path in paths:
        found = [(kept.entry(path).folder / name).read_bytes() for name in names]
        assert found == before[path]
        assert store.state(kept.resolve(path), kept.layout) == "done"
    after = listing(kept.layout.store)
    assert keep("import", str(source)) == (0, f"imported 0 runs; 3 were there already; 1 {REST}\n")
    assert listing(kept.layout.store) == after


def test_an_import_of_nothing_is_an_error(kept, keep, tmp_path):
    status, text = keep("import", str(tmp_path / "nowhere"))
    assert status == 2
    assert "nowhere: no run.json below it; name a store, or a folder of runs" in text


def test_an_import_with_other_settings_is_refused(kept, keep, tmp_path):
    source = loose(kept, tmp_path / "elsewhere", TEACHER)
    empty(kept)
    protocol = kept.base / "config" / "protocols" / "smoke.yaml"
    edit_yaml(protocol, lambda p: p["recipe"].update(epochs=3))
    status, text = keep("import", str(source))
    assert status == 2
    assert "not the planned run: it was trained with other settings (recipe.epochs: 3, fo" in text
    assert not list(kept.layout.store.rglob("run.json"))


def test_an_import_leaves_out_entries_of_other_settings(kept, keep, tmp_path):
    finish(kept, STUDENT)
    own = kept.entry(STUDENT).folder
    shutil.copytree(kept.layout.store, source := tmp_path / "elsewhere")
    other = source / STUDENT / ("0" * len(own.name))  # sorts before the planned entry
    shutil.copytree(own, other)
    record = json.loads((other / "run.json").read_text())
    record["run"]["recipe"]["epochs"] = 40
    rewrite(other / "run.json", run=record["run"])
    empty(kept)
    text = keep("import", str(source))[1]
    assert text == f"imported 2 runs; 0 were there already; 1 {REST}\n"
    assert [f.name for f in (kept.layout.store / STUDENT).iterdir()] == [own.name]


def test_an_import_from_another_cache_or_teacher_is_refused(kept, keep, tmp_path):
    finish(kept, MLD)
    source = loose(kept, tmp_path / "elsewhere", TEACHER, MLD)
    empty(kept)
    rewrite(source / MLD / "run.json", teacher="another")
    status, text = keep("import", str(source))
    assert status == 2
    assert "not the planned run: its teacher has been trained again" in text
    assert kept.entry(TEACHER).finished  # runs before the first that is refused stay
    rewrite(source / MLD / "run.json", cache="another")
    assert "it was trained on another cache" in keep("import", str(source))[1]
    assert not kept.entry(MLD).finished


@pytest.mark.parametrize("name", store.DIGESTS)
def test_an_import_of_a_damaged_run_is_refused(kept, keep, tmp_path, name):
    source = loose(kept, tmp_path / "elsewhere", TEACHER)
    empty(kept)
    file = source / TEACHER / name
    if name == "history.jsonl":
        file.unlink()
    else:
        tamper(file)
    status, text = keep("import", str(source))
    assert status == 2
    assert text.count("\n") == 1
    assert f"{TEACHER}/{name}: " in text
    assert not list(kept.layout.store.rglob("*.*"))


def test_an_import_of_numbers_of_an_older_version_is_refused(kept, keep, tmp_path):
    source = loose(kept, tmp_path / "elsewhere", TEACHER)
    planned = kept.entry(TEACHER).record()["planned"]
    empty(kept)
    older = planned | {"numerics": keys.NUMERICS - 1}
    rewrite(source / TEACHER / "run.json", planned=older)
    status, text = keep("import", str(source))
    assert status == 2
    found = f"numerics: {keys.NUMERICS}, found {keys.NUMERICS - 1}"
    assert f"not the planned run: it was trained with other settings ({found})" in text
    record = json.loads((source / TEACHER / "run.json").read_text())
    del record["planned"]
    records.write_json(source / TEACHER / "run.json", record)
    assert "run.json: key 'planned' is missing" in keep("import", str(source))[1]
    assert not list(kept.layout.store.rglob("run.json"))


def test_an_import_looks_again_once_it_has_the_lock(kept, keep, tmp_path, monkeypatch):
    """Another process may finish the run while the import waits for it."""
    source = loose(kept, tmp_path / "elsewhere", TEACHER)
    own = kept.entry(TEACHER)
    before = listing(own.folder)
    record = own.folder / "run.json"
    record.rename(tmp_path / "run.json")
    rewrite(source / TEACHER / "run.json", wall_s=7.0)
    held = store.Entry.held

    @contextmanager
    def slow(entry):
        with held(entry):
            (tmp_path / "run.json").rename(record)
            yield

    monkeypatch.setattr(store.Entry, "held", slow)
    assert keep("import", str(source))[1].startswith("imported 0 runs; 1 were there already")
    assert listing(own.folder) == before


def test_an_import_leaves_nothing_of_an_unfinished_training(kept, keep, tmp_path):
    source = loose(kept, tmp_path / "elsewhere", TEACHER)
    expected = {file.name for file in (source / TEACHER).iterdir()}
    own = kept.entry(TEACHER)
    (own.folder / "run.json").unlink()
    for name in ("checkpoint.pt", "progress.json", "failed.json", "model.pt.part"):
        (own.folder / name).write_text("{}")
    assert keep("import", str(source))[1].startswith("imported 1 runs")
    assert {file.name for file in own.folder.iterdir()} == expected


# Export


def test_an_export_has_what_a_reader_needs_and_is_imported_again(kept, keep, tmp_path):
    finish(kept, STUDENT)
    finish(kept, MLD)
    target = tmp_path / "published"
    status, text = keep("export", str(target))
    assert (status, text.split("; ")[0]) == (0, f"exported 3 runs to {target}")
    names = {path: {f.name for f in kept_in(target, kept, path).iterdir()} for path in THREE}
    small = {"run.json", "metrics.json", "history.jsonl"}
    assert {path: found - {"train.log"} for path, found in names.items()} == {
        TEACHER: small | {"model.pt"},
        STUDENT: small,
        MLD: small,
    }
    metrics = {path: score.stored(kept.entry(path)) for path in THREE}
    again = listing(target)
    assert "3 were there already" in keep("export", str(target))[1]
    assert listing(target) == again

    empty(kept)
    assert keep("import", str(target))[1].startswith("imported 3 runs")
    assert {path: score.stored(kept.entry(path)) for path in THREE} == metrics
    assert [store.state(kept.resolve(path), kept.layout) for path in THREE] == ["done"] * 3
    assert keep("verify") == (0, "3 finished entries are intact\n")
    with pytest.raises(UserError, match="the run was imported without this file"):
        kept.entry(MLD).file(store.PREDICTIONS)


def test_an_imported_run_is_exported_again_with_what_it_has(kept, keep, tmp_path):
    finish(kept, STUDENT)
    keep("export", str(tmp_path / "published"))
    empty(kept)
    keep("import", str(tmp_path / "published"))
    keep("export", str(tmp_path / "again"), "--predictions", "comparison")
    record = records.read_json(kept_in(tmp_path / "again", kept, STUDENT) / "run.json")
    assert record["left_out"] == ["model.pt", "predictions.npz"]
    empty(kept)
    assert keep("import", str(tmp_path / "again"))[1].startswith("imported 2 runs")


def test_predictions_are_exported_of_the_named_artefacts(kept, keep, tmp_path):
    finish(kept, STUDENT)
    finish(kept, MLD)
    keep("export", str(tmp_path / "published"), "--predictions", "comparison")
    for path in THREE:
        file = kept_in(tmp_path / "published", kept, path) / store.PREDICTIONS
        assert file.read_bytes() == kept.entry(path).file(store.PREDICTIONS).read_bytes()


def test_predictions_of_an_unknown_artefact_are_an_error(kept, keep, tmp_path):
    status, text = keep("export", str(tmp_path / "published"), "--predictions", "comparisons")
    assert status == 2
    assert "comparisons: not in the plan; did you mean 'comparison'?" in text
    assert not (tmp_path / "published").exists()


def test_metrics_of_a_run_without_predictions_are_checked(kept, keep, tmp_path):
    finish(kept, STUDENT)
    keep("export", str(tmp_path / "published"))
    empty(kept)
    keep("import", str(tmp_path / "published"))
    (kept.entry(STUDENT).folder / "metrics.json").unlink()
    status, text = keep("verify")
    assert status == 2
    assert "predictions.npz: the run was imported without this file" in text


# Compare


def test_a_comparison_tells_equal_weights_from_others(kept, keep, tmp_path):
    finish(kept, STUDENT)
    shutil.copytree(kept.layout.store, other := tmp_path / "other")
    assert keep("compare", str(other)) == (0, "2 runs have the same weights, 0 have others\n")
    environment = kept.entry(STUDENT).record()["environment"]
    file = kept_in(other, kept, STUDENT) / "run.json"
    rewrite(file, weights_sha256="0" * 64, environment=environment | {"cpu": "Abacus"})
    status, text = keep("compare", str(other))
    assert status == 0
    assert text.splitlines() == [
        f"{STUDENT}: other weights; cpu: {environment['cpu']} here, Abacus there",
        "1 runs have the same weights, 1 have others",
    ]


def test_a_comparison_with_nothing_is_an_error(kept, keep, tmp_path):
    status, text = keep("compare", str(tmp_path))
    assert status == 2
    assert f"{tmp_path}: has no run of protocol 'smoke' that is done here too" in text
