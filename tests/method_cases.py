"""Networks' outputs to try methods on: what the tests of methods share."""

import torch

from mdkd import methodfiles, methods
from mdkd.outputs import Output, Spec

NAMES = methods.names()
FILES = methodfiles.read_all()
LABELS = 7
STUDENT = Spec(LABELS, 6, (4, 5, 6), (16, 8, 4), 5)
TEACHER = Spec(LABELS, 9, (3, 5, 7, 8), (8, 8, 4, 2), 6)
SEED_OF_DRAWS = 5
SMALL = {"mid_channels": 8}  # for speed, in every method that has such a setting


def output(spec, num_images, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(num_images, *shape, generator=generator, dtype=torch.float64).to(dtype)

    maps = zip(spec.map_channels, spec.map_sizes, strict=True)
    return Output(
        2 * normal(LABELS),
        normal(spec.pooled_dim).relu() + 0.1 * normal(spec.pooled_dim),
        tuple(normal(channels, size, size) for channels, size in maps),
        normal(LABELS, spec.embedding_dim),
    )


def targets(num_images):
    """0, 1, all, 2 and 3 positives, and so on again."""
    rows = torch.zeros(num_images, LABELS)
    for i, positives in enumerate([0, 1, LABELS, 2, 3] * num_images):
        if i < num_images:
            rows[i, torch.arange(positives) * (i + 2) % LABELS] = 1
    return rows


def over(output, change):
    """The same output with `change` applied to each of its tensors."""
    return Output(
        change(output.logits_BC),
        change(output.pooled_BD),
        tuple(change(x) for x in output.maps),
        change(output.embeddings_BCE),
    )


def tensors_of(output):
    """The tensors of an output by name."""
    return {
        "logits_BC": output.logits_BC,
        "pooled_BD": output.pooled_BD,
        **{f"maps[{i}]": x for i, x in enumerate(output.maps)},
        "embeddings_BCE": output.embeddings_BCE,
    }


def leaves(output):
    return list(tensors_of(output).values())


def make(name, student_spec=STUDENT, teacher_spec=TEACHER, dtype=torch.float64, **changes):
    torch.manual_seed(0)
    settings = FILES[name].settings
    small = {key: value for key, value in SMALL.items() if key in settings}
    loss = methods.build(name, student_spec, teacher_spec, settings | small | changes)

    loss.register_forward_pre_hook(seed)
    if loss.own_supervised:
        loss.register_forward_hook(reduce_supervised)
    return loss.to(dtype)


def reduce_supervised(loss, inputs, terms):
    """As the training loop does: summed over labels, averaged over images."""
    return terms | {"supervised": terms["supervised"].sum(1).mean()}


def seed(*_):
    """As before every training step."""
    torch.manual_seed(SEED_OF_DRAWS)


def total(terms):
    return sum(terms.values(), torch.zeros(()))


def gradients(terms, output):
    """Gradients with respect to the tensors of an output that the terms depend on, by name."""
    if not terms:
        return {}
    found = torch.autograd.grad(total(terms), leaves(output), allow_unused=True)
    named = zip(tensors_of(output), found, strict=True)
    return {f"gradient of {name}": x for name, x in named if x is not None}


def trainable(output):
    return over(output, lambda x: x.detach().clone().requires_grad_())


def assert_each(tensors, holds, promise):
    """Every tensor keeps a promise; a failure names those that do not, and shows them."""
    broken = [f"{name} = {x.detach()}, {x.dtype}" for name, x in tensors.items() if not holds(x)]
    assert not broken, "\n".join([f"not {promise}:", *broken])


def assert_finite(tensors):
    assert_each(tensors, lambda x: x.isfinite().all(), "finite")


def assert_zero(tensors):
    assert_each(tensors, lambda x: (x == 0).all(), "exactly zero")


def assert_dtype(tensors, dtype):
    assert_each(tensors, lambda x: x.dtype == dtype, str(dtype))
