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


def leaves(output):
    return [output.logits_BC, output.pooled_BD, *output.maps, output.embeddings_BCE]


def make(name, student_spec=STUDENT, teacher_spec=TEACHER, dtype=torch.float64, **changes):
    torch.manual_seed(0)
    settings = FILES[name].settings
    small = {key: value for key, value in SMALL.items() if key in settings}
    loss = methods.build(name, student_spec, teacher_spec, settings | small | changes)

    loss.register_forward_pre_hook(seed)
    return loss.to(dtype)


def seed(*_):
    """As before every training step."""
    torch.manual_seed(SEED_OF_DRAWS)


def total(terms):
    return sum(terms.values(), torch.zeros(()))


def gradients(terms, output):
    """Gradients with respect to the tensors of an output that the terms depend on."""
    if not terms:
        return []
    found = torch.autograd.grad(total(terms), leaves(output), allow_unused=True)
    return [gradient for gradient in found if gradient is not None]


def trainable(output):
    return over(output, lambda x: x.detach().clone().requires_grad_())
