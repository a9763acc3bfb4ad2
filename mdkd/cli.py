"""The command line: what each verb does, and log files. The arguments: `mdkd.arguments`."""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from mdkd import devices, faults, kinds, precheck, records, registry, runfiles, store
from mdkd.arguments import CONFIG, parser
from mdkd.config import parse
from mdkd.errors import UserError, find
from mdkd.faults import show
from mdkd.layout import Layout
from mdkd.plan import Plan, make_plan
from mdkd.resolve import resolve_dataset, resolve_root, resolve_run
from mdkd.results import Results
from mdkd.spec import Specification
from mdkd.specfiles import JobLimits, UserConfig, read_user
from mdkd.yamlfiles import parse_settings

log = logging.getLogger("mdkd")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit status (`mdkd.faults`); `doctor` returns 1 for a problem."""
    args = parser().parse_args(argv)
    try:
        _start_log(args)
        faults.expect_working_directory()
        return VERBS[args.name](args) or 0
    except BaseException as error:
        return faults.report(error, args.log, args.debug)


def download(args: argparse.Namespace) -> None:
    from mdkd.data import download as downloading

    root = resolve_root(_specification(args), args.target)
    downloading.download(args.target, root, args.config / "downloads.yaml", args.mirror)


def cache(args: argparse.Namespace) -> None:
    from mdkd.data.build import build
    from mdkd.data.cache import is_complete, verify

    if args.plan:
        plan = _plan(args)
        dataset, root = find(plan.datasets, args.target), Path(plan.roots[args.target])
    else:
        spec = _specification(args)
        dataset, root = resolve_dataset(spec, args.target), resolve_root(spec, args.target)
        plan = make_plan(spec)
    folder = plan.layout().cache(dataset.name)
    if args.verify:
        verify(folder)
        return
    if args.if_needed and is_complete(dataset, folder):
        return
    names = plan.selected if plan.asked is None else plan.asked
    check = partial(precheck.check_data, plan, names, dataset.name)
    build(dataset, root, folder, args.jobs, check)


def train(args: argparse.Namespace) -> None:
    place: Plan | UserConfig  # what says where things lie
    if args.plan:
        place = _plan(args)
        run, layout = find(place.runs, args.target), place.layout()
    elif args.target.endswith(runfiles.SUFFIXES):
        place = _user(args)
        registry.use(place.plugins)
        run = runfiles.read(Path(args.target))
        layout = Layout(run.protocol, store_folder=place.store)
    else:
        spec = _specification(args)
        place, run = spec.user, resolve_run(spec, args.target)
        layout = Layout(run.protocol, store_folder=place.store)
    from mdkd.training import loop  # imports torch, which takes a second

    loop.train(
        run,
        layout,
        args.device or place.device,
        Path(place.weights_folder),
        place.checkpoint_minutes,
        place.trainings_per_gpu,
        loop.Execution(compile=place.compile, deterministic=place.deterministic),
    )


def logits(args: argparse.Namespace) -> None:
    from mdkd import logits as stored

    plan = _plan(args)
    run = plan.runs[find(stored.groups(plan), args.target)[0]]
    from mdkd.training import teacher  # imports torch, which takes a second

    device = args.device or plan.device
    execution = teacher.Execution(deterministic=plan.deterministic)
    teacher.store_logits(run, plan.layout(), device, plan.trainings_per_gpu, execution)


def score(args: argparse.Namespace) -> None:
    from mdkd import score as scoring

    scoring.score(_finished(args)[0])


def predict(args: argparse.Namespace) -> None:
    """Print the labels of pictures."""
    entry, place = _finished(args)
    maps = args.output if args.cam else None
    with devices.claim(args.device or place.device, place.trainings_per_gpu) as device_type:
        from mdkd.training import labelling  # imports torch, now that the device is chosen

        pictures = labelling.label(entry, args.images, device_type, maps)
        if args.json:
            show(json.dumps([picture.content() for picture in pictures], indent=1))
            return
        for picture in pictures:
            show(picture.text())


def export(args: argparse.Namespace) -> None:
    """Write the network of a finished run in a form that other programs read."""
    entry, _ = _finished(args)
    from mdkd.training import export as exporting  # imports torch, which takes a second

    show(exporting.export(entry, args.to, args.output))


def attend(args: argparse.Namespace) -> None:
    plan = _plan(args)
    artefact = find(plan.artefacts, args.target)
    with devices.claim(args.device or plan.device, plan.trainings_per_gpu) as device_type:
        from mdkd.training import gradcam  # imports torch, now that the device is chosen

        gradcam.attend(artefact, _results(plan), device_type)


def report(args: argparse.Namespace) -> None:
    from mdkd import reporting

    plan = _plan(args)
    _warn_of_damage(plan)
    function = getattr(reporting, f"report_{args.kind}")
    text = function(plan, _results(plan), args.target)
    if text is not None:
        show(text)


def keep_store(args: argparse.Namespace) -> None:
    from mdkd import exchange, store_admin

    if args.kind == "verify":
        show(store_admin.verify(_plan(args)))
    elif args.kind == "import":
        show(exchange.take_over(_plan(args), Path(args.target)))
    elif args.kind == "export":
        show(exchange.export(_plan(args), Path(args.target), args.predictions))
    elif args.kind == "compare":
        show(exchange.compare(_plan(args), Path(args.target)))
    else:  # what any protocol plans is used
        _refuse_a_choice(args)
        plans = [make_plan(_specification(args, file.stem)) for file in _protocols(args)]
        for (
            plan
        ) in plans:  # the trainings of an experiment that is left out would count as not used
            plan.refuse_broken(plan.broken)
        pruning = args.kind == "prune"
        show(store_admin.prune(plans, delete=args.yes) if pruning else store_admin.listing(plans))


def _refuse_a_choice(args: argparse.Namespace) -> None:
    """Stop if only a part of what is planned is asked for: the rest would count as not used."""
    for item in args.set:
        if not item.startswith("store="):
            raise UserError(f"--set {item}: an entry counts as used by config.yaml; edit it there")
    for option, value in (("--protocol", args.protocol), ("--plan", args.plan)):
        if value:
            hint = "leave it out: what any protocol plans is used"
            raise UserError(f"{option} {value}: not for `mdkd store {args.kind}`; {hint}")


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
        show(tables.markdown(comparison.table(artefact, _results(plan).on(artefact.split))))


def tune(args: argparse.Namespace) -> None:
    """Write the weights that a finished tuning experiment has chosen into the configuration."""
    from mdkd import tuned, tuning

    plan = _plan(args)
    known = {name: a for name, a in plan.artefacts.items() if kinds.get(a.kind).tunes}
    if args.target is None and len(known) != 1:
        names = ", ".join(known) or "none; write one, see config/experiments/README.md"
        raise UserError(f"tune: name one of the experiments of kind tuning: {names}")
    name = args.target or next(iter(known))
    chosen = tuning.choose(find(known, name), _results(plan))
    file = tuned.own_file(args.config, plan.protocol)
    tuning.write(chosen, file)
    show(tuning.summary(chosen))
    show(f"wrote {file}; review and commit it. Experiments with `weights: tuned` use it")


def plan(args: argparse.Namespace) -> None:
    """Print what there is to compute, artefact by artefact; or every run of one of them."""
    from mdkd.reporting import plan_listing

    plan = _plan(args)
    if args.commands:
        _print_commands(plan, args)
        return
    _warn_of_damage(plan)
    asked = plan.asked_by([args.target] if args.target else [])
    for check in (precheck.check_weights, partial(precheck.check_caches, layout=plan.layout())):
        try:
            check(plan, asked)
        except UserError as error:
            for line in error.args:
                log.warning("cannot be trained: %s", line)
    members = plan.targets().get(args.target, [])
    if args.target == "all" or members == [args.target]:
        name = None if args.target == "all" else args.target
        show(plan_listing.listing(plan, _results(plan), name))
        return
    if args.target:  # a group of artefacts, and nothing else
        plan = plan.only(find(plan.targets(), args.target))
    show(plan_listing.overview(plan, _results(plan), args.config / "rates.yaml"))


def _print_commands(plan: Plan, args: argparse.Namespace) -> None:
    """Print the jobs of a target, after the plan file that they read is written."""
    from mdkd.reporting.commands import commands

    file = args.plan or plan.layout().plan(plan.digest())
    if not args.plan:
        records.write_json(file, plan.to_json())
    names = plan.selected if args.target is None else list(plan.artefacts)
    if args.target not in (None, "all"):
        names = find(plan.targets(), args.target)
    show(commands(plan.only(names), _results(plan), file))


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
        show(str(check))
        found.append(check)
    show(examination.summary(found))
    return int(any(check.verdict == "problem" for check in found))


def schema(args: argparse.Namespace) -> None:
    from mdkd import schemas

    folder = Path(args.target) if args.target else args.config / schemas.FOLDER
    show("\n".join(map(str, schemas.write(folder))))


VERBS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "download": download,
    "cache": cache,
    "train": train,
    "logits": logits,
    "score": score,
    "predict": predict,
    "export": export,
    "attend": attend,
    "report": report,
    "store": keep_store,
    "compare": compare,
    "tune": tune,
    "plan": plan,
    "status": status,
    "doctor": doctor,
    "schema": schema,
}


def _finished(args: argparse.Namespace) -> tuple[store.Entry, Plan | UserConfig]:
    """The entry that a run path or a run.json names, and what says where things lie.

    Raises:
        UserError: the run is not finished, or was trained with other settings than planned.
    """
    place: Plan | UserConfig
    file = Path(args.target)
    if file.name == store.RECORD:
        place = _user(args)
        registry.use(place.plugins)
        return store.Entry(file.parent), place
    if args.target.endswith(runfiles.SUFFIXES):
        raise UserError(f"{file}: give the path of a run, or the run.json of a finished run")
    if args.plan:
        place = _plan(args)
        run, layout = find(place.runs, args.target), place.layout()
    else:
        spec = _specification(args)
        place, run = spec.user, resolve_run(spec, args.target)
        layout = Layout(run.protocol, store_folder=place.store)
    entry = store.entry(run, layout)
    if reason := store.disagreement(run, entry.record(), layout):
        raise UserError(f"{entry.folder}: {reason}; train it again")
    return entry, place


def _specification(args: argparse.Namespace, protocol: str | None = None) -> Specification:
    given = parse_settings(args.set)
    if protocol or args.protocol:
        given["protocol"] = protocol or args.protocol
    return Specification(args.config, given)


def _user(args: argparse.Namespace) -> UserConfig:
    """What ``config.yaml`` says about this machine; a run file needs no such file."""
    given = parse_settings(args.set) | {"protocol": "of_the_run"}
    if args.protocol:
        raise UserError(f"--protocol: {args.target} names its protocol; leave it out")
    file = args.config / "config.yaml"
    if args.config == CONFIG and not file.exists():
        return parse(UserConfig, given, "--set")
    return read_user(file, given)


def _plan(args: argparse.Namespace) -> Plan:
    if args.plan:
        return Plan.read(args.plan)
    plan = make_plan(_specification(args))
    plan.refuse_broken([args.target])
    for line in plan.left_out():
        log.warning("left out: %s", line)
    return plan


def _warn_of_damage(plan: Plan) -> None:
    """Name the damaged records among the runs of a plan; the other runs are used without them."""
    for line in store.damage(plan.runs, plan.layout()):
        log.warning("damaged: %s", line)


def _results(plan: Plan) -> Results:
    return Results(protocol=plan.protocol, store_folder=plan.store, runs=plan.runs)


def _start_log(args: argparse.Namespace) -> None:
    """Send messages to the terminal and, with --log, to a log file of the job's own."""
    words = (args.name, getattr(args, "kind", None), args.target)
    prefix = " ".join(word for word in words if word).replace("%", "%%")
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(logging.Formatter(f"[{prefix}] %(message)s"))
    terminal.setLevel(logging.DEBUG if args.debug else logging.INFO)
    logging.basicConfig(level=logging.WARNING, handlers=[terminal], force=True)
    log.setLevel(logging.DEBUG)
    if args.log:
        logging.getLogger().addHandler(faults.LogFile(args.log))
