"""Trainings: the same bits again, also after a crash; guarded checkpoints, teachers and probes."""

import json
import logging
import math
import os
import signal
from dataclasses import replace
from importlib.metadata import version

import hash_orders
import numpy as np
import pytest
import torch
from conftest import TEACHER, python
from hash_orders import HASH_SEEDS
from torch.nn.functional import binary_cross_entropy_with_logits

from mdkd import records, reporting, rng
from mdkd.data.cache import open_cache
from mdkd.data.loader import Loader
from mdkd.errors import UserError
from mdkd.plan import Artefact, Cell, Row
from mdkd.results import Results
from mdkd.score import score
from mdkd.spec import Pair
from mdkd.training import checkpoint
from mdkd.training import loop as training
from mdkd.training.loop import gradient_ratios, learning_rate, supervised_loss
from mdkd.training.networks import load_network, new_network

STUDENT = "supervised/scenes/resnet8/seed0"
MLD = "distill/scenes/resnet20--resnet8/mld/default/seed0"
REVIEW = "distill/scenes/resnet20--resnet8/reviewkd/mid_channels-8/seed0"
STEPS = 3  # an epoch: 48 images in batches of 16
LAST_STEP = 2 * STEPS


def weights(folder):
    return torch.load(folder / "model.pt", weights_only=True)


def read(folder, name):
    return (folder / name).read_bytes()


def history(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def losses(folder):
    return [(epoch["losses"], epoch["gradient_ratios"]) for epoch in history(folder)]


@pytest.fixture(scope="module")
def finished(taught, tmp_path_factory):
    """Uninterrupted trainings, to compare with."""
    bench = taught.copy(tmp_path_factory.mktemp("finished") / "bench")
    for path in (STUDENT, MLD, REVIEW):
        bench.train(path)
    return bench


def table_of(bench):
    """The table of one distilled run beside its baselines."""
    rows = [
        ("Teacher", "teacher", TEACHER),
        ("Student", "student", STUDENT),
        ("MLD", "method", MLD),
    ]
    for _, _, path in rows:
        score(path, bench.layout)
    artefact = Artefact(
        name="short",
        kind="comparison",
        title="Short",
        protocol="smoke",
        seeds=[0],
        pairs=[Pair(dataset="scenes", teacher="resnet20", student="resnet8")],
        columns=["Scenes"],
        metrics=["mAP", "CF1_k"],
        rows=[Row(label=n, role=role, cells=[Cell(runs=[path])]) for n, role, path in rows],
        notes=[],
    )
    runs = {path: bench.resolve(path) for _, _, path in rows}
    reporting.write_table(artefact, Results("smoke", bench.base, runs), bench.base)
    return [(bench.base / f"short.{suffix}").read_bytes() for suffix in ("csv", "md", "tex")]


TRAIN = """
import sys
from mdkd.cli import main
config, *paths = sys.argv[1:]
for path in paths:
    assert main(["train", path, "--config", config, "--device", "cpu"]) == 0
"""


@pytest.mark.parametrize("hash_seed", HASH_SEEDS)
def test_the_same_run_in_another_process_and_directory_gives_the_same_bytes(
    finished, bench, hash_seed
):
    hash_orders.python(
        hash_seed, "-c", TRAIN, bench.spec.folder, STUDENT, MLD, REVIEW, cwd=bench.base
    )
    for path in (STUDENT, MLD, REVIEW):
        first, second = finished.layout.run(path), bench.layout.run(path)
        assert first != second
        assert read(first, "model.pt") == read(second, "model.pt")
        assert read(first, "predictions.npz") == read(second, "predictions.npz")
        assert losses(first) == losses(second)
    assert table_of(finished) == table_of(bench)


def test_seeds_methods_and_settings_change_the_weights(finished, bench):
    others = [
        STUDENT.replace("seed0", "seed1"),
        MLD.replace("default", "mld-1"),
    ]
    files = [read(bench.train(path), "model.pt") for path in others]
    files += [read(finished.layout.run(path), "model.pt") for path in (STUDENT, MLD, REVIEW)]
    assert len(set(files)) == 5


def test_methods_start_alike_and_see_the_same_batches(finished, bench):
    """A method whose weight is zero trains the very student that no method trains."""
    folder = bench.train(MLD.replace("default", "mld-0"))
    assert read(folder, "model.pt") == read(finished.layout.run(STUDENT), "model.pt")


# A process that sends itself a signal in the middle of a step.
DRIVER = """
import os, sys
from mdkd import cli
from mdkd.training import loop as train
number, at, *arguments = sys.argv[1:]
original = train.learning_rate
def learning_rate(recipe, step, last_step):
    if step == int(at):
        os.kill(os.getpid(), int(number))
    return original(recipe, step, last_step)
train.learning_rate = learning_rate
raise SystemExit(cli.main(arguments))
"""


def interrupted(bench, path, number, step):
    arguments = ["train", path, "--config", str(bench.spec.folder), "--device", "cpu"]
    return python("-c", DRIVER, str(int(number)), str(step), *arguments, cwd=bench.base)


def saved_state(bench, path):
    file = bench.layout.checkpoint(path) / "last.pt"
    return torch.load(file, weights_only=True)


def assert_equal_to_uninterrupted(bench, finished, path):
    folder, expected = bench.layout.run(path), finished.layout.run(path)
    assert read(folder, "model.pt") == read(expected, "model.pt")
    assert read(folder, "predictions.npz") == read(expected, "predictions.npz")
    assert losses(folder) == losses(expected)
    assert not bench.layout.checkpoint(path).exists()


def test_killed_in_an_epoch_and_resumed_gives_the_same_bits(bench, finished, caplog):
    result = interrupted(bench, REVIEW, signal.SIGKILL, STEPS + 1)
    assert result.returncode == -signal.SIGKILL
    assert not bench.layout.run(REVIEW).exists()
    assert saved_state(bench, REVIEW)["progress"]["step"] == STEPS
    with caplog.at_level(logging.INFO):
        bench.train(REVIEW)
    assert f"resumed at step {STEPS} of {LAST_STEP}" in caplog.text
    assert_equal_to_uninterrupted(bench, finished, REVIEW)


@pytest.mark.parametrize(
    ("number", "step"),
    [
        (signal.SIGTERM, STEPS + 1),
        (signal.SIGUSR1, 0),
        (signal.SIGTERM, STEPS - 1),  # the last step of an epoch
        (signal.SIGINT, LAST_STEP - 1),  # the last step of all
    ],
)
def test_asked_to_stop_it_saves_and_goes_on_later(bench, finished, number, step, caplog):
    result = interrupted(bench, REVIEW, number, step)
    assert result.returncode == (130 if number == signal.SIGINT else 143)
    assert "Traceback" not in result.stderr
    assert f"{number.name}: checkpoint saved at step {step + 1}" in result.stderr
    assert saved_state(bench, REVIEW)["progress"]["step"] == step + 1
    with caplog.at_level(logging.INFO):
        bench.train(REVIEW)
    assert f"resumed at step {step + 1} of {LAST_STEP}" in caplog.text
    assert_equal_to_uninterrupted(bench, finished, REVIEW)


def test_a_crash_before_the_record_does_not_repeat_the_training(bench, finished, monkeypatch):
    def crash(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "_write_results", crash)
        with pytest.raises(KeyboardInterrupt):
            bench.train(MLD)
    steps = []
    original = training.supervised_loss
    monkeypatch.setattr(
        training, "supervised_loss", lambda *args: steps.append(1) or original(*args)
    )
    bench.train(MLD)
    assert steps == []
    assert_equal_to_uninterrupted(bench, finished, MLD)


def test_a_second_process_on_the_same_run_is_refused(bench):
    folder = bench.layout.checkpoint(STUDENT)
    arguments = ["train", STUDENT, "--config", str(bench.spec.folder), "--device", "cpu"]
    with checkpoint.opened(folder, "0" * 64):
        result = python("-m", "mdkd", *arguments, cwd=bench.base)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert f"checkpoints/smoke/{STUDENT}: another process is training this run" in result.stderr
    assert not bench.layout.run(STUDENT).exists()


def stopped(bench, run, step):
    """Train in this process until SIGTERM comes in ``step``."""
    original = training.learning_rate

    def stop(recipe, at, last_step):
        if at == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(recipe, at, last_step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "learning_rate", stop)
        with pytest.raises(SystemExit) as caught:
            bench.train(run)
    assert caught.value.code == 143


def test_a_checkpoint_of_other_settings_is_moved_aside(bench, finished, caplog):
    run = bench.resolve(MLD)
    other = replace(run, recipe=replace(run.recipe, lr=0.01))
    stopped(bench, other, STEPS + 1)
    folder = bench.layout.checkpoint(MLD)
    made_under = saved_state(bench, MLD)["fingerprint"]
    stopped(bench, run, 0)
    aside = folder / f"other-{made_under[:12]}.pt"
    assert aside.exists()
    assert f"other settings or data; it was moved to {aside}" in caplog.text
    assert saved_state(bench, MLD)["progress"]["step"] == 1  # it began anew
    assert read(bench.train(MLD), "model.pt") == read(finished.layout.run(MLD), "model.pt")


@pytest.mark.parametrize("what", ["revision", "teacher"])
def test_a_checkpoint_is_bound_to_revision_and_teacher(bench, what):
    run = bench.resolve(MLD)
    stopped(bench, run, STEPS + 1)
    if what == "revision":
        run = replace(run, method=replace(run.method, revision=run.method.revision + 1))
    else:
        teacher = bench.resolve(TEACHER)
        bench.train(replace(teacher, recipe=replace(teacher.recipe, lr=0.01)))
    stopped(bench, run, 0)
    assert saved_state(bench, MLD)["progress"]["step"] == 1


def test_an_unreadable_checkpoint_is_named(bench):
    stopped(bench, MLD, STEPS + 1)
    file = bench.layout.checkpoint(MLD) / "last.pt"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match=r"last\.pt"):
        bench.train(MLD)


def test_the_gradient_probe_leaves_the_training_bit_equal(bench, finished, monkeypatch):
    monkeypatch.setattr(training, "gradient_ratios", lambda *args: {})
    folder = bench.train(REVIEW)
    assert read(folder, "model.pt") == read(finished.layout.run(REVIEW), "model.pt")
    assert all(epoch["gradient_ratios"] == {} for epoch in history(folder))


def test_the_recorded_probe_is_the_ratio_of_two_backward_passes(finished):
    run = finished.resolve(MLD)
    cache = open_cache(finished.layout.cache("scenes"))
    cpu = torch.device("cpu")

    def gradient_norm(term):
        student = new_network(run, cache, cpu, rng.torch_seed(0, "init", "resnet8"))
        student.train()
        teacher = new_network(run_of_teacher, cache, cpu, 0)
        teacher.load_state_dict(weights(finished.layout.run(TEACHER)))
        teacher.eval()
        batch = next(Loader(cache.splits["train"], run.recipe, 0, cpu).train(0))
        torch.manual_seed(rng.torch_seed(0, "step", 0))
        term(student(batch.images_BCHW), teacher(batch.images_BCHW), batch.targets_BC).backward()
        gradients = [p.grad.double() for p in student.parameters() if p.grad is not None]
        return math.sqrt(sum(float((g * g).sum()) for g in gradients))

    def bce(student, teacher, targets_BC):
        p_BC = student.logits_BC.double().sigmoid()
        likelihood_BC = targets_BC * p_BC.log() + (1 - targets_BC) * (1 - p_BC).log()
        return -likelihood_BC.sum() / len(targets_BC)

    def mld(student, teacher, targets_BC):
        s, t = student.logits_BC.double().sigmoid(), teacher.logits_BC.double().sigmoid().detach()
        kl_BC = t * (t / s).log() + (1 - t) * ((1 - t) / (1 - s)).log()
        return 10 * kl_BC.sum() / len(targets_BC)

    run_of_teacher = finished.resolve(TEACHER)
    recorded = history(finished.layout.run(MLD))[0]["gradient_ratios"]
    assert set(recorded) == {"mld"}
    assert recorded["mld"] == pytest.approx(gradient_norm(mld) / gradient_norm(bce), rel=1e-3)


def test_gradient_ratios_by_hand():
    w, b, frozen = (
        torch.ones(2, requires_grad=True),
        torch.ones(1, requires_grad=True),
        torch.ones(1),
    )
    terms = {
        "bce": (3 * w).sum() + 4 * b.sum(),
        "one": 5 * w[0],
        "none": torch.ones((), requires_grad=True) * 2,
    }
    ratios = gradient_ratios(terms, [w, b, frozen])
    bce = math.sqrt(3**2 + 3**2 + 4**2)
    assert ratios == {"one": pytest.approx(5 / bce), "none": 0.0}
    assert w.grad is None
    sum(terms.values()).backward()  # the graph is still there
    assert w.grad.tolist() == [8.0, 3.0]
    zero = {"bce": 0 * w.sum(), "one": 5 * w[0]}
    assert gradient_ratios(zero, [w]) == {"one": pytest.approx(5e30)}  # records hold no infinity


def test_the_learning_rate_falls_as_a_cosine_to_zero(finished):
    recipe = finished.resolve(MLD).recipe
    rates = [learning_rate(recipe, step, 50) for step in range(51)]
    assert rates[0] == recipe.lr == 0.002
    assert rates[25] == pytest.approx(0.001)
    assert rates[50] == pytest.approx(0, abs=1e-18)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=recipe.lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50)
    for step in range(50):
        assert rates[step] == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        scheduler.step()
    ends = [epoch["lr"] for epoch in history(finished.layout.run(MLD))]
    assert ends == [learning_rate(recipe, step, LAST_STEP) for step in (STEPS - 1, LAST_STEP - 1)]


def test_every_step_uses_its_learning_rate_and_weight_decay_spares_biases(bench, monkeypatch):
    seen = []
    original = torch.optim.Adam.step

    def spy(optimizer, *args, **kwargs):
        groups = optimizer.param_groups
        seen.append([group["lr"] for group in groups])
        assert [group["weight_decay"] for group in groups] == [1e-4, 0.0]
        assert {p.ndim > 1 for p in groups[0]["params"]} == {True}
        assert {p.ndim > 1 for p in groups[1]["params"]} == {False}
        return original(optimizer, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    recipe = bench.resolve(MLD).recipe
    bench.train(MLD)
    assert seen == [[learning_rate(recipe, step, LAST_STEP)] * 2 for step in range(LAST_STEP)]


def test_the_history_holds_the_mean_loss_of_each_epoch(bench, monkeypatch):
    seen = []
    original = training.supervised_loss

    def spy(*args):
        loss = original(*args)
        seen.append(float(loss.detach()))
        return loss

    monkeypatch.setattr(training, "supervised_loss", spy)
    epochs = history(bench.train(MLD))
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    assert len(seen) == LAST_STEP
    means = [sum(seen[:STEPS]) / STEPS, sum(seen[STEPS:]) / STEPS]
    assert [epoch["losses"]["bce"] for epoch in epochs] == pytest.approx(means, rel=1e-5)


def test_supervised_loss_in_its_three_reductions():
    torch.manual_seed(0)
    logits_BC = torch.randn(5, 3, dtype=torch.float64)
    targets_BC = torch.randint(0, 2, (5, 3)).double()
    total = 0.0
    for image in range(5):
        for label in range(3):
            p = 1 / (1 + math.exp(-float(logits_BC[image, label])))
            total -= math.log(p if targets_BC[image, label] else 1 - p)
    for reduction, divisor in (("sum_mean", 5), ("sum_sum", 1), ("mean_mean", 15)):
        loss = supervised_loss(logits_BC, targets_BC, reduction)
        assert float(loss) == pytest.approx(total / divisor, rel=1e-12)
    default = binary_cross_entropy_with_logits(logits_BC, targets_BC)
    torch.testing.assert_close(supervised_loss(logits_BC, targets_BC, "mean_mean"), default)


@pytest.mark.parametrize("reduction", ["sum_mean", "sum_sum", "mean_mean"])
def test_ignored_places_add_nothing_to_the_supervised_loss(reduction):
    torch.manual_seed(0)
    logits_BC = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    ignored_BC = torch.zeros(5, 3, dtype=torch.bool)
    ignored_BC[0] = ignored_BC[3, 1] = True
    targets_BC = torch.randint(0, 2, (5, 3)).double().masked_fill(ignored_BC, 0)
    divisor = {"sum_mean": 5, "sum_sum": 1, "mean_mean": 11}[reduction]
    total, gradient_BC = 0.0, torch.zeros(5, 3, dtype=torch.float64)
    for image, label in (~ignored_BC).nonzero().tolist():
        p = 1 / (1 + math.exp(-float(logits_BC.detach()[image, label])))
        total -= math.log(p if targets_BC[image, label] else 1 - p)
        gradient_BC[image, label] = (p - float(targets_BC[image, label])) / divisor
    loss = supervised_loss(logits_BC, targets_BC, reduction, ignored_BC)
    assert loss.item() == pytest.approx(total / divisor, rel=1e-12)
    loss.backward()
    torch.testing.assert_close(logits_BC.grad, gradient_BC)
    assert (logits_BC.grad[ignored_BC] == 0).all()

    none = supervised_loss(logits_BC, targets_BC, reduction, torch.ones(5, 3, dtype=torch.bool))
    assert none.item() == 0.0
    wild_BC = logits_BC.detach().masked_fill(ignored_BC, math.inf).requires_grad_()
    supervised_loss(wild_BC, targets_BC, reduction, ignored_BC).backward()
    assert torch.equal(wild_BC.grad, logits_BC.grad)


def test_a_diverged_loss_is_one_line_with_the_way_out(bench):
    path = MLD.replace("/mld/", "/mse/")
    run = bench.resolve(path)
    endless = replace(run.method, settings={"weight": 1e39})  # infinite in float32
    with pytest.raises(UserError) as caught:
        bench.train(replace(run, method=endless))
    message = str(caught.value)
    assert message.startswith("losses not finite in epoch 1: ")
    assert "mse; lower the method's weights, or recipe: lr" in message
    assert "\n" not in message
    assert not (bench.layout.checkpoint(path) / "last.pt").exists()
    folder = bench.layout.run(path)
    assert [file.name for file in folder.iterdir()] == ["failed.json"]
    failure = records.read_json(folder / "failed.json")
    assert failure["error"] == message
    assert failure["run"]["method"]["settings"] == {"weight": 1e39}
    assert not (bench.train(run) / "failed.json").exists()


def tamper(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


@pytest.mark.parametrize("spoil", [tamper, lambda file: file.unlink()])
def test_a_teacher_that_is_not_the_recorded_one_is_refused(bench, spoil):
    file = bench.layout.run(TEACHER) / "model.pt"
    spoil(file)
    with pytest.raises(UserError) as caught:
        bench.train(MLD)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [file.name for file in bench.layout.run(MLD).iterdir()] == ["failed.json"]


def test_a_teacher_of_another_cache_is_refused(bench):
    file = bench.layout.cache("scenes") / "meta.json"
    meta = json.loads(file.read_text())
    records.write_json(file, meta | {"fingerprint": "0" * 64})
    with pytest.raises(UserError, match="another cache of scenes"):
        bench.train(MLD)


def test_a_missing_teacher_is_named(bench):
    path = MLD.replace("resnet20", "wrn16_2")
    with pytest.raises(UserError, match=r"supervised/scenes/wrn16_2/seed0/run\.json"):
        bench.train(path)


def test_the_teacher_is_frozen(bench, monkeypatch):
    teachers = []
    monkeypatch.setattr(
        training, "load_network", lambda *args: teachers.append(load_network(*args)) or teachers[0]
    )
    bench.train(REVIEW)
    (teacher,) = teachers
    assert not teacher.training
    assert not any(module.training for module in teacher.modules())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    before = weights(bench.layout.run(TEACHER))
    after = teacher.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)  # batch statistics too


def test_connectors_are_trained_and_counted_but_not_saved(finished):
    review, student = finished.layout.run(REVIEW), finished.layout.run(STUDENT)
    assert weights(review).keys() == weights(student).keys()
    parameters = records.read_json(review / "run.json")["parameters"]
    plain = records.read_json(student / "run.json")["parameters"]
    assert parameters["connectors"] > 0
    assert plain == parameters | {"connectors": 0}
    shapes = [value.numel() for key, value in weights(student).items() if "running" not in key]
    assert plain["backbone"] + plain["head"] < sum(shapes)  # queries are a buffer
    cache = open_cache(finished.layout.cache("scenes"))
    run = finished.resolve(STUDENT)
    network = new_network(run, cache, torch.device("cpu"), 0)
    assert plain["backbone"] == sum(p.numel() for p in network.backbone.parameters())
    assert plain["head"] == sum(p.numel() for p in network.head.parameters())


def test_connectors_learn(bench, monkeypatch):
    methods = []
    original = training.methods.build

    def build(*args):
        methods.append(original(*args))
        methods.append({key: value.clone() for key, value in methods[0].state_dict().items()})
        return methods[0]

    monkeypatch.setattr(training.methods, "build", build)
    bench.train(REVIEW)
    method, before = methods
    moved = [key for key, p in method.named_parameters() if not torch.equal(p, before[key])]
    assert moved == [key for key, _ in method.named_parameters()]


def test_the_record_vouches_for_files_teacher_and_data(finished):
    folder, teacher = finished.layout.run(MLD), finished.layout.run(TEACHER)
    record = records.read_json(folder / "run.json")
    assert record["weights_sha256"] == records.sha256(folder / "model.pt")
    assert record["predictions_sha256"] == records.sha256(folder / "predictions.npz")
    assert record["teacher"] == records.sha256(teacher / "model.pt")
    cache = open_cache(finished.layout.cache("scenes"))
    assert record["cache"] == cache.fingerprint
    assert record["classes"] == list(cache.classes)
    assert record["run"]["method"] == {"name": "mld", "revision": 1, "settings": {"mld": 10.0}}
    assert record["environment"]["torch"] == version("torch")
    assert record["final_epoch"] == history(folder)[-1]
    assert records.read_json(teacher / "run.json")["teacher"] is None


def test_predictions_are_the_networks_on_the_test_images(finished):
    run = finished.resolve(MLD)
    cache = open_cache(finished.layout.cache("scenes"))
    network = new_network(run, cache, torch.device("cpu"), 0)
    network.load_state_dict(weights(finished.layout.run(MLD)))
    network.eval()
    record = records.read_json(finished.layout.run(MLD) / "run.json")
    loaded = load_network(record, finished.layout, cache, torch.device("cpu"))
    with np.load(finished.layout.run(MLD) / "predictions.npz") as stored:
        assert stored["ids"].tolist() == cache.splits["test"].ids
        np.testing.assert_array_equal(stored["targets_NC"], cache.splits["test"].targets_NC)
        scale = np.array([255 * s for s in (0.229, 0.224, 0.225)])
        shift = np.array([0.485, 0.456, 0.406]) * 255
        for i in (0, 17, 31):
            pixels = (cache.splits["test"].images_NSSC[i] - shift) / scale
            image = torch.tensor(pixels.transpose(2, 0, 1)[None], dtype=torch.float32)
            with torch.no_grad():
                logits_C = network(image).logits_BC[0].numpy()
            np.testing.assert_array_equal(loaded(image).logits_BC[0].numpy(), logits_C)
            np.testing.assert_allclose(logits_C, stored["logits_NC"][i], atol=1e-4)


def test_scoring_refuses_predictions_of_another_run(bench):
    folder = bench.layout.run(TEACHER)
    score(TEACHER, bench.layout)
    assert records.read_json(folder / "metrics.json")["test_images"] == 32
    tamper(folder / "predictions.npz")
    with pytest.raises(UserError, match=r"predictions\.npz"):
        score(TEACHER, bench.layout)


def test_a_resolved_run_file_trains_without_the_specification(bench, finished):
    run = records.read_json(finished.layout.run(STUDENT) / "run.json")["run"]
    records.write_json(bench.base / "mine.json", run)
    result = python("-m", "mdkd", "train", "mine.json", "--device", "cpu", cwd=bench.base)
    assert result.returncode == 0, result.stderr
    assert read(bench.layout.run(STUDENT), "model.pt") == (
        read(finished.layout.run(STUDENT), "model.pt")
    )


def test_a_finished_run_is_not_trained_again(bench, finished, caplog):
    folder = bench.train(STUDENT)
    before = (folder / "run.json").stat().st_mtime_ns
    (folder / "metrics.json").write_text("{}")
    with caplog.at_level(logging.INFO):
        bench.train(STUDENT)
    assert "already trained with these settings" in caplog.text
    assert (folder / "run.json").stat().st_mtime_ns == before
    bench.train(replace(bench.resolve(STUDENT), weights=None, stem="cifar"))
    scored = records.read_json(folder / "metrics.json")  # not of the run that was replaced
    assert scored["predictions_sha256"] == records.sha256(folder / "predictions.npz")


def test_a_record_can_be_trained_again_and_must_agree_with_its_path(bench, finished):
    record = finished.layout.run(STUDENT) / "run.json"
    assert python("-m", "mdkd", "train", str(record), cwd=bench.base).returncode == 0
    assert read(bench.layout.run(STUDENT), "model.pt") == read(record.parent, "model.pt")
    for path in ("../../escape", STUDENT.replace("seed0", "seed00"), MLD):
        run = records.read_json(record)["run"] | {"path": path}
        (bench.base / "mine.json").write_text(json.dumps(run))
        result = python("-m", "mdkd", "train", "mine.json", cwd=bench.base)
        assert result.returncode == 2
        assert f"path: '{path}' contradicts" in result.stderr


def test_gradient_ratios_are_numbers_that_json_can_hold():
    weight = torch.ones(4, requires_grad=True)
    huge, gone = 1e30 * weight.sum(), 0 * weight.sum()
    ratios = gradient_ratios({"bce": weight.sum(), "huge": huge, "gone": gone}, [weight])
    assert ratios == {"huge": pytest.approx(1e30, rel=1e-6), "gone": 0.0}
    (ratio,) = gradient_ratios({"bce": gone, "huge": huge}, [weight]).values()
    assert math.isfinite(ratio)
    assert ratio > 1e50
