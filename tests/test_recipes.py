"""Recipes: what does not fit together is refused, and networks may have changes of their own."""

from dataclasses import asdict, replace

import pytest
import yaml
from conftest import edit_yaml

from mdkd import keys, logits
from mdkd.config import Recipe, parse
from mdkd.errors import UserError
from mdkd.needs import problems
from mdkd.plan import make_plan
from mdkd.resolve import resolve_run
from mdkd.spec import Specification
from mdkd.specfiles import VIEWS

SMOKE = {"epochs": 2, "batch_size": 16, "lr": 0.002, "weight_decay": 0.0001}
SMOKE |= {"flip": True, "cutout": 0.5}
NAN = float("nan")

WRONG = {  # what is added to the recipe, and what the message says after "recipe: "
    "optimizer": ({"optimizer": "radam"}, "optimizer: 'radam' is not valid; did you mean 'adam'"),
    "one beta": ({"betas": [0.9]}, "betas: expected two numbers, found [0.9]"),
    "beta of one": ({"betas": [0.9, 1]}, "betas[1]: 1.0 is not in 0 .. 0.9999999"),
    "number as betas": ({"betas": 0.9}, "betas: expected a list, found 0.9"),
    "momentum of adam": (
        {"momentum": 0.9},
        "momentum: optimizer 'adam' has no such setting; remove it, or write another optimizer",
    ),
    "nesterov of adamw": (
        {"optimizer": "adamw", "nesterov": True},
        "nesterov: optimizer 'adamw' has no such setting",
    ),
    "betas of sgd": (
        {"optimizer": "sgd", "betas": [0.9, 0.99]},
        "betas: optimizer 'sgd' has no such setting",
    ),
    "nesterov alone": (
        {"optimizer": "sgd", "nesterov": True},
        "nesterov: needs momentum; add it, such as momentum: 0.9",
    ),
    "momentum of one": ({"optimizer": "sgd", "momentum": 1}, "momentum: 1.0 is not in 0 .."),
    "warm-up of a cycle": (
        {"schedule": "onecycle", "warmup_epochs": 1},
        "warmup_epochs: schedule 'onecycle' begins with a rise of its own; remove it, or write "
        "schedule: cosine",
    ),
    "momentum of a cycle": (
        {"schedule": "onecycle", "optimizer": "sgd", "momentum": 0.9},
        "momentum: schedule 'onecycle' changes it at every step (from 0.95 to 0.85 and back)",
    ),
    "beta1 of a cycle": (
        {"schedule": "onecycle", "betas": [0.8, 0.999]},
        "betas: schedule 'onecycle' changes it at every step",
    ),
    "only warm-up": (
        {"warmup_epochs": 2},
        "warmup_epochs: 2 is not below epochs, which is 2; lower it",
    ),
    "negative warm-up": ({"warmup_epochs": -1}, "warmup_epochs: -1.0 is not in 0 .."),
    "warm-up of NaN": ({"warmup_epochs": NAN}, "warmup_epochs: expected a number"),
    "no batch": ({"accumulate": 0}, "accumulate: 0 is not in 1 .."),
    "half a batch": ({"accumulate": 1.5}, "accumulate: expected an integer"),
    "mean that never moves": ({"ema": 1}, "ema: 1.0 is not in 0 .. 0.9999999"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_together_is_one_line(config, name):
    added, message = WRONG[name]
    edit_yaml(config / "protocols/smoke.yaml", lambda p: p["recipe"].update(added))
    refused(config, f"{config / 'protocols/smoke.yaml'}: recipe: {message}")


RIGHT = [
    {"optimizer": "adamw", "betas": [0.95, 0.99], "warmup_epochs": 1.9},
    {"optimizer": "sgd", "schedule": "onecycle", "nesterov": True},
    {"schedule": "onecycle", "betas": [0.9, 0.99], "accumulate": 1000, "ema": 0.9999},
    {"optimizer": "sgd"},
]


@pytest.mark.parametrize("added", RIGHT)
def test_what_fits_together_is_taken(added):
    found = parse(Recipe, SMOKE | added, "here")
    assert asdict(found).items() >= {k: v for k, v in added.items() if k != "betas"}.items()
    assert parse(Recipe, asdict(found), "again") == found


def refused(config, message):
    with pytest.raises(UserError) as caught:
        make_plan(Specification(config, {"protocol": "smoke"}))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_more_images_in_an_update_than_there_are_is_one_line(config):
    run = resolve_run(
        Specification(config, {"protocol": "smoke"}), "supervised/scenes/resnet8/seed0"
    )
    run = replace(run, recipe=replace(run.recipe, accumulate=4))
    assert problems(run, labels=20, images=64) == []
    assert problems(run, labels=20, images=63) == [
        "protocol smoke: recipe: batch_size 16 x accumulate 4 exceeds the 63 training images of "
        "data set 'scenes'; lower it to 63 or less"
    ]


# Networks with changes of their own

STUDENT, TEACHER = "supervised/scenes/resnet8/seed0", "supervised/scenes/resnet8x2/seed0"
STEM = "distill/scenes/resnet8x2--resnet8"
CHANGED = {"optimizer": "sgd", "momentum": 0.9, "lr": 0.1}


@pytest.fixture
def own(config):
    """The configuration, with a recipe of its own for the student."""
    edit_yaml(config / "protocols/smoke.yaml", lambda p: p.update(recipes={"resnet8": CHANGED}))
    return config


def resolved(config, path):
    return resolve_run(Specification(config, {"protocol": "smoke"}), path)


def test_the_changes_of_a_network_are_in_its_runs_and_their_keys(config):
    before = {p: resolved(config, p) for p in (STUDENT, TEACHER, f"{STEM}/mld/default/seed0")}
    edit_yaml(config / "protocols/smoke.yaml", lambda p: p.update(recipes={"resnet8": CHANGED}))
    after = {path: resolved(config, path) for path in before}
    for path, run in after.items():
        trained = replace(before[path].recipe, **CHANGED)
        assert run.recipe == (before[path].recipe if run.arch == "resnet8x2" else trained)
        assert keys.planned(run)["recipe"].items() >= (
            CHANGED.items() if run.arch == "resnet8" else set()
        )
        assert (keys.key(run) == keys.key(before[path])) == (run.arch == "resnet8x2")
    # The teacher of another recipe is another teacher.
    edit_yaml(config / "protocols/smoke.yaml", lambda p: p.update(recipes={"resnet8x2": CHANGED}))
    other = resolved(config, f"{STEM}/mld/default/seed0")
    assert other.recipe == before[other.path].recipe
    assert other.teacher_key != before[other.path].teacher_key


def test_changes_that_change_nothing_are_no_other_runs(config):
    before = keys.key(resolved(config, STUDENT))
    same = {"resnet8": {"lr": 0.002, "ema": 0}, "resnet8x2": {}}
    edit_yaml(config / "protocols/smoke.yaml", lambda p: p.update(recipes=same))
    assert keys.key(resolved(config, STUDENT)) == before


def plan_of(config, methods):
    pairs = [
        {"dataset": "scenes", "teacher": "resnet8x2", "student": student}
        for student in ("resnet8", "wrn10_1")
    ]
    content = {"kind": "comparison", "title": "T", "pairs": pairs, "methods": methods, "seeds": [0]}
    (config / "experiments" / "mine.yaml").write_text(yaml.safe_dump(content))
    plan = make_plan(Specification(config, {"protocol": "smoke"}))
    plan.refuse_broken(["mine"])
    return plan.only(["mine"])


def test_a_row_goes_before_the_network(own):
    """Its value counts for all networks, also where it is that of the protocol or the network."""
    rows = [{"method": "mld", "label": str(lr), "recipe": {"lr": lr}} for lr in (0.002, 0.1, 0.3)]
    plan = plan_of(own, rows)
    found = [[cell.runs[0] for cell in row.cells] for row in plan.artefacts["mine"].rows[1:]]
    other = "distill/scenes/resnet8x2--wrn10_1/mld"
    assert found == [
        [f"{STEM}/mld/lr-0.002/seed0", f"{other}/default/seed0"],
        [f"{STEM}/mld/default/seed0", f"{other}/lr-0.1/seed0"],
        [f"{STEM}/mld/lr-0.3/seed0", f"{other}/lr-0.3/seed0"],
    ]
    for paths, lr in zip(found, (0.002, 0.1, 0.3), strict=True):
        for path in paths:
            assert plan.runs[path].recipe.lr == lr
            assert resolved(own, path) == plan.runs[path]
            assert (plan.runs[path].recipe.optimizer == "sgd") == ("--resnet8/" in path)


def test_a_row_that_does_not_fit_a_network_is_one_line(own):
    with pytest.raises(UserError) as caught:
        plan_of(own, [{"method": "mld", "recipe": {"optimizer": "adamw"}}])
    path = f"{STEM}/mld/optimizer-adamw/seed0"
    what = "recipe: momentum: optimizer 'adamw' has no such setting; remove it"
    assert str(caught.value).startswith(f"{path}: {what}")


def test_tables_say_which_networks_have_changes(own):
    notes = plan_of(own, ["mld"]).artefacts["mine"].notes
    assert "Changed recipe of ResNet8: optimizer = sgd, momentum = 0.9, lr = 0.1." in notes


def test_all_students_of_a_teacher_may_read_the_same_logits(own):
    plan = plan_of(own, ["mld", {"method": "mdkd", "recipe": {"accumulate": 2, "ema": 0.9}}])
    readers = [run for run in plan.runs.values() if run.teacher]
    assert len(readers) == 4
    assert len({logits.key(run) for run in readers}) == 1
    places = {f"{kind}/scenes/resnet8x2/seed0" for kind in logits.KINDS}
    assert logits.groups(plan).keys() == places


WRONG_NETWORKS = {
    "network": ({"resnet9": {"lr": 1}}, "recipes: unknown architecture 'resnet9'; did you mean"),
    "key": ({"resnet8": {"rate": 1}}, "recipes: resnet8: unknown key 'rate'"),
    "value": ({"resnet8": {"lr": -1}}, "recipes: resnet8: lr: -1.0 is not in 1e-12 .. 1000"),
    "no changes": ({"resnet8": 1}, "recipes: resnet8: expected keys and values"),
    "combination": (
        {"resnet8": {"momentum": 0.9}},
        "recipes: resnet8: momentum: optimizer 'adam' has no such setting",
    ),
} | {
    view: (
        {"resnet8": {view: 1}},
        f"recipes: resnet8: {view}: is the same for all networks, so that they see the same images",
    )
    for view in VIEWS
}


@pytest.mark.parametrize("name", WRONG_NETWORKS)
def test_wrong_changes_of_a_network_are_one_line(config, name):
    changes, message = WRONG_NETWORKS[name]
    edit_yaml(config / "protocols/smoke.yaml", lambda p: p.update(recipes=changes))
    refused(config, f"{config / 'protocols/smoke.yaml'}: {message}")


def test_a_network_with_a_checkpoint_has_no_recipe(own):
    edit_yaml(own / "architectures.yaml", lambda a: a["resnet8"].update(checkpoint="w.pth"))
    what = "recipes: resnet8: it has a checkpoint, so it is not trained; remove the entry"
    refused(own, f"{own / 'protocols/smoke.yaml'}: {what}")
