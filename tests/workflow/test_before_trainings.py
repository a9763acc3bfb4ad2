"""What is wrong with data or records is said before any training starts."""

import shutil

import pytest
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
    assert (
        "cache/smoke/scenes/meta.json: " in printed and "run `mdkd cache scenes` again" in printed
    )
    assert printed.startswith("WorkflowError in file ")


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
