"""The workflow as a user runs it: what is planned, what is made, and what a change redoes."""

import json
import re
import shutil
import subprocess

import pytest
import yaml
from conftest import ROOT, edit_text, edit_yaml
from workflow_project import Project, small_project

from mdkd.metrics import METRICS


@pytest.fixture(scope="module")
def default(tmp_path_factory):
    """The project as it is cloned."""
    return Project(tmp_path_factory.mktemp("default"), default=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project whose workflow has been run: two methods, one seed."""
    project = small_project(tmp_path_factory.mktemp("made"))
    project.output = project.snakemake()
    return project


@pytest.fixture
def restored(made):
    """The same project; what a test edits is put back, with its old time stamps."""
    code = made.folder / "mdkd"
    files = [f for f in (made.folder / "config").rglob("*.*") if f.is_file()]
    files += [*code.rglob("*.py"), *code.rglob("*.yaml")]
    before = {file: (file.read_bytes(), file.stat()) for file in files}
    yield made
    for file, (content, stat) in before.items():
        if file.read_bytes() != content:
            file.write_bytes(content)
            subprocess.run(["touch", "-d", f"@{stat.st_mtime_ns / 1e9:.6f}", file], check=True)


def read(project, file):
    return yaml.safe_load((project.folder / "config" / file).read_text(encoding="utf-8"))


def test_a_bare_dry_run_plans_the_comparison(default):
    seeds = len(read(default, "protocols/quick.yaml")["seeds"])
    distilled = seeds * (len(read(default, "experiments/comparison.yaml")["methods"]) - 1)
    supervised = 1 + seeds
    jobs = default.planned()
    artefacts = dict.fromkeys(
        ("collect", "explore", "label_statistics", "table", "figure", "all"), 1
    )
    assert jobs.pop("total") == sum(jobs.values())
    assert jobs == artefacts | {
        "prepare_dataset": 1,
        "train_supervised": supervised,
        "distill": distilled,
        "store_logits": seeds,  # of the teacher, for each seed
    }
    assert not (default.folder / "results").exists()


def test_every_seed_given_on_the_command_line_is_planned(default):
    jobs = default.planned("--config", "seeds=[0,1,2,3]")
    methods = len(read(default, "experiments/comparison.yaml")["methods"])
    assert (jobs["train_supervised"], jobs["distill"]) == (1 + 4, 4 * (methods - 1))


def test_a_mistake_stops_the_workflow_in_one_line(default):
    result = default.run("snakemake", "-n", "--config", "experiments=comparisn")
    assert result.returncode != 0
    assert "experiments: no experiment 'comparisn'; did you mean 'comparison'?" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_an_unknown_target_is_named_with_the_nearest(default):
    result = default.run("snakemake", "-n", "comparison", "tabel4")
    assert result.returncode != 0
    assert "\ntabel4: not in the plan; did you mean 'table4'?\n" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    for target in ("partial", "collect", "results/quick/figures/comparison.pdf"):
        assert default.run("snakemake", "-n", target).returncode == 0, target


@pytest.mark.parametrize("name", ["distill", "download_voc2007", "all"])
def test_an_experiment_cannot_have_the_name_of_a_rule(default, name):
    """Neither as its own name nor as a target that it names."""
    experiment = read(default, "experiments/comparison.yaml") | {"targets": [name]}
    file = default.folder / "config" / "experiments" / "mine.yaml"
    file.write_text(yaml.safe_dump(experiment), encoding="utf-8")
    own = file.rename(file.with_name(f"{name}.yaml")) if name == "distill" else file
    result = default.run("snakemake", "-n")
    own.unlink()
    assert result.returncode != 0
    message = f"experiments/{own.name}: '{name}' is the name of a rule of the workflow and cannot"
    assert message in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_the_rules_pass_lint_and_formatter(default):
    lint = default.run("snakemake", "--lint")
    assert lint.returncode == 0, lint.stdout + lint.stderr
    settings = str(ROOT / "pyproject.toml")
    style = default.run("snakefmt", "--config", settings, "--check", "Snakefile", "workflow")
    assert style.returncode == 0, style.stdout + style.stderr


def test_one_command_makes_tables_and_figures(made):
    for name in ("comparison.csv", "comparison.md", "comparison.tex", "comparison.html"):
        assert (made.results / "tables" / name).stat().st_size > 0
    for name in ("comparison.pdf", "comparison.svg", "comparison.png"):
        assert (made.results / "figures" / name).stat().st_size > 0
    entries = {file.parent for file in (made.folder / "store").rglob("metrics.json")}
    assert {entry.parent.name for entry in entries} == {"seed0"}
    assert len(entries) == 3
    assert len((made.results / "metrics.csv").read_text().splitlines()) == 1 + 3 * len(METRICS)
    table = (made.results / "tables" / "comparison.md").read_text()
    rows = re.findall(r"^\| (\w+) \| [*<>/u\d. ]+ \| [*<>/u\d. ]+ \|$", table, re.MULTILINE)
    assert rows == ["Teacher", "Student", "MLD"]
    assert "–" not in table
    assert table.strip() in made.output  # shown at the end
    assert "Student" in (made.results / "explore.html").read_text(encoding="utf-8")
    report = (made.results / "report.html").read_text(encoding="utf-8")
    assert 'href=\\"explore.html\\"' in report
    assert (
        "<tr><th>Student</th>"
        in report.partition("workflow_desc = ")[2].partition("var results")[0]
    )
    assert "align-items: safe center" in report  # the top of a figure can be reached
    assert '"Finished runs": 3' in report  # without metadata, the report starts with the jobs
    results = report.partition('<script id="results">')[2].partition("var results = ")[2]
    files, _ = json.JSONDecoder().raw_decode(results)
    labels = {value for file in files.values() for value in file["labels"].values()}
    assert labels == {
        *("comparison: figure", "comparison: table", "comparison: table, LaTeX"),
        *("scenes: images", "scenes: labels"),
    }
    assert all(len(file["labels"]) == 1 for file in files.values())  # of several it makes switches
    caption = files["results/smoke/tables/comparison.html"]["caption"]
    assert "Protocol smoke, seed 0.\n" in caption and "notes" not in caption
    assert not list((made.folder / "store").rglob("checkpoint*.pt"))
    logs = made.folder / "logs/smoke/train/distill/scenes/resnet8x2--resnet8/mld/default/seed0"
    (log,) = logs.iterdir()
    assert "epoch 2/2" in log.read_text()


def test_a_second_run_has_nothing_to_do(made):
    assert "Nothing to be done" in made.snakemake()


MLD_ALONE = {
    "distill": 1,
    "collect": 1,
    "explore": 1,
    "table": 1,
    "figure": 1,
    "all": 1,
    "total": 6,
}


def test_a_changed_weight_redoes_its_method_and_no_other(restored):
    methods = restored.folder / "config" / "methods.yaml"
    edit_yaml(methods, lambda m: m.update(mld={"mld": 5.0}))
    assert restored.planned() == MLD_ALONE


def test_a_raised_revision_redoes_its_method_and_no_other(restored):
    own = restored.folder / "mdkd" / "methods" / "mld.yaml"
    edit_yaml(own, lambda m: m.update(revision=m["revision"] + 1))
    assert restored.planned() == MLD_ALONE


def test_a_change_of_a_method_nobody_uses_redoes_nothing(restored):
    edit_yaml(restored.folder / "mdkd" / "methods" / "rkd.yaml", lambda m: m.update(revision=9))
    assert restored.planned() == {}


def test_a_changed_label_redoes_what_shows_it_alone(restored):
    own = restored.folder / "mdkd" / "methods" / "mld.yaml"
    edit_yaml(own, lambda m: m.update(label="Another name"))
    jobs = restored.planned()
    assert jobs == {"explore": 1, "table": 1, "figure": 1, "all": 1, "total": 4}


def test_a_changed_teacher_redoes_what_it_taught(restored):
    archs = restored.folder / "config" / "architectures.yaml"
    edit_yaml(archs, lambda a: a["resnet8x2"].update(net="cifar:resnet14"))
    jobs = restored.planned()
    assert (jobs["train_supervised"], jobs["distill"]) == (1, 1)


def test_a_new_seed_trains_the_new_runs_alone(restored):
    edit_yaml(restored.folder / "config" / "config.yaml", lambda c: c.update(seeds=[0, 1]))
    jobs = restored.planned()
    assert (jobs["train_supervised"], jobs["distill"]) == (1, 1)


def test_an_edited_comment_redoes_nothing(restored):
    edit_text(
        restored.folder / "mdkd" / "training" / "loop.py", "# for dropout", "# for the dropout"
    )
    assert restored.planned() == {}


def test_partial_prints_a_table_with_a_gap(restored):
    edit_yaml(restored.folder / "config" / "config.yaml", lambda c: c.update(seeds=[0, 1]))
    experiment = restored.folder / "config" / "experiments" / "comparison.yaml"
    edit_yaml(experiment, lambda e: e.update(methods=["vanilla", "mld", "ps"]))
    tables = {file: file.read_bytes() for file in (restored.results / "tables").iterdir()}
    output = restored.snakemake("partial")
    text = (restored.results / "partial" / "tables" / "comparison.md").read_text()
    assert text.strip() in output
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines()}
    assert re.fullmatch(r"\| PS \| – \| – \|", lines["PS"])
    assert re.fullmatch(r"\| MLD \| .*\d\.\d\d†.* \| .*\d\.\d\d†.* \|", lines["MLD"])
    assert "3 of 7 runs" in text
    assert tables == {file: file.read_bytes() for file in (restored.results / "tables").iterdir()}
    assert not list(restored.results.rglob("ps"))


def test_after_a_failure_the_last_lines_are_the_failed_jobs(restored):
    """One line each, with the reason and the log."""
    experiment = restored.folder / "config" / "experiments" / "comparison.yaml"
    edit_yaml(experiment, lambda e: e.update(methods=["vanilla", "mld", {"mse": {"weight": 0.5}}]))
    edit_text(restored.folder / "mdkd/methods/mse.py", "weight * gap", "1e38 * gap")
    result = restored.run("sh", "-c", "snakemake --cores 1 2>&1")  # as a terminal shows it
    assert result.returncode != 0
    run = "distill/scenes/resnet8x2--resnet8/mse/weight-0.5/seed0"
    lines = result.stdout.splitlines()
    found = [line for line in lines if line.startswith("failed: ")]
    assert len(found) == 1
    assert found[0].startswith("failed: losses not finite in epoch 1, step 1: mse; ")
    assert re.search(rf"\(log: logs/smoke/train/{run}/\w+\.log\)$", found[0])
    after = lines[lines.index(found[0]) + 1 :]
    assert len(after) <= 5  # Snakemake's own last words
    shutil.rmtree(restored.folder / "store" / run)
