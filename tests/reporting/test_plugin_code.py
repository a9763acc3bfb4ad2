"""A table says if its runs were trained with different code of a plug-in."""

import sys
import time
from dataclasses import replace

import pytest
from conftest import edit_yaml
from reporting_cases import table_texts, write_record
from tuning_case import experiment

from mdkd import plugins
from mdkd.errors import UserError
from mdkd.plan import make_plan
from mdkd.reporting import plan_listing, plugin_code, status_listing
from mdkd.results import Results
from mdkd.spec import Specification
from mdkd.status import statuses

METHOD = "from mdkd.methods.base import method\n\n@method('mine')\ndef f(s, t, y, *, weight): ...\n"
METHOD_YAML = "label: Mine\nrevision: 1\nneeds: [logits]\nsettings: {weight: 2.0}\n"
PAIR = {"dataset": "scenes", "teacher": "resnet8x2", "student": "resnet8"}
FIX = "Raise its revision; then all of them are trained again."
MINE = "distill/scenes/resnet8x2--resnet8/mine/default/seed{}"


@pytest.fixture
def plan(config, tmp_path):
    """A table of the student, MLD and two rows of a plug-in with three seeds."""
    places = sys.path[:]
    folder = tmp_path / f"brought_{tmp_path.name}"
    (folder / "methods").mkdir(parents=True)
    (folder / "methods" / "mine.yaml").write_text(METHOD_YAML)
    (folder / "methods" / "mine.py").write_text(METHOD)
    (config / "experiments" / "comparison.yaml").unlink()
    double = {"method": "mine", "label": "Mine x 2", "set": {"weight": 4}}
    methods = ["vanilla", "mld", "mine", double]
    experiment(config, kind="comparison", pairs=[PAIR], methods=methods)
    user = {"plugins": [str(folder)], "experiments": ["study"], "seeds": [0, 1, 2]}
    edit_yaml(config / "config.yaml", lambda c: c.update(user))
    yield make_plan(Specification(config))
    sys.path[:] = places
    plugins.use([])


def finish(plan, base, code):
    """All runs are done; ``code`` tells the checksum of a run's plug-in, None if it has none."""
    results = Results("smoke", base, plan.runs)
    for path in plan.runs:
        facts = {"name": "mine", "package": "x", "version": None, "sha256": code(path)}
        write_record(results, path, plugins={"method": facts} if code(path) else {})
    return results


def changed(path):
    """The code was changed before the last run of the first row, and before the second row."""
    if "/mine/" not in path:
        return None
    return "new" if path.endswith("seed2") or "weight-4" in path else "old"


def lines(plan, results):
    """The notes about code under the table."""
    text = table_texts(plan.artefacts["study"], results)["md"]
    return [line for line in text.splitlines() if "code" in line]


def test_a_table_names_the_runs_of_each_version(plan, tmp_path):
    results = finish(plan, tmp_path, changed)
    runs = "(1) Mine, seeds 0, 1; (2) Mine, seed 2, and Mine x 2, seeds 0, 1, 2."
    assert lines(plan, results) == [
        f"- Trained with different code of the plug-in mine: {runs} {FIX}"
    ]


def test_one_version_needs_no_note(plan, tmp_path):
    results = finish(plan, tmp_path, lambda path: "new" if "/mine/" in path else None)
    assert lines(plan, results) == []
    assert plugin_code.warnings(plan, results) == []


def test_the_code_of_a_source_says_nothing_more_than_its_cache(plan, tmp_path):
    results = finish(plan, tmp_path, lambda path: None)
    for seed in range(3):
        facts = {"name": "paintings", "sha256": str(seed)}
        write_record(results, MINE.format(seed), plugins={"source": facts})
    assert lines(plan, results) == []


def test_a_network_with_other_code_is_named(plan, tmp_path):
    net = "module:somewhere:plain"
    runs = {
        path: replace(run, net=net if run.arch == "resnet8" else run.net)
        for path, run in plan.runs.items()
    }
    plan = replace(plan, runs=runs)
    results = finish(plan, tmp_path, lambda path: None)
    for path, run in runs.items():
        code = "new" if path == "supervised/scenes/resnet8/seed1" else "old"
        own = {"net": {"name": net, "sha256": code}} if run.net == net else {}
        write_record(results, path, plugins=own)
    (line,) = lines(plan, results)
    assert f"plug-in {net}: (1) Student, seeds 0, 2, and MLD, seeds 0, 1, 2, and" in line
    assert "; (2) Student, seed 1. Give the network another name in architectures.yaml" in line


def test_records_of_early_versions_and_of_others_are_left_alone(plan, tmp_path):
    results = finish(plan, tmp_path, changed)
    for path in plan.runs:
        if "/mine/" in path:
            write_record(results, path)  # says nothing of plug-ins
    assert lines(plan, results) == []


def test_no_record_is_read_for_a_table_without_plugins(plan, tmp_path, monkeypatch):
    results = finish(plan, tmp_path, changed)
    read = []
    monkeypatch.setattr(Results, "record", lambda self, path: read.append(path) or {})
    plugin_code.warnings(plan, results)
    assert sorted(read) == sorted(path for path in plan.runs if "/mine/" in path)


def test_plan_and_status_warn(plan, config, tmp_path):
    results = finish(plan, tmp_path, changed)
    path = MINE.format(0)
    other = MINE.format(2)
    runs = f"(1) {path} and 1 more; (2) {other} and 3 more."
    expected = f"Trained with different code of the plug-in mine: {runs} {FIX}"
    now = time.time()
    for text in (
        plan_listing.overview(plan, results),
        status_listing.overview(plan, results, statuses(plan, results, now), now),
    ):
        assert expected in " ".join(text.split())


def test_a_record_with_damaged_facts_is_damaged(plan, tmp_path):
    results = finish(plan, tmp_path, changed)
    write_record(results, MINE.format(0), plugins={"method": {"name": 3, "sha256": "x"}})
    assert results.state(MINE.format(0)) == "damaged"
    with pytest.raises(UserError, match="plugins: method: name: expected text"):
        results.record(MINE.format(0))
