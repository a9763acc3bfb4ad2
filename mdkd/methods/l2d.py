"""Logits and label-wise embedding distillation (L2D): Yang et al., ICCV 2023."""

# Shape key: B images, C labels, E embedding width (student and teacher may differ), N positive
# labels of all images, G groups of them, P pairs in one group.
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mdkd.methods.base import method
from mdkd.methods.common import mld_loss, to_device, widen
from mdkd.outputs import Output

SMALLEST = 1e-12  # minimum of a squared distance; keeps the gradient of its square root finite


@method("l2d", labels_on_host=True)
def l2d(
    student: Output, teacher: Output, target_BC: Tensor, *, mld: float, cd: float, id: float
) -> dict[str, Tensor]:
    """MLD plus label-wise embedding distillation, class-aware (CD) and instance-aware (ID).

    Only embeddings of positive labels are used. The losses compare the distances between
    embeddings within groups: for CD, a group is all images with one label; for ID, all labels of
    one image. Each distance is divided by the mean distance of its group. A group of two has only
    one distance, which equals the mean, so its loss is 0.

    The authors' code sums CD and ID over all groups, and its supervised loss is a sum over the
    batch. Here the supervised loss is a mean over images. CD and ID are therefore divided by B
    too, which keeps the authors' balance.

    The number of pairs depends on the labels, so the pairs are listed on the host. With targets on
    an accelerator, this method would wait for it.
    """
    terms = {}
    if mld:
        terms["mld"] = mld * mld_loss(student.logits_BC, teacher.logits_BC)
    if not cd and not id:
        return terms
    image_N, label_N = (target_BC > 0.5).cpu().nonzero().unbind(1)
    place_N = to_device(image_N * target_BC.shape[1] + label_N, student.logits_BC.device)
    student_NE = _embeddings(student, place_N)
    teacher_NE = _embeddings(teacher, place_N).detach()
    if cd:
        terms["cd"] = cd / len(target_BC) * _group_loss(student_NE, teacher_NE, label_N)
    if id:
        terms["id"] = id / len(target_BC) * _group_loss(student_NE, teacher_NE, image_N)
    return terms


def _embeddings(output: Output, place_N: Tensor) -> Tensor:
    assert output.embeddings_BCE is not None, "methods.build refuses networks without embeddings"
    return widen(output.embeddings_BCE.flatten(0, 1).index_select(0, place_N))


class _Pairs(NamedTuple):
    """The unordered pairs of positive labels that are in the same group."""

    first_P: Tensor  # index in [0, N)
    second_P: Tensor  # index in [0, N)
    group_P: Tensor  # index in [0, G)
    size_G: Tensor  # number of positive labels in each group


def _list_pairs(group_N: Tensor, device: torch.device) -> _Pairs:
    first_P, second_P = (group_N.unsqueeze(1) == group_N).triu(1).nonzero().unbind(1)
    pairs = _Pairs(first_P, second_P, group_N[first_P], group_N.bincount())
    return _Pairs(*(to_device(index, device) for index in pairs))


def _group_loss(student_NE: Tensor, teacher_NE: Tensor, group_N: Tensor) -> Tensor:
    """Sum over groups of (1 / n) sum_ij smooth_l1(d_ij^S, d_ij^T), where n is the group's size."""
    pairs = _list_pairs(group_N, student_NE.device)
    gap_P = F.smooth_l1_loss(
        _relative_distances(student_NE, pairs),
        _relative_distances(teacher_NE, pairs),
        reduction="none",
    )
    size_P = pairs.size_G.index_select(0, pairs.group_P)
    return (2 * gap_P / size_P).sum()  # factor 2: the formula has both (i, j) and (j, i)


def _relative_distances(x_NE: Tensor, pairs: _Pairs) -> Tensor:
    """The distance of each pair divided by the mean distance in its group, [P]."""
    # Subtract explicitly: with inner products, a large common offset would cancel all digits.
    gaps_PE = x_NE.index_select(0, pairs.first_P) - x_NE.index_select(0, pairs.second_P)
    distance_P = gaps_PE.square().sum(1).clamp_min(SMALLEST).sqrt()
    total_G = distance_P.new_zeros(len(pairs.size_G)).index_add(0, pairs.group_P, distance_P)
    pairs_G = (pairs.size_G * (pairs.size_G - 1) / 2).clamp_min(1)  # a group of one has no pair
    return distance_P / (total_G / pairs_G).index_select(0, pairs.group_P)
