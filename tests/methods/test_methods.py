"""Every method against its formula in loops."""

import math

import oracles
import pytest
import torch
from method_cases import (
    FILES,
    LABELS,
    NAMES,
    SEED_OF_DRAWS,
    STUDENT,
    TEACHER,
    assert_zero,
    gradients,
    leaves,
    make,
    output,
    over,
    targets,
    trainable,
)

from mdkd.dependencies import batch_loss, instance_loss
from mdkd.errors import UserError
from mdkd.methods.reviewkd import hierarchical_context


def formula(name, loss, student, teacher, target):
    """The terms of a method at its default weights, by loops.

    `loss` is the method itself: of one with trained parts, its formula reads their weights.
    """
    weight = FILES[name].settings
    logits = student.logits_BC, teacher.logits_BC
    pooled = student.pooled_BD, teacher.pooled_BD
    embeddings = student.embeddings_BCE, teacher.embeddings_BCE
    last_maps = student.maps[-1], teacher.maps[-1]
    if name == "vanilla":
        return {}
    if name == "mse":
        return {"mse": weight["weight"] * oracles.mse(*logits)}
    if name == "ps":
        return {"ps": weight["weight"] * oracles.ps(*logits, target)}
    if name == "pkt":
        return {"pkt": weight["weight"] * len(target) / 64 * oracles.pkt(*pooled)}
    if name == "rkd":
        return {
            "distance": weight["distance"] * oracles.rkd_distance(*pooled),
            "angle": weight["angle"] * oracles.rkd_angle(*pooled),
        }
    if name == "reviewkd":
        return reviewed(loss, student, teacher)
    if name == "kd":
        return {"kd": weight["weight"] * oracles.kd(*logits, weight["temperature"])}
    if name == "fitnet":
        connector = loss.connector.weight[:, :, 0, 0], loss.connector.bias
        return {"fitnet": weight["weight"] * oracles.fitnet(*connector, *last_maps)}
    if name == "at":  # the sizes that both have are 4 and 8; the teacher has two maps of 8
        student_maps, teacher_maps = (
            [maps[k] for k in (2, 1)] for maps in (student.maps, teacher.maps)
        )
        return {"at": weight["weight"] * oracles.at(student_maps, teacher_maps)}
    if name == "sp":
        return {"sp": weight["weight"] * len(target) / 64 * oracles.sp(*last_maps)}
    if name == "dist":
        return {
            "inter": weight["inter"] * oracles.dist(*logits),
            "intra": weight["intra"] * oracles.dist(logits[0].T, logits[1].T),
        }
    if name == "asl":
        powers = {key: weight[key] for key in ("gamma_neg", "gamma_pos", "margin")}
        return {"supervised": oracles.asl(logits[0], target, **powers)}
    if name == "mld_matched":
        return {"mld": mld_of_length(student, teacher, weight)}
    if name not in ("mld", "l2d", "mdkd", "mdkd_permuted"):
        pytest.skip(f"write the formula of {name} as loops in tests/oracles.py and call it here")
    terms = {"mld": weight["mld"] * oracles.mld(*logits)}
    if name == "l2d":
        terms["cd"] = weight["cd"] / len(target) * oracles.led_class_aware(*embeddings, target)
        terms["id"] = weight["id"] / len(target) * oracles.led_instance_aware(*embeddings, target)
    if name == "mdkd":
        terms |= dependency_terms(*logits, weight)
    if name == "mdkd_permuted":
        permutation = torch.randperm(target.shape[1], generator=torch.manual_seed(SEED_OF_DRAWS))
        shuffled = torch.stack([logits[1][:, k] for k in permutation.tolist()], 1)
        equal = dict.fromkeys(TERMS, weight["dependencies"])
        terms |= dependency_terms(logits[0], shuffled, equal)
    return terms


def reviewed(loss, student, teacher, levels=(2, 1)):
    """ReviewKD over the maps of `levels`, deep to shallow, after the pooled vector."""
    students = [student.pooled_BD[:, :, None, None], *(student.maps[i] for i in levels)]
    teachers = [teacher.pooled_BD[:, :, None, None], *(teacher.maps[i] for i in levels)]
    assert len(loss.blocks) == len(students)
    return {"reviewkd": loss.weight * oracles.review(loss, students, teachers)}


TERMS = [f"{level}{n}" for level in ("bd", "id") for n in (2, 3, 4)]


def dependency_terms(student, teacher, weight):
    p, q = student.sigmoid(), teacher.sigmoid()
    levels = {"bd": "batch", "id": "instance"}
    return {
        term: weight[term] * oracles.dependency_loss(p, q, int(term[2]), levels[term[:2]])
        for term in TERMS
    }


def mld_of_length(student, teacher, weight):
    """MLD, multiplied by the length of MDKD's gradient over its own."""
    logits = student.logits_BC.detach().requires_grad_()
    own = weight["mld"] * oracles.mld(logits, teacher.logits_BC)
    others = dependency_terms(
        logits, teacher.logits_BC, dict.fromkeys(TERMS, weight["dependencies"])
    )
    whole = own + sum(others.values())
    lengths = [
        (torch.autograd.grad(loss, logits, retain_graph=True)[0] ** 2).sum() ** 0.5
        for loss in (whole, own)
    ]
    return (
        lengths[0] / lengths[1] * weight["mld"] * oracles.mld(student.logits_BC, teacher.logits_BC)
    )


def assert_same(terms, expected, student):
    assert set(terms) == set(expected)
    for key, value in expected.items():
        assert value > 0
        torch.testing.assert_close(terms[key], value, rtol=1e-12, atol=1e-12)
        ours, theirs = (
            torch.autograd.grad(x, leaves(student), retain_graph=True, allow_unused=True)
            for x in (terms[key], value)
        )
        torch.testing.assert_close(*map(filled, (ours, theirs)), rtol=1e-8, atol=1e-11)


def filled(found):
    """Autograd's None means zero."""
    return [torch.zeros(()) if x is None or not x.any() else x for x in found]


@pytest.mark.parametrize("name", NAMES)
def test_equals_loops_in_value_and_gradient(name):
    student, teacher, target = trainable(output(STUDENT, 6, 1)), output(TEACHER, 6, 2), targets(6)
    loss = make(name)
    terms = loss(student, teacher, target)
    assert_same(terms, formula(name, loss, student, teacher, target), student)


@pytest.mark.parametrize("pairs", ["three levels", "no common size"])
def test_reviewkd_equals_its_formula(pairs):
    spec = TEACHER if pairs == "three levels" else TEACHER._replace(map_sizes=(9, 7, 6, 2))
    student, teacher = trainable(output(STUDENT, 4, 1)), output(spec, 4, 2)
    loss = make("reviewkd", teacher_spec=spec, mid_channels=3)
    levels = (2, 1) if pairs == "three levels" else ()
    expected = reviewed(loss, student, teacher, levels)
    assert_same(loss(student, teacher, targets(4)), expected, student)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_hierarchical_context(size):
    x, y = torch.randn(2, 3, 5, size, size, dtype=torch.float64)
    torch.testing.assert_close(hierarchical_context(x, y), oracles.hierarchical_context(x, y))
    assert hierarchical_context(x, x) == 0


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_fitnet_pools_the_larger_of_two_maps(size):
    spec = TEACHER._replace(map_sizes=(8, 8, 4, size))
    student, teacher = trainable(output(STUDENT, 3, 1)), output(spec, 3, 2)
    loss = make("fitnet", teacher_spec=spec, weight=2.0)
    connector = loss.connector.weight[:, :, 0, 0], loss.connector.bias
    expected = 2 * oracles.fitnet(*connector, student.maps[-1], teacher.maps[-1])
    assert_same(loss(student, teacher, targets(3)), {"fitnet": expected}, student)


def test_at_needs_a_map_size_that_both_networks_have():
    spec = TEACHER._replace(map_sizes=(9, 7, 6, 1))  # places of size 1 have no attention
    student = output(STUDENT._replace(map_sizes=(8, 4, 1)), 3, 1)
    with pytest.raises(UserError, match="sizes 8, 4, 1, the teacher of 9, 7, 6, 1; choose"):
        make("at", teacher_spec=spec)(student, output(spec, 3, 2), targets(3))


def test_a_row_of_equal_probabilities_correlates_with_nothing():
    """Here: one image, so all of a label's probabilities are equal, and one image in doubt."""
    student, teacher = trainable(output(STUDENT, 1, 1)), output(TEACHER, 1, 2)
    terms = make("dist", inter=0)(student, teacher, None)
    assert terms == {"intra": 2}
    assert_zero(gradients(terms, student))
    flat = trainable(student._replace(logits_BC=torch.full((1, LABELS), 0.3).double()))
    terms = make("dist", intra=0)(flat, teacher, None)
    assert terms == {"inter": 2}
    assert_zero(gradients(terms, flat))


@pytest.mark.parametrize(
    "powers",
    [
        {"gamma_neg": 4.0, "gamma_pos": 1.0, "margin": 0.05},
        {"gamma_neg": 2.5, "gamma_pos": 0.5, "margin": 0.2},
        {"gamma_neg": 1.0, "gamma_pos": 0.0, "margin": 0.0},
    ],
)
def test_asl_at_other_settings(powers):
    student, teacher = trainable(output(STUDENT, 6, 1)), output(TEACHER, 6, 2)
    terms = make("asl", **powers, mld=3.0)(student, teacher, targets(6))
    expected = {
        "supervised": oracles.asl(student.logits_BC, targets(6), **powers),
        "mld": 3 * oracles.mld(student.logits_BC, teacher.logits_BC),
    }
    assert_same(terms, expected, student)


def test_asl_without_powers_and_margin_is_the_binary_cross_entropy():
    student, teacher, target = trainable(output(STUDENT, 6, 1)), output(TEACHER, 6, 2), targets(6)
    terms = make("asl", gamma_neg=0, margin=0)(student, teacher, target)
    bce = torch.nn.functional.binary_cross_entropy_with_logits(
        student.logits_BC, target.double(), reduction="sum"
    )
    assert_same(terms, {"supervised": bce / 6}, student)
    wild = student._replace(logits_BC=1000 * (1 - 2 * target).double())  # certain, and all wrong
    terms = make("asl", gamma_neg=0, margin=0)(wild, teacher, target)
    torch.testing.assert_close(terms["supervised"], torch.tensor(1000.0 * LABELS).double())


def test_rkd_can_relate_logits():
    student, teacher = output(STUDENT, 5, 1), output(TEACHER, 5, 2)
    terms = make("rkd", input="logits")(student, teacher, targets(5))
    expected = oracles.rkd_distance(student.logits_BC, teacher.logits_BC)
    torch.testing.assert_close(terms["distance"], 25 * expected)
    with pytest.raises(UserError, match="input must be"):
        make("rkd", input="maps")(student, teacher, targets(5))


def test_ps_of_an_image_that_has_all_labels_is_exactly_nothing():
    student, teacher = trainable(output(STUDENT, 3, 1)), output(TEACHER, 3, 2)
    for target in (torch.ones(3, LABELS), torch.zeros(3, LABELS)):
        terms = make("ps")(student, teacher, target)
        assert_zero(terms | gradients(terms, student))


def test_label_embeddings_in_twos_cost_exactly_nothing():
    student, teacher = trainable(output(STUDENT, 2, 1)), output(TEACHER, 2, 2)
    target = torch.zeros(2, LABELS)
    target[:, [1, 4]] = 1
    terms = make("l2d", mld=0)(student, teacher, target)
    assert terms["cd"] == 0
    assert terms["id"] == 0
    assert_zero(gradients(terms, student))


def test_pkt_weight_means_the_same_at_any_batch_size():
    student, teacher = output(STUDENT, 6, 1), output(TEACHER, 6, 2)
    student_twice, teacher_twice = (
        over(x, lambda t: torch.cat((t, t))) for x in (student, teacher)
    )
    once = make("pkt")(student, teacher, None)["pkt"]
    torch.testing.assert_close(
        make("pkt")(student_twice, teacher_twice, None)["pkt"], once, rtol=1e-5, atol=0
    )
    raw = oracles.pkt(student.pooled_BD, teacher.pooled_BD)
    raw_twice = oracles.pkt(student_twice.pooled_BD, teacher_twice.pooled_BD)
    torch.testing.assert_close(raw_twice, raw / 2, rtol=1e-5, atol=0)


def test_mdkd_terms_are_the_dependency_losses():
    student, teacher = output(STUDENT, 5, 1), output(TEACHER, 5, 2)
    orders = range(2, 7)
    weights = {f"{level}{n}": 10.0 * n for level in ("bd", "id") for n in orders}
    terms = make("mdkd", mld=0, **weights)(student, teacher, None)
    p, q = student.logits_BC.sigmoid(), teacher.logits_BC.sigmoid()
    for n in orders:
        torch.testing.assert_close(terms[f"bd{n}"], 10.0 * n * batch_loss(p, q, n))
        torch.testing.assert_close(terms[f"id{n}"], 10.0 * n * instance_loss(p, q, n))
    sums = make("mdkd", mld=0, norm="sum", **weights)(student, teacher, None)
    for key, value in terms.items():
        sequences = math.perm(LABELS, int(key[-1])) / 2
        torch.testing.assert_close(sums[key], value * sequences, rtol=1e-12, atol=0)


def test_mdkd_takes_any_choice_of_levels():
    student, teacher = trainable(output(STUDENT, 5, 1)), output(TEACHER, 5, 2)
    everything = make("mdkd")(student, teacher, None)
    none = {key: 0 for key in everything}
    for chosen in (["bd2"], ["id3"], ["bd4", "id2"]):
        terms = make("mdkd", **(none | {key: 1 for key in chosen}))(student, teacher, None)
        assert_same(terms, {key: everything[key] for key in chosen}, student)


def test_controls_without_dependencies_are_mld():
    student, teacher, target = trainable(output(STUDENT, 6, 1)), output(TEACHER, 6, 2), targets(6)
    mld = make("mld")(student, teacher, target)
    for name in ("mld_matched", "mdkd_permuted"):
        terms = make(name, dependencies=0)(student, teacher, target)
        assert_same(terms, mld, student)
        assert make(name, dependencies=0, mld=0)(student, teacher, target) == {}
