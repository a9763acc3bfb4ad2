"""What every method promises; a new file in mdkd/methods is tested without being named here.

A promise that does not fit a method is left out by what the method declares: what it needs, and
whether it has trained parts. For the rest there are the opt-outs below.
"""

import pytest
import torch
from method_cases import (
    FILES,
    LABELS,
    NAMES,
    STUDENT,
    TEACHER,
    assert_dtype,
    assert_each,
    assert_finite,
    gradients,
    make,
    output,
    over,
    seed,
    targets,
    tensors_of,
    total,
    trainable,
)
from waiting import META, NoWaiting

from mdkd import methods

# Opt-outs. Add a method's name to a set, with the reason, where the promise cannot be kept.
# The permuted control compares pairs that do not belong together.
# A supervised loss compares the student with the labels.
NOT_MINIMAL_AT_EQUALITY = {"mdkd_permuted", "asl"}
# One weight for six terms, or for what becomes of another weight: see test_methods.py.
# The supervised loss has no weight, and powers and a margin instead.
NOT_ONE_WEIGHT_PER_TERM = {"mdkd_permuted", "mld_matched", "asl"}
# Draws numbers for each image, as dropout does in a trained part.
DEPENDS_ON_THE_ORDER_OF_IMAGES: set[str] = set()
# Settings, of any method, that are decimal numbers but multiply no term.
NOT_WEIGHTS = {"temperature"}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def test_opt_outs_are_of_methods_that_exist():
    opted_out = NOT_MINIMAL_AT_EQUALITY | NOT_ONE_WEIGHT_PER_TERM
    assert opted_out | DEPENDS_ON_THE_ORDER_OF_IMAGES <= set(NAMES)


def test_the_code_and_the_file_beside_it_agree(name):
    info = methods.get(name)
    assert info.name == name
    assert list(info.needs) == FILES[name].needs
    assert list(methods.settings_of(info)) == list(FILES[name].settings)


def test_every_method_has_a_file_of_settings():
    assert sorted(FILES) == NAMES


def test_reads_only_what_it_needs(name):
    info = methods.get(name)
    fields = {
        "logits": "logits_BC",
        "pooled": "pooled_BD",
        "maps": "maps",
        "embeddings": "embeddings_BCE",
    }
    hidden = {field: None for need, field in fields.items() if need not in info.needs}
    student, teacher = output(STUDENT, 5, 1), output(TEACHER, 5, 2)
    loss = make(name)
    seen = loss(student._replace(**hidden), teacher._replace(**hidden), targets(5))
    torch.testing.assert_close(seen, loss(student, teacher, targets(5)))


def test_terms_are_finite_scalars_with_gradients_for_the_student_alone(name):
    student, teacher = trainable(output(STUDENT, 5, 1)), trainable(output(TEACHER, 5, 2))
    terms = make(name)(student, teacher, targets(5))
    assert_each(terms, lambda term: term.ndim == 0, "a scalar")
    assert_finite(terms)
    if not methods.get(name).needs:
        assert terms == {}
        return
    total(terms).backward()
    received = {key: x.grad for key, x in tensors_of(student).items() if x.grad is not None}
    assert received
    assert_finite(received)
    assert max(g.abs().max() for g in received.values()) > 0
    assert [key for key, x in tensors_of(teacher).items() if x.grad is not None] == []


def test_minimal_when_the_student_is_the_teacher(name):
    if methods.get(name).has_parameters:
        pytest.skip("trained parts stand between student and teacher")
    if name in NOT_MINIMAL_AT_EQUALITY:
        pytest.skip("listed in NOT_MINIMAL_AT_EQUALITY")
    student = trainable(output(STUDENT, 5, 1))
    loss = make(name, teacher_spec=STUDENT)
    terms = loss(student, student, targets(5))
    assert_each(terms, lambda term: abs(term) < 1e-12, "zero")
    other = loss(student, output(STUDENT, 5, 2), targets(5))
    here, elsewhere = gradients(terms, student), gradients(other, student)
    assert here.keys() == elsewhere.keys()
    for key, gradient in here.items():  # PKT's formula holds an epsilon of 1e-7
        assert gradient.norm() <= 1e-5 * elsewhere[key].norm(), key


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_finite_at_extreme_logits(name, dtype):
    generator = torch.Generator().manual_seed(3)
    student, teacher = output(STUDENT, 6, 1, dtype), output(TEACHER, 6, 2, dtype)
    signs = torch.randint(0, 2, (2, 6, LABELS), generator=generator) * 2 - 1
    signs[:, 0] = torch.tensor([[1], [-1]])  # one image on which they disagree throughout
    student = trainable(student._replace(logits_BC=100 * signs[0].to(dtype)))
    teacher = teacher._replace(logits_BC=100 * signs[1].to(dtype))
    terms = make(name, dtype=torch.float32)(student, teacher, targets(6))
    assert_dtype(terms, torch.float32)
    assert_finite(terms | gradients(terms, student))


@pytest.mark.parametrize(
    ("change", "bound"),
    [
        (lambda x: x[[0, 0, 1, 2, 3]], 1e4),  # two equal images
        (lambda x: x[[0, 0, 0, 0, 0]], 1e4),
        (torch.zeros_like, 1e8),  # PKT's kernel is steep there: its epsilon is 1e-7
    ],
    ids=["two equal", "all equal", "zero"],
)
def test_degenerate_features(name, change, bound):
    student = trainable(over(output(STUDENT, 5, 1, torch.float32), change))
    teacher = output(TEACHER, 5, 2, torch.float32)
    terms = make(name, dtype=torch.float32)(student, teacher, targets(5))
    received = gradients(terms, student)
    assert_finite(terms | received)
    assert_each(received, lambda g: g.abs().max() < bound, f"below {bound:g}")


def test_order_of_the_batch_does_not_matter(name):
    if name in DEPENDS_ON_THE_ORDER_OF_IMAGES:
        pytest.skip("listed in DEPENDS_ON_THE_ORDER_OF_IMAGES")
    student, teacher, target = output(STUDENT, 6, 1), output(TEACHER, 6, 2), targets(6)
    shuffled = torch.tensor([3, 0, 5, 1, 4, 2])
    expected = make(name)(student, teacher, target)
    terms = make(name)(
        over(student, lambda x: x[shuffled]), over(teacher, lambda x: x[shuffled]), target[shuffled]
    )
    torch.testing.assert_close(terms, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("positives", [0, 1, 3, LABELS])
def test_a_batch_of_one_image(name, positives):
    student, teacher = trainable(output(STUDENT, 1, 1)), output(TEACHER, 1, 2)
    target = (torch.arange(LABELS) < positives).float().unsqueeze(0)
    terms = make(name)(student, teacher, target)
    assert_finite(terms | gradients(terms, student))


def test_types_of_targets_do_not_matter(name):
    student, teacher, loss = output(STUDENT, 5, 1), output(TEACHER, 5, 2), make(name)
    expected = loss(student, teacher, targets(5))
    for dtype in (torch.bool, torch.uint8, torch.bfloat16):
        torch.testing.assert_close(loss(student, teacher, targets(5).to(dtype)), expected)


def test_low_precision_inputs_give_float32_losses(name):
    student = trainable(output(STUDENT, 5, 1, torch.bfloat16))
    teacher = output(TEACHER, 5, 2, torch.bfloat16)
    loss = make(name, dtype=torch.float32)
    terms = loss(student, teacher, targets(5))
    wide = loss(over(student, torch.Tensor.float), over(teacher, torch.Tensor.float), targets(5))
    assert_dtype(terms, torch.float32)
    torch.testing.assert_close(terms, wide)
    assert_finite(gradients(terms, student))


def test_autocast_does_not_reach_the_losses(name):
    student = trainable(output(STUDENT, 5, 1, torch.float32))
    teacher = output(TEACHER, 5, 2, torch.float32)
    loss = make(name, dtype=torch.float32)
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            terms = loss(student, teacher, targets(5))
        results.append((terms, gradients(terms, student)))
    # Trained parts are layers like the student's own and may follow autocast.
    may_follow = methods.get(name).has_parameters
    tolerance = {"rtol": 0.1, "atol": 0.1} if may_follow else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(*results, **tolerance)
    assert_dtype(results[1][0], torch.float32)


def test_weights_multiply_and_a_weight_of_zero_drops_its_term(name):
    if name in NOT_ONE_WEIGHT_PER_TERM:
        pytest.skip("listed in NOT_ONE_WEIGHT_PER_TERM")
    weights = {  # decimal numbers; whole ones are sizes
        key: value
        for key, value in FILES[name].settings.items()
        if isinstance(value, float) and key not in NOT_WEIGHTS
    }
    student, teacher = output(STUDENT, 5, 1), output(TEACHER, 5, 2)
    terms = make(name)(student, teacher, targets(5))
    assert len(terms) == sum(value != 0 for value in weights.values()), (
        f"terms {list(terms)} of weights {weights}: weights are decimal numbers (1.0, not 1); "
        "other decimal settings belong into NOT_WEIGHTS"
    )
    doubled = make(name, **{k: 2 * v for k, v in weights.items()})(student, teacher, targets(5))
    torch.testing.assert_close(doubled, {key: 2 * term for key, term in terms.items()})
    assert make(name, **dict.fromkeys(weights, 0))(student, teacher, targets(5)) == {}


@pytest.mark.parametrize("name", [n for n in NAMES if FILES[n].supervised == "own"])
def test_an_own_supervised_loss_is_that_of_each_image_and_label(name):
    """So that the training loop can leave out ignored labels."""
    student, teacher, target = output(STUDENT, 5, 1), output(TEACHER, 5, 2), targets(5)
    settings = FILES[name].settings
    loss = methods.build(name, STUDENT, TEACHER, settings)
    seed()
    each_BC = loss(student, teacher, target)["supervised"]
    assert each_BC.shape == target.shape
    assert (each_BC >= 0).all()
    changed = target.clone()
    changed[3, 2] = 1 - changed[3, 2]
    seed()
    differs = loss(student, teacher, changed)["supervised"] != each_BC
    assert differs.nonzero().tolist() == [[3, 2]]


@pytest.mark.parametrize("name", [n for n in NAMES if FILES[n].supervised == "bce"])
def test_the_term_of_a_supervised_loss_belongs_to_methods_with_their_own(name):
    terms = make(name)(output(STUDENT, 5, 1), output(TEACHER, 5, 2), targets(5))
    assert not {"supervised", "bce"} & terms.keys()


def test_every_trained_part_is_trained(name):
    if not methods.get(name).has_parameters:
        pytest.skip("has no trained parts")
    loss = make(name)
    parameters = dict(loss.named_parameters())
    assert parameters
    total(loss(output(STUDENT, 4, 1), output(TEACHER, 4, 2), targets(4))).backward()
    assert [key for key, p in parameters.items() if p.grad is None] == []
    assert_finite({key: p.grad for key, p in parameters.items()})


def test_the_training_step_waits_for_nothing(name, accelerator):
    loss, target = make(name).to(META), targets(5)
    student, teacher = (over(output(s, 5, i), move) for i, s in enumerate((STUDENT, TEACHER)))
    student = trainable(student)
    target = target if methods.get(name).labels_on_host else move(target)
    gradients(loss(student, teacher, target), student)  # the first step may make constants
    with NoWaiting():
        terms = loss(student, teacher, target)
        gradients(terms, student)


def move(x):
    return x.to(META)
