"""Pages of runs whose numbers are known, and their readers: what the tests of the page share."""

import json
import shutil
import subprocess
from html.parser import HTMLParser

import reporting_cases
from reporting_cases import path_of

from mdkd import records
from mdkd.plan import Plan

CHROMIUM = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)
NODE = shutil.which("node")


def plan_of(artefact, results):
    """A plan of one artefact; ``results`` has its runs, and its teachers."""
    runs = results.runs
    return Plan(
        protocol="smoke",
        device="cpu",
        datasets={run.dataset.name: run.dataset for run in runs.values()},
        roots={run.dataset.name: "" for run in runs.values()},
        runs=runs,
        artefacts={artefact.name: artefact},
        selected=[artefact.name],
    )


def predicted(base, labels=("Student", "MLD", "MDKD"), seeds=(0, 1), **changes):
    """The plan and the results of runs with random predictions of five labels."""
    artefact = reporting_cases.artefact_of("comparison", labels, seeds=seeds, **changes)
    results = reporting_cases.planned(base, artefact.runs)
    for i, path in enumerate(artefact.runs):
        logits_NC, targets_NC, _ = reporting_cases.random_predictions(i)
        reporting_cases.predict(results, path, logits_NC, targets_NC)
    return plan_of(artefact, results), results


def keep_history(results, path, losses, ratios=None, validation=None):
    """A history of the run with one number per epoch for each term."""
    lines = []
    for i in range(len(next(iter(losses.values())))):
        entry = {
            "epoch": 1 + i,
            "losses": {term: values[i] for term, values in losses.items()},
            "gradient_ratios": {term: values[i] for term, values in (ratios or {}).items()},
            "images_per_s": 10.0,
        }
        lines.append(json.dumps(entry | ({"val_mAP": validation[i]} if validation else {})))
    folder = results.run(path)
    (folder / "history.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    record = records.read_json(folder / "run.json")
    record["history_sha256"] = records.sha256(folder / "history.jsonl")
    records.write_json(folder / "run.json", record)


def renamed(results, path, classes):
    """Other names for the labels of a run."""
    folder = results.run(path)
    for name in ("run.json", "metrics.json"):
        record = records.read_json(folder / name)
        if name == "run.json":
            others = dict(zip(record["classes"], classes, strict=True))
            record["classes"] = list(classes)
        else:
            found = record["average_precision"].items()
            record["average_precision"] = {others[label]: ap for label, ap in found}
        records.write_json(folder / name, record)


class Reader(HTMLParser):
    """What a browser would see: elements with their attributes, and the texts of scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.texts, self.open = [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.open = None

    def handle_data(self, data):
        if self.open == "script":
            self.scripts[-1] += data
        else:
            self.texts.append(data)


def data_of(text):
    """The numbers of a page, as its scripts read them."""
    return json.loads(Reader(text).scripts[0])


def group_in(data, method, seed_path=None):
    """The group of a method in the embedded data."""
    wanted = (seed_path or path_of(method)).rpartition("/")[0]
    (found,) = [
        group
        for group in data["groups"]
        if data["runs"][group["runs"][0]]["path"].startswith(wanted + "/")
    ]
    return found


def shown(file, state):
    """The page as Chromium has drawn it in this state: the HTML of its elements."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--virtual-time-budget=3000", f"{file.resolve().as_uri()}#{state}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    return done.stdout
