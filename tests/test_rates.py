"""The project's own ``config/rates.yaml``, and what follows from it for the paper."""

import re

import pytest
from conftest import ROOT

from mdkd.costs import Estimator
from mdkd.layout import Layout
from mdkd.plan import make_plan
from mdkd.rates import read_rates
from mdkd.spec import Specification

RATES = ROOT / "config" / "rates.yaml"


def test_the_rates_of_this_project():
    """Sizes are those of docs/architectures.md; every backbone there has a speed too."""
    rates = read_rates(RATES)
    page = (ROOT / "docs" / "architectures.md").read_text(encoding="utf-8")
    row = r"^\| [^|]+ \| `(.+?)` \| ([\d.]+) M \|[^|]+\| ([\d.]+) MB \|.*\| (\d+) \| \S+ \|$"
    rows = re.findall(row, page, re.MULTILINE)
    assert rows
    for net, millions, megabytes, channels in rows:
        size = rates.sizes[net]
        found = (f"{size.parameters / 1e6:.2f}", f"{size.activations:.1f}", str(size.channels))
        assert found == (millions, megabytes, channels)
    assert {net for net, *_ in rows} <= rates.gpu.training.keys()
    for speeds in (rates.gpu, rates.cpu):
        assert set(speeds.guessed) <= speeds.training.keys()


def test_memory_of_the_papers_networks_covers_what_was_measured():
    """ResNet-101 at 224 px in batches of 32, without a GPU: 7.0 GB, as a teacher 3.7 GB."""
    plan = make_plan(Specification(ROOT / "config", {"protocol": "paper", "device": "cpu"}))
    found = Estimator(plan, read_rates(RATES), Layout("paper"))
    supervised = found.memory(plan.runs["supervised/coco2014/resnet101/seed0"])
    distilled = found.memory(plan.runs["distill/coco2014/resnet101--resnet34/mdkd/default/seed0"])
    assert 7.0e9 < supervised < 2 * 7.0e9
    assert 3.7e9 < distilled < 2 * 3.7e9


def test_a_training_of_the_paper_takes_an_hour():
    """ResNet-101 → ResNet-34 on 110 x 2,565 batches of 32 images of MS-COCO."""
    given = {"protocol": "paper", "device": "cuda", "stored_logits": "never"}
    plan = make_plan(Specification(ROOT / "config", given))
    run = plan.runs["distill/coco2014/resnet101--resnet34/mdkd/default/seed0"]
    hours = 110 * 2565 * 32 * (1 / 6700 + 1 / (3.1 * 2470)) / 0.7 / 3600
    assert Estimator(plan, read_rates(RATES), Layout("paper")).hours_left(run) == pytest.approx(
        hours
    )
    assert hours == pytest.approx(1.0, abs=0.01)
