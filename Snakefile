# The benchmark as a graph of jobs. The workflow has paths and resources only. The code of the jobs
# is in mdkd/. The settings, which say what to compute, are in config/.

import json
import sys
from dataclasses import asdict
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

from mdkd import costs, devices, records, runpath
from mdkd.cli import last_message
from mdkd.errors import UserError
from mdkd.layout import Layout
from mdkd.plan import DOCUMENT, make_plan
from mdkd.spec import Specification

min_version("9.20")


try:
    SPEC = Specification(Path("config"), config)  # config: given on the command line
    PLAN = make_plan(SPEC)
    RATES = costs.read_rates(Path("config/rates.yaml"))
except UserError as error:
    raise WorkflowError(str(error)) from None

ESTIMATOR = costs.Estimator(PLAN, RATES, Layout(PLAN.protocol))
RESULTS = f"results/{PLAN.protocol}"
PLAN_FILE = f"{RESULTS}/plan.json"  # written when a run starts, read by its jobs
RECORD = f"{RESULTS}/runs/{{}}/run.json"
SELECTED = list(dict.fromkeys(run for name in PLAN.selected for run in PLAN.artefacts[name].runs))
TARGETS = PLAN.targets()

# Each training gets one GPU, so as many trainings run at once as this machine has GPUs. Trainings
# on the CPU get none.
GPUS = 0 if PLAN.device == "cpu" else len(devices.visible_gpus())
if GPUS and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", GPUS)


resource_scopes:
    gpu="local",  # the limit is for this machine, not for jobs that are submitted to a cluster


wildcard_constraints:
    **runpath.FIELDS,
    protocol=PLAN.protocol,
    artefact="|".join(PLAN.artefacts),


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/download.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        rules.collect.output,
        [RECORD.format(run) for run in SELECTED],  # so a deleted record is made again
        expand(
            rules.label_statistics.output,
            protocol=PLAN.protocol,
            dataset={PLAN.runs[run].dataset.name for run in SELECTED},
        ),
        [files_of(artefact) for artefact in PLAN.selected],
    localrule: True


# Every artefact is a target. So is every group that an experiment names in its `targets`.
check_targets({rule.name for rule in workflow.rules})
for target, artefacts in TARGETS.items():

    rule:
        name:
            target
        input:
            [files_of(artefact) for artefact in artefacts],
            rules.document.output if target == DOCUMENT else [],
        localrule: True


onstart:
    records.write_json(Path(PLAN_FILE), PLAN.to_json())


onsuccess:
    targets = set(workflow.dag_settings.targets or ["all"])
    if targets <= {"all", *TARGETS}:
        given = " ".join(f"'{key}={json.dumps(value)}'" for key, value in config.items())
        options = f"--config {given}" if given else ""
        shell(f"python -m mdkd report metrics --plan {PLAN_FILE}")
        # Each set of targets has its own report.
        name = "_".join(["report", *sorted(targets - {"all"})])
        shell(
            f"snakemake {' '.join(sorted(targets))} --report {RESULTS}/{name}.html {options} "
            f"> logs/{PLAN.protocol}/report.log 2>&1"
        )
    if "all" in targets:
        shell(f"python -m mdkd report show --plan {PLAN_FILE}")


onerror:
    for file in failed_logs(log):
        print(f"failed: {last_message(Path(file))} (log: {file})", file=sys.stderr)
