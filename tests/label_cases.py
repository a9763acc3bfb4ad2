"""Labels whose dependencies are known."""

import itertools

import numpy as np


def chain_targets():
    """All states of a - b - c, each as often as its probability says: c depends on b alone."""
    rows = []
    for a, b, c in itertools.product((0, 1), repeat=3):
        p_b = (0.2, 0.8)[a]
        p_c = (0.1, 0.6)[b]
        weight = 0.5 * (p_b if b else 1 - p_b) * (p_c if c else 1 - p_c)
        rows += [(a, b, c)] * round(1000 * weight)
    return np.array(rows, np.uint8)
