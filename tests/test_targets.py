"""A target means the same runs for every verb: a group, an artefact, `default` or `all`."""

import json
import shlex

import pytest
from conftest import edit_yaml
from cost_case import two_experiments

from mdkd.cli import main

METHODS = {"small": {"mld", "reviewkd"}, "wide": {"mld", "mdkd"}}  # those with a teacher
EXPECTED = {
    None: {"small", "wide"},
    "all": {"small", "wide"},
    "default": {"small"},
    "group": {"wide"},
    "wide": {"wide"},
}


@pytest.fixture
def printed(config, tmp_path, monkeypatch, capsys):
    """What a command prints about a plan of two experiments, of which one is made by default."""
    two_experiments(config)
    edit_yaml(config / "experiments" / "wide.yaml", lambda e: e.update(targets=["group"]))
    monkeypatch.chdir(tmp_path)

    def printed(*words, status=0):
        given = ["--config", str(config), "--set", 'experiments=["small"]']
        assert main([*words, *given]) == status
        captured = capsys.readouterr()
        return captured.err if status else captured.out

    return printed


def methods_of(paths):
    return {path.split("/")[3] for path in paths if path.startswith("distill/")}


@pytest.mark.parametrize("target", EXPECTED)
def test_every_verb_means_the_same_runs(printed, target):
    words = [target] if target else []
    expected = set().union(*(METHODS[name] for name in EXPECTED[target]))
    commands = [shlex.split(line) for line in printed("plan", "--commands", *words).splitlines()]
    assert methods_of(w[4] for w in commands if w[3:4] == ["train"]) == expected
    runs = json.loads(printed("status", "--json", *words))["runs"]
    assert methods_of(run["path"] for run in runs) == expected
    plan = json.loads(printed("plan", "--json", *words))
    if "artefacts" in plan:
        assert {artefact["name"] for artefact in plan["artefacts"]} == EXPECTED[target]
    else:
        assert methods_of(run["path"] for run in plan["runs"]) == expected
    assert f"{len(runs)} runs: no finished epoch" in printed("curves", *words, status=2)


@pytest.mark.parametrize(
    "verb", ["plan", "plan --commands", "status", "report document", "report show"]
)
def test_an_unknown_target_is_named(printed, verb):
    error = printed(*verb.split(), "defalt", status=2)
    assert "did you mean 'default'?" in error


@pytest.mark.parametrize(
    ("target", "tables"), [(None, ["small"]), ("wide", ["wide"]), ("all", ["small"])]
)
def test_tables_are_shown_and_where_all_files_are(printed, tmp_path, target, tables):
    """Those made by default, and that of a single artefact."""
    folder = tmp_path / "results" / "smoke"
    (folder / "tables").mkdir(parents=True)
    for name in METHODS:
        (folder / "tables" / f"{name}.md").write_text(f"table of {name}\n")
    lines = printed("report", "show", *([target] if target else [])).splitlines()
    assert [line for line in lines if line.startswith("table of")] == [
        f"table of {name}" for name in tables
    ]
    names = [name for name in METHODS if name in EXPECTED[target or "default"]]
    assert [line.split() for line in lines if line.startswith(("table  ", "figure"))] == [
        [what, f"results/smoke/{what}s/{name}.{suffix}"]
        for name in names
        for what, suffix in (("table", "tex"), ("figure", "pdf"))
    ]
    assert lines[-1].split() == ["page", "results/smoke/explore.html"]
