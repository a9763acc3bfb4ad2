"""`mdkd plan --commands`: a benchmark without Snakemake, as docs/running.md shows it."""

import re
import shlex
from pathlib import Path

import pytest
from conftest import ROOT, edit_yaml
from workflow_project import small_project

TEACHER = "supervised/scenes/resnet8x2/seed0"
STUDENT = "supervised/scenes/resnet8/seed0"
DISTILLED = "distill/scenes/resnet8x2--resnet8/mld/default/seed0"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Nothing has been run in it."""
    return small_project(tmp_path_factory.mktemp("a project"))


@pytest.fixture(scope="module")
def computed(project, tmp_path_factory):
    """A project in which the loop of docs/running.md has run, while somebody edited config/."""
    project = project.copy(tmp_path_factory.mktemp("computed"))
    (script,) = re.findall(
        r"^(mdkd plan default --commands > .*?^done)$",
        (ROOT / "docs" / "running.md").read_text(),
        re.M | re.S,
    )
    first, loop = script.split("\n", 1)
    assert project.run("sh", "-ec", "python -m " + first).returncode == 0
    methods = project.folder / "config" / "methods.yaml"
    before = methods.read_text()
    edit_yaml(methods, lambda m: m.update(mld={"mld": 5.0}))
    result = project.run("sh", "-ec", loop)
    methods.write_text(before)
    assert result.returncode == 0, result.stdout + result.stderr
    return project


def blocks_of(project, *arguments):
    """The words of all commands: a list of lists for each block."""
    result = project.mdkd("plan", *arguments, "--commands")
    assert result.returncode == 0, result.stderr
    blocks = [block.splitlines() for block in result.stdout.strip().split("\n\n")]
    assert all(block[0].startswith("# ") for block in blocks)
    return [[shlex.split(line) for line in block[1:]] for block in blocks]


def test_data_sets_come_first_then_teachers_then_the_others(project):
    caches, teachers, stored, others = blocks_of(project)
    (plan,) = (project.results / "plans").iterdir()
    tail = ["--plan", str(plan.relative_to(project.folder))]
    assert [words[3:] for words in caches] == [["cache", "scenes", "--if-needed", *tail]]
    assert [words[3:] for words in teachers] == [["train", TEACHER, *tail]]
    assert stored == []  # only one run could read them
    assert [words[3:] for words in others] == [
        ["train", run, *tail] for run in (STUDENT, DISTILLED)
    ]
    for (python, *start, _), *_ in (caches, teachers, others):
        assert Path(python).is_absolute()
        assert start[:2] == ["-m", "mdkd"]


@pytest.mark.parametrize(("second", "kind"), [("mse", "logits"), ("pkt", "pooled")])
def test_outputs_that_two_runs_read_come_between_teachers_and_others(
    project, tmp_path, second, kind
):
    other = project.copy(tmp_path)
    experiment = other.folder / "config" / "experiments" / "comparison.yaml"
    edit_yaml(experiment, lambda e: e.update(methods=["vanilla", "mld", second]))
    _, teachers, stored, others = blocks_of(other)
    assert [words[3:5] for words in stored] == [["logits", f"{kind}/scenes/resnet8x2/seed0"]]
    assert (len(teachers), len(others)) == (1, 3)


def test_a_target_has_its_own_commands(project):
    assert blocks_of(project, "comparison") == blocks_of(project, "default")
    result = project.mdkd("plan", "comparisn", "--commands")
    assert result.returncode == 2
    assert "did you mean 'comparison'?" in result.stderr


def test_after_the_commands_snakemake_makes_tables_only(computed):
    assert blocks_of(computed) == [[], [], [], []]
    rules = ("label_statistics", "collect", "explore", "table", "figure", "all")
    assert computed.planned() == dict.fromkeys(rules, 1) | {"total": len(rules)}
    before = {file: file.stat().st_mtime_ns for file in (computed.folder / "store").rglob("*.*")}
    computed.snakemake()
    assert (computed.results / "tables" / "comparison.tex").stat().st_size > 0
    after = {file: file.stat().st_mtime_ns for file in (computed.folder / "store").rglob("*.*")}
    assert after == before


def test_a_command_that_is_started_again_does_nothing(computed):
    meta = computed.folder / "cache" / "smoke" / "scenes" / "meta.json"
    weights = next((computed.folder / "store" / DISTILLED).rglob("model.pt"))
    before = [file.stat().st_mtime_ns for file in (meta, weights)]
    lines = (computed.folder / "commands.txt").read_text().splitlines()
    for line in [line for line in lines if " cache " in line or DISTILLED in line]:
        assert computed.run("sh", "-c", line).returncode == 0
    assert [file.stat().st_mtime_ns for file in (meta, weights)] == before


def test_a_cache_with_other_settings_is_needed_again(computed, tmp_path):
    other = computed.copy(tmp_path)
    smoke = other.folder / "config" / "protocols" / "smoke.yaml"
    edit_yaml(smoke, lambda p: p["datasets"]["scenes"].update(train=40))
    caches, teachers, _, others = blocks_of(other)
    assert (len(caches), len(teachers), len(others)) == (1, 1, 2)
    assert other.run(*caches[0]).returncode == 0
    assert blocks_of(other)[0] == []
