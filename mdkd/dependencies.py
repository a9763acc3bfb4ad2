"""Multi-order label pair dependency losses (Eqs. 4-14) in closed form, for any order.

The paper averages U(a, b) over all P(C, n) / 2 sequences of n distinct labels. The closed form
gives the same result without enumerating the sequences:

1. Probabilities are in [0, 1], so all dependencies are in [0, 1] too. The Huber loss (Eq. 5)
   therefore always uses its quadratic branch: U(a, b) = (a - b)^2 / 2.
2. Let D be the matrix of differences between the second-order dependencies of teacher and student
   (teacher minus student). It is symmetric, with a zero diagonal. A sequence of n labels is a path
   with n - 1 edges. The square of the sum over its edges is a sum over pairs of edges. Such a pair
   is one edge twice, two edges that share a label, or two disjoint edges. The means over all
   sequences need only S2 = sum D_kl^2, R = sum_k r_k^2 and S1 = sum_k r_k, where
   r_k = sum_l D_kl:

       L_n = 1 / (2 (n-1)^2) * [ (n-1)       * S2                    / P(C, 2)
                               + 2 (n-2)     * (R - S2)              / P(C, 3)    (n >= 3)
                               + (n-2) (n-3) * (S1^2 - 4 R + 2 S2)   / P(C, 4) ]  (n >= 4)

3. Let u = teacher + student and v = teacher - student, both minus their mean over the labels of
   each image. Differences between labels do not depend on this mean, so
   D_kl = mean_i (u_ik - u_il) (v_ik - v_il). Let w = u * v and P_i = sum_k w_ik. At both levels,
   the three sums follow from three numbers q, P and K:

       S1 = 2 C P      R = C^2 q + 3 C P^2      S2 = 2 C q + 2 P^2 + 2 K

   image level (of one image)   q = sum_k w_k^2            P = P_i          K = |u|^2 |v|^2 + P^2
   batch level                  q = sum_k mean_i(w_ik)^2   P = mean_i P_i   K = |N|^2 / 2
   where N = M + M' and M = u' v / B. If B <= C, K is computed from B x B Gram matrices instead.

The losses of all orders of a level are therefore linear in (q, P^2, K). One pass computes every
order, so the fifth and sixth order have no extra cost. The largest matrix is C x C if C < B, and
2B x 2B otherwise.

Shape key: B images, C labels, F features (q, P^2, K of each level in use), N losses.
"""

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

NORMS = ("paper", "sum")


def batch_loss(student_BC: Tensor, teacher_BC: Tensor, order: int, *, check: bool = True) -> Tensor:
    """L_BDn (Eqs. 6 and 8): dependencies are averaged over the batch, then compared.

    Args:
        student_BC: probabilities in [0, 1], [B, C], float32 or float64.
        teacher_BC: the same for the teacher. It is a constant: gradients flow only to the student.
        order: the number of labels in a sequence, 2..C.
        check: raise a ValueError for values outside [0, 1]. This waits for an accelerator. Shapes,
            types and the order are always checked.

    Returns a scalar.

    >>> student, teacher = torch.tensor([[0.2, 0.6, 0.9]]), torch.tensor([[0.1, 0.8, 0.9]])
    >>> round(batch_loss(student, teacher, 2).item(), 4)
    0.023
    """
    losses, _ = multi_order_losses(student_BC, teacher_BC, (order,), (), check=check)
    return losses[0]


def instance_loss(
    student_BC: Tensor, teacher_BC: Tensor, order: int, *, check: bool = True
) -> Tensor:
    """L_IDn (Eqs. 11 and 13): dependencies are compared image by image, then averaged.

    The arguments, the result and the gradient are like those of `batch_loss`. For one image the
    two losses are equal.

    >>> student, teacher = torch.tensor([[0.2, 0.6, 0.9]]), torch.tensor([[0.1, 0.8, 0.9]])
    >>> round(instance_loss(student, teacher, 2).item(), 4)
    0.023
    """
    _, losses = multi_order_losses(student_BC, teacher_BC, (), (order,), check=check)
    return losses[0]


def multi_order_losses(
    student_BC: Tensor,
    teacher_BC: Tensor,
    batch_orders: Sequence[int],
    instance_orders: Sequence[int],
    *,
    norm: str = "paper",
    check: bool = False,
) -> tuple[Tensor, Tensor]:
    """L_BDn for all `batch_orders` and L_IDn for all `instance_orders`, as two vectors.

    All losses are computed in one pass. `norm` is "paper" (the mean over label sequences, as in
    the paper's equations) or "sum" (the sum over label sequences, that is, without the factor
    2 / P(C, n); it is still a mean over images). The rest is like `batch_loss`.

    >>> student, teacher = torch.tensor([[0.2, 0.6, 0.9]]), torch.tensor([[0.1, 0.8, 0.9]])
    >>> batch, instance = multi_order_losses(student, teacher, [2, 3], [3])
    >>> [round(loss, 4) for loss in batch.tolist()], [round(loss, 4) for loss in instance.tolist()]
    ([0.023, 0.0124], [0.0124])
    """
    batch_orders, instance_orders = tuple(batch_orders), tuple(instance_orders)
    _check_arguments(student_BC, teacher_BC, batch_orders + instance_orders, norm)
    if check:
        _check_range("student", student_BC)
        _check_range("teacher", teacher_BC)
    if not batch_orders and not instance_orders:
        return student_BC.new_zeros(0), student_BC.new_zeros(0)
    coefficients_NF = _coefficients(
        student_BC.shape[1],
        batch_orders,
        instance_orders,
        norm,
        student_BC.dtype,
        student_BC.device,
    )
    losses_N = _PairLosses.apply(
        student_BC, teacher_BC.detach(), coefficients_NF, bool(batch_orders), bool(instance_orders)
    )
    return losses_N[: len(batch_orders)], losses_N[len(batch_orders) :]


class _PairLosses(torch.autograd.Function):
    """coefficients @ features. The derivative is written by hand: about 25 operations per pass."""

    @staticmethod
    def forward(ctx, student_BC, teacher_BC, coefficients_NF, batch: bool, instance: bool):
        num_images, num_labels = student_BC.shape
        uv_2BC = torch.cat((teacher_BC + student_BC, teacher_BC - student_BC))
        uv_2BC -= uv_2BC.mean(1, keepdim=True)
        u_BC, v_BC = uv_2BC[:num_images], uv_2BC[num_images:]
        w_BC = u_BC * v_BC
        P_B = w_BC.sum(1)

        features, norms_2B, mean_w_C, gram = [], None, None, None
        with torch.autocast(student_BC.device.type, enabled=False):
            if batch:
                mean_w_C = w_BC.mean(0)
                if num_labels < num_images:
                    gram = u_BC.T @ v_BC / num_images
                    gram = gram + gram.T  # N
                    K = gram.square().sum() / 2
                else:
                    gram = uv_2BC @ uv_2BC.T / num_images  # [[uu', uv'], [vu', vv']] / B
                    uu_uv, vu_vv = gram[:num_images], gram[num_images:]
                    vv_vu = vu_vv.roll(num_images, 1)
                    K = (uu_uv * vv_vu).sum()
                features += [mean_w_C.square().sum(), P_B.mean().square(), K]
            if instance:
                norms_2B = uv_2BC.square().sum(1)
                mean_P2 = P_B.square().mean()
                mean_K = (norms_2B[:num_images] * norms_2B[num_images:]).mean() + mean_P2
                features += [w_BC.square().sum(1).mean(), mean_P2, mean_K]
            losses_N = coefficients_NF @ torch.stack(features)
        ctx.save_for_backward(uv_2BC, w_BC, P_B, coefficients_NF, norms_2B, mean_w_C, gram)
        ctx.levels = batch, instance
        return losses_N

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_N):
        uv_2BC, w_BC, P_B, coefficients_NF, norms_2B, mean_w_C, gram = ctx.saved_tensors
        batch, instance = ctx.levels
        num_images, num_labels = w_BC.shape
        u_BC, v_BC = uv_2BC[:num_images], uv_2BC[num_images:]
        change_BC = v_BC - u_BC  # derivative of w with respect to the student's probability

        with torch.autocast(w_BC.device.type, enabled=False):
            # Each feature is a mean over images, and it is quadratic in w or in u and v together.
            grads = ((grad_N @ coefficients_NF) * (2 / num_images)).unbind()
            if instance:
                q, P2, K = grads[-3:]
                grad_w_BC = q * w_BC
                grad_w_BC += ((P2 + K) * P_B).unsqueeze(1)
                if batch:
                    grad_w_BC += grads[0] * mean_w_C + grads[1] * P_B.mean()
                grad_BC = change_BC * grad_w_BC
                norms_2B = norms_2B * K
                grad_BC.addcmul_(u_BC, norms_2B[num_images:].unsqueeze(1))
                grad_BC.addcmul_(v_BC, norms_2B[:num_images].unsqueeze(1), value=-1)
            else:
                grad_BC = change_BC * (grads[0] * mean_w_C + grads[1] * P_B.mean())
            if batch:
                gram = gram * grads[2]
                if num_labels < num_images:
                    grad_BC.addmm_(change_BC, gram)  # (v - u) N
                else:  # the same product: (v - u) u' v + (v - u) v' u
                    rows = gram[num_images:] - gram[:num_images]
                    grad_BC.addmm_(rows[:, :num_images], v_BC)
                    grad_BC.addmm_(rows[:, num_images:], u_BC)
        grad_BC -= grad_BC.mean(1, keepdim=True)
        return grad_BC, None, None, None, None


@functools.lru_cache(maxsize=64)
def _coefficients(
    num_labels: int,
    batch_orders: tuple[int, ...],
    instance_orders: tuple[int, ...],
    norm: str,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """The block-diagonal matrix that turns the features of both levels into losses, [N, F]."""
    blocks = [
        torch.tensor([_coefficients_of_order(num_labels, n, norm) for n in orders], dtype=dtype)
        for orders in (batch_orders, instance_orders)
        if orders
    ]
    # Autograd cannot save tensors that were created in inference mode.
    with torch.inference_mode(False):
        return torch.block_diag(*blocks).to(device, copy=True)


def _coefficients_of_order(num_labels: int, order: int, norm: str) -> tuple[float, float, float]:
    """The coefficients of (q, P^2, K) in L_n: step 3 of the module docstring put into step 2."""
    C, n = float(num_labels), order
    same_edge = (n - 1) / _permutations(C, 2)
    shared_label = 2 * (n - 2) / _permutations(C, 3) if n >= 3 else 0.0
    disjoint = (n - 2) * (n - 3) / _permutations(C, 4) if n >= 4 else 0.0
    of_S2 = same_edge - shared_label + 2 * disjoint
    of_R = shared_label - 4 * disjoint
    of_S1_squared = disjoint
    scale = 1 / (2 * (n - 1) ** 2)
    if norm == "sum":
        scale *= _permutations(C, n) / 2
    return (
        scale * (2 * C * of_S2 + C**2 * of_R),
        scale * (2 * of_S2 + 3 * C * of_R + 4 * C**2 * of_S1_squared),
        scale * 2 * of_S2,
    )


def _permutations(num_labels: float, length: int) -> float:
    """P(C, m) = C! / (C - m)! as a float, because the integer becomes too large for a float."""
    return math.prod(num_labels - i for i in range(length))


def _check_arguments(
    student_BC: Tensor, teacher_BC: Tensor, orders: tuple[int, ...], norm: str
) -> None:
    """Check shapes, types, orders and norm. Values are not read, so this never waits."""
    if student_BC.ndim != 2 or student_BC.shape != teacher_BC.shape:
        raise ValueError(
            "student and teacher must be matrices [images, labels] with the same shape, "
            f"got {tuple(student_BC.shape)} and {tuple(teacher_BC.shape)}"
        )
    if student_BC.dtype != teacher_BC.dtype or student_BC.dtype not in (
        torch.float32,
        torch.float64,
    ):
        raise ValueError(
            "student and teacher must both be float32 or both be float64, "
            f"got {student_BC.dtype} and {teacher_BC.dtype}"
        )
    num_images, num_labels = student_BC.shape
    if num_images == 0:
        raise ValueError("an empty batch has no dependencies")
    for order in orders:
        if not 2 <= order <= num_labels:
            raise ValueError(
                f"order {order} needs 2 <= order <= number of labels, which is {num_labels}"
            )
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")


def _check_range(name: str, probabilities_BC: Tensor) -> None:
    if not bool(((probabilities_BC >= 0) & (probabilities_BC <= 1)).all()):  # false for NaN too
        raise ValueError(f"{name} has values outside [0, 1] or NaN; probabilities are expected")
