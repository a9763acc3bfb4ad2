"""From the specification to unique runs and to the cells of every table."""

import json
from dataclasses import asdict, replace

import pytest
from conftest import edit_yaml

from mdkd import methodfiles
from mdkd.config import parse
from mdkd.errors import UserError
from mdkd.plan import Plan, make_plan
from mdkd.resolve import resolve_run
from mdkd.runpath import slug as slug_of
from mdkd.spec import Specification


def pair(teacher, student):
    return {"dataset": "scenes", "teacher": teacher, "student": student}


def plan_of(config, pairs, methods, **protocol):
    """The plan of a hand-made experiment under a changed smoke protocol."""
    change = {"pairs": pairs, "methods": methods}
    edit_yaml(config / "experiments" / "comparison.yaml", lambda e: e.update(change))
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p.update(protocol))
    return make_plan(Specification(config))


def supervised(arch, *seeds):
    return [f"supervised/scenes/{arch}/seed{seed}" for seed in seeds]


def distilled(pair, method, *seeds):
    return [f"distill/scenes/{pair}/{method}/default/seed{seed}" for seed in seeds]


def test_comparison_has_a_teacher_and_seeds_of_every_method(config):
    methods = ["vanilla", "mld", "rkd", "pkt", "reviewkd", "mse", "ps", "l2d", "mdkd"]
    plan = plan_of(config, [pair("resnet20", "resnet8")], methods)
    expected = supervised("resnet20", 0) + supervised("resnet8", 0, 1)
    for method in methods[1:]:
        expected += distilled("resnet20--resnet8", method, 0, 1)
    assert sorted(plan.runs) == sorted(expected)
    assert len(plan.runs) == 19
    rows = plan.artefacts["comparison"].rows
    assert [row.role for row in rows] == ["teacher", "student"] + 8 * ["method"]
    assert [len(row.cells) for row in rows] == 10 * [1]
    assert [len(row.cells[0].runs) for row in rows] == [1] + 9 * [2]


def test_pairs_share_their_teacher(config):
    pairs = [pair("wrn40_2", "resnet8"), pair("wrn40_2", "resnet20")]
    plan = plan_of(config, pairs, ["vanilla", "mld"])
    assert sorted(plan.runs) == sorted(
        supervised("wrn40_2", 0)
        + supervised("resnet8", 0, 1)
        + supervised("resnet20", 0, 1)
        + distilled("wrn40_2--resnet8", "mld", 0, 1)
        + distilled("wrn40_2--resnet20", "mld", 0, 1)
    )
    assert sum(len(row.cells) for row in plan.artefacts["comparison"].rows) == 6


def test_pairs_share_their_student(config):
    pairs = [pair("resnet20", "resnet8"), pair("wrn40_2", "resnet8")]
    plan = plan_of(config, pairs, ["vanilla", "mld"])
    vanilla = plan.artefacts["comparison"].rows[1].cells
    assert vanilla[0].runs == vanilla[1].runs == supervised("resnet8", 0, 1)
    assert len(plan.runs) == 2 + 2 + 4


def test_a_run_is_teacher_here_and_student_there_and_occurs_once(config):
    pairs = [pair("resnet20", "resnet8"), pair("resnet8", "resnet20")]
    plan = plan_of(config, pairs, ["vanilla", "mld"])
    assert sorted(plan.runs) == sorted(
        supervised("resnet20", 0, 1)
        + supervised("resnet8", 0, 1)
        + distilled("resnet20--resnet8", "mld", 0, 1)
        + distilled("resnet8--resnet20", "mld", 0, 1)
    )
    artefact = plan.artefacts["comparison"]
    assert len(artefact.runs) == len(set(artefact.runs)) == 8
    assert artefact.columns == ["Scenes: ResNet20 → ResNet8", "Scenes: ResNet8 → ResNet20"]


def test_experiments_share_runs(config):
    (config / "experiments" / "again.yaml").write_text(
        (config / "experiments" / "comparison.yaml").read_text()
    )
    alone = make_plan(Specification(config))
    both = make_plan(Specification(config, {"experiments": ["comparison", "again"]}))
    assert both.runs == alone.runs
    assert list(both.artefacts) == ["comparison", "again"]


def test_teachers_come_before_their_students_even_if_no_row_asks_for_them(config):
    plan = plan_of(config, [pair("resnet20", "resnet8")], ["mld"], teacher_seed=7)
    order = list(plan.runs)
    for path, run in plan.runs.items():
        assert run.path == path
        if run.teacher:
            assert run.teacher == "supervised/scenes/resnet20/seed7"
            assert order.index(run.teacher) < order.index(path)


VARIANTS = [
    ("mld", {}, "default"),
    ("mld", {"mld": 10}, "default"),
    ("mld", {"mld": 2.5}, "mld-2.5"),
    ("mdkd", {"bd3": 0.5, "bd4": 0}, "bd3-0.5_bd4-0"),
    ("mdkd", {"norm": "sum", "id2": 1e-6, "mld": 10}, "id2-1e-06_norm-sum"),
    ("mdkd", {"bd2": 1}, "default"),
    ("reviewkd", {"mid_channels": 32}, "mid_channels-32"),
    ("reviewkd", {"weight": 0.25, "mid_channels": 8}, "mid_channels-8_weight-0.25"),
    ("rkd", {"input": "logits", "angle": 0}, "angle-0_input-logits"),
    ("pkt", {"weight": 3e7}, "weight-3e07"),
]


@pytest.mark.parametrize(("method", "changes", "slug"), VARIANTS)
def test_variants_are_readable_and_invertible(config, method, changes, slug):
    spec = Specification(config)
    checked = spec.methods[method].checked(changes, "here")
    assert slug_of(checked, spec.methods[method].settings) == slug
    run = resolve_run(spec, f"distill/scenes/resnet20--resnet8/{method}/{slug}/seed0")
    settings = run.method.settings
    assert settings == spec.methods[method].settings | changes
    assert run.recipe == spec.protocol.recipe
    types = {key: type(value) for key, value in spec.methods[method].settings.items()}
    assert {key: type(value) for key, value in settings.items()} == types


@pytest.mark.parametrize(
    ("method", "variant"),
    [
        ("mdkd", "bd3-0.50"),  # not the canonical spelling
        ("mdkd", "bd4-0_bd3-0.5"),  # not the canonical order
        ("mdkd", "bd3-1"),  # the default, under another name
        ("mdkd", "bd9-1"),
        ("mdkd", "bd3-x"),
        ("mdkd", "bd3-0.5_"),
        ("mdkd", "nonsense"),
        ("reviewkd", "mid_channels-8.5"),
        ("mld", "mld-nan"),
        ("vanilla", "mld-1"),
    ],
)
def test_only_canonical_variants_are_runs(config, method, variant):
    path = f"distill/scenes/resnet20--resnet8/{method}/{variant}/seed0"
    with pytest.raises(UserError, match="resnet20--resnet8"):
        resolve_run(Specification(config), path)


def test_variants_are_relative_to_the_protocols_defaults(config):
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p.update(methods={"mld": {"mld": 3}}))
    spec = Specification(config)
    assert spec.methods["mld"].settings == {"mld": 3}
    assert slug_of({"mld": 3.0}, spec.methods["mld"].settings) == "default"
    assert slug_of({"mld": 10.0}, spec.methods["mld"].settings) == "mld-10"
    run = resolve_run(spec, distilled("resnet20--resnet8", "mld", 0)[0])
    assert run.method.settings == {"mld": 3}


def test_changed_settings_make_a_row_and_runs_of_their_own(config):
    methods = ["mld", {"mld": {"mld": 2.5}}]
    plan = plan_of(config, [pair("resnet20", "resnet8")], methods)
    rows = plan.artefacts["comparison"].rows
    assert [row.label for row in rows] == ["Teacher", "MLD", "MLD (mld-2.5)"]
    path = "distill/scenes/resnet20--resnet8/mld/mld-2.5/seed1"
    assert rows[2].cells[0].runs[1] == path
    assert plan.runs[path].method.settings == {"mld": 2.5}


def test_paths_of_the_plan_are_resolved_to_the_same_runs(config):
    pairs = [pair("wrn40_2", "mobilenet_v2"), pair("resnet20", "resnet8")]
    methods = ["vanilla", "rkd", {"reviewkd": {"mid_channels": 8}}, {"mdkd": {"norm": "sum"}}]
    plan = plan_of(config, pairs, methods)
    spec = Specification(config)
    for path, run in plan.runs.items():
        assert resolve_run(spec, path) == run
    run = plan.runs["distill/scenes/wrn40_2--mobilenet_v2/rkd/default/seed1"]
    assert (run.arch, run.net) == ("mobilenet_v2", "mobilenetv2_100.ra_in1k")
    assert (run.teacher, run.seed) == ("supervised/scenes/wrn40_2/seed0", 1)


@pytest.mark.parametrize(
    "path",
    [
        "supervised/scenes/resnet8",
        "supervised/scenes/resnet8/seed-1",
        "supervised/scenes/resnet8/seed0/x",
        "distill/scenes/resnet20--resnet8/mld/seed0",
        "../supervised/scenes/resnet8/seed0",
    ],
)
def test_other_paths_are_refused(config, path):
    with pytest.raises(UserError, match="not a run path"):
        resolve_run(Specification(config), path)


@pytest.mark.parametrize(
    "head",
    [
        {"kind": "gap"},
        {"kind": "mldecoder", "width": 32, "queries": 4, "heads": 2, "feedforward": 64},
    ],
)
def test_l2d_without_label_embeddings_is_a_cell_with_a_reason(config, head):
    plan = plan_of(config, [pair("resnet20", "resnet8")], ["vanilla", "l2d", "mld"], head=head)
    cells = [row.cells[0] for row in plan.artefacts["comparison"].rows]
    assert cells[2].runs == []
    assert "one embedding per label" in cells[2].unavailable
    assert [cell.unavailable for cell in (cells[0], cells[1], cells[3])] == [None] * 3
    assert not any("l2d" in path for path in plan.runs)
    assert len(plan.runs) == 1 + 2 + 2


def test_seeds_given_by_the_user_replace_the_protocols(config):
    edit_yaml(config / "config.yaml", lambda c: c.update(seeds=[3, 5, 8]))
    plan = plan_of(config, [pair("resnet20", "resnet8")], ["vanilla", "mld"])
    artefact = plan.artefacts["comparison"]
    assert artefact.seeds == [3, 5, 8]
    assert artefact.rows[1].cells[0].runs == supervised("resnet8", 3, 5, 8)
    assert artefact.rows[0].cells[0].runs == supervised("resnet20", 0)  # teachers keep theirs


def test_a_plan_survives_its_file(config):
    head = {"kind": "gap"}
    methods = ["vanilla", "l2d", {"mdkd": {"bd3": 0.5}}]
    plan = plan_of(config, [pair("resnet20", "resnet8")], methods, head=head)
    assert parse(Plan, json.loads(json.dumps(plan.to_json())), "plan.json") == plan


def test_runs_hold_all_that_their_numbers_depend_on(config):
    """One key of every file is changed in turn; the runs it concerns change, no other."""
    methods = config / "methods.yaml"
    methods.write_text("mld: {mld: 9.0}\n")
    before = {path: asdict(run) for path, run in make_plan(Specification(config)).runs.items()}

    def changed_by(file, change):
        text = file.read_text()
        edit_yaml(file, change)
        runs = make_plan(Specification(config)).runs
        file.write_text(text)
        assert runs.keys() == before.keys()
        return {path for path, run in runs.items() if asdict(run) != before[path]}

    of_mld = {path for path in before if "/mld/" in path}
    assert len(of_mld) == 2
    assert changed_by(methods, lambda m: m["mld"].update(mld=11.0)) == of_mld
    assert changed_by(config / "protocols" / "smoke.yaml", lambda p: p.update(stem="cifar")) == (
        before.keys()
    )
    net = changed_by(config / "architectures.yaml", lambda a: a["resnet8"].update(net="cifar:x"))
    assert net == {path for path, run in before.items() if run["arch"] == "resnet8"}
    root = changed_by(config / "config.yaml", lambda c: c.update(data_root="/elsewhere"))
    assert root == set()


def test_revision_and_label_of_a_method_come_from_the_file_beside_its_code(config, monkeypatch):
    read = methodfiles.read

    def changed(name):
        method = read(name)
        return replace(method, revision=7, label="Other") if name == "mld" else method

    before = make_plan(Specification(config))
    monkeypatch.setattr(methodfiles, "read", changed)
    after = make_plan(Specification(config))
    differ = {path for path, run in after.runs.items() if run != before.runs[path]}
    assert differ == {path for path in before.runs if "/mld/" in path}
    assert {after.runs[path].method.revision for path in differ} == {7}
    assert "Other" in [row.label for row in after.artefacts["comparison"].rows]
