# The benchmark as a graph of jobs. The workflow has paths and resources only. The code of the jobs
# is in mdkd/. The settings, which say what to compute, are in config/.

import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod
from snakemake.utils import min_version

from mdkd import (
    costs,
    devices,
    faults,
    given,
    keys,
    logits,
    precheck,
    records,
    runpath,
    slurm,
    store,
)
from mdkd.errors import UserError
from mdkd.joblog import last_message
from mdkd.artefacts import DOCUMENT
from mdkd.plan import Plan, make_plan
from mdkd.rates import read_rates
from mdkd.spec import Specification

min_version("9.20")

# Jobs call `python`. It must be the one that runs this file, also if its environment is not active.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
os.environ.update(PATH=PATH)


# A job on another machine reads this file again. It uses the plan of the main process, because
# somebody may have edited config/ in the meantime.
PLAN_OF_MAIN = None if workflow.is_main_process else os.environ.get("MDKD_PLAN")

if set("{}") & set(str(workflow.basedir)):
    raise WorkflowError(f"{workflow.basedir}: Snakemake fails in a folder with braces; rename it")

SETTINGS = dict(config)  # given on the command line, or by a workflow that uses this one
CONFIG_FOLDER = Path(SETTINGS.pop("config_folder", "config"))

try:
    SPEC = None if PLAN_OF_MAIN else Specification(CONFIG_FOLDER, SETTINGS, "--config")
    PLAN = Plan.read(Path(PLAN_OF_MAIN)) if PLAN_OF_MAIN else make_plan(SPEC)
    PLAN.refuse_broken(sys.argv)
    LAYOUT = PLAN.layout()
    ESTIMATOR = costs.Estimator(PLAN, read_rates(CONFIG_FOLDER / "rates.yaml"), LAYOUT)
except (UserError, OSError) as error:
    raise WorkflowError(faults.describe(error)) from None

# Calls that show something and start no job: they delete nothing.
LOOKS = {"--lint", "--unlock", "--summary", "-S", "--detailed-summary", "-D", "--report", "--dag"}
LOOKS |= {"--rulegraph", "--filegraph", "--d3dag", "--list-rules", "--list", "-l", "--archive"}

# Jobs use the code beside this file, also if the working directory is another one.
CODE = Path(costs.__file__).parents[1]
if (CODE / "Snakefile").exists():  # it is not an installed package
    paths = [str(CODE), os.environ.get("PYTHONPATH", "")]
    os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, paths)))

RESULTS = f"results/{PLAN.protocol}"
PLAN_FILE = PLAN_OF_MAIN or str(LAYOUT.plan(PLAN.digest()))  # read by jobs
RECORDS = {path: str(LAYOUT.published(path, keys.key(run))) for path, run in PLAN.runs.items()}
SELECTED = list(dict.fromkeys(run for name in PLAN.selected for run in PLAN.artefacts[name].runs))
TARGETS = PLAN.targets()

# What another workflow cannot do with this one (docs/running.md).
if workflow.modifier.modify_path(RESULTS) != RESULTS:
    reason = "its jobs write to the working directory: use no prefix and no default storage"
    raise WorkflowError(f"{workflow.current_basedir}: {reason}")
IS_AGAIN = hasattr(workflow, "mdkd_plan")  # each `use rule ... from` reads this file once more
if IS_AGAIN and workflow.mdkd_plan != PLAN_FILE:
    raise WorkflowError(f"{workflow.current_basedir}: included with two configurations; use one")
workflow.mdkd_plan = PLAN_FILE

# Each training asks for one GPU, unless all trainings are for the CPU. On a machine with GPUs, as
# many trainings run at once as they have places. A cluster gives each submitted job its own GPU.
GPU = 0 if PLAN.device == "cpu" else 1
PLACES = GPU * PLAN.trainings_per_gpu * len(devices.visible_gpus())
if PLACES and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", PLACES)


resource_scopes:
    gpu="local",  # the limit is for this machine, not for jobs that are submitted to a cluster


# A run that is finished in the store gets its record now, before Snakemake looks for outputs. Its
# record is then a plain file that no rule makes, so nothing can make Snakemake train it again:
# neither times of files, nor lost notes of Snakemake, nor a deleted cache, nor --forceall.
FINISHED = []
if workflow.is_main_process:
    for line in PLAN.left_out():
        print(f"left out: {line}", file=sys.stderr)
    looks = LOOKS & {argument.partition("=")[0] for argument in sys.argv}
    only_looks = workflow.output_settings.dryrun or looks
    # Snakemake does not know its targets yet. A word may also be a file, as tables/NAME.md.
    words = [Path(argument).name.partition(".")[0] for argument in sys.argv[1:]]
    asked = PLAN.asked_by([word for word in words if word in TARGETS])
    options = given.options(CONFIG_FOLDER, SETTINGS)
    other = precheck.other_roots(PLAN, asked, LAYOUT, options)
    if other and not looks:  # runs on other files would count as done
        raise WorkflowError("\n".join(other))
    for line in other:
        print(line, file=sys.stderr)
    try:
        FINISHED = store.publish_all(PLAN.runs, LAYOUT, withdraw=not only_looks)
        if not only_looks:
            logits.withdraw(PLAN, LAYOUT)
            os.environ.update(MDKD_PLAN=PLAN_FILE)  # for the jobs
            records.write_json(Path(PLAN_FILE), PLAN.to_json())
    except (UserError, OSError) as error:
        raise WorkflowError(faults.describe(error)) from None
    for path, record in RECORDS.items() if only_looks else ():
        if Path(record).exists() and store.state(PLAN.runs[path], LAYOUT) != "done":
            # Pretend that the record is missing, as the real call would delete it.
            RECORDS[path] = record.replace(".json", "0.json")
    # A target on the command line must be the output of a rule.
    FINISHED = [key for key in FINISHED if key not in " ".join(sys.argv)]
if "--report" in sys.argv:
    # The report draws the rules that made the files. Where there is no cache, as after `mdkd store
    # import`, it leaves out training, because it would miss the picture of the data.
    CACHED = [d for d in PLAN.datasets if (LAYOUT.cache(d) / "contact_sheet.png").exists()]
    KEYS = {Path(RECORDS[p]).stem for p, run in PLAN.runs.items() if run.dataset.name in CACHED}
    FINISHED = [key for key in FINISHED if key not in KEYS]


wildcard_constraints:
    **runpath.FIELDS,
    kind="|".join(logits.KINDS),
    key=f"(?!{'|'.join(FINISHED)})[0-9a-f]+" if FINISHED else "[0-9a-f]+",
    protocol=PLAN.protocol,
    artefact="|".join(PLAN.artefacts),


# What the report shows first; it is written below, before the report is made.
START = LAYOUT.results.resolve() / "report"


report: str(START / "start.rst") if (START / "start.rst").exists() else "workflow/report/workflow.rst"


container: PLAN.container  # without effect unless Snakemake is called with --sdm apptainer


include: "workflow/rules/common.smk"
include: "workflow/rules/slurm.smk"
include: "workflow/rules/download.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/logits.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/report.smk"


if DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method:
    check_container()


rule all:
    default_target: True
    input:
        rules.collect.output,
        rules.explore.output,
        [RECORDS[run] for run in SELECTED],  # so a deleted record is made again
        expand(
            rules.label_statistics.output,
            protocol=PLAN.protocol,
            dataset={PLAN.runs[run].dataset.name for run in SELECTED},
        ),
        [files_of(artefact) for artefact in PLAN.selected],
    localrule: True


# Every artefact is a target. So is every group that an experiment names in its `targets`.
if not IS_AGAIN:
    check_targets()
for target, artefacts in TARGETS.items():

    rule:
        name:
            target
        input:
            [files_of(artefact) for artefact in artefacts],
            [RECORDS[run] for artefact in artefacts for run in PLAN.artefacts[artefact].runs],
            rules.document.output if target == DOCUMENT else [],
        localrule: True


if workflow.is_main_process and len(workflow.included_stack) == 1:  # no other workflow uses it
    check_words()


onstart:
    asked = PLAN.asked_by(workflow.dag_settings.targets)
    try:
        records.write_json(Path(PLAN_FILE), replace(PLAN, asked=asked).to_json())
        precheck.check(PLAN, asked, LAYOUT)
    except (UserError, OSError) as error:
        raise WorkflowError(faults.describe(error)) from None
    if on_slurm():
        prepare_slurm()


onsuccess:
    targets = set(workflow.dag_settings.targets or ["all"])
    if targets <= {"all", *TARGETS}:
        call("mdkd", "report", "metrics", "--plan", PLAN_FILE)
        if "all" not in targets:  # a job of `all` has just written it
            call("mdkd", "report", "page", "--plan", PLAN_FILE)
        call("mdkd", "report", "start", "--plan", PLAN_FILE)
        # Each set of targets has its own report. `mdkd report show` does not know its name.
        report_file = f"{RESULTS}/{'_'.join(['report', *sorted(targets - {'all'})])}.html"
        # A file keeps what was given on the command line as it is. A second --config would not:
        # Snakemake strips quotes, and reads what is left as YAML.
        given = f"logs/{PLAN.protocol}/given.json"
        records.write_json(Path(given), config)
        command = [
            "snakemake",
            *sorted(targets),
            "--report",
            report_file,
            "--report-metadata",  # with it, the report starts with a text and not with the jobs
            str(START / "numbers.json"),
            "--report-stylesheet",  # relative, because Snakemake expands $NAMES in this path
            os.path.relpath(Path(workflow.basedir) / "workflow" / "report" / "style.css"),
            "--configfile",
            given,
        ]
        call(*command, log_file=f"logs/{PLAN.protocol}/report.log")
    if targets & {"all", *TARGETS}:
        call("mdkd", "report", "show", "--plan", PLAN_FILE)
    if targets <= {"all", *TARGETS}:
        print(f"report   {report_file}", flush=True)


onerror:
    for file in failed_logs(log):
        message = last_message(Path(file))
        # A job that was stopped goes on at the next call.
        text = message if message.startswith("interrupted") else f"failed: {message}"
        print(f"{text} (log: {file})", file=sys.stderr)
