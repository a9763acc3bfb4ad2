"""Command line: argument parsing and log files, nothing else."""

import argparse
import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mdkd import __version__, records
from mdkd.config import Run, parse, read_yaml
from mdkd.errors import UserError, nearest
from mdkd.kinds import KINDS as KIND_OF_ARTEFACT
from mdkd.layout import Layout
from mdkd.plan import (
    Artefact,
    Plan,
    check_identity,
    make_plan,
    resolve_dataset,
    resolve_root,
    resolve_run,
)
from mdkd.results import Results
from mdkd.spec import Specification

log = logging.getLogger("mdkd")

KINDS = ("metrics", "table", "figure", "labels", "partial", "document", "show")  # of `report`


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit status: 0, 2 for a user's mistake, 1 for a fault of ours."""
    args = _parser().parse_args(argv)
    _start_log(args)
    try:
        args.run_verb(args)
    except UserError as error:
        log.error("error: %s", error)
        return 2
    except KeyboardInterrupt:
        log.error("interrupted")
        return 130
    except Exception:
        log.error("%s", traceback.format_exc())
        return 1
    return 0


def download(args: argparse.Namespace) -> None:
    from mdkd.data import download as downloading

    spec = _specification(args)
    root = resolve_root(spec, args.target)
    downloading.download(args.target, root, args.config / "downloads.yaml", args.mirror)


def cache(args: argparse.Namespace) -> None:
    from mdkd.data.cache import build, verify

    if args.plan:
        plan = _plan(args)
        dataset, root = _get(plan.datasets, args), Path(plan.roots[args.target])
        layout = Layout(plan.protocol)
    else:
        spec = _specification(args)
        dataset, root = resolve_dataset(spec, args.target), resolve_root(spec, args.target)
        layout = Layout(spec.user.protocol)
    folder = layout.cache(dataset.name)
    if args.verify:
        verify(folder)
    else:
        build(dataset, root, folder, args.jobs)


def train(args: argparse.Namespace) -> None:
    from mdkd import devices

    device, weights_folder = args.device, "weights"
    if args.plan:
        plan = _plan(args)
        run, device = _get(plan.runs, args), device or plan.device
        weights_folder = plan.weights_folder
    elif args.target.endswith((".yaml", ".yml", ".json")):
        content = read_yaml(Path(args.target))
        if isinstance(content, dict) and isinstance(content.get("run"), dict):
            content = content["run"]  # a record, run.json: the same training again
        run = parse(Run, content, args.target)
        check_identity(run, args.target)
    else:
        spec = _specification(args)
        run, weights_folder = resolve_run(spec, args.target), spec.user.weights_folder
    with devices.claim(device or "auto") as device_type:
        from mdkd import with the device settled
        from mdkd.training import loop as training  # torch starts here

        training.train(run, Layout(run.protocol), device_type, Path(weights_folder))


def score(args: argparse.Namespace) -> None:
    from mdkd import score as scoring

    if args.plan:
        plan = _plan(args)
        results = _results(plan)
        run = _get(plan.runs, args)
        if results.state(run.path) == "other settings":
            folder = results.run(run.path)
            raise UserError(f"{folder}: made under other settings than planned; delete it")
        scoring.score(run.path, results)
    else:
        scoring.score(args.target, Layout(_specification(args).user.protocol))


def attend(args: argparse.Namespace) -> None:
    from mdkd import devices

    plan = _plan(args)
    artefact = _get(plan.artefacts, args)
    with devices.claim(args.device or plan.device) as device_type:
        from mdkd import attention  # torch starts here, with the device settled

        attention.attend(artefact, _results(plan), device_type)


def report(args: argparse.Namespace) -> None:
    from mdkd.reporting import summary as reporting

    plan = _plan(args)
    results = _results(plan)
    if args.kind == "metrics":
        reporting.metrics_csv(results)
    elif args.kind == "labels":
        from mdkd.reporting import dataset as label_report
        from mdkd.data.cache import open_cache

        dataset = _get(plan.datasets, args)
        label_report.write(open_cache(results.cache(dataset.name)), dataset.name, results.results)
    elif args.kind == "document":
        from mdkd.reporting import document

        document.write(plan, results)
    else:
        names = [args.target] if args.target else plan.selected
        if args.kind == "partial" and not args.target:  # and all that have something to show
            names = names + [name for name in _begun(plan, results) if name not in names]
        for name in names:
            artefact = _get(plan.artefacts, args, name)
            _report_artefact(args.kind, artefact, results, name in plan.selected)
        if args.kind == "show":
            print(f"numbers  {results.results / 'metrics.csv'}")
            print(f"report   {results.results / 'report.html'}")


def _begun(plan: Plan, results: Results) -> list[str]:
    """The artefacts of which a student's run, at least, is done or has failed."""
    ended = {path for path in plan.runs if results.state(path) in ("done", "failed")}
    students = {path for path in ended if plan.runs[path].teacher is not None}
    return [name for name, artefact in plan.artefacts.items() if students & set(artefact.runs)]


def _report_artefact(kind: str, artefact: Artefact, results: Results, whole: bool) -> None:
    """Write what ``kind`` says, and print where it is, with the ``whole`` table or without."""
    from mdkd.reporting import kinds as artefacts

    folder = results.results / "partial" if kind == "partial" else results.results
    outputs = KIND_OF_ARTEFACT[artefact.kind].outputs
    if kind in ("table", "partial") and "table" in outputs:
        artefacts.write_table(artefact, results, folder / "tables")
    if kind in ("figure", "partial") and "figure" in outputs:
        artefacts.write_figure(artefact, results, folder / "figures")
    if kind in ("show", "partial"):
        table = folder / "tables" / f"{artefact.name}.md"
        if "table" in outputs:
            print(f"\n{table.read_text()}" if whole else "")
            print(f"table    {table.with_suffix('.tex')}")
        if "figure" in outputs:
            print(f"figure   {folder / 'figures' / artefact.name}.pdf")


def compare(args: argparse.Namespace) -> None:
    """Print our numbers beside the published ones."""
    from mdkd.reporting import tables
    from mdkd.reporting.kinds import comparison

    plan = _plan(args)
    names = [args.target] if args.target else list(plan.artefacts)
    found = [artefact for name in names if (artefact := _get(plan.artefacts, args, name)).reported]
    if not found:
        where = args.target or f"protocol {plan.protocol}"
        hint = "those of Tables 1, 2, 4 and 5 need --protocol paper"
        raise UserError(f"{where}: no published numbers for what it trains; {hint}")
    for artefact in found:
        print(tables.markdown(comparison.table(artefact, _results(plan))))


def plan(args: argparse.Namespace) -> None:
    """Print what there is to compute, artefact by artefact; or every run of one of them."""
    from mdkd import costs as estimates

    plan = _plan(args)
    members = plan.targets().get(args.target, [])
    if args.target == "all" or members == [args.target]:
        name = None if args.target == "all" else args.target
        print(estimates.listing(plan, _results(plan), name))
        return
    if args.target:  # a group of artefacts, and nothing else
        plan = plan.only(_get(plan.targets(), args))
    print(estimates.overview(plan, _results(plan), args.config / "rates.yaml"))


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
    common.add_argument("--plan", type=Path, help="plan.json to read instead of the configuration")
    common.add_argument("--log", type=Path, help="file that gets a copy of all messages")
    verbs = parser.add_subparsers(required=True, metavar="VERB", dest="name")

    def verb(function: Any, help: str, target: str | None, **options: Any) -> Any:
        sub = verbs.add_parser(function.__name__, parents=[common], help=help, description=help)
        sub.set_defaults(run_verb=function)
        if target:
            sub.add_argument("target", help=target, **options)
        return sub

    fetching = verb(download, "fetch a data set's official files", "name of the data set")
    fetching.add_argument("--mirror", help="address or folder to take the archives from")
    caching = verb(cache, "decode or draw a data set once, into its cache", "name of the data set")
    caching.add_argument("--jobs", type=int, help="processes; one per available core if left out")
    caching.add_argument("--verify", action="store_true", help="check the cache that is there")
    training = verb(
        train,
        "train one network",
        "run path, or a file: a resolved run, or a run.json",
    )
    training.add_argument("--device", choices=("auto", "cpu", "cuda"))
    verb(score, "compute metrics from stored predictions", "run path")
    reporting = verb(report, "write or show tables and figures", None)
    reporting.add_argument("kind", choices=KINDS)
    reporting.add_argument(
        "target", nargs="?", help="artefact, all if left out; labels: a data set"
    )
    verb(
        compare,
        "print our numbers beside the published ones",
        "artefact, all if left out",
        nargs="?",
    )
    verb(
        plan,
        "print artefacts with their runs, time and disk, or the runs of one",
        "target, its artefacts; artefact, or all: its runs",
        nargs="?",
    )
    attending = verb(attend, "compute the attention maps of an artefact", "name of the artefact")
    attending.add_argument("--device", choices=("auto", "cpu", "cuda"))
    return parser


def _specification(args: argparse.Namespace) -> Specification:
    given = dict(_setting(item) for item in args.set)
    if args.protocol:
        given["protocol"] = args.protocol
    return Specification(args.config, given)


def _setting(item: str) -> tuple[str, Any]:
    """KEY=VALUE with the value as YAML reads it: numbers, lists, text."""
    key, _, value = item.partition("=")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"--set {item}: '{value}' is not valid YAML; quote it") from None


def _plan(args: argparse.Namespace) -> Plan:
    if args.plan:
        return parse(Plan, records.read_json(args.plan), str(args.plan))
    return make_plan(_specification(args))


def _results(plan: Plan) -> Results:
    return Results(protocol=plan.protocol, runs=plan.runs)


def _get(entries: dict[str, Any], args: argparse.Namespace, name: str | None = None) -> Any:
    name = name or args.target
    if name not in entries:
        raise UserError(f"{name}: not in the plan; {nearest(str(name), entries)}")
    return entries[name]


def _start_log(args: argparse.Namespace) -> None:
    """Messages go to the terminal and, if asked for, to a log file of the job's own."""
    target = getattr(args, "target", None) or getattr(args, "kind", "")
    prefix = f"{args.name} {target}".replace("%", "%%").strip()
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(logging.Formatter(f"[{prefix}] %(message)s"))
    handlers: list[logging.Handler] = [terminal]
    if args.log:
        args.log.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(args.log, mode="w")
        file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        handlers.append(file)
    logging.basicConfig(level=logging.WARNING, handlers=handlers, force=True)
    log.setLevel(logging.INFO)
