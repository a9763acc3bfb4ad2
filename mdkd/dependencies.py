"""Multi-order label pair dependency losses (Eqs. 4-14) in closed form, for any order.

The paper averages U(a, b) over all P(C, n) / 2 sequences of n distinct labels. Nothing has to be
enumerated:

1. Probabilities lie in [0, 1], hence so do all dependencies, and the Huber loss (Eq. 5) never
   leaves its quadratic branch: U(a, b) = (a - b)^2 / 2.
2. Let D be the symmetric residual matrix with zero diagonal, teacher minus student, of the second
   order. The square of a path's sum is a sum over pairs of its edges, and a pair is either one
   edge twice, two edges that share a label, or two disjoint edges. Their means over all sequences
   need only S2 = sum D_kl^2, R = sum_k r_k^2 and S1 = sum_k r_k, where r_k = sum_l D_kl:

       L_n = 1 / (2 (n-1)^2) * [ (n-1)       * S2                    / P(C, 2)
                               + 2 (n-2)     * (R - S2)              / P(C, 3)    (n >= 3)
                               + (n-2) (n-3) * (S1^2 - 4 R + 2 S2)   / P(C, 4) ]  (n >= 4)

3. With u = teacher + student and v = teacher - student, both centred over the labels of each
   image (differences do not notice), D_kl = mean_i (u_ik - u_il) (v_ik - v_il). With w = u * v
   and P_i = sum_k w_ik, the three sums follow from three numbers, at both levels alike:

       S1 = 2 C P      R = C^2 q + 3 C P^2      S2 = 2 C q + 2 P^2 + 2 K

   image level (of one image)   q = sum_k w_k^2            P = P_i          K = |u|^2 |v|^2 + P^2
   batch level                  q = sum_k mean_i(w_ik)^2   P = mean_i P_i   K = |N|^2 / 2
   where N = M + M' and M = u' v / B. When B <= C the B x B Gram matrices give K instead.

All orders of a level are therefore linear in (q, P^2, K): one pass serves every order, the fifth
and sixth cost nothing more, and no C x C matrix is needed.

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
    """L_BDn (Eqs. 6 and 8): dependencies are averaged over the batch before they are compared.

    Takes probabilities in [0, 1], [B, C], float32 or float64, and an order of 2..C; gives a scalar.
    The teacher is a constant: gradients flow to the student only. `check` looks at the values,
    which makes an accelerator wait; shapes, types and the order are always checked.

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

    Arguments, result and gradient as for `batch_loss`.
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
    """All wanted L_BDn and all wanted L_IDn from one pass, as two vectors in the orders given.

    `norm` is "paper" (the mean over label sequences, as printed) or "sum" (their sum: without the
    factor 2 / P(C, n); the mean over images stays). Otherwise as for `batch_loss`.
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
    """coefficients @ features, with the derivative written out (some 25 operations each way)."""

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
        change_BC = v_BC - u_BC  # of w, when the student's probability grows

        with torch.autocast(w_BC.device.type, enabled=False):
            # Every feature is quadratic in w or of degree two in u and v, and a mean over images.
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
    # A tensor born in inference mode could never be saved for a later backward pass.
    with torch.inference_mode(False):
        return torch.block_diag(*blocks).to(device, copy=True)


def _coefficients_of_order(num_labels: int, order: int, norm: str) -> tuple[float, float, float]:
    """Weights of (q, P^2, K) in L_n: step 2 of the module's text with step 3 put in."""
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
    """P(C, m) = C! / (C - m)! as a float: the integer does not convert once C is large."""
    return math.prod(num_labels - i for i in range(length))


def _check_arguments(
    student_BC: Tensor, teacher_BC: Tensor, orders: tuple[int, ...], norm: str
) -> None:
    """Everything that can be told without looking at values, and so without waiting for them."""
    if student_BC.ndim != 2 or student_BC.shape != teacher_BC.shape:
        raise ValueError(
            "student and teacher must be two matrices [images, labels] of one shape, "
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
        raise ValueError(f"{name} holds values outside [0, 1] or NaN: probabilities are expected")
