"""Digests of a cache: of its pixels, its labels, and everything together.

Shape key: N images, C labels, S pixels on a side.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from mdkd import records

UNCOUNTED = ("fingerprint", "repeated", "root")
MEASURED = ("missing", "damaged")  # reasons for leaving images out that no other fact implies


def fingerprint(facts: dict) -> str:
    """Hex digest of all facts of a cache, except those that follow from others.

    These are the fingerprint itself, the images that look the same, and the images that a rule of
    the source leaves out. The folder with the files does not count either. The facts are converted
    to JSON and back first, so that they are the same as those read later from ``meta.json``. For
    example, tuples become lists.
    """
    others = {k: fact for k, fact in facts.items() if k not in UNCOUNTED}
    if "dropped" in others:
        others["dropped"] = {
            split: {reason: n for reason, n in counts.items() if reason in MEASURED}
            for split, counts in others["dropped"].items()
        }
    return records.digest(json.loads(json.dumps(others)))


def agree(facts: dict) -> bool:
    """Whether the fingerprint among the facts is theirs."""
    try:
        return fingerprint(facts) == facts["fingerprint"]
    except ValueError:  # a number that is infinite, which no cache has
        return False


def labels(targets_NC: np.ndarray) -> str:
    """Hex digest of 0/1 values ``[N, C]``."""
    return hashlib.sha256(targets_NC.astype(np.uint8).tobytes()).hexdigest()


def pixels(path: Path) -> tuple[str, list[bytes]]:
    """Hex digest of all rows of a ``.npy`` file ``[N, S, S, 3]``, and one short digest of each row.

    Reads row by row, to save memory.
    """
    array = np.load(path, mmap_mode="r")
    whole, rows = hashlib.sha256(), []
    with path.open("rb") as file:
        file.seek(array.offset)
        for _ in range(len(array)):
            row = file.read(array[0].nbytes)
            whole.update(row)
            rows.append(hashlib.blake2b(row, digest_size=16).digest())
    return whole.hexdigest(), rows
