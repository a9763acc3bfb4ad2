"""A tuning experiment of two methods with hand-made records: what the tests of tuning share."""

import json

import numpy as np
import yaml
from conftest import edit_yaml
from reporting_cases import predict

from mdkd.plan import make_plan
from mdkd.results import Results
from mdkd.runpath import RunPath
from mdkd.spec import Specification

PAIR = {"dataset": "scenes_val", "teacher": "resnet20", "student": "resnet8"}
SEEDS = [0, 1]
# The validation mAP of both seeds, by method and variant. MLD: mld-1 has the highest mean, though
# default has the highest value; mse: weight-10 and the default are equal.
VALUES = {
    ("mld", "mld-0.1"): (0.30, 0.40),
    ("mld", "mld-1"): (0.60, 0.50),
    ("mld", "default"): (0.70, 0.30),
    ("mld", "mld-100"): (0.20, 0.20),
    ("mld", "mld-1000"): (0.10, 0.20),
    ("mse", "weight-0.001"): (0.25, 0.25),
    ("mse", "weight-0.01"): (0.10, 0.10),
    ("mse", "default"): (0.40, 0.50),
    ("mse", "weight-1"): (0.30, 0.30),
    ("mse", "weight-10"): (0.50, 0.40),
}
BASELINES = {"resnet20": 0.8, "resnet8": 0.15}


def experiment(config, name="study", **keys):
    """Write an experiment."""
    content = {"kind": "tuning", "title": "Weights", "pairs": [PAIR]}
    content |= {"methods": ["vanilla", "mld", "mse"]} | keys
    (config / "experiments" / f"{name}.yaml").write_text(yaml.safe_dump(content))


def planned(config, base):
    """The plan of a configuration, and the results of its runs, of which none has been made."""
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p.update(seeds=SEEDS))
    plan = make_plan(Specification(config))
    return plan, Results("smoke", base, plan.runs)


def value_of(path):
    """The validation mAP of a run of the experiment."""
    run = RunPath.parse(path)
    if run.teacher is None:
        return BASELINES[run.arch]
    return VALUES[run.method, run.variant][SEEDS.index(run.seed)]


def write_run(results, path, value, test_seed=0):
    """A run that is done: random test predictions, and a history that ends with this val mAP."""
    random = np.random.default_rng([test_seed, *path.encode()])
    logits_NC, targets_NC = random.normal(size=(20, 3)), random.integers(0, 2, (20, 3))
    predict(results, path, logits_NC.astype(np.float32), targets_NC.astype(np.uint8))
    epochs = results.runs[path].recipe.epochs
    facts = {"losses": {}, "gradient_ratios": {}, "images_per_s": 1.0}
    values = [*(0.9 for _ in range(epochs - 1)), value]  # earlier epochs do not count
    lines = [{"epoch": i, "val_mAP": v} | facts for i, v in enumerate(values, 1)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (results.run(path) / "history.jsonl").write_text(text, encoding="utf-8")


def finish(results, artefact, **keys):
    """Make all runs of an artefact, teachers first."""
    for path in artefact.runs:
        write_run(results, path, value_of(path), **keys)
