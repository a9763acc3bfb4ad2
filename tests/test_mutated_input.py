"""Thousands of damaged copies of valid input: each is a `UserError`, or loads to a valid object."""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass

import pytest
import yaml
from cache_case import cache_meta
from conftest import ROOT, copy_config
from mutations import of_bytes, of_value
from reporting_cases import path_of, planned, predict, random_predictions

from mdkd import methodfiles, precheck, published, records, results, runfiles, score, store
from mdkd.config import parse
from mdkd.errors import UserError
from mdkd.methodfiles import MethodFile
from mdkd.plan import Plan, make_plan
from mdkd.rates import Rates, read_rates
from mdkd.resolve import resolve_run
from mdkd.spec import Specification
from mdkd.specfiles import Experiment, Protocol, UserConfig, read_user
from mdkd.yamlfiles import parse_yaml

SEEDS = range(140)  # of the mutations of each reader
PATH, OTHER = path_of("mdkd"), path_of("vanilla")


@dataclass(frozen=True)
class Case:
    """A valid file, and what reads it."""

    name: str
    content: bytes
    read: object  # called with the file

    @property
    def value(self):
        text = self.content.decode()
        return json.loads(text) if self.name.endswith(".json") else yaml.safe_load(text)

    def encode(self, value):
        """The value as text of the file's format; YAML that is very deep is written as JSON."""
        text = json.dumps(value, default=str)
        if not self.name.endswith(".json"):
            with suppress(RecursionError):
                text = yaml.safe_dump(value, allow_unicode=True)
        return text.encode(errors="surrogatepass")


def spec_with(folder, name):
    """A reader of the whole configuration in which one file is the damaged one."""

    def read(file):
        (folder / name).write_bytes(file.read_bytes())
        return make_plan(Specification(folder))

    return read


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """By name: the readers, each with a file that it accepts."""
    base = tmp_path_factory.mktemp("input")
    config = copy_config(base / "config")
    plan = make_plan(Specification(config, {"experiments": ["comparison"]}))
    run = asdict(resolve_run(Specification(config), PATH))
    done = planned(base, [PATH, OTHER])
    for path in (PATH, OTHER):
        predict(done, path, *random_predictions(0))
    folder = done.run(PATH)
    epoch = {"epoch": 1, "losses": {"bce": 1.0}, "gradient_ratios": {"mld": 2}, "images_per_s": 9}
    cache = cache_meta(plan.datasets["scenes"], ["a", "b", "c", "d"], train=64, test=32)
    meta = done.cache("scenes") / "meta.json"
    meta.parent.mkdir(parents=True)

    def read_record(file):
        (done.run(OTHER) / "run.json").write_bytes(file.read_bytes())
        state = done.state(OTHER)
        assert state in ("done", "damaged", "other settings")
        if state == "done":
            assert done.record(OTHER)["images_per_s"] > 0
            store.publish_all(done.runs, done, withdraw=True)
        return store.Entry(done.run(OTHER)).record()

    def read_metrics(file):
        (folder / "metrics.json").write_bytes(file.read_bytes())
        return score.stored(store.Entry(folder))["metrics"]["mAP"]

    def read_cache(file):
        meta.write_bytes(file.read_bytes())
        precheck.check_caches(plan, plan.selected, done)

    def read_predictions(file):
        return score.read_predictions(file, 5)

    small = json.dumps(plan.to_json())
    files = {name: (config / name).read_bytes() for name in ("config.yaml", "protocols/smoke.yaml")}
    reported = ROOT / "config/reported/table4.csv"
    mdkd = (ROOT / "mdkd/methods/mdkd.yaml").read_bytes()
    found = [
        Case("config.yaml", files["config.yaml"], lambda file: read_user(file, {})),
        Case(
            "protocol.yaml",
            files["protocols/smoke.yaml"],
            spec_with(copy_config(base / "spoilt_protocol"), "protocols/smoke.yaml"),
        ),
        Case(
            "experiment.yaml",
            (config / "experiments/comparison.yaml").read_bytes(),
            spec_with(copy_config(base / "spoilt_experiment"), "experiments/comparison.yaml"),
        ),
        Case(
            "datasets.yaml",
            (config / "datasets.yaml").read_bytes(),
            spec_with(copy_config(base / "spoilt_datasets"), "datasets.yaml"),
        ),
        Case("rates.yaml", (config / "rates.yaml").read_bytes(), read_rates),
        Case("method.yaml", mdkd, methodfiles.read_file),
        Case("run.json", json.dumps(run).encode(), runfiles.read),
        Case("run.yaml", yaml.safe_dump(run).encode(), runfiles.read),
        Case("plan.json", small.encode(), Plan.read),
        Case("record.json", (done.run(OTHER) / "run.json").read_bytes(), read_record),
        Case("metrics.json", (folder / "metrics.json").read_bytes(), read_metrics),
        Case("history.json", json.dumps(epoch).encode(), results.read_history),
        Case("meta.json", json.dumps(cache).encode(), read_cache),
        Case("table.csv", reported.read_bytes(), published.read),
        Case("predictions.npz", (folder / "predictions.npz").read_bytes(), read_predictions),
    ]
    return {case.name: case for case in found}, base


NAMES = [
    *("config.yaml", "protocol.yaml", "experiment.yaml", "datasets.yaml", "rates.yaml"),
    *("method.yaml", "run.json", "run.yaml", "plan.json", "record.json", "metrics.json"),
    *("history.json", "meta.json", "table.csv", "predictions.npz"),
]
SLOW = {"protocol.yaml", "experiment.yaml", "datasets.yaml"}  # each reads a whole configuration


def loads(read, file):
    """Whether a reader accepts a file; it may refuse it with one line per mistake."""
    try:
        read(file)
    except UserError as error:
        assert error.args
        assert all(line.isprintable() for line in error.args)
        return False
    return True


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_refused_or_loaded(cases, name):
    found, base = cases
    case, file = found[name], base / "damaged" / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(case.content)
    case.read(file)  # the whole file is accepted
    seeds = range(60) if name in SLOW else SEEDS
    refused = 0
    for seed in seeds:
        file.write_bytes(of_bytes(case.content, seed))
        refused += not loads(case.read, file)
        if not name.endswith((".csv", ".npz")):
            file.write_bytes(case.encode(of_value(case.value, seed)))
            refused += not loads(case.read, file)
    assert refused > len(seeds) / 4  # most mutations are mistakes


PARSED = {
    "user": (UserConfig, "config.yaml"),
    "protocol": (Protocol, "protocol.yaml"),
    "experiment": (Experiment, "experiment.yaml"),
    "rates": (Rates, "rates.yaml"),
    "method": (MethodFile, "method.yaml"),
}


@pytest.mark.parametrize("name", PARSED)
def test_a_damaged_value_is_refused_or_parsed(cases, name):
    """Without a file between: values that no file can hold, from the command line for example."""
    cls, source = PARSED[name]
    value = cases[0][source].value
    value.pop("extends", None)
    for seed in range(200):
        damaged = of_value(value, seed)
        if loads(lambda _, damaged=damaged: parse(cls, damaged, "here"), None):
            records.canonical(asdict(parse(cls, damaged, "here")))  # finite, and plain data


def test_yaml_of_damaged_text(cases):
    for name in ("config.yaml", "protocol.yaml", "experiment.yaml"):
        for seed in range(300, 600):
            text = of_bytes(cases[0][name].content, seed).decode(errors="replace")
            loads(parse_yaml, text)
