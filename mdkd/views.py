"""The verbs of the command line that only look: they train nothing and change no result."""

import argparse
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from mdkd import completion, faults, given, precheck, records
from mdkd.arguments import parser
from mdkd.config import Run
from mdkd.errors import UserError, find, nearest
from mdkd.faults import show, show_json
from mdkd.plan import ALL, DEFAULT, Plan
from mdkd.resolve import resolve_run
from mdkd.specfiles import JobLimits

log = logging.getLogger("mdkd")


def compare(args: argparse.Namespace) -> None:
    """Print two runs or methods side by side, or our numbers beside the published ones."""
    if args.other is None:
        _compare_with_published(args)
    else:
        _compare_two(args)


def _compare_two(args: argparse.Namespace) -> None:
    from mdkd.reporting import side_by_side

    plan, names = given.plan(args), (args.target, args.other)
    if any(map(side_by_side.is_run, names)):
        runs = {path: _run(args, plan, path) for path in names}
        results = replace(given.results(plan), runs=runs)
        found = [side_by_side.of_runs(*names, results)]
    else:
        found = side_by_side.of_methods(plan, *names, given.results(plan))
    if args.json:
        show_json({"comparisons": [side_by_side.facts(each) for each in found]})
    else:
        show("\n\n".join(map(side_by_side.text, found)))


def _run(args: argparse.Namespace, plan: Plan, path: str) -> Run:
    """A run of the plan; without a plan file also one that no artefact needs."""
    if path in plan.runs or args.plan:
        return find(plan.runs, path)
    return resolve_run(given.specification(args), path)


def _compare_with_published(args: argparse.Namespace) -> None:
    from mdkd.reporting import side_by_side, tables
    from mdkd.reporting.kinds import comparison

    plan = given.plan(args)
    if args.target and args.target not in plan.artefacts:
        hint = f"not an artefact; {nearest(args.target, plan.artefacts)}"
        raise UserError(f"{args.target}: {hint}; to compare two runs or methods, name both")
    names = [args.target] if args.target else list(plan.artefacts)
    found = [artefact for name in names if (artefact := plan.artefacts[name]).reported]
    if not found:
        where = args.target or f"protocol {plan.protocol}"
        hint = "those of Tables 1, 2, 4 and 5 need --protocol paper"
        raise UserError(f"{where}: no published numbers for what it trains; {hint}")
    made = [comparison.table(a, given.results(plan).on(a.split)) for a in found]
    if args.json:
        show_json({"tables": [side_by_side.facts_of_table(table) for table in made]})
        return
    for table in made:
        show(tables.markdown(table))


def curves(args: argparse.Namespace) -> None:
    """Write or print what trainings have recorded after each epoch."""
    from mdkd.reporting import curves as recorded

    plan, target = given.plan(args), args.target
    if target and target not in {DEFAULT, ALL, *plan.targets()}:
        run = _run(args, plan, target)
        results = replace(given.results(plan), runs={target: run})
    else:
        results = given.results(_part(plan, target))
    found = recorded.read(results, results.runs)
    if args.tensorboard:
        recorded.write_tensorboard(found, args.tensorboard)
    if args.csv:
        recorded.write_csv(found, args.csv)
    if not (args.csv or args.tensorboard):
        show(recorded.as_csv(found).rstrip("\n"))
    for place in filter(None, (args.csv, args.tensorboard)):
        log.info("wrote the curves of %d runs to %s", len(found), place)


def inventory(args: argparse.Namespace) -> None:
    """Print what there is of one kind, one line each."""
    from mdkd.reporting import inventory as items

    _refuse_plan_file(args)
    spec = given.specification(args)
    plan = given.plan(args)  # warns of experiments that are left out
    found = items.KINDS[args.kind](spec, plan, given.results(plan))
    if args.json:
        show_json({args.kind: found})
    else:
        show(items.listing(found))


def _refuse_plan_file(args: argparse.Namespace) -> None:
    if args.plan:
        raise UserError(f"--plan {args.plan}: `mdkd list` reads the configuration; leave it out")


def complete(args: argparse.Namespace) -> None:
    """Print what a shell reads to complete the words of a command."""
    show(completion.script(parser(), args.kind))


def plan(args: argparse.Namespace) -> None:
    """Print what there is to compute, artefact by artefact; or every run of one of them."""
    from mdkd.reporting import plan_listing

    plan = given.plan(args)
    part = _part(plan, args.target)
    if args.commands:
        _print_commands(plan, part, args)
        return
    given.warn_of_damage(plan)
    asked = plan.selected if part is plan else list(part.artefacts)
    for check in (precheck.check_weights, partial(precheck.check_caches, layout=plan.layout())):
        try:
            check(plan, asked)
        except UserError as error:
            for line in error.args:
                log.warning("cannot be trained: %s", line)
    results, rates = given.results(plan), args.config / "rates.yaml"
    of_one = list(part.artefacts) == [args.target]
    if of_one or args.target == ALL:
        name = args.target if of_one else None
        if args.json:
            show_json(plan_listing.facts_of_runs(plan, results, name))
        else:
            show(plan_listing.listing(plan, results, name))
    elif args.json:
        show_json(plan_listing.facts(part, results, rates))
    else:
        show(plan_listing.overview(part, results, rates, given.options_of(args)))


def _print_commands(plan: Plan, part: Plan, args: argparse.Namespace) -> None:
    """Print the jobs of a part of the plan, after the plan file that they read is written."""
    from mdkd.reporting.commands import commands

    if not args.plan and (
        other := precheck.other_roots(plan, part.artefacts, plan.layout(), given.options_of(args))
    ):
        raise UserError(*other)
    file = args.plan or plan.layout().plan(plan.digest())
    if not args.plan:
        records.write_json(file, plan.to_json())
    show(commands(part, given.results(plan), file, args.config / "rates.yaml"))


def status(args: argparse.Namespace) -> None:
    """Print what has become of every planned run, or of those of a target."""
    try:
        from mdkd.reporting import status_listing

        plan = _part(given.plan(args), args.target)
        status_listing.watch(
            plan,
            given.results(plan),
            args.config / "rates.yaml",
            args.watch,
            target=None if args.target == ALL else args.target,
            all_runs=args.all,
            as_line=args.line,
            as_json=args.json,
        )
    except KeyboardInterrupt:
        if args.watch is None or faults.stopped_from_outside():
            raise  # else it was Ctrl-C, the usual end of --watch


def _part(plan: Plan, target: str | None) -> Plan:
    """The plan of a target (`Plan.members`); the whole plan if there is none, or ``all``."""
    return plan if target in (None, ALL) else plan.only(plan.members(str(target)))


def doctor(args: argparse.Namespace) -> int:
    """Print what this machine lacks for the plan. Returns 1 if there is a problem."""
    from mdkd.doctor import examination
    from mdkd.reporting.document import ENGINES

    def settings() -> tuple[Plan, JobLimits]:
        return given.plan(args), given.specification(args).user.job_limits

    found = []
    for check in examination.examine(settings, args.config, tuple(ENGINES), time.time()):
        found.append(check)
        if not args.json:
            show(str(check))
    if args.json:
        show_json(examination.facts(found))
    else:
        show(examination.summary(found))
    return int(any(check.verdict == "problem" for check in found))


VERBS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "compare": compare,
    "curves": curves,
    "list": inventory,
    "plan": plan,
    "status": status,
    "doctor": doctor,
    "completion": complete,
}
