"""Every pair of the paper's tables with every method: one real training step, and the levels.

Small images and a narrow head; the full matrix is slow, a pair of each family is not.
"""

import functools

import pytest
import torch
from conftest import ROOT
from method_cases import assert_each, assert_finite

from mdkd import methods
from mdkd.config import Head
from mdkd.data.loader import Batch
from mdkd.models import build_network
from mdkd.models.build import merged
from mdkd.spec import Specification
from mdkd.training.loop import loss_terms
from mdkd.training.optimizer import Adam

PAPER = Specification(ROOT / "config", {"protocol": "paper"})
PAIRS = sorted(
    {
        (pair.teacher, pair.student)
        for name in ("table1", "table2", "table3", "table5")
        for pair in PAPER.experiments[name].pairs
    }
)
FAST = {  # one of each family that is not too wide for seconds
    ("resnet101", "repvgg_a0"),
    ("swin_t", "resnet34"),
    ("wrn40_2", "wrn16_2"),
    ("vgg13", "mobilenet_v2"),
    ("resnet32x4", "shufflenet_v2"),
}
LABELS, IMAGES, SIZE = 6, 4, 64
HEAD = Head(kind="mldecoder", width=32, heads=4, feedforward=64)


def network(arch, seed, image_size=SIZE):
    torch.manual_seed(seed)
    return build_network(
        PAPER.archs[arch].net,
        num_labels=LABELS,
        image_size=image_size,
        stem=PAPER.protocol.stem,
        head=HEAD,
    )


def batch():
    generator = torch.Generator().manual_seed(0)
    images_BCHW = torch.randn(IMAGES, 3, SIZE, SIZE, generator=generator)
    targets_BC = torch.zeros(IMAGES, LABELS)
    targets_BC[:, :3] = 1  # groups of three and more: smaller ones cost L2D nothing
    targets_BC[0, 3:] = 1
    return images_BCHW, targets_BC


def test_the_matrix_is_the_papers():
    assert set(PAIRS) >= FAST | {
        ("resnet101", "resnet34"),
        ("swin_s", "swin_t"),
        ("wrn101", "wrn40_1"),
        ("wrn101", "wrn50"),
        ("resnet56", "resnet20"),
        ("resnet101", "mobilenet_v2"),
        ("resnet34", "resnet101"),
    }
    assert sorted(PAPER.methods) == methods.names()


@pytest.mark.parametrize(
    ("teacher", "student"),
    [pytest.param(*p, marks=[] if p in FAST else pytest.mark.slow) for p in PAIRS],
)
def test_every_method_takes_a_training_step_on_the_pair(teacher, student):
    teacher_network = merged(network(teacher, seed=1)).requires_grad_(False)
    student_network = network(student, seed=0)
    start = {key: value.clone() for key, value in student_network.state_dict().items()}
    with torch.no_grad():
        teacher_output = teacher_network(batch()[0])
    for name in methods.names():
        student_network.load_state_dict(start)
        step(name, student_network.train(), teacher_network.spec, teacher_output, batch())
        names = [key for key, _ in student_network.named_parameters()]
        # Not all of them: residual branches that start at zero pass no gradient in the first step.
        reached = [names[0], *(key for key in names if key.startswith("head."))]
        now = student_network.state_dict()
        assert [key for key in reached if torch.equal(now[key], start[key])] == [], name


def step(name, student, teacher_spec, teacher_output, batch):
    """What the training loop does with one batch."""
    images_BCHW, targets_BC = batch
    batch = Batch(images_BCHW, targets_BC, targets_BC)
    torch.manual_seed(2)
    method = methods.build(name, student.spec, teacher_spec, PAPER.methods[name].settings)
    connectors = list(method.parameters())
    assert bool(connectors) == methods.get(name).has_parameters
    recipe = PAPER.protocol.recipe
    optimizer = Adam([*student.parameters(), *connectors], recipe.weight_decay)
    losses = loss_terms(method, student(batch.images_BCHW), teacher_output, batch, "sum_mean")
    assert (losses.keys() == {"bce"}) == (not methods.get(name).needs)
    assert_each(losses, lambda loss: loss.isfinite() and loss > 0, f"finite and positive in {name}")
    sum(losses.values()).backward()
    trained = dict(student.named_parameters()) | dict(method.named_parameters())
    assert {id(p) for p in optimizer.parameters} == {id(p) for p in trained.values()}
    assert_finite({key: p.grad for key, p in trained.items() if p.grad is not None})
    assert [key for key, p in method.named_parameters() if p.grad is None] == []
    optimizer.step(recipe.lr, momentum=0.9)


@functools.cache
def spec_at_224(arch):
    with torch.device("meta"):
        return network(arch, seed=0, image_size=224).spec


CIFAR = {arch for arch, entry in PAPER.archs.items() if entry.net.startswith("cifar:")}


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
def test_reviewkd_has_the_levels_of_l2ds_code_at_224(teacher, student):
    """Sizes 56, 28, 14, 7 and the pooled vector; CIFAR-style networks end at 14."""
    specs = [spec_at_224(arch) for arch in (student, teacher)]
    with torch.device("meta"):
        loss = methods.build("reviewkd", *specs, PAPER.methods["reviewkd"].settings)
    sizes = [
        [spec.map_sizes[i] for i in maps]
        for spec, maps in zip(specs, (loss.student_maps, loss.teacher_maps), strict=True)
    ]
    expected = [14, 28, 56] if {teacher, student} & CIFAR else [7, 14, 28, 56]
    assert sizes == [expected, expected]
    assert len(loss.blocks) == len(expected) + 1
    reduced = [block.reduce.in_channels for block in loss.blocks]
    compared = [block.expand.out_channels for block in loss.blocks]
    for channels, spec in ((reduced, specs[0]), (compared, specs[1])):
        by_size = dict(zip(spec.map_sizes, spec.map_channels, strict=True))
        assert channels == [spec.pooled_dim, *(by_size[size] for size in expected)]
