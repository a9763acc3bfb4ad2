"""What is wrong with data or records is said before any training starts."""

import shutil

import make_datasets
import pytest
import yaml
from conftest import edit_yaml
from workflow_project import small_project

from mdkd import keys
from mdkd.plan import make_plan
from mdkd.spec import Specification

STUDENT = "supervised/scenes/resnet8/seed0"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return small_project(tmp_path_factory.mktemp("project"))


def snakemake(project, *targets):
    result = project.run("snakemake", "--cores", "1", *targets)
    return result.returncode, result.stdout + result.stderr


def test_a_damaged_record_stops_only_what_needs_it(project):
    plan = make_plan(Specification(project.folder / "config"))
    key = keys.key(plan.runs[STUDENT])
    file = project.folder / plan.layout().store_entry(STUDENT, key) / "run.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    status, printed = snakemake(project)
    assert status == 1
    assert f"store/{STUDENT}/{key}/run.json: not valid JSON" in printed
    assert not (project.folder / "cache").exists()
    status, printed = snakemake(project, "partial")
    assert status == 0, printed
    assert f"damaged: store/{STUDENT}/{key}/run.json: not valid JSON" in printed
    file.unlink()


def test_a_damaged_record_of_a_cache_is_one_line(project):
    file = project.folder / "cache/smoke/scenes/meta.json"
    file.parent.mkdir(parents=True)
    file.write_text("[]")
    status, printed = snakemake(project, "--dry-run")
    shutil.rmtree(project.folder / "cache")
    assert status == 1
    assert "cache/smoke/scenes/meta.json: keys and values are expected" in printed
    assert "then run `mdkd cache scenes --protocol smoke`" in printed
    assert printed.startswith("WorkflowError in file ")


def test_a_cache_of_other_files_stops_what_needs_it(project):
    """Else runs on the old files would count as done."""
    folder = project.folder
    entry = {"label": "Mine", "source": "folder", "root": "photos"}
    pair = {"dataset": "mine", "teacher": "resnet8x2", "student": "resnet8"}
    mine = {"kind": "comparison", "title": "Mine", "datasets": {"mine": entry}, "pairs": [pair]}
    file = folder / "config" / "experiments" / "mine.yaml"
    file.write_text(yaml.safe_dump(mine | {"methods": ["vanilla"]}))
    for data in ("data", "data2"):
        make_datasets.folder(folder / data / "photos")
    assert project.mdkd("cache", "mine").returncode == 0
    fix = "run `mdkd cache mine --set data_root=data2` again: trainings stay valid if the files are"
    line = f"was made from {folder}/data/photos, and its root is {folder}/data2/photos now; {fix}"
    given = ["--config", "data_root=data2"]
    for words in (["mine", "-n"], ["mine"], ["results/smoke/tables/mine.md", "-n"]):
        status, printed = snakemake(project, *words, *given)
        assert (status, line in printed) == (1, True), words
        assert "Traceback" not in printed and "Building DAG" not in printed
    status, printed = snakemake(project, "mine", "--summary", *given)
    assert (status, line in printed) == (0, True)
    assert project.planned("comparison", *given)  # it has other data
    assert project.mdkd("cache", "mine", "--set", "data_root=data2").returncode == 0
    jobs = project.planned("mine", *given)
    assert jobs["train_supervised"] == 2 and "prepare_dataset" not in jobs
    shutil.rmtree(folder / "data2")
    assert project.planned("mine", *given) == jobs
    for made in ("cache", "data", "results"):
        shutil.rmtree(folder / made, ignore_errors=True)
    file.unlink()


def test_a_mistake_in_config_is_said_to_be_in_the_call(project):
    status, printed = snakemake(project, "-n", "--config", "sedes=1")
    assert status == 1
    assert "--config: unknown key 'sedes'; did you mean 'seeds'?" in printed


def test_what_a_method_needs_is_said_before_images_are_decoded_or_drawn(project):
    edit_yaml(
        project.folder / "config/protocols/smoke.yaml",
        lambda p: p["recipe"].update(batch_size=1000),
    )
    status, printed = snakemake(project)
    assert status == 1
    line = "experiment comparison: protocol smoke: recipe: batch_size 1000 exceeds the 48 training"
    assert f"failed: {line}" in printed
    assert "rule train" not in printed
    assert not list(project.folder.glob("cache/*/*/images_*"))
