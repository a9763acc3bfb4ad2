"""Rows that change the recipe or the seed of the teacher, and experiments with seeds of their own.

The changes belong to a run: they are in its path, in its key and in its stored logits.
"""

from dataclasses import replace

import pytest
import yaml
from conftest import ROOT, edit_yaml

from mdkd import keys, logits, records
from mdkd.cli import main
from mdkd.config import ROW_KEYS
from mdkd.costs import Estimator, costs
from mdkd.errors import UserError
from mdkd.layout import Layout
from mdkd.plan import Plan, make_plan
from mdkd.rates import read_rates
from mdkd.resolve import resolve_run
from mdkd.spec import Specification
from mdkd.status import statuses

PAIR = {"dataset": "scenes", "teacher": "resnet8x2", "student": "resnet8"}
STEM = "distill/scenes/resnet8x2--resnet8"
STUDENT, TEACHER = "supervised/scenes/resnet8", "supervised/scenes/resnet8x2"
ROWS = [
    "vanilla",
    {"method": "vanilla", "label": "Student, longer", "recipe": {"epochs": 40}},
    "mld",
    {"method": "mdkd", "teacher_seed": 1, "recipe": {"epochs": 4}, "set": {"bd2": 0}},
    {"method": "mld", "label": "Same", "teacher_seed": 0, "recipe": {"epochs": 2, "flip": True}},
]


def plan_of(config, methods, name="mine", overrides=(), **keys):
    """The plan of one experiment with these rows under smoke: 2 epochs, seeds 0 and 1."""
    content = {"kind": "comparison", "title": "T", "pairs": [PAIR], "methods": methods} | keys
    (config / "experiments" / f"{name}.yaml").write_text(yaml.safe_dump(content))
    plan = make_plan(Specification(config, {"protocol": "smoke", **dict(overrides)}))
    plan.refuse_broken([name])
    return plan.only([name])


def test_the_changes_of_a_row_are_in_the_paths_of_its_runs(config):
    found = plan_of(config, ROWS).artefacts["mine"]
    assert {row.label: row.cells[0].runs[0] for row in found.rows} == {
        "Teacher, seed 0": f"{TEACHER}/seed0",
        "Teacher, seed 1": f"{TEACHER}/seed1",
        "Student": f"{STUDENT}/seed0",
        "Student, longer": f"{STUDENT}/epochs-40/seed0",
        "MLD": f"{STEM}/mld/default/seed0",
        "MDKD (bd2-0_epochs-4_teacher_seed-1)": f"{STEM}/mdkd/bd2-0_epochs-4_teacher_seed-1/seed0",
        "Same": f"{STEM}/mld/default/seed0",  # it changes nothing
    }
    assert [row.role for row in found.rows] == ["teacher"] * 2 + ["student"] * 2 + ["method"] * 3


def test_the_changes_of_a_row_are_in_its_runs_and_their_keys(config):
    plan = plan_of(config, ROWS)
    plain, longer = plan.runs[f"{STUDENT}/seed0"], plan.runs[f"{STUDENT}/epochs-40/seed0"]
    assert plain.recipe.epochs == 2
    assert longer.recipe == replace(plain.recipe, epochs=40)
    assert replace(longer, path=plain.path, recipe=plain.recipe) == plain
    mdkd = plan.runs[f"{STEM}/mdkd/bd2-0_epochs-4_teacher_seed-1/seed1"]
    assert (mdkd.recipe.epochs, mdkd.method.settings["bd2"], mdkd.seed) == (4, 0, 1)
    # The teacher is that of the protocol, with another seed.
    assert mdkd.teacher == f"{TEACHER}/seed1"
    assert plan.runs[mdkd.teacher].recipe == plain.recipe
    assert mdkd.teacher_key == keys.key(plan.runs[mdkd.teacher])
    assert len({keys.key(run) for run in plan.runs.values()}) == len(plan.runs) == 2 + 4 * 2


def test_a_plan_with_such_runs_can_be_read_again(config, tmp_path):
    plan = plan_of(config, ROWS, overrides={"experiments": ["mine"]})
    file = tmp_path / "plan.json"
    records.write_json(file, plan.to_json())
    found = Plan.read(file)
    assert found == plan
    assert [run.teacher is None for run in found.runs.values()] == [True] * 6 + [False] * 4
    assert len(statuses(found, Layout("smoke", tmp_path), now=0.0)) == 10


CHANGES = {
    "batch_size-8": {"batch_size": 8},
    "bce_reduction-sum_sum": {"bce_reduction": "sum_sum"},
    "cutout-0.25_flip-false": {"cutout": 0.25, "flip": False},
    "epochs-1e06": {"epochs": 1000000},
    "lr-1e-05_schedule-onecycle": {"lr": 0.00001, "schedule": "onecycle"},
    "accumulate-4_ema-0.99_warmup_epochs-0.5": {"accumulate": 4, "ema": 0.99, "warmup_epochs": 0.5},
    "betas-0.9-1e-05_optimizer-adamw": {"betas": [0.9, 0.00001], "optimizer": "adamw"},
    "momentum-0.9_nesterov-true_optimizer-sgd": {
        "momentum": 0.9,
        "nesterov": True,
        "optimizer": "sgd",
    },
    "teacher_logits-float16_weight_decay-0": {"teacher_logits": "float16", "weight_decay": 0.0},
}


@pytest.mark.parametrize("variant", CHANGES)
@pytest.mark.parametrize("family", [f"{STEM}/mdkd", STUDENT])
def test_a_path_gives_the_run_that_it_names(config, variant, family):
    spec, path = Specification(config), f"{family}/{variant}/seed0"
    run = resolve_run(spec, path)
    assert run.path == path
    assert run.recipe == replace(spec.protocol.recipe, **CHANGES[variant])
    method = family.rpartition("/")[2] if family != STUDENT else "vanilla"
    planned = plan_of(config, [{"method": method, "recipe": CHANGES[variant]}])
    assert planned.runs[path] == run


@pytest.mark.parametrize(
    "path",
    [
        f"{STUDENT}/epochs-2/seed0",  # as the protocol has it
        f"{STUDENT}/epochs-2.5/seed0",
        f"{STUDENT}/teacher_seed-1/seed0",
        f"{STUDENT}/flip-no/seed0",
        f"{STUDENT}/betas-0.9/seed0",
        f"{STUDENT}/betas-0.9-x/seed0",
        f"{STUDENT}/betas-0.9-0.999/seed0",  # as the protocol has it
        f"{STUDENT}/momentum-0.9/seed0",  # without optimizer-sgd
        f"{STUDENT}/warmup_epochs-2/seed0",  # all of the training
        f"{STUDENT}/flip-0/seed0",
        f"{STEM}/mld/epochs-nan/seed0",
        f"{STEM}/mld/epochs-9_batch_size-8/seed0",  # not the order of the alphabet
        f"{STEM}/mld/teacher_seed-0/seed0",
        f"{STEM}/mld/teacher_seed--1/seed0",
        f"{STEM}/mld/teacher_seed-1.5/seed0",
        f"{STEM}/mld/teacher_seed-1_teacher_seed-2/seed0",
        f"{STEM}/mld/normalisation-none/seed0",
        f"{STEM}/mld/epochs-0/seed0",
    ],
)
def test_all_other_variants_are_refused(config, path):
    with pytest.raises(UserError, match=f"^{path}"):
        resolve_run(Specification(config), path)


def test_changes_are_relative_to_the_protocol(config):
    edit_yaml(config / "protocols/smoke.yaml", lambda p: p.update(teacher_seed=1))
    rows = [{"method": "mld", "teacher_seed": 1}, {"method": "mld", "teacher_seed": 0}]
    found = plan_of(config, rows).artefacts["mine"]
    assert [row.cells[0].runs[0] for row in found.rows] == [
        f"{TEACHER}/seed1",
        f"{TEACHER}/seed0",
        f"{STEM}/mld/default/seed0",
        f"{STEM}/mld/teacher_seed-0/seed0",
    ]


def test_no_setting_of_a_method_has_the_name_of_a_key_of_rows():
    methods = Specification(ROOT / "config").methods.values()
    assert not {key for method in methods for key in method.settings} & set(ROW_KEYS)
    assert set(ROW_KEYS) >= {"epochs", "batch_size", "lr", "flip", "teacher_seed"}


@pytest.mark.parametrize(
    ("change", "key"), [({"teacher_seed": 1}, "teacher_seed"), ({"recipe": {"lr": 0.1}}, "lr")]
)
def test_a_kind_that_needs_one_teacher_and_one_recipe_says_so(config, change, key):
    message = rf"mine\.yaml: methods: mld: {key}: kind 'transfer' needs one recipe and one teacher"
    with pytest.raises(UserError, match=message):
        plan_of(config, [{"method": "mld", **change}], kind="transfer")


# Seeds of an experiment


def seeds_of(plan):
    artefact = plan.artefacts["mine"]
    runs = [path.rpartition("seed")[2] for path in artefact.rows[1].cells[0].runs]
    assert artefact.seeds == [int(seed) for seed in runs]
    return artefact.seeds


def test_an_experiment_may_have_seeds_of_its_own(config):
    assert seeds_of(plan_of(config, ["mld"])) == [0, 1]  # the protocol's
    assert seeds_of(plan_of(config, ["mld"], seeds=[3, 4, 5])) == [3, 4, 5]
    edit_yaml(config / "protocols/smoke.yaml", lambda p: p["changes"].update(mine={"seeds": [8]}))
    assert seeds_of(plan_of(config, ["mld"], seeds=[3, 4, 5])) == [8]
    assert seeds_of(plan_of(config, ["mld"], seeds=[3], overrides={"seeds": [0, 2]})) == [0, 2]


# Stored logits


def test_runs_with_other_views_or_teachers_have_logits_of_their_own(config):
    rows = [
        "mld",
        "mdkd",
        {"method": "mld", "recipe": {"epochs": 4}, "set": {"mld": 3}},
        {"method": "mdkd", "recipe": {"epochs": 4, "lr": 0.1}},  # the same views
        {"method": "mld", "teacher_seed": 1},
        {"method": "mdkd", "teacher_seed": 1, "recipe": {"weight_decay": 0.5}},
        {"method": "mld", "recipe": {"lr": 0.1}},  # the teacher sees the same
        {"method": "pkt", "teacher_seed": 2},  # reads pooled vectors
        {"method": "l2d", "teacher_seed": 3},  # reads embeddings
    ]
    plan = plan_of(config, rows, seeds=[0])
    groups = logits.groups(plan)
    pooled = {name: runs for name, runs in groups.items() if name.startswith("pooled/")}
    assert pooled == {
        name.replace("logits/", "pooled/"): runs
        for name, runs in groups.items()
        if name not in pooled
    } | {"pooled/scenes/resnet8x2/teacher_seed-2/seed0": [f"{STEM}/pkt/teacher_seed-2/seed0"]}
    groups = {name: runs for name, runs in groups.items() if name not in pooled}
    folder = "logits/scenes/resnet8x2"
    assert groups == {
        f"{folder}/seed0": [
            f"{STEM}/mld/default/seed0",
            f"{STEM}/mdkd/default/seed0",
            f"{STEM}/mld/lr-0.1/seed0",
        ],
        f"{folder}/epochs-4/seed0": [
            f"{STEM}/mld/epochs-4_mld-3/seed0",
            f"{STEM}/mdkd/epochs-4_lr-0.1/seed0",
        ],
        f"{folder}/teacher_seed-1/seed0": [
            f"{STEM}/mld/teacher_seed-1/seed0",
            f"{STEM}/mdkd/teacher_seed-1_weight_decay-0.5/seed0",
        ],
    }
    for members in groups.values():  # one folder, one key: all of a group read the same files
        assert len({logits.entry(plan.runs[path], Layout("smoke")).folder for path in members}) == 1
    assert len({logits.key(plan.runs[members[0]]) for members in groups.values()}) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 4},
        {"batch_size": 8},
        {"flip": False},
        {"cutout": 0.0},
        {"teacher_logits": "float16"},
    ],
)
def test_every_change_of_what_is_stored_is_another_folder(config, change):
    plan = plan_of(config, ["mld", {"method": "mld", "recipe": change}], seeds=[0])
    plain, other = (run for run in plan.runs.values() if run.teacher)
    assert logits.path_of(plain) != logits.path_of(other)
    assert logits.key(plain) != logits.key(other)


def test_the_plan_counts_longer_runs_and_their_logits(config):
    longer = {"recipe": {"epochs": 6}}
    rows = ["mld", "mdkd", {"method": "mld", **longer}, {"method": "mdkd", **longer}]
    plan = plan_of(config, rows, seeds=[0], overrides={"device": "cpu"})
    estimator = Estimator(plan, read_rates(ROOT / "config/rates.yaml"), Layout("smoke"))
    short, long = (plan.runs[f"{STEM}/mld/{v}/seed0"] for v in ("default", "epochs-6"))
    assert estimator.hours_left(long) == pytest.approx(3 * estimator.hours_left(short))
    assert estimator.logits_hours(long) == pytest.approx(3 * estimator.logits_hours(short))
    assert estimator.logits_disk(short) == 2 * 48 * 20 * 4  # epochs, images, labels, float32
    assert estimator.logits_disk(long) == 6 * 48 * 20 * 4
    (line,) = costs(estimator)
    trainings = sum(estimator.hours_left(run) for run in plan.runs.values())
    assert line.hours == pytest.approx(trainings + 4 * estimator.logits_hours(short))


def test_the_listing_names_their_length(config, capsys, monkeypatch, tmp_path):
    plan_of(config, ROWS)
    monkeypatch.chdir(tmp_path)
    arguments = ["--config", str(config), "--set", "protocol=smoke"]
    assert main(["plan", "mine", *arguments]) == 0
    printed = capsys.readouterr().out
    assert f"{STUDENT}/epochs-40/seed1  (40 epochs of scenes; mine)" in printed
    assert f"{STEM}/mdkd/bd2-0_epochs-4_teacher_seed-1/seed0  (4 epochs of scenes; mine)" in printed
    assert "mine: 10 runs for 7 cells" in printed
