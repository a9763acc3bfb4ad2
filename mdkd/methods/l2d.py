"""Logits and label-wise embedding distillation (L2D): Yang et al., ICCV 2023."""

# Shape key: B images, C labels, E embedding width (student and teacher may differ), N positive
# (image, label) places, G groups of places, P pairs of places of one group.
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mdkd.methods.base import method
from mdkd.methods.common import mld_loss, widen
from mdkd.outputs import Output

SMALLEST = 1e-12  # of a squared distance: keeps the gradient of its root finite


@method("l2d", needs=("logits", "embeddings"))
def l2d(
    student: Output, teacher: Output, target_BC: Tensor, *, mld: float, cd: float, id: float
) -> dict[str, Tensor]:
    """MLD plus label-wise embedding distillation, class-aware (CD) and instance-aware (ID).

    Embeddings of positive labels are compared by their distances within groups: for CD the images
    that share a label, for ID the labels that share an image. A group of two has one distance,
    which is its own mean: it costs 0. The authors' code sums both over all groups, beside a
    supervised loss that is summed over the batch too. Here that loss is a mean over images, so
    both sums are divided by B as well, which keeps the authors' balance.

    How many pairs there are depends on the labels, so they are listed on the host. With targets
    on an accelerator, fetching them is the one wait of this method.
    """
    terms = {}
    if mld:
        terms["mld"] = mld * mld_loss(student.logits_BC, teacher.logits_BC)
    if not cd and not id:
        return terms
    image_N, label_N = (target_BC > 0.5).cpu().nonzero().unbind(1)  # the one wait
    place_N = (image_N * target_BC.shape[1] + label_N).to(target_BC.device, non_blocking=True)
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
    """Unordered pairs of places of one group."""

    first_P: Tensor
    second_P: Tensor
    group_P: Tensor
    size_G: Tensor  # places of each group


def _list_pairs(group_N: Tensor, device: torch.device) -> _Pairs:
    first_P, second_P = (group_N.unsqueeze(1) == group_N).triu(1).nonzero().unbind(1)
    pairs = _Pairs(first_P, second_P, group_N[first_P], group_N.bincount())
    return _Pairs(*(index.to(device, non_blocking=True) for index in pairs))


def _group_loss(student_NE: Tensor, teacher_NE: Tensor, group_N: Tensor) -> Tensor:
    """Sum over groups of (1 / n) sum_ij smooth_l1(d_ij^S, d_ij^T), n the size of the group."""
    pairs = _list_pairs(group_N, student_NE.device)
    gap_P = F.smooth_l1_loss(
        _relative_distances(student_NE, pairs),
        _relative_distances(teacher_NE, pairs),
        reduction="none",
    )
    size_P = pairs.size_G.index_select(0, pairs.group_P)
    return (2 * gap_P / size_P).sum()  # 2: (i, j) and (j, i)


def _relative_distances(x_NE: Tensor, pairs: _Pairs) -> Tensor:
    """Distance of every pair over the mean distance in its group, [P]."""
    # Explicit differences: inner products lose all digits if embeddings share a large offset.
    gaps_PE = x_NE.index_select(0, pairs.first_P) - x_NE.index_select(0, pairs.second_P)
    distance_P = gaps_PE.square().sum(1).clamp_min(SMALLEST).sqrt()
    total_G = distance_P.new_zeros(len(pairs.size_G)).index_add(0, pairs.group_P, distance_P)
    pairs_G = (pairs.size_G * (pairs.size_G - 1) / 2).clamp_min(1)  # 1: groups without a pair
    return distance_P / (total_G / pairs_G).index_select(0, pairs.group_P)
