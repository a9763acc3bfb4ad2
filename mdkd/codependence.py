"""Dependencies between labels, computed from their joint probabilities (exact or counted).

Shape key: N images, C labels. ``joint_CCC[k, l, m]`` is P(y_k = y_l = y_m = 1); labels are 0 or 1,
so ``[k, k, k]`` is the marginal of k and ``[k, l, l]`` the pair (k, l).
"""

import numpy as np


def counted_joint(targets_NC: np.ndarray) -> np.ndarray:
    """Relative frequencies ``joint_CCC``, float64, from 0/1 targets. C = 80 needs 4 MB.

    >>> counted_joint(np.array([[1, 1], [1, 0], [0, 0], [0, 0]]))[0].tolist()
    [[0.5, 0.25], [0.25, 0.25]]
    """
    y_NC = targets_NC.astype(np.float64)
    size = y_NC.shape[1]
    joint_CCC = np.empty((size, size, size))
    for k in range(size):
        having_MC = y_NC[y_NC[:, k] == 1]  # the M images that have the label k
        joint_CCC[k] = having_MC.T @ having_MC
    return joint_CCC / len(y_NC)


def marginals(joint_CCC: np.ndarray) -> np.ndarray:
    """P(y_k = 1), ``[C]``.

    >>> marginals(counted_joint(np.array([[1, 1], [1, 0], [0, 0], [0, 0]]))).tolist()
    [0.5, 0.25]
    """
    return np.einsum("kkk->k", joint_CCC).copy()


def pairs(joint_CCC: np.ndarray) -> np.ndarray:
    """P(y_k = y_l = 1), ``[C, C]``, with the marginals on the diagonal.

    >>> pairs(counted_joint(np.array([[1, 1], [1, 0], [0, 0], [0, 0]]))).tolist()
    [[0.5, 0.25], [0.25, 0.25]]
    """
    return np.einsum("kll->kl", joint_CCC).copy()


def phi(joint_CCC: np.ndarray) -> np.ndarray:
    """Correlation coefficients of the labels, ``[C, C]`` in [-1, 1]; 0 where a label is constant.

    The diagonal is 1 for labels that vary.

    >>> phi(counted_joint(np.array([[1, 0], [1, 0], [0, 1], [0, 1]])))[0].tolist()
    [1.0, -1.0]
    """
    p_C = marginals(joint_CCC)
    spread_C = np.sqrt(p_C * (1 - p_C))
    scale_CC = np.outer(spread_C, spread_C)
    covariance_CC = pairs(joint_CCC) - np.outer(p_C, p_C)
    return np.divide(covariance_CC, scale_CC, np.zeros_like(scale_CC), where=scale_CC > 0)


def psi(joint_CCC: np.ndarray) -> np.ndarray:
    """The paper's Psi on labels: E[(y_k - y_l)^2] = P(k) + P(l) - 2 P(k, l), ``[C, C]``.

    >>> psi(counted_joint(np.array([[1, 1], [1, 0], [0, 0], [0, 0]]))).tolist()
    [[0.0, 0.25], [0.25, 0.0]]
    """
    p_C = marginals(joint_CCC)
    return p_C[:, None] + p_C[None, :] - 2 * pairs(joint_CCC)


def conditional_information(joint_CCC: np.ndarray) -> np.ndarray:
    """Conditional mutual information I(k; l | m) in nats, ``[C, C, C]`` indexed [k, l, m].

    It is 0 for m = k and m = l.

    >>> equal_pair = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 1], [0, 0, 0]])
    >>> round(float(conditional_information(counted_joint(equal_pair))[0, 1, 2]), 4)  # ln 2
    0.6931
    """
    p_C, pair_CC = marginals(joint_CCC), pairs(joint_CCC)
    p_k, p_l, p_m = p_C[:, None, None], p_C[:, None], p_C
    p_kl, p_km, p_lm = pair_CC[:, :, None], pair_CC[:, None, :], pair_CC[None]
    total_CCC = np.zeros_like(joint_CCC)
    # For m = 1, then m = 0: P(k = l = 1, m), P(k = 1, m), P(l = 1, m) and P(m) ...
    for both, with_k, with_l, any_kl in (
        (joint_CCC, p_km, p_lm, p_m),
        (p_kl - joint_CCC, p_k - p_km, p_l - p_lm, 1 - p_m),
    ):
        # ... and from them P(k, l, m), P(k, m) and P(l, m) for the four values of (k, l).
        for p_klm, is_k, is_l in (
            (both, with_k, with_l),
            (with_k - both, with_k, any_kl - with_l),
            (with_l - both, any_kl - with_k, with_l),
            (any_kl - with_k - with_l + both, any_kl - with_k, any_kl - with_l),
        ):
            ok = p_klm > 1e-15  # smaller values are zeros with rounding errors
            ratio = np.divide(p_klm * any_kl, is_k * is_l, np.ones_like(total_CCC), where=ok)
            total_CCC += np.where(ok, p_klm * np.log(ratio), 0.0)
    return np.maximum(total_CCC, 0.0)


def direct_dependence(joint_CCC: np.ndarray) -> np.ndarray:
    """Minimum over m of I(k; l | m) in nats, ``[C, C]``: the part that no other label explains.

    It is 0 for pairs that depend on each other only through one other label. Of two labels, it is
    their mutual information I(k; l).

    >>> three_equal_labels = counted_joint(np.array([[1, 1, 1], [0, 0, 0]]))
    >>> float(direct_dependence(three_equal_labels)[0, 1])
    0.0
    """
    labels = len(joint_CCC)
    if labels < 3:  # no m for a pair: add a label that no image has, for I(k; l | m) is I(k; l)
        joint_CCC = np.pad(joint_CCC, (0, 1))
    cmi_CCC = conditional_information(joint_CCC)
    index = np.arange(len(joint_CCC))
    cmi_CCC[index, :, index] = np.inf  # m = k and m = l do not count
    cmi_CCC[:, index, index] = np.inf
    return cmi_CCC.min(axis=2)[:labels, :labels]
