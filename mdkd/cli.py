"""The command line: the verbs, their arguments, and log files."""

import argparse
import logging
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from mdkd import __version__, devices, records, store
from mdkd.config import Run, parse, read_yaml
from mdkd.errors import UserError, find
from mdkd.layout import Layout
from mdkd.plan import Plan, check_identity, make_plan, resolve_dataset, resolve_root, resolve_run
from mdkd.results import Results
from mdkd.spec import JobLimits, Specification

log = logging.getLogger("mdkd")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit status.

    It is 0, 2 for a user's mistake, or 1 for a fault of ours. `doctor` returns 1 if it has found a
    problem.
    """
    args = _parser().parse_args(argv)
    _start_log(args)
    try:
        return args.run_verb(args) or 0
    except UserError as error:
        log.error("error: %s", error)
        return 2
    except KeyboardInterrupt:
        log.error("interrupted")
        return 130
    except Exception:
        log.error("%s", traceback.format_exc())
        return 1


def download(args: argparse.Namespace) -> None:
    from mdkd.data import download as downloading

    root = resolve_root(_specification(args), args.target)
    downloading.download(args.target, root, args.config / "downloads.yaml", args.mirror)


def cache(args: argparse.Namespace) -> None:
    from mdkd.data.cache import build, is_complete, verify

    if args.plan:
        plan = _plan(args)
        dataset, root = find(plan.datasets, args.target), Path(plan.roots[args.target])
        layout = plan.layout()
    else:
        spec = _specification(args)
        dataset, root = resolve_dataset(spec, args.target), resolve_root(spec, args.target)
        layout = Layout(spec.user.protocol)
    folder = layout.cache(dataset.name)
    if args.verify:
        verify(folder)
    elif not (args.if_needed and is_complete(dataset, folder)):
        build(dataset, root, folder, args.jobs)


def train(args: argparse.Namespace) -> None:
    device, weights_folder, minutes, per_gpu = args.device, "weights", 10.0, 1
    if args.plan:
        plan = _plan(args)
        run, device, layout = find(plan.runs, args.target), device or plan.device, plan.layout()
        weights_folder, minutes = plan.weights_folder, plan.checkpoint_minutes
        per_gpu = plan.trainings_per_gpu
    elif args.target.endswith((".yaml", ".yml", ".json")):
        content = read_yaml(Path(args.target))
        if isinstance(content, dict) and isinstance(content.get("run"), dict):
            content = content["run"]  # a record, run.json: train the same run again
        run = parse(Run, content, args.target)
        layout = Layout(run.protocol)
        check_identity(run, args.target)
    else:
        user = (spec := _specification(args)).user
        run, layout = resolve_run(spec, args.target), Layout(user.protocol, store_folder=user.store)
        weights_folder, minutes = user.weights_folder, user.checkpoint_minutes
        per_gpu = user.trainings_per_gpu
    from mdkd.training import loop  # imports torch, which takes a second

    loop.train(run, layout, device or "auto", Path(weights_folder), minutes, per_gpu)


def logits(args: argparse.Namespace) -> None:
    from mdkd import logits as stored

    plan = _plan(args)
    run = plan.runs[find(stored.groups(plan), args.target)[0]]
    from mdkd.training import teacher  # imports torch, which takes a second

    device = args.device or plan.device
    teacher.store_logits(run, plan.layout(), device, plan.trainings_per_gpu)


def score(args: argparse.Namespace) -> None:
    from mdkd import score as scoring

    if args.plan:
        plan = _plan(args)
        run, layout = find(plan.runs, args.target), plan.layout()
    else:
        spec = _specification(args)
        run = resolve_run(spec, args.target)
        layout = Layout(spec.user.protocol, store_folder=spec.user.store)
    entry = store.entry(run, layout)
    if entry.finished and (reason := store.disagreement(run, entry.record(), layout)):
        raise UserError(f"{entry.folder}: {reason}; train it again")
    scoring.score(entry)


def attend(args: argparse.Namespace) -> None:
    plan = _plan(args)
    artefact = find(plan.artefacts, args.target)
    with devices.claim(args.device or plan.device, plan.trainings_per_gpu) as device_type:
        from mdkd.training import gradcam  # imports torch, now that the device is chosen

        gradcam.attend(artefact, _results(plan), device_type)


def report(args: argparse.Namespace) -> None:
    from mdkd import reporting

    plan = _plan(args)
    function = getattr(reporting, f"report_{args.kind}")
    text = function(plan, _results(plan), args.target)
    if text is not None:
        print(text)


def keep_store(args: argparse.Namespace) -> None:
    from mdkd import store_admin

    if args.kind == "verify":
        print(store_admin.verify(_plan(args)))
    elif args.kind == "import":
        print(store_admin.take_over(_plan(args), Path(args.target)))
    else:  # what any protocol plans is used
        plans = [make_plan(_specification(args, file.stem)) for file in _protocols(args)]
        pruning = args.kind == "prune"
        print(store_admin.prune(plans, delete=args.yes) if pruning else store_admin.listing(plans))


def _protocols(args: argparse.Namespace) -> list[Path]:
    return sorted((args.config / "protocols").glob("*.yaml"))


def compare(args: argparse.Namespace) -> None:
    """Print our numbers beside the published ones."""
    from mdkd.reporting import tables
    from mdkd.reporting.kinds import comparison

    plan = _plan(args)
    names = [args.target] if args.target else list(plan.artefacts)
    found = [artefact for name in names if (artefact := find(plan.artefacts, name)).reported]
    if not found:
        where = args.target or f"protocol {plan.protocol}"
        hint = "those of Tables 1, 2, 4 and 5 need --protocol paper"
        raise UserError(f"{where}: no published numbers for what it trains; {hint}")
    for artefact in found:
        print(tables.markdown(comparison.table(artefact, _results(plan))))


def plan(args: argparse.Namespace) -> None:
    """Print what there is to compute, artefact by artefact; or every run of one of them."""
    from mdkd.reporting import plan_listing

    plan = _plan(args)
    if args.commands:
        _print_commands(plan, args)
        return
    members = plan.targets().get(args.target, [])
    if args.target == "all" or members == [args.target]:
        name = None if args.target == "all" else args.target
        print(plan_listing.listing(plan, _results(plan), name))
        return
    if args.target:  # a group of artefacts, and nothing else
        plan = plan.only(find(plan.targets(), args.target))
    print(plan_listing.overview(plan, _results(plan), args.config / "rates.yaml"))


def _print_commands(plan: Plan, args: argparse.Namespace) -> None:
    """Print the jobs of a target, after the plan file that they read is written."""
    from mdkd.reporting.commands import commands

    file = args.plan or plan.layout().plan(plan.digest())
    if not args.plan:
        records.write_json(file, plan.to_json())
    names = plan.selected if args.target is None else list(plan.artefacts)
    if args.target not in (None, "all"):
        names = find(plan.targets(), args.target)
    print(commands(plan.only(names), _results(plan), file))


def status(args: argparse.Namespace) -> None:
    """Print what has become of every planned run, or of those of a target."""
    try:
        from mdkd.reporting import status_listing

        plan = _plan(args)
        if args.target:
            plan = plan.only(find({"default": plan.selected} | plan.targets(), args.target))
        rates = args.config / "rates.yaml"
        status_listing.watch(plan, _results(plan), rates, args.watch, all_runs=args.all)
    except KeyboardInterrupt:  # the usual end of --watch
        if args.watch is None:
            raise


def doctor(args: argparse.Namespace) -> int:
    """Print what this machine lacks for the plan. Returns 1 if there is a problem."""
    from mdkd.doctor import examination
    from mdkd.reporting.document import ENGINES

    def settings() -> tuple[Plan, JobLimits]:
        return _plan(args), _specification(args).user.job_limits

    found = []
    for check in examination.examine(settings, args.config, tuple(ENGINES), time.time()):
        print(check, flush=True)
        found.append(check)
    print(examination.summary(found))
    return int(any(check.verdict == "problem" for check in found))


ARTEFACT = {"help": "name of the artefact"}
BEGUN = {"nargs": "?", "help": "name of the artefact, all that have begun if left out"}
REPORTS: dict[str, tuple[str, dict[str, Any] | None]] = {  # kind: help and target
    "metrics": ("write metrics.csv, the scores of all runs", None),
    "labels": ("write statistics of labels", {"help": "name of the data set"}),
    "table": ("write a table", ARTEFACT),
    "figure": ("write a figure", ARTEFACT),
    "document": ("write one document of all tables and figures", None),
    "partial": ("write and print what the runs that are done show", BEGUN),
    "show": ("print the tables that are made by default, and where they are", None),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mdkd",
        description="Benchmark of knowledge-distillation methods for multi-label images.",
        epilog="The workflow (snakemake) calls these verbs; each can be called by hand.",
    )
    parser.add_argument("--version", action="version", version=f"mdkd {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, default=Path("config"), help="configuration folder")
    common.add_argument("--protocol", help="protocol, if not the one of config.yaml")
    common.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a key of config.yaml"
    )
    common.add_argument("--plan", type=Path, help="plan file to read instead of the configuration")
    common.add_argument("--log", type=Path, help="file that gets a copy of all messages")
    verbs = parser.add_subparsers(required=True, metavar="VERB", dest="name")

    def verb(
        function: Callable[[argparse.Namespace], int | None],
        help: str,
        target: dict[str, Any] | None,
        name: str | None = None,
        below: Any = verbs,
    ) -> argparse.ArgumentParser:
        name = name or function.__name__
        sub = below.add_parser(name, parents=[common], help=help, description=help)
        sub.set_defaults(run_verb=function, target=None)
        if target:
            sub.add_argument("target", **target)
        return sub

    dataset = {"help": "name of the data set"}
    fetching = verb(download, "fetch a data set's official files", dataset)
    fetching.add_argument("--mirror", help="address or folder to take the archives from")
    caching = verb(cache, "decode or draw a data set once, into its cache", dataset)
    caching.add_argument("--jobs", type=int, help="processes; one per available core if left out")
    caching.add_argument("--verify", action="store_true", help="check an existing cache")
    help = "do nothing if it is complete and has these settings"
    caching.add_argument("--if-needed", action="store_true", help=help)
    run_or_file = {"help": "run path, or a file: a resolved run, or a run.json"}
    training = verb(train, "train one network", run_or_file)
    path = {"help": "logits/DATASET/TEACHER/seedN"}
    storing = verb(logits, "store a teacher's logits for all runs that can read them", path)
    verb(score, "compute metrics from stored predictions", {"help": "run path"})
    attending = verb(attend, "compute the attention maps of an artefact", ARTEFACT)
    for device_verb in (training, storing, attending):
        device_verb.add_argument("--device", choices=("auto", "cpu", "cuda"))
    help = "write or show tables and figures"
    reporting = verbs.add_parser("report", help=help, description=help)
    kinds = reporting.add_subparsers(required=True, metavar="KIND", dest="kind")
    for name, (help, target) in REPORTS.items():
        verb(report, help, target, name, kinds)
    help = "look after the store of runs"
    keeping = verbs.add_parser("store", help=help, description=help)
    kinds = keeping.add_subparsers(required=True, metavar="WHAT", dest="kind")
    verb(keep_store, "print every entry with its size, its age and its users", None, "list", kinds)
    verb(keep_store, "check all files and metrics of finished runs", None, "verify", kinds)
    pruning = verb(keep_store, "print what no protocol uses", None, "prune", kinds)
    pruning.add_argument("--yes", action="store_true", help="delete it")
    source = {"help": "another store, or results/PROTOCOL/runs of an older version"}
    verb(keep_store, "copy finished runs from another folder", source, "import", kinds)
    optional = {"nargs": "?", "help": "name of the artefact, all if left out"}
    verb(compare, "print our numbers beside the published ones", optional)
    help = "a target: its artefacts; an artefact: its runs; all: all runs"
    what = "print artefacts with their runs, time and disk"
    planning = verb(plan, what, {"nargs": "?", "help": help})
    help = "print what is left to compute as commands, to run it without Snakemake"
    planning.add_argument("--commands", action="store_true", help=help)
    verb(doctor, "check whether this machine has what the plan needs", None)
    help = "a target, or `default`: what is made if no target is named; all runs if left out"
    seeing = verb(
        status,
        "print which runs are done, running, failed or waiting",
        {"nargs": "?", "help": help},
    )
    seeing.add_argument("--all", action="store_true", help="list every run")
    every: dict[str, Any] = {"nargs": "?", "type": _interval, "const": 10.0, "metavar": "SECONDS"}
    help = "repeat, every 10 s if left out, until no run is left or Ctrl-C"
    seeing.add_argument("--watch", **every, help=help)
    return parser


def _interval(text: str) -> float:
    """A number of seconds above 0, for argparse."""
    if not (seconds := float(text)) > 0:
        raise argparse.ArgumentTypeError(f"{text}: must be more than 0 seconds")
    return seconds


def _specification(args: argparse.Namespace, protocol: str | None = None) -> Specification:
    given = dict(_setting(item) for item in args.set)
    if protocol or args.protocol:
        given["protocol"] = protocol or args.protocol
    return Specification(args.config, given)


def _setting(item: str) -> tuple[str, Any]:
    """KEY=VALUE with the value as YAML reads it: a number, a list, text."""
    key, _, value = item.partition("=")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"--set {item}: '{value}' is not valid YAML; quote it") from None


def _plan(args: argparse.Namespace) -> Plan:
    if args.plan:
        return Plan.read(args.plan)
    return make_plan(_specification(args))


def _results(plan: Plan) -> Results:
    return Results(protocol=plan.protocol, store_folder=plan.store, runs=plan.runs)


def _start_log(args: argparse.Namespace) -> None:
    """Send messages to the terminal and, with --log, to a log file of the job's own."""
    words = (args.name, getattr(args, "kind", None), args.target)
    prefix = " ".join(word for word in words if word).replace("%", "%%")
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(logging.Formatter(f"[{prefix}] %(message)s"))
    handlers: list[logging.Handler] = [terminal]
    if args.log:
        args.log.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(args.log)  # appends: another process may be writing to it
        file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        handlers.append(file)
    logging.basicConfig(level=logging.WARNING, handlers=handlers, force=True)
    log.setLevel(logging.INFO)
