"""The harness by hand, and the straight forms that the benchmarks compare with, at a small size."""

import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from importlib import import_module

import numpy as np
import pytest
from conftest import ROOT


@pytest.fixture(autouse=True)
def _benchmarks_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        del sys.modules[name]


def test_every_straight_form_gives_what_the_package_gives(monkeypatch):
    growth = import_module("benchmarks.growth")
    monkeypatch.setattr(growth, "IMAGES", 300)
    monkeypatch.setattr(growth, "LABELS", 7)
    checked = 0
    for row in growth.rows():
        reference = row.reference()
        row.check(reference, row.own())
        checked += 1
        wrong = {} if isinstance(reference, dict) else reference + 1e-15
        if isinstance(wrong, np.ndarray) and np.array_equal(wrong, reference, equal_nan=True):
            wrong = reference + 1  # large counts
        with pytest.raises(AssertionError):
            row.check(reference, wrong)
    assert checked


def test_ratios_are_taken_within_a_round(monkeypatch):
    harness = import_module("benchmarks.harness")
    clock = itertools.accumulate([9, 9, 0, 4, 0, 2, 0, 6, 0, 2, 0, 30, 0, 3])
    monkeypatch.setattr(harness, "processor_s", lambda: float(next(clock)))
    (result,) = harness.measure([harness.Row("x", lambda: 1, lambda: 2)], rounds=3)
    # the first round warms up and is not timed; then 4 and 2, 6 and 2, 30 and 3 seconds
    assert (result["reference_ms"], result["own_ms"], result["ratio"]) == (6000, 2000, 3)
    assert result["ratio_quartiles"] == [2.5, 6.5]
    text = harness.markdown([result], {"processor": "p"})
    assert "| x | 6000.0 ms | 2000.0 ms | 3.00 | 2.50 - 6.50 |" in text
    assert text.endswith("processor p.")
    text = harness.markdown([result | {"images": 30}], {})
    assert "| x | 5 images/s | 15 images/s | 3.00 |" in text


def row(name, ratio=2.0):
    found = {"name": name, "reference_ms": 1.0, "own_ms": 1.0, "ratio": ratio}
    return found | {"ratio_quartiles": [ratio, ratio], "images": None, "apart": False}


def test_a_part_of_the_rows_leaves_the_others_in_the_file(monkeypatch, tmp_path, capsys):
    main = import_module("benchmarks.__main__")
    file = tmp_path / "benchmarks.json"
    monkeypatch.setattr(main, "RESULTS", file)
    facts = {"processor": "p"}
    main.write([row("a"), row("b")], facts, only_some=False)
    main.write([row("c", 4.0), row("a", 3.0)], facts, only_some=True)
    content = json.loads(file.read_text())
    assert [(r["name"], r["ratio"]) for r in content["results"]] == [("a", 3), ("b", 2), ("c", 4)]
    assert all(f"| {name} |" in file.with_suffix(".md").read_text() for name in "abc")
    before = file.read_bytes()
    main.write([row("a")], {"processor": "another"}, only_some=True)
    assert file.read_bytes() == before
    assert "is left as it is: it was measured with" in capsys.readouterr().out
    main.write([row("a")], {"processor": "another"}, only_some=False)
    assert [r["name"] for r in json.loads(file.read_text())["results"]] == ["a"]


def test_one_round_is_refused_before_anything_is_measured(capsys):
    with pytest.raises(SystemExit):
        import_module("benchmarks.__main__").main(["--rounds", "1"])
    assert "1: at least 2 are needed for quartiles" in capsys.readouterr().err


def killed(queue):
    os.kill(os.getpid(), signal.SIGKILL)


def waits(queue):
    time.sleep(600)


def gives(queue):
    queue.put(7)


@pytest.mark.parametrize(
    ("targets", "limit_s", "message"),
    [
        ([gives, waits, killed], 600, "ended without a result, with status -9"),
        ([gives, print], 600, "ended without a result, with status 0"),
        ([waits], 0.1, "no result in 0.1 s"),
    ],
)
def test_a_child_without_a_result_is_an_error_and_no_child_is_left(targets, limit_s, message):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=t, args=(queue,), daemon=True) for t in targets]
    with pytest.raises(RuntimeError, match=message):
        import_module("benchmarks.harness").collected(children, queue, limit_s)
    assert not any(child.is_alive() for child in children)


def test_every_child_gives_one_result():
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=gives, args=(queue,), daemon=True) for _ in range(3)]
    assert import_module("benchmarks.harness").collected(children, queue) == [7, 7, 7]
    assert [child.exitcode for child in children] == [0, 0, 0]


def test_processor_time_is_that_of_ended_children_too():
    harness = import_module("benchmarks.harness")
    before = harness.processor_s()
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", busy], check=True)
    assert harness.processor_s() - before >= 0.3


def test_only_what_got_worse_by_more_than_a_tenth_is_reported():
    harness = import_module("benchmarks.harness")
    found = [{"name": name, "ratio": ratio} for name, ratio in (("a", 9.1), ("b", 8.9), ("c", 99))]
    lines = harness.worse(found, {"a": 10.0, "b": 10.0, "c": 10.0, "gone": 1.0})
    assert [line.split(":")[0] for line in lines] == ["b", "gone"]
    assert lines[0] == "b: ratio 8.90, was 10.00"


def test_measuring_refuses_results_that_differ():
    harness = import_module("benchmarks.harness")

    def differ(reference, own):
        assert reference == own

    with pytest.raises(AssertionError):
        harness.measure([harness.Row("x", lambda: 1, lambda: 2, differ)], rounds=2)


def test_the_usual_recipe_trains_and_both_sides_see_every_image(monkeypatch):
    endtoend = import_module("benchmarks.endtoend")
    monkeypatch.setattr(endtoend, "WORKERS", 0)
    monkeypatch.setattr(endtoend, "BATCH", 4)
    pair = endtoend.Pair("cifar:resnet8", "cifar:resnet8", "small", size=32, steps=2)
    case = endtoend.Case(pair)
    assert len(case.files) == len(case.split.ids) == case.images == 8
    before = [p.detach().clone() for p in case.networks[1].parameters()]
    for method in ("ps", "l2d"):
        assert len(case.usual(method)) == endtoend.LABELS
    assert any(not p.equal(q) for p, q in zip(case.networks[1].parameters(), before, strict=True))

    seen = []
    case.own[1].register_forward_hook(lambda net, images, output: seen.append(len(images[0])))
    case.ours("ps", stored=True)
    assert seen == [4, 4]


def test_losses_are_measured_at_any_number_of_labels():
    labels = import_module("benchmarks.labels")
    for name in ("mdkd", "l2d"):
        labels.step(name, 5)()
    text = labels.markdown({"5": {"mdkd": {"ms": 1.25, "MB": 0.2}}, "9": {}}, {})
    assert "| MDKD | 1.25 ms, 1 MB |  |" in text


def test_the_error_of_a_plan_by_hand(tmp_path):
    plan_error = import_module("benchmarks.plan_error")
    text = plan_error.markdown({"mld": [(2.0, 1.0), (4.0, 1.5), (3.0, 1.1)], "mse": [(0.5, 0.9)]})
    assert "| MLD | 3 | 3.00 (2.00 - 4.00) | 1.10 (1.00 - 1.50) |" in text
    assert "| all | 4 | 2.50 (0.50 - 4.00) | 1.05 (0.90 - 1.50) |" in text


def test_the_images_of_the_cache_benchmark_can_be_decoded_and_read(monkeypatch, tmp_path):
    cache = import_module("benchmarks.cache")
    monkeypatch.setattr(cache, "DIFFERENT", 32)
    assert cache.draw(tmp_path, 60) > 10_000  # bytes of a JPEG
    wall_s, cpu_s, own_mb, _ = cache.timed_build(tmp_path, tmp_path / "cache", 1)
    assert min(wall_s, cpu_s, own_mb) > 0
    split = cache.open_cache(tmp_path / "cache").splits["train"]
    assert len(split.ids) == 40
    assert min(cache.reading(split).values()) > 0
