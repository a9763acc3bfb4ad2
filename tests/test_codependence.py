"""Label statistics against counting by hand, and against a chain whose answer is known."""

import hashlib
import itertools
import pickle

import numpy as np
import pandas as pd
import pytest
from hash_orders import printed_by_both

from mdkd import codependence as labels
from mdkd.data.cache import Cache, CachedSplit
from mdkd.reporting import dataset as label_report


def chain_targets():
    """All states of a - b - c, each as often as its probability says: c depends on b alone."""
    rows = []
    for a, b, c in itertools.product((0, 1), repeat=3):
        p_b = (0.2, 0.8)[a]
        p_c = (0.1, 0.6)[b]
        weight = 0.5 * (p_b if b else 1 - p_b) * (p_c if c else 1 - p_c)
        rows += [(a, b, c)] * round(1000 * weight)
    return np.array(rows, np.uint8)


def test_counted_joint_is_the_share_of_images_with_all_three_labels():
    targets_NC = (np.random.default_rng(0).random((50, 5)) < 0.4).astype(np.uint8)
    joint = labels.counted_joint(targets_NC)
    for k, m, n in itertools.product(range(5), repeat=3):
        expected = np.mean([row[k] and row[m] and row[n] for row in targets_NC])
        assert joint[k, m, n] == pytest.approx(expected)


def test_a_pair_that_a_mediator_explains_is_not_direct():
    joint = labels.counted_joint(chain_targets())
    direct = labels.direct_dependence(joint)
    assert labels.phi(joint)[0, 2] > 0.2
    assert direct[0, 2] == pytest.approx(0, abs=1e-12)
    assert direct[0, 1] > 0.05
    assert direct[1, 2] > 0.05


def test_tables_and_figure_of_a_data_set(tmp_path):
    targets_NC = chain_targets()
    split = CachedSplit([str(i) for i in range(len(targets_NC))], None, targets_NC)
    cache = Cache(("a", "b", "c"), {"train": split, "test": split}, "", {})
    label_report.write(cache, "chain", tmp_path)
    frame = pd.read_csv(tmp_path / "tables" / "labels_chain.csv")
    assert frame["train_images"].tolist() == targets_NC.sum(axis=0).tolist()
    pairs = pd.read_csv(tmp_path / "tables" / "pairs_chain.csv").set_index(["a", "b"])
    assert pairs.loc[("a", "b"), "images"] == (targets_NC[:, 0] & targets_NC[:, 1]).sum()
    assert pairs.loc[("a", "b"), "p_b_given_a"] == pytest.approx(0.8)
    assert pairs.index[-1] == ("a", "c")
    page = (tmp_path / "tables" / "labels_chain.md").read_text()
    assert f"| train | 1000 | {targets_NC.sum() / 1000:.2f} |" in page
    pickled = tmp_path / "cache.pickle"
    pickled.write_bytes(pickle.dumps(cache))
    first, second = printed_by_both(WRITE, pickled, tmp_path)
    assert first == second
    svg = (tmp_path / "figures" / "labels_chain.svg").read_bytes()
    assert f"labels_chain.svg {hashlib.sha256(svg).hexdigest()}" in first


WRITE = """
import hashlib, os, pickle, sys
from pathlib import Path
from mdkd.reporting import dataset
cache, base = pickle.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2])
folder = base / os.environ["PYTHONHASHSEED"]
dataset.write(cache, "chain", folder)
for file in sorted(file for file in folder.rglob("*") if file.is_file()):
    print(file.name, hashlib.sha256(file.read_bytes()).hexdigest())
"""
