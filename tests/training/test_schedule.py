"""The learning rate: its course, and that every step uses it."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from trainings import LAST_STEP, MLD, STEPS, history

from mdkd.config import Recipe
from mdkd.training.optimizer import Adam
from mdkd.training.schedule import learning_rate, momentum, probed_epochs


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


def test_every_step_uses_its_learning_rate(bench, steps_seen):
    recipe = bench.resolve(MLD).recipe
    bench.train(MLD)
    assert steps_seen == [
        (learning_rate(recipe, step, LAST_STEP), 0.9) for step in range(LAST_STEP)
    ]


# Warm-up


def warm(**changes):
    plain = {"epochs": 4, "batch_size": 2, "lr": 0.8, "weight_decay": 0, "flip": False}
    return Recipe(**plain, cutout=0, **changes)


def test_a_warm_up_rises_linearly_and_the_cosine_takes_the_steps_that_are_left():
    rates = [learning_rate(warm(warmup_epochs=1.0), step, 16) for step in range(17)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])  # 4 of 16 steps
    assert rates[4] == 0.8
    assert rates[10] == pytest.approx(0.4)  # the middle of steps 4 to 16
    assert rates[16] == pytest.approx(0, abs=1e-15)
    plain = [learning_rate(warm(), step, 12) for step in range(13)]
    assert rates[4:] == plain


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(0.0, 0), (0.1, 0), (0.5, 2), (1.4, 6), (3.99, 16)],  # rounded to whole steps
)
def test_a_warm_up_may_end_within_an_epoch(epochs, expected):
    rates = [learning_rate(warm(warmup_epochs=epochs), step, 16) for step in range(16)]
    rise = [0.8 * (step + 1) / expected for step in range(expected)]
    assert rates[:expected] == pytest.approx(rise)
    assert rates[max(expected - 1, 0)] == max(rates) == 0.8
    assert rates[expected:] == sorted(rates[expected:], reverse=True)


def test_the_momentum_is_the_recipes_for_cosine_and_moves_for_onecycle():
    assert momentum(warm(), 3, 9) == 0.9
    assert momentum(warm(betas=[0.8, 0.99]), 3, 9) == 0.8
    sgd = warm(optimizer="sgd", momentum=0.7)
    assert momentum(sgd, 3, 9) == 0.7
    assert momentum(warm(optimizer="sgd"), 3, 9) == 0.0
    cycle = warm(optimizer="sgd", schedule="onecycle")
    assert [momentum(cycle, step, 10) for step in (0, 1, 9)] == pytest.approx([0.95, 0.85, 0.95])


# One cycle


@pytest.mark.parametrize("steps", [6, 7, 10, 99, 1000])
def test_one_cycle_is_torchs_step_by_step(steps):
    recipe = one_cycle(lr=1e-4)
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1e-4, total_steps=steps, pct_start=0.2
    )
    for step in range(steps):
        group = optimizer.param_groups[0]
        assert learning_rate(recipe, step, steps) == pytest.approx(group["lr"], rel=1e-9)
        assert momentum(recipe, step, steps) == pytest.approx(group["betas"][0], rel=1e-9)
        optimizer.step()
        if step < steps - 1:
            scheduler.step()


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_one_cycle_of_few_steps_only_falls(steps):
    """Torch divides by zero at five steps; too few to rise, the rate falls from its top."""
    rates = [learning_rate(one_cycle(lr=1.0), step, steps) for step in range(steps)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(4e-6)


def test_a_training_follows_its_cycle(bench, steps_seen):
    run = bench.resolve("supervised/scenes/resnet8/seed0")
    recipe = replace(run.recipe, schedule="onecycle", epochs=5)
    bench.train(replace(run, recipe=recipe))
    last = len(steps_seen)
    assert last == 15
    assert steps_seen == [
        (learning_rate(recipe, step, last), momentum(recipe, step, last)) for step in range(last)
    ]


@pytest.fixture
def steps_seen(monkeypatch):
    """The learning rate and beta1 of every step that is made from now on."""
    seen, original = [], Adam.step

    def spy(optimizer, lr, momentum):
        seen.append((lr, momentum))
        original(optimizer, lr, momentum)

    monkeypatch.setattr(Adam, "step", spy)
    return seen


def one_cycle(lr):
    return Recipe(
        epochs=1,
        batch_size=2,
        lr=lr,
        weight_decay=0,
        flip=False,
        cutout=0,
        schedule="onecycle",
    )


def test_the_first_and_the_last_epoch_are_probed_and_few_between_them():
    assert [sorted(probed_epochs(epochs)) for epochs in (1, 2, 4, 6, 11)] == [
        [0],
        [0, 1],
        [0, 3],
        [0, 2, 5],  # 2.5 is rounded to an even number
        [0, 3, 7, 10],
    ]
    assert sorted(probed_epochs(111)) == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110]
    for epochs in range(1, 300):
        probed = sorted(probed_epochs(epochs))
        assert probed[0] == 0
        assert probed[-1] == epochs - 1
        assert len(probed) <= min(2 + epochs // 5, 12)
        assert max(b - a for a, b in pairwise([0, *probed])) <= max(5, -(-epochs // 10))
