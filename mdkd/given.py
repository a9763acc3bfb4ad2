"""What the arguments of a call choose: settings, the specification, the plan and its results."""

import argparse
import logging

from mdkd import store
from mdkd.arguments import CONFIG
from mdkd.errors import UserError
from mdkd.plan import Plan, make_plan
from mdkd.results import Results
from mdkd.spec import Specification
from mdkd.specfiles import UserConfig, read_user, user_of
from mdkd.yamlfiles import parse_settings

log = logging.getLogger("mdkd")


def specification(args: argparse.Namespace, protocol: str | None = None) -> Specification:
    given = parse_settings(args.set)
    if protocol or args.protocol:
        given["protocol"] = protocol or args.protocol
    if not args.config.is_dir():
        raise UserError(
            f"{args.config}: no such folder; this command needs settings: call it in a clone of "
            "the project, which has a folder config/, or name such a folder with --config FOLDER"
        )
    return Specification(args.config, given)


def user(args: argparse.Namespace) -> UserConfig:
    """What ``config.yaml`` says about this machine; a run file needs no such file."""
    given = parse_settings(args.set) | {"protocol": "of_the_run"}
    if args.protocol:
        raise UserError(f"--protocol: {args.target} names its protocol; leave it out")
    file = args.config / "config.yaml"
    if args.config == CONFIG and not file.exists():
        return user_of({}, given, "--set")
    return read_user(file, given)


def plan(args: argparse.Namespace) -> Plan:
    if args.plan:
        for option, value in (("--protocol", args.protocol), ("--set", " ".join(args.set))):
            if value:
                what = f"{option} {value}: the plan file {args.plan} has its own settings"
                raise UserError(f"{what}; leave out --plan or {option}")
        return Plan.read(args.plan)
    plan = make_plan(specification(args))
    plan.refuse_broken([args.target])
    for line in plan.left_out():
        log.warning("left out: %s", line)
    return plan


def warn_of_damage(plan: Plan) -> None:
    """Name the damaged records among the runs of a plan; the other runs are used without them."""
    for line in store.damage(plan.runs, plan.layout()):
        log.warning("damaged: %s", line)


def results(plan: Plan) -> Results:
    return Results(protocol=plan.protocol, store_folder=plan.store, runs=plan.runs)
