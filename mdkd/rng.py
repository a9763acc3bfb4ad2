"""Counter-based random numbers: each number is a pure function of its keys.

The code uses only 64-bit integer arithmetic and one exact float64 product, and it has no state.
The same keys therefore give the same bits on every processor, in any order and in any process.
"""

import zlib

import numpy as np

Key = int | str | np.ndarray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_TO_UNIT = 2.0**-53


def bits(*keys: Key) -> np.ndarray:
    """64 random bits for each element of the broadcast ``keys``, as uint64.

    Keys are non-negative integers, integer arrays or strings (a purpose such as ``"flip"``). The
    SplitMix64 finaliser (Steele et al., OOPSLA 2014) is applied once for each key.
    """
    state = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for key in keys:
            number = zlib.crc32(key.encode()) if isinstance(key, str) else key
            z = (state ^ np.asarray(number).astype(np.uint64)) + _GOLDEN
            z = (z ^ (z >> np.uint64(30))) * _MIX_1
            z = (z ^ (z >> np.uint64(27))) * _MIX_2
            state = z ^ (z >> np.uint64(31))
    return state


def uniform(*keys: Key) -> np.ndarray:
    """One float64 number in [0, 1) for each element of the broadcast keys; multiples of 2**-53."""
    return (bits(*keys) >> np.uint64(11)).astype(np.float64) * _TO_UNIT


def integers(bound: int, *keys: Key) -> np.ndarray:
    """One int64 number in [0, bound) for each element of the broadcast keys."""
    return (uniform(*keys) * bound).astype(np.int64)


def permutation(n: int, *keys: Key) -> np.ndarray:
    """A random permutation of ``range(n)``, int64 ``[n]``."""
    return np.argsort(bits(*keys, np.arange(n)), kind="stable")


def torch_seed(*keys: Key) -> int:
    """A seed in [0, 2**63) for ``torch.manual_seed``."""
    return int(bits(*keys) >> np.uint64(1))
