"""The command line: the verbs that change something, and log files.

The arguments are in `mdkd.arguments`, the verbs that only look in `mdkd.views`.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from mdkd import (
    faults,
    given,
    kinds,
    neighbours,
    precheck,
    registry,
    runfiles,
    store,
    views,
)
from mdkd.arguments import parser
from mdkd.config import Dataset, Run
from mdkd.errors import UserError, find
from mdkd.faults import show, show_json
from mdkd.layout import Layout
from mdkd.plan import Plan, make_plan
from mdkd.resolve import resolve_dataset, resolve_root, resolve_run
from mdkd.specfiles import UserConfig

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

    root = resolve_root(given.specification(args), args.target)
    downloading.download(args.target, root, args.config / "downloads.yaml", args.mirror)


def cache(args: argparse.Namespace) -> None:
    from mdkd.data.build import build
    from mdkd.data.cache import elsewhere, is_complete, verify

    if args.plan:
        plan = given.plan(args)
        dataset, root = find(plan.datasets, args.target), Path(plan.roots[args.target])
    else:
        spec = given.specification(args)
        dataset, root = resolve_dataset(spec, args.target), resolve_root(spec, args.target)
        plan = make_plan(spec)
    folder = plan.layout().cache(dataset.name)
    if args.verify:
        verify(folder)
        _refuse_other_files(args, dataset, plan.layout())
        return
    if args.if_needed:
        if is_complete(dataset, folder, root):
            return
        if wrong := elsewhere(dataset, folder, root):
            log.info("%s; it is made again", wrong)
    names = plan.selected if plan.asked is None else plan.asked
    check = partial(precheck.check_data, plan, names, dataset.name)
    build(dataset, root, folder, args.jobs, check)


def train(args: argparse.Namespace) -> None:
    run, layout, place = _chosen(args)
    _refuse_other_files(args, run.dataset, layout)
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

    plan = given.plan(args)
    run = plan.runs[find(stored.groups(plan), args.target)[0]]
    _refuse_other_files(args, run.dataset, plan.layout())
    from mdkd.training import teacher  # imports torch, which takes a second

    device = args.device or plan.device
    execution = teacher.Execution(deterministic=plan.deterministic)
    kind, layout = stored.kind_of(args.target), plan.layout()
    teacher.store_logits(run, layout, kind, device, plan.trainings_per_gpu, execution)


def score(args: argparse.Namespace) -> None:
    from mdkd import score as scoring

    scoring.score(_finished(args)[0])


def predict(args: argparse.Namespace) -> None:
    """Print the labels of pictures."""
    entry, place = _finished(args)
    maps = args.output if args.cam else None
    from mdkd.training import execution, labelling  # imports torch, which takes a second

    with execution.claimed(args.device or place.device, place.trainings_per_gpu) as device_type:
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
    plan = given.plan(args)
    artefact = find(plan.artefacts, args.target)
    from mdkd.training import execution, gradcam  # imports torch, which takes a second

    with execution.claimed(args.device or plan.device, plan.trainings_per_gpu) as device_type:
        gradcam.attend(artefact, given.results(plan), device_type)


def report(args: argparse.Namespace) -> None:
    from mdkd import reporting

    plan = given.plan(args)
    given.warn_of_damage(plan)
    function = getattr(reporting, f"report_{args.kind}")
    text = function(plan, given.results(plan), args.target)
    if text is not None:
        show(text)


def keep_store(args: argparse.Namespace) -> None:
    from mdkd import exchange, store_admin

    if args.kind == "verify":
        show(store_admin.verify(given.plan(args)))
    elif args.kind == "import":
        show(exchange.take_over(given.plan(args), Path(args.target)))
    elif args.kind == "export":
        show(exchange.export(given.plan(args), Path(args.target), args.predictions))
    elif args.kind == "compare":
        show(exchange.compare(given.plan(args), Path(args.target)))
    else:  # what any protocol plans is used
        _refuse_a_choice(args)
        plans = [make_plan(given.specification(args, file.stem)) for file in _protocols(args)]
        for plan in plans:  # the trainings of an experiment that is left out would be unused
            plan.refuse_broken(plan.broken)
        if args.kind == "prune":
            show(store_admin.prune(plans, delete=args.yes))
        elif args.json:
            show_json(store_admin.facts(plans))
        else:
            show(store_admin.listing(plans))


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


def tune(args: argparse.Namespace) -> None:
    """Write the weights that a finished tuning experiment has chosen into the configuration."""
    from mdkd import tuned, tuning

    plan = given.plan(args)
    known = {name: a for name, a in plan.artefacts.items() if kinds.get(a.kind).tunes}
    if args.target is None and len(known) != 1:
        names = ", ".join(known) or "none; write one, see docs/experiments.md"
        raise UserError(f"tune: name one of the experiments of kind tuning: {names}")
    name = args.target or next(iter(known))
    chosen = tuning.choose(find(known, name), given.results(plan))
    file = tuned.own_file(args.config, plan.protocol)
    tuning.write(chosen, file)
    show(tuning.summary(chosen))
    show(f"wrote {file}; review and commit it. Experiments with `weights: tuned` use it")


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
    "tune": tune,
    "schema": schema,
    **views.VERBS,
}


def _chosen(args: argparse.Namespace) -> tuple[Run, Layout, Plan | UserConfig]:
    """The run that a run path or a run file names, and what says where things lie."""
    if args.plan:
        plan = given.plan(args)
        return find(plan.runs, args.target), plan.layout(), plan
    if args.target.endswith(runfiles.SUFFIXES):
        user = given.user(args)
        registry.use(user.plugins)
        run = runfiles.read(Path(args.target))
    else:
        spec = given.specification(args)
        user, run = spec.user, resolve_run(spec, args.target)
    return run, Layout(run.protocol, store_folder=user.store), user


def _refuse_other_files(args: argparse.Namespace, dataset: Dataset, layout: Layout) -> None:
    """Stop if the cache of a data set was made from another folder than the settings name.

    A plan was checked when it was made; on another machine links may differ. A run file names no
    folder.
    """
    if not args.plan and not args.target.endswith(runfiles.SUFFIXES):
        root = resolve_root(given.specification(args), dataset.name)
        if wrong := precheck.other_root(dataset, root, layout, given.options_of(args)):
            raise UserError(wrong)


def _finished(args: argparse.Namespace) -> tuple[store.Entry, Plan | UserConfig]:
    """The entry that a run path or a run.json names, and what says where things lie.

    Raises:
        UserError: the run is not finished, or was trained with other settings than planned.
    """
    file = Path(args.target)
    if file.name == store.RECORD:
        user = given.user(args)
        registry.use(user.plugins)
        return store.Entry(file.parent), user
    if args.target.endswith(runfiles.SUFFIXES):
        raise UserError(f"{file}: give the path of a run, or the run.json of a finished run")
    run, layout, place = _chosen(args)
    entry = store.entry(run, layout)
    if not entry.finished:
        fix = neighbours.hint(run, layout, file=True) or f"train it first: mdkd train {run.path}"
        raise UserError(f"{run.path}: not trained with protocol {run.protocol}; {fix}")
    if reason := store.disagreement(run, entry.record(), layout):
        raise UserError(f"{entry.folder}: {reason}; train it again")
    return entry, place


def _start_log(args: argparse.Namespace) -> None:
    """Send messages to the terminal and, with --log, to a log file of the job's own."""
    words = (args.name, getattr(args, "kind", None), args.target)
    prefix = " ".join(word for word in words if word).replace("%", "%%")
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(logging.Formatter(f"[{prefix}] %(message)s"))
    # Under a workflow, several jobs share a terminal: what each of them says is in its own log.
    level = logging.INFO if args.log else faults.DETAIL
    terminal.setLevel(logging.DEBUG if args.debug else level)
    logging.basicConfig(level=logging.WARNING, handlers=[terminal], force=True)
    log.setLevel(logging.DEBUG)
    if args.log:
        logging.getLogger().addHandler(faults.LogFile(args.log))
