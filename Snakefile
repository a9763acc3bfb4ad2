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


configfile: "config/config.yaml"


try:
    PLAN = make_plan(Specification(Path("config"), config))
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
        given = {key: value for key, value in config.items() if value is not None}
        settings = " ".join(f"'{key}={json.dumps(value)}'" for key, value in given.items())
        shell(
            f"snakemake all --report {RESULTS}/report.html --config {settings} "
            f"> logs/{PLAN.protocol}/report.log 2>&1"
        )
        shell(f"python -m mdkd report show --plan {PLAN_FILE}")
