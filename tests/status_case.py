"""A small plan whose runs are in any state, from files made by hand."""

import json
from datetime import UTC, datetime, timedelta

import yaml
from cost_case import PAIR, RATES, distilled

from mdkd import keys, records
from mdkd.plan import make_plan
from mdkd.reporting import status_listing
from mdkd.results import Results
from mdkd.spec import Specification
from mdkd.status import statuses

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
STUDENT, MLD = "supervised/scenes/resnet8/seed0", distilled("mld", 0)
FURTHER = {"kind": "comparison", "title": "More", "pairs": [PAIR], "targets": ["more"]}


def small_plan(config, base, stored_logits="never"):
    """A plan and its results: teacher, student and MLD, one seed; MDKD is not selected."""
    folder = config / "experiments"
    (folder / "comparison.yaml").unlink()
    small = FURTHER | {"methods": ["vanilla", "mld"], "targets": ["first"]}
    (folder / "small.yaml").write_text(yaml.safe_dump(small))
    (folder / "wide.yaml").write_text(yaml.safe_dump(FURTHER | {"methods": ["mld", "mdkd"]}))
    (config / "rates.yaml").write_text(yaml.safe_dump(RATES))
    plan = make_plan(
        Specification(
            config, {"experiments": ["small"], "seeds": [0], "stored_logits": stored_logits}
        )
    )
    return plan, Results("smoke", base, plan.runs)


def ago(**spans):
    return (NOW - timedelta(**spans)).isoformat()


def lock(results, path, **facts):
    """The lock file of a training that began five minutes ago on the CPU of another host."""
    facts = {
        "host": "n7",
        "pid": 4,
        "slurm_job": None,
        "device": "cpu",
        "since": ago(minutes=5),
    } | facts
    file = results.run(path) / "lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts))
    return file


def progress(results, path, step=3, **facts):
    """What a training of 2 epochs of 3 steps has written one minute ago."""
    records.write_json(
        results.run(path) / "progress.json",
        {"step": step, "steps": 6, "epoch": step // 3, "epochs": 2}
        | {"images_per_s": 1234.5, "left_s": 100.0, "time": ago(minutes=1)}
        | facts,
    )
    (results.run(path) / "checkpoint.pt").touch()


def fail(results, path, error):
    records.write_json(results.run(path) / "failed.json", {"error": error})


def log(results, path, *lines):
    """The log of a run's last job; each line that is no text has a time at its head."""
    file = results.train_log(path, keys.key(results.runs[path]))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def look(plan_and_results):
    return statuses(*plan_and_results, NOW.timestamp())


def shown(plan_and_results, config, *, of=status_listing.overview, **options):
    found = look(plan_and_results)
    now, rates = NOW.timestamp(), config / "rates.yaml"
    return of(*plan_and_results, found, now, rates, **options)
