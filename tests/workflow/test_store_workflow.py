"""Snakemake and the store: no training is repeated, and no result of other settings is shown."""

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import time

import numpy as np
import pytest
import torch
from conftest import edit_yaml
from store_case import listing, rewrite
from workflow_project import Project, small_project

from mdkd import records, store
from mdkd.layout import Layout
from mdkd.metrics import METRICS
from mdkd.resolve import resolve_run
from mdkd.spec import Specification

TEACHER = "supervised/scenes/resnet8x2/seed0"
STUDENT = "supervised/scenes/resnet8/seed{}"
MLD = "distill/scenes/resnet8x2--resnet8/mld/default/seed{}"
STEPS = 6  # of one training
SEEDS = ("--config", "seeds=[0,1]")
ARTEFACTS = dict.fromkeys(("collect", "explore", "table", "figure", "all"), 1)
NEW_SEED = {"train_supervised": 1, "distill": 1, **ARTEFACTS}
NEW_SEED["total"] = sum(NEW_SEED.values())


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A project whose workflow has been run: two methods, one seed. Never change it."""
    project = small_project(tmp_path_factory.mktemp("origin"))
    project.trace()
    project.snakemake()
    assert project.steps() == dict.fromkeys((TEACHER, STUDENT.format(0), MLD.format(0)), STEPS)
    (project.folder / "steps.txt").unlink()
    return project


@pytest.fixture
def made(origin, tmp_path):
    """A copy of it for one test."""
    return origin.copy(tmp_path / "made")


def entry(project, path):
    return next((project.folder / "store" / path).glob("*/run.json")).parent


def published(project, path):
    return list((project.results / "runs" / path).glob("*.json"))


def text(file):
    return file.read_text() if file.exists() else ""


def until(condition):
    end = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def results(project):
    """The content of all tables, and of metrics.csv."""
    files = [*(project.results / "tables").iterdir(), project.results / "metrics.csv"]
    return {file.name: file.read_bytes() for file in files}


# Processes that are killed, and several at a time


def test_snakemake_is_killed_and_started_again_while_its_job_lives(made):
    command = ("snakemake", "--cores", "1", *SEEDS, "--", "collect")
    first = made.begin(*command, STEP_S="1")
    until(made.steps)
    first.kill()
    assert first.wait() == -signal.SIGKILL
    (path,) = made.steps()
    assert not list((made.folder / "store" / path).rglob("run.json"))
    made.snakemake("--unlock")
    made.snakemake(*SEEDS, "--", "collect")
    paths = [path.format(1) for path in (STUDENT, MLD)]
    assert made.steps() == dict.fromkeys(paths, STEPS)
    assert all(published(made, path) for path in paths)
    assert not list((made.folder / "store").rglob("lock"))
    assert "Nothing to be done" in made.snakemake(*SEEDS, "--", "collect")
    for path in paths:
        log = (entry(made, path) / "train.log").read_text()
        assert log.count("epoch 2/2") == 1  # Snakemake has deleted the log of the first job


def test_a_second_command_and_a_job_wait_for_a_training(made):
    path = STUDENT.format(1)
    run = resolve_run(Specification(made.folder / "config"), path)
    busy = f"another process is training this run ({socket.gethostname()}); waiting for it"
    with store.entry(run, Layout("smoke", made.folder)).held():
        command = made.begin("python", "-m", "mdkd", "train", path, "--log", "by_hand.txt")
        workflow = made.begin("snakemake", "--cores", "1", *SEEDS, "--", "collect")
        until(lambda: busy in text(made.folder / "by_hand.txt"))
        until(lambda: any(busy in text(f) for f in (made.folder / "logs").rglob("*.log")))
    assert (command.wait(), workflow.wait()) == (0, 0), text(made.folder / "log.txt")
    assert made.steps() == dict.fromkeys((path, MLD.format(1)), STEPS)
    assert len(published(made, path)) == 1


def test_an_interrupted_job_that_waits_is_not_called_failed(made):
    run = resolve_run(Specification(made.folder / "config"), STUDENT.format(1))
    with store.entry(run, Layout("smoke", made.folder)).held():
        workflow = made.begin("snakemake", "--cores", "1", *SEEDS, "--", "collect")
        until(lambda: "waiting for it" in text(made.folder / "log.txt"))
        os.killpg(workflow.pid, signal.SIGINT)  # Ctrl-C
        assert workflow.wait() != 0
    lines = text(made.folder / "log.txt").splitlines()
    ended = [line for line in lines if line.startswith(("failed: ", "interrupted by "))]
    assert len(ended) == 1
    assert ended[0].startswith("interrupted by SIGINT; run the same command again: it goes on (")


# What used to make Snakemake train again


def test_a_copy_without_time_stamps_plans_no_training(made):
    files = [file for file in made.folder.rglob("*") if file.is_file()]
    for seed in range(3):
        random.Random(seed).shuffle(files)
        for second, file in enumerate(files):
            os.utime(file, (1e9 + second, 1e9 + second))
        assert made.planned() == {}
        assert made.planned(*SEEDS) == NEW_SEED


def test_without_the_notes_of_snakemake_nothing_is_planned(made):
    shutil.rmtree(made.folder / ".snakemake")
    assert made.planned() == {}
    assert made.planned(*SEEDS) == NEW_SEED


def test_without_its_cache_a_new_seed_plans_the_cache_and_the_new_runs(made):
    shutil.rmtree(made.folder / "cache")
    assert made.planned() == {}
    again = {"prepare_dataset": 1, "label_statistics": 1}
    total = NEW_SEED["total"] + len(again)
    assert made.planned(*SEEDS) == NEW_SEED | again | {"total": total}


def test_without_its_cache_a_report_is_made(made):
    """As after an import: the report leaves out the picture of the data."""
    shutil.rmtree(made.folder / "cache")
    (made.results / "tables" / "comparison.csv").unlink()
    made.snakemake("--", "comparison")
    report = (made.results / "report_comparison.html").read_text(encoding="utf-8")
    assert "comparison.html" in report and "contact_sheet.png" not in report


def test_deleted_records_are_published_again(made):
    before = {file.name for file in (made.results / "runs").rglob("*.json")}
    shutil.rmtree(made.results / "runs")
    assert made.planned() == {}
    assert made.planned(*SEEDS) == NEW_SEED
    assert {file.name for file in (made.results / "runs").rglob("*.json")} == before


def test_deleted_results_are_made_again_without_a_training(made):
    before = results(made)
    shutil.rmtree(made.folder / "results")
    assert not {"train_supervised", "distill"} & made.planned().keys()
    made.snakemake("--", "collect", "results/smoke/tables/comparison.md", *label_tables(before))
    assert results(made) == before
    assert not made.steps()


def label_tables(names):
    return [f"results/smoke/tables/{name}" for name in names if name.startswith("labels")]


def test_forced_jobs_are_tables_figures_and_caches(made):
    jobs = made.planned("--forceall")
    once = ("prepare_dataset", "label_statistics", "collect", "explore", "table", "figure", "all")
    assert jobs == dict.fromkeys(once, 1) | {"total": len(once)}


def test_a_finished_run_that_is_named_as_a_target_is_not_trained_again(made):
    (file,) = published(made, MLD.format(0))
    target = str(file.relative_to(made.folder))
    assert made.planned("--", target) == {}
    before = file.read_bytes()
    made.snakemake("--force", "--", target)
    assert file.read_bytes() == before
    assert not made.steps()


# Settings that change


def test_two_calls_with_other_seeds_have_plans_of_their_own(made):
    def plans():
        return set((made.results / "plans").iterdir())

    before = plans()
    assert len(before) == 1
    made.snakemake("--config", "seeds=[1]", "--", "collect")
    assert len(plans()) == 2
    assert {file: file.read_bytes() for file in before} == {f: f.read_bytes() for f in before}
    for file, seed in ((*before, 0), (*(plans() - before), 1)):
        job = made.mdkd("train", STUDENT.format(seed), "--plan", str(file))
        assert job.returncode == 0, job.stderr
        assert "already trained; nothing is trained again" in job.stderr
    lines = (made.results / "metrics.csv").read_text().splitlines()
    assert len(lines) == 1 + 5 * len(METRICS)  # a teacher and two runs of each seed
    made.snakemake("--forcerun", "collect", "--", "collect")
    assert (made.results / "metrics.csv").read_text().splitlines() == lines


def test_settings_that_are_changed_back_plan_no_training(made):
    protocol, before = made.folder / "config" / "protocols" / "smoke.yaml", results(made)
    targets = ("--", "collect", "results/smoke/tables/comparison.md", *label_tables(before))
    original = protocol.read_bytes()
    edit_yaml(protocol, lambda p: p["recipe"].update(epochs=1))
    made.snakemake(*targets)
    paths = (TEACHER, STUDENT.format(0), MLD.format(0))
    assert made.steps() == dict.fromkeys(paths, STEPS // 2)
    assert results(made)["comparison.md"] != before["comparison.md"]
    protocol.write_bytes(original)
    assert not {"train_supervised", "distill", "prepare_dataset"} & made.planned().keys()
    made.snakemake(*targets)
    assert results(made) == before
    assert sum(made.steps().values()) == len(paths) * STEPS // 2


@pytest.mark.parametrize(
    "change",
    [{"image_size": 40}, {"datasets": {"scenes": {"train": 48, "test": 32, "difficulty": 0.5}}}],
    ids=["image_size", "options"],
)
def test_a_training_by_hand_refuses_a_cache_with_other_settings(made, change):
    edit_yaml(made.folder / "config" / "protocols" / "smoke.yaml", lambda p: p.update(change))
    before = listing(made.folder)
    result = made.mdkd("train", TEACHER)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "made with other settings than planned; run `mdkd cache` again" in result.stderr
    assert listing(made.folder) == before


# Results that do not belong together


def test_students_of_a_teacher_that_was_trained_again_are_left_out(made):
    folder = entry(made, TEACHER)
    weights = torch.load(folder / "model.pt", weights_only=True)
    torch.save({name: value * 1.01 for name, value in weights.items()}, folder / "model.pt")
    rewrite(folder / "run.json", weights_sha256=records.sha256(folder / "model.pt"))
    assert made.mdkd("report", "partial").returncode == 0
    table = (made.results / "partial" / "tables" / "comparison.md").read_text()
    assert "| MLD | – | – |" in table
    assert "2 of 3 runs" in table
    assert "1 runs are left out: they have other settings, other data or another teacher" in table
    jobs = made.planned()
    assert jobs.keys() - {*ARTEFACTS, "total"} == {"distill"}
    made.snakemake("--", "comparison")
    assert made.steps() == {MLD.format(0): STEPS}
    table = (made.results / "tables" / "comparison.md").read_text()
    assert "3 runs" in table and "2 of 3 runs" not in table
    assert len(list((made.folder / "store" / MLD.format(0)).glob("*/run.json"))) == 2
    assert "distill" not in made.planned()


def test_predictions_of_another_run_are_refused_by_reports(made):
    own, other = entry(made, STUDENT.format(0)), entry(made, TEACHER)
    shutil.copy(other / "predictions.npz", own / "predictions.npz")
    (own / "metrics.json").unlink()
    for kind in (("metrics",), ("table", "comparison")):
        result = made.mdkd("report", *kind)
        assert result.returncode == 2
        assert result.stderr.count("\n") == 1
        assert "predictions.npz: missing, or not the file that run.json names" in result.stderr


def test_a_run_that_cannot_be_scored_fails_and_says_so_every_time(made):
    path, cache = STUDENT.format(1), made.folder / "cache" / "smoke" / "scenes"
    labels, meta = np.load(cache / "labels_test.npy"), records.read_json(cache / "meta.json")
    np.save(cache / "labels_test.npy", np.zeros_like(labels))
    meta["splits"]["test"]["labels_sha256"] = hashlib.sha256(bytes(labels.size)).hexdigest()
    records.write_json(cache / "meta.json", meta)
    messages = [made.mdkd("train", path).stderr.splitlines()[-1] for _ in range(2)]
    assert messages[0] == messages[1]
    assert messages[0].endswith("no label has a positive test image; use a larger test split")
    folder = next((made.folder / "store" / path).iterdir())
    assert not (folder / "run.json").exists()
    assert made.steps() == {}  # nothing is trained for it


# Calls that only look


@pytest.mark.parametrize("call", ["--dry-run", "--lint", "--summary", "--unlock"])
def test_calls_that_show_something_write_nothing_in_a_fresh_checkout(tmp_path, call):
    project = Project(tmp_path)
    before = listing(project.folder)
    project.snakemake(call)
    assert listing(project.folder) == before


@pytest.mark.parametrize("call", ["--dry-run", "--lint", "--summary", "--unlock"])
def test_calls_that_show_something_delete_no_record(made, call):
    """Even one whose run is not done any more."""
    meta = made.folder / "cache" / "smoke" / "scenes" / "meta.json"
    rewrite(meta, fingerprint="another")
    before = listing(made.folder)
    made.snakemake(call)
    assert listing(made.folder) == before


def test_a_published_record_names_its_entry(made):
    (file,) = published(made, MLD.format(0))
    content = json.loads(file.read_text())
    assert made.folder / content["entry"] == entry(made, MLD.format(0))
    assert content["weights_sha256"] == records.sha256(entry(made, MLD.format(0)) / "model.pt")
