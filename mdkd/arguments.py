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
TARGET = {"nargs": "?", "help": "paper (if left out), another target, or `default`"}
REPORTS: dict[str, tuple[str, dict[str, Any] | None]] = {  # kind: help and target
    "metrics": ("write metrics.csv, the scores of all runs", None),
    "labels": ("write statistics of labels", {"help": "name of the data set"}),
    "table": ("write a table", ARTEFACT),
    "figure": ("write a figure", ARTEFACT),
    "document": ("write one document of all tables and figures of a target", TARGET),
    "page": ("write one page to look at all runs, in a browser", None),
    "start": ("write what the workflow's report shows first", None),
    "partial": ("write and print what the runs that are done show", BEGUN),
    "show": ("print the tables that are made by default, and where they are", None),
}


def parser() -> argparse.ArgumentParser:
    """All verbs with their arguments. `name` is the verb, and `kind` what some verbs act on."""
    whole = argparse.ArgumentParser(
        prog="mdkd",
        description="Benchmark of knowledge-distillation methods for multi-label images.",
        epilog="The workflow (snakemake) calls these verbs; each can be called by hand.",
    )
    whole.add_argument("--version", action="version", version=f"mdkd {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=_path, default=CONFIG, help="configuration folder")
    common.add_argument("--protocol", help="protocol, if not the one of config.yaml")
    common.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a key of config.yaml"
    )
    common.add_argument("--plan", type=_path, help="plan file to read instead of the configuration")
    common.add_argument("--log", type=_path, help="file that gets a copy of all messages")
    common.add_argument("--debug", action="store_true", help="after an error, show the traceback")
    verbs = whole.add_subparsers(required=True, metavar="VERB", dest="name")

    def verb(
        name: str, help: str, target: dict[str, Any] | None, below: Any = verbs
    ) -> argparse.ArgumentParser:
        sub = below.add_parser(name, parents=[common], help=help, description=help)
        sub.set_defaults(target=None)
        if target:
            sub.add_argument("target", **target)
        return sub

    dataset = {"help": "name of the data set"}
    fetching = verb("download", "fetch a data set's official files", dataset)
    fetching.add_argument(
        "--mirror", type=os.path.expanduser, help="address or folder to take the archives from"
    )
    caching = verb("cache", "decode or draw a data set once, into its cache", dataset)
    caching.add_argument("--jobs", type=int, help="processes; one per available core if left out")
    caching.add_argument("--verify", action="store_true", help="check an existing cache")
    help = "do nothing if it is complete and has these settings"
    caching.add_argument("--if-needed", action="store_true", help=help)
    run_or_file = {"help": "run path, or a file: a resolved run, or a run.json"}
    training = verb("train", "train one network", run_or_file)
    path = {"help": "logits/DATASET/TEACHER/seedN; pooled/... for its pooled vectors too"}
    storing = verb("logits", "store a teacher's outputs for all runs that can read them", path)
    verb("score", "compute metrics from stored predictions", {"help": "run path"})
    attending = verb("attend", "compute the attention maps of an artefact", ARTEFACT)
    labelling = verb("predict", "label pictures with a finished run", FINISHED)
    labelling.add_argument("images", nargs="+", type=_path, metavar="IMAGE", help="a picture")
    labelling.add_argument("--json", action="store_true", help="print all probabilities as JSON")
    help = "write a picture of what the network looks at for the most likely label (Grad-CAM)"
    labelling.add_argument("--cam", action="store_true", help=help)
    help = "folder for the pictures of --cam (default: cam)"
    labelling.add_argument("--output", type=_path, default=Path("cam"), metavar="FOLDER", help=help)
    for device_verb in (training, storing, attending, labelling):
        device_verb.add_argument("--device", choices=("auto", "cpu", "cuda"))
    help = "write or show tables and figures"
    reporting = verbs.add_parser("report", help=help, description=help)
    kinds = reporting.add_subparsers(required=True, metavar="KIND", dest="kind")
    for name, (help, target) in REPORTS.items():
        verb(name, help, target, kinds)
    exporting = verb("export", "write a finished network for use without mdkd", FINISHED)
    exporting.add_argument("--to", choices=FORMATS, required=True, help="format of the weights")
    help = "a new folder (default: exported/RUN/FORMAT)"
    exporting.add_argument("--output", type=_path, metavar="FOLDER", help=help)
    help = "look after the store of runs"
    keeping = verbs.add_parser("store", help=help, description=help)
    kinds = keeping.add_subparsers(required=True, metavar="WHAT", dest="kind")
    what = "print every entry with its size, its age and its users"
    listing = [verb("list", what, None, kinds)]
    verb("verify", "check all files and metrics of finished runs", None, kinds)
    pruning = verb("prune", "print what no protocol uses", None, kinds)
    pruning.add_argument("--yes", action="store_true", help="delete it")
    source = {"help": "another store, or copies of its entries"}
    verb("import", "copy finished runs from another folder", source, kinds)
    folder = {"help": "a folder, which gets the layout of a store"}
    exporting = verb("export", "copy the records of finished runs to publish them", folder, kinds)
    help = "an artefact or a target; predictions of its runs are copied too. May be repeated"
    exporting.add_argument("--predictions", action="append", default=[], metavar="NAME", help=help)
    exported = {"help": "an exported folder, or another store"}
    verb("compare", "say which finished runs have the weights of those there", exported, kinds)
    help = "alone, an artefact (all if left out); with B, a run path or a method"
    comparing = verb("compare", COMPARE, {"nargs": "?", "metavar": "A", "help": help})
    comparing.description = COMPARING
    help = "another run path, or another method; NAME/VARIANT is one with changed settings"
    comparing.add_argument("other", nargs="?", metavar="B", help=help)
    help = "a run path, or a target: its runs; all runs if left out"
    what = "print or write the losses and other numbers of every epoch"
    drawing = verb("curves", what, {"nargs": "?", "help": help})
    help = "folder that gets event files for TensorBoard, one folder per run below it"
    drawing.add_argument("--tensorboard", type=_path, metavar="DIR", help=help)
    drawing.add_argument("--csv", type=_path, metavar="FILE", help="CSV file to write")
    what = "print what there is, with its source and what it needs"
    counting = verb("list", what, None)
    counting.add_argument("kind", choices=LISTED, help="of what")
    listing += [comparing, counting]
    help = "name of an experiment of kind tuning; the only one if left out"
    what = "write the weights that a tuning experiment has chosen to config/tuned/"
    verb("tune", what, {"nargs": "?", "help": help})
    help = "a target: its artefacts; an artefact: its runs; all: all runs"
    what = "print artefacts with their runs, time and disk"
    planning = verb("plan", what, {"nargs": "?", "help": help})
    help = "print what is left to compute as commands, to run it without Snakemake"
    either = planning.add_mutually_exclusive_group()
    either.add_argument("--commands", action="store_true", help=help)
    either.add_argument("--json", action="store_true", help=JSON)
    what = "write the JSON schemas of all YAML files, for editors, into a folder"
    help = "the folder schemas of the configuration if left out"
    verb("schema", what, {"nargs": "?", "type": os.path.expanduser, "help": help})
    listing.append(verb("doctor", "check whether this machine has what the plan needs", None))
    help = "a target, or `default`: what is made if no target is named; all runs if left out"
    seeing = verb(
        "status",
        "print which runs are done, running, failed or waiting",
        {"nargs": "?", "help": help},
    )
    seeing.add_argument("--all", action="store_true", help="list every run")
    either = seeing.add_mutually_exclusive_group()
    help = "one line; with --watch, a terminal shows one line that changes"
    either.add_argument("--line", action="store_true", help=help)
    either.add_argument("--json", action="store_true", help=JSON)
    every: dict[str, Any] = {"nargs": "?", "type": _interval, "const": 10.0, "metavar": "SECONDS"}
    help = "repeat, every 10 s if left out, until no run is left or Ctrl-C"
    seeing.add_argument("--watch", **every, help=help)
    for sub in listing:
        sub.add_argument("--json", action="store_true", help=JSON)
    what = "print a script with which a shell completes verbs, options and names"
    completing = verb("completion", what, None)
    completing.add_argument("kind", choices=("bash", "zsh"), help="the shell")
    return whole


def _interval(text: str) -> float:
    """A number of seconds above 0, for argparse."""
    if not (seconds := float(text)) > 0:
        raise argparse.ArgumentTypeError(f"{text}: must be more than 0 seconds")
    return seconds


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))  # a shell does not expand the ~ of --log=~/file
