"""The supervised loss, the terms of an epoch, and the ratios of their gradients."""

import math

import pytest
import torch
from conftest import TEACHER
from torch.nn.functional import binary_cross_entropy_with_logits
from trainings import LAST_STEP, MLD, REVIEW, STEPS, history, read, weights

from mdkd import methodfiles, methods, rng
from mdkd.data.cache import open_cache
from mdkd.data.loader import Batch, Loader
from mdkd.outputs import Output, Spec
from mdkd.training import loop as training
from mdkd.training.losses import gradient_ratios, supervised_loss
from mdkd.training.networks import new_network


def test_the_gradient_probe_leaves_the_training_bit_equal(bench, finished, monkeypatch):
    monkeypatch.setattr(training, "gradient_ratios", lambda *args: {})
    folder = bench.train(REVIEW)
    assert read(folder, "model.pt") == read(finished.layout.run(REVIEW), "model.pt")
    assert [epoch["gradient_ratios"] for epoch in history(folder)] == [{}, {}]


def test_only_some_epochs_are_probed_and_the_training_is_bit_equal(bench, finished, monkeypatch):
    monkeypatch.setattr(training, "probed_epochs", lambda epochs: {epochs - 1})
    folder, everywhere = bench.train(MLD), finished.layout.run(MLD)
    assert read(folder, "model.pt") == read(everywhere, "model.pt")
    expected = [epoch["gradient_ratios"] for epoch in history(everywhere)]
    assert None not in expected
    assert [epoch["gradient_ratios"] for epoch in history(folder)] == [None, expected[1]]


def test_the_recorded_probe_is_the_ratio_of_two_backward_passes(finished):
    run = finished.resolve(MLD)
    cache = open_cache(finished.layout.cache("scenes"))
    cpu = torch.device("cpu")

    def gradient_norm(term):
        student = new_network(run, len(cache.classes), cpu, rng.torch_seed(0, "init", "resnet8"))
        student.train()
        teacher = new_network(run_of_teacher, len(cache.classes), cpu, 0)
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


def test_a_supervised_loss_of_the_method_takes_the_place_of_the_cross_entropy():
    w = torch.ones(2, requires_grad=True)
    terms = {"supervised": (3 * w).sum(), "one": 5 * w[0]}
    assert gradient_ratios(terms, [w]) == {"one": pytest.approx(5 / math.sqrt(18))}
    assert gradient_ratios({"supervised": torch.zeros(())}, [w]) == {}  # it has no graph


def own_loss(mld):
    spec = Spec(3, 0, (), (), None)
    settings = methodfiles.read("asl").settings | {"mld": mld}
    return methods.build("asl", spec, spec, settings)


@pytest.mark.parametrize("reduction", ["sum_mean", "sum_sum", "mean_mean"])
def test_a_supervised_loss_of_the_method_leaves_ignored_places_out(reduction):
    generator = torch.Generator().manual_seed(0)
    student, teacher = (
        Output(2 * torch.randn(4, 3, generator=generator), torch.empty(4, 0), (), None)
        for _ in range(2)
    )
    targets_BC = torch.tensor([[1, 0, 0], [0, 0, 0], [1, 1, 0], [0, 1, 1]]).float()
    ignored_BC = torch.zeros(4, 3, dtype=torch.bool)
    ignored_BC[[0, 2], [1, 2]] = True
    loss = own_loss(mld=10)

    def terms(targets_BC, ignored_BC):
        batch = Batch(torch.empty(4, 0), targets_BC, targets_BC, ignored_BC)
        return training.loss_terms(loss, student, teacher, batch, reduction)

    each_BC = loss(student, teacher, targets_BC)["supervised"]
    found = terms(targets_BC, ignored_BC)
    kept = [float(each_BC[i, c]) for i in range(4) for c in range(3) if not ignored_BC[i, c]]
    divisor = {"sum_mean": 4, "sum_sum": 1, "mean_mean": 10}[reduction]
    assert found.keys() == {"supervised", "mld"}
    assert float(found["supervised"]) == pytest.approx(sum(kept) / divisor)
    flipped = terms(torch.where(ignored_BC, 1 - targets_BC, targets_BC), ignored_BC)
    assert flipped["supervised"] == found["supervised"]
    assert terms(targets_BC, None)["supervised"] > found["supervised"] * divisor / 12


def test_a_training_with_a_supervised_loss_of_the_method(bench):
    path = MLD.replace("/mld/", "/asl/")
    alone, distilled = (bench.train(p) for p in (path, path.replace("/default/", "/mld-10/")))
    for folder, terms in ((alone, set()), (distilled, {"mld"})):
        for epoch in history(folder):
            assert set(epoch["losses"]) == {"supervised"} | terms
            assert set(epoch["gradient_ratios"]) == terms
    assert read(alone, "model.pt") != read(distilled, "model.pt")


def test_without_another_term_no_gradient_is_taken():
    constant = torch.zeros(())  # it has no graph: a gradient of it is an error
    with pytest.raises(RuntimeError, match="grad"):
        gradient_ratios({"bce": constant, "one": constant}, [torch.ones(1, requires_grad=True)])
    assert gradient_ratios({"bce": constant}, [torch.ones(1, requires_grad=True)]) == {}


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


def test_gradient_ratios_are_numbers_that_json_can_hold():
    weight = torch.ones(4, requires_grad=True)
    huge, gone = 1e30 * weight.sum(), 0 * weight.sum()
    ratios = gradient_ratios({"bce": weight.sum(), "huge": huge, "gone": gone}, [weight])
    assert ratios == {"huge": pytest.approx(1e30, rel=1e-6), "gone": 0.0}
    (ratio,) = gradient_ratios({"bce": gone, "huge": huge}, [weight]).values()
    assert math.isfinite(ratio)
    assert ratio > 1e50
