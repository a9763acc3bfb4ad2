# The benchmark as a graph of jobs: paths and resources only. What the jobs compute is in mdkd/,
# what they are asked to compute is in config/.

import json
from dataclasses import asdict
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

from mdkd import devices, records
from mdkd.errors import UserError
from mdkd.plan import make_plan
from mdkd.spec import Specification

min_version("9.20")


try:
    SPEC = Specification(Path("config"), config)  # config: what the command line gives
    PLAN = make_plan(SPEC)
except UserError as error:
    raise WorkflowError(str(error)) from None

RESULTS = f"results/{PLAN.protocol}"
PLAN_FILE = f"{RESULTS}/plan.json"  # written when a run starts, read by its jobs
METRICS = f"{RESULTS}/runs/{{}}/metrics.json"
SUPERVISED = "supervised/{dataset}/{arch}/seed{seed}"
DISTILLED = "distill/{dataset}/{teacher}--{arch}/{method}/{variant}/seed{seed}"

# One GPU a training, as many trainings at once as this machine has GPUs; none of it on the CPU.
GPUS = 0 if PLAN.device == "cpu" else len(devices.visible_gpus())
if GPUS and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", GPUS)


resource_scopes:
    gpu="local",  # not a limit on what is submitted to a cluster


wildcard_constraints:
    protocol=PLAN.protocol,
    dataset="[a-z0-9_]+",
    arch="[a-z0-9_]+",
    teacher="[a-z0-9_]+",
    method="[a-z0-9_]+",
    variant="[A-Za-z0-9._-]+",
    seed="[0-9]+",
    artefact="[a-z0-9_]+",


report: "workflow/report/workflow.rst"


include: "workflow/rules/download.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        rules.collect.output,
        [METRICS.format(run) for run in PLAN.runs],  # so that a deleted one is made again
        expand(
            rules.label_statistics.output,
            protocol=PLAN.protocol,
            dataset=PLAN.datasets,
        ),
        expand(rules.table_comparison.output, artefact=PLAN.artefacts),
        expand(rules.figure_comparison.output, artefact=PLAN.artefacts),
    localrule: True


rule comparison:
    input:
        expand(rules.table_comparison.output, artefact=PLAN.artefacts),
        expand(rules.figure_comparison.output, artefact=PLAN.artefacts),
    localrule: True


onstart:
    records.write_json(Path(PLAN_FILE), PLAN.to_json())


onsuccess:
    if {"all"}.issuperset(workflow.dag_settings.targets):  # all was asked for, or nothing named
        given = " ".join(f"'{key}={json.dumps(value)}'" for key, value in config.items())
        options = f"--config {given}" if given else ""
        shell(
            f"snakemake all --report {RESULTS}/report.html {options} "
            f"> logs/{PLAN.protocol}/report.log 2>&1"
        )
        shell(f"python -m mdkd report show --plan {PLAN_FILE}")


onerror:
    shell(f"python -m mdkd plan --plan {PLAN_FILE}")
    print(f"some jobs failed: their logs lie below logs/{PLAN.protocol}/ and are printed above")
