"""The paper's protocol and tables, value by value, and the preset that follows L2D's code."""

import csv
from dataclasses import asdict, replace

import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT, edit_yaml
from method_cases import FILES, NAMES, STUDENT, TEACHER, make, output, targets, total

from mdkd.plan import make_plan
from mdkd.resolve import resolve_run
from mdkd.spec import Specification
from mdkd.training.losses import supervised_loss
from mdkd.training.schedule import learning_rate, momentum

CONFIG = ROOT / "config"
TABLES = ("table1", "table2", "table3", "table5", "table6")
OTHERS = (  # what else belongs to the paper, or stands beside it
    *("table4", "table7", "table8", "figure4", "figure5", "figure6", "figure7", "figure8"),
    *("scale", "controls", "convergence", "context", "cost", "ranks", "transfer"),
)
EXTRA = ("coco2014", "wrn101", "wrn50")  # of one family, beside the printed wrn101 -> wrn40_1


@pytest.fixture(scope="module")
def paper():
    return Specification(CONFIG, {"protocol": "paper"})


@pytest.fixture(scope="module")
def plan(paper):
    return make_plan(paper)


def run_of(spec, method, dataset="coco2014", pair="resnet101--resnet34"):
    return resolve_run(spec, f"distill/{dataset}/{pair}/{method}/default/seed0")


PLAIN = {  # plain Adam: nothing else is given
    "optimizer": "adam",
    "betas": [0.9, 0.999],
    "momentum": 0.0,
    "nesterov": False,
    "warmup_epochs": 0.0,
    "accumulate": 1,
    "ema": 0.0,
}


@pytest.mark.parametrize("method", [name for name in NAMES if FILES[name].needs])
def test_every_run_is_trained_as_section_4_3_says(paper, method):
    run = run_of(paper, method)
    assert asdict(run.recipe) == {
        "epochs": 110,  # "for 110 epochs"
        "batch_size": 32,  # "The batch size is set as 32"
        "lr": 0.00015,  # "an initial learning rate of 0.00015"
        "schedule": "cosine",  # "applying cosine annealing"
        "weight_decay": 0.0001,  # "The weight decay is set to 0.0001"
        "flip": True,  # "random horizontal flipping"
        "cutout": 0.5,  # "and Cutout"; the side is that of L2D's code
        "normalisation": "imagenet",  # not given; that of the initial weights
        "bce_reduction": "sum_mean",  # Eq. 1: 1/b, sum over labels
        "teacher_logits": "float32",
        **PLAIN,
    }
    assert run.dataset.image_size == 224  # "a resolution of 224x224 pixels"
    assert run.weights == "imagenet"  # "models pre-trained on the ImageNet dataset"
    assert run.stem == "imagenet"  # not given
    assert asdict(run.head) == {  # not given; L2D's code
        "kind": "mldecoder",
        "width": 768,
        "queries": None,
        "heads": 8,
        "feedforward": 2048,
        "dropout": 0.1,
    }
    assert paper.seeds == [0, 1, 2]  # not given


def test_the_rate_starts_at_the_papers_and_ends_at_zero(paper):
    recipe = run_of(paper, "mdkd").recipe
    steps = 110 * (82081 // 32)
    assert learning_rate(recipe, 0, steps) == 1.5e-4
    assert learning_rate(recipe, steps // 2, steps) == pytest.approx(0.75e-4)
    assert 0 < learning_rate(recipe, steps - 1, steps) < 1e-14
    assert momentum(recipe, 0, steps) == momentum(recipe, steps - 1, steps) == 0.9  # Adam's default


def test_mdkd_has_the_weights_of_section_4_3(paper):
    assert run_of(paper, "mdkd").method.settings == {
        "mld": 10.0,  # "we set the lambda_MLD as 10"
        **{f"{level}{n}": 1.0 for level in ("bd", "id") for n in (2, 3, 4)},  # "all set as 1"
        **{f"{level}{n}": 0.0 for level in ("bd", "id") for n in (5, 6)},  # "fourth-order"
        "norm": "paper",
    }
    assert run_of(paper, "mld").method.settings == {"mld": 10.0}


def test_no_method_is_changed_by_the_protocol(paper):
    for name in NAMES:
        assert paper.methods[name].settings == FILES[name].settings


def reported(name):
    """The pairs of a table as the paper prints them, in order."""
    with (CONFIG / "reported" / f"{name}.csv").open(encoding="utf-8") as file:
        rows = [(row["dataset"], row["teacher"], row["student"]) for row in csv.DictReader(file)]
    return list(dict.fromkeys(rows))


def pairs(spec, name):
    return [(p.dataset, p.teacher, p.student) for p in spec.experiments[name].pairs]


@pytest.mark.parametrize("name", ["table1", "table2", "table5"])
def test_tables_have_the_pairs_of_the_paper(paper, name):
    found = pairs(paper, name)
    assert (EXTRA in found) == (name == "table1")
    assert [pair for pair in found if pair != EXTRA] == reported(name)


@pytest.mark.parametrize(("name", "dataset"), [("table3", "voc2007"), ("table6", "nuswide")])
def test_tables_without_a_named_pair_say_so(paper, plan, name, dataset):
    assert pairs(paper, name) == [(dataset, "resnet101", "resnet34")]
    assert any("names no pair" in note for note in plan.artefacts[name].notes)


@pytest.mark.parametrize("name", TABLES)
def test_tables_have_the_rows_of_the_paper_and_the_control(paper, plan, name):
    labels = [row.label for row in plan.artefacts[name].rows]
    with (CONFIG / "reported" / "table1.csv").open(encoding="utf-8") as file:
        printed = list(dict.fromkeys(row["method"] for row in csv.DictReader(file)))
    assert [label for label in labels if label in printed] == printed  # and other rows between
    assert "MLD" in labels
    assert plan.artefacts[name].metrics == ["mAP", "OF1_k", "CF1_k"]
    cells = [cell for row in plan.artefacts[name].rows for cell in row.cells]
    assert [cell for cell in cells if cell.unavailable] == []


def test_reported_numbers_are_complete_and_agree_where_they_are_printed_twice():
    found = {}
    for name in ("table1", "table2", "table5"):
        with (CONFIG / "reported" / f"{name}.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 9 * len(reported(name))
        for row in rows:
            arch = row["teacher" if row["method"] == "Teacher" else "student"]
            values = tuple(float(row[metric]) for metric in ("mAP", "OF1", "CF1"))
            assert min(values) > 60 and max(values) < 90
            if row["method"] in ("Teacher", "Student"):
                found.setdefault(arch, set()).add(values)
    twice = {arch: values for arch, values in found.items() if len(values) > 1}
    assert twice == {}, "a network without distillation has one result"


def test_the_number_of_runs(plan):
    """Counted by hand: three seeds of every student, one of a network that only teaches.

    Runs of methods that somebody has added are not counted.
    """
    ours = {"vanilla", "mld", "rkd", "pkt", "reviewkd", "mse", "ps", "l2d", "mdkd"}
    ours |= {"mld_matched", "mdkd_permuted"}

    def runs_of(names):
        found = {path for name in names for path in plan.artefacts[name].runs}
        return {path for path in found if plan.runs[path].method.name in ours}

    students, only_teachers = 10, 6  # on MS-COCO, where ResNet-101 is a student too (Table 5)
    supervised = 3 * students + only_teachers + 2 * (3 * 1 + 1)  # and on VOC2007 and NUS-WIDE
    pairs = 6 + 5 + 1 + 1 + 1
    distilled = pairs * 8 * 3  # eight methods, three seeds
    tables = runs_of(TABLES)
    assert len([path for path in tables if path.startswith("distill")]) == distilled == 336
    assert len(tables) == supervised + distilled == 380
    ablation = 3 * (3 * 5 + 5 - 1)  # three levels and one without MLD, five orders; the default
    sensitivity = 3 * 6 * 5  # six weights, five values that are not the default
    scale = 3 * (3 + 1)  # three factors and the sum
    controls = 3 * 2 * 3  # two at three factors
    convergence = 1 + 3 + 3 * 3  # teacher, student and three methods on data of their own
    assert {*TABLES, *OTHERS} <= set(plan.targets()["paper"])
    everything = runs_of((*TABLES, *OTHERS))
    extra = ablation + sensitivity + scale + controls + convergence
    assert len(everything) == len(tables) + extra == 570
    assert "# 380 trainings" in (ROOT / "docs/protocol.md").read_text(encoding="utf-8")


def test_networks_without_imagenet_weights_start_from_nothing_and_tables_say_so(paper, plan):
    runs = {run for name in TABLES for run in plan.artefacts[name].runs}
    scratch = {plan.runs[path].arch for path in runs if plan.runs[path].weights is None}
    assert scratch == {"wrn40_1", "wrn40_2", "wrn16_2", "resnet56", "resnet20", "resnet32x4"}
    assert {plan.runs[path].weights for path in runs} == {None, "imagenet"}
    notes = {n: [t for t in plan.artefacts[n].notes if "scratch" in t] for n in TABLES}
    names = "WRN40-1, WRN40-2, WRN16-2, ResNet56, ResNet20"
    assert notes.pop("table1") == [f"Trained from scratch: {names}."]
    assert notes.pop("table2") == ["Trained from scratch: ResNet32x4."]
    assert set(map(tuple, notes.values())) == {()}


def test_other_initial_weights_concern_every_network(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.pth").touch()
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p.update(weights="some.pth"))
    plan = make_plan(Specification(config))
    assert {run.weights for run in plan.runs.values()} == {"some.pth"}
    assert not any("scratch" in note for note in plan.artefacts["comparison"].notes)


def test_the_folder_of_weights_changes_no_run(config):
    before = make_plan(Specification(config))
    after = make_plan(Specification(config, {"weights_folder": "/elsewhere"}))
    assert (before.weights_folder, after.weights_folder) == ("weights", "/elsewhere")
    assert replace(after, weights_folder="weights") == before


# the preset that follows L2D's code

L2D = Specification(CONFIG, {"protocol": "l2d"})


def test_the_l2d_preset_states_their_recipe():
    run = run_of(L2D, "l2d")
    assert asdict(run.recipe) == {
        "epochs": 80,
        "batch_size": 64,
        "lr": 0.0001,  # max_lr of OneCycleLR
        "schedule": "onecycle",
        "weight_decay": 0.0001,
        "flip": False,
        "cutout": 0.5,
        "normalisation": "none",
        "bce_reduction": "sum_sum",
        "teacher_logits": "float32",
        **PLAIN,
    }
    assert asdict(run.head) == asdict(
        run_of(Specification(CONFIG, {"protocol": "paper"}), "l2d").head
    )
    assert (run.dataset.image_size, run.weights) == (224, "imagenet")


def test_one_cycle_has_the_values_of_l2ds_code():
    recipe = resolve_run(L2D, "supervised/coco2014/resnet34/seed0").recipe
    steps = 80 * 1000
    top = 16 * 1000 - 1  # 16 of 80 epochs up
    rates = [learning_rate(recipe, step, steps) for step in (0, top, steps - 1)]
    assert rates == pytest.approx([4e-6, 1e-4, 4e-10])
    betas = [momentum(recipe, step, steps) for step in (0, top, steps - 1)]
    assert betas == pytest.approx([0.95, 0.85, 0.95])


def batch_of_64():
    student, teacher = output(STUDENT, 64, seed=1), output(TEACHER, 64, seed=2)
    return student, teacher, targets(64).double()


def under_preset(name):
    student, teacher, target_BC = batch_of_64()
    return make(name, **L2D.methods[name].settings)(student, teacher, target_BC)


def test_the_l2d_total_is_the_one_of_their_code():
    """BCE summed over the batch + 10 MLD averaged + 100 CD and 1000 ID summed over groups."""
    student, teacher, target_BC = batch_of_64()
    terms = under_preset("l2d")
    bce = supervised_loss(student.logits_BC, target_BC, L2D.protocol.recipe.bce_reduction)
    p_BC = student.logits_BC.sigmoid()
    expected = F.binary_cross_entropy(p_BC, target_BC, reduction="sum")
    p_BC, q_BC = (x.logits_BC.sigmoid().clamp(1e-8, 1 - 1e-8) for x in (student, teacher))
    kl_BC = q_BC * (q_BC / p_BC).log() + (1 - q_BC) * ((1 - q_BC) / (1 - p_BC)).log()
    expected = expected + 10 * kl_BC.sum() / 64
    positive_BC = target_BC.bool()
    for label in range(target_BC.shape[1]):
        rows = positive_BC[:, label]
        expected = expected + 100 * distances_apart(
            student.embeddings_BCE[rows, label], teacher.embeddings_BCE[rows, label]
        )
    for image in range(64):
        rows = positive_BC[image]
        expected = expected + 1000 * distances_apart(
            student.embeddings_BCE[image, rows], teacher.embeddings_BCE[image, rows]
        )
    torch.testing.assert_close(bce + total(terms), expected)


def distances_apart(student_NE, teacher_NE):
    """Their comparison of one group: a sum over ordered pairs, divided by its size."""
    n = len(student_NE)
    if n < 2:
        return torch.zeros((), dtype=torch.float64)
    scaled = []
    for x_NE in (student_NE, teacher_NE):
        distance_NN = (x_NE[:, None] - x_NE[None]).norm(dim=2)
        scaled.append(distance_NN * n * (n - 1) / distance_NN.sum())
    return F.smooth_l1_loss(*scaled, reduction="sum") / n


def test_the_rkd_of_the_preset_is_the_one_of_their_code():
    """10 x the sum of distance gaps over B, and 10 x the mean of angle gaps."""
    terms = under_preset("rkd")
    student, teacher, target_BC = batch_of_64()
    means = make("rkd", distance=1.0, angle=1.0)(student, teacher, target_BC)
    torch.testing.assert_close(terms["distance"], 10 * means["distance"] * 64**2 / 64)
    torch.testing.assert_close(terms["angle"], 10 * means["angle"])


@pytest.mark.parametrize("name", ["pkt", "mse", "ps", "kd", "fitnet", "at", "sp", "dist"])
def test_weights_that_no_code_gives_keep_their_balance_with_the_supervised_loss(name):
    default, found = FILES[name].settings, L2D.methods[name].settings
    scaled = {key: value for key, value in found.items() if value != default[key]}
    assert scaled.keys() == default.keys() - {"temperature"}
    assert scaled == pytest.approx({key: 64 * default[key] for key in scaled})


def test_mdkd_keeps_its_printed_weights_under_the_preset():
    assert L2D.methods["mdkd"].settings == FILES["mdkd"].settings
