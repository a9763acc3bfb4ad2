"""The arguments of the command line: every verb with its options and their help."""

import argparse
import os
from pathlib import Path
from typing import Any

from mdkd import __version__

CONFIG = Path("config")
FORMATS = ("state-dict", "safetensors", "onnx")  # of `export`
FINISHED = {"help": "run path, or the run.json of a finished run"}
ARTEFACT = {"help": "name of the artefact"}
LISTED = ("methods", "networks", "datasets", "experiments", "runs")
JSON = "print JSON for another program (docs/commands.md)"
COMPARE = "compare two runs or methods; or print our numbers beside the published ones"
COMPARING = (
    "With two names: the difference of two runs or of two methods, with intervals, and the labels "
    "that gain and lose. With one artefact or none: our numbers beside the published ones."
)
BEGUN = {"nargs": "?", "help": "name of the artefact, all that have begun if left out"}
SHOWN = {"nargs": "?", "help": "a target, `default` (if left out), or `all`"}
TARGET = {"nargs": "?", "help": "paper (if left out), another target, or `default`"}
PART = "a target, `default` (what is made if no target is named), or `all`; all if left out"
REPORTS: dict[str, tuple[str, dict[str, Any] | None]] = {  # kind: help and target
    "metrics": ("write metrics.csv, the scores of all runs", None),
    "labels": ("write statistics of labels", {"help": "name of the data set"}),
    "table": ("write a table", ARTEFACT),
    "figure": ("write a figure", ARTEFACT),
    "document": ("write one document of all tables and figures of a target", TARGET),
    "page": ("write one page to look at all runs, in a browser", None),
    "start": ("write what the workflow's report shows first", None),
    "partial": ("write and print what the runs that are done show", BEGUN),
    "show": ("print where tables and figures are, and the main tables", SHOWN),
}


def parser() -> argparse.ArgumentParser:
    """All verbs with their arguments. `name` is the verb, and `kind` what some verbs act on."""
    whole = argparse.ArgumentParser(
        prog="mdkd",
        description="Benchmark of knowledge-distillation methods for multi-label images.",
        epilog="The workflow (snakemake) calls these verbs; each can be called by hand.",
    )
    whole.add_argument("--version", action="version", version=f"mdkd {__version__}")
    verbs = whole.add_subparsers(required=True, metavar="VERB", dest="name")
    for add in (_data, _runs, _predict, _report, _export, _store, _compare, _curves, _list, _tune):
        add(verbs)
    for add in (_plan, _schema, _doctor, _status, _completion):
        add(verbs)
    return whole


def _verb(
    below: Any, name: str, help: str, target: dict[str, Any] | None = None
) -> argparse.ArgumentParser:
    """A new verb with the options of all verbs. ``target`` describes its first argument, if any."""
    verb = below.add_parser(name, parents=[_common()], help=help, description=help)
    verb.set_defaults(target=None)
    if target:
        verb.add_argument("target", **target)
    return verb


def _common() -> argparse.ArgumentParser:
    """The options of all verbs."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=_path, default=CONFIG, help="configuration folder")
    common.add_argument("--protocol", help="protocol, if not the one of config.yaml")
    common.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a key of config.yaml"
    )
    common.add_argument("--plan", type=_path, help="plan file to read instead of the configuration")
    common.add_argument("--log", type=_path, help="file that gets a copy of all messages")
    common.add_argument("--debug", action="store_true", help="after an error, show the traceback")
    return common


def _flag(to: Any, name: str, help: str) -> None:
    to.add_argument(name, action="store_true", help=help)


def _device(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--device", choices=("auto", "cpu", "cuda"))


def _data(verbs: Any) -> None:
    name = {"help": "name of the data set"}
    download = _verb(verbs, "download", "fetch a data set's official files", name)
    download.add_argument(
        "--mirror", type=os.path.expanduser, help="address or folder to take the archives from"
    )
    cache = _verb(verbs, "cache", "decode or draw a data set once, into its cache", name)
    cache.add_argument("--jobs", type=int, help="processes; one per available core if left out")
    _flag(cache, "--verify", "check an existing cache")
    _flag(cache, "--if-needed", "do nothing if it is complete and has these settings")


def _runs(verbs: Any) -> None:
    run = {"help": "run path, or a file: a resolved run, or a run.json"}
    _device(_verb(verbs, "train", "train one network", run))
    outputs = {"help": "logits/DATASET/TEACHER/seedN; pooled/... for its pooled vectors too"}
    help = "store a teacher's outputs for all runs that can read them"
    _device(_verb(verbs, "logits", help, outputs))
    _verb(verbs, "score", "compute metrics from stored predictions", {"help": "run path"})
    _device(_verb(verbs, "attend", "compute the attention maps of an artefact", ARTEFACT))


def _predict(verbs: Any) -> None:
    verb = _verb(verbs, "predict", "label pictures with a finished run", FINISHED)
    verb.add_argument("images", nargs="+", type=_path, metavar="IMAGE", help="a picture")
    _flag(verb, "--json", "print all probabilities as JSON")
    help = "write a picture of what the network looks at for the most likely label (Grad-CAM)"
    _flag(verb, "--cam", help)
    verb.add_argument(
        "--output",
        type=_path,
        default=Path("cam"),
        metavar="FOLDER",
        help="folder for the pictures of --cam (default: cam)",
    )
    _device(verb)


def _report(verbs: Any) -> None:
    summary = "write or show tables and figures"
    report = verbs.add_parser("report", help=summary, description=summary)
    kinds = report.add_subparsers(required=True, metavar="KIND", dest="kind")
    for name, (help, target) in REPORTS.items():
        _verb(kinds, name, help, target)


def _export(verbs: Any) -> None:
    verb = _verb(verbs, "export", "write a finished network for use without mdkd", FINISHED)
    verb.add_argument("--to", choices=FORMATS, required=True, help="format of the weights")
    help = "a new folder (default: exported/RUN/FORMAT)"
    verb.add_argument("--output", type=_path, metavar="FOLDER", help=help)


def _store(verbs: Any) -> None:
    summary = "look after the store of runs"
    store = verbs.add_parser("store", help=summary, description=summary)
    kinds = store.add_subparsers(required=True, metavar="WHAT", dest="kind")
    listing = _verb(kinds, "list", "print every entry with its size, its age and its users")
    _flag(listing, "--json", JSON)
    _verb(kinds, "verify", "check all files and metrics of finished runs")
    _flag(_verb(kinds, "prune", "print what no protocol uses"), "--yes", "delete it")
    source = {"help": "another store, or copies of its entries"}
    _verb(kinds, "import", "copy finished runs from another folder", source)
    folder = {"help": "a folder, which gets the layout of a store"}
    export = _verb(kinds, "export", "copy the records of finished runs to publish them", folder)
    help = "an artefact or a target; predictions of its runs are copied too. May be repeated"
    export.add_argument("--predictions", action="append", default=[], metavar="NAME", help=help)
    exported = {"help": "an exported folder, or another store"}
    _verb(kinds, "compare", "say which finished runs have the weights of those there", exported)


def _compare(verbs: Any) -> None:
    help = "alone, an artefact (all if left out); with B, a run path or a method"
    verb = _verb(verbs, "compare", COMPARE, {"nargs": "?", "metavar": "A", "help": help})
    verb.description = COMPARING
    help = "another run path, or another method; NAME/VARIANT is one with changed settings"
    verb.add_argument("other", nargs="?", metavar="B", help=help)
    _flag(verb, "--json", JSON)


def _curves(verbs: Any) -> None:
    help = "print or write the losses and other numbers of every epoch"
    verb = _verb(verbs, "curves", help, {"nargs": "?", "help": f"a run path; or {PART}"})
    help = "folder that gets event files for TensorBoard, one folder per run below it"
    verb.add_argument("--tensorboard", type=_path, metavar="DIR", help=help)
    verb.add_argument("--csv", type=_path, metavar="FILE", help="CSV file to write")


def _list(verbs: Any) -> None:
    verb = _verb(verbs, "list", "print what there is, with its source and what it needs")
    verb.add_argument("kind", choices=LISTED, help="of what")
    _flag(verb, "--json", JSON)


def _tune(verbs: Any) -> None:
    target = {
        "nargs": "?",
        "help": "name of an experiment of kind tuning; the only one if left out",
    }
    help = "write the weights that a tuning experiment has chosen to config/tuned/"
    _verb(verbs, "tune", help, target)


def _plan(verbs: Any) -> None:
    help = (
        "a target or `default`: its artefacts; an artefact: its runs; `all`: all runs; all "
        "artefacts if left out"
    )
    target = {"nargs": "?", "help": help}
    verb = _verb(verbs, "plan", "print artefacts with their runs, time and disk", target)
    form = verb.add_mutually_exclusive_group()
    help = "print what is left to compute as commands, to run it without Snakemake"
    _flag(form, "--commands", help)
    _flag(form, "--json", JSON)


def _schema(verbs: Any) -> None:
    help = "the folder schemas of the configuration if left out"
    folder: dict[str, Any] = {"nargs": "?", "type": os.path.expanduser, "help": help}
    help = "write the JSON schemas of all YAML files, for editors, into a folder"
    _verb(verbs, "schema", help, folder)


def _doctor(verbs: Any) -> None:
    verb = _verb(verbs, "doctor", "check whether this machine has what the plan needs")
    _flag(verb, "--json", JSON)


def _status(verbs: Any) -> None:
    help = "print which runs are done, running, failed or waiting"
    verb = _verb(verbs, "status", help, {"nargs": "?", "help": PART})
    _flag(verb, "--all", "list every run")
    form = verb.add_mutually_exclusive_group()
    _flag(form, "--line", "one line; with --watch, a terminal shows one line that changes")
    _flag(form, "--json", JSON)
    every: dict[str, Any] = {"nargs": "?", "type": _interval, "const": 10.0, "metavar": "SECONDS"}
    help = "repeat, every 10 s if left out, until no run is left or Ctrl-C"
    verb.add_argument("--watch", **every, help=help)


def _completion(verbs: Any) -> None:
    help = "print a script with which a shell completes verbs, options and names"
    verb = _verb(verbs, "completion", help)
    verb.add_argument("kind", choices=("bash", "zsh"), help="the shell")


def _interval(text: str) -> float:
    """A number of seconds above 0, for argparse."""
    if not (seconds := float(text)) > 0:
        raise argparse.ArgumentTypeError(f"{text}: must be more than 0 seconds")
    return seconds


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))  # a shell does not expand the ~ of --log=~/file
