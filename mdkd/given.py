"""What the arguments of a call choose: settings, the specification, the plan and its results."""

import argparse
import json
import logging
import shlex
from pathlib import Path
from typing import Any

from mdkd import precheck, store
from mdkd.arguments import CONFIG
from mdkd.config import check_name
from mdkd.errors import UserError
from mdkd.plan import Plan, make_plan
from mdkd.results import Results
from mdkd.spec import Specification
from mdkd.specfiles import UserConfig, read_user, user_of
from mdkd.yamlfiles import parse_settings

log = logging.getLogger("mdkd")


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """The keys of ``config.yaml`` that a call gives."""
    given = parse_settings(args.set)
    if args.protocol:
        check_name(args.protocol, "--protocol")
        given["protocol"] = args.protocol
    return given


def options(config: Path, settings: dict[str, Any]) -> str:
    """The options with which another command has the same settings, each after a space.

    >>> options(CONFIG, {"protocol": "smoke", "seeds": [0, 1], "data_root": "my data"})
    " --protocol smoke --set 'seeds=[0, 1]' --set 'data_root=my data'"
    """
    words = [] if config == CONFIG else ["--config", str(config)]
    for key, value in settings.items():
        text = value if isinstance(value, str) else json.dumps(value)
        words += ["--protocol", text] if key == "protocol" else ["--set", f"{key}={text}"]
    return "".join(f" {shlex.quote(word)}" for word in words)


def options_of(args: argparse.Namespace) -> str:
    """Those of a call."""
    if args.plan:
        return f" --plan {shlex.quote(str(args.plan))}"
    return options(args.config, settings(args))


def specification(args: argparse.Namespace, protocol: str | None = None) -> Specification:
    given = settings(args) | ({"protocol": protocol} if protocol else {})
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
    warn_of_other_files(args, plan)
    return plan


def warn_of_other_files(args: argparse.Namespace, plan: Plan) -> None:
    """Name the caches that were made from other folders than planned: old runs count as done.

    A plan file is not checked: it was, when it was made. On another machine links may differ.
    """
    for line in precheck.other_roots(plan, plan.artefacts, plan.layout(), options_of(args)):
        log.warning("%s", line)


def warn_of_damage(plan: Plan) -> None:
    """Name the damaged records among the runs of a plan; the other runs are used without them."""
    for line in store.damage(plan.runs, plan.layout()):
        log.warning("damaged: %s", line)


def results(plan: Plan) -> Results:
    return Results(protocol=plan.protocol, store_folder=plan.store, runs=plan.runs)
