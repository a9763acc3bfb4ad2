"""The script that measures a GPU, on a CPU: it runs at a tiny size, and its sums are right."""

import re
import sys
from importlib import import_module

import pytest
import torch
from conftest import ROOT

from mdkd import methodfiles, records
from mdkd.config import parse
from mdkd.rates import Speeds
from mdkd.training.execution import DEFAULT, prepare

FACTS = {"device": "Some GPU"}


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    yield import_module("benchmarks.gpu")
    prepare(DEFAULT, ROOT)
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        del sys.modules[name]


def test_every_part_runs_on_a_cpu(gpu, tmp_path):
    file = tmp_path / "found.json"
    gpu.main(["--tiny", "--device", "cpu", "--out", str(file)])
    parts = records.read_json(file)["parts"]
    assert list(parts) == sorted(gpu.PARTS)  # as JSON sorts them
    assert [found for rows in parts.values() for found in rows if "error" in found] == []
    methods = {found["name"]: found for found in parts["methods"]}
    taught = {name for name, method in methodfiles.read_all().items() if method.needs}
    assert methods.keys() == taught | {gpu.NETWORKS}
    checked = [found for rows in parts.values() for found in rows]
    assert all(found.get("finite", True) and found.get("equal", True) for found in checked)
    resumed = parts["deterministic"][-1]
    assert (resumed["name"], resumed["equal"]) == ("interrupted and resumed", True)
    assert resumed["stops"] == 5  # of 3 epochs with 2 steps, after all steps but the last one
    text = file.with_suffix(".md").read_text()
    for name, rows in parts.items():
        assert f"\n## {name}\n" in text
        assert all(f"\n| {found['name']} |" in text for found in rows)


def test_the_page_names_every_part(gpu):
    page = (ROOT / "docs/gpu.md").read_text(encoding="utf-8").split("| Part |")[1]
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(gpu.PARTS)


def test_parts_of_earlier_calls_are_kept_if_the_facts_agree(gpu, tmp_path):
    file = tmp_path / "found.json"
    records.write_json(file, {"facts": FACTS, "parts": {"loop": []}})
    assert gpu.earlier(file, FACTS) == {"loop": []}
    assert gpu.earlier(file, {"device": "Another GPU"}) == {}
    assert gpu.earlier(tmp_path / "none.json", FACTS) == {}


def test_a_row_that_fails_says_why(gpu):
    row = import_module("benchmarks.gpu_parts").row

    def fail(x):
        raise ValueError(f"no {x}\nat all")

    cpu = torch.device("cpu")
    assert row("this", cpu, fail, 1) == {"name": "this", "error": "ValueError: no 1 at all"}
    assert row("this", cpu, lambda x: {"ms": x}, 2) == {"name": "this", "ms": 2}


def test_without_the_networks_alone_no_method_has_a_ratio(gpu, monkeypatch):
    """Otherwise the first method would be the unit of all others."""
    parts = import_module("benchmarks.gpu_parts")
    of_row, failing = parts.row, [gpu.NETWORKS]

    def row(name, device, work, *args):
        if name in failing:
            return {"name": name, "error": "RuntimeError: out of memory"}
        return of_row(name, device, work, *args)

    monkeypatch.setattr(parts, "row", row)
    case = gpu.Case(gpu.TINY, torch.device("cpu"))
    found = list(parts.of_methods(case))
    assert found[0]["error"]
    assert all("ms" in r and "over_networks" not in r for r in found[1:])
    assert "methods" not in gpu.rates({"methods": found}, FACTS, gpu.TINY)
    failing[:] = [found[1]["name"]]
    baseline, first, *others = parts.of_methods(case)
    assert baseline["over_networks"] == 1
    assert "over_networks" not in first
    for r in others:
        assert r["over_networks"] == pytest.approx(r["ms"] / baseline["ms"])
    rates = gpu.rates({"methods": [baseline, first, *others]}, FACTS, gpu.TINY)
    assert rates["methods"].keys() == {r["name"] for r in others}


def test_rates_by_hand(gpu):
    sizes = gpu.Sizes(student="s", batches=(2, 8))
    parts = {
        "backbones": [
            {"name": "s", "training_2": 10.0, "training_8": 40.2, "inference_8": 120.6},
            {"name": "t", "training_2": 5.0, "training_8": 20.0, "inference_8": 100.0},
            {"name": "u", "error": "too large"},
        ],
        "loop": [{"name": "vanilla, no teacher, 2 images a batch, resident", "images_per_s": 20.1}],
        "methods": [
            {"name": gpu.NETWORKS, "over_networks": 1.0},
            {"name": "mdkd", "over_networks": 1.25},
            {"name": "l2d", "error": "not finite"},
        ],
    }
    rates = gpu.rates(parts, FACTS, sizes)
    assert rates == {
        "device": "Some GPU",
        "image_size": 224,
        "stem": "imagenet",
        "training": {"s": 40, "t": 20},
        "inference": 4.0,  # the median of 3 and 5
        "efficiency": 0.5,
        "methods": {"mdkd": 1.25},
    }
    assert parse(Speeds, rates, "rates").methods == {"mdkd": 1.25}
    assert gpu.rates({}, FACTS, sizes).keys() == {"device", "image_size", "stem"}
