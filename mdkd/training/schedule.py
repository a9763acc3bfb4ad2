"""What depends on the step or the epoch alone, so that runs can resume: rates and probes."""

import math

from mdkd.config import Recipe

# One-cycle schedule: values of torch's OneCycleLR, with the rising part of Yang et al., ICCV 2023.
RISING_PART = 0.2  # fraction of all steps
START_DIVISOR = 25.0  # highest learning rate / first learning rate
END_DIVISOR = 1e4  # first learning rate / last learning rate
HIGH_MOMENTUM, LOW_MOMENTUM = 0.95, 0.85


def learning_rate(recipe: Recipe, step: int, last_step: int) -> float:
    """The learning rate of a step of the optimizer, in ``0 .. last_step - 1``.

    ``cosine``: decreases from ``recipe.lr`` at step 0 to 0 at ``last_step``. If there are W steps
    of warm-up, step s of them has ``recipe.lr`` x (s + 1) / W, and the cosine begins at step W.
    ``onecycle``: increases to ``recipe.lr`` during the first fifth of the steps, then decreases.
    """
    if recipe.schedule == "cosine":
        warmup = round(last_step * recipe.warmup_epochs / recipe.epochs)
        if step < warmup:
            return recipe.lr * ((step + 1) / warmup)
        return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (last_step - warmup)))
    start = recipe.lr / START_DIVISOR
    return _cycle(step, last_step, start, recipe.lr, start / END_DIVISOR)


def momentum(recipe: Recipe, step: int, last_step: int) -> float:
    """The momentum of SGD, or Adam's beta1, at a step.

    It is constant for ``cosine``, and low at high rates for ``onecycle``.
    """
    if recipe.schedule == "cosine":
        return recipe.momentum if recipe.optimizer == "sgd" else recipe.betas[0]
    return _cycle(step, last_step, HIGH_MOMENTUM, LOW_MOMENTUM, HIGH_MOMENTUM)


def _cycle(step: int, last_step: int, start: float, turn: float, end: float) -> float:
    """A half cosine from ``start`` to ``turn``, then a half cosine from ``turn`` to ``end``."""
    turn_step = RISING_PART * last_step - 1  # counted from 0; may be a fraction
    if step < turn_step:
        return _anneal(start, turn, step / turn_step)
    return _anneal(turn, end, (step - turn_step) / (last_step - 1 - turn_step))


def _anneal(start: float, end: float, part: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * part))


def probed_epochs(epochs: int) -> set[int]:
    """The epochs, counted from 0, whose first step compares the gradients of the loss terms.

    They are the first, the last, and between them one for every five, but at most ten: a probe
    takes a backward pass for each loss term, which counts in a training of short epochs.

    >>> sorted(probed_epochs(20))
    [0, 4, 8, 11, 15, 19]
    """
    intervals = min(epochs // 5, 10) + 1
    return {round(i * (epochs - 1) / intervals) for i in range(intervals + 1)}
