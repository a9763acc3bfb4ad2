"""A small plan with rates that are easy to compute with, for the tests of what a plan costs."""

import re
from dataclasses import replace

import yaml
from conftest import ENVIRONMENT, facts_of

from mdkd import records
from mdkd.config import parse
from mdkd.costs import Estimator
from mdkd.plan import make_plan
from mdkd.rates import Rates
from mdkd.results import Results
from mdkd.spec import Specification

RATES = {
    "gpu": {
        "device": "Big GPU",
        "image_size": 32,
        "stem": "small",
        "efficiency": 1,
        "inference": 1,
        "training": {"cifar:resnet8x2": 1000, "cifar:resnet8": 1000},
    },
    "cpu": {
        "device": "a core",
        "image_size": 32,
        "stem": "small",
        "efficiency": 0.5,
        "inference": 2,
        "training": {"cifar:resnet8x2": 100, "cifar:resnet8": 400},
        "guessed": ["cifar:resnet8x2"],
        "methods": {"reviewkd": 3},
    },
    "sizes": {
        "cifar:resnet8": {"parameters": 1000, "channels": 10, "activations": 0.5},
        "cifar:resnet8x2": {"parameters": 2000, "channels": 20, "activations": 2.0},
    },
}
PAIR = {"dataset": "scenes", "teacher": "resnet8x2", "student": "resnet8"}
SMALL = {"kind": "comparison", "title": "Small", "pairs": [PAIR]}
TEACHER = "supervised/scenes/resnet8x2/seed0"
# 48 images in batches of 16, 2 epochs: 96 images a training, at half of the tabulated speed
TEACHER_S, STUDENT_S = 96 / 50, 96 / 200
MLD_S = 96 * (1 / 200 + 1 / (2 * 50))
HEAD = 4 * 33 * 32 + 2 * 32 * 64 + 32 + 64 + 6 * 32 + 33 * 20  # without its first layer
PREDICTIONS = 4 * 32 * 20
STUDENT_BYTES = 4 * (1000 + 11 * 32 + HEAD) + PREDICTIONS
TEACHER_BYTES = 4 * (2000 + 21 * 32 + HEAD) + PREDICTIONS
CACHE_BYTES = (48 + 32) * 32 * 32 * 3


def distilled(method, seed):
    return f"distill/scenes/resnet8x2--resnet8/{method}/default/seed{seed}"


def two_experiments(config):
    """Two experiments that share the runs of MLD; only the first is selected."""
    (config / "experiments" / "comparison.yaml").unlink()
    for name, methods in (("small", ["vanilla", "mld", "reviewkd"]), ("wide", ["mld", "mdkd"])):
        content = yaml.safe_dump(SMALL | {"methods": methods})
        (config / "experiments" / f"{name}.yaml").write_text(content)
    (config / "rates.yaml").write_text(yaml.safe_dump(RATES))
    return config


def planned(config, tmp_path, **settings):
    given = {"experiments": ["small"], "stored_logits": "never", **settings}
    plan = make_plan(Specification(config, given))
    return plan, Results("smoke", tmp_path, plan.runs)


def record(results, path, images_per_s=10.0, device="cpu", **run):
    """Make a run; further keys are settings that differ from the planned ones."""
    content = facts_of(results, path, replace(results.runs[path], **run)) | {
        "images_per_s": images_per_s,
        "parameters": {"backbone": 5000, "head": 600, "connectors": 7},
        "environment": ENVIRONMENT | {"device": device, "cpu": "Some Processor"},
    }
    records.write_json(results.run(path) / "run.json", content)


def estimator(plan, results, rates=RATES):
    return Estimator(plan, parse(Rates, rates, "rates"), results).learn(results)


def seconds(plan, results, path, rates=RATES):
    return 3600 * estimator(plan, results, rates).hours_left(plan.runs[path])


def table(text):
    """The cells of the overview's lines, by the name of the artefact."""
    lines = [re.split(r" {2,}", line.lstrip("* ")) for line in text.splitlines()[3:]]
    return {cells[0]: cells[1:] for cells in lines if len(cells) > 5}


def notes(text):
    """All that stands below the table, without its line breaks."""
    return " ".join(text.partition("own: ")[2].split())


def without(key, net):
    rates = {name: dict(part) for name, part in RATES.items()}
    if key == "training":
        rates["cpu"]["training"] = {n: v for n, v in RATES["cpu"]["training"].items() if n != net}
    else:
        del rates["sizes"][net]
    return rates
