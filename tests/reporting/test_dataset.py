"""Tables and figure of a data set."""

import hashlib
import pickle

import pandas as pd
import pytest
from hash_orders import printed_by_both
from label_cases import chain_targets

from mdkd.data.cache import Cache, CachedSplit
from mdkd.reporting import dataset as label_report


def test_tables_and_figure_of_a_data_set(tmp_path):
    targets_NC = chain_targets()
    split = CachedSplit([str(i) for i in range(len(targets_NC))], None, targets_NC)
    cache = Cache(("a", "b", "c"), {"test": split, "train": split, "val": split}, "", {})
    label_report.write(cache, "chain", tmp_path)
    frame = pd.read_csv(tmp_path / "tables" / "labels_chain.csv")
    assert frame["train_images"].tolist() == targets_NC.sum(axis=0).tolist()
    pairs = pd.read_csv(tmp_path / "tables" / "pairs_chain.csv").set_index(["a", "b"])
    assert pairs.loc[("a", "b"), "images"] == (targets_NC[:, 0] & targets_NC[:, 1]).sum()
    assert pairs.loc[("a", "b"), "p_b_given_a"] == pytest.approx(0.8)
    assert pairs.index[-1] == ("a", "c")
    page = (tmp_path / "tables" / "labels_chain.md").read_text()
    assert f"| train | 1000 | {targets_NC.sum() / 1000:.2f} |" in page
    rows = [line.split(" | ")[0] for line in page.splitlines() if " | 1000 | " in line]
    assert rows == ["| train", "| val", "| test"]
    assert [name for name in frame if name.endswith("_images")] == [
        f"{split}_images" for split in ("train", "val", "test")
    ]
    assert "by about 1 / N, here 0.001 nats" in page  # two degrees of freedom, over 2 N
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
