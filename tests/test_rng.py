"""Random numbers: the same bits on every machine, and uniform."""

import numpy as np
import pytest

from mdkd import rng


def splitmix(*keys):
    """The same bits with Python's integers, one element at a time."""
    mask, state = 2**64 - 1, 0
    for key in keys:
        z = ((state ^ key) + 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        state = z ^ (z >> 31)
    return state


def test_bits_never_change():
    assert int(rng.bits(0)) == 16294208416658607535  # the first output of SplitMix64 from seed 0
    assert int(rng.bits(1, 2, 3)) == 15020427595393229491
    assert rng.bits("flip", 0, np.arange(3)).tolist() == [
        7912790573679199697,
        3862281974268089563,
        15206790190389795679,
    ]
    assert float(rng.uniform(7, "order", 1)) == 0.593276753095951
    assert rng.integers(48, 5, "cutout-y", 2, np.arange(5)).tolist() == [36, 1, 3, 8, 14]
    assert rng.permutation(10, 3, "order", 4).tolist() == [6, 9, 2, 1, 0, 8, 3, 4, 7, 5]
    assert rng.torch_seed(0, "init", "resnet8") == 6363486874275412560


def test_bits_are_those_of_exact_integer_arithmetic():
    keys = [(0, 0), (1, 2**63), (2**64 - 1, 5), (123456789, 987654321)]
    assert [int(rng.bits(*pair)) for pair in keys] == [splitmix(*pair) for pair in keys]
    assert rng.torch_seed(3, 4) == splitmix(3, 4) >> 1


def test_bits_broadcast_and_depend_on_every_key():
    table = rng.bits(np.arange(3)[:, None], "a", np.arange(4))
    assert table.shape == (3, 4)
    assert int(table[2, 3]) == int(rng.bits(2, "a", 3))
    assert len(np.unique(table)) == 12
    assert int(rng.bits(1, 2)) != int(rng.bits(2, 1))
    assert int(rng.bits("a")) != int(rng.bits("b"))


@pytest.mark.parametrize("n", [1, 2, 1000])
def test_a_permutation_holds_everything_once(n):
    assert sorted(rng.permutation(n, 5, "order", 0).tolist()) == list(range(n))


def test_draws_are_uniform():
    values = rng.uniform(0, "test", np.arange(100_000))
    assert ((values >= 0) & (values < 1)).all()
    counts = np.histogram(values, bins=20, range=(0, 1))[0]
    assert ((counts - 5000) ** 2 / 5000).sum() < 43.8  # chi-squared, 19 degrees, p = 0.001
    counts = np.bincount(rng.integers(7, 1, np.arange(70_000)), minlength=7)
    assert len(counts) == 7
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 22.5  # 6 degrees, p = 0.001
    pairs = np.corrcoef(values[:-1], values[1:])[0, 1]
    assert abs(pairs) < 0.013  # 4 standard errors


def test_every_place_of_a_permutation_is_equally_likely():
    first = [int(rng.permutation(5, seed, "order", 0)[0]) for seed in range(2000)]
    counts = np.bincount(first, minlength=5)
    assert ((counts - 400) ** 2 / 400).sum() < 18.5  # 4 degrees, p = 0.001
