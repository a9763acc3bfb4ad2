"""Dependencies in predicted probabilities: measures by enumeration."""

import itertools

import numpy as np
import pytest
import torch
from dependency_cases import enumerated

from mdkd import codependence, dependencies
from mdkd.data import scenes_graph
from mdkd.reporting import dependencies as measures


def probabilities(images, size, seed=0):
    return np.random.default_rng(seed).random((2, images, size))


SIZES = [(1, 3), (6, 2), (9, 4), (5, 5), (3, 6), (2, 7)]


@pytest.mark.parametrize(("images", "size"), SIZES)
def test_errors_equal_enumeration_and_the_loss(images, size):
    student_NC, teacher_NC = probabilities(images, size)
    orders = list(range(2, size + 1))
    residual_CC = measures.psi(teacher_NC) - measures.psi(student_NC)
    found = {
        "batch": measures.batch_errors(residual_CC, orders),
        "instance": measures.instance_errors(student_NC, teacher_NC, orders),
    }
    losses = dependencies.multi_order_losses(
        torch.tensor(student_NC), torch.tensor(teacher_NC), orders, orders, check=True
    )
    for (level, errors), loss_O in zip(found.items(), losses, strict=True):
        expected = [enumerated(student_NC, teacher_NC, n, level) for n in orders]
        assert errors == pytest.approx(expected, rel=1e-10)
        assert errors == pytest.approx((2 * loss_O).sqrt().tolist(), rel=1e-10)


def test_an_order_beyond_the_labels_is_refused():
    student_NC, teacher_NC = probabilities(4, 3)
    with pytest.raises(
        ValueError, match="order 4 needs 2 <= order <= number of labels, which is 3"
    ):
        measures.instance_errors(student_NC, teacher_NC, [4])


def test_psi_and_the_dependency_along_a_sequence():
    p_NC = np.array([[0.2, 0.6, 0.9], [0.5, 0.5, 0.1]], np.float32)
    assert measures.psi(p_NC)[0] == pytest.approx([0, 0.08, 0.325], abs=1e-7)
    assert measures.along(p_NC) == pytest.approx([(0.16 + 0.09) / 2, 0.16 / 2], abs=1e-7)
    assert measures.along(p_NC[:, [0, 2]]).mean() == pytest.approx(measures.psi(p_NC)[0, 2])


def test_the_expected_joint_is_a_sum_over_all_label_sets():
    p_NC = probabilities(5, 4)[0]
    states = np.array(list(itertools.product((0, 1), repeat=4)), np.uint8)
    weights = np.zeros(len(states))
    for p_C in p_NC:
        weights += np.where(states == 1, p_C, 1 - p_C).prod(axis=1) / len(p_NC)
    assert weights.sum() == pytest.approx(1)
    expected = np.einsum("t,tk,tl,tm->klm", weights, states, states, states)
    np.testing.assert_allclose(measures.expected_joint(p_NC), expected, atol=1e-14)


def test_certain_predictions_have_the_dependencies_of_the_labels():
    targets_NC = (np.random.default_rng(1).random((60, 5)) < 0.4).astype(np.uint8)
    own = measures.of_predictions(targets_NC.astype(np.float32))
    counted = measures.of_joint(codependence.counted_joint(targets_NC))
    for found, expected in zip(own, counted, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    assert own.phi_CC[1, 2] == pytest.approx(np.corrcoef(targets_NC.T)[1, 2])


GRAPH = scenes_graph.parse_graph(scenes_graph.BUILT_IN, tuple(scenes_graph.BUILT_IN["classes"]))


def test_the_graph_is_read_back_from_its_record():
    graph = scenes_graph.read_graph(scenes_graph.dependencies(GRAPH))
    np.testing.assert_allclose(
        scenes_graph.joint(graph), scenes_graph.joint(GRAPH), rtol=0, atol=1e-7
    )


def test_direct_pairs_are_linked_and_indirect_ones_share_a_neighbour_only():
    record = scenes_graph.dependencies(GRAPH)
    index = {name: k for k, name in enumerate(record["classes"])}
    scopes = measures.links(record)
    direct_CC, indirect_CC = (scopes[name].pairs_CC for name in ("direct", "indirect"))
    assert direct_CC.sum() == len({(e["parent"], e["child"]) for e in record["edges"]})
    assert direct_CC[index["person"], index["dog"]]
    # car - person - dog on the street; chair - person - cup in the kitchen, but linked elsewhere
    assert indirect_CC[index["car"], index["dog"]]
    assert direct_CC[index["chair"], index["cup"]]
    assert not (direct_CC & indirect_CC).any()
    triples_CCC = scopes["indirect"].triples_CCC
    mediators = np.flatnonzero(triples_CCC[index["car"], index["dog"]])
    assert mediators.tolist() == [index["person"]]
    assert scopes["direct"].triples_CCC.sum() == direct_CC.sum() * (len(index) - 2)
